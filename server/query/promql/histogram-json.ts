/**
 * Histograms as the JSON of Prometheus' HTTP API.
 *
 * An answer may hold a million buckets, but few different bounds; what stands before the count of a bucket is printed
 * once and kept.
 */

import { bucketBound, exponentialBound } from "../../model/bucket-bounds.ts";
import type { BucketSpan, NativeHistogram } from "../../model/histogram.ts";
import { usesCustomBuckets } from "./histogram/float-histogram.ts";
import { jsonBuckets } from "./histogram/histogram-buckets.ts";
import { printSample } from "./number-text.ts";

/** `{"count":"9","sum":"18.4","buckets":[[3,"-0.001","0.001","2"],[0,"0.5","1","7"]]}`; without buckets where none counts. */
export function printHistogramJson(histogram: NativeHistogram): string {
  const { count, sum } = histogram;
  const buckets = printBuckets(histogram);
  const shown = buckets === "" ? "" : `,"buckets":[${buckets.slice(1)}]`;
  return `{"count":"${printSample(count)}","sum":"${printSample(sum)}"${shown}}`;
}

/** Each bucket after a comma. */
function printBuckets(histogram: NativeHistogram): string {
  if (usesCustomBuckets(histogram)) return printSide(histogram, customHeads(histogram));
  if (reachesIntoZero(histogram)) {
    const buckets = jsonBuckets(histogram).map(([rule, lower, upper, count]) => head(rule, lower, upper) + tail(count));
    return buckets.join("");
  }
  const { schema, zeroCount, zeroThreshold } = histogram;
  const negative = printNegative(histogram);
  const zero = zeroCount > 0 ? head(3, -zeroThreshold, zeroThreshold) + tail(zeroCount) : "";
  return negative + zero + printSide(histogram, (index) => exponentialHead(index, schema));
}

function head(rule: number, lower: number, upper: number): string {
  return `,[${rule},"${printSample(lower)}","${printSample(upper)}","`;
}

function tail(count: number): string {
  return `${printSample(count)}"]`;
}

/** Whether a bucket begins inside the zero bucket, which cuts it. */
function reachesIntoZero({ schema, zeroThreshold, positiveSpans, negativeSpans }: NativeHistogram): boolean {
  const reaches = ([first]: readonly BucketSpan[]) =>
    first !== undefined && exponentialBound(first.offset - 1, schema) < zeroThreshold;
  return reaches(positiveSpans) || reaches(negativeSpans);
}

function printSide({ positiveSpans, positiveCounts }: NativeHistogram, headOf: (index: number) => string): string {
  let text = "";
  let index = 0;
  let at = 0;
  for (const { offset, length } of positiveSpans) {
    index += offset;
    for (let k = 0; k < length && at < positiveCounts.length; k++, index++) {
      const count = positiveCounts[at++] ?? 0;
      if (count !== 0) text += headOf(index) + tail(count);
    }
  }
  return text;
}

/** From the lowest upwards, so the last one first. */
function printNegative({ schema, negativeSpans, negativeCounts }: NativeHistogram): string {
  let text = "";
  let index = 0;
  let at = 0;
  for (const { offset, length } of negativeSpans) {
    index += offset;
    for (let k = 0; k < length && at < negativeCounts.length; k++, index++) {
      const count = negativeCounts[at++] ?? 0;
      if (count === 0) continue;
      text = head(1, -exponentialBound(index, schema), -exponentialBound(index - 1, schema)) + tail(count) + text;
    }
  }
  return text;
}

/** Texts that are kept, over all schemas; beyond that all are forgotten. */
const HEADS_MAX = 16_384;

const exponentialHeads = new Map<number, string>();

function exponentialHead(index: number, schema: number): string {
  const key = index * 32 + schema;
  const known = exponentialHeads.get(key);
  if (known !== undefined) return known;
  if (exponentialHeads.size >= HEADS_MAX) exponentialHeads.clear();
  const made = head(0, exponentialBound(index - 1, schema), exponentialBound(index, schema));
  exponentialHeads.set(key, made);
  return made;
}

/** By the bounds themselves, which histograms of one layout share; they go when the bounds go. */
const headsOfBounds = new WeakMap<Float64Array, string[]>();

function customHeads(histogram: NativeHistogram): (index: number) => string {
  const heads = headsOfBounds.get(histogram.customValues) ?? [];
  headsOfBounds.set(histogram.customValues, heads);
  return (index) => {
    heads[index] ??= head(index === 0 ? 3 : 0, bucketBound(histogram, index - 1), bucketBound(histogram, index));
    return heads[index];
  };
}
