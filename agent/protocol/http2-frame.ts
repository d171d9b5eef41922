/**
 * Frames of HTTP/2: their headers, what tells them from other bytes, and the parts of their payloads.
 *
 * @see RFC 9113 sections 4 and 6
 */

import type { FieldReader } from "./hpack.ts";
import { HpackDecoder } from "./hpack.ts";
import type { Verdict } from "./protocol.ts";

/** Length, type, flags and stream. */
export const FRAME_HEADER_BYTES = 9;
/** Largest payload before SETTINGS allow more. */
export const PAYLOAD_BYTES_DEFAULT = 16_384;

/** Types of frames. @see RFC 9113, 6 */
export const DATA = 0;
export const HEADERS = 1;
const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

/** DATA and HEADERS. */
export const FLAG_END_STREAM = 0x01;
/** SETTINGS and PING. */
export const FLAG_ACK = 0x01;
/** HEADERS, PUSH_PROMISE and CONTINUATION. */
export const FLAG_END_HEADERS = 0x04;
/** DATA, HEADERS and PUSH_PROMISE. */
export const FLAG_PADDED = 0x08;
/** HEADERS. */
const FLAG_PRIORITY = 0x20;

/** Error codes that matter here. */
export const PROTOCOL_ERROR = 1;
export const FRAME_SIZE_ERROR = 6;

/** What a client sends first. */
const PREFACE_TEXT = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** Length of what a client sends first. */
export const PREFACE_BYTES = PREFACE_TEXT.length;
/** Bytes of the preface after which it is believed. */
const PREFACE_BYTES_SURE = 16;

/** Flags that are defined, by type. Others must be ignored, but bytes that have them are seldom frames. */
const FLAGS: readonly number[] = [0x09, 0x2d, 0, 0, 0x01, 0x0c, 0x01, 0, 0, 0x04];
/** Frames looked at to judge a beginning. */
const FRAMES_LOOKED_AT = 8;
/** So many frames without a word of who sends them are believed. */
const FRAMES_SURE = 3;
const SETTINGS_LOOKED_AT = 64;

/** Header of a frame. */
export interface FrameHeader {
  length: number;
  type: number;
  flags: number;
  stream: number;
}

/** Reads the nine bytes at `at`; the reserved bit is left out. */
export function readFrameHeader(bytes: Uint8Array, at: number, header: FrameHeader): void {
  header.length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
  header.type = bytes[at + 3] as number;
  header.flags = bytes[at + 4] as number;
  header.stream = uint31(bytes, at + 5);
}

/** The 31 low bits of four bytes. */
export function uint31(bytes: Uint8Array, at: number): number {
  return uint32(bytes, at) & 0x7fffffff;
}

/** Four bytes, highest first. */
export function uint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  );
}

/**
 * What the rules of its type forbid in a frame's header.
 *
 * @returns An error code of HTTP/2, 0 where all is well. Types that are not known are.
 */
export function frameHeaderError(header: FrameHeader): number {
  const { type, length, stream, flags } = header;
  switch (type) {
    case DATA:
    case HEADERS:
    case CONTINUATION:
      return stream === 0 ? PROTOCOL_ERROR : 0;
    case PRIORITY:
      return stream === 0 ? PROTOCOL_ERROR : length === 5 ? 0 : FRAME_SIZE_ERROR;
    case RST_STREAM:
      return stream === 0 ? PROTOCOL_ERROR : length === 4 ? 0 : FRAME_SIZE_ERROR;
    case SETTINGS:
      if (stream !== 0) return PROTOCOL_ERROR;
      return length % 6 === 0 && ((flags & FLAG_ACK) === 0 || length === 0) ? 0 : FRAME_SIZE_ERROR;
    case PUSH_PROMISE:
      return stream === 0 ? PROTOCOL_ERROR : length >= 4 ? 0 : FRAME_SIZE_ERROR;
    case PING:
      return stream !== 0 ? PROTOCOL_ERROR : length === 8 ? 0 : FRAME_SIZE_ERROR;
    case GOAWAY:
      return stream !== 0 ? PROTOCOL_ERROR : length >= 8 ? 0 : FRAME_SIZE_ERROR;
    case WINDOW_UPDATE:
      return length === 4 ? 0 : FRAME_SIZE_ERROR;
    default:
      return 0;
  }
}

/** Where the block, or the data, of a payload lies. `end` lies before `start` where padding leaves no room for it. */
export interface PayloadPart {
  start: number;
  end: number;
}

/**
 * Finds the part of a payload that is neither padding, nor priority, nor promised stream.
 *
 * @param end Where `bytes` of the payload end; if that is before the payload's own end, so may the part.
 */
export function payloadPart(header: FrameHeader, bytes: Uint8Array, start: number, end: number): PayloadPart {
  const { type, flags } = header;
  const isPadded = (flags & FLAG_PADDED) !== 0 && (type === DATA || type === HEADERS || type === PUSH_PROMISE);
  let from = start;
  let padding = 0;
  if (isPadded) {
    padding = start < end ? (bytes[start] as number) : 1;
    from++;
  }
  if (type === HEADERS && (flags & FLAG_PRIORITY) !== 0) from += 5;
  if (type === PUSH_PROMISE) from += 4;
  return { start: from, end: Math.min(end, start + header.length - padding) };
}

/** Do the bytes at `at` begin the client's preface, as far as they go? */
export function judgePreface(bytes: Uint8Array, at: number): Verdict {
  const length = Math.min(PREFACE_BYTES, bytes.length - at);
  for (let i = 0; i < length; i++) if (bytes[at + i] !== PREFACE_TEXT.charCodeAt(i)) return "no";
  return length >= PREFACE_BYTES_SURE ? "yes" : "more";
}

/** Do bytes that come after the first ones of the preface go on with it? */
export function isPrefaceByte(position: number, byte: number): boolean {
  return PREFACE_TEXT.charCodeAt(position) === byte;
}

/** What a look at bytes that may be frames has shown. */
export interface FramesLook {
  /** They cannot be frames. */
  isRefuted: boolean;
  /** Frames that lie wholly in the bytes, at most `FRAMES_LOOKED_AT`. */
  whole: number;
  /** The last of them ends where the bytes end. */
  endsExactly: boolean;
  /** Who sends them, by the fields of their blocks: 0 a client, 1 a server, -1 not known. */
  sender: 0 | 1 | -1;
}

/** Looks at the frames that may begin at `bytes[0]`. */
export function lookAtFrames(bytes: Uint8Array): FramesLook {
  const look: FramesLook = { isRefuted: false, whole: 0, endsExactly: false, sender: -1 };
  const header: FrameHeader = { length: 0, type: 0, flags: 0, stream: 0 };
  let at = 0;
  while (at < bytes.length && look.whole < FRAMES_LOOKED_AT) {
    look.endsExactly = false;
    if (bytes.length - at < FRAME_HEADER_BYTES) {
      look.isRefuted = !mayBeginFrame(bytes, at);
      return look;
    }
    readFrameHeader(bytes, at, header);
    const payload = at + FRAME_HEADER_BYTES;
    const end = payload + header.length;
    if (!isUsual(header, bytes, at) || !isUsualPayload(header, bytes, payload, Math.min(end, bytes.length), look)) {
      look.isRefuted = true;
      return look;
    }
    if (end > bytes.length) return look;
    look.whole++;
    at = end;
    look.endsExactly = end === bytes.length;
  }
  return look;
}

/** Judges the first bytes of a message, for `Protocol.detect`. */
export function judgeFrames(bytes: Uint8Array, direction: 0 | 1): Verdict {
  const preface = direction === 0 ? judgePreface(bytes, 0) : "no";
  if (preface !== "no") return preface;
  const look = lookAtFrames(bytes);
  if (look.isRefuted) return "no";
  if (look.sender !== -1) return look.sender === direction ? "yes" : "no";
  return look.whole >= FRAMES_SURE ? "yes" : "more";
}

/** Fewer bytes than a header has. */
function mayBeginFrame(bytes: Uint8Array, at: number): boolean {
  const left = bytes.length - at;
  if (bytes[at] !== 0) return false;
  if (left > 1 && (bytes[at + 1] as number) > PAYLOAD_BYTES_DEFAULT >> 8) return false;
  if (left > 3 && (bytes[at + 3] as number) > CONTINUATION) return false;
  return left <= 5 || (bytes[at + 5] as number) < 0x80;
}

function isUsual(header: FrameHeader, bytes: Uint8Array, at: number): boolean {
  const { type, length, flags } = header;
  if (type > CONTINUATION || length > PAYLOAD_BYTES_DEFAULT || (bytes[at + 5] as number) >= 0x80) return false;
  return (flags & ~(FLAGS[type] as number)) === 0 && frameHeaderError(header) === 0;
}

function isUsualPayload(header: FrameHeader, bytes: Uint8Array, start: number, end: number, look: FramesLook): boolean {
  const isWhole = end - start === header.length;
  if (header.type === SETTINGS) {
    if (header.length > SETTINGS_LOOKED_AT * 6) return false;
    for (let at = start; at + 1 < end; at += 6) if (bytes[at] === 0 && bytes[at + 1] === 0) return false;
    return true;
  }
  if (header.type === WINDOW_UPDATE) return !isWhole || uint31(bytes, start) > 0;
  if (header.type !== HEADERS || start === end) return true;
  const part = payloadPart(header, bytes, start, end);
  if (part.end < part.start && isWhole) return false;
  let sender: FramesLook["sender"] = -1;
  const read: FieldReader = (name) => {
    if (name !== undefined && sender === -1) sender = name === ":status" || name === "grpc-status" ? 1 : 0;
  };
  const outcome = new HpackDecoder(true, tellsSender).decode(bytes, part.start, part.end, read);
  if (outcome === "damaged" || (outcome === "cut" && isWhole && (header.flags & FLAG_END_HEADERS) !== 0)) return false;
  if (look.sender === -1) look.sender = sender;
  return true;
}

function tellsSender(name: string): boolean {
  return name === ":status" || name === "grpc-status" || name === ":method" || name === ":path" || name === ":scheme";
}
