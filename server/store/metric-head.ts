/**
 * The metric head: takes what comes, writes it to a log that survives a crash, and keeps it in memory until it is sealed
 * into a block.
 *
 * Invariants: a sample is applied, and so visible, only after the log holds it, durably unless durability is `interval`;
 * one group is written at a time, and what arrives meanwhile forms the next; work that must see the log and the memory
 * agree runs between groups.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { ByteWriter } from "../model/byte-writer.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Exemplar, MetricMetadata } from "../model/series.ts";
import { ExemplarRing } from "./metric-exemplars.ts";
import { type LogDamage, type LogDurability, type MetricLog, openMetricLog } from "./metric-log.ts";
import { type OfSeries, writeDeclarations, writeExemplars, writeMetadata, writeSamples } from "./metric-log-record.ts";
import { MetadataTable } from "./metric-metadata.ts";
import { DeclaredSeries, FloatGather } from "./metric-replay.ts";
import {
  appendFloat,
  appendSample,
  asNewestAfter,
  insertLate,
  KIND_FLOAT,
  type MetricSeries,
  newestIn,
  newestOf,
  SERIES_BYTES,
  setNewest,
} from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import { Stage, StagedSamples, type Write } from "./metric-stage.ts";
import { offenderOf } from "./metric-status.ts";
import type { LogFile } from "./metric-tail.ts";
import type { FloatColumns, Sample } from "./metric-track.ts";
import { Turns } from "./turns.ts";
import type { AppendOutcome, SampleRefusal } from "./writer.ts";

const WAITING_SAMPLES_MAX = 1_000_000;
/** Writes of so many samples together are not joined by others; those wait for the next group. */
const GROUP_SAMPLES_MAX = 50_000;
/** How long it is told who has most of the series before that is looked up again. */
const OFFENDER_KEPT_MS = 10_000;
/** The clock is looked at once for so many samples. */
const ROWS_AT_ONCE = 256;
/** Labels and object of an exemplar, and its place in two lists. */
const EXEMPLAR_BYTES = 500;

/** What a head needs. */
export interface HeadOptions {
  /** Directory of the log; made when missing, for its owner only. */
  readonly logDirectory: string;
  readonly table: SeriesTable;
  readonly seriesMax: number;
  readonly exemplarsMax: number;
  readonly segmentBytesMax: number;
  readonly durability: LogDurability;
  readonly outOfOrderWindowMs: number;
  /** Beyond this nothing is taken until `relief` has made room. */
  readonly memoryBytesMax: number;
  /** Unix milliseconds of now, for the names of files set aside. */
  readonly nowMs: number;
  /** Number of the first log segment to write at least. */
  readonly firstSegment: number;
  /** Samples before this time that a log segment holds are in blocks. */
  readonly sealedBelowMs: (segment: number) => number;
  /** Whether a sample that a log segment holds is deleted. */
  readonly isDeleted: (segment: number, series: MetricSeries, timestampMs: number) => boolean;
  /** Takes the file of a log segment of which nothing is needed any more. */
  readonly retire: (segment: LogFile) => Promise<void>;
  readonly onDamage: (damage: LogDamage) => void;
  /** Called after every group, when it is applied. */
  readonly onGroup: () => void;
  /** Makes room in memory; undefined where there is no way to. */
  readonly relief: () => Promise<unknown> | undefined;
}

/** What the head holds, and did since it was opened. */
export interface HeadStats {
  readonly samplesAppended: number;
  readonly memoryBytes: number;
  readonly logBytes: number;
  readonly logSegments: number;
  /** Times the log was synced. */
  readonly logSyncs: number;
  readonly leftOut: ReadonlyMap<SampleRefusal, number>;
}

interface Waiting {
  readonly write: Write;
  readonly samples: number;
  readonly resolve: (outcome: AppendOutcome) => void;
  readonly reject: (error: unknown) => void;
}

/** Samples in memory behind their log. */
export class MetricHead {
  readonly #options: HeadOptions;
  readonly exemplars: ExemplarRing<MetricSeries>;
  readonly metadata = new MetadataTable();
  readonly #out = new ByteWriter();
  /** Of what was encoded last. */
  #declaredBytes = 0;
  readonly #staged = new StagedSamples();
  readonly #leftOut = new Map<SampleRefusal, number>();
  #openLog: MetricLog | undefined;
  #waiting: Waiting[] = [];
  #waitingSamples = 0;
  #turns: (() => Promise<void>)[] = [];
  #wake: (() => void) | undefined;
  #draining: Promise<void> | undefined;
  #closed = false;
  #seriesMaxTold = "";
  #seriesMaxToldUntilMs = Number.NEGATIVE_INFINITY;
  #samplesAppended = 0;
  /** Bytes of samples in memory. */
  sampleBytes = 0;
  /** Newest sample ever applied, also in blocks. */
  newestMs = Number.NEGATIVE_INFINITY;
  /** No sample in memory is older. */
  oldestMs = Number.POSITIVE_INFINITY;

  /** Use `openMetricHead`. */
  constructor(options: HeadOptions) {
    this.#options = options;
    this.exemplars = new ExemplarRing(options.exemplarsMax, options.outOfOrderWindowMs);
  }

  /** Reads the log; called once by `openMetricHead`. */
  async open(): Promise<void> {
    const { logDirectory, table, segmentBytesMax, durability, nowMs, firstSegment, sealedBelowMs, isDeleted, retire } =
      this.#options;
    const declared = new DeclaredSeries();
    let sealedBelow = Number.NEGATIVE_INFINITY;
    let segment = 0;
    const isNeeded = (series: MetricSeries, timestampMs: number) =>
      timestampMs >= sealedBelow && !isDeleted(segment, series, timestampMs);
    const floats = new FloatGather(declared, (series, columns, from, end) => {
      for (let at = from; at < end; at++) {
        if (isNeeded(series, columns.timestampsMs[at] as number)) this.#replayFloat(series, columns, at); // in range: the caller's bounds
      }
    });
    const { log, damage } = await openMetricLog(
      { directory: logDirectory, segmentBytesMax, durability, nowMs, firstSegment, retire },
      {
        segment: (number) => {
          floats.flush();
          declared.clear();
          segment = number;
          sealedBelow = sealedBelowMs(number);
        },
        declare: (ref, labels) => {
          const series = table.of(labels);
          if (series !== undefined) declared.set(ref, series);
        },
        float: (ref, timestampMs, value) => floats.add(ref, timestampMs, value),
        sample: (ref, sample) => {
          const place = declared.placeOf(ref);
          if (place === undefined) return;
          floats.flushBefore(place);
          const series = declared.at(place);
          if (isNeeded(series, sample.timestampMs)) this.#replay(series, sample);
        },
        exemplar: (ref, exemplar) => {
          const place = declared.placeOf(ref);
          if (place !== undefined) this.exemplars.add(declared.at(place), exemplar);
        },
        metadata: (metadata) => this.metadata.keep(metadata),
      },
    );
    floats.flush();
    this.#openLog = log;
    for (const found of damage) this.#options.onDamage(found);
  }

  /** The log; undefined before it was read. */
  get log(): MetricLog | undefined {
    return this.#openLog;
  }

  /** Writes samples or series. @throws ThalwegError `store_unavailable` where nothing of it was kept. */
  submit(write: Write): Promise<AppendOutcome> {
    const samples = sizeOf(write);
    if (this.#closed) return Promise.reject(new ThalwegError("store_unavailable", { why: "it is closed" }));
    if (this.#waitingSamples + samples > WAITING_SAMPLES_MAX) {
      const why = `${this.#waitingSamples} samples wait for the metric log; the limit is ${WAITING_SAMPLES_MAX}`;
      return Promise.reject(new ThalwegError("store_unavailable", { why }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ write, samples, resolve, reject });
      this.#waitingSamples += samples;
      this.#startDraining();
    });
  }

  /** Runs `work` when no group is being written; groups wait for it. */
  exclusively<T>(work: (log: MetricLog) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#turns.push(async () => {
        try {
          resolve(await work(this.#log()));
        } catch (error) {
          reject(error);
        }
      });
      this.#startDraining();
      this.#wake?.();
    });
  }

  /** Writes metadata and exemplars once more, so that older segments can go. To be called `exclusively`. */
  async carryOver(log: MetricLog): Promise<void> {
    const segment = await log.ready();
    const exemplars = [...this.exemplars.entries()].map(({ series, exemplar }) => ({ series, item: exemplar }));
    const bytes = this.#encode({ samples: new StagedSamples(), exemplars, isAgain: true }, segment);
    const written = { maxMs: Number.NEGATIVE_INFINITY, declaredBytes: this.#declaredBytes };
    if (bytes.length > 0) await log.write(bytes, written);
    await log.sync();
    this.metadata.written(segment);
  }

  /** Announces type, help and unit of a metric; written to the log soon after. */
  describe(metadata: MetricMetadata): void {
    if (!this.#closed && this.metadata.announce(metadata)) this.#startDraining();
  }

  /** Memory of samples, series and exemplars. */
  get memoryBytes(): number {
    const { table } = this.#options;
    return this.sampleBytes + table.memory.timeBytes + table.size * SERIES_BYTES + this.exemplars.size * EXEMPLAR_BYTES;
  }

  /** Names who has most of the series; looked up again after a while only, since a flood asks for each of its series. */
  whySeriesMax(): string {
    const { table, seriesMax } = this.#options;
    const nowMs = performance.now();
    if (nowMs >= this.#seriesMaxToldUntilMs) {
      this.#seriesMaxTold = `the limit of ${seriesMax} series is reached; ${offenderOf(table.index)}`;
      this.#seriesMaxToldUntilMs = nowMs + OFFENDER_KEPT_MS;
    }
    return this.#seriesMaxTold;
  }

  stats(): HeadStats {
    const log = this.#openLog;
    return {
      samplesAppended: this.#samplesAppended,
      memoryBytes: this.memoryBytes,
      logBytes: log?.bytes ?? 0,
      logSegments: log?.segments ?? 0,
      logSyncs: log?.syncs ?? 0,
      leftOut: new Map(this.#leftOut),
    };
  }

  /** Writes what waits, then closes the log. Later writes are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#draining;
    await this.#openLog?.close();
  }

  #log(): MetricLog {
    if (this.#openLog === undefined) throw new Error("the metric log is not open");
    return this.#openLog;
  }

  #startDraining(): void {
    this.#draining ??= this.#drain();
  }

  async #drain(): Promise<void> {
    // Appends of one turn of the loop share one write, of all requests that are read in it: the first must not leave alone.
    await nextTurn();
    for (;;) {
      const turn = this.#turns.shift();
      if (turn !== undefined) await turn();
      else if (this.#waiting.length === 0 && !this.metadata.isDue) break;
      else if (this.#waiting.length === 0 || (await this.#hasRoom())) await this.#takeGroup();
    }
    this.#draining = undefined;
  }

  /** Waits for room in memory. @returns Whether a group may be written; false where something else comes first. */
  async #hasRoom(): Promise<boolean> {
    const { memoryBytesMax, relief } = this.#options;
    if (this.memoryBytes <= memoryBytesMax) return true;
    const relieved = relief();
    if (relieved === undefined) {
      const why = `${this.memoryBytes} bytes of samples and series are in memory; the limit is ${memoryBytesMax}`;
      this.#refuseAll(new ThalwegError("store_unavailable", { why }));
      return false;
    }
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    // Making room takes turns between groups itself. A failure is told where room is asked for the next time.
    if (this.#turns.length === 0) await Promise.race([relieved.catch(() => undefined), woken]);
    this.#wake = undefined;
    return false;
  }

  async #takeGroup(): Promise<void> {
    const group: Waiting[] = [];
    for (let samples = 0; samples < GROUP_SAMPLES_MAX; ) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      group.push(next);
      samples += next.samples;
      this.#waitingSamples -= next.samples;
    }
    try {
      const outcomes = await this.#writeGroup(group.map(({ write }) => write));
      for (const [i, outcome] of outcomes.entries()) group[i]?.resolve(outcome);
    } catch (error) {
      this.metadata.giveUp();
      for (const { reject } of group) reject(error);
    }
  }

  #refuseAll(error: ThalwegError): void {
    const group = this.#waiting;
    this.#waiting = [];
    this.#waitingSamples = 0;
    for (const { reject } of group) reject(error);
  }

  async #writeGroup(writes: readonly Write[]): Promise<AppendOutcome[]> {
    const log = this.#log();
    const { outOfOrderWindowMs, table } = this.#options;
    this.#staged.clear();
    const stage = new Stage(
      {
        windowMs: outOfOrderWindowMs,
        whySeriesMax: () => this.whySeriesMax(),
        newestMs: this.newestMs,
        seriesOf: (labels) => table.of(labels),
        lastingSeriesOf: (labels) => table.ofLasting(labels),
        seriesOfHandle: (handle) => table.ofHandle(handle),
        exemplars: this.exemplars,
      },
      this.#staged,
    );
    const turns = new Turns();
    const outcomes = [];
    try {
      const segment = await log.ready();
      for (const write of writes) outcomes.push(await stage.add(write, turns));
      const bytes = this.#encode(stage, segment);
      const { maxMs } = stage;
      if (bytes.length > 0) await log.write(bytes, { maxMs, declaredBytes: this.#declaredBytes });
      this.metadata.written(segment);
    } catch (error) {
      stage.rollBack();
      if (error instanceof ThalwegError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new ThalwegError("store_unavailable", { why: `the metric log cannot be written (${why})` }, error);
    }
    await this.#applyAll(stage, turns);
    this.#options.onGroup();
    return outcomes.map((outcome) => this.#counted(outcome.outcome()));
  }

  #encode({ samples, exemplars, isAgain = false }: ToLog, segment: number): Uint8Array {
    const undeclared: MetricSeries[] = [];
    const declare = (series: MetricSeries) => {
      if (series.declaredIn === segment) return;
      series.declaredIn = segment;
      undeclared.push(series);
    };
    for (let row = 0; row < samples.count; row++) declare(samples.series[row] as MetricSeries); // in range: the loop's bounds
    for (const { series } of exemplars) declare(series);
    this.#out.clear();
    const metadata = this.metadata.dueIn(segment);
    if (metadata.length > 0) writeMetadata(this.#out, metadata);
    const declaredFrom = this.#out.length;
    if (undeclared.length > 0) writeDeclarations(this.#out, undeclared);
    this.#declaredBytes = this.#out.length - declaredFrom;
    if (samples.count > 0) writeSamples(this.#out, samples);
    if (exemplars.length > 0) writeExemplars(this.#out, exemplars, isAgain);
    return this.#out.written();
  }

  async #applyAll(stage: Stage, turns: Turns): Promise<void> {
    const { samples } = stage;
    const { count } = samples;
    for (let from = 0; from < count; from += ROWS_AT_ONCE) {
      if (turns.isDue) await turns.pass();
      this.#applyBetween(samples, from, Math.min(count, from + ROWS_AT_ONCE));
    }
    this.#samplesAppended += count;
    for (const { series, item, outcome } of stage.exemplars) {
      const verdict = this.exemplars.add(series, item);
      if (verdict !== "new" && verdict !== "repeat") outcome.takeBack("exemplars", verdict);
    }
  }

  #applyBetween(samples: StagedSamples, from: number, to: number): void {
    const { timestampsMs } = samples;
    let grew = 0;
    let { newestMs, oldestMs } = this;
    for (let row = from; row < to; row++) {
      const series = samples.series[row] as MetricSeries; // in range: the caller's bounds, here and below
      const more = samples.moreOf(row);
      if (more === undefined) {
        const timestampMs = timestampsMs[row] as number;
        grew += appendFloat(series, samples, row);
        if (timestampMs > newestMs) newestMs = timestampMs;
        if (timestampMs < oldestMs) oldestMs = timestampMs;
      } else if (!more.late) this.#append(series, more.sample);
      else if (this.#insert(series, more.sample) === "duplicate") more.outcome.takeBack(more.counted, "duplicate");
    }
    this.sampleBytes += grew;
    if (newestMs > this.newestMs) this.newestMs = newestMs;
    if (oldestMs < this.oldestMs) this.oldestMs = oldestMs;
  }

  /** What the log holds was accepted: a sample that is not the newest came late, or is there already. */
  #replay(series: MetricSeries, sample: Sample): void {
    const { timestampMs, value, histogram, startMs } = sample;
    if (timestampMs === series.newestMs) return;
    if (timestampMs < series.newestMs) {
      this.#insert(series, sample);
      return;
    }
    if (histogram === undefined && startMs === 0 && !Number.isNaN(value)) {
      series.newestMs = timestampMs;
      series.newestKind = KIND_FLOAT;
      series.newestIdentity = value;
    } else setNewest(series, asNewestAfter(newestIn(series), newestOf(sample)));
    this.#append(series, sample);
  }

  #replayFloat(series: MetricSeries, floats: FloatColumns, row: number): void {
    const timestampMs = floats.timestampsMs[row] as number; // in range: the caller's row, here and below
    const value = floats.values[row] as number;
    if (!(timestampMs > series.newestMs) || Number.isNaN(value)) {
      this.#replay(series, { timestampMs, value, histogram: undefined, startMs: 0 });
      return;
    }
    series.newestMs = timestampMs;
    series.newestKind = KIND_FLOAT;
    series.newestIdentity = value;
    this.sampleBytes += appendFloat(series, floats, row);
    if (timestampMs > this.newestMs) this.newestMs = timestampMs;
    if (timestampMs < this.oldestMs) this.oldestMs = timestampMs;
  }

  #append(series: MetricSeries, sample: Sample): void {
    this.sampleBytes += appendSample(series, sample);
    const { timestampMs } = sample;
    if (timestampMs > this.newestMs) this.newestMs = timestampMs;
    if (timestampMs < this.oldestMs) this.oldestMs = timestampMs;
  }

  #insert(series: MetricSeries, sample: Sample): "new" | "repeat" | "duplicate" {
    const grew = insertLate(series, sample);
    if (typeof grew !== "number") return grew;
    this.sampleBytes += grew;
    if (sample.timestampMs < this.oldestMs) this.oldestMs = sample.timestampMs;
    return "new";
  }

  #counted(outcome: AppendOutcome): AppendOutcome {
    for (const [reason, count] of outcome.refused) {
      this.#leftOut.set(reason, (this.#leftOut.get(reason) ?? 0) + count);
    }
    return outcome;
  }
}

/** What a record of the log is made of. */
interface ToLog {
  readonly samples: StagedSamples;
  readonly exemplars: readonly (OfSeries<Exemplar> & { readonly series: MetricSeries })[];
  /** Whether the exemplars are in an older segment already. */
  readonly isAgain?: boolean;
}

function sizeOf(write: Write): number {
  if (write.kind === "samples") return write.samples.length;
  let size = write.rows?.count ?? 0;
  for (const { timestampsMs, exemplars } of write.series) size += timestampsMs.length + (exemplars?.length ?? 0);
  return size;
}

/**
 * Opens the metric head of a data directory: reads its log, and sets damaged parts of it aside.
 *
 * @throws The system's error where the directory cannot be made or read.
 */
export async function openMetricHead(options: HeadOptions): Promise<MetricHead> {
  const head = new MetricHead(options);
  await head.open();
  return head;
}
