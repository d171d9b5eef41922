/** Values of OTLP JSON that plain protobuf JSON writes otherwise: ids in hex, enums as numbers, times in halves. */

import type { JsonCursor } from "./json-reader.ts";
import { peekToken, readBigInt, readString } from "./json-reader.ts";
import { WireError } from "./wire-error.ts";

export const UINT64_MAX = 2n ** 64n - 1n;
const LOW_HALF = 0xffff_ffffn;
const INT32_MIN = -(2n ** 31n);
const INT32_MAX = 2n ** 31n - 1n;
const HEX = /^(?:[0-9a-fA-F]{2})*$/;
const ENUM_DIGITS = /^-?\d{1,10}$/;
const QUOTE = 0x22;

/** Reads an id: hex of any case and length. */
export function readHexBytes(cursor: JsonCursor): Uint8Array {
  const start = cursor.at;
  const text = readString(cursor);
  if (!HEX.test(text)) throw new WireError("an id is not hex", start);
  return Buffer.from(text, "hex");
}

/** Reads an unsigned 64-bit integer in two halves and hands it on. */
export function readHalves(cursor: JsonCursor, take: (low: number, high: number) => void): void {
  const time = readBigInt(cursor, 0n, UINT64_MAX);
  take(Number(time & LOW_HALF), Number(time >> 32n));
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
