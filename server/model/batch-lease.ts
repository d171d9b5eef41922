/**
 * Frees the memory of large batches as soon as nobody reads them any more.
 *
 * A batch that came from the decoder's thread holds hundreds of kilobytes outside of the heap, of which the collector
 * learns only by going through the whole heap. So whoever keeps such a batch beyond its turn says so.
 *
 * Invariant: a batch that is not leased is left to the collector; after the last holder let go its columns are empty.
 */

import type { SpanBatch } from "./span-batch.ts";

interface Lease {
  readonly buffer: ArrayBuffer;
  holders: number;
}

const leases = new WeakMap<SpanBatch, Lease>();

/** Leases a batch to its first holder. @param buffer Holds all its columns and texts, and nothing else. */
export function leaseBatch(batch: SpanBatch, buffer: ArrayBuffer): void {
  leases.set(batch, { buffer, holders: 1 });
}

/** One more holds the batch, until it calls `releaseBatch`. */
export function retainBatch(batch: SpanBatch): void {
  const lease = leases.get(batch);
  if (lease !== undefined) lease.holders++;
}

/** A holder lets go of the batch; the last one frees it. */
export function releaseBatch(batch: SpanBatch): void {
  const lease = leases.get(batch);
  if (lease === undefined) return;
  lease.holders--;
  if (lease.holders > 0) return;
  leases.delete(batch);
  lease.buffer.transfer(0);
}
