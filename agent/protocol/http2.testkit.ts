/** Makes frames of HTTP/2 and plays them to its parser. */

import { type Played, type PlayOptions, play, type Step } from "./http1.testkit.ts";
import { HTTP2 } from "./http2.ts";
import { DATA, FLAG_END_HEADERS, FLAG_END_STREAM, HEADERS, SETTINGS } from "./http2-frame.ts";

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** A frame with any header. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ""): Buffer {
  const body = Buffer.from(payload);
  const bytes = Buffer.alloc(9 + body.length);
  bytes.writeUIntBE(body.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(stream, 5);
  body.copy(bytes, 9);
  return bytes;
}

/** A field whose name and value stand in the block; in the dynamic table afterwards, if it `isKept`. */
export function literal(name: string, value: string, isKept = false): Buffer {
  return Buffer.concat([Buffer.of(isKept ? 0x40 : 0), text(name), text(value)]);
}

/** A block of literal fields. */
export function block(fields: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(Object.entries(fields).map(([name, value]) => literal(name, value)));
}

/** A frame with a whole block. */
export function headers(stream: number, fields: Readonly<Record<string, string>>, ends = false): Buffer {
  return frame(HEADERS, FLAG_END_HEADERS | (ends ? FLAG_END_STREAM : 0), stream, block(fields));
}

/** A GET that ends its stream. */
export function get(stream: number, path: string, more: Readonly<Record<string, string>> = {}): Buffer {
  return headers(
    stream,
    { ":method": "GET", ":scheme": "http", ":path": path, ":authority": "a.example", ...more },
    true,
  );
}

/** A response's head. */
export function status(stream: number, code: number, ends = false): Buffer {
  return headers(stream, { ":status": String(code) }, ends);
}

export function dataFrame(stream: number, body: string, ends = false): Buffer {
  return frame(DATA, ends ? FLAG_END_STREAM : 0, stream, body);
}

/** What both sides send first. */
export const OPENING: readonly Step[] = [
  [">", Buffer.concat([PREFACE, frame(SETTINGS, 0, 0)])],
  ["<", frame(SETTINGS, 0, 0)],
];

/** Plays steps to the parser of HTTP/2. */
export function playHttp2(steps: readonly Step[], options: PlayOptions = {}): Played {
  return play(steps, { ...options, protocol: HTTP2 });
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  length.push(rest);
  return Buffer.concat([Buffer.from(length), bytes]);
}
