/**
 * Doubles of any kind packed as the folded differences of their bit patterns; every bit is kept.
 *
 * A run is its first pattern, then blocks of at most 64: a byte with the width and the bits (`bit-pack.ts`).
 */

import { type BlockHalves, pack, unpack } from "./bit-pack.ts";
import { type ByteReader, BytesEndError } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";

const BLOCK = 64;
const PATTERN_WIDTH_MAX = 64;
const TWO_POW_32 = 2 ** 32;

/** Bytes behind a block that a look at its last pattern may take. */
const LOOK_BEYOND = 5;

/** Folded differences of one block. */
const HALVES: BlockHalves = { low: new Uint32Array(BLOCK), high: new Uint32Array(BLOCK) };
const LOW = HALVES.low;
const HIGH = HALVES.high;

/** Writes doubles `values[from, to)` of any kind, at least one; every bit is kept. */
export function writePatterns(out: ByteWriter, values: Float64Array, from: number, to: number): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, 2 * values.length);
  let low = bits[2 * from] as number; // in range: the caller's bounds, here and below
  let high = bits[2 * from + 1] as number;
  out.uint32(low);
  out.uint32(high);
  for (let start = from + 1; start < to; start += BLOCK) {
    const length = Math.min(BLOCK, to - start);
    let anyLow = 0;
    let anyHigh = 0;
    for (let i = 0; i < length; i++) {
      const nextLow = bits[2 * (start + i)] as number;
      const nextHigh = bits[2 * (start + i) + 1] as number;
      const deltaLow = (nextLow - low) | 0;
      const deltaHigh = (nextHigh - high - (nextLow < low ? 1 : 0)) | 0;
      const sign = deltaHigh >> 31;
      LOW[i] = (deltaLow << 1) ^ sign;
      HIGH[i] = ((deltaHigh << 1) | (deltaLow >>> 31)) ^ sign;
      anyLow |= LOW[i] as number;
      anyHigh |= HIGH[i] as number;
      low = nextLow;
      high = nextHigh;
    }
    const width = anyHigh !== 0 ? 64 - Math.clz32(anyHigh) : 32 - Math.clz32(anyLow);
    out.byte(width);
    pack(out, HALVES, length, width);
  }
}

/** Reads what `writePatterns` wrote. Throws `BytesEndError` where it cannot have written that. */
export function readPatterns(reader: ByteReader, values: Float64Array, at: number, count: number): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, 2 * values.length);
  let low = reader.uint32();
  let high = reader.uint32();
  bits[2 * at] = low;
  bits[2 * at + 1] = high;
  const end = at + count;
  for (let start = at + 1; start < end; start += BLOCK) {
    const length = Math.min(BLOCK, end - start);
    const width = reader.byte();
    if (width > PATTERN_WIDTH_MAX) throw new BytesEndError(reader.at);
    const size = width > 32 ? 4 * length + ((length * (width - 32) + 7) >>> 3) : (length * width + 7) >>> 3;
    if (size + LOOK_BEYOND <= reader.left) {
      lookAtPatterns(reader, bits, { start, length, width }, size);
      low = bits[2 * (start + length - 1)] as number;
      high = bits[2 * (start + length - 1) + 1] as number;
      continue;
    }
    unpack(reader, HALVES, length, width);
    for (let i = 0; i < length; i++) {
      const foldedLow = LOW[i] as number;
      const foldedHigh = width > 32 ? (HIGH[i] as number) : 0;
      const sign = -(foldedLow & 1);
      const deltaLow = (((foldedLow >>> 1) | (foldedHigh << 31)) ^ sign) >>> 0;
      const deltaHigh = (foldedHigh >>> 1) ^ sign;
      const sum = low + deltaLow;
      high = (high + deltaHigh + (sum >= TWO_POW_32 ? 1 : 0)) >>> 0;
      low = sum >>> 0;
      bits[2 * (start + i)] = low;
      bits[2 * (start + i) + 1] = high;
    }
  }
}

interface PatternBlock {
  readonly start: number;
  readonly length: number;
  readonly width: number;
}

/** As `readPatterns` for one block of `size` bytes, with `LOOK_BEYOND` more behind them. */
function lookAtPatterns(
  reader: ByteReader,
  bits: Uint32Array,
  { start, length, width }: PatternBlock,
  size: number,
): void {
  const at = reader.take(size);
  const { view } = reader;
  const isWide = width > 32;
  const packedWidth = isWide ? width - 32 : width;
  const mask = packedWidth === 32 ? -1 : (1 << packedWidth) - 1;
  let low = (bits[2 * (start - 1)] as number) | 0; // in range: a run begins with its first number, here and below
  let high = (bits[2 * (start - 1) + 1] as number) | 0;
  let bit = 8 * (isWide ? at + 4 * length : at);
  for (let i = 0; i < length; i++, bit += packedWidth) {
    const byte = bit >>> 3;
    const shift = bit & 7;
    let packed = view.getInt32(byte, true) >>> shift;
    if (shift + packedWidth > 32) packed |= view.getUint8(byte + 4) << (32 - shift);
    packed &= mask;
    const foldedLow = isWide ? view.getInt32(at + 4 * i, true) : packed;
    const foldedHigh = isWide ? packed : 0;
    const sign = -(foldedLow & 1);
    const sum = (low + (((foldedLow >>> 1) | (foldedHigh << 31)) ^ sign)) | 0;
    const carry = sum >>> 0 < low >>> 0 ? 1 : 0;
    high = (high + ((foldedHigh >>> 1) ^ sign) + carry) | 0;
    low = sum;
    bits[2 * (start + i)] = low;
    bits[2 * (start + i) + 1] = high;
  }
}
