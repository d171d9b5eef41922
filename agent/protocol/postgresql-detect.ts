/**
 * Tells PostgreSQL (and what speaks its protocol: CockroachDB, YugabyteDB, Redshift, PgBouncer) by first bytes.
 *
 * Startup messages have codes of their own. Others are claimed where type, length and content fit each other up to the
 * end of what is seen.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */

import type { Verdict } from "./protocol.ts";

/** What stands in place of the version in messages that begin a connection. */
export const CODE_CANCEL = 80_877_102;
export const CODE_SSL = 80_877_103;
export const CODE_GSSENC = 80_877_104;

const STARTUP_BYTES_MAX = 10_000;
const CANCEL_BYTES_MAX = 268;
const MESSAGE_BYTES_MAX = 0x4000_0000;
/** Messages looked at to judge a slice. */
const MESSAGES_MAX = 16;
/** Characters of a text that are looked at. */
const TEXT_BYTES_MAX = 256;

const FROM_CLIENT = new Uint8Array(256);
for (const byte of Buffer.from("QPBEDCHSFXpdcf")) FROM_CLIENT[byte] = 1;
const FROM_SERVER = new Uint8Array(256);
for (const byte of Buffer.from("RSKZTDCEN123ntsIAGHWVvdc")) FROM_SERVER[byte] = 1;

/** How much a message says of what it belongs to. */
const NOT_ONE = -1;
const WEAK = 0;
const STRONG = 1;

/** `Protocol.detect` of PostgreSQL. */
export function judgePostgresql(bytes: Uint8Array, direction: 0 | 1, isCut = false): Verdict {
  if (bytes.length === 0) return "more";
  if (direction === 0 && bytes[0] === 0) return judgeStartup(bytes);
  const types = direction === 0 ? FROM_CLIENT : FROM_SERVER;
  if (types[bytes[0] as number] !== 1) return "no";
  if (bytes.length < 5) return bytes.length === 1 || bytes[1] === 0 ? "more" : "no";
  const judged = judgeMessages(bytes, direction);
  if (judged === NOT_ONE) return "no";
  return judged === STRONG ? "yes" : isCut ? "no" : "more";
}

/** May a slice begin with messages of this direction? Asked where framing was lost. */
export function areMessages(bytes: Uint8Array, direction: 0 | 1): boolean {
  if (bytes.length < 5) {
    const types = direction === 0 ? FROM_CLIENT : FROM_SERVER;
    return types[bytes[0] as number] === 1 && (bytes.length === 1 || bytes[1] === 0);
  }
  return judgeMessages(bytes, direction) !== NOT_ONE;
}

function judgeStartup(bytes: Uint8Array): Verdict {
  if (bytes.length < 8) return bytes.length < 2 || bytes[1] === 0 ? "more" : "no";
  const length = u32(bytes, 0);
  const code = u32(bytes, 4);
  if (code === CODE_SSL || code === CODE_GSSENC) return length === 8 ? "yes" : "no";
  if (code === CODE_CANCEL) return length >= 16 && length <= CANCEL_BYTES_MAX ? "yes" : "no";
  const isVersion = code >>> 16 === 3 && (code & 0xffff) < 0x2700;
  if (!isVersion || length < 9 || length > STARTUP_BYTES_MAX) return "no";
  const first = bytes[8];
  if (first === undefined) return "more";
  // Names and values end with NUL, and so does their list.
  if (bytes.length >= length && bytes[length - 1] !== 0) return "no";
  return first === 0 ? (length === 9 ? "yes" : "no") : first >= 0x20 && first < 0x7f ? "yes" : "no";
}

/** Walks over messages as far as they are seen. */
function judgeMessages(bytes: Uint8Array, direction: 0 | 1): number {
  const types = direction === 0 ? FROM_CLIENT : FROM_SERVER;
  let at = 0;
  let best = WEAK;
  let whole = 0;
  for (let count = 0; count < MESSAGES_MAX && at < bytes.length; count++) {
    if (types[bytes[at] as number] !== 1) return NOT_ONE;
    if (at + 5 > bytes.length) break;
    const length = u32(bytes, at + 1);
    if (length < 4 || length > MESSAGE_BYTES_MAX) return NOT_ONE;
    const judged = judgeBody(bytes, at, length, direction);
    if (judged === NOT_ONE) return NOT_ONE;
    if (judged === STRONG) best = STRONG;
    at += 1 + length;
    if (at <= bytes.length) whole++;
  }
  return best === STRONG || whole >= 3 ? STRONG : WEAK;
}

function judgeBody(bytes: Uint8Array, at: number, length: number, direction: 0 | 1): number {
  const start = at + 5;
  const end = at + 1 + length;
  const type = String.fromCharCode(bytes[at] as number);
  return direction === 0 ? judgeClientBody(type, bytes, start, end) : judgeServerBody(type, bytes, start, end);
}

function judgeClientBody(type: string, bytes: Uint8Array, start: number, end: number): number {
  const size = end - start;
  switch (type) {
    case "Q":
      return judgeText(bytes, start, end, true);
    case "P":
      return judgeParse(bytes, start, end);
    case "H":
    case "S":
    case "X":
    case "c":
      return size === 0 ? STRONG : NOT_ONE;
    case "B":
      return size >= 8 && nameFits(bytes, start, end) ? WEAK : NOT_ONE;
    case "E":
      return size >= 5 && nameFits(bytes, start, end) ? WEAK : NOT_ONE;
    case "D":
    case "C": {
      const kind = bytes[start];
      if (size < 2 || (kind !== undefined && kind !== 0x53 && kind !== 0x50)) return NOT_ONE;
      return lastIsZero(bytes, end) ? (end <= bytes.length ? STRONG : WEAK) : NOT_ONE;
    }
    case "f":
      return lastIsZero(bytes, end) ? WEAK : NOT_ONE;
    case "F":
      return size >= 10 ? WEAK : NOT_ONE;
    default:
      return WEAK;
  }
}

function judgeServerBody(type: string, bytes: Uint8Array, start: number, end: number): number {
  const size = end - start;
  switch (type) {
    case "Z": {
      const status = bytes[start];
      if (size !== 1) return NOT_ONE;
      return status === undefined ? WEAK : status === 0x49 || status === 0x54 || status === 0x45 ? STRONG : NOT_ONE;
    }
    case "R":
      if (size < 4) return NOT_ONE;
      return start + 4 > bytes.length ? WEAK : u32(bytes, start) <= 12 ? STRONG : NOT_ONE;
    case "E":
    case "N":
      return judgeFields(bytes, start, end);
    case "1":
    case "2":
    case "3":
    case "n":
    case "s":
    case "I":
    case "c":
      return size === 0 ? STRONG : NOT_ONE;
    case "C":
      return judgeTag(bytes, start, end);
    case "S":
      return size >= 2 && lastIsZero(bytes, end) && textTo(bytes, start, end) > start ? WEAK : NOT_ONE;
    case "K":
      return size >= 8 && size <= 260 ? WEAK : NOT_ONE;
    case "T":
    case "D":
    case "t":
      return size >= 2 ? WEAK : NOT_ONE;
    case "G":
    case "H":
    case "W":
      return size >= 3 && (bytes[start] ?? 0) <= 1 ? WEAK : NOT_ONE;
    case "A":
      return size >= 6 && lastIsZero(bytes, end) ? WEAK : NOT_ONE;
    default:
      return WEAK;
  }
}

/** Text that ends, with the message, by a zero. */
function judgeText(bytes: Uint8Array, start: number, end: number, isAll: boolean): number {
  const stop = textTo(bytes, start, end);
  if (stop >= bytes.length || stop - start >= TEXT_BYTES_MAX) {
    if (end <= bytes.length && bytes[end - 1] !== 0) return NOT_ONE;
    return stop - start >= 6 ? STRONG : WEAK;
  }
  if (bytes[stop] !== 0) return NOT_ONE;
  return isAll && stop !== end - 1 ? NOT_ONE : STRONG;
}

/** A name and a text follow each other. */
function judgeParse(bytes: Uint8Array, start: number, end: number): number {
  const nameEnd = textTo(bytes, start, end);
  if (nameEnd >= bytes.length) return WEAK;
  if (bytes[nameEnd] !== 0 || end - nameEnd < 4) return NOT_ONE;
  return judgeText(bytes, nameEnd + 1, end, false);
}

function judgeFields(bytes: Uint8Array, start: number, end: number): number {
  const first = bytes[start];
  if (first === undefined) return WEAK;
  if (first !== 0x53 || end - start < 4) return NOT_ONE;
  for (let at = start + 1; at < Math.min(bytes.length, start + 4); at++) {
    const byte = bytes[at] as number;
    if (byte < 0x20) return NOT_ONE;
  }
  return bytes.length >= start + 4 ? STRONG : WEAK;
}

/** `SELECT 5`. */
function judgeTag(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < 3 || end - start > 80) return NOT_ONE;
  const first = bytes[start];
  if (first !== undefined && (first < 0x41 || first > 0x5a)) return NOT_ONE;
  const stop = textTo(bytes, start, end);
  if (stop >= bytes.length) return WEAK;
  return bytes[stop] === 0 && stop === end - 1 ? STRONG : NOT_ONE;
}

/** The name at the beginning of a body is text. */
function nameFits(bytes: Uint8Array, start: number, end: number): boolean {
  const stop = textTo(bytes, start, end);
  return stop >= bytes.length || bytes[stop] === 0;
}

/** Where text ends: at a control character, at `end`, or after `TEXT_BYTES_MAX` bytes. */
function textTo(bytes: Uint8Array, start: number, end: number): number {
  const stop = Math.min(bytes.length, end, start + TEXT_BYTES_MAX);
  for (let at = start; at < stop; at++) {
    const byte = bytes[at] as number;
    if (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d && byte !== 0x0c) return at;
  }
  return stop;
}

function lastIsZero(bytes: Uint8Array, end: number): boolean {
  return end > bytes.length || bytes[end - 1] === 0;
}

/** An unsigned number of four bytes, highest first. */
export function u32(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  return high * 65_536 + (((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number));
}
