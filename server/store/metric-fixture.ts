/** What the tests of the metric store share: stores, seeded numbers of every class, histograms of every kind, texts. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Clock } from "../model/clock.ts";
import { bitsOf, doubleOf } from "../model/double-codec.ts";
import { STALE_NAN } from "../model/float-chunk.ts";
import { CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../model/histogram.ts";
import type { Labels, Matcher, SeriesSamples, SeriesToAppend } from "../model/series.ts";
import { emptyColumns, type SampleRun } from "./metric-chunk.ts";
import { MetricStore, type MetricStoreOptions } from "./metric-store.ts";

/** Where `TestClock` starts. */
export const START_MS = 1_768_478_400_000;
export const EVERYTHING: readonly Matcher[] = [{ name: "__name__", kind: "=~", value: ".+" }];
const TIME_MAX_MS = 2 ** 52;

/** Wall and monotonic time that stand until a test moves both. */
export class TestClock implements Clock {
  ms = START_MS;

  nowMs(): number {
    return this.ms;
  }

  nowUnixNano(): bigint {
    return BigInt(this.ms) * 1_000_000n;
  }

  monotonicMs(): number {
    return this.ms - START_MS;
  }
}

/** A directory that is removed when the test ends. */
export async function metricDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-metrics-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A metric store whose damage fails the test unless it says otherwise. */
export function openMetrics(directory: string, more: Partial<MetricStoreOptions> = {}): Promise<MetricStore> {
  const onDamage = (damage: Error) => {
    throw damage;
  };
  return MetricStore.open({ directory, clock: new TestClock(), retentionMs: 86_400_000, onDamage, ...more });
}

/** A float or histogram at a time, with the time since which it counts. */
export type TestSample = readonly [ms: number, value: number | NativeHistogram, startMs?: number];

/** Samples as a write brings them. */
export function seriesOf(l: Labels, samples: readonly TestSample[]): SeriesToAppend {
  const histograms: (NativeHistogram | undefined)[] = [];
  const values = new Float64Array(samples.length);
  for (const [i, [, value]] of samples.entries()) {
    if (typeof value === "number") values[i] = value;
    else {
      values[i] = Number.NaN;
      histograms[i] = value;
    }
  }
  return {
    labels: l,
    timestampsMs: Float64Array.from(samples, ([ms]) => ms),
    values,
    histograms: histograms.length > 0 ? histograms : undefined,
    startsMs: Float64Array.from(samples, ([, , startMs = 0]) => startMs),
  };
}

/** All samples of a store, a line each series. */
export async function allOf(metrics: MetricStore, matchers = EVERYTHING): Promise<string[]> {
  return linesOf(await metrics.reader.select(matchers, -TIME_MAX_MS, TIME_MAX_MS));
}

/** Times and values of the only series there is. */
export async function valuesOf(metrics: MetricStore): Promise<string> {
  const [found] = await metrics.reader.select(EVERYTHING, -TIME_MAX_MS, TIME_MAX_MS);
  return [...(found?.timestampsMs ?? [])].map((ms, i) => `${ms}:${found?.values[i]}`).join(" ");
}

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

/** A run of a few to some hundred samples of any kinds: floats of one class or of all, histograms, stale markers, starts. */
export function anyRun(pick: Pick): SampleRun {
  const count = 1 + pick(pick(4) === 0 ? 300 : 40);
  const columns = emptyColumns(count);
  const numbers = pick(9);
  const constant = anyDouble(pick);
  let counter = pick(1_000_000);
  const kinds = pick(4);
  let ms = (pick(2) === 0 ? 1_768_478_400_000 : 0) - pick(2) * pick(10_000_000);
  let histogram = anyHistogram(pick);
  const numberOf = (kind: number) => {
    counter += pick(50);
    const large = 2 ** pick(51) * (pick(3) - 1) + pick(2);
    return (
      [
        pick(1000),
        pick(10_000) / 100,
        anyDouble(pick),
        pick(1000) / 7,
        constant,
        counter,
        large,
        4096 * pick(2 ** 30),
        counter / 1e9,
      ][kind] ?? 0
    );
  };
  for (let i = 0; i < count; i++) {
    columns.timestampsMs[i] = ms;
    ms += pick(4) === 0 ? 1 + pick(2 ** 31) : 15_000;
    columns.values[i] = numberOf(numbers);
    if (kinds === 1 && pick(6) === 0) columns.values[i] = STALE_NAN;
    if (kinds >= 2 && (kinds === 2 || pick(2) === 0)) {
      histogram = pick(3) === 0 ? anyHistogram(pick) : grown(histogram, pick(5));
      columns.histograms ??= [];
      columns.histograms[i] = histogram;
      columns.values[i] = Number.NaN;
    }
    if (pick(9) === 0) {
      columns.startsMs ??= new Float64Array(count);
      columns.startsMs[i] = ms - pick(100_000);
    }
  }
  return columns;
}

/** Text that is the same for samples that are the same bit by bit. */
export function bitText(value: number): string {
  const { high, low } = bitsOf(value);
  return `${(high >>> 0).toString(16)}:${(low >>> 0).toString(16)}`;
}

/** Text of a histogram, every bit of it. */
function histogramText(histogram: NativeHistogram): string {
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
