/** Reports about stops, kills and disks: what was acknowledged is there afterwards, and what is not is told. */

import { randomBytes } from "node:crypto";
import { readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { fullDisk } from "../damage/disk.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const FLAGS = ["--capture", "off"];
const SENDERS = 6;
const LOAD_MS = 1_500;
const STOP_MS_MAX = 10_000;
const HOLD_MS = 2_000;
const CUT_BYTES = 100;
/** A group of commits: what one torn entry of a log may hold. */
const TORN_MS_MAX = 1_000;

/** One acknowledged request: its trace id, and when the answer came. */
interface Acknowledged {
  readonly traceId: string;
  readonly atMs: number;
}

/** Plays OP-03 and OP-04. */
export async function checkOperationReports(report: SuiteReport): Promise<void> {
  await fullDisk(report, HOLD_MS);
  await withDirectory(async (program) => tornLogs(program, report));
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await withDirectory(async (program) => ended(program, signal, report));
  }
}

async function withDirectory(use: (program: Program) => Promise<Program>): Promise<void> {
  let program = await Program.start(FLAGS);
  const directory = program.dataDirectory;
  try {
    program = await use(program);
  } finally {
    await program.discard();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** OP-04: every span that was answered with 200 is there after a stop, and after a kill. */
async function ended(program: Program, signal: "SIGTERM" | "SIGKILL", report: SuiteReport): Promise<Program> {
  let stopMs = 0;
  const { acknowledged, faults } = await underLoad(program, async () => {
    const started = performance.now();
    if (signal === "SIGKILL") await program.kill();
    else await program.stop();
    stopMs = performance.now() - started;
  });
  report.add(`OP-04 ${signal}: nothing is answered but 200 and 503`, faults.join("\n"));
  report.add(`OP-04 ${signal}: it ends in time`, stopMs < STOP_MS_MAX ? "" : `${Math.round(stopMs)} ms`);
  const again = await Program.start(FLAGS, program.dataDirectory);
  const missing = await missingFrom(again, acknowledged);
  const lost = missing.length === 0 ? "" : `${missing.length} of ${acknowledged.length} are gone`;
  report.add(`OP-04 ${signal}: ${acknowledged.length} acknowledged traces are there`, lost);
  const [last] = acknowledged.slice(-1);
  const answer = await fetch(`${again.http}/api/v1/traces/${last?.traceId}`);
  report.add(`OP-04 ${signal}: the last one is answered by its id`, answer.ok ? "" : `status ${answer.status}`);
  report.add(`OP-04 ${signal}: one truth`, await oneTruthFault(again));
  return again;
}

/** OP-03: logs that lost their last bytes cost what stood in them, and no more, and that is told. */
async function tornLogs(program: Program, report: SuiteReport): Promise<Program> {
  let killedMs = 0;
  const { acknowledged } = await underLoad(program, async () => {
    await program.kill();
    killedMs = performance.now();
  });
  const cut = cutLogs(program.dataDirectory);
  report.add("OP-03: there are logs to cut", cut > 0 ? "" : "there is none");
  const started = performance.now();
  const again = await Program.start(FLAGS, program.dataDirectory);
  const startMs = performance.now() - started;
  report.add("OP-03: it starts by itself", startMs < STOP_MS_MAX ? "" : `${Math.round(startMs)} ms`);
  const missing = await missingFrom(again, acknowledged);
  const early = missing.filter(({ atMs }) => killedMs - atMs > TORN_MS_MAX);
  const whole =
    early.length === 0 ? "" : `${early.length} of ${acknowledged.length} are gone, such as one long before the cut`;
  report.add(`OP-03: only the end is lost (${missing.length} traces)`, whole);
  const told = (await again.counter("thalweg_store_damage_total")) > 0 && /damage|torn|cut|salvag/i.test(again.output);
  report.add(
    "OP-03: a loss is told in the log and counted",
    missing.length === 0 || told ? "" : again.output.slice(-2_000),
  );
  const taken = await sendOne(again);
  report.add("OP-03: it takes spans again", taken === undefined ? "it does not" : "");
  report.add("OP-03: one truth", await oneTruthFault(again));
  return again;
}

/** Cuts the last bytes of every write-ahead log. @returns How many there were. */
function cutLogs(directory: string): number {
  let cut = 0;
  for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const path = join(directory, name);
    if (!/\.wal/.test(name) || !statSync(path).isFile()) continue;
    const { size } = statSync(path);
    if (size <= 2 * CUT_BYTES) continue;
    truncateSync(path, size - CUT_BYTES);
    cut++;
  }
  return cut;
}

/** Sends from several connections at once until `end` is through. */
async function underLoad(
  program: Program,
  end: () => Promise<void>,
): Promise<{ readonly acknowledged: Acknowledged[]; readonly faults: string[] }> {
  const acknowledged: Acknowledged[] = [];
  const faults: string[] = [];
  let running = true;
  const senders = Array.from({ length: SENDERS }, async () => {
    while (running) {
      const traceId = await sendOne(program, faults);
      if (traceId !== undefined) acknowledged.push({ traceId, atMs: performance.now() });
      else await sleep(5);
    }
  });
  await sleep(LOAD_MS);
  await end();
  running = false;
  await Promise.all(senders);
  return { acknowledged, faults };
}

/** @returns The trace id where it was acknowledged. Refusals that a client would not try again are `faults`. */
async function sendOne(program: Program, faults: string[] = []): Promise<string | undefined> {
  const traceId = randomBytes(16).toString("hex");
  const nowNs = String(BigInt(Date.now()) * 1_000_000n);
  const span = { traceId, spanId: randomBytes(8).toString("hex"), name: "s", kind: 1, startTimeUnixNano: nowNs };
  const body = { resourceSpans: [{ scopeSpans: [{ spans: [{ ...span, endTimeUnixNano: nowNs }] }] }] };
  const headers = { "content-type": "application/json" };
  try {
    const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    await answer.arrayBuffer();
    if (answer.status === 200) return traceId;
    if (answer.status !== 503) faults.push(`status ${answer.status}`);
  } catch {
    // The connection is gone: the sender does not know, and would send again.
  }
  return undefined;
}

async function missingFrom(program: Program, acknowledged: readonly Acknowledged[]): Promise<Acknowledged[]> {
  const rows = await program.sql("SELECT DISTINCT trace_id FROM spans");
  const found = new Set(rows.map(([traceId]) => String(traceId)));
  return acknowledged.filter(({ traceId }) => !found.has(traceId));
}
