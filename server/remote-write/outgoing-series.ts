/** Labels as they leave: with external labels, after `write_relabel_configs`; kept for the next samples of a series. */

import type { Labels } from "../model/series.ts";
import { relabel } from "../scrape/relabel.ts";
import type { RemoteWriteTarget } from "./remote-write-config.ts";

/** A series as it leaves. */
export interface OutgoingSeries {
  readonly labels: Labels;
  /** Tells which shard sends it, so that its samples stay in order. */
  readonly hash: number;
  readonly metric: string;
}

/** Series of one target by the labels that they are stored with. */
export class OutgoingLabels {
  readonly #target: RemoteWriteTarget;
  /** `undefined` where rules drop it. The store gives the same object again and again. */
  readonly #known = new WeakMap<Labels, { readonly series: OutgoingSeries | undefined }>();

  constructor(target: RemoteWriteTarget) {
    this.#target = target;
  }

  /** Undefined where rules drop the series. */
  of(labels: Labels): OutgoingSeries | undefined {
    let known = this.#known.get(labels);
    if (known === undefined) {
      known = { series: this.#make(labels) };
      this.#known.set(labels, known);
    }
    return known.series;
  }

  #make(labels: Labels): OutgoingSeries | undefined {
    const all = new Map(labels);
    for (const [name, value] of this.#target.externalLabels) if (!all.has(name)) all.set(name, value);
    if (!relabel(all, this.#target.relabel)) return undefined;
    const left = [...all].filter(([, value]) => value !== "").sort(([a], [b]) => (a < b ? -1 : 1));
    if (left.length === 0) return undefined;
    return { labels: left, hash: hashOf(left), metric: all.get("__name__") ?? "" };
  }
}

function hashOf(labels: Labels): number {
  let hash = 0;
  for (const [name, value] of labels) {
    for (const text of [name, value]) {
      for (let at = 0; at < text.length; at++) hash = (Math.imul(hash, 31) + text.charCodeAt(at)) | 0;
    }
  }
  return hash >>> 0;
}
