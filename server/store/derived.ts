/** Snapshots of derived state and the edge rows that belong to them. */

import { DuckDBBlobValue, type DuckDBConnection, type DuckDBValue } from "@duckdb/node-api";
import { inTransaction, numberOf, readRows } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import { insertAliases } from "./trace-aliases.ts";
import type { DerivedRows, DerivedSnapshot, EdgeMinute } from "./writer.ts";

const EDGES_PER_INSERT = 128;

/** Replaces the snapshot of `file` and adds rows, in one transaction. */
export async function saveSnapshot(
  connection: DuckDBConnection,
  file: DayFile,
  snapshot: DerivedSnapshot,
  { edges, aliases }: DerivedRows,
): Promise<void> {
  await inTransaction(connection, async () => {
    // A deleted row would be written to the file once more at the next checkpoint; a replaced table is just gone.
    await connection.run(
      `CREATE OR REPLACE TABLE ${file.alias}.derived AS SELECT CAST($1 AS UBIGINT) AS sequence, $2 AS state`,
      [BigInt(snapshot.sequence), new DuckDBBlobValue(snapshot.state)],
    );
    if (edges.length > 0) await insertEdges(connection, file, edges);
    await insertAliases(connection, file, aliases);
  });
}

/** The snapshot with the highest sequence of all files; each file holds the last one of its own day. */
export async function loadSnapshot(
  connection: DuckDBConnection,
  files: readonly DayFile[],
): Promise<DerivedSnapshot | undefined> {
  let latest: DerivedSnapshot | undefined;
  for (const { alias } of files) {
    const [row] = await readRows(
      connection,
      `SELECT sequence, state FROM ${alias}.derived ORDER BY sequence DESC LIMIT 1`,
    );
    if (row === undefined) continue;
    const sequence = numberOf(row[0]);
    if (latest !== undefined && latest.sequence > sequence) continue;
    if (row[1] instanceof DuckDBBlobValue) latest = { sequence, state: new Uint8Array(row[1].bytes) };
  }
  return latest;
}

/** Numbers stand in the text, names and lists as parameters: a name may hold anything, and a list is long. */
async function insertEdges(connection: DuckDBConnection, file: DayFile, edges: readonly EdgeMinute[]): Promise<void> {
  for (let from = 0; from < edges.length; from += EDGES_PER_INSERT) {
    const part = edges.slice(from, from + EDGES_PER_INSERT);
    const values: DuckDBValue[] = [];
    const place = (value: string) => `$${values.push(value)}`;
    const rows = part.map((edge) => {
      const names = [edge.client, edge.server, edge.connectionType].map(place);
      const lists = [edge.serverBuckets, edge.clientBuckets].flatMap((buckets) => [
        `CAST(${place(listOf(buckets, 0))} AS INTEGER[])`,
        `CAST(${place(listOf(buckets, 1))} AS BIGINT[])`,
      ]);
      return `(${whole(edge.bucketMs)}, ${names.join(", ")}, ${whole(edge.requests)}, ${whole(edge.errors)}, ${lists.join(", ")})`;
    });
    await connection.run(`INSERT INTO ${file.alias}.edge VALUES ${rows.join(", ")}`, values);
  }
}

/** Indices (0) or counts (1) as the text of a list: as numbers of the statement they take three times as long. */
function listOf(buckets: EdgeMinute["serverBuckets"], part: 0 | 1): string {
  return `[${buckets.map((bucket) => whole(bucket[part])).join(", ")}]`;
}

function whole(value: number): string {
  if (!Number.isSafeInteger(value)) throw new RangeError(`store: an edge row holds ${value}, which is no whole number`);
  return String(value);
}
