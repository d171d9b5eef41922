/**
 * A capturing process for the capture benches: one rung that drains into a sink, and answers over its IPC channel.
 *
 * Started with `fork`; arguments: rung, or `counted` for the socket rung that counts in the kernel, or `tls` for the one that looks
 * into the servers' TLS libraries, and `parse` to put the connection room behind it.
 */

import { startPacketRung } from "../agent/capture/packet-rung.ts";
import type { RungCounters } from "../agent/capture/rung.ts";
import { startSocketRung } from "../agent/capture/socket-rung.ts";
import type { ConnectionSink } from "../agent/connection/connection-sink.ts";
import { Connections } from "../agent/connection/connections.ts";
import { loadNative } from "../bpf/native.ts";
import type { CaptureSink } from "../server/model/capture-event.ts";

/** Rungs that are measured. */
export type BenchRung = "socket" | "counted" | "packet" | "tls";

/** Programs whose TLS library is looked into in the mode `tls`. */
const TLS_PROGRAMS = ["nginx", "redis-server", "postgres"];

/** In the mode `counted` each process that calls is counted in the kernel from so soon on. */
const countedEveryMs = 50;

/** What the process answers to any message, and at its end. All counts since its start. */
export interface AgentReport {
  readonly counters: RungCounters;
  /** Packets of the packet rung's filter, and those it dropped. */
  readonly packets: number;
  readonly drops: number;
  readonly received: number;
  /** Runs of each program at calls and their time, while the kernel keeps these statistics. */
  readonly hooks: Readonly<Record<string, { readonly runs: number; readonly ns: number }>>;
  /** Slices that carry the unit of work that made them, such as the turn of an event loop. */
  readonly withUnit: number;
  /** Processes whose TLS library called too often to be looked into. */
  readonly tlsOverBudget: number;
  /** Calls that the hooks timed by themselves, and their time: needs no setting of the kernel. */
  readonly timedCalls: number;
  readonly timedNs: number;
  readonly cpuUs: number;
  /** Requests with their answer, where it parses. */
  readonly exchanges: number;
  readonly slices: number;
}

let exchanges = 0;
let slices = 0;
let withUnit = 0;

const counting: CaptureSink = {
  opened: () => undefined,
  slice: ({ work }) => {
    slices++;
    if (work !== undefined && work.kind !== "" && work.unit !== 0) withUnit++;
  },
  owner: () => undefined,
  closed: () => undefined,
  process: () => undefined,
  processExited: () => undefined,
};

const pairs: ConnectionSink = {
  exchangeStarted: () => undefined,
  exchangeFinished: (connection, exchange) => {
    // The client's sight of a hook is the same exchange once more.
    if (exchange.type === "exchange" && connection.side !== "client") exchanges++;
  },
  connectionClosed: () => undefined,
};

function start(rung: string, sink: CaptureSink): { report: () => AgentReport; stop: () => Promise<void> } {
  const base = () => {
    const { user, system } = process.cpuUsage();
    return {
      cpuUs: user + system,
      exchanges,
      slices,
      packets: 0,
      drops: 0,
      received: 0,
      hooks: {},
      withUnit,
      tlsOverBudget: 0,
      timedCalls: 0,
      timedNs: 0,
    };
  };
  if (rung === "packet") {
    const running = startPacketRung(sink, { excludePids: [process.pid], excludePorts: [] });
    return {
      report: () => {
        const counters = running.counters();
        const { packets, drops, received } = counters;
        return { ...base(), counters, packets, drops, received };
      },
      stop: () => running.stop(),
    };
  }
  const loaded = loadNative();
  if (!loaded.ok) throw new Error(loaded.why);
  const running = startSocketRung({
    sink,
    native: loaded.native,
    excludePids: [process.pid],
    excludePorts: [],
    tls: rung === "tls" ? { kind: "names", names: TLS_PROGRAMS } : { kind: "off" },
  });
  if (rung === "counted") {
    setInterval(() => {
      for (const pid of running.depths?.takeCalls().keys() ?? []) running.depths?.setDepth(pid, "counted");
    }, countedEveryMs).unref();
  }
  return {
    report: () => {
      const { calls_timed: timedCalls, timed_ns: timedNs } = running.probeCounters();
      const tlsOverBudget = running.tlsStatus()?.probes?.overBudget?.length ?? 0;
      return {
        ...base(),
        counters: running.counters(),
        hooks: running.hookStats(),
        tlsOverBudget,
        timedCalls,
        timedNs,
      };
    },
    stop: () => running.stop(),
  };
}

/** Serves until the parent says `stop`; then reports once more, with all that was in the ring, and ends. */
function serve(): void {
  const [rung = "socket", parse] = process.argv.slice(2);
  const sink = parse === "parse" ? new Connections(pairs, { redaction: true }) : counting;
  const running = start(rung, sink);
  process.on("message", (message) => {
    if (message !== "stop") {
      process.send?.(running.report());
      return;
    }
    void running.stop().then(() => process.send?.(running.report(), () => process.exit()));
  });
  process.send?.("ready");
}

if (process.send !== undefined) serve();
