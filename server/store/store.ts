/**
 * The store: opens a data directory, composes spans and metrics behind the two doors, and closes it again.
 *
 * Layout of the directory: `lock`, `db/` with day files (the only place DuckDB may open files in), `wal/` with the
 * metric head's log, `blocks/` with older samples, `tmp/` for spilling, `secret/`, `quarantine/` once something was damaged.
 */

import { join, resolve } from "node:path";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Matcher } from "../model/series.ts";
import { makePrivateDirectory, syncDirectory } from "../platform/files.ts";
import { type HostIdentity, readHostIdentity } from "../platform/host-identity.ts";
import { type HeldLock, takeLock } from "../platform/lock.ts";
import { type DamageListener, isLockedElsewhere } from "./day-files.ts";
import { type Engine, type EngineOptions, openEngine } from "./engine.ts";
import type { DownsamplingOptions } from "./metric-downsampler.ts";
import { MetricStore, type MetricStoreStats } from "./metric-store.ts";
import type { SampleTail, StoreReader } from "./reader.ts";
import type { SpanWriterStats } from "./span-writer.ts";
import type { StoreWriter } from "./writer.ts";

const ANSWER_BYTES_MAX = 2 ** 30;
const WAITING_BYTES_MAX = 128 * 2 ** 20;
const RETENTION_CHECK_MS = 10 * 60_000;
/** Between attempts to open the files again after the instance broke. */
const REOPEN_MS = 1000;
/** How long a query waits for that. */
const OPEN_WAIT_MS_MAX = 15_000;

/** How to open a store. */
export interface StoreOptions {
  /** Data directory; made when missing, for its owner only. */
  readonly directory: string;
  readonly clock: Clock;
  /** Day files older than this are deleted whole; samples too. */
  readonly retentionMs: number;
  /** Bytes of all metric blocks; beyond it the oldest go. Age alone decides unless given. */
  readonly blockBytesMax?: number | undefined;
  /** What DuckDB may use for all its work; user queries fail beyond it. */
  readonly memoryLimitBytes: number;
  /** Memory that the rows of one SQL answer may take; two may be made at a time. */
  readonly answerBytesMax?: number;
  /** Memory that spans may take that wait for their commit, and half as much for log records; 128 MiB unless given. */
  readonly waitingBytesMax?: number;
  /** Memory that samples and series may take; samples go to blocks before, and nothing is taken beyond it. */
  readonly headBytesMax?: number;
  /** How much older than the newest sample of all a late one may be; none is taken unless given. */
  readonly outOfOrderWindowMs?: number;
  /** How long windows of samples are kept; none are made unless given. */
  readonly downsampling?: DownsamplingOptions | undefined;
  /** Bytes of samples that wait to be sent on. */
  readonly spoolBytesMax?: number | undefined;
  /** When samples are acknowledged, `always` unless given; spans are on the disk before they are. */
  readonly durability?: "always" | "interval";
  /** Told of every damage that was set aside while the store opened or ran. */
  readonly onDamage?: DamageListener;
  /** This machine's, unless given. */
  readonly identity?: HostIdentity;
}

/** What the store holds and did since it was opened. */
interface StoreStats {
  readonly spans: SpanWriterStats;
  readonly metrics: MetricStoreStats;
  /** Days with a file, oldest first; empty while the files are opened again. */
  readonly days: readonly string[];
  readonly damages: number;
  /** Times the files were opened again because DuckDB refused all work. */
  readonly reopens: number;
  /** Blocks of the trace index that could not be built. */
  readonly indexFailures: number;
  /** Day files that were written anew in less space, and times one could not be. */
  readonly compactions: number;
  readonly compactionFailures: number;
}

/** What an operator does to the metrics; each resolves when it is durable. */
interface StoreAdmin {
  /** Deletes samples in `[minMs, maxMs]` of series that satisfy all matchers. */
  deleteSeries(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<void>;
  /** Writes blocks anew without what is deleted. */
  cleanTombstones(): Promise<void>;
  /** Makes `snapshots/NAME`, a data directory with all samples, or with those in blocks. Spans stay out. */
  snapshot(name: string, withHead: boolean): Promise<void>;
}

/** An open store. */
export interface Store {
  readonly writer: StoreWriter;
  readonly reader: StoreReader;
  readonly admin: StoreAdmin;
  stats(): StoreStats;
  /**
   * Deletes the oldest day file if it is past retention, and metric blocks past it; at most a day of each a call, so that a
   * wall clock that jumped costs one day at most.
   *
   * @returns The day of the deleted file.
   */
  enforceRetention(): Promise<string | undefined>;
  /**
   * Writes the oldest file of a day that is over anew, in less space, unless all are compact or the disk has no room.
   * Happens by itself, one file every ten minutes.
   *
   * @returns The day of the file.
   */
  compactNext(): Promise<string | undefined>;
  /** Moves all samples in memory to a block, as happens by itself when they grow old; resolves when that is durable. */
  sealMetrics(): Promise<void>;
  /** Opens those who read samples as they are stored, for remote write; others than these are forgotten. */
  openTails(names: readonly string[]): Promise<SampleTail[]>;
  /** Stores what waits, then lets go of files and lock. */
  close(): Promise<void>;
}

/**
 * Opens a data directory.
 *
 * Damaged files are set aside and reported to `onDamage`; the store starts with what is left.
 *
 * @throws ThalwegError `data_locked` where another process, or this one already, holds the directory.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const directory = resolve(options.directory);
  await layOutDirectory(directory);
  const lock = await lockDirectory(directory);
  try {
    return await openLocked({ ...options, directory }, lock);
  } catch (error) {
    await lock.release();
    if (isLockedElsewhere(error)) throw new ThalwegError("data_locked", { directory, pid: pidIn(error) }, error);
    throw error;
  }
}

async function layOutDirectory(directory: string): Promise<void> {
  for (const path of [directory, ...["db", "wal", "blocks", "tmp", "secret"].map((name) => join(directory, name))]) {
    await makePrivateDirectory(path);
  }
  await syncDirectory(directory);
}

async function lockDirectory(directory: string): Promise<HeldLock> {
  const outcome = await takeLock(join(directory, "lock"));
  if (outcome.kind === "held") return outcome.lock;
  throw new ThalwegError("data_locked", { directory, pid: outcome.pid });
}

function pidIn(error: unknown): string {
  return /PID (\d+)/.exec(error instanceof Error ? error.message : "")?.[1] ?? "unknown";
}

async function openLocked(options: StoreOptions, lock: HeldLock): Promise<Store> {
  let damages = 0;
  const onDamage: DamageListener = (damage) => {
    damages++;
    options.onDamage?.(damage);
  };
  const opened: { metrics?: MetricStore } = {};
  const engine = await EngineHolder.open({
    directory: options.directory,
    clock: options.clock,
    identity: options.identity ?? readHostIdentity(),
    retentionMs: options.retentionMs,
    memoryLimitBytes: options.memoryLimitBytes,
    answerBytesMax: options.answerBytesMax ?? ANSWER_BYTES_MAX,
    waitingBytesMax: options.waitingBytesMax ?? WAITING_BYTES_MAX,
    selectSamples: async (matchers, window) => opened.metrics?.reader.encoded(matchers, window) ?? [],
    onDamage,
  });
  let metrics: MetricStore;
  try {
    metrics = await MetricStore.open({
      directory: options.directory,
      clock: options.clock,
      retentionMs: options.retentionMs,
      blockBytesMax: options.blockBytesMax,
      spoolBytesMax: options.spoolBytesMax,
      downsampling: options.downsampling,
      durability: options.durability ?? "always",
      outOfOrderWindowMs: options.outOfOrderWindowMs ?? 0,
      ...(options.headBytesMax === undefined ? {} : { memoryBytesMax: options.headBytesMax }),
      onDamage,
    });
    opened.metrics = metrics;
  } catch (error) {
    await engine.close();
    throw error;
  }
  const enforceRetention = async () => {
    await metrics.enforceRetention();
    return engine.open().enforceRetention();
  };
  let compactions = 0;
  let compactionFailures = 0;
  const compactNext = async () => {
    try {
      const day = await engine.open().compactNext();
      if (day !== undefined) compactions++;
      return day;
    } catch (error) {
      compactionFailures++;
      throw error;
    }
  };
  const timer = setInterval(() => {
    enforceRetention().catch((error: unknown) => process.emitWarning(`retention failed: ${String(error)}`));
    compactNext().catch((error: unknown) => process.emitWarning(`a day was not compacted: ${String(error)}`));
  }, RETENTION_CHECK_MS);
  timer.unref();
  let closing: Promise<void> | undefined;
  const close = async () => {
    clearInterval(timer);
    try {
      await engine.close();
      await metrics.close();
    } finally {
      await lock.release();
    }
  };
  return {
    ...doorsOf(engine, metrics),
    admin: {
      deleteSeries: (matchers, minMs, maxMs) => metrics.deleteSeries(matchers, minMs, maxMs),
      cleanTombstones: () => metrics.cleanTombstones(),
      snapshot: async (name, withHead) => {
        await makePrivateDirectory(join(options.directory, "snapshots"));
        await metrics.snapshot(join(options.directory, "snapshots", name), withHead);
      },
    },
    stats: () => ({ ...engine.stats(), metrics: metrics.stats(), damages, compactions, compactionFailures }),
    enforceRetention,
    compactNext,
    sealMetrics: () => metrics.sealAll(),
    openTails: (names) => metrics.openTails(names),
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

function doorsOf(engine: EngineHolder, metrics: MetricStore): Pick<Store, "writer" | "reader"> {
  const { reader } = metrics;
  return {
    writer: {
      commitSpans: async (batch) => engine.open().commit(batch),
      onReopening: (listener) => engine.onReopening(listener),
      commitLogs: async (batch) => engine.open().commitLogs(batch),
      saveDerived: async (snapshot, rows) => engine.open().saveDerived(snapshot, rows),
      loadDerived: async () => engine.open().loadDerived(),
      recentSpans: async (spansMax) => engine.open().recentSpans(spansMax),
      spansOfCalls: async (calls, spansMax) => engine.open().spansOfCalls(calls, spansMax),
      replaySpans: async (sequence, onBatch) => engine.open().replaySpans(sequence, onBatch),
      appendSamples: (samples) => metrics.append(samples),
      appendSeries: (series, rows) => metrics.appendSeries(series, rows),
      seriesRefusal: (labels) => metrics.seriesRefusal(labels),
      describe: (metadata) => metrics.describe(metadata),
    },
    reader: {
      sql: async (statement, limits) => (await engine.opened()).sql(statement, limits),
      trace: async (traceId, spansMax) => (await engine.opened()).trace(traceId, spansMax),
      select: (matchers, minMs, maxMs, limits) => reader.select(matchers, minMs, maxMs, limits),
      selectNewest: (matchers, minMs, maxMs, limits) => reader.selectNewest(matchers, minMs, maxMs, limits),
      selectNumbers: (selection, limits) => reader.selectNumbers(selection, limits),
      selectChunks: (matchers, minMs, maxMs, limits) => reader.selectChunks(matchers, minMs, maxMs, limits),
      selectSeries: (labels, minMs, maxMs, limits) => reader.selectSeries(labels, minMs, maxMs, limits),
      exemplars: (matchers, minMs, maxMs, signal) => reader.finder.exemplars(matchers, minMs, maxMs, signal),
      series: (matchers, minMs, maxMs, signal) => reader.finder.series(matchers, minMs, maxMs, signal),
      labelNames: (window) => reader.finder.labelNames(window),
      labelValues: (name, window) => reader.finder.labelValues(name, window),
      metricStatus: (limit) => metrics.status(limit),
      metadata: () => metrics.metadata(),
    },
  };
}

/** The engine in use; opens another one where DuckDB refuses all work. */
class EngineHolder {
  readonly #options: Omit<EngineOptions, "onBroken">;
  #engine: Engine | undefined;
  #reopening: Promise<void> = Promise.resolve();
  #lastStats: SpanWriterStats | undefined;
  #reopens = 0;
  #indexFailures = 0;
  #closed = false;
  readonly #listeners: ((state: "broken" | "open") => void)[] = [];

  private constructor(options: Omit<EngineOptions, "onBroken">) {
    this.#options = options;
  }

  static async open(options: Omit<EngineOptions, "onBroken">): Promise<EngineHolder> {
    const holder = new EngineHolder(options);
    holder.#engine = await holder.#openEngine();
    return holder;
  }

  /** @throws ThalwegError `store_unavailable` while there is none. */
  open(): Engine {
    if (this.#engine === undefined) {
      throw new ThalwegError("store_unavailable", {
        why: this.#closed ? "it is closed" : "its files are opened again",
      });
    }
    return this.#engine;
  }

  /** As `open`, after a while where the files are being opened again. */
  async opened(): Promise<Engine> {
    if (this.#engine === undefined && !this.#closed) {
      const waiting = Promise.withResolvers<void>();
      const timer = setTimeout(waiting.resolve, OPEN_WAIT_MS_MAX);
      await Promise.race([this.#reopening, waiting.promise]);
      clearTimeout(timer);
    }
    return this.open();
  }

  /** @see StoreWriter */
  onReopening(listener: (state: "broken" | "open") => void): void {
    this.#listeners.push(listener);
  }

  stats(): Pick<StoreStats, "spans" | "days" | "reopens" | "indexFailures"> {
    const now = this.#engine?.writerStats;
    return {
      spans: sumOf(this.#lastStats, now),
      days: this.#engine?.days ?? [],
      reopens: this.#reopens,
      indexFailures: this.#indexFailures + (this.#engine?.indexFailures ?? 0),
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reopening;
    const engine = this.#engine;
    await engine?.close();
    if (engine !== undefined) this.#retire(engine);
  }

  #openEngine(): Promise<Engine> {
    return openEngine({ ...this.#options, onBroken: () => this.#startReopening() });
  }

  #startReopening(): void {
    const broken = this.#engine;
    if (broken === undefined || this.#closed) return;
    this.#engine = undefined;
    this.#reopening = this.#reopen(broken);
    for (const tell of this.#listeners) tell("broken");
  }

  async #reopen(broken: Engine): Promise<void> {
    const unsettled = await broken.abandon();
    this.#retire(broken);
    while (this.#engine === undefined && !this.#closed) {
      try {
        const engine = await this.#openEngine();
        await engine.settle(unsettled);
        this.#reopens++;
        this.#engine = engine;
        for (const tell of this.#listeners) tell("open");
      } catch (error) {
        process.emitWarning(`the store cannot open its files yet: ${String(error)}`);
        await new Promise((resolve) => setTimeout(resolve, REOPEN_MS));
      }
    }
    if (this.#engine === undefined) for (const batch of unsettled) batch.refuse();
  }

  #retire(engine: Engine): void {
    this.#lastStats = sumOf(this.#lastStats, engine.writerStats);
    this.#indexFailures += engine.indexFailures;
    this.#engine = undefined;
  }
}

const NO_STATS: SpanWriterStats = {
  commits: 0,
  groups: 0,
  spans: 0,
  waitingRows: 0,
  refusedSpans: 0,
  resourcesDropped: 0,
  sequence: 0,
};

/** Counts go on over a reopening; what waits and the last sequence number are those of now. */
function sumOf(
  before: SpanWriterStats = NO_STATS,
  now: SpanWriterStats = { ...NO_STATS, sequence: before.sequence },
): SpanWriterStats {
  return {
    commits: before.commits + now.commits,
    groups: before.groups + now.groups,
    spans: before.spans + now.spans,
    waitingRows: now.waitingRows,
    refusedSpans: before.refusedSpans + now.refusedSpans,
    resourcesDropped: before.resourcesDropped + now.resourcesDropped,
    sequence: now.sequence,
  };
}
