/**
 * The metric head: all samples within retention, in memory, behind a log that survives a crash.
 *
 * Invariants: a sample is applied, and so visible, only after the log holds it, durably unless durability is
 * `interval`; within retention, memory is what a reading of the log gives; one group is written at a time, and what
 * arrives meanwhile forms the next.
 */

import { ByteWriter } from "../model/byte-writer.ts";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Labels, Matcher, MetricMetadata, SampleToAppend, SeriesSamples } from "../model/series.ts";
import { LabelIndex } from "./metric-head-index.ts";
import {
  appendSample,
  dropBefore,
  emptySeries,
  type HeadSeries,
  hasSampleIn,
  newestMs,
  samplesIn,
  seriesBytes,
} from "./metric-head-series.ts";
import { type LogDamage, type LogDurability, type MetricLog, openMetricLog } from "./metric-log.ts";
import { writeDeclarations, writeSamples } from "./metric-log-record.ts";

const SEGMENT_BYTES_MAX = 16 * 2 ** 20;
const SERIES_MAX = 300_000;
const MEMORY_BYTES_MAX = 384 * 2 ** 20;
const WAITING_SAMPLES_MAX = 1_000_000;
const METADATA_MAX = 10_000;
const SWEEP_EVERY_MS = 60_000;
/** A wall clock that ran this far ahead of the monotonic one does not age samples. */
const CLOCK_STEP_MAX_MS = 3_600_000;
/** Time stamps further from 1970 than this cannot be told apart as whole milliseconds in the log. */
const TIMESTAMP_MS_MAX = 2 ** 50;

/** How to open a head. Limits not given take their defaults. */
export interface MetricHeadOptions {
  /** Directory of the log; made when missing, for its owner only. */
  readonly directory: string;
  readonly clock: Clock;
  /** Samples older than this are forgotten. */
  readonly retentionMs: number;
  readonly segmentBytesMax?: number;
  readonly seriesMax?: number;
  /** `always` unless given. */
  readonly durability?: LogDurability;
  /** Beyond this the oldest segment's samples are forgotten before their time. */
  readonly memoryBytesMax?: number;
  /** Called once for every damaged stretch found while opening. */
  readonly onDamage?: (damage: LogDamage) => void;
}

/** What the head holds and what it left out since it was opened. */
export interface MetricHeadStats {
  readonly series: number;
  readonly samplesAppended: number;
  readonly memoryBytes: number;
  readonly logBytes: number;
  readonly logSegments: number;
  /** Times the log was synced. */
  readonly logSyncs: number;
  readonly leftOut: Readonly<Record<SampleRefusal, number>>;
  /** Times the oldest samples were forgotten early because memory was full. */
  readonly forgottenEarly: number;
}

/** Why a sample was left out. */
export type SampleRefusal = "out_of_order" | "duplicate" | "series_max" | "timestamp";

interface Waiting {
  readonly samples: readonly SampleToAppend[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Samples of one group that passed the checks, in columns. */
interface Staged {
  readonly series: HeadSeries[];
  readonly timestampsMs: Float64Array;
  /** A typed array, since a plain one of numbers changes the bits of a stale marker. */
  readonly values: Float64Array;
  maxMs: number;
}

/** Samples in memory. Reading is synchronous and gives copies. */
export class MetricHead {
  readonly #clock: Clock;
  readonly #retentionMs: number;
  readonly #seriesMax: number;
  readonly #memoryBytesMax: number;
  readonly #openedMs: number;
  readonly #openedMonotonicMs: number;
  readonly #index = new LabelIndex();
  readonly #byKey = new Map<string, HeadSeries>();
  /** Callers append with the same `Labels` objects again and again; this spares them the key. */
  #byLabels = new WeakMap<Labels, HeadSeries>();
  readonly #metadata = new Map<string, MetricMetadata>();
  readonly #out = new ByteWriter();
  readonly #leftOut: Record<SampleRefusal, number> = { out_of_order: 0, duplicate: 0, series_max: 0, timestamp: 0 };
  #log: MetricLog | undefined;
  #waiting: Waiting[] = [];
  #waitingSamples = 0;
  #draining: Promise<void> | undefined;
  #closed = false;
  #nextRef = 1;
  #memoryBytes = 0;
  #samplesAppended = 0;
  #forgottenEarly = 0;
  #sweptMonotonicMs: number;

  /** Use `openMetricHead`. */
  constructor(options: MetricHeadOptions) {
    this.#clock = options.clock;
    this.#retentionMs = options.retentionMs;
    this.#seriesMax = options.seriesMax ?? SERIES_MAX;
    this.#memoryBytesMax = options.memoryBytesMax ?? MEMORY_BYTES_MAX;
    this.#openedMs = options.clock.nowMs();
    this.#openedMonotonicMs = options.clock.monotonicMs();
    this.#sweptMonotonicMs = this.#openedMonotonicMs;
  }

  /** Reads the log; called once by `openMetricHead`. */
  async open(options: MetricHeadOptions): Promise<void> {
    let declared = new Map<number, HeadSeries>();
    const { log, damage } = await openMetricLog(
      {
        directory: options.directory,
        segmentBytesMax: options.segmentBytesMax ?? SEGMENT_BYTES_MAX,
        durability: options.durability ?? "always",
        nowMs: this.#openedMs,
      },
      {
        segment: () => {
          declared = new Map();
        },
        declare: (ref, labels) => {
          const series = this.#seriesOf(labels);
          if (series !== undefined) declared.set(ref, series);
        },
        sample: (ref, timestampMs, value) => {
          const series = declared.get(ref);
          if (series === undefined || timestampMs <= series.loggedMs) return;
          series.loggedMs = timestampMs;
          series.loggedValue = value;
          this.#apply(series, timestampMs, value);
        },
      },
    );
    this.#log = log;
    for (const found of damage) options.onDamage?.(found);
    await this.#sweep(log);
  }

  /**
   * Appends samples; resolves after they are durable and visible.
   *
   * A sample that is not newer than its series' newest is left out and counted; one that repeats the newest is
   * left out in silence. Rejects with `store_unavailable` when the log cannot be written: then nothing was kept.
   */
  append(samples: readonly SampleToAppend[]): Promise<void> {
    if (this.#closed) return Promise.reject(new ThalwegError("store_unavailable", { why: "it is closed" }));
    if (samples.length === 0) return Promise.resolve();
    if (this.#waitingSamples + samples.length > WAITING_SAMPLES_MAX) {
      const why = `${this.#waitingSamples} samples wait for the metric log; the limit is ${WAITING_SAMPLES_MAX}`;
      return Promise.reject(new ThalwegError("store_unavailable", { why }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ samples, resolve, reject });
      this.#waitingSamples += samples.length;
      this.#draining ??= this.#drain();
    });
  }

  /** Series that satisfy all matchers, with their samples in `[minMs, maxMs]`; those without any are left out. */
  select(matchers: readonly Matcher[], minMs: number, maxMs: number): SeriesSamples[] {
    const found: SeriesSamples[] = [];
    for (const series of this.#index.match(matchers)) {
      const samples = samplesIn(series, minMs, maxMs);
      if (samples !== undefined) found.push({ labels: series.labels, ...samples });
    }
    return found;
  }

  /** Labels of series that satisfy all matchers and have a sample in `[minMs, maxMs]`. */
  series(matchers: readonly Matcher[], minMs: number, maxMs: number): Labels[] {
    const found: Labels[] = [];
    for (const series of this.#index.match(matchers)) {
      if (hasSampleIn(series, minMs, maxMs)) found.push(series.labels);
    }
    return found;
  }

  /** Announces type, help and unit of a metric; kept in memory only, so announce again after a start. */
  describe(metadata: MetricMetadata): void {
    if (this.#metadata.size < METADATA_MAX || this.#metadata.has(metadata.name)) {
      this.#metadata.set(metadata.name, metadata);
    }
  }

  metadata(): MetricMetadata[] {
    return [...this.#metadata.values()];
  }

  stats(): MetricHeadStats {
    return {
      series: this.#byKey.size,
      samplesAppended: this.#samplesAppended,
      memoryBytes: this.#memoryBytes,
      logBytes: this.#log?.bytes ?? 0,
      logSegments: this.#log?.segments ?? 0,
      logSyncs: this.#log?.syncs ?? 0,
      leftOut: { ...this.#leftOut },
      forgottenEarly: this.#forgottenEarly,
    };
  }

  /** Writes what waits, then closes the log. Later appends are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#draining;
    await this.#log?.close();
  }

  async #drain(): Promise<void> {
    // Appends of one turn of the loop share one write: the first of them must not leave alone.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      this.#waitingSamples = 0;
      try {
        await this.#writeGroup(group);
        for (const { resolve } of group) resolve();
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#draining = undefined;
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    const log = this.#log;
    if (log === undefined) throw new Error("append before open");
    const room = group.reduce((sum, { samples }) => sum + samples.length, 0);
    const staged: Staged = {
      series: [],
      timestampsMs: new Float64Array(room),
      values: new Float64Array(room),
      maxMs: Number.NEGATIVE_INFINITY,
    };
    try {
      const segment = await log.ready();
      for (const { samples } of group) for (const sample of samples) this.#stage(sample, staged);
      if (staged.series.length > 0) await log.write(this.#encode(staged, segment), staged.maxMs);
    } catch (error) {
      for (const series of staged.series) forgetLogged(series);
      if (error instanceof ThalwegError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new ThalwegError("store_unavailable", { why: `the metric log cannot be written (${why})` }, error);
    }
    for (const [i, series] of staged.series.entries()) {
      this.#apply(series, staged.timestampsMs[i] ?? 0, staged.values[i] ?? 0);
    }
    this.#samplesAppended += staged.series.length;
    const monotonicMs = this.#clock.monotonicMs();
    if (monotonicMs - this.#sweptMonotonicMs >= SWEEP_EVERY_MS || this.#memoryBytes > this.#memoryBytesMax) {
      await this.#sweep(log);
    }
  }

  #stage(sample: SampleToAppend, staged: Staged): void {
    const { timestampMs, value } = sample;
    if (!Number.isInteger(timestampMs) || Math.abs(timestampMs) > TIMESTAMP_MS_MAX) {
      this.#leftOut.timestamp++;
      return;
    }
    const series = this.#seriesOf(sample.labels);
    if (series === undefined) {
      this.#leftOut.series_max++;
      return;
    }
    if (timestampMs <= series.loggedMs) {
      if (timestampMs < series.loggedMs) this.#leftOut.out_of_order++;
      else if (!Object.is(value, series.loggedValue)) this.#leftOut.duplicate++;
      return;
    }
    series.loggedMs = timestampMs;
    series.loggedValue = value;
    const at = staged.series.push(series) - 1;
    staged.timestampsMs[at] = timestampMs;
    staged.values[at] = value;
    if (timestampMs > staged.maxMs) staged.maxMs = timestampMs;
  }

  #encode(staged: Staged, segment: number): Uint8Array {
    const undeclared: HeadSeries[] = [];
    for (const series of staged.series) {
      if (series.declaredIn === segment) continue;
      series.declaredIn = segment;
      undeclared.push(series);
    }
    this.#out.clear();
    if (undeclared.length > 0) writeDeclarations(this.#out, undeclared);
    writeSamples(this.#out, staged);
    return this.#out.written();
  }

  #apply(series: HeadSeries, timestampMs: number, value: number): void {
    if (!series.indexed) {
      series.indexed = true;
      this.#index.add(series);
      this.#memoryBytes += seriesBytes(series);
    }
    this.#memoryBytes += appendSample(series, timestampMs, value);
  }

  #seriesOf(labels: Labels): HeadSeries | undefined {
    const known = this.#byLabels.get(labels);
    if (known !== undefined) return known;
    const key = keyOf(labels);
    let series = this.#byKey.get(key);
    if (series === undefined) {
      if (this.#byKey.size >= this.#seriesMax) return undefined;
      series = emptySeries(this.#nextRef++, labels, key);
      this.#byKey.set(key, series);
    }
    this.#byLabels.set(labels, series);
    return series;
  }

  /** Forgets what is older than retention, or more while memory is full. */
  async #sweep(log: MetricLog): Promise<void> {
    this.#sweptMonotonicMs = this.#clock.monotonicMs();
    const elapsedMs = this.#sweptMonotonicMs - this.#openedMonotonicMs;
    const nowMs = Math.min(this.#clock.nowMs(), this.#openedMs + elapsedMs + CLOCK_STEP_MAX_MS);
    await this.#forgetBefore(log, nowMs - this.#retentionMs);
    while (this.#memoryBytes > this.#memoryBytesMax) {
      const oldestMaxMs = log.oldestMaxMs();
      if (oldestMaxMs === undefined || !Number.isFinite(oldestMaxMs)) return;
      this.#forgottenEarly++;
      await this.#forgetBefore(log, oldestMaxMs + 1);
    }
  }

  async #forgetBefore(log: MetricLog, cutoffMs: number): Promise<void> {
    await log.dropBefore(cutoffMs);
    this.#memoryBytes = 0;
    let dropped = false;
    for (const series of this.#byKey.values()) {
      if (dropBefore(series, cutoffMs)) {
        this.#byKey.delete(series.key);
        dropped = true;
      } else {
        this.#memoryBytes += seriesBytes(series);
      }
    }
    if (!dropped) return;
    this.#byLabels = new WeakMap();
    this.#index.rebuild([...this.#byKey.values()].filter((series) => series.indexed));
  }
}

/**
 * Opens the metric head of a data directory: reads its log, and sets damaged parts of it aside.
 *
 * @throws The system's error where the directory cannot be made or read.
 */
export async function openMetricHead(options: MetricHeadOptions): Promise<MetricHead> {
  const head = new MetricHead(options);
  await head.open(options);
  return head;
}

/** After a failed write the newest logged sample is the newest applied one again. */
function forgetLogged(series: HeadSeries): void {
  series.loggedMs = newestMs(series);
  series.loggedValue = series.openCount > 0 ? (series.openValues[series.openCount - 1] ?? 0) : 0;
}

function keyOf(labels: Labels): string {
  let key = "";
  for (const [name, value] of labels) key += `${name}\u0000${value}\u0001`;
  return key;
}
