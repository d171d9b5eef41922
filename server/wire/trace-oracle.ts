/**
 * For tests of this room: protobufjs as second opinion, random requests, and spans read back from a batch.
 */

import protobuf from "protobufjs";
import { spanIdToHex, traceIdToHex } from "../model/hex.ts";
import type { Attribute, SpanBatch } from "../model/span-batch.ts";
import { SPAN_SOURCES } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { textReader } from "../model/text-table.ts";

/** Written from the OTLP field tables; only the messages that these tests need. */
const SCHEMA = `
syntax = "proto3";
package otlp;

message AnyValue {
  oneof value {
    string string_value = 1;
    bool bool_value = 2;
    int64 int_value = 3;
    double double_value = 4;
    ArrayValue array_value = 5;
    KeyValueList kvlist_value = 6;
    bytes bytes_value = 7;
  }
}
message ArrayValue { repeated AnyValue values = 1; }
message KeyValueList { repeated KeyValue values = 1; }
message KeyValue { string key = 1; AnyValue value = 2; }
message InstrumentationScope {
  string name = 1;
  string version = 2;
  repeated KeyValue attributes = 3;
  uint32 dropped_attributes_count = 4;
}
message Resource {
  repeated KeyValue attributes = 1;
  uint32 dropped_attributes_count = 2;
  repeated EntityRef entity_refs = 3;
}
message EntityRef {
  string schema_url = 1;
  string type = 2;
  repeated string id_keys = 3;
  repeated string description_keys = 4;
}
message TracesData { repeated ResourceSpans resource_spans = 1; }
message ResourceSpans {
  Resource resource = 1;
  repeated ScopeSpans scope_spans = 2;
  string schema_url = 3;
}
message ScopeSpans {
  InstrumentationScope scope = 1;
  repeated Span spans = 2;
  string schema_url = 3;
}
message Span {
  bytes trace_id = 1;
  bytes span_id = 2;
  string trace_state = 3;
  bytes parent_span_id = 4;
  string name = 5;
  int32 kind = 6;
  fixed64 start_time_unix_nano = 7;
  fixed64 end_time_unix_nano = 8;
  repeated KeyValue attributes = 9;
  uint32 dropped_attributes_count = 10;
  repeated Event events = 11;
  uint32 dropped_events_count = 12;
  repeated Link links = 13;
  uint32 dropped_links_count = 14;
  Status status = 15;
  fixed32 flags = 16;
  message Event {
    fixed64 time_unix_nano = 1;
    string name = 2;
    repeated KeyValue attributes = 3;
    uint32 dropped_attributes_count = 4;
  }
  message Link {
    bytes trace_id = 1;
    bytes span_id = 2;
    string trace_state = 3;
    repeated KeyValue attributes = 4;
    uint32 dropped_attributes_count = 5;
    fixed32 flags = 6;
  }
}
message Status { string message = 2; int32 code = 3; }
message LogsData { repeated ResourceLogs resource_logs = 1; }
message ResourceLogs { Resource resource = 1; repeated ScopeLogs scope_logs = 2; string schema_url = 3; }
message ScopeLogs { InstrumentationScope scope = 1; repeated LogRecord log_records = 2; string schema_url = 3; }
message LogRecord {
  fixed64 time_unix_nano = 1;
  int32 severity_number = 2;
  string severity_text = 3;
  AnyValue body = 5;
  repeated KeyValue attributes = 6;
  uint32 dropped_attributes_count = 7;
  fixed32 flags = 8;
  bytes trace_id = 9;
  bytes span_id = 10;
  fixed64 observed_time_unix_nano = 11;
  string event_name = 12;
}
message MetricsData { repeated ResourceMetrics resource_metrics = 1; }
message ResourceMetrics { Resource resource = 1; repeated ScopeMetrics scope_metrics = 2; string schema_url = 3; }
message ScopeMetrics { InstrumentationScope scope = 1; repeated Metric metrics = 2; string schema_url = 3; }
message Metric {
  string name = 1;
  string description = 2;
  string unit = 3;
  oneof data {
    Gauge gauge = 5;
    Sum sum = 7;
    Histogram histogram = 9;
    ExponentialHistogram exponential_histogram = 10;
    Summary summary = 11;
  }
  repeated KeyValue metadata = 12;
}
message Gauge { repeated NumberDataPoint data_points = 1; }
message Sum { repeated NumberDataPoint data_points = 1; int32 aggregation_temporality = 2; bool is_monotonic = 3; }
message Histogram { repeated HistogramDataPoint data_points = 1; int32 aggregation_temporality = 2; }
message ExponentialHistogram {
  repeated ExponentialHistogramDataPoint data_points = 1;
  int32 aggregation_temporality = 2;
}
message Summary { repeated SummaryDataPoint data_points = 1; }
message NumberDataPoint {
  fixed64 start_time_unix_nano = 2;
  fixed64 time_unix_nano = 3;
  oneof value { double as_double = 4; sfixed64 as_int = 6; }
  repeated Exemplar exemplars = 5;
  repeated KeyValue attributes = 7;
  uint32 flags = 8;
}
message HistogramDataPoint {
  fixed64 start_time_unix_nano = 2;
  fixed64 time_unix_nano = 3;
  fixed64 count = 4;
  optional double sum = 5;
  repeated fixed64 bucket_counts = 6;
  repeated double explicit_bounds = 7;
  repeated Exemplar exemplars = 8;
  repeated KeyValue attributes = 9;
  uint32 flags = 10;
  optional double min = 11;
  optional double max = 12;
}
message ExponentialHistogramDataPoint {
  repeated KeyValue attributes = 1;
  fixed64 start_time_unix_nano = 2;
  fixed64 time_unix_nano = 3;
  fixed64 count = 4;
  optional double sum = 5;
  sint32 scale = 6;
  fixed64 zero_count = 7;
  Buckets positive = 8;
  Buckets negative = 9;
  uint32 flags = 10;
  repeated Exemplar exemplars = 11;
  optional double min = 12;
  optional double max = 13;
  double zero_threshold = 14;
}
message Buckets { sint32 offset = 1; repeated uint64 bucket_counts = 2; }
message SummaryDataPoint {
  fixed64 start_time_unix_nano = 2;
  fixed64 time_unix_nano = 3;
  fixed64 count = 4;
  double sum = 5;
  repeated ValueAtQuantile quantile_values = 6;
  repeated KeyValue attributes = 7;
  uint32 flags = 8;
}
message ValueAtQuantile { double quantile = 1; double value = 2; }
message Exemplar {
  fixed64 time_unix_nano = 2;
  oneof value { double as_double = 3; sfixed64 as_int = 6; }
  bytes span_id = 4;
  bytes trace_id = 5;
  repeated KeyValue filtered_attributes = 7;
}
message ExportTraceServiceResponse { ExportTracePartialSuccess partial_success = 1; }
message ExportTracePartialSuccess { int64 rejected_spans = 1; string error_message = 2; }
message ExportLogsServiceResponse { ExportLogsPartialSuccess partial_success = 1; }
message ExportLogsPartialSuccess { int64 rejected_log_records = 1; string error_message = 2; }
message ExportMetricsServiceResponse { ExportMetricsPartialSuccess partial_success = 1; }
message ExportMetricsPartialSuccess { int64 rejected_data_points = 1; string error_message = 2; }
message TraceByIDResponse { TracesData trace = 1; TraceByIDMetrics metrics = 2; }
message TraceByIDMetrics { uint64 inspectedBytes = 1; }
message RpcStatus { int32 code = 1; string message = 2; repeated Any details = 3; }
message Any { string type_url = 1; bytes value = 2; }
`;

const { root } = protobuf.parse(SCHEMA, { keepCase: false });
/** The same messages, read by a library that puts U+FFFD in place of what is not UTF-8. */
const { root: lenientRoot } = protobuf.parse(
  SCHEMA.replace(
    'syntax = "proto3";',
    'edition = "2023"; option features.field_presence = IMPLICIT; option features.utf8_validation = NONE;',
  ).replace(/optional (\w+ \w+ = \d+);/g, "$1 [features.field_presence = EXPLICIT];"),
  { keepCase: false },
);

/** Messages by name; a look for each by its path is a twentieth of a fuzz run. */
const types = new Map<string, protobuf.Type>();
const lenientTypes = new Map<string, protobuf.Type>();

function typeOf(message: string, lenient = false): protobuf.Type {
  const known = lenient ? lenientTypes : types;
  let type = known.get(message);
  if (type === undefined) {
    type = (lenient ? lenientRoot : root).lookupType(`otlp.${message}`);
    known.set(message, type);
  }
  return type;
}

/** Encodes a plain object as the named message. */
export function oracleEncode(message: string, value: object): Uint8Array {
  const type = typeOf(message);
  return type.encode(type.fromObject(value)).finish();
}

/**
 * Decodes the named message to a plain object: 64-bit integers as strings, bytes in base64, defaults left out. A lenient
 * one mends texts that are not UTF-8, where the library would else throw.
 */
export function oracleDecode(message: string, bytes: Uint8Array, { lenient = false } = {}): unknown {
  const type = typeOf(message, lenient);
  return type.toObject(type.decode(bytes), { longs: String, bytes: String, json: true });
}

/** The library's reader of single fields. */
export function oracleReader(bytes: Uint8Array): protobuf.Reader {
  return protobuf.Reader.create(bytes);
}

/** A field of a message: its number, and the message it holds, empty where it holds none. */
export interface OracleField {
  readonly id: number;
  readonly message: string;
  readonly repeated: boolean;
}

const fieldsOf = new Map<string, ReadonlyMap<number, OracleField>>();

/** A field of a message by its number; undefined where there is none. */
export function oracleField(message: string, id: number): OracleField | undefined {
  let fields = fieldsOf.get(message);
  if (fields === undefined) {
    fields = new Map(
      typeOf(message).fieldsArray.map((field) => {
        const { resolvedType } = field.resolve();
        const held = resolvedType instanceof protobuf.Type ? resolvedType.fullName.replace(".otlp.", "") : "";
        return [field.id, { id: field.id, message: held, repeated: field.repeated }];
      }),
    );
    fieldsOf.set(message, fields);
  }
  return fields.get(id);
}

/** Numbers in [0, 1) that depend on the seed alone. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A random request as a plain object for `oracleEncode("TracesData", …)`. Keys of one list are unique. */
export function randomTraces(random: () => number): object {
  const many = <T>(max: number, make: (index: number) => T): T[] =>
    Array.from({ length: Math.floor(random() * (max + 1)) }, (_, index) => make(index));
  const bytes = (count: number) => Buffer.from(Array.from({ length: count }, () => 1 + Math.floor(random() * 255)));
  const long = () => `${1 + Math.floor(random() * 4e9)}${String(Math.floor(random() * 1e9)).padStart(9, "0")}`;
  const text = () =>
    ["", "a", "GET /x", "Grüße", "日本", "😀 emoji", "x".repeat(200), '"\\\n\u0000'][Math.floor(random() * 8)];
  const anyValue = (depth: number): object => {
    const choice = Math.floor(random() * (depth > 3 ? 6 : 8));
    if (choice === 0) return {};
    if (choice === 1) return { stringValue: text() };
    if (choice === 2) return { boolValue: random() < 0.5 };
    if (choice === 3) return { intValue: random() < 0.5 ? `-${long()}`.slice(0, 18) : "9223372036854775807" };
    if (choice === 4) return { doubleValue: (random() - 0.5) * 10 ** (random() * 40 - 20) };
    if (choice === 5) return { bytesValue: bytes(Math.floor(random() * 9)) };
    if (choice === 6) return { arrayValue: { values: many(4, () => anyValue(depth + 1)) } };
    return { kvlistValue: { values: attributes(depth + 1) } };
  };
  const attributes = (depth = 0): object[] =>
    many(6, (index) => ({ key: `${index}.${text()}`, value: anyValue(depth) }));
  const span = () => ({
    traceId: bytes(16),
    spanId: bytes(8),
    traceState: text(),
    ...(random() < 0.5 ? { parentSpanId: bytes(8) } : {}),
    name: text(),
    kind: Math.floor(random() * 6),
    startTimeUnixNano: "1700000000000000001",
    endTimeUnixNano: `17${String(Math.floor(random() * 1e8)).padStart(8, "0")}123456789`.replace(/^1700/, "1701"),
    attributes: attributes(),
    events: many(2, () => ({ timeUnixNano: long(), name: text(), attributes: attributes(1) })),
    links: many(2, () => ({ traceId: bytes(16), spanId: bytes(8), flags: 257, attributes: attributes(1) })),
    status: { code: Math.floor(random() * 3), message: text() },
    flags: Math.floor(random() * 2 ** 32),
    droppedAttributesCount: dropped(),
    droppedEventsCount: dropped(),
    droppedLinksCount: dropped(),
  });
  const dropped = () => (random() < 0.5 ? 0 : Math.floor(random() * 2 ** 32));
  const schemaUrl = () => (random() < 0.5 ? "" : `https://opentelemetry.io/schemas/1.${Math.floor(random() * 40)}.0`);
  return {
    resourceSpans: many(3, (index) => ({
      resource: {
        attributes: [...attributes(), { key: "service.name", value: { stringValue: `s${index}` } }],
        droppedAttributesCount: dropped(),
        entityRefs: many(2, () => ({ schemaUrl: schemaUrl(), type: "host", idKeys: ["host.id"], descriptionKeys: [] })),
      },
      scopeSpans: many(3, (scope) => ({
        scope: {
          name: `scope ${scope}`,
          version: text(),
          attributes: random() < 0.5 ? [] : attributes(1),
          droppedAttributesCount: dropped(),
        },
        spans: many(4, span),
        schemaUrl: schemaUrl(),
      })),
      schemaUrl: schemaUrl(),
    })),
  };
}

/** Rows of a batch in the form the encoders take. */
export function spansOf(batch: SpanBatch): StoredSpan[] {
  return Array.from({ length: batch.rows }, (_, row) => spanOf(batch, row));
}

function spanOf(batch: SpanBatch, row: number): StoredSpan {
  const at = (column: ArrayLike<number>) => column[row] ?? Number.NaN;
  const read = textReader(batch.text);
  const text = (column: ArrayLike<number>) => read(at(column));
  const long = (column: ArrayLike<bigint>, index = row) => column[index] ?? -1n;
  const slice = (blob: Uint8Array, end: Uint32Array) => blob.subarray(row === 0 ? 0 : end[row - 1], end[row]);
  const scope = batch.scopes[at(batch.scope)];
  const resource = batch.resources[at(batch.resource)];
  const parent = long(batch.parentSpanId);
  return {
    service: resource?.service ?? "missing",
    instance: resource?.instance ?? "missing",
    traceId: traceIdToHex(long(batch.traceId, 2 * row), long(batch.traceId, 2 * row + 1)),
    spanId: spanIdToHex(long(batch.spanId)),
    parentSpanId: parent === 0n ? "" : spanIdToHex(parent),
    name: text(batch.name),
    kind: at(batch.kind),
    status: at(batch.status),
    statusMessage: text(batch.statusMessage),
    startNs: long(batch.startNs),
    endNs: long(batch.endNs),
    source: SPAN_SOURCES[at(batch.source)] ?? "missing",
    linkReason: text(batch.linkReason),
    traceState: text(batch.traceState),
    flags: at(batch.flags),
    scopeName: scope?.name ?? "missing",
    scopeVersion: scope?.version ?? "missing",
    scopeRest: scope?.rest ?? "",
    resourceRest: resource?.rest ?? "",
    resource: resource?.attributes ?? [],
    attributes: attributesOf(batch, row),
    events: slice(batch.eventsBlob, batch.eventsEnd),
    links: slice(batch.linksBlob, batch.linksEnd),
  };
}

/** Attributes of one row. */
export function attributesOf(batch: SpanBatch, row: number): Attribute[] {
  const attributes: Attribute[] = [];
  const text = textReader(batch.text);
  const start = row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0);
  for (let at = start; at < (batch.attributeEnd[row] ?? 0); at++) {
    attributes.push({
      key: text(batch.attributeKey[at]),
      // The column holds the char code of an AttributeKind.
      kind: String.fromCharCode(batch.attributeKind[at] ?? 0) as Attribute["kind"],
      value: text(batch.attributeValue[at]),
    });
  }
  return attributes;
}
