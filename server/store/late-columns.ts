/**
 * Columns of `span` that a day file has only from the first commit on that needs them.
 *
 * Most files hold one value, or none, in many columns: those of captured spans where all come by OTLP, host and boot where
 * none changes. To append, analyse and pack such a column costs each span as much as a short text. So a file begins
 * without its late columns, and `span_constant` tells the one value of those that have one. Before a commit with another
 * value its column is added, with the value so far in the rows before. Invariants: the columns are there before the
 * rows that need them are committed, so whoever names a commit that is stored knows its columns; a column that was added stays.
 */

import type { DuckDBConnection } from "@duckdb/node-api";
import { readRows, sqlText, textOf } from "./database.ts";
import { SPAN_COLUMNS, type StoredColumn } from "./schema.ts";

/** The value that all rows have in a column, as text: null where they have none, undefined where there are several. */
export type OnlyValue = string | null | undefined;

/** Which columns the `span` of one file has. */
export interface SpanShape {
  /** Whether a commit has told what the lacked columns hold; before, the file has no rows. */
  readonly begun: boolean;
  /** By name of a column that the table lacks the value of it in all rows; null where they have none. */
  readonly lacked: ReadonlyMap<string, string | null>;
}

/** Of a file that nothing was read of. */
export const NO_SHAPE: SpanShape = { begun: false, lacked: new Map() };

const COLUMNS_BY_NAME = new Map(SPAN_COLUMNS.map((column) => [column.name, column]));

/** Reads the shape of the file attached as `alias`. */
export async function readShape(connection: DuckDBConnection, alias: string): Promise<SpanShape> {
  const columns = await readRows(
    connection,
    `SELECT column_name FROM duckdb_columns() WHERE database_name = ${sqlText(alias)} AND table_name = 'span'`,
  );
  const present = new Set(columns.map(([name]) => textOf(name)));
  const constants = await readRows(connection, `SELECT name, value FROM ${alias}.span_constant`);
  const values = new Map(constants.map(([name, value]) => [textOf(name), textOf(value)]));
  const lacked = SPAN_COLUMNS.filter(({ name }) => !present.has(name));
  return {
    begun: values.size > 0,
    lacked: new Map(lacked.map(({ name }) => [name, values.get(name) ?? null])),
  };
}

/** SQL of a value of a column. */
export function columnLiteral({ type }: StoredColumn, value: string | null): string {
  return value === null ? `CAST(NULL AS ${type})` : `CAST(${sqlText(value)} AS ${type})`;
}

/** SQL that gives a column of `span` in a file of this shape. @param qualifier Of the table, with its dot. */
export function spanExpression({ lacked }: SpanShape, name: string, qualifier = ""): string {
  const value = lacked.get(name);
  return value === undefined ? `${qualifier}${name}` : columnLiteral(columnOf(name), value);
}

/** A select list that gives these columns under their names. */
export function spanSelection(shape: SpanShape, names: readonly string[]): string {
  return names.map((name) => (shape.lacked.has(name) ? `${spanExpression(shape, name)} AS ${name}` : name)).join(", ");
}

/** The columns that the table has, in the order of `SPAN_COLUMNS`. */
export function storedColumns({ lacked }: SpanShape): StoredColumn[] {
  return SPAN_COLUMNS.filter(({ name }) => !lacked.has(name));
}

/** Whether rows with these values can be added as the table is. */
export function fits({ begun, lacked }: SpanShape, onlyValue: (name: string) => OnlyValue): boolean {
  if (lacked.size > 0 && !begun) return false;
  for (const [name, value] of lacked) if (onlyValue(name) !== value) return false;
  return true;
}

/** Statements after which rows with these values fit the table of the file attached as `alias`. */
export function widening(alias: string, shape: SpanShape, onlyValue: (name: string) => OnlyValue): string[] {
  const constants: string[] = [];
  const columns: string[] = [];
  for (const [name, value] of shape.lacked) {
    const only = onlyValue(name);
    if (only === value && (shape.begun || only === null)) continue;
    if (!shape.begun && typeof only === "string") constants.push(`(${sqlText(name)}, ${sqlText(only)})`);
    else columns.push(addColumn(alias, name, value));
  }
  if (constants.length === 0) return columns;
  return [`INSERT INTO ${alias}.span_constant VALUES ${constants.join(", ")}`, ...columns];
}

/** The statement that adds a column with a value for the rows that are there. */
export function addColumn(alias: string, name: string, value: string | null): string {
  const column = columnOf(name);
  const before = value === null ? "" : ` DEFAULT ${columnLiteral(column, value)}`;
  return `ALTER TABLE ${alias}.span ADD COLUMN IF NOT EXISTS ${name} ${column.type}${before}`;
}

function columnOf(name: string): StoredColumn {
  const column = COLUMNS_BY_NAME.get(name);
  if (column === undefined) throw new Error(`store: span has no column ${name}`);
  return column;
}
