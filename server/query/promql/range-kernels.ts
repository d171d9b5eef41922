/**
 * Functions of a window of samples, `rate` to `quantile_over_time`.
 *
 * A kernel reads `values[low..high)` of one series and gives the value of one step. Absence is a return of false.
 */

import { CompensatedMean, CompensatedSum } from "./compensated.ts";
import { integral } from "./integral.ts";
import { printFixed } from "./number-text.ts";
import { quantileOf } from "./quantile.ts";
import { PromqlExecutionError } from "./query-error.ts";
import { isStartReset, startsOverlap } from "./start-timestamps.ts";

/** The window a kernel looks at; one object serves a whole query. */
export interface RangeWindow {
  timestampsMs: Float64Array;
  values: Float64Array;
  /** Since when each sample counts; undefined where that is unknown or not looked at. */
  startsMs: Float64Array | undefined;
  /** First sample of the window, and the one after its last; a kernel is called only with at least one. */
  low: number;
  high: number;
  /** Edges of the window after offset and `@`: left one open. */
  startMs: number;
  endMs: number;
  /** How far back samples may be: before the left edge for an anchored or smoothed range. */
  earliestMs: number;
  /** Time of the step itself. */
  stepMs: number;
  /** Scalar arguments at this step. */
  first: number;
  second: number;
  /** Whether the series has a sample smaller than the one before: set once for each series. */
  hasResets: boolean;
  /** Kernels say here that a sample claims to count since before the one before it. */
  overlaps: boolean;
  result: number;
}

/** Computes one value from the samples of a window into `result`; false where the window gives none. */
export type RangeKernel = (window: RangeWindow) => boolean;

/** Whether a sample is smaller than the one before. */
export function fallsSomewhere(values: Float64Array): boolean {
  return fallsIn(values, 0, values.length);
}

/** The same for the samples `[low, high)`. */
export function fallsIn(values: Float64Array, low: number, high: number): boolean {
  for (let i = low + 1; i < high; i++) if ((values[i] as number) < (values[i - 1] as number)) return true; // in range
  return false;
}

function at(values: Float64Array, index: number): number {
  return values[index] ?? Number.NaN;
}

/** Extrapolates the difference of the last and the first sample to the whole window. */
function extrapolated(window: RangeWindow, isCounter: boolean, isRate: boolean): boolean {
  const { timestampsMs, values, low, high } = window;
  const steps = high - low - 1;
  const firstMs = at(timestampsMs, low);
  const lastMs = at(timestampsMs, high - 1);
  const counterStartMs = isCounter ? (window.startsMs?.[low] ?? 0) : 0;
  const startsInside = counterStartMs !== 0 && counterStartMs > window.startMs && counterStartMs < firstMs;
  if (steps === 0 && !startsInside) return false;
  const first = at(values, low);
  const difference = at(values, high - 1) - first;
  let result = isCounter ? plusResets(window, difference) : difference;
  let sampledSeconds = (lastMs - firstMs) / 1000;
  const meanSeconds = steps > 0 ? sampledSeconds / steps : 0;
  const threshold = meanSeconds * 1.1;
  let toStart = (firstMs - window.startMs) / 1000;
  let toEnd = (window.endMs - lastMs) / 1000;
  if (startsInside) {
    // The counter was zero when it started.
    toStart = 0;
    sampledSeconds = (lastMs - counterStartMs) / 1000;
    result += first;
  } else {
    if (toStart >= threshold) toStart = meanSeconds / 2;
    if (isCounter && result > 0 && first >= 0) {
      const toZero = sampledSeconds * (first / result);
      if (toZero < toStart) toStart = toZero;
    }
  }
  if (toEnd >= threshold) toEnd = meanSeconds / 2;
  let factor = sampledSeconds === 0 ? 1 : (sampledSeconds + toStart + toEnd) / sampledSeconds;
  if (isRate) factor /= (window.endMs - window.startMs) / 1000;
  window.result = result * factor;
  return true;
}

/** A difference and, one after the other, what the counter had reached before each reset. */
function plusResets(window: RangeWindow, difference: number): number {
  const { values, startsMs, low, high } = window;
  let sum = difference;
  if (startsMs === undefined && !window.hasResets) return sum;
  for (let i = low + 1; i < high; i++) {
    const before = at(values, i - 1);
    if (at(values, i) < before || isStartResetAt(window, i)) sum += before;
  }
  if (startsMs !== undefined && overlapsSomewhere(window, startsMs)) window.overlaps = true;
  return sum;
}

/** Whether the start timestamps say that a counter began anew before the sample at `index`. */
function isStartResetAt({ timestampsMs, startsMs }: RangeWindow, index: number): boolean {
  if (startsMs === undefined) return false;
  const [beforeMs, timeMs] = [at(timestampsMs, index - 1), at(timestampsMs, index)];
  return isStartReset(at(startsMs, index - 1), beforeMs, at(startsMs, index), timeMs);
}

function overlapsSomewhere({ timestampsMs, low, high }: RangeWindow, startsMs: Float64Array): boolean {
  for (let i = low + 1; i < high; i++) {
    if (startsOverlap(at(startsMs, i - 1), at(timestampsMs, i - 1), at(startsMs, i))) return true;
  }
  return false;
}

/** Difference of the last two samples. */
function instantaneous(window: RangeWindow, isRate: boolean): boolean {
  const { timestampsMs, values, low, high } = window;
  if (high - low < 2) return false;
  const interval = at(timestampsMs, high - 1) - at(timestampsMs, high - 2);
  if (interval === 0) return false;
  const last = at(values, high - 1);
  const before = at(values, high - 2);
  const isReset = isRate && (last < before || isStartResetAt(window, high - 1));
  const difference = isReset ? last : last - before;
  window.result = isRate ? difference / (interval / 1000) : difference;
  return true;
}

/** Slope per second and value at `interceptMs`, by least squares. */
function regression(window: RangeWindow, interceptMs: number): { slope: number; intercept: number } {
  const { timestampsMs, values, low, high } = window;
  const x = new CompensatedSum();
  const y = new CompensatedSum();
  const xy = new CompensatedSum();
  const xx = new CompensatedSum();
  const first = at(values, low);
  let constant = true;
  for (let i = low; i < high; i++) {
    const value = at(values, i);
    if (value !== first) constant = false;
    const seconds = (at(timestampsMs, i) - interceptMs) / 1000;
    x.add(seconds);
    y.add(value);
    xy.add(seconds * value);
    xx.add(seconds * seconds);
  }
  if (constant) {
    if (Math.abs(first) === Number.POSITIVE_INFINITY) return { slope: Number.NaN, intercept: Number.NaN };
    return { slope: 0, intercept: first };
  }
  const n = high - low;
  const covariance = xy.value - (x.value * y.value) / n;
  const variance = xx.value - (x.value * x.value) / n;
  const slope = covariance / variance;
  return { slope, intercept: y.value / n - (slope * x.value) / n };
}

/** Population variance (Welford, compensated). */
function variance(window: RangeWindow): number {
  const mean = new CompensatedSum();
  const squares = new CompensatedSum();
  let count = 0;
  for (let i = window.low; i < window.high; i++) {
    const value = at(window.values, i);
    count++;
    const delta = value - mean.value;
    mean.add(delta / count);
    squares.add(delta * (value - mean.value));
  }
  return squares.value / count;
}

/** Index of the largest or smallest sample; NaN loses to any number. Of equal ones the first wins, or the last. */
function extremeIndex(window: RangeWindow, largest: boolean, lastOfEqual: boolean): number {
  const { values, low, high } = window;
  let best = low;
  let known = at(values, low);
  for (let i = low + 1; i < high; i++) {
    const value = at(values, i);
    const better = largest ? value > known : value < known;
    if (!better && !(lastOfEqual && value === known) && !Number.isNaN(known)) continue;
    best = i;
    known = value;
  }
  return best;
}

function median(values: Float64Array): number {
  return quantileOf(values, 0.5);
}

function result(compute: (window: RangeWindow) => number): RangeKernel {
  return (window) => {
    window.result = compute(window);
    return true;
  };
}

/** Kernels by function name. `absent_over_time` is not among them: it looks at all series together. */
export const RANGE_KERNELS: ReadonlyMap<string, RangeKernel> = new Map<string, RangeKernel>([
  ["rate", (window) => extrapolated(window, true, true)],
  ["increase", (window) => extrapolated(window, true, false)],
  ["delta", (window) => extrapolated(window, false, false)],
  ["irate", (window) => instantaneous(window, true)],
  ["idelta", (window) => instantaneous(window, false)],
  [
    "sum_over_time",
    result(({ values, low, high }) => {
      const sum = new CompensatedSum();
      for (let i = low; i < high; i++) sum.add(at(values, i));
      return sum.value;
    }),
  ],
  [
    "avg_over_time",
    result(({ values, low, high }) => {
      const mean = new CompensatedMean();
      for (let i = low; i < high; i++) mean.add(at(values, i));
      return mean.value;
    }),
  ],
  ["integral", result(integral)],
  ["count_over_time", result(({ low, high }) => high - low)],
  ["present_over_time", result(() => 1)],
  ["first_over_time", result(({ values, low }) => at(values, low))],
  ["last_over_time", result(({ values, high }) => at(values, high - 1))],
  ["max_over_time", result((window) => at(window.values, extremeIndex(window, true, false)))],
  ["min_over_time", result((window) => at(window.values, extremeIndex(window, false, false)))],
  ["ts_of_max_over_time", result((window) => at(window.timestampsMs, extremeIndex(window, true, true)) / 1000)],
  ["ts_of_min_over_time", result((window) => at(window.timestampsMs, extremeIndex(window, false, true)) / 1000)],
  ["ts_of_first_over_time", result(({ timestampsMs, low }) => at(timestampsMs, low) / 1000)],
  ["ts_of_last_over_time", result(({ timestampsMs, high }) => at(timestampsMs, high - 1) / 1000)],
  ["stddev_over_time", result((window) => Math.sqrt(variance(window)))],
  ["stdvar_over_time", result(variance)],
  ["quantile_over_time", result(({ values, low, high, first }) => quantileOf(values.slice(low, high), first))],
  [
    "mad_over_time",
    result(({ values, low, high }) => {
      const all = values.slice(low, high);
      if (all.some(Number.isNaN)) return Number.NaN;
      const middle = median(all);
      return median(all.map((value) => Math.abs(value - middle)));
    }),
  ],
  [
    "changes",
    result(({ values, low, high }) => {
      let changes = 0;
      for (let i = low + 1; i < high; i++) {
        const value = at(values, i);
        const before = at(values, i - 1);
        if (value !== before && !(Number.isNaN(value) && Number.isNaN(before))) changes++;
      }
      return changes;
    }),
  ],
  [
    "resets",
    result((window) => {
      const { values, low, high } = window;
      let resets = 0;
      for (let i = low + 1; i < high; i++) {
        if (at(values, i) < at(values, i - 1) || isStartResetAt(window, i)) resets++;
      }
      return resets;
    }),
  ],
  [
    "deriv",
    (window) => {
      if (window.high - window.low < 2) return false;
      window.result = regression(window, at(window.timestampsMs, window.low)).slope;
      return true;
    },
  ],
  [
    "predict_linear",
    (window) => {
      if (window.high - window.low < 2) return false;
      const { slope, intercept } = regression(window, window.stepMs);
      window.result = slope * window.first + intercept;
      return true;
    },
  ],
  ["double_exponential_smoothing", smoothed],
]);

/**
 * Looks at the factors of `double_exponential_smoothing`.
 *
 * @throws PromqlExecutionError where one is not between 0 and 1.
 */
export function checkFactors(level: number, trend: number): void {
  checkFactor(level, "smoothing", "sf");
  checkFactor(trend, "trend", "tf");
}

function checkFactor(factor: number, name: string, short: string): void {
  if (factor > 0 && factor < 1) return;
  if (Number.isNaN(factor)) return; // as Prometheus does
  throw new PromqlExecutionError(`invalid ${name} factor. Expected: 0 < ${short} < 1, got: ${printFixed(factor)}`);
}

/** Holt and Winters: `first` smooths the level, `second` the trend. */
function smoothed(window: RangeWindow): boolean {
  const { values, low, high, first: levelFactor, second: trendFactor } = window;
  checkFactors(levelFactor, trendFactor);
  if (high - low < 2) return false;
  let before = 0;
  let level = at(values, low);
  let trend = at(values, low + 1) - at(values, low);
  for (let i = low + 1; i < high; i++) {
    if (i > low + 1) trend = trendFactor * (level - before) + (1 - trendFactor) * trend;
    before = level;
    level = levelFactor * at(values, i) + (1 - levelFactor) * (level + trend);
  }
  window.result = level;
  return true;
}

/** Range functions whose results keep the metric name. */
export const NAME_KEEPING_KERNELS: ReadonlySet<string> = new Set(["first_over_time", "last_over_time"]);
