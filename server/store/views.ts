/** The tables that user SQL sees, as views over all attached day files. */

import { SQL_TABLES, TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import { type SpanShape, spanExpression } from "./late-columns.ts";

/** A day file as the views see it. */
interface ViewedFile {
  readonly alias: string;
  readonly shape: SpanShape;
}

const PERCENTILES = [50, 95, 99] as const;

/**
 * Statements that replace all views.
 *
 * @param files Attached day files, oldest first. None: the views are empty.
 */
export function viewStatements(files: readonly ViewedFile[]): string[] {
  const views: Record<string, string | undefined> =
    files.length === 0
      ? {}
      : {
          spans: spansView(files),
          traces: TRACES_VIEW,
          services: servicesView(files),
          logs: logsView(files),
          edges: edgesView(files),
        };
  return Object.keys(SQL_TABLES).map(
    (table) => `CREATE OR REPLACE VIEW memory.main.${table} AS ${views[table] ?? emptyTable(table)}`,
  );
}

function emptyTable(table: string): string {
  const columns = (SQL_TABLES[table] ?? []).map(({ name, type }) => `CAST(NULL AS ${type}) AS ${name}`);
  return `SELECT ${columns.join(", ")} WHERE false`;
}

function unionOf(files: readonly ViewedFile[], select: (file: ViewedFile) => string): string {
  return files.map(select).join(" UNION ALL ");
}

function hex16(column: string): string {
  return `lower(lpad(to_hex(${column}), 16, '0'))`;
}

/** Gives the SQL of a column of `span`. */
type SpanColumns = (name: string) => string;

/** Columns whose name in the view is not the stored one. */
const SPAN_EXPRESSIONS: Readonly<Record<string, (column: SpanColumns) => string>> = {
  trace_id: () => "replace(CAST(s.trace_id AS VARCHAR), '-', '')",
  span_id: () => hex16("s.span_id"),
  parent_span_id: () => hex16("s.parent_span_id"),
  duplicate_of: (column) => hex16(column("duplicate_of")),
  end_ns: () => "s.start_ns + s.duration_ns",
  resource: () => "r.attributes",
  attributes: wholeAttributes,
  attributes_rest: () => "s.attributes",
  trace_uuid: () => "s.trace_id",
  tb: () => "CAST('0x' || right(CAST(s.trace_id AS VARCHAR), 2) AS UTINYINT)",
  span_key: () => "s.span_id",
  parent_span_key: () => "s.parent_span_id",
  duplicate_of_key: (column) => column("duplicate_of"),
};

/** One list a typed column, empty where it is NULL: 2.4 times faster than filtering one list of all. */
function wholeAttributes(column: SpanColumns): string {
  const typed = TYPED_ATTRIBUTES.map((attribute) => {
    const value = column(attribute.column);
    return `CASE WHEN ${value} IS NULL THEN [] ELSE [{'key': '${attribute.key}', 'value': CAST(${value} AS VARCHAR)}] END`;
  });
  return `map_from_entries(list_concat(map_entries(s.attributes), ${typed.join(", ")}))`;
}

function spansView(files: readonly ViewedFile[]): string {
  const names = (SQL_TABLES["spans"] ?? []).map(({ name }) => name);
  return unionOf(files, ({ alias, shape }) => {
    const column = (name: string) => spanExpression(shape, name, "s.");
    const list = names.map((name) => `${SPAN_EXPRESSIONS[name]?.(column) ?? column(name)} AS ${name}`).join(", ");
    return `SELECT ${list} FROM ${alias}.span s LEFT JOIN ${alias}.resource r ON r.resource_id = s.resource_id`;
  });
}

/** Columns whose name in the view is not the stored one. */
const LOG_EXPRESSIONS: Readonly<Record<string, string>> = {
  trace_id: "replace(CAST(l.trace_id AS VARCHAR), '-', '')",
  span_id: hex16("l.span_id"),
  severity_number: "CAST(l.severity_number AS INTEGER)",
  resource: "r.attributes",
  trace_uuid: "l.trace_id",
  span_key: "l.span_id",
};

function logsView(files: readonly ViewedFile[]): string {
  const columns = (SQL_TABLES["logs"] ?? []).map(({ name }) => `${LOG_EXPRESSIONS[name] ?? `l.${name}`} AS ${name}`);
  return unionOf(
    files,
    ({ alias }) =>
      `SELECT ${columns.join(", ")} FROM ${alias}.log l LEFT JOIN ${alias}.resource r ON r.resource_id = l.resource_id`,
  );
}

/** A trace whose root is not stored (yet) is named after its earliest span. */
const TRACES_VIEW = `
  SELECT replace(CAST(trace_uuid AS VARCHAR), '-', '') AS trace_id, root_service, root_name, start_ns,
    duration_ns, spans, services, errors, trace_uuid
  FROM (
    SELECT trace_uuid,
      coalesce(arg_min(service, start_ns) FILTER (parent_span_key IS NULL), arg_min(service, start_ns)) AS root_service,
      coalesce(arg_min(name, start_ns) FILTER (parent_span_key IS NULL), arg_min(name, start_ns)) AS root_name,
      min(start_ns) AS start_ns,
      CAST(greatest(least(CAST(max(end_ns) AS HUGEINT) - min(start_ns), 9223372036854775807), 0) AS BIGINT) AS duration_ns,
      count(*) FILTER (duplicate_of_key IS NULL) AS spans,
      count(DISTINCT service) AS services,
      count(*) FILTER (status = 'error' AND duplicate_of_key IS NULL) AS errors
    FROM memory.main.spans GROUP BY trace_uuid
  )`;

/** Groups by resource first, so that each file's spans are read in one pass over three narrow columns. */
function servicesView(files: readonly ViewedFile[]): string {
  const seen = unionOf(
    files,
    ({ alias, shape }) => `
      SELECT r.service, r.instance, g.source, g.first_ns, g.last_ns,
        coalesce(r.attributes['telemetry.sdk.language'], r.attributes['process.runtime.name']) AS language
      FROM (SELECT resource_id, source, min(start_ns) AS first_ns, max(start_ns + duration_ns) AS last_ns
            FROM (SELECT resource_id, ${spanExpression(shape, "source")} AS source, start_ns, duration_ns FROM ${alias}.span)
            GROUP BY resource_id, source) g
      JOIN ${alias}.resource r ON r.resource_id = g.resource_id`,
  );
  return `
    SELECT service, min(first_ns) AS first_seen_ns, max(last_ns) AS last_seen_ns,
      count(DISTINCT coalesce(instance, '')) AS instances, arg_max(language, last_ns) AS language,
      list_sort(list(DISTINCT source)) AS sources
    FROM (${seen}) GROUP BY service`;
}

/** The same interpolation as `logHistogramQuantile` of the model, in milliseconds. */
function quantileColumns(side: "server" | "client"): string {
  const prefix = side === "server" ? "" : "client_";
  return PERCENTILES.map((percentile) => {
    const rank = `CAST(${percentile / 100} AS DOUBLE) * total`;
    return `
      arg_min(power(2.0, (i - 1 + (${rank} - below) / n) / 8.0) / 1e6, i)
        FILTER (side = '${side}' AND below + n >= ${rank}) AS ${prefix}p${percentile}_ms`;
  }).join(",");
}

function edgesView(files: readonly ViewedFile[]): string {
  const rows = unionOf(files, ({ alias }) => `SELECT * FROM ${alias}.edge`);
  const key = "bucket_ms, client, server, connection_type";
  const buckets = (["server", "client"] as const).map(
    (side) => `SELECT ${key}, '${side}' AS side, unnest(${side}_bucket) AS i, unnest(${side}_count) AS n FROM rows`,
  );
  return `
    WITH rows AS (${rows}),
    merged AS (SELECT ${key}, side, i, CAST(sum(n) AS DOUBLE) AS n FROM (${buckets.join(" UNION ALL ")}) GROUP BY ${key}, side, i HAVING sum(n) > 0),
    ranked AS (SELECT *, sum(n) OVER (PARTITION BY ${key}, side) AS total,
      coalesce(sum(n) OVER (PARTITION BY ${key}, side ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS below
      FROM merged),
    quantiles AS (SELECT ${key}, ${quantileColumns("server")}, ${quantileColumns("client")} FROM ranked GROUP BY ${key}),
    counts AS (SELECT ${key}, CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(errors) AS BIGINT) AS errors
      FROM rows GROUP BY ${key} HAVING sum(requests) <> 0 OR sum(errors) <> 0)
    SELECT make_timestamp(c.bucket_ms * 1000) AS bucket, c.client, c.server, c.connection_type, c.requests, c.errors,
      q.p50_ms, q.p95_ms, q.p99_ms, q.client_p50_ms, q.client_p95_ms, q.client_p99_ms
    FROM counts c LEFT JOIN quantiles q USING (${key})`;
}
