/**
 * Spans of one request, written into columns field by field while the request is read.
 *
 * Made once a thread and used for one request after the other: columns and tables stay, and `seal` copies what one
 * request needs into one buffer, which crosses threads without another copy. No object is made for a span or an
 * attribute. What is wrong with a span is decided here, for both encodings.
 *
 * Invariants: `received` = rows + the sum of `rejected`; keys that differ as text stand once in a row.
 */

import type { Attribute, Scope, SpanBatch } from "../model/span-batch.ts";
import { KIND_CONSUMER, KIND_SERVER, SPAN_KINDS, SPAN_SOURCES, SPAN_STATUSES } from "../model/span-batch.ts";
import { AddressFinder, pidOf } from "./address-columns.ts";
import { AgentColumns, NO_AGENT_COLUMN } from "./agent-columns.ts";
import { AGENT_SCOPE } from "./agent-spans.ts";
import { EMPTY_BYTES, GrowingBytes, Slab } from "./growing-bytes.ts";
import { grownColumns, mendOrder, mendTime, setSpanId, setTraceId } from "./halves.ts";
import type { MalformedBody } from "./otlp-envelope.ts";
import type { OtlpRest } from "./otlp-rest.ts";
import { RequestKeys } from "./request-keys.ts";
import { RequestOrigins } from "./request-origins.ts";
import { RequestTexts } from "./request-texts.ts";
import { RowAttributes } from "./row-attributes.ts";

/** Spans kept of one request; those beyond are rejected as `spans_max`. */
const REQUEST_SPANS_MAX = 1_000_000;
const ROWS_AT_FIRST = 1024;
const OTLP_SOURCE = SPAN_SOURCES.indexOf("otlp");
const NO_SCOPE: Scope = { name: "", version: "" };
/** Fields 10, 12 and 14 of Span as varints. */
const TAG_DROPPED_ATTRIBUTES = 80;
const TAG_DROPPED_EVENTS = 96;
const TAG_DROPPED_LINKS = 112;
/** Fields 7 and 8 of Span as 64 bits. */
const TAG_START = 57;
const TAG_END = 65;
/** Why one span of a request is left out. */
type SpanRejectReason =
  | "trace_id_length"
  | "trace_id_zero"
  | "span_id_length"
  | "span_id_zero"
  | "parent_span_id_length"
  | "spans_max";

/** What was mended rather than rejected. */
export interface TraceRepairs {
  /** Strings with invalid UTF-8 or lone surrogates; U+FFFD stands in their place. */
  text: number;
  /** Spans that named a time beyond `UNIX_NANO_MAX`. */
  times: number;
  /** Spans that ended before they started. */
  order: number;
  /** Attributes left out: earlier values of a repeated key, or more than `ATTRIBUTES_MAX`. */
  attributes: number;
  /** Attribute values that were nested too deeply; what stood too deep is empty. */
  values: number;
}

/** What became of a request's bytes. */
export type DecodeOutcome =
  | {
      readonly kind: "decoded";
      /** Its columns share one buffer. */
      readonly batch: SpanBatch;
      /** Spans the request held. */
      readonly received: number;
      readonly rejected: ReadonlyMap<SpanRejectReason, number>;
      readonly repaired: Readonly<TraceRepairs>;
    }
  | MalformedBody;

/** Call `begin`, then resource, scope and span by span what the request holds, then `seal`. */
export class SpanColumns {
  readonly texts = new RequestTexts();
  readonly keys = new RequestKeys(this.texts);
  readonly #addresses = new AddressFinder(this.texts);
  readonly #agent = new AgentColumns(this.texts);
  /** The scope at hand is an agent's. */
  #isAgent = false;
  readonly #events = new GrowingBytes();
  readonly #links = new GrowingBytes();

  #rows = 0;
  #columns = emptyColumns(ROWS_AT_FIRST);
  readonly #attributes = new RowAttributes(this.keys);
  readonly #origins = new RequestOrigins();

  #received = 0;
  #rejected = new Map<SpanRejectReason, number>();
  #timesMended = 0;
  #orderMended = 0;
  #pid = 0;

  #traceBytes = 0;
  #spanBytes = 0;
  #parentBytes = 0;
  #eventsFrom = 0;
  #linksFrom = 0;
  #droppedAttributes = 0;
  #droppedEvents = 0;
  #droppedLinks = 0;

  /** Starts on a request. Texts may be named by their place in `bytes`, which must not change until `seal`. */
  begin(bytes: Uint8Array): void {
    this.texts.begin(bytes);
    this.keys.begin(bytes);
    this.#events.clear();
    this.#links.clear();
    this.#rows = 0;
    this.#attributes.clear();
    this.#origins.clear();
    this.#pid = 0;
    this.#received = 0;
    this.#rejected = new Map();
    this.#timesMended = 0;
    this.#orderMended = 0;
  }

  /** Begins a ResourceSpans whose resource carries `attributes`, which the columns keep, and beside them `rest`. */
  beginResource(attributes: Attribute[], rest?: OtlpRest): void {
    this.#origins.beginResource(attributes, rest, this.#rows);
    this.#pid = pidOf(attributes);
    this.#isAgent = false;
  }

  /** Begins a ScopeSpans. An agent's own scope is none: its spans are as those that are captured here. */
  beginScope(scope: Scope, rest?: OtlpRest): void {
    this.#isAgent = scope.name === AGENT_SCOPE;
    if (this.#isAgent) this.#origins.beginScope(NO_SCOPE, undefined, this.#rows);
    else this.#origins.beginScope(scope, rest, this.#rows);
  }

  /** Puts `rest` in place of what was given with the resource whose spans were read last. */
  amendResource(rest: OtlpRest): void {
    this.#origins.amendResource(rest, this.#columns, this.#rows);
  }

  /** @see amendResource */
  amendScope(rest: OtlpRest): void {
    this.#origins.amendScope(rest, this.#columns, this.#rows);
  }

  /** Adds an attribute to those of a resource unless there are too many. */
  keepResourceAttribute(attributes: Attribute[], attribute: Attribute): void {
    this.#origins.keepAttribute(attributes, attribute);
  }

  /** Begins the next span: every field at its default. */
  beginSpan(): void {
    const row = this.#rows;
    if (row === this.#columns.kind.length) this.#columns = grownColumns(this.#columns, emptyColumns(2 * row));
    const c = this.#columns;
    for (let word = 2 * row; word < 2 * row + 2; word++) {
      c.spanId[word] = 0;
      c.parentSpanId[word] = 0;
      c.startNs[word] = 0;
      c.endNs[word] = 0;
    }
    c.name[row] = 0;
    c.kind[row] = 0;
    c.status[row] = 0;
    c.statusMessage[row] = 0;
    c.flags[row] = 0;
    c.traceState[row] = 0;
    c.source[row] = OTLP_SOURCE;
    c.linkReason[row] = 0;
    c.weight[row] = 1;
    c.duplicateOf[2 * row] = 0;
    c.duplicateOf[2 * row + 1] = 0;
    if (this.#isAgent) this.#agent.begin();
    this.#traceBytes = 0;
    this.#spanBytes = 0;
    this.#parentBytes = 0;
    this.#eventsFrom = this.#events.length;
    this.#linksFrom = this.#links.length;
    this.#droppedAttributes = 0;
    this.#droppedEvents = 0;
    this.#droppedLinks = 0;
    this.#attributes.beginRow();
  }

  /** Trace id of the span: `length` bytes of `bytes` from `at`. */
  traceId(bytes: Uint8Array, at: number, length: number): void {
    this.#traceBytes = length;
    if (length !== 16) return;
    setTraceId(this.#columns.traceId, this.#rows, bytes, at);
  }

  /** @see traceId */
  spanId(bytes: Uint8Array, at: number, length: number): void {
    this.#spanBytes = length;
    if (length === 8) setSpanId(this.#columns.spanId, this.#rows, bytes, at);
  }

  /** @see traceId */
  parentSpanId(bytes: Uint8Array, at: number, length: number): void {
    this.#parentBytes = length;
    const words = this.#columns.parentSpanId;
    if (length === 8) setSpanId(words, this.#rows, bytes, at);
    else words.fill(0, 2 * this.#rows, 2 * this.#rows + 2);
  }

  /** Unix nanoseconds in two halves of 32 bits. */
  start(low: number, high: number): void {
    this.#columns.startNs[2 * this.#rows] = low;
    this.#columns.startNs[2 * this.#rows + 1] = high;
  }

  /** @see start */
  end(low: number, high: number): void {
    this.#columns.endNs[2 * this.#rows] = low;
    this.#columns.endNs[2 * this.#rows + 1] = high;
  }

  /** Numbers that OTLP does not know count as unspecified. */
  kind(kind: number): void {
    this.#columns.kind[this.#rows] = kind < SPAN_KINDS.length ? kind : 0;
  }

  /** Numbers that OTLP does not know count as unset. */
  status(status: number): void {
    this.#columns.status[this.#rows] = status < SPAN_STATUSES.length ? status : 0;
  }

  /** A text of `texts`. */
  name(text: number): void {
    this.#columns.name[this.#rows] = text;
  }

  /** A text of `texts`. */
  statusMessage(text: number): void {
    this.#columns.statusMessage[this.#rows] = text;
  }

  /** A text of `texts`. */
  traceState(text: number): void {
    this.#columns.traceState[this.#rows] = text;
  }

  flags(flags: number): void {
    this.#columns.flags[this.#rows] = flags;
  }

  /** Adds an event as protobuf, tag included. */
  event(bytes: Uint8Array): void {
    this.#events.append(bytes);
  }

  /** Adds a link as protobuf, tag included. */
  link(bytes: Uint8Array): void {
    this.#links.append(bytes);
  }

  /** How many attributes were left out before the span was sent. */
  droppedAttributes(count: number): void {
    this.#droppedAttributes = count;
  }

  /** @see droppedAttributes */
  droppedEvents(count: number): void {
    this.#droppedEvents = count;
  }

  /** @see droppedAttributes */
  droppedLinks(count: number): void {
    this.#droppedLinks = count;
  }

  /** Adds an attribute: a number of `keys`, the char code of an `AttributeKind`, a text of `texts`. */
  attribute(key: number, kind: number, value: number): void {
    const column = this.#isAgent ? this.keys.agentColumn(key) : NO_AGENT_COLUMN;
    if (column === NO_AGENT_COLUMN) this.#attributes.add(key, kind, value);
    else this.#agent.see(column, value);
  }

  /** Checks the span and keeps it, or counts why not. */
  endSpan(): void {
    this.#received++;
    const reason = this.#rejectReason();
    if (reason !== undefined) {
      this.#rejected.set(reason, (this.#rejected.get(reason) ?? 0) + 1);
      this.#events.cut(this.#eventsFrom);
      this.#links.cut(this.#linksFrom);
      return;
    }
    const row = this.#rows;
    const c = this.#columns;
    c.resource[row] = this.#origins.resource();
    c.scope[row] = this.#origins.scope();
    c.pid[row] = this.#pid;
    this.#mendTimes(row);
    const kind = c.kind[row];
    this.#addresses.begin(kind === KIND_SERVER || kind === KIND_CONSUMER);
    const attributes = this.#attributes;
    for (let place = 0; place < attributes.rowLength; place++) {
      const source = this.keys.source(attributes.rowKey(place));
      if (source !== 0) this.#addresses.see(source, attributes.rowValue(place));
    }
    this.#addresses.fill(c, row);
    if (this.#isAgent) this.#agent.fill(c, row);
    if (this.#droppedAttributes > 0) appendCount(this.#events, TAG_DROPPED_ATTRIBUTES, this.#droppedAttributes);
    if (this.#droppedEvents > 0) appendCount(this.#events, TAG_DROPPED_EVENTS, this.#droppedEvents);
    if (this.#droppedLinks > 0) appendCount(this.#links, TAG_DROPPED_LINKS, this.#droppedLinks);
    c.attributeEnd[row] = attributes.keepRow();
    c.eventsEnd[row] = this.#events.length;
    c.linksEnd[row] = this.#links.length;
    this.#rows = row + 1;
  }

  /** Hands out what the request held. */
  seal({ textRepaired, valuesCut }: { readonly textRepaired: number; readonly valuesCut: number }): DecodeOutcome {
    const repaired = {
      times: this.#timesMended,
      order: this.#orderMended,
      text: textRepaired + this.texts.repaired,
      values: valuesCut,
      attributes: this.#attributes.leftOut + this.#origins.leftOut,
    };
    const batch = this.#batch();
    return { kind: "decoded", batch, received: this.#received, rejected: this.#rejected, repaired };
  }

  #batch(): SpanBatch {
    const rows = this.#rows;
    const attributes = this.#attributes.length;
    const { key, kind, value } = this.#attributes.columns;
    const c = this.#columns;
    const blobs = this.#events.length + this.#links.length;
    const slab = new Slab(rows * ROW_BYTES + attributes * ATTRIBUTE_BYTES + this.texts.byteLength + blobs);
    // Members are computed where they stand, so those of wide elements stand first.
    const wide = {
      traceId: slab.uint64(c.traceId, 2 * rows),
      spanId: slab.uint64(c.spanId, rows),
      parentSpanId: slab.uint64(c.parentSpanId, rows),
      duplicateOf: slab.uint64(c.duplicateOf, rows),
      startNs: slab.int64(c.startNs, rows),
      endNs: slab.int64(c.endNs, rows),
      resource: slab.uint32(c.resource, rows),
      scope: slab.uint32(c.scope, rows),
      name: slab.uint32(c.name, rows),
      statusMessage: slab.uint32(c.statusMessage, rows),
      traceState: slab.uint32(c.traceState, rows),
      linkReason: slab.uint32(c.linkReason, rows),
      flags: slab.uint32(c.flags, rows),
      protocol: slab.uint32(c.protocol, rows),
      clientAddr: slab.uint32(c.clientAddr, rows),
      serverAddr: slab.uint32(c.serverAddr, rows),
      pid: slab.uint32(c.pid, rows),
      weight: slab.uint32(c.weight, rows),
      attributeEnd: slab.uint32(c.attributeEnd, rows),
      eventsEnd: slab.uint32(c.eventsEnd, rows),
      linksEnd: slab.uint32(c.linksEnd, rows),
      attributeKey: slab.uint32(key, attributes),
      attributeValue: slab.uint32(value, attributes),
    };
    const places = this.texts.places(slab);
    return {
      rows,
      resources: this.#origins.resources,
      scopes: this.#origins.scopes,
      ...wide,
      clientPort: slab.uint16(c.clientPort, rows),
      serverPort: slab.uint16(c.serverPort, rows),
      kind: slab.uint8(c.kind, rows),
      status: slab.uint8(c.status, rows),
      source: slab.uint8(c.source, rows),
      attributeKind: slab.uint8(kind, attributes),
      eventsBlob: slab.bytes(this.#events.written(), EMPTY_BYTES),
      linksBlob: slab.bytes(this.#links.written(), EMPTY_BYTES),
      text: { ...places, bytes: this.texts.bytes(slab) },
    };
  }

  /** Times that columns cannot hold, or that make no duration, are mended; as they came, they stand among the events. */
  #mendTimes(row: number): void {
    const { startNs, endNs } = this.#columns;
    const low = 2 * row;
    const startLow = startNs[low] ?? 0;
    const startHigh = startNs[low + 1] ?? 0;
    const endLow = endNs[low] ?? 0;
    const endHigh = endNs[low + 1] ?? 0;
    const lateStart = mendTime(startNs, row);
    const lateEnd = mendTime(endNs, row);
    const disordered = mendOrder(startNs, endNs, row);
    if (!lateStart && !lateEnd && !disordered) return;
    if (lateStart || lateEnd) this.#timesMended++;
    if (disordered) this.#orderMended++;
    if (lateStart) appendTime(this.#events, TAG_START, startLow, startHigh);
    if (lateEnd || disordered) appendTime(this.#events, TAG_END, endLow, endHigh);
  }

  #rejectReason(): SpanRejectReason | undefined {
    const row = this.#rows;
    const { traceId, spanId } = this.#columns;
    if (this.#traceBytes !== 16) return "trace_id_length";
    const trace = 4 * row;
    if (traceId[trace] === 0 && traceId[trace + 1] === 0 && traceId[trace + 2] === 0 && traceId[trace + 3] === 0) {
      return "trace_id_zero";
    }
    if (this.#spanBytes !== 8) return "span_id_length";
    if (spanId[2 * row] === 0 && spanId[2 * row + 1] === 0) return "span_id_zero";
    if (this.#parentBytes !== 0 && this.#parentBytes !== 8) return "parent_span_id_length";
    return row >= REQUEST_SPANS_MAX ? "spans_max" : undefined;
  }
}

/** Bytes of a row and of an attribute in the columns of a batch. */
const ROW_BYTES = 7 * 8 + 15 * 4 + 2 * 2 + 3;
const ATTRIBUTE_BYTES = 2 * 4 + 1;

/** Columns of 64 bits are kept in halves. */
function emptyColumns(rows: number) {
  return {
    traceId: new Uint32Array(4 * rows),
    spanId: new Uint32Array(2 * rows),
    parentSpanId: new Uint32Array(2 * rows),
    startNs: new Uint32Array(2 * rows),
    endNs: new Uint32Array(2 * rows),
    resource: new Uint32Array(rows),
    scope: new Uint32Array(rows),
    name: new Uint32Array(rows),
    kind: new Uint8Array(rows),
    status: new Uint8Array(rows),
    statusMessage: new Uint32Array(rows),
    traceState: new Uint32Array(rows),
    source: new Uint8Array(rows),
    linkReason: new Uint32Array(rows),
    weight: new Uint32Array(rows),
    duplicateOf: new Uint32Array(2 * rows),
    flags: new Uint32Array(rows),
    protocol: new Uint32Array(rows),
    clientAddr: new Uint32Array(rows),
    clientPort: new Uint16Array(rows),
    serverAddr: new Uint32Array(rows),
    serverPort: new Uint16Array(rows),
    pid: new Uint32Array(rows),
    attributeEnd: new Uint32Array(rows),
    eventsEnd: new Uint32Array(rows),
    linksEnd: new Uint32Array(rows),
  };
}

/** Appends a field of 64 bits. */
function appendTime(bytes: GrowingBytes, tag: number, low: number, high: number): void {
  const field = new Uint8Array(9);
  const view = new DataView(field.buffer);
  view.setUint8(0, tag);
  view.setUint32(1, low, true);
  view.setUint32(5, high, true);
  bytes.append(field);
}

/** Appends a varint field: the tag takes one byte, the count up to five. */
function appendCount(bytes: GrowingBytes, tag: number, count: number): void {
  const field = [tag];
  let left = count;
  while (left > 0x7f) {
    field.push((left & 0x7f) | 0x80);
    left >>>= 7;
  }
  field.push(left);
  bytes.append(Uint8Array.from(field));
}
