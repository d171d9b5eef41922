/**
 * Layout of a day file. Only types that DuckDB, Parquet and DuckLake share; no keys, no sequences: rows are only added,
 * and what must not be counted twice is written once per transaction together with its ledger row.
 */

import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";

/** Version of the layout below; stands in `file_meta` of every file. */
export const SCHEMA_VERSION = 6;

/** Rows of a row group: a group commit larger than this goes to the file once, compressed, and not through the WAL. */
export const ROW_GROUP_ROWS = 8_192;

/** Rows of a row group in the file of a day that is over: what DuckDB makes by itself, and compresses best. */
export const COMPACT_ROW_GROUP_ROWS = 122_880;

/** A stored column; `nullable` where absence is NULL. */
export interface StoredColumn {
  readonly name: string;
  readonly type: string;
  /** The value is the same in all rows of a commit and stands in the INSERT as a literal. */
  readonly constant?: boolean;
  /** A file has it only from the first commit on that needs it: see `late-columns.ts`. */
  readonly late?: boolean;
}

/**
 * Columns of `span`. Files begun by versions before 6 have them all, those begun before 5 a column `tb` besides, which
 * nobody reads.
 */
export const SPAN_COLUMNS: readonly StoredColumn[] = [
  { name: "tenant", type: "VARCHAR", constant: true, late: true },
  { name: "host_id", type: "UBIGINT", constant: true, late: true },
  { name: "boot_id", type: "UUID", constant: true, late: true },
  { name: "ingest_ns", type: "BIGINT", constant: true },
  { name: "commit_sequence", type: "UBIGINT" },
  { name: "trace_id", type: "UUID" },
  { name: "span_id", type: "UBIGINT" },
  { name: "parent_span_id", type: "UBIGINT" },
  { name: "resource_id", type: "UBIGINT" },
  { name: "service", type: "VARCHAR" },
  { name: "instance", type: "VARCHAR" },
  { name: "scope_name", type: "VARCHAR" },
  { name: "scope_version", type: "VARCHAR" },
  { name: "name", type: "VARCHAR" },
  { name: "kind", type: "VARCHAR" },
  { name: "status", type: "VARCHAR" },
  { name: "status_message", type: "VARCHAR", late: true },
  { name: "start_ns", type: "BIGINT" },
  { name: "duration_ns", type: "BIGINT" },
  { name: "source", type: "VARCHAR", late: true },
  { name: "link_reason", type: "VARCHAR", late: true },
  { name: "protocol", type: "VARCHAR", late: true },
  { name: "client_addr", type: "VARCHAR", late: true },
  { name: "client_port", type: "USMALLINT", late: true },
  { name: "server_addr", type: "VARCHAR", late: true },
  { name: "server_port", type: "USMALLINT", late: true },
  { name: "pid", type: "UINTEGER", late: true },
  { name: "weight", type: "UINTEGER", late: true },
  { name: "duplicate_of", type: "UBIGINT", late: true },
  { name: "flags", type: "UINTEGER", late: true },
  { name: "trace_state", type: "VARCHAR", late: true },
  ...TYPED_ATTRIBUTES.map(({ column, kind }) => ({
    name: column,
    type: kind === "s" ? "VARCHAR" : "INTEGER",
    late: true,
  })),
  { name: "attributes", type: "MAP(VARCHAR, VARCHAR)" },
  { name: "attribute_kinds", type: "VARCHAR" },
  { name: "attribute_repeats", type: "VARCHAR", late: true },
  { name: "events", type: "BLOB", late: true },
  { name: "links", type: "BLOB", late: true },
  { name: "scope_rest", type: "VARCHAR", late: true },
];

/** Columns that the staged rows carry, in the order of the table function. */
export const STAGED_COLUMNS: readonly StoredColumn[] = SPAN_COLUMNS.filter((column) => column.constant !== true);

/** Columns of `log` in order. */
export const LOG_COLUMNS: readonly StoredColumn[] = [
  { name: "tenant", type: "VARCHAR", constant: true },
  { name: "host_id", type: "UBIGINT", constant: true },
  { name: "boot_id", type: "UUID", constant: true },
  { name: "ingest_ns", type: "BIGINT", constant: true },
  { name: "trace_id", type: "UUID" },
  { name: "span_id", type: "UBIGINT" },
  { name: "time_ns", type: "BIGINT" },
  { name: "observed_ns", type: "BIGINT" },
  { name: "severity_number", type: "UTINYINT" },
  { name: "severity_text", type: "VARCHAR" },
  { name: "body", type: "VARCHAR" },
  { name: "body_kind", type: "VARCHAR" },
  { name: "event_name", type: "VARCHAR" },
  { name: "flags", type: "UINTEGER" },
  { name: "dropped_attributes", type: "UINTEGER" },
  { name: "resource_id", type: "UBIGINT" },
  { name: "service", type: "VARCHAR" },
  { name: "instance", type: "VARCHAR" },
  { name: "scope_name", type: "VARCHAR" },
  { name: "scope_version", type: "VARCHAR" },
  { name: "scope_rest", type: "VARCHAR" },
  { name: "attributes", type: "MAP(VARCHAR, VARCHAR)" },
  { name: "attribute_kinds", type: "VARCHAR" },
];

/** Columns of `log` that the staged rows carry, in the order of their table function. */
export const STAGED_LOG_COLUMNS: readonly StoredColumn[] = LOG_COLUMNS.filter((column) => column.constant !== true);

/** All tables of a day file. */
export const DAY_TABLES = [
  "file_meta",
  "span",
  "span_constant",
  "resource",
  "ledger",
  "trace_index",
  "trace_key_index",
  "edge",
  "derived",
  "trace_alias",
  "log",
  "log_ledger",
] as const;

function listOf(columns: readonly StoredColumn[]): string {
  return columns.map(({ name, type }) => `${name} ${type}`).join(", ");
}

/**
 * Statements that lay out an empty day file attached as `alias`.
 *
 * @param firstSequence The first commit that may stand in the file: numbering goes on from it where all ledgers are lost.
 */
export function layOutDayFile(alias: string, createdNs: bigint, firstSequence: number): string[] {
  return [
    ...layOutTables(
      alias,
      SPAN_COLUMNS.filter(({ late }) => late !== true),
    ),
    `INSERT INTO ${alias}.file_meta VALUES (${SCHEMA_VERSION}, ${createdNs}, ${firstSequence})`,
  ];
}

/** Statements that make the tables of a day file, all empty, with these columns of `span`. */
export function layOutTables(alias: string, spanColumns: readonly StoredColumn[]): string[] {
  return [
    `CREATE TABLE ${alias}.file_meta (schema_version INTEGER, created_ns BIGINT, first_sequence UBIGINT)`,
    `CREATE TABLE ${alias}.span (${listOf(spanColumns)})`,
    constantTable(alias),
    `CREATE TABLE ${alias}.resource (resource_id UBIGINT, service VARCHAR, instance VARCHAR,
       attributes MAP(VARCHAR, VARCHAR), attribute_kinds VARCHAR, attribute_repeats VARCHAR, rest VARCHAR)`,
    `CREATE TABLE ${alias}.ledger (sequence UBIGINT, ingest_ns BIGINT, spans UINTEGER)`,
    `CREATE TABLE ${alias}.trace_index (block UBIGINT, trace_id UUID, first_sequence UBIGINT, last_sequence UBIGINT)`,
    `CREATE TABLE ${alias}.edge (bucket_ms BIGINT, client VARCHAR, server VARCHAR, connection_type VARCHAR,
       requests BIGINT, errors BIGINT, server_bucket INTEGER[], server_count BIGINT[],
       client_bucket INTEGER[], client_count BIGINT[])`,
    `CREATE TABLE ${alias}.derived (sequence UBIGINT, state BLOB)`,
    keyIndexTable(alias),
    aliasTable(alias),
    ...logTables(alias),
  ];
}

/** The one value of columns that `span` lacks, as text; those without a row are NULL. */
function constantTable(alias: string): string {
  return `CREATE TABLE ${alias}.span_constant (name VARCHAR, value VARCHAR)`;
}

/** Blocks of traces by 32 bits of their ids; `trace_index` holds those of versions before 5, by the whole ids. */
function keyIndexTable(alias: string): string {
  return `CREATE TABLE ${alias}.trace_key_index (block UBIGINT, trace_key UINTEGER, first_sequence UBIGINT, last_sequence UBIGINT)`;
}

/** Traces whose id turned out to be another's. */
function aliasTable(alias: string): string {
  return `CREATE TABLE ${alias}.trace_alias (trace_id UUID, alias_of UUID)`;
}

function logTables(alias: string): string[] {
  return [
    `CREATE TABLE ${alias}.log (${listOf(LOG_COLUMNS)})`,
    `CREATE TABLE ${alias}.log_ledger (sequence UBIGINT, ingest_ns BIGINT, records UINTEGER)`,
  ];
}

/**
 * Statements that bring the day file attached as `alias` from layout `version` to the next one, to be run in one
 * transaction. Undefined where no such layout is known.
 */
export function migrationOf(alias: string, version: number): string[] | undefined {
  if (version === 5) return [constantTable(alias), `UPDATE ${alias}.file_meta SET schema_version = 6`];
  if (version === 4) return [keyIndexTable(alias), `UPDATE ${alias}.file_meta SET schema_version = 5`];
  if (version === 3) return [aliasTable(alias), `UPDATE ${alias}.file_meta SET schema_version = 4`];
  if (version === 2) {
    return [
      ...["requests", "errors"].map((column) => `ALTER TABLE ${alias}.edge ALTER COLUMN ${column} TYPE BIGINT`),
      ...["server_count", "client_count"].map(
        (column) => `ALTER TABLE ${alias}.edge ALTER COLUMN ${column} TYPE BIGINT[]`,
      ),
      `UPDATE ${alias}.file_meta SET schema_version = 3`,
    ];
  }
  if (version !== 1) return undefined;
  return [
    `ALTER TABLE ${alias}.span ADD COLUMN scope_rest VARCHAR`,
    `ALTER TABLE ${alias}.resource ADD COLUMN rest VARCHAR`,
    ...logTables(alias),
    `UPDATE ${alias}.file_meta SET schema_version = 2`,
  ];
}
