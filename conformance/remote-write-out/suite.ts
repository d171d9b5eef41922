/**
 * The suite `remote-write-out`: samples of every origin are sent on to a real Prometheus, which is killed and started again,
 * as is the program: what the one acknowledged the other has in the end, relabelled and with external labels.
 */

import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { Program, sleep, until } from "../program.ts";
import { Prometheus } from "../prometheus.ts";
import { type SentSeries, sendWrite } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const STEP_MS = 1_000;
const SERIES = 20;
const DRAINED_MS_MAX = 30_000;
const MESSAGES = { 1: "prometheus.WriteRequest", 2: "io.prometheus.write.v2.Request" } as const;

/** Where a Prometheus is not Debian's: `--prometheus PROGRAM`. */
export async function runRemoteWriteOut(): Promise<SuiteOutcome> {
  const { values } = parseArgs({ options: { prometheus: { type: "string" } }, strict: false });
  const binary = typeof values.prometheus === "string" ? values.prometheus : "prometheus";
  const report = new SuiteReport();
  const told = spawnSync(binary, ["--version"], { encoding: "utf8" });
  if (told.status !== 0) {
    report.skip("remote-write-out", `there is no ${binary}`, "servers");
    return report.outcome;
  }
  const takesVersion2 = !/version 2\.[0-4]\d\b/.test(told.stdout);
  for (const version of takesVersion2 ? ([1, 2] as const) : ([1] as const)) await run(report, binary, version);
  return report.outcome;
}

interface Scene {
  readonly report: SuiteReport;
  readonly version: 1 | 2;
  readonly receiver: Prometheus;
  readonly start: (data?: string) => Promise<Program>;
}

async function run(report: SuiteReport, binary: string, version: 1 | 2): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-remote-write-out-"));
  const features = version === 1 ? "native-histograms" : "native-histograms,exemplar-storage";
  const receiver = await Prometheus.start(binary, { features });
  const target = await listen();
  const { port } = target.address() as AddressInfo; // it listens at TCP
  const config = join(directory, "prometheus.yml");
  writeFileSync(
    config,
    configOf(`http://user:secret@${receiver.http.slice("http://".length)}/api/v1/write`, version, port),
  );
  const flags = ["--capture", "off", "--statsd", "127.0.0.1:0", "--scrape.config", config];
  const programs: Program[] = [];
  const start = async (data?: string) => {
    const program = await (data === undefined ? Program.start(flags) : Program.start(flags, data));
    programs.push(program);
    return program;
  };
  try {
    await check({ report, version, receiver, start });
  } catch (error) {
    report.add(`version ${version}`, error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    for (const program of programs.slice(-1)) await program.discard();
    await receiver.discard();
    target.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

function configOf(url: string, version: 1 | 2, port: number): string {
  return `global:
  scrape_interval: 1s
  external_labels: { cluster: "c1", pod: "not taken" }
scrape_configs:
  - job_name: one
    static_configs: [{ targets: ["127.0.0.1:${port}"] }]
remote_write:
  - url: "${url}"
    name: sink
    protobuf_message: ${MESSAGES[version]}
    send_native_histograms: true
    send_exemplars: true
    write_relabel_configs:
      - { source_labels: [__name__], regex: "unwanted.*", action: drop }
      - { regex: "secret_.*", action: labeldrop }
    queue_config: { batch_send_deadline: 200ms, max_samples_per_send: 100, max_backoff: 1s, max_shards: 4 }
`;
}

/** A target to scrape. */
async function listen(): Promise<Server> {
  let scrapes = 0;
  const server = createServer((_request, answer) => {
    scrapes++;
    answer.setHeader("content-type", "text/plain; version=0.0.4");
    answer.end(`# HELP scraped_total Scrapes.\n# TYPE scraped_total counter\nscraped_total ${scrapes}\nunwanted 1\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function check({ report, version, receiver, start }: Scene): Promise<void> {
  const label = `version ${version}`;
  const startMs = Math.floor(Date.now() / STEP_MS) * STEP_MS - 600_000;
  let program = await start();
  await send(program, startMs, 0, 100);
  await sendOthers(program);
  await drained(program, report, `${label}: all is sent`);
  // The receiver is away while samples come, and comes back after the program was killed too.
  await receiver.kill();
  await send(program, startMs, 100, 200);
  const retried = await until(async () => {
    return (await program.counter("thalweg_remote_write_samples_retried_total")) > 0 ? true : undefined;
  }, 10_000);
  report.add(`${label}: what is not taken is tried again, and counted`, retried === true ? "" : "it is not");
  await program.kill();
  program = await start(program.dataDirectory);
  await send(program, startMs, 200, 300);
  await receiver.revive();
  await drained(program, report, `${label}: all is sent after both were killed`);
  const dropped = await program.counter("thalweg_remote_write_samples_dropped_total", 'reason="dropped_series"');
  report.add(`${label}: what rules drop is counted`, dropped > 0 ? "" : "it is not");
  await compare({ report, label, receiver, program, startMs });
  await sleep(50);
  const leak = /secret/.test(program.output) ? program.output : "";
  report.add(`${label}: the log keeps the password`, leak);
}

/** Counters and native histograms over remote write, `from` to `to` seconds after the start. */
async function send(program: Program, startMs: number, from: number, to: number): Promise<void> {
  const times = Array.from({ length: to - from }, (_, at) => startMs + (from + at) * STEP_MS);
  const all: SentSeries[] = Array.from({ length: SERIES }, (_, pod) => ({
    labels: [
      ["__name__", "sent_total"],
      ["pod", `p${pod}`],
      ["secret_key", "x"],
    ],
    samples: times.map((timestampMs) => ({ timestampMs, startMs: 0, value: (timestampMs - startMs) / 1000 + pod })),
  }));
  all.push({
    labels: [["__name__", "sizes"]],
    samples: times.map((timestampMs) => ({
      timestampMs,
      startMs: 0,
      value: histogram((timestampMs - startMs) / 1000),
    })),
  });
  const { status, text } = await sendWrite(program.http, all, 1);
  if (status >= 300) throw new Error(`the program answered ${status}: ${text}`);
}

function histogram(count: number) {
  return {
    schema: 1,
    zeroThreshold: 1e-9,
    zeroCount: 1,
    count: 2 * count + 1,
    sum: 3 * count,
    positiveSpans: [{ offset: 0, length: 2 }],
    positiveCounts: Float64Array.of(count, count),
    negativeSpans: [],
    negativeCounts: new Float64Array(0),
    customValues: new Float64Array(0),
    resetHint: "unknown",
    integer: true,
  } as const;
}

/** What comes another way: InfluxDB's lines, StatsD, OTLP metrics, spans that become RED metrics. */
async function sendOthers(program: Program): Promise<void> {
  const nowNs = `${Date.now()}000000`;
  const post = async (url: string, type: string, body: string) => {
    const answer = await fetch(url, { method: "POST", headers: { "content-type": type }, body });
    if (answer.status >= 300) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  };
  await post(`${program.http}/write?db=x`, "text/plain", `influx_disk,host=a free=17i ${nowNs}`);
  const resource = { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] };
  const point = { timeUnixNano: nowNs, asDouble: 4.5 };
  const metrics = [{ name: "otlp_gauge", gauge: { dataPoints: [point] } }];
  await post(
    `${program.otlpHttp}/v1/metrics`,
    "application/json",
    JSON.stringify({ resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }] }),
  );
  const span = {
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "00f067aa0ba902b7",
    name: "GET /",
    kind: 2,
    startTimeUnixNano: nowNs,
    endTimeUnixNano: `${BigInt(nowNs) + 5_000_000n}`,
  };
  await post(
    `${program.otlpHttp}/v1/traces`,
    "application/json",
    JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] }),
  );
  const addresses: { statsd: string } = JSON.parse(readFileSync(join(program.dataDirectory, "addresses.json"), "utf8"));
  const socket = createSocket("udp4");
  const port = Number(addresses.statsd.slice(addresses.statsd.lastIndexOf(":") + 1));
  await new Promise((resolve) => socket.send("statsd.gauge:7|g", port, "127.0.0.1", resolve));
  socket.close();
  const wanted = ["influx_disk_free", "otlp_gauge", "traces_spanmetrics_calls_total", "statsd_gauge", "scraped_total"];
  const came = await until(async () => {
    const counts = await Promise.all(wanted.map((name) => program.promql(name)));
    return counts.every(({ length }) => length > 0) ? true : undefined;
  }, 30_000);
  if (came !== true) throw new Error(`not all of ${wanted.join(", ")} came`);
}

async function drained(program: Program, report: SuiteReport, what: string): Promise<void> {
  // Scrapes go on, so that some bytes may wait at any moment.
  const done = await until(async () => {
    const [pending = 1] = await program.counters(["thalweg_remote_write_pending_bytes"]);
    return pending < 2000 ? true : undefined;
  }, DRAINED_MS_MAX);
  await sleep(1500);
  report.add(what, done === true ? "" : `${await program.counter("thalweg_remote_write_pending_bytes")} bytes wait`);
}

interface Comparison {
  readonly report: SuiteReport;
  readonly label: string;
  readonly receiver: Prometheus;
  readonly program: Program;
  readonly startMs: number;
}

async function compare({ report, label, receiver, program, startMs }: Comparison): Promise<void> {
  const endMs = startMs + 300 * STEP_MS;
  const ranges = ["sent_total", "histogram_count(sizes)", "histogram_sum(sizes)"];
  const over = `start=${startMs / 1000 + 0.5}&end=${endMs / 1000}&step=1`;
  for (const query of ranges) {
    const [got, wanted] = await Promise.all([receiver.http, program.http].map((base) => rangeOf(base, query, over)));
    const expected = wanted?.map((text) => withExternal(text)).sort();
    report.add(
      `${label}: ${query}`,
      isDeepStrictEqual(got, expected) && (got?.length ?? 0) > 0
        ? ""
        : `${got?.[0]?.slice(0, 300)} and ${expected?.[0]?.slice(0, 300)}`,
    );
  }
  const total = await instant(receiver.http, `sum(count_over_time(sent_total[10m]))`, endMs / 1000);
  report.add(`${label}: no acknowledged sample is lost`, total[0] === `{} ${300 * SERIES}` ? "" : total.join());
  for (const name of [
    "influx_disk_free",
    "otlp_gauge",
    "traces_spanmetrics_calls_total",
    "statsd_gauge",
    "scraped_total",
    "up",
  ]) {
    const found = await instant(receiver.http, `last_over_time(${name}{cluster="c1"}[10m])`, Date.now() / 1000);
    report.add(`${label}: ${name} goes out`, found.length > 0 ? "" : "it does not");
  }
  const unwanted = await instant(
    receiver.http,
    'count({__name__=~"unwanted.*"} or {secret_key!=""})',
    Date.now() / 1000,
  );
  report.add(`${label}: what rules drop does not go out`, unwanted.length === 0 ? "" : unwanted.join());
  const metadata: { data: Record<string, { type: string; help: string }[]> } = JSON.parse(
    await (await fetch(`${receiver.http}/api/v1/metadata?metric=scraped_total`)).text(),
  );
  const told = metadata.data["scraped_total"]?.[0];
  // A receiver keeps metadata in memory only for what it scrapes itself, unless a version says otherwise.
  if (told !== undefined) report.add(`${label}: metadata`, told.help === "Scrapes." ? "" : JSON.stringify(told));
}

/** What the receiver is to have for a series of the program's. */
function withExternal(text: string): string {
  const series: { metric: Record<string, string>; values: unknown } = JSON.parse(text);
  const { secret_key: _dropped, ...metric } = series.metric;
  return JSON.stringify({ metric: ordered({ pod: "not taken", ...metric, cluster: "c1" }), values: series.values });
}

async function rangeOf(base: string, query: string, over: string): Promise<string[]> {
  const answer = await fetch(`${base}/api/v1/query_range?query=${encodeURIComponent(query)}&${over}`);
  const body: { data?: { result: { metric: Record<string, string>; values: unknown }[] }; error?: string } = JSON.parse(
    await answer.text(),
  );
  if (body.data === undefined) throw new Error(`${query}: ${body.error}`);
  return body.data.result.map(({ metric, values }) => JSON.stringify({ metric: ordered(metric), values })).sort();
}

async function instant(base: string, query: string, seconds: number): Promise<string[]> {
  const answer = await fetch(`${base}/api/v1/query?query=${encodeURIComponent(query)}&time=${seconds}`);
  const body: { data?: { result: { metric: Record<string, string>; value: [number, string] }[] }; error?: string } =
    JSON.parse(await answer.text());
  if (body.data === undefined) throw new Error(`${query}: ${body.error}`);
  return body.data.result.map(({ metric, value }) => `${JSON.stringify(ordered(metric))} ${value[1]}`);
}

function ordered(metric: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
}
