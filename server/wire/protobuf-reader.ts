/**
 * Reads protobuf from a `Uint8Array` without copying.
 *
 * Invariants: `at <= end <= bytes.length`; every read either moves `at` forward inside `end` or throws `WireError`.
 * A nested message is read by narrowing `end` (`enterMessage`) and restoring it (`leaveMessage`), so that no field can
 * reach beyond the message that holds it.
 *
 * @see https://protobuf.dev/programming-guides/encoding/
 */

import { isUtf8 } from "node:buffer";
import { CACHED_TEXT_BYTES_MAX, cachedAscii } from "./text-cache.ts";
import { WireError } from "./wire-error.ts";

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
const WIRE_GROUP_START = 3;
const WIRE_GROUP_END = 4;
export const WIRE_FIXED32 = 5;

/** Groups are long obsolete; a sender that nests them deeper than this is hostile. */
const GROUP_DEPTH_MAX = 64;

/** Bytes of a length: four of seven bits and one of three. */
const LENGTH_BYTES_MAX = 5;

/** A position in bytes; made once per body, then moved. */
export interface ProtobufCursor {
  readonly bytes: Uint8Array;
  readonly buffer: Buffer;
  readonly view: DataView;
  at: number;
  end: number;
  /** Strings whose invalid UTF-8 was replaced so far. */
  textRepaired: number;
  /** Attribute values that were emptied so far since they are nested too deeply. */
  valuesCut: number;
}

/** A cursor over all of `bytes`. The bytes are not copied and must not change while the cursor is used. */
export function cursorOver(bytes: Uint8Array): ProtobufCursor {
  return {
    bytes,
    buffer: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    at: 0,
    end: bytes.length,
    textRepaired: 0,
    valuesCut: 0,
  };
}

/** Reads a field's tag: field number times 8 plus wire type. Field number 0, wire types 6 and 7, and tags beyond 32 bits throw. */
export function readTag(cursor: ProtobufCursor): number {
  const { at, end, bytes } = cursor;
  const byte = at < end ? (bytes[at] as number) : 0; // in range: checked against `end`
  if (byte < 8 || byte >= 0x80 || (byte & 7) > WIRE_FIXED32) return readLongTag(cursor);
  cursor.at = at + 1;
  return byte;
}

/** A tag of more than one byte, or a wrong one. */
function readLongTag(cursor: ProtobufCursor): number {
  const start = cursor.at;
  const tag = readVarint32(cursor);
  if (tag >>> 3 === 0) throw new WireError("field number 0", start);
  if ((tag & 7) > WIRE_FIXED32) throw new WireError(`wire type ${tag & 7}`, start);
  const length = cursor.at - start;
  if (length > 4 && (length > 5 || (cursor.bytes[start + 4] ?? 0) > 0x0f)) {
    throw new WireError("a field number beyond 29 bits", start);
  }
  return tag;
}

/** Reads a varint and keeps its low 32 bits as an unsigned number, as protobuf does for 32-bit fields. */
export function readVarint32(cursor: ProtobufCursor): number {
  const { bytes, end } = cursor;
  let value = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (cursor.at >= end) throw new WireError("a varint is cut short", cursor.at);
    const byte = bytes[cursor.at++] as number; // in range: checked against `end`
    if (shift < 32) value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value >>> 0;
  }
  throw new WireError("a varint is longer than 10 bytes", cursor.at);
}

/** Reads a varint as a signed 64-bit integer. */
export function readInt64(cursor: ProtobufCursor): bigint {
  readSeptets(cursor);
  const { low, middle, high } = septets;
  if (middle === 0 && high === 0) return BigInt(low);
  return BigInt.asIntN(64, BigInt(low) | (BigInt(middle) << 28n) | (BigInt(high) << 56n));
}

/** Reads a varint as a signed 64-bit integer; beyond 2^53 the nearest double. */
export function readInt64Number(cursor: ProtobufCursor): number {
  readSeptets(cursor);
  const { low, middle, high } = septets;
  if (high < 0x80) return low + middle * 2 ** 28 + high * 2 ** 56;
  return -((~low & LOW_28) + (~middle & LOW_28) * 2 ** 28 + (~high & 0xff) * 2 ** 56 + 1);
}

/** Reads a varint as an unsigned 64-bit integer; beyond 2^53 the nearest double. */
export function readUint64Number(cursor: ProtobufCursor): number {
  readSeptets(cursor);
  return septets.low + septets.middle * 2 ** 28 + septets.high * 2 ** 56;
}

/** Reads a field of type sint32; of one that is longer the low 32 bits count. */
export function readZigzag32(cursor: ProtobufCursor): number {
  const folded = readVarint32(cursor);
  return (folded >>> 1) ^ -(folded & 1);
}

/** Reads a field of type sint64; beyond 2^53 the nearest double. */
export function readZigzagNumber(cursor: ProtobufCursor): number {
  readSeptets(cursor);
  const { low, middle, high } = septets;
  const half = (low >>> 1) + ((middle & 1) === 1 ? 2 ** 27 : 0) + (middle >>> 1) * 2 ** 28;
  const magnitude = half + ((high & 1) === 1 ? 2 ** 55 : 0) + (high >>> 1) * 2 ** 56;
  return (low & 1) === 0 ? magnitude : -magnitude - 1;
}

const LOW_28 = 0xfff_ffff;
/** The last varint read by `readSeptets`: bits 0 to 27, 28 to 55, 56 to 63. Kept here so that no read allocates. */
const septets = { low: 0, middle: 0, high: 0 };

function readSeptets(cursor: ProtobufCursor): void {
  const { bytes, end } = cursor;
  let low = 0;
  let middle = 0;
  let high = 0;
  for (let index = 0; index < 10; index++) {
    if (cursor.at >= end) throw new WireError("a varint is cut short", cursor.at);
    const byte = bytes[cursor.at++] as number; // in range: checked against `end`
    const septet = byte & 0x7f;
    if (index < 4) low |= septet << (7 * index);
    else if (index < 8) middle |= septet << (7 * (index - 4));
    else high |= septet << (7 * (index - 8));
    if (byte < 0x80) {
      septets.low = low;
      septets.middle = middle;
      septets.high = high & 0xff;
      return;
    }
  }
  throw new WireError("a varint is longer than 10 bytes", cursor.at);
}

/** Reads 8 bytes, little-endian, unsigned. */
export function readFixed64(cursor: ProtobufCursor): bigint {
  return cursor.view.getBigUint64(advance(cursor, 8), true);
}

/** Reads 8 bytes as an IEEE 754 double. */
export function readDouble(cursor: ProtobufCursor): number {
  return cursor.view.getFloat64(advance(cursor, 8), true);
}

/** Reads 4 bytes, little-endian, unsigned. */
export function readFixed32(cursor: ProtobufCursor): number {
  return cursor.view.getUint32(advance(cursor, 4), true);
}

/** Reads a length, checks that so many bytes follow, and returns where they end. The cursor stands at their start. */
export function readLength(cursor: ProtobufCursor): number {
  const { at, end: outerEnd, bytes } = cursor;
  const byte = at < outerEnd ? (bytes[at] as number) : 0x80; // in range: checked against the end
  const end = at + 1 + byte;
  if (byte >= 0x80 || end > outerEnd) return readLongLength(cursor);
  cursor.at = at + 1;
  return end;
}

/** A length of more than one byte, or a wrong one. */
function readLongLength(cursor: ProtobufCursor): number {
  const start = cursor.at;
  const length = readVarint32(cursor);
  const bytes = cursor.at - start;
  // More bits would be cut off, and another length be read than was meant.
  if (bytes > LENGTH_BYTES_MAX || (bytes === LENGTH_BYTES_MAX && (cursor.bytes[cursor.at - 1] as number) > 7)) {
    throw new WireError("a length takes more than 31 bits", start);
  }
  const end = cursor.at + length;
  if (end > cursor.end) throw new WireError(`a length of ${length} reaches beyond its message`, start);
  return end;
}

/** Reads a length-delimited field as a view of the body's bytes; copy it to keep it. */
export function readByteView(cursor: ProtobufCursor): Uint8Array {
  const end = readLength(cursor);
  const view = cursor.bytes.subarray(cursor.at, end);
  cursor.at = end;
  return view;
}

/** Reads a string. Invalid UTF-8 is replaced by U+FFFD and counted in `textRepaired`. */
export function readText(cursor: ProtobufCursor): string {
  const end = readLength(cursor);
  const start = cursor.at;
  cursor.at = end;
  if (end - start <= CACHED_TEXT_BYTES_MAX) {
    const ascii = cachedAscii(cursor.bytes, start, end);
    if (ascii !== undefined) return ascii;
  }
  if (!isUtf8(cursor.bytes.subarray(start, end))) cursor.textRepaired++;
  return cursor.buffer.toString("utf8", start, end);
}

/** Reads a text; of one with more than `bytesMax` bytes the beginning, for whoever refuses such a text anyway. */
export function readTextHead(cursor: ProtobufCursor, bytesMax: number): string {
  const start = cursor.at;
  const end = readLength(cursor);
  if (end - cursor.at <= bytesMax) {
    cursor.at = start;
    return readText(cursor);
  }
  const text = cursor.buffer.toString("utf8", cursor.at, cursor.at + bytesMax);
  cursor.at = end;
  return text;
}

/** Steps into a length-delimited message; returns the outer `end` for `leaveMessage`. */
export function enterMessage(cursor: ProtobufCursor): number {
  const end = readLength(cursor);
  const outerEnd = cursor.end;
  cursor.end = end;
  return outerEnd;
}

/** Leaves a message entered with `enterMessage`, whether or not it was read to its end. */
export function leaveMessage(cursor: ProtobufCursor, outerEnd: number): void {
  cursor.at = cursor.end;
  cursor.end = outerEnd;
}

/** Skips the value of a field whose tag was just read; also whole groups. */
export function skipField(cursor: ProtobufCursor, tag: number): void {
  switch (tag & 7) {
    case WIRE_VARINT:
      skipVarint(cursor);
      return;
    case WIRE_FIXED64:
      advance(cursor, 8);
      return;
    case WIRE_BYTES:
      cursor.at = readLength(cursor);
      return;
    case WIRE_GROUP_START:
      skipGroup(cursor, tag >>> 3);
      return;
    case WIRE_FIXED32:
      advance(cursor, 4);
      return;
    default:
      throw new WireError("a group ends that did not start", cursor.at);
  }
}

function skipVarint(cursor: ProtobufCursor): void {
  for (let length = 0; length < 10; length++) {
    if (cursor.at >= cursor.end) throw new WireError("a varint is cut short", cursor.at);
    if ((cursor.bytes[cursor.at++] as number) < 0x80) return; // in range: checked against `end`
  }
  throw new WireError("a varint is longer than 10 bytes", cursor.at);
}

function skipGroup(cursor: ProtobufCursor, field: number): void {
  const open = [field];
  while (open.length > 0) {
    const tag = readTag(cursor);
    const kind = tag & 7;
    if (kind === WIRE_GROUP_START) {
      if (open.push(tag >>> 3) > GROUP_DEPTH_MAX) throw new WireError("groups are nested too deeply", cursor.at);
    } else if (kind === WIRE_GROUP_END) {
      if (open.pop() !== tag >>> 3) throw new WireError("a group ends under another number", cursor.at);
    } else {
      skipField(cursor, tag);
    }
  }
}

/** Moves over `count` bytes and returns where they start. */
function advance(cursor: ProtobufCursor, count: number): number {
  const start = cursor.at;
  if (start + count > cursor.end) throw new WireError("a fixed-size value is cut short", start);
  cursor.at = start + count;
  return start;
}
