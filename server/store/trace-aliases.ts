/**
 * Traces that are one under several ids: union-find over the pairs of `trace_alias`, in memory.
 *
 * Invariant: following `#above` from any id ends at the root of its set, and the members of a set stand at its root.
 */

import type { DuckDBConnection } from "@duckdb/node-api";
import { traceIdToHex } from "../model/hex.ts";
import { readRows, textOf } from "./database.ts";
import type { DayFile } from "./day-files.ts";
import type { TraceAlias } from "./writer.ts";

/** Ids that are known; later pairs are stored, and known after a start that reads fewer. */
const IDS_MAX = 200_000;
/** Traces of one set; more are not joined to it. */
const MEMBERS_MAX = 64;
const PAIRS_PER_INSERT = 256;

/** Sets of trace ids in 32 hex digits. */
export class TraceAliases {
  readonly #above = new Map<string, string>();
  readonly #members = new Map<string, readonly string[]>();

  /** Reads the pairs of all files, those of the newest first. */
  async load(connection: DuckDBConnection, files: readonly DayFile[]): Promise<void> {
    for (const { alias } of files.toReversed()) {
      const rows = await readRows(
        connection,
        `SELECT replace(CAST(trace_id AS VARCHAR), '-', ''), replace(CAST(alias_of AS VARCHAR), '-', '')
         FROM ${alias}.trace_alias LIMIT ${IDS_MAX}`,
      );
      for (const [trace, of] of rows) this.join(textOf(trace), textOf(of));
    }
  }

  /** Joins two sets; the second's root stays one. */
  join(alias: string, trace: string): void {
    const root = this.#rootOf(trace);
    const other = this.#rootOf(alias);
    const members = [...this.membersOf(root), ...this.membersOf(other)];
    if (root === other || members.length > MEMBERS_MAX || this.#above.size >= IDS_MAX) return;
    this.#above.set(other, root);
    this.#members.delete(other);
    this.#members.set(root, members);
  }

  /** All ids of a trace, the one that stays first; of a trace with one id that alone. */
  membersOf(trace: string): readonly string[] {
    const root = this.#rootOf(trace);
    return this.#members.get(root) ?? [root];
  }

  #rootOf(trace: string): string {
    let root = trace;
    for (let next = this.#above.get(root); next !== undefined; next = this.#above.get(root)) root = next;
    // Halving paths keeps the next walk short.
    for (let at = trace; at !== root; ) {
      const next = this.#above.get(at) ?? root;
      if (next !== root) this.#above.set(at, root);
      at = next;
    }
    return root;
  }
}

/** Adds pairs to a file; run it in a transaction. */
export async function insertAliases(
  connection: DuckDBConnection,
  file: DayFile,
  aliases: readonly TraceAlias[],
): Promise<void> {
  for (let from = 0; from < aliases.length; from += PAIRS_PER_INSERT) {
    const rows = aliases.slice(from, from + PAIRS_PER_INSERT).map(({ alias, trace }) => {
      return `(UUID '${traceIdToHex(...alias)}', UUID '${traceIdToHex(...trace)}')`;
    });
    await connection.run(`INSERT INTO ${file.alias}.trace_alias VALUES ${rows.join(", ")}`);
  }
}
