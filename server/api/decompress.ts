/**
 * Decompresses bodies within limits that also stop decompression bombs.
 *
 * What a body says of its size is believed only to refuse it, or to take room before memory is used. One that says
 * nothing and is large is decompressed twice: once to count, once to keep.
 */

import { constants, createGunzip, createInflate, createZstdDecompress, type Gunzip } from "node:zlib";
import { decodeSnappy, snappyDecodedBytes } from "../wire/snappy.ts";
import { decodeSnappyFrames, isSnappyFrames, snappyFramesDecodedBytes } from "../wire/snappy-frames.ts";
import { type BodyRoom, LARGE_FROM_BYTES } from "./byte-budget.ts";

/** Output per step where the size is not known. */
const CHUNK_BYTES = 256 * 1024;
const CHUNK_BYTES_MIN = 64;
/** Window that a zstd frame may ask for: 64 MiB, what a frame in one segment of the largest body needs. */
const ZSTD_WINDOW_LOG_MAX = 26;
/** Frames of one body. */
const ZSTD_FRAMES_MAX = 1_000;
const ZSTD_FRAME_BYTES_MIN = 9;
/** Blocks that are looked at; the largest body has 512 full ones. */
const ZSTD_BLOCKS_MAX = 65_536;
/** Snappy is decoded in one turn: some 30 ms for so much. */
const SNAPPY_BYTES_MAX = 16 * 2 ** 20;

/** What no honest body exceeds: one that is cut short tells of any size. */
const RATIO_MAX = { gzip: 1_032, deflate: 1_032, zstd: 65_536 } as const;

/** Compressions of a body or message. `deflate` is the format of zlib. */
export type Compression = "gzip" | "deflate" | "zstd" | "snappy";

/** The decompressed bytes, in memory of their own; or why there are none. `broken`: they are not of that compression. */
export type DecompressOutcome =
  | { readonly kind: "bytes"; readonly bytes: Buffer }
  | { readonly kind: "fault"; readonly fault: "too_large" | "no_room" | "broken"; readonly bytesMax: number };

/** Decompresses `raw`; memory for it is taken from `room` first. */
export async function decompress(
  raw: Buffer,
  compression: Compression,
  bytesMax: number,
  room: BodyRoom,
): Promise<DecompressOutcome> {
  if (compression === "snappy") return decompressSnappy(raw, Math.min(bytesMax, SNAPPY_BYTES_MAX), room);
  const fault = (fault: "too_large" | "no_room" | "broken"): DecompressOutcome => ({ kind: "fault", fault, bytesMax });
  const told = toldBytes(raw, compression);
  if (told !== undefined && told.bytes <= raw.length * RATIO_MAX[compression]) {
    if (told.bytes > bytesMax) return fault("too_large");
    if (!room.holdDecoded(told.bytes)) return fault("no_room");
    const whole = told.isOne ? await inflate(raw, compression, { chunkBytes: told.bytes, keepMax: told.bytes }) : NONE;
    if (whole === undefined) return fault("broken");
    if (whole.kept !== undefined) return { kind: "bytes", bytes: whole.kept };
    room.holdDecoded(0);
  }
  const hold = (bytes: number) => room.holdDecoded(bytes);
  const limits = { chunkBytes: CHUNK_BYTES, keepMax: Math.min(LARGE_FROM_BYTES, bytesMax), hold, countMax: bytesMax };
  const first = await inflate(raw, compression, limits);
  if (first === undefined) return fault("broken");
  if (first.noRoom) return fault("no_room");
  if (first.kept !== undefined) return { kind: "bytes", bytes: first.kept };
  if (first.length > bytesMax) return fault("too_large");
  if (!room.holdDecoded(first.length)) return fault("no_room");
  const second = await inflate(raw, compression, { chunkBytes: first.length, keepMax: first.length });
  return second?.kept === undefined ? fault("broken") : { kind: "bytes", bytes: second.kept };
}

/** The first fault in order: too large, no room, broken. */
function decompressSnappy(raw: Buffer, bytesMax: number, room: BodyRoom): DecompressOutcome {
  const fault = (fault: "too_large" | "no_room" | "broken"): DecompressOutcome => ({ kind: "fault", fault, bytesMax });
  const framed = isSnappyFrames(raw);
  const length = framed ? snappyFramesDecodedBytes(raw) : snappyDecodedBytes(raw);
  if (length === undefined) return fault("broken");
  if (length > bytesMax) return fault("too_large");
  if (!room.holdDecoded(length)) return fault("no_room");
  const decoded = framed ? decodeSnappyFrames(raw) : decodeSnappy(raw, Buffer.allocUnsafeSlow(length));
  if (decoded === undefined) return fault("broken");
  return { kind: "bytes", bytes: Buffer.from(decoded.buffer, decoded.byteOffset, decoded.byteLength) };
}

interface InflateLimits {
  readonly chunkBytes: number;
  /** Bytes that are kept; beyond them what was kept is forgotten, and the rest only counted. */
  readonly keepMax: number;
  /** Takes room for what is expected: also what is only counted, so that many large bodies at once do not cost time either. */
  readonly hold?: (bytes: number) => boolean;
  /** Counting stops beyond so many; at `keepMax` unless given. */
  readonly countMax?: number;
}

interface Inflated {
  /** Undefined where they were too many. */
  readonly kept: Buffer | undefined;
  /** How many there are, as far as they were counted. */
  readonly length: number;
  readonly noRoom: boolean;
}

const NONE: Inflated = { kept: undefined, length: 0, noRoom: false };

/** Resolves with undefined where the bytes are broken. */
function inflate(raw: Buffer, compression: Compression, limits: InflateLimits): Promise<Inflated | undefined> {
  const { keepMax, hold, countMax = keepMax } = limits;
  let chunks: Buffer[] | undefined = [];
  let length = 0;
  return new Promise((resolve) => {
    const inflateFrom = (from: number, frames: number) => {
      const stream = makeStream(compression, Math.max(CHUNK_BYTES_MIN, limits.chunkBytes));
      const end = (outcome: Inflated | undefined) => {
        stream.destroy();
        resolve(outcome);
      };
      stream.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > keepMax) {
          for (const kept of chunks ?? []) freeNow(kept);
          chunks = undefined;
        }
        if (chunks !== undefined) chunks.push(chunk);
        else freeNow(chunk);
        const isOver = length > countMax;
        const wanted = Math.min(countMax, expectedBytes(length, from + stream.bytesWritten, raw.length));
        const noRoom = !isOver && hold?.(wanted) === false;
        if (noRoom || isOver) end({ kept: undefined, length, noRoom });
      });
      stream.once("end", () => {
        const next = from + stream.bytesWritten;
        // Node ends with the first frame of zstd, and says how far it read. Of gzip it reads all members.
        if (compression !== "zstd" || next >= raw.length) {
          end({ kept: chunks === undefined ? undefined : joined(chunks, length), length, noRoom: false });
        } else if (next === from || frames === ZSTD_FRAMES_MAX) end(undefined);
        else inflateFrom(next, frames + 1);
      });
      // Its words may quote the content; that it is broken says the same without it.
      stream.once("error", () => end(undefined));
      stream.end(raw.subarray(from));
    };
    inflateFrom(0, 1);
  });
}

/**
 * What a large body is on its way to, were the rest of it like what was read: of many bombs at once most are refused after
 * their first MiB, not when together they filled the room. A small one takes what it has.
 *
 * @param readBytes Of the `rawBytes` as they came.
 */
function expectedBytes(length: number, readBytes: number, rawBytes: number): number {
  if (length <= LARGE_FROM_BYTES || readBytes === 0) return length;
  return Math.max(length, Math.ceil((length * rawBytes) / readBytes));
}

/** A full chunk is not written to any more; left to the collector, those of a bomb would pile up. */
function freeNow({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

function joined(chunks: readonly Buffer[], length: number): Buffer {
  const [first] = chunks;
  if (chunks.length === 1 && first?.buffer.byteLength === length) return first;
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(whole, at);
  return whole;
}

function makeStream(compression: Compression, chunkSize: number): Gunzip {
  switch (compression) {
    case "gzip":
      return createGunzip({ chunkSize });
    case "deflate":
      return createInflate({ chunkSize });
    case "zstd":
      return createZstdDecompress({ chunkSize, params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX } });
    case "snappy":
      throw new Error("snappy is no stream");
  }
}

/** What a body says of its decompressed size. */
interface Told {
  /** Too little where there are several members of gzip. */
  readonly bytes: number;
  /** There is one member, or one is all that is known of. */
  readonly isOne: boolean;
}

/** Undefined where it says nothing. */
function toldBytes(raw: Buffer, compression: Compression): Told | undefined {
  if (compression === "gzip") return gzipBytes(raw);
  return compression === "zstd" ? zstdBytes(raw) : undefined;
}

/** The last four bytes of the last member, modulo 2^32. @see RFC 1952 */
function gzipBytes(raw: Buffer): Told | undefined {
  const member = raw.length >= 18 && raw[0] === 0x1f && raw[1] === 0x8b;
  const told = member ? raw.readUInt32LE(raw.length - 4) : 0;
  return told === 0 ? undefined : { bytes: told, isOne: true };
}

/**
 * What its frames tell together, up to one that is cut short; undefined where one of them tells nothing. From header to
 * header of blocks: nothing is decompressed.
 *
 * @see RFC 8878, 3.1.1
 */
function zstdBytes(raw: Buffer): Told | undefined {
  let bytes = 0;
  let frames = 0;
  let blocks = 0;
  const told = () => (bytes === 0 ? undefined : { bytes, isOne: frames === 1 });
  for (let at = 0; at + ZSTD_FRAME_BYTES_MIN <= raw.length; frames++) {
    const frame = zstdFrame(raw, at);
    if (frame === undefined) return told();
    if (frame.told === undefined) return undefined;
    bytes += frame.told;
    at = frame.blocksAt;
    for (let isLast = false; !isLast; blocks++) {
      if (at + 3 > raw.length || blocks > ZSTD_BLOCKS_MAX) {
        frames++;
        return told();
      }
      const header = raw.readUIntLE(at, 3);
      const isRepeated = ((header >>> 1) & 3) === 1;
      isLast = (header & 1) === 1;
      at += 3 + (isRepeated ? 1 : header >>> 3);
    }
    if (frame.hasChecksum) at += 4;
  }
  return told();
}

interface ZstdFrame {
  readonly told: number | undefined;
  readonly blocksAt: number;
  readonly hasChecksum: boolean;
}

/** Head of the frame that begins at `start`; undefined where none does. */
function zstdFrame(raw: Buffer, start: number): ZstdFrame | undefined {
  if (raw.readUInt32LE(start) !== 0xfd2f_b528) return undefined;
  const descriptor = raw[start + 4] ?? 0;
  const isSingle = (descriptor & 0x20) !== 0;
  const dictionaryBytes = (1 << (descriptor & 3)) >>> 1;
  const sizeAt = start + 5 + (isSingle ? 0 : 1) + dictionaryBytes;
  const sizeFlag = descriptor >>> 6;
  const sizeBytes = sizeFlag === 0 ? Number(isSingle) : 1 << sizeFlag;
  if (sizeAt + sizeBytes > raw.length) return undefined;
  const hasChecksum = (descriptor & 4) !== 0;
  return { told: zstdSize(raw, sizeAt, sizeBytes), blocksAt: sizeAt + sizeBytes, hasChecksum };
}

function zstdSize(raw: Buffer, at: number, sizeBytes: number): number | undefined {
  if (sizeBytes === 0) return undefined;
  if (sizeBytes === 8) return Number(raw.readBigUInt64LE(at));
  return raw.readUIntLE(at, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
}
