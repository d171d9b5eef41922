/**
 * Log records of one request, written into columns field by field while the request is read.
 *
 * Made once a thread and used for one request after the other, as `SpanColumns`. A record is never rejected for what it
 * says: OTLP asks to keep one with a wrong trace id without it.
 */

import type { LogBatch } from "../model/log-batch.ts";
import type { Attribute, Scope } from "../model/span-batch.ts";
import { Slab } from "./growing-bytes.ts";
import { freeColumns, grownColumns, mendTime, setSpanId, setTraceId } from "./halves.ts";
import type { MalformedBody } from "./otlp-envelope.ts";
import type { OtlpRest } from "./otlp-rest.ts";
import { RequestKeys } from "./request-keys.ts";
import { RequestOrigins } from "./request-origins.ts";
import { RequestTexts } from "./request-texts.ts";
import { RowAttributes } from "./row-attributes.ts";

/** Records kept of one request; those beyond are rejected as `records_max`. */
const REQUEST_RECORDS_MAX = 262_144;
const ROWS_AT_FIRST = 1024;
/** Columns with more rows are not kept for the next request. */
const ROWS_KEPT_MAX = 65_536;
const SEVERITY_MAX = 24;
const NO_VALUE = "n".charCodeAt(0);

/** What was mended rather than rejected. */
export interface LogRepairs {
  /** Strings with invalid UTF-8 or lone surrogates; U+FFFD stands in their place. */
  readonly text: number;
  /** Records that named a time beyond the year 2262. */
  readonly times: number;
  /** Attributes left out: earlier values of a repeated key, or too many. */
  readonly attributes: number;
  /** Values that were nested too deeply; what stood too deep is empty. */
  readonly values: number;
  /** Records with a trace or span id of a wrong length, which are kept without it. */
  readonly ids: number;
}

/** What became of a request's bytes. */
export type LogDecodeOutcome =
  | {
      readonly kind: "decoded";
      /** Its columns share one buffer. */
      readonly batch: LogBatch;
      /** Records the request held. */
      readonly received: number;
      readonly rejected: ReadonlyMap<"records_max", number>;
      readonly repaired: LogRepairs;
    }
  | MalformedBody;

/** Call `begin`, then resource, scope and record by record what the request holds, then `seal`. */
export class LogColumns {
  readonly texts = new RequestTexts();
  readonly keys = new RequestKeys(this.texts);
  readonly #attributes = new RowAttributes(this.keys);
  readonly #origins = new RequestOrigins();
  #rows = 0;
  #columns = emptyColumns(ROWS_AT_FIRST);
  #received = 0;
  #times = 0;
  #ids = 0;
  #traceBytes = 0;
  #spanBytes = 0;

  /** Starts on a request. Texts may be named by their place in `bytes`, which must not change until `seal`. */
  begin(bytes: Uint8Array): void {
    this.texts.begin(bytes);
    this.keys.begin(bytes);
    this.#attributes.clear();
    this.#origins.clear();
    this.#rows = 0;
    this.#received = 0;
    this.#times = 0;
    this.#ids = 0;
  }

  // What an envelope calls: the same four steps as of spans, over other columns.
  /* jscpd:ignore-start */
  beginResource(attributes: Attribute[], rest?: OtlpRest): void {
    this.#origins.beginResource(attributes, rest, this.#rows);
  }

  beginScope(scope: Scope, rest?: OtlpRest): void {
    this.#origins.beginScope(scope, rest, this.#rows);
  }

  amendResource(rest: OtlpRest): void {
    this.#origins.amendResource(rest, this.#columns, this.#rows);
  }

  amendScope(rest: OtlpRest): void {
    this.#origins.amendScope(rest, this.#columns, this.#rows);
  }

  keepResourceAttribute(attributes: Attribute[], attribute: Attribute): void {
    this.#origins.keepAttribute(attributes, attribute);
  }
  /* jscpd:ignore-end */

  /** Begins the next record: every field at its default. */
  beginRecord(): void {
    const row = this.#rows;
    if (row === this.#columns.flags.length) this.#columns = grownColumns(this.#columns, emptyColumns(2 * row));
    const c = this.#columns;
    c.traceId.fill(0, 4 * row, 4 * row + 4);
    for (const words of [c.spanId, c.timeNs, c.observedNs]) words.fill(0, 2 * row, 2 * row + 2);
    for (const column of [c.severityText, c.body, c.eventName, c.flags, c.droppedAttributes]) column[row] = 0;
    c.severityNumber[row] = 0;
    c.bodyKind[row] = NO_VALUE;
    this.#traceBytes = 0;
    this.#spanBytes = 0;
    this.#attributes.beginRow();
  }

  /** Trace id of the record: `length` bytes of `bytes` from `at`. */
  traceId(bytes: Uint8Array, at: number, length: number): void {
    this.#traceBytes = length;
    if (length === 16) setTraceId(this.#columns.traceId, this.#rows, bytes, at);
    else this.#columns.traceId.fill(0, 4 * this.#rows, 4 * this.#rows + 4);
  }

  /** @see traceId */
  spanId(bytes: Uint8Array, at: number, length: number): void {
    this.#spanBytes = length;
    if (length === 8) setSpanId(this.#columns.spanId, this.#rows, bytes, at);
    else this.#columns.spanId.fill(0, 2 * this.#rows, 2 * this.#rows + 2);
  }

  /** Unix nanoseconds in two halves of 32 bits. */
  time(low: number, high: number): void {
    this.#columns.timeNs[2 * this.#rows] = low;
    this.#columns.timeNs[2 * this.#rows + 1] = high;
  }

  /** @see time */
  observed(low: number, high: number): void {
    this.#columns.observedNs[2 * this.#rows] = low;
    this.#columns.observedNs[2 * this.#rows + 1] = high;
  }

  /** Numbers that OTLP does not know count as unspecified. */
  severityNumber(severity: number): void {
    this.#columns.severityNumber[this.#rows] = severity > 0 && severity <= SEVERITY_MAX ? severity : 0;
  }

  /** A text of `texts`. */
  severityText(text: number): void {
    this.#columns.severityText[this.#rows] = text;
  }

  /** A text of `texts`. */
  eventName(text: number): void {
    this.#columns.eventName[this.#rows] = text;
  }

  /** The char code of an `AttributeKind`, a text of `texts`. */
  body(kind: number, text: number): void {
    this.#columns.bodyKind[this.#rows] = kind;
    this.#columns.body[this.#rows] = text;
  }

  flags(flags: number): void {
    this.#columns.flags[this.#rows] = flags;
  }

  droppedAttributes(count: number): void {
    this.#columns.droppedAttributes[this.#rows] = count;
  }

  /** Adds an attribute: a number of `keys`, the char code of an `AttributeKind`, a text of `texts`. */
  attribute(key: number, kind: number, value: number): void {
    this.#attributes.add(key, kind, value);
  }

  /** Keeps the record unless there are too many. */
  endRecord(): void {
    this.#received++;
    const row = this.#rows;
    if (row >= REQUEST_RECORDS_MAX) return;
    const c = this.#columns;
    c.resource[row] = this.#origins.resource();
    c.scope[row] = this.#origins.scope();
    const late = mendTime(c.timeNs, row);
    if (mendTime(c.observedNs, row) || late) this.#times++;
    if (isWrong(this.#traceBytes, 16) || isWrong(this.#spanBytes, 8)) this.#ids++;
    c.attributeEnd[row] = this.#attributes.keepRow();
    this.#rows = row + 1;
  }

  /** Hands out what the request held. */
  seal({ textRepaired, valuesCut }: { readonly textRepaired: number; readonly valuesCut: number }): LogDecodeOutcome {
    const over = this.#received - this.#rows;
    return {
      kind: "decoded",
      batch: this.#batch(),
      received: this.#received,
      rejected: new Map(over > 0 ? [["records_max", over]] : []),
      repaired: {
        text: textRepaired + this.texts.repaired,
        times: this.#times,
        attributes: this.#attributes.leftOut + this.#origins.leftOut,
        values: valuesCut,
        ids: this.#ids,
      },
    };
  }

  #batch(): LogBatch {
    const rows = this.#rows;
    const attributes = this.#attributes.length;
    const { key, kind, value } = this.#attributes.columns;
    const c = this.#columns;
    const slab = new Slab(rows * ROW_BYTES + attributes * ATTRIBUTE_BYTES + this.texts.byteLength);
    const isKept = c.flags.length <= ROWS_KEPT_MAX;
    /** What is not kept for the next request is freed as it is copied, so that no request stands twice in memory. */
    const copied = <T>(column: Uint32Array | Uint8Array, copy: T): T => {
      if (!isKept) freeColumns([column]);
      return copy;
    };
    const uint32 = (column: Uint32Array) => copied(column, slab.uint32(column, rows));
    // Members are computed where they stand, so those of wide elements stand first.
    const wide = {
      traceId: copied(c.traceId, slab.uint64(c.traceId, 2 * rows)),
      spanId: copied(c.spanId, slab.uint64(c.spanId, rows)),
      timeNs: copied(c.timeNs, slab.int64(c.timeNs, rows)),
      observedNs: copied(c.observedNs, slab.int64(c.observedNs, rows)),
      resource: uint32(c.resource),
      scope: uint32(c.scope),
      severityText: uint32(c.severityText),
      body: uint32(c.body),
      eventName: uint32(c.eventName),
      flags: uint32(c.flags),
      droppedAttributes: uint32(c.droppedAttributes),
      attributeEnd: uint32(c.attributeEnd),
      attributeKey: slab.uint32(key, attributes),
      attributeValue: slab.uint32(value, attributes),
    };
    const places = this.texts.places(slab);
    const batch = {
      rows,
      resources: this.#origins.resources,
      scopes: this.#origins.scopes,
      ...wide,
      severityNumber: copied(c.severityNumber, slab.uint8(c.severityNumber, rows)),
      bodyKind: copied(c.bodyKind, slab.uint8(c.bodyKind, rows)),
      attributeKind: slab.uint8(kind, attributes),
      text: { ...places, bytes: this.texts.bytes(slab) },
    };
    if (!isKept) this.#columns = emptyColumns(ROWS_AT_FIRST);
    return batch;
  }
}

/** An id that was not sent is none, and no fault. */
function isWrong(bytes: number, wanted: number): boolean {
  return bytes !== 0 && bytes !== wanted;
}

/** Bytes of a row and of an attribute in the columns of a batch. */
const ROW_BYTES = 5 * 8 + 8 * 4 + 2;
const ATTRIBUTE_BYTES = 2 * 4 + 1;

/** Columns of 64 bits are kept in halves. */
function emptyColumns(rows: number) {
  return {
    traceId: new Uint32Array(4 * rows),
    spanId: new Uint32Array(2 * rows),
    timeNs: new Uint32Array(2 * rows),
    observedNs: new Uint32Array(2 * rows),
    resource: new Uint32Array(rows),
    scope: new Uint32Array(rows),
    severityNumber: new Uint8Array(rows),
    severityText: new Uint32Array(rows),
    body: new Uint32Array(rows),
    bodyKind: new Uint8Array(rows),
    eventName: new Uint32Array(rows),
    flags: new Uint32Array(rows),
    droppedAttributes: new Uint32Array(rows),
    attributeEnd: new Uint32Array(rows),
  };
}
