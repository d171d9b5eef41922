/**
 * Samples of a series in one order in memory: a short open run, then sealed chunks of a few bytes a sample.
 *
 * Invariants: the open run is in order of time; a sealed chunk is never changed.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import {
  emptyColumns,
  type RunColumns,
  readChunk,
  type SampleRun,
  type SealedChunk,
  sealChunk,
} from "./metric-chunk.ts";
import { cutRun, lowerBound, upperBound } from "./metric-runs.ts";

const CHUNK_SAMPLES = 120;
const OPEN_SAMPLES_AT_FIRST = 4;
/** An open histogram takes some hundred bytes, a sealed one some ten. */
const OPEN_HISTOGRAMS_MAX = 16;
/** Memory of a sealed chunk beside its bytes, and of an open histogram beside its counts. Measured, rounded up. */
const CHUNK_OBJECT_BYTES = 150;
const HISTOGRAM_OBJECT_BYTES = 500;
const NO_COLUMN = new Float64Array(0);

/** A sample on its way into a series. */
export interface Sample {
  readonly timestampMs: number;
  /** NaN beside a histogram. */
  readonly value: number;
  readonly histogram: NativeHistogram | undefined;
  /** 0 where unknown. */
  readonly startMs: number;
}

/** Samples that can still be added to; columns may be longer than `count`. */
interface OpenRun {
  times: Float64Array;
  values: Float64Array;
  histograms: (NativeHistogram | undefined)[] | undefined;
  starts: Float64Array | undefined;
  count: number;
  histogramCount: number;
  histogramBytes: number;
}

/** Samples of one series; times grow over chunks and the open run, unless they came through `insertSorted`. */
export interface Track {
  chunks: SealedChunk[];
  readonly open: OpenRun;
}

/** A track without samples. */
export function emptyTrack(): Track {
  return {
    chunks: [],
    open: {
      times: NO_COLUMN,
      values: NO_COLUMN,
      histograms: undefined,
      starts: undefined,
      count: 0,
      histogramCount: 0,
      histogramBytes: 0,
    },
  };
}

/** Whether there is no sample. */
export function isEmptyTrack({ chunks, open }: Track): boolean {
  return chunks.length === 0 && open.count === 0;
}

/** Bytes in memory. */
export function trackBytes({ chunks, open }: Track): number {
  let bytes = columnBytes(open) + open.histogramBytes;
  for (const chunk of chunks) bytes += chunk.bytes.length + CHUNK_OBJECT_BYTES;
  return bytes;
}

/**
 * Adds a sample at the end.
 *
 * @returns By how many bytes the memory grew (negative when a chunk was sealed).
 */
export function pushSample(track: Track, sample: Sample): number {
  const { open } = track;
  let grew = 0;
  if (open.count === CHUNK_SAMPLES || open.histogramCount === OPEN_HISTOGRAMS_MAX) grew += sealOpenRun(track);
  if (open.count === open.times.length) grew += growOpenRun(open);
  const { histogram, startMs } = sample;
  const at = open.count++;
  open.times[at] = sample.timestampMs;
  open.values[at] = sample.value;
  if (histogram !== undefined) {
    const bytes = HISTOGRAM_OBJECT_BYTES + 8 * (histogram.positiveCounts.length + histogram.negativeCounts.length);
    open.histograms ??= [];
    open.histograms[at] = histogram;
    open.histogramBytes += bytes;
    open.histogramCount++;
    grew += bytes;
  }
  if (startMs !== 0 && open.starts === undefined) {
    open.starts = new Float64Array(open.times.length);
    grew += 8 * open.times.length;
  }
  if (open.starts !== undefined) open.starts[at] = startMs;
  return grew;
}

/** Adds a sample to the open run where its time belongs. The caller knows that none has that time. */
export function insertSorted(track: Track, sample: Sample): number {
  const grew = pushSample(track, sample);
  const { times, values, histograms, starts, count } = track.open;
  const last = count - 1;
  const at = lowerBound(times, last, sample.timestampMs);
  if (at === last) return grew;
  for (const column of [times, values, starts]) column?.copyWithin(at + 1, at, last);
  times[at] = sample.timestampMs;
  values[at] = sample.value;
  if (starts !== undefined) starts[at] = sample.startMs;
  if (histograms !== undefined) {
    for (let i = last; i > at; i--) histograms[i] = histograms[i - 1];
    histograms[at] = sample.histogram;
  }
  return grew;
}

/** The sample of the open run with this time; undefined where there is none. */
export function openSampleAt({ open }: Track, timestampMs: number): Sample | undefined {
  const at = lowerBound(open.times, open.count, timestampMs);
  if (at >= open.count || open.times[at] !== timestampMs) return undefined;
  return sampleAt(open, at);
}

/** Takes all samples before `belowMs` out of a track, as chunks. */
export function takeBelow(track: Track, belowMs: number): SealedChunk[] {
  const taken: SealedChunk[] = [];
  const left: SealedChunk[] = [];
  for (const chunk of track.chunks) {
    if (chunk.maxMs < belowMs) taken.push(chunk);
    else if (chunk.minMs >= belowMs) left.push(chunk);
    else {
      const columns = decode([chunk], chunk.count);
      const at = lowerBound(columns.timestampsMs, chunk.count, belowMs);
      taken.push(sealChunk(columns, 0, at));
      left.push(sealChunk(columns, at, chunk.count));
    }
  }
  track.chunks = left;
  const { open } = track;
  const at = lowerBound(open.times, open.count, belowMs);
  if (at === 0) return taken;
  const run = { timestampsMs: open.times, values: open.values, histograms: open.histograms, startsMs: open.starts };
  taken.push(sealChunk(run, 0, at));
  const rest: Sample[] = [];
  for (let i = at; i < open.count; i++) rest.push(sampleAt(open, i));
  clearOpenRun(open);
  open.times = NO_COLUMN;
  open.values = NO_COLUMN;
  for (const sample of rest) pushSample(track, sample);
  return taken;
}

function sampleAt(open: OpenRun, at: number): Sample {
  const { times, values, histograms, starts } = open;
  return {
    timestampMs: times[at] ?? 0,
    value: values[at] ?? 0,
    histogram: histograms?.[at],
    startMs: starts?.[at] ?? 0,
  };
}

/** Whether at least one sample lies in `[minMs, maxMs]`. */
export function trackHasIn({ chunks, open }: Track, minMs: number, maxMs: number): boolean {
  const at = lowerBound(open.times, open.count, minMs);
  if (at < open.count && (open.times[at] ?? maxMs + 1) <= maxMs) return true;
  for (const chunk of chunks) {
    if (chunk.maxMs < minMs || chunk.minMs > maxMs) continue;
    if (chunk.minMs >= minMs || chunk.maxMs <= maxMs) return true;
    if (cutRun(decode([chunk], chunk.count), minMs, maxMs) !== undefined) return true;
  }
  return false;
}

/** Samples in `[minMs, maxMs]` of a track whose times grow, as the caller's own arrays; undefined where there are none. */
export function samplesInOrder(track: Track, minMs: number, maxMs: number): SampleRun | undefined {
  const { open } = track;
  if (track.chunks.length === 0) return openRunIn(open, minMs, maxMs);
  const overlapping = track.chunks.filter((chunk) => chunk.maxMs >= minMs && chunk.minMs <= maxMs);
  const columns = decode(
    overlapping,
    overlapping.reduce((sum, { count }) => sum + count, open.count),
  );
  copyOpenRun(open, columns, columns.timestampsMs.length - open.count);
  return cutRun(columns, minMs, maxMs);
}

/** Copies no more than what lies in `[minMs, maxMs]`: most series of a short window have it in their open run. */
function openRunIn(open: OpenRun, minMs: number, maxMs: number): SampleRun | undefined {
  const { times, values, starts, histograms, count } = open;
  const from = lowerBound(times, count, minMs);
  const to = upperBound(times, count, maxMs);
  if (from >= to) return undefined;
  const columns = emptyColumns(to - from);
  columns.timestampsMs.set(from === 0 && to === times.length ? times : times.subarray(from, to));
  columns.values.set(from === 0 && to === values.length ? values : values.subarray(from, to));
  if (starts !== undefined) columns.startsMs = starts.slice(from, to);
  if (histograms !== undefined) columns.histograms = histograms.slice(from, to);
  return columns;
}

/** Samples in `[minMs, maxMs]` as runs that are each in order. */
export function samplesByRun(track: Track, minMs: number, maxMs: number): SampleRun[] {
  const columns = emptyColumns(track.open.count);
  copyOpenRun(track.open, columns, 0);
  return [...track.chunks.map((chunk) => decode([chunk], chunk.count)), columns]
    .map((run) => cutRun(run, minMs, maxMs))
    .filter((run) => run !== undefined);
}

/** Decodes chunks one after another into columns of `length` samples. */
function decode(chunks: readonly SealedChunk[], length: number): RunColumns {
  const columns = emptyColumns(length);
  let at = 0;
  for (const chunk of chunks) {
    readChunk(chunk, columns, at);
    at += chunk.count;
  }
  return columns;
}

function copyOpenRun(open: OpenRun, columns: RunColumns, at: number): void {
  columns.timestampsMs.set(open.times.subarray(0, open.count), at);
  columns.values.set(open.values.subarray(0, open.count), at);
  if (open.starts !== undefined) {
    columns.startsMs ??= new Float64Array(columns.timestampsMs.length);
    columns.startsMs.set(open.starts.subarray(0, open.count), at);
  }
  if (open.histograms === undefined) return;
  columns.histograms ??= [];
  for (let i = 0; i < open.count; i++) {
    const histogram = open.histograms[i];
    if (histogram !== undefined) columns.histograms[at + i] = histogram;
  }
}

function columnBytes({ times, starts }: OpenRun): number {
  return (starts === undefined ? 16 : 24) * times.length;
}

function growOpenRun(open: OpenRun): number {
  const before = columnBytes(open);
  const length = Math.min(CHUNK_SAMPLES, Math.max(OPEN_SAMPLES_AT_FIRST, open.times.length * 2));
  open.times = lengthened(open.times, length);
  open.values = lengthened(open.values, length);
  if (open.starts !== undefined) open.starts = lengthened(open.starts, length);
  return columnBytes(open) - before;
}

function lengthened(column: Float64Array, length: number): Float64Array {
  const longer = new Float64Array(length);
  longer.set(column);
  return longer;
}

function sealOpenRun(track: Track): number {
  const { open } = track;
  const before = columnBytes(open) + open.histogramBytes;
  const { times: timestampsMs, values, histograms, starts: startsMs } = open;
  const chunk = sealChunk({ timestampsMs, values, histograms, startsMs }, 0, open.count);
  track.chunks.push(chunk);
  clearOpenRun(open);
  return chunk.bytes.length + CHUNK_OBJECT_BYTES + columnBytes(open) - before;
}

function clearOpenRun(open: OpenRun): void {
  open.count = 0;
  open.histograms = undefined;
  open.starts = undefined;
  open.histogramBytes = 0;
  open.histogramCount = 0;
}
