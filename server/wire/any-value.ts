/**
 * OTLP attribute values between protobuf, OTLP JSON and the model's attributes.
 *
 * The model keeps a value as text with its kind (`model/span-batch.ts`); arrays and key-value lists are kept as the
 * OTLP JSON of their AnyValue, in one canonical form: no white space, integers as strings, members always written.
 */

import type { Attribute, AttributeKind } from "../model/span-batch.ts";
import type { JsonCursor } from "./json-reader.ts";
import {
  firstElement,
  firstKey,
  jsonCursorOver,
  nextElement,
  nextKey,
  readBigInt,
  readBoolean,
  readDoubleJson,
  readString,
  skipNull,
  skipValue,
} from "./json-reader.ts";
import { skipNestedValue } from "./nested-value.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  enterMessage,
  leaveMessage,
  readByteView,
  readDouble,
  readInt64,
  readInt64Number,
  readLength,
  readTag,
  readText,
  skipField,
} from "./protobuf-reader.ts";
import type { ProtobufWriter } from "./protobuf-writer.ts";
import { type RequestTexts, TEXT_BYTES_MAX } from "./request-texts.ts";
import { WireError } from "./wire-error.ts";

/** Arrays and key-value lists inside each other within one attribute value; what stands deeper is emptied and counted. */
export const ATTRIBUTE_NESTING_MAX = 32;

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** A value as the model keeps it. */
export interface AttributeValue {
  kind: AttributeKind;
  value: string;
}

/** Reads a KeyValue message; the cursor stands before its length. */
export function readKeyValue(cursor: ProtobufCursor): Attribute {
  const outerEnd = enterMessage(cursor);
  let key = "";
  const found: AttributeValue = { kind: "n", value: "" };
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) key = readText(cursor);
    else if (tag === 18) readAnyValue(cursor, found, 0);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  return { key, kind: found.kind, value: found.value };
}

/** A value whose text is an index into the texts of the request. */
export interface ValueColumns {
  /** Char code of an `AttributeKind`. */
  kind: number;
  text: number;
}

const CODE = { s: 0x73, b: 0x62, i: 0x69, n: 0x6e } as const;
const complex: AttributeValue = { kind: "n", value: "" };

/** As `readAnyValue` for the value of an attribute, without a string where the bytes hold it as it is kept. */
export function readValueColumns(cursor: ProtobufCursor, texts: RequestTexts, found: ValueColumns): void {
  const outerEnd = enterMessage(cursor);
  const start = cursor.at;
  found.kind = CODE.n;
  found.text = 0;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) {
      const end = readLength(cursor);
      found.kind = CODE.s;
      found.text = texts.at(cursor.at, end);
      cursor.at = end;
    } else if (tag === 24) {
      found.kind = CODE.i;
      found.text = readDecimal(cursor, texts);
    } else if (tag === 16) {
      found.kind = CODE.b;
      found.text = texts.shared(readInt64(cursor) === 0n ? "false" : "true");
    } else if (tag === 33 || tag === 42 || tag === 50 || tag === 58) {
      cursor.at = start;
      readMembers(cursor, complex, 0);
      found.kind = complex.kind.charCodeAt(0);
      found.text = texts.shared(complex.value);
    } else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

/** Most whole numbers are small and take one or two bytes. */
function readDecimal(cursor: ProtobufCursor, texts: RequestTexts): number {
  const start = cursor.at;
  if (start + 3 <= cursor.end) {
    const value = smallVarint(cursor);
    if (value >= 0) return texts.decimal(value);
  }
  cursor.at = start;
  const value = readInt64Number(cursor);
  if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) return texts.decimal(value);
  cursor.at = start;
  return texts.of(readInt64(cursor).toString());
}

/** A varint of at most three bytes; -1 where it is longer. */
function smallVarint(cursor: ProtobufCursor): number {
  let value = 0;
  for (let shift = 0; shift < 21; shift += 7) {
    const byte = cursor.bytes[cursor.at++] ?? 0;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return -1;
}

/** Reads an AnyValue message into `found`; the last member of the oneof wins. The cursor stands before its length. */
function readAnyValue(cursor: ProtobufCursor, found: AttributeValue, depth: number): void {
  if (depth > ATTRIBUTE_NESTING_MAX) {
    found.kind = "n";
    found.value = "";
    skipNestedValue(cursor);
    return;
  }
  const outerEnd = enterMessage(cursor);
  readMembers(cursor, found, depth);
  leaveMessage(cursor, outerEnd);
}

function readMembers(cursor: ProtobufCursor, found: AttributeValue, depth: number): void {
  found.kind = "n";
  found.value = "";
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    switch (tag) {
      case 10:
        found.kind = "s";
        found.value = readText(cursor);
        break;
      case 16:
        found.kind = "b";
        found.value = readInt64(cursor) === 0n ? "false" : "true";
        break;
      case 24:
        found.kind = "i";
        found.value = readInt64(cursor).toString();
        break;
      case 33:
        found.kind = "d";
        found.value = String(readDouble(cursor));
        break;
      case 42:
        found.kind = "j";
        found.value = `{"arrayValue":{"values":[${readListJson(cursor, depth, false)}]}}`;
        break;
      case 50:
        found.kind = "j";
        found.value = `{"kvlistValue":{"values":[${readListJson(cursor, depth, true)}]}}`;
        break;
      case 58:
        found.kind = "x";
        found.value = base64(readByteView(cursor));
        break;
      default:
        skipField(cursor, tag);
    }
  }
}

/** JSON elements of an ArrayValue or KeyValueList, with commas between them. */
function readListJson(cursor: ProtobufCursor, depth: number, pairs: boolean): string {
  const outerEnd = enterMessage(cursor);
  const elements = new Elements();
  const found: AttributeValue = { kind: "n", value: "" };
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag !== 10) {
      skipField(cursor, tag);
    } else if (pairs) {
      elements.add(readPairJson(cursor, found, depth + 1));
    } else {
      readAnyValue(cursor, found, depth + 1);
      elements.add(anyValueToJson(found));
    }
  }
  leaveMessage(cursor, outerEnd);
  return elements.text;
}

function readPairJson(cursor: ProtobufCursor, found: AttributeValue, depth: number): string {
  const outerEnd = enterMessage(cursor);
  let key = "";
  found.kind = "n";
  found.value = "";
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) key = readText(cursor);
    else if (tag === 18) readAnyValue(cursor, found, depth);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  return keyValueToJson(key, found);
}

/** OTLP JSON of one attribute. */
export function keyValueToJson(key: string, value: AttributeValue): string {
  return `{"key":${JSON.stringify(key)},"value":${anyValueToJson(value)}}`;
}

/** OTLP JSON of a value; `{}` for the empty one. */
function anyValueToJson(value: Readonly<AttributeValue>): string {
  switch (value.kind) {
    case "s":
      return `{"stringValue":${JSON.stringify(value.value)}}`;
    case "i":
      return `{"intValue":"${value.value}"}`;
    case "d":
      return `{"doubleValue":${doubleToJson(value.value)}}`;
    case "b":
      return `{"boolValue":${value.value}}`;
    case "j":
      return value.value;
    case "x":
      return `{"bytesValue":"${value.value}"}`;
    case "n":
      return "{}";
  }
}

/** Reads the OTLP JSON of an AnyValue. */
export function readValueJson(cursor: JsonCursor): AttributeValue {
  const found: AttributeValue = { kind: "n", value: "" };
  readAnyValueJson(cursor, found, 0);
  return found;
}

/** Reads the OTLP JSON of one attribute. */
export function readKeyValueJson(cursor: JsonCursor): Attribute {
  return readPair(cursor, 0);
}

function readPair(cursor: JsonCursor, depth: number): Attribute {
  let key = "";
  const found: AttributeValue = { kind: "n", value: "" };
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "key") key = readString(cursor);
    else if (name === "value") readAnyValueJson(cursor, found, depth);
    else skipValue(cursor);
  }
  return { key, kind: found.kind, value: found.value };
}

/** Reads the OTLP JSON of an AnyValue into `found`; the last member wins. */
function readAnyValueJson(cursor: JsonCursor, found: AttributeValue, depth: number): void {
  found.kind = "n";
  found.value = "";
  if (depth > ATTRIBUTE_NESTING_MAX) {
    cursor.valuesCut++;
    skipValue(cursor);
    return;
  }
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    switch (name) {
      case "stringValue":
        found.kind = "s";
        found.value = readString(cursor);
        break;
      case "boolValue":
        found.kind = "b";
        found.value = String(readBoolean(cursor));
        break;
      case "intValue":
        found.kind = "i";
        found.value = readBigInt(cursor, INT64_MIN, INT64_MAX).toString();
        break;
      case "doubleValue":
        found.kind = "d";
        found.value = String(readDoubleJson(cursor));
        break;
      case "arrayValue":
        found.kind = "j";
        found.value = `{"arrayValue":{"values":[${readListFromJson(cursor, depth, false)}]}}`;
        break;
      case "kvlistValue":
        found.kind = "j";
        found.value = `{"kvlistValue":{"values":[${readListFromJson(cursor, depth, true)}]}}`;
        break;
      case "bytesValue":
        found.kind = "x";
        found.value = base64(readBase64(cursor));
        break;
      default:
        skipValue(cursor);
    }
  }
}

function readListFromJson(cursor: JsonCursor, depth: number, pairs: boolean): string {
  const elements = new Elements();
  const found: AttributeValue = { kind: "n", value: "" };
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name !== "values") {
      skipValue(cursor);
      continue;
    }
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
      if (pairs) {
        const pair = readPair(cursor, depth + 1);
        elements.add(keyValueToJson(pair.key, pair));
      } else if (skipNull(cursor)) {
        elements.add("{}");
      } else {
        readAnyValueJson(cursor, found, depth + 1);
        elements.add(anyValueToJson(found));
      }
    }
  }
  return elements.text;
}

/** Reads base64, standard or URL alphabet, with or without padding. */
function readBase64(cursor: JsonCursor): Uint8Array {
  const start = cursor.at;
  const text = readString(cursor);
  const unpadded = text.replace(/=+$/, "").length;
  if (!BASE64.test(text) || unpadded % 4 === 1) throw new WireError("not base64", start);
  return Buffer.from(text, "base64");
}

/** Writes a KeyValue under field `field`. */
export function writeKeyValue(writer: ProtobufWriter, field: number, attribute: Attribute): void {
  const pair = writer.openMessage(field);
  writer.writeText(1, attribute.key);
  writeAnyValue(writer, 2, attribute);
  writer.closeMessage(pair);
}

/** Writes an AnyValue under field `field`. Text of kind `j` must be what this module made of a value. */
function writeAnyValue(writer: ProtobufWriter, field: number, value: Readonly<AttributeValue>): void {
  if (value.kind === "j") {
    writeJsonValue(writer, field, jsonCursorOver(value.value));
    return;
  }
  const message = writer.openMessage(field);
  switch (value.kind) {
    case "s":
      writer.writeText(1, value.value);
      break;
    case "b":
      writer.writeUint32(2, value.value === "true" ? 1 : 0);
      break;
    case "i":
      writer.writeInt64(3, BigInt(value.value));
      break;
    case "d":
      writer.writeDouble(4, Number(value.value));
      break;
    case "x":
      writer.writeBytes(7, Buffer.from(value.value, "base64"));
      break;
    case "n":
      break;
  }
  writer.closeMessage(message);
}

/** Writes the AnyValue whose OTLP JSON comes next. */
function writeJsonValue(writer: ProtobufWriter, field: number, cursor: JsonCursor): void {
  const message = writer.openMessage(field);
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (name === "stringValue") writer.writeText(1, readString(cursor));
    else if (name === "boolValue") writer.writeUint32(2, readBoolean(cursor) ? 1 : 0);
    else if (name === "intValue") writer.writeInt64(3, readBigInt(cursor, INT64_MIN, INT64_MAX));
    else if (name === "doubleValue") writer.writeDouble(4, readDoubleJson(cursor));
    else if (name === "arrayValue") writeJsonList(writer, 5, cursor, false);
    else if (name === "kvlistValue") writeJsonList(writer, 6, cursor, true);
    else if (name === "bytesValue") writer.writeBytes(7, readBase64(cursor));
    else skipValue(cursor);
  }
  writer.closeMessage(message);
}

function writeJsonList(writer: ProtobufWriter, field: number, cursor: JsonCursor, pairs: boolean): void {
  const list = writer.openMessage(field);
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
      if (pairs) writeJsonPair(writer, cursor);
      else writeJsonValue(writer, 1, cursor);
    }
  }
  writer.closeMessage(list);
}

function writeJsonPair(writer: ProtobufWriter, cursor: JsonCursor): void {
  const pair = writer.openMessage(1);
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (name === "key") writer.writeText(1, readString(cursor));
    else writeJsonValue(writer, 2, cursor);
  }
  writer.closeMessage(pair);
}

function doubleToJson(text: string): string {
  return text === "NaN" || text.endsWith("Infinity") ? `"${text}"` : text;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/**
 * A value as one plain text: a list as a JSON array, key-value pairs as a JSON object with sorted keys, whatever is
 * inside without its type; the empty value as the empty text. As OpenTelemetry's Collector makes labels of values.
 */
export function plainValue({ kind, value }: Readonly<AttributeValue>): string {
  return kind === "j" ? (plainJson(jsonCursorOver(value)) ?? "") : value;
}

/** Plain JSON of the AnyValue whose OTLP JSON comes next; undefined where JSON has no such number. */
function plainJson(cursor: JsonCursor): string | undefined {
  let plain: string | undefined = "null";
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (name === "stringValue") plain = plainText(readString(cursor));
    else if (name === "boolValue") plain = String(readBoolean(cursor));
    else if (name === "intValue") plain = readBigInt(cursor, INT64_MIN, INT64_MAX).toString();
    else if (name === "doubleValue") {
      const number = readDoubleJson(cursor);
      plain = Number.isFinite(number) ? String(number) : undefined;
    } else if (name === "bytesValue") plain = `"${readString(cursor)}"`;
    else if (name === "arrayValue") plain = plainList(cursor);
    else plain = plainPairs(cursor);
  }
  return plain;
}

function plainList(cursor: JsonCursor): string | undefined {
  const elements: (string | undefined)[] = [];
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) elements.push(plainJson(cursor));
  }
  return elements.includes(undefined) ? undefined : `[${elements.join(",")}]`;
}

/** The last value of a key counts. */
function plainPairs(cursor: JsonCursor): string | undefined {
  const pairs = new Map<string, string | undefined>();
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
      let key = "";
      let plain: string | undefined = "null";
      for (let member = firstKey(cursor); member !== undefined; member = nextKey(cursor)) {
        if (member === "key") key = readString(cursor);
        else plain = plainJson(cursor);
      }
      pairs.set(key, plain);
    }
  }
  if ([...pairs.values()].includes(undefined)) return undefined;
  const sorted = [...pairs].sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([key, plain]) => `${plainText(key)}:${plain}`).join(",")}}`;
}

/** JavaScript takes these two as they are, JSON in Go escapes them. */
function plainText(text: string): string {
  return JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

/** Elements of a list with commas between them; those behind so much text are left out, as ingest cuts the text anyway. */
class Elements {
  readonly #parts: string[] = [];
  #length = 0;

  add(element: string): void {
    if (this.#length > TEXT_BYTES_MAX) return;
    this.#length += element.length + 1;
    this.#parts.push(element);
  }

  get text(): string {
    return this.#parts.join(",");
  }
}
