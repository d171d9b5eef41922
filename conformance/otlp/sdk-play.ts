/**
 * Runs the program on the OpenTelemetry SDK once for each transport and looks for all that it exported: spans, their graph,
 * log records joined to them, and metrics of every kind.
 */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { oneTruthFault } from "../one-truth.ts";
import { type Program, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { DERIVED_MS_MAX, differences } from "./differences.ts";
import { SDK_TRANSPORTS, type SdkTransport } from "./sdk-exporters.ts";
import { FAILS_EVERY, ITEMS, LATENCY_BOUNDS, latencyOf, serviceOf, sizeOf } from "./sdk-orders.ts";

/** A multiple of how often things fail, and of how often sizes repeat. */
const ORDERS = 200;
const FAILED = ORDERS / FAILS_EVERY;
/** A map stands in SQL as OTLP JSON. */
const MAP_BODY =
  '{"kvlistValue":{"values":[{"key":"text","value":{"stringValue":"out of stock"}},{"key":"order","value":{"intValue":"ORDER"}}]}}';
const ALL = Array.from({ length: ORDERS }, (_, order) => order);

/** Plays all transports against one program. */
export async function playSdkApp(program: Program, report: SuiteReport): Promise<void> {
  for (const transport of SDK_TRANSPORTS) {
    const endpoint = transport === "grpc" ? program.otlpGrpc : program.otlpHttp;
    const script = join(import.meta.dirname, "sdk-app.ts");
    const app = spawn(process.execPath, [script, transport, endpoint, String(ORDERS)], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    const status = await new Promise<number | null>((resolve) => app.once("exit", (code) => resolve(code)));
    report.add(`SDK app over ${transport} ends well`, status === 0 ? "" : `status ${status}`);
    report.add(`SDK app over ${transport}: every span once in SQL`, await spansFault(program, transport));
    report.add(`SDK app over ${transport}: log records with their spans`, await logsFault(program, transport));
    for (const part of ["front", "stock"] as const) {
      const fault = await metricsFault(program, serviceOf(part, transport));
      report.add(`SDK app over ${transport}: metrics of its ${part}, each sample`, fault);
    }
  }
  for (const transport of SDK_TRANSPORTS)
    report.add(`SDK app over ${transport}: service graph`, await graphFault(program, transport));
  report.add("SDK app: one truth", await oneTruthFault(program));
}

async function spansFault(program: Program, transport: SdkTransport): Promise<string> {
  const [front, stock] = [serviceOf("front", transport), serviceOf("stock", transport)];
  const rows = await program.sql(
    "SELECT service, name, kind, status, count(*) AS n FROM spans WHERE service IN ($1, $2) GROUP BY service, name, kind, status",
    [front, stock],
  );
  return differences(
    [
      [`${front}|POST /orders|server|unset`, ORDERS],
      [`${front}|GET|client|unset`, ORDERS],
      [`${front}|INSERT orders|client|unset`, ORDERS],
      [`${stock}|GET /stock/{id}|server|unset`, ORDERS - FAILED],
      [`${stock}|GET /stock/{id}|server|error`, FAILED],
    ],
    new Map(rows.map((row) => [row.slice(0, 4).join("|"), Number(row[4])])),
  );
}

async function logsFault(program: Program, transport: SdkTransport): Promise<string> {
  const [front, stock] = [serviceOf("front", transport), serviceOf("stock", transport)];
  const rows = await program.sql(
    `SELECT l.service, s.service, s.name, s.status, l.severity_number, l.severity_text, l.body, l.attributes['item']
     FROM logs l JOIN spans s ON l.trace_id = s.trace_id AND l.span_id = s.span_id WHERE l.service IN ($1, $2)`,
    [front, stock],
  );
  const wanted = ALL.flatMap((order) => {
    const fails = order % FAILS_EVERY === FAILS_EVERY - 1;
    const item = order % ITEMS;
    const words = fails ? MAP_BODY.replace("ORDER", String(order)) : `took ${order}`;
    const severity = fails ? "error|17|ERROR" : "unset|9|INFO";
    return [
      `${front}|${front}|POST /orders|unset|6||${order}|${item}`,
      `${stock}|${stock}|GET /stock/{id}|${severity}|${words}|${item}`,
    ];
  });
  const found = new Map<string, number>();
  for (const row of rows) {
    const key = row.map((cell) => cell ?? "").join("|");
    found.set(key, (found.get(key) ?? 0) + 1);
  }
  return differences(
    wanted.map((key) => [key, 1] as const),
    found,
  );
}

/** All samples of a part, under the names and labels that Prometheus gives them: scopes are none of these by default. */
async function metricsFault(program: Program, service: string): Promise<string> {
  const matched = `job="${service}",instance="${service}-1"`;
  const samples = await program.promql(`{${matched},__name__!~"target_info|order_size_bytes|traces_.*"}`);
  const found = new Map(
    samples.map(({ metric, value }) => {
      const own = Object.entries(metric).filter(([name]) => !/^(__name__|job|instance)$/.test(name));
      return [`${metric["__name__"]}${JSON.stringify(own)}`, value];
    }),
  );
  const wanted: [string, number][] = [
    ["orders_open[]", ORDERS - 2 * FAILED],
    ["work_time_seconds_total[]", ORDERS / 8],
    ["order_latency_seconds_count[]", ORDERS],
    ["order_latency_seconds_sum[]", sumOf(ALL.map(latencyOf))],
  ];
  for (const bound of [...LATENCY_BOUNDS, Number.POSITIVE_INFINITY]) {
    const count = ALL.filter((order) => latencyOf(order) <= bound).length;
    const le = bound === Number.POSITIVE_INFINITY ? "+Inf" : String(bound);
    wanted.push([`order_latency_seconds_bucket${JSON.stringify([["le", le]])}`, count]);
  }
  for (let item = 0; item < ITEMS; item++) {
    const label = JSON.stringify([["item", String(item)]]);
    wanted.push([`orders_placed_total${label}`, ORDERS / ITEMS], [`stock_left${label}`, item - ORDERS]);
  }
  const sizes = `order_size_bytes{${matched}}`;
  const asked: [string, number][] = [
    [`histogram_count(${sizes})`, ORDERS],
    [`histogram_sum(${sizes})`, sumOf(ALL.map(sizeOf))],
    // Bounds of buckets: nothing is interpolated.
    [`histogram_fraction(0, 8, ${sizes})`, ALL.filter((order) => sizeOf(order) <= 8).length / ORDERS],
    [`target_info{${matched},deployment_environment_name="test"}`, 1],
  ];
  for (const [query, value] of asked) {
    wanted.push([query, value]);
    const [answer] = await program.promql(query);
    if (answer !== undefined) found.set(query, answer.value);
  }
  return differences(wanted, found);
}

async function graphFault(program: Program, transport: SdkTransport): Promise<string> {
  const [front, stock] = [serviceOf("front", transport), serviceOf("stock", transport)];
  const edges: [string, number][] = [
    [`user|${front}|virtual_node`, ORDERS],
    [`${front}|${stock}|`, ORDERS],
    [`${front}|db|database`, ORDERS],
  ];
  let fault = "";
  await until(async () => {
    const series = await program.promql(
      `traces_service_graph_request_total{client=~"user|${front}",server=~"${front}|${stock}|db"}`,
    );
    const found = series.map(
      ({ metric, value }) =>
        [`${metric["client"]}|${metric["server"]}|${metric["connection_type"] ?? ""}`, value] as const,
    );
    fault = differences(edges, new Map(found));
    return fault === "" ? true : undefined;
  }, DERIVED_MS_MAX);
  return fault;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
