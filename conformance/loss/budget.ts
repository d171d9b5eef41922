/** Load beyond the budget: capture goes down to counting, loses no call in it, and comes back. */

import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { askFor, startTarget, TARGET } from "./target.ts";

/** A third of what capturing the load costs, three times what counting it does. */
const CORES = "0.03";
const DOWN_MS_MAX = 60_000;
const COUNTED_MS = 4000;
const UP_MS_MAX = 120_000;
const SETTLE_MS_MAX = 15_000;

interface CaptureAnswer {
  readonly sampled: boolean;
  readonly lost: Readonly<Record<string, number>>;
  readonly budget: { readonly usedCores: number; readonly processes: readonly { pid: number; depth: string }[] };
}

/** Loads a program that may take little of a core, then leaves it in peace. */
export async function keepsBudget(report: SuiteReport): Promise<void> {
  const program = await Program.start(["--capture", "socket", "--capture-cpu", CORES]);
  const target = await startTarget();
  try {
    const depth = async (): Promise<string> => {
      const { budget } = await program.json<CaptureAnswer>("/api/v1/capture");
      return budget.processes.find(({ pid }) => pid === target.pid)?.depth ?? "full";
    };
    const depths: string[] = [];
    let isOver = false;
    const asked = askFor(target.port, { connections: 8, pauseMs: 1, isOver: () => isOver });
    await until(async () => {
      const now = await depth();
      if (depths.at(-1) !== now) depths.push(now);
      return now === "counted" ? true : undefined;
    }, DOWN_MS_MAX);
    await sleep(COUNTED_MS);
    const during = await program.json<CaptureAnswer>("/api/v1/capture");
    isOver = true;
    const ledger = await asked;
    report.add(
      `budget: under load it goes ${depths.join(" → ")}`,
      depths.join(" ") === "full heads counted" ? "" : `at ${during.budget.usedCores} cores of ${CORES}`,
    );
    report.add("budget: /api/v1/capture says that it samples", during.sampled ? "" : JSON.stringify(during.budget));
    const held = await program.counter("thalweg_capture_processes", 'depth="counted"');
    report.add("budget: so does the metric", held > 0 ? "" : "thalweg_capture_processes counts none");
    report.add(
      "budget: so does the log",
      /capture costs more than --capture-cpu/.test(program.output) ? "" : program.output,
    );
    await sameCounts(program, report, ledger);
    const up = await until(async () => ((await depth()) === "full" ? true : undefined), UP_MS_MAX);
    report.add("budget: without load it is captured in full again", up === true ? "" : `it is at ${await depth()}`);
    const again = await askFor(target.port, { connections: 2, pauseMs: 20, isOver: countdown(50) });
    for (const [status, count] of again) ledger.set(status, (ledger.get(status) ?? 0) + count);
    await sameCounts(program, report, ledger);
    report.add("budget: one truth", await oneTruthFault(program, { only: TARGET }));
  } finally {
    target.stop();
    await program.discard();
  }
}

function countdown(from: number): () => boolean {
  let left = from;
  return () => left-- <= 0;
}

/** The server's calls by status code are those of the client's ledger, whatever rows they stand in. */
async function sameCounts(program: Program, report: SuiteReport, ledger: ReadonlyMap<number, number>): Promise<void> {
  const want = JSON.stringify([...ledger].sort(([a], [b]) => a - b));
  let found = "";
  let rows = 0;
  await until(async () => {
    const answer = await program.sql(
      "SELECT CAST(attributes['http.response.status_code'] AS INT) AS code, sum(weight) AS calls, count(*) AS n FROM spans " +
        "WHERE service = $1 AND kind = 'server' GROUP BY code ORDER BY code",
      [TARGET],
    );
    found = JSON.stringify(answer.map(([code, calls]) => [Number(code), Number(calls)]));
    rows = answer.reduce((sum, [, , n]) => sum + Number(n), 0);
    return found === want ? true : undefined;
  }, SETTLE_MS_MAX);
  const { lost } = await program.json<CaptureAnswer>("/api/v1/capture");
  report.add(
    `budget: calls by status in ${rows} rows are those of the sender: ${want}`,
    found === want ? "" : `${found}; lost: ${JSON.stringify(lost)}`,
  );
}
