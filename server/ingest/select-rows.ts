/** A batch of some rows of another. */

import type { SpanBatch } from "../model/span-batch.ts";

/** Columns that take the place of a batch's own. */
export type Columns = { -readonly [K in keyof SpanBatch]?: SpanBatch[K] };

/**
 * Copies rows into a batch of their own; text, resources and scopes are shared with `batch`.
 *
 * @param kept Rows in growing order.
 * @param attributesMax Attributes kept of each row, the first ones.
 */
export function selectRows(batch: SpanBatch, kept: Uint32Array, attributesMax: number): SpanBatch {
  const attributes = selectAttributes(batch, kept, attributesMax);
  const events = selectBytes(batch.eventsBlob, batch.eventsEnd, kept);
  const links = selectBytes(batch.linksBlob, batch.linksEnd, kept);
  return {
    ...batch,
    rows: kept.length,
    resource: kept.map((row) => batch.resource[row] ?? 0),
    scope: kept.map((row) => batch.scope[row] ?? 0),
    traceId: BigUint64Array.from({ length: 2 * kept.length }, (_, at) => batch.traceId[traceWord(kept, at)] ?? 0n),
    spanId: BigUint64Array.from(kept, (row) => batch.spanId[row] ?? 0n),
    parentSpanId: BigUint64Array.from(kept, (row) => batch.parentSpanId[row] ?? 0n),
    startNs: BigInt64Array.from(kept, (row) => batch.startNs[row] ?? 0n),
    endNs: BigInt64Array.from(kept, (row) => batch.endNs[row] ?? 0n),
    name: kept.map((row) => batch.name[row] ?? 0),
    kind: Uint8Array.from(kept, (row) => batch.kind[row] ?? 0),
    status: Uint8Array.from(kept, (row) => batch.status[row] ?? 0),
    statusMessage: kept.map((row) => batch.statusMessage[row] ?? 0),
    source: Uint8Array.from(kept, (row) => batch.source[row] ?? 0),
    linkReason: kept.map((row) => batch.linkReason[row] ?? 0),
    protocol: kept.map((row) => batch.protocol[row] ?? 0),
    clientAddr: kept.map((row) => batch.clientAddr[row] ?? 0),
    clientPort: Uint16Array.from(kept, (row) => batch.clientPort[row] ?? 0),
    serverAddr: kept.map((row) => batch.serverAddr[row] ?? 0),
    serverPort: Uint16Array.from(kept, (row) => batch.serverPort[row] ?? 0),
    pid: kept.map((row) => batch.pid[row] ?? 0),
    weight: kept.map((row) => batch.weight[row] ?? 0),
    duplicateOf: BigUint64Array.from(kept, (row) => batch.duplicateOf[row] ?? 0n),
    flags: kept.map((row) => batch.flags[row] ?? 0),
    traceState: kept.map((row) => batch.traceState[row] ?? 0),
    ...attributes,
    eventsEnd: events.end,
    eventsBlob: events.bytes,
    linksEnd: links.end,
    linksBlob: links.bytes,
  };
}

function traceWord(kept: Uint32Array, at: number): number {
  return 2 * (kept[at >> 1] ?? 0) + (at & 1);
}

function selectAttributes(batch: SpanBatch, kept: Uint32Array, attributesMax: number) {
  const from = (row: number) => (row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0));
  const count = (row: number) => Math.min(attributesMax, (batch.attributeEnd[row] ?? 0) - from(row));
  const total = kept.reduce((sum, row) => sum + count(row), 0);
  const attributeEnd = new Uint32Array(kept.length);
  const attributeKey = new Uint32Array(total);
  const attributeKind = new Uint8Array(total);
  const attributeValue = new Uint32Array(total);
  let at = 0;
  for (const [index, row] of kept.entries()) {
    const start = from(row);
    const end = start + count(row);
    attributeKey.set(batch.attributeKey.subarray(start, end), at);
    attributeKind.set(batch.attributeKind.subarray(start, end), at);
    attributeValue.set(batch.attributeValue.subarray(start, end), at);
    at += end - start;
    attributeEnd[index] = at;
  }
  return { attributeEnd, attributeKey, attributeKind, attributeValue };
}

function selectBytes(blob: Uint8Array, ends: Uint32Array, kept: Uint32Array): { end: Uint32Array; bytes: Uint8Array } {
  const end = new Uint32Array(kept.length);
  const bytes = new Uint8Array(blob.length);
  let at = 0;
  for (const [index, row] of kept.entries()) {
    const part = blob.subarray(row === 0 ? 0 : ends[row - 1], ends[row]);
    bytes.set(part, at);
    at += part.length;
    end[index] = at;
  }
  return { end, bytes: bytes.slice(0, at) };
}
