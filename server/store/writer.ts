/**
 * The store's writing door.
 */

import type { LogBatch } from "../model/log-batch.ts";
import type { FloatRows, Labels, MetricMetadata, SampleToAppend, SeriesToAppend } from "../model/series.ts";
import type { SpanBatch } from "../model/span-batch.ts";

/** What a commit stored, and its place in the order of all commits. */
export interface CommitReceipt {
  readonly spans: number;
  /** Grows by one with every commit, also over restarts. Commits of one process resolve in this order. */
  readonly sequence: number;
}

/** What a commit of log records stored. `sequence` grows by one with every one of them, also over restarts. */
export interface LogReceipt {
  readonly records: number;
  readonly sequence: number;
}

/** Calls of one edge within one minute, as far as one flush saw them; rows of the same key add up. */
export interface EdgeMinute {
  /** Unix milliseconds of the minute's start. */
  readonly bucketMs: number;
  readonly client: string;
  readonly server: string;
  readonly connectionType: "" | "database" | "messaging_system" | "virtual_node";
  /** Below 0 where calls are taken back that another edge has. */
  readonly requests: number;
  readonly errors: number;
  /** Latency as sparse logarithmic buckets (`model/log-histogram.ts`): bucket index and count, by index. */
  readonly serverBuckets: readonly (readonly [index: number, count: number])[];
  readonly clientBuckets: readonly (readonly [index: number, count: number])[];
}

/** A trace whose id turned out to be another's: high and low 64 bits of both ids. */
export interface TraceAlias {
  readonly alias: readonly [high: bigint, low: bigint];
  readonly trace: readonly [high: bigint, low: bigint];
}

/** What was derived since the last snapshot, beside the state. */
export interface DerivedRows {
  readonly edges: readonly EdgeMinute[];
  readonly aliases: readonly TraceAlias[];
}

/** Derived state as of one commit: after a crash, spans of later commits are derived again on top of it. */
export interface DerivedSnapshot {
  /** The last commit whose spans the state counts. */
  readonly sequence: number;
  /** Opaque to the store. */
  readonly state: Uint8Array;
}

/** Why a sample or exemplar was not kept, in the words of `thalweg_ingest_rejected_total`. */
export type SampleRefusal =
  | "out_of_order"
  | "too_old"
  | "duplicate"
  | "timestamp"
  | "series_max"
  | "histogram_invalid"
  | "total_buckets_max"
  | "exemplar_out_of_order"
  | "exemplar_labels"
  | "exemplar_series";

/**
 * What became of one write: every sample, histogram and exemplar is either kept or refused for one reason.
 *
 * What repeats a stored sample or exemplar exactly counts as kept.
 */
export interface AppendOutcome {
  readonly samples: number;
  readonly histograms: number;
  readonly exemplars: number;
  readonly refused: ReadonlyMap<SampleRefusal, number>;
  /** Places in the write of the series of which a sample or histogram was refused, in order. */
  readonly refusedSeries: readonly number[];
  /**
   * The part of `refused` that Prometheus drops without a word and tells the sender as written: where a write contradicts
   * itself, since it looks only at what was stored before.
   */
  readonly unreported: { readonly samples: number; readonly histograms: number; readonly exemplars: number };
  /** Each reason once, in the order they came up; without what Prometheus does not report, `exemplar_labels` among it. */
  readonly refusals: readonly ToldRefusal[];
}

/** Why samples or exemplars of a write were refused. */
export interface ToldRefusal {
  /** Histograms are samples here. */
  readonly of: "samples" | "exemplars";
  /** The first in Prometheus' words, with its series. */
  readonly text: string;
  /** Further ones for the same reason. */
  readonly more: number;
}

/** Columns of `SpanBatch` that tell one span from another. */
export type RecentSpans = Pick<SpanBatch, "rows" | "traceId" | "spanId" | "kind" | "startNs" | "endNs" | "source">;

/** The client's side of a call: `traceId` in 32 hex digits, `spanId` in 16. */
export interface CallKey {
  readonly traceId: string;
  readonly spanId: string;
}

/** Spans of calls; `sequences` (of their commits) and `arrivedMs` (Unix milliseconds) are by row. */
export interface StoredCalls {
  readonly batch: SpanBatch;
  readonly sequences: Float64Array;
  readonly arrivedMs: Float64Array;
}

/** Takes what ingest accepted. */
export interface StoreWriter {
  /**
   * Stores spans together with whatever else waits (group commit).
   *
   * Resolves after the commit is durable; rejects with `store_unavailable` when nothing of it was kept.
   */
  commitSpans(batch: SpanBatch): Promise<CommitReceipt>;
  /**
   * Tells when the files must be opened again, and when they are open: of a commit in work at the time it shows only
   * then whether it holds, which takes as long as the files' logs are long.
   */
  onReopening(listener: (state: "broken" | "open") => void): void;
  /** As `commitSpans`, for log records. */
  commitLogs(batch: LogBatch): Promise<LogReceipt>;
  /** Stores a snapshot and the rows that came since the last one, in one transaction. */
  saveDerived(snapshot: DerivedSnapshot, rows: DerivedRows): Promise<void>;
  loadDerived(): Promise<DerivedSnapshot | undefined>;
  /** What tells the spans stored last apart; about `spansMax` at most. */
  recentSpans(spansMax: number): Promise<RecentSpans>;
  /** Stored spans that are the client's side of one of the calls, or have it as their parent, at most `spansMax`. */
  spansOfCalls(calls: readonly CallKey[], spansMax: number): Promise<StoredCalls>;
  /** Calls `onBatch` with the spans of every commit after `sequence`, in order. */
  replaySpans(sequence: number, onBatch: (batch: SpanBatch, sequence: number) => void): Promise<void>;
  /** Appends samples; resolves after the head's log is durable. Out-of-order samples are counted and left out. */
  appendSamples(samples: readonly SampleToAppend[]): Promise<void>;
  /**
   * Appends what one write brought; resolves after the log is durable, with what was kept and what was refused.
   *
   * @param rows Comes before the series. Its columns must not change until it is resolved; not among `refusedSeries`.
   * Rejects with `store_unavailable` when nothing of it was kept.
   */
  appendSeries(series: readonly SeriesToAppend[], rows?: FloatRows): Promise<AppendOutcome>;
  /** Why a series with these labels would be refused for `series_max`; undefined where it is there, or finds room. */
  seriesRefusal(labels: Labels): string | undefined;
  /** Announces type, help and unit of a metric. */
  describe(metadata: MetricMetadata): void;
}
