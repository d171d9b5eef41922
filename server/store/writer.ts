/**
 * The store's writing door.
 */

import type { MetricMetadata, SampleToAppend } from "../model/series.ts";
import type { SpanBatch } from "../model/span-batch.ts";

/** How many rows a commit stored. */
export interface CommitReceipt {
  readonly spans: number;
}

/** Takes what ingest accepted. */
export interface StoreWriter {
  /**
   * Stores spans together with whatever else waits (group commit).
   *
   * Resolves after the commit is durable; rejects with `store_unavailable` when nothing of it was kept.
   */
  commitSpans(batch: SpanBatch): Promise<CommitReceipt>;
  /** Appends samples; resolves after the head's log is durable. Out-of-order samples are counted and left out. */
  appendSamples(samples: readonly SampleToAppend[]): Promise<void>;
  /** Announces type, help and unit of a metric. */
  describe(metadata: MetricMetadata): void;
}
