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
import type {
  Labels,
  Matcher,
  MetricMetadata,
  SampleToAppend,
  SeriesExemplars,
  SeriesSamples,
  SeriesToAppend,
} from "../model/series.ts";
import { ExemplarRing } from "./metric-exemplars.ts";
import {
  appendSample,
  dropBefore,
  type HeadSeries,
  hasSampleIn,
  insertLate,
  newestOf,
  samplesIn,
  seriesBytes,
} from "./metric-head-series.ts";
import { type LogDamage, type LogDurability, type MetricLog, openMetricLog } from "./metric-log.ts";
import { type OfSeries, writeDeclarations, writeExemplars, writeMetadata, writeSamples } from "./metric-log-record.ts";
import { SeriesTable } from "./metric-series-table.ts";
import { Stage, type Write } from "./metric-stage.ts";
import type { Sample } from "./metric-track.ts";
import type { AppendOutcome, SampleRefusal } from "./writer.ts";

const SEGMENT_BYTES_MAX = 16 * 2 ** 20;
const SERIES_MAX = 300_000;
const MEMORY_BYTES_MAX = 384 * 2 ** 20;
const WAITING_SAMPLES_MAX = 1_000_000;
const METADATA_MAX = 10_000;
const SWEEP_EVERY_MS = 60_000;
/** A wall clock that ran this far ahead of the monotonic one does not age samples. */
const CLOCK_STEP_MAX_MS = 3_600_000;
/** As many as Prometheus keeps unless told otherwise. */
const EXEMPLARS_MAX = 100_000;
/** Labels and object of an exemplar, and its place in two lists. */
const EXEMPLAR_BYTES = 500;

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
  /** How much older than the newest sample of all a late one may be; 0, which takes none, unless given. */
  readonly outOfOrderWindowMs?: number;
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
  readonly leftOut: ReadonlyMap<SampleRefusal, number>;
  /** Times the oldest samples were forgotten early because memory was full. */
  readonly forgottenEarly: number;
}

interface Waiting {
  readonly write: Write;
  readonly samples: number;
  readonly resolve: (outcome: AppendOutcome) => void;
  readonly reject: (error: unknown) => void;
}

/** Samples in memory. Reading is synchronous and gives copies. */
export class MetricHead {
  readonly #clock: Clock;
  readonly #retentionMs: number;
  readonly #seriesMax: number;
  readonly #windowMs: number;
  readonly #memoryBytesMax: number;
  readonly #openedMs: number;
  readonly #openedMonotonicMs: number;
  readonly #series: SeriesTable;
  readonly #exemplars: ExemplarRing<HeadSeries>;
  readonly #metadata = new Map<string, MetricMetadata>();
  /** Announced since the last write to the log. */
  readonly #announced = new Set<string>();
  /** Segment that starts with all metadata. */
  #describedIn = 0;
  readonly #out = new ByteWriter();
  readonly #leftOut = new Map<SampleRefusal, number>();
  #log: MetricLog | undefined;
  #waiting: Waiting[] = [];
  #waitingSamples = 0;
  #draining: Promise<void> | undefined;
  #closed = false;
  #memoryBytes = 0;
  #samplesAppended = 0;
  #forgottenEarly = 0;
  #newestMs = Number.NEGATIVE_INFINITY;
  #sweptMonotonicMs: number;

  /** Use `openMetricHead`. */
  constructor(options: MetricHeadOptions) {
    this.#clock = options.clock;
    this.#retentionMs = options.retentionMs;
    this.#seriesMax = options.seriesMax ?? SERIES_MAX;
    this.#windowMs = options.outOfOrderWindowMs ?? 0;
    this.#memoryBytesMax = options.memoryBytesMax ?? MEMORY_BYTES_MAX;
    this.#series = new SeriesTable(this.#seriesMax);
    const exemplarsMax = Math.min(EXEMPLARS_MAX, Math.ceil(this.#memoryBytesMax / 8 / EXEMPLAR_BYTES));
    this.#exemplars = new ExemplarRing(exemplarsMax, this.#windowMs);
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
          const series = this.#series.of(labels);
          if (series !== undefined) declared.set(ref, series);
        },
        sample: (ref, sample) => {
          const series = declared.get(ref);
          if (series !== undefined) this.#replay(series, sample);
        },
        exemplar: (ref, exemplar) => {
          const series = declared.get(ref);
          if (series !== undefined) this.#exemplars.add(series, exemplar);
        },
        metadata: (metadata) => this.#keepMetadata(metadata),
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
  async append(samples: readonly SampleToAppend[]): Promise<void> {
    if (samples.length > 0) await this.#submit({ kind: "samples", samples }, samples.length);
  }

  /** Appends whole series as `append` does samples, and says what became of them. */
  appendSeries(series: readonly SeriesToAppend[]): Promise<AppendOutcome> {
    const samples = series.reduce((sum, { timestampsMs, exemplars }) => {
      return sum + timestampsMs.length + (exemplars?.length ?? 0);
    }, 0);
    return this.#submit({ kind: "series", series }, samples);
  }

  /** Series that satisfy all matchers, with their samples in `[minMs, maxMs]`; those without any are left out. */
  select(matchers: readonly Matcher[], minMs: number, maxMs: number): SeriesSamples[] {
    const found: SeriesSamples[] = [];
    for (const series of this.#series.match(matchers)) {
      const samples = samplesIn(series, minMs, maxMs);
      if (samples !== undefined) found.push({ labels: series.labels, ...samples });
    }
    return found;
  }

  /** Labels of series that satisfy all matchers and have a sample in `[minMs, maxMs]`. */
  series(matchers: readonly Matcher[], minMs: number, maxMs: number): Labels[] {
    const found: Labels[] = [];
    for (const series of this.#series.match(matchers)) {
      if (hasSampleIn(series, minMs, maxMs)) found.push(series.labels);
    }
    return found;
  }

  /** Exemplars in `[minMs, maxMs]` of series that satisfy all matchers; series without any are left out. */
  exemplars(matchers: readonly Matcher[], minMs: number, maxMs: number): SeriesExemplars[] {
    const found: SeriesExemplars[] = [];
    for (const series of this.#series.match(matchers)) {
      const exemplars = this.#exemplars.of(series, minMs, maxMs);
      if (exemplars.length > 0) found.push({ labels: series.labels, exemplars });
    }
    return found;
  }

  /** Announces type, help and unit of a metric; written to the log soon after. */
  describe(metadata: MetricMetadata): void {
    const known = this.#metadata.get(metadata.name);
    const { type, help, unit } = metadata;
    if (known !== undefined && known.type === type && known.help === help && known.unit === unit) return;
    if (!this.#keepMetadata(metadata) || this.#closed) return;
    this.#announced.add(metadata.name);
    this.#draining ??= this.#drain();
  }

  metadata(): MetricMetadata[] {
    return [...this.#metadata.values()];
  }

  stats(): MetricHeadStats {
    return {
      series: this.#series.size,
      samplesAppended: this.#samplesAppended,
      memoryBytes: this.#memoryBytes,
      logBytes: this.#log?.bytes ?? 0,
      logSegments: this.#log?.segments ?? 0,
      logSyncs: this.#log?.syncs ?? 0,
      leftOut: new Map(this.#leftOut),
      forgottenEarly: this.#forgottenEarly,
    };
  }

  /** Writes what waits, then closes the log. Later appends are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#draining;
    await this.#log?.close();
  }

  #submit(write: Write, samples: number): Promise<AppendOutcome> {
    if (this.#closed) return Promise.reject(new ThalwegError("store_unavailable", { why: "it is closed" }));
    if (this.#waitingSamples + samples > WAITING_SAMPLES_MAX) {
      const why = `${this.#waitingSamples} samples wait for the metric log; the limit is ${WAITING_SAMPLES_MAX}`;
      return Promise.reject(new ThalwegError("store_unavailable", { why }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ write, samples, resolve, reject });
      this.#waitingSamples += samples;
      this.#draining ??= this.#drain();
    });
  }

  async #drain(): Promise<void> {
    // Appends of one turn of the loop share one write: the first of them must not leave alone.
    await Promise.resolve();
    while (this.#waiting.length > 0 || this.#announced.size > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      this.#waitingSamples = 0;
      try {
        const outcomes = await this.#writeGroup(group.map(({ write }) => write));
        for (const [i, { resolve }] of group.entries()) {
          const outcome = outcomes[i];
          if (outcome !== undefined) resolve(outcome);
        }
      } catch (error) {
        // Metadata is announced again by whoever sends it; a write alone for it is not tried again.
        this.#announced.clear();
        for (const { reject } of group) reject(error);
      }
    }
    this.#draining = undefined;
  }

  async #writeGroup(writes: readonly Write[]): Promise<AppendOutcome[]> {
    const log = this.#log;
    if (log === undefined) throw new Error("append before open");
    const stage = new Stage({
      windowMs: this.#windowMs,
      seriesMax: this.#seriesMax,
      newestMs: this.#newestMs,
      seriesOf: (labels) => this.#series.of(labels),
      exemplars: this.#exemplars,
    });
    const outcomes = [];
    try {
      const segment = await log.ready();
      for (const write of writes) outcomes.push(stage.add(write));
      const bytes = this.#encode(stage, segment);
      if (bytes.length > 0) await log.write(bytes, stage.maxMs);
      this.#describedIn = segment;
      this.#announced.clear();
    } catch (error) {
      stage.rollBack();
      if (error instanceof ThalwegError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new ThalwegError("store_unavailable", { why: `the metric log cannot be written (${why})` }, error);
    }
    this.#applyAll(stage);
    const monotonicMs = this.#clock.monotonicMs();
    if (monotonicMs - this.#sweptMonotonicMs >= SWEEP_EVERY_MS || this.#memoryBytes > this.#memoryBytesMax) {
      await this.#sweep(log);
    }
    return outcomes.map((outcome) => this.#counted(outcome.outcome()));
  }

  #encode(stage: Stage, segment: number): Uint8Array {
    const undeclared: HeadSeries[] = [];
    const declare = ({ series }: OfSeries<unknown> & { readonly series: HeadSeries }) => {
      if (series.declaredIn === segment) return;
      series.declaredIn = segment;
      undeclared.push(series);
    };
    stage.samples.forEach(declare);
    stage.exemplars.forEach(declare);
    this.#out.clear();
    const described = this.#describedIn === segment ? this.#announced : this.#metadata.keys();
    const metadata = [...described].flatMap((name) => this.#metadata.get(name) ?? []);
    if (metadata.length > 0) writeMetadata(this.#out, metadata);
    if (undeclared.length > 0) writeDeclarations(this.#out, undeclared);
    if (stage.samples.length > 0) writeSamples(this.#out, stage.samples);
    if (stage.exemplars.length > 0) writeExemplars(this.#out, stage.exemplars);
    return this.#out.written();
  }

  #applyAll(stage: Stage): void {
    for (const { series, item, late, counted, outcome } of stage.samples) {
      if (!late) this.#append(series, item);
      else if (this.#insert(series, item) === "duplicate") outcome.takeBack(counted, "duplicate");
    }
    this.#samplesAppended += stage.samples.length;
    for (const { series, item, outcome } of stage.exemplars) {
      const verdict = this.#exemplars.add(series, item);
      if (verdict !== "new" && verdict !== "repeat") outcome.takeBack("exemplars", verdict);
    }
  }

  /** What the log holds was accepted: a sample that is not the newest came late, or is there already. */
  #replay(series: HeadSeries, sample: Sample): void {
    const { logged } = series;
    if (sample.timestampMs === logged.ms) return;
    if (sample.timestampMs < logged.ms) {
      this.#insert(series, sample);
      return;
    }
    series.logged = newestOf(sample);
    this.#append(series, sample);
  }

  #append(series: HeadSeries, sample: Sample): void {
    if (this.#series.index(series)) this.#memoryBytes += seriesBytes(series);
    this.#memoryBytes += appendSample(series, sample);
    if (sample.timestampMs > this.#newestMs) this.#newestMs = sample.timestampMs;
  }

  #insert(series: HeadSeries, sample: Sample): "new" | "repeat" | "duplicate" {
    const grew = insertLate(series, sample);
    if (typeof grew !== "number") return grew;
    this.#memoryBytes += grew;
    return "new";
  }

  #keepMetadata(metadata: MetricMetadata): boolean {
    if (this.#metadata.size >= METADATA_MAX && !this.#metadata.has(metadata.name)) return false;
    this.#metadata.set(metadata.name, metadata);
    return true;
  }

  #counted(outcome: AppendOutcome): AppendOutcome {
    for (const [reason, count] of outcome.refused) {
      this.#leftOut.set(reason, (this.#leftOut.get(reason) ?? 0) + count);
    }
    return outcome;
  }

  /** Forgets what is older than retention, counted from the newest sample, or more while memory is full. */
  async #sweep(log: MetricLog): Promise<void> {
    this.#sweptMonotonicMs = this.#clock.monotonicMs();
    const elapsedMs = this.#sweptMonotonicMs - this.#openedMonotonicMs;
    const nowMs = Math.min(this.#clock.nowMs(), this.#openedMs + elapsedMs + CLOCK_STEP_MAX_MS);
    await this.#forgetBefore(log, Math.min(nowMs, this.#newestMs) - this.#retentionMs);
    while (this.#memoryBytes > this.#memoryBytesMax) {
      const oldestMaxMs = log.oldestMaxMs();
      if (oldestMaxMs === undefined || !Number.isFinite(oldestMaxMs)) return;
      this.#forgottenEarly++;
      await this.#forgetBefore(log, oldestMaxMs + 1);
    }
  }

  async #forgetBefore(log: MetricLog, cutoffMs: number): Promise<void> {
    if (!Number.isFinite(cutoffMs)) return;
    await log.dropBefore(cutoffMs);
    this.#memoryBytes = 0;
    const empty: HeadSeries[] = [];
    for (const series of this.#series.all()) {
      if (dropBefore(series, cutoffMs)) empty.push(series);
      else this.#memoryBytes += seriesBytes(series);
    }
    this.#series.remove(empty);
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
