/** Values of OTLP JSON that plain protobuf JSON writes otherwise: ids in hex, enums as numbers, times in halves. */

import type { JsonCursor } from "./json-reader.ts";
import { peekToken, readBigInt, readString } from "./json-reader.ts";
import { WireError } from "./wire-error.ts";

export const UINT64_MAX = 2n ** 64n - 1n;
const LOW_HALF = 0xffff_ffffn;
const INT32_MIN = -(2n ** 31n);
const INT32_MAX = 2n ** 31n - 1n;
/** Longest whole number that cannot exceed 64 bits, and the digits that are read apart from those before. */
const PLAIN_DIGITS_MAX = 19;
const LOWER_DIGITS = 9;
const TWO_POW_16 = 2 ** 16;
const TWO_POW_32 = 2 ** 32;
const ZERO = 0x30;
/** Where an id is read to. */
const ID_BYTES = new Uint8Array(32);
/** Value of a hex digit by its char code, -1 for other characters. */
const HEX_VALUES = Int8Array.from({ length: 128 }, (_, code) => {
  const value = Number.parseInt(String.fromCharCode(code), 16);
  return Number.isNaN(value) ? -1 : value;
});
const HEX = /^(?:[0-9a-fA-F]{2})*$/;
const ENUM_DIGITS = /^-?\d{1,10}$/;
const QUOTE = 0x22;
const COMMA = 0x2c;
const CLOSE_OBJECT = 0x7d;

/** Reads an id: hex of any case and length. The bytes are valid until the next call. */
export function readHexBytes(cursor: JsonCursor): Uint8Array {
  const length = readPlainHex(cursor);
  if (length >= 0) return ID_BYTES.subarray(0, length);
  const start = cursor.at;
  const text = readString(cursor);
  if (!HEX.test(text)) throw new WireError("an id is not hex", start);
  return Buffer.from(text, "hex");
}

/** Reads hex without escapes into `ID_BYTES`. @returns How many bytes; -1, and nothing read, for all else. */
function readPlainHex(cursor: JsonCursor): number {
  if (peekToken(cursor) !== QUOTE) return -1;
  const { text } = cursor;
  const start = cursor.at + 1;
  for (let length = 0; length <= ID_BYTES.length; length++) {
    const at = start + 2 * length;
    const first = text.charCodeAt(at);
    if (first === QUOTE) {
      cursor.at = at + 1;
      return length;
    }
    const high = HEX_VALUES[first] ?? -1;
    const low = HEX_VALUES[text.charCodeAt(at + 1)] ?? -1;
    if (high < 0 || low < 0) return -1;
    ID_BYTES[length] = 16 * high + low;
  }
  return -1;
}

/** Reads an unsigned 64-bit integer in two halves and hands it on. */
export function readHalves(cursor: JsonCursor, take: (low: number, high: number) => void): void {
  const digits = countPlainDigits(cursor);
  if (digits > 0) {
    const { text } = cursor;
    const start = text.charCodeAt(cursor.at) === QUOTE ? cursor.at + 1 : cursor.at;
    const split = Math.max(0, digits - LOWER_DIGITS);
    const upper = decimal(text, start, start + split);
    // Exact in doubles: upper * 10^9 + lower, with upper cut at 16 bits.
    const upperHigh = Math.floor(upper / TWO_POW_16) * 1e9;
    const high = Math.floor(upperHigh / TWO_POW_16);
    const rest =
      (upperHigh - high * TWO_POW_16) * TWO_POW_16 +
      (upper % TWO_POW_16) * 1e9 +
      decimal(text, start + split, start + digits);
    const carry = Math.floor(rest / TWO_POW_32);
    cursor.at = start === cursor.at ? start + digits : start + digits + 1;
    take(rest - carry * TWO_POW_32, high + carry);
    return;
  }
  const time = readBigInt(cursor, 0n, UINT64_MAX);
  take(Number(time & LOW_HALF), Number(time >> 32n));
}

/** Digits of the whole number at the cursor, bare or in quotes, where it is nothing but up to 19 digits; else 0. */
function countPlainDigits(cursor: JsonCursor): number {
  const quoted = peekToken(cursor) === QUOTE;
  const { text } = cursor;
  const start = quoted ? cursor.at + 1 : cursor.at;
  let digits = 0;
  while (digits <= PLAIN_DIGITS_MAX && isDigit(text.charCodeAt(start + digits))) digits++;
  if (digits === 0 || digits > PLAIN_DIGITS_MAX) return 0;
  const after = text.charCodeAt(start + digits);
  if (quoted) return after === QUOTE ? digits : 0;
  // A bare number has no leading zeros, and may go on with a fraction or an exponent.
  if (text.charCodeAt(start) === ZERO && digits > 1) return 0;
  return after === COMMA || after === CLOSE_OBJECT ? digits : 0;
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= ZERO + 9;
}

function decimal(text: string, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) value = 10 * value + text.charCodeAt(at) - ZERO;
  return value;
}

/** Reads a number, the same in a string, or a name. Unknown numbers stay as they are, unknown names throw. */
export function readEnumNumber(cursor: JsonCursor, names: readonly string[]): number {
  const start = cursor.at;
  if (peekToken(cursor) !== QUOTE) return Number(readBigInt(cursor, INT32_MIN, INT32_MAX));
  const text = readString(cursor);
  const index = names.indexOf(text);
  if (index >= 0) return index;
  if (!ENUM_DIGITS.test(text)) throw new WireError("an enum has an unknown name", start);
  return Number(text);
}

/** As `readEnumNumber`; numbers beyond the names become 0. */
export function readEnum(cursor: JsonCursor, names: readonly string[]): number {
  const value = readEnumNumber(cursor, names);
  return value >= 0 && value < names.length ? value : 0;
}
