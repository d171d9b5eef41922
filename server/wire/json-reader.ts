/**
 * A pull reader of JSON text that keeps every digit of a number and builds no objects.
 *
 * Invariant: each function is called with the cursor before the value it reads (white space allowed) and leaves it
 * right behind; anything that is not JSON (RFC 8259), or nested too deeply, throws `WireError`.
 * Runs in time proportional to the text.
 */

import { WireError } from "./wire-error.ts";

/** Objects and arrays inside each other; OTLP itself needs about ten plus the depth of its attribute values. */
const JSON_DEPTH_MAX = 256;
/** The same within a value that is skipped: four for each level of an attribute value. */
const SKIPPED_DEPTH_MAX = 40_000;
/** Escaped units that become a part of a string together. */
const CODES_MAX = 4_096;
/** Digits an exponent may add to a number that must be an integer. */
const EXPONENT_MAX = 30;

/** Longer runs of white space are left to a regular expression, which takes a seventh of the time for each. */
const SHORT_RUN = 64;
const SPACES = /[ \n\r\t]+/y;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const MINUS = 0x2d;
const INTEGER = /^-?\d+$/;
const DECIMAL = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d{1,6}))?$/;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** A position in JSON text. */
export interface JsonCursor {
  readonly text: string;
  at: number;
  depth: number;
  /** Strings with lone surrogates that were replaced so far. */
  textRepaired: number;
  /** Attribute values that were emptied so far since they are nested too deeply. */
  valuesCut: number;
}

/** A cursor at the first character of a JSON text, past a byte order mark. */
export function jsonCursorOver(text: string): JsonCursor {
  return { text, at: text.charCodeAt(0) === 0xfeff ? 1 : 0, depth: 0, textRepaired: 0, valuesCut: 0 };
}

/** Char code of the next token's first character; NaN at the end of the text. */
export function peekToken(cursor: JsonCursor): number {
  for (let run = 0; ; run++) {
    const code = cursor.text.charCodeAt(cursor.at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
    if (run < SHORT_RUN) cursor.at++;
    else {
      SPACES.lastIndex = cursor.at;
      SPACES.test(cursor.text);
      cursor.at = SPACES.lastIndex;
    }
  }
}

/** True and past it when the next value is `null`, which protobuf JSON takes as the field's default. */
export function skipNull(cursor: JsonCursor): boolean {
  if (peekToken(cursor) !== 0x6e) return false;
  literal(cursor, "null");
  return true;
}

/** Opens an object and reads its first key; undefined (and past the object) when it has none. */
export function firstKey(cursor: JsonCursor): string | undefined {
  if (peekToken(cursor) !== OPEN_OBJECT) throw unexpected(cursor, "an object");
  cursor.at++;
  descend(cursor);
  if (peekToken(cursor) === CLOSE_OBJECT) {
    cursor.at++;
    cursor.depth--;
    return undefined;
  }
  return key(cursor);
}

/** The key after the value just read; undefined (and past the object) after the last one. */
export function nextKey(cursor: JsonCursor): string | undefined {
  const code = peekToken(cursor);
  if (code === COMMA) {
    cursor.at++;
    return key(cursor);
  }
  if (code !== CLOSE_OBJECT) throw unexpected(cursor, "',' or '}'");
  cursor.at++;
  cursor.depth--;
  return undefined;
}

/** Opens an array; false (and past it) when it is empty. */
export function firstElement(cursor: JsonCursor): boolean {
  if (peekToken(cursor) !== OPEN_ARRAY) throw unexpected(cursor, "an array");
  cursor.at++;
  descend(cursor);
  if (peekToken(cursor) !== CLOSE_ARRAY) return true;
  cursor.at++;
  cursor.depth--;
  return false;
}

/** True when another element follows the one just read; false (and past the array) after the last one. */
export function nextElement(cursor: JsonCursor): boolean {
  const code = peekToken(cursor);
  cursor.at++;
  if (code === COMMA) return true;
  if (code !== CLOSE_ARRAY) {
    cursor.at--;
    throw unexpected(cursor, "',' or ']'");
  }
  cursor.depth--;
  return false;
}

/** Reads a string; lone surrogates become U+FFFD and are counted. */
export function readString(cursor: JsonCursor): string {
  if (peekToken(cursor) !== QUOTE) throw unexpected(cursor, "a string");
  const { text } = cursor;
  const start = cursor.at + 1;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      cursor.at = at + 1;
      return text.slice(start, at);
    }
    if (code === BACKSLASH) return stringWithEscapes(cursor, start, at);
    if (code < 0x20) throw new WireError("a control character stands in a string", at);
  }
  throw new WireError("a string does not end", cursor.at);
}

/** Reads `true` or `false`. */
export function readBoolean(cursor: JsonCursor): boolean {
  const isTrue = peekToken(cursor) === 0x74;
  literal(cursor, isTrue ? "true" : "false");
  return isTrue;
}

/** Text of a number, or of a string in its place. */
function readNumberText(cursor: JsonCursor): string {
  if (peekToken(cursor) === QUOTE) return readString(cursor);
  const { text } = cursor;
  const start = cursor.at;
  let at = start;
  while (isNumberPart(text.charCodeAt(at))) at++;
  const number = text.slice(start, at);
  if (!NUMBER.test(number)) throw unexpected(cursor, "a number");
  cursor.at = at;
  return number;
}

/** Reads an integer of at most 64 bits, written as number or string, also as `1e3` or `1.0`. */
export function readBigInt(cursor: JsonCursor, min: bigint, max: bigint): bigint {
  const start = cursor.at;
  const text = readNumberText(cursor);
  const value = text.length <= 20 && INTEGER.test(text) ? BigInt(text) : exactInteger(text);
  if (value === undefined || value < min || value > max) throw new WireError("not an integer in range", start);
  return value;
}

/** Reads a uint32, written as number or string. */
export function readUint32Json(cursor: JsonCursor): number {
  return Number(readBigInt(cursor, 0n, 0xffff_ffffn));
}

/** Reads a double, written as number, or as string with `NaN`, `Infinity` and `-Infinity` allowed. */
export function readDoubleJson(cursor: JsonCursor): number {
  const start = cursor.at;
  const text = readNumberText(cursor);
  if (text === "NaN") return Number.NaN;
  if (text === "Infinity") return Number.POSITIVE_INFINITY;
  if (text === "-Infinity") return Number.NEGATIVE_INFINITY;
  if (!NUMBER.test(text)) throw new WireError("not a number", start);
  return Number(text);
}

/** Skips a value of any kind, without recursion, since a skipped value may be nested more deeply than one that is read. */
export function skipValue(cursor: JsonCursor): void {
  /** The closing bracket of every object and array around the value at hand. */
  const open: number[] = [];
  do {
    const code = peekToken(cursor);
    if (code === OPEN_OBJECT || code === OPEN_ARRAY) {
      const close = code === OPEN_OBJECT ? CLOSE_OBJECT : CLOSE_ARRAY;
      cursor.at++;
      if (peekToken(cursor) !== close) {
        if (open.push(close) > SKIPPED_DEPTH_MAX) {
          throw new WireError(`nested deeper than ${SKIPPED_DEPTH_MAX}`, cursor.at);
        }
        if (close === CLOSE_OBJECT) key(cursor);
        continue;
      }
      cursor.at++;
    } else skipScalar(cursor, code);
    while (open.length > 0 && !nextInside(cursor, open.at(-1) ?? 0)) open.pop();
  } while (open.length > 0);
}

/** Past the comma, and in an object the key, before the next value; false and past the bracket where there is none. */
function nextInside(cursor: JsonCursor, close: number): boolean {
  const code = peekToken(cursor);
  if (code !== COMMA && code !== close) throw unexpected(cursor, "',' or a closing bracket");
  cursor.at++;
  if (code === close) return false;
  if (close === CLOSE_OBJECT) key(cursor);
  return true;
}

function skipScalar(cursor: JsonCursor, code: number): void {
  if (code === QUOTE) readString(cursor);
  else if (code === MINUS || (code >= 0x30 && code <= 0x39)) readNumberText(cursor);
  else if (code === 0x6e) literal(cursor, "null");
  else readBoolean(cursor);
}

/** Throws unless only white space is left. */
export function expectEnd(cursor: JsonCursor): void {
  if (!Number.isNaN(peekToken(cursor))) throw unexpected(cursor, "the end");
}

function descend(cursor: JsonCursor): void {
  cursor.depth++;
  if (cursor.depth > JSON_DEPTH_MAX) throw new WireError(`nested deeper than ${JSON_DEPTH_MAX}`, cursor.at);
}

function key(cursor: JsonCursor): string {
  const name = readString(cursor);
  if (peekToken(cursor) !== COLON) throw unexpected(cursor, "':'");
  cursor.at++;
  return name;
}

function literal(cursor: JsonCursor, word: string): void {
  if (!cursor.text.startsWith(word, cursor.at)) throw unexpected(cursor, "a value");
  cursor.at += word.length;
}

function isNumberPart(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || code === MINUS || code === 0x2b || code === 0x2e || (code | 0x20) === 0x65;
}

function stringWithEscapes(cursor: JsonCursor, start: number, firstEscape: number): string {
  const { text } = cursor;
  // Escapes of one unit each would make millions of parts: they are gathered in codes first.
  const parts: string[] = [];
  const codes: number[] = [];
  let plain = start;
  let surrogates = false;
  const flush = () => {
    if (codes.length > 0) parts.push(String.fromCharCode(...codes.splice(0)));
  };
  for (let at = firstEscape; at < text.length; ) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      flush();
      parts.push(text.slice(plain, at));
      cursor.at = at + 1;
      const whole = parts.join("");
      if (!surrogates || whole.isWellFormed()) return whole;
      cursor.textRepaired++;
      return whole.toWellFormed();
    }
    if (code < 0x20) throw new WireError("a control character stands in a string", at);
    if (code !== BACKSLASH) {
      at++;
      continue;
    }
    if (plain < at) {
      flush();
      parts.push(text.slice(plain, at));
    }
    const unit = escapedUnit(text, at + 1);
    if (unit >= 0xd800 && unit <= 0xdfff) surrogates = true;
    if (codes.push(unit) === CODES_MAX) flush();
    at += text.charCodeAt(at + 1) === 0x75 ? 6 : 2;
    plain = at;
  }
  throw new WireError("a string does not end", cursor.at);
}

function escapedUnit(text: string, at: number): number {
  switch (text[at]) {
    case '"':
      return QUOTE;
    case "\\":
      return BACKSLASH;
    case "/":
      return 0x2f;
    case "b":
      return 8;
    case "f":
      return 12;
    case "n":
      return 10;
    case "r":
      return 13;
    case "t":
      return 9;
    case "u": {
      const digits = text.slice(at + 1, at + 5);
      if (/^[0-9a-fA-F]{4}$/.test(digits)) return Number.parseInt(digits, 16);
      throw new WireError("\\u is not followed by four hex digits", at);
    }
    default:
      throw new WireError("an unknown escape stands in a string", at);
  }
}

/** The integer that decimal text with fraction or exponent denotes; undefined where it is none or has too many digits. */
function exactInteger(text: string): bigint | undefined {
  if (text.length > 64) return undefined;
  const match = DECIMAL.exec(text);
  if (match === null) return undefined;
  const [, sign = "", whole = "", fraction = "", exponentText = "0"] = match;
  const digits = whole + fraction;
  const shift = Number(exponentText) - fraction.length;
  if (BigInt(digits) === 0n) return 0n;
  if (shift >= 0) return shift > EXPONENT_MAX ? undefined : BigInt(`${sign}${digits}${"0".repeat(shift)}`);
  const kept = digits.slice(0, shift);
  if (/[1-9]/.test(digits.slice(shift))) return undefined;
  return kept === "" ? 0n : BigInt(sign + kept);
}

function unexpected(cursor: JsonCursor, wanted: string): WireError {
  return new WireError(
    cursor.at >= cursor.text.length ? `ends where ${wanted} should be` : `expected ${wanted}`,
    cursor.at,
  );
}
