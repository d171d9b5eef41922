/** Labels of selected series on their way to a worker, which knows most of them from earlier queries. */

import type { Labels } from "../../model/series.ts";
import { forgetKeptLabels, keepLabels } from "./kept-labels.ts";
import { forgetOrders } from "./series-order.ts";
import { SentPages } from "./shared-pages.ts";

/** Labels of the series of a part: each set goes to a worker once, and a number stands for it afterwards. */
export interface PackedLabels {
  /** Names and values of label pairs that were not sent before; pairs are numbered in the order in which they are sent. */
  readonly pairs: readonly string[];
  /** The number of the first of them; what the worker knows from there on is forgotten. */
  readonly firstPair: number;
  /** For each set of labels that was not sent before, how many of the pairs below are its own; sets are numbered as pairs are. */
  readonly pairCounts: Uint32Array;
  readonly pairNumbers: Uint32Array;
  readonly firstSet: number;
  /** For each series, the number of its labels. */
  readonly setNumbers: Uint32Array;
}

/** A name with its value. */
type LabelPair = Labels[number];

/** Pairs, and sets of them, that a worker keeps from query to query. */
const KEPT_PAIRS_MAX = 32_768;
const KEPT_SETS_MAX = 32_768;

/** Labels that went to one worker: each pair and each set goes once, and is one object there. */
export class SentLabels {
  /** Shared memory that went to the same worker. */
  readonly pages = new SentPages();
  readonly #pairs = new Map<string, Map<string, number>>();
  readonly #sets = new Map<Labels, number>();
  #pairCount = 0;

  get pairCount(): number {
    return this.#pairCount;
  }

  get setCount(): number {
    return this.#sets.size;
  }

  /** Whether the next query may go on with them; if not, the worker lets go of them by itself, see `KnownLabels.tidy`. */
  get isSmall(): boolean {
    return this.#pairCount <= KEPT_PAIRS_MAX && this.#sets.size <= KEPT_SETS_MAX;
  }

  /** The number of a set, by its object; one that was not sent yet is added to `unsent`. */
  numberOfSet(labels: Labels, unsent: Labels[]): number {
    let number = this.#sets.get(labels);
    if (number === undefined) {
      number = this.#sets.size;
      this.#sets.set(labels, number);
      unsent.push(labels);
    }
    return number;
  }

  /** The number of a pair; one that was not sent yet is added to `unsent`. */
  numberOf([name, value]: LabelPair, unsent: string[]): number {
    let values = this.#pairs.get(name);
    if (values === undefined) {
      values = new Map();
      this.#pairs.set(name, values);
    }
    let number = values.get(value);
    if (number === undefined) {
      number = this.#pairCount++;
      values.set(value, number);
      unsent.push(name, value);
    }
    return number;
  }
}

/** Labels that came to a worker, by their numbers. */
export class KnownLabels {
  readonly #pairs: LabelPair[] = [];
  readonly #sets: Labels[] = [];

  /** Adds those of a part to those that came before; to be done for every part, also of a query that has ended. */
  add({ pairs, firstPair, pairCounts, pairNumbers, firstSet }: PackedLabels): void {
    // The sender began anew: what was kept for its labels is of no use any longer.
    if (firstSet === 0) {
      forgetKeptLabels();
      forgetOrders();
    }
    this.#pairs.length = Math.min(this.#pairs.length, firstPair);
    this.#sets.length = Math.min(this.#sets.length, firstSet);
    for (let i = 0; i < pairs.length; i += 2) this.#pairs.push([pairs[i] ?? "", pairs[i + 1] ?? ""]);
    let at = 0;
    for (const count of pairCounts) {
      const labels: LabelPair[] = [];
      for (const end = at + count; at < end; at++) labels.push(this.#pairs[pairNumbers[at] ?? 0] ?? ["", ""]);
      keepLabels(labels);
      this.#sets.push(labels);
    }
  }

  /** To be called when a query ended: lets go of more than is kept, which the sender does not go on with either. */
  tidy(): void {
    if (this.#pairs.length <= KEPT_PAIRS_MAX && this.#sets.length <= KEPT_SETS_MAX) return;
    this.#pairs.length = 0;
    this.#sets.length = 0;
    forgetKeptLabels();
    forgetOrders();
  }

  /** The labels with a number. */
  set(number: number): Labels {
    return this.#sets[number] ?? NO_LABELS;
  }
}

const NO_LABELS: Labels = [];

/** Numbers the labels of series; what was not sent before is told with them. */
export function packLabels(all: readonly Labels[], sent: SentLabels): PackedLabels {
  const firstPair = sent.pairCount;
  const firstSet = sent.setCount;
  const setNumbers = new Uint32Array(all.length);
  const unsent: Labels[] = [];
  for (let index = 0; index < all.length; index++) {
    const labels = all[index];
    if (labels !== undefined) setNumbers[index] = sent.numberOfSet(labels, unsent);
  }
  const pairs: string[] = [];
  const pairCounts = new Uint32Array(unsent.length);
  let total = 0;
  for (const { length } of unsent) total += length;
  const pairNumbers = new Uint32Array(total);
  let at = 0;
  for (const [index, labels] of unsent.entries()) {
    pairCounts[index] = labels.length;
    for (const pair of labels) pairNumbers[at++] = sent.numberOf(pair, pairs);
  }
  return { pairs, firstPair, pairCounts, pairNumbers, firstSet, setNumbers };
}

/** Buffers to transfer. */
export function packedLabelBuffers({ pairCounts, pairNumbers, setNumbers }: PackedLabels): ArrayBuffer[] {
  // Each array was made above and owns its buffer.
  return [pairCounts, pairNumbers, setNumbers].map((array) => array.buffer as ArrayBuffer);
}
