/** What our decoders and the library read in a body, in forms that can be compared. */

import { decodeRequest } from "../../server/ingest/decode-request.ts";
import type { LogBatch } from "../../server/model/log-batch.ts";
import { STALE_NAN_BITS } from "../../server/model/series.ts";
import { textReader } from "../../server/model/text-table.ts";
import {
  firstElement,
  firstKey,
  jsonCursorOver,
  nextElement,
  nextKey,
  peekToken,
  skipValue,
} from "../../server/wire/json-reader.ts";
import { tracePieces } from "../../server/wire/otlp-traces-encode.ts";
import { oracleDecode, oracleEncode, oracleField, oracleReader, spansOf } from "../../server/wire/trace-oracle.ts";
import { parseExactly } from "../otlp/requests.ts";

/** Signals by the library's message. */
export const MESSAGES = { traces: "TracesData", logs: "LogsData", metrics: "MetricsData" } as const;
export type Signal = keyof typeof MESSAGES;
export type Encoding = "protobuf" | "json";

const ID = /^(traceId|spanId|parentSpanId)$/;
const LONG = /^(\w*[tT]imeUnixNano|intValue|asInt|count|zeroCount|bucketCounts)$/;
/** Lists of which we leave out what is null. */
const WITHOUT_NULLS = /^(attributes|filteredAttributes|entityRefs|resource\w+|scope\w+|metrics)$/;
const KINDS = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const SHIFT_MAX = 100;
const OPEN_OBJECT = 0x7b;
const OPEN_ARRAY = 0x5b;
const DECIMAL = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;

/** All that our decoder made of a body, but for what was mended on the way; undefined where it is malformed. */
export function ourReading(signal: Signal, encoding: Encoding, body: Uint8Array): object | undefined {
  switch (signal) {
    case "traces": {
      const outcome = decodeRequest(signal, body, encoding);
      if (outcome.kind === "malformed") return undefined;
      const spans = spansOf(outcome.batch);
      const columns = spans.map(({ events: _events, links: _links, ...rest }) => rest);
      // Events and links pass as they came; read by the library, those of two encoders are alike.
      // Span by span, since those of one resource stand together only where its bytes are equal.
      const pieces = spans.flatMap((span) => [...tracePieces([span])]);
      const answers = withValues("", oracleDecode("TracesData", Buffer.concat(pieces)));
      return { received: outcome.received, rejected: outcome.rejected, columns, answers };
    }
    case "logs": {
      const outcome = decodeRequest(signal, body, encoding);
      if (outcome.kind === "malformed") return undefined;
      return { received: outcome.received, rejected: outcome.rejected, records: recordsOf(outcome.batch) };
    }
    case "metrics": {
      const outcome = decodeRequest(signal, body, encoding);
      if (outcome.kind === "malformed") return undefined;
      const series = outcome.series.map((each) => ({ ...each, values: Array.from(each.values, plainNumber) }));
      return { ...outcome, series, repaired: undefined };
    }
  }
}

const bits = new DataView(new ArrayBuffer(8));

/** A number, but for stale markers; a library makes one NaN of all the others. */
function plainNumber(value: number): number | string {
  bits.setFloat64(0, value);
  return bits.getBigUint64(0) === STALE_NAN_BITS ? "stale" : value;
}

/** The library's reading of protobuf, as a plain object, with texts mended; undefined where it refuses. */
export function libraryReading(signal: Signal, body: Uint8Array): object | undefined {
  try {
    return oracleDecode(MESSAGES[signal], body, { lenient: true }) as object; // a message is an object
  } catch {
    return undefined;
  }
}

/**
 * Whether an attribute's value, or a list within a value, stands there twice: protobuf asks to merge such fields, ours is
 * the last one, as with the Collector.
 */
export function repeatsValues(signal: Signal, body: Uint8Array): boolean {
  const walk = (bytes: Uint8Array, message: string): boolean => {
    const seen = new Set<number>();
    const reader = oracleReader(bytes);
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      const field = oracleField(message, tag >>> 3);
      if (field === undefined || (tag & 7) !== 2 || field.message === "") {
        reader.skipType(tag & 7, 0, tag >>> 3);
        continue;
      }
      if ((field.message === "AnyValue" || message === "AnyValue") && !field.repeated && seen.has(field.id))
        return true;
      seen.add(field.id);
      if (walk(reader.bytes(), field.message)) return true;
    }
    return false;
  };
  return walk(body, MESSAGES[signal]);
}

/** A request that the library read, in protobuf of the library. */
export function asProtobuf(signal: Signal, reading: object): Uint8Array {
  return oracleEncode(MESSAGES[signal], reading);
}

/** The same in OTLP JSON, which has ids in hex where protobuf's own JSON has base64. */
export function asJson(reading: object): Uint8Array {
  const hex = (key: string, value: unknown) =>
    ID.test(key) && typeof value === "string" ? Buffer.from(value, "base64").toString("hex") : value;
  return Buffer.from(JSON.stringify(reading, hex));
}

/**
 * A JSON body as the platform's parser and the library read it, in protobuf.
 *
 * @returns `open` where an object names a member twice, which JSON leaves open; undefined where either refuses.
 */
export function libraryReadingOfJson(signal: Signal, body: Uint8Array): Uint8Array | "open" | undefined {
  const text = new TextDecoder().decode(body);
  try {
    const value = parseExactly(text);
    if (repeatsMembers(text)) return "open";
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    return asProtobuf(signal, converted("", value) as object); // an object is converted to one
  } catch {
    return undefined;
  }
}

/** A pair without a value has the empty one. */
function withValues(key: string, value: unknown): unknown {
  if (Array.isArray(value)) {
    const arePairs = key === "attributes" || key === "kvlistValue";
    return value.map((each) => withValues("", arePairs ? { key: "", value: {}, ...each } : each));
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, child]) => [name, withValues(name === "values" ? key : name, child)]),
  );
}

function recordsOf(batch: LogBatch): object[] {
  const text = textReader(batch.text);
  return Array.from({ length: batch.rows }, (_, row) => {
    const from = row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0);
    const attributes: unknown[] = [];
    for (let at = from; at < (batch.attributeEnd[row] ?? 0); at++) {
      attributes.push([text(batch.attributeKey[at]), batch.attributeKind[at], text(batch.attributeValue[at])]);
    }
    return {
      resource: batch.resources[batch.resource[row] ?? -1],
      scope: batch.scopes[batch.scope[row] ?? -1],
      trace: [batch.traceId[2 * row], batch.traceId[2 * row + 1], batch.spanId[row]],
      times: [batch.timeNs[row], batch.observedNs[row]],
      severity: [batch.severityNumber[row], text(batch.severityText[row])],
      body: [batch.bodyKind[row], text(batch.body[row])],
      event: text(batch.eventName[row]),
      numbers: [batch.flags[row], batch.droppedAttributes[row]],
      attributes,
    };
  });
}

/** OTLP JSON as the library's own plain objects have it. */
function converted(key: string, value: unknown): unknown {
  if (typeof value === "string" || typeof value === "number") {
    if (ID.test(key)) return Buffer.from(String(value), "hex");
    if (key === "bytesValue") return Buffer.from(String(value), "base64");
    if (LONG.test(key)) return exactInteger(String(value));
    if (key === "kind") return kindOf(String(value));
    return typeof value === "string" ? value.toWellFormed() : value;
  }
  if (Array.isArray(value)) {
    const kept = WITHOUT_NULLS.test(key) ? value.filter((each) => each !== null) : value;
    return kept.map((each) => (each === null ? nullIn(key) : converted(key, each)));
  }
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).filter(([, child]) => child !== null);
  return Object.fromEntries(members.map(([name, child]) => [name.toWellFormed(), converted(name, child)]));
}

/** What `null` stands for in a list. */
function nullIn(key: string): unknown {
  if (key === "idKeys" || key === "descriptionKeys") return "";
  return LONG.test(key) || key === "explicitBounds" ? 0 : {};
}

function exactInteger(text: string): string {
  const match = DECIMAL.exec(text);
  if (match === null) return text;
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = match;
  const shift = Number(exponent) - fraction.length;
  // Under a name that nobody reads it may be of any size.
  if (Math.abs(shift) > SHIFT_MAX) return text;
  const digits = BigInt(whole + fraction);
  return `${sign}${shift >= 0 ? digits * 10n ** BigInt(shift) : digits / 10n ** BigInt(-shift)}`;
}

function kindOf(text: string): number {
  const named = KINDS.indexOf(text.replace("SPAN_KIND_", ""));
  return named >= 0 ? named : Number(text);
}

/** Whether an object of the text has two members of one name. The text must be JSON. */
function repeatsMembers(text: string): boolean {
  const cursor = jsonCursorOver(text);
  const walk = (): boolean => {
    const code = peekToken(cursor);
    if (code === OPEN_ARRAY) {
      for (let more = firstElement(cursor); more; more = nextElement(cursor)) if (walk()) return true;
      return false;
    }
    if (code !== OPEN_OBJECT) {
      skipValue(cursor);
      return false;
    }
    const names = new Set<string>();
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (names.has(name) || walk()) return true;
      names.add(name);
    }
    return false;
  };
  return walk();
}
