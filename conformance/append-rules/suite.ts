/**
 * The suite `append-rules`: which samples are taken, what a sender is told and what is read afterwards, hints of histograms
 * included, with what Prometheus 3.16 answered to the same writes.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Program } from "../program.ts";
import { Prometheus } from "../prometheus.ts";
import { readRecording, writeRecording } from "../recording.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { readAll, type WriteAnswer, write } from "./target.ts";
import { makeWrites } from "./writes.ts";

const RECORDING = join(import.meta.dirname, "recorded.ndjson.gz");

/** Writes of one seed to a server with one out-of-order window. */
interface Round {
  readonly seed: number;
  readonly windowMs: number;
}

interface RecordedRound extends Round {
  readonly answers: readonly WriteAnswer[];
  readonly lines: readonly string[];
}

const ROUNDS: readonly Round[] = [0, 300_000].flatMap((windowMs) => [11, 12, 13].map((seed) => ({ seed, windowMs })));

/**
 * Options behind the suite's name: `--prometheus PATH` asks that Prometheus in place of the recorded answers, `--seed N`
 * with writes of that seed; `--record` keeps what it answers.
 */
export async function runAppendRules({ args = [] }: { args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      prometheus: { type: "string" },
      seed: { type: "string" },
      record: { type: "boolean", default: false },
      dir: { type: "string" },
    },
    allowPositionals: true,
  });
  const { prometheus, seed } = values;
  const rounds = seed === undefined ? ROUNDS : [0, 300_000].map((windowMs) => ({ seed: Number(seed), windowMs }));
  const report = new SuiteReport({ quiet: true });
  const wanted = prometheus === undefined ? readRecording<RecordedRound>(RECORDING) : await askAll(prometheus, rounds);
  if (wanted === undefined) {
    report.skip("append-rules", `${RECORDING} is not there`, "suites");
    return report.outcome;
  }
  if (values.record) process.stdout.write(`${writeRecording(RECORDING, wanted)} bytes are recorded\n`);
  for (const round of wanted) await compare(report, round);
  return report.outcome;
}

async function askAll(binary: string, rounds: readonly Round[]): Promise<RecordedRound[]> {
  const recorded: RecordedRound[] = [];
  for (const round of rounds) {
    const window = `storage: {tsdb: {out_of_order_time_window: ${round.windowMs / 1000}s}}\n`;
    const prometheus = await Prometheus.start(binary, { config: round.windowMs > 0 ? window : "global: {}\n" });
    try {
      recorded.push(await play(prometheus.http, round));
    } finally {
      await prometheus.discard();
    }
  }
  return recorded;
}

async function play(http: string, round: Round): Promise<RecordedRound> {
  const answers: WriteAnswer[] = [];
  for (const series of makeWrites(round.seed, round.windowMs)) answers.push(await write(http, series));
  return { ...round, answers, lines: await readAll(http) };
}

async function compare(report: SuiteReport, wanted: RecordedRound): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-append-"));
  const flags = ["--capture", "off", "--out-of-order-window", `${wanted.windowMs / 1000}s`];
  const program = await Program.start(flags, directory);
  try {
    const ours = await play(program.http, wanted);
    const name = `seed ${wanted.seed}, window ${wanted.windowMs} ms`;
    for (const [at, want] of wanted.answers.entries()) {
      report.add(`${name}, write ${at}`, faultOf(want, ours.answers[at]));
    }
    for (const [at, want] of wanted.lines.entries()) report.add(`${name}, read`, faultOf(want, ours.lines[at]));
    report.add(`${name}, series`, faultOf(wanted.lines.length, ours.lines.length));
  } finally {
    await program.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

function faultOf(wanted: unknown, found: unknown): string {
  const [want, have] = [JSON.stringify(wanted), JSON.stringify(found)];
  return want === have ? "" : `wanted ${want}\nfound  ${have}`;
}
