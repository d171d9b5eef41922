/**
 * Tells Redis from other protocols by the first bytes of a message.
 *
 * Arrays of bulk strings are sent by both ends. What begins with a verb that servers know is a command; what holds
 * anything but bulk strings is a reply; of the others neither is claimed until more is seen. A line of words is a command
 * only with a verb that no other line protocol has; other lines wait for the reply.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */

import type { Verdict } from "./protocol.ts";
import { isVerbKnown } from "./redis-command.ts";

/** Longest verb that is looked for. */
const VERB_BYTES_MAX = 32;
const LINE_BYTES_MAX = 1024;
/** Longest count or length at the beginning of a message. */
const DIGITS_MAX = 10;

const CR = 0x0d;
const LF = 0x0a;
const STAR = 0x2a;
const DOLLAR = 0x24;

/**
 * Verbs that are words of English or of other protocols of lines (HTTP, memcached, SMTP, POP3, FTP, NATS, IRC, STOMP,
 * beanstalkd): a line that begins with one is not enough.
 */
const SHARED_VERBS: ReadonlySet<string> = new Set(
  `GET SET APPEND INCR DECR TOUCH AUTH HELLO QUIT RESET INFO PING TIME MOVE COPY MONITOR DUMP TYPE SAVE SORT WAIT OBJECT
  WATCH SCAN KEYS ROLE DEBUG COMMAND MODULE CONFIG CLIENT CLUSTER MEMORY SCRIPT FUNCTION SELECT ECHO RENAME RESTORE
  EXISTS PERSIST EXEC SYNC SUBSCRIBE UNSUBSCRIBE`.split(/\s+/),
);

/** `set key flags exptime bytes`, with what follows. */
const MEMCACHED_STORE = /^ \S+ \d+ -?\d+ \d+( noreply)?\r?$/;
const MEMCACHED_VERBS: ReadonlySet<string> = new Set(["GET", "APPEND", "INCR", "DECR", "TOUCH"]);

/** Names of the messages that a server sends to those who subscribed. */
const PUSHES: ReadonlySet<string> = new Set(
  "message pmessage smessage subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe invalidate".split(
    " ",
  ),
);

/** Words with which Redis' errors begin. */
const ERRORS: ReadonlySet<string> = new Set(
  "WRONGTYPE NOAUTH NOPERM WRONGPASS MOVED ASK CLUSTERDOWN CROSSSLOT TRYAGAIN LOADING BUSY BUSYKEY BUSYGROUP NOGROUP NOSCRIPT READONLY MISCONF MASTERDOWN NOREPLICAS EXECABORT OOM NOPROTO UNKILLABLE UNBLOCKED".split(
    " ",
  ),
);

/** `Protocol.detect` of Redis. */
export function judgeRedis(bytes: Uint8Array, direction: 0 | 1, isCut = false): Verdict {
  if (bytes.length === 0) return "more";
  return direction === 0 ? judgeCommand(bytes, isCut) : judgeReply(bytes);
}

/** May these bytes begin a command, so that reading may go on here after a loss? */
export function mayBeCommand(bytes: Uint8Array): boolean {
  if (bytes[0] === STAR) {
    const { verb, isShort } = readArrayHead(bytes);
    return verb !== undefined || isShort;
  }
  const verb = lineVerb(bytes);
  if (verb === undefined || !isVerbKnown(verb)) return false;
  // An argument of an array is followed by the length of the next.
  const next = bytes[bytes.indexOf(LF) + 1];
  return next === undefined || isVerbByte(next);
}

function judgeCommand(bytes: Uint8Array, isCut: boolean): Verdict {
  if (bytes[0] === STAR) {
    const { verb, isShort } = readArrayHead(bytes);
    if (verb !== undefined) return isVerbKnown(verb.toUpperCase()) && judgePush(bytes, verb) === "no" ? "yes" : "more";
    return isShort && !isCut ? "more" : "no";
  }
  if (bytes.length === 1) return isVerbByte(bytes[0]) && !isCut ? "more" : "no";
  const verb = lineVerb(bytes);
  if (verb === undefined) return "no";
  if (isVerbKnown(verb)) return judgeLine(bytes, verb);
  const end = bytes.indexOf(LF);
  return end < 0 || bytes[bytes.length - 1] === LF ? "more" : "no";
}

/** A line that begins with a verb of Redis. */
function judgeLine(bytes: Uint8Array, verb: string): Verdict {
  const end = bytes.indexOf(LF);
  if (end < 0) return "more";
  // Inside of an array, a word is followed by the length of the next.
  if (end + 1 < bytes.length && !isVerbByte(bytes[end + 1])) return "no";
  if (!SHARED_VERBS.has(verb)) return bytes[verb.length] === LF ? "more" : "yes";
  const line = latin(bytes, verb.length, end);
  if (verb === "GET" && /^ \/|HTTP\//.test(line)) return "no";
  if (verb === "SET" && / /.test(line)) return MEMCACHED_STORE.test(line) ? "more" : "yes";
  if (MEMCACHED_VERBS.has(verb)) return "more";
  const next = lineVerb(bytes.subarray(end + 1));
  return next !== undefined && isVerbKnown(next) ? "yes" : "more";
}

function judgeReply(bytes: Uint8Array): Verdict {
  switch (bytes[0]) {
    case STAR:
      return judgeArrayReply(bytes);
    case DOLLAR:
      return judgeBulkReply(bytes);
    case 0x25: // %
    case 0x7e: // ~
    case 0x3e: // >
    case 0x7c: // |
      return judgeAggregate(bytes);
    case 0x2d: // -
      return judgeError(bytes);
    case 0x3a: // :
      return judgeInteger(bytes);
    case 0x2b: // +
      return lineIs(bytes, "+PONG") || lineIs(bytes, "+QUEUED") ? "yes" : lineIs(bytes, "+OK") ? "more" : "no";
    default:
      return "no";
  }
}

function judgeArrayReply(bytes: Uint8Array): Verdict {
  const { verb, isShort } = readArrayHead(bytes);
  if (verb !== undefined) return judgePush(bytes, verb) === "yes" ? "yes" : "more";
  return isShort ? "more" : judgeAggregate(bytes);
}

/** An aggregate whose first element has a type that RESP knows. */
function judgeAggregate(bytes: Uint8Array): Verdict {
  const end = numberEnd(bytes, 1);
  if (end < 0) return "no";
  if (end >= bytes.length) return "more";
  return "+-:$*_#,(!=%~>|".includes(String.fromCharCode(bytes[end] as number)) ? "yes" : "no";
}

/** A string of which the end, where it is seen, is a line end. */
function judgeBulkReply(bytes: Uint8Array): Verdict {
  if (lineIs(bytes, "$-1")) return "yes";
  const end = numberEnd(bytes, 1);
  if (end < 0) return "no";
  const length = numberOf(bytes, 1);
  if (end + length + 2 > bytes.length) return end < bytes.length ? "yes" : "more";
  return bytes[end + length] === CR && bytes[end + length + 1] === LF ? "yes" : "no";
}

function judgeError(bytes: Uint8Array): Verdict {
  let end = 1;
  while (end < bytes.length && end < VERB_BYTES_MAX && isCapital(bytes[end])) end++;
  if (end < 3) return "no";
  const word = latin(bytes, 1, end);
  if (ERRORS.has(word)) return "yes";
  // NATS and POP3 say -ERR, too: only Redis goes on with these words.
  const isKnown =
    word === "ERR" &&
    /^ (unknown command|wrong number|value is|syntax error|Protocol|no such)/.test(latin(bytes, end, end + 24));
  return isKnown ? "yes" : word === "ERR" ? "more" : "no";
}

function judgeInteger(bytes: Uint8Array): Verdict {
  const from = bytes[1] === 0x2d ? 2 : 1;
  const end = numberEnd(bytes, from);
  if (end < 0) return "no";
  return "more";
}

/**
 * Is an array whose first word is `verb` a message of a server? `more` where its third element is not seen yet: that of a
 * confirmation is a number.
 */
function judgePush(bytes: Uint8Array, verb: string): Verdict {
  if (!PUSHES.has(verb)) return "no";
  if (verb.endsWith("message") || verb === "invalidate") return "yes";
  if (bytes[1] !== 0x33 || bytes[2] !== CR) return "no";
  let at = numberEnd(bytes, numberEnd(bytes, 1) + 1) + verb.length + 2;
  if (bytes[at] === DOLLAR && bytes[at + 1] !== 0x2d) {
    const end = numberEnd(bytes, at + 1);
    if (end < 0) return "no";
    at = end + numberOf(bytes, at + 1) + 2;
  } else at = bytes.indexOf(LF, at) + 1 || bytes.length;
  if (at >= bytes.length) return "more";
  return bytes[at] === 0x3a ? "yes" : "no";
}

/** The first word of an array of bulk strings; none where it is no such array, or too short to tell. */
function readArrayHead(bytes: Uint8Array): { verb: string | undefined; isShort: boolean } {
  if (bytes[0] !== STAR) return { verb: undefined, isShort: false };
  const count = numberEnd(bytes, 1);
  if (count < 0) return { verb: undefined, isShort: false };
  if (count >= bytes.length) return { verb: undefined, isShort: true };
  if (bytes[count] !== DOLLAR || numberOf(bytes, 1) === 0) return { verb: undefined, isShort: false };
  const start = numberEnd(bytes, count + 1);
  if (start < 0) return { verb: undefined, isShort: false };
  // Where nothing follows its digits, the length may go on.
  if (start >= bytes.length) return { verb: undefined, isShort: true };
  const length = numberOf(bytes, count + 1);
  if (length === 0 || length > VERB_BYTES_MAX) return { verb: undefined, isShort: false };
  const seen = Math.min(bytes.length, start + length);
  for (let at = start; at < seen; at++) if (!isVerbByte(bytes[at])) return { verb: undefined, isShort: false };
  if (start + length > bytes.length) return { verb: undefined, isShort: true };
  const after = bytes[start + length];
  if (after !== undefined && after !== CR) return { verb: undefined, isShort: false };
  // Commands hold nothing but strings.
  const next = bytes[start + length + 2];
  if (numberOf(bytes, 1) > 1 && next !== undefined && next !== DOLLAR) return { verb: undefined, isShort: false };
  return { verb: latin(bytes, start, start + length), isShort: false };
}

/** The first word, in capitals, of a line that is text to its end, as far as it is seen. */
function lineVerb(bytes: Uint8Array): string | undefined {
  let end = 0;
  while (end < bytes.length && end < VERB_BYTES_MAX && isVerbByte(bytes[end])) end++;
  if (end < 2) return undefined;
  for (let at = end; at < bytes.length && at < LINE_BYTES_MAX; at++) {
    const byte = bytes[at] as number;
    if (byte === LF) break;
    if (at === end && byte !== 0x20 && byte !== CR) return undefined;
    if (byte < 0x20 && byte !== 0x09 && byte !== CR) return undefined;
  }
  return latin(bytes, 0, end).toUpperCase();
}

/** Where a number and its line end are over; the length of `bytes` where they may go on; -1 where it is no number. */
function numberEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && at - from < DIGITS_MAX && isDigit(bytes[at])) at++;
  if (at >= bytes.length) return bytes.length;
  if (at === from || bytes[at] !== CR) return -1;
  if (at + 1 >= bytes.length) return bytes.length;
  return bytes[at + 1] === LF ? at + 2 : -1;
}

function numberOf(bytes: Uint8Array, from: number): number {
  let number = 0;
  for (let at = from; at < bytes.length && isDigit(bytes[at]); at++)
    number = number * 10 + (bytes[at] as number) - 0x30;
  return number;
}

function lineIs(bytes: Uint8Array, text: string): boolean {
  return latin(bytes, 0, text.length) === text && (bytes[text.length] === CR || bytes.length === text.length);
}

function latin(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < Math.min(end, bytes.length); at++) text += String.fromCharCode(bytes[at] as number);
  return text;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

function isCapital(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x41 && byte <= 0x5a;
}

/** Letters, digits, and what modules put between them. */
function isVerbByte(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return (lower >= 0x61 && lower <= 0x7a) || isDigit(byte) || byte === 0x2e || byte === 0x5f || byte === 0x2d;
}
