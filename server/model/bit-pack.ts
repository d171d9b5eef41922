/**
 * Columns of whole numbers packed into as few bits as the largest of 64 neighbours needs.
 *
 * They are stored as what they are above the least of their differences, or above the least of themselves, whichever
 * takes fewer bits. A run is its first number, then blocks of at most 64: a byte with width and form, the least where the
 * form has one, the bits (lowest first; of more than 32 the lower halves as they are, then the upper ones packed).
 */

import { ByteReader, BytesEndError } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { type BytePage, endOfPaged, readPagedSigned } from "./paged-bytes.ts";

const BLOCK = 64;
const TWO_POW_32 = 2 ** 32;
/** Whole numbers may lie so far from 0, so that differences of differences are exact. */
export const PACKED_WHOLE_MAX = 2 ** 50;
/** Differences, none negative. */
const FORM_DELTA = 0;
/** Differences above the least one, which is told. */
const FORM_DELTA_ABOVE = 1;
/** Numbers above the least one, which is told as its difference to the number before the block. */
const FORM_ABOVE = 2;
const FORM_SHIFT = 6;
const WIDTH_MASK = 0x3f;
const WHOLE_WIDTH_MAX = 53;
/** Numbers of so many bits are read bit by bit where they are: with those that wait they fit 32 bits. */
const NARROW_WIDTH_MAX = 16;

/** Numbers of so many bits are read by one look at 32 bits from the byte on in which they begin. */
const LOOKED_WIDTH_MAX = 25;

/** Numbers of one block as their lower and upper halves, which is for numbers of more than 32 bits alone. */
export interface BlockHalves {
  readonly low: Uint32Array;
  readonly high: Uint32Array;
}

/** Numbers of one block, and the words they are packed into. */
const HALVES: BlockHalves = { low: new Uint32Array(BLOCK), high: new Uint32Array(BLOCK) };
const LOW = HALVES.low;
const HIGH = HALVES.high;
const WORDS = new Uint32Array(2 * BLOCK + 1);
const WORD_BYTES = new Uint8Array(WORDS.buffer);

/** Writes whole numbers `values[from, to)`, at least one, none further from 0 than `PACKED_WHOLE_MAX`. */
export function writeWholes(out: ByteWriter, values: Float64Array, from: number, to: number): void {
  let previous = values[from] as number; // in range: the caller's bounds, here and below
  out.signed(previous);
  for (let start = from + 1; start < to; start += BLOCK) {
    const end = Math.min(to, start + BLOCK);
    writeWholeBlock(out, values, { start, end, previous });
    previous = values[end - 1] as number;
  }
}

/** Reads what `writeWholes` wrote into `[at, at + count)`. Throws `BytesEndError` where it cannot have written that. */
export function readWholes(reader: ByteReader, values: Float64Array, at: number, count: number): void {
  values[at] = reader.signed();
  const end = at + count;
  for (let start = at + 1; start < end; start += BLOCK) {
    const length = Math.min(BLOCK, end - start);
    const head = reader.byte();
    const form = head >>> FORM_SHIFT;
    const width = head & WIDTH_MASK;
    if (width > WHOLE_WIDTH_MAX || form > FORM_ABOVE) throw new BytesEndError(reader.at);
    const least = form === FORM_DELTA ? 0 : reader.signed();
    // A look takes four bytes, of which all but the first may lie behind the block.
    if (width <= LOOKED_WIDTH_MAX && ((length * width) >>> 3) + 4 <= reader.left) {
      const at = reader.take((length * width + 7) >>> 3);
      if (form === FORM_ABOVE) {
        const base = (values[start - 1] as number) + least; // in range: a run begins with its first number
        lookAbove(reader.view, at, values, { start, length, width, least: base });
      } else if (width === 0) addSame(values, start, start + length, least);
      else lookAndAdd(reader.view, at, values, { start, length, width, least });
    } else if (width <= NARROW_WIDTH_MAX && form !== FORM_ABOVE) {
      addNarrow(reader, values, { start, length, width, least });
    } else addUnpacked(reader, values, { start, length, width, least }, form);
  }
}

/** A block of numbers of any width, above each other or above the number before `start`. @returns Where it ends. */
function addUnpacked(
  reader: ByteReader,
  values: Float64Array,
  { start, length, width, least }: NarrowBlock,
  form: number,
): number {
  unpack(reader, HALVES, length, width);
  const isWide = width > 32;
  let previous = values[start - 1] as number; // in range: a run begins with its first number
  if (form === FORM_ABOVE) {
    const base = previous + least;
    for (let i = 0; i < length; i++) {
      values[start + i] = base + (LOW[i] as number) + (isWide ? (HIGH[i] as number) * TWO_POW_32 : 0);
    }
  } else if (isWide) {
    for (let i = 0; i < length; i++) {
      previous += least + (LOW[i] as number) + (HIGH[i] as number) * TWO_POW_32;
      values[start + i] = previous;
    }
  } else {
    for (let i = 0; i < length; i++) {
      previous += least + (LOW[i] as number);
      values[start + i] = previous;
    }
  }
  return reader.at;
}

/**
 * As `readWholes` for what was written at `from` of a page.
 *
 * @returns Where it ends.
 */
export function readPagedWholes(page: BytePage, from: number, values: Float64Array, to: number, count: number): number {
  const { bytes, view } = page;
  let previous = readPagedSigned(page, from);
  let at = endOfPaged();
  values[to] = previous;
  const end = to + count;
  for (let start = to + 1; start < end; start += BLOCK) {
    const stop = Math.min(end, start + BLOCK);
    const head = bytes[at++] ?? WIDTH_MASK;
    const form = head >>> FORM_SHIFT;
    const width = head & WIDTH_MASK;
    if (width > WHOLE_WIDTH_MAX || form > FORM_ABOVE) throw new BytesEndError(at);
    let least = 0;
    if (form !== FORM_DELTA) {
      least = readPagedSigned(page, at);
      at = endOfPaged();
    }
    const next = at + (((stop - start) * width + 7) >>> 3);
    // A look takes four bytes; numbers without bits are looked for where the block ends.
    if (Math.max(next + 3, at + 4) > bytes.length || width > LOOKED_WIDTH_MAX) {
      at = addUnpacked(new ByteReader(bytes, at), values, { start, length: stop - start, width, least }, form);
    } else {
      if (form === FORM_ABOVE)
        lookAbove(view, at, values, { start, length: stop - start, width, least: previous + least });
      else if (width === 0) addSame(values, start, stop, least);
      else lookAndAdd(view, at, values, { start, length: stop - start, width, least });
      at = next;
    }
    previous = values[stop - 1] as number;
  }
  return at;
}

function addSame(values: Float64Array, start: number, stop: number, least: number): void {
  let value = values[start - 1] as number; // in range: a run begins with its first number, here and below
  for (let i = start; i < stop; i++) {
    value += least;
    values[i] = value;
  }
}

/** Adds up differences that begin at byte `at`. */
function lookAndAdd(
  view: DataView,
  at: number,
  values: Float64Array,
  { start, length, width, least }: NarrowBlock,
): void {
  const mask = (1 << width) - 1;
  const stop = start + length;
  let value = values[start - 1] as number;
  let bit = 8 * at;
  for (let i = start; i < stop; i++) {
    value += least + ((view.getUint32(bit >>> 3, true) >>> (bit & 7)) & mask);
    values[i] = value;
    bit += width;
  }
}

/** Numbers above `least` that begin at byte `at`. */
function lookAbove(
  view: DataView,
  at: number,
  values: Float64Array,
  { start, length, width, least }: NarrowBlock,
): void {
  const mask = (1 << width) - 1;
  const stop = start + length;
  let bit = 8 * at;
  for (let i = start; i < stop; i++) {
    values[i] = least + ((view.getUint32(bit >>> 3, true) >>> (bit & 7)) & mask);
    bit += width;
  }
}

/**
 * Reads one number of what `writeWholes` wrote, `count` of them, and passes over the others.
 *
 * @throws BytesEndError as `readWholes`.
 */
export function readWholeAt(reader: ByteReader, index: number, count: number): number {
  let value = reader.signed();
  for (let start = 1; start < count; start += BLOCK) {
    const length = Math.min(BLOCK, count - start);
    const head = reader.byte();
    const form = head >>> FORM_SHIFT;
    const width = head & WIDTH_MASK;
    if (width > WHOLE_WIDTH_MAX || form > FORM_ABOVE) throw new BytesEndError(reader.at);
    const least = form === FORM_DELTA ? 0 : reader.signed();
    // How many of the block are up to the one that is wanted.
    const wanted = Math.min(length, index - start + 1);
    if (width <= NARROW_WIDTH_MAX && form !== FORM_ABOVE) {
      const at = reader.take((length * width + 7) >>> 3);
      if (wanted > 0) value += wanted * least + sumOfNarrow(reader.bytes, at, wanted, width);
      continue;
    }
    unpack(reader, HALVES, length, width);
    if (wanted <= 0) continue;
    const above = (i: number) => (LOW[i] as number) + (width > 32 ? (HIGH[i] as number) * TWO_POW_32 : 0); // in range
    if (form === FORM_ABOVE) value += least + above(wanted - 1);
    else for (let i = 0; i < wanted; i++) value += least + above(i);
  }
  return value;
}

/** The sum of `count` numbers of at most `NARROW_WIDTH_MAX` bits. */
function sumOfNarrow(bytes: Uint8Array, from: number, count: number, width: number): number {
  if (width === 0) return 0;
  const mask = (1 << width) - 1;
  let at = from;
  let word = 0;
  let used = 0;
  let sum = 0;
  let first = 0;
  if (width === 1 || width === 2 || width === 4) {
    // Mostly differences of neighbours are as small as that: all of a word are added up at once, in place.
    const perWord = 32 / width;
    for (; first + perWord <= count; first += perWord, at += 4) {
      const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8); // in range, as below
      sum += sumInWord(low | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24), width);
    }
  }
  for (let i = first; i < count; i++) {
    while (used < width) {
      word |= (bytes[at++] as number) << used; // in range: the caller took as many
      used += 8;
    }
    sum += word & mask;
    word >>>= width;
    used -= width;
  }
  return sum;
}

/** The sum of the 32 numbers of one bit, 16 of two or eight of four in a word. */
function sumInWord(word: number, width: number): number {
  let sums = word;
  if (width === 1) sums = (sums & 0x5555_5555) + ((sums >>> 1) & 0x5555_5555);
  if (width <= 2) sums = (sums & 0x3333_3333) + ((sums >>> 2) & 0x3333_3333);
  sums = (sums & 0x0f0f_0f0f) + ((sums >>> 4) & 0x0f0f_0f0f);
  return Math.imul(sums, 0x0101_0101) >>> 24;
}

interface NarrowBlock {
  readonly start: number;
  readonly length: number;
  readonly width: number;
  readonly least: number;
}

/** Adds up `length` differences of few bits from `values[start - 1]` on, as they are read. */
function addNarrow(reader: ByteReader, values: Float64Array, { start, length, width, least }: NarrowBlock): void {
  let at = reader.take((length * width + 7) >>> 3);
  const { bytes } = reader;
  let value = values[start - 1] as number; // in range: a run begins with its first number, here and below
  if (width === 0) {
    for (let i = start; i < start + length; i++) {
      value += least;
      values[i] = value;
    }
    return;
  }
  const mask = (1 << width) - 1;
  let word = 0;
  let used = 0;
  for (let i = start; i < start + length; i++) {
    while (used < width) {
      word |= (bytes[at++] as number) << used;
      used += 8;
    }
    value += least + (word & mask);
    values[i] = value;
    word >>>= width;
    used -= width;
  }
}

interface WholeBlock {
  readonly start: number;
  readonly end: number;
  /** The number before the block. */
  readonly previous: number;
}

function writeWholeBlock(out: ByteWriter, values: Float64Array, { start, end, previous }: WholeBlock): void {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  let leastDelta = Number.POSITIVE_INFINITY;
  let mostDelta = Number.NEGATIVE_INFINITY;
  let before = previous;
  for (let i = start; i < end; i++) {
    const value = values[i] as number; // in range: the caller's bounds, here and below
    const delta = value - before;
    if (value < least) least = value;
    if (value > most) most = value;
    if (delta < leastDelta) leastDelta = delta;
    if (delta > mostDelta) mostDelta = delta;
    before = value;
  }
  const length = end - start;
  let form = FORM_ABOVE;
  let base = least - previous;
  let width = widthOf(most - least);
  let bits = length * width + bitsOfSigned(base);
  const aboveWidth = widthOf(mostDelta - leastDelta);
  const aboveBits = length * aboveWidth + bitsOfSigned(leastDelta);
  if (aboveBits <= bits) [form, base, width, bits] = [FORM_DELTA_ABOVE, leastDelta, aboveWidth, aboveBits];
  if (leastDelta >= 0) {
    const plainWidth = widthOf(mostDelta);
    if (length * plainWidth <= bits) [form, base, width] = [FORM_DELTA, 0, plainWidth];
  }
  out.byte((form << FORM_SHIFT) | width);
  if (form !== FORM_DELTA) out.signed(base);
  before = form === FORM_ABOVE ? previous + base : previous;
  const isWide = width > 32;
  for (let i = 0; i < length; i++) {
    const value = values[start + i] as number;
    const above = form === FORM_ABOVE ? value - before : value - before - base;
    if (form !== FORM_ABOVE) before = value;
    // Stored modulo 2^32.
    LOW[i] = above;
    if (isWide) HIGH[i] = above / TWO_POW_32;
  }
  pack(out, HALVES, length, width);
}

/** Bits of a whole number from 0 to 2^53. */
function widthOf(value: number): number {
  return value < TWO_POW_32 ? 32 - Math.clz32(value) : 64 - Math.clz32(value / TWO_POW_32);
}

/** Bits of a number as `ByteWriter.signed` writes it. */
function bitsOfSigned(value: number): number {
  return 8 * Math.max(1, Math.ceil((widthOf(Math.abs(value)) + 1) / 7));
}

/** Writes the first `length` numbers of a block, each of at most `width` bits. */
export function pack(out: ByteWriter, { low, high }: BlockHalves, length: number, width: number): void {
  if (width === 0) return;
  if (width <= 32) {
    packHalf(out, low, length, width);
    return;
  }
  packHalf(out, low, length, 32);
  packHalf(out, high, length, width - 32);
}

function packHalf(out: ByteWriter, numbers: Uint32Array, length: number, width: number): void {
  let word = 0;
  let used = 0;
  let at = 0;
  for (let i = 0; i < length; i++) {
    const number = numbers[i] as number; // in range: a block has at most as many
    word |= number << used;
    used += width;
    if (used >= 32) {
      WORDS[at++] = word;
      used -= 32;
      word = used === 0 ? 0 : number >>> (width - used);
    }
  }
  WORDS[at] = word;
  out.words(WORDS, (length * width + 7) >>> 3);
}

/** Reads what `pack` wrote. Throws `BytesEndError` where it is cut; up to a width of 32 `high` stays as it is. */
export function unpack(reader: ByteReader, { low, high }: BlockHalves, length: number, width: number): void {
  if (width <= 32) {
    unpackHalf(reader, low, length, width);
    return;
  }
  unpackHalf(reader, low, length, 32);
  unpackHalf(reader, high, length, width - 32);
}

function unpackHalf(reader: ByteReader, numbers: Uint32Array, length: number, width: number): void {
  if (width === 0) {
    numbers.fill(0, 0, length);
    return;
  }
  reader.copyTo(WORD_BYTES, (length * width + 7) >>> 3);
  const mask = width === 32 ? -1 : (1 << width) - 1;
  let used = 0;
  let at = 0;
  for (let i = 0; i < length; i++) {
    let number = (WORDS[at] as number) >>> used; // in range: what is read ends in the last word at most
    used += width;
    if (used >= 32) {
      at++;
      used -= 32;
      if (used > 0) number |= (WORDS[at] as number) << (width - used);
    }
    numbers[i] = number & mask;
  }
}
