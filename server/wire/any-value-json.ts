/**
 * OTLP JSON of attribute values, which is also what the model keeps of lists.
 *
 * The model keeps a value as text with its kind (`model/span-batch.ts`); arrays and key-value lists are kept as the
 * OTLP JSON of their AnyValue, in one canonical form: no white space, integers as strings, members always written.
 */

import type { Attribute, AttributeKind } from "../model/span-batch.ts";
import type { JsonCursor } from "./json-reader.ts";
import {
  firstElement,
  firstKey,
  nextElement,
  nextKey,
  readBigInt,
  readBoolean,
  readDoubleJson,
  readString,
  skipNull,
  skipValue,
} from "./json-reader.ts";
import { TEXT_BYTES_MAX } from "./request-texts.ts";
import { WireError } from "./wire-error.ts";

/** Arrays and key-value lists inside each other within one attribute value; what stands deeper is emptied and counted. */
export const ATTRIBUTE_NESTING_MAX = 32;

export const INT64_MIN = -(2n ** 63n);
export const INT64_MAX = 2n ** 63n - 1n;
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** A value as the model keeps it. */
export interface AttributeValue {
  kind: AttributeKind;
  value: string;
}

/** OTLP JSON of one attribute. */
export function keyValueToJson(key: string, value: AttributeValue): string {
  return `{"key":${JSON.stringify(key)},"value":${anyValueToJson(value)}}`;
}

/** OTLP JSON of a value; `{}` for the empty one. */
export function anyValueToJson(value: Readonly<AttributeValue>): string {
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

function doubleToJson(text: string): string {
  return text === "NaN" || text.endsWith("Infinity") ? `"${text}"` : text;
}

/** Bytes as a value keeps them. */
export function bytesText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** Elements of a list with commas between them; those behind so much text are left out, as ingest cuts the text anyway. */
export class JsonElements {
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
        found.value = bytesText(readBase64(cursor));
        break;
      default:
        skipValue(cursor);
    }
  }
}

function readListFromJson(cursor: JsonCursor, depth: number, pairs: boolean): string {
  const elements = new JsonElements();
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
export function readBase64(cursor: JsonCursor): Uint8Array {
  const start = cursor.at;
  const text = readString(cursor);
  const unpadded = text.replace(/=+$/, "").length;
  if (!BASE64.test(text) || unpadded % 4 === 1) throw new WireError("not base64", start);
  return Buffer.from(text, "base64");
}
