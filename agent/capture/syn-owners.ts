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
  return new ThreadOwners(nativeDirectory, thread, receiver);
}

class ThreadOwners implements SynOwners {
  readonly #receiver: SynReceiver;
  readonly #reports = new Map<string, SynReport>();
  /** Connections that were told without a report, in order. */
  readonly #waiting = new Map<string, { socket: number; sinceNs: number }>();
  readonly #waitingKeys = new Map<number, string>();
  readonly #channel = new MessageChannel();
  readonly #stop = new SharedArrayBuffer(4);
  readonly #ready = Promise.withResolvers<void>();
  #worker: Worker | undefined;
  #exited: Promise<void> = Promise.resolve();
  #trouble = "";

  constructor(nativeDirectory: string | undefined, thread: SynThreadSource | undefined, receiver: SynReceiver) {
    this.#receiver = receiver;
    try {
      this.#start({ nativeDirectory, stop: this.#stop, reports: this.#channel.port1 }, thread ?? threadOfClone());
    } catch (error) {
      this.#failed(error);
      this.#ready.resolve();
    }
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get trouble(): string {
    return this.#trouble;
  }

  take(client: Endpoint, server: Endpoint): SynReport | undefined {
    const key = connectionKey(client, server);
    const report = this.#reports.get(key);
    this.#reports.delete(key);
    return report;
  }

  await(client: Endpoint, server: Endpoint, socket: number, nowNs: number): void {
    const key = connectionKey(client, server);
    this.#waiting.set(key, { socket, sinceNs: nowNs });
    this.#waitingKeys.set(socket, key);
    for (const [oldest, asked] of this.#waiting) {
      if (this.#waiting.size <= waitingMax) break;
      this.#waiting.delete(oldest);
      this.#waitingKeys.delete(asked.socket);
    }
  }

  forget(socket: number): void {
    const key = this.#waitingKeys.get(socket);
    if (key === undefined) return;
    this.#waitingKeys.delete(socket);
    if (this.#waiting.get(key)?.socket === socket) this.#waiting.delete(key);
  }

  receive(): void {
    // Not by events of the loop: packets are read in a timer, which may run before them.
    const { port2 } = this.#channel;
    for (let got = receiveMessageOnPort(port2); got !== undefined; got = receiveMessageOnPort(port2)) {
      this.#ready.resolve();
      // Only the thread posts here, see `SynThreadSettings`.
      for (const report of got.message as readonly SynReport[]) this.#accept(report);
    }
  }

  expire(nowNs: number): void {
    for (const [key, report] of this.#reports) {
      if (nowNs - report.timeNs < keptNs) break;
      this.#reports.delete(key);
    }
    for (const [key, asked] of this.#waiting) {
      if (nowNs - asked.sinceNs < keptNs) break;
      this.#waiting.delete(key);
      this.#waitingKeys.delete(asked.socket);
    }
  }

  async stop(): Promise<void> {
    Atomics.store(new Int32Array(this.#stop), 0, 1);
    this.#worker?.ref();
    await this.#exited;
    this.#channel.port2.close();
  }

  #start(settings: SynThreadSettings, { source, evaluate }: SynThreadSource): void {
    const worker = new Worker(source, {
      eval: evaluate,
      name: "thalweg-syn",
      workerData: settings,
      transferList: [settings.reports],
    });
    this.#worker = worker;
    worker.unref();
    this.#exited = new Promise((resolve) => worker.once("exit", () => resolve()));
    worker.once("exit", () => this.#ready.resolve());
    worker.on("error", (error: unknown) => this.#failed(error));
  }

  #failed(error: unknown): void {
    this.#trouble = error instanceof Error ? error.message : String(error);
  }

  #accept(report: SynReport): void {
    this.#receiver.arrived(report);
    const key = connectionKey(report.client, report.server);
    const asked = this.#waiting.get(key);
    if (asked !== undefined) {
      this.#waiting.delete(key);
      this.#waitingKeys.delete(asked.socket);
      this.#receiver.late(asked.socket, report);
      return;
    }
    this.#reports.delete(key);
    this.#reports.set(key, report);
    dropOldest(this.#reports, reportsMax);
  }
}

/** Bundles know their own files and say so; a clone has the program here. */
function threadOfClone(): SynThreadSource {
  return { source: new URL("./syn-thread.ts", import.meta.url), evaluate: false };
}

function dropOldest(map: Map<string, unknown>, sizeMax: number): void {
  for (const key of map.keys()) {
    if (map.size <= sizeMax) return;
    map.delete(key);
  }
}
