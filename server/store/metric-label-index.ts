/** Which series carry which labels, and which series satisfy matchers. */

import { randomBytes } from "node:crypto";
import type { Labels } from "../model/series.ts";
import type { MetricSeries } from "./metric-series.ts";

const KEY_PRIME = 0x0100_0193;
/** Another one in each process, so that nobody can choose labels that share a key. */
const KEY_START = randomBytes(4).readInt32LE();

/** One name and value. */
interface Posting {
  /** Never that of another, also one that is gone. */
  readonly number: number;
  /** Shared by all series that carry it. */
  readonly pair: readonly [name: string, value: string];
  series: MetricSeries[];
}

/** Series by label. Invariant: a posting holds every series with the label once, in order of appearance. */
export class LabelIndex {
  readonly #byName = new Map<string, Map<string, Posting>>();
  #all: MetricSeries[] = [];
  #postingsMade = 0;
  /** Postings of the labels that were looked up last, label by label. */
  readonly #found: (Posting | undefined)[] = [];

  /** All series, in order of appearance. */
  get all(): readonly MetricSeries[] {
    return this.#all;
  }

  /** Names with their values and the number of series that carry each. */
  *postings(): Generator<[name: string, values: Iterable<readonly [value: string, series: number]>]> {
    for (const [name, values] of this.#byName) yield [name, countsOf(values)];
  }

  /** A number that depends on every label; undefined where there is one that no series carries. */
  keyOf(labels: Labels): number | undefined {
    let isKnown = true;
    for (let i = 0; i < labels.length; i++) {
      const [name, value] = labels[i] as Labels[number]; // in range: the loop's bounds
      const posting = this.#byName.get(name)?.get(value);
      this.#found[i] = posting;
      if (posting === undefined) isKnown = false;
    }
    return isKnown ? this.#keyOfFound(labels.length) : undefined;
  }

  /** Whether a series has the labels that `keyOf` was asked for last, which are so many and all known. */
  hasFound({ labels }: MetricSeries, count: number): boolean {
    if (labels.length !== count) return false;
    // Every series of the index is made of the pairs of its postings.
    for (let i = count - 1; i >= 0; i--) if (labels[i] !== this.#found[i]?.pair) return false;
    return true;
  }

  /**
   * Adds a series that is not in the index, with the labels that `keyOf` was asked for last.
   *
   * @param make Makes it of the same labels, whose pairs are in memory once.
   * @returns The series and the key of its labels.
   */
  add(labels: Labels, make: (shared: Labels) => MetricSeries): { readonly series: MetricSeries; readonly key: number } {
    const shared = labels.map((pair, i) => this.#postingAt(i, pair).pair);
    const series = make(shared);
    for (let i = 0; i < shared.length; i++) this.#found[i]?.series.push(series);
    this.#all.push(series);
    return { series, key: this.#keyOfFound(shared.length) };
  }

  /** The posting found at a place, made where there is none. */
  #postingAt(place: number, pair: Labels[number]): Posting {
    const found = this.#found[place];
    if (found !== undefined) return found;
    const [name, value] = pair;
    let values = this.#byName.get(name);
    if (values === undefined) {
      values = new Map();
      this.#byName.set(name, values);
    }
    const posting = { number: this.#postingsMade++, pair, series: [] };
    values.set(value, posting);
    this.#found[place] = posting;
    return posting;
  }

  /** A whole number below 2^53. */
  #keyOfFound(count: number): number {
    let a = KEY_START;
    let b = KEY_START ^ count;
    for (let i = 0; i < count; i++) {
      const number = (this.#found[i] as Posting).number; // found or made: the caller looked
      a = Math.imul(a ^ number, KEY_PRIME);
      a ^= a >>> 15;
      b = Math.imul(b ^ (number + (a >>> 17)), KEY_PRIME);
      b ^= b >>> 13;
    }
    return (a >>> 0) * 2 ** 21 + (b >>> 11);
  }

  /** Removes series that are in the index. */
  remove(gone: readonly MetricSeries[]): void {
    if (gone.length === 0) return;
    const removed = new Set(gone);
    const left = (series: readonly MetricSeries[]) => series.filter((one) => !removed.has(one));
    this.#all = left(this.#all);
    const pairs = new Set(gone.flatMap(({ labels }) => labels));
    for (const [name, value] of pairs) {
      const values = this.#byName.get(name);
      const posting = values?.get(value);
      if (values === undefined || posting === undefined) continue;
      posting.series = left(posting.series);
      if (posting.series.length === 0) values.delete(value);
      if (values.size === 0) this.#byName.delete(name);
    }
  }

  /** Series that carry a label with this value. */
  withValue(name: string, value: string): readonly MetricSeries[] {
    return this.#byName.get(name)?.get(value)?.series ?? [];
  }

  /** How many different values a label has. */
  valueCount(name: string): number {
    return this.#byName.get(name)?.size ?? 0;
  }

  /** Values of a label with the series that carry each. */
  *seriesByValue(name: string): Generator<readonly [value: string, series: readonly MetricSeries[]]> {
    for (const [value, { series }] of this.#byName.get(name) ?? []) yield [value, series];
  }

  /** Names of all labels. */
  names(): string[] {
    return [...this.#byName.keys()];
  }

  /** Values of a label. */
  values(name: string): string[] {
    return [...(this.#byName.get(name)?.keys() ?? [])];
  }
}

function* countsOf(values: ReadonlyMap<string, Posting>): Generator<readonly [value: string, series: number]> {
  for (const [value, { series }] of values) yield [value, series.length];
}

/** The value of a label; empty where there is none. */
export function labelValue(labels: Labels, name: string): string {
  for (const [labelName, value] of labels) if (labelName === name) return value;
  return "";
}
