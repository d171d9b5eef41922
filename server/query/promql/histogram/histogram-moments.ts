/** Mean, variance and standard deviation of native histograms. */

import type { NativeHistogram } from "../../../model/histogram.ts";
import { CompensatedSum } from "../compensated.ts";
import { usesCustomBuckets } from "./float-histogram.ts";
import { ascendingBuckets } from "./histogram-buckets.ts";

/** Arithmetic mean of the observations; NaN without any. */
export function histogramMean({ sum, count }: NativeHistogram): number {
  return sum / count;
}

/**
 * Estimated variance of the observations; NaN without any.
 *
 * The middle of a bucket stands for what is in it: its geometric mean, 0 in the zero bucket, the arithmetic mean for
 * custom buckets.
 */
export function histogramVariance(histogram: NativeHistogram): number {
  const mean = histogramMean(histogram);
  const custom = usesCustomBuckets(histogram);
  const total = new CompensatedSum();
  for (const { lower, upper, count } of ascendingBuckets(histogram)) {
    if (count === 0) continue;
    let middle = 0;
    if (custom) middle = (upper + lower) / 2;
    else if (lower > 0 || upper < 0) middle = Math.sqrt(upper * lower) * (upper < 0 ? -1 : 1);
    const distance = middle - mean;
    total.add(count * distance * distance);
  }
  return total.value / histogram.count;
}
