/**
 * Frees the memory of large batches as soon as nobody reads them any more.
 *
 * A batch that came from the decoder's thread holds hundreds of kilobytes outside of the heap, of which the collector
 * learns only by going through the whole heap. So whoever keeps such a batch beyond its turn says so.
 *
 * Invariant: a batch that is not leased is left to the collector; after the last holder let go its columns are empty.
 */

import type { LogBatch } from "./log-batch.ts";
import type { SpanBatch } from "./span-batch.ts";

type Batch = SpanBatch | LogBatch;

interface Lease {
  readonly buffer: ArrayBuffer;
  readonly onFree: (() => void) | undefined;
  holders: number;
}

const leases = new WeakMap<Batch, Lease>();

/**
 * Leases a batch to its first holder.
 *
 * @param buffer Holds all its columns and texts, and nothing else.
 * @param onFree Called once, when the memory is free again.
 */
export function leaseBatch(batch: Batch, buffer: ArrayBuffer, onFree?: () => void): void {
  leases.set(batch, { buffer, onFree, holders: 1 });
}

/** `derived` reads columns or texts of `batch`: whoever holds either holds the memory of both. */
export function shareLease(batch: Batch, derived: Batch): void {
  const lease = leases.get(batch);
  if (lease !== undefined) leases.set(derived, lease);
}

/** One more holds the batch, until it calls `releaseBatch`. */
export function retainBatch(batch: Batch): void {
  const lease = leases.get(batch);
  if (lease !== undefined) lease.holders++;
}

/** A holder lets go of the batch; the last one frees it. */
export function releaseBatch(batch: Batch): void {
  const lease = leases.get(batch);
  if (lease === undefined || lease.holders === 0) return;
  lease.holders--;
  if (lease.holders > 0) return;
  leases.delete(batch);
  lease.buffer.transfer(0);
  lease.onFree?.();
}
