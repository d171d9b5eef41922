/**
 * Heads of HTTP/1 messages: start lines and the few headers that framing, naming and tracing need.
 *
 * All functions look at bytes in place and take time linear to their number.
 *
 * @see RFC 9112 sections 2 to 6
 */

import { equalsIgnoreCase, indexOfLineFeed, textOf } from "./bytes.ts";
import type { CarriedContext } from "./exchange.ts";
import type { Verdict } from "./protocol.ts";
import type { Target } from "./target.ts";

/** Longest method that is taken for one; the longest registered has 17 letters. */
const METHOD_BYTES_MAX = 24;
/** A request line without an end is believed once this much of its target was seen. */
const TARGET_BYTES_SURE = 256;

/** Longest first word of a status line that is not quite one. */
const LOOSE_VERSION_BYTES_MAX = 12;

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

/** What a whole head of a request comes to, kept with it: many requests may have one head. */
export interface AskedFacts {
  /** What it was made with. */
  readonly redaction: boolean;
  readonly isTls: boolean;
  readonly target: Target;
  readonly resource: string;
  /** Those that the request alone has; to be copied. */
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly context: CarriedContext | undefined;
  /** Template of the path as it was last, and the name that came of it. */
  template: string;
  endpoint: string;
}

/** What is known of a head. */
export interface Head {
  readonly isRequest: boolean;
  /** Of a request; empty for a response. */
  readonly method: string;
  readonly target: string;
  /** Of a response; 0 for a request. */
  readonly status: number;
  /** `1.0`, `1.1`; empty where the line was cut before it. */
  readonly version: string;
  /** -1 where none was sent, -2 where it cannot be read or several disagree. */
  contentLength: number;
  /** `chunked` is the last transfer coding. */
  chunked: boolean;
  /** The last transfer coding is another one: the body ends with the connection. */
  otherCoding: boolean;
  host: string;
  userAgent: string;
  traceparent: string;
  /** How many `traceparent` headers were sent; more than one makes them all invalid. */
  traceparents: number;
  traceState: string;
  /** `X-Request-ID`; several headers of the name make none. */
  requestId: string;
  requestIds: number;
  /** Value of `Upgrade`, lower-case. */
  upgrade: string;
  /** The exchange was told of before the head was complete. */
  reported: boolean;
  /** Of a request that was read to its end, once asked for. */
  facts: AskedFacts | undefined;
}

/** Headers that are read. Zero stands for all others. */
export const HEADER_OTHER = 0;
const HEADER_HOST = 1;
const HEADER_USER_AGENT = 2;
const HEADER_UPGRADE = 3;
const HEADER_CONTENT_LENGTH = 4;
const HEADER_TRANSFER_ENCODING = 5;
const HEADER_TRACEPARENT = 6;
const HEADER_TRACESTATE = 7;
const HEADER_REQUEST_ID = 8;

/** Longest `X-Request-ID` that is looked at. */
const REQUEST_ID_CHARS_MAX = 200;

/** Methods that OpenTelemetry's conventions know: those of RFC 9110, PATCH and QUERY. */
export const KNOWN_METHODS: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "CONNECT",
  "OPTIONS",
  "TRACE",
  "PATCH",
  "QUERY",
]);

/** Further methods in use: with one of these, the beginning of a request line is believed before its end is seen. */
const OTHER_METHODS: ReadonlySet<string> = new Set([
  "PROPFIND",
  "PROPPATCH",
  "MKCOL",
  "COPY",
  "MOVE",
  "LOCK",
  "UNLOCK",
  "REPORT",
  "SEARCH",
  "PURGE",
]);

/**
 * Judges whether `bytes` begin a request or, for direction 1, a response. Leading line ends are skipped.
 *
 * @param isCut More bytes of the message will not be seen: the beginning of a line is enough if its method is in use.
 */
export function judgeStart(bytes: Uint8Array, direction: 0 | 1, isCut = false): Verdict {
  const end = bytes.length;
  let at = 0;
  while (at < end && isLineEnd(bytes[at] as number)) at++;
  if (at === end) return "more";
  const lf = indexOfLineFeed(bytes, at);
  const line = lf < 0 ? end : lf;
  if (direction === 1) return judgeStatusLine(bytes, at, line, line < end);
  if (line < end) return isRequestLine(bytes, at, line) ? "yes" : "no";
  if (isCut) return readStartLine(bytes, at, end, 0, true) === undefined ? "no" : "yes";
  return judgeRequestPrefix(bytes, at, end);
}

/** `HTTP/1.d ddd`; enough to tell a response by, whatever follows. */
function judgeStatusLine(bytes: Uint8Array, start: number, end: number, isWhole: boolean): Verdict {
  const prefix = Math.min(7, end - start);
  for (let i = 0; i < prefix; i++) if (bytes[start + i] !== "HTTP/1.".charCodeAt(i)) return "no";
  if (end - start < 13) {
    // `HTTP/1.1 200` without a reason and its space is the shortest line.
    const last = isWhole ? trimEnd(bytes, start, end) : end;
    if (isWhole) return last - start === 12 && statusAt(bytes, start, last) > 0 ? "yes" : "no";
    return "more";
  }
  return statusAt(bytes, start, end) > 0 ? "yes" : "no";
}

/**
 * Reads a status line that is not quite one, for where an answer is due: another version, none at all, or the `ICY` of
 * streaming servers, then a code.
 *
 * @returns undefined where the line has no such form.
 */
export function readLooseStatusLine(bytes: Uint8Array, start: number, end: number): Head | undefined {
  if (!mayBeLooseStatusLine(bytes, start, end)) return undefined;
  let at = start;
  while (at < end && bytes[at] !== SPACE && at - start <= LOOSE_VERSION_BYTES_MAX) at++;
  const status = bytes[at] === SPACE ? codeAt(bytes, at, trimEnd(bytes, start, end)) : 0;
  return status === 0 ? undefined : emptyHead("", "", status, "");
}

/** May the bytes be the beginning of such a line? */
export function mayBeLooseStatusLine(bytes: Uint8Array, start: number, end: number): boolean {
  return ["http", "icy "].some((word) => equalsIgnoreCase(bytes, start, end, word.slice(0, end - start)));
}

/** The status code of a status line; 0 where it is none. */
function statusAt(bytes: Uint8Array, start: number, end: number): number {
  return end - start >= 12 && isDigit(bytes[start + 7] as number) ? codeAt(bytes, start + 8, end) : 0;
}

/** Three digits behind one space or more, and nothing but a space or the end behind them; 0 where it is not so. */
function codeAt(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  if (bytes[at] !== SPACE) return 0;
  while (at < end && bytes[at] === SPACE) at++;
  if (at + 3 > end) return 0;
  const [a, b, c] = [bytes[at] as number, bytes[at + 1] as number, bytes[at + 2] as number];
  if (!isDigit(a) || !isDigit(b) || !isDigit(c) || a === 0x30) return 0;
  if (at + 3 < end && bytes[at + 3] !== SPACE && bytes[at + 3] !== CR) return 0;
  return (a - 0x30) * 100 + (b - 0x30) * 10 + (c - 0x30);
}

/** Where the method ends: at its space. -1 where no method stands there, -2 where the bytes end within it. */
function methodEnd(bytes: Uint8Array, start: number, end: number): number {
  const last = Math.min(end, start + METHOD_BYTES_MAX + 1);
  for (let at = start; at < last; at++) {
    const byte = bytes[at] as number;
    if (byte === SPACE) return at === start ? -1 : at;
    const isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
    if (!isLetter && (at === start || (!isDigit(byte) && byte !== 0x2d && byte !== 0x5f))) return -1;
  }
  return last === end && end - start <= METHOD_BYTES_MAX ? -2 : -1;
}

function isInUse(method: string): boolean {
  return KNOWN_METHODS.has(method) || OTHER_METHODS.has(method);
}

function judgeRequestPrefix(bytes: Uint8Array, start: number, end: number): Verdict {
  const method = methodEnd(bytes, start, end);
  if (method === -1) return "no";
  if (method === -2) return "more";
  let target = method;
  while (target < end && bytes[target] === SPACE) target++;
  if (target === end) return "more";
  const inUse = isInUse(textOf(bytes, start, method));
  if (!isTargetStart(bytes, target, end, inUse)) return "no";
  for (let at = target; at < end; at++) {
    const byte = bytes[at] as number;
    if ((byte < SPACE && byte !== CR) || byte === 0x7f) return "no";
    if (byte === SPACE && !inUse) return startsVersion(bytes, at + 1, end) ? "more" : "no";
  }
  return inUse && end - target >= TARGET_BYTES_SURE ? "yes" : "more";
}

/**
 * `METHOD target HTTP/1.d`.
 *
 * With a method in use, the target may be missing or have spaces in it, as some clients have it.
 */
function isRequestLine(bytes: Uint8Array, start: number, lineEnd: number): boolean {
  const method = methodEnd(bytes, start, lineEnd);
  if (method < 0) return false;
  const version = versionAt(bytes, method, trimEnd(bytes, start, lineEnd));
  if (version < 0) return false;
  const inUse = isInUse(textOf(bytes, start, method));
  let target = method;
  while (target < version && bytes[target] === SPACE) target++;
  if (target === version) return inUse;
  let targetEnd = version;
  while (bytes[targetEnd - 1] === SPACE) targetEnd--;
  for (let at = target; at < targetEnd; at++) {
    const byte = bytes[at] as number;
    if (byte < SPACE || byte === 0x7f || (byte === SPACE && !inUse)) return false;
  }
  return isTargetStart(bytes, target, targetEnd, inUse);
}

/** May `bytes[start, end)` be the beginning of `HTTP/1.`, with the version and line end behind it? */
function startsVersion(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end && bytes[at] === SPACE) at++;
  for (let i = 0; i < 7 && at + i < end; i++) if (bytes[at + i] !== "HTTP/1.".charCodeAt(i)) return false;
  return end - at <= 9;
}

/** Where `HTTP/1.d` begins, which must be the line's last word; -1 where it is not. */
function versionAt(bytes: Uint8Array, start: number, end: number): number {
  const at = end - 8;
  if (at <= start || bytes[at - 1] !== SPACE || !isDigit(bytes[end - 1] as number)) return -1;
  for (let i = 0; i < 7; i++) if (bytes[at + i] !== "HTTP/1.".charCodeAt(i)) return -1;
  return at;
}

/**
 * Targets begin with `/`, `*` or a scheme and `://`; after a method in use, also with an authority or a query.
 *
 * A scheme that goes on beyond `end` is believed.
 */
function isTargetStart(bytes: Uint8Array, start: number, end: number, inUse: boolean): boolean {
  const first = bytes[start] as number;
  if (first === 0x2f || first === 0x2a) return true;
  if (inUse && (first === 0x5b || first === 0x3f || isDigit(first))) return true;
  let at = start;
  while (at < end && ((bytes[at] as number) | 0x20) >= 0x61 && ((bytes[at] as number) | 0x20) <= 0x7a) at++;
  if (at === start) return false;
  if (inUse) return true;
  for (let i = 0; i < 3 && at + i < end; i++) if (bytes[at + i] !== "://".charCodeAt(i)) return false;
  return true;
}

/**
 * Reads a start line that ends before `end`.
 *
 * @param isCut The end of the line was not seen: whatever is there is taken.
 * @returns undefined where it is no start line.
 */
export function readStartLine(
  bytes: Uint8Array,
  start: number,
  end: number,
  direction: 0 | 1,
  isCut: boolean,
): Head | undefined {
  if (direction === 1) {
    if (judgeStatusLine(bytes, start, end, true) !== "yes" && !(isCut && end - start >= 12)) return undefined;
    const status = statusAt(bytes, start, trimEnd(bytes, start, end));
    return status === 0 ? undefined : emptyHead("", "", status, textOf(bytes, start + 5, start + 8));
  }
  if (isCut ? judgeRequestPrefix(bytes, start, end) === "no" : !isRequestLine(bytes, start, end)) return undefined;
  const methodAt = methodEnd(bytes, start, end);
  if (methodAt < 0) return undefined;
  const method = textOf(bytes, start, methodAt);
  const lineEnd = trimEnd(bytes, start, end);
  const version = versionAt(bytes, methodAt, lineEnd);
  if (isCut && version < 0 && !isInUse(method)) return undefined;
  let targetStart = methodAt;
  let targetEnd = version < 0 ? lineEnd : version;
  while (targetStart < targetEnd && bytes[targetStart] === SPACE) targetStart++;
  while (targetEnd > targetStart && bytes[targetEnd - 1] === SPACE) targetEnd--;
  if (isCut && targetStart === targetEnd) return undefined;
  const versionText = version < 0 ? "" : textOf(bytes, version + 5, version + 8);
  return emptyHead(method, textOf(bytes, targetStart, targetEnd), 0, versionText);
}

function emptyHead(method: string, target: string, status: number, version: string): Head {
  return {
    isRequest: status === 0,
    method,
    target,
    status,
    version,
    contentLength: -1,
    chunked: false,
    otherCoding: false,
    host: "",
    userAgent: "",
    traceparent: "",
    traceparents: 0,
    traceState: "",
    requestId: "",
    requestIds: 0,
    upgrade: "",
    reported: false,
    facts: undefined,
  };
}

/** Which header a line holds, by its name. */
export function headerOf(bytes: Uint8Array, start: number, end: number): number {
  switch ((bytes[start] as number) | 0x20) {
    case 0x63: // c
      return named(bytes, start, end, "content-length") ? HEADER_CONTENT_LENGTH : HEADER_OTHER;
    case 0x68: // h
      return named(bytes, start, end, "host") ? HEADER_HOST : HEADER_OTHER;
    case 0x74: // t
      if (named(bytes, start, end, "transfer-encoding")) return HEADER_TRANSFER_ENCODING;
      if (named(bytes, start, end, "traceparent")) return HEADER_TRACEPARENT;
      return named(bytes, start, end, "tracestate") ? HEADER_TRACESTATE : HEADER_OTHER;
    case 0x75: // u
      if (named(bytes, start, end, "user-agent")) return HEADER_USER_AGENT;
      return named(bytes, start, end, "upgrade") ? HEADER_UPGRADE : HEADER_OTHER;
    case 0x78: // x
      return named(bytes, start, end, "x-request-id") ? HEADER_REQUEST_ID : HEADER_OTHER;
    default:
      return HEADER_OTHER;
  }
}

/** Bytes after which a line without an end can be told to be none of the headers that are read. */
export const HEADER_NAME_BYTES = 24;

function named(bytes: Uint8Array, start: number, end: number, name: string): boolean {
  let at = start + name.length;
  const next = bytes[at];
  // Nearly every other header is ruled out by what stands behind as many letters.
  if (at >= end || (next !== COLON && next !== SPACE && next !== TAB)) return false;
  if (!equalsIgnoreCase(bytes, start, end, name)) return false;
  while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
  return bytes[at] === COLON && at < end;
}

/** The value of a header line, without the white space around it. */
export function headerValue(bytes: Uint8Array, start: number, end: number): string {
  return trimmedText(bytes, bytes.indexOf(COLON, start) + 1, end);
}

/** Text without the white space around it. */
export function trimmedText(bytes: Uint8Array, start: number, end: number): string {
  let from = start;
  let to = end;
  while (from < to && isBlank(bytes[from] as number)) from++;
  while (to > from && isBlank(bytes[to - 1] as number)) to--;
  return textOf(bytes, from, to);
}

/** Enters a whole header, its continuation lines included, into a head. */
export function applyHeader(head: Head, header: number, value: string): void {
  switch (header) {
    case HEADER_HOST:
      if (head.host === "") head.host = value;
      break;
    case HEADER_USER_AGENT:
      if (head.userAgent === "") head.userAgent = value;
      break;
    case HEADER_UPGRADE:
      head.upgrade = value.toLowerCase();
      break;
    case HEADER_CONTENT_LENGTH:
      applyContentLength(head, value);
      break;
    case HEADER_TRANSFER_ENCODING:
      applyTransferEncoding(head, value);
      break;
    case HEADER_TRACEPARENT:
      head.traceparents++;
      head.traceparent = value;
      break;
    case HEADER_TRACESTATE:
      head.traceState = head.traceState === "" ? value : `${head.traceState},${value}`;
      break;
    case HEADER_REQUEST_ID:
      head.requestId = ++head.requestIds === 1 && value.length <= REQUEST_ID_CHARS_MAX ? value : "";
      break;
    default:
      break;
  }
}

/** Digits, or several equal numbers between commas; anything else is -2. */
function applyContentLength(head: Head, text: string): void {
  if (text.includes(",")) {
    for (const part of text.split(",")) applyContentLength(head, part.trim());
    return;
  }
  let length = text === "" || text.length > 15 ? -2 : 0;
  for (let at = 0; at < text.length && length >= 0; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    length = digit >= 0 && digit <= 9 ? length * 10 + digit : -2;
  }
  head.contentLength = head.contentLength === -1 || head.contentLength === length ? length : -2;
}

function applyTransferEncoding(head: Head, value: string): void {
  const last = value
    .slice(value.lastIndexOf(",") + 1)
    .trim()
    .toLowerCase();
  head.chunked = last === "chunked";
  head.otherCoding = !head.chunked && last !== "identity" && last !== "";
}

/** Lines may end in CR LF or LF. */
function trimEnd(bytes: Uint8Array, start: number, end: number): number {
  let to = end;
  while (to > start && (bytes[to - 1] === CR || bytes[to - 1] === SPACE)) to--;
  return to;
}

function isLineEnd(byte: number): boolean {
  return byte === CR || byte === LF;
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB || byte === CR;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
