/** Sums of two histograms of observations, such as the one so far and what came since. */

import { exponentialBound, sameBounds } from "./bucket-bounds.ts";
import { bucketIndexes, spansOfIndexes } from "./bucket-indexes.ts";
import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "./histogram.ts";
import { isExponential } from "./histogram-resolution.ts";

/** Count of each bucket that has one, by index. */
type Buckets = Map<number, number>;

/**
 * Both together, in the coarser schema and the wider zero bucket of the two. Empty buckets are left out.
 *
 * @returns undefined where their buckets have nothing to do with each other: custom bounds that differ, or one of each sort.
 */
export function addObservations(a: NativeHistogram, b: NativeHistogram): NativeHistogram | undefined {
  if (a.schema === CUSTOM_BUCKETS_SCHEMA || b.schema === CUSTOM_BUCKETS_SCHEMA) {
    if (a.schema !== b.schema || !sameBounds(a.customValues, b.customValues)) return undefined;
  } else if (!isExponential(a) || !isExponential(b)) return undefined;
  const schema = Math.min(a.schema, b.schema);
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
    const target = Math.ceil(index / 2 ** shift);
    into.set(target, (into.get(target) ?? 0) + count);
  }
}

function layOut(buckets: Buckets): { spans: BucketSpan[]; counts: Float64Array } {
  const indexes = Int32Array.from(buckets.keys()).sort();
  return { spans: spansOfIndexes(indexes), counts: Float64Array.from(indexes, (index) => buckets.get(index) ?? 0) };
}
