/** Small traces with the service graph that must come of them, by Tempo's rules. */

import { type Program, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { type Json, listOf, memberOf, textOf } from "./requests.ts";

/** An edge as the suite's files have it. */
interface ExpectedEdge {
  readonly client: string;
  readonly server: string;
  readonly connection_type: string;
  readonly requests: number;
  readonly failed: number;
  readonly client_ms: number;
  readonly server_ms: number;
}

/** A case as the suite's files have it. */
export interface GraphCase {
  readonly name: string;
  readonly request: Json;
  readonly expectedEdges: readonly ExpectedEdge[];
  /** Spans that stay unpaired, by kind. */
  readonly expectedExpired: Readonly<Record<string, number>>;
}

/** Virtual nodes and unpaired spans show once the pairing window is over. */
const EXPIRED_MS_MAX = 40_000;
const CLOSE_MS = 1e-6;

/** Sends all cases at once, with services renamed so that they do not meet, and holds each to its own edges. */
export async function playGraphCases(
  program: Program,
  cases: readonly GraphCase[],
  report: SuiteReport,
): Promise<void> {
  const renamed = cases.map(renamedCase);
  for (const { request, name } of renamed) {
    const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    if (answer.status !== 200) report.add(`graph: ${name}`, `status ${answer.status}: ${await answer.text()}`);
  }
  let faults = new Map<string, string>();
  await until(async () => {
    const graph = await readGraph(program);
    faults = new Map(renamed.map((each) => [each.name, caseFault(graph, each)]));
    return [...faults.values()].every((fault) => fault === "") ? true : undefined;
  }, EXPIRED_MS_MAX);
  for (const [name, fault] of faults) report.add(`graph: ${name}`, fault);
}

interface RenamedCase extends GraphCase {
  readonly services: ReadonlySet<string>;
}

function renamedCase(original: GraphCase, at: number): RenamedCase {
  const services = new Set<string>();
  const resourceSpans = listOf(original.request, "resourceSpans").map((group) => {
    const resource = memberOf(group, "resource");
    const attributes = listOf(resource, "attributes").map((pair) => {
      if (textOf(pair, "key") !== "service.name") return pair;
      const service = `case${at}.${textOf(memberOf(pair, "value"), "stringValue")}`;
      services.add(service);
      return { key: "service.name", value: { stringValue: service } };
    });
    return { ...group, resource: { ...resource, attributes } };
  });
  const nameOf = (node: string) => (services.has(`case${at}.${node}`) ? `case${at}.${node}` : node);
  return {
    ...original,
    request: { resourceSpans },
    services,
    expectedEdges: original.expectedEdges.map((edge) => ({
      ...edge,
      client: nameOf(edge.client),
      server: nameOf(edge.server),
    })),
  };
}

interface Graph {
  readonly edges: ReadonlyMap<string, ExpectedEdge>;
  /** Unpaired spans by service, of clients and of servers. */
  readonly unpaired: Readonly<Record<"SPAN_KIND_CLIENT" | "SPAN_KIND_SERVER", ReadonlyMap<string, number>>>;
}

async function readGraph(program: Program): Promise<Graph> {
  const edges = new Map<string, ExpectedEdge>();
  const series = {
    requests: "traces_service_graph_request_total",
    failed: "traces_service_graph_request_failed_total",
    client_ms: "1000 * traces_service_graph_request_client_seconds_sum",
    server_ms: "1000 * traces_service_graph_request_server_seconds_sum",
  };
  for (const [member, query] of Object.entries(series)) {
    for (const { metric, value } of await program.promql(query)) {
      const { client = "", server = "", connection_type = "" } = metric;
      const key = edgeKey({ client, server, connection_type });
      const none = { client, server, connection_type, requests: 0, failed: 0, client_ms: 0, server_ms: 0 };
      edges.set(key, { ...(edges.get(key) ?? none), [member]: value });
    }
  }
  const clients = new Map<string, number>();
  const servers = new Map<string, number>();
  for (const { metric, value } of await program.promql("traces_service_graph_unpaired_spans_total")) {
    const { client = "", server = "" } = metric;
    if (client !== "") clients.set(client, (clients.get(client) ?? 0) + value);
    if (server !== "") servers.set(server, (servers.get(server) ?? 0) + value);
  }
  return { edges, unpaired: { SPAN_KIND_CLIENT: clients, SPAN_KIND_SERVER: servers } };
}

function caseFault(graph: Graph, { expectedEdges, expectedExpired, services }: RenamedCase): string {
  const faults: string[] = [];
  for (const wanted of expectedEdges) {
    const found = graph.edges.get(edgeKey(wanted));
    if (found === undefined || !isSame(found, wanted)) {
      faults.push(`expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
    }
  }
  const keys = new Set(expectedEdges.map(edgeKey));
  for (const [key, edge] of graph.edges) {
    const isOurs = services.has(edge.client) || services.has(edge.server);
    if (isOurs && edge.requests > 0 && !keys.has(key)) faults.push(`not expected: ${JSON.stringify(edge)}`);
  }
  for (const kind of ["SPAN_KIND_CLIENT", "SPAN_KIND_SERVER"] as const) {
    let unpaired = 0;
    for (const service of services) unpaired += graph.unpaired[kind].get(service) ?? 0;
    const wanted = expectedExpired[kind] ?? 0;
    if (unpaired !== wanted) faults.push(`${kind}: ${unpaired} unpaired, expected ${wanted}`);
  }
  return faults.join("\n");
}

function edgeKey({ client, server, connection_type }: Pick<ExpectedEdge, "client" | "server" | "connection_type">) {
  return `${client}|${server}|${connection_type}`;
}

function isSame(found: ExpectedEdge, wanted: ExpectedEdge): boolean {
  return (
    found.requests === wanted.requests &&
    found.failed === wanted.failed &&
    Math.abs(found.client_ms - wanted.client_ms) < CLOSE_MS &&
    Math.abs(found.server_ms - wanted.server_ms) < CLOSE_MS
  );
}
