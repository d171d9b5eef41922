/** From samples to steps: instant selectors, range functions, sub-queries. */

import type { NativeHistogram } from "../../model/histogram.ts";
import type { SeriesSamples } from "../../model/series.ts";
import { type FedSeries, withColumns } from "./encoded-columns.ts";
import type { QueryBudget } from "./query-budget.ts";
import { fallsSomewhere, type RangeKernel, type RangeWindow } from "./range-kernels.ts";
import {
  ABSENT,
  FLOAT,
  histogramAt,
  makeSeries,
  putHistogram,
  type RangeSeries,
  type StepGrid,
  type StepSeries,
  stepTimeMs,
} from "./step-vector.ts";
import { isStale, wordsOf } from "./value-words.ts";

/** What an instant selector gives for each step. */
interface InstantOptions {
  readonly lookbackMs: number;
  /** The value of the sample, or the seconds at which it is or since which it counts. */
  readonly read: "value" | "time" | "start";
}

/** Newest sample in `(T - lookback, T]` for every step; a staleness marker there means no value. */
export function selectInstant(
  samples: FedSeries,
  grid: StepGrid,
  options: InstantOptions,
  budget: QueryBudget,
): StepSeries {
  const { newest, at } = samples;
  if (newest !== undefined && at !== undefined && options.read === "value" && grid.steps === 1) {
    const out = makeSeries(samples.labels, false, grid, budget);
    const sampleMs = newest.timestampsMs[at] as number; // in range: a sample each
    const isSeen = sampleMs <= grid.startMs && sampleMs > grid.startMs - options.lookbackMs;
    if (!isSeen || isStale(newest.words, at)) return out;
    out.present[0] = FLOAT;
    out.values[0] = newest.values[at] as number;
    return out;
  }
  const { read } = options;
  const out = makeSeries(samples.labels, false, grid, budget);
  if (samples.pickNewest !== undefined && read === "value") {
    samples.pickNewest(grid, options.lookbackMs, out);
    return out;
  }
  const { timestampsMs, values, histograms, startsMs } = samples;
  if (histograms === undefined && read === "value") {
    selectFloats(samples, grid, options.lookbackMs, out);
    return out;
  }
  const words = wordsOf(values);
  let next = 0;
  for (let k = 0; k < grid.steps; k++) {
    const timeMs = stepTimeMs(grid, k);
    while (next < timestampsMs.length && (timestampsMs[next] ?? 0) <= timeMs) next++;
    const index = next - 1;
    const sampleMs = timestampsMs[index];
    if (sampleMs === undefined || sampleMs <= timeMs - options.lookbackMs || isStale(words, index)) continue;
    const histogram = histograms === undefined || read !== "value" ? undefined : histograms[index];
    if (histogram !== undefined) {
      putHistogram(out, k, histogram, budget);
      continue;
    }
    out.present[k] = FLOAT;
    if (read === "value") out.values[k] = values[index] ?? Number.NaN;
    else out.values[k] = (read === "time" ? sampleMs : (startsMs?.[index] ?? 0)) / 1000;
  }
  return out;
}

/** The same for a series of floats only. */
function selectFloats(
  { timestampsMs, values }: Pick<SeriesSamples, "timestampsMs" | "values">,
  grid: StepGrid,
  lookbackMs: number,
  { values: out, present }: StepSeries,
): void {
  const { length } = timestampsMs;
  const { startMs, stepMs, steps } = grid;
  let words: Uint32Array | undefined;
  let next = 0;
  for (let k = 0; k < steps; k++) {
    const timeMs = startMs + k * stepMs;
    while (next < length && (timestampsMs[next] as number) <= timeMs) next++; // in range: the loop's bounds
    if (next === 0) continue;
    const index = next - 1;
    if ((timestampsMs[index] as number) <= timeMs - lookbackMs) continue;
    const value = values[index] as number; // in range, as its time
    if (Number.isNaN(value)) {
      words ??= wordsOf(values);
      if (isStale(words, index)) continue;
    }
    present[k] = FLOAT;
    out[k] = value;
  }
}

function countStale(values: Float64Array): number {
  let words: Uint32Array | undefined;
  let stale = 0;
  for (let i = 0; i < values.length; i++) {
    if (!Number.isNaN(values[i] as number)) continue; // in range: the loop's bounds
    words ??= wordsOf(values);
    if (isStale(words, i)) stale++;
  }
  return stale;
}

/** Samples without staleness markers; the same arrays where there are none. */
export function withoutStale(samples: FedSeries): RangeSeries {
  const { labels, number, made, timestampsMs, values, startsMs, columns } = samples;
  if (number !== undefined || made !== undefined) {
    return { labels, dropName: false, timestampsMs, values, histograms: undefined, startsMs: undefined, number, made };
  }
  const stale = columns?.isWhole === true ? 0 : countStale(values);
  if (stale === 0 && columns !== undefined) {
    return withColumns({ labels, dropName: false, timestampsMs, values, startsMs }, columns);
  }
  const { histograms } = samples;
  if (stale === 0) return { labels, dropName: false, timestampsMs, values, histograms, startsMs };
  const length = values.length - stale;
  const words = wordsOf(values);
  const keptTimes = new Float64Array(length);
  const keptValues = new Float64Array(length);
  const keptStarts = startsMs === undefined ? undefined : new Float64Array(length);
  const keptHistograms = histograms === undefined ? undefined : new Array<NativeHistogram | undefined>(length);
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    if (isStale(words, i)) continue;
    keptTimes[count] = timestampsMs[i] ?? 0;
    if (keptStarts !== undefined) keptStarts[count] = startsMs?.[i] ?? 0;
    if (keptHistograms !== undefined) keptHistograms[count] = histograms?.[i];
    keptValues[count++] = values[i] ?? Number.NaN;
  }
  return {
    labels,
    dropName: false,
    timestampsMs: keptTimes,
    values: keptValues,
    histograms: keptHistograms,
    startsMs: keptStarts,
  };
}

/** As `withoutStale`, for as long as no other series is looked at. */
export function passingWithoutStale(samples: FedSeries): RangeSeries {
  if (samples.read === undefined) return withoutStale(samples);
  const { labels } = samples;
  const { timestampsMs, values, mayBeStale } = samples.read();
  if (mayBeStale) return withoutStale({ labels, timestampsMs, values });
  return { labels, dropName: false, timestampsMs, values, histograms: undefined, startsMs: undefined };
}

/** Samples of which nobody knows since when they count. */
export function withoutStarts(series: RangeSeries): RangeSeries {
  const { labels, dropName, timestampsMs, values, columns } = series;
  const rest = { labels, dropName, timestampsMs, values, startsMs: undefined };
  return columns === undefined ? { ...rest, histograms: series.histograms } : withColumns(rest, columns);
}

/** A window for `applyKernel`; `first` and `second` are set by the caller's `setArguments`. */
function makeWindow(): RangeWindow {
  return {
    timestampsMs: new Float64Array(0),
    values: new Float64Array(0),
    startsMs: undefined,
    low: 0,
    high: 0,
    startMs: 0,
    endMs: 0,
    earliestMs: 0,
    stepMs: 0,
    first: 0,
    second: 0,
    hasResets: false,
    overlaps: false,
    result: 0,
  };
}

/** Where the windows of a range lie. */
export interface RangeGrid {
  /** Steps of the query: what a result belongs to. */
  readonly grid: StepGrid;
  /** The right edges, after offset and `@`. */
  readonly shifted: StepGrid;
  readonly rangeMs: number;
  /** By `@`: every step has the samples of the first one. */
  readonly isPinned: boolean;
  /** How far an anchored or smoothed range looks beyond its edges. */
  readonly beforeMs: number;
  readonly afterMs: number;
}

/** Scalar arguments of a range function, one value a step. */
export interface KernelArguments {
  readonly first: Float64Array | undefined;
  readonly second: Float64Array | undefined;
}

/**
 * Runs a kernel over every window of one series: the edges slide, each sample is passed once.
 *
 * @returns Steps at which start timestamps contradicted the samples before them.
 */
export function applyKernel(
  series: RangeSeries,
  kernel: RangeKernel,
  ranges: RangeGrid,
  args: KernelArguments,
  out: StepSeries,
): readonly number[] {
  const { timestampsMs, values } = series;
  const window = makeWindow();
  window.timestampsMs = timestampsMs;
  window.values = values;
  window.startsMs = series.startsMs;
  window.hasResets = fallsSomewhere(values);
  const overlapping: number[] = [];
  let low = 0;
  let high = 0;
  for (let k = 0; k < ranges.grid.steps; k++) {
    const endMs = stepTimeMs(ranges.shifted, k);
    const startMs = endMs - ranges.rangeMs;
    if (k === 0 || !ranges.isPinned) {
      while (high < timestampsMs.length && (timestampsMs[high] ?? 0) <= endMs + ranges.afterMs) high++;
      while (low < high && (timestampsMs[low] ?? 0) <= startMs - ranges.beforeMs) low++;
    }
    if (low === high) continue;
    window.low = low;
    window.high = high;
    window.startMs = startMs;
    window.endMs = endMs;
    window.earliestMs = startMs - ranges.beforeMs;
    window.stepMs = stepTimeMs(ranges.grid, k);
    window.first = args.first?.[k] ?? 0;
    window.second = args.second?.[k] ?? 0;
    window.overlaps = false;
    const hasResult = kernel(window);
    if (window.overlaps) overlapping.push(k);
    if (!hasResult) continue;
    out.present[k] = FLOAT;
    out.values[k] = window.result;
  }
  return overlapping;
}

/** Values of a sub-query as samples, which know no start timestamps. */
export function stepsToSamples(series: StepSeries, grid: StepGrid): RangeSeries {
  let count = 0;
  for (const present of series.present) if (present !== ABSENT) count++;
  const timestampsMs = new Float64Array(count);
  const values = new Float64Array(count);
  const histograms = series.histograms === undefined ? undefined : new Array<NativeHistogram | undefined>(count);
  let at = 0;
  for (let k = 0; k < grid.steps; k++) {
    if (series.present[k] === ABSENT) continue;
    timestampsMs[at] = stepTimeMs(grid, k);
    const histogram = histogramAt(series, k);
    if (histograms !== undefined) histograms[at] = histogram;
    values[at++] = histogram === undefined ? (series.values[k] ?? Number.NaN) : Number.NaN;
  }
  return { labels: series.labels, dropName: series.dropName, timestampsMs, values, histograms, startsMs: undefined };
}

/** A sub-query leaves samples out or repeats them, so what a hint says of the sample before does not hold for functions. */
export function forgetResets(series: RangeSeries): RangeSeries {
  if (series.histograms === undefined) return series;
  const histograms = series.histograms.map((histogram) => {
    if (histogram?.resetHint !== "reset" && histogram?.resetHint !== "not_reset") return histogram;
    return { ...histogram, resetHint: "unknown" } as const;
  });
  return { ...series, columns: undefined, histograms };
}
