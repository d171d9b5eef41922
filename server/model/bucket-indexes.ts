/** Spans of buckets and the indexes of the buckets they stand for. */

import type { BucketSpan } from "./histogram.ts";

/** Bucket index of each of the `count` counts that stand under `spans`. */
export function bucketIndexes(spans: readonly BucketSpan[], count: number): Int32Array {
  const indexes = new Int32Array(count);
  const at = writeIndexes(spans, count, indexes);
  return at === count ? indexes : indexes.subarray(0, at);
}

/** Writes bucket indexes to `indexes`, which has room for `count`. @returns How many were written. */
export function writeIndexes(spans: readonly BucketSpan[], count: number, indexes: Int32Array): number {
  let index = 0;
  let at = 0;
  for (const { offset, length } of spans) {
    index += offset;
    for (let k = 0; k < length && at < count; k++) indexes[at++] = index++;
  }
  return at;
}

/** The fewest spans that stand for the first `count` of `indexes`, which grow. */
export function spansOfIndexes(indexes: Int32Array, count: number = indexes.length): BucketSpan[] {
  const spans: BucketSpan[] = [];
  let end = 0;
  let at = 0;
  while (at < count) {
    const start = indexes[at] ?? 0;
    let length = 1;
    while (at + length < count && indexes[at + length] === start + length) length++;
    spans.push({ offset: start - end, length });
    end = start + length;
    at += length;
  }
  return spans;
}
