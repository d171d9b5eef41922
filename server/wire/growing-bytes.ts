/**
 * Memory that grows while a request is read, and the one buffer in which its columns leave.
 */

export const EMPTY_BYTES = new Uint8Array(0);

const BYTES_AT_FIRST = 4096;
/** More than so many are not kept for the next request. */
const BYTES_KEPT_MAX = 8 * 2 ** 20;
const encoder = new TextEncoder();
const DECIMAL_BYTES_MAX = 16;
const ZERO = "0".charCodeAt(0);

/** `to` with the content of `from` at its start. */
export function grownTo<T extends { set(source: T): void }>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Bytes that are appended to; memory stays for the next request. */
export class GrowingBytes {
  #bytes = new Uint8Array(BYTES_AT_FIRST);
  #used = 0;

  get length(): number {
    return this.#used;
  }

  clear(): void {
    this.#used = 0;
    if (this.#bytes.length > BYTES_KEPT_MAX) this.#bytes = new Uint8Array(BYTES_AT_FIRST);
  }

  /** Forgets what was appended after `length`. */
  cut(length: number): void {
    this.#used = length;
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** Appends UTF-8; lone surrogates become U+FFFD. */
  appendText(text: string): void {
    this.#reserve(3 * text.length);
    this.#used += encoder.encodeInto(text, this.#bytes.subarray(this.#used)).written;
  }

  /** Appends the decimal digits of a whole number that is not negative. */
  appendDecimal(value: number): void {
    this.#reserve(DECIMAL_BYTES_MAX);
    let digits = 1;
    for (let power = 10; power <= value; power *= 10) digits++;
    let rest = value;
    for (let at = this.#used + digits - 1; at >= this.#used; at--) {
      const tenth = Math.floor(rest / 10);
      this.#bytes[at] = ZERO + rest - 10 * tenth;
      rest = tenth;
    }
    this.#used += digits;
  }

  /** What was appended, valid until the next change. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#used);
  }

  #reserve(more: number): void {
    const wanted = this.#used + more;
    if (wanted > this.#bytes.length) {
      this.#bytes = grownTo(this.#bytes, new Uint8Array(Math.max(wanted, 2 * this.#bytes.length)));
    }
  }
}

/** Hands out columns as views of one buffer. Ask in the order of falling element sizes, so that all stand aligned. */
export class Slab {
  readonly #buffer: ArrayBuffer;
  #at = 0;

  /** @param bytes What all columns take together, to the byte or more. */
  constructor(bytes: number) {
    // Every byte that is handed out is written below. Alone in its buffer by its name, which is no shared one.
    this.#buffer = Buffer.allocUnsafeSlow(bytes).buffer as ArrayBuffer;
  }

  /** `count` values of 64 bits from a column of their halves; zeros where the column is too short. */
  uint64(words: Uint32Array, count: number): BigUint64Array<ArrayBuffer> {
    const at = this.#words(words, 2 * count);
    return new BigUint64Array(this.#buffer, at, count);
  }

  /** As `uint64`, signed. */
  int64(words: Uint32Array, count: number): BigInt64Array<ArrayBuffer> {
    const at = this.#words(words, 2 * count);
    return new BigInt64Array(this.#buffer, at, count);
  }

  uint32(values: Uint32Array, count: number): Uint32Array<ArrayBuffer> {
    return new Uint32Array(this.#buffer, this.#words(values, count), count);
  }

  uint16(values: Uint16Array, count: number): Uint16Array<ArrayBuffer> {
    return filled(new Uint16Array(this.#buffer, this.#take(2 * count), count), values);
  }

  uint8(values: Uint8Array, count: number): Uint8Array<ArrayBuffer> {
    return filled(new Uint8Array(this.#buffer, this.#take(count), count), values);
  }

  /** Two runs of bytes, one after the other. */
  bytes(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
    const length = first.length + second.length;
    const out = new Uint8Array(this.#buffer, this.#take(length), length);
    out.set(first);
    out.set(second, first.length);
    return out;
  }

  #words(values: Uint32Array, count: number): number {
    const at = this.#take(4 * count);
    filled(new Uint32Array(this.#buffer, at, count), values);
    return at;
  }

  #take(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    return at;
  }
}

/** Writes all of `out`: as many values as there are, then zeros. */
function filled<T extends Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>(
  out: T,
  values: Uint8Array | Uint16Array | Uint32Array,
): T {
  const { length } = values;
  out.set(length > out.length ? values.subarray(0, out.length) : values);
  if (length < out.length) out.fill(0, length);
  return out;
}
