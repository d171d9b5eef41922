/**
 * Samples of one series in memory: a short open run of doubles, then sealed chunks of a few bytes a sample.
 *
 * Invariants: times strictly grow over chunks and the open run; a sealed chunk is never changed.
 */

import { ByteReader } from "../model/byte-reader.ts";
import { ByteWriter } from "../model/byte-writer.ts";
import type { Labels } from "../model/series.ts";

const CHUNK_SAMPLES = 120;
const OPEN_SAMPLES_AT_FIRST = 4;
/** Whole numbers up to here are stored as differences, which then fit a varint. */
const INTEGER_MAX = 2 ** 50;
const VALUES_INTEGER = 0;
const VALUES_DOUBLE = 1;
/** Memory that a series takes beside its samples: labels, index entries and this object. Measured, rounded up. */
const SERIES_BYTES = 600;

interface SealedChunk {
  readonly count: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly bytes: Uint8Array;
}

/** One series of the head. Fields are the head's own; readers get copies. */
export interface HeadSeries {
  readonly ref: number;
  readonly labels: Labels;
  /** Text that tells the series from all others. */
  readonly key: string;
  chunks: SealedChunk[];
  openTimes: Float64Array;
  openValues: Float64Array;
  openCount: number;
  /** Newest sample that went to the log, applied or not yet; `-Infinity` before the first. */
  loggedMs: number;
  loggedValue: number;
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
    chunks: [],
    openTimes: new Float64Array(OPEN_SAMPLES_AT_FIRST),
    openValues: new Float64Array(OPEN_SAMPLES_AT_FIRST),
    openCount: 0,
    loggedMs: Number.NEGATIVE_INFINITY,
    loggedValue: 0,
    declaredIn: 0,
    indexed: false,
  };
}

/** Time of the newest applied sample; `-Infinity` where there is none. */
export function newestMs(series: HeadSeries): number {
  if (series.openCount > 0) return series.openTimes[series.openCount - 1] ?? Number.NEGATIVE_INFINITY;
  return series.chunks[series.chunks.length - 1]?.maxMs ?? Number.NEGATIVE_INFINITY;
}

/**
 * Adds a sample newer than all others of the series.
 *
 * @returns By how many bytes the memory of the series grew (negative when a chunk was sealed).
 */
export function appendSample(series: HeadSeries, timestampMs: number, value: number): number {
  let grew = 0;
  if (series.openCount === CHUNK_SAMPLES) grew += sealOpenRun(series);
  if (series.openCount === series.openTimes.length) grew += growOpenRun(series);
  series.openTimes[series.openCount] = timestampMs;
  series.openValues[series.openCount] = value;
  series.openCount++;
  return grew;
}

/** Bytes of a series in memory. */
export function seriesBytes(series: HeadSeries): number {
  let bytes = SERIES_BYTES + 16 * series.openTimes.length;
  for (const chunk of series.chunks) bytes += chunk.bytes.length;
  return bytes;
}

/**
 * Forgets chunks that are wholly older than `cutoffMs`.
 *
 * @returns Whether the series has no sample left.
 */
export function dropBefore(series: HeadSeries, cutoffMs: number): boolean {
  const first = series.chunks.findIndex((chunk) => chunk.maxMs >= cutoffMs);
  if (first > 0) series.chunks = series.chunks.slice(first);
  if (first < 0) series.chunks = [];
  if (newestMs(series) >= cutoffMs) return false;
  series.openCount = 0;
  return true;
}

/** Whether at least one sample lies in `[minMs, maxMs]`. */
export function hasSampleIn(series: HeadSeries, minMs: number, maxMs: number): boolean {
  const { openTimes, openCount } = series;
  const at = lowerBound(openTimes, openCount, minMs);
  if (at < openCount && (openTimes[at] ?? maxMs + 1) <= maxMs) return true;
  for (const chunk of series.chunks) {
    if (chunk.maxMs < minMs || chunk.minMs > maxMs) continue;
    if (chunk.minMs >= minMs || chunk.maxMs <= maxMs) return true;
    const times = new Float64Array(chunk.count);
    decodeChunk(chunk, times, new Float64Array(chunk.count), 0);
    const inside = lowerBound(times, chunk.count, minMs);
    if (inside < chunk.count && (times[inside] ?? maxMs + 1) <= maxMs) return true;
  }
  return false;
}

/** Samples in `[minMs, maxMs]` as the caller's own arrays; undefined where there are none. */
export function samplesIn(
  series: HeadSeries,
  minMs: number,
  maxMs: number,
): { timestampsMs: Float64Array; values: Float64Array } | undefined {
  const overlapping = series.chunks.filter((chunk) => chunk.maxMs >= minMs && chunk.minMs <= maxMs);
  let count = series.openCount;
  for (const chunk of overlapping) count += chunk.count;
  const times = new Float64Array(count);
  const values = new Float64Array(count);
  let at = 0;
  for (const chunk of overlapping) {
    decodeChunk(chunk, times, values, at);
    at += chunk.count;
  }
  times.set(series.openTimes.subarray(0, series.openCount), at);
  values.set(series.openValues.subarray(0, series.openCount), at);
  const from = lowerBound(times, count, minMs);
  const to = upperBound(times, count, maxMs);
  if (from >= to) return undefined;
  return { timestampsMs: times.slice(from, to), values: values.slice(from, to) };
}

function growOpenRun(series: HeadSeries): number {
  const length = Math.min(CHUNK_SAMPLES, series.openTimes.length * 2);
  const grew = 16 * (length - series.openTimes.length);
  const times = new Float64Array(length);
  const values = new Float64Array(length);
  times.set(series.openTimes);
  values.set(series.openValues);
  series.openTimes = times;
  series.openValues = values;
  return grew;
}

function sealOpenRun(series: HeadSeries): number {
  const count = series.openCount;
  const bytes = encodeChunk(series.openTimes, series.openValues, count);
  series.chunks.push({ count, minMs: series.openTimes[0] ?? 0, maxMs: series.openTimes[count - 1] ?? 0, bytes });
  series.openCount = 0;
  return bytes.length;
}

const writer = new ByteWriter();

function encodeChunk(times: Float64Array, values: Float64Array, count: number): Uint8Array {
  let previousMs = 0;
  let previousStepMs = 0;
  for (let i = 0; i < count; i++) {
    const stepMs = (times[i] ?? 0) - previousMs;
    writer.signed(stepMs - previousStepMs);
    previousMs += stepMs;
    previousStepMs = stepMs;
  }
  let integers = true;
  for (let i = 0; i < count && integers; i++) integers = isSmallInteger(values[i] ?? 0);
  writer.byte(integers ? VALUES_INTEGER : VALUES_DOUBLE);
  let previous = 0;
  for (let i = 0; i < count; i++) {
    const value = values[i] ?? 0;
    if (integers) writer.signed(value - previous);
    else writer.float64(value);
    previous = value;
  }
  return writer.take();
}

function decodeChunk(chunk: SealedChunk, times: Float64Array, values: Float64Array, at: number): void {
  const reader = new ByteReader(chunk.bytes);
  let ms = 0;
  let stepMs = 0;
  for (let i = 0; i < chunk.count; i++) {
    stepMs += reader.signed();
    ms += stepMs;
    times[at + i] = ms;
  }
  const integers = reader.byte() === VALUES_INTEGER;
  let value = 0;
  for (let i = 0; i < chunk.count; i++) {
    value = integers ? value + reader.signed() : reader.float64();
    values[at + i] = value;
  }
}

function isSmallInteger(value: number): boolean {
  return Number.isInteger(value) && Math.abs(value) < INTEGER_MAX && !Object.is(value, -0);
}

/** First index of `times[0..count)` whose time is at least `ms`. */
function lowerBound(times: Float64Array, count: number, ms: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] ?? ms) < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** First index of `times[0..count)` whose time is later than `ms`. */
function upperBound(times: Float64Array, count: number, ms: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] ?? ms) <= ms) low = middle + 1;
    else high = middle;
  }
  return low;
}
