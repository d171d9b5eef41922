/**
 * The suite `downsampling`: functions over windows of a minute and an hour (`max_source_resolution`) give what a real
 * Prometheus gives over the samples: exactly where ranges end with windows, near it for rates; over a restart too.
 */

import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { Program, until } from "../program.ts";
import { Prometheus } from "../prometheus.ts";
import { type SentSeries, sendWrite } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const STEP_MS = 15_000;
const HOURS = 54;
const FLAGS = ["--capture", "off", "--retention.resolution-1m", "90d", "--retention.resolution-1h", "5y"];
const WRITTEN_MS_MAX = 60_000;
/** What the rounding of sums may take; and how far rates may be off, in parts of themselves. */
const ROUNDING = 1e-12;
const RATE_OFF_MAX = 0.01;

/** Queries, the resolution they are asked with, and how far their values may be off. */
const CASES: readonly (readonly [query: string, resolution: string, offMax: number])[] = [
  ["max_over_time(temperature[1h])", "1m", 0],
  ["min_over_time(temperature[1h])", "1m", 0],
  ["count_over_time(temperature[1h])", "1m", 0],
  ["sum_over_time(temperature[1h])", "1m", ROUNDING],
  ["avg_over_time(temperature[1h])", "1m", ROUNDING],
  ["max_over_time(temperature[6h])", "1h", 0],
  ["min_over_time(temperature[6h])", "1h", 0],
  ["count_over_time(temperature[6h])", "1h", 0],
  ["avg_over_time(temperature[6h])", "1h", ROUNDING],
  ["last_over_time(temperature[1h])", "1m", 0],
  ["temperature", "1m", 0],
  ["sum by (room) (temperature)", "1m", 0],
  ["max_over_time(temperature[1h])", "auto", 0],
  ["count(present_over_time(temperature[2h]))", "1h", 0],
  ["max(max_over_time(temperature[6h])) - min(min_over_time(temperature[6h]))", "1h", 0],
  ["avg_over_time(temperature[1h]) * 2", "1m", ROUNDING],
  // Too short for windows of an hour: those of a minute; too short for these: samples.
  ["max_over_time(temperature[30m])", "1h", 0],
  ["count_over_time(temperature[45s])", "1h", 0],
  ["increase(requests_total[1h])", "1m", RATE_OFF_MAX],
  ["rate(requests_total[1h])", "1m", RATE_OFF_MAX],
  ["rate(requests_total[12h])", "1h", RATE_OFF_MAX],
  ["sum(rate(requests_total[6h]))", "1h", RATE_OFF_MAX],
];

/** Where a Prometheus is not Debian's: `--prometheus PROGRAM`. */
export async function runDownsampling(): Promise<SuiteOutcome> {
  const { values } = parseArgs({ options: { prometheus: { type: "string" } }, strict: false });
  const binary = typeof values.prometheus === "string" ? values.prometheus : "prometheus";
  const report = new SuiteReport();
  if (spawnSync(binary, ["--version"]).status !== 0) {
    report.skip("downsampling", `there is no ${binary}`, "servers");
    return report.outcome;
  }
  const reference = await Prometheus.start(binary);
  let program = await Program.start(FLAGS);
  try {
    const endMs = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
    const series = seriesUntil(endMs);
    for (const base of [reference.http, program.http]) await send(base, series);
    // Hours are written after minutes: where they are, both are.
    const written = await until(async () => (await windowsAreFew(program, endMs)) || undefined, WRITTEN_MS_MAX);
    report.add("windows are written", written === undefined ? "they are not" : "");
    await compare(report, "at once", { reference, program, endMs });
    await program.kill();
    program = await Program.start(FLAGS, program.dataDirectory);
    await compare(report, "after a kill -9", { reference, program, endMs });
    await checkRefusals(report, program);
  } catch (error) {
    report.add("downsampling", error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await program.discard();
    await reference.discard();
  }
  return report.outcome;
}

/** A gauge, and a counter that is reset now and then; no sample lies where a window ends. */
function seriesUntil(endMs: number): SentSeries[] {
  const startMs = endMs - HOURS * HOUR_MS;
  const times = Array.from({ length: (HOURS * HOUR_MS) / STEP_MS }, (_, at) => startMs + at * STEP_MS + 7_000);
  return Array.from({ length: 3 }, (_, index) => {
    let total = 0;
    return [
      {
        labels: [
          ["__name__", "temperature"],
          ["room", `r${index}`],
        ] as const,
        samples: times.map((timestampMs, at) => ({
          timestampMs,
          startMs: 0,
          value: Math.round(1000 * Math.sin(at / 97 + index) + 300 * Math.sin(at / 3)) / 100,
        })),
      },
      {
        labels: [
          ["__name__", "requests_total"],
          ["pod", `p${index}`],
        ] as const,
        samples: times.map((timestampMs, at) => {
          total = at % 3001 === 3000 ? 3 : total + ((at * (index + 3)) % 11);
          return { timestampMs, startMs: 0, value: total };
        }),
      },
    ];
  }).flat();
}

async function send(base: string, series: readonly SentSeries[]): Promise<void> {
  const { status, text } = await sendWrite(base, series, 1);
  if (status >= 300) throw new Error(`${base} answered ${status}: ${text}`);
}

interface Comparison {
  readonly reference: Prometheus;
  readonly program: Program;
  readonly endMs: number;
}

async function compare(report: SuiteReport, when: string, { reference, program, endMs }: Comparison): Promise<void> {
  const range = `start=${(endMs - (HOURS - 14) * HOUR_MS) / 1000}&end=${endMs / 1000}&step=3600`;
  for (const [query, resolution, offMax] of CASES) {
    const wanted = await valuesOf(reference.http, query, range);
    const got = await valuesOf(program.http, query, `${range}&max_source_resolution=${resolution}`);
    report.add(`${when}: ${query} by ${resolution}`, differenceOf(wanted, got, offMax));
  }
  const few = await windowsAreFew(program, endMs);
  report.add(`${when}: windows are few`, few ? "" : "about as many values are read as there are samples");
}

/** Whether hours are read in place of samples, in six hours of a day that is over for a day at least. */
async function windowsAreFew(program: Program, endMs: number): Promise<boolean> {
  const atMs = Math.floor(endMs / DAY_MS) * DAY_MS - DAY_MS;
  const range = `start=${atMs / 1000}&end=${atMs / 1000}&step=3600`;
  const query = "max_over_time(temperature[6h])";
  const samples = await samplesRead(program.http, query, range);
  const windows = await samplesRead(program.http, query, `${range}&max_source_resolution=1h`);
  return windows > 0 && windows * 100 < samples;
}

async function samplesRead(base: string, query: string, more: string): Promise<number> {
  const answer = await fetch(`${base}/api/v1/query_range?query=${encodeURIComponent(query)}&${more}&stats=true`);
  const body: { data: { stats: { samples: { totalQueryableSamples: number } } } } = JSON.parse(await answer.text());
  return body.data.stats.samples.totalQueryableSamples;
}

/** Values by series and time. */
async function valuesOf(base: string, query: string, more: string): Promise<ReadonlyMap<string, number>> {
  const answer = await fetch(`${base}/api/v1/query_range?query=${encodeURIComponent(query)}&${more}`);
  const body: { data?: { result: { metric: Record<string, string>; values: [number, string][] }[] }; error?: string } =
    JSON.parse(await answer.text());
  if (body.data === undefined) throw new Error(`${query}: ${body.error}`);
  const values = new Map<string, number>();
  for (const { metric, values: pairs } of body.data.result) {
    const labels = JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
    for (const [seconds, text] of pairs) values.set(`${labels} ${seconds}`, Number(text));
  }
  return values;
}

function differenceOf(wanted: ReadonlyMap<string, number>, got: ReadonlyMap<string, number>, offMax: number): string {
  if (wanted.size === 0 || wanted.size !== got.size) return `${wanted.size} values and ${got.size}`;
  for (const [key, value] of wanted) {
    const other = got.get(key);
    if (other === undefined) return `${key} is missing`;
    if (Math.abs(other - value) > offMax * Math.max(1, Math.abs(value))) return `${key}: ${value} and ${other}`;
  }
  return "";
}

async function checkRefusals(report: SuiteReport, program: Program): Promise<void> {
  for (const [text, words] of [
    ["-60", "negative 'max_source_resolution' is not accepted"],
    ["soon", 'cannot parse "soon" to a valid duration'],
  ] as const) {
    const answer = await fetch(`${program.http}/api/v1/query?query=up&max_source_resolution=${text}`);
    const body = await answer.text();
    const isTold =
      answer.status === 400 && JSON.stringify(JSON.parse(body).error).includes(words.replaceAll('"', '\\"'));
    report.add(`max_source_resolution=${text} is refused`, isTold ? "" : body);
  }
}
