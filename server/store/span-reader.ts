/** Reads stored spans by trace, and whole commits again after a crash. */

import type { DuckDBConnection, DuckDBMaterializedResult } from "@duckdb/node-api";
import type { SpanBatch } from "../model/span-batch.ts";
import { SpanBatchBuilder } from "../model/span-batch-builder.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { numberOf, readRows, textOf } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import { spanSelection } from "./late-columns.ts";
import {
  learnResources,
  READ_COLUMNS,
  type ResourcesById,
  type Row,
  readForReplay,
  readSpan,
  SHOWN_COLUMNS,
  sequenceOfRow,
} from "./span-rows.ts";
import type { TraceIndex } from "./trace-index.ts";

const TRACE_ID = /^[0-9a-f]{32}$/;
/** Rows read between two turns of the loop: some 5 ms. */
const ROWS_PER_TURN = 256;
/** Resources kept between traces. */
const RESOURCES_KEPT_MAX = 20_000;

/** Reads traces of all files; remembers resources, which are few. */
export class TraceReader {
  readonly #index: TraceIndex;
  #resources: ResourcesById = new Map();

  constructor(index: TraceIndex) {
    this.#index = index;
  }

  /**
   * Spans of one trace in order of start.
   *
   * @param spansMax The earliest so many are given.
   */
  async read(
    connection: DuckDBConnection,
    files: readonly DayFile[],
    traceId: string,
    spansMax: number,
  ): Promise<StoredSpan[]> {
    if (!TRACE_ID.test(traceId)) return [];
    if (this.#resources.size > RESOURCES_KEPT_MAX) this.#resources = new Map();
    const result = await this.#resultOf(connection, files, traceId, spansMax);
    if (result === undefined) return [];
    const spans: StoredSpan[] = [];
    // Chunk by chunk, so that rows of a large trace are in memory once only, and with turns for other work.
    for (let index = 0; index < result.chunkCount; index++) {
      const chunk = result.getChunk(index);
      for (let from = 0; from < chunk.rowCount; from += ROWS_PER_TURN) {
        const rows: Row[] = [];
        for (let at = from; at < Math.min(from + ROWS_PER_TURN, chunk.rowCount); at++)
          rows.push(chunk.getRowValues(at));
        for (const [alias, own] of byFile(rows)) {
          await learnResources(connection, alias, own, this.#resources);
          for (const row of own) spans.push(readSpan(row, traceId, this.#resources));
        }
        if (spans.length >= ROWS_PER_TURN) await turn();
      }
    }
    spans.sort((a, b) => (a.startNs < b.startNs ? -1 : a.startNs > b.startNs ? 1 : 0));
    return spans;
  }

  /** Sorting in DuckDB is dear for the few rows of a common trace: only one with too many spans is sorted there. */
  async #resultOf(
    connection: DuckDBConnection,
    files: readonly DayFile[],
    traceId: string,
    spansMax: number,
  ): Promise<DuckDBMaterializedResult | undefined> {
    const ranges = await this.#index.rangesOf(connection, files, traceId);
    if (ranges.length === 0) return undefined;
    const lists = new Map(files.map(({ alias, shape }) => [alias, spanSelection(shape, SHOWN_COLUMNS)]));
    const select = ranges
      .map(
        ({ alias, first, last }) => `SELECT ${lists.get(alias)}, '${alias}' AS file FROM ${alias}.span
          WHERE trace_id = UUID '${traceId}' AND commit_sequence BETWEEN ${first} AND ${last}`,
      )
      .join(" UNION ALL ");
    const most = Math.max(0, Math.trunc(spansMax));
    const result = await connection.run(`${select} LIMIT ${most + 1}`);
    if (result.rowCount <= most) return result;
    return connection.run(`FROM (${select}) ORDER BY start_ns, span_id LIMIT ${most}`);
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Rows by the file they came from, which stands in their last value. */
function byFile(rows: readonly Row[]): Map<string, Row[]> {
  const files = new Map<string, Row[]>();
  for (const row of rows) {
    const alias = textOf(row.at(-1));
    const own = files.get(alias);
    if (own === undefined) files.set(alias, [row]);
    else own.push(row);
  }
  return files;
}

/**
 * Gives the spans of every commit after `sequence` in order, one batch a commit.
 *
 * Holds one commit's rows at a time; `lookUps` is used while `connection` is in the middle of an answer. A commit whose rows were lost with a damaged file is left out.
 */
export async function replayCommits(
  connection: DuckDBConnection,
  lookUps: DuckDBConnection,
  files: readonly DayFile[],
  sequence: number,
  onBatch: (batch: SpanBatch, sequence: number) => void,
): Promise<void> {
  for (const run of await commitRuns(connection, files, sequence)) await replayRun(connection, lookUps, run, onBatch);
}

/** Neighbouring commits that lie in one file. */
interface CommitRun {
  readonly file: DayFile;
  readonly first: number;
  last: number;
}

/** A clock that stepped back over midnight makes commits alternate between two files. */
async function commitRuns(
  connection: DuckDBConnection,
  files: readonly DayFile[],
  sequence: number,
): Promise<CommitRun[]> {
  const commits: { file: DayFile; sequence: number }[] = [];
  for (const file of files) {
    const rows = await readRows(connection, `SELECT sequence FROM ${file.alias}.ledger WHERE sequence > ${sequence}`);
    for (const [value] of rows) commits.push({ file, sequence: numberOf(value) });
  }
  commits.sort((a, b) => a.sequence - b.sequence);
  const runs: CommitRun[] = [];
  for (const commit of commits) {
    const last = runs.at(-1);
    if (last?.file === commit.file) last.last = commit.sequence;
    else runs.push({ file: commit.file, first: commit.sequence, last: commit.sequence });
  }
  return runs;
}

async function replayRun(
  connection: DuckDBConnection,
  lookUps: DuckDBConnection,
  run: CommitRun,
  onBatch: (batch: SpanBatch, sequence: number) => void,
): Promise<void> {
  const condition = `commit_sequence BETWEEN ${run.first} AND ${run.last}`;
  const resources: ResourcesById = new Map();
  const result = await connection.stream(
    `SELECT ${spanSelection(run.file.shape, READ_COLUMNS)} FROM ${run.file.alias}.span WHERE ${condition}
     ORDER BY commit_sequence, rowid`,
  );
  const builder = new SpanBatchBuilder();
  let current = 0;
  for await (const chunk of result) {
    const rows = chunk.getRows();
    await learnResources(lookUps, run.file.alias, rows, resources);
    for (const row of rows) {
      const sequence = sequenceOfRow(row);
      if (current !== 0 && sequence !== current) onBatch(builder.seal(), current);
      current = sequence;
      const { span, resource, scope } = readForReplay(row, resources);
      builder.append({ ...span, resource: builder.addResource(resource), scope: builder.addScope(scope) });
    }
  }
  if (current !== 0) onBatch(builder.seal(), current);
}
