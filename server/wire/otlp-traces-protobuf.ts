/**
 * OTLP ExportTraceServiceRequest (equally TracesData) in protobuf → span columns.
 *
 * @see https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
 */

import { readAttribute, readEnvelope, readTextIndex } from "./otlp-envelope.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  enterMessage,
  leaveMessage,
  readFixed32,
  readLength,
  readTag,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { EVENT_SHAPE, LINK_SHAPE, readRawField } from "./raw-message.ts";
import { type DecodeOutcome, SpanColumns } from "./span-columns.ts";

/** One a thread: a request is decoded in one turn. */
const spans = new SpanColumns();

/**
 * Decodes a whole request. Never throws on input; bytes that are not protobuf give `malformed`.
 *
 * Unknown fields are skipped, also known ones of another wire type. The batch holds a copy of `bytes`.
 */
export function decodeTraces(bytes: Uint8Array): DecodeOutcome {
  spans.begin(bytes);
  const outcome = readEnvelope(bytes, spans, readSpan);
  return outcome.kind === "malformed" ? outcome : spans.seal(outcome);
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
      spans.traceState(readTextIndex(cursor, spans.texts));
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
      readAttribute(cursor, spans);
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

function readStatus(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) spans.statusMessage(readTextIndex(cursor, spans.texts));
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
