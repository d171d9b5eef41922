/** Names that are visible at a place of a statement. */

import { SAMPLES_COLUMNS, SQL_TABLES, type SqlTableColumn } from "../../model/sql-tables.ts";
import { SMALL_BYTES } from "./sql-functions.ts";

/** A column that a query gives: its name and how many bytes one value may take. */
export interface BoundColumn {
  readonly name: string;
  readonly bytes: number;
}

/** A table or sub-query in FROM. */
export interface BoundSource {
  /** Alias, or the table's name; lower case. */
  readonly name: string;
  /** Table of the store; undefined for sub-queries. */
  readonly table: string | undefined;
  readonly columns: readonly BoundColumn[];
}

/** What an expression may refer to; `outer` is the query around a sub-query. */
export interface Scope {
  readonly sources: readonly BoundSource[];
  /** Names that USING made one of several columns. */
  readonly merged: ReadonlySet<string>;
  /** Names given to the items of SELECT, with their bytes. */
  readonly aliases: ReadonlyMap<string, number>;
  readonly outer: Scope | undefined;
}

/** Where a column was found. */
export interface FoundColumn {
  readonly bytes: number;
  /** Set where exactly one table of the store gives it. */
  readonly table: string | undefined;
  /** Sources that have a column of that name, where it is not clear which one is meant. */
  readonly ambiguous: readonly string[];
}

/** Bytes that a stored text counts for: longer ones exist, but are bounded where they come in. */
const TEXT_BYTES = 2048;
const MAP_BYTES = 16_384;

/** Columns of a table of the store; undefined where there is no such table. */
export function storedColumns(table: string): readonly BoundColumn[] | undefined {
  if (!Object.hasOwn(SQL_TABLES, table)) return undefined;
  return SQL_TABLES[table]?.map(boundColumn);
}

/** Columns of `samples()`. */
export function samplesColumns(): readonly BoundColumn[] {
  return SAMPLES_COLUMNS.map(boundColumn);
}

function boundColumn({ name, type }: SqlTableColumn): BoundColumn {
  return { name, bytes: bytesOfType(type) };
}

function bytesOfType(type: string): number {
  if (type.startsWith("MAP") || type.endsWith("[]")) return MAP_BYTES;
  return type === "VARCHAR" ? TEXT_BYTES : SMALL_BYTES;
}

/** Finds a column by name, from the inside out. */
export function findColumn(scope: Scope, qualifier: string, name: string): FoundColumn | undefined {
  const column = name.toLowerCase();
  const source = qualifier.toLowerCase();
  for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
    const found = at.sources.flatMap((one) => {
      if (source !== "" && one.name !== source) return [];
      const match = one.columns.find((candidate) => candidate.name.toLowerCase() === column);
      return match === undefined ? [] : [{ bytes: match.bytes, table: one.table, source: one.name }];
    });
    if (found.length > 0) {
      const bytes = Math.max(at.aliases.get(column) ?? 0, ...found.map((one) => one.bytes));
      const named = source === "" ? at.aliases.get(column) : undefined;
      const unclear = found.length > 1 && named === undefined && !at.merged.has(column);
      const ambiguous = unclear ? found.map((one) => one.source) : [];
      return { bytes, table: found.length === 1 ? found[0]?.table : undefined, ambiguous };
    }
    const alias = source === "" ? at.aliases.get(column) : undefined;
    if (alias !== undefined) return { bytes: alias, table: undefined, ambiguous: [] };
  }
  return undefined;
}

/** Names to offer where one is unknown: those that share a part with it, else the first ones. */
export function similarColumns(scope: Scope, name: string): readonly string[] {
  const all = [...new Set(scope.sources.flatMap((source) => source.columns.map((column) => column.name)))];
  const wanted = name.toLowerCase();
  const near = all.filter(
    (one) => one.includes(wanted) || wanted.includes(one) || one.split("_")[0] === wanted.split("_")[0],
  );
  return (near.length > 0 ? near : all).slice(0, 12);
}
