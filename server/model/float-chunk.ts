/**
 * The floats of sealed chunks, read where they lie: many chunks in a page, without an object for any of them.
 *
 * The layout is that of the store's `metric-chunk.ts`, as far as chunks without histograms and starts go; numbers are
 * those that `readFloatColumn` gives, bit for bit.
 */

import { readPagedWholes } from "./bit-pack.ts";
import { ByteReader, BytesEndError } from "./byte-reader.ts";
import { doubleOf } from "./double-codec.ts";
import {
  CODING_CONSTANT,
  CODING_MASK,
  CODING_PATTERNS,
  CODING_SHIFTED,
  POWERS_OF_TEN,
  SHIFT_MAX,
} from "./float-column.ts";
import { type BytePage, endOfPaged, readPagedSigned, readPagedVarint } from "./paged-bytes.ts";
import { readPatterns } from "./pattern-pack.ts";

/** The NaN that marks a series as gone. */
export const STALE_NAN = doubleOf(0x7ff0_0000, 2);

/** In the first byte of a chunk: it tells since when each sample counts. */
export const CHUNK_HAS_STARTS = 1;
/** In the first byte of a chunk: not all samples are floats. */
export const CHUNK_HAS_KINDS = 2;
/** In the first byte of a chunk: times are one step apart, so the first and the step are all that is told. */
export const CHUNK_HAS_EVEN_TIMES = 4;
/** In the first byte of a chunk: histograms stand in columns, not one after the other. */
export const CHUNK_HAS_HISTOGRAMS = 8;
/** In the first byte of a chunk: it has the layout of packed numbers. */
export const CHUNK_IS_PACKED = 0x80;

/** Kinds of samples where not all are floats: stretches of one kind are told as length times `KIND_BITS` and kind. */
export const KIND_FLOAT = 0;
export const KIND_HISTOGRAM = 1;
export const KIND_STALE = 2;
export const KIND_BITS = 4;

/** What the first bytes of a chunk tell; one object serves many chunks. */
export interface ChunkHead {
  flags: number;
  /** First time and step of even times; undefined meaning where they are not even. */
  firstMs: number;
  stepMs: number;
  /** Where in the page the rest begins: values of a chunk of even times, else times. */
  at: number;
}

/** A head to be filled. */
export function emptyChunkHead(): ChunkHead {
  return { flags: 0, firstMs: 0, stepMs: 0, at: 0 };
}

/** Whether a chunk holds nothing but floats and stale markers, so that it can be read here; by its first byte. */
export function holdsOnlyFloats(flags: number): boolean {
  return (flags & (CHUNK_IS_PACKED | CHUNK_HAS_STARTS | CHUNK_HAS_HISTOGRAMS)) === CHUNK_IS_PACKED;
}

/** Reads the head of the chunk of `count` samples at `at`. Throws `BytesEndError` where its floats cannot be read here. */
export function openFloatChunk(page: BytePage, at: number, count: number, head: ChunkHead): void {
  const flags = page.bytes[at];
  if (flags === undefined || !holdsOnlyFloats(flags)) throw new BytesEndError(at);
  head.flags = flags;
  head.at = at + 1;
  head.stepMs = 0;
  if ((flags & CHUNK_HAS_EVEN_TIMES) === 0) return;
  head.firstMs = readPagedSigned(page, at + 1);
  head.at = endOfPaged();
  if (count === 1) return;
  head.stepMs = readPagedSigned(page, head.at);
  head.at = endOfPaged();
}

/** Reads times that are not even into `[to, to + count)`. */
export function readUnevenTimes(
  page: BytePage,
  head: ChunkHead,
  timesMs: Float64Array,
  to: number,
  count: number,
): void {
  head.at = readPagedWholes(page, head.at, timesMs, to, count);
}

/** Room for the floats of a chunk that has stale markers too; grows with the longest. */
let scratch = new Float64Array(512);

/**
 * Reads values, stale markers among them, into `[to, to + count)`; times were read before.
 *
 * @throws BytesEndError where the bytes cannot be those of a chunk.
 */
export function readChunkFloats(
  page: BytePage,
  head: ChunkHead,
  values: Float64Array,
  to: number,
  count: number,
): void {
  if ((head.flags & CHUNK_HAS_KINDS) === 0) readColumn(page, head.at, values, to, count);
  else readAmongMarkers(page, head.at, values, to, count);
}

function readAmongMarkers(page: BytePage, from: number, values: Float64Array, to: number, count: number): void {
  let at = from;
  let floats = 0;
  for (let done = 0; done < count; ) {
    const told = readPagedVarint(page, at);
    at = endOfPaged();
    const kind = told % KIND_BITS;
    const length = Math.floor(told / KIND_BITS);
    if ((kind !== KIND_FLOAT && kind !== KIND_STALE) || length > count - done || (length === 0 && done > 0)) {
      throw new BytesEndError(at);
    }
    if (kind === KIND_FLOAT) floats += length;
    done += length;
  }
  if (scratch.length < floats) scratch = new Float64Array(2 * floats);
  if (floats > 0) readColumn(page, at, scratch, 0, floats);
  let next = 0;
  at = from;
  for (let done = 0; done < count; ) {
    const told = readPagedVarint(page, at);
    at = endOfPaged();
    const end = done + Math.floor(told / KIND_BITS);
    if (told % KIND_BITS === KIND_FLOAT) for (; done < end; done++) values[to + done] = scratch[next++] as number;
    else for (; done < end; done++) values[to + done] = STALE_NAN;
  }
}

/** As `readFloatColumn`. */
function readColumn(page: BytePage, from: number, values: Float64Array, to: number, count: number): void {
  const coding = page.bytes[from] ?? CODING_MASK;
  let at = from + 1;
  const decimals = coding & CODING_MASK;
  if (decimals === CODING_PATTERNS) {
    const reader = new ByteReader(page.bytes, at);
    if ((coding & CODING_CONSTANT) === 0) readPatterns(reader, values, to, count);
    else values.fill(reader.float64(), to, to + count);
    return;
  }
  const scale = POWERS_OF_TEN[decimals];
  if (scale === undefined) throw new BytesEndError(at);
  if ((coding & CODING_CONSTANT) !== 0) {
    const value = readPagedSigned(page, at) / scale;
    for (let i = to; i < to + count; i++) values[i] = value;
    return;
  }
  const shift = (coding & CODING_SHIFTED) === 0 ? 0 : (page.bytes[at++] ?? Number.POSITIVE_INFINITY);
  if (shift > SHIFT_MAX) throw new BytesEndError(at);
  readPagedWholes(page, at, values, to, count);
  if (shift === 0 && decimals === 0) return;
  const factor = 2 ** shift;
  for (let i = to; i < to + count; i++) values[i] = ((values[i] as number) * factor) / scale; // in range: the caller's bounds
}
