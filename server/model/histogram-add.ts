/** Sums of two histograms of observations, such as the one so far and what came since. */

import { exponentialBound, sameBounds } from "./bucket-bounds.ts";
import { bucketIndexes, spansOfIndexes } from "./bucket-indexes.ts";
import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MIN, type NativeHistogram } from "./histogram.ts";
import { isExponential, reduceResolution } from "./histogram-resolution.ts";

/**
 * Exponential buckets from the lowest with a count to the highest, on each side of a sum. Else a sum of many histograms
 * would have all of their buckets.
 *
 * @see OpenTelemetry's metrics SDK, Base2 Exponential Bucket Histogram Aggregation: the default of `MaxSize`; the Collector's
 * processor deltatocumulative has it too.
 */
const SIDE_BUCKETS_MAX = 160;

/** Count of each bucket that has one, by index. */
type Buckets = Map<number, number>;

/**
 * Both together, in the coarser schema and the wider zero bucket of the two, coarser still where a side would have more
 * than 160 exponential buckets. Empty buckets are left out.
 *
 * @returns undefined where their buckets have nothing to do with each other: custom bounds that differ, one of each sort, or
 * too far apart for any schema.
 */
export function addObservations(a: NativeHistogram, b: NativeHistogram): NativeHistogram | undefined {
  if (a.schema === CUSTOM_BUCKETS_SCHEMA || b.schema === CUSTOM_BUCKETS_SCHEMA) {
    return a.schema === b.schema && sameBounds(a.customValues, b.customValues) ? sumOf(a, b, a.schema) : undefined;
  }
  if (!isExponential(a) || !isExponential(b)) return undefined;
  const coarser = Math.min(a.schema, b.schema);
  const schema = schemaWithRoom(a, b, coarser);
  if (schema === undefined) return undefined;
  return schema === coarser
    ? sumOf(a, b, schema)
    : sumOf(reduceResolution(a, schema), reduceResolution(b, schema), schema);
}

/** The finest schema up to `schema` in which neither side has too many buckets. */
function schemaWithRoom(a: NativeHistogram, b: NativeHistogram, schema: number): number | undefined {
  const sides = [
    [reachOf(a.positiveSpans, a.positiveCounts), reachOf(b.positiveSpans, b.positiveCounts)],
    [reachOf(a.negativeSpans, a.negativeCounts), reachOf(b.negativeSpans, b.negativeCounts)],
  ] as const;
  const hasRoom = (at: number) =>
    sides.every(([ofA, ofB]) => {
      const low = Math.min(coarserIndex(ofA.low, a.schema - at), coarserIndex(ofB.low, b.schema - at));
      const high = Math.max(coarserIndex(ofA.high, a.schema - at), coarserIndex(ofB.high, b.schema - at));
      return high - low < SIDE_BUCKETS_MAX;
    });
  for (let at = schema; at >= EXPONENTIAL_SCHEMA_MIN; at--) if (hasRoom(at)) return at;
  return undefined;
}

/** Lowest and highest bucket with a count; infinities where there is none. */
function reachOf(spans: readonly BucketSpan[], counts: Float64Array): { readonly low: number; readonly high: number } {
  const indexes = bucketIndexes(spans, counts.length);
  const first = counts.findIndex((count) => count !== 0);
  if (first < 0) return { low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY };
  const last = counts.findLastIndex((count) => count !== 0);
  return { low: indexes[first] as number, high: indexes[last] as number }; // in range: an index each
}

function sumOf(a: NativeHistogram, b: NativeHistogram, schema: number): NativeHistogram {
  const parts = [partsOf(a), partsOf(b)];
  let zeroThreshold = Math.max(a.zeroThreshold, b.zeroThreshold);
  // A bucket that reaches beyond the threshold widens it, perhaps over some of the other's.
  for (let before = -1; before < zeroThreshold; ) {
    before = zeroThreshold;
    for (const part of parts) zeroThreshold = widenZero(part, zeroThreshold);
  }
  const positive: Buckets = new Map();
  const negative: Buckets = new Map();
  for (const part of parts) {
    addCoarser(positive, part.positive, part.schema - schema);
    addCoarser(negative, part.negative, part.schema - schema);
  }
  const zeroCount = parts.reduce((sum, part) => sum + part.zeroCount, 0);
  const above = layOut(positive);
  const below = layOut(negative);
  return {
    ...a,
    schema,
    zeroThreshold,
    zeroCount,
    count: a.count + b.count,
    sum: a.sum + b.sum,
    positiveSpans: above.spans,
    positiveCounts: above.counts,
    negativeSpans: below.spans,
    negativeCounts: below.counts,
    integer: a.integer && b.integer,
  };
}

/** A histogram's buckets, and its zero bucket while that is widened. */
interface Parts {
  readonly schema: number;
  readonly positive: Buckets;
  readonly negative: Buckets;
  zeroThreshold: number;
  zeroCount: number;
}

function partsOf(histogram: NativeHistogram): Parts {
  const { schema, zeroThreshold, zeroCount } = histogram;
  const positive = bucketsOf(histogram.positiveSpans, histogram.positiveCounts);
  const negative = bucketsOf(histogram.negativeSpans, histogram.negativeCounts);
  return { schema, positive, negative, zeroThreshold, zeroCount };
}

function bucketsOf(spans: readonly BucketSpan[], counts: Float64Array): Buckets {
  const buckets: Buckets = new Map();
  for (const [at, index] of bucketIndexes(spans, counts.length).entries()) {
    const count = counts[at] as number; // in range: an index each
    if (count !== 0) buckets.set(index, count);
  }
  return buckets;
}

/** Takes the buckets that begin below a threshold into the zero bucket. @returns The threshold, no bucket reaches beyond. */
function widenZero(part: Parts, threshold: number): number {
  if (threshold <= part.zeroThreshold) return threshold;
  let widened = threshold;
  for (const side of [part.positive, part.negative]) {
    for (const [index, count] of side) {
      if (exponentialBound(index - 1, part.schema) >= threshold) continue;
      side.delete(index);
      part.zeroCount += count;
      widened = Math.max(widened, exponentialBound(index, part.schema));
    }
  }
  part.zeroThreshold = widened;
  return widened;
}

/** Adds buckets to those of a schema that is coarser by `shift`. */
function addCoarser(into: Buckets, buckets: Buckets, shift: number): void {
  for (const [index, count] of buckets) {
    const target = coarserIndex(index, shift);
    into.set(target, (into.get(target) ?? 0) + count);
  }
}

/** Index of a bucket in a schema that is coarser by `shift`. */
function coarserIndex(index: number, shift: number): number {
  return Math.ceil(index / 2 ** shift);
}

function layOut(buckets: Buckets): { spans: BucketSpan[]; counts: Float64Array } {
  const indexes = Int32Array.from(buckets.keys()).sort();
  return { spans: spansOfIndexes(indexes), counts: Float64Array.from(indexes, (index) => buckets.get(index) ?? 0) };
}
