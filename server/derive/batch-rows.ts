/** Reading one row of a batch's columns without making big integers. */

import type { SpanBatch } from "../model/span-batch.ts";

const TWO_POW_32 = 2 ** 32;
/** Bits by index into `SPAN_SOURCES`: the spans that the agent made. */
const KERNEL_SOURCES = (1 << 0) | (1 << 1) | (1 << 5);

/** 64-bit columns of a batch as halves of 32 bits: entry `2r` is the low half of row `r`, `2r + 1` the high one. */
export interface BatchHalves {
  readonly startNs: Int32Array;
  readonly endNs: Int32Array;
  /** Four entries a row: low and high half of the id's high 64 bits, then of its low 64 bits. */
  readonly traceId: Int32Array;
  readonly spanId: Int32Array;
  readonly parentSpanId: Int32Array;
  readonly duplicateOf: Int32Array;
}

/** Views over the batch's own memory. Every platform Node 24 runs on stores the low half first. */
export function halvesOf(batch: SpanBatch): BatchHalves {
  return {
    startNs: halves(batch.startNs),
    endNs: halves(batch.endNs),
    traceId: halves(batch.traceId),
    spanId: halves(batch.spanId),
    parentSpanId: halves(batch.parentSpanId),
    duplicateOf: halves(batch.duplicateOf),
  };
}

/** Duration of a row in nanoseconds, exact up to 104 days; 0 where it ends before it starts. */
export function durationNs(rows: BatchHalves, row: number): number {
  const high = (rows.endNs[2 * row + 1] ?? 0) - (rows.startNs[2 * row + 1] ?? 0);
  const low = ((rows.endNs[2 * row] ?? 0) >>> 0) - ((rows.startNs[2 * row] ?? 0) >>> 0);
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, high * TWO_POW_32 + low));
}

/** Start of a row in Unix nanoseconds, to within 256 ns. */
export function startUnixNs(rows: BatchHalves, row: number): number {
  return (rows.startNs[2 * row + 1] ?? 0) * TWO_POW_32 + ((rows.startNs[2 * row] ?? 0) >>> 0);
}

/** Whether an id column holds 0 at a row. */
export function isZero(column: Int32Array, row: number): boolean {
  return column[2 * row] === 0 && column[2 * row + 1] === 0;
}

/** Whether the agent made a span, given its `source`. */
export function isKernelSource(source: number): boolean {
  return source < 32 && ((KERNEL_SOURCES >>> source) & 1) === 1;
}

function halves(column: BigInt64Array | BigUint64Array): Int32Array {
  return new Int32Array(column.buffer, column.byteOffset, column.length * 2);
}
