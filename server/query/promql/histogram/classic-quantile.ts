/** Quantiles and fractions over the cumulative buckets of classic histograms. */

/** Cumulative counts by upper bound, sorted by bound; the first `length` of each array. Functions here change them. */
export interface ClassicBuckets {
  readonly bounds: Float64Array;
  readonly counts: Float64Array;
  length: number;
}

/** Counts that were lower than those of smaller bounds, and were lifted. */
export interface LiftedCounts {
  readonly minBound: number;
  readonly maxBound: number;
  readonly maxDifference: number;
}

/** Relative differences this small are rounding, not missing observations. */
const SMALL_DELTA = 1e-12;
const SMALLEST_NORMAL = 2 ** -1022;

/**
 * The value below which a share `quantile` of the observations lies, linearly interpolated.
 *
 * From 0 in the first bucket, where that ends above 0; above the last finite bound it is that bound.
 *
 * @returns NaN without a bucket up to +Inf, with fewer than two buckets or without observations.
 */
export function classicQuantile(
  quantile: number,
  buckets: ClassicBuckets,
): { readonly value: number; readonly lifted: LiftedCounts | undefined } {
  const { bounds, counts } = buckets;
  const certain = (value: number) => ({ value, lifted: undefined });
  if (Number.isNaN(quantile)) return certain(Number.NaN);
  if (quantile < 0) return certain(Number.NEGATIVE_INFINITY);
  if (quantile > 1) return certain(Number.POSITIVE_INFINITY);
  if (bounds[buckets.length - 1] !== Number.POSITIVE_INFINITY) return certain(Number.NaN);
  joinEqualBounds(buckets);
  const lifted = liftFallen(buckets);
  const last = buckets.length - 1;
  const total = counts[last] ?? 0;
  if (last < 1 || total === 0) return { value: Number.NaN, lifted };
  let rank = quantile * total;
  const at = firstReaching(rank, counts, last);
  const end = bounds[at] ?? Number.NaN;
  if (at === last) return { value: bounds[last - 1] ?? Number.NaN, lifted };
  if (at === 0 && end <= 0) return { value: end, lifted };
  let start = 0;
  let count = counts[at] ?? Number.NaN;
  if (at > 0) {
    const below = counts[at - 1] ?? Number.NaN;
    start = bounds[at - 1] ?? Number.NaN;
    count -= below;
    rank -= below;
  }
  return { value: start + (end - start) * (rank / count), lifted };
}

/** The first bucket before `last` whose count is at least `rank`, else `last`. Binary search, as in Prometheus for NaN. */
function firstReaching(rank: number, counts: Float64Array, last: number): number {
  let low = 0;
  let high = last;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((counts[middle] ?? Number.NaN) >= rank) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * The share of the observations between two values, linearly interpolated.
 *
 * Of a bucket without an end nothing can be said: what lies in it counts as above the value.
 *
 * @returns NaN for a NaN bound, without a bucket up to +Inf or without observations; 0 where `lower` is not below `upper`.
 */
export function classicFraction(lower: number, upper: number, buckets: ClassicBuckets): number {
  if (buckets.bounds[buckets.length - 1] !== Number.POSITIVE_INFINITY) return Number.NaN;
  joinEqualBounds(buckets);
  const total = buckets.counts[buckets.length - 1] ?? 0;
  if (total === 0 || Number.isNaN(lower) || Number.isNaN(upper)) return Number.NaN;
  if (lower >= upper) return 0;
  const below = (value: number) => Math.min(rankBelow(value, buckets) ?? total, total);
  return (below(upper) - below(lower)) / total;
}

/** How many observations lie below `value`; undefined where it is above all buckets. */
function rankBelow(value: number, { bounds, counts, length }: ClassicBuckets): number | undefined {
  let rank = 0;
  let start = (bounds[0] ?? 0) <= 0 ? Number.NEGATIVE_INFINITY : 0;
  for (let k = 0; k < length; k++) {
    const end = bounds[k] ?? Number.NaN;
    const count = counts[k] ?? Number.NaN;
    if (start >= value) return rank;
    if (end > value) {
      if (start === Number.NEGATIVE_INFINITY) return count;
      return rank + ((count - rank) * (value - start)) / (end - start);
    }
    rank = count;
    start = end;
  }
  return undefined;
}

/** Adds up counts of equal bounds. */
function joinEqualBounds(buckets: ClassicBuckets): void {
  const { bounds, counts } = buckets;
  let last = 0;
  for (let k = 1; k < buckets.length; k++) {
    if (bounds[k] === bounds[last]) {
      counts[last] = (counts[last] ?? 0) + (counts[k] ?? 0);
      continue;
    }
    last++;
    bounds[last] = bounds[k] ?? 0;
    counts[last] = counts[k] ?? 0;
  }
  buckets.length = Math.min(buckets.length, last + 1);
}

/** Lifts counts that fell: silently where that is rounding. */
function liftFallen({ bounds, counts, length }: ClassicBuckets): LiftedCounts | undefined {
  let lifted: LiftedCounts | undefined;
  let before = counts[0] ?? 0;
  for (let k = 1; k < length; k++) {
    const count = counts[k] ?? 0;
    if (count === before) continue;
    if (isRounding(before, count)) {
      counts[k] = before;
      continue;
    }
    if (count < before) {
      const bound = bounds[k] ?? 0;
      counts[k] = before;
      lifted = {
        minBound: Math.min(bound, lifted?.minBound ?? bound),
        maxBound: Math.max(bound, lifted?.maxBound ?? bound),
        maxDifference: Math.max(before - count, lifted?.maxDifference ?? 0),
      };
      continue;
    }
    before = count;
  }
  return lifted;
}

function isRounding(a: number, b: number): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  const sum = Math.abs(a) + Math.abs(b);
  const difference = Math.abs(a - b);
  if (a === 0 || b === 0 || sum < SMALLEST_NORMAL) return difference < SMALL_DELTA * SMALLEST_NORMAL;
  return difference / Math.min(sum, Number.MAX_VALUE) < SMALL_DELTA;
}
