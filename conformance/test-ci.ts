/**
 * `npm run test:ci`: what takes a machine for itself: boxes, the native rebuild, the package, the executable.
 *
 * Words choose parts by name; without words all run.
 */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { BOXES, BoxedClone } from "./boxes/box.ts";
import { startOnce, testOnce } from "./boxes/newcomer.ts";
import { smokeExecutable, smokePackage } from "./boxes/shipped.ts";
import { SuiteReport } from "./suite.ts";

const ROOT = join(import.meta.dirname, "..");
const TEST_MS_MAX = 1_200_000;
const TIERS: Readonly<Record<string, readonly string[]>> = {
  root: ["socket"],
  "net-raw": ["packet"],
  unprivileged: ["replay"],
  "memory-1gib": ["socket"],
};
/** Boxes in which the whole test command is run too: what root can is tested by the command itself. */
const TESTED = new Set(["unprivileged"]);

async function runBox(report: SuiteReport, name: string): Promise<void> {
  const make = BOXES[name];
  if (make === undefined) throw new Error(`there is no box ${name}`);
  const clone = new BoxedClone(make());
  try {
    const first = await startOnce(clone, TIERS[name] ?? [], false);
    report.add(
      `box ${name}: first start (${seconds(first.totalMs)}, download ${seconds(first.installMs)}, ${first.tier})`,
      first.fault,
    );
    const second = await startOnce(clone, TIERS[name] ?? [], true);
    report.add(`box ${name}: second start (${seconds(second.totalMs)})`, second.fault);
    if (!TESTED.has(name)) return;
    const tested = await testOnce(clone, TEST_MS_MAX);
    report.add(`box ${name}: npm test (${tested.lastLine})`, tested.fault);
  } finally {
    await clone.close();
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function rebuildNatives(): string {
  const ran = spawnSync(process.execPath, ["bpf/build.ts", "--check"], { cwd: ROOT, encoding: "utf8" });
  return ran.status === 0 ? "" : `${ran.stdout}${ran.stderr}`;
}

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const wanted = (name: string) => words.length === 0 || words.some((word) => name.includes(word));
  const report = new SuiteReport();
  for (const name of Object.keys(BOXES)) {
    if (!wanted(`box-${name}`)) continue;
    if (process.getuid?.() !== 0) report.skip(`box ${name}`, "boxes are made by root", "capture");
    else await runBox(report, name);
  }
  if (wanted("native")) report.add("native rebuild gives the committed bytes", rebuildNatives());
  if (wanted("package")) report.add("package runs by npx from an empty directory", await smokePackage());
  if (wanted("executable")) report.add("executable runs from an empty directory", await smokeExecutable());
  const { passed, failed, skipped } = report.outcome;
  for (const line of skipped) process.stdout.write(`skipped: ${line}\n`);
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}

await main();
