/**
 * What a batch must hold to be stored: rows that cannot be told apart later are left out, small faults are mended.
 *
 * Decoders check the same on their way; this is the one place that every source passes.
 */

import { halvesOf, isZero } from "../derive/batch-rows.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import { type Columns, selectRows } from "./select-rows.ts";
import { ATTRIBUTES_MAX, NAME_UNITS_MAX, ShortTexts, shortResources, VALUE_UNITS_MAX } from "./short-texts.ts";

/** Why a row is left out. */
type RejectReason = "trace_id_zero" | "span_id_zero";
/** What is mended. */
type Mend = "end_before_start" | "self_parent" | "text_length" | "attribute_count";

/** The rows to store, which is the batch itself where nothing was wrong, and the counts. */
export interface CheckedBatch {
  readonly batch: SpanBatch;
  readonly rejected: Map<RejectReason, number>;
  readonly mended: Map<Mend, number>;
}

/** Checks every row of a batch. */
export function checkBatch(batch: SpanBatch): CheckedBatch {
  const rejected = new Map<RejectReason, number>();
  const mended = new Map<Mend, number>();
  const kept = keptRows(batch, rejected);
  const columns: Columns = {};
  mendTimes(batch, columns, mended);
  mendParents(batch, columns, mended);
  const longest = mendText(batch, columns, mended);
  if (kept.length === batch.rows && !longest.tooManyAttributes) {
    return { batch: Object.keys(columns).length === 0 ? batch : { ...batch, ...columns }, rejected, mended };
  }
  if (longest.tooManyAttributes) mended.set("attribute_count", longest.attributesOver);
  return { batch: selectRows({ ...batch, ...columns }, kept, ATTRIBUTES_MAX), rejected, mended };
}

/** Rough bytes a batch takes in memory. */
export function batchBytes(batch: SpanBatch): number {
  const text = batch.text.bytes.length + 8 * batch.text.lengths.length;
  const perRow = 200 * batch.rows + 9 * batch.attributeKey.length;
  return perRow + text + batch.eventsBlob.length + batch.linksBlob.length;
}

/** Ids and times are read as halves of 32 bits: a BigInt of each would be garbage. */
function keptRows(batch: SpanBatch, rejected: Map<RejectReason, number>): Uint32Array {
  const { rows } = batch;
  const { traceId, spanId } = halvesOf(batch);
  const kept = new Uint32Array(rows);
  let count = 0;
  for (let row = 0; row < rows; row++) {
    if (isZero(traceId, 2 * row) && isZero(traceId, 2 * row + 1)) add(rejected, "trace_id_zero");
    else if (isZero(spanId, row)) add(rejected, "span_id_zero");
    else kept[count++] = row;
  }
  return kept.subarray(0, count);
}

function mendTimes(batch: SpanBatch, columns: Columns, mended: Map<Mend, number>): void {
  const { startNs, endNs } = halvesOf(batch);
  for (let row = 0; row < batch.rows; row++) {
    const high = 2 * row + 1;
    const ahead = (endNs[high] ?? 0) - (startNs[high] ?? 0);
    if (ahead > 0 || (ahead === 0 && (endNs[2 * row] ?? 0) >>> 0 >= (startNs[2 * row] ?? 0) >>> 0)) continue;
    columns.endNs ??= batch.endNs.slice();
    columns.endNs[row] = batch.startNs[row] ?? 0n;
    add(mended, "end_before_start");
  }
}

function mendParents(batch: SpanBatch, columns: Columns, mended: Map<Mend, number>): void {
  const { spanId, parentSpanId } = halvesOf(batch);
  for (let row = 0; row < batch.rows; row++) {
    const low = 2 * row;
    if (parentSpanId[low] !== spanId[low] || parentSpanId[low + 1] !== spanId[low + 1] || isZero(spanId, row)) continue;
    columns.parentSpanId ??= batch.parentSpanId.slice();
    columns.parentSpanId[row] = 0n;
    add(mended, "self_parent");
  }
}

interface LongRows {
  readonly tooManyAttributes: boolean;
  readonly attributesOver: number;
}

function mendText(batch: SpanBatch, columns: Columns, mended: Map<Mend, number>): LongRows {
  let attributesOver = 0;
  let from = 0;
  const { attributeEnd } = batch;
  for (let row = 0; row < batch.rows; row++) {
    const end = attributeEnd[row] ?? from;
    attributesOver += Math.max(0, end - from - ATTRIBUTES_MAX);
    from = end;
  }
  const texts = new ShortTexts(batch.text);
  if (texts.hasLong) {
    columns.name = batch.name.map((index) => texts.short(index, NAME_UNITS_MAX));
    columns.attributeKey = batch.attributeKey.map((index) => texts.short(index, NAME_UNITS_MAX));
    columns.attributeKind = batch.attributeKind.map((kind, at) =>
      texts.shortKind(kind, batch.attributeValue[at] ?? 0, VALUE_UNITS_MAX),
    );
    columns.attributeValue = batch.attributeValue.map((index) => texts.short(index, VALUE_UNITS_MAX));
    columns.statusMessage = batch.statusMessage.map((index) => texts.short(index, VALUE_UNITS_MAX));
    if (texts.count > 0) columns.text = texts.table;
  }
  const short = shortResources(batch.resources);
  if (short !== undefined) columns.resources = short.resources;
  const count = texts.count + (short?.count ?? 0);
  if (count > 0) mended.set("text_length", count);
  return { tooManyAttributes: attributesOver > 0, attributesOver };
}

function add<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
