/**
 * OTLP from outside: a traced app on the OpenTelemetry SDK over both transports, and recorded SDK bodies with what must
 * come of them in SQL, RED metrics and the service graph.
 */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { oneTruthFault } from "../one-truth.ts";
import { Program, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { readBodies, readExpectation, type SdkBody, type SdkExpectation, sdkFolders } from "./sdk-bodies.ts";

const ORDERS = 200;
/** Virtual nodes appear when a half edge expires. */
const DERIVED_MS_MAX = 30_000;
const TRACE_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/** The suite `otlp`: recorded bodies of SDKs under `dir`, and an app on a real SDK. */
export async function runOtlp({ dir }: { dir: string }): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  for (const folder of sdkFolders(dir)) await withProgram((program) => sendFolder(program, folder, report));
  await withProgram((program) => runApp(program, report));
  return report.outcome;
}

async function withProgram(use: (program: Program) => Promise<void>): Promise<void> {
  const program = await Program.start(["--capture", "off"]);
  try {
    await use(program);
  } finally {
    await program.discard();
  }
}

async function sendFolder(program: Program, folder: string, report: SuiteReport): Promise<void> {
  const name = folder.slice(folder.lastIndexOf("/") + 1);
  for (const body of readBodies(folder)) report.add(`${name}/${body.file} is accepted`, await sendFault(program, body));
  const expected = readExpectation(folder);
  report.add(`${name}: spans by service`, await spansFault(program, expected));
  let fault = "";
  await until(async () => {
    fault = await metricsFault(program, expected);
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

async function sendFault(program: Program, { transport, body, contentEncoding }: SdkBody): Promise<string> {
  if (transport === "grpc") return sendGrpc(program.otlpGrpc, body);
  const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
    method: "POST",
    headers: {
      "content-type": "application/x-protobuf",
      ...(contentEncoding === "" ? {} : { "content-encoding": contentEncoding }),
    },
    body: Buffer.from(body),
  });
  const reply = await answer.arrayBuffer();
  if (answer.status !== 200) return `status ${answer.status}: ${Buffer.from(reply).toString("latin1")}`;
  return reply.byteLength === 0 ? "" : `a full success has an empty body; this has ${reply.byteLength} bytes`;
}

function sendGrpc(address: string, body: Uint8Array): Promise<string> {
  const client = new Client(address, credentials.createInsecure());
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      TRACE_EXPORT,
      (bytes: Uint8Array) => Buffer.from(bytes),
      (bytes: Buffer) => bytes,
      body,
      new Metadata(),
      { deadline: Date.now() + 20_000 },
      (error, reply) => {
        client.close();
        if (error !== null) resolve(`gRPC status ${error.code}: ${error.details}`);
        else resolve(reply?.length === 0 ? "" : `a full success is an empty message; this has ${reply?.length} bytes`);
      },
    );
  });
}

async function spansFault(program: Program, expected: SdkExpectation): Promise<string> {
  const rows = await program.sql("SELECT service, count(*) AS n FROM spans GROUP BY service");
  const found = new Map(rows.map(([service, count]) => [String(service), Number(count)]));
  return differences(Object.entries(expected.spansByService), found);
}

async function metricsFault(program: Program, expected: SdkExpectation): Promise<string> {
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

async function runApp(program: Program, report: SuiteReport): Promise<void> {
  for (const transport of ["grpc", "http"]) {
    const endpoint = transport === "grpc" ? program.otlpGrpc : program.otlpHttp;
    const app = spawn(
      process.execPath,
      [join(import.meta.dirname, "sdk-app.ts"), transport, endpoint, String(ORDERS)],
      {
        stdio: ["ignore", "inherit", "inherit"],
      },
    );
    const status = await new Promise<number | null>((resolve) => app.once("exit", (code) => resolve(code)));
    report.add(`SDK app over ${transport} ends well`, status === 0 ? "" : `status ${status}`);
    const front = `front-${transport}`;
    const stock = `stock-${transport}`;
    const rows = await program.sql(
      "SELECT service, name, kind, status, count(*) AS n FROM spans WHERE service IN ($1, $2) GROUP BY service, name, kind, status",
      [front, stock],
    );
    const failed = ORDERS / 5;
    const wanted: [string, number][] = [
      [`${front}|POST /orders|server|unset`, ORDERS],
      [`${front}|GET|client|unset`, ORDERS],
      [`${front}|INSERT orders|client|unset`, ORDERS],
      [`${stock}|GET /stock/{id}|server|unset`, ORDERS - failed],
      [`${stock}|GET /stock/{id}|server|error`, failed],
    ];
    const found = new Map(
      rows.map(([service, name, kind, state, count]) => [`${service}|${name}|${kind}|${state}`, Number(count)]),
    );
    report.add(`SDK app over ${transport}: every span once in SQL`, differences(wanted, found));
    const edges = new Map<string, number>([
      [`user|${front}|virtual_node`, ORDERS],
      [`${front}|${stock}|`, ORDERS],
      [`${front}|db|database`, ORDERS],
    ]);
    let fault = "";
    await until(async () => {
      const series = await program.promql(
        `traces_service_graph_request_total{client=~"user|${front}",server=~"${front}|${stock}|db"}`,
      );
      fault = differences(
        [...edges],
        new Map(
          series.map(({ metric, value }) => [
            `${metric["client"]}|${metric["server"]}|${metric["connection_type"] ?? ""}`,
            value,
          ]),
        ),
      );
      return fault === "" ? true : undefined;
    }, DERIVED_MS_MAX);
    report.add(`SDK app over ${transport}: service graph`, fault);
  }
  report.add("SDK app: one truth", await oneTruthFault(program));
}

function differences(wanted: Iterable<readonly [string, number]>, found: ReadonlyMap<string, number>): string {
  const lines: string[] = [];
  const keys = new Set<string>();
  for (const [key, count] of wanted) {
    keys.add(key);
    if (found.get(key) !== count) lines.push(`${key}: expected ${count}, found ${found.get(key) ?? 0}`);
  }
  for (const [key, count] of found) if (!keys.has(key)) lines.push(`${key}: not expected, found ${count}`);
  return lines.slice(0, 20).join("\n");
}
