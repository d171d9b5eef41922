/** Runs a decoder over damaged inputs: it neither throws, hangs nor grows without bound, and what it takes is judged. */

import { constants, setPriority } from "node:os";
import { parseArgs } from "node:util";
import { seededRandom } from "../server/wire/trace-oracle.ts";
import type { SuiteReport } from "./suite.ts";

const ROUNDS = 100_000;
/** A fresh input after so many damaged ones. */
const DAMAGED_OF_ONE = 20;
/** For one input of a few KiB. */
const DECODE_MS_MAX = 100;
const GROWTH_BYTES_MAX = 256 * 2 ** 20;
/** Until the memory of a decoder and of the library is what it will be. */
const WARM_SHARE = 0.2;
/** A fuzzer whose inputs are all refused proves nothing. */
const TAKEN_SHARE_MIN = 0.1;
const FAULTS_SHOWN = 5;

/** What is fuzzed. */
export interface FuzzSubject {
  readonly name: string;
  /** A good input. */
  fresh(random: () => number): Uint8Array;
  /** A damaged one, which may have parts of another good one. */
  damaged(random: () => number, input: Uint8Array, other: Uint8Array): Uint8Array;
  /** What is made of it; undefined where it is refused. */
  read(input: Uint8Array): object | undefined;
  /** What is wrong with that; empty where nothing is. */
  fault(input: Uint8Array, reading: object | undefined): string;
  /** The input for people. */
  shown(input: Uint8Array): string;
}

/** How a suite of fuzzers was asked to run. */
export interface FuzzPass {
  /** Inputs a decoder. */
  readonly rounds: number;
  readonly seed: number;
  /** Which decoders; undefined for all. */
  readonly only: string | undefined;
}

/** Reads `--rounds N`, `--seed N` and `--only TEXT`, and tells the seed, with which the same inputs come again. */
export function fuzzPass(args: readonly string[]): FuzzPass {
  const { values } = parseArgs({
    args: [...args],
    options: { rounds: { type: "string" }, seed: { type: "string" }, only: { type: "string" } },
  });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`seed ${seed}\n`);
  return { rounds: Number(values.rounds ?? ROUNDS), seed, only: values.only };
}

/** Adds four cases to `report`: the readings are right, enough is taken, in time, in bounded memory. */
export function runFuzz(
  subject: FuzzSubject,
  { seed, rounds }: { readonly seed: number; readonly rounds: number },
  report: SuiteReport,
): void {
  // Other tests look at the clock meanwhile.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const { name } = subject;
  const random = seededRandom(seed);
  const faults: string[] = [];
  const started = process.cpuUsage();
  let inputs = [subject.fresh(random), subject.fresh(random)] as const;
  let taken = 0;
  let slowestMs = 0;
  let warmBytes = 0;
  for (let round = 0; round < rounds && faults.length < FAULTS_SHOWN; round++) {
    if (round % DAMAGED_OF_ONE === 0) inputs = [subject.fresh(random), inputs[0]];
    if (round === Math.floor(rounds * WARM_SHARE)) warmBytes = process.memoryUsage.rss();
    const input = subject.damaged(random, inputs[0], inputs[1]);
    try {
      const [reading, ms] = timed(() => subject.read(input));
      slowestMs = Math.max(slowestMs, ms);
      if (reading !== undefined) taken++;
      const fault = subject.fault(input, reading);
      if (fault !== "") faults.push(`round ${round}: ${fault}: ${subject.shown(input)}`);
    } catch (error) {
      faults.push(`round ${round}: ${error instanceof Error ? error.stack : error}: ${subject.shown(input)}`);
    }
  }
  report.add(`${name}: what is taken is read right`, faults.join("\n"));
  report.add(`${name}: a tenth is taken`, taken >= rounds * TAKEN_SHARE_MIN ? "" : `${taken} of ${rounds}`);
  report.add(`${name}: in time`, slowestMs <= DECODE_MS_MAX ? "" : `one took ${slowestMs} ms`);
  const growth = process.memoryUsage.rss() - warmBytes;
  report.add(`${name}: in bounded memory`, growth <= GROWTH_BYTES_MAX ? "" : `grew by ${growth} bytes`);
  const { user, system } = process.cpuUsage(started);
  process.stdout.write(
    `     ${taken} of ${rounds} taken, slowest ${slowestMs.toFixed(1)} ms, ${Math.round((user + system) / 1e6)} s of processor time\n`,
  );
}

/**
 * Milliseconds of the quickest run by the clock; where that is too many, of the quickest of two more, by the clock or the
 * processor, which others may hold during one.
 */
function timed<T>(run: () => T): [T, number] {
  const start = performance.now();
  const result = run();
  let best = performance.now() - start;
  // To ask how much of a processor was used takes as long as to decode a small input.
  for (let attempt = 0; attempt < 2 && best > DECODE_MS_MAX; attempt++) {
    const used = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(used);
    best = Math.min(best, (user + system) / 1_000);
  }
  return [result, best];
}
