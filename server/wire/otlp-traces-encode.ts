/**
 * Stored spans → OTLP TracesData in protobuf and in JSON, and the bodies that Tempo wraps around them.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */

import type { StoredSpan } from "../model/stored-span.ts";
import { readKeyValue, writeKeyValue } from "./any-value.ts";
import { keyValueToJson } from "./any-value-json.ts";
import {
  parseRest,
  resourceRestMembers,
  schemaUrlMember,
  scopeRestMembers,
  writeResourceRest,
  writeScopeRest,
} from "./otlp-rest.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  readByteView,
  readFixed32,
  readFixed64,
  readTag,
  readText,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import type { ResourceGroup, ScopeGroup } from "./span-groups.ts";
import { groupSpans, shownAttributes } from "./span-groups.ts";

/** Two dialects of JSON: OTLP's own (hex ids, enum numbers) and plain protobuf JSON as Tempo prints it (base64, names). */
type TraceJsonDialect = "otlp" | "protobuf";

/** Spans of one piece of a body: some 5 ms of work. */
const PIECE_SPANS = 500;
const KIND_NAMES = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const STATUS_NAMES = ["UNSET", "OK", "ERROR"];

/** Tempo's TraceByIDResponse in protobuf around a TracesData; its `trace` is present even without spans. */
export function encodeTempoTraceById(traces: Uint8Array): Uint8Array {
  const writer = new ProtobufWriter();
  writer.writeBytes(1, traces);
  writer.closeMessage(writer.openMessage(2));
  return writer.take();
}

/** JSON bodies of a trace: OTLP's TracesData, Tempo's `/api/traces/{id}` and `/api/v2/traces/{id}`. */
export type TraceBody = "otlp" | "tempo" | "tempo_by_id";

const TRACE_BODIES: Readonly<Record<TraceBody, { open: string; close: string; dialect: TraceJsonDialect }>> = {
  otlp: { open: '{"resourceSpans":[', close: "]}", dialect: "otlp" },
  tempo: { open: '{"batches":[', close: "]}", dialect: "protobuf" },
  tempo_by_id: { open: '{"trace":{"resourceSpans":[', close: ']},"metrics":{}}', dialect: "protobuf" },
};

/**
 * A body in pieces that make it when put together, so that other work can be done between two of them.
 *
 * A resource stands once in each piece that has spans of it.
 */
export function* traceJsonPieces(spans: readonly StoredSpan[], body: TraceBody): Generator<string> {
  const { open, close, dialect } = TRACE_BODIES[body];
  yield open;
  for (let from = 0; from < spans.length; from += PIECE_SPANS) {
    const piece = resourceSpansJson(spans.slice(from, from + PIECE_SPANS), dialect);
    yield from === 0 ? piece : `,${piece}`;
  }
  yield close;
}

/** TracesData, which is also Tempo's `Trace`, in protobuf, in pieces; see `traceJsonPieces`. */
export function* tracePieces(spans: readonly StoredSpan[]): Generator<Uint8Array> {
  for (let from = 0; from < spans.length; from += PIECE_SPANS) {
    const writer = new ProtobufWriter();
    for (const group of groupSpans(spans.slice(from, from + PIECE_SPANS))) writeResourceSpans(writer, group);
    yield writer.take();
  }
}

function writeResourceSpans(writer: ProtobufWriter, group: ResourceGroup): void {
  const rest = parseRest(group.rest);
  const resourceSpans = writer.openMessage(1);
  const resource = writer.openMessage(1);
  for (const attribute of group.attributes) writeKeyValue(writer, 1, attribute);
  writeResourceRest(writer, rest);
  writer.closeMessage(resource);
  for (const scope of group.scopes) writeScopeSpans(writer, scope);
  if (rest.schemaUrl !== "") writer.writeText(3, rest.schemaUrl);
  writer.closeMessage(resourceSpans);
}

function writeScopeSpans(writer: ProtobufWriter, group: ScopeGroup): void {
  const rest = parseRest(group.rest);
  const scopeSpans = writer.openMessage(2);
  const scope = writer.openMessage(1);
  if (group.name !== "") writer.writeText(1, group.name);
  if (group.version !== "") writer.writeText(2, group.version);
  writeScopeRest(writer, rest);
  writer.closeMessage(scope);
  for (const span of group.spans) writeSpan(writer, span);
  if (rest.schemaUrl !== "") writer.writeText(3, rest.schemaUrl);
  writer.closeMessage(scopeSpans);
}

function writeSpan(writer: ProtobufWriter, span: StoredSpan): void {
  const message = writer.openMessage(2);
  writer.writeBytes(1, Buffer.from(span.traceId, "hex"));
  writer.writeBytes(2, Buffer.from(span.spanId, "hex"));
  if (span.traceState !== "") writer.writeText(3, span.traceState);
  if (span.parentSpanId !== "") writer.writeBytes(4, Buffer.from(span.parentSpanId, "hex"));
  writer.writeText(5, span.name);
  writer.writeUint32(6, span.kind);
  writer.writeFixed64(7, span.startNs);
  writer.writeFixed64(8, span.endNs);
  for (const attribute of shownAttributes(span)) writeKeyValue(writer, 9, attribute);
  writer.writeRaw(span.events);
  writer.writeRaw(span.links);
  if (span.status !== 0 || span.statusMessage !== "") {
    const status = writer.openMessage(15);
    if (span.statusMessage !== "") writer.writeText(2, span.statusMessage);
    writer.writeUint32(3, span.status);
    writer.closeMessage(status);
  }
  if (span.flags !== 0) writer.writeFixed32(16, span.flags);
  writer.closeMessage(message);
}

function resourceSpansJson(spans: readonly StoredSpan[], dialect: TraceJsonDialect): string {
  return groupSpans(spans)
    .map((group) => {
      const rest = parseRest(group.rest);
      const attributes = group.attributes.map((attribute) => keyValueToJson(attribute.key, attribute)).join(",");
      const scopes = group.scopes.map((scope) => scopeSpansJson(scope, dialect)).join(",");
      const resource = [`"attributes":[${attributes}]`, ...resourceRestMembers(rest)].join(",");
      return `{"resource":{${resource}},"scopeSpans":[${scopes}]${schemaUrlMember(rest)}}`;
    })
    .join(",");
}

function scopeSpansJson(group: ScopeGroup, dialect: TraceJsonDialect): string {
  const members: string[] = [];
  if (group.name !== "") members.push(`"name":${JSON.stringify(group.name)}`);
  if (group.version !== "") members.push(`"version":${JSON.stringify(group.version)}`);
  const rest = parseRest(group.rest);
  members.push(...scopeRestMembers(rest));
  const spans = group.spans.map((span) => spanJson(span, dialect)).join(",");
  return `{"scope":{${members.join(",")}},"spans":[${spans}]${schemaUrlMember(rest)}}`;
}

function spanJson(span: StoredSpan, dialect: TraceJsonDialect): string {
  const id = (hex: string) => (dialect === "otlp" ? hex : Buffer.from(hex, "hex").toString("base64"));
  const members = [`"traceId":"${id(span.traceId)}"`, `"spanId":"${id(span.spanId)}"`];
  if (span.traceState !== "") members.push(`"traceState":${JSON.stringify(span.traceState)}`);
  if (span.parentSpanId !== "") members.push(`"parentSpanId":"${id(span.parentSpanId)}"`);
  if (span.flags !== 0) members.push(`"flags":${span.flags}`);
  members.push(`"name":${JSON.stringify(span.name)}`);
  members.push(`"kind":${dialect === "otlp" ? span.kind : `"SPAN_KIND_${KIND_NAMES[span.kind] ?? KIND_NAMES[0]}"`}`);
  const events = eventsJson(span.events);
  members.push(`"startTimeUnixNano":"${events.start ?? span.startNs}"`);
  members.push(`"endTimeUnixNano":"${events.end ?? span.endNs}"`);
  const attributes = shownAttributes(span);
  if (attributes.length > 0) {
    members.push(`"attributes":[${attributes.map((each) => keyValueToJson(each.key, each)).join(",")}]`);
  }
  if (events.droppedAttributes > 0) members.push(`"droppedAttributesCount":${events.droppedAttributes}`);
  if (events.list.length > 0) members.push(`"events":[${events.list.join(",")}]`);
  if (events.dropped > 0) members.push(`"droppedEventsCount":${events.dropped}`);
  const links = linksJson(span.links, dialect);
  if (links.list.length > 0) members.push(`"links":[${links.list.join(",")}]`);
  if (links.dropped > 0) members.push(`"droppedLinksCount":${links.dropped}`);
  members.push(`"status":${statusJson(span, dialect)}`);
  return `{${members.join(",")}}`;
}

function statusJson(span: StoredSpan, dialect: TraceJsonDialect): string {
  const members: string[] = [];
  if (span.statusMessage !== "") members.push(`"message":${JSON.stringify(span.statusMessage)}`);
  if (span.status !== 0) {
    const name = STATUS_NAMES[span.status] ?? STATUS_NAMES[0];
    members.push(`"code":${dialect === "otlp" ? span.status : `"STATUS_CODE_${name}"`}`);
  }
  return `{${members.join(",")}}`;
}

/** What stands among the events of a span. */
interface EventsJson {
  readonly list: string[];
  dropped: number;
  droppedAttributes: number;
  /** Times as they came, where the columns hold mended ones. */
  start: bigint | undefined;
  end: bigint | undefined;
}

/** JSON of stored events, which the decoder proved to be readable, and what stands among them. */
function eventsJson(stored: Uint8Array): EventsJson {
  const found: EventsJson = { list: [], dropped: 0, droppedAttributes: 0, start: undefined, end: undefined };
  if (stored.length === 0) return found;
  const cursor = cursorOver(stored);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 90) found.list.push(eventJson(cursor));
    else if (tag === 80) found.droppedAttributes = readVarint32(cursor);
    else if (tag === 96) found.dropped = readVarint32(cursor);
    else if (tag === 57) found.start = readFixed64(cursor);
    else if (tag === 65) found.end = readFixed64(cursor);
    else skipField(cursor, tag);
  }
  return found;
}

function eventJson(cursor: ProtobufCursor): string {
  const outerEnd = enterMessage(cursor);
  const members: string[] = [];
  const attributes: string[] = [];
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 9) members.push(`"timeUnixNano":"${readFixed64(cursor)}"`);
    else if (tag === 18) members.push(`"name":${JSON.stringify(readText(cursor))}`);
    else if (tag === 26) attributes.push(attributeJson(cursor));
    else if (tag === 32) members.push(`"droppedAttributesCount":${readVarint32(cursor)}`);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  if (attributes.length > 0) members.push(`"attributes":[${attributes.join(",")}]`);
  return `{${members.join(",")}}`;
}

function linksJson(stored: Uint8Array, dialect: TraceJsonDialect): { list: string[]; dropped: number } {
  const found = { list: [] as string[], dropped: 0 };
  if (stored.length === 0) return found;
  const cursor = cursorOver(stored);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 106) found.list.push(linkJson(cursor, dialect));
    else if (tag === 112) found.dropped = readVarint32(cursor);
    else skipField(cursor, tag);
  }
  return found;
}

function linkJson(cursor: ProtobufCursor, dialect: TraceJsonDialect): string {
  const encoding = dialect === "otlp" ? "hex" : "base64";
  const outerEnd = enterMessage(cursor);
  const members: string[] = [];
  const attributes: string[] = [];
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) members.push(`"traceId":"${Buffer.from(readByteView(cursor)).toString(encoding)}"`);
    else if (tag === 18) members.push(`"spanId":"${Buffer.from(readByteView(cursor)).toString(encoding)}"`);
    else if (tag === 26) members.push(`"traceState":${JSON.stringify(readText(cursor))}`);
    else if (tag === 34) attributes.push(attributeJson(cursor));
    else if (tag === 40) members.push(`"droppedAttributesCount":${readVarint32(cursor)}`);
    else if (tag === 53) members.push(`"flags":${readFixed32(cursor)}`);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  if (attributes.length > 0) members.push(`"attributes":[${attributes.join(",")}]`);
  return `{${members.join(",")}}`;
}

function attributeJson(cursor: ProtobufCursor): string {
  const attribute = readKeyValue(cursor);
  return keyValueToJson(attribute.key, attribute);
}
