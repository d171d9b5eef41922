/**
 * Logarithmic latency buckets, eight to an octave: the upper bound of bucket `i` is `2^(i/8)` nanoseconds.
 *
 * The same bounds as OpenTelemetry's exponential histogram of scale 3 and Prometheus' native schema 3, so counts
 * can be merged and handed on without rounding. A quantile read from them is within 9 % of the true value.
 */

import { bucketFinder } from "./bucket-finder.ts";

const LOG_HISTOGRAM_SCALE = 3;
const BUCKETS_PER_OCTAVE = 2 ** LOG_HISTOGRAM_SCALE;

/** Octaves up to the longest whole number of nanoseconds. */
const OCTAVES = 53;

/** By bucket: the longest whole number of nanoseconds in it. */
const LONGEST_NS = Float64Array.from({ length: OCTAVES * BUCKETS_PER_OCTAVE + 1 }, (_, index) =>
  index % BUCKETS_PER_OCTAVE === 0 ? logBucketUpperNs(index) : Math.floor(logBucketUpperNs(index)),
);
const finder = bucketFinder(LONGEST_NS);

/** Bucket of a duration in whole nanoseconds, at most 2^53 - 1; durations of 1 ns and less share bucket 0. */
export function logBucketOf(durationNs: number): number {
  return durationNs <= 1 ? 0 : finder(durationNs);
}

/** Upper bound of a bucket in nanoseconds. */
function logBucketUpperNs(index: number): number {
  return 2 ** (index / BUCKETS_PER_OCTAVE);
}

/**
 * Reads a quantile from sparse buckets, interpolating geometrically inside the bucket.
 *
 * @param buckets Bucket index and count, by index.
 * @param quantile From 0 to 1.
 * @returns Nanoseconds, or undefined where nothing was counted.
 */
export function logHistogramQuantile(
  buckets: readonly (readonly [index: number, count: number])[],
  quantile: number,
): number | undefined {
  let total = 0;
  for (const [, count] of buckets) total += count;
  if (total === 0) return undefined;
  const rank = quantile * total;
  let below = 0;
  for (const [index, count] of buckets) {
    if (below + count >= rank) return 2 ** ((index - 1 + (rank - below) / count) / BUCKETS_PER_OCTAVE);
    below += count;
  }
  const last = buckets[buckets.length - 1];
  return last === undefined ? undefined : logBucketUpperNs(last[0]);
}
