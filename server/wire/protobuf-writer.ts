/**
 * Writes protobuf into one growing buffer.
 *
 * Invariant: messages are closed in the reverse order of their opening. A message's length is written when it closes:
 * one byte is kept free for it, and the content moves up where the length needs more.
 */

import { WIRE_BYTES, WIRE_FIXED32, WIRE_FIXED64, WIRE_VARINT } from "./protobuf-reader.ts";

const BYTES_AT_FIRST = 1024;
const WORD = 2 ** 32;

/** Appends fields in the order of calls; `take` hands out the bytes. Fields are written even when they hold defaults. */
export class ProtobufWriter {
  #bytes = Buffer.allocUnsafe(BYTES_AT_FIRST);
  #at = 0;

  /** Bytes written since the last `take`. */
  get length(): number {
    return this.#at;
  }

  /** A field of type uint32, int32 (not negative), bool or enum. */
  writeUint32(field: number, value: number): void {
    this.#varint32(field * 8 + WIRE_VARINT);
    this.#varint32(value);
  }

  /** A field of type int64 or uint64. */
  writeInt64(field: number, value: bigint): void {
    this.#varint32(field * 8 + WIRE_VARINT);
    this.#reserve(10);
    let rest = BigInt.asUintN(64, value);
    while (rest > 0x7fn) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#at++] = Number(rest);
  }

  /** A field of type int64 or uint64 from a whole number within 2^63 of 0; exact up to 2^53. */
  writeInt64Number(field: number, value: number): void {
    this.#varint32(field * 8 + WIRE_VARINT);
    this.#varint64(Math.floor(value / WORD) >>> 0, value >>> 0);
  }

  /** A field of type sint32 or sint64 from a whole number; exact up to 2^52. */
  writeSint(field: number, value: number): void {
    this.#varint32(field * 8 + WIRE_VARINT);
    this.#sint(value);
  }

  /** A packed field of type sint64. */
  writeSints(field: number, values: Float64Array): void {
    const opened = this.openMessage(field);
    for (const value of values) this.#sint(value);
    this.closeMessage(opened);
  }

  /** A packed field of doubles. */
  writeDoubles(field: number, values: Float64Array): void {
    this.#varint32(field * 8 + WIRE_BYTES);
    this.#varint32(8 * values.length);
    this.#reserve(8 * values.length);
    for (const value of values) this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  /** A double by its words, so that the bits of a NaN stay what they are. */
  writeDoubleWords(field: number, low: number, high: number): void {
    this.#varint32(field * 8 + WIRE_FIXED64);
    this.#reserve(8);
    this.#at = this.#bytes.writeUInt32LE(low, this.#at);
    this.#at = this.#bytes.writeUInt32LE(high, this.#at);
  }

  /** A field of type fixed64; taken modulo 2^64. */
  writeFixed64(field: number, value: bigint): void {
    this.#varint32(field * 8 + WIRE_FIXED64);
    this.#reserve(8);
    this.#at = this.#bytes.writeBigUInt64LE(BigInt.asUintN(64, value), this.#at);
  }

  writeDouble(field: number, value: number): void {
    this.#varint32(field * 8 + WIRE_FIXED64);
    this.#reserve(8);
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  writeFixed32(field: number, value: number): void {
    this.#varint32(field * 8 + WIRE_FIXED32);
    this.#reserve(4);
    this.#at = this.#bytes.writeUInt32LE(value >>> 0, this.#at);
  }

  /** A string field; lone surrogates become U+FFFD. */
  writeText(field: number, text: string): void {
    const length = Buffer.byteLength(text, "utf8");
    this.#varint32(field * 8 + WIRE_BYTES);
    this.#varint32(length);
    this.#reserve(length);
    this.#at += this.#bytes.write(text, this.#at, "utf8");
  }

  writeBytes(field: number, bytes: Uint8Array): void {
    this.#varint32(field * 8 + WIRE_BYTES);
    this.#varint32(bytes.length);
    this.writeRaw(bytes);
  }

  /** Bytes that are protobuf already, tags included. */
  writeRaw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** A length alone, as it stands before a delimited message. */
  writeLength(length: number): void {
    this.#varint32(length);
  }

  /** Opens a message; pass the returned position to `closeMessage`. */
  openMessage(field: number): number {
    this.#varint32(field * 8 + WIRE_BYTES);
    this.#reserve(1);
    return this.#at++;
  }

  closeMessage(opened: number): void {
    const start = opened + 1;
    const length = this.#at - start;
    const lengthBytes = varintBytes(length);
    if (lengthBytes > 1) {
      this.#reserve(lengthBytes - 1);
      this.#bytes.copyWithin(opened + lengthBytes, start, this.#at);
    }
    const end = this.#at + lengthBytes - 1;
    this.#at = opened;
    this.#varint32(length);
    this.#at = end;
  }

  /** Hands out a copy of what was written and starts over. */
  take(): Uint8Array {
    const taken = new Uint8Array(this.#at);
    taken.set(this.#bytes.subarray(0, this.#at));
    this.#at = 0;
    return taken;
  }

  #varint32(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  #sint(value: number): void {
    const folded = value >= 0 ? 2 * value : -2 * value - 1;
    this.#varint64(Math.floor(folded / WORD) >>> 0, folded >>> 0);
  }

  #varint64(high: number, low: number): void {
    this.#reserve(10);
    let rest = low;
    let above = high;
    while (above > 0 || rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest = ((rest >>> 7) | (above << 25)) >>> 0;
      above >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  #reserve(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : 5;
}
