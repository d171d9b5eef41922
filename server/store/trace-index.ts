/**
 * Which commits hold a trace: blocks of trace ids, each sorted, so that zone maps lead to one row group a block.
 *
 * Invariants: the commits of a file up to its `indexed` stand in its blocks; the traces of later ones, about `BLOCK_SPANS`
 * spans at most, are known in memory, and after a start found by reading until they are. Rows lie in the order of commits, so a range of commits prunes too.
 * A file gets its last block once its day is over.
 */

import { type DuckDBConnection, DuckDBUUIDValue, type DuckDBValue } from "@duckdb/node-api";
import type { SpanBatch } from "../model/span-batch.ts";
import { numberOf, readRows, textOf } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import { RecentTraces } from "./recent-traces.ts";

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

/** A commit as the index takes it in. */
export interface StoredCommit {
  readonly sequence: number;
  readonly batch: Pick<SpanBatch, "rows" | "traceId">;
}

interface FileState {
  /** The last commit that a block holds; 0 for none. */
  indexed: number;
  /** The last commit of the file. */
  last: number;
  /** Spans of commits after `indexed`. */
  waitingSpans: number;
  /** Traces of commits after `indexed`. */
  readonly recent: RecentTraces;
  /** Commits after `indexed` up to here are not in `recent` yet: they came before the start. */
  readUpTo: number;
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
      const state = { ...emptyState(), indexed: indexed ?? 0, last: last ?? 0, waitingSpans: waitingSpans ?? 0 };
      this.#states.set(file, { ...state, readUpTo: state.last });
      if (file.day !== today) this.#startBlock(file);
      else this.#written = file;
      this.#building = this.#building.then(() => this.#readRecent(file)).catch(() => this.#fail());
    }
  }

  /** Takes in a group of commits; starts a block when enough came together, or when a day is over. */
  stored(file: DayFile, commits: readonly StoredCommit[]): void {
    const state = this.#stateOf(file);
    for (const { sequence, batch } of commits) {
      state.last = sequence;
      state.waitingSpans += batch.rows;
      state.recent.add(sequence, batch.traceId);
    }
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
      const tails = this.#tailsOf(files, traceId);
      for (const [alias, first, last] of await readRows(connection, select.join(" UNION ALL "))) {
        ranges.push({ alias: textOf(alias), first: numberOf(first), last: numberOf(last) });
      }
      return [...joined(ranges), ...tails];
    }
    return this.#tailsOf(files, traceId);
  }

  /** Resolves when no block is in work or due. */
  async settled(): Promise<void> {
    await this.#building;
  }

  /** Waits for the block in work; starts no other. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#building;
    this.#connection.disconnectSync();
  }

  #tailsOf(files: readonly DayFile[], traceId: string): CommitRange[] {
    return files.flatMap((file) => {
      const { indexed, last, recent, readUpTo } = this.#stateOf(file);
      if (last <= indexed) return [];
      const { alias } = file;
      const { sequences, missingFrom } = recent.find(
        BigInt(`0x${traceId.slice(0, 16)}`),
        BigInt(`0x${traceId.slice(16)}`),
      );
      const known = Math.max(indexed, readUpTo);
      const ranges = sequences
        .filter((sequence) => sequence > known && sequence < missingFrom)
        .sort((a, b) => a - b)
        .map((sequence) => ({ alias, first: sequence, last: sequence }));
      if (readUpTo > indexed) ranges.unshift({ alias, first: indexed + 1, last: readUpTo });
      const left = Math.max(missingFrom, known + 1);
      if (left <= last) ranges.push({ alias, first: left, last });
      return joined(ranges);
    });
  }

  /** Learns the traces of commits that no block holds, from before the start. */
  async #readRecent(file: DayFile): Promise<void> {
    const state = this.#stateOf(file);
    if (this.#closed || state.readUpTo <= state.indexed) return;
    const result = await this.#connection.stream(
      `SELECT commit_sequence, trace_id FROM ${file.alias}.span
       WHERE commit_sequence > ${state.indexed} AND commit_sequence <= ${state.readUpTo}`,
    );
    for await (const chunk of result) {
      const sequences = chunk.getColumnValues(0);
      const ids = chunk.getColumnValues(1).map(uuidHalves);
      for (const [row, sequence] of sequences.entries()) {
        state.recent.add(numberOf(sequence), BigUint64Array.from(ids[row] ?? [0n, 0n]));
      }
    }
    state.readUpTo = 0;
  }

  #fail(): void {
    this.#failures++;
  }

  #stateOf(file: DayFile): FileState {
    const known = this.#states.get(file);
    if (known !== undefined) return known;
    const state = emptyState();
    this.#states.set(file, state);
    return state;
  }

  #startBlock(file: DayFile): void {
    const state = this.#stateOf(file);
    if (state.last <= state.indexed) return;
    // Where it fails it is tried again once as many spans came again; until then they are found by reading.
    state.waitingSpans = 0;
    this.#building = this.#building.then(() => this.#build(file, state)).catch(() => this.#fail());
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
    state.recent.forget(last);
  }
}

function emptyState(): FileState {
  return { indexed: 0, last: 0, waitingSpans: 0, recent: new RecentTraces(), readUpTo: 0 };
}

function uuidHalves(value: DuckDBValue): [bigint, bigint] {
  if (!(value instanceof DuckDBUUIDValue)) return [0n, 0n];
  const id = value.toUint128();
  return [id >> 64n, BigInt.asUintN(64, id)];
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
