/**
 * OTLP ExportTraceServiceRequest (equally TracesData) in JSON → span columns.
 *
 * Ids are hex of any case, 64-bit integers keep all digits, enums are numbers or names, `null` is the default, unknown
 * keys (snake_case ones too) are skipped.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */

import { isUtf8 } from "node:buffer";
import type { Attribute, Scope } from "../model/span-batch.ts";
import { readKeyValueJson, writeKeyValue } from "./any-value.ts";
import type { JsonCursor } from "./json-reader.ts";
import {
  expectEnd,
  firstElement,
  firstKey,
  jsonCursorOver,
  nextElement,
  nextKey,
  peekToken,
  readBigInt,
  readString,
  readUint32Json,
  skipNull,
  skipValue,
} from "./json-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
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

const UINT64_MAX = 2n ** 64n - 1n;
const INT32_MIN = -(2n ** 31n);
const INT32_MAX = 2n ** 31n - 1n;
const HEX = /^(?:[0-9a-fA-F]{2})*$/;
const QUOTE = 0x22;

const KIND_NAMES = [
  "SPAN_KIND_UNSPECIFIED",
  "SPAN_KIND_INTERNAL",
  "SPAN_KIND_SERVER",
  "SPAN_KIND_CLIENT",
  "SPAN_KIND_PRODUCER",
  "SPAN_KIND_CONSUMER",
];
const STATUS_NAMES = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/** A request's decoding with the writer that turns its events and links into protobuf. */
interface JsonDecoding {
  readonly traces: TraceDecoding;
  readonly writer: ProtobufWriter;
}

/** Decodes a whole request. Never throws on input; bytes that are not OTLP JSON give `malformed`. */
export function decodeTracesJson(bytes: Uint8Array): DecodeOutcome {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const cursor = jsonCursorOver(buffer.toString("utf8"));
  const decoding: JsonDecoding = { traces: startTraceDecoding(), writer: new ProtobufWriter() };
  try {
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (skipNull(cursor)) continue;
      if (name !== "resourceSpans") {
        skipValue(cursor);
        continue;
      }
      for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
        if (!skipNull(cursor)) readResourceSpans(cursor, decoding);
      }
    }
    expectEnd(cursor);
  } catch (error) {
    if (error instanceof WireError) return { kind: "malformed", reason: error.message, offset: error.offset };
    throw error;
  }
  decoding.traces.repaired.text = cursor.textRepaired + (isUtf8(bytes) ? 0 : 1);
  return finishTraceDecoding(decoding.traces);
}

/** Spans that stand before their resource are passed over and read once the resource is known. */
function readResourceSpans(cursor: JsonCursor, decoding: JsonDecoding): void {
  const later: number[] = [];
  let known = false;
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "resource") {
      beginResource(decoding.traces, readResource(cursor, decoding.traces));
      known = true;
    } else if (name === "scopeSpans" && known) {
      readScopeSpansList(cursor, decoding);
    } else {
      if (name === "scopeSpans") later.push(cursor.at);
      skipValue(cursor);
    }
  }
  if (!known) beginResource(decoding.traces, []);
  readLater(cursor, decoding, later, readScopeSpansList);
}

function readLater(
  cursor: JsonCursor,
  decoding: JsonDecoding,
  starts: readonly number[],
  read: (cursor: JsonCursor, decoding: JsonDecoding) => void,
): void {
  if (starts.length === 0) return;
  const end = cursor.at;
  for (const start of starts) {
    cursor.at = start;
    read(cursor, decoding);
  }
  cursor.at = end;
}

function readResource(cursor: JsonCursor, traces: TraceDecoding): Attribute[] {
  const attributes: Attribute[] = [];
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "attributes") readAttributes(cursor, traces, attributes);
    else skipValue(cursor);
  }
  return attributes;
}

function readAttributes(cursor: JsonCursor, traces: TraceDecoding, attributes: Attribute[]): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (!skipNull(cursor)) keepAttribute(traces, attributes, readKeyValueJson(cursor));
  }
}

function readScopeSpansList(cursor: JsonCursor, decoding: JsonDecoding): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (!skipNull(cursor)) readScopeSpans(cursor, decoding);
  }
}

function readScopeSpans(cursor: JsonCursor, decoding: JsonDecoding): void {
  const later: number[] = [];
  let known = false;
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "scope") {
      beginScope(decoding.traces, readScope(cursor));
      known = true;
    } else if (name === "spans" && known) {
      readSpans(cursor, decoding);
    } else {
      if (name === "spans") later.push(cursor.at);
      skipValue(cursor);
    }
  }
  if (!known) beginScope(decoding.traces, NO_SCOPE);
  readLater(cursor, decoding, later, readSpans);
}

function readScope(cursor: JsonCursor): Scope {
  let scopeName = "";
  let version = "";
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "name") scopeName = readString(cursor);
    else if (name === "version") version = readString(cursor);
    else skipValue(cursor);
  }
  return { name: scopeName, version };
}

function readSpans(cursor: JsonCursor, decoding: JsonDecoding): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    const draft = beginSpan(decoding.traces);
    if (!skipNull(cursor)) {
      for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
        if (!skipNull(cursor)) readSpanMember(cursor, decoding, draft, name);
      }
    }
    endSpan(decoding.traces);
  }
}

function readSpanMember(cursor: JsonCursor, decoding: JsonDecoding, draft: SpanDraft, name: string): void {
  switch (name) {
    case "traceId":
      readHexId(cursor, draft.trace);
      return;
    case "spanId":
      readHexId(cursor, draft.span);
      return;
    case "parentSpanId":
      readHexId(cursor, draft.parent);
      return;
    case "traceState":
      draft.traceState = readString(cursor);
      return;
    case "name":
      draft.name = readString(cursor);
      return;
    case "kind":
      draft.kind = readEnum(cursor, KIND_NAMES);
      return;
    case "startTimeUnixNano":
      draft.startNs = readBigInt(cursor, 0n, UINT64_MAX);
      return;
    case "endTimeUnixNano":
      draft.endNs = readBigInt(cursor, 0n, UINT64_MAX);
      return;
    case "attributes":
      readAttributes(cursor, decoding.traces, draft.attributes);
      return;
    case "events":
      readEvents(cursor, decoding, draft);
      return;
    case "links":
      readLinks(cursor, decoding, draft);
      return;
    case "status":
      readStatus(cursor, draft);
      return;
    case "flags":
      draft.flags = readUint32Json(cursor);
      return;
    default:
      skipValue(cursor);
  }
}

function readStatus(cursor: JsonCursor, draft: SpanDraft): void {
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "message") draft.statusMessage = readString(cursor);
    else if (name === "code") draft.status = readEnum(cursor, STATUS_NAMES);
    else skipValue(cursor);
  }
}

function readEvents(cursor: JsonCursor, { writer }: JsonDecoding, draft: SpanDraft): void {
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
  if (writer.length > 0) draft.eventParts.push(writer.take());
}

function readLinks(cursor: JsonCursor, { writer }: JsonDecoding, draft: SpanDraft): void {
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
  if (writer.length > 0) draft.linkParts.push(writer.take());
}

function writeAttributes(cursor: JsonCursor, writer: ProtobufWriter, field: number): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (!skipNull(cursor)) writeKeyValue(writer, field, readKeyValueJson(cursor));
  }
}

function readHexId(cursor: JsonCursor, id: DraftId): void {
  const text = readHexText(cursor);
  id.bytes = text.length / 2;
  if (id.bytes === 16) {
    id.high = BigInt(`0x${text.slice(0, 16)}`);
    id.low = BigInt(`0x${text.slice(16)}`);
  } else if (id.bytes === 8) {
    id.low = BigInt(`0x${text}`);
  }
}

function readHexBytes(cursor: JsonCursor): Uint8Array {
  return Buffer.from(readHexText(cursor), "hex");
}

function readHexText(cursor: JsonCursor): string {
  const start = cursor.at;
  const text = readString(cursor);
  if (!HEX.test(text)) throw new WireError("an id is not hex", start);
  return text;
}

/** A number, the same in a string, or a name. Unknown numbers become 0, unknown names throw. */
function readEnum(cursor: JsonCursor, names: readonly string[]): number {
  const start = cursor.at;
  if (peekToken(cursor) === QUOTE) {
    const text = readString(cursor);
    const index = names.indexOf(text);
    if (index >= 0) return index;
    if (!/^-?\d{1,10}$/.test(text)) throw new WireError("an enum has an unknown name", start);
    return inEnum(Number(text), names);
  }
  return inEnum(Number(readBigInt(cursor, INT32_MIN, INT32_MAX)), names);
}

function inEnum(value: number, names: readonly string[]): number {
  return value >= 0 && value < names.length ? value : 0;
}
