/**
 * Streams of bits, highest first, as the chunks of Prometheus' storage are made of.
 *
 * Integers are doubles here; those of 64 bits go as two words. Beyond 2^53 they are not exact.
 *
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/bstream.md
 */

import { WireError } from "./wire-error.ts";

const BYTES_AT_FIRST = 256;
const WORD = 2 ** 32;
/** Widths of the classes of `varbit` numbers; class `i` starts with `i + 1` ones and a zero, the last with eight ones. */
const VARBIT_WIDTHS = [3, 6, 9, 12, 18, 25, 56] as const;
const VARBIT_LONGEST = 8;
const UVARINT_BYTES_MAX = 10;

/** The high word of a 64-bit integer, two's complement. */
function highWord(value: number): number {
  return Math.floor(value / WORD) >>> 0;
}

/** Whether a signed integer fits so many bits, in the sense of these streams: one more above than below. */
export function fitsBits(value: number, bits: number): boolean {
  const half = 2 ** (bits - 1);
  return value > -half && value <= half;
}

/** Appends bits to a growing run of bytes. */
export class BitWriter {
  #bytes = new Uint8Array(BYTES_AT_FIRST);
  /** Bits written. */
  #at = 0;

  /** Bytes begun. */
  get byteLength(): number {
    return (this.#at + 7) >>> 3;
  }

  /** Appends the low `count` bits of `value`, at most 32. */
  bits(value: number, count: number): void {
    this.#reserve(5);
    let left = count;
    while (left > 0) {
      const free = 8 - (this.#at & 7);
      const now = Math.min(left, free);
      const piece = (value >>> (left - now)) & ((1 << now) - 1);
      const index = this.#at >>> 3;
      // In range: reserved above. A byte that was not begun is 0.
      this.#bytes[index] = (this.#bytes[index] as number) | (piece << (free - now));
      this.#at += now;
      left -= now;
    }
  }

  /** Appends the low `count` bits of a number of 64 bits in two words. */
  words(high: number, low: number, count: number): void {
    if (count > 32) {
      this.bits(high, count - 32);
      this.bits(low, 32);
    } else this.bits(low, count);
  }

  /** Appends an integer of 64 bits, two's complement. */
  int64(value: number): void {
    this.words(highWord(value), value >>> 0, 64);
  }

  /** Seven bits to a byte, lowest first, for 0 to 2^63. */
  uvarint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.bits((rest % 128) | 0x80, 8);
      rest = Math.floor(rest / 128);
    }
    this.bits(rest, 8);
  }

  /** As `uvarint`, of the number folded so that small ones of both signs are short. */
  varint(value: number): void {
    this.uvarint(value >= 0 ? 2 * value : -2 * value - 1);
  }

  /** A signed integer in 1 to 72 bits. */
  varbitInt(value: number): void {
    if (value === 0) {
      this.bits(0, 1);
      return;
    }
    for (const [index, width] of VARBIT_WIDTHS.entries()) {
      if (!fitsBits(value, width)) continue;
      this.#varbit(index, width, value);
      return;
    }
    this.bits(0xff, 8);
    this.int64(value);
  }

  /** An unsigned integer in 1 to 72 bits. */
  varbitUint(value: number): void {
    if (value === 0) {
      this.bits(0, 1);
      return;
    }
    for (const [index, width] of VARBIT_WIDTHS.entries()) {
      if (value >= 2 ** width) continue;
      this.#varbit(index, width, value);
      return;
    }
    this.bits(0xff, 8);
    this.int64(value);
  }

  /** The bytes written so far, as the caller's own. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.byteLength);
  }

  #varbit(index: number, width: number, value: number): void {
    this.bits((2 << (index + 1)) - 2, index + 2);
    this.words(highWord(value), value >>> 0, width);
  }

  #reserve(bytes: number): void {
    const needed = (this.#at >>> 3) + bytes + 1;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(this.#bytes.length * 2);
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

/** Reads what a `BitWriter` wrote. Throws `WireError` where the bits end early. */
export class BitReader {
  readonly #bytes: Uint8Array;
  #at: number;
  /** The high word of what `int64` or `words` read last; the answer is the low one. */
  high = 0;

  constructor(bytes: Uint8Array, byteAt: number) {
    this.#bytes = bytes;
    this.#at = byteAt * 8;
  }

  /** Bits that are left, those that fill the last byte among them. */
  get left(): number {
    return this.#bytes.length * 8 - this.#at;
  }

  /** The next `count` bits, at most 32, as an unsigned number. */
  bits(count: number): number {
    if (count > this.left) throw new WireError("a chunk ends early", this.#at >>> 3);
    let value = 0;
    let left = count;
    while (left > 0) {
      const available = 8 - (this.#at & 7);
      const now = Math.min(left, available);
      const byte = this.#bytes[this.#at >>> 3] as number; // in range: checked above
      value = (value << now) | ((byte >>> (available - now)) & ((1 << now) - 1));
      this.#at += now;
      left -= now;
    }
    return value >>> 0;
  }

  /** The next `count` bits, at most 64: the low word is the answer, the high one stands in `high`. */
  words(count: number): number {
    this.high = count > 32 ? this.bits(count - 32) : 0;
    return this.bits(Math.min(count, 32));
  }

  /** An integer of 64 bits, two's complement. */
  int64(): number {
    const low = this.words(64);
    return (this.high | 0) * WORD + low;
  }

  uvarint(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < UVARINT_BYTES_MAX; count++) {
      const byte = this.bits(8);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new WireError("a varint is longer than 10 bytes", this.#at >>> 3);
  }

  varint(): number {
    const folded = this.uvarint();
    return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
  }

  varbitInt(): number {
    const width = this.#varbitWidth();
    if (width === 0) return 0;
    if (width === 64) return this.int64();
    const low = this.words(width);
    if (width <= 32) return low > 2 ** (width - 1) ? low - 2 ** width : low;
    // The sign is taken from the high word, since 56 bits are more than a double holds.
    const half = 2 ** (width - 33);
    const isNegative = this.high > half || (this.high === half && low > 0);
    return (isNegative ? this.high - 2 * half : this.high) * WORD + low;
  }

  varbitUint(): number {
    const width = this.#varbitWidth();
    if (width === 0) return 0;
    const low = this.words(width);
    return this.high * WORD + low;
  }

  #varbitWidth(): number {
    let ones = 0;
    while (ones < VARBIT_LONGEST && this.bits(1) === 1) ones++;
    if (ones === 0) return 0;
    return VARBIT_WIDTHS[ones - 1] ?? 64;
  }
}
