/**
 * Columns of doubles in the form that is shortest: one number for all, whole and decimal numbers or bit patterns packed.
 */

import { PACKED_WHOLE_MAX, readWholeAt, readWholes, writeWholes } from "./bit-pack.ts";
import { type ByteReader, BytesEndError } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { sameBits } from "./double-codec.ts";
import { readPatterns, writePatterns } from "./pattern-pack.ts";

/** Codings up to this are the number of decimals of the scaled whole numbers that follow. */
const DECIMALS_MAX = 12;
/** All are bit patterns. */
export const CODING_PATTERNS = 14;
/** With a number of decimals: all are the one number that follows. Alone: all are the eight bytes that follow. */
export const CODING_CONSTANT = 0x20;
/** A byte follows: so many bits at the lower end are 0 in all whole numbers, and left out. */
export const CODING_SHIFTED = 0x40;
/** Of a coding: the number of decimals, or `CODING_PATTERNS`. */
export const CODING_MASK = 0x0f;
/** By number of decimals. */
export const POWERS_OF_TEN = Array.from({ length: DECIMALS_MAX + 1 }, (_, decimals) => 10 ** decimals);
/** Bits that are left out at the lower end, at most. */
export const SHIFT_MAX = 31;

/** Room for the numbers of a column; grows with the longest. */
let scratch = new Float64Array(512);

/** Writes a column of at least one number; every bit is kept. */
export function writeFloatColumn(writer: ByteWriter, floats: Float64Array): void {
  const count = floats.length;
  if (scratch.length < count) scratch = new Float64Array(2 * count);
  const wholes = wholesBefore(floats);
  const decimals = wholes === count ? 0 : decimalsOf(floats, wholes);
  if (decimals === undefined) {
    if (floats.every((value) => sameBits(value, floats[0] ?? 0))) {
      writer.byte(CODING_CONSTANT | CODING_PATTERNS);
      writer.float64(floats[0] ?? 0);
      return;
    }
    writer.byte(CODING_PATTERNS);
    writePatterns(writer, floats, 0, count);
    return;
  }
  const scaled = decimals === 0 ? floats : scratch;
  if (decimals > 0) {
    const scale = POWERS_OF_TEN[decimals] as number; // in range: `decimalsOf` chose it
    for (let i = 0; i < count; i++) scaled[i] = Math.round((floats[i] as number) * scale); // in range: the loop's bounds
  }
  const first = scaled[0] as number; // in range: there is one
  let isConstant = true;
  let bits = 0;
  for (let i = 0; i < count; i++) {
    const whole = scaled[i] as number; // in range: the loop's bounds
    bits |= whole;
    if (whole !== first) isConstant = false;
  }
  if (isConstant) {
    writer.byte(CODING_CONSTANT | decimals);
    writer.signed(first);
    return;
  }
  // The lowest bit of all that is set; whole numbers are taken modulo 2^32, which keeps it.
  const shift = bits === 0 ? SHIFT_MAX : 31 - Math.clz32(bits & -bits);
  if (shift === 0) {
    writer.byte(decimals);
    writeWholes(writer, scaled, 0, count);
    return;
  }
  writer.byte(CODING_SHIFTED | decimals);
  writer.byte(shift);
  const factor = 2 ** -shift;
  for (let i = 0; i < count; i++) scratch[i] = (scaled[i] as number) * factor; // in range: the loop's bounds
  writeWholes(writer, scratch, 0, count);
}

/** Reads what `writeFloatColumn` wrote into `[at, at + count)`. Throws `BytesEndError` where it cannot have written that. */
export function readFloatColumn(reader: ByteReader, values: Float64Array, at: number, count: number): void {
  const coding = reader.byte();
  const decimals = coding & CODING_MASK;
  if (decimals === CODING_PATTERNS) {
    if ((coding & CODING_CONSTANT) === 0) readPatterns(reader, values, at, count);
    else values.fill(reader.float64(), at, at + count);
    return;
  }
  const scale = POWERS_OF_TEN[decimals];
  if (scale === undefined) throw new BytesEndError(reader.at);
  if ((coding & CODING_CONSTANT) !== 0) {
    values.fill(reader.signed() / scale, at, at + count);
    return;
  }
  const shift = (coding & CODING_SHIFTED) === 0 ? 0 : reader.byte();
  if (shift > SHIFT_MAX) throw new BytesEndError(reader.at);
  readWholes(reader, values, at, count);
  if (shift === 0 && decimals === 0) return;
  const factor = 2 ** shift;
  for (let i = at; i < at + count; i++) values[i] = ((values[i] as number) * factor) / scale; // in range: the loop's bounds
}

/** Reads one number of a column of `count`, and passes over the others. @throws BytesEndError as `readFloatColumn`. */
export function readFloatAt(reader: ByteReader, index: number, count: number): number {
  const coding = reader.byte();
  const decimals = coding & CODING_MASK;
  if (decimals === CODING_PATTERNS) {
    if ((coding & CODING_CONSTANT) !== 0) return reader.float64();
    if (scratch.length < count) scratch = new Float64Array(2 * count);
    readPatterns(reader, scratch, 0, count);
    return scratch[index] as number; // in range: the caller's bounds
  }
  const scale = POWERS_OF_TEN[decimals];
  if (scale === undefined) throw new BytesEndError(reader.at);
  if ((coding & CODING_CONSTANT) !== 0) return reader.signed() / scale;
  const shift = (coding & CODING_SHIFTED) === 0 ? 0 : reader.byte();
  if (shift > SHIFT_MAX) throw new BytesEndError(reader.at);
  const whole = readWholeAt(reader, index, count);
  return shift === 0 && decimals === 0 ? whole : (whole * 2 ** shift) / scale;
}

/** How many at the start are whole numbers that can be packed. */
function wholesBefore(floats: Float64Array): number {
  for (let i = 0; i < floats.length; i++) {
    const value = floats[i] as number; // in range: the loop's bounds
    if (Math.floor(value) !== value || value > PACKED_WHOLE_MAX || value < -PACKED_WHOLE_MAX) return i;
    if (value === 0 && Object.is(value, -0)) return i;
  }
  return floats.length;
}

/**
 * The least number of decimals with which all are whole numbers over a power of ten, exactly; undefined where there is none.
 *
 * @param wholes So many at the start need none.
 */
function decimalsOf(floats: Float64Array, wholes: number): number | undefined {
  let decimals = 0;
  let firstAt = 0;
  for (let i = wholes; i < floats.length; i++) {
    const value = floats[i] as number; // in range: the loop's bounds
    while (!isScaled(value, POWERS_OF_TEN[decimals] as number)) {
      decimals++;
      firstAt = i;
      if (decimals > DECIMALS_MAX) return undefined;
    }
  }
  // More decimals than the first ones needed may be too many for them.
  const scale = POWERS_OF_TEN[decimals] as number;
  for (let i = 0; i < firstAt; i++) if (!isScaled(floats[i] as number, scale)) return undefined;
  return decimals;
}

function isScaled(value: number, scale: number): boolean {
  const scaled = Math.round(value * scale);
  if (scaled / scale !== value || scaled > PACKED_WHOLE_MAX || scaled < -PACKED_WHOLE_MAX) return false;
  return value !== 0 || !Object.is(value, -0);
}
