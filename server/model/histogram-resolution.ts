/**
 * Exponential histograms made coarser, as Prometheus does: neighbouring buckets become one, no observation is lost.
 */

import { type BucketSpan, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, type NativeHistogram } from "./histogram.ts";

/** Finest schema that is reserved for exponential buckets; none may be sent beyond it. */
const RESERVED_SCHEMA_MAX = 52;

/** Whether a histogram has to be made coarser before it is stored. */
export function isTooFine({ schema }: NativeHistogram): boolean {
  return schema > EXPONENTIAL_SCHEMA_MAX && schema <= RESERVED_SCHEMA_MAX;
}

/** Whether the buckets are exponential, of schemas that are only taken to be made coarser too. */
export function isExponential({ schema }: NativeHistogram): boolean {
  return schema >= EXPONENTIAL_SCHEMA_MIN && schema <= RESERVED_SCHEMA_MAX;
}

/**
 * The same observations in wider buckets.
 *
 * Where spans and counts do not fit together they stay as they are, for the check that follows to say what is wrong.
 *
 * @param histogram Of exponential buckets.
 * @param schema Not finer than the histogram's own.
 */
export function reduceResolution(histogram: NativeHistogram, schema: number): NativeHistogram {
  const shift = histogram.schema - schema;
  const { positiveSpans, positiveCounts, negativeSpans, negativeCounts } = histogram;
  const positive = coarser(positiveSpans, positiveCounts, shift);
  const negative = coarser(negativeSpans, negativeCounts, shift);
  return {
    ...histogram,
    schema,
    positiveSpans: positive.spans,
    positiveCounts: positive.counts,
    negativeSpans: negative.spans,
    negativeCounts: negative.counts,
  };
}

interface Side {
  readonly spans: readonly BucketSpan[];
  readonly counts: Float64Array;
}

function coarser(spans: readonly BucketSpan[], counts: Float64Array, shift: number): Side {
  if (!fit(spans, counts.length)) return { spans, counts };
  const wide: { offset: number; length: number }[] = [];
  const sums: number[] = [];
  let index = 0;
  let at = 0;
  let end = 0;
  for (const { offset, length } of spans) {
    index += offset;
    for (let stop = at + length; at < stop; at++, index++) {
      const target = Math.floor((index - 1) / 2 ** shift) + 1;
      const count = counts[at] as number; // in range: spans and counts fit
      const last = wide.at(-1);
      if (last !== undefined && target < end)
        sums[sums.length - 1] = (sums[sums.length - 1] as number) + count; // not empty
      else {
        if (last !== undefined && target === end) last.length++;
        else wide.push({ offset: target - end, length: 1 });
        sums.push(count);
        end = target + 1;
      }
    }
  }
  return { spans: wide, counts: Float64Array.from(sums) };
}

function fit(spans: readonly BucketSpan[], counts: number): boolean {
  let buckets = 0;
  for (const [at, { offset, length }] of spans.entries()) {
    if (at > 0 && offset < 0) return false;
    buckets += length;
  }
  return buckets === counts;
}
