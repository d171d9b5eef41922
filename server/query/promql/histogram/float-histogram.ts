/** What is done to one histogram: scaled, cleared of empty buckets, made coarser, compared, measured. */

import { exponentialBound, sameBounds } from "../../../model/bucket-bounds.ts";
import {
  type BucketSpan,
  type CounterResetHint,
  CUSTOM_BUCKETS_SCHEMA,
  type NativeHistogram,
} from "../../../model/histogram.ts";
import type { HistogramLayout } from "../../../model/histogram-layout.ts";
import { type BucketSide, coarserSide, compactSide, sameBuckets } from "./bucket-layout.ts";

/** Whether its bounds are listed one by one; such a histogram has neither zero bucket nor negative buckets. */
export function usesCustomBuckets({ schema }: Pick<NativeHistogram, "schema">): boolean {
  return schema === CUSTOM_BUCKETS_SCHEMA;
}

/** Buckets of values above the zero bucket, not copied; of custom bounds all. */
export function positiveSide(histogram: NativeHistogram): BucketSide {
  return { spans: histogram.positiveSpans, counts: histogram.positiveCounts };
}

/** Buckets of values below the zero bucket, not copied. */
export function negativeSide(histogram: NativeHistogram): BucketSide {
  return { spans: histogram.negativeSpans, counts: histogram.negativeCounts };
}

/** The histogram with other buckets, and so no longer one that was sent in whole counts. */
export function withSides(histogram: NativeHistogram, positive: BucketSide, negative: BucketSide): NativeHistogram {
  return {
    ...histogram,
    positiveSpans: positive.spans,
    positiveCounts: positive.counts,
    negativeSpans: negative.spans,
    negativeCounts: negative.counts,
    integer: false,
  };
}

/** The histogram with another hint; itself where the hint is the same. */
export function withResetHint(histogram: NativeHistogram, resetHint: CounterResetHint): NativeHistogram {
  return histogram.resetHint === resetHint ? histogram : { ...histogram, resetHint };
}

/** Whether an exponential bucket lies wholly in the zero bucket: when histograms are put together it is left out. */
export function hidesBuckets(histogram: HistogramLayout): boolean {
  const { schema, zeroThreshold, positiveSpans, negativeSpans } = histogram;
  if (zeroThreshold === 0 || usesCustomBuckets(histogram)) return false;
  const hides = ([first]: readonly BucketSpan[]) =>
    first !== undefined && exponentialBound(first.offset, schema) <= zeroThreshold;
  return hides(positiveSpans) || hides(negativeSpans);
}

/** Without empty buckets, under the fewest spans; itself where that changes nothing. Results of operators are compact. */
export function compactHistogram(histogram: NativeHistogram): NativeHistogram {
  const ownPositive = positiveSide(histogram);
  const ownNegative = negativeSide(histogram);
  const positive = compactSide(ownPositive);
  const negative = compactSide(ownNegative);
  if (positive === ownPositive && negative === ownNegative) return histogram;
  return { ...withSides(histogram, positive, negative), integer: histogram.integer };
}

/**
 * The same observations in the buckets of a coarser exponential schema; itself where it has that schema.
 *
 * @throws RangeError for custom buckets or a finer schema, PromqlExecutionError for spans and counts that do not fit.
 */
export function coarserHistogram(histogram: NativeHistogram, schema: number): NativeHistogram {
  if (schema === histogram.schema) return histogram;
  if (usesCustomBuckets(histogram) || schema === CUSTOM_BUCKETS_SCHEMA || schema > histogram.schema) {
    throw new RangeError(`cannot reduce resolution from schema ${histogram.schema} to ${schema}`);
  }
  const shift = histogram.schema - schema;
  const positive = coarserSide(positiveSide(histogram), shift);
  const negative = coarserSide(negativeSide(histogram), shift);
  return { ...withSides(histogram, positive, negative), schema, integer: histogram.integer };
}

/** All counts and the sum times `factor`; a negative factor makes a gauge of it. */
export function scaleHistogram(histogram: NativeHistogram, factor: number): NativeHistogram {
  return {
    ...histogram,
    zeroCount: usesCustomBuckets(histogram) ? 0 : histogram.zeroCount * factor, // 0 * NaN is no zero bucket
    count: histogram.count * factor,
    sum: histogram.sum * factor,
    positiveCounts: scaled(histogram.positiveCounts, factor),
    negativeCounts: scaled(histogram.negativeCounts, factor),
    resetHint: factor < 0 ? "gauge" : histogram.resetHint,
    integer: false,
  };
}

/** All counts and the sum divided by `divisor`; a negative divisor makes a gauge of it, and zero leaves no buckets. */
export function divideHistogram(histogram: NativeHistogram, divisor: number): NativeHistogram {
  const keepsBuckets = divisor !== 0;
  return {
    ...histogram,
    zeroCount: usesCustomBuckets(histogram) ? 0 : histogram.zeroCount / divisor,
    count: histogram.count / divisor,
    sum: histogram.sum / divisor,
    positiveSpans: keepsBuckets ? histogram.positiveSpans : [],
    positiveCounts: keepsBuckets ? divided(histogram.positiveCounts, divisor) : new Float64Array(),
    negativeSpans: keepsBuckets ? histogram.negativeSpans : [],
    negativeCounts: keepsBuckets ? divided(histogram.negativeCounts, divisor) : new Float64Array(),
    resetHint: divisor < 0 ? "gauge" : histogram.resetHint,
    integer: false,
  };
}

function scaled(counts: Float64Array, factor: number): Float64Array {
  const out = new Float64Array(counts.length);
  for (let k = 0; k < out.length; k++) out[k] = (counts[k] ?? 0) * factor;
  return out;
}

function divided(counts: Float64Array, divisor: number): Float64Array {
  const out = new Float64Array(counts.length);
  for (let k = 0; k < out.length; k++) out[k] = (counts[k] ?? 0) / divisor;
  return out;
}

/**
 * Whether two histograms hold the same values in the same buckets, as the operators `==` and `!=` ask.
 *
 * NaN equals NaN and 0 differs from -0. Empty buckets count, cuts between spans and reset hints do not.
 */
export function equalHistograms(a: NativeHistogram, b: NativeHistogram): boolean {
  if (a === b) return true;
  return (
    a.schema === b.schema &&
    Object.is(a.count, b.count) &&
    Object.is(a.sum, b.sum) &&
    (!usesCustomBuckets(a) || sameBounds(a.customValues, b.customValues)) &&
    a.zeroThreshold === b.zeroThreshold &&
    Object.is(a.zeroCount, b.zeroCount) &&
    equalSides(negativeSide(a), negativeSide(b)) &&
    equalSides(positiveSide(a), positiveSide(b))
  );
}

function equalSides(a: BucketSide, b: BucketSide): boolean {
  return sameBuckets(a, b) && a.counts.every((count, k) => Object.is(count, b.counts[k]));
}

/** Whether any number in it is infinite, as sums that left the range of doubles are. */
export function hasInfinite(histogram: NativeHistogram): boolean {
  const { zeroCount, count, sum, positiveCounts, negativeCounts, customValues } = histogram;
  return (
    isInfinite(zeroCount) ||
    isInfinite(count) ||
    isInfinite(sum) ||
    positiveCounts.some(isInfinite) ||
    negativeCounts.some(isInfinite) ||
    customValues.some(isInfinite)
  );
}

function isInfinite(value: number): boolean {
  return value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY;
}
