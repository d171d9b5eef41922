/**
 * The ledger: what was acknowledged is there once, over kills at the worst moments and power cuts, and all derived
 * numbers agree after every restart.
 *
 * `--kills N` and `--images N` ask for more than the short form of each.
 */

import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { oneTruthFault } from "../one-truth.ts";
import { Program, type Surroundings, sleep } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { ledgerFault } from "./ledger-fault.ts";
import { powerLoss } from "./power-loss.ts";
import { syncBeforeReply } from "./sync-before-reply.ts";
import { WriteLoad } from "./write-load.ts";

const KILLS_DEFAULT = 5;
const IMAGES_DEFAULT = 5;
const KINDS = ["ingest", "checkpoint", "rollover", "first start", "ingest"] as const;
const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const DAY_MS = 86_400_000;
/** The server starts this long before midnight of its clock; where it starts slower than that, longer the next time. */
const BEFORE_MIDNIGHT_MS = { first: 6_000, max: 48_000 } as const;
/** A rollover is killed at most this long after midnight. */
const AFTER_MIDNIGHT_MS_MAX = 1_500;
const LOAD_MS_MAX = 2_500;
const CHECKPOINT_MS_MAX = 10_000;
/** A commit that finds the WAL at 64 MiB writes a checkpoint; the kill comes when it is near. */
const CHECKPOINT_NEAR_BYTES = 62 * 2 ** 20;
/** A kill waits for so many acknowledgements of each signal since the start. */
const BODIES_MIN = 3;
const PROGRESS_MS_MAX = 10_000;
const SPANS_PER_SECOND = 24_000;
const FLAGS = ["--capture", "off", "--retention", "3650d", "--log-level", "warn"];

/** Runs the suite. */
export async function runLedger({ args = [] }: { readonly args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { kills: { type: "string" }, images: { type: "string" }, only: { type: "string" } },
    allowPositionals: true,
    strict: false,
  });
  const only = typeof values.only === "string" ? values.only : "";
  const report = new SuiteReport();
  if ("sync".includes(only)) await syncBeforeReply(report);
  if ("kills".includes(only)) await killAll(report, Number(values.kills ?? KILLS_DEFAULT));
  if ("images".includes(only)) await powerLoss(report, Number(values.images ?? IMAGES_DEFAULT));
  return report.outcome;
}

/** Wall clock of the program under test: `offsetMs` before or after this machine's, never set back. */
class ProgramClock {
  offsetMs = 0;
  readonly canShift = existsSync(FAKETIME);
  #beforeMidnightMs: number = BEFORE_MIDNIGHT_MS.first;

  get surroundings(): Surroundings {
    if (this.offsetMs === 0) return {};
    const env = { LD_PRELOAD: FAKETIME, FAKETIME: `+${(this.offsetMs / 1000).toFixed(3)}s` };
    return { env: { ...env, FAKETIME_DONT_FAKE_MONOTONIC: "1", NO_FAKE_STAT: "1" } };
  }

  /** Goes on to shortly before the next midnight. @returns Milliseconds from now to it. */
  approachMidnight(): number {
    const now = Date.now() + this.offsetMs;
    this.offsetMs += Math.max(0, DAY_MS - (now % DAY_MS) - this.#beforeMidnightMs);
    return this.untilMidnightMs();
  }

  /** Midnight came before the server was there. */
  missMidnight(): void {
    this.#beforeMidnightMs = Math.min(2 * this.#beforeMidnightMs, BEFORE_MIDNIGHT_MS.max);
  }

  untilMidnightMs(): number {
    return DAY_MS - ((Date.now() + this.offsetMs) % DAY_MS);
  }
}

async function killAll(report: SuiteReport, kills: number): Promise<void> {
  const clock = new ProgramClock();
  const load = new WriteLoad({ spansPerSecond: SPANS_PER_SECOND, lanesPerTransport: 4 });
  const directory = mkdtempSync(join(tmpdir(), "thalweg-ledger-"));
  let program: Program | undefined;
  try {
    program = await Program.start(FLAGS, directory);
    for (let kill = 0; kill < kills; kill++) {
      const kind = KINDS[kill % KINDS.length] ?? "ingest";
      if (kind === "first start") {
        report.add(`kill ${kill + 1} at first start: the next start ingests`, await killFirstStart());
        continue;
      }
      if (kind === "rollover" && !clock.canShift) {
        report.skip(`kill ${kill + 1} at day rollover`, `${FAKETIME} is not installed`, "servers");
        continue;
      }
      if (kind === "rollover") {
        await program.stop();
        clock.approachMidnight();
        load.clockOffsetMs = clock.offsetMs;
        program = await Program.start(FLAGS, directory, clock.surroundings);
      }
      const before = load.acknowledgedSpans;
      const sinceMs = performance.now();
      const cpuBefore = process.cpuUsage();
      load.sendTo(program);
      await load.progress(BODIES_MIN, PROGRESS_MS_MAX);
      const moment = await momentOf(kind, program, clock);
      const elapsedMs = performance.now() - sinceMs;
      const rate = Math.round(((load.acknowledgedSpans - before) / elapsedMs) * 1000);
      const { user, system } = process.cpuUsage(cpuBefore);
      const cpu = Math.round((user + system) / 10 / elapsedMs);
      await program.kill();
      load.sendTo(undefined);
      const { ledger } = load;
      program = await Program.start(FLAGS, directory, clock.surroundings);
      const sender = `${rate} spans/s, the sender at ${cpu} % of a core, ${load.acknowledged} bodies`;
      const name = `kill ${kill + 1} ${kind} (${moment}, ${sender})`;
      report.add(`${name}: none lost, none twice`, await ledgerFault(program, ledger));
      report.add(`${name}: one truth`, await oneTruthFault(program));
    }
    load.sendTo(program);
    const unfinished = await load.finish(30_000);
    const name = `bodies, sent again, refused: ${load.summary}`;
    report.add(`${name}: all are acknowledged in the end`, unfinished);
    report.add(`${name}: all are there once`, await ledgerFault(program, load.ledger));
    report.add(`${name}: one truth`, await oneTruthFault(program));
    const days = readdirSync(join(directory, "db")).filter((file) => file.endsWith(".duckdb"));
    const rollovers = clock.offsetMs === 0 ? 0 : 1;
    report.add(`${days.length} day files`, days.length > rollovers ? "" : "no day rolled over");
  } finally {
    load.sendTo(undefined);
    await program?.kill();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Waits for the moment of a kill. @returns What it was. */
async function momentOf(kind: (typeof KINDS)[number], program: Program, clock: ProgramClock): Promise<string> {
  if (kind === "checkpoint") return checkpointMoment(program);
  if (kind === "rollover") {
    const untilMs = clock.untilMidnightMs();
    const afterMs = Math.random() * AFTER_MIDNIGHT_MS_MAX;
    if (untilMs > DAY_MS / 2) {
      clock.missMidnight();
      return "midnight had passed";
    }
    await sleep(untilMs + afterMs);
    return `${Math.round(afterMs)} ms after midnight`;
  }
  const afterMs = 500 + Math.random() * LOAD_MS_MAX;
  await sleep(afterMs);
  return `after ${Math.round(afterMs)} ms`;
}

/** A checkpoint of ingest where the WAL gets there in time; else the one with which a stop ends. */
async function checkpointMoment(program: Program): Promise<string> {
  const deadline = performance.now() + CHECKPOINT_MS_MAX;
  let largest = 0;
  while (performance.now() < deadline) {
    const bytes = walBytes(program.dataDirectory);
    if (bytes < largest / 2) return "the WAL was just merged";
    if (bytes > CHECKPOINT_NEAR_BYTES) {
      const afterMs = Math.random() * 600;
      await sleep(afterMs);
      return `WAL of ${mebibytes(bytes)}, ${mebibytes(walBytes(program.dataDirectory))} ${Math.round(afterMs)} ms later`;
    }
    largest = Math.max(largest, bytes);
    await sleep(5);
  }
  program.signal("SIGTERM");
  const afterMs = Math.random() * 300;
  await sleep(afterMs);
  return `WAL of ${mebibytes(walBytes(program.dataDirectory))}, ${Math.round(afterMs)} ms after SIGTERM`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function walBytes(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(join(directory, "db"))) {
    if (!name.endsWith(".wal")) continue;
    try {
      bytes = Math.max(bytes, statSync(join(directory, "db", name)).size);
    } catch (error) {
      // It was merged between the listing and the look.
      if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    }
  }
  return bytes;
}

/** Kills a program in its first start; the next one must come up by itself and take spans. */
async function killFirstStart(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-ledger-first-"));
  const started = performance.now();
  let program: Program | undefined;
  try {
    const probe = await Program.start(FLAGS);
    const startMs = performance.now() - started;
    await probe.discard();
    await Program.killAtStart(FLAGS, directory, startMs * (0.2 + Math.random()));
    program = await Program.start(FLAGS, directory);
    const load = new WriteLoad({ spansPerSecond: SPANS_PER_SECOND, lanesPerTransport: 1 });
    load.sendTo(program);
    await sleep(300);
    const fault = await load.finish(20_000);
    return [fault, await ledgerFault(program, load.ledger), await oneTruthFault(program)]
      .filter((one) => one !== "")
      .join("\n");
  } finally {
    await program?.kill();
    rmSync(directory, { recursive: true, force: true });
  }
}
