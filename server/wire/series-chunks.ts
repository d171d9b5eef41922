/**
 * Samples of a series cut into chunks, as Prometheus sends them.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import type { SeriesSamples } from "../model/series.ts";
import { canFollow, encodeHistogramChunk, isWhole } from "./histogram-chunk.ts";
import { encodeXorChunk } from "./xor-chunk.ts";

/** Samples of one chunk; Prometheus aims at as many. */
const CHUNK_SAMPLES_MAX = 120;
/** Buckets of all histograms of one chunk, so that chunks of wide ones stay small; one histogram always fits. */
const CHUNK_BUCKETS_MAX = 16_384;

/** Numbers of `Chunk.Encoding`. */
export const CHUNK_XOR = 1;
export const CHUNK_HISTOGRAM = 2;
export const CHUNK_FLOAT_HISTOGRAM = 3;

/** An encoded chunk; both times are of samples in it. */
export interface Chunk {
  readonly minMs: number;
  readonly maxMs: number;
  readonly type: typeof CHUNK_XOR | typeof CHUNK_HISTOGRAM | typeof CHUNK_FLOAT_HISTOGRAM;
  readonly bytes: Uint8Array;
}

/** The chunks of a series, in order of time; each is encoded when it is asked for. */
export function* chunksOf(series: SeriesSamples): Generator<Chunk> {
  const { timestampsMs, values, histograms } = series;
  const rows = timestampsMs.length;
  let from = 0;
  while (from < rows) {
    const histogram = histograms?.[from];
    const end = histogram === undefined ? floatsEnd(series, from) : histogramsEnd(series, from);
    const times = timestampsMs.subarray(from, end);
    const span = { minMs: times[0] ?? 0, maxMs: times[times.length - 1] ?? 0 };
    if (histogram === undefined || histograms === undefined) {
      yield {
        ...span,
        type: CHUNK_XOR,
        bytes: encodeXorChunk({ timestampsMs: times, values: values.subarray(from, end) }),
      };
    } else {
      const type = isWhole(histogram) ? CHUNK_HISTOGRAM : CHUNK_FLOAT_HISTOGRAM;
      const run = histograms.slice(from, end).filter((each) => each !== undefined);
      yield { ...span, type, bytes: encodeHistogramChunk({ timestampsMs: times, histograms: run }) };
    }
    from = end;
  }
}

function floatsEnd({ timestampsMs, histograms }: SeriesSamples, from: number): number {
  const last = Math.min(timestampsMs.length, from + CHUNK_SAMPLES_MAX);
  if (histograms === undefined) return last;
  let end = from + 1;
  while (end < last && histograms[end] === undefined) end++;
  return end;
}

function histogramsEnd({ timestampsMs, histograms = [] }: SeriesSamples, from: number): number {
  const last = Math.min(timestampsMs.length, from + CHUNK_SAMPLES_MAX);
  let before = histograms[from];
  let end = from + 1;
  let buckets = before === undefined ? 0 : bucketCount(before);
  for (; end < last; end++) {
    const next = histograms[end];
    if (before === undefined || next === undefined || !canFollow(before, next)) break;
    buckets += bucketCount(next);
    if (buckets > CHUNK_BUCKETS_MAX) break;
    before = next;
  }
  return end;
}

function bucketCount({ positiveCounts, negativeCounts }: NativeHistogram): number {
  return positiveCounts.length + negativeCounts.length;
}
