/**
 * Everything of the store that lives on one DuckDB instance: writer, files, index, readers.
 *
 * An instance that failed an fsync or a checkpoint refuses all further work. It is then closed, and another one opened
 * on the same files in the same process, which finds every acknowledged commit. Invariant: two instances never hold the
 * same files at once, since DuckDB does not refuse that within a process and loses data.
 */

import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import type { Clock } from "../model/clock.ts";
import { traceIdToHex } from "../model/hex.ts";
import type { LogBatch } from "../model/log-batch.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { makePrivateDirectory } from "../platform/files.ts";
import type { HostIdentity } from "../platform/host-identity.ts";
import { readCalls } from "./call-reader.ts";
import { Compaction } from "./compaction.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { isCorruption, isInvalidated, numberOf, openDatabase, readRows } from "./database.ts";
import { type DamageListener, DayFiles, dayEndMs, dayOf } from "./day-files.ts";
import { loadSnapshot, saveSnapshot } from "./derived.ts";
import { LogWriter } from "./log-writer.ts";
import type { CheckedSql, SqlAnswer, SqlLimits } from "./reader.ts";
import { readRecentSpans } from "./recent-spans.ts";
import { ResourceBook } from "./resource-book.ts";
import { replayCommits, TraceReader } from "./span-reader.ts";
import { SpanWriter, type UnsettledBatch } from "./span-writer.ts";
import { SqlRunner } from "./sql-runner.ts";
import { type SelectEncoded, SqlSamples } from "./sql-samples.ts";
import { TraceAliases } from "./trace-aliases.ts";
import { TraceIndex } from "./trace-index.ts";
import type {
  CallKey,
  CommitReceipt,
  DerivedRows,
  DerivedSnapshot,
  LogReceipt,
  RecentSpans,
  StoredCalls,
} from "./writer.ts";

/** A day is compacted so long after it ended: what is under way has been stored by then. */
const COMPACT_AFTER_MS = 10 * 60_000;
/** Traces read at once, snapshots and replays included. */
const READERS = 2;

/** What an engine needs. */
export interface EngineOptions {
  /** Data directory, absolute, laid out and locked. */
  readonly directory: string;
  readonly clock: Clock;
  readonly identity: HostIdentity;
  readonly retentionMs: number;
  readonly memoryLimitBytes: number;
  readonly answerBytesMax: number;
  /** Bytes of spans, and half as many of log records, that may wait for their commit. */
  readonly waitingBytesMax: number;
  /** Finds what `samples()` in SQL reads. */
  readonly selectSamples: SelectEncoded;
  readonly onDamage: DamageListener;
  /** The instance refuses all work: nothing of this engine is of use any more. Called once. */
  readonly onBroken: (error: unknown) => void;
}

interface Parts {
  readonly instance: DuckDBInstance;
  readonly connection: DuckDBConnection;
  readonly files: DayFiles;
  readonly index: TraceIndex;
  readonly writer: SpanWriter;
  readonly logs: LogWriter;
  readonly runner: SqlRunner;
  readonly readers: ConnectionPool;
  /** One connection, beside that of commits. */
  readonly saver: ConnectionPool;
  readonly traces: TraceReader;
  readonly aliases: TraceAliases;
  readonly compaction: Compaction;
}

/** Opens the files of a data directory. */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { directory, clock } = options;
  await rm(join(directory, "tmp"), { recursive: true, force: true });
  await makePrivateDirectory(join(directory, "tmp"));
  const instance = await openDatabase({
    filesDirectory: join(directory, "db"),
    spillDirectory: join(directory, "tmp"),
    memoryBytesMax: options.memoryLimitBytes,
  });
  let files: DayFiles | undefined;
  try {
    const connection = await instance.connect();
    files = new DayFiles(join(directory, "db"), join(directory, "quarantine"), connection, options.onDamage);
    const attached = files;
    await attached.attachAll();
    const lastSequence = await lastSequenceOf(connection, attached);
    const today = dayOf(clock.nowMs());
    await attached.fileOf(today, clock.nowUnixNano(), lastSequence + 1);
    const index = new TraceIndex(await instance.connect());
    await index.resume(attached.attached, today);
    const onError = troubleHandler({
      broken: options.onBroken,
      corrupt: () => writingNothing({ writer, saver }, () => attached.setDamagedAside()),
    });
    const saver = await ConnectionPool.open(instance, 1, onError);
    const resources = new ResourceBook(connection);
    const writer = new SpanWriter({
      connection,
      files: attached,
      resources,
      clock,
      identity: options.identity,
      lastSequence,
      waitingBytesMax: options.waitingBytesMax,
      onStored: (file, group) => index.stored(file, group),
      onError,
    });
    const logs = new LogWriter({
      connection,
      files: attached,
      resources,
      clock,
      identity: options.identity,
      lastSequence: await lastLogSequenceOf(connection, files),
      waitingBytesMax: options.waitingBytesMax / 2,
      exclusively: (work) => writer.exclusively(work),
      nextSpanSequence: () => writer.stats.sequence + 1,
      onError,
    });
    const readers = await ConnectionPool.open(instance, READERS, onError);
    const heapBytesMax = options.answerBytesMax;
    const samples = new SqlSamples(options.selectSamples, heapBytesMax / 2);
    samples.register(connection);
    const runner = new SqlRunner(instance, { clock, heapBytesMax, samples, onError });
    const traces = new TraceReader(index);
    const aliases = new TraceAliases();
    await aliases.load(connection, attached.attached);
    const compaction = new Compaction({
      connection: await instance.connect(),
      files: attached,
      index,
      exclusively: (work) => writer.exclusively(work),
    });
    const doors = { runner, readers, saver, traces, aliases, compaction };
    const parts = { instance, connection, files: attached, index, writer, logs, ...doors };
    return new Engine(options, parts);
  } catch (error) {
    const whole = files?.attached.length;
    // A bad block met while opening is set aside with its file, then all is opened again without it.
    if (isCorruption(error)) await files?.setDamagedAside();
    instance.closeSync();
    if (isCorruption(error) && files?.attached.length !== whole) return openEngine(options);
    throw error;
  }
}

/** Acts once on an instance that broke, and on corrupt blocks unless they are being looked for already. */
function troubleHandler(act: { broken: (error: unknown) => void; corrupt: () => Promise<void> }) {
  let broken = false;
  let searching = false;
  return (error: unknown): void => {
    if (isInvalidated(error)) {
      if (!broken) act.broken(error);
      broken = true;
    } else if (isCorruption(error) && !searching) {
      searching = true;
      const search = async () => {
        try {
          await act.corrupt();
        } catch (failure) {
          process.emitWarning(`damaged files could not be set aside: ${String(failure)}`);
        } finally {
          searching = false;
        }
      };
      void search();
    }
  };
}

/** One open instance with its parts. */
export class Engine {
  readonly #options: EngineOptions;
  readonly #parts: Parts;

  constructor(options: EngineOptions, parts: Parts) {
    this.#options = options;
    this.#parts = parts;
  }

  get writerStats(): SpanWriter["stats"] {
    return this.#parts.writer.stats;
  }

  get indexFailures(): number {
    return this.#parts.index.failures;
  }

  /** Days with a file, oldest first. */
  get days(): string[] {
    return this.#parts.files.attached.map(({ day }) => day);
  }

  commit(batch: SpanBatch): Promise<CommitReceipt> {
    return this.#parts.writer.commit(batch);
  }

  commitLogs(batch: LogBatch): Promise<LogReceipt> {
    return this.#parts.logs.commit(batch);
  }

  /** Beside commits: the transaction of a snapshot of megabytes takes as long as that of thousands of spans. */
  async saveDerived(snapshot: DerivedSnapshot, rows: DerivedRows): Promise<void> {
    const { writer, files, saver, aliases } = this.#parts;
    const { clock } = this.#options;
    const begun = await writer.exclusively(async () => {
      const file = await files.fileOf(dayOf(clock.nowMs()), clock.nowUnixNano(), writer.stats.sequence + 1);
      await files.assureRoom(file, snapshot.state.length);
      files.besideBytes += snapshot.state.length;
      return { saved: saver.use((connection) => saveSnapshot(connection, file, snapshot, rows)) };
    });
    try {
      await begun.saved;
    } finally {
      files.besideBytes -= snapshot.state.length;
    }
    for (const { alias, trace } of rows.aliases) aliases.join(traceIdToHex(...alias), traceIdToHex(...trace));
  }

  loadDerived(): Promise<DerivedSnapshot | undefined> {
    const { readers, files } = this.#parts;
    return this.#pastDamage(() => readers.use((connection) => loadSnapshot(connection, files.attached)));
  }

  recentSpans(spansMax: number): Promise<RecentSpans> {
    const { readers, files } = this.#parts;
    return this.#pastDamage(() => readers.use((connection) => readRecentSpans(connection, files.attached, spansMax)));
  }

  spansOfCalls(calls: readonly CallKey[], spansMax: number): Promise<StoredCalls> {
    const { readers, files, index } = this.#parts;
    return this.#pastDamage(() =>
      readers.use((connection) => readCalls({ connection, files: files.attached, index }, calls, spansMax)),
    );
  }

  replaySpans(sequence: number, onBatch: (batch: SpanBatch, sequence: number) => void): Promise<void> {
    const { readers, files, instance } = this.#parts;
    let last = sequence;
    const replay = async (connection: DuckDBConnection) => {
      const lookUps = await instance.connect();
      try {
        await replayCommits(connection, lookUps, files.attached, last, (batch, number) => {
          last = number;
          onBatch(batch, number);
        });
      } finally {
        lookUps.disconnectSync();
      }
    };
    return this.#pastDamage(() => readers.use(replay));
  }

  /** Reads again without the file that a bad block was met in, once it is set aside: a start must not fail for it. */
  async #pastDamage<T>(read: () => Promise<T>): Promise<T> {
    const { files } = this.#parts;
    for (;;) {
      const attached = files.attached.length;
      try {
        return await read();
      } catch (error) {
        if (!isCorruption(error)) throw error;
        await writingNothing(this.#parts, () => files.setDamagedAside());
        if (files.attached.length >= attached) throw error;
      }
    }
  }

  sql(statement: CheckedSql, limits: SqlLimits): Promise<SqlAnswer> {
    return this.#parts.runner.run(statement, limits);
  }

  trace(traceId: string, spansMax: number): Promise<StoredSpan[]> {
    const { readers, traces, files, aliases } = this.#parts;
    const ids = aliases.membersOf(traceId);
    return readers.use(async (connection) => {
      const [first = traceId, ...others] = ids;
      const spans = await traces.read(connection, files.attached, first, spansMax);
      if (others.length === 0) return spans;
      for (const id of others) spans.push(...(await traces.read(connection, files.attached, id, spansMax)));
      spans.sort((a, b) => (a.startNs < b.startNs ? -1 : a.startNs > b.startNs ? 1 : 0));
      return spans.slice(0, spansMax);
    });
  }

  /** Deletes the oldest day file if it is past retention. */
  enforceRetention(): Promise<string | undefined> {
    const { files } = this.#parts;
    const { clock, retentionMs } = this.#options;
    return writingNothing(this.#parts, async () => {
      const [oldest] = files.attached;
      const nowMs = clock.nowMs();
      if (oldest === undefined || oldest.day === dayOf(nowMs)) return undefined;
      if (dayEndMs(oldest.day) + retentionMs > nowMs) return undefined;
      await files.drop(oldest);
      return oldest.day;
    });
  }

  /** Writes the oldest file of a day that is over anew, unless all are compact. @returns Its day. */
  compactNext(): Promise<string | undefined> {
    const { clock } = this.#options;
    return this.#parts.compaction.next(dayOf(clock.nowMs() - COMPACT_AFTER_MS));
  }

  /** Answers batches whose commit failed in a way that left open whether it holds: those in a ledger are stored. */
  async settle(batches: readonly UnsettledBatch[]): Promise<void> {
    if (batches.length === 0) return;
    const { readers, files } = this.#parts;
    for (const ledger of ["ledger", "log_ledger"] as const) {
      const own = batches.filter((batch) => batch.ledger === ledger);
      if (own.length === 0) continue;
      const sequences = own.map(({ sequence }) => sequence).join(", ");
      const stored = await readers.use(async (connection) => {
        const found = new Set<number>();
        for (const { alias } of files.attached) {
          const rows = await readRows(
            connection,
            `SELECT sequence FROM ${alias}.${ledger} WHERE sequence IN (${sequences})`,
          );
          for (const [sequence] of rows) found.add(numberOf(sequence));
        }
        return found;
      });
      for (const batch of own) {
        if (stored.has(batch.sequence)) batch.store();
        else batch.refuse();
      }
    }
  }

  /** Stores what waits, merges WALs into the files, and closes. A WAL that cannot be merged stays and is read at the next start. */
  async close(): Promise<void> {
    const { writer, logs, saver, files, connection, compaction } = this.#parts;
    await compaction.close();
    await logs.close();
    await writer.close();
    await saver.close();
    await this.#parts.index.close();
    for (const { alias } of files.attached) {
      try {
        await connection.run(`CHECKPOINT ${alias}`);
      } catch (error) {
        process.emitWarning(`the store closes with a WAL that could not be merged: ${String(error)}`);
      }
    }
    await this.#letGo();
  }

  /** Closes a broken instance. @returns Batches whose commit is in doubt; those still waiting were refused. */
  async abandon(): Promise<UnsettledBatch[]> {
    await this.#parts.compaction.close();
    const logs = await this.#parts.logs.abandon();
    const unsettled = [...logs, ...(await this.#parts.writer.abandon())];
    await this.#parts.saver.close();
    await this.#parts.index.close();
    await this.#letGo();
    return unsettled;
  }

  /** Every connection must be gone before the instance is: one that runs keeps the files open. */
  async #letGo(): Promise<void> {
    const { runner, readers, connection, instance } = this.#parts;
    await runner.close();
    await readers.close();
    connection.disconnectSync();
    instance.closeSync();
  }
}

/** Runs what takes files out: neither a commit nor a snapshot is under way in them meanwhile. */
function writingNothing<T>({ writer, saver }: Pick<Parts, "writer" | "saver">, work: () => Promise<T>): Promise<T> {
  return writer.exclusively(() => saver.use(work));
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

async function lastLogSequenceOf(connection: DuckDBConnection, files: DayFiles): Promise<number> {
  let last = 0;
  for (const { alias } of files.attached) {
    const [row] = await readRows(connection, `SELECT coalesce(max(sequence), 0) FROM ${alias}.log_ledger`);
    last = Math.max(last, numberOf(row?.[0]));
  }
  return last;
}
