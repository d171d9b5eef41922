/**
 * Dense buckets of OpenTelemetry's histograms → the sparse ones of Prometheus' native histograms. Numbers of many stand in
 * one buffer: to hand a buffer each to another thread takes microseconds and kilobytes.
 */

import { ArraySlab } from "../model/array-slab.ts";
import {
  type BucketSpan,
  customHistogram,
  EXPONENTIAL_SCHEMA_MAX,
  EXPONENTIAL_SCHEMA_MIN,
  type NativeHistogram,
} from "../model/histogram.ts";

/** Empty buckets up to so many stand between two others; more begin a new span. */
const GAP_MAX = 2;
/** Of a point that sets no zero threshold. */
const ZERO_THRESHOLD = 1e-128;
const NO_VALUES = new Float64Array(0);
const doubles = new ArraySlab((length) => new Float64Array(length), 8_192);

/** Numbers that stand in one buffer with those of other points. */
export function packedNumbers(numbers: readonly number[]): Float64Array {
  if (numbers.length === 0) return NO_VALUES;
  const packed = doubles.take(numbers.length);
  packed.set(numbers);
  return packed;
}

/** A shift by more leaves nothing of 32 bits but the sign. */
const SHIFT_MAX = 31;

/** One side of a histogram: bucket `offset + i` has `counts[i]`. */
interface DenseBuckets {
  readonly offset: number;
  readonly counts: readonly number[];
}

/** A point of an exponential histogram. */
export interface ExponentialPoint {
  readonly scale: number;
  readonly zeroCount: number;
  /** 0 where it is not set. */
  readonly zeroThreshold: number;
  readonly count: number;
  readonly sum: number;
  readonly positive: DenseBuckets;
  readonly negative: DenseBuckets;
}

/**
 * The native histogram of a point; undefined where its scale is coarser than any schema. Finer scales are merged.
 *
 * @see OpenTelemetry's compatibility with Prometheus, Exponential Histograms: a zero threshold that is set is kept, where
 * Prometheus' own receiver leaves it out.
 */
export function nativeHistogramOf(point: ExponentialPoint): NativeHistogram | undefined {
  if (point.scale < EXPONENTIAL_SCHEMA_MIN) return undefined;
  const schema = Math.min(point.scale, EXPONENTIAL_SCHEMA_MAX);
  const scaleDown = point.scale - schema;
  const positive = sparse(point.positive, scaleDown);
  const negative = sparse(point.negative, scaleDown);
  return {
    schema,
    zeroThreshold: thresholdOf(point.zeroThreshold),
    zeroCount: point.zeroCount,
    count: point.count,
    sum: point.sum,
    positiveSpans: positive.spans,
    positiveCounts: positive.counts,
    negativeSpans: negative.spans,
    negativeCounts: negative.counts,
    customValues: NO_VALUES,
    // Start times say when a count began, not whether this sample continues the one before.
    resetHint: "unknown",
    integer: true,
  };
}

/** A point of a histogram with explicit bounds. */
export interface ExplicitPoint {
  readonly count: number;
  readonly sum: number;
  readonly bounds: readonly number[];
  /** One more than bounds. */
  readonly buckets: readonly number[];
}

/** The native histogram with custom buckets of a point. Whether it is valid is for whoever keeps it to say. */
export function customHistogramOf({ count, sum, bounds, buckets }: ExplicitPoint): NativeHistogram {
  const first = buckets.findIndex((each) => each !== 0);
  // Custom buckets are numbered as OpenTelemetry's are, unlike exponential ones.
  const positive = sparse({ offset: first - 1, counts: first < 0 ? [] : buckets.slice(first) }, 0);
  return customHistogram({
    count,
    sum,
    positiveSpans: positive.spans,
    positiveCounts: positive.counts,
    customValues: packedNumbers(bounds),
    integer: true,
  });
}

/** What is no width is not set. */
function thresholdOf(sent: number): number {
  return sent > 0 && Number.isFinite(sent) ? sent : ZERO_THRESHOLD;
}

interface SparseBuckets {
  readonly spans: BucketSpan[];
  readonly counts: Float64Array;
}

/** Bucket 0 of OpenTelemetry starts where bucket 0 of Prometheus ends, so indices are one higher. */
function sparse({ offset, counts }: DenseBuckets, scaleDown: number): SparseBuckets {
  if (counts.length === 0) return { spans: [], counts: NO_VALUES };
  const shift = Math.min(SHIFT_MAX, scaleDown);
  const indexOf = (at: number) => (((at + offset) | 0) >> shift) + 1;
  const spans: { offset: number; length: number }[] = [{ offset: indexOf(0), length: 0 }];
  const kept: number[] = [];
  let index = indexOf(0);
  let last = index - 1;
  let count = 0;
  const append = () => {
    const gap = index - last - 1;
    if (gap > GAP_MAX) spans.push({ offset: gap, length: 0 });
    else for (let empty = 0; empty < gap; empty++) push(spans, kept, 0);
    push(spans, kept, count);
    last = index;
  };
  for (let at = 0; at < counts.length; at++) {
    const next = indexOf(at);
    const here = counts[at] ?? 0;
    if (next === index) {
      count += here;
      continue;
    }
    // Empty ones are the gap before the next that is not.
    if (count !== 0) append();
    count = here;
    index = next;
  }
  append();
  return { spans, counts: packedNumbers(kept) };
}

function push(spans: { offset: number; length: number }[], kept: number[], count: number): void {
  const span = spans.at(-1);
  if (span !== undefined) span.length++;
  kept.push(count);
}
