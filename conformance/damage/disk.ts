/** A disk that is full for a while, and one whose syncs or writes fail once or for a while: refused, and resumed by itself. */

import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ledgerFault } from "../ledger/ledger-fault.ts";
import { buildPreload } from "../ledger/preload.ts";
import type { Signal } from "../ledger/send-body.ts";
import { WriteLoad } from "../ledger/write-load.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const FLAGS = ["--capture", "off", "--log-level", "warn"];
const SMALL_MIB = 64;
/** Room for a log of 64 MiB, and for little more. */
const CHECKPOINT_DISK_MIB = 128;
/** A commit that finds the WAL at 64 MiB writes a checkpoint. */
const WAL_NEAR_BYTES = 52 * 2 ** 20;
/** Room for the rest of the log, and not for the checkpoint. */
const CHECKPOINT_SPARE_BYTES = 14 * 2 ** 20;
const REFUSED_MS_MAX = 1_000;
/** After the hold, for a signal whose next write fits into what its file has left. */
const FIRST_REFUSAL_MS_MAX = 10_000;
const RESUMED_MS_MAX = 10_000;
/** Commits that were under way when a fault began are answered within this. */
const UNDER_WAY_MS = 1_500;
const IN_DAY_FILES = ["traces", "logs"] as const;
const SIGNALS = [...IN_DAY_FILES, "metrics", "samples"] as const;
const FAULTS = [
  { call: "sync", at: 0, how: "once", value: 1 },
  { call: "sync", at: 0, how: "for ever", value: 2 },
  { call: "write", at: 1, how: "once", value: 1 },
  { call: "write", at: 1, how: "for ever", value: 2 },
] as const;

/** Fills a file system of 64 MiB under load, holds it full for `holdMs`, and frees it. */
export async function fullDisk(report: SuiteReport, holdMs: number): Promise<void> {
  const name = "full disk";
  await onSmallDisk(report, { name, mib: SMALL_MIB, spansPerSecond: 6_000 }, async (data, filler, load) => {
    const program = await Program.start(FLAGS, data);
    load.sendTo(program);
    await load.progress(5, 10_000);
    const fillStartedMs = performance.now();
    fill(filler);
    await held(report, { name, holdMs, fillMs: performance.now() - fillStartedMs, signals: SIGNALS }, program, load);
    rmSync(filler);
    await resumed(report, `${name}, held ${Math.round(holdMs / 1000)} s`, load);
    return settle(report, name, program, load);
  });
}

/** Leaves room for the log and none for the checkpoint that is due: DuckDB cannot go on after one that fails. */
export async function fullAtCheckpoint(report: SuiteReport, holdMs: number): Promise<void> {
  const name = "no room for a checkpoint";
  await onSmallDisk(report, { name, mib: CHECKPOINT_DISK_MIB, spansPerSecond: 40_000 }, async (data, filler, load) => {
    const program = await Program.start(FLAGS, data);
    load.sendTo(program);
    const near = await until(async () => (walBytes(data) > WAL_NEAR_BYTES ? true : undefined), 60_000);
    report.add(`${name}: the log of the day file grows`, near ? "" : `it has ${walBytes(data)} bytes`);
    const fillStartedMs = performance.now();
    fill(filler, CHECKPOINT_SPARE_BYTES);
    await held(
      report,
      { name, holdMs, fillMs: performance.now() - fillStartedMs, signals: IN_DAY_FILES },
      program,
      load,
    );
    rmSync(filler);
    await resumed(report, name, load);
    const reopened = await program.counter("thalweg_store_reopens_total");
    // One may have been under way when the disk became full.
    report.add(`${name}: ${reopened} checkpoints were tried in vain`, reopened <= 1 ? "" : "more than the first");
    return settle(report, name, program, load);
  });
}

interface SmallDisk {
  readonly name: string;
  readonly mib: number;
  readonly spansPerSecond: number;
}

/** Mounts a small file system for the time of `work`, which gives the program that is to be ended. */
async function onSmallDisk(
  report: SuiteReport,
  { name, mib, spansPerSecond }: SmallDisk,
  work: (data: string, filler: string, load: WriteLoad) => Promise<Program>,
): Promise<void> {
  const place = mkdtempSync(join(tmpdir(), "thalweg-full-"));
  const mount = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${mib}m`, "tmpfs", place], { encoding: "utf8" });
  if (mount.status !== 0) {
    rmSync(place, { recursive: true, force: true });
    return report.skip(name, `a small file system cannot be mounted: ${mount.stderr}`, "servers");
  }
  const load = new WriteLoad({ spansPerSecond, lanesPerTransport: 1 });
  let program: Program | undefined;
  try {
    program = await work(join(place, "data"), join(place, "filler"), load);
  } finally {
    const running = program ?? load.program;
    load.sendTo(undefined);
    await running?.kill();
    await load.finish(0);
    spawnSync("umount", [place]);
    rmSync(place, { recursive: true, force: true });
  }
}

interface Hold {
  readonly name: string;
  readonly holdMs: number;
  /** How long it took to fill the disk. */
  readonly fillMs: number;
  /** For which there is no room. */
  readonly signals: readonly Signal[];
}

/** Asks and sends while there is no room: every signal without room is refused promptly, and queries go on. */
async function held(
  report: SuiteReport,
  { name, holdMs, fillMs, signals }: Hold,
  program: Program,
  load: WriteLoad,
): Promise<void> {
  const faults = new Set<string>();
  for (const tally of Object.values(load.tallies)) tally.slowest = { ms: 0, why: "" };
  const refusedBefore = new Map(Object.entries(load.tallies).map(([signal, { refused }]) => [signal, refused]));
  const refusedAfterMs = new Map<string, number>();
  const filledMs = performance.now();
  let slowestQueryMs = 0;
  for (;;) {
    const sinceMs = performance.now();
    await program.sql("SELECT count(*) FROM spans").catch((error: unknown) => faults.add(String(error)));
    await program.promql("sum(traces_spanmetrics_calls_total)").catch((error: unknown) => faults.add(String(error)));
    slowestQueryMs = Math.max(slowestQueryMs, performance.now() - sinceMs);
    for (const [signal, { refused }] of Object.entries(load.tallies)) {
      if (refused > (refusedBefore.get(signal) ?? 0) && !refusedAfterMs.has(signal))
        refusedAfterMs.set(signal, Math.round(performance.now() - filledMs));
    }
    const elapsedMs = performance.now() - filledMs;
    const isEach = signals.every((signal) => refusedAfterMs.has(signal));
    if (elapsedMs > holdMs && (isEach || elapsedMs > holdMs + FIRST_REFUSAL_MS_MAX)) break;
    await sleep(100);
  }
  report.add(`${name}: queries go on (${Math.round(slowestQueryMs)} ms at most)`, [...faults].slice(0, 3).join("\n"));
  // What else the machine does is not the program's: a plain request tells how slow everything is.
  const sinceMs = performance.now();
  await fetch(`${program.http}/livez`);
  const allowedMs = REFUSED_MS_MAX + 10 * (performance.now() - sinceMs) + fillMs;
  for (const signal of signals) {
    const { slowest } = load.tallies[signal];
    const first = refusedAfterMs.get(signal);
    const words = `${name}: ${signal} are refused, first after ${first} ms, at the slowest in ${Math.round(slowest.ms)} ms`;
    const late = `a refusal took ${Math.round(slowest.ms)} ms, ${Math.round(allowedMs)} are allowed: ${slowest.why}`;
    report.add(words, first === undefined ? "none is refused" : slowest.ms > allowedMs ? late : "");
  }
  report.add(`${name}: what is refused can be sent again`, load.faults.slice(0, 3).join("\n"));
}

function walBytes(data: string): number {
  const wals = readdirSync(join(data, "db")).filter((file) => file.endsWith(".wal"));
  return Math.max(0, ...wals.map((file) => statSync(join(data, "db", file), { throwIfNoEntry: false })?.size ?? 0));
}

/** Fills what is left of a file system but for `spareBytes`. */
function fill(path: string, spareBytes = 0): void {
  const file = openSync(path, "w");
  try {
    if (spareBytes > 0) {
      const { bavail, bsize } = statfsSync(path);
      for (let left = bavail * bsize - spareBytes; left > 0; left -= 2 ** 20) {
        writeSync(file, Buffer.alloc(Math.min(left, 2 ** 20)));
      }
      return;
    }
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

async function resumed(report: SuiteReport, name: string, load: WriteLoad): Promise<void> {
  const before = Object.entries(load.tallies).map(([signal, tally]) => ({ signal, tally, was: tally.acknowledged }));
  const sinceMs = performance.now();
  await load.progress(2, RESUMED_MS_MAX);
  const tookMs = Math.round(performance.now() - sinceMs);
  const idle = before.filter(({ tally, was }) => tally.acknowledged === was);
  report.add(
    `${name}: ingest resumes (all signals in ${tookMs} ms)`,
    idle.map(({ signal }) => `no ${signal} were acknowledged within ${RESUMED_MS_MAX} ms`).join("\n"),
  );
}

/** Sends what is left, compares, kills, starts again, compares again. */
async function settle(report: SuiteReport, name: string, program: Program, load: WriteLoad): Promise<Program> {
  const unfinished = await load.finish(20_000);
  report.add(`${name}: all are acknowledged in the end`, unfinished);
  report.add(`${name}: all are there once`, await ledgerFault(program, load.ledger));
  await program.kill();
  const next = await Program.start(FLAGS, program.dataDirectory);
  report.add(`${name}: all are there once after a kill`, await ledgerFault(next, load.ledger));
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
  const load = new WriteLoad({ spansPerSecond: 6_000, lanesPerTransport: 1 });
  const handle = openSync(control, "r+");
  let program: Program | undefined;
  try {
    program = await Program.start(FLAGS, data, { env });
    load.sendTo(program);
    await load.progress(3, 10_000);
    writeSync(handle, Buffer.of(fault.value), 0, 1, fault.at);
    if (fault.how === "for ever") {
      await sleep(UNDER_WAY_MS);
      const before = load.acknowledged;
      await sleep(holdMs);
      const more = load.acknowledged - before;
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
