/** Where the series lie, as Prometheus' `status/tsdb` tells it: from the index alone, without a look at any series. */

import type { LabelIndex } from "./metric-label-index.ts";
import type { MetricStatus, NamedCount } from "./reader.ts";

/** Lengths from here on take four bytes in Prometheus' memory, shorter ones one. */
const LONG_TEXT_BYTES = 255;

/** The part of a status that depends on labels. */
export type LabelCensus = Pick<
  MetricStatus,
  "labelPairs" | "seriesByMetric" | "valuesByLabel" | "bytesByLabel" | "seriesByPair"
>;

/** @param limit Names at most in each list. */
export function censusOf(index: LabelIndex, limit: number): LabelCensus {
  const seriesByMetric = new Largest(limit);
  const valuesByLabel = new Largest(limit);
  const bytesByLabel = new Largest(limit);
  const seriesByPair = new Largest(limit);
  let labelPairs = 0;
  for (const [name, values] of index.postings()) {
    const nameBytes = textBytes(name);
    let count = 0;
    let bytes = 0;
    for (const [value, series] of values) {
      count++;
      bytes += (nameBytes + textBytes(value)) * series;
      if (name === "__name__") seriesByMetric.add(value, series);
      if (seriesByPair.takes(series)) seriesByPair.add(`${name}=${value}`, series);
    }
    labelPairs += count;
    valuesByLabel.add(name, count);
    bytesByLabel.add(name, bytes);
  }
  return {
    labelPairs,
    seriesByMetric: seriesByMetric.sorted(),
    valuesByLabel: valuesByLabel.sorted(),
    bytesByLabel: bytesByLabel.sorted(),
    seriesByPair: seriesByPair.sorted(),
  };
}

/** Where most series come from, in words: the metric with the most, and the label with the most values. */
export function offenderOf(index: LabelIndex): string {
  let metric: NamedCount | undefined;
  for (const [name, series] of index.seriesByValue("__name__")) {
    if (metric === undefined || series.length > metric.count) metric = { name, count: series.length };
  }
  let label = "";
  let values = 0;
  for (const name of index.names()) {
    const count = index.valueCount(name);
    if (name !== "__name__" && count > values) [label, values] = [name, count];
  }
  if (metric === undefined) return "none of them has a name";
  const byMetric = `${metric.count} of them are of the metric ${JSON.stringify(metric.name)}`;
  return values === 0 ? byMetric : `${byMetric}, the label ${JSON.stringify(label)} has ${values} values`;
}

/** What a name or value takes in the labels of a series of Prometheus. */
function textBytes(text: string): number {
  const bytes = Buffer.byteLength(text);
  return bytes + (bytes < LONG_TEXT_BYTES ? 1 : 4);
}

/** The names with the largest counts; of equal counts the first come. */
class Largest {
  readonly #limit: number;
  #kept: NamedCount[] = [];
  /** Counts up to this one are out. */
  #least = Number.NEGATIVE_INFINITY;

  constructor(limit: number) {
    this.#limit = limit;
  }

  takes(count: number): boolean {
    return count > this.#least;
  }

  add(name: string, count: number): void {
    if (!this.takes(count)) return;
    this.#kept.push({ name, count });
    if (this.#kept.length < 2 * this.#limit) return;
    this.#kept = this.sorted();
    this.#least = this.#kept[this.#limit - 1]?.count ?? Number.NEGATIVE_INFINITY;
  }

  sorted(): NamedCount[] {
    return [...this.#kept].sort((a, b) => b.count - a.count).slice(0, this.#limit);
  }
}
