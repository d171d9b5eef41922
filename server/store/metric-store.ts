/**
 * Metrics of a store: the head, its log and the blocks behind it, opened, sealed in time and forgotten in time.
 */

import { join } from "node:path";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { FloatRows, Labels, Matcher, MetricMetadata, SampleToAppend, SeriesToAppend } from "../model/series.ts";
import { makePrivateDirectory } from "../platform/files.ts";
import {
  type AdminParts,
  deleteSamples,
  dropDeleted,
  forgetTombstones,
  hideDeleted,
  snapshotTo,
} from "./metric-admin.ts";
import { type Block, type MetricBlocks, openBlocks } from "./metric-blocks.ts";
import { Downsampler, type DownsamplingOptions } from "./metric-downsampler.ts";
import { type HeadStats, openMetricHead } from "./metric-head.ts";
import { joinBlocks } from "./metric-joiner.ts";
import type { LogDurability, MetricLog } from "./metric-log.ts";
import { MetricReader } from "./metric-reader.ts";
import { MetricSealer } from "./metric-sealer.ts";
import { chunksIn, HEAD_BYTES, SERIES_BYTES } from "./metric-series.ts";
import { SeriesTable } from "./metric-series-table.ts";
import { MetricSpool } from "./metric-spool.ts";
import { censusOf } from "./metric-status.ts";
import { MetricTombstones } from "./metric-tombstones.ts";
import type { MetricStatus, SampleTail } from "./reader.ts";
import type { AppendOutcome } from "./writer.ts";

const SEGMENT_BYTES_MAX = 16 * 2 ** 20;
const SERIES_MAX = 1_000_000;
const SPOOL_BYTES_MAX = 2 ** 31;
/** Part of the memory that series may take when all of them have samples in it; the rest is for the samples. */
const SERIES_PART = 0.7;
const MEMORY_BYTES_MAX = 384 * 2 ** 20;
/** As many as Prometheus keeps unless told otherwise. */
const EXEMPLARS_MAX = 100_000;
/** Blocks end at whole multiples of this, as Prometheus' do. */
const BLOCK_RANGE_MS = 7_200_000;
/** Samples in memory may span so much before the older ones are sealed. */
const HEAD_RANGE_MS = 1.5 * BLOCK_RANGE_MS;
/** Samples younger than this stay in memory, so that a block is not cut too early for some series. */
const HEAD_KEEPS_MS = BLOCK_RANGE_MS / 2;
/** Between two blocks cut for their age: samples of long ago that trickle in must not make a block each. */
const SEAL_EVERY_MS = 600_000;
/** Memory is made free from this part of the limit on. */
const PRESSURE = 0.75;
/** A log that holds more than this is sealed, so that a start after a crash reads no more than some seconds of it. */
const LOG_BYTES_MAX = 96 * 2 ** 20;
/** The same for each series: with very many, blocks of a few samples each would cost more than a longer log. */
const LOG_SERIES_BYTES_MAX = 400;
/** As long as the log is not much longer for it, each may have more: a seal costs some 20 µs a series. */
const LOG_SERIES_BYTES = 1_500;
const LOG_OF_SERIES_BYTES_MAX = 384 * 2 ** 20;
/**
 * Samples younger than this are left in the log then, for queries of what happens now. It is as long until the next such
 * seal: where they alone make the log long, each write would start one otherwise.
 */
const LOG_KEEPS_MS = 600_000;
/** A log that holds more than this when the store is closed is sealed, so that the next start reads a block instead. */
const CLOSED_LOG_BYTES_MAX = 4 * 2 ** 20;
/** That is given up after so long: who stops a server waits for it, containers for ten seconds. */
const SEAL_AT_CLOSE_MS_MAX = 8_000;
/** With more series than this it would be given up in any case, and is not begun. */
const CLOSED_SERIES_MAX = 400_000;
/** After a block could not be written. */
const RETRY_MS = 10_000;
const DAY_MS = 86_400_000;
/** A wall clock that ran this far ahead of the monotonic one does not age blocks. */
const CLOCK_STEP_MAX_MS = 3_600_000;

/** How to open the metrics of a store. Limits not given take their defaults. */
export interface MetricStoreOptions {
  /** Data directory; log and blocks lie in folders of it. */
  readonly directory: string;
  readonly clock: Clock;
  /** Blocks whose newest sample is this much older than the newest of all go. */
  readonly retentionMs: number;
  /** Bytes of all blocks, those of windows too; beyond it the oldest go. Age alone decides unless given. */
  readonly blockBytesMax?: number | undefined;
  readonly segmentBytesMax?: number;
  /** Bytes of samples in the log beyond which it is sealed; 96 MiB, or more with many series, unless given. */
  readonly logBytesMax?: number;
  /** How long windows of samples are kept; none are made unless given. */
  readonly downsampling?: DownsamplingOptions | undefined;
  /** Bytes of log segments that wait for those who read them; 2 GiB unless given. */
  readonly spoolBytesMax?: number | undefined;
  readonly seriesMax?: number;
  /** `always` unless given. */
  readonly durability?: LogDurability;
  readonly memoryBytesMax?: number;
  /** How much older than the newest sample of all a late one may be; 0, which takes none, unless given. */
  readonly outOfOrderWindowMs?: number;
  readonly onDamage?: (damage: ThalwegError) => void;
}

/** What the metrics of a store hold and did since they were opened. */
export interface MetricStoreStats extends HeadStats {
  /** In memory and in blocks. */
  readonly series: number;
  readonly blocks: number;
  readonly blockBytes: number;
  /** Blocks of windows, of all lengths. */
  readonly windowBlocks: number;
  readonly windowBlockBytes: number;
  /** Times samples went from memory to a block, and times they could not. */
  readonly seals: number;
  readonly failures: number;
  /** Times blocks were joined into one, and times they could not be. */
  readonly joins: number;
  readonly joinFailures: number;
}

/** Metrics of one data directory. */
export class MetricStore {
  readonly #options: MetricStoreOptions;
  readonly #memoryBytesMax: number;
  readonly #parts: AdminParts;
  readonly #spool: MetricSpool;
  readonly reader: MetricReader;
  readonly #openedMs: number;
  readonly #openedMonotonicMs: number;
  #sealDueMs = Number.NEGATIVE_INFINITY;
  /** Time of the newest sample from which on a long log is sealed again. */
  #logSealDueMs = Number.NEGATIVE_INFINITY;
  #reliefFailedMs = Number.NEGATIVE_INFINITY;
  #maintenance: Promise<unknown> = Promise.resolve();
  #joins = 0;
  #joinFailures = 0;
  readonly #closing = new AbortController();

  private constructor(options: MetricStoreOptions, memoryBytesMax: number, parts: AdminParts, spool: MetricSpool) {
    this.#options = options;
    this.#memoryBytesMax = memoryBytesMax;
    this.#parts = parts;
    this.#spool = spool;
    this.reader = new MetricReader(parts);
    this.#openedMs = options.clock.nowMs();
    this.#openedMonotonicMs = options.clock.monotonicMs();
  }

  /**
   * Opens log and blocks; damaged parts of both are set aside and reported.
   *
   * @throws The system's error where a directory cannot be made or read.
   */
  static async open(options: MetricStoreOptions): Promise<MetricStore> {
    const { directory, clock, onDamage = () => undefined } = options;
    const memoryBytesMax = options.memoryBytesMax ?? MEMORY_BYTES_MAX;
    const seriesMax =
      options.seriesMax ??
      Math.min(SERIES_MAX, Math.floor((SERIES_PART * memoryBytesMax) / (SERIES_BYTES + HEAD_BYTES)));
    const table = new SeriesTable(seriesMax);
    const blockDirectory = join(directory, "blocks");
    await makePrivateDirectory(blockDirectory);
    const tombstones = await MetricTombstones.open({ path: join(blockDirectory, "tombstones"), onDamage });
    const blocks = await openBlocks({
      directory: blockDirectory,
      quarantine: join(directory, "quarantine"),
      table,
      tombstones,
      onDamage,
    });
    await hideDeleted({ table, blocks, tombstones });
    const downsampler = await Downsampler.open(
      { directory: join(directory, "downsampled"), quarantine: join(directory, "quarantine"), table, onDamage },
      options.downsampling ?? {},
    );
    let store: MetricStore | undefined;
    const spool: MetricSpool = await MetricSpool.open({
      directory: join(directory, "remote-write"),
      bytesMax: options.spoolBytesMax ?? SPOOL_BYTES_MAX,
      table,
      log: () => store?.log,
    });
    const head = await openMetricHead({
      logDirectory: join(directory, "wal"),
      table,
      seriesMax,
      exemplarsMax: Math.min(EXEMPLARS_MAX, Math.ceil(memoryBytesMax / 4096)),
      segmentBytesMax: options.segmentBytesMax ?? SEGMENT_BYTES_MAX,
      durability: options.durability ?? "always",
      outOfOrderWindowMs: options.outOfOrderWindowMs ?? 0,
      memoryBytesMax,
      nowMs: clock.nowMs(),
      firstSegment: Math.max(blocks.coversMax, spool.lastSegment) + 1,
      retire: (file) => spool.retire(file),
      sealedBelowMs: (segment) => blocks.sealedBelowMs(segment),
      isDeleted: (segment, series, ms) => tombstones.hidesLogged(segment, series, ms),
      onDamage: (damage) => onDamage(new ThalwegError("data_damaged", { ...damage })),
      onGroup: () => {
        spool.wake();
        store?.sealInTime();
      },
      relief: () => store?.relief(),
    });
    for (const { foot } of blocks.all) head.newestMs = Math.max(head.newestMs, foot.maxMs);
    table.remove([...table.all()].filter((series) => series.head === undefined && series.blocks === 0));
    const sealer = new MetricSealer({ table, head, blocks });
    store = new MetricStore(options, memoryBytesMax, { table, head, blocks, sealer, tombstones, downsampler }, spool);
    if (downsampler.levels.length > 0) store.#joinBlocks();
    return store;
  }

  /** The log of samples. */
  get log(): MetricLog | undefined {
    return this.#parts.head.log;
  }

  /** Opens those who read the log as it is written; others than these are forgotten. */
  openTails(names: readonly string[]): Promise<SampleTail[]> {
    return this.#spool.openTails(names);
  }

  /** @see StoreWriter */
  async append(samples: readonly SampleToAppend[]): Promise<void> {
    if (samples.length > 0) await this.#parts.head.submit({ kind: "samples", samples });
  }

  /** @see StoreWriter */
  appendSeries(series: readonly SeriesToAppend[], rows?: FloatRows): Promise<AppendOutcome> {
    return this.#parts.head.submit({ kind: "series", series, rows });
  }

  /** @see StoreWriter */
  seriesRefusal(labels: Labels): string | undefined {
    const { table, head } = this.#parts;
    return table.takes(labels) ? undefined : head.whySeriesMax();
  }

  /** @see StoreWriter */
  describe(metadata: MetricMetadata): void {
    this.#parts.head.describe(metadata);
  }

  /** @see StoreReader */
  metadata(): MetricMetadata[] {
    return this.#parts.head.metadata.all();
  }

  /** Seals every sample that is in memory when it is called; resolves when it is in a durable block. */
  async sealAll(): Promise<void> {
    await this.#parts.sealer.seal(Number.POSITIVE_INFINITY);
    this.#joinBlocks();
  }

  /** Starts to seal older samples where memory holds enough of them, or too much of all. */
  sealInTime(): void {
    const { head, sealer } = this.#parts;
    if (sealer.running !== undefined || this.#closing.signal.aborted) return;
    const nowMs = this.#options.clock.monotonicMs();
    if (head.memoryBytes > PRESSURE * this.#memoryBytesMax) {
      void this.relief();
      return;
    }
    if (this.#logIsLong(1) && nowMs - this.#reliefFailedMs >= RETRY_MS) {
      const isTooLong = this.#logIsLong(2);
      const keepFromMs = isTooLong ? Number.POSITIVE_INFINITY : head.newestMs - LOG_KEEPS_MS;
      if (head.oldestMs < keepFromMs && (isTooLong || head.newestMs >= this.#logSealDueMs)) {
        this.#logSealDueMs = head.newestMs + LOG_KEEPS_MS;
        void this.#inBackground(sealer.seal(keepFromMs));
        return;
      }
    }
    const cutMs = Math.floor((head.newestMs - HEAD_KEEPS_MS) / BLOCK_RANGE_MS) * BLOCK_RANGE_MS;
    if (nowMs < this.#sealDueMs || head.newestMs - head.oldestMs <= HEAD_RANGE_MS || head.oldestMs >= cutMs) return;
    this.#sealDueMs = nowMs + SEAL_EVERY_MS;
    void this.#inBackground(sealer.seal(cutMs));
  }

  #logIsLong(times: number): boolean {
    const { head, table } = this.#parts;
    return (head.log?.sampleBytes ?? 0) > times * (this.#options.logBytesMax ?? logBytesMax(table.size));
  }

  /** Seals all samples to make room; undefined where that would not help, or failed a moment ago. */
  relief(): Promise<void> | undefined {
    const { head, sealer } = this.#parts;
    if (sealer.running !== undefined) return sealer.running;
    const nowMs = this.#options.clock.monotonicMs();
    const helps = head.sampleBytes > this.#memoryBytesMax / 8;
    if (this.#closing.signal.aborted || !helps || nowMs - this.#reliefFailedMs < RETRY_MS) return undefined;
    return this.#inBackground(sealer.seal(Number.POSITIVE_INFINITY));
  }

  /**
   * Deletes blocks past retention, counted from the newest block's newest sample, and at most a day of samples a call, so
   * that a clock which jumped costs no more than that; and, while all with those of windows are too large, the
   * oldest for their retention.
   *
   * @returns How many were deleted.
   */
  enforceRetention(): Promise<number> {
    return this.#afterOthers(async () => {
      let dropped = 0;
      const { downsampler, head } = this.#parts;
      const leave = (refs: Uint32Array) => head.exclusively(async () => this.#parts.table.leave(refs));
      const overSize = this.#blocksOverSize();
      for (const { blocks, block } of overSize.filter(({ windows }) => windows)) {
        await blocks.drop(block);
        await leave(block.refs);
        dropped++;
      }
      const ofSamples = overSize.filter(({ windows }) => !windows).map(({ block }) => block);
      for (const block of new Set([...this.#blocksPastRetention(), ...ofSamples])) {
        await downsampler.letGo(block.foot.maxMs);
        await this.#parts.blocks.drop(block);
        await leave(block.refs);
        dropped++;
      }
      dropped += await downsampler.enforceRetention(head.newestMs, leave);
      if (dropped > 0) await forgetTombstones(this.#parts);
      return dropped;
    });
  }

  /** Deletes samples in `[minMs, maxMs]`; durable, and gone from all answers, when it resolves. */
  deleteSeries(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<void> {
    return this.#afterOthers(() => deleteSamples(this.#parts, matchers, { minMs, maxMs }));
  }

  /** Writes blocks anew without what is deleted. */
  cleanTombstones(): Promise<void> {
    return this.#afterOthers(() => dropDeleted(this.#parts, this.#closing.signal));
  }

  /** Resolves when blocks are joined and windows written that could be; for tests and whoever must know. */
  async settled(): Promise<void> {
    for (let before: unknown; before !== this.#maintenance; ) {
      before = this.#maintenance;
      await before;
    }
  }

  /** Makes a data directory of its own with all samples, or with those in blocks. @param directory Must not exist. */
  snapshot(directory: string, withHead: boolean): Promise<void> {
    return this.#afterOthers(() => snapshotTo(this.#parts, directory, withHead));
  }

  #blocksPastRetention(): Block[] {
    const { clock, retentionMs } = this.#options;
    const elapsedMs = clock.monotonicMs() - this.#openedMonotonicMs;
    const nowMs = Math.min(clock.nowMs(), this.#openedMs + elapsedMs) + CLOCK_STEP_MAX_MS;
    const byAge = [...this.#parts.blocks.all].sort((a, b) => a.foot.maxMs - b.foot.maxMs);
    const newestMs = Math.min(nowMs, byAge[byAge.length - 1]?.foot.maxMs ?? nowMs);
    const lastMs = Math.min(newestMs - retentionMs, (byAge[0]?.foot.maxMs ?? 0) + DAY_MS);
    // What is in no window yet stays.
    const { neededFromMs } = this.#parts.downsampler;
    return byAge.filter(({ foot }) => foot.maxMs <= lastMs && foot.maxMs < neededFromMs);
  }

  /**
   * Blocks, also of windows, that go while all are too large: the ones that have used up most of their retention first, so
   * that histories of all resolutions shrink alike. The newest of each kind stays.
   */
  #blocksOverSize(): Aged[] {
    const { blockBytesMax = Number.POSITIVE_INFINITY, retentionMs } = this.#options;
    const { blocks, downsampler } = this.#parts;
    const kinds = [{ blocks, retentionMs, windows: false }];
    for (const level of downsampler.levels) kinds.push({ ...level, windows: true });
    const all = kinds.flatMap((kind) => agedOf(kind));
    let bytes = all.reduce((sum, { block }) => sum + block.fileBytes, 0);
    const over: Aged[] = [];
    for (const one of all.sort((a, b) => b.used - a.used || a.block.foot.maxMs - b.block.foot.maxMs)) {
      if (bytes <= blockBytesMax) break;
      if (one.newest) continue;
      bytes -= one.block.fileBytes;
      over.push(one);
    }
    return over;
  }

  /** Joins small blocks until there are few, and tells samples by windows. */
  #joinBlocks(): void {
    const join = async () => {
      const { blocks, table, downsampler } = this.#parts;
      const { signal } = this.#closing;
      await downsampler.notice(blocks.all, blocks.lastNumber);
      while (!signal.aborted && (await joinBlocks(blocks, table, signal)) > 0) this.#joins++;
    };
    this.#afterOthers(join).catch((error: unknown) => {
      this.#joinFailures++;
      process.emitWarning(`blocks of samples could not be joined: ${String(error)}`);
    });
    this.#writeWindows();
  }

  /** Range by range, so that deletions and retention get their turn in between. */
  #writeWindows(): void {
    const { blocks, downsampler, head } = this.#parts;
    const next = async () => {
      if (this.#closing.signal.aborted) return;
      if (!(await downsampler.writeNext({ head, blocks, reader: this.reader }))) return;
      if (this.#blocksOverSize().length > 0) this.#retainInBackground();
      this.#writeWindows();
    };
    this.#afterOthers(next).catch((error: unknown) => {
      process.emitWarning(`windows of samples could not be written: ${String(error)}`);
    });
  }

  /** Blocks are joined and deleted by one at a time. */
  #afterOthers<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#maintenance.then(work);
    this.#maintenance = done.catch(() => undefined);
    return done;
  }

  /** @see StoreReader */
  status(limit: number): MetricStatus {
    const { table, head, blocks } = this.#parts;
    let minMs = head.oldestMs;
    for (const { foot } of blocks.all) minMs = Math.min(minMs, foot.minMs);
    let chunks = 0;
    for (const series of table.index.all) if (series.head !== undefined) chunks += chunksIn(series.head);
    return {
      series: table.size,
      chunks,
      minMs: Number.isFinite(minMs) ? minMs : undefined,
      maxMs: Number.isFinite(head.newestMs) ? head.newestMs : undefined,
      ...censusOf(table.index, limit),
      blocks: blocks.all.map(({ number, fileBytes, foot }) => {
        const { minMs: from, maxMs: to, series, samples, replaces } = foot;
        return { number, bytes: fileBytes, minMs: from, maxMs: to, series, samples, joinedFrom: replaces };
      }),
    };
  }

  stats(): MetricStoreStats {
    const { table, head, blocks, sealer, downsampler } = this.#parts;
    const windows = downsampler.levels.flatMap((level) => level.blocks.all);
    return {
      ...head.stats(),
      windowBlocks: windows.length,
      windowBlockBytes: windows.reduce((sum, { fileBytes }) => sum + fileBytes, 0),
      series: table.size,
      blocks: blocks.all.length,
      blockBytes: blocks.all.reduce((sum, { fileBytes }) => sum + fileBytes, 0),
      joins: this.#joins,
      joinFailures: this.#joinFailures,
      ...sealer.stats,
    };
  }

  /** Writes what waits, then closes the log. Later writes are refused. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#parts.sealer.running?.catch(() => undefined);
    await this.#maintenance;
    await this.#sealAtClose();
    await this.#parts.head.close();
    this.#spool.close();
  }

  async #sealAtClose(): Promise<void> {
    const { head, sealer, table } = this.#parts;
    if ((head.log?.bytes ?? 0) <= CLOSED_LOG_BYTES_MAX || table.size > CLOSED_SERIES_MAX) return;
    try {
      await sealer.seal(Number.POSITIVE_INFINITY, AbortSignal.timeout(SEAL_AT_CLOSE_MS_MAX));
    } catch (error) {
      process.emitWarning(`samples stay in the log until the next start: ${String(error)}`);
    }
  }

  #retainInBackground(): void {
    this.enforceRetention().catch((error: unknown) => {
      process.emitWarning(`blocks of samples could not be deleted: ${String(error)}`);
    });
  }

  #inBackground(seal: Promise<void>): Promise<void> {
    seal.then(
      () => {
        this.#joinBlocks();
        if (this.#blocksOverSize().length > 0) this.#retainInBackground();
      },
      (error: unknown) => {
        this.#reliefFailedMs = this.#options.clock.monotonicMs();
        process.emitWarning(`samples could not be moved from memory to a block: ${String(error)}`);
      },
    );
    return seal;
  }
}

function logBytesMax(series: number): number {
  const ofSeries = Math.min(LOG_SERIES_BYTES * series, LOG_OF_SERIES_BYTES_MAX);
  return Math.max(LOG_BYTES_MAX, ofSeries, LOG_SERIES_BYTES_MAX * series);
}

/** A block with its age. */
interface Aged {
  readonly blocks: MetricBlocks;
  readonly block: Block;
  readonly windows: boolean;
  /** Part of its retention that has passed when the newest block of its kind ends. */
  readonly used: number;
  readonly newest: boolean;
}

function agedOf(kind: {
  readonly blocks: MetricBlocks;
  readonly retentionMs: number;
  readonly windows: boolean;
}): Aged[] {
  const { blocks, retentionMs, windows } = kind;
  const byAge = blocks.all.toSorted((a, b) => a.foot.maxMs - b.foot.maxMs);
  const newest = byAge.at(-1);
  const endMs = newest?.foot.maxMs ?? 0;
  return byAge.map((block) => {
    return { blocks, block, windows, used: (endMs - block.foot.maxMs) / retentionMs, newest: block === newest };
  });
}
