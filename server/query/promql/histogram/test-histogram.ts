/** Histograms for tests. */

import { exponentialBound } from "../../../model/bucket-bounds.ts";
import { spansOfIndexes } from "../../../model/bucket-indexes.ts";
import { CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../../../model/histogram.ts";

/** Counts by bucket index. */
export type TestBuckets = Readonly<Record<number, number>>;

/** An exponential histogram whose count is that of its buckets, unless `rest` says otherwise. */
export function exponential(
  schema: number,
  positive: TestBuckets,
  rest: Partial<NativeHistogram> & { readonly negative?: TestBuckets } = {},
): NativeHistogram {
  const { negative = {}, ...fields } = rest;
  const own = side(positive);
  const other = side(negative);
  return {
    schema,
    zeroThreshold: 0,
    zeroCount: 0,
    count: total(own.counts) + total(other.counts) + (fields.zeroCount ?? 0),
    sum: 0,
    positiveSpans: own.spans,
    positiveCounts: own.counts,
    negativeSpans: other.spans,
    negativeCounts: other.counts,
    customValues: new Float64Array(),
    resetHint: "unknown",
    integer: false,
    ...fields,
  };
}

/** A histogram with custom bounds. */
export function custom(
  bounds: readonly number[],
  buckets: TestBuckets,
  rest: Partial<NativeHistogram> = {},
): NativeHistogram {
  return exponential(CUSTOM_BUCKETS_SCHEMA, buckets, { customValues: Float64Array.from(bounds), ...rest });
}

function side(buckets: TestBuckets) {
  const indexes = Int32Array.from(Object.keys(buckets), Number).sort();
  return { spans: spansOfIndexes(indexes), counts: Float64Array.from(indexes, (index) => buckets[index] ?? 0) };
}

function total(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
export function seededNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Any exponential histogram of whole counts, with gaps, empty buckets and a zero bucket that ends below all others. */
export function randomExponential(random: () => number): NativeHistogram {
  const below = (n: number) => Math.floor(random() * n);
  const schema = below(6) - 2;
  const zeroThreshold = random() < 0.3 ? 0 : 2 ** (below(8) - 6);
  const buckets = (): TestBuckets => {
    const out: Record<number, number> = {};
    let index = -below(20);
    while (exponentialBound(index - 1, schema) < zeroThreshold) index++;
    for (let left = below(12); left > 0; left--) {
      out[index] = below(4);
      index += 1 + (random() < 0.3 ? below(9) : 0);
    }
    return out;
  };
  return exponential(schema, buckets(), {
    negative: buckets(),
    zeroThreshold,
    zeroCount: below(5),
    sum: below(1000) / 8,
  });
}
