/**
 * OTLP attribute values between protobuf and the model's attributes; of lists the model keeps their OTLP JSON
 * (`any-value-json.ts`).
 */

import type { Attribute } from "../model/span-batch.ts";
import {
  ATTRIBUTE_NESTING_MAX,
  type AttributeValue,
  anyValueToJson,
  bytesText,
  INT64_MAX,
  INT64_MIN,
  JsonElements,
  keyValueToJson,
  readBase64,
} from "./any-value-json.ts";
import {
  firstElement,
  firstKey,
  type JsonCursor,
  jsonCursorOver,
  nextElement,
  nextKey,
  readBigInt,
  readBoolean,
  readDoubleJson,
  readString,
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
import type { RequestTexts } from "./request-texts.ts";

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
        found.value = bytesText(readByteView(cursor));
        break;
      default:
        skipField(cursor, tag);
    }
  }
}

/** JSON elements of an ArrayValue or KeyValueList, with commas between them. */
function readListJson(cursor: ProtobufCursor, depth: number, pairs: boolean): string {
  const outerEnd = enterMessage(cursor);
  const elements = new JsonElements();
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

/** Writes a KeyValue under field `field`. */
export function writeKeyValue(writer: ProtobufWriter, field: number, attribute: Attribute): void {
  const pair = writer.openMessage(field);
  writer.writeText(1, attribute.key);
  writeAnyValue(writer, 2, attribute);
  writer.closeMessage(pair);
}

/** Writes an AnyValue under field `field`. Text of kind `j` must be what was read from a value. */
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
