/** DuckDB's type objects for the type names that the schema uses. */

import {
  BIGINT,
  BLOB,
  type DuckDBType,
  INTEGER,
  MAP,
  UBIGINT,
  UINTEGER,
  USMALLINT,
  UTINYINT,
  UUID,
  VARCHAR,
} from "@duckdb/node-api";

const TYPES: Readonly<Record<string, DuckDBType>> = {
  BIGINT,
  BLOB,
  INTEGER,
  UBIGINT,
  UINTEGER,
  USMALLINT,
  UTINYINT,
  UUID,
  VARCHAR,
  "MAP(VARCHAR, VARCHAR)": MAP(VARCHAR, VARCHAR),
};

/** The type of a name in `SPAN_COLUMNS`. */
export function columnType(name: string): DuckDBType {
  const type = TYPES[name];
  if (type === undefined) throw new Error(`store: the schema has no type ${name}`);
  return type;
}
