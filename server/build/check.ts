/**
 * `npm run check`: every gate a change passes before it is committed, quick ones first.
 */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { checkRooms } from "./rooms.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const BIN = join(ROOT, "node_modules", ".bin");

interface Gate {
  readonly name: string;
  /** Returns what is wrong, or an empty string. */
  readonly run: () => string;
}

/** Gates in order; `generate` first, since all others read what it writes. */
export const GATES: readonly Gate[] = [
  { name: "generate", run: () => command(process.execPath, ["server/build/generate.ts", "--check"]) },
  { name: "format and lint", run: () => command(join(BIN, "biome"), ["check", "--error-on-warnings", "."]) },
  { name: "rooms", run: rooms },
  {
    name: "types",
    run: () => command(process.execPath, [join(ROOT, "node_modules", "typescript", "bin", "tsc"), "-p", "."]),
  },
  {
    name: "types of the page",
    run: () =>
      command(process.execPath, [join(ROOT, "node_modules", "typescript", "bin", "tsc"), "-p", "server/web/client"]),
  },
  { name: "dead code", run: () => command(process.execPath, [join(ROOT, "node_modules", "knip", "bin", "knip.js")]) },
  { name: "duplication", run: () => command(join(BIN, "jscpd"), ["--config", ".jscpd.json", "--exit-code", "1", "."]) },
  { name: "unit tests", run: () => command(process.execPath, ["conformance/run-tests.ts", "--unit"]) },
];

function rooms(): string {
  const listed = spawnSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts", "*.tsx"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  const { faults, importsSeen } = checkRooms(
    ROOT,
    listed.stdout.split("\n").filter((file) => file !== ""),
  );
  if (importsSeen === 0) return "the room check saw no import at all";
  return faults.map((fault) => `${fault.file}: ${fault.why}`).join("\n");
}

function command(program: string, args: readonly string[]): string {
  const ran = spawnSync(program, args, { cwd: ROOT, encoding: "utf8", maxBuffer: 64 * 2 ** 20 });
  return ran.status === 0 ? "" : `${ran.stdout}${ran.stderr}${ran.error?.message ?? ""}`;
}

function main(): void {
  let failed = 0;
  const only = process.argv.slice(2);
  for (const gate of GATES) {
    if (only.length > 0 && !only.some((word) => gate.name.startsWith(word))) continue;
    const startedMs = performance.now();
    const fault = gate.run();
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    process.stdout.write(`${fault === "" ? "ok  " : "FAIL"} ${gate.name} (${seconds} s)\n`);
    if (fault !== "") {
      failed++;
      process.stdout.write(`${fault.trimEnd()}\n`);
    }
  }
  process.stdout.write(failed === 0 ? "check passed\n" : `${failed} gates failed\n`);
  process.exitCode = failed === 0 ? 0 : 1;
}

if (import.meta.main) main();
