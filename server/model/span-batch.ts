/**
 * Spans in columns: what every source of spans produces and what derive and store consume.
 *
 * Invariants: every column has `rows` entries; text 0 is the empty one and stands for "absent";
 * attributes of row `r` are entries `attributeEnd[r-1] ?? 0` to `attributeEnd[r]` of the attribute columns.
 * A sealed batch is immutable, holds only plain data, and may cross a worker boundary.
 */

import type { TextTable } from "./text-table.ts";

/** `kind` column: OTLP's numbers. */
export const SPAN_KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"] as const;

export const KIND_INTERNAL = 1;
export const KIND_SERVER = 2;
export const KIND_CLIENT = 3;
export const KIND_PRODUCER = 4;
export const KIND_CONSUMER = 5;

/** `status` column: OTLP's numbers. */
export const SPAN_STATUSES = ["unset", "ok", "error"] as const;

export const STATUS_UNSET = 0;
export const STATUS_ERROR = 2;

/** `source` column: who saw the span. */
export const SPAN_SOURCES = ["ebpf", "packet", "otlp", "skywalking", "zipkin", "replay"] as const;

/**
 * `attributeKind` column: the type that the text of an attribute's value had.
 *
 * `s` string, `i` 64-bit integer in decimal, `d` double as JavaScript prints it (`NaN`, `Infinity`, `-Infinity`),
 * `b` `true` or `false`, `j` array or key-value list as OTLP JSON of AnyValue, `x` bytes in base64, `n` empty value.
 */
export type AttributeKind = "s" | "i" | "d" | "b" | "j" | "x" | "n";

/** One attribute; `value` is text in the form that `kind` says. */
export interface Attribute {
  readonly key: string;
  readonly kind: AttributeKind;
  readonly value: string;
}

/** What produced spans: one OTLP resource, or one observed process. */
export interface Resource {
  /** `service.name`, or `unknown_service` where it is missing. Never empty. */
  readonly service: string;
  /** `service.instance.id`, or empty. */
  readonly instance: string;
  /** All attributes, `service.name` included, sorted by key, keys unique. */
  readonly attributes: readonly Attribute[];
  /**
   * What else OTLP said, as JSON: `droppedAttributesCount` and `entityRefs` of the resource, `schemaUrl` of what held
   * it. Absent or empty where there is nothing.
   */
  readonly rest?: string;
}

/** Instrumentation scope; empty for spans the agent makes. */
export interface Scope {
  readonly name: string;
  readonly version: string;
  /**
   * What else OTLP said, as JSON: `attributes` and `droppedAttributesCount` of the scope, `schemaUrl` of what held it.
   * Absent or empty where there is nothing.
   */
  readonly rest?: string;
}

/** Spans in columns. `Text` columns are indices into `text`. */
export interface SpanBatch {
  readonly rows: number;
  readonly text: TextTable;
  readonly resources: readonly Resource[];
  readonly scopes: readonly Scope[];
  /** Index into `resources`. */
  readonly resource: Uint32Array;
  /** Index into `scopes`. */
  readonly scope: Uint32Array;
  /** Two entries a row: high 64 bits, low 64 bits. */
  readonly traceId: BigUint64Array;
  readonly spanId: BigUint64Array;
  /** 0 for a root. */
  readonly parentSpanId: BigUint64Array;
  /** Unix nanoseconds. */
  readonly startNs: BigInt64Array;
  readonly endNs: BigInt64Array;
  readonly name: Uint32Array;
  readonly kind: Uint8Array;
  readonly status: Uint8Array;
  readonly statusMessage: Uint32Array;
  /** Index into `SPAN_SOURCES`. */
  readonly source: Uint8Array;
  /** Text: why the parent was drawn; 0 where none was drawn by us. */
  readonly linkReason: Uint32Array;
  readonly protocol: Uint32Array;
  readonly clientAddr: Uint32Array;
  readonly clientPort: Uint16Array;
  readonly serverAddr: Uint32Array;
  readonly serverPort: Uint16Array;
  readonly pid: Uint32Array;
  /** How many calls the row stands for; 1 unless sampled. */
  readonly weight: Uint32Array;
  /** Span id of the row that counts instead of this one; 0 where this one counts. */
  readonly duplicateOf: BigUint64Array;
  readonly flags: Uint32Array;
  readonly traceState: Uint32Array;
  readonly attributeEnd: Uint32Array;
  readonly attributeKey: Uint32Array;
  /** Char code of an `AttributeKind`. */
  readonly attributeKind: Uint8Array;
  readonly attributeValue: Uint32Array;
  /**
   * OTLP protobuf of the row's events, of counts of what was left out before they were sent, and of times as they came
   * where `startNs` or `endNs` had to be mended (fields 11, 10, 12, 7, 8 of Span, tags included) in `eventsBlob`,
   * `eventsEnd[r-1]` to `eventsEnd[r]`.
   */
  readonly eventsEnd: Uint32Array;
  /** OTLP protobuf of the row's links and of how many were left out (fields 13 and 14 of Span) in `linksBlob`. */
  readonly linksEnd: Uint32Array;
  readonly eventsBlob: Uint8Array;
  readonly linksBlob: Uint8Array;
}
