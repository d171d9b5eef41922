/**
 * OTLP ExportTraceServiceRequest (equally TracesData) in protobuf → span columns.
 *
 * @see https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
 */

import type { Attribute, Scope } from "../model/span-batch.ts";
import { readKeyValue } from "./any-value.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  readFixed32,
  readFixed64,
  readLength,
  readTag,
  readText,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { EVENT_SHAPE, LINK_SHAPE, readRawField } from "./raw-message.ts";
import type { DecodeOutcome, DraftId, SpanDraft, TraceDecoding } from "./trace-decoding.ts";
import {
  beginResource,
  beginScope,
  beginSpan,
  endSpan,
  finishTraceDecoding,
  keepAttribute,
  NO_SCOPE,
  startTraceDecoding,
} from "./trace-decoding.ts";
import { WireError } from "./wire-error.ts";

/**
 * Decodes a whole request. Never throws on input; bytes that are not protobuf give `malformed`.
 *
 * Unknown fields are skipped, also known ones of another wire type. Nothing of `bytes` is kept.
 */
export function decodeTraces(bytes: Uint8Array): DecodeOutcome {
  const decoding = startTraceDecoding();
  const cursor = cursorOver(bytes);
  try {
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === 10) readResourceSpans(cursor, decoding);
      else skipField(cursor, tag);
    }
  } catch (error) {
    if (error instanceof WireError) return { kind: "malformed", reason: error.message, offset: error.offset };
    throw error;
  }
  decoding.repaired.text = cursor.textRepaired;
  return finishTraceDecoding(decoding);
}

/** Fields may come in any order, so the resource is looked for before the spans are read. */
function readResourceSpans(cursor: ProtobufCursor, decoding: TraceDecoding): void {
  const outerEnd = enterMessage(cursor);
  const start = cursor.at;
  const attributes: Attribute[] = [];
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) readAttributes(cursor, decoding, attributes);
    else skipField(cursor, tag);
  }
  beginResource(decoding, attributes);
  cursor.at = start;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) readScopeSpans(cursor, decoding);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

/** Attributes of a Resource (field 1). */
function readAttributes(cursor: ProtobufCursor, decoding: TraceDecoding, attributes: Attribute[]): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) keepAttribute(decoding, attributes, readKeyValue(cursor));
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readScopeSpans(cursor: ProtobufCursor, decoding: TraceDecoding): void {
  const outerEnd = enterMessage(cursor);
  const start = cursor.at;
  let scope = NO_SCOPE;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) scope = readScope(cursor);
    else skipField(cursor, tag);
  }
  beginScope(decoding, scope);
  cursor.at = start;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) readSpan(cursor, decoding);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readScope(cursor: ProtobufCursor): Scope {
  const outerEnd = enterMessage(cursor);
  let name = "";
  let version = "";
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) name = readText(cursor);
    else if (tag === 18) version = readText(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  return { name, version };
}

function readSpan(cursor: ProtobufCursor, decoding: TraceDecoding): void {
  const outerEnd = enterMessage(cursor);
  const draft = beginSpan(decoding);
  while (cursor.at < cursor.end) {
    const tagStart = cursor.at;
    readSpanField(cursor, decoding, draft, tagStart);
  }
  leaveMessage(cursor, outerEnd);
  endSpan(decoding);
}

function readSpanField(cursor: ProtobufCursor, decoding: TraceDecoding, draft: SpanDraft, tagStart: number): void {
  const tag = readTag(cursor);
  switch (tag) {
    case 10:
      readId(cursor, draft.trace);
      return;
    case 18:
      readId(cursor, draft.span);
      return;
    case 26:
      draft.traceState = readText(cursor);
      return;
    case 34:
      readId(cursor, draft.parent);
      return;
    case 42:
      draft.name = readText(cursor);
      return;
    case 48:
      draft.kind = readVarint32(cursor);
      return;
    case 57:
      draft.startNs = readFixed64(cursor);
      return;
    case 65:
      draft.endNs = readFixed64(cursor);
      return;
    case 74:
      keepAttribute(decoding, draft.attributes, readKeyValue(cursor));
      return;
    case 90:
      addPart(draft.eventParts, readRawField(cursor, tagStart, tag, EVENT_SHAPE));
      return;
    case 106:
      addPart(draft.linkParts, readRawField(cursor, tagStart, tag, LINK_SHAPE));
      return;
    case 122:
      readStatus(cursor, draft);
      return;
    case 133:
      draft.flags = readFixed32(cursor);
      return;
    default:
      skipField(cursor, tag);
  }
}

function readStatus(cursor: ProtobufCursor, draft: SpanDraft): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) draft.statusMessage = readText(cursor);
    else if (tag === 24) draft.status = readVarint32(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readId(cursor: ProtobufCursor, id: DraftId): void {
  const end = readLength(cursor);
  id.bytes = end - cursor.at;
  if (id.bytes === 16) {
    id.high = cursor.view.getBigUint64(cursor.at);
    id.low = cursor.view.getBigUint64(cursor.at + 8);
  } else if (id.bytes === 8) {
    id.low = cursor.view.getBigUint64(cursor.at);
  }
  cursor.at = end;
}

/** Adds a field to `parts`; without a copy where it follows the last one in the body. */
function addPart(parts: Uint8Array[], field: Uint8Array): void {
  const last = parts.at(-1);
  if (last !== undefined && last.buffer === field.buffer && last.byteOffset + last.length === field.byteOffset) {
    parts[parts.length - 1] = new Uint8Array(last.buffer, last.byteOffset, last.length + field.length);
  } else {
    parts.push(field);
  }
}
