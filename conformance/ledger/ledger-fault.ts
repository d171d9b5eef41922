/** Compares what a program holds with what was acknowledged, for spans, log records and samples. */

import { SPANS_PER_BODY } from "../otlp-bodies.ts";
import type { Cell, Program } from "../program.ts";
import {
  LANE_LABEL,
  LOG_SERIAL_AT,
  LOG_SERVICE,
  RECORDS_PER_BODY,
  SERIES_LABEL,
  SERIES_PER_LANE,
} from "./signal-bodies.ts";

const SERIAL_HEX_DIGITS = 8;
const BODIES_PER_QUERY = 5_000;
/** More than the history of a lane. */
const LANE_WINDOW = "400d";
/** After a hundred kills there are millions of spans to count. */
const QUERY_TIMEOUT = "300s";
const FAULTS_MAX = 10;

/** Spans: serial numbers of bodies of which every span must be there, once; up to `sent` others may be there whole. */
interface SpanLedger {
  readonly acknowledged: ReadonlySet<number>;
  readonly sent: number;
}

/** Log records, which have no identity: a body may be there once more for each attempt that got no answer. */
export interface LogLedger {
  readonly acknowledged: Set<number>;
  sent: number;
  readonly unanswered: Map<number, number>;
}

/** Series of one lane: sample n has the value n and the time `timesMs[n - 1]`; those up to `acknowledged` must be there. */
export interface LaneLedger {
  readonly metric: string;
  readonly lane: number;
  readonly timesMs: number[];
  acknowledged: number;
}

/** What was acknowledged by a moment. */
export interface WriteLedger {
  readonly spans: SpanLedger;
  readonly logs: LogLedger;
  readonly lanes: readonly LaneLedger[];
}

/**
 * Compares what a program holds with what was acknowledged.
 *
 * @returns What is wrong; empty where nothing is.
 */
export async function ledgerFault(program: Program, ledger: WriteLedger): Promise<string> {
  const faults = [...(await spansFaults(program, ledger.spans)), ...(await logsFaults(program, ledger.logs))];
  for (const lane of ledger.lanes) faults.push(...(await laneFaults(program, lane)));
  return faults.slice(0, FAULTS_MAX).join("\n");
}

async function spansFaults(program: Program, { acknowledged, sent }: SpanLedger): Promise<string[]> {
  const found = new Set<number>();
  const faults: string[] = [];
  const rows = await allRows(
    program,
    `SELECT substr(trace_id, 1, ${SERIAL_HEX_DIGITS}) AS body, count(*) AS n, count(DISTINCT trace_id || span_id) AS d
     FROM spans GROUP BY body ORDER BY body`,
  );
  for (const [serialHex, spans, different] of rows) {
    const serial = Number.parseInt(String(serialHex), 16);
    found.add(serial);
    if (serial < 1 || serial > sent) faults.push(`body ${serial} was never sent`);
    if (Number(different) !== Number(spans)) faults.push(`body ${serial}: ${spans} spans, ${different} different`);
    else if (Number(spans) !== SPANS_PER_BODY) faults.push(`body ${serial}: ${spans} of ${SPANS_PER_BODY} spans`);
  }
  return [...lostFault("bodies of spans", acknowledged, found), ...faults];
}

async function logsFaults(program: Program, { acknowledged, sent, unanswered }: LogLedger): Promise<string[]> {
  const found = new Set<number>();
  const faults: string[] = [];
  const { from, digits } = LOG_SERIAL_AT;
  const rows = await allRows(
    program,
    `SELECT substr(body, ${from}, ${digits}) AS serial, count(*) AS n, count(DISTINCT body) AS d
     FROM logs WHERE service = '${LOG_SERVICE}' GROUP BY serial ORDER BY serial`,
  );
  for (const [serialHex, records, different] of rows) {
    const serial = Number.parseInt(String(serialHex), 16);
    found.add(serial);
    const copies = Number(records) / RECORDS_PER_BODY;
    const copiesMax = (acknowledged.has(serial) ? 1 : 0) + (unanswered.get(serial) ?? 0);
    // The attempt under way when the ledger was copied counts as one that got no answer yet.
    const pending = acknowledged.has(serial) ? 0 : 1;
    if (serial < 1 || serial > sent) faults.push(`log body ${serial} was never sent`);
    if (Number(different) !== RECORDS_PER_BODY || !Number.isInteger(copies) || copies > copiesMax + pending) {
      faults.push(`log body ${serial}: ${records} records, ${different} different, ${copiesMax} copies are allowed`);
    }
  }
  return [...lostFault("log bodies", acknowledged, found), ...faults];
}

/** Count and sum of every series, and the time and value of each of its samples. */
async function laneFaults(program: Program, ledger: LaneLedger): Promise<string[]> {
  const { metric, lane, timesMs, acknowledged } = ledger;
  const lastMs = timesMs.at(-1);
  if (lastMs === undefined) return [];
  const selector = `${metric}{${LANE_LABEL}="${lane}"}`;
  const counts = await bySeries(program, `count_over_time(${selector}[${LANE_WINDOW}])`, lastMs);
  const sums = await bySeries(program, `sum_over_time(${selector}[${LANE_WINDOW}])`, lastMs);
  const faults: string[] = [];
  const different = new Set(counts.values());
  const found = counts.get("0") ?? 0;
  if (counts.size !== SERIES_PER_LANE && (acknowledged > 0 || counts.size > 0))
    faults.push(`${selector}: ${counts.size} of ${SERIES_PER_LANE} series`);
  if (different.size > 1) faults.push(`${selector}: a body is there in part: ${[...different].join(", ")} samples`);
  if (found < acknowledged) faults.push(`${selector}: ${acknowledged} samples were acknowledged, ${found} are there`);
  if (found > timesMs.length) faults.push(`${selector}: ${found} samples are there, ${timesMs.length} were sent`);
  for (const [place, sum] of sums) {
    if (sum !== (found * (found + 1)) / 2) faults.push(`${selector} ${place}: ${found} samples with the sum ${sum}`);
  }
  const all = await samplesOf(program, selector, lastMs);
  if (all.size !== counts.size) faults.push(`${selector}: ${counts.size} series are counted, ${all.size} have samples`);
  for (const [place, samples] of all) {
    if (samples.length !== counts.get(place)) faults.push(`${selector} ${place}: ${samples.length} samples are read`);
    const wrong = samples.findIndex(({ timeMs, value }, at) => timeMs !== timesMs[at] || value !== at + 1);
    if (wrong >= 0) faults.push(`${selector} ${place}: sample ${wrong + 1} is ${JSON.stringify(samples[wrong])}`);
  }
  return faults;
}

async function bySeries(program: Program, query: string, timeMs: number): Promise<Map<string, number>> {
  const samples = await program.promql(query, timeMs);
  return new Map(samples.map(({ metric, value }) => [metric[SERIES_LABEL] ?? "", value]));
}

/** Raw samples of the series that a selector finds, by series. */
async function samplesOf(program: Program, selector: string, timeMs: number) {
  const query = encodeURIComponent(`${selector}[${LANE_WINDOW}]`);
  const answer = await program.json<{
    data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
  }>(`/api/v1/query?query=${query}&time=${timeMs / 1000}`);
  return new Map(
    answer.data.result.map(({ metric, values }) => [
      metric[SERIES_LABEL] ?? "",
      values.map(([seconds, value]) => ({ timeMs: Math.round(seconds * 1000), value: Number(value) })),
    ]),
  );
}

async function allRows(program: Program, query: string): Promise<(readonly Cell[])[]> {
  const all: (readonly Cell[])[] = [];
  for (;;) {
    const rows = await program.sql(`${query} LIMIT ${BODIES_PER_QUERY} OFFSET ${all.length}`, [], QUERY_TIMEOUT);
    all.push(...rows);
    if (rows.length < BODIES_PER_QUERY) return all;
  }
}

function lostFault(what: string, acknowledged: ReadonlySet<number>, found: ReadonlySet<number>): string[] {
  const lost = [...acknowledged].filter((serial) => !found.has(serial));
  return lost.length === 0 ? [] : [`${lost.length} acknowledged ${what} are gone, such as ${lost[0]}`];
}
