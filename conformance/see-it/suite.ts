/**
 * One call to each of several servers that ran before the program: within three seconds both sides are one trace.
 */

import { spawnSync } from "node:child_process";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { RunningServers } from "./servers.ts";

const SEEN_MS_MAX = 3_000;
const RUNGS = ["socket", "packet"] as const;
const CALLER = "curl";
const REST_MS = 500;
const PACKET_CALLS_MAX = 3;
const NAMELESS = "its parent is a span of unknown";

/** The suite `see-it`: one curl to each of several running servers shows as one trace of two spans within 3 s. */
export async function runSeeIt(): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  if (process.getuid?.() !== 0) {
    report.skip("see-it", "live capture needs root", "capture");
    return report.outcome;
  }
  const servers = new RunningServers();
  try {
    await servers.start();
    for (const missing of servers.missing) report.skip("see-it", missing, "servers");
    for (const rung of RUNGS) await watchWith(rung, servers, report);
  } finally {
    servers.stop();
  }
  return report.outcome;
}

async function watchWith(rung: string, servers: RunningServers, report: SuiteReport): Promise<void> {
  const program = await Program.start(["--capture", rung]);
  try {
    for (const { service, port } of servers.running) {
      // What the suite itself asked is answered by then: a call meets a program at rest, as a person's first one does.
      await sleep(REST_MS);
      let fault = NAMELESS;
      // Packets tell a caller only while it lives: some curls end before they are looked up, and then have no name.
      for (let calls = 1; fault === NAMELESS && calls <= (rung === "packet" ? PACKET_CALLS_MAX : 1); calls++) {
        fault = await callAndLook(program, service, port, calls);
      }
      report.add(`${rung}: ${CALLER} to ${service} is one trace, in the graph and in PromQL within 3 s`, fault);
    }
    report.add(`${rung}: one truth`, await oneTruthFault(program));
  } finally {
    await program.discard();
  }
}

async function callAndLook(program: Program, service: string, port: number, calls: number): Promise<string> {
  const asked = spawnSync("curl", ["-s", "-o", "/dev/null", `http://127.0.0.1:${port}/?see=${service}`]);
  if (asked.status !== 0) return `curl ended with ${asked.status}`;
  let fault = "nothing was seen";
  await until(async () => {
    fault = await callFault(program, service, calls);
    return fault === "" ? true : undefined;
  }, SEEN_MS_MAX);
  return fault;
}

/** @param calls How many calls were made: the newest is looked at, those before it had no name. */
async function callFault(program: Program, service: string, calls: number): Promise<string> {
  const rows = await program.sql(
    `SELECT s.trace_id, c.service, c.span_id, s.parent_span_id, s.kind, c.kind
     FROM spans s LEFT JOIN spans c ON c.trace_id = s.trace_id AND c.span_id = s.parent_span_id
     WHERE s.service = $1 AND s.kind = 'server' ORDER BY s.start_ns DESC`,
    [service],
  );
  const row = rows[0];
  if (row === undefined)
    return `no server span of ${service}; services: ${JSON.stringify(await program.sql("SELECT DISTINCT service, kind FROM spans"))}`;
  if (rows.length !== calls) return `${rows.length} server spans of ${service}`;
  if (row[1] === "unknown") return NAMELESS;
  if (row[1] !== CALLER) return `its parent is a span of ${row[1]}`;
  const spans = await program.sql("SELECT count(*) AS n FROM spans WHERE trace_id = $1", [String(row[0])]);
  if (Number(spans[0]?.[0]) !== 2) return `the trace has ${spans[0]?.[0]} spans`;
  const graph = await program.json<{ edges: { client: string; server: string; requests: number }[] }>(
    "/api/v1/graph?window=5m",
  );
  const edge = graph.edges.find((candidate) => candidate.client === CALLER && candidate.server === service);
  if (edge?.requests !== 1) return `the graph's edge is ${JSON.stringify(edge)}`;
  const series = await program.promql(`traces_service_graph_request_total{client="${CALLER}",server="${service}"}`);
  return series[0]?.value === 1 ? "" : `traces_service_graph_request_total is ${series[0]?.value}`;
}
