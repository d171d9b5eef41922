/** Whether a counter histogram began anew between two samples. */

import type { NativeHistogram } from "../../../model/histogram.ts";
import { bucketBound, exponentialBound } from "./bucket-bounds.ts";
import { type BucketSide, bucketIndexes, coarserIndex } from "./bucket-layout.ts";
import { negativeSide, positiveSide, sameBounds, usesCustomBuckets } from "./float-histogram.ts";
import { widerZero, zeroedSides } from "./zero-bucket.ts";

/**
 * Whether `current` counts less than `previous` somewhere, or is laid out as only a new beginning can be.
 *
 * The hint of `current` decides where it is `reset` or `not_reset`. Without: a count that fell, a bucket that counted
 * something and is gone, a finer schema, a narrower zero bucket, or one whose threshold cuts an earlier bucket. Custom
 * bounds may change; then the buckets that both bounds allow are compared. The sum does not matter.
 */
export function isCounterReset(current: NativeHistogram, previous: NativeHistogram): boolean {
  if (current.resetHint === "reset") return true;
  if (current.resetHint === "not_reset") return false;
  if (current.count < previous.count) return true;
  if (usesCustomBuckets(current)) {
    if (!usesCustomBuckets(previous)) return true;
    if (!sameBounds(current.customValues, previous.customValues)) return fellBetweenBounds(current, previous);
  }
  if (current.schema > previous.schema) return true;
  if (current.zeroThreshold < previous.zeroThreshold) return true;
  const before = widerZero(zeroedSides(previous), current.zeroThreshold);
  if (before.threshold !== current.zeroThreshold) return true;
  if (current.zeroCount < before.zeroCount) return true;
  const shape = { schema: current.schema, threshold: current.zeroThreshold };
  const shift = previous.schema - current.schema;
  return (
    fell(positiveSide(current), positiveSide(previous), shift, shape) ||
    fell(negativeSide(current), negativeSide(previous), shift, shape)
  );
}

/** The counts of one side by bucket index in a coarser schema, without buckets inside the zero bucket. */
function countsByIndex(
  side: BucketSide,
  shift: number,
  { schema, threshold }: { schema: number; threshold: number },
): Map<number, number> {
  const counts = new Map<number, number>();
  const isExponential = schema >= -4;
  let reachedThreshold = threshold === 0 || !isExponential;
  bucketIndexes(side.spans, side.counts.length).forEach((own, k) => {
    const index = isExponential ? coarserIndex(own, shift) : own;
    reachedThreshold ||= exponentialBound(index, schema) > threshold;
    if (reachedThreshold) counts.set(index, (counts.get(index) ?? 0) + (side.counts[k] ?? 0));
  });
  return counts;
}

function fell(
  current: BucketSide,
  previous: BucketSide,
  shift: number,
  shape: { schema: number; threshold: number },
): boolean {
  const before = countsByIndex(previous, shift, shape);
  if (before.size === 0) return false;
  const now = countsByIndex(current, 0, shape);
  for (const [index, count] of before) {
    const here = now.get(index);
    if (here === undefined ? count !== 0 : here < count) return true;
  }
  return false;
}

/** Whether the count up to some bound that both custom layouts have, from the one before it, fell. */
function fellBetweenBounds(current: NativeHistogram, previous: NativeHistogram): boolean {
  const others = new Set(previous.customValues);
  const shared = [...current.customValues.filter((bound) => others.has(bound)), Number.POSITIVE_INFINITY];
  const now = countsBetween(current, shared);
  const before = countsBetween(previous, shared);
  return now.some((count, k) => count < (before[k] ?? 0));
}

function countsBetween(histogram: NativeHistogram, bounds: readonly number[]): Float64Array {
  const { positiveSpans, positiveCounts } = histogram;
  const sums = new Float64Array(bounds.length);
  let target = 0;
  bucketIndexes(positiveSpans, positiveCounts.length).forEach((index, k) => {
    const upper = bucketBound(histogram, index);
    while (target < bounds.length - 1 && (bounds[target] ?? 0) < upper) target++;
    sums[target] = (sums[target] ?? 0) + (positiveCounts[k] ?? 0);
  });
  return sums;
}
