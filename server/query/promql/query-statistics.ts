/**
 * What `stats=` tells of a query's samples, counted as Prometheus counts them.
 *
 * A histogram counts as many as its size in floats. Smoothed instant selectors do not count, as there.
 *
 * @see Prometheus, util/stats/query_stats.go
 */

import { histogramSize } from "./query-budget.ts";
import type { RangeGrid } from "./select-steps.ts";
import {
  FLOAT,
  HISTOGRAM,
  histogramAt,
  type RangeSeries,
  type StepGrid,
  type StepSeries,
  stepTimeMs,
} from "./step-vector.ts";

/** Counts of one evaluation, by step of its grid. */
export interface StepCounts {
  readonly grid: StepGrid;
  /** Samples that the steps look at: a range counts whole at each step. */
  readonly queryable: Float64Array;
  /** Samples that are new at a step: of overlapping ranges each sample counts once. */
  readonly read: Float64Array;
}

/** Which samples of a sub-query its reader looks at, at each of its own steps. */
interface Consumer {
  readonly grid: StepGrid;
  readonly offsetMs: number;
  readonly rangeMs: number;
  /** Time of the sub-query's `@`. */
  readonly atMs: number | undefined;
}

function countsOf(grid: StepGrid): StepCounts {
  return { grid, queryable: new Float64Array(grid.steps), read: new Float64Array(grid.steps) };
}

function sum(counts: Float64Array): number {
  return counts.reduce((total, count) => total + count, 0);
}

/** Counts while a query runs. Parts with a grid of their own are counted apart and then added to what is around. */
export class QueryStatistics {
  #series = 0;
  #counts: StepCounts;

  constructor(grid: StepGrid) {
    this.#counts = countsOf(grid);
  }

  /** Series that selectors found. */
  get series(): number {
    return this.#series;
  }

  /** By step of the whole query. */
  get counts(): StepCounts {
    return this.#counts;
  }

  /** @param count Series that a selector found. */
  countSeries(count: number): void {
    this.#series += count;
  }

  /** Values that an instant selector found. @param weighs Whether histograms count by size. */
  countSelected(series: StepSeries, weighs: boolean): void {
    const { queryable, read } = this.#counts;
    for (let k = 0; k < series.present.length; k++) {
      const type = series.present[k];
      if (type !== FLOAT && type !== HISTOGRAM) continue;
      const histogram = weighs ? histogramAt(series, k) : undefined;
      const size = histogram === undefined ? 1 : histogramSize(histogram);
      queryable[k] = (queryable[k] ?? 0) + size;
      read[k] = (read[k] ?? 0) + size;
    }
  }

  /** Samples in the windows of a range function. */
  countWindows({ timestampsMs, histograms }: RangeSeries, ranges: RangeGrid): void {
    const { queryable, read } = this.#counts;
    const before = cumulativeSizes(timestampsMs.length, histograms);
    const sizeOf = (from: number, to: number) => (before[to] ?? 0) - (before[from] ?? 0);
    let low = 0;
    let high = 0;
    let known = 0;
    for (let k = 0; k < ranges.grid.steps; k++) {
      if (k === 0 || !ranges.isPinned) {
        const endMs = stepTimeMs(ranges.shifted, k);
        const untilMs = endMs + ranges.afterMs;
        const afterMs = endMs - ranges.rangeMs - ranges.beforeMs;
        while (high < timestampsMs.length && (timestampsMs[high] ?? 0) <= untilMs) high++;
        while (low < high && (timestampsMs[low] ?? 0) <= afterMs) low++;
        while (known < high && (timestampsMs[known] ?? 0) <= untilMs - ranges.grid.stepMs) known++;
        read[k] = (read[k] ?? 0) + sizeOf(k === 0 ? low : Math.max(low, known), high);
      }
      queryable[k] = (queryable[k] ?? 0) + sizeOf(low, high);
    }
  }

  /** Samples of a range that is the whole query. */
  countRange({ timestampsMs, histograms }: Pick<RangeSeries, "timestampsMs" | "histograms">): void {
    const size = cumulativeSizes(timestampsMs.length, histograms).at(-1) ?? 0;
    const { queryable, read } = this.#counts;
    queryable[0] = (queryable[0] ?? 0) + size;
    read[0] = (read[0] ?? 0) + size;
  }

  /** Runs an evaluation at one step whose value holds at all steps: it is looked at everywhere and read once. */
  once<Value>(grid: StepGrid, evaluate: () => Value): Value {
    const [value, inner] = this.#apart(grid, evaluate);
    const { queryable, read } = this.#counts;
    const looked = sum(inner.queryable);
    for (let k = 0; k < queryable.length; k++) queryable[k] = (queryable[k] ?? 0) + looked;
    read[0] = (read[0] ?? 0) + sum(inner.read);
    return value;
  }

  /** Runs the evaluation inside of a sub-query. */
  subquery<Value>(grid: StepGrid, consumer: Consumer, evaluate: () => Value): Value {
    const [value, inner] = this.#apart(grid, evaluate);
    addQueryable(this.#counts.queryable, inner, consumer);
    addRead(this.#counts.read, inner, consumer);
    return value;
  }

  #apart<Value>(grid: StepGrid, evaluate: () => Value): readonly [Value, StepCounts] {
    const outer = this.#counts;
    const inner = countsOf(grid);
    this.#counts = inner;
    try {
      return [evaluate(), inner];
    } finally {
      this.#counts = outer;
    }
  }
}

/** Sizes of all samples before each index, and of all of them. */
function cumulativeSizes(length: number, histograms: RangeSeries["histograms"]): Float64Array {
  const before = new Float64Array(length + 1);
  for (let i = 0; i < length; i++) {
    const histogram = histograms?.[i];
    before[i + 1] = (before[i] ?? 0) + (histogram === undefined ? 1 : histogramSize(histogram));
  }
  return before;
}

/** Times of the inner steps, as the consumer sees them. */
function innerTimeMs(inner: StepCounts, step: number, { offsetMs }: Consumer): number {
  return stepTimeMs(inner.grid, step) + offsetMs;
}

/** Each step looks at all inner steps in its window. */
function addQueryable(into: Float64Array, inner: StepCounts, consumer: Consumer): void {
  const { grid, rangeMs, atMs } = consumer;
  if (into.length <= 1) {
    into[0] = (into[0] ?? 0) + sum(inner.queryable);
    return;
  }
  let low = 0;
  let high = 0;
  let looked = 0;
  for (let k = 0; k < into.length; k++) {
    const endMs = atMs ?? stepTimeMs(grid, k);
    for (; high < inner.queryable.length && innerTimeMs(inner, high, consumer) <= endMs; high++) {
      looked += inner.queryable[high] ?? 0;
    }
    for (; low < high && innerTimeMs(inner, low, consumer) <= endMs - rangeMs; low++) {
      looked -= inner.queryable[low] ?? 0;
    }
    into[k] = (into[k] ?? 0) + looked;
  }
}

/** Each inner step is read once, by the first step that looks at it. */
function addRead(into: Float64Array, inner: StepCounts, consumer: Consumer): void {
  const { grid, rangeMs, atMs } = consumer;
  for (let k = 0; k < inner.read.length; k++) {
    const timeMs = innerTimeMs(inner, k, consumer);
    let step = 0;
    if (into.length > 1 && atMs !== undefined) {
      if (timeMs <= atMs - rangeMs || timeMs > atMs) continue;
    } else if (into.length > 1) {
      step = timeMs > grid.startMs ? Math.ceil((timeMs - grid.startMs) / grid.stepMs) : 0;
      if (step >= into.length || timeMs <= stepTimeMs(grid, step) - rangeMs) continue;
    }
    into[step] = (into[step] ?? 0) + (inner.read[k] ?? 0);
  }
}
