/**
 * Doubles as their difference to another double: one byte where they are equal, else the bytes that differ.
 *
 * Every bit is kept, those of NaNs and the sign of zero too.
 */

import { type ByteReader, BytesEndError } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";

const PAIR = new Float64Array(2);
/** Low and high half of the first double of `PAIR`, then of the second. */
const HALVES = new Uint32Array(PAIR.buffer);

/** Writes `value` so that `readXor` finds it again with the same `previous`; at most nine bytes. */
export function writeXor(out: ByteWriter, value: number, previous: number): void {
  PAIR[0] = value;
  PAIR[1] = previous;
  const low = at(0) ^ at(2);
  const high = at(1) ^ at(3);
  if (low === 0 && high === 0) {
    out.byte(0);
    return;
  }
  const leading = high === 0 ? 4 + (Math.clz32(low) >>> 3) : Math.clz32(high) >>> 3;
  const trailing = low === 0 ? 4 + trailingZeroBytes(high) : trailingZeroBytes(low);
  // From 1 to 8 bytes differ, and 7 of them at most are spared on one side: both fit four bits.
  out.byte((trailing << 4) | (8 - leading - trailing));
  for (let place = trailing; place < 8 - leading; place++) {
    out.byte(place < 4 ? (low >>> (8 * place)) & 0xff : (high >>> (8 * (place - 4))) & 0xff);
  }
}

/** Reads what `writeXor` wrote. Throws `BytesEndError` where it cannot have written that. */
export function readXor(reader: ByteReader, previous: number): number {
  PAIR[1] = previous;
  const control = reader.byte();
  const trailing = control >>> 4;
  const end = trailing + (control & 0x0f);
  if (end > 8) throw new BytesEndError(reader.at);
  let low = at(2);
  let high = at(3);
  for (let place = trailing; place < end; place++) {
    const byte = reader.byte();
    if (place < 4) low ^= byte << (8 * place);
    else high ^= byte << (8 * (place - 4));
  }
  HALVES[0] = low;
  HALVES[1] = high;
  return PAIR[0] ?? 0;
}

/** Whether two doubles have the same bits. */
export function sameBits(a: number, b: number): boolean {
  PAIR[0] = a;
  PAIR[1] = b;
  return at(0) === at(2) && at(1) === at(3);
}

/** Upper and lower 32 bits of a double. */
export function bitsOf(value: number): { high: number; low: number } {
  PAIR[0] = value;
  return { high: at(1), low: at(0) };
}

/** The double with these bits. */
export function doubleOf(high: number, low: number): number {
  HALVES[0] = low;
  HALVES[1] = high;
  return PAIR[0] ?? 0;
}

function at(index: number): number {
  return HALVES[index] ?? 0;
}

function trailingZeroBytes(half: number): number {
  return (31 - Math.clz32(half & -half)) >>> 3;
}
