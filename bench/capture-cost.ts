/**
 * What capture costs: hooks and drain, counting in the kernel, looking into TLS, and the whole program, against no
 * capture, interleaved, on nginx, Redis and PostgreSQL at their saturation and at 1,000 requests a second; then the
 * packet ring, large bodies, nanoseconds of each hook, the agent at 1,000 and 10,000 requests a second, and with many
 * processes and connections.
 *
 * Run as `npm run -s bench -- capture-cost [--rounds N] [--seconds S] [--only PART]`, as root, on a quiet machine: about seven minutes. Servers,
 * their clients and the capturing process share the processors. A ratio is the median of the rounds' own ratios, each to
 * the round's own "off".
 */

import { release } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Mode, measure, perSecond, printModes, ratiosOf, rounds } from "./capture-compare-kit.ts";
import { startCrowd } from "./capture-crowd-kit.ts";
import { printHooks, startNodeTarget } from "./capture-hook-kit.ts";
import { type BenchServer, missingServers, startServers } from "./capture-server-kit.ts";
import { type Load, missingPrograms, type Nginx, pace, saturate, startNginx } from "./capture-stage-kit.ts";
import { startWholeProgram } from "./capture-whole-kit.ts";
import { printFigure } from "./figure-kit.ts";

const MODES: readonly Mode[] = ["off", "socket", "counted", "whole", "unbounded"];
const TLS_MODES: readonly Mode[] = ["off", "socket", "tls"];
const PACED_PER_SECOND = 1000;
const CROWD_PROCESSES = 500;
const CROWD_CONNECTIONS = 10_000;

/** How often and how long. */
interface Extent {
  readonly rounds: number;
  readonly seconds: number;
}

/** All three servers, by TLS or not. */
interface Stage {
  readonly nginx: Nginx;
  readonly servers: readonly BenchServer[];
  stop(): Promise<void>;
}

async function startStage(isTls: boolean): Promise<Stage> {
  const nginx = await startNginx(isTls);
  const databases = await startServers(isTls).catch(async (error: unknown) => {
    await nginx.stop();
    throw error;
  });
  const web: BenchServer = {
    name: "nginx",
    version: nginx.version,
    saturate: (seconds) => saturate(nginx, "/small", seconds),
    pace: (perSecondWanted, seconds) => pace(nginx, perSecondWanted, seconds),
  };
  const stop = async () => {
    await nginx.stop();
    await databases.stop();
  };
  return { nginx, servers: [web, ...databases.servers], stop };
}

/** Each server under each mode, saturated or at an even rate. */
async function compareServers(stage: Stage, isPaced: boolean, extent: Extent): Promise<void> {
  for (const server of stage.servers) {
    await server.saturate(1);
    const { seconds } = extent;
    const work = isPaced ? () => server.pace(PACED_PER_SECOND, seconds) : () => server.saturate(seconds);
    const modes: readonly Mode[] = stage.nginx.isTls ? TLS_MODES : MODES;
    const found = await rounds(modes, isPaced ? Math.min(extent.rounds, 2) : extent.rounds, work);
    const load = isPaced ? `${PACED_PER_SECOND}_per_second` : "saturated";
    printModes(`${server.name}${stage.nginx.isTls ? "_tls" : ""}/${load}`, server, found);
  }
}

/** The packet ring beside the hooks, on small and on large bodies. */
async function packets({ nginx }: Stage, { rounds: count, seconds }: Extent): Promise<void> {
  for (const [path, what] of [
    ["/small", "packets/saturated"],
    ["/big", "packets/3_mb_bodies"],
  ] as const) {
    const found = await rounds(["off", "socket", "packet"], Math.min(count, 2), () => saturate(nginx, path, seconds));
    printModes(what, { name: "nginx", version: nginx.version }, found);
    const values = ratiosOf(found.get("packet") ?? [], found.get("socket") ?? [], perSecond);
    printFigure({
      bench: "capture-cost",
      measure: `${what}/packet_to_socket/throughput`,
      unit: "ratio",
      values,
    });
  }
}

/** Requests found with their answer, of those that wrk counted. */
async function pairing({ nginx }: Stage, { seconds }: Extent): Promise<void> {
  for (const mode of ["socket", "packet"] as const) {
    const { load, report, agentUs, lost } = await measure(mode, () => saturate(nginx, "/small", seconds), true);
    if (report === undefined) continue;
    printFigure({
      bench: "capture-cost",
      measure: `paired/${mode}`,
      unit: "ratio",
      values: [report.exchanges / load.requests],
      note: `${report.exchanges} exchanges for ${load.requests} requests, ${lost} lost, parsing ${(
        agentUs / load.requests
      ).toFixed(2)} us/request`,
    });
  }
}

/** CPU of the capturing process as a share of one processor, at rest. */
async function idle(_stage: Stage, { seconds }: Extent): Promise<void> {
  for (const mode of ["socket", "packet"] as const) {
    const { load, agentUs, lost, seen } = await measure(mode, () => rest(2 * seconds));
    printFigure({
      bench: "capture-cost",
      measure: `idle/${mode}/agent_cpu`,
      unit: "share of a core",
      values: [agentUs / 1e6 / load.seconds],
      note: `${lost} lost of ${seen}`,
    });
  }
}

async function rest(seconds: number): Promise<Load> {
  await sleep(seconds * 1000);
  return { requests: 0, seconds, serverUs: 0 };
}

/** Nanoseconds of each hook on each server. */
async function hooks({ servers }: Stage, { rounds: count, seconds }: Extent): Promise<void> {
  const node = await startNodeTarget(seconds);
  try {
    const targets = servers.map((server) => {
      const modes: readonly Mode[] = ["socket", "counted"];
      return { name: server.name, modes, work: () => server.saturate(seconds) };
    });
    await printHooks([...targets, node.target], Math.min(count, 2));
  } finally {
    node.stop();
  }
}

/** CPU of the whole program's agent thread, in cores, with both ends of the requests on this host. */
async function rates({ nginx }: Stage, { seconds }: Extent): Promise<void> {
  for (const perSecondWanted of [PACED_PER_SECOND, 10 * PACED_PER_SECOND]) {
    const program = await startWholeProgram("none");
    try {
      const connections = perSecondWanted / 100;
      // What is seldom run is compiled late: a thread that has worked for a while is what is asked for.
      await pace(nginx, perSecondWanted, 4, connections);
      const before = program.agentUs();
      const load = await pace(nginx, perSecondWanted, 2 * seconds, connections);
      const agentUs = program.agentUs() - before;
      const { seen, delivered, lost, budget } = await program.freshCapture();
      const made = Math.round(load.requests / load.seconds);
      const note = `${made} requests/s made, ${(agentUs / load.requests).toFixed(2)} us/request; hooks and thread ${
        budget.usedCores
      } cores; seen ${seen}, delivered ${delivered}, lost ${JSON.stringify(lost)}`;
      const measure = `${perSecondWanted}_per_second/whole_program/agent_thread`;
      printFigure({
        bench: "capture-cost",
        measure,
        unit: "cores",
        values: [agentUs / 1e6 / load.seconds],
        note,
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
  const program = await startWholeProgram("none");
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

type Part = (stage: Stage, extent: Extent) => Promise<void>;

const PLAIN_PARTS: Readonly<Record<string, Part>> = {
  saturated: (stage, extent) => compareServers(stage, false, extent),
  steady: (stage, extent) => compareServers(stage, true, extent),
  hook: hooks,
  rates,
  crowd,
  packets,
  paired: pairing,
  idle,
};

/** Named by what they are asked for with: `--only tls` runs both. */
const TLS_PARTS: readonly Part[] = [
  (stage, extent) => compareServers(stage, false, { ...extent, rounds: Math.min(extent.rounds, 2) }),
  (stage, extent) => compareServers(stage, true, { ...extent, rounds: 1 }),
];

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "2" },
      only: { type: "string" },
    },
  });
  const missing = [...missingPrograms(["nginx", "wrk"]), ...missingServers()];
  if (missing.length > 0)
    throw new Error(`Missing: ${missing.join(" and ")}. Install them: apt-get install nginx wrk redis postgresql`);
  if (process.getuid?.() !== 0) throw new Error("The socket rung and bpf_stats need root. Run it with sudo.");
  const { only } = values;
  const names = [...Object.keys(PLAIN_PARTS), "tls"];
  if (only !== undefined && !names.includes(only))
    throw new Error(`There is no part '${only}'. Parts: ${names.join(", ")}`);
  const extent = { rounds: Number(values.rounds), seconds: Number(values.seconds) };
  const plain = Object.entries(PLAIN_PARTS).filter(([name]) => only === undefined || only === name);
  await runParts(
    plain.map(([, part]) => part),
    extent,
    false,
  );
  if (only === undefined || only === "tls") await runParts(TLS_PARTS, extent, true);
}

async function runParts(parts: readonly Part[], extent: Extent, isTls: boolean): Promise<void> {
  if (parts.length === 0) return;
  const stage = await startStage(isTls);
  process.stderr.write(`capture-cost: kernel ${release()}, nginx ${stage.nginx.version}, node ${process.version}\n`);
  try {
    for (const part of parts) await part(stage, extent);
  } finally {
    await stage.stop();
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`capture-cost: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
