/**
 * OTLP ExportTraceServiceRequest (equally TracesData) in protobuf → span columns.
 *
 * @see https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
 */

import type { Attribute } from "../model/span-batch.ts";
import { readKeyValue, readValueColumns, type ValueColumns } from "./any-value.ts";
import { clearRest, newRest, readEntityRef, readScope } from "./otlp-rest.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  readFixed32,
  readLength,
  readTag,
  readText,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { EVENT_SHAPE, LINK_SHAPE, readRawField } from "./raw-message.ts";
import { type DecodeOutcome, SpanColumns } from "./span-columns.ts";
import { WireError } from "./wire-error.ts";

/** One a thread: a request is decoded in one turn. */
const spans = new SpanColumns();
const value: ValueColumns = { kind: 0, text: 0 };
const rest = newRest();

/**
 * Decodes a whole request. Never throws on input; bytes that are not protobuf give `malformed`.
 *
 * Unknown fields are skipped, also known ones of another wire type. The batch holds a copy of `bytes`.
 */
export function decodeTraces(bytes: Uint8Array): DecodeOutcome {
  const cursor = cursorOver(bytes);
  spans.begin(bytes);
  try {
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === 10) readResourceSpans(cursor);
      else skipField(cursor, tag);
    }
  } catch (error) {
    if (error instanceof WireError) return { kind: "malformed", reason: error.message, offset: error.offset };
    throw error;
  }
  spans.texts.repaired += cursor.textRepaired;
  spans.valuesCut(cursor.valuesCut);
  return spans.seal();
}

/** Fields may come in any order, so the resource is looked for before the spans are read. */
function readResourceSpans(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  const start = cursor.at;
  const attributes: Attribute[] = [];
  clearRest(rest);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) readResource(cursor, attributes);
    else if (tag === 26) rest.schemaUrl = readText(cursor);
    else skipField(cursor, tag);
  }
  spans.beginResource(attributes, rest);
  cursor.at = start;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) readScopeSpans(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readResource(cursor: ProtobufCursor, attributes: Attribute[]): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) spans.keepResourceAttribute(attributes, readKeyValue(cursor));
    else if (tag === 16) rest.droppedAttributes = readVarint32(cursor);
    else if (tag === 26) rest.entityRefs.push(readEntityRef(cursor));
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readScopeSpans(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  const start = cursor.at;
  const scope = { name: "", version: "" };
  clearRest(rest);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) readScope(cursor, scope, rest);
    else if (tag === 26) rest.schemaUrl = readText(cursor);
    else skipField(cursor, tag);
  }
  spans.beginScope(scope, rest);
  cursor.at = start;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) readSpan(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readSpan(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  spans.beginSpan();
  while (cursor.at < cursor.end) readSpanField(cursor);
  leaveMessage(cursor, outerEnd);
  spans.endSpan();
}

function readSpanField(cursor: ProtobufCursor): void {
  const tagStart = cursor.at;
  const tag = readTag(cursor);
  switch (tag) {
    case 10:
    case 18:
    case 34:
      readId(cursor, tag);
      return;
    case 26:
      spans.traceState(readTextIndex(cursor));
      return;
    case 42: {
      const end = readLength(cursor);
      spans.name(spans.texts.nameAt(cursor.at, end));
      cursor.at = end;
      return;
    }
    case 48:
      spans.kind(readVarint32(cursor));
      return;
    case 57: {
      const low = readFixed32(cursor);
      spans.start(low, readFixed32(cursor));
      return;
    }
    case 65: {
      const low = readFixed32(cursor);
      spans.end(low, readFixed32(cursor));
      return;
    }
    case 74:
      readAttribute(cursor);
      return;
    case 80:
      spans.droppedAttributes(readVarint32(cursor));
      return;
    case 96:
      spans.droppedEvents(readVarint32(cursor));
      return;
    case 112:
      spans.droppedLinks(readVarint32(cursor));
      return;
    case 90:
      spans.event(readRawField(cursor, tagStart, tag, EVENT_SHAPE));
      return;
    case 106:
      spans.link(readRawField(cursor, tagStart, tag, LINK_SHAPE));
      return;
    case 122:
      readStatus(cursor);
      return;
    case 133:
      spans.flags(readFixed32(cursor));
      return;
    default:
      skipField(cursor, tag);
  }
}

/** Reads a KeyValue of a span. */
function readAttribute(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  let keyStart = 0;
  let keyEnd = 0;
  value.kind = "n".charCodeAt(0);
  value.text = 0;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) {
      keyEnd = readLength(cursor);
      keyStart = cursor.at;
      cursor.at = keyEnd;
    } else if (tag === 18) readValueColumns(cursor, spans.texts, value);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  spans.attribute(spans.keys.at(keyStart, keyEnd), value.kind, value.text);
}

function readTextIndex(cursor: ProtobufCursor): number {
  const end = readLength(cursor);
  const start = cursor.at;
  cursor.at = end;
  return spans.texts.at(start, end);
}

function readStatus(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) spans.statusMessage(readTextIndex(cursor));
    else if (tag === 24) spans.status(readVarint32(cursor));
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readId(cursor: ProtobufCursor, tag: number): void {
  const end = readLength(cursor);
  const length = end - cursor.at;
  if (tag === 10) spans.traceId(cursor.bytes, cursor.at, length);
  else if (tag === 18) spans.spanId(cursor.bytes, cursor.at, length);
  else spans.parentSpanId(cursor.bytes, cursor.at, length);
  cursor.at = end;
}
