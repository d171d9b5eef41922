/** `load_with_nhcb`: native histograms with custom buckets, made from the classic histograms of one load. */

import { CUSTOM_BUCKETS_SCHEMA } from "../../server/model/histogram.ts";
import { labelsKey } from "../../server/query/promql/series-labels.ts";
import type { LoadedSeries } from "./series-notation.ts";
import { parseNumber } from "./series-notation.ts";
import { emptyHistogram, type TestHistogram } from "./test-histogram.ts";

/** What one moment of a classic histogram says. */
interface Moment {
  readonly cumulative: Map<number, number>;
  count: number | undefined;
  sum: number;
}

interface Group {
  readonly labels: LoadedSeries["labels"];
  readonly moments: Map<number, Moment>;
}

/**
 * Makes the native series; float samples only are looked at.
 *
 * @throws Error where populations are not cumulative or differ from the count.
 */
export function customBucketSeries(loaded: readonly LoadedSeries[]): LoadedSeries[] {
  const groups = new Map<string, Group>();
  for (const series of loaded) addSeries(groups, series);
  return [...groups.values()].map(({ labels, moments }) => ({
    labels,
    samples: [...moments]
      .sort(([a], [b]) => a - b)
      .map(([timestampMs, moment]) => ({ timestampMs, startMs: 0, value: histogramOf(moment) })),
  }));
}

function addSeries(groups: Map<string, Group>, { labels, samples }: LoadedSeries): void {
  const name = labels.find(([key]) => key === "__name__")?.[1] ?? "";
  const [, stem = "", suffix] = /^(.*)_(bucket|count|sum)$/.exec(name) ?? [];
  if (suffix === undefined) return;
  const bound = suffix === "bucket" ? boundOf(labels) : 0;
  if (Number.isNaN(bound)) return;
  const rest = labels
    .filter(([key]) => key !== "le")
    .map(([key, value]) => [key, key === "__name__" ? stem : value] as const);
  const key = labelsKey(rest);
  const group = groups.get(key) ?? { labels: rest, moments: new Map() };
  for (const { timestampMs, value } of samples) {
    if (typeof value !== "number") continue;
    groups.set(key, group);
    const moment = group.moments.get(timestampMs) ?? { cumulative: new Map(), count: undefined, sum: 0 };
    group.moments.set(timestampMs, moment);
    if (suffix === "sum") moment.sum = value;
    else if (suffix === "count") moment.count = value;
    else if (!moment.cumulative.has(bound)) moment.cumulative.set(bound, value);
  }
}

function boundOf(labels: LoadedSeries["labels"]): number {
  const text = labels.find(([key]) => key === "le")?.[1];
  try {
    return parseNumber(text ?? "");
  } catch {
    // A bucket whose bound is no number is passed over, as Prometheus' own runner does.
    return Number.NaN;
  }
}

function histogramOf({ cumulative, count, sum }: Moment): TestHistogram {
  const sorted = [...cumulative].sort(([a], [b]) => a - b);
  const highest = sorted.at(-1)?.[1] ?? 0;
  const total = count ?? highest;
  if (sorted.at(-1)?.[0] !== Number.POSITIVE_INFINITY) sorted.push([Number.POSITIVE_INFINITY, total]);
  if (sorted.at(-1)?.[1] !== total) throw new Error(`a classic histogram counts ${total}, its buckets ${highest}`);
  const histogram = emptyHistogram();
  histogram.schema = CUSTOM_BUCKETS_SCHEMA;
  histogram.customValues = sorted.map(([bound]) => bound).slice(0, -1);
  histogram.count = total;
  histogram.sum = sum;
  let below = 0;
  for (const [index, [, value]] of sorted.entries()) {
    if (value < below) throw new Error("buckets of a classic histogram are not cumulative");
    if (value > below) histogram.positive.set(index, value - below);
    below = value;
  }
  return histogram;
}
