/**
 * The check that ends every whole-program test: PromQL, SQL, graph and the program's own ledger agree to the last call.
 */

import type { Program } from "./program.ts";
import { sleep } from "./program.ts";

/** Half-edges wait this long for their other side, then a flush writes them. */
const SETTLE_MS_MAX = 25_000;
const LEDGER_MS_MAX = 5_000;

/**
 * Waits until everything derived has settled, then compares.
 *
 * @param withOrphans Server spans were sent whose parent was not, or several of one client: by Tempo's rules they stand in
 * no edge of the series, but are counted as unpaired, or as dropped where too many waited for their other side.
 * @param only The one service to compare, where others of the machine go on being captured.
 * @returns Differences, one a line; empty where all agree.
 */
export async function oneTruthFault(program: Program, { withOrphans = false, only = "" } = {}): Promise<string> {
  const deadline = performance.now() + SETTLE_MS_MAX;
  let fault = await differences(program, withOrphans, only);
  while (fault !== "" && performance.now() < deadline) {
    await sleep(500);
    fault = await differences(program, withOrphans, only);
  }
  return fault;
}

async function differences(program: Program, withOrphans: boolean, only: string): Promise<string> {
  const compare = (what: string, left: ReadonlyMap<string, number>, right: ReadonlyMap<string, number>) =>
    compareCounts(what, left, right, only);
  const inEdges = await requestsInPromql(program);
  if (withOrphans) await addUnpaired(program, inEdges);
  const faults = [
    ...compare("calls", await callsInSql(program), await callsInPromql(program, "traces_spanmetrics_calls_total")),
    ...compare(
      "native histogram",
      await callsInSql(program),
      await callsInPromql(program, "histogram_count(traces_spanmetrics_latency)"),
    ),
    ...compare("requests into", await servedInSql(program), await requestsInSql(program)),
    ...compare("requests (PromQL) into", await servedInSql(program), inEdges),
    ...(await ledger(program)),
  ];
  return faults.slice(0, 20).join("\n");
}

/**
 * Whether every sample that was received is stored, rejected or lost.
 *
 * While writers go on there are moments at which a write is received and not yet stored: one at which all is, is enough.
 */
export async function metricLedgerFault(program: Program): Promise<string> {
  const names = ["received", "stored", "rejected", "lost"].map((what) => `thalweg_ingest_${what}_total`);
  const deadline = performance.now() + LEDGER_MS_MAX;
  for (;;) {
    const [received = 0, stored = 0, rejected = 0, lost = 0] = await program.counters(names, 'signal="metrics"');
    if (received > 0 && received === stored + rejected + lost) return "";
    if (performance.now() > deadline) {
      return `${received} received, ${stored} stored, ${rejected} rejected, ${lost} lost`;
    }
    await sleep(50);
  }
}

async function addUnpaired(program: Program, requests: Map<string, number>): Promise<void> {
  const signs = { unpaired: 1, dropped: 1, backfilled: -1 };
  for (const [what, sign] of Object.entries(signs)) {
    const query = `sum by (server) (traces_service_graph_${what}_spans_total{server!=""})`;
    for (const { metric, value } of await program.promql(query)) {
      const server = metric["server"] ?? "";
      requests.set(server, (requests.get(server) ?? 0) + sign * value);
    }
  }
}

async function callsInSql(program: Program): Promise<Map<string, number>> {
  const rows = await program.sql(
    "SELECT service, name, kind, status, sum(weight) AS calls FROM spans WHERE duplicate_of IS NULL GROUP BY service, name, kind, status",
  );
  return new Map(
    rows.map(([service, name, kind, status, calls]) => [`${service}|${name}|${kind}|${status}`, Number(calls)]),
  );
}

async function callsInPromql(program: Program, query: string): Promise<Map<string, number>> {
  const samples = await program.promql(query);
  return new Map(
    samples.map(({ metric, value }) => [
      `${metric["service"] ?? ""}|${metric["span_name"] ?? ""}|${word(metric["span_kind"], "SPAN_KIND_")}|${word(metric["status_code"], "STATUS_CODE_")}`,
      value,
    ]),
  );
}

async function servedInSql(program: Program): Promise<Map<string, number>> {
  const rows = await program.sql(
    "SELECT service, sum(weight) AS calls FROM spans WHERE kind = 'server' AND duplicate_of IS NULL GROUP BY service",
  );
  return new Map(rows.map(([service, calls]) => [String(service), Number(calls)]));
}

async function requestsInSql(program: Program): Promise<Map<string, number>> {
  const served = await servedInSql(program);
  const rows = await program.sql(
    "SELECT server, sum(requests) AS calls FROM edges WHERE connection_type IN ('', 'virtual_node', 'database') GROUP BY server",
  );
  return new Map(
    rows.filter(([server]) => served.has(String(server))).map(([server, calls]) => [String(server), Number(calls)]),
  );
}

async function requestsInPromql(program: Program): Promise<Map<string, number>> {
  const served = await servedInSql(program);
  const samples = await program.promql(
    'sum by (server) (traces_service_graph_request_total{connection_type=~"|virtual_node|database"})',
  );
  return new Map(
    samples
      .filter(({ metric }) => served.has(metric["server"] ?? ""))
      .map(({ metric, value }) => [metric["server"] ?? "", value]),
  );
}

async function ledger(program: Program): Promise<string[]> {
  const names = ["received", "stored", "rejected", "lost"].map((what) => `thalweg_ingest_${what}_total`);
  const [received = 0, stored = 0, rejected = 0, lost = 0] = await program.counters(names, 'signal="traces"');
  const capture = ["seen", "delivered", "lost"].map((what) => `thalweg_capture_${what}_total`);
  const [seen, delivered = 0, captureLost = 0] = await program.counters(capture);
  const faults: string[] = [];
  if (received !== stored + rejected + lost)
    faults.push(`received ${received} ≠ stored ${stored} + rejected ${rejected} + lost ${lost}`);
  if (seen !== delivered + captureLost) faults.push(`seen ${seen} ≠ delivered ${delivered} + lost ${captureLost}`);
  return faults;
}

/** Keys are services, or begin with one and `|`. */
function compareCounts(
  what: string,
  left: ReadonlyMap<string, number>,
  right: ReadonlyMap<string, number>,
  only: string,
): string[] {
  const faults: string[] = [];
  for (const key of new Set([...left.keys(), ...right.keys()])) {
    if (only !== "" && key.split("|", 1)[0] !== only) continue;
    const wanted = left.get(key) ?? 0;
    const found = right.get(key) ?? 0;
    if (wanted !== found) faults.push(`${what} ${key}: spans say ${wanted}, derived ${found}`);
  }
  return faults;
}

function word(value: string | undefined, prefix: string): string {
  return (value ?? "").slice(prefix.length).toLowerCase();
}
