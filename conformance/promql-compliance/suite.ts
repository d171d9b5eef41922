/** The suite `promql-compliance`: the queries of Prometheus' compliance tests, our answers against a Prometheus'. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Program } from "../program.ts";
import { PROMQL_FEATURES, Prometheus } from "../prometheus.ts";
import { readRecording, writeRecording } from "../recording.ts";
import { sendWrite } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { demoSeries } from "./demo-series.ts";

const RECORDING = join(import.meta.dirname, "recorded.ndjson.gz");
/** Any time will do; this one is on a whole minute. */
const START_MS = 1_700_000_040_000;
const HISTORY_MS = 85 * 60_000;
/** As the compliance tester asks: ten minutes, so long before the end that there are samples behind them. */
const RANGE_MS = 10 * 60_000;
const END_BEFORE_MS = 12 * 60_000;
const STEP_SECONDS = 10;
const RECORDED_DIGITS = 9;
const TOLERANCE = 1e-5;
/** A store without an out-of-order window takes samples within an hour of the newest. */
const WRITE_MS = 10 * 60_000;

interface ListedQuery {
  readonly query: string;
  readonly should_fail: boolean;
}

/** Values by series, in the order of the steps; null where there is none. Undefined: the query is refused. */
type Matrix = Readonly<Record<string, readonly (string | null)[]>> | undefined;

interface RecordedAnswer {
  readonly query: string;
  readonly matrix?: Matrix;
}

/**
 * Options behind the suite's name: `--prometheus PATH` asks that Prometheus in place of the recorded answers,
 * `--record` writes down what it says.
 */
export async function runPromqlCompliance({
  dir,
  args = [],
}: {
  dir: string;
  args?: readonly string[];
}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      prometheus: { type: "string" },
      record: { type: "boolean", default: false },
      dir: { type: "string" },
    },
    allowPositionals: true,
  });
  const report = new SuiteReport({ quiet: true });
  const queries = listedQueries(dir);
  const wanted = values.prometheus === undefined ? recordedAnswers() : await answersOf(values.prometheus, queries);
  if (values.record) {
    const lines = [...wanted].map(([query, matrix]): RecordedAnswer => ({ query, matrix: shorten(matrix) }));
    process.stdout.write(`${writeRecording(RECORDING, lines)} bytes\n`);
  }
  const program = await Program.start(["--capture", "off", `--enable-feature=${PROMQL_FEATURES}`]);
  try {
    await load(program.http);
    for (const { query } of queries) {
      const answer = await ask(program.http, query);
      if (wanted.has(query)) report.add(query, differenceOf(wanted.get(query), answer));
      else report.skip(query, "no answer was recorded; --prometheus PATH asks one", "suites");
    }
  } finally {
    await program.discard();
  }
  return report.outcome;
}

function listedQueries(dir: string): ListedQuery[] {
  const text = readFileSync(join(dir, "queries.jsonl"), "utf8");
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

function recordedAnswers(): Map<string, Matrix> {
  const lines = readRecording<RecordedAnswer>(RECORDING) ?? [];
  return new Map(lines.map(({ query, matrix }) => [query, matrix]));
}

async function answersOf(binary: string, queries: readonly ListedQuery[]): Promise<Map<string, Matrix>> {
  const prometheus = await Prometheus.start(binary, { features: PROMQL_FEATURES });
  try {
    await load(prometheus.http);
    const answers = new Map<string, Matrix>();
    for (const { query, should_fail } of queries) {
      const answer = await ask(prometheus.http, query);
      if (should_fail !== (answer === undefined))
        process.stdout.write(`note: the reference and the list disagree whether this is refused: ${query}\n`);
      answers.set(query, answer);
    }
    return answers;
  } finally {
    await prometheus.discard();
  }
}

async function load(base: string): Promise<void> {
  const all = demoSeries(START_MS, START_MS + HISTORY_MS);
  for (let fromMs = START_MS; fromMs < START_MS + HISTORY_MS; fromMs += WRITE_MS) {
    const series = all.map(({ labels, samples }) => ({
      labels,
      samples: samples.filter(({ timestampMs }) => timestampMs >= fromMs && timestampMs < fromMs + WRITE_MS),
    }));
    const { status, text } = await sendWrite(base, series, 1);
    if (status >= 300) throw new Error(`${base} refused samples with ${status}: ${text}`);
  }
}

async function ask(base: string, query: string): Promise<Matrix> {
  const endMs = START_MS + HISTORY_MS - END_BEFORE_MS;
  const startMs = endMs - RANGE_MS;
  const form = new URLSearchParams({
    query,
    start: String(startMs / 1000),
    end: String(endMs / 1000),
    step: String(STEP_SECONDS),
  });
  const answer = await fetch(`${base}/api/v1/query_range`, { method: "POST", body: form });
  const body: {
    status: string;
    data?: { result: { metric: Record<string, string>; values?: [number, string][] }[] };
  } = JSON.parse(await answer.text());
  if (body.data === undefined) return undefined;
  const steps = RANGE_MS / 1000 / STEP_SECONDS + 1;
  const matrix: Record<string, (string | null)[]> = {};
  for (const { metric, values = [] } of body.data.result) {
    const column: (string | null)[] = new Array(steps).fill(null);
    for (const [time, value] of values) column[(time * 1000 - startMs) / 1000 / STEP_SECONDS] = value;
    matrix[JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)))] = column;
  }
  return matrix;
}

/** Nine digits: a thousand times more than the comparison looks at. */
function shorten(matrix: Matrix): Matrix {
  if (matrix === undefined) return undefined;
  const short = (value: string | null) => {
    if (value === null || value.length <= RECORDED_DIGITS || /[a-z]/i.test(value)) return value;
    return String(Number(Number(value).toPrecision(RECORDED_DIGITS)));
  };
  return Object.fromEntries(Object.entries(matrix).map(([key, column]) => [key, column.map(short)]));
}

function differenceOf(wanted: Matrix, got: Matrix): string {
  if (wanted === undefined || got === undefined) {
    if (wanted === got) return "";
    return wanted === undefined ? "answered, but must be refused" : "refused";
  }
  for (const key of Object.keys(got)) if (wanted[key] === undefined) return `unexpected ${key}`;
  for (const [key, column] of Object.entries(wanted)) {
    const other = got[key];
    if (other === undefined) return `lacks ${key}`;
    for (const [step, value] of column.entries()) {
      if (!isNear(value, other[step] ?? null)) return `${key}, step ${step}: ${other[step]}, wanted ${value}`;
    }
  }
  return "";
}

function isNear(wanted: string | null, got: string | null): boolean {
  if (wanted === got) return true;
  if (wanted === null || got === null) return false;
  const [a, b] = [Number(wanted), Number(got)];
  return Math.abs(a - b) <= TOLERANCE * Math.min(Math.abs(a), Math.abs(b));
}
