/**
 * Streamed remote read as the asker sees it: the request, and series with their chunks out of the frames of the answer.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/
 */

import type { Labels, Matcher } from "../model/series.ts";
import { crc32c } from "./crc32c.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readByteView,
  readInt64Number,
  readTag,
  readText,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { encodeSnappy } from "./snappy.ts";
import { WireError } from "./wire-error.ts";

/** Bytes of the largest frame. */
const FRAME_BYTES_MAX = 64 * 2 ** 20;
const MATCHER_KINDS: readonly Matcher["kind"][] = ["=", "!=", "=~", "!~"];
const STREAMED_CHUNKS = 1;

/** A chunk as it came; `type` is the number of its encoding. */
interface RawChunk {
  readonly minMs: number;
  readonly maxMs: number;
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** A series, or a part of one: several frames may tell the same. */
export interface ChunkedSeries {
  readonly labels: Labels;
  readonly chunks: readonly RawChunk[];
}

/** A request for the series of a range, both times included, as a snappy block. */
export function encodeReadRequest(matchers: readonly Matcher[], startMs: number, endMs: number): Uint8Array {
  const out = new ProtobufWriter();
  const query = out.openMessage(1);
  out.writeInt64Number(1, startMs);
  out.writeInt64Number(2, endMs);
  for (const { kind, name, value } of matchers) {
    const matcher = out.openMessage(3);
    out.writeUint32(1, MATCHER_KINDS.indexOf(kind));
    out.writeText(2, name);
    out.writeText(3, value);
    out.closeMessage(matcher);
  }
  out.closeMessage(query);
  out.writeUint32(2, STREAMED_CHUNKS);
  return encodeSnappy(out.take());
}

/** Reads an answer piece by piece. @throws WireError where a frame is damaged or the answer ends inside of one. */
export async function* readFrames(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<ChunkedSeries> {
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of pieces) {
    held = held.length === 0 ? Buffer.from(piece.buffer, piece.byteOffset, piece.length) : Buffer.concat([held, piece]);
    for (let frame = frameOf(held); frame !== undefined; frame = frameOf(held)) {
      held = held.subarray(frame.end);
      yield* readFrame(frame.message);
    }
  }
  if (held.length > 0) throw new WireError("the answer ends inside of a frame", held.length);
}

/** The first frame; undefined where it has not come whole yet. */
function frameOf(bytes: Buffer): { readonly message: Buffer; readonly end: number } | undefined {
  let length = 0;
  let at = 0;
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * scale;
    if (length > FRAME_BYTES_MAX) throw new WireError(`a frame of ${length} bytes`, at);
    if (byte < 0x80) break;
  }
  if (bytes.length < at + 4 + length) return undefined;
  const message = bytes.subarray(at + 4, at + 4 + length);
  if (crc32c(message) !== bytes.readUInt32BE(at)) throw new WireError("a frame is damaged", at);
  return { message, end: at + 4 + length };
}

function* readFrame(message: Uint8Array): Generator<ChunkedSeries> {
  const cursor = cursorOver(message);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag !== 10) {
      skipField(cursor, tag);
      continue;
    }
    const outer = enterMessage(cursor);
    yield readSeries(cursor);
    leaveMessage(cursor, outer);
  }
}

function readSeries(cursor: ProtobufCursor): ChunkedSeries {
  const labels: [string, string][] = [];
  const chunks: RawChunk[] = [];
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag !== 10 && tag !== 18) {
      skipField(cursor, tag);
      continue;
    }
    const outer = enterMessage(cursor);
    if (tag === 10) labels.push(readLabel(cursor));
    else chunks.push(readChunk(cursor));
    leaveMessage(cursor, outer);
  }
  return { labels, chunks };
}

function readLabel(cursor: ProtobufCursor): [string, string] {
  const label: [string, string] = ["", ""];
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) label[0] = readText(cursor);
    else if (tag === 18) label[1] = readText(cursor);
    else skipField(cursor, tag);
  }
  return label;
}

function readChunk(cursor: ProtobufCursor): RawChunk {
  let [minMs, maxMs, type] = [0, 0, 0];
  let bytes: Uint8Array = new Uint8Array(0);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 8) minMs = readInt64Number(cursor);
    else if (tag === 16) maxMs = readInt64Number(cursor);
    else if (tag === 24) type = readVarint32(cursor);
    else if (tag === 34) bytes = readByteView(cursor);
    else skipField(cursor, tag);
  }
  return { minMs, maxMs, type, bytes };
}
