/**
 * Writes the file of a day that is over anew, in row groups as large as DuckDB compresses best.
 *
 * A day is written in groups of a few ten thousand rows, so that they reach the disk once and at once; in large ones the
 * same rows take a fifth less. Invariants: the rows keep their order, on which ranges of commits rely; the new file
 * takes the place of the old one only where it holds the very same rows; until then it is unfinished and removed at the
 * next start. One file is written at a time, part by part, with pauses, so that memory is bounded and others go first.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { DuckDBConnection } from "@duckdb/node-api";
import { fileBytes, freeBytes } from "../platform/files.ts";
import { numberOf, readRows } from "./database.ts";
import type { DayFile, DayFiles } from "./day-files.ts";
import { storedColumns } from "./late-columns.ts";
import { COMPACT_ROW_GROUP_ROWS, DAY_TABLES } from "./schema.ts";
import type { TraceIndex } from "./trace-index.ts";

/** Spans of a part: a whole number of row groups, so that each is written once. */
const PART_SPANS = 4 * COMPACT_ROW_GROUP_ROWS;
/** Left free on the disk beside the new file. */
const SPARE_BYTES = 128 * 1024 * 1024;
/** A part is followed by a pause as long as it took, at most so long. */
const PAUSE_MS_MAX = 5_000;
/** How long a file that was replaced can still be read by who has its name in hand. */
const REPLACED_MS = 1_000;
/** Name under which the unfinished file is attached. */
const REWRITE = "rewrite";

/** What a compaction works with. */
export interface CompactionDeps {
  /** Used by nobody else. */
  readonly connection: DuckDBConnection;
  readonly files: DayFiles;
  readonly index: TraceIndex;
  /** Runs work while nothing is written. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
}

/** Compacts one file after the other. */
export class Compaction {
  readonly #deps: CompactionDeps;
  #running: Promise<string | undefined> = Promise.resolve(undefined);
  readonly #stop = new AbortController();
  /** Days whose file could not be compacted: not tried again before the next start. */
  readonly #failed = new Set<string>();

  constructor(deps: CompactionDeps) {
    this.#deps = deps;
  }

  /**
   * Compacts the oldest file of a day before `today` that is not compact, where the disk has room for it.
   *
   * @returns Its day; undefined where there is none.
   */
  next(today: string): Promise<string | undefined> {
    this.#running = this.#running.catch(() => undefined).then(() => this.#next(today));
    return this.#running;
  }

  /** Gives up on the file in work and lets go of the connection. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#deps.connection.interrupt();
    await this.#running.catch(() => undefined);
    this.#deps.connection.disconnectSync();
  }

  async #next(today: string): Promise<string | undefined> {
    const { files, index, exclusively } = this.#deps;
    const file = files.attached.find(({ day, compact }) => day < today && !compact && !this.#failed.has(day));
    if (file === undefined || this.#stop.signal.aborted) return undefined;
    if ((await freeBytes(file.path)) < (await fileBytes(file.path)) + SPARE_BYTES) return undefined;
    // The last block of a day is built once the day is over.
    await index.settled();
    const columns = storedColumns(file.shape);
    const spanList = columns.map(({ name }) => name).join(", ");
    await exclusively(() => files.beginRewrite(file, REWRITE, columns));
    try {
      for (const table of DAY_TABLES) await this.#copy(file, table, spanList);
      await this.#run(`CHECKPOINT ${REWRITE}`);
      for (const table of DAY_TABLES) await this.#compare(file, table, table === "span" ? spanList : "*");
    } catch (error) {
      await exclusively(() => files.abandonRewrite(file, REWRITE));
      if (this.#stop.signal.aborted) return undefined;
      this.#failed.add(file.day);
      throw error;
    }
    await exclusively(() => this.#replace(file));
    // Where the program stops in this moment, the next start removes the old file.
    await sleep(REPLACED_MS, undefined, { signal: this.#stop.signal });
    await exclusively(() => files.removeReplaced(file));
    return file.day;
  }

  async #replace(file: DayFile): Promise<void> {
    const { files, index } = this.#deps;
    for (const table of DAY_TABLES) {
      // Whatever came in the meantime would be lost: then the next attempt takes it along.
      if ((await this.#count(REWRITE, table)) === (await this.#count(file.alias, table))) continue;
      await files.abandonRewrite(file, REWRITE);
      throw new Error(`${table} of ${file.day} was written to while it was compacted`);
    }
    await files.finishRewrite(file, REWRITE, (compact) => index.resume([compact], ""));
  }

  async #copy(file: DayFile, table: string, spanList: string): Promise<void> {
    if (table !== "span") {
      await this.#run(`INSERT INTO ${REWRITE}.${table} SELECT * FROM ${file.alias}.${table}`);
      return;
    }
    for (const [first, last] of await this.#parts(file)) {
      const startMs = performance.now();
      await this.#run(
        `INSERT INTO ${REWRITE}.span SELECT ${spanList} FROM ${file.alias}.span
         WHERE commit_sequence >= ${first} AND commit_sequence <= ${last}`,
      );
      const pauseMs = Math.min(PAUSE_MS_MAX, performance.now() - startMs);
      await sleep(pauseMs, undefined, { signal: this.#stop.signal });
    }
  }

  /** Ranges of commits with about `PART_SPANS` spans each, which together hold all. */
  async #parts({ alias }: DayFile): Promise<[first: number, last: number][]> {
    const rows = await readRows(
      this.#deps.connection,
      `SELECT min(sequence), max(sequence) FROM (
         SELECT sequence, (sum(spans) OVER (ORDER BY sequence) - 1) // ${PART_SPANS} AS part FROM ${alias}.ledger)
       GROUP BY part ORDER BY part`,
    );
    return rows.map(([first, last]) => [numberOf(first), numberOf(last)]);
  }

  /** @throws Error where two tables do not hold the same rows. */
  async #compare(file: DayFile, table: string, columns: string): Promise<void> {
    const sums: string[] = [];
    for (const alias of [file.alias, REWRITE]) {
      const [row] = await readRows(
        this.#deps.connection,
        `SELECT count(*), sum(CAST(hash(t) AS HUGEINT)) FROM (SELECT ${columns} FROM ${alias}.${table}) t`,
      );
      this.#stop.signal.throwIfAborted();
      sums.push(String(row));
    }
    if (sums[0] !== sums[1]) throw new Error(`${table} of ${file.day} differs once it is compacted`);
  }

  async #count(alias: string, table: string): Promise<number> {
    const [row] = await readRows(this.#deps.connection, `SELECT count(*) FROM ${alias}.${table}`);
    return numberOf(row?.[0]);
  }

  async #run(statement: string): Promise<void> {
    this.#stop.signal.throwIfAborted();
    await this.#deps.connection.run(statement);
  }
}
