/** What the tests of the metric store share: seeded numbers of every class, histograms of every kind, labels. */

import type { NativeHistogram } from "../model/histogram.ts";
import { CUSTOM_BUCKETS_SCHEMA } from "../model/histogram.ts";
import type { Labels, SeriesSamples } from "../model/series.ts";
import { bitsOf, doubleOf } from "./metric-double-codec.ts";

/** A small generator with a seed, so that a failure can be played again: whole numbers from 0 to `below - 1`. */
export type Pick = (below: number) => number;

/** @see Pick */
export function random(seed: number): Pick {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Sorted labels of a metric. */
export function labels(name: string, more: Record<string, string> = {}): Labels {
  return Object.entries({ __name__: name, ...more }).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** A double of any class: whole, decimal, tiny, huge, infinite, NaN with any payload, either zero. */
export function anyDouble(pick: Pick): number {
  switch (pick(12)) {
    case 0:
      return pick(1000);
    case 1:
      return -pick(1_000_000);
    case 2:
      return pick(100_000) / 100;
    case 3:
      return pick(1000) / 7;
    case 4:
      return 2 ** 52 + pick(1000);
    case 5:
      return pick(2) === 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    case 6:
      return -0;
    case 7:
      return pick(1000) * Number.MIN_VALUE;
    case 8:
      return Number.MAX_VALUE / (1 + pick(10));
    case 9:
      return doubleOf(0x7ff8_0000 + pick(2 ** 19), pick(2 ** 32));
    case 10:
      return doubleOf(pick(0x7ff0_0000), pick(2 ** 32));
    default:
      return Number.NaN;
  }
}

/** A valid histogram: exponential or with custom buckets, of whole or float counts, with any hint. */
export function anyHistogram(pick: Pick): NativeHistogram {
  const custom = pick(3) === 0;
  const integer = pick(2) === 0;
  const spans = () =>
    Array.from({ length: pick(3) }, (_, i) => ({
      offset: i === 0 && !custom ? pick(20) - 10 : pick(3),
      length: pick(4),
    }));
  const count = () => (integer ? pick(pick(2) === 0 ? 10 : 1_000_000) : pick(1000) / 8 + (pick(2) === 0 ? 0 : 0.1));
  const countsOf = (of: readonly { readonly length: number }[]) =>
    Float64Array.from({ length: of.reduce((sum, { length }) => sum + length, 0) }, count);
  const positiveSpans = spans();
  const negativeSpans = custom ? [] : spans();
  const positiveCounts = countsOf(positiveSpans);
  const negativeCounts = countsOf(negativeSpans);
  const zeroCount = custom ? 0 : count();
  const total = [...positiveCounts, ...negativeCounts].reduce((sum, value) => sum + value, zeroCount);
  return {
    schema: custom ? CUSTOM_BUCKETS_SCHEMA : pick(13) - 4,
    zeroThreshold: custom ? 0 : ([0, 1e-128, 0.001][pick(3)] ?? 0),
    zeroCount,
    count: total,
    sum: pick(4) === 0 ? pick(1000) : pick(1000) / 3,
    positiveSpans,
    positiveCounts,
    negativeSpans,
    negativeCounts,
    customValues: custom ? Float64Array.from({ length: 20 }, (_, i) => i / 4) : new Float64Array(0),
    resetHint: (["unknown", "reset", "not_reset", "gauge"] as const)[pick(4)] ?? "unknown",
    integer,
  };
}

/** A histogram that counts more in every bucket than `base`; what a counter shows later. */
export function grown(base: NativeHistogram, by: number): NativeHistogram {
  const more = (counts: Float64Array) => counts.map((count) => count + by);
  const buckets = base.positiveCounts.length + base.negativeCounts.length;
  return {
    ...base,
    count: base.count + by * buckets,
    positiveCounts: more(base.positiveCounts),
    negativeCounts: more(base.negativeCounts),
  };
}

/** Text that is the same for samples that are the same bit by bit. */
export function bitText(value: number): string {
  const { high, low } = bitsOf(value);
  return `${(high >>> 0).toString(16)}:${(low >>> 0).toString(16)}`;
}

/** Text of a histogram, every bit of it. */
export function histogramText(histogram: NativeHistogram): string {
  return JSON.stringify(histogram, (_, value: unknown) => {
    if (typeof value === "number") return bitText(value);
    return value instanceof Float64Array ? [...value].map(bitText) : value;
  });
}

/** One line a series: labels, then time, start and value of each sample; sorted. */
export function linesOf(found: readonly SeriesSamples[]): string[] {
  return found.map(lineOf).sort();
}

function lineOf({ labels: l, timestampsMs, values, histograms, startsMs }: SeriesSamples): string {
  const samples = [...timestampsMs].map((ms, i) => {
    const histogram = histograms?.[i];
    const value = histogram === undefined ? bitText(values[i] ?? 0) : histogramText(histogram);
    return `${ms}@${startsMs?.[i] ?? 0}=${value}`;
  });
  return `${JSON.stringify(l)} ${samples.join(" ")}`;
}
