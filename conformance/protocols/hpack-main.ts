/**
 * Prints what the decoder of header blocks and the reader of frames make of a test file, one JSON object a line.
 *
 * A file with `cases` is a story: its blocks share one decoder, and each gives `{headers: [{name: value}, …]}`. Any
 * other file is one frame in `wire`, and gives `{frame: {…}}` or `{error: code}`.
 */

import { readFileSync } from "node:fs";
import { HpackDecoder } from "../../agent/protocol/hpack.ts";
import {
  CONTINUATION,
  DATA,
  FRAME_HEADER_BYTES,
  FRAME_SIZE_ERROR,
  type FrameHeader,
  frameHeaderError,
  HEADERS,
  PING,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
  payloadPart,
  readFrameHeader,
  uint31,
  WINDOW_UPDATE,
} from "../../agent/protocol/http2-frame.ts";

interface StoryCase {
  readonly wire: string;
  readonly header_table_size?: number | null;
}

/** Decodes the blocks of a story. */
export function decodeStory(cases: readonly StoryCase[]): { headers: Record<string, string>[] }[] {
  const decoder = new HpackDecoder(false);
  return cases.map(({ wire, header_table_size: tableBytes }) => {
    if (typeof tableBytes === "number") decoder.resize(tableBytes);
    const headers: Record<string, string>[] = [];
    const block = Buffer.from(wire, "hex");
    const outcome = decoder.decode(block, 0, block.length, (name, value) => {
      headers.push({ [name ?? "?"]: value ?? "?" });
    });
    if (outcome !== "whole") headers.push({ "?": outcome });
    return { headers };
  });
}

/** Reads one frame as its rules have it. */
export function readFrame(wire: string): { frame: Record<string, unknown> } | { error: number } {
  const bytes = Buffer.from(wire, "hex");
  const header: FrameHeader = { length: 0, type: 0, flags: 0, stream: 0 };
  if (bytes.length < FRAME_HEADER_BYTES) return { error: FRAME_SIZE_ERROR };
  readFrameHeader(bytes, 0, header);
  const error = frameHeaderError(header);
  if (error !== 0) return { error };
  const payload = bytes.subarray(FRAME_HEADER_BYTES);
  if (payload.length !== header.length) return { error: FRAME_SIZE_ERROR };
  const { type, length, flags, stream } = header;
  const part = payloadPart(header, payload, 0, payload.length);
  if (part.end < part.start) return { error: PROTOCOL_ERROR };
  const text = payload.toString("latin1", part.start, part.end);
  const padding = payload.length - part.end;
  const padded = padding === 0 ? {} : { padding_length: padding, padding: payload.toString("latin1", part.end) };
  let fields: Record<string, unknown> = {};
  if (type === DATA) fields = { data: text, ...padded };
  else if (type === HEADERS || type === CONTINUATION) fields = { header_block_fragment: text, ...padded };
  else if (type === PING) fields = { opaque_data: text };
  else if (type === PUSH_PROMISE) {
    const promised = uint31(payload, part.start - 4);
    if (promised === 0 || promised % 2 === 1) return { error: PROTOCOL_ERROR };
    fields = { header_block_fragment: text, promised_stream_id: promised, ...padded };
  } else if (type === WINDOW_UPDATE) {
    const increment = uint31(payload, 0);
    if (increment === 0) return { error: PROTOCOL_ERROR };
    fields = { window_size_increment: increment };
  }
  return { frame: { type, flags, length, stream_identifier: stream, frame_payload: fields } };
}

if (import.meta.main) {
  const file: { cases?: StoryCase[]; wire?: string } = JSON.parse(readFileSync(String(process.argv[2]), "utf8"));
  const lines: unknown[] = file.cases === undefined ? [readFrame(String(file.wire))] : decodeStory(file.cases);
  process.stdout.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}
