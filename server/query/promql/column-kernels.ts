/**
 * The functions of ranges that dashboards ask most, over a whole series at once: no window, no call for each step.
 *
 * They compute what the kernels of `range-kernels.ts` compute, in the same order, for series without start timestamps
 * whose windows have no more than their range in them.
 */

import { interpolated } from "./quantile.ts";
import { fallsSomewhere } from "./range-kernels.ts";
import type { KernelArguments, RangeGrid } from "./select-steps.ts";
import { FLOAT, type RangeSeries, type StepSeries } from "./step-vector.ts";

/** Writes the steps of one series; false where it cannot, and the other kernel writes all of them. */
export type ColumnKernel = (series: RangeSeries, ranges: RangeGrid, args: KernelArguments, out: StepSeries) => boolean;

/** Column kernels by the name of their function. */
export const COLUMN_KERNELS: ReadonlyMap<string, ColumnKernel> = new Map<string, ColumnKernel>([
  ["rate", (series, ranges, _, out) => extrapolatedColumn(series, ranges, { isCounter: true, isRate: true }, out)],
  ["increase", (series, ranges, _, out) => extrapolatedColumn(series, ranges, { isCounter: true, isRate: false }, out)],
  ["delta", (series, ranges, _, out) => extrapolatedColumn(series, ranges, { isCounter: false, isRate: false }, out)],
  ["quantile_over_time", quantileColumn],
]);

function extrapolatedColumn(
  { timestampsMs, values }: RangeSeries,
  { shifted, rangeMs }: RangeGrid,
  { isCounter, isRate }: { readonly isCounter: boolean; readonly isRate: boolean },
  out: StepSeries,
): boolean {
  const count = timestampsMs.length;
  const { startMs: firstEndMs, stepMs, steps } = shifted;
  const { values: results, present } = out;
  const hasResets = isCounter && fallsSomewhere(values);
  const rangeSeconds = rangeMs / 1000;
  let low = 0;
  let high = 0;
  for (let k = 0; k < steps; k++) {
    const endMs = firstEndMs + k * stepMs;
    const startMs = endMs - rangeMs;
    // All indexes are in range: `low < high <= count` wherever they are used.
    while (high < count && (timestampsMs[high] as number) <= endMs) high++;
    while (low < high && (timestampsMs[low] as number) <= startMs) low++;
    const gaps = high - low - 1;
    if (gaps < 1) continue;
    const firstMs = timestampsMs[low] as number;
    const lastMs = timestampsMs[high - 1] as number;
    const first = values[low] as number;
    let result = (values[high - 1] as number) - first;
    if (hasResets) {
      let before = first;
      for (let i = low + 1; i < high; i++) {
        const value = values[i] as number;
        if (value < before) result += before;
        before = value;
      }
    }
    const sampledSeconds = (lastMs - firstMs) / 1000;
    const meanSeconds = sampledSeconds / gaps;
    const threshold = meanSeconds * 1.1;
    let toStart = (firstMs - startMs) / 1000;
    let toEnd = (endMs - lastMs) / 1000;
    if (toStart >= threshold) toStart = meanSeconds / 2;
    if (isCounter && result > 0 && first >= 0) {
      const toZero = sampledSeconds * (first / result);
      if (toZero < toStart) toStart = toZero;
    }
    if (toEnd >= threshold) toEnd = meanSeconds / 2;
    let factor = sampledSeconds === 0 ? 1 : (sampledSeconds + toStart + toEnd) / sampledSeconds;
    if (isRate) factor /= rangeSeconds;
    results[k] = result * factor;
    present[k] = FLOAT;
  }
  return true;
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
