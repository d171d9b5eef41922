/**
 * The suite `blocks`: blocks of a real Prometheus are imported, exported again and opened by another real Prometheus; all
 * three answer alike. OpenMetrics text comes in too, and damage costs the chunk it hit.
 */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual, parseArgs } from "node:util";
import type { NativeHistogram } from "../../server/model/histogram.ts";
import { Program } from "../program.ts";
import { Prometheus } from "../prometheus.ts";
import { type SentSample, type SentSeries, sendWrite } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const MAIN = join(import.meta.dirname, "..", "..", "server", "cli", "main.ts");
const HOURS = 5;
const STEP_MS = 15_000;
const SERIES = 30;
const RANGE_STEP_SECONDS = 300;
/** Doubles of all classes, so many that a step of the answer meets each. */
const ODD = [
  NaN,
  Infinity,
  -Infinity,
  -0,
  0,
  5e-324,
  -2.2250738585072014e-308,
  1.7976931348623157e308,
  1e-300,
  Math.PI,
  -1 / 3,
];

/** What Prometheus 2 and 3 answer alike: windows end between samples, and nothing is summed up or interpolated. */
const QUERIES: readonly string[] = [
  "requests_total",
  "rate(requests_total[301s])",
  "resets(requests_total[3601s])",
  "temperature",
  'temperature{room=~"1."}',
  "count_over_time({__name__=~'.+'}[601s])",
  "gone",
  "absent(gone)",
  "histogram_count(latency_seconds)",
  "latency_seconds",
  "odd",
];

/** Where a Prometheus is not Debian's: `--prometheus PROGRAM`. */
export async function runBlocks(): Promise<SuiteOutcome> {
  const { values } = parseArgs({ options: { prometheus: { type: "string" } }, strict: false });
  const binary = typeof values.prometheus === "string" ? values.prometheus : "prometheus";
  const report = new SuiteReport();
  if (spawnSync(binary, ["--version"]).status !== 0) {
    report.skip("blocks", `there is no ${binary}`, "servers");
    return report.outcome;
  }
  const directory = mkdtempSync(join(tmpdir(), "thalweg-blocks-"));
  const features = { features: "native-histograms", flags: ["--web.enable-admin-api"] };
  const source = await Prometheus.start(binary, features);
  const running: { discard(): Promise<void> }[] = [source];
  try {
    const endMs = Math.floor(Date.now() / STEP_MS) * STEP_MS;
    await fill(source, endMs);
    const snapshot = await snapshotOf(source);
    const program = await Program.start(["--capture", "off"]);
    running.push(program);
    const imported = await verb(["import", snapshot, "--url", program.http]);
    report.add("import takes every sample", imported.status === 0 ? "" : imported.output);
    await compare(report, "imported", { endMs, wanted: source.http, got: program.http });
    const exported = await verb(["export", join(directory, "out"), "--url", program.http]);
    report.add("export writes every sample", exportFault(imported.output, exported));
    const target = await Prometheus.start(binary, { ...features, blocks: join(directory, "out") });
    running.push(target);
    await compare(report, "exported", { endMs, wanted: source.http, got: target.http });
    await checkDamage(report, snapshot, running);
    await checkText(report, directory, running);
  } catch (error) {
    report.add("blocks", error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    for (const each of running) await each.discard();
    rmSync(directory, { recursive: true, force: true });
  }
  return report.outcome;
}

/** Series of every kind over some hours, so that Prometheus makes several blocks of them. */
async function fill(prometheus: Prometheus, endMs: number): Promise<void> {
  const startMs = endMs - HOURS * 3_600_000;
  const steps = (endMs - startMs) / STEP_MS;
  const slice = 240;
  for (let from = 0; from < steps; from += slice) {
    const times = Array.from({ length: Math.min(slice, steps - from) }, (_, at) => startMs + (from + at) * STEP_MS);
    const all: SentSeries[] = [];
    for (let index = 0; index < SERIES; index++) {
      all.push(
        series("requests_total", { code: String(200 + (index % 3)), pod: `p${index}` }, times, (ms) => {
          return Math.floor((ms - startMs) / 1000) % (4_000 + 100 * index);
        }),
      );
      all.push(
        series(
          "temperature",
          { room: String(index) },
          times,
          (ms) => Math.round(200 * Math.sin(ms / 1e6 + index)) / 10,
        ),
      );
    }
    all.push(series("odd", {}, times, (ms) => ODD[(ms / STEP_MS) % ODD.length] ?? 0));
    all.push(
      series(
        "gone",
        { é: "ü𝒶" },
        times.filter((ms) => ms < endMs - 2 * 3_600_000),
        (ms) => ms,
      ),
    );
    all.push(series("latency_seconds", { le: "none" }, times, (ms) => histogram((ms - startMs) / STEP_MS)));
    const { status, text } = await sendWrite(
      prometheus.http,
      all.filter(({ samples }) => samples.length > 0),
      1,
    );
    if (status >= 300) throw new Error(`Prometheus answered ${status}: ${text}`);
  }
}

function series(
  name: string,
  labels: Readonly<Record<string, string>>,
  times: readonly number[],
  value: (ms: number) => SentSample["value"],
): SentSeries {
  const pairs = Object.entries({ __name__: name, ...labels }).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    labels: pairs,
    samples: times.map((timestampMs) => ({ timestampMs, startMs: 0, value: value(timestampMs) })),
  };
}

function histogram(step: number): NativeHistogram {
  return {
    schema: 3,
    zeroThreshold: 1e-9,
    zeroCount: step,
    count: 4 * step,
    sum: 1.5 * step,
    positiveSpans: [
      { offset: -2, length: 2 },
      { offset: 3, length: 1 },
    ],
    positiveCounts: Float64Array.of(step, step, step),
    negativeSpans: [],
    negativeCounts: new Float64Array(0),
    customValues: new Float64Array(0),
    resetHint: "unknown",
    integer: true,
  };
}

/** Everything as blocks, also what is in memory. */
async function snapshotOf(prometheus: Prometheus): Promise<string> {
  const answer = await fetch(`${prometheus.http}/api/v1/admin/tsdb/snapshot`, { method: "POST" });
  const body: { data?: { name: string }; error?: string } = JSON.parse(await answer.text());
  if (body.data === undefined) throw new Error(`no snapshot: ${body.error}`);
  return join(prometheus.dataDirectory, "snapshots", body.data.name);
}

/** Runs a verb as a person would. */
function verb(words: readonly string[]): Promise<{ readonly status: number; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...words], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (more: string) => {
        output += more;
      });
    }
    child.on("error", reject);
    child.on("exit", (status) => resolve({ status: status ?? -1, output }));
  });
}

function exportFault(
  imported: string,
  { status, output }: { readonly status: number; readonly output: string },
): string {
  if (status !== 0) return output;
  const count = /^\d+/.exec(imported)?.[0] ?? "";
  // Beside what was imported there are no series: nothing is captured and nothing arrives.
  return output.startsWith(`${count} samples`) ? "" : `${output.trim()}; imported were ${count}`;
}

async function compare(
  report: SuiteReport,
  what: string,
  { endMs, wanted, got }: { readonly endMs: number; readonly wanted: string; readonly got: string },
): Promise<void> {
  const startSeconds = (endMs - HOURS * 3_600_000) / 1000;
  for (const query of QUERIES) {
    const ask = async (base: string) => {
      const form = new URLSearchParams({
        query,
        start: String(startSeconds),
        end: String(endMs / 1000),
        step: String(RANGE_STEP_SECONDS),
      });
      const answer = await fetch(`${base}/api/v1/query_range`, { method: "POST", body: form });
      const body: { data?: { result: { metric: Record<string, string> }[] }; error?: string } = JSON.parse(
        await answer.text(),
      );
      if (body.data === undefined) throw new Error(`${query}: ${body.error}`);
      return body.data.result.map((each) => JSON.stringify(ordered(each))).sort();
    };
    const [left, right] = await Promise.all([ask(wanted), ask(got)]);
    const fault = isDeepStrictEqual(left, right) ? "" : differenceOf(left, right);
    report.add(`${what}: ${query}`, left.length === 0 ? "Prometheus gives nothing" : fault);
  }
}

function differenceOf(left: readonly string[], right: readonly string[]): string {
  const at = left.findIndex((line, index) => line !== right[index]);
  return `${left.length} and ${right.length} series\nPrometheus: ${left[at]?.slice(0, 300)}\nThalweg: ${right[at]?.slice(0, 300)}`;
}

function ordered<T extends { readonly metric: Record<string, string> }>(each: T): T {
  return { ...each, metric: Object.fromEntries(Object.entries(each.metric).sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** One flipped bit in a file of chunks. */
async function checkDamage(
  report: SuiteReport,
  snapshot: string,
  running: { discard(): Promise<void> }[],
): Promise<void> {
  const block = readdirSync(snapshot).sort()[0] ?? "";
  const file = join(snapshot, block, "chunks", "000001");
  const bytes = readFileSync(file);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] ?? 0) ^ 4;
  writeFileSync(file, bytes);
  const program = await Program.start(["--capture", "off"]);
  running.push(program);
  const { status, output } = await verb(["import", join(snapshot, block), "--url", program.http]);
  report.add(
    "a damaged chunk is told and left out alone",
    status === 1 && /^1 chunks are damaged/m.test(output) ? "" : output,
  );
  const again = await verb(["import", join(snapshot, block), "--url", program.http]);
  const told = again.status === 1 && again.output.includes("--out-of-order-window");
  report.add("what is older than what is there is told", told ? "" : again.output);
}

async function checkText(
  report: SuiteReport,
  directory: string,
  running: { discard(): Promise<void> }[],
): Promise<void> {
  const program = await Program.start(["--capture", "off"]);
  running.push(program);
  const file = join(directory, "metrics.om");
  const nowSeconds = Math.floor(Date.now() / 1000);
  writeFileSync(
    file,
    `# TYPE jobs counter\njobs_total{q="a"} 2 ${nowSeconds - 15}\njobs_total{q="a"} 1 ${nowSeconds - 30}\njobs_total{q="b"} 7 ${nowSeconds - 30}\n# EOF\n`,
  );
  const { status, output } = await verb(["import", file, "--url", program.http]);
  report.add("OpenMetrics text is imported", status === 0 && output.startsWith("3 of 3 samples") ? "" : output);
  const values = (await program.promql("sum_over_time(jobs_total[5m])"))
    .map(({ metric, value }) => `${metric["q"]} ${value}`)
    .sort();
  report.add("its samples are there", isDeepStrictEqual(values, ["a 3", "b 7"]) ? "" : values.join(", "));
  writeFileSync(file, "jobs_total 1\n# EOF\n");
  const refused = await verb(["import", file, "--url", program.http]);
  report.add(
    "a sample without a time is refused",
    refused.status === 1 && refused.output.includes("has no time") ? "" : refused.output,
  );
  const windowed = await Program.start(["--capture", "off", "--out-of-order-window", "1m"]);
  running.push(windowed);
  writeFileSync(file, `jobs_total 2 ${nowSeconds}\njobs_total 1 ${nowSeconds - 3600}\n# EOF\n`);
  await verb(["import", file, "--url", windowed.http]);
  writeFileSync(file, `jobs_total 0 ${nowSeconds - 7200}\n# EOF\n`);
  const late = await verb(["import", file, "--url", windowed.http]);
  report.add(
    "what is older than the window is told",
    late.status === 1 && late.output.includes("--out-of-order-window") ? "" : late.output,
  );
}
