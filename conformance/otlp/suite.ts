/**
 * OTLP from outside: single HTTP requests, small traces with their service graph, recorded bodies of SDKs and files of
 * other projects, all signals of which must come back as they were, and a program on the OpenTelemetry SDK.
 */

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { oneTruthFault } from "../one-truth.ts";
import { Program, until } from "../program.ts";
import { runParts, type SuiteOutcome, SuiteReport } from "../suite.ts";
import { ALLOWED_ORIGIN, playChecklist } from "./checklist.ts";
import { DERIVED_MS_MAX, differences } from "./differences.ts";
import { type GraphCase, playGraphCases } from "./graph-cases.ts";
import { playHostile } from "./hostile.ts";
import { type HttpCase, playHttpCases } from "./http-cases.ts";
import { type OtlpRequest, readRequests } from "./requests.ts";
import { readBodies, readExpectation, type SdkExpectation, sdkFolders } from "./sdk-bodies.ts";
import { playSdkApp } from "./sdk-play.ts";
import { sendRequest } from "./send.ts";
import { logsFault } from "./stored-logs.ts";
import { metricsFault, refusedPoints } from "./stored-metrics.ts";
import { tracesFault } from "./stored-traces.ts";

const PARTS_AT_ONCE = 3;

/** The suite `otlp`: what lies under `dir`, by its kind, and a program on a real SDK. */
export async function runOtlp({ dir }: { dir: string }): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  // Most of their time they wait for half edges to expire.
  await runParts(partsOf(dir, report), PARTS_AT_ONCE);
  return report.outcome;
}

function partsOf(dir: string, report: SuiteReport): (() => Promise<void>)[] {
  const sdk = new Set(sdkFolders(dir));
  const folders = foldersIn(dir).filter(({ folder }) => !sdk.has(folder));
  return [
    () => withProgram((program) => playHostile(program, report)),
    () => withProgram((program) => playChecklist(program, report), ["--cors-origin", ALLOWED_ORIGIN]),
    () => withProgram((program) => playSdkApp(program, report)),
    ...readCases(dir).map((cases) => () => withProgram((program) => playCases(program, cases, report))),
    ...[...sdk].map((folder) => () => withProgram((program) => sendFolder(program, folder, report))),
    ...folders.map(
      ({ folder, files }) =>
        () =>
          sendFiles(folder, files, report),
    ),
  ];
}

/** The shape of a file is told by the members of its cases, and not checked further. */
async function playCases(program: Program, cases: readonly object[], report: SuiteReport): Promise<void> {
  const [first] = cases;
  if (first === undefined) return;
  if ("expectedEdges" in first) await playGraphCases(program, cases as GraphCase[], report);
  else if ("expectStatus" in first) await playHttpCases(program, cases as HttpCase[], report);
}

/** Lists of cases that `dir` holds. */
function readCases(dir: string): object[][] {
  return readdirSync(dir)
    .filter((name) => name.endsWith("-cases.json"))
    .map((name) => JSON.parse(readFileSync(join(dir, name), "utf8")));
}

/** Folders under `dir` with the files that stand in each of them. */
function foldersIn(dir: string): { folder: string; files: string[] }[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [];
    const folder = join(dir, entry.name);
    const entries = readdirSync(folder, { withFileTypes: true });
    const files = entries.filter((each) => each.isFile()).map(({ name }) => name);
    return [{ folder, files }, ...foldersIn(folder)];
  });
}

async function withProgram(use: (program: Program) => Promise<void>, flags: readonly string[] = []): Promise<void> {
  const program = await Program.start(["--capture", "off", ...flags]);
  try {
    await use(program);
  } finally {
    await program.discard();
  }
}

async function sendFolder(program: Program, folder: string, report: SuiteReport): Promise<void> {
  const name = folder.slice(folder.lastIndexOf("/") + 1);
  const bodies = readBodies(folder);
  for (const body of bodies) report.add(`${name}/${body.name}`, await sendFault(program, body, body.transport));
  for (const signal of ["traces", "logs", "metrics"] as const) {
    const own = bodies.filter((body) => body.signal === signal);
    if (own.length > 0) report.add(`${name}: ${signal} come back`, await storedFault(program, own));
  }
  const expected = readExpectation(folder);
  report.add(`${name}: spans by service`, await spansFault(program, expected));
  let fault = "";
  await until(async () => {
    fault = await redFault(program, expected);
    return fault === "" ? true : undefined;
  }, DERIVED_MS_MAX);
  report.add(`${name}: RED metrics`, fault);
  await until(async () => {
    fault = await graphFault(program, expected);
    return fault === "" ? true : undefined;
  }, DERIVED_MS_MAX);
  report.add(`${name}: service graph in PromQL and SQL`, fault);
  report.add(`${name}: one truth`, await oneTruthFault(program));
}

/** Everything in files of one folder, each signal to a program of its own; metrics file by file. */
async function sendFiles(folder: string, files: readonly string[], report: SuiteReport): Promise<void> {
  const name = basename(folder);
  const requests = files.map((file) => readRequests(join(folder, file))).filter((each) => each.length > 0);
  const groups: OtlpRequest[][] = [];
  for (const signal of ["traces", "logs"] as const) {
    const own = requests.flat().filter((request) => request.signal === signal);
    if (own.length > 0) groups.push(own);
  }
  groups.push(...requests.filter(([first]) => first?.signal === "metrics"));
  for (const [at, group] of groups.entries()) {
    await withProgram(async (program) => {
      for (const request of group) report.add(`${name}/${request.name}`, await sendFault(program, request, "http"));
      report.add(`${name}: ${group[0]?.signal} ${at + 1} come back`, await storedFault(program, group));
      if (group[0]?.signal === "traces")
        report.add(`${name}: one truth`, await oneTruthFault(program, { withOrphans: true }));
    });
  }
}

async function sendFault(program: Program, request: OtlpRequest, transport: "http" | "grpc"): Promise<string> {
  const reply = await sendRequest(program, request, transport);
  if (reply.fault !== "") return reply.fault;
  const wanted = request.signal === "metrics" ? refusedPoints(request) : 0;
  return reply.rejected === wanted ? "" : `${reply.rejected} were rejected, expected ${wanted}`;
}

/** Requests of one signal, all that the program was sent of it. */
function storedFault(program: Program, requests: readonly OtlpRequest[]): Promise<string> {
  switch (requests[0]?.signal) {
    case "traces":
      return tracesFault(program, requests);
    case "logs":
      return logsFault(program, requests);
    case "metrics":
      return metricsFault(program, requests);
    case undefined:
      return Promise.resolve("");
  }
}

async function spansFault(program: Program, expected: SdkExpectation): Promise<string> {
  const rows = await program.sql("SELECT service, count(*) AS n FROM spans GROUP BY service");
  const found = new Map(rows.map(([service, count]) => [String(service), Number(count)]));
  return differences(Object.entries(expected.spansByService), found);
}

async function redFault(program: Program, expected: SdkExpectation): Promise<string> {
  const samples = await program.promql("traces_spanmetrics_calls_total");
  const counts = await program.promql("traces_spanmetrics_latency_count");
  const key = (labels: Readonly<Record<string, string | number>>) =>
    `${labels["service"]}|${labels["span_name"]}|${labels["span_kind"]}|${labels["status_code"]}`;
  const wanted = expected.spanMetrics.map((row) => [key({ ...row }), row.calls] as const);
  return (
    differences(wanted, new Map(samples.map(({ metric, value }) => [key(metric), value]))) ||
    differences(wanted, new Map(counts.map(({ metric, value }) => [key(metric), value])))
  );
}

async function graphFault(program: Program, expected: SdkExpectation): Promise<string> {
  const requests = await program.promql("traces_service_graph_request_total");
  const failed = await program.promql("traces_service_graph_request_failed_total");
  const edges = await program.sql(
    "SELECT client, server, connection_type, sum(requests) AS n, sum(errors) AS bad FROM edges GROUP BY client, server, connection_type",
  );
  const key = (labels: Readonly<Record<string, string | number>>) =>
    `${labels["client"]}|${labels["server"]}|${labels["connection_type"] ?? ""}`;
  const wanted = expected.serviceGraph.map((edge) => [key({ ...edge }), edge.requests] as const);
  const wantedFailed = expected.serviceGraph
    .filter((edge) => edge.failed > 0)
    .map((edge) => [key({ ...edge }), edge.failed] as const);
  const nonZero = failed.filter(({ value }) => value > 0);
  return (
    differences(wanted, new Map(requests.map(({ metric, value }) => [key(metric), value]))) ||
    differences(wantedFailed, new Map(nonZero.map(({ metric, value }) => [key(metric), value]))) ||
    differences(
      wanted,
      new Map(edges.map(([client, server, type, count]) => [`${client}|${server}|${type}`, Number(count)])),
    )
  );
}
