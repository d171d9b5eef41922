/**
 * The store's reading door. Answers are plain data; nobody behind this door knows DuckDB.
 */

import type { ChunkSelection } from "../model/chunk-selection.ts";
import type { CounterResetHint, NativeHistogram } from "../model/histogram.ts";
import type { HistogramLayout } from "../model/histogram-layout.ts";
import type { SampleRoom } from "../model/sample-room.ts";
import type { Exemplar, Labels, Matcher, MetricMetadata, SeriesExemplars, SeriesSamples } from "../model/series.ts";
import type { StoredSpan } from "../model/stored-span.ts";

/** A column of a SQL answer; `type` is DuckDB's own name of the type. */
export interface SqlColumn {
  readonly name: string;
  readonly type: string;
}

/** A value of a SQL answer in the JSON form of `/api/v1/sql`: 64-bit integers and decimals as strings, time stamps as RFC 3339. */
export type SqlValue = string | number | boolean | null | readonly SqlValue[] | { readonly [key: string]: SqlValue };

/** A statement that passed the grammar and the allow-list, printed as DuckDB SQL. */
export interface CheckedSql {
  readonly text: string;
  /** Values for `$1`, `$2`, …. */
  readonly params: readonly (string | number | boolean | null)[];
  /** Calls of `samples()` in the text; undefined where there is none. */
  readonly samples?: SamplesCalls | undefined;
}

/** Calls of `samples()`, which stand in the text as `samplesSource(token)`. */
export interface SamplesCalls {
  readonly calls: readonly { readonly token: number; readonly matchers: readonly Matcher[] }[];
  /** Gives one row: from and to of the first call, then of the next. */
  readonly times: CheckedSql;
  /** A histogram as column `histogram` has it. */
  readonly printHistogram: (histogram: NativeHistogram) => string;
}

/** Bounds of one SQL query; reaching rows or bytes truncates the answer, reaching the time throws `query_timeout`. */
export interface SqlLimits {
  readonly rowsMax: number;
  readonly bytesMax: number;
  readonly timeoutMs: number;
}

/** Rows of a statement in the JSON form of `/api/v1/sql`. */
export interface SqlAnswer {
  readonly columns: readonly SqlColumn[];
  readonly rows: readonly (readonly SqlValue[])[];
  /** Rows of stored tables that were scanned, as far as the engine tells. */
  readonly rowsRead: number;
  readonly elapsedMs: number;
  readonly truncated: boolean;
}

/** What a window of samples is told by; `counter` is a counter without resets, and `last` its last sample. */
export type WindowAggregate = "count" | "sum" | "min" | "max" | "last" | "counter";

/** Samples by windows of at most this length, where the store keeps such; samples as they came where it does not. */
export interface WindowSource {
  readonly resolutionMs: number;
  readonly aggregate: WindowAggregate;
}

/** Bounds of one selection, checked while samples are gathered. */
export interface SelectLimits {
  /** Beyond so many samples `query_samples_max` is thrown. A histogram counts one for each of its buckets and one more; encoded, its bytes. */
  readonly samplesMax: number;
  readonly seriesMax: number;
  /** In place of the samples themselves. */
  readonly source?: WindowSource | undefined;
  /** Where samples are decoded to; they are valid until it is released. */
  readonly room?: SampleRoom | undefined;
  /** Aborted when the client left or the time is up. */
  readonly signal?: AbortSignal | undefined;
}

/** The newest samples of many series in a window. */
export interface NewestSamples {
  /** Series whose newest sample is a float, as a stale marker is: it is `values[i]` at `timestampsMs[i]`. */
  readonly labels: readonly Labels[];
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
  /** The other series, each with all of its samples in the window. */
  readonly others: SeriesSamples[];
}

/** Makes one number of the floats that a series has in a window. */
export interface FloatReader {
  /** Of more samples it makes none: the series is given as it is. */
  readonly samplesMax: number;
  /** What `read` made last. */
  readonly result: number;
  /**
   * Reads the samples `[low, high)`, at least one, stale markers included; columns hold them until it returns, and may be
   * written over.
   *
   * @returns Whether they make a number.
   */
  read(timestampsMs: Float64Array, values: Float64Array, low: number, high: number): boolean;
}

/** The histograms of a series in a window, and nothing but histograms: those of `[low, high)`. */
export interface WindowHistograms {
  readonly timestampsMs: Float64Array;
  readonly low: number;
  readonly high: number;
  hintAt(index: number): CounterResetHint;
  layoutAt(index: number): HistogramLayout;
  /** Decodes one, and others with it. */
  at(index: number): NativeHistogram;
}

/** Makes one histogram of those that a series has in a window. */
export interface HistogramReader {
  /**
   * Reads the samples, at least one; they are there until it returns.
   *
   * @returns `nothing` where they make none; `unknown` where the series is to be given as it is.
   */
  read(samples: WindowHistograms): NativeHistogram | "nothing" | "unknown";
}

/** A number for each of many series. */
export interface SeriesNumbers {
  /** The number of the series `labels[i]` is `values[i]`. Series whose samples make none are left out. */
  readonly labels: readonly Labels[];
  readonly values: Float64Array;
  /** Series of histograms, and what was made of them. */
  readonly made: readonly { readonly labels: Labels; readonly histogram: NativeHistogram }[];
  /** Samples that were read for them. */
  readonly samples: number;
  /** Series that are not only floats in memory, each with all of its samples in the window. */
  readonly others: SeriesSamples[];
}

/** A name and how many there are of it. */
export interface NamedCount {
  readonly name: string;
  readonly count: number;
}

/** How many series there are, in memory and in blocks, and where they lie; lists are largest first. */
export interface MetricStatus {
  readonly series: number;
  /** Stretches that the samples in memory are kept in. */
  readonly chunks: number;
  /** Oldest and newest sample, Unix milliseconds; undefined where there is none. */
  readonly minMs: number | undefined;
  readonly maxMs: number | undefined;
  /** Different pairs of name and value. */
  readonly labelPairs: number;
  readonly seriesByMetric: readonly NamedCount[];
  /** Different values of each label. */
  readonly valuesByLabel: readonly NamedCount[];
  /** Bytes that each label takes in all its series together. */
  readonly bytesByLabel: readonly NamedCount[];
  /** Names are `name=value`. */
  readonly seriesByPair: readonly NamedCount[];
  /** Block files, oldest first. */
  readonly blocks: readonly BlockStatus[];
}

/** One block file of samples. */
export interface BlockStatus {
  readonly number: number;
  readonly bytes: number;
  /** Oldest and newest sample, Unix milliseconds. */
  readonly minMs: number;
  readonly maxMs: number;
  readonly series: number;
  readonly samples: number;
  /** Numbers of the blocks that it was joined from; empty where it came from memory. */
  readonly joinedFrom: readonly number[];
}

/** A place in the log of samples. */
export interface LogPlace {
  readonly segment: number;
  readonly offset: number;
}

/** A sample as it was stored. The same labels are mostly the same object. */
export interface TailSample {
  readonly labels: Labels;
  readonly sample: {
    readonly timestampMs: number;
    /** NaN beside a histogram. */
    readonly value: number;
    readonly histogram: NativeHistogram | undefined;
    /** Since when a counter counts; 0 where unknown. */
    readonly startMs: number;
  };
}

/** What was read of the log, and the place behind it. */
export interface TailRead {
  readonly samples: readonly TailSample[];
  readonly exemplars: readonly { readonly labels: Labels; readonly exemplar: Exemplar }[];
  readonly place: LogPlace;
}

/** Reads all samples that are stored, in the order of the log, from where it was told to be done at last. */
export interface SampleTail {
  /** Reads on until there are `samplesMax` samples or more; none where there are no more. */
  read(samplesMax: number): Promise<TailRead>;
  /** Resolves when there is more to read, the time is over, or the signal is aborted. */
  waitForMore(ms: number, signal: AbortSignal): Promise<void>;
  /** Notes that all up to this place is done with: after a restart reading goes on there. */
  commit(place: LogPlace): Promise<void>;
  /** Ends reading; who opens it again reads from the place that was noted last. */
  close(): void;
  /** `lostSamples`: never read, since too many bytes waited. `spoolBytes`: of segments kept for all who read. */
  stats(): { readonly behindBytes: number; readonly lostSamples: number; readonly spoolBytes: number };
}

/** Series that satisfy all matchers and have at least one sample in `[minMs, maxMs]`. */
export interface SeriesWindow {
  readonly matchers: readonly Matcher[];
  readonly minMs: number;
  readonly maxMs: number;
  /** Aborted when nobody waits any longer. */
  readonly signal?: AbortSignal | undefined;
}

/** Series, a window with both ends included, and what to make of their samples in it. */
export interface NumbersSelection {
  readonly matchers: readonly Matcher[];
  readonly minMs: number;
  readonly maxMs: number;
  readonly floats: FloatReader;
  /** Series of histograms are given as they are where it is undefined. */
  readonly histograms?: HistogramReader | undefined;
}

/** Reads what the writer committed. All times are Unix. */
export interface StoreReader {
  /** Runs a checked statement in a read-only transaction. */
  sql(statement: CheckedSql, limits: SqlLimits): Promise<SqlAnswer>;
  /** Spans of one trace in order of start, at most `spansMax`; empty where unknown. `traceId`: 32 hex digits. */
  trace(traceId: string, spansMax: number): Promise<StoredSpan[]>;
  /** Series that satisfy all matchers with their samples in `[minMs, maxMs]`, both ends included. Series without samples there are left out. */
  select(matchers: readonly Matcher[], minMs: number, maxMs: number, limits?: SelectLimits): Promise<SeriesSamples[]>;
  /** As `select`, of which only the newest sample of each series is wanted. */
  selectNewest(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    limits?: Omit<SelectLimits, "source">,
  ): Promise<NewestSamples>;
  /** As `select`, of which only what `floats` makes of each series is wanted. */
  selectNumbers(selection: NumbersSelection, limits?: Omit<SelectLimits, "source">): Promise<SeriesNumbers>;
  /** As `select`, with the samples still encoded; what is not lies in `limits.room`. */
  selectChunks(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    limits: Omit<SelectLimits, "source"> & { readonly room: SampleRoom },
  ): Promise<ChunkSelection>;
  /**
   * As `select`, for series whose labels `series` gave. One that is gone meanwhile is left out, as is one without samples.
   *
   * So a large selection can be read a few series at a time. The order is that of `labels`.
   */
  selectSeries(
    labels: readonly Labels[],
    minMs: number,
    maxMs: number,
    limits?: SelectLimits,
  ): Promise<SeriesSamples[]>;
  /** Labels of series with at least one sample in `[minMs, maxMs]`. */
  series(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    signal?: AbortSignal | undefined,
  ): Promise<Labels[]>;
  /** Names of the labels of those series, sorted by UTF-16 code unit. */
  labelNames(window: SeriesWindow): Promise<string[]>;
  /** Values that the label has in those series, sorted by UTF-16 code unit. */
  labelValues(name: string, window: SeriesWindow): Promise<string[]>;
  /** @param limit Names at most in each list. */
  metricStatus(limit: number): MetricStatus;
  /** Exemplars in `[minMs, maxMs]` of series that satisfy all matchers. */
  exemplars(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    signal?: AbortSignal | undefined,
  ): Promise<SeriesExemplars[]>;
  metadata(): MetricMetadata[];
}
