/**
 * Captures of other projects through `dissect`, compared with what those projects read from them: whole, and damaged.
 *
 * The comparison is the runner that stands beside the files (`tools/compare_protocols.py`).
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const ROOT = join(import.meta.dirname, "..", "..");
/** Protocols with a parser. Others answer `unsupported`, which is neither passed nor failed. */
const PROTOCOLS = ["http1", "http2", "grpc", "redis", "postgresql", "tls", "reassembly", "negative"];
/** Prints what header blocks and frames hold, for those files that are neither captures nor segments. */
const HPACK = join(import.meta.dirname, "hpack-main.ts");
const DAMAGES = ["", "chunk", "coalesce", "truncate", "drop", "skip"];
const RUN_MS_MAX = 600_000;
const COMPILED = join(tmpdir(), `thalweg-compiled-${process.pid}`);

/** Runs the comparison over `dir` for every protocol with a parser; words after the suite's name choose others. */
export async function runProtocols({ dir, rest }: { dir: string; rest: readonly string[] }): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  const runner = [
    join(dir, "..", "..", "tools", "compare_protocols.py"),
    join(ROOT, "..", "shared", "tools", "compare_protocols.py"),
  ].find((file) => existsSync(file));
  if (runner === undefined) {
    report.skip("protocols", "compare_protocols.py is not beside the files", "suites");
    return report.outcome;
  }
  if (spawnSync("python3", ["--version"]).status !== 0) {
    report.skip("protocols", "this machine has no python3", "servers");
    return report.outcome;
  }
  const present = new Set(readdirSync(dir));
  for (const protocol of rest.length > 0 ? rest : PROTOCOLS) {
    if (!present.has(protocol)) continue;
    for (const damage of DAMAGES) await compare(runner, dir, protocol, damage, report);
  }
  rmSync(COMPILED, { recursive: true, force: true });
  return report.outcome;
}

async function compare(
  runner: string,
  dir: string,
  protocol: string,
  damage: string,
  report: SuiteReport,
): Promise<void> {
  const dissect = [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    join(ROOT, "server", "cli", "main.ts"),
    "dissect",
  ].join(" ");
  const args = [
    runner,
    "--dir",
    dir,
    "--json",
    "--protocol",
    protocol,
    "--cmd",
    `${dissect} {FILE} --protocol {PROTOCOL} --perspective {PERSPECTIVE}`,
    ...(damage === "" ? ["--cmd-hpack", `${process.execPath} ${HPACK} {FILE}`] : ["--damage", damage]),
  ];
  // Hundreds of starts of one program: compiled once, read from then on.
  const env = { ...process.env, NODE_COMPILE_CACHE: COMPILED };
  const child = spawn("python3", args, { stdio: ["ignore", "pipe", "pipe"], env });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
  }
  const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS_MAX);
  await new Promise<void>((resolve) => child.once("exit", () => resolve()));
  clearTimeout(timer);
  let cases = 0;
  for (const line of text.split("\n")) {
    if (!line.startsWith("{")) continue;
    const found: { fixture?: string; result?: string; status?: string; differences?: unknown } = JSON.parse(line);
    if (found.fixture === undefined) continue;
    cases++;
    const verdict = found.result ?? found.status;
    const name = `${found.fixture}${damage === "" ? "" : ` --damage ${damage}`}`;
    if (verdict === "unsupported") report.skip(name, `there is no parser for ${protocol}`, "suites");
    else if (verdict === "passed" || isRightlyEmpty(dir, found.fixture, found.differences)) report.add(name, "");
    else report.add(name, line);
  }
  if (cases === 0) report.add(`${protocol} ${damage}`, `the runner printed no case:\n${text.slice(0, 2_000)}`);
}

/**
 * Of a capture of which the origin says only what must not be found in it, the runner wants something all the same:
 * then nothing is right.
 */
function isRightlyEmpty(dir: string, fixture: string, differences: unknown): boolean {
  const { records }: { records: readonly { count?: number }[] } = JSON.parse(
    readFileSync(join(dir, `${fixture}.expected.json`), "utf8"),
  );
  if (records.length === 0 || records.some(({ count }) => count !== 0) || !Array.isArray(differences)) return false;
  return differences.every((difference: { field?: string; got?: unknown }) => {
    return difference.field === "count" && difference.got === 0;
  });
}
