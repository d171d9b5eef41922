/** A disk that is full for a while, and one whose syncs or writes fail once or for a while: refused, and resumed by itself. */

import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildPreload } from "../ledger/preload.ts";
import { ledgerFault, SpanLoad } from "../ledger/span-load.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const FLAGS = ["--capture", "off", "--log-level", "warn"];
const SMALL_MIB = 64;
const REFUSED_MS_MAX = 1_000;
const RESUMED_MS_MAX = 10_000;
/** Commits that were under way when a fault began are answered within this. */
const UNDER_WAY_MS = 1_500;
const FAULTS = [
  { call: "sync", at: 0, how: "once", value: 1 },
  { call: "sync", at: 0, how: "for ever", value: 2 },
  { call: "write", at: 1, how: "once", value: 1 },
  { call: "write", at: 1, how: "for ever", value: 2 },
] as const;

/** Fills a file system of 64 MiB under load, holds it full for `holdMs`, and frees it. */
export async function fullDisk(report: SuiteReport, holdMs: number): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "thalweg-full-"));
  const mount = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SMALL_MIB}m`, "tmpfs", work], { encoding: "utf8" });
  if (mount.status !== 0) {
    rmSync(work, { recursive: true, force: true });
    return report.skip("a full disk", `a small file system cannot be mounted: ${mount.stderr}`, "servers");
  }
  const data = join(work, "data");
  const filler = join(work, "filler");
  const load = new SpanLoad({ spansPerSecond: 6_000, lanesPerTransport: 1 });
  let program: Program | undefined;
  try {
    program = await Program.start(FLAGS, data);
    load.sendTo(program);
    await load.progress(20, 10_000);
    fill(filler);
    const filledMs = performance.now();
    const refused = await until(async () => (load.refusals > 0 ? true : undefined), 15_000);
    const refusedMs = Math.round(performance.now() - filledMs);
    report.add(`full disk: exports are refused (${refusedMs} ms after it was full)`, refused ? "" : "none is refused");
    const slowest = await probeHeld(report, program, load, holdMs);
    rmSync(filler);
    await resumed(report, `full disk, held ${Math.round(holdMs / 1000)} s (slowest answer ${slowest} ms)`, load);
    program = await settle(report, "full disk", program, load);
  } finally {
    load.sendTo(undefined);
    await program?.kill();
    await load.finish(0);
    spawnSync("umount", [work]);
    rmSync(work, { recursive: true, force: true });
  }
}

/** Asks and sends while there is no room. @returns The slowest answer to an export in ms. */
async function probeHeld(report: SuiteReport, program: Program, load: SpanLoad, holdMs: number): Promise<number> {
  const faults = new Set<string>();
  let slowestMs = 0;
  const heldUntil = performance.now() + holdMs;
  load.slowestRefusalMs = 0;
  do {
    await program.sql("SELECT count(*) FROM spans").catch((error: unknown) => faults.add(String(error)));
    await program.promql("sum(traces_spanmetrics_calls_total)").catch((error: unknown) => faults.add(String(error)));
    await sleep(200);
    slowestMs = Math.max(slowestMs, load.slowestRefusalMs);
  } while (performance.now() < heldUntil);
  report.add("full disk: queries go on", [...faults].slice(0, 3).join("\n"));
  // What else the machine does is not the program's: a plain request tells how slow everything is.
  const sinceMs = performance.now();
  await fetch(`${program.http}/livez`);
  const allowedMs = REFUSED_MS_MAX + 10 * (performance.now() - sinceMs);
  const late = slowestMs > allowedMs ? `a refusal took ${slowestMs} ms, ${Math.round(allowedMs)} are allowed` : "";
  report.add(
    "full disk: refusals are quick and can be sent again",
    [late, ...load.faults.slice(0, 3)].join("\n").trim(),
  );
  return Math.round(slowestMs);
}

/** Fills what is left of a file system. */
function fill(path: string): void {
  const file = openSync(path, "w");
  try {
    for (let bytes = 2 ** 20; bytes >= 4096; ) {
      try {
        writeSync(file, Buffer.alloc(bytes));
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
        bytes /= 2;
      }
    }
  } finally {
    closeSync(file);
  }
}

async function resumed(report: SuiteReport, name: string, load: SpanLoad): Promise<void> {
  const before = load.acknowledged.size;
  const sinceMs = performance.now();
  await load.progress(3, RESUMED_MS_MAX);
  const tookMs = Math.round(performance.now() - sinceMs);
  report.add(
    `${name}: ingest resumes (${tookMs} ms)`,
    load.acknowledged.size > before ? "" : `nothing was acknowledged within ${RESUMED_MS_MAX} ms`,
  );
}

/** Sends what is left, compares, kills, starts again, compares again. */
async function settle(report: SuiteReport, name: string, program: Program, load: SpanLoad): Promise<Program> {
  const unfinished = await load.finish(20_000);
  report.add(`${name}: all are acknowledged in the end`, unfinished);
  report.add(`${name}: all are there once`, await ledgerFault(program, load.acknowledged, load.sent));
  await program.kill();
  const next = await Program.start(FLAGS, program.dataDirectory);
  report.add(`${name}: all are there once after a kill`, await ledgerFault(next, load.acknowledged, load.sent));
  report.add(`${name}: one truth`, await oneTruthFault(next));
  const quarantine = join(program.dataDirectory, "quarantine");
  report.add(`${name}: nothing is set aside`, existsSync(quarantine) ? `there is ${quarantine}` : "");
  return next;
}

/** Syncs and writes that fail, once and for `holdMs`. */
export async function failingDisk(report: SuiteReport, holdMs: number): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "thalweg-eio-"));
  try {
    const library = buildPreload(join(import.meta.dirname, "disk-faults.c"), work);
    if (typeof library !== "string") return report.skip("a failing disk", library.why, "servers");
    for (const fault of FAULTS) await failWith(report, work, library, fault, holdMs);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function failWith(
  report: SuiteReport,
  work: string,
  library: string,
  fault: (typeof FAULTS)[number],
  holdMs: number,
): Promise<void> {
  const name = `${fault.call} fails ${fault.how}`;
  const control = join(work, "control");
  writeFileSync(control, Buffer.alloc(4096));
  const data = mkdtempSync(join(work, "data-"));
  mkdirSync(data, { recursive: true });
  const env = { LD_PRELOAD: library, FAULT_OF: `${data}/`, FAULT_CONTROL: control };
  const load = new SpanLoad({ spansPerSecond: 6_000, lanesPerTransport: 1 });
  const handle = openSync(control, "r+");
  let program: Program | undefined;
  try {
    program = await Program.start(FLAGS, data, { env });
    load.sendTo(program);
    await load.progress(5, 10_000);
    writeSync(handle, Buffer.of(fault.value), 0, 1, fault.at);
    if (fault.how === "for ever") {
      await sleep(UNDER_WAY_MS);
      const before = load.acknowledged.size;
      await sleep(holdMs);
      const more = load.acknowledged.size - before;
      report.add(`${name}: nothing is acknowledged`, more === 0 ? "" : `${more} bodies were`);
      writeSync(handle, Buffer.of(0), 0, 1, fault.at);
    }
    const failed = await until(async () => ((readFileSync(control)[2] ?? 0) > 0 ? true : undefined), 10_000);
    report.add(`${name}: the program met it`, failed ? "" : "no call failed");
    await resumed(report, name, load);
    program = await settle(report, name, program, load);
  } finally {
    closeSync(handle);
    load.sendTo(undefined);
    await program?.kill();
    await load.finish(0);
    rmSync(data, { recursive: true, force: true });
  }
}
