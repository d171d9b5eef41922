/**
 * What one request costs the agent from slices to batches of spans: connection room, parser, span room, export.
 *
 * Run as `npm run -s bench -- capture-pipeline [--rounds N]`. The slices are those that the rungs hand over for
 * nginx's answers to wrk: `socket` shows each message at both of its ends, `packet` once. No capture, no other threads:
 * the figures are CPU time and hold on a busy machine, too.
 */

import { PerformanceObserver } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createPipeline, type Pipeline } from "../agent/pipeline.ts";
import type { CaptureSink, SocketSlice } from "../server/model/capture-event.ts";
import { printFigure } from "./figure-kit.ts";

const CONNECTIONS = 32;
/** Requests of each connection in a round. */
const REQUESTS = 1500;
/** Requests of all connections between two ticks, as at 25,000 a second. */
const TICK_NS = 20e6;
const REQUEST_NS = 40e3;
const PORT = 8080;
const CLIENT_PID = 1001;
const SERVER_PID = 1002;

setFlagsFromString("--expose-gc");
const collectAll = runInNewContext("gc") as () => void;

type Sight = "socket" | "packet";

const encoder = new TextEncoder();
const REQUEST = encoder.encode(`GET /small HTTP/1.1\r\nHost: 127.0.0.1:${PORT}\r\n\r\n`);
const ANSWER = encoder.encode(
  "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 26 Nov 2025 03:11:00 GMT\r\nContent-Type: text/plain\r\n" +
    "Content-Length: 612\r\nLast-Modified: Wed, 26 Nov 2025 03:10:00 GMT\r\nConnection: keep-alive\r\n" +
    `ETag: "69266f18-264"\r\nAccept-Ranges: bytes\r\n\r\n${"x".repeat(612)}`,
);

/** A pipeline of its own with its connections open. */
function startPipeline(sight: Sight): { pipeline: Pipeline; sink: CaptureSink; spans: () => number } {
  let spans = 0;
  const pipeline = createPipeline(
    {
      spans: (batch) => {
        spans += batch.rows;
        pipeline.taken();
      },
    },
    {
      redaction: true,
      exclusions: { pids: [], ports: [] },
      setting: { hostName: "bench", agentVersion: "0", unit: "", containerId: "" },
    },
  );
  const sink = pipeline.sinkOf("live");
  for (const [pid, name] of [
    [CLIENT_PID, "wrk"],
    [SERVER_PID, "nginx"],
  ] as const) {
    sink.process({
      pid,
      startNs: 1,
      comm: name,
      exe: `/usr/bin/${name}`,
      cmdline: [name],
      cwd: "/",
      otelServiceName: "",
      otelResourceAttributes: "",
      unit: "",
      containerId: "",
      language: "native",
    });
  }
  const client = (index: number) => ({ addr: "127.0.0.1", port: 40_000 + index });
  const server = { addr: "127.0.0.1", port: PORT };
  for (let index = 0; index < CONNECTIONS; index++) {
    const clientOwner = { pid: CLIENT_PID, ownerBy: "hook" as const, fallbackName: "wrk" };
    const serverOwner = { pid: SERVER_PID, ownerBy: "hook" as const, fallbackName: "nginx" };
    const common = { netns: 1, joinedLate: false, timeNs: 1 };
    if (sight === "packet") {
      const ends = { local: client(index), remote: server, localOwner: clientOwner, remoteOwner: serverOwner };
      sink.opened({ socket: 2 * index, sight: "both", role: "client", ...ends, ...common });
      continue;
    }
    const asClient = { local: client(index), remote: server, localOwner: clientOwner, remoteOwner: undefined };
    const asServer = { local: server, remote: client(index), localOwner: serverOwner, remoteOwner: undefined };
    sink.opened({ socket: 2 * index, sight: "end", role: "client", ...asClient, ...common });
    sink.opened({ socket: 2 * index + 1, sight: "end", role: "server", ...asServer, ...common });
  }
  return { pipeline, sink, spans: () => spans };
}

/** Lets all connections ask and be answered by turns, so that their requests overlap. */
function play(sight: Sight): number {
  const { pipeline, sink, spans } = startPipeline(sight);
  // As rungs do: one buffer holds what was drained, and each slice is a view of its own.
  const buffer = new ArrayBuffer(REQUEST.length + ANSWER.length);
  new Uint8Array(buffer).set(REQUEST);
  new Uint8Array(buffer).set(ANSWER, REQUEST.length);
  const slice: SocketSlice = {
    socket: 0,
    direction: 0,
    timeNs: 0,
    seq: 0,
    total: 0,
    bytes: new Uint8Array(0),
    tid: 0,
    pid: 0,
  };
  const show = (socket: number, direction: 0 | 1, start: number, length: number, seq: number, pid: number) => {
    slice.socket = socket;
    slice.direction = direction;
    slice.seq = seq;
    slice.total = length;
    slice.bytes = new Uint8Array(buffer, start, length);
    slice.tid = pid;
    slice.pid = pid;
    sink.slice(slice);
  };
  let nowNs = 1e9;
  let tickedNs = nowNs;
  const offset = { bootToUnixNano: 1_768_478_400_000_000_000n };
  pipeline.tick(nowNs, offset);
  const oldFrom = REQUESTS / 10;
  for (let round = 0; round < REQUESTS; round++) {
    // In a program that has run for a while, what lives long is old: short collections look at it differently.
    if (round === oldFrom) collectAll();
    for (let step = 0; step < 2; step++) {
      for (let index = 0; index < CONNECTIONS; index++) {
        nowNs += REQUEST_NS / 2;
        slice.timeNs = nowNs;
        // Connections begin anywhere in the space of sequence numbers.
        const first = Math.imul(index + 1, 0x9e3779b1);
        const start = step === 0 ? 0 : REQUEST.length;
        const length = step === 0 ? REQUEST.length : ANSWER.length;
        const seq = (first + round * length) >>> 0;
        if (sight === "packet") show(2 * index, step === 0 ? 0 : 1, start, length, seq, 0);
        else if (step === 0) {
          show(2 * index, 0, start, length, seq, CLIENT_PID);
          show(2 * index + 1, 1, start, length, seq, SERVER_PID);
        } else {
          show(2 * index + 1, 0, start, length, seq, SERVER_PID);
          show(2 * index, 1, start, length, seq, CLIENT_PID);
        }
      }
    }
    if (nowNs - tickedNs < TICK_NS) continue;
    tickedNs = nowNs;
    pipeline.tick(nowNs, offset);
  }
  pipeline.finish(nowNs);
  return spans();
}

async function measure(sight: Sight, rounds: number): Promise<void> {
  const requests = CONNECTIONS * REQUESTS;
  const cpu: number[] = [];
  const collecting: number[] = [];
  let collectedMs = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) collectedMs += entry.duration;
  });
  observer.observe({ entryTypes: ["gc"] });
  play(sight);
  for (let round = 0; round < rounds; round++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    collectedMs = 0;
    const before = process.threadCpuUsage();
    const spans = play(sight);
    const used = process.threadCpuUsage(before);
    if (spans !== 2 * requests) throw new Error(`${spans} spans of ${requests} requests on the ${sight} rung's slices`);
    cpu.push((used.user + used.system) / requests);
    await new Promise((resolve) => setTimeout(resolve, 10));
    collecting.push((collectedMs * 1000) / requests);
  }
  observer.disconnect();
  const bench = "capture-pipeline";
  printFigure({ bench, measure: `${sight}/cpu`, unit: "us/request", values: cpu });
  printFigure({ bench, measure: `${sight}/collecting`, unit: "us/request", values: collecting, note: "wall time" });
}

const { values } = parseArgs({ options: { rounds: { type: "string", default: "7" } } });
for (const sight of ["socket", "packet"] as const) await measure(sight, Number(values.rounds));
