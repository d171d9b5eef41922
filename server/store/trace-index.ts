/**
 * Which commits hold a trace: blocks of 32 bits of trace ids, each sorted, so that zone maps lead to one row group a block.
 *
 * Traces of one block with the same 32 bits share a row: it may name a commit too many, never one too few.
 * Invariants: the commits of a file up to its `indexed` stand in its blocks; the traces of those after its `forgotten`,
 * which is no later, are known in memory: all that no block holds, some `BLOCK_SPANS` spans at most, and those of the newest
 * blocks while there is room. After a start what no block holds is found by reading until it is known. Rows lie in the order
 * of commits, so a range of commits prunes too. A file gets its last block once its day is over.
 */

import { type DuckDBConnection, DuckDBUUIDValue, type DuckDBValue } from "@duckdb/node-api";
import type { SpanBatch } from "../model/span-batch.ts";
import { numberOf, readRows, textOf } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import { RecentTraces } from "./recent-traces.ts";

/** Spans of a block: reading as many trace ids takes 5 ms, and a block has enough traces for several row groups. */
const BLOCK_SPANS = 524_288;
/** Traces of a file's blocks are kept in memory while it knows so many: a query less for each trace asked for, for 6 MiB. */
const KNOWN_MAX = 262_144;
/** A trace spread over more ranges of one file is read from their common one. */
const RANGES_MAX = 8;

/**
 * 32 bits of `trace_id` in SQL: the first of it and the last, of which mostly some are random. A trace takes a seventh of
 * what it does by its whole id.
 */
const TRACE_KEY = `xor(CAST('0x' || left(CAST(trace_id AS VARCHAR), 8) AS UINTEGER),
  CAST('0x' || right(CAST(trace_id AS VARCHAR), 8) AS UINTEGER))`;

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
  /** The last commit that a block by whole ids holds, as versions before 5 made them; 0 for none. */
  readonly wholeIdsUpTo: number;
  /** The last commit that a block holds; 0 for none. */
  indexed: number;
  /** The last commit of the file. */
  last: number;
  /** Spans of commits after `indexed`. */
  waitingSpans: number;
  /** The last commit whose traces only a block knows; 0 for none. */
  forgotten: number;
  /** Blocks after `forgotten`, oldest first, by their last commits. */
  known: number[];
  /** Traces of commits after `forgotten`. */
  readonly recent: RecentTraces;
  /** Commits after `forgotten` up to here are not in `recent` yet: they came before the start. */
  readUpTo: number;
}

/** Builds and asks the index of all files. Building runs on a connection of its own, beside commits. */
export class TraceIndex {
  readonly #connection: DuckDBConnection;
  readonly #blockSpans: number;
  readonly #knownMax: number;
  readonly #states = new WeakMap<DayFile, FileState>();
  #written: DayFile | undefined;
  #building: Promise<void> = Promise.resolve();
  #failures = 0;
  #closed = false;

  /**
   * @param blockSpans Spans of a block, unless it is the last of its day.
   * @param knownMax Traces of commits up to which those of blocks are kept in memory.
   */
  constructor(connection: DuckDBConnection, blockSpans = BLOCK_SPANS, knownMax = KNOWN_MAX) {
    this.#connection = connection;
    this.#blockSpans = blockSpans;
    this.#knownMax = knownMax;
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
        `SELECT b.whole, b.indexed, coalesce(max(sequence), 0), coalesce(sum(spans) FILTER (sequence > b.indexed), 0)
         FROM (SELECT whole, greatest(whole, keyed) AS indexed
           FROM (SELECT coalesce(max(block), 0) AS whole FROM ${file.alias}.trace_index),
             (SELECT coalesce(max(block), 0) AS keyed FROM ${file.alias}.trace_key_index)) b
         LEFT JOIN ${file.alias}.ledger ON true GROUP BY b.whole, b.indexed`,
      );
      const [wholeIdsUpTo = 0, indexed = 0, last = 0, waitingSpans = 0] = (row ?? []).map(numberOf);
      const state = { ...emptyState(), wholeIdsUpTo, indexed, last, waitingSpans };
      this.#states.set(file, { ...state, forgotten: state.indexed, readUpTo: state.last });
      const isWritten = file.day === today;
      if (isWritten) this.#written = file;
      else this.#startBlock(file);
      this.#building = this.#building.then(() => this.#readRecent(file, isWritten)).catch(() => this.#fail());
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
    const indexed = files.filter((file) => this.#stateOf(file).forgotten > 0);
    if (indexed.length > 0) {
      const select = indexed.flatMap((file) => blockSelects(file.alias, this.#stateOf(file), traceId));
      // A block may be forgotten while this is asked: what it holds is found in memory before.
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
      const { forgotten, last, recent, readUpTo } = this.#stateOf(file);
      if (last <= forgotten) return [];
      const { alias } = file;
      const { sequences, missingFrom } = recent.find(
        BigInt(`0x${traceId.slice(0, 16)}`),
        BigInt(`0x${traceId.slice(16)}`),
      );
      const known = Math.max(forgotten, readUpTo);
      const ranges = sequences
        .filter((sequence) => sequence > known && sequence < missingFrom)
        .sort((a, b) => a - b)
        .map((sequence) => ({ alias, first: sequence, last: sequence }));
      if (readUpTo > forgotten) ranges.unshift({ alias, first: forgotten + 1, last: readUpTo });
      const left = Math.max(missingFrom, known + 1);
      if (left <= last) ranges.push({ alias, first: left, last });
      return joined(ranges);
    });
  }

  /** Learns the traces of commits from before the start that no block holds, and with `blocks` those of the newest blocks. */
  async #readRecent(file: DayFile, blocks: boolean): Promise<void> {
    const state = this.#stateOf(file);
    const upTo = state.readUpTo;
    const known = blocks ? await this.#newestBlocks(file) : [];
    const after = known[0]?.after ?? state.indexed;
    if (this.#closed || upTo <= after) return;
    const result = await this.#connection.stream(
      `SELECT DISTINCT commit_sequence, trace_id FROM ${file.alias}.span
       WHERE commit_sequence > ${after} AND commit_sequence <= ${upTo} ORDER BY commit_sequence`,
    );
    for await (const chunk of result) {
      const sequences = chunk.getColumnValues(0);
      const ids = chunk.getColumnValues(1).map(uuidHalves);
      for (const [row, sequence] of sequences.entries()) {
        state.recent.add(numberOf(sequence), BigUint64Array.from(ids[row] ?? [0n, 0n]));
      }
    }
    state.readUpTo = 0;
    state.forgotten = after;
    state.known = known.map(({ block }) => block);
  }

  /** The newest blocks of a file that are few enough to be known, oldest first, each with the block before it. */
  async #newestBlocks(file: DayFile): Promise<{ readonly block: number; readonly after: number }[]> {
    const rows = await readRows(
      this.#connection,
      `SELECT block, lag(block, 1, 0) OVER (ORDER BY block), sum(count(*)) OVER (ORDER BY block DESC)
       FROM (SELECT block FROM ${file.alias}.trace_index UNION ALL SELECT block FROM ${file.alias}.trace_key_index)
       GROUP BY block ORDER BY block`,
    );
    return rows
      .filter((row) => numberOf(row[2]) <= this.#knownMax / 2)
      .map(([block, after]) => ({ block: numberOf(block), after: numberOf(after) }));
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
      `INSERT INTO ${file.alias}.trace_key_index
       SELECT ${last}, ${TRACE_KEY} AS trace_key, min(first), max(last) FROM (
         SELECT trace_id, min(commit_sequence) AS first, max(commit_sequence) AS last FROM ${file.alias}.span
         WHERE commit_sequence > ${indexed} AND commit_sequence <= ${last} GROUP BY trace_id)
       GROUP BY trace_key ORDER BY trace_key`,
    );
    state.indexed = last;
    state.known.push(last);
    this.#forget(file, state);
  }

  /** Forgets traces that blocks hold: the oldest for want of room, and all that are of no more use or not all known. */
  #forget(file: DayFile, state: FileState): void {
    const { recent, known, indexed } = state;
    const isWhole = file === this.#written && state.readUpTo <= state.forgotten && recent.missingFrom > indexed;
    while (known.length > 0 && (!isWhole || recent.size > this.#knownMax)) {
      const upTo = known.shift();
      if (upTo === undefined) break;
      state.forgotten = upTo;
      recent.forget(upTo);
    }
  }
}

function emptyState(): FileState {
  return {
    wholeIdsUpTo: 0,
    indexed: 0,
    last: 0,
    waitingSpans: 0,
    forgotten: 0,
    known: [],
    recent: new RecentTraces(),
    readUpTo: 0,
  };
}

/** Statements that give what the blocks of a file up to `forgotten` say of a trace. */
function blockSelects(alias: string, { forgotten, wholeIdsUpTo }: FileState, traceId: string): string[] {
  const columns = `SELECT '${alias}', first_sequence, last_sequence`;
  const whole = `${columns} FROM ${alias}.trace_index WHERE trace_id = UUID '${traceId}' AND block <= ${forgotten}`;
  const keyed = `${columns} FROM ${alias}.trace_key_index
    WHERE trace_key = CAST(${keyOfTrace(traceId)} AS UINTEGER) AND block <= ${forgotten}`;
  return [...(wholeIdsUpTo > 0 ? [whole] : []), ...(forgotten > wholeIdsUpTo ? [keyed] : [])];
}

/** What `TRACE_KEY` makes of a trace id of 32 hex digits. */
function keyOfTrace(traceId: string): number {
  return (Number.parseInt(traceId.slice(0, 8), 16) ^ Number.parseInt(traceId.slice(-8), 16)) >>> 0;
}

function uuidHalves(value: DuckDBValue): [bigint, bigint] {
  if (!(value instanceof DuckDBUUIDValue)) return [0n, 0n];
  const id = value.toUint128();
  return [id >> 64n, BigInt.asUintN(64, id)];
}

/** Ranges of one file that are too many become fewer: those with the least between them become one. */
function joined(ranges: readonly CommitRange[]): CommitRange[] {
  const byAlias = new Map<string, CommitRange[]>();
  for (const range of ranges) byAlias.set(range.alias, [...(byAlias.get(range.alias) ?? []), range]);
  return [...byAlias.values()].flatMap((own) => {
    if (own.length <= RANGES_MAX) return own;
    own.sort((a, b) => a.first - b.first);
    const gapBefore = (at: number) => (own[at]?.first ?? 0) - (own[at - 1]?.last ?? 0);
    const starts = new Set(
      own
        .map((_, at) => at)
        .slice(1)
        .sort((a, b) => gapBefore(b) - gapBefore(a))
        .slice(0, RANGES_MAX - 1),
    );
    const merged: CommitRange[] = [];
    for (const [at, range] of own.entries()) {
      const before = merged.at(-1);
      if (before === undefined || starts.has(at)) merged.push(range);
      else merged[merged.length - 1] = { ...before, last: Math.max(before.last, range.last) };
    }
    return merged;
  });
}
