/**
 * Writes integers, doubles and text into a growing run of bytes; `byte-reader.ts` reads them back.
 *
 * Used for bytes that only this program reads: derived state and the metric log.
 */

const BYTES_AT_FIRST = 1024;
const VARINT_BYTES_MAX = 8;
const TWO_POW_28 = 2 ** 28;

/** A growing run of bytes. Invariant: `length` bytes are written, the rest of the array is spare room. */
export class ByteWriter {
  #bytes = new Uint8Array(BYTES_AT_FIRST);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  readonly #text = new TextEncoder();

  /** Bytes written since the start or the last `clear`. */
  get length(): number {
    return this.#length;
  }

  /** Writes a whole number from 0 to 2^53 - 1, seven bits to a byte, lowest first. */
  varint(value: number): void {
    this.#reserve(VARINT_BYTES_MAX);
    let at = this.#length;
    if (value < 0x80) {
      this.#bytes[at] = value;
      this.#length = at + 1;
      return;
    }
    let low = value;
    while (low >= TWO_POW_28) {
      this.#bytes[at++] = (low % 128) | 0x80;
      low = Math.floor(low / 128);
    }
    while (low >= 0x80) {
      this.#bytes[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    this.#bytes[at++] = low;
    this.#length = at;
  }

  /** Writes a whole number of either sign, at most 2^52 away from 0. */
  signed(value: number): void {
    this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  /** Four bytes, lowest first. */
  uint32(value: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }

  /** Eight bytes, lowest first; the bits of a NaN are kept. */
  float64(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#length, value, true);
    this.#length += 8;
  }

  /** Eight bytes, lowest first. */
  int64(value: bigint): void {
    this.#reserve(8);
    this.#view.setBigInt64(this.#length, value, true);
    this.#length += 8;
  }

  /** UTF-8 after its length in bytes. */
  text(value: string): void {
    const start = this.#length;
    this.varint(value.length);
    this.#reserve(value.length);
    let at = this.#length;
    // Names are ASCII for the most part, and short: a loop beats the encoder there.
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i);
      if (unit >= 0x80) {
        this.#length = start;
        const bytes = this.#text.encode(value);
        this.varint(bytes.length);
        this.raw(bytes);
        return;
      }
      this.#bytes[at++] = unit;
    }
    this.#length = at;
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** The first bytes of words, of each the lowest first. */
  words(words: Uint32Array, bytes: number): void {
    this.#reserve(bytes + 3);
    const view = this.#view;
    const start = this.#length;
    for (let at = 0; at < bytes; at += 4) view.setUint32(start + at, words[at >>> 2] as number, true); // in range: the caller's bytes
    this.#length = start + bytes;
  }

  /** Overwrites four bytes written before. */
  setUint32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** What was written, without a copy: valid until the next write. */
  written(from = 0): Uint8Array {
    return this.#bytes.subarray(from, this.#length);
  }

  /** What was written, as the caller's own bytes. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    return taken;
  }

  /** Forgets what was written from `length` on. */
  clear(length = 0): void {
    this.#length = length;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}
