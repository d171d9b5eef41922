/** The operators `</` and `>/`: what a histogram would look like without the observations on one side of a value. */

import type { NativeHistogram } from "../../../model/histogram.ts";
import { compactHistogram, usesCustomBuckets } from "./float-histogram.ts";
import { type HistogramBucket, negativeBuckets, positiveBuckets, zeroBucket } from "./histogram-buckets.ts";
import { fractionBelow } from "./histogram-quantile.ts";

/** Which observations stay: those below the value (`</`) or those above (`>/`). */
export type TrimKeeps = "below" | "above";

/** What is left of a bucket, and the value that stands for each of its observations in the sum. */
interface Rest {
  readonly count: number;
  readonly midpoint: number;
}

interface Trim {
  readonly value: number;
  readonly keeps: TrimKeeps;
  readonly custom: boolean;
}

const NOTHING: Rest = { count: 0, midpoint: 0 };

/**
 * Without the observations above or below `value`.
 *
 * A bucket that holds the value is cut as quantiles interpolate; one without an end on the side in question goes or
 * stays whole. Where anything goes, count and sum are those of what is left, the sum by the middles of its buckets.
 */
export function trimHistogram(histogram: NativeHistogram, value: number, keeps: TrimKeeps): NativeHistogram {
  const trim = { value, keeps, custom: usesCustomBuckets(histogram) };
  const totals = { count: 0, sum: 0, changed: false };
  const keep = (had: number, rest: Rest): number => {
    totals.count += rest.count;
    totals.sum += rest.midpoint * rest.count;
    totals.changed ||= rest.count !== had;
    return rest.count;
  };
  const trimSide = (buckets: readonly HistogramBucket[], sign: 1 | -1) =>
    Float64Array.from(buckets, (bucket) =>
      bucket.count === 0 ? bucket.count : keep(bucket.count, trimBucket(bucket, trim, sign)),
    );
  const positiveCounts = trimSide(positiveBuckets(histogram), 1);
  const negativeCounts = trimSide(negativeBuckets(histogram), -1);
  let { zeroCount } = histogram;
  if (zeroCount > 0) {
    const isPositive = histogram.positiveCounts.some((count) => count !== 0);
    const isNegative = histogram.negativeCounts.some((count) => count !== 0);
    const { lower, upper } = zeroBucket(histogram);
    const zero = { lower: isPositive && !isNegative ? 0 : lower, upper: isNegative && !isPositive ? 0 : upper };
    zeroCount = keep(zeroCount, trimZero(zero, zeroCount, trim));
  }
  if (!totals.changed) return histogram;
  const { count, sum } = totals;
  return compactHistogram({ ...histogram, positiveCounts, negativeCounts, zeroCount, count, sum, integer: false });
}

function trimBucket(bucket: HistogramBucket, trim: Trim, sign: 1 | -1): Rest {
  const { lower, upper, count } = bucket;
  const { value, keeps, custom } = trim;
  if (keeps === "below" ? upper <= value : lower >= value) {
    return { count, midpoint: middle(lower, upper, sign, custom) };
  }
  if (keeps === "below" ? lower >= value : upper <= value) return NOTHING;
  // A bound that is no number cuts nothing and keeps nothing.
  if (Number.isNaN(value)) return NOTHING;
  if (lower === Number.NEGATIVE_INFINITY) return trimEndlessBelow(bucket, trim);
  if (upper === Number.POSITIVE_INFINITY) {
    if (keeps === "below") return NOTHING;
    return { count, midpoint: value };
  }
  const under = count * fractionBelow(bucket, value, custom);
  return keeps === "below"
    ? { count: under, midpoint: middle(lower, value, sign, custom) }
    : { count: count - under, midpoint: middle(value, upper, sign, custom) };
}

/** A bucket from -Inf that holds the value: as if from 0 where it ends above that, else it goes or stays whole. */
function trimEndlessBelow({ upper, count }: HistogramBucket, { value, keeps }: Trim): Rest {
  const isBounded = upper !== Number.POSITIVE_INFINITY;
  if (keeps === "below") {
    if (value > 0 && upper > 0 && isBounded) return { count: (count * value) / upper, midpoint: value / 2 };
    return upper <= 0 ? { count, midpoint: value } : NOTHING;
  }
  if (value >= 0 && isBounded) return { count: count * (1 - value / upper), midpoint: (value + upper) / 2 };
  return NOTHING;
}

function trimZero({ lower, upper }: { lower: number; upper: number }, count: number, trim: Trim): Rest {
  const { value, keeps } = trim;
  const below = keeps === "below";
  if (value <= lower) return below ? NOTHING : { count, midpoint: (lower + upper) / 2 };
  if (value >= upper) return below ? { count, midpoint: (lower + upper) / 2 } : NOTHING;
  const fraction = (below ? value - lower : upper - value) / (upper - lower);
  return { count: count * fraction, midpoint: below ? (lower + value) / 2 : (value + upper) / 2 };
}

/** What stands for the observations between two values: the arithmetic mean in custom buckets, else the geometric. */
function middle(lower: number, upper: number, sign: 1 | -1, custom: boolean): number {
  const endless = Math.abs(upper) === Number.POSITIVE_INFINITY;
  if (Math.abs(lower) === Number.POSITIVE_INFINITY) {
    if (endless) return 0;
    return upper > 0 ? upper / 2 : upper;
  }
  if (endless) return lower;
  return custom ? (lower + upper) / 2 : sign * Math.sqrt(Math.abs(lower * upper));
}
