/** What a program under attack does: the memory it takes, and what good traffic gets meanwhile. */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { sleep } from "../program.ts";
import type { TrafficOptions, TrafficSeen } from "./good-traffic.ts";

const TICKS_PER_SECOND = 100;

/** Peak of a process' resident memory. Writing to `clear_refs` sets it back, so that no peak is missed between looks. */
export class MemoryPeak {
  readonly #pid: number;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** Sets the peak back to what is resident. @returns That. */
  reset(): number {
    writeFileSync(`/proc/${this.#pid}/clear_refs`, "5");
    return this.#read("VmRSS");
  }

  /** The most that was resident since. */
  peak(): number {
    return this.#read("VmHWM");
  }

  #read(name: string): number {
    const status = readFileSync(`/proc/${this.#pid}/status`, "utf8");
    return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? "0") * 1024;
  }
}

/** Processor time of a process so far, in ms. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/** Time in which a thread of a process could run and had no processor, of the one that waited longest, in ms. */
export function unservedMs(pid: number): number {
  const waitedNs = readdirSync(`/proc/${pid}/task`).map((thread) => {
    try {
      return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[1]);
    } catch {
      return 0; // it ended between the listing and the look
    }
  });
  return Math.max(...waitedNs) / 1e6;
}

/** Good traffic from a thread of its own, so that the sender of bombs does not slow it down. */
export class GoodTraffic {
  readonly #worker: Worker;

  constructor(options: TrafficOptions) {
    this.#worker = new Worker(new URL("./good-traffic.ts", import.meta.url), { workerData: options });
  }

  /** What was seen since the last call. */
  take(): Promise<TrafficSeen> {
    return this.#ask("take");
  }

  /** Ends it. @returns What was seen since the last `take`. */
  async stop(): Promise<TrafficSeen> {
    const seen = await this.#ask("stop");
    await this.#worker.terminate();
    return seen;
  }

  #ask(what: "take" | "stop"): Promise<TrafficSeen> {
    return new Promise((resolve, reject) => {
      this.#worker.once("message", (seen: TrafficSeen) => {
        this.#worker.off("error", reject);
        resolve(seen);
      });
      this.#worker.once("error", reject);
      this.#worker.postMessage(what);
    });
  }
}

/** Waits until nothing is under way and the collector had its turn. */
export function settle(): Promise<void> {
  return sleep(300);
}

/** The value that a hundredth of all exceed; 0 where there are none. */
export function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0;
}
