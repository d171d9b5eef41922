/**
 * The functions of ranges that dashboards ask most, over a whole series at once: no window, no call for each step.
 *
 * They compute what the kernels of `range-kernels.ts` compute, in the same order, for series without start timestamps
 * whose windows have no more than their range in them.
 */

import { interpolated } from "./quantile.ts";
import { extrapolation, type RangeWindows, rangeWindows } from "./range-windows.ts";
import type { KernelArguments, RangeGrid } from "./select-steps.ts";
import { FLOAT, type RangeSeries, type StepSeries } from "./step-vector.ts";

/** Writes the steps of one series; false where it cannot, and the other kernel writes all of them. */
export type ColumnKernel = (series: RangeSeries, ranges: RangeGrid, args: KernelArguments, out: StepSeries) => boolean;

interface Extrapolation {
  readonly isCounter: boolean;
  readonly isRate: boolean;
}

const RATE: Extrapolation = { isCounter: true, isRate: true };
const INCREASE: Extrapolation = { isCounter: true, isRate: false };
const DELTA: Extrapolation = { isCounter: false, isRate: false };

/** Column kernels by the name of their function. */
export const COLUMN_KERNELS: ReadonlyMap<string, ColumnKernel> = new Map<string, ColumnKernel>([
  ["rate", (series, ranges, _, out) => extrapolatedColumn(series, ranges, RATE, out)],
  ["increase", (series, ranges, _, out) => extrapolatedColumn(series, ranges, INCREASE, out)],
  ["delta", (series, ranges, _, out) => extrapolatedColumn(series, ranges, DELTA, out)],
  ["quantile_over_time", quantileColumn],
]);

function extrapolatedColumn(
  { timestampsMs, values }: RangeSeries,
  ranges: RangeGrid,
  kind: Extrapolation,
  out: StepSeries,
): boolean {
  const windows = rangeWindows(timestampsMs, ranges);
  const resets = kind.isCounter ? resetsOf(values) : NO_RESETS;
  const factors = kind.isRate ? windows.rateFactor : windows.factor;
  const column = { windows, factors, seconds: kind.isRate ? ranges.rangeMs / 1000 : 1 };
  if (!kind.isCounter) extrapolateGauge(values, column, out);
  else if (resets.length === 0) extrapolateCounter(values, column, out);
  else extrapolateResets(values, column, resets, out);
  return true;
}

/** Windows, by what differences in them are multiplied, and what that was divided by. */
interface ExtrapolatedWindows {
  readonly windows: RangeWindows;
  readonly factors: Float64Array;
  readonly seconds: number;
}

// All indexes are in range: steps of the grid, and samples in their windows. A loop of its own for each kind, since one
// that does all makes an object of each number.

function extrapolateGauge(
  values: Float64Array,
  { windows: { first: firsts, last: lasts }, factors }: ExtrapolatedWindows,
  { values: results, present }: StepSeries,
): void {
  for (let k = 0; k < firsts.length; k++) {
    const low = firsts[k] as number;
    if (low < 0) continue;
    results[k] = ((values[lasts[k] as number] as number) - (values[low] as number)) * (factors[k] as number);
    present[k] = FLOAT;
  }
}

function extrapolateCounter(
  values: Float64Array,
  { windows, factors, seconds }: ExtrapolatedWindows,
  { values: results, present }: StepSeries,
): void {
  const { first: firsts, last: lasts, certainFirst } = windows;
  for (let k = 0; k < firsts.length; k++) {
    const low = firsts[k] as number;
    if (low < 0) continue;
    const first = values[low] as number;
    const difference = (values[lasts[k] as number] as number) - first;
    results[k] = difference * (factors[k] as number);
    present[k] = FLOAT;
    // Most counters are far from zero: the product tells so without a division.
    if (difference > 0 && first >= 0 && !(first > difference * (certainFirst[k] as number))) {
      extrapolateFromZero(windows, k, { first, difference, seconds }, results);
    }
  }
}

function extrapolateResets(
  values: Float64Array,
  { windows, factors, seconds }: ExtrapolatedWindows,
  resets: readonly number[],
  { values: results, present }: StepSeries,
): void {
  const { first: firsts, last: lasts } = windows;
  let reset = 0;
  for (let k = 0; k < firsts.length; k++) {
    const low = firsts[k] as number;
    if (low < 0) continue;
    const last = lasts[k] as number;
    const first = values[low] as number;
    let difference = (values[last] as number) - first;
    while (reset < resets.length && (resets[reset] as number) <= low) reset++;
    for (let i = reset; i < resets.length && (resets[i] as number) <= last; i++) {
      difference += values[(resets[i] as number) - 1] as number;
    }
    results[k] = difference * (factors[k] as number);
    present[k] = FLOAT;
    if (difference > 0 && first >= 0) extrapolateFromZero(windows, k, { first, difference, seconds }, results);
  }
}

/** Does it again for a step at which the counter may have been zero not long before the first sample. */
function extrapolateFromZero(
  { sampledSeconds, beforeSeconds, afterSeconds }: RangeWindows,
  k: number,
  { first, difference, seconds }: { readonly first: number; readonly difference: number; readonly seconds: number },
  results: Float64Array,
): void {
  const sampled = sampledSeconds[k] as number;
  const toZero = sampled * (first / difference);
  if (!(toZero < (beforeSeconds[k] as number))) return;
  results[k] = difference * (extrapolation(sampled, toZero, afterSeconds[k] as number) / seconds);
}

const NO_RESETS: readonly number[] = [];

/** Indexes of samples that are smaller than the one before. */
function resetsOf(values: Float64Array): readonly number[] {
  let resets: number[] | undefined;
  let before = values[0] ?? 0;
  for (let i = 1; i < values.length; i++) {
    const value = values[i] as number; // in range
    if (value < before) {
      resets ??= [];
      resets.push(i);
    }
    before = value;
  }
  return resets ?? NO_RESETS;
}

/** A window with more samples is sorted anew for each step, which is cheaper than to keep it in order one by one. */
const SORTED_MAX = 1024;
/** The samples of the window, least first. */
const sorted = new Float64Array(SORTED_MAX);

/** Neighbouring windows have most samples in common, so the order of one is that of the one before, mended. */
function quantileColumn(series: RangeSeries, ranges: RangeGrid, args: KernelArguments, out: StepSeries): boolean {
  const { timestampsMs, values } = series;
  const { first: quantiles } = args;
  if (quantiles === undefined || hasUnordered(values)) return false;
  const count = timestampsMs.length;
  const { shifted, rangeMs } = ranges;
  let low = 0;
  let high = 0;
  let length = 0;
  for (let k = 0; k < shifted.steps; k++) {
    const endMs = shifted.startMs + k * shifted.stepMs;
    const startMs = endMs - rangeMs;
    // In range: the loops' bounds.
    for (; low < high && (timestampsMs[low] as number) <= startMs; low++)
      length = remove(values[low] as number, length);
    if (low === high) {
      while (low < count && (timestampsMs[low] as number) <= startMs) low++;
      high = low;
    }
    for (; high < count && (timestampsMs[high] as number) <= endMs; high++) {
      if (length === SORTED_MAX) return false;
      length = insert(values[high] as number, length);
    }
    if (length === 0) continue;
    out.present[k] = FLOAT;
    out.values[k] = interpolated(sorted, length, quantiles[k] ?? Number.NaN);
  }
  return true;
}

/** NaN and the two zeros have an order among themselves that comparing does not tell. */
function hasUnordered(values: Float64Array): boolean {
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number; // in range
    if (Number.isNaN(value) || (value === 0 && 1 / value < 0)) return true;
  }
  return false;
}

function insert(value: number, length: number): number {
  let at = length;
  // In range: `at` is at least 1.
  while (at > 0 && (sorted[at - 1] as number) > value) {
    sorted[at] = sorted[at - 1] as number;
    at--;
  }
  sorted[at] = value;
  return length + 1;
}

function remove(value: number, length: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < value)
      low = middle + 1; // in range
    else high = middle;
  }
  sorted.copyWithin(low, low + 1, length);
  return length - 1;
}
