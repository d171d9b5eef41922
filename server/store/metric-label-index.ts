/** Which series carry which labels, and which series satisfy matchers. */

import type { Labels } from "../model/series.ts";
import type { MetricSeries } from "./metric-series.ts";

/** One name and value. */
interface Posting {
  /** Shared by all series that carry it. */
  readonly pair: readonly [name: string, value: string];
  series: MetricSeries[];
}

/** Series by label. Invariant: a posting holds every series with the label once, in order of appearance. */
export class LabelIndex {
  readonly #byName = new Map<string, Map<string, Posting>>();
  #all: MetricSeries[] = [];

  /** All series, in order of appearance. */
  get all(): readonly MetricSeries[] {
    return this.#all;
  }

  /** Names with their values and the number of series that carry each. */
  *postings(): Generator<[name: string, values: Iterable<readonly [value: string, series: number]>]> {
    for (const [name, values] of this.#byName) yield [name, countsOf(values)];
  }

  /** The same labels, made of pairs that are in memory once. */
  shared(labels: Labels): Labels {
    return labels.map((pair) => this.#byName.get(pair[0])?.get(pair[1])?.pair ?? pair);
  }

  /** Adds a series that is not in the index. */
  add(series: MetricSeries): void {
    this.#all.push(series);
    for (const pair of series.labels) {
      const [name, value] = pair;
      let values = this.#byName.get(name);
      if (values === undefined) {
        values = new Map();
        this.#byName.set(name, values);
      }
      const posting = values.get(value);
      if (posting === undefined) values.set(value, { pair, series: [series] });
      else posting.series.push(series);
    }
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
