/**
 * Runs of samples of one series, and the sealed chunk they become: a few bytes a sample, exact to the last bit.
 *
 * A chunk is times as differences of differences, which samples are floats, histograms or stale markers, and then each
 * kind in the form that is shortest: whole and short decimal numbers as differences, other doubles as the bytes in which
 * they differ, or as they are.
 */

import { ByteReader, BytesEndError } from "../model/byte-reader.ts";
import { ByteWriter } from "../model/byte-writer.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import type { SeriesSamples } from "../model/series.ts";
import { doubleOf, readXor, sameBits, writeXor } from "./metric-double-codec.ts";
import { readHistogram, writeHistogram } from "./metric-histogram-codec.ts";

/** The NaN that marks a series as gone. */
export const STALE_NAN = doubleOf(0x7ff0_0000, 2);

const HAS_STARTS = 1;
const KIND_FLOAT = 0;
const KIND_HISTOGRAM = 1;
const KIND_STALE = 2;
const KIND_BITS = 4;
/** Codings below this are the number of decimals of the scaled whole numbers that follow. */
const DECIMALS_MAX = 4;
const CODING_XOR = 14;
const CODING_RAW = 15;
const POWERS_OF_TEN = [1, 10, 100, 1000, 10_000] as const;
/** Whole numbers up to here are stored as differences, which then fit a varint. */
const WHOLE_MAX = 2 ** 50;

/** Samples of one series without its labels, oldest first. */
export type SampleRun = Omit<SeriesSamples, "labels">;

/** Columns to decode into, as long as all samples together; a column of histograms or starts appears when the first does. */
export interface RunColumns {
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
  histograms: (NativeHistogram | undefined)[] | undefined;
  startsMs: Float64Array | undefined;
}

/** An encoded run. Never changed. */
export interface SealedChunk {
  readonly count: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly bytes: Uint8Array;
}

const writer = new ByteWriter();

/** Encodes the samples `[from, to)` of a run; at least one. */
export function sealChunk(run: SampleRun, from: number, to: number): SealedChunk {
  const { timestampsMs, values, histograms, startsMs } = run;
  const hasStarts = startsMs?.subarray(from, to).some((startMs) => startMs !== 0) === true;
  writer.clear();
  writer.byte(hasStarts ? HAS_STARTS : 0);
  writeTimes(timestampsMs, from, to);
  const floats = writeKinds(values, histograms, from, to);
  writeFloats(floats);
  if (hasStarts) writeStarts(startsMs, from, to);
  if (histograms !== undefined) writeHistograms(histograms, from, to);
  return {
    count: to - from,
    minMs: timestampsMs[from] ?? 0,
    maxMs: timestampsMs[to - 1] ?? 0,
    bytes: writer.take(),
  };
}

/** Numbers of a shared buffer: 64 KiB, which the last view on it keeps in memory. */
const SLAB_LENGTH = 8192;
let slab = new Float64Array(SLAB_LENGTH);
let slabUsed = 0;

/** Columns for `count` samples. Short ones are views on a buffer that others have other parts of. */
export function emptyColumns(count: number): RunColumns {
  return { timestampsMs: zeros(count), values: zeros(count), histograms: undefined, startsMs: undefined };
}

/** An array of its own costs as much to make as a few hundred numbers to copy, so short ones share a buffer. */
function zeros(count: number): Float64Array {
  if (count > SLAB_LENGTH / 8) return new Float64Array(count);
  if (slabUsed + count > SLAB_LENGTH) {
    slab = new Float64Array(SLAB_LENGTH);
    slabUsed = 0;
  }
  slabUsed += count;
  return slab.subarray(slabUsed - count, slabUsed);
}

/**
 * Decodes a chunk into `[at, at + chunk.count)` of `columns`.
 *
 * @throws BytesEndError where the bytes cannot have been written by `sealChunk`.
 */
export function readChunk(chunk: Pick<SealedChunk, "count" | "bytes">, columns: RunColumns, at: number): void {
  const reader = new ByteReader(chunk.bytes);
  const flags = reader.byte();
  readTimes(reader, columns.timestampsMs, at, chunk.count);
  const kinds = readKinds(reader, chunk.count);
  readFloats(reader, columns.values, at, kinds);
  if ((flags & HAS_STARTS) !== 0) readStarts(reader, columns, at, chunk.count);
  if (kinds.histograms > 0) readHistograms(reader, columns, at, kinds);
}

/** Decodes chunks into as few runs as there are that are each in order, as far as neighbours go. */
export function readChunks(chunks: readonly SealedChunk[]): RunColumns[] {
  const runs: RunColumns[] = [];
  for (let first = 0; first < chunks.length; ) {
    let count = chunks[first]?.count ?? 0;
    let end = first + 1;
    while (end < chunks.length && (chunks[end]?.minMs ?? 0) > (chunks[end - 1]?.maxMs ?? 0)) {
      count += chunks[end]?.count ?? 0;
      end++;
    }
    const columns = emptyColumns(count);
    let at = 0;
    for (const chunk of chunks.slice(first, end)) {
      readChunk(chunk, columns, at);
      at += chunk.count;
    }
    runs.push(columns);
    first = end;
  }
  return runs;
}

function writeTimes(timesMs: Float64Array, from: number, to: number): void {
  let previousMs = 0;
  let previousStepMs = 0;
  for (let i = from; i < to; i++) {
    const stepMs = (timesMs[i] ?? 0) - previousMs;
    writer.signed(stepMs - previousStepMs);
    previousMs += stepMs;
    previousStepMs = stepMs;
  }
}

function readTimes(reader: ByteReader, timesMs: Float64Array, at: number, count: number): void {
  let ms = 0;
  let stepMs = 0;
  for (let i = at; i < at + count; i++) {
    stepMs += reader.signed();
    ms += stepMs;
    timesMs[i] = ms;
  }
}

/** Writes lengths of stretches of one kind. @returns The values of the floats. */
function writeKinds(
  values: Float64Array,
  histograms: readonly (NativeHistogram | undefined)[] | undefined,
  from: number,
  to: number,
): Float64Array {
  const floats = new Float64Array(to - from);
  let floatCount = 0;
  let kind = KIND_FLOAT;
  let length = 0;
  for (let i = from; i < to; i++) {
    const value = values[i] ?? 0;
    const here = histograms?.[i] !== undefined ? KIND_HISTOGRAM : isStale(value) ? KIND_STALE : KIND_FLOAT;
    if (here === KIND_FLOAT) floats[floatCount++] = value;
    if (here !== kind) {
      writer.varint(length * KIND_BITS + kind);
      kind = here;
      length = 0;
    }
    length++;
  }
  writer.varint(length * KIND_BITS + kind);
  return floats.subarray(0, floatCount);
}

/** Which samples of a chunk are of which kind. `of` is undefined where all are floats. */
interface Kinds {
  readonly of: Uint8Array | undefined;
  readonly floats: number;
  readonly histograms: number;
  readonly count: number;
}

function readKinds(reader: ByteReader, count: number): Kinds {
  let of: Uint8Array | undefined;
  let floats = 0;
  let histograms = 0;
  for (let done = 0; done < count; ) {
    const packed = reader.varint();
    const kind = packed % KIND_BITS;
    const length = Math.floor(packed / KIND_BITS);
    if (kind > KIND_STALE || length > count - done || (length === 0 && done > 0)) throw new BytesEndError(reader.at);
    if (kind === KIND_FLOAT) floats += length;
    else {
      of ??= new Uint8Array(count);
      of.fill(kind, done, done + length);
      if (kind === KIND_HISTOGRAM) histograms += length;
    }
    done += length;
  }
  return { of, floats, histograms, count };
}

function writeFloats(floats: Float64Array): void {
  if (floats.length === 0) return;
  const decimals = decimalsOf(floats);
  if (decimals !== undefined) {
    const scale = POWERS_OF_TEN[decimals] ?? 1;
    writer.byte(decimals);
    let previous = 0;
    for (const value of floats) {
      const scaled = Math.round(value * scale);
      writer.signed(scaled - previous);
      previous = scaled;
    }
    return;
  }
  const start = writer.length;
  writer.byte(CODING_XOR);
  let previous = 0;
  for (const value of floats) {
    writeXor(writer, value, previous);
    previous = value;
  }
  if (writer.length - start <= 1 + 8 * floats.length) return;
  writer.clear(start);
  writer.byte(CODING_RAW);
  for (const value of floats) writer.float64(value);
}

function readFloats(reader: ByteReader, values: Float64Array, at: number, kinds: Kinds): void {
  const coding = kinds.floats === 0 ? CODING_RAW : reader.byte();
  const scale = POWERS_OF_TEN[coding] ?? 1;
  if (coding > DECIMALS_MAX && coding !== CODING_XOR && coding !== CODING_RAW) throw new BytesEndError(reader.at);
  let previous = 0;
  for (let i = 0; i < kinds.count; i++) {
    const kind = kinds.of?.[i] ?? KIND_FLOAT;
    if (kind !== KIND_FLOAT) {
      values[at + i] = kind === KIND_STALE ? STALE_NAN : Number.NaN;
    } else if (coding <= DECIMALS_MAX) {
      previous += reader.signed();
      values[at + i] = previous / scale;
    } else {
      previous = coding === CODING_XOR ? readXor(reader, previous) : reader.float64();
      values[at + i] = previous;
    }
  }
}

/** The least number of decimals with which all are whole numbers over a power of ten, exactly; undefined where there is none. */
function decimalsOf(floats: Float64Array): number | undefined {
  let decimals = 0;
  for (let i = 0; i < floats.length; i++) {
    const value = floats[i] ?? 0;
    while (!isScaled(value, POWERS_OF_TEN[decimals] ?? 1)) {
      decimals++;
      if (decimals > DECIMALS_MAX) return undefined;
    }
  }
  // More decimals than the first ones needed may be too many for them.
  const scale = POWERS_OF_TEN[decimals] ?? 1;
  return floats.every((value) => isScaled(value, scale)) ? decimals : undefined;
}

function isScaled(value: number, scale: number): boolean {
  const scaled = Math.round(value * scale);
  return Math.abs(scaled) < WHOLE_MAX && !Object.is(scaled, -0) && sameBits(scaled / scale, value);
}

function writeStarts(startsMs: Float64Array, from: number, to: number): void {
  let previous = 0;
  for (let i = from; i < to; i++) {
    writer.signed((startsMs[i] ?? 0) - previous);
    previous = startsMs[i] ?? 0;
  }
}

function readStarts(reader: ByteReader, columns: RunColumns, at: number, count: number): void {
  columns.startsMs ??= new Float64Array(columns.timestampsMs.length);
  let previous = 0;
  for (let i = at; i < at + count; i++) {
    previous += reader.signed();
    columns.startsMs[i] = previous;
  }
}

function writeHistograms(histograms: readonly (NativeHistogram | undefined)[], from: number, to: number): void {
  let previous: NativeHistogram | undefined;
  for (let i = from; i < to; i++) {
    const histogram = histograms[i];
    if (histogram === undefined) continue;
    writeHistogram(writer, histogram, previous);
    previous = histogram;
  }
}

function readHistograms(reader: ByteReader, columns: RunColumns, at: number, kinds: Kinds): void {
  columns.histograms ??= [];
  let previous: NativeHistogram | undefined;
  for (let i = 0; i < kinds.count; i++) {
    if (kinds.of?.[i] !== KIND_HISTOGRAM) continue;
    previous = readHistogram(reader, previous);
    columns.histograms[at + i] = previous;
  }
}

/** Whether a value is the stale marker, bit by bit. */
export function isStale(value: number): boolean {
  // Every other number is told apart without looking at its bits.
  return Number.isNaN(value) && sameBits(value, STALE_NAN);
}
