/**
 * Log records made ready for DuckDB, and the columns of `log` filled from them.
 *
 * Everything that can be refused happens in `stageLogs`, before a batch joins a group. Invariant: `logColumns` stands in
 * the order of `STAGED_LOG_COLUMNS`.
 */

import type { LogBatch } from "../model/log-batch.ts";
import {
  attributeMap,
  CHUNK_ROWS_MAX,
  type ColumnBuffer,
  copyOut,
  extraText,
  nonZeroIds,
  numbers,
  resourceIds,
  StringBuffer,
  text,
  tupleText,
  uuids,
  Validity,
  word,
} from "./chunk-columns.ts";
import { type StagedResource, stageResource } from "./resource-book.ts";
import { type StagePad, takePad } from "./stage-pad.ts";
import { checkBatchIndices } from "./staged-spans.ts";
import { type PlacedText, placeTable, placeText } from "./text-heap.ts";

const KINDS = "sidbjxn";
const NO_VALUE = KINDS.indexOf("n");
/** Index into `KINDS` by char code; unknown ones are texts. */
const KIND_BY_CODE = new Uint8Array(256);
for (const [index, kind] of [...KINDS].entries()) KIND_BY_CODE[kind.charCodeAt(0)] = index;
/** Index into `StagedLogs.extra` of the first kind; 0 is the empty text. */
const KIND_WORD_AT = 1;
const WORDS = ["", ...KINDS];
/** Texts of a resource and of a scope in `StagedLogs.extra`. */
const RESOURCE_TEXTS = 2;
const SCOPE_TEXTS = 3;
/** Memory of a row, an attribute and the place of a text, near enough. */
const ROW_BYTES = 160;
const ATTRIBUTE_BYTES = 10;
const TEXT_BYTES = 24;

/** A batch with all that filling chunks needs. */
export interface StagedLogs {
  readonly batch: LogBatch;
  readonly sequence: number;
  readonly resources: readonly StagedResource[];
  readonly text: PlacedText;
  /** Kinds, then service and instance of each resource, name, version and rest of each scope, then patterns of kinds. */
  readonly extra: PlacedText;
  readonly resourceTextAt: number;
  readonly scopeTextAt: number;
  /** Index into `extra` by row. */
  readonly kinds: Uint32Array;
  /** Index into `KINDS` by row. */
  readonly bodyKind: Uint8Array;
  /** The time a record is found by: its own, or when it was observed, or when it arrived. */
  readonly timeNs: BigInt64Array;
  readonly inMap: Uint8Array;
  /** Holds the texts; goes back with `unstage`. */
  readonly pad: StagePad;
  /** Memory that the batch holds until it is stored, near enough. */
  readonly bytes: number;
}

/** Makes a batch ready. @throws RangeError where the batch breaks an invariant of `LogBatch`. */
export function stageLogs(batch: LogBatch, sequence: number, nowUnixNano: bigint): StagedLogs {
  checkLogs(batch);
  const texts = [...WORDS];
  const resourceTextAt = texts.length;
  for (const { service, instance } of batch.resources) texts.push(service, instance);
  const scopeTextAt = texts.length;
  for (const { name, version, rest } of batch.scopes) texts.push(name, version, rest ?? "");
  const kinds = kindPatterns(batch, texts);
  const pad = takePad();
  return {
    batch,
    sequence,
    resources: batch.resources.map(stageResource),
    text: placeTable(batch.text, pad),
    extra: placeText(texts, pad),
    resourceTextAt,
    scopeTextAt,
    kinds,
    bodyKind: batch.bodyKind.map((kind) => KIND_BY_CODE[kind] ?? 0),
    timeNs: foundBy(batch, nowUnixNano),
    inMap: new Uint8Array(batch.attributeKey.length).fill(1),
    pad,
    bytes:
      batch.rows * ROW_BYTES +
      batch.attributeKey.length * ATTRIBUTE_BYTES +
      batch.text.lengths.length * TEXT_BYTES +
      2 * batch.text.bytes.length,
  };
}

/** Times in halves: a BigInt for each row would be as much memory as the batch. */
function foundBy({ rows, timeNs, observedNs }: LogBatch, nowUnixNano: bigint): BigInt64Array {
  const found = timeNs.slice();
  const times = halvesOf(found);
  const observed = halvesOf(observedNs);
  const now = halvesOf(BigInt64Array.of(nowUnixNano));
  for (let low = 0; low < 2 * rows; low += 2) {
    if (times[low] !== 0 || times[low + 1] !== 0) continue;
    const isObserved = observed[low] !== 0 || observed[low + 1] !== 0;
    times[low] = (isObserved ? observed[low] : now[0]) ?? 0;
    times[low + 1] = (isObserved ? observed[low + 1] : now[1]) ?? 0;
  }
  return found;
}

function halvesOf(column: BigInt64Array): Uint32Array {
  return new Uint32Array(column.buffer, column.byteOffset, 2 * column.length);
}

function checkLogs(batch: LogBatch): void {
  const { rows } = batch;
  checkBatchIndices(batch, {
    severityText: batch.severityText,
    body: batch.body,
    eventName: batch.eventName,
  });
  for (const column of [batch.spanId, batch.timeNs, batch.observedNs, batch.flags, batch.droppedAttributes]) {
    if (column.length < rows) throw new RangeError(`log batch: a column has ${column.length} of ${rows} rows`);
  }
}

/** One character an attribute; records of one place in a program mostly have the same. */
function kindPatterns(batch: LogBatch, texts: string[]): Uint32Array {
  const known = new Map<string, number>();
  const kinds = new Uint32Array(batch.rows);
  let start = 0;
  for (let row = 0; row < batch.rows; row++) {
    const end = batch.attributeEnd[row] ?? start;
    let pattern = "";
    for (let at = start; at < end; at++) pattern += String.fromCharCode(batch.attributeKind[at] ?? 0);
    start = end;
    if (pattern === "") continue;
    let index = known.get(pattern);
    if (index === undefined) {
      index = texts.push(pattern) - 1;
      known.set(pattern, index);
    }
    kinds[row] = index;
  }
  return kinds;
}

type LogColumn = ColumnBuffer<StagedLogs>;

/** New buffers for all columns. */
export function logColumns(): LogColumn[] {
  return [
    uuids(({ batch }) => batch.traceId),
    nonZeroIds(({ batch }) => batch.spanId),
    numbers(new BigInt64Array(CHUNK_ROWS_MAX), ({ timeNs }) => timeNs),
    observedTimes(),
    numbers(new Uint8Array(CHUNK_ROWS_MAX), ({ batch }) => batch.severityNumber),
    text(({ batch }) => batch.severityText, true),
    bodies(),
    word(({ bodyKind }) => bodyKind, KIND_WORD_AT),
    text(({ batch }) => batch.eventName, true),
    numbers(new Uint32Array(CHUNK_ROWS_MAX), ({ batch }) => batch.flags),
    numbers(new Uint32Array(CHUNK_ROWS_MAX), ({ batch }) => batch.droppedAttributes),
    resourceIds(),
    tupleText((staged) => [staged.batch.resource, staged.resourceTextAt], RESOURCE_TEXTS, false),
    tupleText((staged) => [staged.batch.resource, staged.resourceTextAt + 1], RESOURCE_TEXTS, true),
    ...[0, 1, 2].map((which) =>
      tupleText<StagedLogs>((staged) => [staged.batch.scope, staged.scopeTextAt + which], SCOPE_TEXTS, true),
    ),
    attributeMap(),
    extraText(({ kinds }) => kinds, false),
  ];
}

function observedTimes(): LogColumn {
  const out = new BigInt64Array(CHUNK_ROWS_MAX);
  const validity = new Validity();
  return {
    add(staged, from, to, at) {
      const { observedNs } = staged.batch;
      out.set(observedNs.subarray(from, to), at);
      const halves = halvesOf(observedNs);
      for (let row = from; row < to; row++) {
        if (halves[2 * row] === 0 && halves[2 * row + 1] === 0) validity.setNull(at + row - from);
      }
    },
    flush(vector, rows) {
      copyOut(vector, out, rows);
      validity.flush(vector);
    },
  };
}

/** An empty text is a body, an empty value is none. */
function bodies(): LogColumn {
  const out = new StringBuffer();
  return {
    add(staged, from, to, at) {
      const { words } = staged.text;
      for (let row = from; row < to; row++) {
        if (staged.bodyKind[row] === NO_VALUE) out.setNull(at + row - from);
        else out.copy(at + row - from, words, staged.batch.body[row] ?? 0);
      }
    },
    flush: (vector, rows) => out.flush(vector, rows),
  };
}
