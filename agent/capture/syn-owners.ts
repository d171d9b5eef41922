/**
 * The packet rung's side of the SYN thread: keeps its reports until the connection is told, and the other way round.
 */

import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import type { Endpoint } from "../../server/model/capture-event.ts";
import { connectionKey, type SynReport, type SynThreadSettings } from "./syn-report.ts";

/** Reports of the SYN thread by connection. */
export interface SynOwners {
  /** The report of a connection, taken out; undefined where there is none yet. */
  take(client: Endpoint, server: Endpoint): SynReport | undefined;
  /** Asks for a report that comes later; it is forgotten after some seconds. */
  await(client: Endpoint, server: Endpoint, socket: number, nowNs: number): void;
  /** The connection is closed: it needs no report any more. */
  forget(socket: number): void;
  /** Takes in what the thread has told until now. Call it before packets are read, so that they find their owners. */
  receive(): void;
  /** Drops what nobody asked for. */
  expire(nowNs: number): void;
  /** Resolves once the thread sees SYNs, or is known not to start. */
  readonly ready: Promise<void>;
  /** Why there is no thread; empty while it runs. */
  readonly trouble: string;
  stop(): Promise<void>;
}

/** What to do with reports. */
export interface SynReceiver {
  /** Every report, before it is kept. */
  arrived(report: SynReport): void;
  /** A report for a connection that was told without it. */
  late(socket: number, report: SynReport): void;
}

/** The code of the thread: a file, or text to be evaluated (in bundles). */
export interface SynThreadSource {
  readonly source: URL | string;
  readonly evaluate: boolean;
}

const reportsMax = 16_384;
const waitingMax = 16_384;
const keptNs = 15e9;

/** Starts the thread. Never throws: without it owners are looked up when a connection is told, which finds fewer. */
export function startSynOwners(
  nativeDirectory: string | undefined,
  thread: SynThreadSource | undefined,
  receiver: SynReceiver,
): SynOwners {
  const reports = new Map<string, SynReport>();
  const waiting = new Map<string, { socket: number; sinceNs: number }>();
  const waitingKeys = new Map<number, string>();
  const channel = new MessageChannel();
  const stop = new SharedArrayBuffer(4);
  let trouble = "";
  let worker: Worker | undefined;
  let exited: Promise<void> = Promise.resolve();
  const ready = Promise.withResolvers<void>();
  try {
    const settings: SynThreadSettings = { nativeDirectory, stop, reports: channel.port1 };
    const { source, evaluate } = thread ?? { source: new URL("./syn-thread.ts", import.meta.url), evaluate: false };
    const started = new Worker(source, {
      eval: evaluate,
      name: "thalweg-syn",
      workerData: settings,
      transferList: [channel.port1],
    });
    worker = started;
    started.unref();
    exited = new Promise((resolve) => started.once("exit", () => resolve()));
    started.once("exit", () => ready.resolve());
    started.on("error", (error: unknown) => {
      trouble = error instanceof Error ? error.message : String(error);
    });
  } catch (error) {
    trouble = error instanceof Error ? error.message : String(error);
    ready.resolve();
  }

  const accept = (report: SynReport) => {
    receiver.arrived(report);
    const key = connectionKey(report.client, report.server);
    const asked = waiting.get(key);
    if (asked !== undefined) {
      waiting.delete(key);
      waitingKeys.delete(asked.socket);
      receiver.late(asked.socket, report);
      return;
    }
    reports.delete(key);
    reports.set(key, report);
    dropOldest(reports, reportsMax);
  };
  return {
    ready: ready.promise,
    get trouble() {
      return trouble;
    },
    take(client, server) {
      const key = connectionKey(client, server);
      const report = reports.get(key);
      reports.delete(key);
      return report;
    },
    await(client, server, socket, nowNs) {
      const key = connectionKey(client, server);
      waiting.set(key, { socket, sinceNs: nowNs });
      waitingKeys.set(socket, key);
      for (const [oldest, asked] of waiting) {
        if (waiting.size <= waitingMax) break;
        waiting.delete(oldest);
        waitingKeys.delete(asked.socket);
      }
    },
    forget(socket) {
      const key = waitingKeys.get(socket);
      if (key === undefined) return;
      waitingKeys.delete(socket);
      if (waiting.get(key)?.socket === socket) waiting.delete(key);
    },
    receive() {
      // Not by events of the loop: packets are read in a timer, which may run before them.
      for (
        let got = receiveMessageOnPort(channel.port2);
        got !== undefined;
        got = receiveMessageOnPort(channel.port2)
      ) {
        ready.resolve();
        // Only the thread posts here, see `SynThreadSettings`.
        for (const report of got.message as readonly SynReport[]) accept(report);
      }
    },
    expire(nowNs) {
      for (const [key, report] of reports) {
        if (nowNs - report.timeNs < keptNs) break;
        reports.delete(key);
      }
      for (const [key, asked] of waiting) {
        if (nowNs - asked.sinceNs < keptNs) break;
        waiting.delete(key);
        waitingKeys.delete(asked.socket);
      }
    },
    async stop() {
      Atomics.store(new Int32Array(stop), 0, 1);
      worker?.ref();
      await exited;
      channel.port2.close();
    },
  };
}

function dropOldest(map: Map<string, unknown>, sizeMax: number): void {
  for (const key of map.keys()) {
    if (map.size <= sizeMax) return;
    map.delete(key);
  }
}
