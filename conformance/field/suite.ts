/**
 * Reports of users of other systems: conversations played between two real processes under live capture, and metrics.
 */

import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../demo/shop.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { runParts, type SuiteOutcome, SuiteReport } from "../suite.ts";
import { DATABASE_CASES } from "./database-expectations.ts";
import { FIELD_CASES, type FieldSpan } from "./expectations.ts";
import { checkMetricReports } from "./metric-reports.ts";
import { checkOperationReports } from "./operation-reports.ts";
import { checkOtlpReports } from "./otlp-reports.ts";
import { checkRestrictedStarts } from "./restricted-starts.ts";
import { checkTraceReports } from "./trace-reports.ts";
import { checkWorkers } from "./workers.ts";

const RUNGS = ["socket", "packet"] as const;
const CASES = { ...FIELD_CASES, ...DATABASE_CASES };
const CASES_AT_ONCE = 4;
const PLAY_MS_MAX = 120_000;
const SEEN_MS_MAX = 8_000;
/** After the last span that was waited for, so that one too many would show. */
const QUIET_MS = 700;

/** The suite `field`: each report under `dir` is played under live capture and held to its own expectation. */
export async function runField({ dir }: { dir: string }): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  // None of these programs captures, and each waits most of the time.
  await Promise.all([checkMetricReports(dir, report), checkTraceReports(dir, report), checkOtlpReports(dir, report)]);
  await checkOperationReports(report);
  if (process.getuid?.() !== 0) {
    report.skip("field", "live capture needs root", "capture");
    return report.outcome;
  }
  await checkRestrictedStarts(report);
  const programs: Program[] = [];
  try {
    for (const rung of RUNGS) programs.push(await Program.start(["--capture", rung, "--capture-cpu", "none"]));
    await runParts(
      Object.keys(CASES).map((id) => () => play(programs, dir, id, report)),
      CASES_AT_ONCE,
    );
    for (const [index, program] of programs.entries()) {
      const rung = RUNGS[index];
      if (rung === "socket") await checkWorkers(program, dir, report);
      report.add(`${rung}: one truth`, await oneTruthFault(program));
    }
  } finally {
    for (const program of programs) await program.discard();
  }
  return report.outcome;
}

/** Plays one conversation, which all programs see, and holds what each made of it to what is expected. */
async function play(programs: readonly Program[], dir: string, id: string, report: SuiteReport): Promise<void> {
  const field = CASES[id];
  const input = join(dir, "inputs", `${id}.conv.json`);
  if (field === undefined || !existsSync(input)) return;
  const port = await freePort();
  const played = await replayFault(dir, input, port, field.repeat);
  if (played !== "") {
    report.add(id, `the bytes on the wire were not as scripted: ${played}`);
    return;
  }
  await Promise.all(
    programs.map(async (program, index) => {
      let fault = "";
      await until(async () => {
        fault = field.check(await spansOf(program, port));
        return fault === "" ? true : undefined;
      }, SEEN_MS_MAX);
      await sleep(QUIET_MS);
      if (fault === "") fault = field.check(await spansOf(program, port));
      if (fault === "" && id === "CX-02") fault = await sdkSpansFault(program, dir);
      report.add(`${RUNGS[index]}: ${id}`, fault);
    }),
  );
}

/** Runs the two processes of a conversation to their end. */
async function replayFault(dir: string, input: string, port: number, repeat: number): Promise<string> {
  const child = spawn(
    "python3",
    [join(dir, "replay.py"), "run", input, "--port", String(port), "--repeat", String(repeat)],
    { stdio: ["ignore", "ignore", "pipe"], timeout: PLAY_MS_MAX },
  );
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const status = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return status === 0 ? "" : `status ${status} ${said}`;
}

/** Spans of the connections to one server port. */
export async function spansOf(program: Program, port: number): Promise<FieldSpan[]> {
  const rows = await program.sql(
    "SELECT trace_id, span_id, parent_span_id, name, kind, status, protocol, duration_ns, attributes FROM spans WHERE server_port = $1 ORDER BY start_ns",
    [port],
  );
  return rows.map(([traceId, spanId, parentSpanId, name, kind, status, protocol, durationNs, attributes]) => ({
    traceId: String(traceId),
    spanId: String(spanId),
    parentSpanId: parentSpanId === null ? "" : String(parentSpanId),
    name: String(name),
    kind: String(kind),
    status: String(status),
    protocol: String(protocol),
    durationMs: Number(durationNs) / 1e6,
    attributes: typeof attributes === "object" && attributes !== null ? attributes : {},
  }));
}

/** The SDK's own spans arrive afterwards: its trace is one tree. */
async function sdkSpansFault(program: Program, dir: string): Promise<string> {
  const file = join(dir, "inputs", "CX-02.otlp.json");
  if (!existsSync(file)) return "";
  const body = readFileSync(file);
  const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  if (!answer.ok) return `the SDK's spans were refused: ${answer.status} ${await answer.text()}`;
  const rows = await program.sql(
    "SELECT span_id, parent_span_id FROM spans WHERE trace_id = '5f1e1d0000000000000000000000a384'",
  );
  const ids = new Set(rows.map(([id]) => id));
  const roots = rows.filter(([, parent]) => parent === null || !ids.has(parent));
  return roots.length === 1 ? "" : `the trace has ${roots.length} roots among ${rows.length} spans`;
}
