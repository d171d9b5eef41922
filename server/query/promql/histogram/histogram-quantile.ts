/** Quantiles and fractions of native histograms. */

import type { NativeHistogram } from "../../../model/histogram.ts";
import { exp2, log2 } from "../go-math.ts";
import { usesCustomBuckets } from "./float-histogram.ts";
import { ascendingBuckets, bucketColumn, type HistogramBucket } from "./histogram-buckets.ts";

/** An estimate, and what NaN observations, which lie in no bucket, did to it. */
export interface QuantileEstimate {
  readonly value: number;
  /** `result`: the quantile is one of them. `skew`: it is higher than it would be without them. */
  readonly nans: "none" | "result" | "skew";
}

/**
 * The value below which a share `quantile` of the observations lies.
 *
 * Interpolated on a logarithmic scale in exponential buckets, and linearly in the zero bucket and in custom ones.
 *
 * @returns -Inf below 0, +Inf above 1, NaN for a NaN quantile or without observations.
 */
export function histogramQuantile(quantile: number, histogram: NativeHistogram): QuantileEstimate {
  const certain = (value: number): QuantileEstimate => ({ value, nans: "none" });
  if (quantile < 0) return certain(Number.NEGATIVE_INFINITY);
  if (quantile > 1) return certain(Number.POSITIVE_INFINITY);
  if (histogram.count === 0 || Number.isNaN(quantile)) return certain(Number.NaN);
  // The nearer end counts up fewer buckets, so less rounding; NaN observations count as above all buckets.
  const hasNans = Number.isNaN(histogram.sum);
  const upwards = hasNans || quantile < 0.5;
  const { counts, bucketAt } = bucketColumn(histogram);
  const rank = (upwards ? quantile : 1 - quantile) * histogram.count;
  const { at, counted } = bucketOfRank(counts, rank, upwards);
  const found = at < 0 ? NO_BUCKET : bucketAt(at);
  const bucket = oneSided(found, histogram);
  if (usesCustomBuckets(histogram)) {
    if (found.lower === Number.NEGATIVE_INFINITY && found.upper <= 0) return certain(found.upper);
    if (found.lower !== Number.NEGATIVE_INFINITY && found.upper === Number.POSITIVE_INFINITY)
      return certain(found.lower);
  }
  // Rounding may have counted more than there is.
  const within = Math.min(counted, histogram.count);
  if (within < rank) return hasNans ? { value: Number.NaN, nans: "result" } : certain(bucket.upper);
  const fraction = (upwards ? rank - (within - bucket.count) : within - rank) / bucket.count;
  const value = interpolate(bucket, fraction, usesCustomBuckets(histogram));
  if (!hasNans) return certain(value);
  let all = within;
  for (let k = at + 1; k < counts.length; k++) all += counts[k] ?? 0;
  return { value, nans: all < histogram.count ? "skew" : "none" };
}

const NO_BUCKET: HistogramBucket = { lower: 0, upper: 0, lowerInclusive: false, upperInclusive: false, count: 0 };

/** The first bucket with which as many as `rank` are counted, or the last there is; -1 where there is none. */
function bucketOfRank(counts: Float64Array, rank: number, upwards: boolean): { at: number; counted: number } {
  let counted = 0;
  for (let k = 0; k < counts.length; k++) {
    const at = upwards ? k : counts.length - 1 - k;
    const count = counts[at] ?? 0;
    if (count === 0) continue;
    counted += count;
    if (counted >= rank) return { at, counted };
  }
  return { at: upwards || counts.length === 0 ? counts.length - 1 : 0, counted };
}

/** Zero ends the zero bucket where all others are on one side, and begins the first custom bucket below a bound above it. */
function oneSided(bucket: HistogramBucket, histogram: NativeHistogram): HistogramBucket {
  if (usesCustomBuckets(histogram)) {
    return bucket.lower === Number.NEGATIVE_INFINITY && bucket.upper > 0 ? { ...bucket, lower: 0 } : bucket;
  }
  if (!(bucket.lower < 0 && bucket.upper > 0)) return bucket;
  const positive = histogram.positiveCounts.length > 0;
  const negative = histogram.negativeCounts.length > 0;
  if (positive && !negative) return { ...bucket, lower: 0 };
  if (negative && !positive) return { ...bucket, upper: 0 };
  return bucket;
}

function interpolate({ lower, upper }: HistogramBucket, fraction: number, custom: boolean): number {
  if (custom || (lower <= 0 && upper >= 0)) return lower + (upper - lower) * fraction;
  const logLower = log2(Math.abs(lower));
  const logUpper = log2(Math.abs(upper));
  if (lower > 0) return exp2(logLower + (logUpper - logLower) * fraction);
  return -exp2(logUpper + (logLower - logUpper) * (1 - fraction));
}

/** The share of a bucket that lies at or below `value`, which is inside finite bounds. */
export function fractionBelow({ lower, upper }: HistogramBucket, value: number, linear: boolean): number {
  if (linear) return (value - lower) / (upper - lower);
  const logLower = log2(Math.abs(lower));
  const logUpper = log2(Math.abs(upper));
  const logValue = log2(Math.abs(value));
  if (value > 0) return (logValue - logLower) / (logUpper - logLower);
  return 1 - (logValue - logUpper) / (logLower - logUpper);
}

/** A share, and whether there are NaN observations, which no share includes. */
export interface FractionEstimate {
  readonly value: number;
  readonly hasNans: boolean;
}

/**
 * The share of the observations between two values, estimated as quantiles are.
 *
 * @returns NaN for a NaN bound or without observations, 0 where the bounds are none.
 */
export function histogramFraction(lower: number, upper: number, histogram: NativeHistogram): FractionEstimate {
  const { count, sum } = histogram;
  if (count === 0 || Number.isNaN(lower) || Number.isNaN(upper)) return { value: Number.NaN, hasNans: false };
  if (lower >= upper) return { value: 0, hasNans: false };
  const buckets = ascendingBuckets(histogram);
  let counted = count;
  if (Number.isNaN(sum)) counted = buckets.reduce((total, bucket) => total + bucket.count, 0);
  const below = (value: number) => Math.min(rankBelow(value, buckets, histogram) ?? counted, counted);
  return { value: (below(upper) - below(lower)) / count, hasNans: counted < count };
}

/** How many observations lie below `value`; undefined where it is above all buckets. */
function rankBelow(value: number, buckets: readonly HistogramBucket[], histogram: NativeHistogram): number | undefined {
  const custom = usesCustomBuckets(histogram);
  let rank = 0;
  for (const whole of buckets) {
    const bucket = oneSided(whole, histogram);
    if (bucket.lower >= value) return rank;
    if (bucket.upper > value) {
      // Nothing can be said of a bucket without a lower end; one without an upper end counts as above.
      if (bucket.lower === Number.NEGATIVE_INFINITY) return bucket.count;
      const inZero = !custom && whole.lower <= 0 && whole.upper >= 0;
      return rank + bucket.count * fractionBelow(bucket, value, custom || inZero);
    }
    rank += bucket.count;
  }
  return undefined;
}
