/**
 * OTLP ExportTraceServiceRequest (equally TracesData) in JSON → span columns.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */

import { writeKeyValue } from "./any-value.ts";
import { readKeyValueJson } from "./any-value-json.ts";
import type { JsonCursor } from "./json-reader.ts";
import {
  firstElement,
  firstKey,
  nextElement,
  nextKey,
  readBigInt,
  readString,
  readUint32Json,
  skipNull,
  skipValue,
} from "./json-reader.ts";
import { readAttributesJson, readEnvelopeJson } from "./otlp-envelope.ts";
import { readEnum, readHalves, readHexBytes, UINT64_MAX } from "./otlp-json-values.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { type DecodeOutcome, SpanColumns } from "./span-columns.ts";

const NAMES = { resources: "resourceSpans", scopes: "scopeSpans", items: "spans" };
const KIND_NAMES = [
  "SPAN_KIND_UNSPECIFIED",
  "SPAN_KIND_INTERNAL",
  "SPAN_KIND_SERVER",
  "SPAN_KIND_CLIENT",
  "SPAN_KIND_PRODUCER",
  "SPAN_KIND_CONSUMER",
];
const STATUS_NAMES = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/** One a thread: a request is decoded in one turn. */
const spans = new SpanColumns();
/** Turns events and links into protobuf. */
const writer = new ProtobufWriter();
const NO_BYTES = new Uint8Array(0);
const takeStart = (low: number, high: number) => spans.start(low, high);
const takeEnd = (low: number, high: number) => spans.end(low, high);

/** Decodes a whole request. Never throws on input; bytes that are not OTLP JSON give `malformed`. */
export function decodeTracesJson(bytes: Uint8Array): DecodeOutcome {
  spans.begin(NO_BYTES);
  writer.take();
  const outcome = readEnvelopeJson(bytes, NAMES, spans, readSpan);
  return outcome.kind === "malformed" ? outcome : spans.seal(outcome);
}

/** `null` in a list is an empty message. */
function readSpan(cursor: JsonCursor): void {
  spans.beginSpan();
  if (!skipNull(cursor)) {
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (!skipNull(cursor)) readSpanMember(cursor, name);
    }
  }
  spans.endSpan();
}

function readSpanMember(cursor: JsonCursor, name: string): void {
  switch (name) {
    case "traceId": {
      const id = readHexBytes(cursor);
      spans.traceId(id, 0, id.length);
      return;
    }
    case "spanId": {
      const id = readHexBytes(cursor);
      spans.spanId(id, 0, id.length);
      return;
    }
    case "parentSpanId": {
      const id = readHexBytes(cursor);
      spans.parentSpanId(id, 0, id.length);
      return;
    }
    case "traceState":
      spans.traceState(spans.texts.shared(readString(cursor)));
      return;
    case "name":
      spans.name(spans.texts.shared(readString(cursor)));
      return;
    case "kind":
      spans.kind(readEnum(cursor, KIND_NAMES));
      return;
    case "startTimeUnixNano":
      readHalves(cursor, takeStart);
      return;
    case "endTimeUnixNano":
      readHalves(cursor, takeEnd);
      return;
    case "attributes":
      readAttributesJson(cursor, spans);
      return;
    case "events":
      readEvents(cursor);
      return;
    case "links":
      readLinks(cursor);
      return;
    case "status":
      readStatus(cursor);
      return;
    case "droppedAttributesCount":
      spans.droppedAttributes(readUint32Json(cursor));
      return;
    case "droppedEventsCount":
      spans.droppedEvents(readUint32Json(cursor));
      return;
    case "droppedLinksCount":
      spans.droppedLinks(readUint32Json(cursor));
      return;
    case "flags":
      spans.flags(readUint32Json(cursor));
      return;
    default:
      skipValue(cursor);
  }
}

function readStatus(cursor: JsonCursor): void {
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "message") spans.statusMessage(spans.texts.shared(readString(cursor)));
    else if (name === "code") spans.status(readEnum(cursor, STATUS_NAMES));
    else skipValue(cursor);
  }
}

function readEvents(cursor: JsonCursor): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    const event = writer.openMessage(11);
    if (!skipNull(cursor)) {
      for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
        if (skipNull(cursor)) continue;
        if (name === "timeUnixNano") writer.writeFixed64(1, readBigInt(cursor, 0n, UINT64_MAX));
        else if (name === "name") writer.writeText(2, readString(cursor));
        else if (name === "attributes") writeAttributes(cursor, writer, 3);
        else if (name === "droppedAttributesCount") writer.writeUint32(4, readUint32Json(cursor));
        else skipValue(cursor);
      }
    }
    writer.closeMessage(event);
  }
  if (writer.length > 0) spans.event(writer.take());
}

function readLinks(cursor: JsonCursor): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    const link = writer.openMessage(13);
    if (!skipNull(cursor)) {
      for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
        if (skipNull(cursor)) continue;
        if (name === "traceId") writer.writeBytes(1, readHexBytes(cursor));
        else if (name === "spanId") writer.writeBytes(2, readHexBytes(cursor));
        else if (name === "traceState") writer.writeText(3, readString(cursor));
        else if (name === "attributes") writeAttributes(cursor, writer, 4);
        else if (name === "droppedAttributesCount") writer.writeUint32(5, readUint32Json(cursor));
        else if (name === "flags") writer.writeFixed32(6, readUint32Json(cursor));
        else skipValue(cursor);
      }
    }
    writer.closeMessage(link);
  }
  if (writer.length > 0) spans.link(writer.take());
}

function writeAttributes(cursor: JsonCursor, writer: ProtobufWriter, field: number): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (!skipNull(cursor)) writeKeyValue(writer, field, readKeyValueJson(cursor));
  }
}
