/**
 * nginx → Node → Python → Redis with no id in what passes between them: one tree for each request, on one host, on two
 * with an agent each, and through address translation. The stages run in a network namespace of their own.
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

/** Rungs that the two hosts are run on where no words name others. */
const RUNGS = ["socket", "packet"];

/**
 * The suite `chain`. `--short` leaves out all rungs but one, the one host, TLS and the restart of the receiver; other words
 * are rungs for the two hosts.
 */
export async function runChain({ args }: { readonly args: readonly string[] }): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  if (process.getuid?.() !== 0) {
    report.skip("chain", "live capture and network namespaces need root", "capture");
    return report.outcome;
  }
  for (const program of ["ip", "nsenter", "unshare", "curl", "nginx", "python3", "redis-server"]) {
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status === 0) continue;
    report.skip("chain", `this machine has no ${program}`, "servers");
    return report.outcome;
  }
  if (spawnSync("unshare", ["--net", "true"]).status !== 0) {
    report.skip("chain", "this machine allows no network namespace", "capture");
    return report.outcome;
  }
  const rungs = args.length === 0 ? RUNGS : args;
  const words = args.includes("--short") ? ["short", "socket"] : ["long", ...rungs];
  const stages = join(import.meta.dirname, "stages.ts");
  const child = spawn(
    "unshare",
    ["--net", process.execPath, "--disable-warning=ExperimentalWarning", stages, ...words],
    { stdio: ["ignore", "inherit", "inherit", "ipc"] },
  );
  const [outcome] = await Promise.race([once(child, "message"), once(child, "exit")]);
  if (typeof outcome === "object" && outcome !== null) return outcome as SuiteOutcome; // the stages send nothing else
  report.add("chain", `the stages ended with status ${String(outcome)}`);
  return report.outcome;
}
