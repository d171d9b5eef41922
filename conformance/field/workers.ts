/** A long-lived worker that was started inside a request must not inherit its context (report CX-01). */

import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Program, sleep, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const RUN_MS_MAX = 60_000;
const SEEN_MS_MAX = 15_000;
/** After the last span that was waited for, so that one too many would show. */
const QUIET_MS = 700;

/** Builds and runs the Go program of the report, then looks at the traces of its calls. */
export async function checkWorkers(program: Program, dir: string, report: SuiteReport): Promise<void> {
  const source = join(dir, "inputs", "CX-01.worker.go");
  if (!existsSync(source)) return;
  if (spawnSync("sh", ["-c", "command -v go"]).status !== 0)
    return report.skip("CX-01", "this machine has no Go", "servers");
  const directory = mkdtempSync(join(tmpdir(), "thalweg-worker-"));
  try {
    copyFileSync(source, join(directory, "main.go"));
    const built = spawnSync("go", ["build", "-o", "worker", "main.go"], { cwd: directory, encoding: "utf8" });
    if (built.status !== 0) return report.add("CX-01", `go build: ${built.stderr}`);
    const child = spawn(join(directory, "worker"), [], { stdio: "ignore" });
    const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS_MAX);
    const status = await new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
    clearTimeout(timer);
    if (status !== 0) return report.add("CX-01", `the program ended with ${status}`);
    await until(async () => ((await workerFault(program)) === "" ? true : undefined), SEEN_MS_MAX);
    await sleep(QUIET_MS);
    report.add("CX-01", await workerFault(program));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function workerFault(program: Program): Promise<string> {
  const rows = await program.sql(
    `SELECT c.attributes['url.path'] AS path, c.trace_id, c.parent_span_id, p.attributes['url.path'] AS parent_path, c.kind
     FROM spans c LEFT JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
     WHERE c.kind = 'client' AND c.service = 'worker'`,
  );
  const ticks = rows.filter(([path]) => path === "/tick");
  const byRequest = rows.filter(([path]) => path === "/by-request");
  const faults: string[] = [];
  if (ticks.length !== 20) faults.push(`${ticks.length} /tick client spans, expected 20`);
  if (byRequest.length !== 5) faults.push(`${byRequest.length} /by-request client spans, expected 5`);
  if (new Set(ticks.map(([, trace]) => trace)).size !== ticks.length) faults.push("ticks share traces");
  for (const [path, , , parent] of ticks) if (parent !== null) faults.push(`${path} is a child of ${parent}`);
  for (const [path, , , parent] of byRequest)
    if (parent !== null && parent !== "/do") faults.push(`${path} is a child of ${parent}`);
  return faults.join("\n");
}
