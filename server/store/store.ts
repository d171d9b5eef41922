/**
 * The store: opens a data directory, composes its parts behind the two doors, and closes it again.
 *
 * Layout of the directory: `lock`, `db/` with day files (the only place DuckDB may open files in), `wal/` with the
 * metric head's log, `tmp/` for spilling, `secret/`, `quarantine/` once something was damaged.
 */

import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import { makePrivateDirectory, syncDirectory } from "../platform/files.ts";
import { type HostIdentity, readHostIdentity } from "../platform/host-identity.ts";
import { type HeldLock, takeLock } from "../platform/lock.ts";
import { numberOf, openDatabase, readRows } from "./database.ts";
import { type DamageListener, DayFiles, dayEndMs, dayOf, isLockedElsewhere } from "./day-files.ts";
import { loadSnapshot, saveSnapshot } from "./derived.ts";
import { type MetricHeadStats, openMetricHead } from "./metric-head.ts";
import type { StoreReader } from "./reader.ts";
import { replayCommits, TraceReader } from "./span-reader.ts";
import { SpanWriter, type SpanWriterStats } from "./span-writer.ts";
import { SqlRunner } from "./sql-runner.ts";
import { TraceIndex } from "./trace-index.ts";
import type { StoreWriter } from "./writer.ts";

const RETENTION_CHECK_MS = 10 * 60_000;
/** Traces read at once. */
const TRACE_READERS = 2;

/** How to open a store. */
export interface StoreOptions {
  /** Data directory; made when missing, for its owner only. */
  readonly directory: string;
  readonly clock: Clock;
  /** Day files older than this are deleted whole; samples too. */
  readonly retentionMs: number;
  /** What DuckDB may use for all its work; user queries fail beyond it. */
  readonly memoryLimitBytes: number;
  /** Told of every damage that was set aside while the store opened or ran. */
  readonly onDamage?: DamageListener;
  /** This machine's, unless given. */
  readonly identity?: HostIdentity;
}

/** What the store holds and did since it was opened. */
export interface StoreStats {
  readonly spans: SpanWriterStats;
  readonly metrics: MetricHeadStats;
  /** Days with a file, oldest first. */
  readonly days: readonly string[];
  readonly damages: number;
}

/** An open store. */
export interface Store {
  readonly writer: StoreWriter;
  readonly reader: StoreReader;
  stats(): StoreStats;
  /** Deletes the oldest day file if it is past retention; at most one a call, so that a wall clock that jumped costs one day at most. */
  enforceRetention(): Promise<string | undefined>;
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
  let instance: DuckDBInstance | undefined;
  try {
    await rm(join(directory, "tmp"), { recursive: true, force: true });
    await makePrivateDirectory(join(directory, "tmp"));
    instance = await openDatabase({
      filesDirectory: join(directory, "db"),
      spillDirectory: join(directory, "tmp"),
      memoryBytesMax: options.memoryLimitBytes,
    });
    return await composeStore({ ...options, directory }, instance, lock);
  } catch (error) {
    instance?.closeSync();
    await lock.release();
    if (isLockedElsewhere(error)) throw new ThalwegError("data_locked", { directory, pid: pidIn(error) }, error);
    throw error;
  }
}

async function layOutDirectory(directory: string): Promise<void> {
  for (const path of [directory, ...["db", "wal", "tmp", "secret"].map((name) => join(directory, name))]) {
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

async function composeStore(options: StoreOptions, instance: DuckDBInstance, lock: HeldLock): Promise<Store> {
  const { directory, clock } = options;
  let damages = 0;
  const onDamage: DamageListener = (damage) => {
    damages++;
    options.onDamage?.(damage);
  };
  const connection = await instance.connect();
  const files = new DayFiles(join(directory, "db"), join(directory, "quarantine"), connection, onDamage);
  await files.attachAll();
  const lastSequence = await lastSequenceOf(connection, files);
  const index = new TraceIndex(await instance.connect());
  const writer = new SpanWriter({
    connection,
    files,
    clock,
    identity: options.identity ?? readHostIdentity(),
    lastSequence,
    onStored: (file, spans, sequence) => index.stored(file, spans, sequence),
  });
  await index.resume(files.attached, dayOf(clock.nowMs()));
  await writer.exclusively(() => files.fileOf(dayOf(clock.nowMs()), clock.nowUnixNano(), lastSequence + 1));
  const head = await openMetricHead({
    directory: join(directory, "wal"),
    clock,
    retentionMs: options.retentionMs,
    onDamage: (damage) => onDamage(new ThalwegError("data_damaged", { ...damage })),
  });
  const runner = new SqlRunner(instance, clock);
  const readers = await connectionPool(instance, TRACE_READERS);
  const traces = new TraceReader(index);

  const enforceRetention = () =>
    writer.exclusively(async () => {
      const oldest = files.attached[0];
      if (oldest === undefined || oldest.day === dayOf(clock.nowMs())) return undefined;
      if (dayEndMs(oldest.day) + options.retentionMs > clock.nowMs()) return undefined;
      await files.drop(oldest);
      return oldest.day;
    });
  const timer = setInterval(() => {
    enforceRetention().catch((error: unknown) => process.emitWarning(`retention failed: ${String(error)}`));
  }, RETENTION_CHECK_MS);
  timer.unref();

  let closing: Promise<void> | undefined;
  const close = async () => {
    clearInterval(timer);
    await writer.close();
    await index.close();
    await head.close();
    runner.close();
    readers.close();
    for (const { alias } of files.attached) await connection.run(`CHECKPOINT ${alias}`);
    connection.disconnectSync();
    instance.closeSync();
    await lock.release();
  };

  return {
    writer: {
      commitSpans: (batch) => writer.commit(batch),
      saveDerived: (snapshot, edges) =>
        writer.exclusively(async () => {
          const file = await files.fileOf(dayOf(clock.nowMs()), clock.nowUnixNano(), writer.stats.sequence + 1);
          await saveSnapshot(connection, file, snapshot, edges);
        }),
      loadDerived: () => readers.use((free) => loadSnapshot(free, files.attached)),
      replaySpans: (sequence, onBatch) =>
        readers.use(async (free) => replayCommits(free, connection, files.attached, sequence, onBatch)),
      appendSamples: (samples) => head.append(samples),
      describe: (metadata) => head.describe(metadata),
    },
    reader: {
      sql: (statement, limits) => runner.run(statement, limits),
      trace: (traceId, spansMax) => readers.use((free) => traces.read(free, files.attached, traceId, spansMax)),
      select: (matchers, minMs, maxMs) => head.select(matchers, minMs, maxMs),
      series: (matchers, minMs, maxMs) => head.series(matchers, minMs, maxMs),
      metadata: () => head.metadata(),
    },
    stats: () => ({
      spans: writer.stats,
      metrics: head.stats(),
      days: files.attached.map(({ day }) => day),
      damages,
    }),
    enforceRetention,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

/** The highest sequence number that was given: by a ledger, or by the start of a file whose ledger is empty. */
async function lastSequenceOf(connection: DuckDBConnection, files: DayFiles): Promise<number> {
  let last = 0;
  for (const { alias } of files.attached) {
    const [row] = await readRows(
      connection,
      `SELECT greatest((SELECT coalesce(max(sequence), 0) FROM ${alias}.ledger),
                       (SELECT coalesce(max(first_sequence) - 1, 0) FROM ${alias}.file_meta))`,
    );
    last = Math.max(last, numberOf(row?.[0]));
  }
  return last;
}

/** Connections that are used by one caller at a time. */
interface ConnectionPool {
  use<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T>;
  close(): void;
}

async function connectionPool(instance: DuckDBInstance, size: number): Promise<ConnectionPool> {
  const turns: { connection: DuckDBConnection; free: Promise<unknown>; waiting: number }[] = [];
  for (let made = 0; made < size; made++) {
    turns.push({ connection: await instance.connect(), free: Promise.resolve(), waiting: 0 });
  }
  return {
    use(work) {
      const turn = turns.reduce((least, other) => (other.waiting < least.waiting ? other : least));
      turn.waiting++;
      const done = turn.free.then(() => work(turn.connection)).finally(() => turn.waiting--);
      turn.free = done.catch(() => undefined);
      return done;
    },
    close() {
      for (const { connection } of turns) connection.disconnectSync();
    },
  };
}
