/** Reads the stored spans of single calls, for the service graph. */

import type { DuckDBConnection } from "@duckdb/node-api";
import { SpanBatchBuilder } from "../model/span-batch-builder.ts";
import { bigintOf, readRows, textOf } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import { NO_SHAPE, spanSelection } from "./late-columns.ts";
import {
  learnResources,
  READ_COLUMNS,
  type ResourcesById,
  type Row,
  readForReplay,
  sequenceOfRow,
} from "./span-rows.ts";
import type { TraceIndex } from "./trace-index.ts";
import type { CallKey, StoredCalls } from "./writer.ts";

const TRACE_ID = /^[0-9a-f]{32}$/;
const SPAN_ID = /^[0-9a-f]{16}$/;

/** What is read from. */
export interface CallSource {
  readonly connection: DuckDBConnection;
  readonly files: readonly DayFile[];
  readonly index: TraceIndex;
}

/** Spans that are the client's side of one of the calls, or have it as their parent; at most `spansMax`. */
export async function readCalls(source: CallSource, calls: readonly CallKey[], spansMax: number): Promise<StoredCalls> {
  const rows = await rowsOf(source, calls, spansMax);
  const resources: ResourcesById = new Map();
  for (const alias of new Set(rows.map((row) => textOf(row.at(-1))))) {
    const own = rows.filter((row) => textOf(row.at(-1)) === alias);
    await learnResources(source.connection, alias, own, resources);
  }
  const builder = new SpanBatchBuilder();
  const sequences = new Float64Array(rows.length);
  const arrivedMs = new Float64Array(rows.length);
  for (const [at, row] of rows.entries()) {
    const { span, resource, scope } = readForReplay(row, resources);
    builder.append({ ...span, resource: builder.addResource(resource), scope: builder.addScope(scope) });
    sequences[at] = sequenceOfRow(row);
    arrivedMs[at] = Number(bigintOf(row.at(-2)) / 1_000_000n);
  }
  return { batch: builder.seal(), sequences, arrivedMs };
}

async function rowsOf(
  { connection, files, index }: CallSource,
  calls: readonly CallKey[],
  spansMax: number,
): Promise<readonly Row[]> {
  const selects: string[] = [];
  const byAlias = new Map(files.map((file) => [file.alias, file]));
  const different = new Map(calls.map((call) => [`${call.traceId}${call.spanId}`, call]));
  for (const { traceId, spanId } of different.values()) {
    if (!TRACE_ID.test(traceId) || !SPAN_ID.test(spanId)) continue;
    const id = `CAST(${BigInt(`0x${spanId}`)} AS UBIGINT)`;
    for (const { alias, first, last } of await index.rangesOf(connection, files, traceId)) {
      const shape = byAlias.get(alias)?.shape ?? NO_SHAPE;
      selects.push(`SELECT ${spanSelection(shape, READ_COLUMNS)}, ingest_ns, '${alias}' AS file FROM ${alias}.span
        WHERE trace_id = UUID '${traceId}' AND commit_sequence BETWEEN ${first} AND ${last}
          AND (span_id = ${id} OR parent_span_id = ${id})`);
    }
  }
  if (selects.length === 0) return [];
  return readRows(connection, `FROM (${selects.join(" UNION ALL ")}) LIMIT ${Math.max(0, Math.trunc(spansMax))}`);
}
