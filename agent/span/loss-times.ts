/**
 * When capture lost events, and what that says of the sides that were open then.
 */

import type { HopSide } from "./hop.ts";

/** Times of loss that are remembered; spans that were open in earlier ones are not marked. */
const lossesMax = 64;

interface Loss {
  readonly fromNs: number;
  toNs: number;
}

/** The last times in which events were lost. All are boot time. */
export class LossTimes {
  readonly #losses: Loss[] = [];
  #lastNs = Number.NEGATIVE_INFINITY;

  /** Events were lost between two looks. */
  add(fromNs: number, toNs: number): void {
    this.#lastNs = toNs;
    const last = this.#losses.at(-1);
    if (last !== undefined && fromNs <= last.toNs) last.toNs = Math.max(last.toNs, toNs);
    else this.#losses.push({ fromNs, toNs });
    if (this.#losses.length > lossesMax) this.#losses.shift();
  }

  /** What ended early while events were lost may have ended well: that is the agent's gap, not a fault of the traffic. */
  excuse({ exchange, request }: HopSide): void {
    if (exchange.cutShort !== "" && request.startNs <= this.#lastNs) exchange.cutShort = "gap";
  }

  /** Where events were lost while a finished side was open, its trace may lack spans. */
  mark(side: HopSide): void {
    for (const { fromNs, toNs } of this.#losses) {
      if (side.request.startNs <= toNs && side.endNs >= fromNs) side.isIncomplete("events_lost");
    }
  }
}
