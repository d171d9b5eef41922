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

/** Numbers stand in the text, names as parameters: a name may hold anything. */
async function insertEdges(connection: DuckDBConnection, file: DayFile, edges: readonly EdgeMinute[]): Promise<void> {
  for (let from = 0; from < edges.length; from += EDGES_PER_INSERT) {
    const part = edges.slice(from, from + EDGES_PER_INSERT);
    const names: DuckDBValue[] = [];
    const rows = part.map((edge) => {
      names.push(edge.client, edge.server, edge.connectionType);
      const at = names.length;
      return `(${whole(edge.bucketMs)}, $${at - 2}, $${at - 1}, $${at}, ${whole(edge.requests)}, ${whole(edge.errors)},
        ${lists(edge.serverBuckets)}, ${lists(edge.clientBuckets)})`;
    });
    await connection.run(`INSERT INTO ${file.alias}.edge VALUES ${rows.join(", ")}`, names);
  }
}

function lists(buckets: EdgeMinute["serverBuckets"]): string {
  const indices = buckets.map(([index]) => whole(index)).join(", ");
  const counts = buckets.map(([, count]) => whole(count)).join(", ");
  return `CAST([${indices}] AS INTEGER[]), CAST([${counts}] AS BIGINT[])`;
}

function whole(value: number): string {
  if (!Number.isSafeInteger(value)) throw new RangeError(`store: an edge row holds ${value}, which is no whole number`);
  return String(value);
}
