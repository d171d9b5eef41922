/**
 * The whole program beside the capture benches: `bin/thalweg.mjs serve --capture socket`, on free ports, in a directory
 * that goes with it.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const readyWaitMs = 60_000;
/** The agent tells its status each second. */
const statusWaitMs = 1200;
/** As Linux cuts the name of the worker. */
const AGENT_THREAD = "thalweg-agent";

/** The running program. */
export interface WholeProgram {
  /** What its capture says of itself, shortened. */
  captureStatus(): Promise<string>;
  capture(): Promise<CaptureStatus>;
  /** What it says once what it knows is newer than this question. */
  freshCapture(): Promise<CaptureStatus>;
  /** CPU time of the agent's thread until now, microseconds. */
  agentUs(): number;
  stop(): Promise<void>;
}

/**
 * Starts the program and waits until it is ready.
 *
 * @param budget `default`: it steps down where capture costs more, as for who starts it; `none`: each call becomes spans.
 */
export async function startWholeProgram(budget: "default" | "none"): Promise<WholeProgram> {
  const data = mkdtempSync(join(tmpdir(), "thalweg-bench-data-"));
  const file = join(import.meta.dirname, "..", "bin", "thalweg.mjs");
  const free = "127.0.0.1:0";
  const ports = ["--listen", free, "--otlp-grpc", free, "--otlp-http", free];
  const cpu = budget === "none" ? ["--capture-cpu", "none"] : [];
  const child = spawn(process.execPath, [file, "serve", "--data", data, ...ports, "--capture", "socket", ...cpu], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const stop = async () => {
    if (child.exitCode === null) {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
    rmSync(data, { recursive: true, force: true });
  };
  try {
    const address = await readyAddress(join(data, "addresses.json"), () => child.exitCode !== null);
    return {
      stop,
      capture: async () => (await (await fetch(`${address}/api/v1/capture`)).json()) as CaptureStatus,
      freshCapture: async () => {
        await sleep(statusWaitMs);
        return (await (await fetch(`${address}/api/v1/capture`)).json()) as CaptureStatus;
      },
      agentUs: () => threadUs(child.pid ?? 0, AGENT_THREAD),
      captureStatus: async () => statusText((await (await fetch(`${address}/api/v1/capture`)).json()) as CaptureStatus),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function readyAddress(addressFile: string, isOver: () => boolean): Promise<string> {
  for (const end = Date.now() + readyWaitMs; Date.now() < end; await sleep(50)) {
    if (isOver()) throw new Error("the program ended before it was ready; its words are above");
    if (!existsSync(addressFile)) continue;
    const { http } = JSON.parse(readFileSync(addressFile, "utf8"));
    const address = String(http).startsWith("http") ? String(http) : `http://${http}`;
    const isReady = await fetch(`${address}/readyz`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (isReady) return address;
  }
  throw new Error(`the program was not ready after ${readyWaitMs} ms`);
}

/** CPU time of a thread of a process that the launcher started, or of the launcher's own. */
function threadUs(launcher: number, name: string): number {
  const children = readFileSync(`/proc/${launcher}/task/${launcher}/children`, "utf8").trim().split(" ");
  for (const pid of [launcher, ...children].filter(Boolean)) {
    const tasks = `/proc/${pid}/task`;
    for (const tid of readdirSync(tasks)) {
      if (readFileSync(join(tasks, tid, "comm"), "utf8").trim() !== name) continue;
      return Number(readFileSync(join(tasks, tid, "schedstat"), "utf8").split(" ")[0]) / 1000;
    }
  }
  throw new Error(`the program has no thread ${name}`);
}

/** The part of the answer that is shown. */
interface CaptureStatus {
  readonly tier: string;
  readonly connections: number;
  readonly processes: number;
  readonly budget: { readonly usedCores: number };
  readonly seen: number;
  readonly delivered: number;
  readonly lost: Readonly<Record<string, number>>;
}

function statusText(status: CaptureStatus): string {
  return `tier ${status.tier}, seen ${status.seen}, delivered ${status.delivered}, lost ${JSON.stringify(status.lost)}`;
}
