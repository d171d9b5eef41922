/**
 * Group commit of spans into the day file of their arrival.
 *
 * Invariants: one group is in work at a time, in order of arrival, so commits resolve in the order of their sequence
 * numbers; a batch is acknowledged after the COMMIT that holds it, which DuckDB ends with an fsync; whoever is refused
 * is told so, and nothing of its batch stays. Other work on the files (snapshots, retention) runs between groups.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { DuckDBConnection } from "@duckdb/node-api";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import type { HostIdentity } from "../platform/host-identity.ts";
import { ChunkSource } from "./chunk-columns.ts";
import { inTransaction, isDiskTrouble, isInvalidated } from "./database.ts";
import { type DayFile, type DayFiles, dayOf } from "./day-files.ts";
import { columnLiteral, fits, type OnlyValue, storedColumns, widening } from "./late-columns.ts";
import type { ResourceBook, StagedResource } from "./resource-book.ts";
import { ROW_GROUP_ROWS, STAGED_COLUMNS, type StoredColumn } from "./schema.ts";
import { spanColumns } from "./span-chunks.ts";
import { registerStagedSource, type StagedSource } from "./staged-source.ts";
import { type StagedBatch, stageBatch, unstage } from "./staged-spans.ts";
import type { CommitReceipt } from "./writer.ts";

/** Rows that may wait for a commit, the group in work not counted; beyond them the store refuses. */
const WAITING_ROWS_MAX = 131_072;
/**
 * Rows of one group: whole row groups, of which all but the last are compressed while rows are still inserted. Half of what
 * 64 senders of 512 spans have under way, so that the one half is decoded while the other is committed.
 */
const GROUP_ROWS_MAX = 2 * ROW_GROUP_ROWS;
/** A group after one of at least so many rows waits for company. */
const BUSY_GROUP_ROWS = 4_096;
/** How long a group waits for company at most, and at most after the last that came. */
const LINGER_MS = 200;
const QUIET_MS = 25;
/** Rows of batches that are answered in one turn of the loop: DuckDB waits for its end with every chunk it asks for. */
const ANSWERED_ROWS_A_TURN = 512;
const TENANT = "default";
const STAGED_FUNCTION = "staged_spans";

interface WaitingBatch {
  readonly staged: StagedBatch;
  readonly resolve: (receipt: CommitReceipt) => void;
  readonly reject: (error: unknown) => void;
}

/** Gives what came in the meantime for a group that is stored in `file`; nothing where the group is to end. */
type MoreBatches = (file: DayFile) => Promise<readonly WaitingBatch[]>;

/** What a writer works with. */
export interface SpanWriterOptions {
  /** Used by nobody else while the writer works on it. */
  readonly connection: DuckDBConnection;
  readonly files: DayFiles;
  readonly resources: ResourceBook;
  readonly clock: Clock;
  readonly identity: HostIdentity;
  /** The last sequence number given so far. */
  readonly lastSequence: number;
  /** Memory that waiting rows may hold. */
  readonly waitingBytesMax: number;
  /** Told after each group: where it went, and what. */
  readonly onStored: (file: DayFile, group: readonly StagedBatch[]) => void;
  /** Told of every error of the connection. */
  readonly onError: (error: unknown) => void;
}

/** A batch of which it is open whether its commit holds. Exactly one of the two must be called. */
export interface UnsettledBatch {
  /** The table that holds its sequence number where it was stored. */
  readonly ledger: "ledger" | "log_ledger";
  readonly sequence: number;
  store(): void;
  refuse(): void;
}

/** Counts of the writer since the start. */
export interface SpanWriterStats {
  readonly commits: number;
  readonly groups: number;
  readonly spans: number;
  readonly waitingRows: number;
  readonly refusedSpans: number;
  readonly resourcesDropped: number;
  readonly sequence: number;
}

/** Stores batches of spans; see the file's head. */
export class SpanWriter {
  readonly #connection: DuckDBConnection;
  readonly #files: DayFiles;
  readonly #resources: ResourceBook;
  readonly #clock: Clock;
  /** Values of columns that this writer writes in all rows. */
  readonly #constants: ReadonlyMap<string, string>;
  readonly #onStored: SpanWriterOptions["onStored"];
  readonly #onError: SpanWriterOptions["onError"];
  /** Batches of the group that broke the instance. */
  #unsettled: WaitingBatch[] = [];
  readonly #source = new ChunkSource(spanColumns());
  #waiting: WaitingBatch[] = [];
  #waitingRows = 0;
  #waitingBytes = 0;
  #sequence: number;
  #lastGroupRows = 0;
  #working: Promise<void> | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  /** Ends when the last group stored so far is answered. */
  #answering: Promise<void> = Promise.resolve();
  #endLinger: (() => void) | undefined;
  /** Waiting rows that end the lingering. */
  #lingersFor = 0;
  #closed = false;
  readonly #waitingBytesMax: number;
  readonly #staged: StagedSource<StagedBatch>;
  #counts = { commits: 0, groups: 0, spans: 0, refusedSpans: 0 };

  constructor(options: SpanWriterOptions) {
    const { identity } = options;
    this.#connection = options.connection;
    this.#files = options.files;
    this.#resources = options.resources;
    this.#clock = options.clock;
    this.#onStored = options.onStored;
    this.#onError = options.onError;
    this.#sequence = options.lastSequence;
    this.#waitingBytesMax = options.waitingBytesMax;
    this.#constants = new Map([
      ["tenant", TENANT],
      ["host_id", String(identity.hostId)],
      ["boot_id", identity.bootId],
    ]);
    this.#staged = registerStagedSource(options.connection, STAGED_FUNCTION, STAGED_COLUMNS, this.#source);
  }

  get stats(): SpanWriterStats {
    return {
      ...this.#counts,
      resourcesDropped: this.#resources.dropped,
      waitingRows: this.#waitingRows,
      sequence: this.#sequence,
    };
  }

  /** Queues a batch; resolves after its commit. */
  commit(batch: SpanBatch): Promise<CommitReceipt> {
    if (this.#closed) return this.#refuse(batch, "it is stopping");
    if (this.#waitingRows > 0 && this.#waitingRows + batch.rows > WAITING_ROWS_MAX) {
      return this.#refuse(batch, `${this.#waitingRows} spans wait to be stored, the limit is ${WAITING_ROWS_MAX}`);
    }
    if (this.#waitingBytes > this.#waitingBytesMax) {
      const why = `${this.#waitingBytes} bytes wait to be stored, the limit is ${this.#waitingBytesMax}`;
      return this.#refuse(batch, why);
    }
    return new Promise((resolve, reject) => {
      const staged = stageBatch(batch, this.#sequence + 1);
      this.#sequence++;
      this.#waiting.push({ staged, resolve, reject });
      this.#waitingRows += batch.rows;
      this.#waitingBytes += staged.bytes;
      if (this.#waitingRows >= this.#lingersFor) this.#endLinger?.();
      this.#working ??= this.#work();
    });
  }

  /** Runs work on the writer's connection between two groups. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch((error: unknown) => this.#onError(error));
    return turn;
  }

  /** Stores what waits, then refuses. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endLinger?.();
    while (this.#working !== undefined) await this.#working;
    await this.#turn;
    await this.#answering;
    for (const batch of this.#unsettled.splice(0)) this.#rejectBatch(batch, new Error("its commit failed"));
  }

  /** Refuses what waits, since the instance is of no use; gives what it is not known of whether it was stored. */
  async abandon(): Promise<UnsettledBatch[]> {
    this.#closed = true;
    this.#endLinger?.();
    for (const batch of this.#waiting.splice(0)) this.#rejectBatch(batch, new Error("its files are opened again"));
    this.#waitingRows = 0;
    this.#waitingBytes = 0;
    while (this.#working !== undefined) await this.#working;
    await this.#turn;
    await this.#answering;
    return this.#unsettled.splice(0).map((batch) => ({
      ledger: "ledger",
      sequence: batch.staged.sequence,
      store: () => this.#resolveBatch(batch),
      refuse: () => this.#rejectBatch(batch, new Error("its commit failed")),
    }));
  }

  #refuse(batch: SpanBatch, why: string): Promise<never> {
    this.#counts.refusedSpans += batch.rows;
    return Promise.reject(new ThalwegError("store_unavailable", { why }));
  }

  async #work(): Promise<void> {
    for (let groups = 0; this.#waiting.length > 0; groups++) {
      // Whoever sends one batch after the other waits for nobody: company is hoped for only where there was some.
      const lingers = groups > 0 && this.#lastGroupRows >= BUSY_GROUP_ROWS;
      await this.exclusively(() => this.#storeNext(lingers));
    }
    this.#working = undefined;
  }

  /** Stores what waits; with `lingers`, as one group with what comes in a moment. */
  async #storeNext(lingers: boolean): Promise<void> {
    const untilMs = performance.now() + (lingers ? LINGER_MS : 0);
    const group = this.#takeBatches(GROUP_ROWS_MAX);
    let rows = rowsOf(group);
    const more: MoreBatches = async (file) => {
      if (rows <= ROW_GROUP_ROWS) await this.#linger(ROW_GROUP_ROWS + 1 - rows, untilMs);
      const part = this.#takeBatches(GROUP_ROWS_MAX - rows, (staged) => this.#fits(file, [staged]));
      group.push(...part);
      rows += rowsOf(part);
      return part;
    };
    await this.#storeGroup(group, more);
    this.#lastGroupRows = rows;
  }

  /** Waits until `enough` rows came, until nothing comes, or until `untilMs`. */
  async #linger(enough: number, untilMs: number): Promise<void> {
    for (let before = -1; before < this.#waitingRows && this.#waitingRows < enough && !this.#closed; ) {
      const leftMs = Math.min(QUIET_MS, untilMs - performance.now());
      if (leftMs <= 0) return;
      before = this.#waitingRows;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#endLinger = () => {
          clearTimeout(timer);
          resolve();
        };
        this.#lingersFor = enough;
      });
      // Where the loop was held, the timer is due before it is seen what came in the meantime.
      if (this.#waitingRows === before) await nextTurn();
      this.#endLinger = undefined;
    }
  }

  /**
   * Takes the batches that come next and have at most `rowsMax` rows, as far as `isTaken` holds; of a group that has none
   * yet, one of any size.
   */
  #takeBatches(rowsMax: number, isTaken: (staged: StagedBatch) => boolean = () => true): WaitingBatch[] {
    let rows = 0;
    let batches = 0;
    const isFirst = rowsMax === GROUP_ROWS_MAX;
    for (const { staged } of this.#waiting) {
      if ((!(isFirst && batches === 0) && rows + staged.batch.rows > rowsMax) || !isTaken(staged)) break;
      rows += staged.batch.rows;
      this.#waitingBytes -= staged.bytes;
      batches++;
    }
    this.#waitingRows -= rows;
    return this.#waiting.splice(0, batches);
  }

  /**
   * Stores a group and what `more` adds to it; where that fails for more than one batch, each is tried alone, so that one
   * bad batch refuses only itself.
   */
  async #storeGroup(group: readonly WaitingBatch[], more: MoreBatches): Promise<void> {
    try {
      await this.#insertGroup(group, more);
    } catch (error) {
      if (isInvalidated(error)) {
        this.#unsettled.push(...group);
        this.#onError(error);
      } else if (group.length > 1 && !isDiskTrouble(error)) {
        for (const batch of group) await this.#storeGroup([batch], nothingMore);
      } else {
        for (const batch of group) this.#rejectBatch(batch, error);
      }
      return;
    }
    this.#counts.groups++;
    this.#answering = this.#answering.then(() => this.#answer(group));
  }

  /** Resolves the batches of a group in order, in several turns of the loop: whoever waits has work to do on each. */
  async #answer(group: readonly WaitingBatch[]): Promise<void> {
    let rows = 0;
    for (const batch of group) {
      if (rows >= ANSWERED_ROWS_A_TURN) {
        await nextTurn();
        rows = 0;
      }
      rows += batch.staged.batch.rows;
      this.#resolveBatch(batch);
    }
  }

  #resolveBatch({ staged, resolve }: WaitingBatch): void {
    this.#counts.commits++;
    this.#counts.spans += staged.batch.rows;
    unstage(staged);
    resolve({ spans: staged.batch.rows, sequence: staged.sequence });
  }

  #rejectBatch({ staged, reject }: WaitingBatch, error: unknown): void {
    this.#counts.refusedSpans += staged.batch.rows;
    unstage(staged);
    reject(new ThalwegError("store_unavailable", { why: reasonOf(error) }, error));
  }

  /** One transaction. Rows are inserted while others of the group are still decoded: DuckDB and the program take turns else. */
  async #insertGroup(group: readonly WaitingBatch[], more: MoreBatches): Promise<void> {
    const nowUnixNano = this.#clock.nowUnixNano();
    const first = group[0]?.staged.sequence ?? this.#sequence;
    const file = await this.#files.fileOf(dayOf(Number(nowUnixNano / 1_000_000n)), nowUnixNano, first);
    await this.#widen(file, group);
    let resources: StagedResource[] = [];
    await inTransaction(this.#connection, async () => {
      let part: readonly WaitingBatch[] = [...group];
      while (part.length > 0) {
        await this.#files.assureRoom(file, bytesOf(group));
        await this.#insertRows(file, nowUnixNano, part);
        part = await more(file);
      }
      const staged = group.map((batch) => batch.staged);
      resources = await this.#resources.unknownIn(file, staged);
      await this.#resources.insert(file, resources);
      const ledger = staged.map(({ sequence, batch }) => `(${sequence}, ${nowUnixNano}, ${batch.rows})`);
      await this.#connection.run(`INSERT INTO ${file.alias}.ledger VALUES ${ledger.join(", ")}`);
    });
    this.#resources.committed(file, resources);
    this.#onStored(
      file,
      group.map(({ staged }) => staged),
    );
  }

  /** Gives the table the columns that these batches need; not within their transaction, so that readers know them first. */
  async #widen(file: DayFile, group: readonly WaitingBatch[]): Promise<void> {
    const batches = group.map(({ staged }) => staged);
    if (this.#fits(file, batches)) return;
    await this.#files.assureRoom(file, bytesOf(group));
    const statements = widening(file.alias, file.shape, (name) => this.#onlyValue(name, batches));
    await this.#files.widen(file, statements);
  }

  #fits({ shape }: DayFile, batches: readonly StagedBatch[]): boolean {
    return fits(shape, (name) => this.#onlyValue(name, batches));
  }

  #onlyValue(name: string, batches: readonly StagedBatch[]): OnlyValue {
    return this.#constants.get(name) ?? this.#staged.only(name, batches);
  }

  async #insertRows(file: DayFile, nowUnixNano: bigint, part: readonly WaitingBatch[]): Promise<void> {
    const columns = storedColumns(file.shape);
    const isConstant = ({ constant }: StoredColumn) => constant === true;
    const constants = columns.filter(isConstant);
    const values = new Map([...this.#constants, ["ingest_ns", String(nowUnixNano)]]);
    const literals = constants.map((column) => columnLiteral(column, values.get(column.name) ?? null));
    const staged = columns.filter((column) => !isConstant(column));
    this.#source.start(part.map(({ staged }) => staged));
    try {
      this.#staged.arm();
      await this.#connection.run(
        `INSERT INTO ${file.alias}.span (${[...constants, ...staged].map(({ name }) => name).join(", ")})
         SELECT ${literals.join(", ")}, ${this.#staged.selected(staged)} FROM ${STAGED_FUNCTION}()`,
      );
    } finally {
      this.#staged.disarm();
      this.#source.start([]);
    }
  }
}

function bytesOf(batches: readonly WaitingBatch[]): number {
  return batches.reduce((sum, { staged }) => sum + staged.bytes, 0);
}

function rowsOf(batches: readonly WaitingBatch[]): number {
  let rows = 0;
  for (const { staged } of batches) rows += staged.batch.rows;
  return rows;
}

async function nothingMore(): Promise<readonly WaitingBatch[]> {
  return [];
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? (error.message.split("\n")[0] ?? error.message) : String(error);
}
