/**
 * Snappy's framing format: a stream of blocks of at most 64 KiB, each with a check sum.
 *
 * @see https://github.com/google/snappy/blob/main/framing_format.txt
 */

import { crc32c } from "./crc32c.ts";
import { decodeSnappy, snappyDecodedBytes } from "./snappy.ts";

const STREAM_START = Uint8Array.of(0xff, 6, 0, 0, 0x73, 0x4e, 0x61, 0x50, 0x70, 0x59);
const CHUNK_COMPRESSED = 0x00;
const CHUNK_PLAIN = 0x01;
/** Chunks from here on may be passed over, those below are of the future and may not. */
const CHUNK_SKIPPABLE = 0x80;
const HEADER_BYTES = 4;
const SUM_BYTES = 4;
const BLOCK_BYTES_MAX = 65_536;
const MASK_DELTA = 0xa282_ead8;

/** True where bytes start as a stream of frames does. */
export function isSnappyFrames(bytes: Uint8Array): boolean {
  return STREAM_START.every((byte, at) => bytes[at] === byte);
}

/** Length that the stream decodes to; undefined where its chunks make no stream. Nothing is decoded. */
export function snappyFramesDecodedBytes(bytes: Uint8Array): number | undefined {
  let length = 0;
  const whole = eachChunk(bytes, (type, content) => {
    if (type !== CHUNK_COMPRESSED && type !== CHUNK_PLAIN) return true;
    const data = content.subarray(SUM_BYTES);
    const decoded = type === CHUNK_PLAIN ? data.length : snappyDecodedBytes(data);
    if (decoded === undefined || decoded > BLOCK_BYTES_MAX || content.length < SUM_BYTES) return false;
    length += decoded;
    return true;
  });
  return whole ? length : undefined;
}

/** Decodes a stream; undefined where it is corrupt. */
export function decodeSnappyFrames(bytes: Uint8Array): Uint8Array | undefined {
  const length = snappyFramesDecodedBytes(bytes);
  if (length === undefined) return undefined;
  const out = new Uint8Array(length);
  let at = 0;
  const whole = eachChunk(bytes, (type, content) => {
    if (type !== CHUNK_COMPRESSED && type !== CHUNK_PLAIN) return true;
    const data = content.subarray(SUM_BYTES);
    const block = type === CHUNK_PLAIN ? data : decodeSnappy(data, out.subarray(at));
    if (block === undefined || maskedSum(block) !== readUint32(content)) return false;
    if (type === CHUNK_PLAIN) out.set(block, at);
    at += block.length;
    return true;
  });
  return whole ? out : undefined;
}

/** Calls `use` with each chunk after the first; false where it does, or where a chunk is cut short or unknown. */
function eachChunk(bytes: Uint8Array, use: (type: number, content: Uint8Array) => boolean): boolean {
  if (!isSnappyFrames(bytes)) return false;
  let at = STREAM_START.length;
  while (at < bytes.length) {
    if (at + HEADER_BYTES > bytes.length) return false;
    const type = bytes[at] ?? 0;
    const length = (bytes[at + 1] ?? 0) | ((bytes[at + 2] ?? 0) << 8) | ((bytes[at + 3] ?? 0) << 16);
    const from = at + HEADER_BYTES;
    at = from + length;
    if (at > bytes.length || (type > CHUNK_PLAIN && type < CHUNK_SKIPPABLE)) return false;
    if (!use(type, bytes.subarray(from, at))) return false;
  }
  return true;
}

function maskedSum(bytes: Uint8Array): number {
  const sum = crc32c(bytes);
  return (((sum >>> 15) | (sum << 17)) + MASK_DELTA) >>> 0;
}

function readUint32(bytes: Uint8Array): number {
  return ((bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8) | ((bytes[2] ?? 0) << 16) | ((bytes[3] ?? 0) << 24)) >>> 0;
}
