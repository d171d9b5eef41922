/** Reads stored spans by trace, and whole commits again after a crash. */

import type { DuckDBConnection } from "@duckdb/node-api";
import type { SpanBatch } from "../model/span-batch.ts";
import { SpanBatchBuilder } from "../model/span-batch-builder.ts";
import { numberOf, readRows } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import type { StoredSpan } from "./reader.ts";
import { READ_LIST, readForReplay, readResources, readSpan, sequenceOfRow } from "./span-rows.ts";

const TRACE_ID = /^[0-9a-f]{32}$/;

/**
 * Spans of one trace in order of start.
 *
 * Reads the trace id column of every file; other columns only where it is found.
 *
 * @param spansMax The earliest so many of each file are read.
 */
export async function readTrace(
  connection: DuckDBConnection,
  files: readonly DayFile[],
  traceId: string,
  spansMax: number,
): Promise<StoredSpan[]> {
  if (!TRACE_ID.test(traceId)) return [];
  const spans: StoredSpan[] = [];
  for (const { alias } of files) {
    const condition = `trace_id = UUID '${traceId}'`;
    const rows = await readRows(
      connection,
      `SELECT ${READ_LIST} FROM ${alias}.span WHERE ${condition}
       ORDER BY start_ns, commit_sequence LIMIT ${Math.max(0, Math.trunc(spansMax))}`,
    );
    if (rows.length === 0) continue;
    const resources = await readResources(connection, alias, condition);
    for (const row of rows) spans.push(readSpan(row, resources));
  }
  spans.sort((a, b) => (a.startNs < b.startNs ? -1 : a.startNs > b.startNs ? 1 : 0));
  return spans.slice(0, spansMax);
}

/**
 * Gives the spans of every commit after `sequence` in order, one batch a commit.
 *
 * Holds one commit's rows at a time. A commit whose rows were lost with a damaged file is left out.
 */
export async function replayCommits(
  connection: DuckDBConnection,
  files: readonly DayFile[],
  sequence: number,
  onBatch: (batch: SpanBatch, sequence: number) => void,
): Promise<void> {
  for (const run of await commitRuns(connection, files, sequence)) await replayRun(connection, run, onBatch);
}

/** Neighbouring commits that lie in one file. */
interface CommitRun {
  readonly alias: string;
  readonly first: number;
  last: number;
}

/** A clock that stepped back over midnight makes commits alternate between two files. */
async function commitRuns(
  connection: DuckDBConnection,
  files: readonly DayFile[],
  sequence: number,
): Promise<CommitRun[]> {
  const commits: { alias: string; sequence: number }[] = [];
  for (const { alias } of files) {
    const rows = await readRows(connection, `SELECT sequence FROM ${alias}.ledger WHERE sequence > ${sequence}`);
    for (const [value] of rows) commits.push({ alias, sequence: numberOf(value) });
  }
  commits.sort((a, b) => a.sequence - b.sequence);
  const runs: CommitRun[] = [];
  for (const commit of commits) {
    const last = runs.at(-1);
    if (last?.alias === commit.alias) last.last = commit.sequence;
    else runs.push({ alias: commit.alias, first: commit.sequence, last: commit.sequence });
  }
  return runs;
}

async function replayRun(
  connection: DuckDBConnection,
  run: CommitRun,
  onBatch: (batch: SpanBatch, sequence: number) => void,
): Promise<void> {
  const condition = `commit_sequence BETWEEN ${run.first} AND ${run.last}`;
  const resources = await readResources(connection, run.alias, condition);
  const result = await connection.stream(
    `SELECT ${READ_LIST} FROM ${run.alias}.span WHERE ${condition}
     ORDER BY commit_sequence, rowid`,
  );
  const builder = new SpanBatchBuilder();
  let current = 0;
  for await (const chunk of result) {
    for (const row of chunk.getRows()) {
      const sequence = sequenceOfRow(row);
      if (current !== 0 && sequence !== current) onBatch(builder.seal(), current);
      current = sequence;
      const { span, resource, scope } = readForReplay(row, resources);
      builder.append({ ...span, resource: builder.addResource(resource), scope: builder.addScope(scope) });
    }
  }
  if (current !== 0) onBatch(builder.seal(), current);
}
