/**
 * Open hops by the identity of their request, and by what is left of it behind address translation.
 *
 * Invariants: a hop is found until it lingered and none of its sides is open, so that the table holds at most
 * `hopsMax`. The second index holds only hops of which one end was seen; a key that two of them share joins nobody.
 */

import type { Hop, JoinReason } from "./hop.ts";
import { lanesKey } from "./message-identity.ts";

/** Hops found at one time. At 40,000 requests/s with the usual linger 10,000 are. */
export const hopsMax = 131_072;

/** Hops by identity, settled one after the other as their linger ends. */
export class HopTable {
  readonly #lingerNs: number;
  readonly #byKey = new Map<number, Hop>();
  /** `undefined` as value: several half-seen hops have this key. */
  readonly #byNatKey = new Map<number, Hop | undefined>();
  #arrived: Hop[] = [];
  #arrivedHead = 0;

  /** @param lingerNs How long a hop waits for its client side. */
  constructor(lingerNs: number) {
    this.#lingerNs = lingerNs;
  }

  /** Hops found now. */
  get size(): number {
    return this.#byKey.size;
  }

  find(high: number, low: number): Hop | undefined {
    const hop = this.#byKey.get(lanesKey(high, low));
    return hop !== undefined && hop.high === high && hop.low === low ? hop : undefined;
  }

  /** A hop of which only the other end was seen, behind translated addresses; undefined where none or several fit. */
  findTranslated(natKey: number, missing: "client" | "server"): Hop | undefined {
    const hop = this.#byNatKey.get(natKey);
    if (hop === undefined || (hop.settled && missing === "client") || hop[missing] !== undefined) return undefined;
    this.#byNatKey.delete(natKey);
    return hop;
  }

  /** The hop has both ends; translation need not be tried. */
  joined(hop: Hop): void {
    if (this.#byNatKey.get(hop.natKey) === hop) this.#byNatKey.delete(hop.natKey);
  }

  /** Adds a hop; undefined where the table is full. `natKey` 0 keeps it out of the second index. */
  add(high: number, low: number, natKey: number, joinedBy: JoinReason, nowNs: number): Hop | undefined {
    if (this.#byKey.size >= hopsMax) return undefined;
    const hop: Hop = {
      high,
      low,
      key: lanesKey(high, low),
      natKey,
      client: undefined,
      server: undefined,
      context: undefined,
      parent: undefined,
      joinedBy,
      settleAtNs: nowNs + this.#lingerNs,
      settled: false,
      trace: undefined,
      openSides: 0,
      waiting: undefined,
    };
    this.#byKey.set(hop.key, hop);
    this.#arrived.push(hop);
    if (natKey !== 0) this.#byNatKey.set(natKey, this.#byNatKey.has(natKey) ? undefined : hop);
    return hop;
  }

  /** The next hop whose linger is over, which the caller settles; undefined where none is. */
  lingered(nowNs: number): Hop | undefined {
    const hop = this.#arrived[this.#arrivedHead];
    if (hop === undefined || hop.settleAtNs > nowNs) return undefined;
    this.#arrivedHead += 1;
    if (this.#arrivedHead > 1024 && this.#arrivedHead * 2 > this.#arrived.length) {
      this.#arrived = this.#arrived.slice(this.#arrivedHead);
      this.#arrivedHead = 0;
    }
    if (this.#byNatKey.get(hop.natKey) === hop || this.#isShared(hop.natKey)) this.#byNatKey.delete(hop.natKey);
    return hop;
  }

  /** Forgets a hop that lingered and has no open side. */
  forget(hop: Hop): void {
    if (this.#byKey.get(hop.key) === hop) this.#byKey.delete(hop.key);
  }

  #isShared(natKey: number): boolean {
    return this.#byNatKey.has(natKey) && this.#byNatKey.get(natKey) === undefined;
  }
}
