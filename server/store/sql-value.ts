/** DuckDB's values in the JSON form of the SQL face. */

import {
  DuckDBArrayValue,
  DuckDBBlobValue,
  DuckDBDateValue,
  DuckDBDecimalValue,
  DuckDBIntervalValue,
  DuckDBListValue,
  DuckDBMapValue,
  DuckDBStructValue,
  DuckDBTimestampMillisecondsValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampSecondsValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  DuckDBUnionValue,
  type DuckDBValue,
} from "@duckdb/node-api";
import type { SqlValue } from "./reader.ts";

const NS_PER_SECOND = 1_000_000_000n;
/** Times that JavaScript's Date covers, in seconds. */
const DATE_SECONDS_MAX = 8_640_000_000_000n;
const REFERENCE_BYTES = 8;
const STRING_BYTES_MIN = 20;
const NUMBER_BYTES = 16;
const OBJECT_BYTES_MIN = 160;
/** A key and its place in the table of an object without a fixed shape. */
const ENTRY_BYTES = 72;
/** Characters that no value is smaller than, brackets and comma counted. */
const VALUE_BYTES_MIN = 4;

/**
 * A value as JSON: 64-bit integers and decimals as text, NaN and infinities as text, times as RFC 3339 in UTC with nine
 * digits, maps and structs as objects, bytes in base64, everything else as DuckDB prints it.
 */
export function sqlValueOf(value: DuckDBValue): SqlValue {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "bigint") return value.toString();
  if (value instanceof DuckDBDecimalValue) return value.toString();
  if (value instanceof DuckDBMapValue) return mapOf(value);
  if (value instanceof DuckDBStructValue) {
    return Object.fromEntries(Object.entries(value.entries).map(([key, entry]) => [key, sqlValueOf(entry)]));
  }
  if (value instanceof DuckDBListValue || value instanceof DuckDBArrayValue) return value.items.map(sqlValueOf);
  if (value instanceof DuckDBBlobValue) return Buffer.from(value.bytes).toString("base64");
  if (value instanceof DuckDBUnionValue) return sqlValueOf(value.value);
  const timeNs = timeNsOf(value);
  if (timeNs !== undefined) return timeText(timeNs) ?? String(value);
  if (value instanceof DuckDBDateValue || value instanceof DuckDBIntervalValue) return value.toString();
  return String(value);
}

/** Bytes that a value takes in a JSON answer, near enough to bound it. */
export function jsonBytesOf(value: SqlValue): number {
  if (typeof value === "string") return value.length + VALUE_BYTES_MIN;
  if (value === null || typeof value !== "object") return VALUE_BYTES_MIN * 2;
  let bytes = VALUE_BYTES_MIN;
  if (Array.isArray(value)) for (const entry of value) bytes += jsonBytesOf(entry);
  else for (const [key, entry] of Object.entries(value)) bytes += key.length + VALUE_BYTES_MIN + jsonBytesOf(entry);
  return bytes;
}

/** Bytes that a value takes in memory, near enough to bound it: several times those of its JSON where it is an object. */
export function heapBytesOf(value: SqlValue): number {
  if (typeof value === "string") return REFERENCE_BYTES + STRING_BYTES_MIN + value.length;
  if (typeof value === "number") return Number.isInteger(value) ? REFERENCE_BYTES : REFERENCE_BYTES + NUMBER_BYTES;
  if (value === null || typeof value !== "object") return REFERENCE_BYTES;
  let bytes = OBJECT_BYTES_MIN;
  if (Array.isArray(value)) for (const entry of value) bytes += heapBytesOf(entry);
  else {
    for (const [key, entry] of Object.entries(value)) bytes += ENTRY_BYTES + key.length + heapBytesOf(entry);
  }
  return bytes;
}

function mapOf(map: DuckDBMapValue): SqlValue {
  // Without a prototype, so that a key `__proto__` is a key like any other.
  const object: Record<string, SqlValue> = Object.create(null);
  for (const { key, value } of map.entries)
    object[typeof key === "string" ? key : String(sqlValueOf(key))] = sqlValueOf(value);
  return object;
}

function timeNsOf(value: DuckDBValue): bigint | undefined {
  if (value instanceof DuckDBTimestampNanosecondsValue) return value.isFinite ? value.nanos : undefined;
  if (value instanceof DuckDBTimestampValue || value instanceof DuckDBTimestampTZValue) {
    return value.isFinite ? value.micros * 1000n : undefined;
  }
  if (value instanceof DuckDBTimestampMillisecondsValue) return value.isFinite ? value.millis * 1_000_000n : undefined;
  if (value instanceof DuckDBTimestampSecondsValue) return value.isFinite ? value.seconds * NS_PER_SECOND : undefined;
  return undefined;
}

function timeText(timeNs: bigint): string | undefined {
  const fraction = ((timeNs % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  const seconds = (timeNs - fraction) / NS_PER_SECOND;
  if (seconds > DATE_SECONDS_MAX || seconds < -DATE_SECONDS_MAX) return undefined;
  const date = new Date(Number(seconds) * 1000).toISOString();
  return `${date.slice(0, date.lastIndexOf("."))}.${fraction.toString().padStart(9, "0")}Z`;
}
