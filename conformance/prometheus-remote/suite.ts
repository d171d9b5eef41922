/**
 * The suite `prometheus-remote`: a real Prometheus writes to us, and another reads from us and answers as the first.
 *
 * In the middle our server is killed with -9; what the writer scraped is all there in the end.
 */

import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { metricLedgerFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { Prometheus } from "../prometheus.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { checkAcknowledged } from "./acknowledged.ts";
import { Exporter } from "./exporter.ts";
import { type ReadForm, startReadBetween } from "./read-between.ts";

const BINARY = "prometheus";
/** Scrapes before our server is killed, and when the exporter ends. */
const KILL_AT = 12;
const END_AT = 34;
const DOWN_MS = 1_200;
const SETTLE_MS_MAX = 30_000;
const RANGE_SECONDS = 120;
const STEP_SECONDS = 0.5;
const RANGE_STEPS_SECONDS = 20;

/** Asked of the writer, which has the samples in its own storage, and of the readers, which have them from us. */
const QUERIES: readonly string[] = [
  "client_requests_total",
  "rate(client_requests_total[3s])",
  "sum by (code) (increase(client_requests_total[4s]))",
  "resets(client_requests_total[20s])",
  "client_odd",
  'client_odd{kind=~"pl.+|minus"}',
  "client_gone",
  "count_over_time(client_gone[5s])",
  "absent(client_gone)",
  "histogram_quantile(0.9, sum by (le) (rate(client_latency_seconds_bucket[4s])))",
  "client_native_seconds",
  "rate(client_native_seconds[4s])",
  "histogram_quantile(0.5, rate(client_native_seconds[6s]))",
  "resets(client_native_seconds[20s])",
  "client_level",
  "sum(client_level)",
  'client_temperature{job!="thalweg"} offset 2s',
  "last_over_time(client_temperature[20s] @ end())",
  "max_over_time(client_temperature[5s:500ms])",
  'topk(1, {__name__=~"client_wait_seconds.*", quantile!="0.5"})',
  'count({job="client"})',
  'up{job=~"client|thalweg"}',
];

/** Prometheus 2.42 takes no histograms out of remote read, and leaves them out of raw ranges. */
const OF_HISTOGRAMS = /native|level|job="client"/;
const READ_TYPES: Readonly<Record<ReadForm, string>> = {
  streamed: "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
  sampled: "application/x-protobuf",
};

/** A version of the protocol with the setting that asks for it. */
interface Protocol {
  readonly name: string;
  readonly setting: string;
  readonly isSecond: boolean;
}

/** Options behind the suite's name: `--prometheus PATH` in place of the one in the path, Debian's in CI. */
export async function runPrometheusRemote({ args = [] }: { args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { prometheus: { type: "string", default: BINARY }, dir: { type: "string" } },
    allowPositionals: true,
  });
  const report = new SuiteReport();
  await checkAcknowledged(report);
  const told = spawnSync(values.prometheus, ["--version"], { encoding: "utf8" });
  if (told.status !== 0) {
    report.skip("a real Prometheus", `${values.prometheus} is not there`, "servers");
    return report.outcome;
  }
  // One that was built without a release's flags names no version.
  const isThird = !/version [012]\./.test(`${told.stdout}${told.stderr}`);
  for (const protocol of protocolsOf(isThird)) {
    await checkProtocol(report, { binary: values.prometheus, isThird, protocol });
  }
  return report.outcome;
}

function protocolsOf(isThird: boolean): Protocol[] {
  const first = { name: "remote write 1.0", setting: "", isSecond: false };
  const setting = "protobuf_message: io.prometheus.write.v2.Request";
  return isThird ? [first, { name: "remote write 2.0", setting, isSecond: true }] : [first];
}

interface Part {
  readonly binary: string;
  readonly isThird: boolean;
  readonly protocol: Protocol;
}

/** Everything that was started and has to be stopped. */
type Undo = (() => Promise<unknown>)[];

async function checkProtocol(report: SuiteReport, part: Part): Promise<void> {
  const undo: Undo = [];
  try {
    await playProtocol(report, part, undo);
  } finally {
    for (const stop of undo.toReversed()) await stop();
  }
}

async function playProtocol(report: SuiteReport, part: Part, undo: Undo): Promise<void> {
  const add = (what: string, fault: string) => report.add(`${part.protocol.name}: ${what}`, fault);
  let program = await Program.start(["--capture", "off"]);
  undo.push(() => program.discard());
  const exporter = await Exporter.start({ isUtf8: part.isThird });
  const writer = await Prometheus.start(part.binary, {
    features: part.isThird ? "exemplar-storage,metadata-wal-records,st-storage" : "exemplar-storage,native-histograms",
    config: writerConfig(exporter.address, program.http, part),
  });
  undo.push(() => writer.discard());
  await reach(exporter, KILL_AT);
  await program.kill();
  await sleep(DOWN_MS);
  const address = program.http.replace("http://", "");
  program = await Program.start(["--capture", "off", "--listen", address], program.dataDirectory);
  await reach(exporter, END_AT);
  await exporter.stop();
  // Its series are marked as gone at the next scrape.
  await sleep(1_000);
  const at = Date.now() / 1_000;
  add(
    "all that was scraped is here, over a kill -9",
    await agree(() => rawFault(writer, program, { at, isThird: part.isThird })),
  );
  add("exemplars are here", await agree(() => exemplarFault(writer, program, at)));
  add("metadata is here", await metadataFault(program));
  if (part.protocol.isSecond) add("start timestamps are here", await startFault(writer, program, at));
  add("the ledger adds up", await metricLedgerFault(program));
  for (const form of part.isThird ? (["streamed", "sampled"] as const) : (["sampled"] as const)) {
    const between = await startReadBetween(program.http, form);
    undo.push(() => between.stop());
    const reader = await readerOf(part, between.url);
    undo.push(() => reader.discard());
    for (const { name, text } of await compareAnswers(writer, reader, { at, isThird: part.isThird })) {
      add(`${form} read: ${name}`, text);
    }
    const types = [...between.types].join();
    add(`${form} read was ${form}`, types === READ_TYPES[form] ? "" : `answers were of type ${types}`);
  }
}

function writerConfig(exporter: string, program: string, { isThird, protocol }: Part): string {
  const address = program.replace("http://", "");
  return `
global:
  scrape_interval: 250ms
  scrape_timeout: 200ms
scrape_configs:
- job_name: client
  ${isThird ? "scrape_native_histograms: true" : ""}
  ${isThird ? "always_scrape_classic_histograms: true" : ""}
  static_configs: [{targets: ['${exporter}']}]
- job_name: thalweg
  static_configs: [{targets: ['${address}']}]
remote_write:
- url: ${program}/api/v1/write
  ${protocol.setting}
  send_exemplars: true
  send_native_histograms: true
  metadata_config: {send: ${!protocol.isSecond}, send_interval: 1s}
  queue_config: {batch_send_deadline: 200ms, min_backoff: 50ms, max_backoff: 300ms}
`;
}

function readerOf({ binary, isThird }: Part, base: string): Promise<Prometheus> {
  const config = `remote_read: [{url: '${base}/api/v1/read', read_recent: true}]\n`;
  return Prometheus.start(binary, { config, ...(isThird ? {} : { features: "native-histograms" }) });
}

async function reach(exporter: Exporter, scrapes: number): Promise<void> {
  const reached = await until(async () => (exporter.scrapes >= scrapes ? true : undefined), SETTLE_MS_MAX);
  if (reached === undefined) throw new Error(`the exporter was scraped ${exporter.scrapes} times, not ${scrapes}`);
}

/** Asks until there is no fault any more, since a writer needs its time. */
async function agree(fault: () => Promise<string>): Promise<string> {
  let last = "";
  await until(async () => {
    last = await fault();
    return last === "" ? true : undefined;
  }, SETTLE_MS_MAX);
  return last;
}

interface Answer {
  readonly status: string;
  readonly data: unknown;
  readonly error?: string;
}

async function ask(
  base: string,
  path: string,
  form: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const answer = await fetch(`${base}/api/v1/${path}`, { method: "POST", body: new URLSearchParams(form), headers });
  const text = await answer.text();
  if (!text.startsWith("{")) return { status: `HTTP ${answer.status}`, data: undefined, error: text.slice(0, 200) };
  return JSON.parse(text);
}

/** One line for each series, sorted. */
function linesOf(answer: Answer): string[] {
  if (answer.status !== "success") return [`${answer.status}: ${answer.error ?? ""}`];
  const { data } = answer;
  const rows = Array.isArray(data) ? data : isResult(data) ? data.result : [data];
  return (Array.isArray(rows) ? rows : [rows]).map((row) => JSON.stringify(sorted(row))).sort();
}

function isResult(data: unknown): data is { readonly result: unknown } {
  return typeof data === "object" && data !== null && "result" in data;
}

/** The same value with the keys of its objects in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

function difference(wanted: readonly string[], got: readonly string[]): string {
  const missing = wanted.filter((line) => !got.includes(line));
  const strange = got.filter((line) => !wanted.includes(line));
  if (missing.length === 0 && strange.length === 0) return wanted.length === 0 ? "there is nothing to compare" : "";
  const show = (lines: readonly string[]) => (lines[0] ?? "none").slice(0, 1_500);
  return `${missing.length} of ${wanted.length} differ\nwanted ${show(missing)}\ngot    ${show(strange)}`;
}

/** Samples of all series of the exporter, as the writer has them and as we do: raw, and native histograms at steps. */
async function rawFault(
  writer: Prometheus,
  program: Program,
  { at, isThird }: { readonly at: number; readonly isThird: boolean },
): Promise<string> {
  const floats = isThird ? '{job="client"}' : '{job="client",__name__!~".*(native_seconds|level)"}';
  const steps = { start: String(at - RANGE_STEPS_SECONDS), end: String(at), step: String(STEP_SECONDS) };
  const calls = [
    { path: "query", form: { query: `${floats}[${RANGE_SECONDS}s]`, time: String(at) } },
    { path: "query_range", form: { query: '{__name__=~"client_(native_seconds|level)"}', ...steps } },
  ];
  const faults: string[] = [];
  for (const { path, form } of calls) {
    const [wanted, got] = [await ask(writer.http, path, form), await ask(program.http, path, form)];
    faults.push(difference(linesOf(wanted), linesOf(got)));
  }
  return faults.filter((fault) => fault !== "").join("\n");
}

async function exemplarFault(writer: Prometheus, program: Program, at: number): Promise<string> {
  const form = { query: '{job="client"}', start: String(at - RANGE_SECONDS), end: String(at) };
  const [wanted, got] = [
    await ask(writer.http, "query_exemplars", form),
    await ask(program.http, "query_exemplars", form),
  ];
  return difference(linesOf(wanted), linesOf(got));
}

/** Rates that know since when a counter counts, as the writer computes them and as we do. */
async function startFault(writer: Prometheus, program: Program, at: number): Promise<string> {
  const query = '{__name__=~"client_requests_total|client_native_seconds"}';
  const faults: string[] = [];
  for (const name of ["rate", "increase", "resets"]) {
    const form = {
      query: `${name}(${query}[30s])`,
      start: String(at - RANGE_STEPS_SECONDS),
      end: String(at),
      step: String(STEP_SECONDS),
    };
    const headers = { "x-prometheus-use-start-timestamps": "true" };
    const wanted = linesOf(await ask(writer.http, "query_range", form, headers));
    const got = linesOf(await ask(program.http, "query_range", form, headers));
    const without = linesOf(await ask(program.http, "query_range", form));
    faults.push(difference(wanted, got));
    if (name === "increase" && difference(without, got) === "") faults.push("they make no difference");
  }
  return faults.filter((fault) => fault !== "").join("\n");
}

async function metadataFault(program: Program): Promise<string> {
  const wanted: Readonly<Record<string, string>> = {
    client_requests_total: "counter",
    client_temperature: "gauge",
    client_wait_seconds: "summary",
    client_latency_seconds: "histogram",
    client_native_seconds: "histogram",
  };
  const { data } = await program.json<{ data: Record<string, { type: string; help: string }[]> }>("/api/v1/metadata");
  for (const [name, type] of Object.entries(wanted)) {
    const [first] = data[name] ?? [];
    if (first?.type !== type || first.help === "") return `${name}: ${JSON.stringify(data[name])}, not ${type}`;
  }
  return "";
}

/** Every query as an instant one and over a range, and the list of series. */
async function compareAnswers(
  writer: Prometheus,
  reader: Prometheus,
  { at, isThird }: { readonly at: number; readonly isThird: boolean },
): Promise<{ name: string; text: string }[]> {
  const faults: { name: string; text: string }[] = [];
  const start = at - RANGE_STEPS_SECONDS;
  for (const query of QUERIES) {
    if (!isThird && OF_HISTOGRAMS.test(query)) continue;
    const calls = [
      { path: "query", form: { query, time: String(at - 3) } },
      { path: "query_range", form: { query, start: String(start), end: String(at), step: String(STEP_SECONDS) } },
    ];
    const texts: string[] = [];
    for (const { path, form } of calls) {
      const wanted = linesOf(await ask(writer.http, path, form));
      const got = linesOf(await ask(reader.http, path, form));
      // At one moment a series may be gone, over the range none is.
      if (path === "query" && wanted.length === 0 && got.length === 0) continue;
      const text = difference(wanted, got);
      if (text !== "") texts.push(`${path}: ${text}`);
    }
    faults.push({ name: query, text: texts.join("\n") });
  }
  const form = { "match[]": '{job="client"}', start: String(start), end: String(at) };
  const wanted = linesOf(await ask(writer.http, "series", form));
  faults.push({ name: "list of series", text: difference(wanted, linesOf(await ask(reader.http, "series", form))) });
  return faults;
}
