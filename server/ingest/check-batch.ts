/**
 * What a batch must hold to be stored: rows that cannot be told apart later are left out, small faults are mended.
 *
 * Decoders check the same on their way; this is the one place that every source passes.
 */

import type { Attribute, Resource, SpanBatch } from "../model/span-batch.ts";
import { extendTextTable, textReader } from "../model/text-table.ts";
import { type Columns, selectRows } from "./select-rows.ts";

/** UTF-16 units of a span's name, a service's name and an attribute's key. */
export const NAME_UNITS_MAX = 1_024;
/** UTF-16 units of an attribute's value. */
export const VALUE_UNITS_MAX = 65_536;
/** Attributes of one span. */
export const ATTRIBUTES_MAX = 1_024;

const KIND_TEXT = "s".charCodeAt(0);
/** Kinds whose text has a form that a cut would break. */
const FORMED_KINDS: ReadonlySet<number> = new Set(["j", "x"].map((kind) => kind.charCodeAt(0)));

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

function keptRows(batch: SpanBatch, rejected: Map<RejectReason, number>): Uint32Array {
  const { rows, traceId, spanId } = batch;
  const kept = new Uint32Array(rows);
  let count = 0;
  for (let row = 0; row < rows; row++) {
    if (traceId[2 * row] === 0n && traceId[2 * row + 1] === 0n) add(rejected, "trace_id_zero");
    else if (spanId[row] === 0n) add(rejected, "span_id_zero");
    else kept[count++] = row;
  }
  return kept.subarray(0, count);
}

function mendTimes(batch: SpanBatch, columns: Columns, mended: Map<Mend, number>): void {
  const { startNs, endNs } = batch;
  for (let row = 0; row < batch.rows; row++) {
    const start = startNs[row] ?? 0n;
    if ((endNs[row] ?? 0n) >= start) continue;
    columns.endNs ??= endNs.slice();
    columns.endNs[row] = start;
    add(mended, "end_before_start");
  }
}

function mendParents(batch: SpanBatch, columns: Columns, mended: Map<Mend, number>): void {
  const { spanId, parentSpanId } = batch;
  for (let row = 0; row < batch.rows; row++) {
    if (parentSpanId[row] !== spanId[row] || spanId[row] === 0n) continue;
    columns.parentSpanId ??= parentSpanId.slice();
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
  for (const end of batch.attributeEnd) {
    attributesOver += Math.max(0, end - from - ATTRIBUTES_MAX);
    from = end;
  }
  const shortened = new Map<number, number>();
  const { lengths } = batch.text;
  if (hasLongText(lengths)) {
    const added: string[] = [];
    const read = textReader(batch.text);
    const short = (index: number, max: number): number => {
      // A text has at most as many units as bytes.
      if ((lengths[index] ?? 0) <= max) return index;
      const value = read(index);
      if (value.length <= max) return index;
      const known = shortened.get(index * 2 + (max === NAME_UNITS_MAX ? 1 : 0));
      if (known !== undefined) return known;
      const at = lengths.length + added.push(cut(value, max)) - 1;
      shortened.set(index * 2 + (max === NAME_UNITS_MAX ? 1 : 0), at);
      return at;
    };
    columns.name = batch.name.map((index) => short(index, NAME_UNITS_MAX));
    columns.attributeKey = batch.attributeKey.map((index) => short(index, NAME_UNITS_MAX));
    columns.attributeKind = batch.attributeKind.map((kind, at) =>
      FORMED_KINDS.has(kind) && short(batch.attributeValue[at] ?? 0, VALUE_UNITS_MAX) >= lengths.length
        ? KIND_TEXT
        : kind,
    );
    columns.attributeValue = batch.attributeValue.map((index) => short(index, VALUE_UNITS_MAX));
    columns.statusMessage = batch.statusMessage.map((index) => short(index, VALUE_UNITS_MAX));
    if (added.length > 0) columns.text = extendTextTable(batch.text, added);
  }
  let resourcesMended = 0;
  const resources = batch.resources.map((resource) => {
    if (!isLong(resource)) return resource;
    resourcesMended++;
    return shortResource(resource);
  });
  if (resourcesMended > 0) columns.resources = resources;
  const count = shortened.size + resourcesMended;
  if (count > 0) mended.set("text_length", count);
  return { tooManyAttributes: attributesOver > 0, attributesOver };
}

function hasLongText(lengths: Uint32Array): boolean {
  for (let index = 0; index < lengths.length; index++) if ((lengths[index] ?? 0) > NAME_UNITS_MAX) return true;
  return false;
}

function isLong({ service, instance, attributes }: Resource): boolean {
  if (service.length > NAME_UNITS_MAX || instance.length > NAME_UNITS_MAX) return true;
  if (attributes.length > ATTRIBUTES_MAX) return true;
  return attributes.some(({ key, value }) => key.length > NAME_UNITS_MAX || value.length > VALUE_UNITS_MAX);
}

function shortResource({ service, instance, attributes }: Resource): Resource {
  return {
    service: cut(service, NAME_UNITS_MAX),
    instance: cut(instance, NAME_UNITS_MAX),
    attributes: attributes.slice(0, ATTRIBUTES_MAX).map(shortAttribute),
  };
}

function shortAttribute({ key, kind, value }: Attribute): Attribute {
  const isFormed = FORMED_KINDS.has(kind.charCodeAt(0));
  return {
    key: cut(key, NAME_UNITS_MAX),
    kind: isFormed && value.length > VALUE_UNITS_MAX ? "s" : kind,
    value: cut(value, VALUE_UNITS_MAX),
  };
}

/** The first `units` of a text, without half of a surrogate pair at the end. */
function cut(text: string, units: number): string {
  if (text.length <= units) return text;
  const head = text.slice(0, units);
  return head.isWellFormed() ? head : head.slice(0, -1);
}

function add<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
