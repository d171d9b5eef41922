/** Modes of capture side by side under one load, and what is printed of them. */

import { setTimeout as sleep } from "node:timers/promises";
import type { AgentReport, BenchRung } from "./capture-agent-kit.ts";
import { type Load, startCapture } from "./capture-stage-kit.ts";
import { startWholeProgram } from "./capture-whole-kit.ts";
import { printFigure } from "./figure-kit.ts";

/**
 * `off`: no capture; `whole`: the whole program captures, stores and derives, within the CPU budget it has by default;
 * `unbounded`: the same without a budget.
 */
export type Mode = "off" | "whole" | "unbounded" | BenchRung;

const settleMs = 300;

/** A load with what the capturing process spent during it. */
export interface Measured {
  readonly load: Load;
  /** CPU of the capturing process; of the whole program, of its agent's thread. */
  readonly agentUs: number;
  readonly seen: number;
  readonly lost: number;
  /** At its end, with what was still in the ring; undefined without capture and for the whole program. */
  readonly report: AgentReport | undefined;
}

/** Runs a load under one mode. @param parse Puts the connection room behind the rung. */
export async function measure(mode: Mode, work: () => Promise<Load>, parse = false): Promise<Measured> {
  if (mode === "off") return { load: await work(), agentUs: 0, seen: 0, lost: 0, report: undefined };
  if (mode === "whole" || mode === "unbounded") return measureWhole(mode, work);
  const capture = await startCapture(mode, parse);
  await sleep(settleMs);
  const before = await capture.report();
  const load = await work();
  const after = await capture.report();
  await sleep(settleMs);
  const report = await capture.stop();
  return { load, agentUs: after.cpuUs - before.cpuUs, seen: report.counters.seen, lost: lostOf(report), report };
}

/** The first run of the load is not measured: code is compiled in it, and the budget finds what it costs. */
async function measureWhole(mode: "whole" | "unbounded", work: () => Promise<Load>): Promise<Measured> {
  const program = await startWholeProgram(mode === "whole" ? "default" : "none");
  try {
    await work();
    const before = program.agentUs();
    const load = await work();
    const agentUs = program.agentUs() - before;
    const { seen, lost } = await program.freshCapture();
    return { load, agentUs, seen, lost: sumOf(lost), report: undefined };
  } finally {
    await program.stop();
  }
}

/** Rounds of all modes, each beginning with another one, so that a drift of the machine hits all alike. */
export async function rounds<Modes extends Mode>(
  modes: readonly Modes[],
  count: number,
  work: () => Promise<Load>,
): Promise<Map<Modes, Measured[]>> {
  const found = new Map<Modes, Measured[]>(modes.map((mode) => [mode, []]));
  for (let round = 0; round < count; round++) {
    for (let step = 0; step < modes.length; step++) {
      const mode = modes[(round + step) % modes.length];
      if (mode !== undefined) found.get(mode)?.push(await measure(mode, work));
    }
  }
  return found;
}

/** Prints throughput, the server's CPU, the agent's and losses of each mode beside the rounds without capture. */
export function printModes(
  what: string,
  server: { readonly name: string; readonly version: string },
  found: ReadonlyMap<Mode, readonly Measured[]>,
): void {
  const off = found.get("off") ?? [];
  for (const [mode, own] of found) {
    if (mode === "off") continue;
    const durability = mode === "whole" || mode === "unbounded" ? "always" : "none";
    for (const { name, unit, value } of COMPARED) {
      const peer = { name: `${server.name} without capture`, version: server.version, values: off.map(value) };
      const ratios = ratiosOf(own, off, value);
      const measure = `${what}/${mode}/${name}`;
      printFigure({ bench: "capture-cost", measure, unit, values: own.map(value), peer, ratios, durability });
    }
    printFigure({
      bench: "capture-cost",
      measure: `${what}/${mode}/agent_cpu`,
      unit: "us/request",
      values: own.map(({ load, agentUs }) => agentUs / load.requests),
    });
    printFigure({
      bench: "capture-cost",
      measure: `${what}/${mode}/lost`,
      unit: mode === "packet" ? "packets" : "calls",
      values: own.map(({ lost }) => lost),
      note: `of ${own.reduce((sum, { seen }) => sum + seen, 0)} seen${exactness(mode, own)}`,
    });
  }
}

const COMPARED = [
  { name: "throughput", unit: "requests/s", value: perSecond },
  { name: "server_cpu", unit: "us/request", value: ({ load }: Measured) => load.serverUs },
];

/** Requests a second of a load. */
export function perSecond({ load }: Measured): number {
  return load.requests / load.seconds;
}

/** One ratio a round, each to the same round of `base`. */
export function ratiosOf(
  own: readonly Measured[],
  base: readonly Measured[],
  value: (measured: Measured) => number,
): number[] {
  return own.map((measured, round) => {
    const beside = base[round];
    if (beside === undefined) throw new Error("A round lacks the run that it is compared with.");
    return value(measured) / value(beside);
  });
}

/** Whether the counts add up, and what was not looked into, in words. */
function exactness(mode: Mode, own: readonly Measured[]): string {
  const reports = own.flatMap(({ report }) => (report === undefined ? [] : [report]));
  if (reports.length === 0) return "";
  const sums = reports.every((report) => report.counters.seen === report.counters.delivered + lostOf(report));
  const said = sums ? "; seen = delivered + lost" : "; seen DIFFERS from delivered + lost";
  if (mode === "tls") {
    const over = Math.max(...reports.map((report) => report.tlsOverBudget));
    return `${said}; ${over} processes above the budget of TLS calls at the end`;
  }
  if (mode !== "packet") return said;
  // Others may go on sending while capture ends.
  const rings = reports.every(({ packets, received, drops, counters }) => {
    return packets === received + drops + (counters.lost["stopped"] ?? 0);
  });
  return `${said}; packets ${rings ? "= received + drops + stopped" : "DIFFER from received + drops + stopped"}`;
}

function lostOf(report: AgentReport): number {
  return sumOf(report.counters.lost);
}

function sumOf(lost: Readonly<Record<string, number>>): number {
  return Object.values(lost).reduce((sum, count) => sum + count, 0);
}
