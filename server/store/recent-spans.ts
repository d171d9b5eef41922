/** The spans stored last, by what tells one from another: read at the start, so that a repeat is known over it. */

import { type DuckDBConnection, DuckDBUUIDValue } from "@duckdb/node-api";
import { SPAN_KINDS, SPAN_SOURCES } from "../model/span-batch.ts";
import { bigintOf, numberOf, readRows, textOf } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import { spanExpression } from "./late-columns.ts";
import type { RecentSpans } from "./writer.ts";

/** Commits looked at for the spans to read. */
const COMMITS_MAX = 10_000;

/** Spans of the last commits, at most about `spansMax`. */
export async function readRecentSpans(
  connection: DuckDBConnection,
  files: readonly DayFile[],
  spansMax: number,
): Promise<RecentSpans> {
  const columns = {
    traceId: [] as bigint[],
    spanId: [] as bigint[],
    kind: [] as number[],
    startNs: [] as bigint[],
    endNs: [] as bigint[],
    source: [] as number[],
  };
  let left = spansMax;
  for (const file of files.toReversed()) {
    const from = await firstCommit(connection, file, left);
    // A day begins before its first span comes.
    if (from === undefined) continue;
    const result = await connection.stream(
      `SELECT trace_id, span_id, kind, start_ns, start_ns + duration_ns, ${spanExpression(file.shape, "source")}
       FROM ${file.alias}.span
       WHERE commit_sequence >= ${from}`,
    );
    for await (const chunk of result) {
      for (const [trace, span, kind, start, end, source] of chunk.getRows()) {
        const id = trace instanceof DuckDBUUIDValue ? trace.toUint128() : 0n;
        columns.traceId.push(id >> 64n, BigInt.asUintN(64, id));
        columns.spanId.push(bigintOf(span));
        // A word that is none of the list stands for 0.
        columns.kind.push(Math.max(0, (SPAN_KINDS as readonly string[]).indexOf(textOf(kind))));
        columns.startNs.push(bigintOf(start));
        columns.endNs.push(bigintOf(end));
        columns.source.push((SPAN_SOURCES as readonly string[]).indexOf(textOf(source)));
        left--;
      }
    }
    if (left <= 0) break;
  }
  return {
    rows: columns.kind.length,
    traceId: BigUint64Array.from(columns.traceId),
    spanId: BigUint64Array.from(columns.spanId),
    kind: Uint8Array.from(columns.kind),
    startNs: BigInt64Array.from(columns.startNs),
    endNs: BigInt64Array.from(columns.endNs),
    source: Uint8Array.from(columns.source),
  };
}

/** The commit from which on the file holds about `spans` spans; undefined where there is none. */
async function firstCommit(connection: DuckDBConnection, file: DayFile, spans: number): Promise<number | undefined> {
  const rows = await readRows(
    connection,
    `SELECT sequence, spans FROM ${file.alias}.ledger ORDER BY sequence DESC LIMIT ${COMMITS_MAX}`,
  );
  let first: number | undefined;
  let sum = 0;
  for (const [sequence, count] of rows) {
    sum += numberOf(count);
    if (first !== undefined && sum > spans) break;
    first = numberOf(sequence);
  }
  return first;
}
