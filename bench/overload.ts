/**
 * The whole program in a memory control group of 1 GiB, sent five times what it takes, of traces, logs and metrics.
 *
 * `npm run -s bench -- overload [--seconds N] [--unloaded-seconds N] [--memory BYTES]`. First the rate that it takes
 * from a few senders, then five times that for two minutes. It fails, with status 1, where the program is killed, refuses
 * in a way that is not retryable, takes less than 80 % of the unloaded rate, or its ledger is not exact. Without root or
 * a memory control group it is skipped by name.
 */

import { setPriority } from "node:os";
import { parseArgs } from "node:util";
import { Program, sleep } from "../conformance/program.ts";
import { printFigure } from "./figure-kit.ts";
import { memoryGroup } from "./memory-group-kit.ts";
import { type Flow, OverloadSenders, SIGNALS } from "./overload-kit.ts";

const MIB = 2 ** 20;
const BENCH = "overload";
const TIMES = 5;
const SENDERS_PRIORITY = 10;
const WARM_SECONDS = 3;
const SHARE_MIN = 0.8;
/** Senders that give way to the program must still send what they are to. */
const SENT_MIN = 0.95 * TIMES;
const SETTLE_MS_MAX = 20_000;

const { values: flags } = parseArgs({
  options: {
    seconds: { type: "string", default: "120" },
    "unloaded-seconds": { type: "string", default: "20" },
    memory: { type: "string", default: String(1024 * MIB) },
  },
});

async function main(): Promise<number> {
  const memoryBytes = Number(flags.memory);
  const group = memoryGroup(`thalweg-overload-${process.pid}`, memoryBytes);
  if (typeof group === "string") {
    process.stdout.write(`skipped: bench ${BENCH}: ${group}\n`);
    return 0;
  }
  let program: Program | undefined;
  try {
    program = await Program.start(["--capture", "off"], undefined, { before: group.before });
    // Senders run elsewhere, as a rule: here they give way to the program.
    setPriority(SENDERS_PRIORITY);
    const senders = new OverloadSenders(program);
    // What few senders, each with one request under way, get through is what the program takes without being pressed.
    const warm = senders.start({ lanes: 64, rate: Number.POSITIVE_INFINITY });
    await sleep(WARM_SECONDS * 1000);
    warm.take();
    await sleep(Number(flags["unloaded-seconds"]) * 1000);
    const unloaded = warm.take();
    await warm.stop();
    const pressed = senders.start({ lanes: 1_024, rate: TIMES * rateOf(unloaded) });
    await sleep(Number(flags.seconds) * 1000);
    const loaded = pressed.take();
    await pressed.stop();
    const faults = [...senders.faults.slice(0, 5), ...(await ledgerFaults(program, senders))];
    if (group.kills() > 0) faults.push(`the kernel killed ${group.kills()} times`);
    const share = rateOf(loaded) / rateOf(unloaded);
    if (share < SHARE_MIN) faults.push(`${(100 * share).toFixed(0)} % of the unloaded rate were taken`);
    const times = loaded.sentItems / loaded.seconds / rateOf(unloaded);
    if (times < SENT_MIN) faults.push(`${times.toFixed(1)} times the unloaded rate were sent, not ${TIMES}`);
    report({ unloaded, loaded, share, kills: group.kills(), peakMiB: group.peakBytes() / MIB, senders });
    for (const fault of faults) process.stdout.write(`FAIL ${fault}\n`);
    return faults.length === 0 ? 0 : 1;
  } catch (error) {
    process.stdout.write(
      `FAIL ${String(error)}; killed ${group.kills()} times\n${program?.output.slice(-2000) ?? ""}\n`,
    );
    return 1;
  } finally {
    await program?.discard();
    group.remove();
  }
}

/** Spans, records and points that were acknowledged, a second. */
function rateOf({ acknowledgedItems, seconds }: Flow): number {
  return acknowledgedItems / seconds;
}

/** What the program counts, stores and tells is what the senders know. */
async function ledgerFaults(program: Program, senders: OverloadSenders): Promise<string[]> {
  const faults: string[] = [];
  for (const signal of SIGNALS) {
    const label = `signal="${signal}"`;
    const count = (what: string) => program.counter(`thalweg_ingest_${what}_total`, label);
    let told = "";
    for (const end = performance.now() + SETTLE_MS_MAX; performance.now() < end; await sleep(250)) {
      const [received, stored, rejected, lost] = [
        await count("received"),
        await count("stored"),
        await count("rejected"),
        await count("lost"),
      ];
      told = `${signal}: received ${received}, stored ${stored}, rejected ${rejected}, lost ${lost}`;
      if (received === stored + rejected + lost) {
        told = "";
        break;
      }
    }
    if (told !== "") faults.push(told);
  }
  for (const [table, signal] of [
    ["spans", "traces"],
    ["logs", "logs"],
  ] as const) {
    const [[rows] = [0]] = await program.sql(`SELECT count(*) FROM ${table}`);
    const { acknowledged, unanswered } = senders.items(signal);
    const stored = Number(rows);
    if (stored < acknowledged || stored > acknowledged + unanswered)
      faults.push(`${table}: ${stored} rows, ${acknowledged} acknowledged, ${unanswered} without an answer`);
  }
  return faults;
}

interface Outcome {
  readonly unloaded: Flow;
  readonly loaded: Flow;
  readonly share: number;
  readonly kills: number;
  readonly peakMiB: number;
  readonly senders: OverloadSenders;
}

function report({ unloaded, loaded, share, kills, peakMiB, senders }: Outcome): void {
  const common = {
    bench: BENCH,
    durability: "always",
    note: "1 GiB control group; traces, logs and metrics over HTTP and gRPC",
  };
  const figure = (measure: string, unit: string, value: number) =>
    printFigure({ ...common, measure, unit, values: [value] });
  figure("unloaded rate", "items/s", rateOf(unloaded));
  figure("sent rate under overload", "items/s", loaded.sentItems / loaded.seconds);
  figure("accepted rate under overload", "items/s", rateOf(loaded));
  figure("accepted share of the unloaded rate", "ratio", share);
  figure("refused requests", "requests", loaded.refused);
  figure("refusals that are not retryable", "requests", senders.faults.length);
  figure("refusal p99", "ms", loaded.refusalP99Ms);
  figure("oom kills", "kills", kills);
  figure("group peak", "MiB", peakMiB);
  figure("process peak", "MiB", senders.peakMiB());
}

process.exitCode = await main();
