/** The buckets of a histogram with their bounds. */

import type { NativeHistogram } from "../../../model/histogram.ts";
import { bucketBound } from "./bucket-bounds.ts";
import { bucketIndexes } from "./bucket-layout.ts";
import { usesCustomBuckets } from "./float-histogram.ts";

/** One bucket. The zero bucket includes both bounds; others include the one further from zero. */
export interface HistogramBucket {
  readonly lower: number;
  readonly upper: number;
  readonly lowerInclusive: boolean;
  readonly upperInclusive: boolean;
  readonly count: number;
}

/** Positive buckets from zero upwards, or all buckets of a custom schema; empty ones too. */
export function positiveBuckets(histogram: NativeHistogram): HistogramBucket[] {
  const { positiveSpans, positiveCounts } = histogram;
  const custom = usesCustomBuckets(histogram);
  const out: HistogramBucket[] = [];
  bucketIndexes(positiveSpans, positiveCounts.length).forEach((index, k) => {
    const lower = bucketBound(histogram, index - 1);
    const upper = bucketBound(histogram, index);
    const lowerInclusive = custom && index === 0;
    out.push({ lower, upper, lowerInclusive, upperInclusive: true, count: positiveCounts[k] ?? 0 });
  });
  return out;
}

/** Negative buckets from zero downwards; empty ones too. */
export function negativeBuckets(histogram: NativeHistogram): HistogramBucket[] {
  const { negativeSpans, negativeCounts } = histogram;
  const out: HistogramBucket[] = [];
  bucketIndexes(negativeSpans, negativeCounts.length).forEach((index, k) => {
    const lower = -bucketBound(histogram, index);
    const upper = -bucketBound(histogram, index - 1);
    out.push({ lower, upper, lowerInclusive: true, upperInclusive: false, count: negativeCounts[k] ?? 0 });
  });
  return out;
}

/** The zero bucket, as wide as the threshold on both sides. Custom buckets have none. */
export function zeroBucket(histogram: NativeHistogram): HistogramBucket {
  const { zeroThreshold, zeroCount } = histogram;
  return {
    lower: -zeroThreshold,
    upper: zeroThreshold,
    lowerInclusive: true,
    upperInclusive: true,
    count: zeroCount,
  };
}

/**
 * All buckets from the lowest to the highest, empty ones too; the zero bucket only where it counts something.
 *
 * Where a bucket reaches into the zero bucket, it ends at its threshold.
 */
export function ascendingBuckets(histogram: NativeHistogram): HistogramBucket[] {
  const { zeroThreshold } = histogram;
  const out = negativeBuckets(histogram).reverse();
  if (histogram.zeroCount > 0) out.push(zeroBucket(histogram));
  out.push(...positiveBuckets(histogram));
  return out.map((bucket) => {
    if (bucket.upper < 0 && bucket.upper > -zeroThreshold) return { ...bucket, upper: -zeroThreshold };
    if (bucket.lower > 0 && bucket.lower < zeroThreshold) return { ...bucket, lower: zeroThreshold };
    return bucket;
  });
}

/** The same from the highest to the lowest. */
export function descendingBuckets(histogram: NativeHistogram): HistogramBucket[] {
  return ascendingBuckets(histogram).reverse();
}

/**
 * A bucket of the HTTP API: which bounds belong to it (0 the upper, 1 the lower, 2 none, 3 both), the bounds, the count.
 */
export type JsonBucket = readonly [rule: 0 | 1 | 2 | 3, lower: number, upper: number, count: number];

/** The buckets that count something, from the lowest to the highest, as the HTTP API shows them. */
export function jsonBuckets(histogram: NativeHistogram): JsonBucket[] {
  return ascendingBuckets(histogram)
    .filter((bucket) => bucket.count !== 0)
    .map((bucket) => [inclusionRule(bucket), bucket.lower, bucket.upper, bucket.count]);
}

function inclusionRule({ lowerInclusive, upperInclusive }: HistogramBucket): 0 | 1 | 2 | 3 {
  if (lowerInclusive) return upperInclusive ? 3 : 1;
  return upperInclusive ? 0 : 2;
}
