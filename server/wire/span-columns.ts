/**
 * Spans of one request, written into columns field by field while the request is read.
 *
 * Made once a thread and used for one request after the other: columns and tables stay, and `seal` copies what one
 * request needs into one buffer, which crosses threads without another copy. No object is made for a span or an
 * attribute. What is wrong with a span is decided here, for both encodings.
 *
 * Invariants: `received` = rows + the sum of `rejected`; keys that differ as text stand once in a row.
 */

import type { Attribute, Resource, Scope, SpanBatch } from "../model/span-batch.ts";
import { KIND_CONSUMER, KIND_SERVER, SPAN_KINDS, SPAN_SOURCES, SPAN_STATUSES } from "../model/span-batch.ts";
import { AddressFinder, pidOf } from "./address-columns.ts";
import { EMPTY_BYTES, GrowingBytes, grownTo, Slab } from "./growing-bytes.ts";
import { type OtlpRest, restText } from "./otlp-rest.ts";
import { RequestKeys } from "./request-keys.ts";
import { RequestTexts } from "./request-texts.ts";

/** Attributes kept of one span or resource; those beyond are left out and counted. */
const ATTRIBUTES_MAX = 1024;
/** Spans kept of one request; those beyond are rejected as `spans_max`. */
const REQUEST_SPANS_MAX = 1_000_000;
/** The last nanosecond that a span may name: one before DuckDB's infinity, in the year 2262. */
export const UNIX_NANO_MAX = 2n ** 63n - 2n;
const UNIX_NANO_MAX_HIGH = 0x7fff_ffff;
const UNIX_NANO_MAX_LOW = 0xffff_fffe;
const ROWS_AT_FIRST = 1024;
const ATTRIBUTES_AT_FIRST = 8 * ROWS_AT_FIRST;
const OTLP_SOURCE = SPAN_SOURCES.indexOf("otlp");
const NO_WORDS = new Uint32Array(0);
/** Fields 10, 12 and 14 of Span as varints. */
const TAG_DROPPED_ATTRIBUTES = 80;
const TAG_DROPPED_EVENTS = 96;
const TAG_DROPPED_LINKS = 112;
/** Up to here comparing keys pairwise is faster than a set. */
const PAIRWISE_ATTRIBUTES_MAX = 24;

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
  /** Spans that ended before they started, or named a time beyond `UNIX_NANO_MAX`. */
  times: number;
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
  | {
      readonly kind: "malformed";
      /** What is wrong, without any of the content. */
      readonly reason: string;
      /** Byte (protobuf) or UTF-16 unit (JSON) where decoding stopped. */
      readonly offset: number;
    };

/** Stands for a scope that was not sent. */
const NO_SCOPE: Scope = { name: "", version: "" };

/** Call `begin`, then resource, scope and span by span what the request holds, then `seal`. */
export class SpanColumns {
  readonly texts = new RequestTexts();
  readonly keys = new RequestKeys(this.texts);
  readonly #addresses = new AddressFinder(this.texts);
  readonly #events = new GrowingBytes();
  readonly #links = new GrowingBytes();

  #rows = 0;
  #columns = emptyColumns(ROWS_AT_FIRST);
  #attributes = 0;
  #attributeKey = new Uint32Array(ATTRIBUTES_AT_FIRST);
  #attributeKind = new Uint8Array(ATTRIBUTES_AT_FIRST);
  #attributeValue = new Uint32Array(ATTRIBUTES_AT_FIRST);
  /** Keys of the row at hand, by place among its attributes; and by key, the row it was met in and its place there. */
  readonly #rowKeys = new Uint32Array(ATTRIBUTES_MAX);
  #keySpan = new Float64Array(ROWS_AT_FIRST);
  #keyAt = new Uint32Array(ROWS_AT_FIRST);
  /** Tells this span from all others. */
  #span = 0;

  #received = 0;
  #rejected = new Map<SpanRejectReason, number>();
  #repaired: TraceRepairs = { text: 0, times: 0, attributes: 0, values: 0 };
  #resources: Resource[] = [];
  #resourceByContent = new Map<string, number>();
  #scopes: Scope[] = [];
  #scopeByContent = new Map<string, number>();
  #resourceAttributes: readonly Attribute[] = [];
  #resourceRest = "";
  #scope = NO_SCOPE;
  /** The first row that can be of that resource or scope. */
  #resourceRow = 0;
  #scopeRow = 0;
  /** Whether it stands in the batch because of these spans alone, and so at the end of its list. */
  #resourceIsNew = false;
  #scopeIsNew = false;
  /** Index of that resource or scope in the batch, -1 until its first span is accepted. */
  #resourceIndex = -1;
  #scopeIndex = -1;
  #pid = 0;

  #traceBytes = 0;
  #spanBytes = 0;
  #parentBytes = 0;
  #attributesFrom = 0;
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
    this.#attributes = 0;
    this.#received = 0;
    this.#rejected = new Map();
    this.#repaired = { text: 0, times: 0, attributes: 0, values: 0 };
    this.#resources = [];
    this.#resourceByContent.clear();
    this.#scopes = [];
    this.#scopeByContent.clear();
    this.beginResource([]);
  }

  /** Begins a ResourceSpans whose resource carries `attributes`, which the columns keep, and beside them `rest`. */
  beginResource(attributes: Attribute[], rest?: OtlpRest): void {
    this.#repaired.attributes += dropRepeated(attributes);
    this.#resourceAttributes = attributes;
    this.#resourceRest = this.#restText(rest);
    this.#resourceIndex = -1;
    this.#resourceRow = this.#rows;
    this.#resourceIsNew = false;
    this.beginScope(NO_SCOPE);
  }

  /** Begins a ScopeSpans. */
  beginScope(scope: Scope, rest?: OtlpRest): void {
    const text = this.#restText(rest);
    this.#scope = text === "" ? scope : { ...scope, rest: text };
    this.#scopeIndex = -1;
    this.#scopeRow = this.#rows;
    this.#scopeIsNew = false;
  }

  /** Puts `rest` in place of what was given with the resource whose spans were read last, which are all kept by now. */
  amendResource(rest: OtlpRest): void {
    const index = this.#resourceIndex;
    const resource = this.#resources[index];
    const { text } = restText(rest);
    if (resource === undefined || text === "") return;
    const plain = JSON.stringify(resource.attributes);
    if (this.#resourceIsNew) {
      this.#resources.pop();
      this.#resourceByContent.delete(plain + (resource.rest ?? ""));
    }
    const content = plain + text;
    const known = this.#resourceByContent.get(content) ?? this.#resources.push({ ...resource, rest: text }) - 1;
    this.#resourceByContent.set(content, known);
    this.#columns.resource.fill(known, this.#resourceRow, this.#rows);
  }

  /** @see amendResource */
  amendScope(rest: OtlpRest): void {
    const scope = this.#scopes[this.#scopeIndex];
    const { text } = restText(rest);
    if (scope === undefined || text === "") return;
    if (this.#scopeIsNew) {
      this.#scopes.pop();
      this.#scopeByContent.delete(scopeContent(scope));
    }
    const amended = { ...scope, rest: text };
    const content = scopeContent(amended);
    const known = this.#scopeByContent.get(content) ?? this.#scopes.push(amended) - 1;
    this.#scopeByContent.set(content, known);
    this.#columns.scope.fill(known, this.#scopeRow, this.#rows);
  }

  #restText(rest: OtlpRest | undefined): string {
    if (rest === undefined) return "";
    const { text, leftOut } = restText(rest);
    this.#repaired.attributes += leftOut;
    return text;
  }

  /** Adds an attribute to those of a resource unless there are too many. */
  keepResourceAttribute(attributes: Attribute[], attribute: Attribute): void {
    if (attributes.length < ATTRIBUTES_MAX) attributes.push(attribute);
    else this.#repaired.attributes++;
  }

  /** Begins the next span: every field at its default. */
  beginSpan(): void {
    const row = this.#rows;
    if (row === this.#columns.kind.length) this.#columns = grownColumns(this.#columns);
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
    this.#traceBytes = 0;
    this.#spanBytes = 0;
    this.#parentBytes = 0;
    this.#attributesFrom = this.#attributes;
    this.#eventsFrom = this.#events.length;
    this.#linksFrom = this.#links.length;
    this.#droppedAttributes = 0;
    this.#droppedEvents = 0;
    this.#droppedLinks = 0;
    this.#span++;
    this.keys.forgetIfFull();
  }

  /** Trace id of the span: `length` bytes of `bytes` from `at`. */
  traceId(bytes: Uint8Array, at: number, length: number): void {
    this.#traceBytes = length;
    if (length !== 16) return;
    const words = this.#columns.traceId;
    const to = 4 * this.#rows;
    words[to] = bigEndian(bytes, at + 4);
    words[to + 1] = bigEndian(bytes, at);
    words[to + 2] = bigEndian(bytes, at + 12);
    words[to + 3] = bigEndian(bytes, at + 8);
  }

  /** @see traceId */
  spanId(bytes: Uint8Array, at: number, length: number): void {
    this.#spanBytes = length;
    if (length === 8) setId(this.#columns.spanId, this.#rows, bytes, at);
  }

  /** @see traceId */
  parentSpanId(bytes: Uint8Array, at: number, length: number): void {
    this.#parentBytes = length;
    const words = this.#columns.parentSpanId;
    if (length === 8) setId(words, this.#rows, bytes, at);
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
    const at = this.#attributes;
    if (key >= this.#keyAt.length) this.#growKeys(key);
    if (this.#keySpan[key] === this.#span) {
      const known = this.#keyAt[key] ?? 0;
      this.#attributeKind[known] = kind;
      this.#attributeValue[known] = value;
      this.#repaired.attributes++;
      return;
    }
    const place = at - this.#attributesFrom;
    if (place === ATTRIBUTES_MAX) {
      this.#repaired.attributes++;
      return;
    }
    if (at === this.#attributeKind.length) this.#growAttributes();
    this.#keySpan[key] = this.#span;
    this.#keyAt[key] = at;
    this.#rowKeys[place] = key;
    this.#attributeKey[at] = this.keys.text(key);
    this.#attributeKind[at] = kind;
    this.#attributeValue[at] = value;
    this.#attributes = at + 1;
  }

  /** Checks the span and keeps it, or counts why not. */
  endSpan(): void {
    this.#received++;
    const reason = this.#rejectReason();
    if (reason !== undefined) {
      this.#rejected.set(reason, (this.#rejected.get(reason) ?? 0) + 1);
      this.#attributes = this.#attributesFrom;
      this.#events.cut(this.#eventsFrom);
      this.#links.cut(this.#linksFrom);
      return;
    }
    const row = this.#rows;
    const c = this.#columns;
    if (this.#resourceIndex < 0) this.#useResource();
    if (this.#scopeIndex < 0) this.#useScope();
    c.resource[row] = this.#resourceIndex;
    c.scope[row] = this.#scopeIndex;
    c.pid[row] = this.#pid;
    if (mendTimes(c.startNs, c.endNs, row)) this.#repaired.times++;
    const kind = c.kind[row];
    this.#addresses.begin(kind === KIND_SERVER || kind === KIND_CONSUMER);
    for (let at = this.#attributesFrom; at < this.#attributes; at++) {
      const source = this.keys.source(this.#rowKeys[at - this.#attributesFrom] ?? 0);
      if (source !== 0) this.#addresses.see(source, this.#attributeValue[at] ?? 0);
    }
    this.#addresses.fill(c, row);
    if (this.#droppedAttributes > 0) appendCount(this.#events, TAG_DROPPED_ATTRIBUTES, this.#droppedAttributes);
    if (this.#droppedEvents > 0) appendCount(this.#events, TAG_DROPPED_EVENTS, this.#droppedEvents);
    if (this.#droppedLinks > 0) appendCount(this.#links, TAG_DROPPED_LINKS, this.#droppedLinks);
    c.attributeEnd[row] = this.#attributes;
    c.eventsEnd[row] = this.#events.length;
    c.linksEnd[row] = this.#links.length;
    this.#rows = row + 1;
  }

  /** Tells how many attribute values were emptied since they are nested too deeply. */
  valuesCut(count: number): void {
    this.#repaired.values += count;
  }

  /** Hands out what the request held. */
  seal(): DecodeOutcome {
    const repaired = { ...this.#repaired, text: this.#repaired.text + this.texts.repaired };
    const batch = this.#batch();
    return { kind: "decoded", batch, received: this.#received, rejected: this.#rejected, repaired };
  }

  #batch(): SpanBatch {
    const rows = this.#rows;
    const attributes = this.#attributes;
    const c = this.#columns;
    const blobs = this.#events.length + this.#links.length;
    const slab = new Slab(rows * ROW_BYTES + attributes * ATTRIBUTE_BYTES + this.texts.byteLength + blobs);
    // Members are computed where they stand, so those of wide elements stand first.
    const wide = {
      traceId: slab.uint64(c.traceId, 2 * rows),
      spanId: slab.uint64(c.spanId, rows),
      parentSpanId: slab.uint64(c.parentSpanId, rows),
      duplicateOf: slab.uint64(NO_WORDS, rows),
      startNs: slab.int64(c.startNs, rows),
      endNs: slab.int64(c.endNs, rows),
      resource: slab.uint32(c.resource, rows),
      scope: slab.uint32(c.scope, rows),
      name: slab.uint32(c.name, rows),
      statusMessage: slab.uint32(c.statusMessage, rows),
      traceState: slab.uint32(c.traceState, rows),
      linkReason: slab.uint32(NO_WORDS, rows),
      flags: slab.uint32(c.flags, rows),
      protocol: slab.uint32(c.protocol, rows),
      clientAddr: slab.uint32(c.clientAddr, rows),
      serverAddr: slab.uint32(c.serverAddr, rows),
      pid: slab.uint32(c.pid, rows),
      weight: slab.uint32(NO_WORDS, rows).fill(1),
      attributeEnd: slab.uint32(c.attributeEnd, rows),
      eventsEnd: slab.uint32(c.eventsEnd, rows),
      linksEnd: slab.uint32(c.linksEnd, rows),
      attributeKey: slab.uint32(this.#attributeKey, attributes),
      attributeValue: slab.uint32(this.#attributeValue, attributes),
    };
    const places = this.texts.places(slab);
    return {
      rows,
      resources: this.#resources,
      scopes: this.#scopes,
      ...wide,
      clientPort: slab.uint16(c.clientPort, rows),
      serverPort: slab.uint16(c.serverPort, rows),
      kind: slab.uint8(c.kind, rows),
      status: slab.uint8(c.status, rows),
      source: slab.uint8(EMPTY_BYTES, rows).fill(OTLP_SOURCE),
      attributeKind: slab.uint8(this.#attributeKind, attributes),
      eventsBlob: slab.bytes(this.#events.written(), EMPTY_BYTES),
      linksBlob: slab.bytes(this.#links.written(), EMPTY_BYTES),
      text: { ...places, bytes: this.texts.bytes(slab) },
    };
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

  /** Equal resources of one request become one row of the batch. */
  #useResource(): void {
    const attributes = this.#resourceAttributes.toSorted(byKey);
    const rest = this.#resourceRest;
    const content = JSON.stringify(attributes) + rest;
    let index = this.#resourceByContent.get(content);
    if (index === undefined) {
      const service = textOf(attributes, "service.name") || "unknown_service";
      const instance = textOf(attributes, "service.instance.id");
      const resource = { service, instance, attributes };
      index = this.#resources.push(rest === "" ? resource : { ...resource, rest }) - 1;
      this.#resourceByContent.set(content, index);
      this.#resourceIsNew = true;
    }
    this.#resourceIndex = index;
    this.#pid = pidOf(attributes);
  }

  #useScope(): void {
    const scope = this.#scope;
    const content = scopeContent(scope);
    let index = this.#scopeByContent.get(content);
    if (index === undefined) {
      index = this.#scopes.push(scope) - 1;
      this.#scopeByContent.set(content, index);
      this.#scopeIsNew = true;
    }
    this.#scopeIndex = index;
  }

  #growKeys(key: number): void {
    this.#keySpan = grownTo(this.#keySpan, new Float64Array(2 * key));
    this.#keyAt = grownTo(this.#keyAt, new Uint32Array(2 * key));
  }

  #growAttributes(): void {
    const length = 2 * this.#attributeKind.length;
    this.#attributeKey = grownTo(this.#attributeKey, new Uint32Array(length));
    this.#attributeKind = grownTo(this.#attributeKind, new Uint8Array(length));
    this.#attributeValue = grownTo(this.#attributeValue, new Uint32Array(length));
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

function grownColumns(columns: ReturnType<typeof emptyColumns>): ReturnType<typeof emptyColumns> {
  const larger = emptyColumns(2 * columns.kind.length);
  for (const [name, column] of Object.entries(columns)) {
    // Both objects come from emptyColumns, so the entry of a name has one type.
    (larger as unknown as Record<string, { set(source: unknown): void }>)[name]?.set(column);
  }
  return larger;
}

function bigEndian(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  );
}

function setId(words: Uint32Array, row: number, bytes: Uint8Array, at: number): void {
  words[2 * row] = bigEndian(bytes, at + 4);
  words[2 * row + 1] = bigEndian(bytes, at);
}

/** Cuts times that are too late and an end before its start; says whether there was one. */
function mendTimes(starts: Uint32Array, ends: Uint32Array, row: number): boolean {
  const low = 2 * row;
  const high = low + 1;
  let mended = false;
  for (const words of [starts, ends]) {
    const upper = words[high] ?? 0;
    if (upper < UNIX_NANO_MAX_HIGH) continue;
    if (upper === UNIX_NANO_MAX_HIGH && (words[low] ?? 0) <= UNIX_NANO_MAX_LOW) continue;
    words[high] = UNIX_NANO_MAX_HIGH;
    words[low] = UNIX_NANO_MAX_LOW;
    mended = true;
  }
  const before =
    (ends[high] ?? 0) < (starts[high] ?? 0) || (ends[high] === starts[high] && (ends[low] ?? 0) < (starts[low] ?? 0));
  if (!before) return mended;
  ends[high] = starts[high] ?? 0;
  ends[low] = starts[low] ?? 0;
  return true;
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

function scopeContent({ name, version, rest = "" }: Scope): string {
  return `${name}\u0000${version}\u0000${rest}`;
}

function byKey(a: Attribute, b: Attribute): number {
  if (a.key === b.key) return 0;
  return a.key < b.key ? -1 : 1;
}

function textOf(attributes: readonly Attribute[], key: string): string {
  return attributes.find((attribute) => attribute.key === key)?.value ?? "";
}

/** Keeps the last value of each key, in place; returns how many were left out. */
function dropRepeated(attributes: Attribute[]): number {
  if (!hasRepeated(attributes)) return 0;
  const byName = new Map<string, Attribute>();
  for (const attribute of attributes) byName.set(attribute.key, attribute);
  const dropped = attributes.length - byName.size;
  attributes.length = 0;
  attributes.push(...byName.values());
  return dropped;
}

function hasRepeated(attributes: readonly Attribute[]): boolean {
  const count = attributes.length;
  if (count > PAIRWISE_ATTRIBUTES_MAX) return new Set(attributes.map((attribute) => attribute.key)).size < count;
  for (let i = 1; i < count; i++) {
    const key = attributes[i]?.key;
    for (let j = 0; j < i; j++) if (attributes[j]?.key === key) return true;
  }
  return false;
}
