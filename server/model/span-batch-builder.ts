/**
 * Appends spans row by row and seals them into a `SpanBatch`.
 *
 * Invariants: `#rows` rows are complete in every column; `append` either adds a whole row or throws before
 * it changed anything visible. Text, resources and scopes are interned by value within one batch.
 */

import type { Attribute, AttributeKind, Resource, Scope, SpanBatch } from "./span-batch.ts";
import { textTableOf } from "./text-table.ts";

/**
 * Places of the 64-bit fields in `SpanToAppend.words`, each its low half and then its high one. The platforms Thalweg runs on
 * are little-endian.
 */
export const SPAN_WORDS = {
  traceIdHigh: 0,
  traceIdLow: 2,
  spanId: 4,
  parentSpanId: 6,
  startNs: 8,
  endNs: 10,
  size: 12,
};

/** Attributes without an object for each. The arrays are their maker's to reuse; of what they hold the first `count` count. */
export interface AttributeColumns {
  readonly keys: string[];
  readonly kinds: AttributeKind[];
  readonly values: string[];
  count: number;
}

/** One span as `append` takes it. Callers may reuse one object for all rows. */
export interface SpanToAppend {
  resource: number;
  scope: number;
  traceIdHigh: bigint;
  traceIdLow: bigint;
  spanId: bigint;
  parentSpanId: bigint;
  startNs: bigint;
  endNs: bigint;
  name: string;
  kind: number;
  status: number;
  statusMessage: string;
  source: number;
  linkReason: string;
  protocol: string;
  clientAddr: string;
  clientPort: number;
  serverAddr: string;
  serverPort: number;
  pid: number;
  weight: number;
  duplicateOf: bigint;
  flags: number;
  traceState: string;
  attributes: readonly Attribute[];
  /** `SPAN_WORDS`; where it is given, the BigInts of the same names above are not looked at. */
  words?: Uint32Array | undefined;
  /** Attributes before those above. */
  columns?: AttributeColumns | undefined;
  /** OTLP protobuf of events and links, tags included; empty where there are none. */
  events: Uint8Array;
  links: Uint8Array;
}

const ROWS_AT_FIRST = 64;
const ATTRIBUTES_AT_FIRST = 512;
const BLOB_BYTES_AT_FIRST = 256;
/** Text columns of a row, in the order of `append`, whose last text is remembered; those of attributes follow. */
const TEXT_COLUMNS = 7;
/** Attributes of a row whose last key and value are remembered, for spans of odd and of even kind apart. */
const REMEMBERED_ATTRIBUTES = 32;
const REMEMBERED_TEXTS = 2 * (TEXT_COLUMNS + 2 * REMEMBERED_ATTRIBUTES);
/** Stands for absent bytes; never written to. */
export const NO_BYTES = new Uint8Array(0);

/** A span with every field at its "absent" value; spread it and set what is known. */
export const EMPTY_SPAN: Readonly<SpanToAppend> = {
  resource: 0,
  scope: 0,
  traceIdHigh: 0n,
  traceIdLow: 0n,
  spanId: 0n,
  parentSpanId: 0n,
  startNs: 0n,
  endNs: 0n,
  name: "",
  kind: 0,
  status: 0,
  statusMessage: "",
  source: 0,
  linkReason: "",
  protocol: "",
  clientAddr: "",
  clientPort: 0,
  serverAddr: "",
  serverPort: 0,
  pid: 0,
  weight: 1,
  duplicateOf: 0n,
  flags: 0,
  traceState: "",
  attributes: [],
  events: NO_BYTES,
  links: NO_BYTES,
};

type Column = Uint8Array | Uint16Array | Uint32Array | BigUint64Array | BigInt64Array;

/** Builds one `SpanBatch` after another; `seal` hands a batch out and starts an empty one. */
export class SpanBatchBuilder {
  #rows = 0;
  #attributes = 0;
  #columns = emptyRowColumns(ROWS_AT_FIRST);
  /** The 64-bit columns in halves. */
  #words = wordsOf(this.#columns);
  #attributeKey = new Uint32Array(ATTRIBUTES_AT_FIRST);
  #attributeKind = new Uint8Array(ATTRIBUTES_AT_FIRST);
  #attributeValue = new Uint32Array(ATTRIBUTES_AT_FIRST);
  #events = new ByteHeap();
  #links = new ByteHeap();
  #text: string[] = [""];
  #textIndex = new Map<string, number>([["", 0]]);
  /** The text that stood in the same place of the last row of its kind, which is mostly that of the next, and its index. */
  readonly #lastText: string[] = new Array(REMEMBERED_TEXTS).fill("");
  readonly #lastIndex = new Uint32Array(REMEMBERED_TEXTS);
  #resources: Resource[] = [];
  #resourceIndex = new Map<Resource, number>();
  #scopes: Scope[] = [];
  #scopeIndex = new Map<string, number>();
  /** The scope that was added last. */
  #lastScope: Scope | undefined;
  #lastScopeIndex = 0;

  /** Rows appended since the last `seal`. */
  get rows(): number {
    return this.#rows;
  }

  /** Index for `SpanToAppend.resource`. Resources are told apart by object identity: intern them at their source. */
  addResource(resource: Resource): number {
    const known = this.#resourceIndex.get(resource);
    if (known !== undefined) return known;
    const index = this.#resources.push(resource) - 1;
    this.#resourceIndex.set(resource, index);
    return index;
  }

  /** Index for `SpanToAppend.scope`; scopes are told apart by all they hold. */
  addScope(scope: Scope): number {
    if (scope !== this.#lastScope) {
      this.#lastScopeIndex = this.#scopeIndexOf(scope);
      this.#lastScope = scope;
    }
    return this.#lastScopeIndex;
  }

  #scopeIndexOf(scope: Scope): number {
    const key = `${scope.name}\u0000${scope.version}\u0000${scope.rest ?? ""}`;
    const known = this.#scopeIndex.get(key);
    if (known !== undefined) return known;
    const index = this.#scopes.push(scope) - 1;
    this.#scopeIndex.set(key, index);
    return index;
  }

  /** Appends one row. `span.resource` and `span.scope` must come from `addResource` and `addScope`. */
  append(span: Readonly<SpanToAppend>): void {
    const row = this.#rows;
    if (row === this.#columns.kind.length) this.#growRows();
    const c = this.#columns;
    const place = (span.kind & 1) * (REMEMBERED_TEXTS / 2);
    c.resource[row] = span.resource;
    c.scope[row] = span.scope;
    if (span.words !== undefined) this.#appendWords(span.words);
    else {
      c.traceId[2 * row] = span.traceIdHigh;
      c.traceId[2 * row + 1] = span.traceIdLow;
      c.spanId[row] = span.spanId;
      c.parentSpanId[row] = span.parentSpanId;
      c.startNs[row] = span.startNs;
      c.endNs[row] = span.endNs;
    }
    c.name[row] = this.#internAt(place, span.name);
    c.kind[row] = span.kind;
    c.status[row] = span.status;
    c.statusMessage[row] = this.#internAt(place + 1, span.statusMessage);
    c.source[row] = span.source;
    c.linkReason[row] = this.#internAt(place + 2, span.linkReason);
    c.protocol[row] = this.#internAt(place + 3, span.protocol);
    c.clientAddr[row] = this.#internAt(place + 4, span.clientAddr);
    c.clientPort[row] = span.clientPort;
    c.serverAddr[row] = this.#internAt(place + 5, span.serverAddr);
    c.serverPort[row] = span.serverPort;
    c.pid[row] = span.pid;
    c.weight[row] = span.weight;
    c.duplicateOf[row] = span.duplicateOf;
    c.flags[row] = span.flags;
    c.traceState[row] = this.#internAt(place + 6, span.traceState);
    this.#appendAttributes(span, place + TEXT_COLUMNS);
    c.attributeEnd[row] = this.#attributes;
    c.eventsEnd[row] = this.#events.append(span.events);
    c.linksEnd[row] = this.#links.append(span.links);
    this.#rows = row + 1;
  }

  /** Hands out what was appended and starts over. The batch owns its arrays. */
  seal(): SpanBatch {
    const rows = this.#rows;
    const c = this.#columns;
    const batch: SpanBatch = {
      rows,
      text: textTableOf(this.#text),
      resources: this.#resources,
      scopes: this.#scopes,
      resource: c.resource.slice(0, rows),
      scope: c.scope.slice(0, rows),
      traceId: c.traceId.slice(0, 2 * rows),
      spanId: c.spanId.slice(0, rows),
      parentSpanId: c.parentSpanId.slice(0, rows),
      startNs: c.startNs.slice(0, rows),
      endNs: c.endNs.slice(0, rows),
      name: c.name.slice(0, rows),
      kind: c.kind.slice(0, rows),
      status: c.status.slice(0, rows),
      statusMessage: c.statusMessage.slice(0, rows),
      source: c.source.slice(0, rows),
      linkReason: c.linkReason.slice(0, rows),
      protocol: c.protocol.slice(0, rows),
      clientAddr: c.clientAddr.slice(0, rows),
      clientPort: c.clientPort.slice(0, rows),
      serverAddr: c.serverAddr.slice(0, rows),
      serverPort: c.serverPort.slice(0, rows),
      pid: c.pid.slice(0, rows),
      weight: c.weight.slice(0, rows),
      duplicateOf: c.duplicateOf.slice(0, rows),
      flags: c.flags.slice(0, rows),
      traceState: c.traceState.slice(0, rows),
      attributeEnd: c.attributeEnd.slice(0, rows),
      attributeKey: this.#attributeKey.slice(0, this.#attributes),
      attributeKind: this.#attributeKind.slice(0, this.#attributes),
      attributeValue: this.#attributeValue.slice(0, this.#attributes),
      eventsEnd: c.eventsEnd.slice(0, rows),
      linksEnd: c.linksEnd.slice(0, rows),
      eventsBlob: this.#events.take(),
      linksBlob: this.#links.take(),
    };
    this.#rows = 0;
    this.#attributes = 0;
    this.#text = [""];
    this.#textIndex = new Map([["", 0]]);
    this.#lastText.fill("");
    this.#resources = [];
    this.#resourceIndex = new Map();
    this.#scopes = [];
    this.#scopeIndex = new Map();
    this.#lastScope = undefined;
    return batch;
  }

  /** The 64-bit fields of the row under way. */
  #appendWords(words: Uint32Array): void {
    const row = this.#rows;
    const { traceId, spanId, parentSpanId, startNs, endNs } = this.#words;
    traceId[4 * row] = words[0] as number;
    traceId[4 * row + 1] = words[1] as number;
    traceId[4 * row + 2] = words[2] as number;
    traceId[4 * row + 3] = words[3] as number;
    spanId[2 * row] = words[4] as number;
    spanId[2 * row + 1] = words[5] as number;
    parentSpanId[2 * row] = words[6] as number;
    parentSpanId[2 * row + 1] = words[7] as number;
    startNs[2 * row] = words[8] as number;
    startNs[2 * row + 1] = words[9] as number;
    endNs[2 * row] = words[10] as number;
    endNs[2 * row + 1] = words[11] as number;
  }

  #appendAttributes({ attributes, columns }: Readonly<SpanToAppend>, firstPlace: number): void {
    const ofColumns = columns === undefined ? 0 : columns.count;
    const end = this.#attributes + ofColumns + attributes.length;
    if (end > this.#attributeKey.length) {
      this.#attributeKey = grown(this.#attributeKey, end);
      this.#attributeKind = grown(this.#attributeKind, end);
      this.#attributeValue = grown(this.#attributeValue, end);
    }
    let place = firstPlace;
    const lastPlace = firstPlace + 2 * REMEMBERED_ATTRIBUTES;
    if (columns !== undefined) {
      const { keys, kinds, values } = columns;
      for (let at = 0; at < ofColumns; at++) {
        const isRemembered = place < lastPlace;
        this.#appendAttribute(
          keys[at] as string,
          kinds[at] as AttributeKind,
          values[at] as string,
          isRemembered ? place : -1,
        );
        place += 2;
      }
    }
    for (const { key, kind, value } of attributes) {
      this.#appendAttribute(key, kind, value, place < lastPlace ? place : -1);
      place += 2;
    }
  }

  /** @param place Where its texts are remembered, key and then value; -1 for nowhere. There is room for it. */
  #appendAttribute(key: string, kind: AttributeKind, value: string, place: number): void {
    const at = this.#attributes;
    this.#attributeKey[at] = place < 0 ? this.#intern(key) : this.#internAt(place, key);
    this.#attributeKind[at] = kind.charCodeAt(0);
    this.#attributeValue[at] = place < 0 ? this.#intern(value) : this.#internAt(place + 1, value);
    this.#attributes = at + 1;
  }

  /** Interns the text of one place in a row. */
  #internAt(place: number, text: string): number {
    if (text === "") return 0;
    if (this.#lastText[place] === text) return this.#lastIndex[place] as number;
    const index = this.#intern(text);
    this.#lastText[place] = text;
    this.#lastIndex[place] = index;
    return index;
  }

  #intern(text: string): number {
    if (text === "") return 0;
    const known = this.#textIndex.get(text);
    if (known !== undefined) return known;
    const index = this.#text.push(text) - 1;
    this.#textIndex.set(text, index);
    return index;
  }

  #growRows(): void {
    const larger = emptyRowColumns(this.#columns.kind.length * 2);
    for (const [name, column] of Object.entries(this.#columns)) {
      // Both objects come from emptyRowColumns, so the entry of a name has one type.
      (larger as unknown as Record<string, Column>)[name]?.set(column as never);
    }
    this.#columns = larger;
    this.#words = wordsOf(larger);
  }
}

function emptyRowColumns(rows: number) {
  return {
    resource: new Uint32Array(rows),
    scope: new Uint32Array(rows),
    traceId: new BigUint64Array(2 * rows),
    spanId: new BigUint64Array(rows),
    parentSpanId: new BigUint64Array(rows),
    startNs: new BigInt64Array(rows),
    endNs: new BigInt64Array(rows),
    name: new Uint32Array(rows),
    kind: new Uint8Array(rows),
    status: new Uint8Array(rows),
    statusMessage: new Uint32Array(rows),
    source: new Uint8Array(rows),
    linkReason: new Uint32Array(rows),
    protocol: new Uint32Array(rows),
    clientAddr: new Uint32Array(rows),
    clientPort: new Uint16Array(rows),
    serverAddr: new Uint32Array(rows),
    serverPort: new Uint16Array(rows),
    pid: new Uint32Array(rows),
    weight: new Uint32Array(rows),
    duplicateOf: new BigUint64Array(rows),
    flags: new Uint32Array(rows),
    traceState: new Uint32Array(rows),
    attributeEnd: new Uint32Array(rows),
    eventsEnd: new Uint32Array(rows),
    linksEnd: new Uint32Array(rows),
  };
}

/** The same bytes as the columns of 64 bits. */
function wordsOf({ traceId, spanId, parentSpanId, startNs, endNs }: ReturnType<typeof emptyRowColumns>) {
  return {
    traceId: new Uint32Array(traceId.buffer),
    spanId: new Uint32Array(spanId.buffer),
    parentSpanId: new Uint32Array(parentSpanId.buffer),
    startNs: new Uint32Array(startNs.buffer),
    endNs: new Uint32Array(endNs.buffer),
  };
}

function grown<T extends Uint8Array | Uint32Array>(column: T, atLeast: number): T {
  const length = Math.max(atLeast, column.length * 2);
  const larger = column instanceof Uint8Array ? new Uint8Array(length) : new Uint32Array(length);
  larger.set(column);
  // The branch above made an array of the column's own type.
  return larger as T;
}

/** Bytes of many rows back to back. */
class ByteHeap {
  #bytes = new Uint8Array(BLOB_BYTES_AT_FIRST);
  #used = 0;

  append(bytes: Uint8Array): number {
    const end = this.#used + bytes.length;
    if (end > this.#bytes.length) this.#bytes = grown(this.#bytes, end);
    this.#bytes.set(bytes, this.#used);
    this.#used = end;
    return end;
  }

  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#used);
    this.#used = 0;
    return taken;
  }
}
