/**
 * Samples of a series in one order in memory: a short open run, then sealed chunks of a few bytes a sample.
 *
 * Invariants: the open run is in order of time; a sealed chunk is never changed.
 */

import { ArraySlab } from "../model/array-slab.ts";
import { type NativeHistogram, withOwnNumbers } from "../model/histogram.ts";
import { plainHistograms } from "../model/histogram-columns.ts";
import type { SampleRoom } from "../model/sample-room.ts";
import {
  emptyColumns,
  holdsHistograms,
  joinChunks,
  type RunColumns,
  readChunk,
  type SampleRun,
  type SealedChunk,
  sealChunk,
} from "./metric-chunk.ts";
import { OPEN_SAMPLES_MAX, type OpenMemory, type TimeColumn, type ValueRow } from "./metric-open-memory.ts";
import { cutRun, lowerBound, upperBound } from "./metric-runs.ts";
import { readRun } from "./metric-scrape-times.ts";
import type { WindowScratch } from "./metric-window-histograms.ts";

/** An open histogram takes some hundred bytes, a sealed one some ten. */
const OPEN_HISTOGRAMS_MAX = 16;
/** Memory of a sealed chunk beside its bytes, and of an open histogram beside its counts. Measured, rounded up. */
const CHUNK_OBJECT_BYTES = 200;
/** So many full chunks, or chunks that open histograms made, are joined. */
const JOINED_CHUNKS = 4;
const JOINED_COUNTS: ReadonlySet<number> = new Set([OPEN_SAMPLES_MAX, OPEN_HISTOGRAMS_MAX]);
const HISTOGRAM_OBJECT_BYTES = 500;
const NO_COLUMN = new Float64Array(0);
/** The values of one full run at a time: a copy costs less than a view, which would be left to the collector. */
const FULL_RUN = new Float64Array(OPEN_SAMPLES_MAX);
/** Of all tracks without chunks, which are many; never written to. */
const NO_CHUNKS: SealedChunk[] = [];

/** A sample on its way into a series. */
export interface Sample {
  readonly timestampMs: number;
  /** NaN beside a histogram. */
  readonly value: number;
  readonly histogram: NativeHistogram | undefined;
  /** 0 where unknown. */
  readonly startMs: number;
}

/**
 * Samples of one series: chunks, then an open run, which can still be added to; times grow over both, unless they came
 * through `insertSorted`. One object, since there are as many as series and every sample looks at it.
 */
export interface Track extends ValueRow {
  readonly memory: OpenMemory;
  /** Changed in place only where there is one at least. */
  chunks: SealedChunk[];
  /** Neither histograms nor starts ever came. */
  hasOnlyFloats: boolean;
  /** Of the open run; undefined before its first sample. Columns may be longer than `count`. */
  times: TimeColumn | undefined;
  histograms: (NativeHistogram | undefined)[] | undefined;
  starts: Float64Array | undefined;
  count: number;
  histogramCount: number;
  histogramBytes: number;
}

/** A track without samples, which takes memory for open ones from `memory`. */
export function emptyTrack(memory: OpenMemory): Track {
  // What every sample looks at comes first, so that it lies together.
  return {
    count: 0,
    capacity: 0,
    base: 0,
    histogramCount: 0,
    values: NO_COLUMN,
    times: undefined,
    starts: undefined,
    memory,
    chunks: NO_CHUNKS,
    page: undefined,
    histograms: undefined,
    histogramBytes: 0,
    hasOnlyFloats: true,
  };
}

/** Whether there is no sample. */
export function isEmptyTrack(track: Track): boolean {
  return track.chunks.length === 0 && track.count === 0;
}

/** Bytes in memory. */
export function trackBytes(track: Track): number {
  return columnBytes(track) + track.histogramBytes + chunkBytes(track.chunks);
}

/** Times and values, row by row. */
export interface FloatColumns {
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** Columns of one row, for who has a sample alone. */
export function aloneInColumns(timestampMs: number, value: number): FloatColumns {
  ALONE.timestampsMs[0] = timestampMs;
  ALONE.values[0] = value;
  return ALONE;
}

const ALONE: FloatColumns = { timestampsMs: new Float64Array(1), values: new Float64Array(1) };

/**
 * Adds the float in a row of columns at the end.
 *
 * @returns By how many bytes the memory grew (negative when a chunk was sealed).
 */
export function pushFloat(track: Track, { timestampsMs, values }: FloatColumns, row: number): number {
  const { memory } = track;
  let grew = 0;
  if (track.count === OPEN_SAMPLES_MAX || track.histogramCount === OPEN_HISTOGRAMS_MAX) grew = sealOpenRun(track);
  if (track.count === track.capacity) grew += growOpenRun(track);
  const at = track.count++;
  track.times = memory.timeAt(track.times, at, timestampsMs, row);
  track.values[track.base + at] = values[row] as number; // in range: the caller's row
  if (track.starts !== undefined) track.starts[at] = 0;
  return grew;
}

/** As `pushFloat` for a sample of any kind. */
export function pushSample(track: Track, sample: Sample): number {
  const { histogram, startMs } = sample;
  if (histogram !== undefined || startMs !== 0) track.hasOnlyFloats = false;
  let grew = pushFloat(track, aloneInColumns(sample.timestampMs, sample.value), 0);
  const at = track.count - 1;
  if (histogram !== undefined) {
    const bytes = HISTOGRAM_OBJECT_BYTES + 8 * (histogram.positiveCounts.length + histogram.negativeCounts.length);
    track.histograms ??= [];
    track.histograms[at] = withOwnNumbers(histogram);
    track.histogramBytes += bytes;
    track.histogramCount++;
    grew += bytes;
  }
  if (startMs === 0) return grew;
  if (track.starts === undefined) {
    track.starts = new Float64Array(track.capacity);
    grew += 8 * track.capacity;
  }
  track.starts[at] = startMs;
  return grew;
}

/** Adds a sample to the open run where its time belongs. The caller knows that none has that time. */
export function insertSorted(track: Track, sample: Sample): number {
  const grew = pushSample(track, sample);
  const { memory } = track;
  const { values, base, histograms, starts, count } = track;
  const last = count - 1;
  const at = lowerBound(timesOf(track), last, sample.timestampMs);
  if (at === last || track.times === undefined) return grew;
  track.times = memory.alone(track.times, count);
  const { ms } = track.times;
  ms.copyWithin(at + 1, at, last);
  values.copyWithin(base + at + 1, base + at, base + last);
  starts?.copyWithin(at + 1, at, last);
  ms[at] = sample.timestampMs;
  values[base + at] = sample.value;
  if (starts !== undefined) starts[at] = sample.startMs;
  if (histograms !== undefined) {
    const { [last]: own } = histograms;
    for (let i = last; i > at; i--) histograms[i] = histograms[i - 1];
    histograms[at] = own;
  }
  return grew;
}

/** Time of the first open sample; undefined where there is none. */
export function firstOpenMs(open: Track): number | undefined {
  return open.count > 0 ? timesOf(open)[0] : undefined;
}

/** Time of the last open sample; undefined where there is none. */
export function lastOpenMs(open: Track): number | undefined {
  return timesOf(open)[open.count - 1];
}

/** Whether the last open sample is a float of which nobody knows since when it counts. */
export function endsInFloat(open: Track): boolean {
  return open.starts === undefined && open.histograms?.[open.count - 1] === undefined;
}

/** Copies the last open sample, bit by bit; there is one. */
export function copyLastOpen(open: Track, columns: Pick<RunColumns, "timestampsMs" | "values">, at: number): void {
  const last = open.count - 1;
  columns.timestampsMs[at] = timesOf(open)[last] as number; // in range: within the run
  columns.values[at] = open.values[open.base + last] as number;
}

function timesOf({ times }: Track): Float64Array {
  return times === undefined ? NO_COLUMN : times.ms;
}

/** The sample of the open run with this time; undefined where there is none. */
export function openSampleAt(open: Track, timestampMs: number): Sample | undefined {
  const times = timesOf(open);
  const at = lowerBound(times, open.count, timestampMs);
  if (at >= open.count || times[at] !== timestampMs) return undefined;
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
  track.chunks = left.length === 0 ? NO_CHUNKS : left;
  const at = lowerBound(timesOf(track), track.count, belowMs);
  if (track.count === 0) track.memory.release(track);
  if (at === 0) return taken;
  taken.push(sealChunk(runOf(track), 0, at));
  const rest: Sample[] = [];
  for (let i = at; i < track.count; i++) rest.push(sampleAt(track, i));
  clearOpenRun(track);
  track.memory.release(track);
  for (const sample of rest) pushSample(track, sample);
  return taken;
}

function sampleAt(open: Track, at: number): Sample {
  const { values, base, histograms, starts } = open;
  return {
    timestampMs: timesOf(open)[at] ?? 0,
    value: values[base + at] ?? 0,
    histogram: histograms?.[at],
    startMs: starts?.[at] ?? 0,
  };
}

/** Whether at least one sample lies in `[minMs, maxMs]`. */
export function trackHasIn(track: Track, minMs: number, maxMs: number): boolean {
  const times = timesOf(track);
  const at = lowerBound(times, track.count, minMs);
  if (at < track.count && (times[at] ?? maxMs + 1) <= maxMs) return true;
  for (const chunk of track.chunks) {
    if (chunk.maxMs < minMs || chunk.minMs > maxMs) continue;
    if (chunk.minMs >= minMs || chunk.maxMs <= maxMs) return true;
    if (cutRun(decode([chunk], chunk.count), minMs, maxMs) !== undefined) return true;
  }
  return false;
}

/** Samples in `[minMs, maxMs]` of a track whose times grow, as the caller's own arrays; undefined where there are none. */
export function samplesInOrder(
  track: Track,
  minMs: number,
  maxMs: number,
  room?: SampleRoom | undefined,
): SampleRun | undefined {
  const { chunks } = track;
  const newestSealedMs = chunks.at(-1)?.maxMs;
  if (newestSealedMs === undefined || newestSealedMs < minMs) return openRunIn(track, { minMs, maxMs }, room);
  const overlapping: SealedChunk[] = [];
  for (let i = firstReaching(chunks, minMs); i < chunks.length; i++) {
    const chunk = chunks[i];
    if (chunk === undefined || chunk.minMs > maxMs) break;
    overlapping.push(chunk);
  }
  const tail = {
    times: track.times,
    count: track.count,
    copyTo: (columns: RunColumns, at: number) => copyOpenRun(track, columns, at),
  };
  return readRun(overlapping, tail, { minMs, maxMs, room });
}

/** The first of chunks in order of time that ends at `minMs` or later: mostly one of the last. */
function firstReaching(chunks: readonly SealedChunk[], minMs: number): number {
  let first = chunks.length;
  while (first > 0 && (chunks[first - 1]?.maxMs ?? minMs) >= minMs) first--;
  return first;
}

/** As `samplesInOrder` of those that are in no chunk. */
export function openSamplesIn(track: Track, minMs: number, maxMs: number): SampleRun | undefined {
  return openRunIn(track, { minMs, maxMs }, undefined);
}

/** Copies no more than what lies in `[minMs, maxMs]`: most series of a short window have it in their open run. */
function openRunIn(
  open: Track,
  { minMs, maxMs }: { readonly minMs: number; readonly maxMs: number },
  room: SampleRoom | undefined,
): SampleRun | undefined {
  const { values, base, starts, histograms, count } = open;
  const times = timesOf(open);
  const from = lowerBound(times, count, minMs);
  const to = upperBound(times, count, maxMs);
  if (from >= to) return undefined;
  const columns = emptyColumns(to - from, room);
  const { timestampsMs, values: copied } = columns;
  // At most `OPEN_SAMPLES_MAX`: two views cost more than to copy so few one by one, and a NaN keeps its bits either way.
  for (let i = from; i < to; i++) {
    timestampsMs[i - from] = times[i] as number; // in range: within the run
    copied[i - from] = values[base + i] as number;
  }
  if (starts !== undefined) columns.startsMs = starts.slice(from, to);
  if (histograms !== undefined) keepHistograms(histograms.slice(from, to), to - from, columns, 0);
  if (room !== undefined) columns.timestampsMs = room.shared(timestampsMs);
  return columns;
}

/** Floats in columns that are used again and again: the samples `[low, high)` of them. */
export interface FloatScratch {
  readonly columns: RunColumns;
  /** Of the columns, which may be longer. */
  readonly samplesMax: number;
  low: number;
  high: number;
}

/** Room for so many samples at once. */
export function floatScratch(samplesMax: number): FloatScratch {
  // Since when samples count is decoded to where nobody reads it.
  const [timestampsMs, values, startsMs] = [0, 1, 2].map(() => new Float64Array(samplesMax));
  if (timestampsMs === undefined || values === undefined) throw new Error("three columns were made");
  return { columns: { timestampsMs, values, histograms: undefined, startsMs }, samplesMax, low: 0, high: 0 };
}

/**
 * Copies the samples in `[minMs, maxMs]` of a track whose times grow, stale markers included, without their starts.
 *
 * @returns Whether all of them are floats for which there was room.
 */
export function copyFloats(track: Track, minMs: number, maxMs: number, into: FloatScratch): boolean {
  if (track.histograms !== undefined) return false;
  const { columns, samplesMax: room } = into;
  const { timestampsMs, values } = columns;
  into.low = 0;
  into.high = 0;
  for (let i = firstReaching(track.chunks, minMs); i < track.chunks.length; i++) {
    const chunk = track.chunks[i];
    if (chunk === undefined || chunk.minMs > maxMs) break;
    if (into.high + chunk.count > room || holdsHistograms(chunk)) return false;
    readChunk(chunk, columns, into.high);
    into.high += chunk.count;
  }
  if (into.high > 0) {
    if (columns.histograms !== undefined) {
      columns.histograms = undefined;
      return false;
    }
    into.low = lowerBound(timestampsMs, into.high, minMs);
    into.high = upperBound(timestampsMs, into.high, maxMs);
  }
  const times = timesOf(track);
  const from = lowerBound(times, track.count, minMs);
  const to = upperBound(times, track.count, maxMs);
  if (into.high + to - from > room) return false;
  const { values: row, base } = track;
  let at = into.high;
  for (let i = from; i < to; i++, at++) {
    timestampsMs[at] = times[i] as number; // in range: within the run
    values[at] = row[base + i] as number;
  }
  into.high = at;
  return true;
}

/**
 * Finds the histograms in `[minMs, maxMs]` of a track whose times grow, without their starts.
 *
 * @returns Whether all samples there are histograms for which there was room.
 */
export function findHistograms(track: Track, minMs: number, maxMs: number, into: WindowScratch): boolean {
  into.clear();
  for (let i = firstReaching(track.chunks, minMs); i < track.chunks.length; i++) {
    const chunk = track.chunks[i];
    if (chunk === undefined || chunk.minMs > maxMs) break;
    if (!into.addChunk(chunk)) return false;
  }
  if (track.count > 0 && !into.addOpen(timesOf(track), track.histograms ?? [], track.count)) return false;
  into.cut(minMs, maxMs);
  return true;
}

const numbers = new ArraySlab((length) => new Float64Array(length), 8_192);

function takeNumbers(count: number): Float64Array {
  return numbers.take(count);
}

/** Histograms go to columns as they are, or as numbers of columns where that is asked for and there is nothing between them. */
function keepHistograms(
  histograms: readonly (NativeHistogram | undefined)[],
  count: number,
  columns: RunColumns,
  at: number,
): void {
  if (columns.encoded !== undefined) {
    const all = histograms.filter((histogram) => histogram !== undefined);
    if (all.length === count) {
      columns.encoded.push({ first: at, count, ...plainHistograms(all, takeNumbers) });
      return;
    }
  }
  columns.histograms ??= [];
  for (const [i, histogram] of histograms.entries())
    if (histogram !== undefined) columns.histograms[at + i] = histogram;
}

/** Samples in `[minMs, maxMs]` as runs that are each in order. */
export function samplesByRun(track: Track, minMs: number, maxMs: number): SampleRun[] {
  const columns = emptyColumns(track.count);
  copyOpenRun(track, columns, 0);
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

function copyOpenRun(open: Track, columns: RunColumns, at: number): void {
  const { values, base, count } = open;
  // At most `OPEN_SAMPLES_MAX`, as above.
  for (let i = 0; i < count; i++) columns.values[at + i] = values[base + i] as number; // in range: within the run
  if (columns.hasTimes !== true) {
    const times = timesOf(open);
    for (let i = 0; i < count; i++) columns.timestampsMs[at + i] = times[i] as number;
  }
  if (open.starts !== undefined) {
    columns.startsMs ??= new Float64Array(columns.timestampsMs.length);
    columns.startsMs.set(open.starts.subarray(0, open.count), at);
  }
  if (open.histograms !== undefined) keepHistograms(open.histograms.slice(0, open.count), open.count, columns, at);
}

function columnBytes({ capacity, starts }: Track): number {
  return 8 * capacity + (starts === undefined ? 0 : 8 * starts.length);
}

function growOpenRun(track: Track): number {
  const before = columnBytes(track);
  track.memory.grow(track, track.count);
  if (track.starts !== undefined) {
    const longer = new Float64Array(track.capacity);
    longer.set(track.starts);
    track.starts = longer;
  }
  return columnBytes(track) - before;
}

/** To be read before the next run is asked for. */
function runOf(open: Track): SampleRun {
  const { values, base, count, histograms, starts: startsMs } = open;
  const timestampsMs = timesOf(open);
  if (count < OPEN_SAMPLES_MAX)
    return { timestampsMs, values: values.subarray(base, base + count), histograms, startsMs };
  for (let i = 0; i < count; i++) FULL_RUN[i] = values[base + i] as number; // in range: within the run
  return { timestampsMs, values: FULL_RUN, histograms, startsMs };
}

function sealOpenRun(track: Track): number {
  const before = columnBytes(track) + track.histogramBytes;
  const chunk = sealChunk(runOf(track), 0, track.count);
  // Not pushed: an array that grows keeps room for sixteen more, and there are as many arrays as series.
  track.chunks = [...track.chunks, chunk];
  clearOpenRun(track);
  return chunk.bytes.length + CHUNK_OBJECT_BYTES + columnBytes(track) - before + joinNewest(track);
}

/** Full chunks become one when there are four of them, since each costs as much again as its bytes; a block joins them too. */
function joinNewest({ chunks }: Track): number {
  let grew = 0;
  for (;;) {
    const from = chunks.length - JOINED_CHUNKS;
    const count = chunks[from]?.count ?? 0;
    if (from < 0 || !JOINED_COUNTS.has(count)) return grew;
    for (let i = from; i < chunks.length; i++) if (chunks[i]?.count !== count) return grew;
    const newest = chunks.splice(from);
    const joined = joinChunks(newest);
    chunks.push(...joined);
    grew += chunkBytes(joined) - chunkBytes(newest);
    if (joined.length > 1) return grew;
  }
}

/** Bytes of chunks in memory. */
export function chunkBytes(chunks: readonly SealedChunk[]): number {
  let bytes = 0;
  for (const chunk of chunks) bytes += chunk.bytes.length + CHUNK_OBJECT_BYTES;
  return bytes;
}

/** Forgets the samples; the row stays for those to come. */
function clearOpenRun(track: Track): void {
  if (track.times !== undefined) track.memory.leave(track.times);
  track.times = undefined;
  track.count = 0;
  track.histograms = undefined;
  track.starts = undefined;
  track.histogramBytes = 0;
  track.histogramCount = 0;
}
