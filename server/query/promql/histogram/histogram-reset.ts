/** Whether a counter histogram began anew between two samples. */

import { bucketBound, sameBounds } from "../../../model/bucket-bounds.ts";
import { bucketIndexes } from "../../../model/bucket-indexes.ts";
import { CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../../../model/histogram.ts";
import { sameSpans } from "../../../model/histogram-layout.ts";
import { type BucketSide, coarserSide, sideAbove } from "./bucket-layout.ts";
import { negativeSide, positiveSide, usesCustomBuckets } from "./float-histogram.ts";
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
  return (
    fell(current, previous, positiveSide(current), positiveSide(previous)) ||
    fell(current, previous, negativeSide(current), negativeSide(previous))
  );
}

/** Whether a bucket of one side counts less than it did, outside of the zero bucket and in the schema of `current`. */
function fell(
  { schema, zeroThreshold }: NativeHistogram,
  previous: NativeHistogram,
  current: BucketSide,
  before: BucketSide,
): boolean {
  if (
    schema === previous.schema &&
    zeroThreshold === previous.zeroThreshold &&
    sameSpans(current.spans, before.spans)
  ) {
    const isCustom = schema === CUSTOM_BUCKETS_SCHEMA;
    const counted = isCustom ? before : sideAbove(before, schema, zeroThreshold);
    const skipped = before.counts.length - counted.counts.length;
    return counted.counts.some((count, k) => (current.counts[skipped + k] ?? 0) < count);
  }
  const older = previous.schema === schema ? before : coarserSide(before, previous.schema - schema);
  const then = schema === CUSTOM_BUCKETS_SCHEMA ? older : sideAbove(older, schema, zeroThreshold);
  const indexes = bucketIndexes(current.spans, current.counts.length);
  let k = 0;
  return bucketIndexes(then.spans, then.counts.length).some((index, at) => {
    const count = then.counts[at] ?? 0;
    while (k < indexes.length && (indexes[k] ?? 0) < index) k++;
    return indexes[k] === index ? (current.counts[k] ?? 0) < count : count !== 0;
  });
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
