/**
 * Counter-reset hints as Prometheus answers them, and what tells two histograms apart.
 *
 * Prometheus does not store the hint a writer sent. It starts a chunk where a counter was reset, or may have been, and
 * reads a histogram as not reset where one of the same chunk stands before it. Its chunks also end when they are full,
 * which only makes a hint "unknown" that could be "not_reset" and changes no answer.
 *
 * @see prometheus/prometheus tsdb/chunkenc: `appendable` and `counterResetHint`.
 */

import { sameBounds } from "../model/bucket-bounds.ts";
import { bitsOf } from "../model/double-codec.ts";
import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../model/histogram.ts";

/** A chunk of Prometheus' ends with the block it belongs to. */
const CHUNK_RANGE_MS = 7_200_000;
const HASH_A_PRIME = 0x0100_0193;
const HASH_A_START = 0x811c_9dc5;
const HASH_B_PRIME = 0x85eb_ca6b;
const HASH_B_START = 0x1b87_3593;

/** End of Prometheus' block that `timestampMs` belongs to. */
export function chunkEndOf(timestampMs: number): number {
  return (Math.floor(timestampMs / CHUNK_RANGE_MS) + 1) * CHUNK_RANGE_MS;
}

/** Whether `next` would go to the chunk that ends with `previous`: same buckets by and large, and no counter that fell. */
export function continuesChunk(previous: NativeHistogram, next: NativeHistogram): boolean {
  const isGauge = next.resetHint === "gauge";
  if (previous.integer !== next.integer || (previous.resetHint === "gauge") !== isGauge) return false;
  if (next.resetHint === "reset") return false;
  if (previous.schema !== next.schema || previous.zeroThreshold !== next.zeroThreshold) return false;
  if (next.schema === CUSTOM_BUCKETS_SCHEMA && !sameBounds(previous.customValues, next.customValues)) return false;
  if (isGauge) return true;
  return (
    next.count >= previous.count &&
    next.zeroCount >= previous.zeroCount &&
    noBucketFell(previous.positiveSpans, previous.positiveCounts, next.positiveSpans, next.positiveCounts) &&
    noBucketFell(previous.negativeSpans, previous.negativeCounts, next.negativeSpans, next.negativeCounts)
  );
}

/** A histogram with the hint that readers get. Gauges keep theirs. */
export function withReadHint(histogram: NativeHistogram, continues: boolean): NativeHistogram {
  const { resetHint } = histogram;
  const hint = resetHint === "gauge" ? "gauge" : continues ? "not_reset" : "unknown";
  return hint === resetHint ? histogram : { ...histogram, resetHint: hint };
}

/** A whole number of 52 bits that is the same for equal histograms, whatever their hints, and hardly ever for others. */
export function histogramHash(histogram: NativeHistogram): number {
  let a = HASH_A_START;
  let b = HASH_B_START;
  const mix = (value: number) => {
    const { high, low } = bitsOf(value);
    a = Math.imul(a ^ low, HASH_A_PRIME);
    a = Math.imul(a ^ high ^ (a >>> 15), HASH_A_PRIME);
    b = Math.imul(b ^ high, HASH_B_PRIME);
    b = Math.imul(b ^ low ^ (b >>> 13), HASH_B_PRIME);
  };
  mix(histogram.schema);
  mix(histogram.zeroThreshold);
  mix(histogram.zeroCount);
  mix(histogram.count);
  mix(histogram.sum);
  for (const spans of [histogram.positiveSpans, histogram.negativeSpans]) {
    mix(spans.length);
    for (const { offset, length } of spans) {
      mix(offset);
      mix(length);
    }
  }
  histogram.positiveCounts.forEach(mix);
  histogram.negativeCounts.forEach(mix);
  histogram.customValues.forEach(mix);
  return (a >>> 0) * 2 ** 20 + ((b ^ (b >>> 16)) & 0xf_ffff);
}

/** Whether every bucket that counted something is there still and counts as much at least. */
function noBucketFell(
  previousSpans: readonly BucketSpan[],
  previousCounts: Float64Array,
  nextSpans: readonly BucketSpan[],
  nextCounts: Float64Array,
): boolean {
  const previous = new BucketWalk(previousSpans);
  const next = new BucketWalk(nextSpans);
  let inNext = next.step();
  while (previous.step()) {
    const count = previousCounts[previous.at] ?? 0;
    while (inNext && next.bucket < previous.bucket) inNext = next.step();
    if (inNext && next.bucket === previous.bucket) {
      if (count > (nextCounts[next.at] ?? 0)) return false;
    } else if (count !== 0) return false;
  }
  return true;
}

/** Walks buckets in order of their number. Before the first `step` there is none. */
class BucketWalk {
  bucket = -1;
  /** Place of the bucket's count. */
  at = -1;
  readonly #spans: readonly BucketSpan[];
  #span = -1;
  #left = 0;

  constructor(spans: readonly BucketSpan[]) {
    this.#spans = spans;
  }

  step(): boolean {
    this.bucket++;
    while (this.#left === 0) {
      const span = this.#spans[++this.#span];
      if (span === undefined) return false;
      this.bucket = this.#span === 0 ? span.offset : this.bucket + span.offset;
      this.#left = span.length;
    }
    this.#left--;
    this.at++;
    return true;
  }
}
