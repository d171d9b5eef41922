/**
 * Samples of a series cut into chunks, as Prometheus sends them.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import type { SeriesSamples } from "../model/series.ts";
import { canFollow, encodeHistogramChunk, isWhole } from "./histogram-chunk.ts";
import { encodeXorChunk } from "./xor-chunk.ts";
import { STALE_HIGH, STALE_LOW, wordsOf } from "./xor-values.ts";

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
    const end = histogram === undefined ? floatsEnd(series, from) : histogramsEnd(series, from, histogram);
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
      // The list may end before the markers do.
      const run = Array.from(times, (_, at) => histograms[from + at]);
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

/** Stale markers stand in the chunk of the histogram that they end. */
function histogramsEnd(series: SeriesSamples, from: number, first: NativeHistogram): number {
  const { timestampsMs, histograms = [] } = series;
  const last = Math.min(timestampsMs.length, from + CHUNK_SAMPLES_MAX);
  let before = first;
  let end = from + 1;
  let buckets = bucketCount(before);
  for (; end < last; end++) {
    const next = histograms[end];
    if (next === undefined || !canFollow(before, next)) break;
    buckets += bucketCount(next);
    if (buckets > CHUNK_BUCKETS_MAX) break;
    before = next;
  }
  while (end < from + 2 * CHUNK_SAMPLES_MAX && histogramThatEnds(series, end) !== undefined) end++;
  return end;
}

/** The histogram that a stale marker at `at` follows; undefined where there is no marker, or where it follows a float. */
export function histogramThatEnds({ values, histograms = [] }: SeriesSamples, at: number): NativeHistogram | undefined {
  const words = wordsOf(values);
  for (let row = at; row >= 0; row--) {
    const histogram = histograms[row];
    if (histogram !== undefined) return row === at ? undefined : histogram;
    if (words[2 * row] !== STALE_LOW || words[2 * row + 1] !== STALE_HIGH) return undefined;
  }
  return undefined;
}

function bucketCount({ positiveCounts, negativeCounts }: NativeHistogram): number {
  return positiveCounts.length + negativeCounts.length;
}
