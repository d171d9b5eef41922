/**
 * The agent's way out: finished spans as sealed batches, and its ledger.
 */

import type { SpanBatch } from "../../server/model/span-batch.ts";

/** Receives sealed batches of finished spans. */
export interface SpanSink {
  spans(batch: SpanBatch): void;
}
