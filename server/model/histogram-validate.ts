/** What makes a native histogram valid, in Prometheus' words, so that senders find them where they look them up. */

import {
  type BucketSpan,
  CUSTOM_BUCKETS_SCHEMA,
  EXPONENTIAL_SCHEMA_MAX,
  EXPONENTIAL_SCHEMA_MIN,
  type NativeHistogram,
} from "./histogram.ts";

const INDEX_MIN = -(2 ** 31);
const INDEX_MAX = 2 ** 31 - 1;

const NEGATIVE_OFFSET = "histogram has a span whose offset is negative";
const OUT_OF_RANGE = "histogram has a span whose bucket index is out of range";
const SPANS_MISMATCH = "histogram spans specify different number of buckets than provided";
const NEGATIVE_BUCKET = "histogram has a bucket whose observation count is negative";

/**
 * Looks whether spans, counts and bounds of a histogram fit together.
 *
 * A histogram of whole counts must also count as many observations as its buckets hold, or more where its sum is NaN,
 * since NaN observations lie in no bucket. Float counts are not summed up: rounding would give false alarms.
 *
 * @returns What is wrong, or undefined for a valid histogram.
 */
export function histogramFault(histogram: NativeHistogram): string | undefined {
  const { schema, count, positiveCounts, negativeCounts } = histogram;
  if (schema === CUSTOM_BUCKETS_SCHEMA) {
    const fault = customFault(histogram);
    if (fault !== undefined) return fault;
  } else if (schema >= EXPONENTIAL_SCHEMA_MIN && schema <= EXPONENTIAL_SCHEMA_MAX) {
    const fault = exponentialFault(histogram);
    if (fault !== undefined) return fault;
  } else {
    return `histogram has an invalid schema, which must be between ${EXPONENTIAL_SCHEMA_MIN} and ${EXPONENTIAL_SCHEMA_MAX} for exponential buckets, or ${CUSTOM_BUCKETS_SCHEMA} for custom buckets, got schema ${schema}`;
  }
  if (count < 0) return `observation count is  ${count}: histogram's observation count is negative`;
  const fault = countsFault(positiveCounts);
  if (fault !== undefined) return `positive side: ${fault}`;
  return histogram.integer ? totalFault(histogram, sumOf(positiveCounts) + sumOf(negativeCounts)) : undefined;
}

function customFault(histogram: NativeHistogram): string | undefined {
  const { customValues, positiveSpans, positiveCounts } = histogram;
  const fault =
    boundsFault(customValues) ?? customSpansFault(positiveSpans, positiveCounts.length, customValues.length);
  if (fault !== undefined) return `custom buckets: ${fault}`;
  if (histogram.zeroCount !== 0) return "custom buckets: must have zero count of 0";
  if (histogram.zeroThreshold !== 0) return "custom buckets: must have zero threshold of 0";
  if (histogram.negativeSpans.length > 0) return "custom buckets: must not have negative spans";
  if (histogram.negativeCounts.length > 0) return "custom buckets: must not have negative buckets";
  return undefined;
}

function boundsFault(bounds: Float64Array): string | undefined {
  for (let k = 0; k < bounds.length; k++) {
    const bound = bounds[k] ?? 0;
    const before = bounds[k - 1] ?? Number.NEGATIVE_INFINITY;
    if (Number.isNaN(bound)) return "histogram custom bounds must not be NaN";
    if (k > 0 && bound <= before) {
      return `previous bound is ${before.toFixed(6)} and current is ${bound.toFixed(6)}: histogram custom bounds must be in strictly increasing order`;
    }
  }
  if (bounds[bounds.length - 1] === Number.POSITIVE_INFINITY) {
    return "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite";
  }
  return undefined;
}

function customSpansFault(spans: readonly BucketSpan[], have: number, bounds: number): string | undefined {
  let need = 0;
  let covered = 0;
  for (const [n, { offset, length }] of spans.entries()) {
    if (offset < 0) return `span number ${n + 1} with offset ${offset}: ${NEGATIVE_OFFSET}`;
    need += length;
    covered += offset + length;
  }
  if (need !== have) return `spans need ${need} buckets, have ${have} buckets: ${SPANS_MISMATCH}`;
  if (bounds + 1 < covered) {
    return `only ${bounds} custom bounds defined which is insufficient to cover total span length of ${covered}: histogram custom bounds are too few`;
  }
  return undefined;
}

function exponentialFault(histogram: NativeHistogram): string | undefined {
  const { positiveSpans, positiveCounts, negativeSpans, negativeCounts, zeroCount, customValues } = histogram;
  const positive = spansFault(positiveSpans, positiveCounts.length);
  if (positive !== undefined) return `positive side: ${positive}`;
  const negative = spansFault(negativeSpans, negativeCounts.length) ?? countsFault(negativeCounts);
  if (negative !== undefined) return `negative side: ${negative}`;
  if (zeroCount < 0) return `zero bucket has observation count of ${zeroCount}: ${NEGATIVE_BUCKET}`;
  if (customValues.length > 0) return "histogram with exponential schema must not have custom bounds";
  return undefined;
}

function spansFault(spans: readonly BucketSpan[], have: number): string | undefined {
  let need = 0;
  let end = 0;
  for (const [n, { offset, length }] of spans.entries()) {
    if (n > 0 && offset < 0) return `span number ${n + 1} with offset ${offset}: ${NEGATIVE_OFFSET}`;
    if (n === 0 && offset === INDEX_MIN) return `span number 1 starts at bucket index ${offset}: ${OUT_OF_RANGE}`;
    need += length;
    end += offset + length;
    if (end - 1 > INDEX_MAX) return `span number ${n + 1} ends at bucket index ${end - 1}: ${OUT_OF_RANGE}`;
  }
  return need === have ? undefined : `spans need ${need} buckets, have ${have} buckets: ${SPANS_MISMATCH}`;
}

function countsFault(counts: Float64Array): string | undefined {
  const at = counts.findIndex((count) => count < 0);
  return at === -1 ? undefined : `bucket number ${at + 1} has observation count of ${counts[at]}: ${NEGATIVE_BUCKET}`;
}

function sumOf(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function totalFault({ zeroCount, count, sum }: NativeHistogram, inSides: number): string | undefined {
  const inBuckets = inSides + zeroCount;
  const found = `${inBuckets} observations found in buckets, but the Count field is ${count}: histogram's observation count should`;
  if (Number.isNaN(sum)) {
    return inBuckets > count ? `${found} be at least the number of observations found in the buckets` : undefined;
  }
  return inBuckets === count
    ? undefined
    : `${found} equal the number of observations found in the buckets (in absence of NaN)`;
}
