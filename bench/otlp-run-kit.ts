/**
 * One run of an OTLP load against a server: rate, cost, latency, memory and disk.
 */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SPANS_PER_BODY } from "../conformance/otlp-bodies.ts";
import { type Load, sendLoad } from "../conformance/otlp-senders.ts";
import { median } from "./figure-kit.ts";

/** A start over a million series on a busy machine. */
const READY_MS_MAX = 600_000;
const TICKS_PER_SECOND = 100;

/** What one run measured. */
export interface IngestRun {
  readonly spans: number;
  readonly spansPerSecond: number;
  readonly cpuUsPerSpan: number;
  readonly generatorCpuUsPerSpan: number;
  readonly answerP50Ms: number;
  readonly answerP99Ms: number;
  readonly peakMiB: number;
  readonly bytesPerSpan: number;
  readonly loopP99Ms: number;
  readonly refused: number;
  readonly version: string;
  /** What it stored, to be removed. */
  readonly directory: string;
}

/** A server to be measured. */
export interface ServerUnderLoad {
  readonly pid: number;
  /** `HOST:PORT` of OTLP over HTTP and over gRPC. */
  readonly http: string;
  readonly grpc: string;
  readonly directory: string;
  readonly version: string;
  loopP99Ms(): Promise<number>;
  /** Stops it; what it stored stays. */
  stop(): Promise<void>;
}

/** Sends a load and reads what it cost the server. */
export async function measure(server: ServerUnderLoad, load: Load): Promise<IngestRun> {
  await server.loopP99Ms();
  const cpuBefore = cpuSeconds(server.pid);
  const ownBefore = process.cpuUsage();
  const sent = await sendLoad(load, load.transport === "grpc" ? server.grpc : server.http);
  const own = process.cpuUsage(ownBefore);
  const loopP99Ms = await server.loopP99Ms();
  // What the server still does after its last answer belongs to the spans, too.
  await sleep(2_000);
  const cpu = cpuSeconds(server.pid) - cpuBefore;
  const peakMiB = peakMemoryMiB(server.pid);
  await server.stop();
  const spans = sent.requests * SPANS_PER_BODY;
  return {
    spans,
    spansPerSecond: spans / sent.seconds,
    cpuUsPerSpan: (1e6 * cpu) / spans,
    generatorCpuUsPerSpan: (own.user + own.system) / spans,
    answerP50Ms: median(sent.answerMs),
    answerP99Ms: sent.answerMs.toSorted((a, b) => a - b)[Math.floor(0.99 * sent.answerMs.length)] ?? Number.NaN,
    peakMiB,
    bytesPerSpan: diskBytes(server.directory) / spans,
    loopP99Ms,
    refused: sent.refused,
    version: server.version,
    directory: server.directory,
  };
}

/** This program as a server. */
export interface StartedServer extends ServerUnderLoad {
  /** Address of the page and the API. */
  readonly face: string;
}

/** Runs the load against this program. */
export async function runThalweg(load: Load): Promise<IngestRun> {
  return measure(await startServer(mkdtempSync(join(tmpdir(), "thalweg-bench-ingest-"))), load);
}

/** Starts this program over a directory, without capture. */
export async function startServer(directory: string, flags: readonly string[] = []): Promise<StartedServer> {
  const file = join(import.meta.dirname, "..", "bin", "thalweg.mjs");
  const free = "127.0.0.1:0";
  const ports = ["--listen", free, "--otlp-grpc", free, "--otlp-http", free];
  const addresses = join(directory, "addresses.json");
  rmSync(addresses, { force: true });
  const child = spawn(process.execPath, [file, "serve", "--data", directory, ...ports, "--capture", "off", ...flags], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  await waitUntil(() => existsSync(addresses), "the server");
  const { http, otlp_http, otlp_grpc } = JSON.parse(readFileSync(addresses, "utf8"));
  const face = `http://${bare(http)}`;
  await waitUntil(async () => (await fetch(`${face}/readyz`)).ok, "the server");
  const metrics = async () => (await fetch(`${face}/metrics`)).text();
  return {
    face,
    pid: serverPid(child.pid ?? 0),
    http: bare(otlp_http),
    grpc: bare(otlp_grpc),
    directory,
    version: "",
    loopP99Ms: async () =>
      1e3 * Number(/thalweg_loop_delay_seconds\{percentile="99"\} (\S+)/.exec(await metrics())?.[1] ?? Number.NaN),
    stop: () => stopProcess(child),
  };
}

/** Asks a process to end and waits for it. */
export async function stopProcess(child: ReturnType<typeof spawn>): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await ended;
}

/** Waits until a condition holds. @throws Error after ten minutes. */
export async function waitUntil(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = performance.now() + READY_MS_MAX; performance.now() < end; await sleep(50)) {
    const now = await Promise.resolve()
      .then(holds)
      .catch(() => false);
    if (now) return;
  }
  throw new Error(`${what} is not ready after ${READY_MS_MAX} ms`);
}

function bare(address: string): string {
  return address.replace(/^https?:\/\//, "");
}

/** The launcher may have started another Node, which then is the server. */
function serverPid(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return children === "" ? pid : Number(children.split(" ")[0]);
}

/** Processor seconds that a process has taken so far. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** The most memory a process ever had resident. */
export function peakMemoryMiB(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
}

/** Bytes allocated on the disk below a directory; files that vanish meanwhile count nothing. */
export function diskBytes(directory: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      bytes += 512 * (statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.blocks ?? 0);
    }
  }
  return bytes;
}
