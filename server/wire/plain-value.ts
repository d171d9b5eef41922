/** Attribute values as one plain text, as labels and names have them. */

import { type AttributeValue, INT64_MAX, INT64_MIN } from "./any-value-json.ts";
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
} from "./json-reader.ts";

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
