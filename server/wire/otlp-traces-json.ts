/**
 * OTLP ExportTraceServiceRequest (equally TracesData) in JSON → span columns.
 *
 * Ids are hex of any case, 64-bit integers keep all digits, enums are numbers or names, `null` is the default, unknown
 * keys (snake_case ones too) are skipped.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */

import { isUtf8 } from "node:buffer";
import type { Attribute } from "../model/span-batch.ts";
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
import { clearRest, newRest, readEntityRefJson, readScopeJson } from "./otlp-rest.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { type DecodeOutcome, SpanColumns } from "./span-columns.ts";
import { WireError } from "./wire-error.ts";

const UINT64_MAX = 2n ** 64n - 1n;
const LOW_HALF = 0xffff_ffffn;
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

/** One a thread: a request is decoded in one turn. */
const spans = new SpanColumns();
/** Turns events and links into protobuf. */
const writer = new ProtobufWriter();
const NO_BYTES = new Uint8Array(0);
const resourceRest = newRest();
const scopeRest = newRest();

/** Decodes a whole request. Never throws on input; bytes that are not OTLP JSON give `malformed`. */
export function decodeTracesJson(bytes: Uint8Array): DecodeOutcome {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const cursor = jsonCursorOver(buffer.toString("utf8"));
  spans.begin(NO_BYTES);
  writer.take();
  try {
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (skipNull(cursor)) continue;
      if (name !== "resourceSpans") {
        skipValue(cursor);
        continue;
      }
      for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
        if (!skipNull(cursor)) readResourceSpans(cursor);
      }
    }
    expectEnd(cursor);
  } catch (error) {
    if (error instanceof WireError) return { kind: "malformed", reason: error.message, offset: error.offset };
    throw error;
  }
  spans.texts.repaired += cursor.textRepaired + (isUtf8(bytes) ? 0 : 1);
  spans.valuesCut(cursor.valuesCut);
  return spans.seal();
}

/**
 * Spans that stand before their resource are passed over and read once the resource is known. A schema URL mostly stands
 * behind the spans, and is added to what was kept of them.
 */
function readResourceSpans(cursor: JsonCursor): void {
  const later: number[] = [];
  const attributes: Attribute[] = [];
  let known = false;
  let schemaUrl = "";
  clearRest(resourceRest);
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "schemaUrl") schemaUrl = readString(cursor);
    else if (name === "resource" && !known) {
      readResource(cursor, attributes);
      spans.beginResource(attributes, resourceRest);
      known = true;
    } else if (name === "scopeSpans" && known) {
      readScopeSpansList(cursor);
    } else {
      if (name === "scopeSpans") later.push(cursor.at);
      skipValue(cursor);
    }
  }
  if (!known) spans.beginResource(attributes);
  readLater(cursor, later, readScopeSpansList);
  if (schemaUrl === "") return;
  resourceRest.schemaUrl = schemaUrl;
  spans.amendResource(resourceRest);
}

function readLater(cursor: JsonCursor, starts: readonly number[], read: (cursor: JsonCursor) => void): void {
  if (starts.length === 0) return;
  const end = cursor.at;
  for (const start of starts) {
    cursor.at = start;
    read(cursor);
  }
  cursor.at = end;
}

function readResource(cursor: JsonCursor, attributes: Attribute[]): void {
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "attributes") readResourceAttributes(cursor, attributes);
    else if (name === "droppedAttributesCount") resourceRest.droppedAttributes = readUint32Json(cursor);
    else if (name === "entityRefs") readEntityRefs(cursor);
    else skipValue(cursor);
  }
}

function readEntityRefs(cursor: JsonCursor): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (!skipNull(cursor)) resourceRest.entityRefs.push(readEntityRefJson(cursor));
  }
}

function readResourceAttributes(cursor: JsonCursor, attributes: Attribute[]): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (!skipNull(cursor)) spans.keepResourceAttribute(attributes, readKeyValueJson(cursor));
  }
}

function readSpanAttributes(cursor: JsonCursor): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (skipNull(cursor)) continue;
    const { key, kind, value } = readKeyValueJson(cursor);
    spans.attribute(spans.keys.of(key), kind.charCodeAt(0), spans.texts.shared(value));
  }
}

function readScopeSpansList(cursor: JsonCursor): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (!skipNull(cursor)) readScopeSpans(cursor);
  }
}

function readScopeSpans(cursor: JsonCursor): void {
  const later: number[] = [];
  const scope = { name: "", version: "" };
  let known = false;
  let schemaUrl = "";
  clearRest(scopeRest);
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "schemaUrl") schemaUrl = readString(cursor);
    else if (name === "scope" && !known) {
      readScopeJson(cursor, scope, scopeRest);
      spans.beginScope(scope, scopeRest);
      known = true;
    } else if (name === "spans" && known) {
      readSpans(cursor);
    } else {
      if (name === "spans") later.push(cursor.at);
      skipValue(cursor);
    }
  }
  if (!known) spans.beginScope(scope);
  readLater(cursor, later, readSpans);
  if (schemaUrl === "") return;
  scopeRest.schemaUrl = schemaUrl;
  spans.amendScope(scopeRest);
}

function readSpans(cursor: JsonCursor): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    spans.beginSpan();
    if (!skipNull(cursor)) {
      for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
        if (!skipNull(cursor)) readSpanMember(cursor, name);
      }
    }
    spans.endSpan();
  }
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
    case "startTimeUnixNano": {
      const time = readBigInt(cursor, 0n, UINT64_MAX);
      spans.start(Number(time & LOW_HALF), Number(time >> 32n));
      return;
    }
    case "endTimeUnixNano": {
      const time = readBigInt(cursor, 0n, UINT64_MAX);
      spans.end(Number(time & LOW_HALF), Number(time >> 32n));
      return;
    }
    case "attributes":
      readSpanAttributes(cursor);
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
