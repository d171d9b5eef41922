/** Sends an encoded load over connections of its own, in order on each, and reads what it cost the server. */

import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { writeHeaders } from "../conformance/remote-write.ts";
import type { MetricServer } from "./metric-server-kit.ts";
import { cpuSeconds, peakMemoryMiB } from "./otlp-run-kit.ts";
import type { RemoteLoad } from "./remote-load-kit.ts";

const RETRY_MS = 20;
/** How long a server works on after the last answer until its processor time is read. */
const SETTLE_MS = 5_000;

/** What a load cost. */
export interface SendCost {
  readonly samplesPerSecond: number;
  /** Processor seconds of the whole server for a million samples, those after the last answer too. */
  readonly cpuPerMillion: number;
  readonly senderCpuPerMillion: number;
  readonly answerP50Ms: number;
  readonly answerP99Ms: number;
  readonly peakMiB: number;
  /** Requests that were sent once more, since the server asked for it. */
  readonly again: number;
  /** Requests of which something was left out for good. */
  readonly leftOut: number;
}

/** How to send. */
export interface SendOptions {
  /** How long the server works on after the last answer until its processor time is read. */
  readonly settleMs?: number;
  /** A request of which something is left out is counted, rather than an error. */
  readonly mayLeaveOut?: boolean;
}

/** Sends all of a load. @throws Error where a request is refused for good. */
export async function sendLoad(server: MetricServer, load: RemoteLoad, options: SendOptions = {}): Promise<SendCost> {
  const cpuBefore = cpuSeconds(server.pid);
  const ownBefore = process.cpuUsage();
  const startedMs = performance.now();
  const counted: Counted = { again: 0, leftOut: 0, mayLeaveOut: options.mayLeaveOut === true, latencies: [] };
  await Promise.all(load.lanes.map((bodies) => sendLane(server.base, load.version, bodies, counted)));
  const seconds = (performance.now() - startedMs) / 1000;
  const own = process.cpuUsage(ownBefore);
  await sleep(options.settleMs ?? SETTLE_MS);
  const millions = load.samples / 1e6;
  const sorted = counted.latencies.sort((a, b) => a - b);
  return {
    samplesPerSecond: load.samples / seconds,
    cpuPerMillion: (cpuSeconds(server.pid) - cpuBefore) / millions,
    senderCpuPerMillion: (own.user + own.system) / 1e6 / millions,
    answerP50Ms: sorted[sorted.length >> 1] ?? Number.NaN,
    answerP99Ms: sorted[Math.floor(0.99 * sorted.length)] ?? Number.NaN,
    peakMiB: peakMemoryMiB(server.pid),
    again: counted.again,
    leftOut: counted.leftOut,
  };
}

interface Counted {
  again: number;
  leftOut: number;
  readonly mayLeaveOut: boolean;
  readonly latencies: number[];
}

async function sendLane(base: string, version: 1 | 2, bodies: readonly Uint8Array[], counted: Counted): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const headers = writeHeaders(version);
  try {
    for (const body of bodies) {
      for (;;) {
        const startedMs = performance.now();
        const status = await post(`${base}/api/v1/write`, { agent, headers, body });
        const isLeftOut = status === 400 && counted.mayLeaveOut;
        if (status < 300 || isLeftOut) {
          if (isLeftOut) counted.leftOut++;
          counted.latencies.push(performance.now() - startedMs);
          break;
        }
        if (status !== 503 && status !== 429) throw new Error(`a write was answered with ${status}`);
        counted.again++;
        await sleep(RETRY_MS);
      }
    }
  } finally {
    agent.destroy();
  }
}

function post(
  url: string,
  sent: { readonly agent: Agent; readonly headers: Record<string, string>; readonly body: Uint8Array },
): Promise<number> {
  const { agent, headers, body } = sent;
  return new Promise((resolve, reject) => {
    const out = request(
      url,
      { method: "POST", agent, headers: { ...headers, "content-length": String(body.length) } },
      (answer) => {
        answer.resume();
        answer.on("end", () => resolve(answer.statusCode ?? 0));
        answer.on("error", reject);
      },
    );
    out.on("error", reject);
    out.end(body);
  });
}
