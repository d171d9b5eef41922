/**
 * What capture costs: hooks and drain, counting in the kernel, and the packet ring, against no capture, interleaved, on
 * nginx, Redis and PostgreSQL at their saturation and at 1,000 requests a second, and with large bodies; then the whole
 * program, its agent at 1,000 and 10,000 requests a second, and with many processes and connections.
 *
 * Run as `npm run -s bench -- capture-cost [--rounds N] [--seconds S] [--only PART]`, as root, on a quiet machine. nginx, wrk and the
 * capturing process share the processors. A ratio is the median of the rounds' own ratios, each to the round's own "off".
 */

import { readFileSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { AgentReport, BenchRung } from "./capture-agent-kit.ts";
import { startCrowd } from "./capture-crowd-kit.ts";
import { missingServers, startServers } from "./capture-server-kit.ts";
import {
  type Load,
  missingPrograms,
  type Nginx,
  pace,
  saturate,
  startCapture,
  startNginx,
} from "./capture-stage-kit.ts";
import { startWholeProgram } from "./capture-whole-kit.ts";
import { printFigure } from "./figure-kit.ts";

type Mode = "off" | BenchRung;
const MODES: readonly Mode[] = ["off", "socket", "counted", "packet"];
const STATS_SWITCH = "/proc/sys/kernel/bpf_stats_enabled";
const PACED_PER_SECOND = 1000;
const CROWD_PROCESSES = 500;
const CROWD_CONNECTIONS = 10_000;
const settleMs = 300;

/** A load with what the capturing process spent during it. */
interface Measured {
  readonly load: Load;
  readonly agentUs: number;
  /** At its end, with what was still in the ring; undefined without capture. */
  readonly report: AgentReport | undefined;
}

async function measure(mode: Mode, work: () => Promise<Load>, parse = false): Promise<Measured> {
  if (mode === "off") return { load: await work(), agentUs: 0, report: undefined };
  const capture = await startCapture(mode, parse);
  await sleep(settleMs);
  const before = await capture.report();
  const load = await work();
  const after = await capture.report();
  await sleep(settleMs);
  return { load, agentUs: after.cpuUs - before.cpuUs, report: await capture.stop() };
}

/** Rounds of all modes, each beginning with another one, so that a drift of the machine hits all alike. */
async function rounds(count: number, work: () => Promise<Load>): Promise<Record<Mode, Measured[]>> {
  const found: Record<Mode, Measured[]> = { off: [], socket: [], counted: [], packet: [] };
  for (let round = 0; round < count; round++) {
    for (let step = 0; step < MODES.length; step++) {
      const mode = MODES[(round + step) % MODES.length] ?? "off";
      found[mode].push(await measure(mode, work));
    }
  }
  return found;
}

const perSecond = ({ load }: Measured): number => load.requests / load.seconds;
const lostOf = (report: AgentReport): number =>
  Object.values(report.counters.lost).reduce((sum, count) => sum + count, 0);

function ratiosOf(
  modes: readonly Measured[],
  off: readonly Measured[],
  value: (measured: Measured) => number,
): number[] {
  return modes.map((measured, round) => {
    const base = off[round];
    if (base === undefined) throw new Error("A round lacks its run without capture.");
    return value(measured) / value(base);
  });
}

/** Prints throughput, server CPU, the agent's CPU and losses of a saturating load. */
function printSaturation(found: Record<Mode, Measured[]>, nginx: Nginx, what: string, unit: string): void {
  const version = nginx.version;
  for (const mode of ["socket", "counted", "packet"] as const) {
    const own = found[mode];
    const reports = own.flatMap(({ report }) => (report === undefined ? [] : [report]));
    printFigure({
      bench: "capture-cost",
      measure: `${what}/${mode}/throughput`,
      unit,
      values: own.map(perSecond),
      peer: { name: "nginx without capture", version, values: found.off.map(perSecond) },
      ratios: ratiosOf(own, found.off, perSecond),
    });
    printFigure({
      bench: "capture-cost",
      measure: `${what}/${mode}/server_cpu`,
      unit: "us/request",
      values: own.map(({ load }) => load.serverUs),
      peer: { name: "nginx without capture", version, values: found.off.map(({ load }) => load.serverUs) },
      ratios: ratiosOf(own, found.off, ({ load }) => load.serverUs),
    });
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
      values: reports.map(lostOf),
      note: `of ${reports.reduce((sum, report) => sum + report.counters.seen, 0)} seen; ${exactness(mode, reports)}`,
    });
  }
  for (const mode of ["socket", "counted"] as const) {
    const timed = found[mode].flatMap(({ report }) =>
      report === undefined ? [] : [report.timedNs / report.timedCalls],
    );
    printFigure({
      bench: "capture-cost",
      measure: `${what}/${mode}/hook_timed`,
      unit: "ns/call",
      values: timed,
      note: "by the hooks' own sample, without the kernel's way into them",
    });
  }
  const against = ratiosOf(found.packet, found.socket, perSecond);
  printFigure({
    bench: "capture-cost",
    measure: `${what}/packet_to_socket/throughput`,
    unit: "ratio",
    values: against,
  });
}

/** Whether the counts add up, in words. */
function exactness(mode: BenchRung, reports: readonly AgentReport[]): string {
  const sums = reports.every((report) => report.counters.seen === report.counters.delivered + lostOf(report));
  if (mode !== "packet") return sums ? "seen = delivered + lost" : "seen DIFFERS from delivered + lost";
  const rings = reports.every((report) => report.packets === report.received + report.drops);
  const packets = reports.reduce((sum, report) => sum + report.packets, 0);
  return `${sums ? "seen = delivered + lost" : "seen DIFFERS from delivered + lost"}; packets ${packets} ${
    rings ? "= received + drops" : "DIFFER from received + drops"
  }`;
}

/** Nanoseconds of the hooks as the kernel counts them; its counting adds some 20 to 40 to each. */
async function hookCost(nginx: Nginx, runs: number, seconds: number): Promise<void> {
  const before = readFileSync(STATS_SWITCH, "utf8");
  const values: number[] = [];
  writeFileSync(STATS_SWITCH, "1");
  try {
    for (let run = 0; run < runs; run++) {
      const { report } = await measure("socket", () => saturate(nginx, "/small", seconds));
      if (report !== undefined && report.hookRuns > 0) values.push(report.hookNs / report.hookRuns);
    }
  } finally {
    writeFileSync(STATS_SWITCH, before);
  }
  printFigure({ bench: "capture-cost", measure: "saturated/socket/hook", unit: "ns/call", values, note: "bpf_stats" });
}

/** Requests found with their answer, of those that wrk counted. */
async function pairing(nginx: Nginx, seconds: number): Promise<void> {
  for (const mode of ["socket", "packet"] as const) {
    const { load, report, agentUs } = await measure(mode, () => saturate(nginx, "/small", seconds), true);
    if (report === undefined) continue;
    printFigure({
      bench: "capture-cost",
      measure: `saturated/${mode}/paired`,
      unit: "ratio",
      values: [report.exchanges / load.requests],
      note: `${report.exchanges} exchanges for ${load.requests} requests, ${lostOf(report)} lost, parsing ${(
        agentUs / load.requests
      ).toFixed(2)} us/request`,
    });
  }
}

/** CPU of the capturing process as a share of one processor, at a steady rate and at rest. */
async function steady(nginx: Nginx, seconds: number): Promise<void> {
  const off = await measure("off", () => pace(nginx, PACED_PER_SECOND, seconds));
  for (const mode of ["socket", "counted", "packet"] as const) {
    const paced = await measure(mode, () => pace(nginx, PACED_PER_SECOND, seconds));
    const idle = await measure(mode, () => rest(seconds));
    printFigure({
      bench: "capture-cost",
      measure: `1000_per_second/${mode}/server_cpu`,
      unit: "us/request",
      values: [paced.load.serverUs],
      peer: { name: "nginx without capture", version: nginx.version, values: [off.load.serverUs] },
      ratios: [paced.load.serverUs / off.load.serverUs],
    });
    for (const [name, { load, agentUs, report }] of Object.entries({ "1000_per_second": paced, idle })) {
      printFigure({
        bench: "capture-cost",
        measure: `${name}/${mode}/agent_cpu`,
        unit: "share of a core",
        values: [agentUs / 1e6 / load.seconds],
        note: report === undefined ? "" : `${lostOf(report)} lost of ${report.counters.seen}`,
      });
    }
  }
}

async function rest(seconds: number): Promise<Load> {
  await sleep(seconds * 1000);
  return { requests: 0, seconds, serverUs: 0 };
}

/** Throughput with the whole program capturing, storing and deriving beside it. */
async function wholeProgram(nginx: Nginx, count: number, seconds: number): Promise<void> {
  const values: number[] = [];
  const offs: number[] = [];
  const notes: string[] = [];
  for (let round = 0; round < count; round++) {
    const off = await saturate(nginx, "/small", seconds);
    offs.push(off.requests / off.seconds);
    const program = await startWholeProgram();
    try {
      await sleep(settleMs);
      const load = await saturate(nginx, "/small", seconds);
      values.push(load.requests / load.seconds);
      notes.push(await program.captureStatus());
    } finally {
      await program.stop();
    }
  }
  printFigure({
    bench: "capture-cost",
    measure: "saturated/whole_program/throughput",
    unit: "requests/s",
    values,
    peer: { name: "nginx without capture", version: nginx.version, values: offs },
    ratios: values.map((value, index) => value / (offs[index] ?? Number.NaN)),
    durability: "always",
    note: notes.at(-1) ?? "",
  });
}

/** Redis and PostgreSQL: saturated, and at 1,000 requests a second. */
async function databases(count: number, seconds: number): Promise<void> {
  const { servers, stop } = await startServers();
  const modes = ["off", "socket", "counted"] as const;
  try {
    for (const server of servers) {
      await server.saturate(1);
      for (const [what, work] of [
        ["saturated", () => server.saturate(seconds)],
        ["1000_per_second", () => server.pace(PACED_PER_SECOND, seconds)],
      ] as const) {
        const found: Record<(typeof modes)[number], Measured[]> = { off: [], socket: [], counted: [] };
        for (let round = 0; round < count * modes.length; round++) {
          const mode = modes[(round + Math.floor(round / modes.length)) % modes.length] ?? "off";
          found[mode].push(await measure(mode, work));
        }
        const peer = (value: (measured: Measured) => number) => {
          return { name: `${server.name} without capture`, version: server.version, values: found.off.map(value) };
        };
        for (const mode of ["socket", "counted"] as const) {
          printAgainst(`${server.name}/${what}/${mode}`, found[mode], found.off, peer);
        }
      }
    }
  } finally {
    await stop();
  }
}

type PeerOf = (value: (measured: Measured) => number) => { name: string; version: string; values: number[] };

/** Throughput, the server's CPU and the agent's beside the rounds without capture. */
function printAgainst(what: string, own: readonly Measured[], off: readonly Measured[], peer: PeerOf): void {
  const serverUs = ({ load }: Measured) => load.serverUs;
  const figures = [
    { name: "throughput", unit: "requests/s", value: perSecond },
    { name: "server_cpu", unit: "us/request", value: serverUs },
  ];
  for (const { name, unit, value } of figures) {
    const values = own.map(value);
    const ratios = ratiosOf(own, off, value);
    printFigure({ bench: "capture-cost", measure: `${what}/${name}`, unit, values, peer: peer(value), ratios });
  }
  const reports = own.flatMap(({ report }) => (report === undefined ? [] : [report]));
  printFigure({
    bench: "capture-cost",
    measure: `${what}/agent_cpu`,
    unit: "us/request",
    values: own.map(({ load, agentUs }) => agentUs / load.requests),
    note: `${reports.reduce((sum, report) => sum + lostOf(report), 0)} calls lost of ${reports.reduce((sum, report) => sum + report.counters.seen, 0)}`,
  });
}

/** CPU of the whole program's agent thread and of the hooks, in cores, with both ends of the requests on this host. */
async function rates(nginx: Nginx, seconds: number): Promise<void> {
  for (const perSecondWanted of [PACED_PER_SECOND, 10 * PACED_PER_SECOND]) {
    const program = await startWholeProgram();
    try {
      const connections = perSecondWanted / 100;
      await pace(nginx, perSecondWanted, 2, connections);
      const before = program.agentUs();
      const load = await pace(nginx, perSecondWanted, seconds, connections);
      const agentCores = (program.agentUs() - before) / 1e6 / load.seconds;
      const status = await program.capture();
      printFigure({
        bench: "capture-cost",
        measure: `${perSecondWanted}_per_second/whole_program/agent_thread`,
        unit: "cores",
        values: [agentCores],
        note: `${Math.round(load.requests / load.seconds)} requests/s made; hooks and thread ${status.budget.usedCores} cores; ${await program.captureStatus()}`,
      });
    } finally {
      await program.stop();
    }
  }
}

/** What many processes and connections cost that do nothing, and what they cost at the start. */
async function crowd(): Promise<void> {
  const held = await startCrowd(CROWD_PROCESSES, CROWD_CONNECTIONS);
  const startMs = performance.now();
  const program = await startWholeProgram();
  const readyMs = performance.now() - startMs;
  try {
    await sleep(1000);
    const startUs = program.agentUs();
    await held.say();
    let status = await program.capture();
    // The status is one of a second ago, or of longer where the machine is busy.
    for (let turn = 0; turn < 10 && status.connections < CROWD_CONNECTIONS; turn++) {
      await sleep(500);
      status = await program.capture();
    }
    const saidUs = program.agentUs() - startUs;
    const { connections, processes } = status;
    const idleUs = program.agentUs();
    await sleep(3000);
    const note = `${connections} connections and ${processes} processes known; ${await program.captureStatus()}`;
    const what = `${CROWD_PROCESSES}_processes_${CROWD_CONNECTIONS}_connections`;
    const figures = [
      { name: "ready", unit: "ms", value: readyMs },
      { name: "first_words", unit: "us of the agent/connection", value: saidUs / CROWD_CONNECTIONS },
      { name: "idle", unit: "cores", value: (program.agentUs() - idleUs) / 3e6 },
    ];
    for (const { name, unit, value } of figures)
      printFigure({ bench: "capture-cost", measure: `${what}/${name}`, unit, values: [value], note });
  } finally {
    await program.stop();
    held.stop();
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "2" },
      only: { type: "string" },
    },
  });
  const missing = [...missingPrograms(["nginx", "wrk"]), ...missingServers()];
  if (missing.length > 0)
    throw new Error(`Missing: ${missing.join(" and ")}. Install them: apt-get install nginx wrk redis postgresql`);
  if (process.getuid?.() !== 0) throw new Error("The socket rung and bpf_stats need root. Run it with sudo.");
  const [count, seconds] = [Number(values.rounds), Number(values.seconds)];
  const parts: Record<string, (nginx: Nginx) => Promise<void>> = {
    saturated: async (nginx) =>
      printSaturation(await rounds(count, () => saturate(nginx, "/small", seconds)), nginx, "saturated", "requests/s"),
    big: async (nginx) => {
      const found = await rounds(Math.min(count, 3), () => saturate(nginx, "/big", seconds));
      printSaturation(found, nginx, "3_mb_bodies", "requests/s");
    },
    hook: (nginx) => hookCost(nginx, Math.min(count, 3), seconds),
    paired: (nginx) => pairing(nginx, seconds),
    steady: (nginx) => steady(nginx, 2 * seconds),
    whole: (nginx) => wholeProgram(nginx, Math.min(count, 3), seconds),
    rates: (nginx) => rates(nginx, 2 * seconds),
    databases: () => databases(Math.min(count, 3), seconds),
    crowd: () => crowd(),
  };
  const nginx = await startNginx();
  process.stderr.write(`capture-cost: kernel ${release()}, nginx ${nginx.version}, node ${process.version}\n`);
  try {
    await saturate(nginx, "/small", 1);
    for (const [name, part] of Object.entries(parts)) {
      if (values.only === undefined || values.only === name) await part(nginx);
    }
  } finally {
    await nginx.stop();
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`capture-cost: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
