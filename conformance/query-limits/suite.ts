/**
 * Queries of death: each is refused, stopped or answered by the right rule and in time, while memory stays within its
 * budget, writes go on as fast as before and the server answers everybody else.
 */

import { parseArgs } from "node:util";
import { Program, sleep, until } from "../program.ts";
import { type SentSeries, sendWrite } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { type DeadlyQuery, type DeadlyWorld, deadlyQueries, type WantedAnswer } from "./deaths.ts";
import { ProcessWatch, p99, SteadySync, SteadyWriter, WRITTEN_SERIES } from "./watch.ts";

const SERIES_DEFAULT = 100_000;
const SAMPLES_PER_SERIES = 20;
const SAMPLE_EVERY_MS = 15_000;
const SERIES_PER_WRITE = 2_000;
const TIMEOUT_SECONDS = 4;
/** A query may take its timeout and this. */
const SLACK_MS = 1_000;
/** Memory that the server plans for, and more where more series are asked for. */
const MEMORY_BYTES_MIN = 2 ** 31;
const MEMORY_BYTES_PER_SERIES = 16_384;
const QUIET_MS = 8_000;
/** Writes may take twice their quiet time; below this they are quick, whatever they took before. */
const WRITE_MS_FLOOR = 20;
const CONCURRENT = 300;

/** Runs the suite. `--series 1000000` takes as many series as are asked for. */
export async function runQueryLimits({ args }: { readonly args: readonly string[] }): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { series: { type: "string" }, only: { type: "string" } },
    allowPositionals: true,
    strict: false,
  });
  const series = Number(values.series ?? SERIES_DEFAULT);
  const only = typeof values.only === "string" ? values.only : "";
  const memoryBytes = Math.max(MEMORY_BYTES_MIN, series * MEMORY_BYTES_PER_SERIES);
  const report = new SuiteReport();
  const program = await Program.start([
    "--capture",
    "off",
    "--memory",
    String(memoryBytes),
    "--query-timeout",
    `${TIMEOUT_SECONDS}s`,
    "--enable-feature=promql-experimental-functions",
  ]);
  try {
    const writer = new SteadyWriter(program.http);
    await writer.write(); // before the others, which may take all room that there is for series
    const loaded = (await load(program, series)) - WRITTEN_SERIES;
    await attack(program, { writer, loaded, memoryBytes, only }, report);
    report.add("stops cleanly", (await program.stop()) === 0 ? "" : "the exit status is not 0");
  } finally {
    await program.discard();
  }
  return report.outcome;
}

/** How a server is attacked. */
interface Attack {
  readonly writer: SteadyWriter;
  /** Series that it holds. */
  readonly loaded: number;
  readonly memoryBytes: number;
  /** A part of the names of the cases to run; empty for all. */
  readonly only: string;
}

/**
 * Writes series with labels as those of a cluster's containers.
 *
 * @returns How many the server holds in all: its memory bounds them.
 */
async function load(program: Program, count: number): Promise<number> {
  const nowMs = Date.now();
  for (let from = 0; from < count; from += SERIES_PER_WRITE) {
    const batch: SentSeries[] = [];
    for (let index = from; index < Math.min(count, from + SERIES_PER_WRITE); index++) {
      const samples = Array.from({ length: SAMPLES_PER_SERIES }, (_, k) => ({
        timestampMs: nowMs - (SAMPLES_PER_SERIES - 1 - k) * SAMPLE_EVERY_MS,
        startMs: 0,
        value: (index % 1000) + k * 1.5,
      }));
      batch.push({ labels: labelsOf(index), samples });
    }
    const { status, text } = await sendWrite(program.http, batch, 1);
    if (status >= 500) throw new Error(`loading answered ${status}: ${text}`);
    if (status >= 300) break;
  }
  const { data } = await program.json<{ data: { headStats: { numSeries: number } } }>("/api/v1/status/tsdb");
  const { numSeries } = data.headStats;
  if (numSeries < count) process.stdout.write(`the server took ${numSeries} of ${count} series\n`);
  return numSeries;
}

function labelsOf(index: number): [string, string][] {
  return [
    ["__name__", `load_${index % 50}`],
    ["az", `az-${index % 3}`],
    ["cluster", `cluster-${index % 7}`],
    ["container", "main"],
    ["env", "prod"],
    ["instance", `10.0.${Math.floor(index / 250) % 250}.${index % 250}:9100`],
    ["job", `job-${index % 20}`],
    ["namespace", `ns-${index % 30}`],
    ["pod", `pod-${index}-abcdef`],
    ["service", `svc-${index % 100}`],
  ];
}

async function attack(
  program: Program,
  { writer, loaded, memoryBytes, only }: Attack,
  report: SuiteReport,
): Promise<void> {
  writer.start();
  const watch = new ProcessWatch(program.pid, program.http);
  const sync = new SteadySync(`${program.dataDirectory}.plain`);
  try {
    await sleep(1_000); // the first writes warm the server up
    writer.take();
    await sleep(QUIET_MS);
    const quietBeforeMs = p99(writer.take().latenciesMs);
    watch.take();
    sync.take();
    const world: DeadlyWorld = {
      nowSeconds: Math.floor(Date.now() / 1000),
      loaded,
      series: loaded + WRITTEN_SERIES,
      timeoutSeconds: TIMEOUT_SECONDS,
    };
    const latenciesMs: number[] = [];
    for (const query of deadlyQueries(world)) {
      if (!query.name.includes(only)) continue;
      const fault = await killWith(program, query);
      const written = writer.take();
      latenciesMs.push(...written.latenciesMs);
      const seen = watch.take();
      const worst = `writes at most ${Math.round(Math.max(0, ...written.latenciesMs))} ms, /livez ${Math.round(seen.answerMsMax)} ms, ${Math.round(seen.rssBytesMax / 2 ** 20)} MiB`;
      const memory = seen.rssBytesMax > memoryBytes ? `${seen.rssBytesMax} bytes of ${memoryBytes} are used` : "";
      report.add(
        `${query.name} (${worst})`,
        [fault, memory, ...written.faults, ...seen.faults].filter((one) => one !== "").join("\n"),
      );
    }
    await attackAtOnce(program, world, only, report);
    latenciesMs.push(...writer.take().latenciesMs);
    // What else the machine does may begin or end meanwhile: quiet is the worse of before and after, and no write is
    // quicker than the disk.
    const syncP99Ms = p99(sync.take());
    await sleep(QUIET_MS);
    const quietP99Ms = Math.max(quietBeforeMs, p99(writer.take().latenciesMs));
    const busyP99Ms = p99(latenciesMs);
    const allowedMs = Math.max(WRITE_MS_FLOOR, 2 * Math.max(quietP99Ms, syncP99Ms));
    const figures = `p99 of writes ${busyP99Ms.toFixed(1)} ms, quiet ${quietP99Ms.toFixed(1)} ms, of plain syncs meanwhile ${syncP99Ms.toFixed(1)} ms`;
    report.add(figures, busyP99Ms <= allowedMs ? "" : `more than ${allowedMs.toFixed(1)} ms`);
  } finally {
    await writer.stop();
    await watch.stop();
    await sync.stop();
  }
}

/** Sends a query and says what is wrong with what becomes of it. */
async function killWith(program: Program, { path, parameters, wants }: DeadlyQuery): Promise<string> {
  const sinceMs = performance.now();
  const options = path.startsWith("label/") ? {} : { method: "POST", body: new URLSearchParams(parameters) };
  const answer = await fetch(`${program.http}/api/v1/${path}`, options);
  const text = await answer.text();
  const tookMs = performance.now() - sinceMs;
  const late = tookMs > TIMEOUT_SECONDS * 1000 + SLACK_MS ? `it took ${Math.round(tookMs)} ms` : "";
  return [late, answerFault(answer.status, text, wants)].filter((one) => one !== "").join("; ");
}

function answerFault(status: number, text: string, wants: readonly WantedAnswer[]): string {
  const shown = text.length > 300 ? `${text.slice(0, 300)}… (${text.length} characters)` : text;
  const body: { data?: unknown; errorType?: string; error?: string } = JSON.parse(text);
  const fits = wants.some(
    (want) =>
      want.status === status &&
      (want.errorType === undefined || want.errorType === body.errorType) &&
      (want.text === undefined || want.text.test(body.error ?? "")) &&
      (want.series === undefined || want.series === seriesOf(body.data)),
  );
  if (fits) return "";
  const wanted = wants.map(({ status, errorType, text, series }) =>
    [status, errorType, text, series].filter(Boolean).join(" "),
  );
  return `answered ${status} ${shown}\nwanted ${wanted.join(", or ")}`;
}

/** How many series an answer has; a scalar is one. */
function seriesOf(data: unknown): number {
  if (Array.isArray(data)) return data.length;
  if (typeof data !== "object" || data === null || !("resultType" in data) || !("result" in data)) return Number.NaN;
  return data.resultType === "scalar" || !Array.isArray(data.result) ? 1 : data.result.length;
}

async function attackAtOnce(program: Program, world: DeadlyWorld, only: string, report: SuiteReport): Promise<void> {
  if (!"many at once".includes(only)) return;
  const slow =
    "sum_over_time(stddev_over_time(quantile_over_time(0.5, (time() + vector(1))[30000s:1s])[30000s:1s])[30000s:1s])";
  const parameters = { query: slow, timeout: `${world.timeoutSeconds}` };
  const sinceMs = performance.now();
  const asked = Array.from({ length: CONCURRENT }, async () => {
    const body = new URLSearchParams(parameters);
    const answer = await fetch(`${program.http}/api/v1/query`, { method: "POST", body });
    const { errorType = "none" }: { errorType?: string } = JSON.parse(await answer.text());
    return `${answer.status} ${errorType}`;
  });
  const answers = await Promise.all(asked);
  const tookMs = performance.now() - sinceMs;
  const strange = answers.filter((one) => one !== "503 timeout" && one !== "503 unavailable");
  const late = tookMs > world.timeoutSeconds * 1000 + SLACK_MS ? `it took ${Math.round(tookMs)} ms` : "";
  report.add(
    `many at once: ${CONCURRENT} slow queries are all answered in time`,
    strange.length === 0 ? late : `${strange.length} were answered otherwise, such as ${strange[0]}; ${late}`,
  );
  const after = await until(async () => ((await program.promql("vector(1)")).length === 1 ? true : undefined), 2_000);
  report.add("many at once: the next query is answered", after === true ? "" : "it is not");
  const canceled = await program.counter("thalweg_promql_queries_total", 'outcome="canceled"');
  await Promise.all(Array.from({ length: 8 }, () => leaveAfter(program, parameters, 200)));
  const freed = await until(async () => {
    const now = await program.counter("thalweg_promql_queries_total", 'outcome="canceled"');
    return now - canceled === 8 ? true : undefined;
  }, 2_000);
  report.add("many at once: queries whose clients leave are canceled", freed === true ? "" : "not all of them are");
}

async function leaveAfter(program: Program, parameters: Record<string, string>, afterMs: number): Promise<void> {
  const body = new URLSearchParams(parameters);
  const signal = AbortSignal.timeout(afterMs);
  await fetch(`${program.http}/api/v1/query`, { method: "POST", body, signal }).catch(() => {});
}
