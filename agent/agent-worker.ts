/**
 * The agent's thread: starts a rung, drives the pipeline, answers the server.
 *
 * Invariants: the first message is `started` or `refused`, the last is `stopped`. At most one rung runs. The pipeline's
 * clocks move every `tickMs`, without a rung every `idleTickMs`; the status goes out each second.
 */

import { hostname } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { loadNative } from "../bpf/native.ts";
import type { CaptureSink } from "../server/model/capture-event.ts";
import type { AgentAbility, AgentSetting, AgentStatus, MessageFromAgent, MessageToAgent } from "./agent-message.ts";
import { bootClock } from "./capture/boot-clock.ts";
import { chooseRung, type LadderMode, type LadderOutcome, type RefusedRung } from "./capture/ladder.ts";
import { NodeInspectors } from "./capture/node-inspectors.ts";
import { ProcessTable } from "./capture/process-table.ts";
import { replayHeader } from "./capture/replay-rung.ts";
import { type RungCounters, RungRefused, type RunningRung } from "./capture/rung.ts";
import { noTls } from "./capture/tls-capture.ts";
import { CpuBudget } from "./cpu-budget.ts";
import { batchBuffers } from "./export/batch-transfer.ts";
import { createPipeline } from "./pipeline.ts";
import type { AgentSurroundings } from "./span/service-name.ts";

/** Spans wait for hundreds of milliseconds: finer steps would only wake the machine. */
const tickMs = 40;
/** Without a rung there are no spans. */
const idleTickMs = 1000;
/** Turns of a rung come a little early or late. */
const tickSlackMs = 5;
/** Below the time that the span room waits with a request that ended without an answer. */
const lossEveryNs = 100e6;
const statusEveryMs = 1000;

const NOTHING_CAPTURED = "no traffic of this machine is captured; spans sent over OTLP are kept and shown";
const NO_COUNTERS: RungCounters = { seen: 0, delivered: 0, lost: {}, connections: 0 };

/** A budget for each second. */
const budgetEveryMs = 1000;

/** The part of the status that changes with the rung alone. */
interface Tier {
  readonly tier: AgentStatus["tier"];
  readonly why: string;
  readonly lostByTier: string;
  readonly fix: string;
  readonly abilities: readonly AgentAbility[];
  readonly replayFile: string | undefined;
  readonly recordedAtMs: number | undefined;
}

type StartOutcome = { readonly rung: RunningRung | undefined; readonly tier: Tier; readonly refused?: RefusedRung };

const port = parentPort;
if (port === null) throw new Error("agent-worker.ts runs as a worker thread only: see agent.ts.");
const send = (message: MessageFromAgent, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);

// Only agent.ts starts this thread, and hands over exactly this.
const setting = workerData as AgentSetting;
const loaded = setting.mode === "off" ? undefined : loadNative(setting.nativeDirectory);
const clock = bootClock(loaded?.ok === true ? loaded.native : undefined);
const pipeline = createPipeline(
  { spans: (batch) => send({ kind: "spans", batch }, batchBuffers(batch)) },
  {
    redaction: setting.redaction,
    exclusions: { pids: setting.excludePids, ports: setting.excludePorts, onlyNetns: setting.onlyNetns },
    setting: { hostName: hostname(), agentVersion: setting.version, ...ownSurroundings() },
  },
);
if (setting.peers === true) pipeline.setPeers();
/** A rung that is not ready by then starts all the same. */
const ownersReadyMsMax = 1000;

const budget = new CpuBudget(setting.cpuCoresMax ?? Number.POSITIVE_INFINITY);

const inspectors =
  setting.injectNode === undefined || setting.injectNode.kind === "off"
    ? undefined
    : new NodeInspectors(setting.injectNode, {
        nowNs: () => clock.nowNs(),
        told: (call) => pipeline.told(call),
        telling: (pid, isTelling) => pipeline.telling(pid, isTelling),
        exclude: (portOfIt, isExcluded) => pipeline.exclude(portOfIt, isExcluded),
      });

let rung: RunningRung | undefined;
let tier: Tier;
let eventsLost = 0;
let lossLookedNs = 0;
let tickedMs = 0;
/** Counts of a rung that was stopped stay in the status. */
let lastCounters = NO_COUNTERS;
let lastTls: AgentStatus["tls"];
let overTls = new Map<number, { pid: number; name: string; callsPerSecond: number }>();

begin();

function begin(): void {
  // The first span must find the offset measured.
  tick();
  const outcome = startRung();
  tier = outcome.tier;
  if (outcome.refused !== undefined) {
    send({ kind: "refused", ...outcome.refused });
    return;
  }
  rung = outcome.rung;
  // A rung with turns of its own wakes the thread often enough.
  const ticks =
    rung?.afterTurns === undefined ? setInterval(tick, rung === undefined ? idleTickMs : tickMs) : undefined;
  rung?.afterTurns?.(tickIfDue);
  const budgets = setInterval(keepBudget, budgetEveryMs);
  const statuses = setInterval(() => {
    askProcesses();
    const now = status();
    noticeTls(now.tls);
    send({ kind: "status", status: now });
  }, statusEveryMs);
  port?.on("message", (message: MessageToAgent) => {
    switch (message.kind) {
      case "taken":
        pipeline.taken();
        break;
      case "status":
        send({ kind: "status", status: status() });
        break;
      case "peers":
        pipeline.setPeers();
        break;
      case "stop-replay":
        void endReplay(message.reason);
        break;
      case "stop":
        clearInterval(ticks);
        clearInterval(statuses);
        clearInterval(budgets);
        void stop();
        break;
    }
  });
  tick();
  // A short connection that begins before its owner can be looked up would stay without a name.
  const waited = new Promise<void>((resolve) => setTimeout(resolve, ownersReadyMsMax));
  void Promise.race([rung?.ownersReady ?? Promise.resolve(), waited]).then(() => {
    tick();
    send({ kind: "started", status: status() });
  });
}

function tickIfDue(): void {
  if (performance.now() - tickedMs >= tickMs - tickSlackMs) tick();
}

function tick(): void {
  tickedMs = performance.now();
  const nowNs = clock.nowNs();
  // Before the tick: what it sends as unanswered may have lost its answer while this thread had no turn.
  if (nowNs - lossLookedNs >= lossEveryNs) noticeLoss(nowNs);
  pipeline.tick(nowNs, rung === undefined ? clock.offset() : rung.clockOffset());
}

/** Processes of a recording are those of another machine, and packets do not say who sent them. */
function askProcesses(): void {
  const name = rung?.name;
  if (name === "socket" || name === "fexit" || name === "syscall") inspectors?.unsure(pipeline.unsure());
}

/** What was lost may have been a request, or an answer: no open request is surely alone, none surely unanswered. */
function noticeLoss(nowNs: number): void {
  const sinceNs = lossLookedNs;
  lossLookedNs = nowNs;
  let lost = 0;
  // What a process that is off loses says nothing of the others.
  for (const [reason, count] of Object.entries(rung?.counters().lost ?? {})) if (reason !== "budget") lost += count;
  if (lost > eventsLost) pipeline.eventsLost(sinceNs, nowNs);
  eventsLost = lost;
}

/** Measures what capture costs, and captures a process less deeply where that is too much. */
function keepBudget(): void {
  const depths = rung?.depths;
  if (depths === undefined) return;
  const nowNs = clock.nowNs();
  for (const [pid, from] of budget.depths) {
    if (depths.holds(pid)) continue;
    budget.exited(pid);
    pipeline.depthChanged({ pid, from, to: "full", usedCores: 0 }, nowNs);
  }
  const { user, system } = process.threadCpuUsage();
  const change = budget.look({
    nowMs: performance.now(),
    workerMs: (user + system) / 1000,
    hookMs: depths.hookNs() / 1e6,
    calls: depths.takeCalls(),
  });
  if (change !== undefined) {
    depths.setDepth(change.pid, change.to);
    pipeline.depthChanged(change, nowNs);
    const service = pipeline.serviceOf(change.pid);
    send({ kind: "depth", change: { ...change, service, coresMax: budget.coresMax } });
  }
  pipeline.counted(depths.takeCounted(), nowNs);
}

/** What is read inside of TLS; where it was asked for and the rung cannot, why not. */
function tlsOf(running: RunningRung): AgentStatus["tls"] {
  if (running.tlsStatus !== undefined || setting.tls.kind === "off") return running.tlsStatus?.();
  return noTls(`the ${running.name} rung cannot look into processes`);
}

/** Says of which processes the TLS library is no longer looked into, and of which it is again. */
function noticeTls(tls: AgentStatus["tls"]): void {
  const { overBudget = [], callsPerSecondMax = 0 } = tls?.probes ?? {};
  for (const process of overBudget) {
    if (overTls.has(process.pid)) continue;
    send({ kind: "tls", change: { ...process, callsPerSecondMax, isOff: true } });
  }
  for (const process of overTls.values()) {
    if (overBudget.some(({ pid }) => pid === process.pid)) continue;
    send({ kind: "tls", change: { ...process, callsPerSecondMax, isOff: false } });
  }
  overTls = new Map(overBudget.map((process) => [process.pid, process]));
}

async function stop(): Promise<void> {
  await inspectors?.stop();
  pipeline.ending();
  await stopRung();
  pipeline.finish(clock.nowNs());
  send({ kind: "stopped", status: status() });
  port?.close();
}

async function stopRung(): Promise<void> {
  const stopped = rung;
  if (stopped === undefined) return;
  await stopped.stop();
  lastCounters = stopped.counters();
  if (stopped.depths !== undefined) pipeline.counted(stopped.depths.takeCounted(), clock.nowNs());
  lastTls = stopped.tlsStatus?.();
  rung = undefined;
}

/** Ends the recording that plays in place of live capture; one that was asked for plays on. */
async function endReplay(reason: string): Promise<void> {
  if (tier.tier !== "replay" || setting.mode.startsWith("replay:")) return;
  tier = { ...offTier(reason, ""), abilities: tier.abilities, fix: tier.fix };
  await stopRung();
  send({ kind: "status", status: status() });
}

function status(): AgentStatus {
  const counters = rung?.counters() ?? lastCounters;
  const { connections, spans, exported } = pipeline.counters();
  return {
    ...tier,
    processes: spans.processes,
    connections: connections.connections,
    seen: counters.seen,
    delivered: counters.delivered,
    lost: counters.lost,
    leftOut: connections.left,
    spans,
    exported,
    tls: rung === undefined ? lastTls : tlsOf(rung),
    inspectors: inspectors?.status(),
    sampled: [...budget.depths.values()].some((depth) => depth === "counted" || depth === "off"),
    budget: {
      coresMax: setting.cpuCoresMax,
      usedCores: Math.round(budget.usedCores * 1e4) / 1e4,
      processes: [...budget.depths].map(([pid, depth]) => ({ pid, service: pipeline.serviceOf(pid), depth })),
    },
  };
}

function startRung(): StartOutcome {
  const { mode } = setting;
  if (mode === "off")
    return { rung: undefined, tier: offTier("capture was switched off", "start with --capture auto") };
  if (mode.startsWith("replay:"))
    return startReplay(mode.slice("replay:".length), false, [], "a recording was asked for");
  const ladderMode: LadderMode =
    mode === "auto" ? { kind: "auto" } : { kind: "rung", rung: mode as "socket" | "fexit" | "syscall" | "packet" };
  const outcome = chooseRung(ladderMode, ladderDeps("live"));
  const abilities = abilitiesOf(outcome);
  if (outcome.kind === "running") return { rung: outcome.rung, tier: runningTier(outcome, abilities) };
  const [refusal] = outcome.refused;
  if (mode !== "auto" && refusal !== undefined) {
    return { rung: undefined, tier: offTier(outcome.why, outcome.fix), refused: refusal };
  }
  if (setting.fallbackReplay !== undefined) {
    const replay = startReplay(setting.fallbackReplay, true, abilities, outcome.why);
    if (replay.refused === undefined) return { ...replay, tier: { ...replay.tier, fix: outcome.fix } };
  }
  return { rung: undefined, tier: { ...offTier(outcome.why, outcome.fix), lostByTier: outcome.lost, abilities } };
}

function startReplay(file: string, loop: boolean, abilities: readonly AgentAbility[], why: string): StartOutcome {
  const outcome = chooseRung({ kind: "replay", file, loop }, ladderDeps("replay"));
  if (outcome.kind === "none") {
    const [refused] = outcome.refused;
    return { rung: undefined, tier: offTier(outcome.why, outcome.fix), ...(refused === undefined ? {} : { refused }) };
  }
  const recordedAtMs = Date.parse(recordedAt(file));
  const replay = { replayFile: file, recordedAtMs: Number.isNaN(recordedAtMs) ? undefined : recordedAtMs };
  return { rung: outcome.rung, tier: { ...runningTier(outcome, abilities), ...replay, why } };
}

/** When a recording that plays already was made; empty where its file was just taken away. */
function recordedAt(file: string): string {
  try {
    return replayHeader(file).recordedAt;
  } catch (error) {
    if (error instanceof RungRefused) return "";
    throw error;
  }
}

function ladderDeps(traffic: "live" | "replay") {
  const { nativeDirectory, excludePids, excludePorts, ringBytes, synThread, tls } = setting;
  const sink: CaptureSink = pipeline.sinkOf(traffic);
  const thread = synThread && {
    source: synThread.evaluate ? synThread.source : new URL(synThread.source),
    evaluate: synThread.evaluate,
  };
  const deps = { sink, nativeDirectory, excludePids, excludePorts, ringBytes, tls };
  return { ...deps, ...(thread === undefined ? {} : { synThread: thread }) };
}

function runningTier(outcome: Extract<LadderOutcome, { kind: "running" }>, abilities: readonly AgentAbility[]): Tier {
  const { rung: running, why, lost, fix } = outcome;
  return {
    tier: running.name,
    why,
    lostByTier: lost,
    fix,
    abilities,
    replayFile: undefined,
    recordedAtMs: undefined,
  };
}

function offTier(why: string, fix: string): Tier {
  return {
    tier: "off",
    why,
    lostByTier: NOTHING_CAPTURED,
    fix,
    abilities: [],
    replayFile: undefined,
    recordedAtMs: undefined,
  };
}

/** What was tried for real at start. */
function abilitiesOf(outcome: LadderOutcome): AgentAbility[] {
  const abilities: AgentAbility[] = outcome.refused.map(({ rung: name, why, fix }) => ({
    ability: name,
    ok: false,
    why,
    lost: outcome.lost,
    fix,
  }));
  if (outcome.kind === "running") {
    abilities.push({ ability: outcome.rung.name, ok: true, why: "it runs", lost: outcome.lost, fix: "" });
  }
  return abilities;
}

/** Unit and container this process runs in: what it shares with others does not name them. */
function ownSurroundings(): AgentSurroundings {
  const nothing = () => {};
  const sink = {
    opened: nothing,
    slice: nothing,
    owner: nothing,
    closed: nothing,
    process: nothing,
    processExited: nothing,
  };
  const seen = new ProcessTable(sink).processOf(process.pid, 0);
  return { unit: seen?.unit ?? "", containerId: seen?.containerId ?? "" };
}
