/** The buckets of a histogram with their bounds. */

import { bucketBound } from "../../../model/bucket-bounds.ts";
import { bucketIndexes } from "../../../model/bucket-indexes.ts";
import type { BucketSpan, NativeHistogram } from "../../../model/histogram.ts";
import { usesCustomBuckets } from "./float-histogram.ts";

/** One bucket. The zero bucket includes both bounds; others include the one further from zero. */
export interface HistogramBucket {
  readonly lower: number;
  readonly upper: number;
  readonly lowerInclusive: boolean;
  readonly upperInclusive: boolean;
  readonly count: number;
}

/** Positive bucket of an index; of a custom schema, any bucket. */
function positiveBucket(histogram: NativeHistogram, index: number, count: number): HistogramBucket {
  return {
    lower: bucketBound(histogram, index - 1),
    upper: bucketBound(histogram, index),
    lowerInclusive: index === 0 && usesCustomBuckets(histogram),
    upperInclusive: true,
    count,
  };
}

function negativeBucket(histogram: NativeHistogram, index: number, count: number): HistogramBucket {
  return {
    lower: -bucketBound(histogram, index),
    upper: -bucketBound(histogram, index - 1),
    lowerInclusive: true,
    upperInclusive: false,
    count,
  };
}

/** Positive buckets from zero upwards, or all buckets of a custom schema; empty ones too. */
export function positiveBuckets(histogram: NativeHistogram): HistogramBucket[] {
  const { positiveSpans, positiveCounts } = histogram;
  const indexes = bucketIndexes(positiveSpans, positiveCounts.length);
  return Array.from(indexes, (index, k) => positiveBucket(histogram, index, positiveCounts[k] ?? 0));
}

/** Negative buckets from zero downwards; empty ones too. */
export function negativeBuckets(histogram: NativeHistogram): HistogramBucket[] {
  const { negativeSpans, negativeCounts } = histogram;
  const indexes = bucketIndexes(negativeSpans, negativeCounts.length);
  return Array.from(indexes, (index, k) => negativeBucket(histogram, index, negativeCounts[k] ?? 0));
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

/** All buckets of a histogram, of which one rarely needs more than counts and the bounds of a few. */
export interface BucketColumn {
  /** From the lowest bucket to the highest, empty ones too; the zero bucket only where it counts something. */
  readonly counts: Float64Array;
  /** Bucket `k` of `counts`; where it would reach into the zero bucket, it ends at the threshold. */
  readonly bucketAt: (k: number) => HistogramBucket;
}

/** The buckets of a histogram from the lowest to the highest. */
export function bucketColumn(histogram: NativeHistogram): BucketColumn {
  const { positiveSpans, positiveCounts, negativeSpans, negativeCounts, zeroCount, zeroThreshold } = histogram;
  const below = negativeCounts.length;
  const zeros = zeroCount > 0 ? 1 : 0;
  let counts = positiveCounts;
  if (below + zeros > 0) {
    counts = new Float64Array(below + zeros + positiveCounts.length);
    for (let k = 0; k < below; k++) counts[below - 1 - k] = negativeCounts[k] ?? 0;
    if (zeros === 1) counts[below] = zeroCount;
    counts.set(positiveCounts, below + zeros);
  }
  const bucketAt = (k: number): HistogramBucket => {
    const count = counts[k] ?? 0;
    if (k < below) {
      const bucket = negativeBucket(histogram, indexAt(negativeSpans, below - 1 - k), count);
      return bucket.upper < 0 && bucket.upper > -zeroThreshold ? { ...bucket, upper: -zeroThreshold } : bucket;
    }
    if (k < below + zeros) return zeroBucket(histogram);
    const bucket = positiveBucket(histogram, indexAt(positiveSpans, k - below - zeros), count);
    return bucket.lower > 0 && bucket.lower < zeroThreshold ? { ...bucket, lower: zeroThreshold } : bucket;
  };
  return { counts, bucketAt };
}

/** Index of the bucket that count `at` belongs to. */
function indexAt(spans: readonly BucketSpan[], at: number): number {
  let index = 0;
  let left = at;
  for (const { offset, length } of spans) {
    index += offset;
    if (left < length) return index + left;
    index += length;
    left -= length;
  }
  return index;
}

/** All buckets from the lowest to the highest, as in `BucketColumn`. */
export function ascendingBuckets(histogram: NativeHistogram): HistogramBucket[] {
  const { counts, bucketAt } = bucketColumn(histogram);
  return Array.from(counts, (_, k) => bucketAt(k));
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
