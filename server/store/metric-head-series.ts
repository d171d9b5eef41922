/**
 * One series of the head: its samples, those that came late apart, and what it remembers of the newest one.
 *
 * Invariants: times of samples in order strictly grow; late samples may lie anywhere below the newest.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import type { Labels } from "../model/series.ts";
import { isStale, type SampleRun } from "./metric-chunk.ts";
import { chunkEndOf, continuesChunk, histogramHash, withReadHint } from "./metric-hints.ts";
import { joinRuns } from "./metric-runs.ts";
import {
  dropTrackBefore,
  EMPTY_TRACK_BYTES,
  emptyTrack,
  insertSorted,
  isEmptyTrack,
  openSampleAt,
  pushSample,
  type Sample,
  samplesByRun,
  samplesInOrder,
  type Track,
  trackBytes,
  trackHasIn,
} from "./metric-track.ts";

/** Memory that a series takes beside its samples: labels, index entries and this object. Measured, rounded up. */
const SERIES_BYTES = 700;

const KIND_NONE = 0;
const KIND_FLOAT = 1;
const KIND_STALE = 2;
const KIND_INTEGER_HISTOGRAM = 3;
const KIND_FLOAT_HISTOGRAM = 4;

/** The newest sample of a series, as far as a repeat must be told from a conflict. */
export interface NewestSample {
  readonly ms: number;
  readonly kind: number;
  /** The float, or a hash of the histogram. */
  readonly identity: number;
}

const NO_SAMPLE: NewestSample = { ms: Number.NEGATIVE_INFINITY, kind: KIND_NONE, identity: 0 };

/** One series of the head. Fields are the head's own; readers get copies. */
export interface HeadSeries {
  readonly ref: number;
  readonly labels: Labels;
  /** Text that tells the series from all others. */
  readonly key: string;
  readonly inOrder: Track;
  late: Track | undefined;
  /** Newest sample that went to the log, applied or not yet. */
  logged: NewestSample;
  applied: NewestSample;
  /** The newest sample where it is a histogram, and the end of Prometheus' chunk that it stands in. */
  lastHistogram: NativeHistogram | undefined;
  chunkEndMs: number;
  /** Write that staged a sample last, and the newest sample before it. */
  stagedBy: number;
  beforeWrite: NewestSample;
  /** Log segment that declares this series; 0 where none does. */
  declaredIn: number;
  indexed: boolean;
}

/** A series without samples. */
export function emptySeries(ref: number, labels: Labels, key: string): HeadSeries {
  return {
    ref,
    labels,
    key,
    inOrder: emptyTrack(),
    late: undefined,
    logged: NO_SAMPLE,
    applied: NO_SAMPLE,
    lastHistogram: undefined,
    chunkEndMs: Number.NEGATIVE_INFINITY,
    stagedBy: 0,
    beforeWrite: NO_SAMPLE,
    declaredIn: 0,
    indexed: false,
  };
}

/** What a series remembers of a sample that is its newest. */
export function newestOf({ timestampMs: ms, value, histogram }: Sample): NewestSample {
  if (histogram !== undefined) {
    const kind = histogram.integer ? KIND_INTEGER_HISTOGRAM : KIND_FLOAT_HISTOGRAM;
    return { ms, kind, identity: histogramHash(histogram) };
  }
  return isStale(value) ? { ms, kind: KIND_STALE, identity: 0 } : { ms, kind: KIND_FLOAT, identity: value };
}

/** Whether two samples of one time are the same. */
export function isRepeat(a: NewestSample, b: NewestSample): boolean {
  return a.kind === b.kind && Object.is(a.identity, b.identity);
}

/** The number that a sample is; undefined for a histogram. */
export function numberOfSample({ kind, identity }: NewestSample): number | undefined {
  if (kind === KIND_FLOAT) return identity;
  return kind === KIND_STALE ? Number.NaN : undefined;
}

/**
 * Adds a sample newer than all others of the series.
 *
 * @returns By how many bytes the memory of the series grew (negative when a chunk was sealed).
 */
export function appendSample(series: HeadSeries, sample: Sample): number {
  const { timestampMs, histogram } = sample;
  series.applied = newestOf(sample);
  if (histogram === undefined) {
    series.lastHistogram = undefined;
    return pushSample(series.inOrder, sample);
  }
  const last = series.lastHistogram;
  const continues = last !== undefined && timestampMs < series.chunkEndMs && continuesChunk(last, histogram);
  if (!continues) series.chunkEndMs = chunkEndOf(timestampMs);
  const stored = withReadHint(histogram, continues);
  series.lastHistogram = stored;
  return pushSample(series.inOrder, { ...sample, histogram: stored });
}

/**
 * Adds a sample that is not newer than all others.
 *
 * @returns Bytes that the series grew by; or what the sample is to a late one of the same time.
 */
export function insertLate(series: HeadSeries, sample: Sample): number | "repeat" | "duplicate" {
  const { histogram } = sample;
  const there = series.late === undefined ? undefined : openSampleAt(series.late, sample.timestampMs);
  if (there !== undefined) return isRepeat(newestOf(there), newestOf(sample)) ? "repeat" : "duplicate";
  const isFirst = series.late === undefined;
  series.late ??= emptyTrack();
  const stored = histogram === undefined ? sample : { ...sample, histogram: withReadHint(histogram, false) };
  return insertSorted(series.late, stored) + (isFirst ? EMPTY_TRACK_BYTES : 0);
}

/** Bytes of a series in memory. */
export function seriesBytes({ inOrder, late }: HeadSeries): number {
  return SERIES_BYTES + trackBytes(inOrder) + (late === undefined ? 0 : trackBytes(late));
}

/**
 * Forgets chunks that are wholly older than `cutoffMs`.
 *
 * @returns Whether the series has no sample left.
 */
export function dropBefore(series: HeadSeries, cutoffMs: number): boolean {
  dropTrackBefore(series.inOrder, cutoffMs);
  if (series.late !== undefined) dropTrackBefore(series.late, cutoffMs);
  if (series.late !== undefined && isEmptyTrack(series.late)) series.late = undefined;
  return isEmptyTrack(series.inOrder) && series.late === undefined;
}

/** Whether at least one sample lies in `[minMs, maxMs]`. */
export function hasSampleIn({ inOrder, late }: HeadSeries, minMs: number, maxMs: number): boolean {
  return trackHasIn(inOrder, minMs, maxMs) || (late !== undefined && trackHasIn(late, minMs, maxMs));
}

/** Samples in `[minMs, maxMs]` as the caller's own arrays; undefined where there are none. */
export function samplesIn({ inOrder, late }: HeadSeries, minMs: number, maxMs: number): SampleRun | undefined {
  const run = samplesInOrder(inOrder, minMs, maxMs);
  if (late === undefined) return run;
  const lateRuns = samplesByRun(late, minMs, maxMs);
  return joinRuns(run === undefined ? lateRuns : [run, ...lateRuns]);
}
