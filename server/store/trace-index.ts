/**
 * Which commits hold a trace: blocks of trace ids, each sorted, so that zone maps lead to one row group a block.
 *
 * Invariants: the commits of a file up to its `indexed` stand in its blocks; later ones, about `BLOCK_SPANS` spans at
 * most, are searched by reading their trace ids. Rows lie in the order of commits, so a range of commits prunes too.
 * A file gets its last block once its day is over.
 */

import type { DuckDBConnection } from "@duckdb/node-api";
import { numberOf, readRows, textOf } from "./database.ts";
import type { DayFile } from "./day-files.ts";

/** Spans of a block: reading as many trace ids takes 5 ms, and a block has enough traces for several row groups. */
const BLOCK_SPANS = 524_288;
/** A trace spread over more ranges of one file is read from their common one. */
const RANGES_MAX = 8;

/** A range of commits of a file, both ends included. */
export interface CommitRange {
  readonly alias: string;
  readonly first: number;
  readonly last: number;
}

interface FileState {
  /** The last commit that a block holds; 0 for none. */
  indexed: number;
  /** The last commit of the file. */
  last: number;
  /** Spans of commits after `indexed`. */
  waitingSpans: number;
}

/** Builds and asks the index of all files. Building runs on a connection of its own, beside commits. */
export class TraceIndex {
  readonly #connection: DuckDBConnection;
  readonly #blockSpans: number;
  readonly #states = new WeakMap<DayFile, FileState>();
  #written: DayFile | undefined;
  #building: Promise<void> = Promise.resolve();
  #failures = 0;
  #closed = false;

  /** @param blockSpans Spans of a block, unless it is the last of its day. */
  constructor(connection: DuckDBConnection, blockSpans = BLOCK_SPANS) {
    this.#connection = connection;
    this.#blockSpans = blockSpans;
  }

  /** Blocks that could not be built; their spans are found by reading. */
  get failures(): number {
    return this.#failures;
  }

  /** Learns what files hold; days that are over get their last block in the background. */
  async resume(files: readonly DayFile[], today: string): Promise<void> {
    for (const file of files) {
      const [row] = await readRows(
        this.#connection,
        `SELECT b.indexed, coalesce(max(sequence), 0), coalesce(sum(spans) FILTER (sequence > b.indexed), 0)
         FROM (SELECT coalesce(max(block), 0) AS indexed FROM ${file.alias}.trace_index) b
         LEFT JOIN ${file.alias}.ledger ON true GROUP BY b.indexed`,
      );
      const [indexed, last, waitingSpans] = (row ?? [0, 0, 0]).map(numberOf);
      this.#states.set(file, { indexed: indexed ?? 0, last: last ?? 0, waitingSpans: waitingSpans ?? 0 });
      if (file.day !== today) this.#startBlock(file);
      else this.#written = file;
    }
  }

  /** Counts a group of commits; starts a block when enough came together, or when a day is over. */
  stored(file: DayFile, spans: number, sequence: number): void {
    const state = this.#stateOf(file);
    state.last = sequence;
    state.waitingSpans += spans;
    const before = this.#written;
    this.#written = file;
    if (before !== undefined && before !== file) this.#startBlock(before);
    if (state.waitingSpans >= this.#blockSpans) this.#startBlock(file);
  }

  /** Where spans of a trace may be: at most `RANGES_MAX` known ranges a file, and what is not indexed yet. */
  async rangesOf(connection: DuckDBConnection, files: readonly DayFile[], traceId: string): Promise<CommitRange[]> {
    const ranges: CommitRange[] = [];
    const indexed = files.filter((file) => this.#stateOf(file).indexed > 0);
    if (indexed.length > 0) {
      const select = indexed.map(
        (file) => `SELECT '${file.alias}', first_sequence, last_sequence FROM ${file.alias}.trace_index
          WHERE trace_id = UUID '${traceId}' AND block <= ${this.#stateOf(file).indexed}`,
      );
      // A block may be finished while this is asked: what it holds is read as not indexed.
      const tails = this.#tailsOf(files);
      for (const [alias, first, last] of await readRows(connection, select.join(" UNION ALL "))) {
        ranges.push({ alias: textOf(alias), first: numberOf(first), last: numberOf(last) });
      }
      return [...joined(ranges), ...tails];
    }
    return this.#tailsOf(files);
  }

  /** Waits for the block in work; starts no other. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#building;
    this.#connection.disconnectSync();
  }

  #tailsOf(files: readonly DayFile[]): CommitRange[] {
    return files.flatMap((file) => {
      const { indexed, last } = this.#stateOf(file);
      return last > indexed ? [{ alias: file.alias, first: indexed + 1, last }] : [];
    });
  }

  #stateOf(file: DayFile): FileState {
    const known = this.#states.get(file);
    if (known !== undefined) return known;
    const state = { indexed: 0, last: 0, waitingSpans: 0 };
    this.#states.set(file, state);
    return state;
  }

  #startBlock(file: DayFile): void {
    const state = this.#stateOf(file);
    if (state.last <= state.indexed) return;
    // Where it fails it is tried again once as many spans came again; until then they are found by reading.
    state.waitingSpans = 0;
    this.#building = this.#building
      .then(() => this.#build(file, state))
      .catch(() => {
        this.#failures++;
      });
  }

  async #build(file: DayFile, state: FileState): Promise<void> {
    const { indexed, last } = state;
    if (this.#closed || last <= indexed) return;
    await this.#connection.run(
      `INSERT INTO ${file.alias}.trace_index
       SELECT ${last}, trace_id, min(commit_sequence), max(commit_sequence) FROM ${file.alias}.span
       WHERE commit_sequence > ${indexed} AND commit_sequence <= ${last} GROUP BY trace_id ORDER BY trace_id`,
    );
    state.indexed = last;
  }
}

/** Ranges of one file that are too many become one. */
function joined(ranges: readonly CommitRange[]): CommitRange[] {
  const byAlias = new Map<string, CommitRange[]>();
  for (const range of ranges) byAlias.set(range.alias, [...(byAlias.get(range.alias) ?? []), range]);
  return [...byAlias].flatMap(([alias, own]) => {
    if (own.length <= RANGES_MAX) return own;
    return [
      { alias, first: Math.min(...own.map(({ first }) => first)), last: Math.max(...own.map(({ last }) => last)) },
    ];
  });
}
