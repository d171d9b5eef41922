/**
 * Native histograms as Prometheus knows them.
 *
 * @see https://prometheus.io/docs/specs/native_histograms/
 */

/** Runs of neighbouring buckets: `offset` counts from the end of the run before, at first from bucket 0. */
export interface BucketSpan {
  readonly offset: number;
  readonly length: number;
}

/** Whether counts may be compared with those of the sample before. */
export type CounterResetHint = "unknown" | "reset" | "not_reset" | "gauge";

/** Schema of histograms whose bounds are listed one by one in `customValues`. */
export const CUSTOM_BUCKETS_SCHEMA = -53;

const NO_COUNTS = new Float64Array(0);

/** Coarsest and finest schema of exponential buckets: bounds are powers of `2 ** (2 ** -schema)`. */
export const EXPONENTIAL_SCHEMA_MIN = -4;
/** @see EXPONENTIAL_SCHEMA_MIN */
export const EXPONENTIAL_SCHEMA_MAX = 8;

/** One histogram sample. Counts are absolute, one for each bucket of the spans, in their order. Never changed. */
export interface NativeHistogram {
  readonly schema: number;
  readonly zeroThreshold: number;
  readonly zeroCount: number;
  readonly count: number;
  readonly sum: number;
  readonly positiveSpans: readonly BucketSpan[];
  readonly positiveCounts: Float64Array;
  readonly negativeSpans: readonly BucketSpan[];
  readonly negativeCounts: Float64Array;
  /** Upper bounds of custom buckets, growing, without `+Inf`; empty for exponential ones. */
  readonly customValues: Float64Array;
  readonly resetHint: CounterResetHint;
  /** Sent with whole counts, so it goes out again with whole counts. */
  readonly integer: boolean;
}

/** A histogram of custom buckets, which has no zero bucket and no negative ones. */
export function customHistogram(
  of: Pick<NativeHistogram, "count" | "sum" | "positiveSpans" | "positiveCounts" | "customValues" | "integer">,
): NativeHistogram {
  return {
    ...of,
    schema: CUSTOM_BUCKETS_SCHEMA,
    zeroThreshold: 0,
    zeroCount: 0,
    negativeSpans: [],
    negativeCounts: NO_COUNTS,
    resetHint: "unknown",
  };
}

/** The same; numbers that stand in a larger buffer are copied, since one view of it keeps all of it in memory. */
export function withOwnNumbers(histogram: NativeHistogram): NativeHistogram {
  const { positiveCounts, negativeCounts, customValues } = histogram;
  if (isWhole(positiveCounts) && isWhole(negativeCounts) && isWhole(customValues)) return histogram;
  return {
    ...histogram,
    positiveCounts: positiveCounts.slice(),
    negativeCounts: negativeCounts.slice(),
    customValues: customValues.slice(),
  };
}

function isWhole({ byteLength, buffer }: Float64Array): boolean {
  return byteLength === buffer.byteLength;
}

/** Observations at or below each of the custom bounds. */
export function cumulativeCustomCounts({ customValues, positiveSpans, positiveCounts }: NativeHistogram): number[] {
  const counts = new Float64Array(customValues.length + 1);
  let index = 0;
  let at = 0;
  for (const { offset, length } of positiveSpans) {
    index += offset;
    for (const end = index + length; index < end; index++) counts[index] = positiveCounts[at++] ?? 0;
  }
  let below = 0;
  return Array.from(customValues, (_, bound) => {
    below += counts[bound] ?? 0;
    return below;
  });
}
