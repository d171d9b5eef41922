/**
 * Runs checked statements of users: read-only, bounded in time, rows, bytes and number, beside ingestion.
 *
 * Invariants: a connection runs one statement at a time; a statement that cannot be interrupted is answered with a
 * timeout and keeps its connection until it ends, so that at most `RUNNING_MAX` of them use the machine.
 */

import type { DuckDBConnection, DuckDBInstance, DuckDBResult, DuckDBValue } from "@duckdb/node-api";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import { rollBack } from "./database.ts";
import type { CheckedSql, SqlAnswer, SqlColumn, SqlLimits, SqlValue } from "./reader.ts";
import type { SqlSamples } from "./sql-samples.ts";
import { heapBytesOf, jsonBytesOf, sqlValueOf } from "./sql-value.ts";

/** Statements that run at once; each holds a thread of Node's pool. */
const RUNNING_MAX = 2;
/** Statements that wait for their turn. */
const WAITING_MAX = 32;
/** How long an interrupted statement may take to end before it is answered without it. */
const INTERRUPT_GRACE_MS = 1000;
/** Brackets and comma of a row in a JSON answer. */
const ROW_BYTES_MIN = 3;
/** An array in memory without its values. */
const ROW_HEAP_BYTES = 32;

/** Cells turned into JSON values before other work gets its turn: some 5 ms, where a wide chunk whole takes 50. */
const CELLS_PER_TURN = 8_192;

interface AnswerLimits extends SqlLimits {
  readonly heapBytesMax: number;
}

/** What a runner needs beside the instance. */
interface RunnerOptions {
  readonly clock: Clock;
  /** Memory that the rows of one answer may take. */
  readonly heapBytesMax: number;
  readonly samples: SqlSamples;
  /** Told of every error that DuckDB gives. */
  readonly onError: (error: unknown) => void;
}

/** Runs statements on connections of their own. */
export class SqlRunner {
  readonly #instance: DuckDBInstance;
  readonly #clock: Clock;
  readonly #idle: DuckDBConnection[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #busyConnections = new Set<DuckDBConnection>();
  readonly #onError: (error: unknown) => void;
  readonly #heapBytesMax: number;
  readonly #samples: SqlSamples;
  #running = 0;
  #onQuiet: (() => void) | undefined;
  #closed = false;

  constructor(instance: DuckDBInstance, { clock, heapBytesMax, samples, onError }: RunnerOptions) {
    this.#instance = instance;
    this.#clock = clock;
    this.#heapBytesMax = heapBytesMax;
    this.#samples = samples;
    this.#onError = onError;
  }

  /**
   * Runs one statement.
   *
   * @throws ThalwegError `query_timeout`, `query_busy`; `query_failed` with DuckDB's own message.
   */
  async run(statement: CheckedSql, limits: SqlLimits): Promise<SqlAnswer> {
    const startMs = this.#clock.monotonicMs();
    await this.#enter(limits.timeoutMs);
    const leftMs = Math.max(1, limits.timeoutMs - (this.#clock.monotonicMs() - startMs));
    const answer = await this.#runInTime(statement, { ...limits, heapBytesMax: this.#heapBytesMax }, leftMs);
    return { ...answer, elapsedMs: Math.round((this.#clock.monotonicMs() - startMs) * 1000) / 1000 };
  }

  /** Interrupts what runs and waits for its end; later statements are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const next of this.#waiting.splice(0)) next();
    for (const connection of this.#busyConnections) connection.interrupt();
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
      });
    }
    for (const connection of this.#idle.splice(0)) connection.disconnectSync();
  }

  async #enter(timeoutMs: number): Promise<void> {
    if (this.#running < RUNNING_MAX && !this.#closed) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= WAITING_MAX || this.#closed) throw this.#busy();
    await new Promise<void>((resolve, reject) => {
      const next = () => {
        clearTimeout(timer);
        if (this.#closed) reject(this.#busy());
        else resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(next), 1);
        reject(this.#busy());
      }, timeoutMs);
      this.#waiting.push(next);
    });
  }

  /** A place goes straight to the next in line, so that `#running` does not change in between. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next();
    else if (--this.#running === 0) this.#onQuiet?.();
  }

  #busy(): ThalwegError {
    return new ThalwegError("query_busy", { running: this.#running, waiting: this.#waiting.length, max: RUNNING_MAX });
  }

  async #runInTime(statement: CheckedSql, limits: AnswerLimits, leftMs: number): Promise<Omit<SqlAnswer, "elapsedMs">> {
    let timedOut = false;
    let connection: DuckDBConnection | undefined;
    let graceTimer: NodeJS.Timeout | undefined;
    let giveUp: (error: ThalwegError) => void = () => undefined;
    const timeout = () => new ThalwegError("query_timeout", { timeoutMs: limits.timeoutMs });
    const gaveUp = new Promise<never>((_resolve, reject) => {
      giveUp = reject;
    });
    const stopping = new AbortController();
    const timer = setTimeout(() => {
      timedOut = true;
      stopping.abort();
      connection?.interrupt();
      graceTimer = setTimeout(() => giveUp(timeout()), INTERRUPT_GRACE_MS);
    }, leftMs);
    const work = (async () => {
      try {
        connection = await this.#connect();
        this.#busyConnections.add(connection);
        return await readOnly(connection, (own) =>
          this.#answer(own, statement, limits, { isTimedOut: () => timedOut, signal: stopping.signal }),
        );
      } catch (error) {
        this.#onError(error);
        throw timedOut ? timeout() : asQueryError(error);
      } finally {
        clearTimeout(timer);
        clearTimeout(graceTimer);
        this.#release(connection);
      }
    })();
    // Where the grace runs out first nobody waits for the work any more.
    work.catch(() => undefined);
    return await Promise.race([work, gaveUp]);
  }

  async #answer(
    connection: DuckDBConnection,
    statement: CheckedSql,
    limits: AnswerLimits,
    stop: { readonly isTimedOut: () => boolean; readonly signal: AbortSignal },
  ): Promise<Omit<SqlAnswer, "elapsedMs">> {
    const { samples } = statement;
    if (samples === undefined) return answerOf(connection, statement, limits, stop.isTimedOut);
    const { rows } = await answerOf(connection, samples.times, { ...limits, rowsMax: 1 }, stop.isTimedOut);
    const { bytes, release } = await this.#samples.gather(samples, rows[0] ?? [], stop.signal);
    try {
      const heapBytesMax = limits.heapBytesMax - bytes;
      return await answerOf(connection, statement, { ...limits, heapBytesMax }, stop.isTimedOut);
    } finally {
      release();
    }
  }

  async #connect(): Promise<DuckDBConnection> {
    return this.#idle.pop() ?? (await this.#instance.connect());
  }

  #release(connection: DuckDBConnection | undefined): void {
    if (connection !== undefined) {
      this.#busyConnections.delete(connection);
      this.#idle.push(connection);
    }
    this.#leave();
  }
}

/** Nothing of a user's statement outlives its transaction. */
async function readOnly<T>(
  connection: DuckDBConnection,
  work: (connection: DuckDBConnection) => Promise<T>,
): Promise<T> {
  await connection.run("BEGIN TRANSACTION READ ONLY");
  let outcome: T;
  try {
    outcome = await work(connection);
  } catch (error) {
    await rollBack(connection);
    throw error;
  }
  await rollBack(connection);
  return outcome;
}

async function answerOf(
  connection: DuckDBConnection,
  statement: CheckedSql,
  limits: AnswerLimits,
  isTimedOut: () => boolean,
): Promise<Omit<SqlAnswer, "elapsedMs">> {
  const prepared = await connection.prepare(statement.text);
  try {
    prepared.bind(statement.params.map(parameterOf));
    const result = await prepared.stream();
    const columns = columnsOf(result);
    const rows: SqlValue[][] = [];
    let bytes = 0;
    let heapBytes = 0;
    let rowsRead = 0;
    let cells = 0;
    for await (const chunk of result) {
      if (isTimedOut()) throw new Error("store: the time of a statement ran out between two chunks");
      rowsRead += chunk.rowCount;
      for (let at = 0; at < chunk.rowCount; at++) {
        const row = chunk.getRowValues(at).map(sqlValueOf);
        cells += row.length;
        if (cells > CELLS_PER_TURN) {
          cells = 0;
          await turn();
        }
        bytes += ROW_BYTES_MIN;
        heapBytes += ROW_HEAP_BYTES;
        for (const value of row) {
          bytes += jsonBytesOf(value);
          heapBytes += heapBytesOf(value);
        }
        if (rows.length === limits.rowsMax || bytes > limits.bytesMax || heapBytes > limits.heapBytesMax) {
          return { columns, rows, rowsRead, truncated: true };
        }
        rows.push(row);
      }
    }
    return { columns, rows, rowsRead, truncated: false };
  } finally {
    prepared.destroySync();
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function columnsOf(result: DuckDBResult): SqlColumn[] {
  return result.columnNames().map((name, index) => ({ name, type: String(result.columnType(index)) }));
}

/** JavaScript has one kind of number: whole ones are bound as BIGINT, so that they compare with ids and times. */
function parameterOf(value: string | number | boolean | null): DuckDBValue {
  return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
}

function asQueryError(error: unknown): unknown {
  if (error instanceof ThalwegError || !(error instanceof Error)) return error;
  return new ThalwegError("query_failed", { why: error.message.split("\n\n")[0] ?? error.message }, error);
}
