/**
 * What SQL sees of the store: tables, their columns, and how printed SQL must name things so that the store can prune.
 *
 * The views of the store compute `trace_id` and the other hex columns from ids stored as UUID and UBIGINT, and
 * `attributes` from typed columns and a MAP. A predicate on a computed column reads every row; `hexLiteral` and
 * `attributeExpression` say what a printer writes instead (80 and 20 times faster).
 */

/** A column of a table that SQL may read; `type` is DuckDB's name. */
export interface SqlTableColumn {
  readonly name: string;
  readonly type: string;
}

/** Attributes kept in typed columns of their own. */
export interface TypedAttribute {
  readonly key: string;
  /** Column of `spans` that holds it; NULL where absent, or where the value was not of `kind`. */
  readonly column: string;
  readonly kind: "s" | "i";
}

/** The well-known attributes of OpenTelemetry's semantic conventions that filters ask for most. The order is stored: append only. */
export const TYPED_ATTRIBUTES: readonly TypedAttribute[] = [
  { key: "http.request.method", column: "attr_http_request_method", kind: "s" },
  { key: "http.response.status_code", column: "attr_http_response_status_code", kind: "i" },
  { key: "http.route", column: "attr_http_route", kind: "s" },
  { key: "url.path", column: "attr_url_path", kind: "s" },
  { key: "server.address", column: "attr_server_address", kind: "s" },
  { key: "server.port", column: "attr_server_port", kind: "i" },
  { key: "db.system.name", column: "attr_db_system_name", kind: "s" },
  { key: "db.query.text", column: "attr_db_query_text", kind: "s" },
  { key: "rpc.method", column: "attr_rpc_method", kind: "s" },
  { key: "messaging.destination.name", column: "attr_messaging_destination_name", kind: "s" },
  { key: "error.type", column: "attr_error_type", kind: "s" },
  { key: "user_agent.original", column: "attr_user_agent_original", kind: "s" },
];

/** A computed hex column and the stored column that answers the same question from zone maps. */
export interface HexColumn {
  readonly table: string;
  readonly column: string;
  readonly stored: string;
  readonly storedType: "UUID" | "UBIGINT";
  readonly digits: 32 | 16;
}

/**
 * Hex columns of `spans`, `traces` and `logs`.
 *
 * `trace_id = '0af7…'` is printed as `trace_uuid = UUID '0af7…'`, `span_id IN ('…')` as `span_key IN (…)`,
 * `parent_span_id IS NULL` as `parent_span_key IS NULL`: `=`, `<>`, `IN`, `IS [NOT] NULL`, joins on equality of two
 * hex columns with as many digits, and GROUP BY may all use the stored column. `LIKE` and order may not.
 */
export const HEX_COLUMNS: readonly HexColumn[] = [
  { table: "spans", column: "trace_id", stored: "trace_uuid", storedType: "UUID", digits: 32 },
  { table: "spans", column: "span_id", stored: "span_key", storedType: "UBIGINT", digits: 16 },
  { table: "spans", column: "parent_span_id", stored: "parent_span_key", storedType: "UBIGINT", digits: 16 },
  { table: "spans", column: "duplicate_of", stored: "duplicate_of_key", storedType: "UBIGINT", digits: 16 },
  { table: "traces", column: "trace_id", stored: "trace_uuid", storedType: "UUID", digits: 32 },
  { table: "logs", column: "trace_id", stored: "trace_uuid", storedType: "UUID", digits: 32 },
  { table: "logs", column: "span_id", stored: "span_key", storedType: "UBIGINT", digits: 16 },
];

/**
 * The literal of a stored id that equals a hex text.
 *
 * @returns DuckDB SQL such as `UUID '0af7…'` or `CAST(255 AS UBIGINT)`; undefined where no stored id can equal the
 * text, since it is not lower-case hex of the column's length: the predicate is false for every id.
 */
export function hexLiteral(column: HexColumn, text: string): string | undefined {
  if (text.length !== column.digits || !/^[0-9a-f]+$/.test(text)) return undefined;
  return column.storedType === "UUID" ? `UUID '${text}'` : `CAST(${BigInt(`0x${text}`)} AS UBIGINT)`;
}

/**
 * What `attributes['key']` on `spans` is printed as: reads one column, or one column and the MAP.
 *
 * @param qualifier Name or alias of the table with its dot, quoted where needed; empty for none.
 * @param keyLiteral The key as an SQL string literal, quotes included.
 */
export function attributeExpression(qualifier: string, key: string, keyLiteral: string): string {
  const rest = `${qualifier}attributes_rest[${keyLiteral}]`;
  const typed = TYPED_ATTRIBUTES.find((attribute) => attribute.key === key);
  if (typed === undefined) return rest;
  const column = `${qualifier}${typed.column}`;
  return `coalesce(${typed.kind === "s" ? column : `CAST(${column} AS VARCHAR)`}, ${rest})`;
}

const MAP_TYPE = "MAP(VARCHAR, VARCHAR)";

function columns(text: string): SqlTableColumn[] {
  return text
    .trim()
    .split(/\n\s*/)
    .map((line) => {
      const space = line.indexOf(" ");
      return { name: line.slice(0, space), type: line.slice(space + 1) };
    });
}

/** Every table SQL may read, with its columns in order. */
export const SQL_TABLES: Readonly<Record<string, readonly SqlTableColumn[]>> = {
  spans: [
    ...columns(`trace_id VARCHAR
      span_id VARCHAR
      parent_span_id VARCHAR
      service VARCHAR
      instance VARCHAR
      name VARCHAR
      kind VARCHAR
      status VARCHAR
      start_ns BIGINT
      end_ns BIGINT
      duration_ns BIGINT
      source VARCHAR
      link_reason VARCHAR
      protocol VARCHAR
      client_addr VARCHAR
      client_port USMALLINT
      server_addr VARCHAR
      server_port USMALLINT
      pid UINTEGER
      weight UINTEGER
      duplicate_of VARCHAR
      resource ${MAP_TYPE}
      attributes ${MAP_TYPE}
      status_message VARCHAR
      trace_state VARCHAR
      flags UINTEGER
      scope_name VARCHAR
      scope_version VARCHAR
      scope_rest VARCHAR
      tenant VARCHAR
      host_id UBIGINT
      boot_id UUID
      ingest_ns BIGINT
      commit_sequence UBIGINT
      trace_uuid UUID
      tb UTINYINT
      span_key UBIGINT
      parent_span_key UBIGINT
      duplicate_of_key UBIGINT
      resource_id UBIGINT`),
    ...TYPED_ATTRIBUTES.map(({ column, kind }) => ({ name: column, type: kind === "s" ? "VARCHAR" : "INTEGER" })),
    { name: "attributes_rest", type: MAP_TYPE },
  ],
  traces: columns(`trace_id VARCHAR
    root_service VARCHAR
    root_name VARCHAR
    start_ns BIGINT
    duration_ns BIGINT
    spans BIGINT
    services BIGINT
    errors BIGINT
    trace_uuid UUID`),
  services: columns(`service VARCHAR
    first_seen_ns BIGINT
    last_seen_ns BIGINT
    instances BIGINT
    language VARCHAR
    sources VARCHAR[]`),
  logs: columns(`trace_id VARCHAR
    span_id VARCHAR
    time_ns BIGINT
    observed_ns BIGINT
    severity_number INTEGER
    severity_text VARCHAR
    body VARCHAR
    service VARCHAR
    resource ${MAP_TYPE}
    attributes ${MAP_TYPE}
    instance VARCHAR
    event_name VARCHAR
    body_kind VARCHAR
    flags UINTEGER
    dropped_attributes UINTEGER
    attribute_kinds VARCHAR
    scope_name VARCHAR
    scope_version VARCHAR
    scope_rest VARCHAR
    tenant VARCHAR
    host_id UBIGINT
    boot_id UUID
    ingest_ns BIGINT
    trace_uuid UUID
    span_key UBIGINT
    resource_id UBIGINT`),
  edges: columns(`bucket TIMESTAMP
    client VARCHAR
    server VARCHAR
    connection_type VARCHAR
    requests BIGINT
    errors BIGINT
    p50_ms DOUBLE
    p95_ms DOUBLE
    p99_ms DOUBLE
    client_p50_ms DOUBLE
    client_p95_ms DOUBLE
    client_p99_ms DOUBLE`),
};

/**
 * Columns of `samples('metric_or_selector', from, to)`: the samples of all series that match, both ends included.
 *
 * `name` is the metric's, `labels` are the others; `value` is NULL where the sample is a histogram, which stands in
 * `histogram` as Prometheus' API writes it. Series follow each other, each in order of time.
 */
export const SAMPLES_COLUMNS: readonly SqlTableColumn[] = columns(`name VARCHAR
  labels ${MAP_TYPE}
  time_ns BIGINT
  timestamp TIMESTAMP
  value DOUBLE
  histogram VARCHAR`);

/** Name under which the engine knows the function that gives samples; statements cannot write it. */
export const SAMPLES_SOURCE = "stored_samples";

/** What stands for `samples()` in a printed statement. @param token Of the call, once in the life of the program. */
export function samplesSource(token: number): string {
  return (
    "(SELECT name, labels, time_ms * 1000000 AS time_ns, make_timestamp(time_ms * 1000) AS timestamp, " +
    `value, histogram FROM ${SAMPLES_SOURCE}(${token}))`
  );
}
