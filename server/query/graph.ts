/** The service graph of a window, from the edges that ingest counted. */

import type { SqlValue, StoreReader } from "../store/reader.ts";
import type { GraphAnswer, GraphEdge, GraphNode } from "./doors.ts";
import { type LatencyPart, mixtureQuantile } from "./latency-mixture.ts";

const MINUTE_MS = 60_000;

/** Windows longer than this are read by the hour. */
const MINUTES_WINDOW_MS = 86_400_000;

/** Edges of one graph. */
const EDGES_MAX = 10_000;

const TIMEOUT_MS = 10_000;
const BYTES_MAX = 64 * 2 ** 20;

/** Name of callers that no span was seen of. */
const UNSEEN_CALLER = "user";

/** Latencies of a minute or hour are those that the server measured, else those of the client. */
const QUERY = (unit: "minute" | "hour") => `
  SELECT client, server, connection_type,
    CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(errors) AS BIGINT) AS errors,
    list({'n': CAST(requests AS DOUBLE), 'p50': p50, 'p95': p95, 'p99': p99}) FILTER (p50 IS NOT NULL) AS parts
  FROM (
    SELECT client, server, connection_type, sum(requests) AS requests, sum(errors) AS errors,
      sum(p50 * requests) / sum(requests) FILTER (p50 IS NOT NULL) AS p50,
      sum(p95 * requests) / sum(requests) FILTER (p50 IS NOT NULL) AS p95,
      sum(p99 * requests) / sum(requests) FILTER (p50 IS NOT NULL) AS p99
    FROM (
      SELECT client, server, connection_type, bucket, requests, errors, coalesce(p50_ms, client_p50_ms) AS p50,
        coalesce(p95_ms, client_p95_ms) AS p95, coalesce(p99_ms, client_p99_ms) AS p99
      FROM edges WHERE bucket >= make_timestamp(CAST($1 AS BIGINT)) AND bucket < make_timestamp(CAST($2 AS BIGINT)) AND requests > 0
    )
    GROUP BY client, server, connection_type, date_trunc('${unit}', bucket)
  )
  GROUP BY client, server, connection_type ORDER BY client, server, connection_type LIMIT ${EDGES_MAX}`;

interface EdgeSum extends GraphEdge {
  readonly parts: readonly LatencyPart[];
}

/**
 * The graph from `fromMs` to `toMs`, Unix milliseconds.
 *
 * Edges are kept by the minute: every minute that the window touches counts whole. Requests and errors are exact;
 * percentiles are read from those of the minutes (`latency-mixture.ts`).
 *
 * @throws ThalwegError of the store's reader.
 */
export async function readGraph(reader: Pick<StoreReader, "sql">, fromMs: number, toMs: number): Promise<GraphAnswer> {
  const firstMs = Math.floor(fromMs / MINUTE_MS) * MINUTE_MS;
  const text = QUERY(toMs - fromMs > MINUTES_WINDOW_MS ? "hour" : "minute");
  const limits = { rowsMax: EDGES_MAX, bytesMax: BYTES_MAX, timeoutMs: TIMEOUT_MS };
  const answer = await reader.sql({ text, params: [firstMs * 1000, toMs * 1000] }, limits);
  const seconds = Math.max(1, (toMs - fromMs) / 1000);
  const edges = answer.rows.map((row) => edgeOf(row, seconds));
  return {
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
    nodes: nodesOf(edges),
    edges: edges.map(({ parts: _, ...edge }) => edge),
  };
}

function edgeOf(row: readonly SqlValue[], seconds: number): EdgeSum {
  const [client, server, type, requests, errors, partValues] = row;
  const parts = Array.isArray(partValues) ? partValues.flatMap(partOf) : [];
  const count = Number(requests);
  return {
    client: String(client),
    server: String(server),
    connection_type: String(type),
    requests: count,
    errors: Number(errors),
    rate: count / seconds,
    p50_ms: mixtureQuantile(parts, 0.5),
    p95_ms: mixtureQuantile(parts, 0.95),
    p99_ms: mixtureQuantile(parts, 0.99),
    parts,
  };
}

function partOf(value: SqlValue): LatencyPart[] {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [];
  const { n, p50, p95, p99 } = value as Readonly<Record<string, SqlValue>>; // a struct: neither null nor a list
  return [{ requests: Number(n), p50Ms: Number(p50), p95Ms: Number(p95), p99Ms: Number(p99) }];
}

function nodesOf(edges: readonly EdgeSum[]): GraphNode[] {
  const names = new Set(edges.flatMap(({ client, server }) => [client, server]));
  const kindOf = kinds(edges);
  return [...names].sort().map((name) => {
    const incoming = edges.filter((edge) => edge.server === name);
    return {
      id: name,
      service: name,
      kind: kindOf(name),
      requests: incoming.reduce((sum, edge) => sum + edge.requests, 0),
      errors: incoming.reduce((sum, edge) => sum + edge.errors, 0),
      p95_ms: mixtureQuantile(
        incoming.flatMap(({ parts }) => parts),
        0.95,
      ),
    };
  });
}

/** A name is a service where any edge shows spans of its own; else the edge that names it says what it is. */
function kinds(edges: readonly EdgeSum[]): (name: string) => string {
  const services = new Set<string>();
  const others = new Map<string, string>();
  for (const { client, server, connection_type: type } of edges) {
    if (type !== "virtual_node") services.add(client);
    if (type === "" || type === "messaging_system") services.add(server);
    if (type === "database") others.set(server, "database");
  }
  for (const { client, server, connection_type: type } of edges) {
    if (type !== "virtual_node") continue;
    const callerUnseen = client === UNSEEN_CALLER || services.has(server);
    others.set(callerUnseen ? client : server, "virtual_node");
  }
  return (name) => (services.has(name) ? "service" : (others.get(name) ?? "service"));
}
