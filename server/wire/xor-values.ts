/**
 * Doubles told by what differs from the one before, bit for bit: the codec of Facebook's Gorilla, as Prometheus has it.
 *
 * @see https://www.vldb.org/pvldb/vol8/p1816-teller.pdf section 4.1.2
 */

import { STALE_NAN_BITS } from "../model/series.ts";
import type { BitReader, BitWriter } from "./bit-stream.ts";
import { WireError } from "./wire-error.ts";

/** More leading zeros are told as so many, since five bits tell their number. */
const LEADING_MAX = 31;
const NO_WINDOW = 0xff;

/** The words of a stale marker. */
export const STALE_HIGH = Number(STALE_NAN_BITS >> 32n);
/** @see STALE_HIGH */
export const STALE_LOW = Number(STALE_NAN_BITS & 0xffff_ffffn);

/** The last value of one row of doubles, and the window of bits that last differed. */
export interface XorState {
  high: number;
  low: number;
  /** Zero bits before the window; `NO_WINDOW` before the first. */
  leading: number;
  trailing: number;
}

/** A row that starts with the value of these words. */
export function xorState(high: number, low: number): XorState {
  return { high, low, leading: NO_WINDOW, trailing: 0 };
}

/** The 32-bit words of doubles, low word first; their bits stay what they are, also those of a stale marker. */
export function wordsOf(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, 2 * values.length);
}

/** Appends the next value of a row. */
export function writeXor(out: BitWriter, state: XorState, high: number, low: number): void {
  const highXor = (high ^ state.high) >>> 0;
  const lowXor = (low ^ state.low) >>> 0;
  state.high = high;
  state.low = low;
  if (highXor === 0 && lowXor === 0) {
    out.bits(0, 1);
    return;
  }
  const leading = Math.min(LEADING_MAX, highXor !== 0 ? Math.clz32(highXor) : 32);
  const trailing = lowXor !== 0 ? trailingZeros(lowXor) : 32 + trailingZeros(highXor);
  if (state.leading !== NO_WINDOW && leading >= state.leading && trailing >= state.trailing) {
    out.bits(0b10, 2);
    writeWindow(out, { highXor, lowXor }, state);
    return;
  }
  state.leading = leading;
  state.trailing = trailing;
  out.bits(0b11, 2);
  out.bits(leading, 5);
  // 64 does not fit six bits, and 0 is never needed: so 0 stands for 64.
  out.bits((64 - leading - trailing) & 63, 6);
  writeWindow(out, { highXor, lowXor }, state);
}

/** Reads the next value of a row into its state. */
export function readXor(from: BitReader, state: XorState): void {
  if (from.bits(1) === 0) return;
  if (from.bits(1) === 1) {
    state.leading = from.bits(5);
    const width = from.bits(6);
    state.trailing = 64 - state.leading - (width === 0 ? 64 : width);
    if (state.trailing < 0) throw new WireError("a window is wider than a double", 0);
  } else if (state.leading === NO_WINDOW) throw new WireError("a window is used before it is told", 0);
  const { trailing } = state;
  const low = from.words(64 - state.leading - trailing);
  const { high } = from;
  if (trailing >= 32) {
    state.high = (state.high ^ (low << (trailing - 32))) >>> 0;
  } else {
    state.low = (state.low ^ (low << trailing)) >>> 0;
    const carried = trailing === 0 ? 0 : low >>> (32 - trailing);
    state.high = (state.high ^ ((high << trailing) | carried)) >>> 0;
  }
}

function writeWindow(out: BitWriter, xor: { highXor: number; lowXor: number }, state: XorState): void {
  const { highXor, lowXor } = xor;
  const { leading, trailing } = state;
  const width = 64 - leading - trailing;
  if (trailing >= 32) out.words(0, highXor >>> (trailing - 32), width);
  else if (trailing === 0) out.words(highXor, lowXor, width);
  else out.words(highXor >>> trailing, ((lowXor >>> trailing) | (highXor << (32 - trailing))) >>> 0, width);
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}
