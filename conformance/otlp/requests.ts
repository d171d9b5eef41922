/** OTLP requests as files keep them: JSON, JSON lines, protobuf; and what is in them, by the library's reading. */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import { oracleDecode, oracleEncode } from "../../server/wire/trace-oracle.ts";

/** Signals by the member that a request's JSON has. */
const SIGNALS = { resourceSpans: "traces", resourceLogs: "logs", resourceMetrics: "metrics" } as const;
const MESSAGES = { traces: "TracesData", logs: "LogsData", metrics: "MetricsData" } as const;
const ID_MEMBERS = /^(traceId|spanId|parentSpanId)$/;

export type Signal = keyof typeof MESSAGES;

/** One request, ready to be sent. */
export interface OtlpRequest {
  /** File, and line where it has many. */
  readonly name: string;
  readonly signal: Signal;
  readonly encoding: "json" | "protobuf";
  readonly compression: "" | "gzip";
  readonly body: Buffer;
}

/** Objects of JSON whose shape is OTLP's and is not checked. */
export type Json = { readonly [member: string]: JsonValue };
type JsonValue = string | number | boolean | null | Json | readonly JsonValue[];

/** Requests of a file; none where it holds no OTLP. */
export function readRequests(path: string): OtlpRequest[] {
  const bytes = readFileSync(path);
  const name = basename(path);
  if (/\.(json|jsonl|ndjson)$/.test(path)) return jsonRequests(name, bytes.toString("utf8"));
  const signal = /trace|span/.test(name) ? "traces" : /log/.test(name) ? "logs" : /metric/.test(name) ? "metrics" : "";
  if (signal === "" || !/\.(pb|otlp)$/.test(path)) return [];
  return [{ name, signal, encoding: "protobuf", compression: "", body: bytes }];
}

function jsonRequests(name: string, text: string): OtlpRequest[] {
  const whole = parsed(text);
  const texts = whole === undefined ? text.split("\n").filter((line) => line.trim() !== "") : [text];
  return texts.flatMap((each, at) => {
    const signal = signalOf(parsed(each));
    const place = texts.length > 1 ? `${name}:${at + 1}` : name;
    if (signal === undefined) return [];
    return [{ name: place, signal, encoding: "json" as const, compression: "" as const, body: Buffer.from(each) }];
  });
}

function signalOf(value: unknown): Signal | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  for (const [member, signal] of Object.entries(SIGNALS)) if (member in value) return signal;
  return undefined;
}

function parsed(text: string): unknown {
  try {
    return parseExactly(text);
  } catch {
    return undefined;
  }
}

/** JSON whose integers that a double cannot hold stay text. */
export function parseExactly(text: string): unknown {
  // The third argument is of a later edition of the language than the types.
  const reviver = (_key: string, value: unknown, context?: { readonly source?: string }) =>
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source : value;
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
}

/** What the library reads in a request: OTLP JSON with 64-bit integers as text, ids in base64, and defaults left out. */
export function contentOf({ signal, encoding, compression, body }: OtlpRequest): Json {
  const plain = compression === "gzip" ? gunzipSync(body) : body;
  const bytes =
    encoding === "protobuf"
      ? plain
      : oracleEncode(MESSAGES[signal], withBinaryIds(parseExactly(plain.toString("utf8"))));
  return oracleDecode(MESSAGES[signal], bytes) as Json; // the library made it
}

/** The library's reading of TracesData in OTLP JSON, such as our answer to a trace id. */
export function tracesContent(json: string): Json {
  return oracleDecode("TracesData", oracleEncode("TracesData", withBinaryIds(parseExactly(json)))) as Json; // as above
}

/** The request in protobuf, as a gRPC message carries it. */
export function asProtobuf(request: OtlpRequest): Buffer {
  const { signal, encoding, compression, body } = request;
  const plain = compression === "gzip" ? gunzipSync(body) : body;
  if (encoding === "protobuf") return plain;
  return Buffer.from(oracleEncode(MESSAGES[signal], withBinaryIds(parseExactly(plain.toString("utf8")))));
}

/** OTLP JSON has ids in hex, where protobuf's own JSON has base64. */
function withBinaryIds(value: unknown): object {
  const convert = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(convert);
    if (typeof node !== "object" || node === null) return node;
    return Object.fromEntries(
      Object.entries(node)
        .filter(([, child]) => child !== null)
        .map(([key, child]) =>
          ID_MEMBERS.test(key) && typeof child === "string" ? [key, Buffer.from(child, "hex")] : [key, convert(child)],
        ),
    );
  };
  const converted = convert(value);
  if (typeof converted !== "object" || converted === null) throw new Error("the body is not a JSON object");
  return converted;
}

/** Elements of a member that is a list. */
export function listOf(json: Json | undefined, member: string): readonly Json[] {
  const list = json?.[member];
  return Array.isArray(list) ? (list as readonly Json[]) : []; // a list of messages by OTLP's schema
}

/** A member that is a message. */
export function memberOf(json: Json | undefined, member: string): Json | undefined {
  const value = json?.[member];
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined; // as above
}

/** A member that is a text or number, as text; empty where it is absent. */
export function textOf(json: Json | undefined, member: string): string {
  const value = json?.[member];
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

/** Hex of an id that the library gives in base64. */
export function hexOf(base64: string): string {
  return Buffer.from(base64, "base64").toString("hex");
}
