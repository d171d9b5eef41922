/** The three signals of OTLP as their receivers see them: paths, messages, and requests that were never sent before. */

import { randomBytes } from "node:crypto";
import type { Program } from "../program.ts";

type Library = Readonly<Record<string, unknown>>;

/** One signal. Requests are the library's plain objects; every call makes one that is new to the program. */
export interface SignalFace {
  readonly signal: "traces" | "logs" | "metrics";
  readonly path: string;
  /** Of gRPC. */
  readonly method: string;
  readonly message: string;
  readonly response: string;
  readonly rejectedMember: string;
  /** JSON members from the outside in. */
  readonly lists: readonly [string, string, string];
  /** Items of `request()`. */
  readonly items: number;
  request(): Library;
  /** One of whose items one must be rejected; undefined where no item can be. */
  readonly rejected: (() => Library) | undefined;
  /** One that is taken whole, and of which something must be told. */
  mended(): Library;
  /** OTLP JSON of a request. */
  json(request: object): string;
  /** Items that were stored so far. */
  taken(program: Program): Promise<number>;
}

const RESOURCE = { attributes: [{ key: "service.name", value: { stringValue: "checklist" } }] };
const SERVICE = "opentelemetry.proto.collector";
/** All kinds of values, a key that comes with no value, and nesting. */
const ATTRIBUTES = [
  { key: "text", value: { stringValue: "Grüße 日本 😀" } },
  { key: "none", value: {} },
  { key: "no member" },
  { key: "whole", value: { intValue: "9223372036854775807" } },
  { key: "double", value: { doubleValue: -0.5 } },
  { key: "bool", value: { boolValue: false } },
  { key: "bytes", value: { bytesValue: Buffer.from([0, 255]) } },
  { key: "list", value: { arrayValue: { values: [{ intValue: "1" }, {}, { arrayValue: { values: [] } }] } } },
  { key: "map", value: { kvlistValue: { values: [{ key: "a", value: { stringValue: "b" } }] } } },
];
const TWICE = [
  { key: "k", value: { stringValue: "a" } },
  { key: "k", value: { stringValue: "b" } },
];

let serial = 0;

function nowNs(): string {
  // Samples of one series must not share a millisecond.
  return String(BigInt(Date.now()) * 1_000_000n + BigInt(serial));
}

function spanOf(more: Library = {}): Library {
  const startTimeUnixNano = nowNs();
  const ids = { traceId: randomBytes(16), spanId: randomBytes(8) };
  return {
    ...ids,
    name: "n",
    kind: 2,
    startTimeUnixNano,
    endTimeUnixNano: startTimeUnixNano,
    attributes: ATTRIBUTES,
    ...more,
  };
}

function traces(spans: readonly Library[]): Library {
  return { resourceSpans: [{ resource: RESOURCE, scopeSpans: [{ scope: { name: "s" }, spans }] }] };
}

function recordOf(more: Library = {}): Library {
  const body = { kvlistValue: { values: [{ key: "message", value: { stringValue: "paid" } }] } };
  return { timeUnixNano: nowNs(), severityNumber: 9, body, attributes: ATTRIBUTES, traceId: randomBytes(16), ...more };
}

function logs(logRecords: readonly Library[]): Library {
  return { resourceLogs: [{ resource: RESOURCE, scopeLogs: [{ scope: { name: "s" }, logRecords }] }] };
}

function gauge(more: Library = {}): Library {
  serial++;
  const attributes = [{ key: "serial", value: { intValue: String(serial) } }];
  return {
    name: "checklist.gauge",
    gauge: { dataPoints: [{ timeUnixNano: nowNs(), asInt: "7", attributes, ...more }] },
  };
}

function metrics(list: readonly Library[]): Library {
  return { resourceMetrics: [{ resource: RESOURCE, scopeMetrics: [{ scope: { name: "s" }, metrics: list }] }] };
}

function json(request: object): string {
  const plain = (key: string, value: unknown): unknown => {
    if (value instanceof Uint8Array) {
      const bytes = Buffer.from(value);
      return /[iI]d$/.test(key) ? bytes.toString("hex") : bytes.toString("base64");
    }
    if (Array.isArray(value)) return value.map((each) => plain(key, each));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, child]) => [name, plain(name, child)]));
  };
  return JSON.stringify(plain("", request));
}

function stored(signal: string): (program: Program) => Promise<number> {
  return (program) => program.counter("thalweg_ingest_stored_total", `signal="${signal}"`);
}

/** All signals; traces first. */
export const SIGNALS: readonly [SignalFace, SignalFace, SignalFace] = [
  {
    signal: "traces",
    path: "/v1/traces",
    method: `/${SERVICE}.trace.v1.TraceService/Export`,
    message: "TracesData",
    response: "ExportTraceServiceResponse",
    rejectedMember: "rejectedSpans",
    lists: ["resourceSpans", "scopeSpans", "spans"],
    items: 2,
    request: () => traces([spanOf(), spanOf()]),
    rejected: () => traces([spanOf(), spanOf({ traceId: Buffer.alloc(16) }), spanOf()]),
    mended: () => traces([spanOf({ attributes: TWICE }), spanOf({ endTimeUnixNano: "1" })]),
    json,
    taken: stored("traces"),
  },
  {
    signal: "logs",
    path: "/v1/logs",
    method: `/${SERVICE}.logs.v1.LogsService/Export`,
    message: "LogsData",
    response: "ExportLogsServiceResponse",
    rejectedMember: "rejectedLogRecords",
    lists: ["resourceLogs", "scopeLogs", "logRecords"],
    items: 2,
    request: () => logs([recordOf(), recordOf()]),
    rejected: undefined,
    mended: () => logs([recordOf({ attributes: TWICE }), recordOf({ traceId: Buffer.alloc(3, 1) })]),
    json,
    taken: stored("logs"),
  },
  {
    signal: "metrics",
    path: "/v1/metrics",
    method: `/${SERVICE}.metrics.v1.MetricsService/Export`,
    message: "MetricsData",
    response: "ExportMetricsServiceResponse",
    rejectedMember: "rejectedDataPoints",
    lists: ["resourceMetrics", "scopeMetrics", "metrics"],
    items: 2,
    request: () => metrics([gauge(), gauge({ asInt: undefined, asDouble: 0.5 })]),
    rejected: () => metrics([gauge(), { name: "d", sum: { dataPoints: [{ asInt: "1" }] } }]),
    mended: () => metrics([gauge({ attributes: [{ key: "deep", value: deep(40) }] })]),
    json,
    taken: stored("metrics"),
  },
];

function deep(levels: number): Library {
  return levels === 0 ? { intValue: "1" } : { arrayValue: { values: [deep(levels - 1)] } };
}
