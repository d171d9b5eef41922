/**
 * Latency buckets of Prometheus' native histograms of schema 3, eight to an octave of seconds.
 *
 * Slots are what is counted in: slot 0 is the zero bucket, slot `s` the native bucket `s - SLOT_OF_BUCKET_0`, whose upper
 * bound is `2^((s - SLOT_OF_BUCKET_0) / 8)` seconds and belongs to it.
 */

import { bucketFinder } from "../model/bucket-finder.ts";
import type { BucketSpan, NativeHistogram } from "../model/histogram.ts";
import type { LogCounts } from "./log-counts.ts";

const SCHEMA = 3;
const BUCKETS_PER_OCTAVE = 2 ** SCHEMA;
/** 1 ns is in the slot after the zero bucket. */
const SLOT_OF_BUCKET_0 = 240;
const SLOT_LAST = SLOT_OF_BUCKET_0 + 24 * BUCKETS_PER_OCTAVE;
/** Prometheus' client library's own: 2^-128. */
const ZERO_THRESHOLD = 2 ** -128;
/** Empty buckets between two others that cost less as buckets than as a span of their own. */
const GAP_MAX = 2;

/** By slot: the longest whole number of nanoseconds in it. A bound is a whole number only where it is exact. */
const LONGEST_NS = Float64Array.from({ length: SLOT_LAST + 1 }, (_, slot) =>
  slot === 0 ? 0 : Math.floor(2 ** ((slot - SLOT_OF_BUCKET_0) / BUCKETS_PER_OCTAVE) * 1e9),
);

const finder = bucketFinder(LONGEST_NS);
const NO_COUNTS = new Float64Array(0);

/** Slot of a latency in whole nanoseconds, at most 2^53: exactly the bucket that Prometheus would count it in. */
export function nativeSlotOf(latencyNs: number): number {
  return latencyNs <= 0 ? 0 : finder(latencyNs);
}

/** What was counted in slots as one histogram sample; `count` and `sum` (seconds) are told beside. */
export function nativeHistogramOf(slots: LogCounts, count: number, sum: number): NativeHistogram {
  const spans: { offset: number; length: number }[] = [];
  const counts: number[] = [];
  const zeroCount = slots.first === 0 ? (slots.counts[0] ?? 0) : 0;
  let last: number | undefined;
  for (let at = slots.first === 0 ? 1 : 0; at < slots.counts.length; at++) {
    const own = slots.counts[at] ?? 0;
    if (own === 0) continue;
    const bucket = slots.first + at - SLOT_OF_BUCKET_0;
    const gap = last === undefined ? Number.POSITIVE_INFINITY : bucket - last - 1;
    const span = spans[spans.length - 1];
    if (span !== undefined && gap <= GAP_MAX) {
      for (let empty = 0; empty < gap; empty++) counts.push(0);
      span.length += gap + 1;
    } else {
      spans.push({ offset: last === undefined ? bucket : gap, length: 1 });
    }
    counts.push(own);
    last = bucket;
  }
  return sampleOf({ zeroCount, count, sum, spans, counts: Float64Array.from(counts) });
}

/** A histogram that has counted nothing. */
export const NATIVE_ZERO: NativeHistogram = sampleOf({ zeroCount: 0, count: 0, sum: 0, spans: [], counts: NO_COUNTS });

function sampleOf(counted: {
  readonly zeroCount: number;
  readonly count: number;
  readonly sum: number;
  readonly spans: readonly BucketSpan[];
  readonly counts: Float64Array;
}): NativeHistogram {
  return {
    schema: SCHEMA,
    zeroThreshold: ZERO_THRESHOLD,
    zeroCount: counted.zeroCount,
    count: counted.count,
    sum: counted.sum,
    positiveSpans: counted.spans,
    positiveCounts: counted.counts,
    negativeSpans: [],
    negativeCounts: NO_COUNTS,
    customValues: NO_COUNTS,
    resetHint: "unknown",
    integer: true,
  };
}
