/** The store's reading of samples over plain memory: what the engine is run on while nothing is to be learnt of the store. */

import { type CounterResetHint, CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../../server/model/histogram.ts";
import { type Labels, type Matcher, type SeriesSamples, STALE_NAN_BITS } from "../../server/model/series.ts";
import { compileRegex } from "../../server/query/promql/regex.ts";
import { labelsKey, labelValue } from "../../server/query/promql/series-labels.ts";
import type { QueryReader } from "../../server/query/query-feed.ts";
import type { LoadedSample, LoadedSeries } from "./series-notation.ts";
import { type TestHistogram, toNative } from "./test-histogram.ts";

const STALE = new Uint8Array(new BigUint64Array([STALE_NAN_BITS]).buffer);

/** Where the samples of a test file are kept. */
export interface TestStore extends QueryReader {
  /** Forgets everything. */
  clear(): Promise<void>;
  /** @throws Error where a sample was refused. */
  load(series: readonly LoadedSeries[]): Promise<void>;
  select(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<SeriesSamples[]>;
}

interface Kept {
  readonly labels: Labels;
  readonly samples: LoadedSample[];
  /** As the engine takes them, made when first asked for after a load. */
  columns: SeriesSamples | undefined;
}

/** Keeps samples in memory; hints of histograms are derived as Prometheus' store derives them. */
export class MemoryStore implements TestStore {
  #series = new Map<string, Kept>();

  async clear(): Promise<void> {
    this.#series = new Map();
  }

  async load(series: readonly LoadedSeries[]): Promise<void> {
    for (const { labels, samples } of series) {
      const key = labelsKey(labels);
      const kept = this.#series.get(key) ?? { labels, samples: [], columns: undefined };
      this.#series.set(key, kept);
      for (const sample of samples) kept.samples.push(sample);
      kept.columns = undefined;
    }
  }

  async select(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<SeriesSamples[]> {
    const out: SeriesSamples[] = [];
    for (const kept of this.#series.values()) {
      if (!matchers.every((matcher) => matches(kept.labels, matcher))) continue;
      kept.columns ??= readColumns(kept);
      const part = cut(kept.columns, minMs, maxMs);
      if (part.values.length > 0) out.push(part);
    }
    return out;
  }
}

function matches(labels: Labels, { name, kind, value }: Matcher): boolean {
  const actual = labelValue(labels, name);
  switch (kind) {
    case "=":
      return actual === value;
    case "!=":
      return actual !== value;
    case "=~":
      return compileRegex(value).testExact(actual);
    case "!~":
      return !compileRegex(value).testExact(actual);
  }
}

/** Samples in the columns of the store's door; a staleness marker keeps its bits, histograms the hints of the file. */
export function columnsOf({ labels, samples }: LoadedSeries): SeriesSamples {
  const values = new Float64Array(samples.length);
  const bytes = new Uint8Array(values.buffer);
  const histograms: (NativeHistogram | undefined)[] = [];
  for (const [index, { value }] of samples.entries()) {
    if (value === "stale") bytes.set(STALE, index * 8);
    else if (typeof value === "number") values[index] = value;
    else {
      values[index] = Number.NaN;
      histograms[index] = toNative(value);
    }
  }
  return {
    labels,
    timestampsMs: Float64Array.from(samples, (sample) => sample.timestampMs),
    values,
    histograms: histograms.length > 0 ? histograms : undefined,
    startsMs: samples.some(({ startMs }) => startMs !== 0)
      ? Float64Array.from(samples, (sample) => sample.startMs)
      : undefined,
  };
}

/** The columns as they are read again: with the hints that a store derives. */
function readColumns(series: LoadedSeries): SeriesSamples {
  const columns = columnsOf(series);
  const hints = hintsOf(series.samples);
  const histograms = columns.histograms?.map((one, index) => one && { ...one, resetHint: hints[index] ?? "unknown" });
  return { ...columns, histograms };
}

function cut(columns: SeriesSamples, minMs: number, maxMs: number): SeriesSamples {
  const { labels, timestampsMs, values, histograms, startsMs } = columns;
  let from = 0;
  let to = timestampsMs.length;
  while (from < to && (timestampsMs[from] ?? 0) < minMs) from++;
  while (to > from && (timestampsMs[to - 1] ?? 0) > maxMs) to--;
  const part = histograms?.slice(from, to);
  return {
    labels,
    timestampsMs: timestampsMs.slice(from, to),
    values: values.slice(from, to),
    histograms: part?.some((one) => one !== undefined) === true ? part : undefined,
    startsMs: startsMs?.slice(from, to),
  };
}

/** The hint of each sample when it is read again: the first of a run of histograms is unknown, the others go on counting. */
function hintsOf(samples: readonly LoadedSample[]): (CounterResetHint | undefined)[] {
  return samples.map(({ value }, index) => {
    if (typeof value !== "object") return undefined;
    if (value.hint === "gauge") return "gauge";
    const before = samples[index - 1]?.value;
    const goesOn = typeof before === "object" && before.hint !== "gauge" && !startsRun(before, value);
    return goesOn ? "not_reset" : "unknown";
  });
}

function startsRun(before: TestHistogram, here: TestHistogram): boolean {
  if (here.hint === "reset") return true;
  if (here.schema !== before.schema || here.zeroThreshold !== before.zeroThreshold) return true;
  if (here.schema === CUSTOM_BUCKETS_SCHEMA && here.customValues.join() !== before.customValues.join()) return true;
  if (here.count < before.count || here.zeroCount < before.zeroCount) return true;
  return fell(before.positive, here.positive) || fell(before.negative, here.negative);
}

function fell(before: ReadonlyMap<number, number>, here: ReadonlyMap<number, number>): boolean {
  for (const [index, count] of before) if ((here.get(index) ?? 0) < count) return true;
  return false;
}
