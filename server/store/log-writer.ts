/**
 * Group commit of log records into the day file of their arrival.
 *
 * Invariants: groups are stored between the groups of the span writer, on its connection; a batch is acknowledged after
 * the COMMIT that holds it, which DuckDB ends with an fsync; whoever is refused is told so, and nothing of its batch
 * stays. One batch is stored in parts, spans between them: one of more rows than a group. Its ledger row comes with the
 * last part, so where that fails the parts before it may stay, and come once more with the next attempt.
 */

import type { DuckDBConnection } from "@duckdb/node-api";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { LogBatch } from "../model/log-batch.ts";
import type { HostIdentity } from "../platform/host-identity.ts";
import { ChunkSource } from "./chunk-columns.ts";
import { inTransaction, isDiskTrouble, isInvalidated, sqlText } from "./database.ts";
import { type DayFiles, dayOf } from "./day-files.ts";
import type { ResourceBook } from "./resource-book.ts";
import { LOG_COLUMNS, STAGED_LOG_COLUMNS } from "./schema.ts";
import type { UnsettledBatch } from "./span-writer.ts";
import { logColumns, type StagedLogs, stageLogs } from "./staged-logs.ts";
import { registerStagedSource, type StagedSource } from "./staged-source.ts";
import { unstage } from "./staged-spans.ts";
import type { LogReceipt } from "./writer.ts";

/** Rows that may wait for a commit, the group in work not counted; beyond them the store refuses. */
const WAITING_ROWS_MAX = 131_072;
/** Rows of one group. */
const GROUP_ROWS_MAX = 65_536;
/** Rows of a part of a larger batch: what takes some tenths of a second. */
const PART_ROWS = 49_152;
const TENANT = "default";
const STAGED_FUNCTION = "staged_logs";

interface WaitingLogs {
  readonly staged: StagedLogs;
  readonly resolve: (receipt: LogReceipt) => void;
  readonly reject: (error: unknown) => void;
}

/** Rows of a batch, or of each of several. */
interface Part {
  readonly from: number;
  readonly to: number;
  /** Whether nothing comes after it. */
  readonly isLast: boolean;
}

const WHOLE: Part = { from: 0, to: Number.POSITIVE_INFINITY, isLast: true };

/** What a writer works with. */
export interface LogWriterOptions {
  /** That of the span writer. */
  readonly connection: DuckDBConnection;
  readonly files: DayFiles;
  readonly resources: ResourceBook;
  readonly clock: Clock;
  readonly identity: HostIdentity;
  /** The last sequence number given so far. */
  readonly lastSequence: number;
  /** Memory that waiting rows may hold. */
  readonly waitingBytesMax: number;
  /** Runs work on the connection between two groups of spans. */
  exclusively(work: () => Promise<void>): Promise<void>;
  /** The sequence number that the next commit of spans gets. */
  nextSpanSequence(): number;
  /** Told of every error of the connection. */
  readonly onError: (error: unknown) => void;
}

/** Stores batches of log records; see the file's head. */
export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #constants: string;
  readonly #source = new ChunkSource(logColumns());
  #waiting: WaitingLogs[] = [];
  #waitingRows = 0;
  #waitingBytes = 0;
  /** A batch of more rows than a group waits or is stored, in parts. */
  #hasLarge = false;
  #unsettled: WaitingLogs[] = [];
  #sequence: number;
  #working: Promise<void> | undefined;
  #closed = false;
  readonly #staged: StagedSource<StagedLogs>;

  constructor(options: LogWriterOptions) {
    const { identity } = options;
    this.#options = options;
    this.#sequence = options.lastSequence;
    this.#constants = `${sqlText(TENANT)}, CAST(${identity.hostId} AS UBIGINT), UUID ${sqlText(identity.bootId)}`;
    if (LOG_COLUMNS.length - STAGED_LOG_COLUMNS.length !== 4)
      throw new Error("store: constants and columns of log disagree");
    this.#staged = registerStagedSource(options.connection, STAGED_FUNCTION, STAGED_LOG_COLUMNS, this.#source);
  }

  /** Queues a batch; resolves after its commit. */
  commit(batch: LogBatch): Promise<LogReceipt> {
    if (this.#closed) return refuse("it is stopping");
    if (this.#waitingRows > 0 && this.#waitingRows + batch.rows > WAITING_ROWS_MAX) {
      return refuse(`${this.#waitingRows} log records wait to be stored, the limit is ${WAITING_ROWS_MAX}`);
    }
    const isLarge = batch.rows > GROUP_ROWS_MAX;
    if (isLarge && this.#hasLarge)
      return refuse(`more than ${GROUP_ROWS_MAX} log records of one request are being stored`);
    const { waitingBytesMax } = this.#options;
    if (this.#waitingBytes > waitingBytesMax) {
      return refuse(`${this.#waitingBytes} bytes wait to be stored, the limit is ${waitingBytesMax}`);
    }
    return new Promise((resolve, reject) => {
      const staged = stageLogs(batch, this.#sequence + 1, this.#options.clock.nowUnixNano());
      this.#sequence++;
      if (isLarge) this.#hasLarge = true;
      this.#waiting.push({ staged, resolve, reject });
      this.#waitingRows += batch.rows;
      this.#waitingBytes += staged.bytes;
      this.#working ??= this.#work();
    });
  }

  /** Stores what waits, then refuses. To be called before the span writer closes. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#working !== undefined) await this.#working;
    for (const batch of this.#unsettled.splice(0)) rejectBatch(batch, new Error("its commit failed"));
  }

  /** Refuses what waits, since the instance is of no use; gives what it is not known of whether it was stored. */
  async abandon(): Promise<UnsettledBatch[]> {
    this.#closed = true;
    for (const batch of this.#waiting.splice(0)) rejectBatch(batch, new Error("its files are opened again"));
    this.#waitingRows = 0;
    this.#waitingBytes = 0;
    while (this.#working !== undefined) await this.#working;
    return this.#unsettled.splice(0).map((batch) => ({
      ledger: "log_ledger",
      sequence: batch.staged.sequence,
      store: () => resolveBatch(batch),
      refuse: () => rejectBatch(batch, new Error("its commit failed")),
    }));
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup();
      const [first] = group;
      if (first !== undefined && first.staged.batch.rows > GROUP_ROWS_MAX) await this.#storeParts(first);
      else await this.#options.exclusively(() => this.#storeGroup(group));
    }
    this.#working = undefined;
  }

  /** Stores a batch that would keep spans waiting for long. */
  async #storeParts(batch: WaitingLogs): Promise<void> {
    const { rows } = batch.staged.batch;
    let isStored = true;
    for (let from = 0; isStored && from < rows; from += PART_ROWS) {
      const to = Math.min(rows, from + PART_ROWS);
      await this.#options.exclusively(async () => {
        isStored = await this.#tryStore([batch], { from, to, isLast: to === rows });
      });
    }
    this.#hasLarge = false;
    if (isStored) resolveBatch(batch);
  }

  #takeGroup(): WaitingLogs[] {
    let rows = 0;
    let batches = 0;
    for (const { staged } of this.#waiting) {
      if (batches > 0 && rows + staged.batch.rows > GROUP_ROWS_MAX) break;
      rows += staged.batch.rows;
      this.#waitingBytes -= staged.bytes;
      batches++;
    }
    this.#waitingRows -= rows;
    return this.#waiting.splice(0, batches);
  }

  /** Stores a group; where that fails for more than one batch, each is tried alone, so that one bad batch refuses only itself. */
  async #storeGroup(group: readonly WaitingLogs[]): Promise<void> {
    if (await this.#tryStore(group, WHOLE)) for (const batch of group) resolveBatch(batch);
  }

  /** @returns Whether it is stored; where not, whoever waits has an answer, or gets one once the files are open again. */
  async #tryStore(group: readonly WaitingLogs[], part: Part): Promise<boolean> {
    try {
      await this.#insertGroup(
        group.map(({ staged }) => staged),
        part,
      );
      return true;
    } catch (error) {
      if (isInvalidated(error)) {
        this.#unsettled.push(...group);
        this.#options.onError(error);
      } else if (group.length > 1 && !isDiskTrouble(error)) {
        for (const batch of group) await this.#storeGroup([batch]);
      } else {
        for (const batch of group) rejectBatch(batch, error);
      }
      return false;
    }
  }

  async #insertGroup(group: readonly StagedLogs[], { from, to, isLast }: Part): Promise<void> {
    const { connection, files, resources, clock, nextSpanSequence } = this.#options;
    const nowUnixNano = clock.nowUnixNano();
    const file = await files.fileOf(dayOf(Number(nowUnixNano / 1_000_000n)), nowUnixNano, nextSpanSequence());
    await files.assureRoom(
      file,
      group.reduce((sum, { bytes }) => sum + bytes, 0),
    );
    const unknown = await resources.unknownIn(file, group);
    this.#source.start(group, from, to);
    try {
      this.#staged.arm();
      await inTransaction(connection, async () => {
        await connection.run(
          `INSERT INTO ${file.alias}.log SELECT ${this.#constants}, ${nowUnixNano}, ${this.#staged.selected(STAGED_LOG_COLUMNS)} FROM ${STAGED_FUNCTION}()`,
        );
        await resources.insert(file, unknown);
        if (!isLast) return;
        const ledger = group.map(({ sequence, batch }) => `(${sequence}, ${nowUnixNano}, ${batch.rows})`);
        await connection.run(`INSERT INTO ${file.alias}.log_ledger VALUES ${ledger.join(", ")}`);
      });
    } finally {
      this.#staged.disarm();
      this.#source.start([]);
    }
    resources.committed(file, unknown);
  }
}

function refuse(why: string): Promise<never> {
  return Promise.reject(new ThalwegError("store_unavailable", { why }));
}

function resolveBatch({ staged, resolve }: WaitingLogs): void {
  unstage(staged);
  resolve({ records: staged.batch.rows, sequence: staged.sequence });
}

function rejectBatch({ staged, reject }: WaitingLogs, error: unknown): void {
  unstage(staged);
  const why = error instanceof Error ? (error.message.split("\n")[0] ?? error.message) : String(error);
  reject(new ThalwegError("store_unavailable", { why }, error));
}
