/**
 * Moves a batch across a thread boundary without copying its columns.
 */

import type { SpanBatch } from "../../server/model/span-batch.ts";

/**
 * Buffers of a sealed batch for the transfer list of `postMessage`; the batch is empty on this side afterwards.
 * Text, resources and scopes are cloned.
 */
export function batchBuffers(batch: SpanBatch): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const column of Object.values(batch)) {
    if (ArrayBuffer.isView(column) && column.buffer instanceof ArrayBuffer) buffers.add(column.buffer);
  }
  return [...buffers];
}
