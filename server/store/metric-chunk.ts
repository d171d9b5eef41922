/**
 * Runs of samples of one series, and the sealed chunk they become: about a byte a sample, exact to the last bit.
 *
 * A chunk is times, then which samples are floats, histograms or stale markers where not all are floats, and then each kind
 * in the form that is shortest: one number for all, whole and decimal numbers or bit patterns packed (`model/float-column.ts`).
 * Chunks of the layout before this one are read too.
 */

import { ArraySlab } from "../model/array-slab.ts";
import { readWholes, writeWholes } from "../model/bit-pack.ts";
import { ByteReader, BytesEndError } from "../model/byte-reader.ts";
import { ByteWriter } from "../model/byte-writer.ts";
import { readXor, sameBits } from "../model/double-codec.ts";
import {
  CHUNK_HAS_KINDS as HAS_KINDS,
  CHUNK_HAS_STARTS as HAS_STARTS,
  CHUNK_HAS_HISTOGRAMS as HISTOGRAM_COLUMNS,
  KIND_BITS,
  KIND_FLOAT,
  KIND_HISTOGRAM,
  KIND_STALE,
  CHUNK_IS_PACKED as PACKED,
  CHUNK_HAS_EVEN_TIMES as REGULAR_TIMES,
  STALE_NAN,
} from "../model/float-chunk.ts";
import { readFloatColumn, writeFloatColumn } from "../model/float-column.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import { type HistogramStretch, histogramsOf, readStretches, writeHistograms } from "../model/histogram-columns.ts";
import type { SampleRoom } from "../model/sample-room.ts";
import type { EncodedHistograms, SeriesSamples } from "../model/series.ts";
import { readHistogram } from "./metric-histogram-codec.ts";

/** Codings of the layout before: up to four decimals, bytes that differ, or eight bytes each. */
const OLD_SCALES = [1, 10, 100, 1_000, 10_000];
const OLD_DECIMALS_MAX = OLD_SCALES.length - 1;
const OLD_CODING_XOR = 14;
const OLD_CODING_RAW = 15;

/** Samples of one series without its labels, oldest first. */
export type SampleRun = Omit<SeriesSamples, "labels">;

/** Columns to decode into, as long as all samples together; a column of histograms or starts appears when the first does. */
export interface RunColumns {
  timestampsMs: Float64Array;
  readonly values: Float64Array;
  histograms: (NativeHistogram | undefined)[] | undefined;
  startsMs: Float64Array | undefined;
  /** Where chunks of nothing but histograms are left as they are; undefined where all are decoded. */
  readonly encoded?: EncodedHistograms[] | undefined;
  /** The times are there already; only chunks of even steps are decoded into them. */
  readonly hasTimes?: boolean | undefined;
}

/** An encoded run. Never changed. */
export interface SealedChunk {
  readonly count: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly bytes: Uint8Array;
}

/** First and last time of a chunk. */
interface TimeSpan {
  readonly minMs: number;
  readonly maxMs: number;
}

/**
 * A chunk as it is kept in memory. Two numbers of its own would be an object each, a fifth of what a chunk takes beside its
 * bytes.
 */
class KeptChunk implements SealedChunk {
  readonly count: number;
  readonly span: TimeSpan;
  readonly bytes: Uint8Array;

  constructor(count: number, span: TimeSpan, bytes: Uint8Array) {
    this.count = count;
    this.span = span;
    this.bytes = bytes;
  }

  get minMs(): number {
    return this.span.minMs;
  }

  get maxMs(): number {
    return this.span.maxMs;
  }
}

/** Series of one scrape are sealed one after another, with the same times. */
let lastSpan: TimeSpan = { minMs: 0, maxMs: 0 };

function sharedSpan(minMs: number, maxMs: number): TimeSpan {
  if (lastSpan.minMs !== minMs || lastSpan.maxMs !== maxMs) lastSpan = { minMs, maxMs };
  return lastSpan;
}

const writer = new ByteWriter();
/** Room for the numbers of a chunk; grows with the longest. */
let scratch = new Float64Array(512);

/** Encodes the samples `[from, to)` of a run; at least one. */
export function sealChunk(run: SampleRun, from: number, to: number): SealedChunk {
  const { timestampsMs, values, histograms, startsMs } = run;
  const hasStarts = startsMs?.subarray(from, to).some((startMs) => startMs !== 0) === true;
  const floats = floatsOf(values, histograms, from, to);
  const hasKinds = floats.length < to - from;
  const isRegular = hasEvenSteps(timestampsMs, from, to);
  const found = histograms?.slice(from, to).filter((histogram) => histogram !== undefined) ?? [];
  writer.clear();
  writer.byte(
    PACKED |
      (hasStarts ? HAS_STARTS : 0) |
      (hasKinds ? HAS_KINDS : 0) |
      (isRegular ? REGULAR_TIMES : 0) |
      (found.length > 0 ? HISTOGRAM_COLUMNS : 0),
  );
  if (isRegular) {
    writer.signed(timestampsMs[from] ?? 0);
    if (to - from > 1) writer.signed((timestampsMs[from + 1] ?? 0) - (timestampsMs[from] ?? 0));
  } else writeWholes(writer, timestampsMs, from, to);
  if (hasKinds) writeKinds(values, histograms, from, to);
  if (floats.length > 0) writeFloatColumn(writer, floats);
  if (hasStarts) writeStarts(startsMs, from, to);
  if (found.length > 0) writeHistograms(writer, found);
  const span = sharedSpan(timestampsMs[from] ?? 0, timestampsMs[to - 1] ?? 0);
  return new KeptChunk(to - from, span, sharedBytes(writer.written()));
}

/** The same chunk with bytes of its own. */
export function ownChunk({ count, minMs, maxMs, bytes }: SealedChunk): SealedChunk {
  return { count, minMs, maxMs, bytes: bytes.slice() };
}

/** Chunks share memory that threads can share: a page holds neighbours in time, which are forgotten together. */
const PAGE_BYTES = 2 ** 18;
let page = new SharedArrayBuffer(0);
let pageUsed = 0;

function sharedBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.length > PAGE_BYTES / 8) return bytes.slice();
  if (pageUsed + bytes.length > page.byteLength) {
    page = new SharedArrayBuffer(PAGE_BYTES);
    pageUsed = 0;
  }
  const copy = new Uint8Array(page, pageUsed, bytes.length);
  copy.set(bytes);
  pageUsed += bytes.length;
  return copy;
}

const zeros = new ArraySlab((length) => new Float64Array(length), 8_192);

/**
 * Columns for `count` samples. Short ones are views on a buffer that others have other parts of.
 *
 * @param room Where they lie; what they hold is then anything, and histograms are left encoded where they can be.
 */
export function emptyColumns(count: number, room?: SampleRoom | undefined): RunColumns {
  if (room !== undefined) {
    const columns = { timestampsMs: room.takeTimes(count), values: room.take(count) };
    return { ...columns, histograms: undefined, startsMs: undefined, encoded: [] };
  }
  return { timestampsMs: zeros.take(count), values: zeros.take(count), histograms: undefined, startsMs: undefined };
}

/**
 * Decodes a chunk into `[at, at + chunk.count)` of `columns`.
 *
 * @throws BytesEndError where the bytes cannot have been written by `sealChunk`.
 */
export function readChunk(chunk: Pick<SealedChunk, "count" | "bytes">, columns: RunColumns, at: number): void {
  const reader = new ByteReader(chunk.bytes);
  const flags = reader.byte();
  const isPacked = (flags & PACKED) !== 0;
  const { timestampsMs, values } = columns;
  const { count } = chunk;
  if (!isPacked) readOldTimes(reader, timestampsMs, at, count);
  else if (columns.hasTimes === true) passEvenTimes(reader, count);
  else if ((flags & REGULAR_TIMES) !== 0) readEvenTimes(reader, timestampsMs, at, count);
  else readWholes(reader, timestampsMs, at, count);
  const kinds = isPacked && (flags & HAS_KINDS) === 0 ? allFloats(count) : readKinds(reader, count);
  if (isPacked) readFloats(reader, values, at, kinds);
  else readOldFloats(reader, values, at, kinds);
  if ((flags & HAS_STARTS) !== 0) readStarts(reader, columns, at, count);
  if (kinds.histograms === 0) return;
  if ((flags & HISTOGRAM_COLUMNS) === 0) readHistograms(reader, columns, at, kinds);
  else readHistogramColumns(reader, chunk.bytes, columns, at, kinds);
}

/**
 * Decodes the times of a chunk of nothing but histograms into `[at, at + chunk.count)`, and finds its stretches.
 *
 * @returns Undefined where it has anything else, or is of the layout before.
 * @throws BytesEndError as `readChunk`.
 */
export function findStretches(
  chunk: Pick<SealedChunk, "count" | "bytes">,
  timestampsMs: Float64Array,
  at: number,
): HistogramStretch[] | undefined {
  const { bytes, count } = chunk;
  const reader = new ByteReader(bytes);
  const flags = reader.byte();
  const wanted = PACKED | HAS_KINDS | HISTOGRAM_COLUMNS;
  if ((flags & wanted) !== wanted) return undefined;
  if ((flags & REGULAR_TIMES) !== 0) readEvenTimes(reader, timestampsMs, at, count);
  else readWholes(reader, timestampsMs, at, count);
  if (readKinds(reader, count).histograms < count) return undefined;
  if ((flags & HAS_STARTS) !== 0) for (let i = 0; i < count; i++) reader.signed();
  return readStretches(reader, bytes, count);
}

/** Samples of a chunk that is made of others, at most: a reader of a short window decodes all of it. */
const JOINED_SAMPLES_MAX = 512;
/** The same where they are histograms, of which each is as much as some ten samples. */
const JOINED_HISTOGRAMS_MAX = 64;
/** Columns that all groups of chunks are decoded into on their way to become one. */
const JOINED = {
  timestampsMs: new Float64Array(JOINED_SAMPLES_MAX),
  values: new Float64Array(JOINED_SAMPLES_MAX),
} as const;

/** The same samples in fewer chunks, where neighbours are in order and short: each costs some twenty bytes of its own. */
export function joinChunks(chunks: readonly SealedChunk[]): SealedChunk[] {
  const joined: SealedChunk[] = [];
  for (let first = 0; first < chunks.length; ) {
    let count = chunks[first]?.count ?? 0;
    let hasHistograms = holdsHistograms(chunks[first]);
    let end = first + 1;
    for (; end < chunks.length; end++) {
      const next = chunks[end];
      if (next === undefined || next.minMs <= (chunks[end - 1]?.maxMs ?? 0)) break;
      hasHistograms ||= holdsHistograms(next);
      if (count + next.count > (hasHistograms ? JOINED_HISTOGRAMS_MAX : JOINED_SAMPLES_MAX)) break;
      count += next.count;
    }
    const group = chunks.slice(first, end);
    first = end;
    if (group.length === 1) joined.push(...group);
    else joined.push(sealChunk(readInto({ ...JOINED, histograms: undefined, startsMs: undefined }, group), 0, count));
  }
  return joined;
}

/** Decodes chunks one after another into columns that are long enough. */
function readInto(columns: RunColumns, chunks: readonly SealedChunk[]): RunColumns {
  let at = 0;
  for (const chunk of chunks) {
    readChunk(chunk, columns, at);
    at += chunk.count;
  }
  return columns;
}

/** Whether a chunk of the present layout holds at least one histogram. */
export function holdsHistograms(chunk: SealedChunk | undefined): boolean {
  return chunk !== undefined && ((chunk.bytes[0] ?? 0) & HISTOGRAM_COLUMNS) !== 0;
}

/** First and last time of a chunk whose bytes tell them without being decoded; undefined where they do not. */
export function evenTimesOf(bytes: Uint8Array, count: number): { minMs: number; maxMs: number } | undefined {
  const reader = new ByteReader(bytes);
  const flags = reader.byte();
  if ((flags & PACKED) === 0 || (flags & REGULAR_TIMES) === 0) return undefined;
  const minMs = reader.signed();
  return { minMs, maxMs: count > 1 ? minMs + (count - 1) * reader.signed() : minMs };
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
    runs.push(readInto(emptyColumns(count), chunks.slice(first, end)));
    first = end;
  }
  return runs;
}

function hasEvenSteps(timesMs: Float64Array, from: number, to: number): boolean {
  const step = (timesMs[from + 1] ?? 0) - (timesMs[from] ?? 0);
  for (let i = from + 2; i < to; i++) if ((timesMs[i] as number) - (timesMs[i - 1] as number) !== step) return false;
  return true;
}

/** Whether the times of a chunk are one step apart, so that the first, the last and their number tell all of them. */
export function hasEvenTimes({ bytes }: Pick<SealedChunk, "bytes">): boolean {
  return ((bytes[0] ?? 0) & (PACKED | REGULAR_TIMES)) === (PACKED | REGULAR_TIMES);
}

function passEvenTimes(reader: ByteReader, count: number): void {
  reader.signed();
  if (count > 1) reader.signed();
}

function readEvenTimes(reader: ByteReader, timesMs: Float64Array, at: number, count: number): void {
  let ms = reader.signed();
  const stepMs = count > 1 ? reader.signed() : 0;
  for (let i = at; i < at + count; i++) {
    timesMs[i] = ms;
    ms += stepMs;
  }
}

function readOldTimes(reader: ByteReader, timesMs: Float64Array, at: number, count: number): void {
  let ms = 0;
  let stepMs = 0;
  for (let i = at; i < at + count; i++) {
    stepMs += reader.signed();
    ms += stepMs;
    timesMs[i] = ms;
  }
}

/** The values of the floats, in place where all samples are floats. */
function floatsOf(
  values: Float64Array,
  histograms: readonly (NativeHistogram | undefined)[] | undefined,
  from: number,
  to: number,
): Float64Array {
  let others = 0;
  for (let i = from; i < to; i++) if (kindOf(values[i] as number, histograms?.[i]) !== KIND_FLOAT) others++; // in range: the caller's bounds
  if (others === 0) return from === 0 && to === values.length ? values : values.subarray(from, to);
  const floats = new Float64Array(to - from - others);
  let count = 0;
  for (let i = from; i < to; i++) {
    const value = values[i] ?? 0;
    if (kindOf(value, histograms?.[i]) === KIND_FLOAT) floats[count++] = value;
  }
  return floats;
}

function kindOf(value: number, histogram: NativeHistogram | undefined): number {
  if (histogram !== undefined) return KIND_HISTOGRAM;
  return isStale(value) ? KIND_STALE : KIND_FLOAT;
}

/** Writes lengths of stretches of one kind. */
function writeKinds(
  values: Float64Array,
  histograms: readonly (NativeHistogram | undefined)[] | undefined,
  from: number,
  to: number,
): void {
  let kind = KIND_FLOAT;
  let length = 0;
  for (let i = from; i < to; i++) {
    const here = kindOf(values[i] ?? 0, histograms?.[i]);
    if (here !== kind) {
      writer.varint(length * KIND_BITS + kind);
      kind = here;
      length = 0;
    }
    length++;
  }
  writer.varint(length * KIND_BITS + kind);
}

/** Kinds of a chunk of nothing but histograms, which mostly is no longer. */
const ONLY_HISTOGRAMS = new Uint8Array(JOINED_HISTOGRAMS_MAX).fill(KIND_HISTOGRAM);

/** Which samples of a chunk are of which kind; others may follow. `of` is undefined where all are floats. */
interface Kinds {
  readonly of: Uint8Array | undefined;
  readonly floats: number;
  readonly histograms: number;
  readonly count: number;
}

function allFloats(count: number): Kinds {
  return { of: undefined, floats: count, histograms: 0, count };
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
      if (kind === KIND_HISTOGRAM && length === count && count <= ONLY_HISTOGRAMS.length) {
        return { of: ONLY_HISTOGRAMS, floats, histograms: count, count };
      }
      of ??= new Uint8Array(count);
      of.fill(kind, done, done + length);
      if (kind === KIND_HISTOGRAM) histograms += length;
    }
    done += length;
  }
  return { of, floats, histograms, count };
}

function readFloats(reader: ByteReader, values: Float64Array, at: number, kinds: Kinds): void {
  const { of, floats, count } = kinds;
  const from = of === undefined ? at : 0;
  let into = values;
  if (of !== undefined) {
    if (scratch.length < floats) scratch = new Float64Array(2 * floats);
    into = scratch;
  }
  if (floats > 0) readFloatColumn(reader, into, from, floats);
  if (of === undefined) return;
  let next = 0;
  for (let i = 0; i < count; i++) {
    if (of[i] === KIND_FLOAT) copyDouble(into, next++, values, at + i);
    else values[at + i] = of[i] === KIND_STALE ? STALE_NAN : Number.NaN;
  }
}

/** Copies eight bytes, which keeps the payload of a NaN. */
function copyDouble(from: Float64Array, at: number, to: Float64Array, toAt: number): void {
  to[toAt] = from[at] as number; // in range: the caller's bounds
}

function readOldFloats(reader: ByteReader, values: Float64Array, at: number, kinds: Kinds): void {
  const coding = kinds.floats === 0 ? OLD_CODING_RAW : reader.byte();
  const scale = OLD_SCALES[coding] ?? 1;
  if (coding > OLD_DECIMALS_MAX && coding !== OLD_CODING_XOR && coding !== OLD_CODING_RAW) {
    throw new BytesEndError(reader.at);
  }
  let previous = 0;
  for (let i = 0; i < kinds.count; i++) {
    const kind = kinds.of?.[i] ?? KIND_FLOAT;
    if (kind !== KIND_FLOAT) {
      values[at + i] = kind === KIND_STALE ? STALE_NAN : Number.NaN;
    } else if (coding <= OLD_DECIMALS_MAX) {
      previous += reader.signed();
      values[at + i] = previous / scale;
    } else {
      previous = coding === OLD_CODING_XOR ? readXor(reader, previous) : reader.float64();
      values[at + i] = previous;
    }
  }
}

function writeStarts(startsMs: Float64Array, from: number, to: number): void {
  let previous = 0;
  for (let i = from; i < to; i++) {
    writer.signed((startsMs[i] ?? 0) - previous);
    previous = startsMs[i] ?? 0;
  }
}

function readStarts(reader: ByteReader, columns: RunColumns, at: number, count: number): void {
  columns.startsMs ??= new Float64Array(columns.values.length);
  let previous = 0;
  for (let i = at; i < at + count; i++) {
    previous += reader.signed();
    columns.startsMs[i] = previous;
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

function readHistogramColumns(
  reader: ByteReader,
  bytes: Uint8Array,
  columns: RunColumns,
  at: number,
  { of, histograms: count, count: samples }: Kinds,
): void {
  const from = reader.at;
  const stretches = readStretches(reader, bytes, count);
  if (columns.encoded !== undefined && count === samples) {
    columns.encoded.push({ first: at, count, bytes: bytes.subarray(from, reader.at) });
    return;
  }
  columns.histograms ??= [];
  const histograms = stretches.flatMap(histogramsOf);
  let next = 0;
  for (let i = 0; i < samples; i++) if (of?.[i] === KIND_HISTOGRAM) columns.histograms[at + i] = histograms[next++];
}

/** Whether a value is the stale marker, bit by bit. */
export function isStale(value: number): boolean {
  // Every other number is told apart without looking at its bits.
  return Number.isNaN(value) && sameBits(value, STALE_NAN);
}
