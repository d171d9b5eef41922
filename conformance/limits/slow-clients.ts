/** Clients that send a request bit by bit, hundreds at a time, at every port: each is cut off in time, and costs others nothing. */

import { createConnection, type Socket } from "node:net";
import type { Program } from "../program.ts";
import { sleep } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { frame } from "./http2-floods.ts";
import { type GoodTraffic, MemoryPeak, p99 } from "./watch.ts";

const CLIENTS = 200;
/** A bit goes out so often. */
const DRIP_MS = 500;
/** The server gives a head ten seconds, and looks every five. */
const HEAD_MS_MAX = 20_000;
/** It gives a whole request a minute. */
const BODY_MS_MAX = 70_000;
const MORE_BYTES_MAX = 64 * 2 ** 20;
/** Where others keep the machine busy, what is free is collected later. */
const SHORT_SLACK = 4;
const SHORT_GOOD_MS = 20_000;
const QUIET_MS = 3_000;
const GOOD_MS_FLOOR = 50;
/** Bodies that are told to be so large take the room that large bodies share. */
const LARGE_BYTES = 30 * 2 ** 20;
/** By then the slow ones hold all of it, and are known to be slow. */
const LARGE_AFTER_MS = 4_000;
/** Large good bodies are taken by then. */
const LARGE_MS_MAX = 10_000;
const MIB = 2 ** 20;

/** A way to be slow. */
interface Slow {
  readonly name: string;
  readonly port: "http" | "otlpHttp" | "otlpGrpc";
  readonly first: Uint8Array;
  readonly drip: Uint8Array;
  readonly msMax: number;
}

const HEAD = (path: string, more: string) => Buffer.from(`POST ${path} HTTP/1.1\r\nhost: localhost\r\n${more}`);
const PREFACE = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(4, 0, 0)]);
const OTLP = "content-type: application/x-protobuf\r\n";

function slows(): Slow[] {
  const heads = (["http", "otlpHttp"] as const).map((port) => ({
    name: `heads at ${port}`,
    port,
    first: HEAD("/v1/traces", ""),
    drip: Buffer.from("x-slow: a\r\n"),
    msMax: HEAD_MS_MAX,
  }));
  const bodies = (["http", "otlpHttp"] as const).flatMap((port) => [
    {
      name: `bodies at ${port}`,
      port,
      first: HEAD("/v1/traces", `${OTLP}content-length: 60000\r\n\r\n`),
      drip: Buffer.from("a"),
      msMax: BODY_MS_MAX,
    },
    {
      name: `chunks at ${port}`,
      port,
      first: HEAD("/v1/traces", `${OTLP}transfer-encoding: chunked\r\n\r\n`),
      drip: Buffer.from("1\r\na\r\n"),
      msMax: BODY_MS_MAX,
    },
  ]);
  const large = {
    name: "large bodies at otlpHttp",
    port: "otlpHttp" as const,
    first: HEAD("/v1/traces", `${OTLP}content-length: ${LARGE_BYTES}\r\n\r\n`),
    drip: Buffer.from("a"),
    msMax: BODY_MS_MAX,
  };
  const faces = ["/api/v1/query", "/api/v1/sql", "/api/v1/write", "/api/v1/read", "/write"].map((path) => ({
    name: `bodies of ${path}`,
    port: "http" as const,
    first: HEAD(path, "content-type: application/x-www-form-urlencoded\r\ncontent-length: 60000\r\n\r\n"),
    drip: Buffer.from("a"),
    msMax: BODY_MS_MAX,
  }));
  // POST, http, path, authority, content-type: by number where HPACK's table has them.
  const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
  const block = Buffer.concat([
    Buffer.from([0x83, 0x86, 4, path.length]),
    Buffer.from(path),
    Buffer.from([1, 9]),
    Buffer.from("localhost"),
    Buffer.from([15, 16, 16]),
    Buffer.from("application/grpc"),
  ]);
  const call = Buffer.concat([PREFACE, frame(1, 4, 1, block)]);
  const message = Buffer.concat([call, frame(0, 0, 1, Buffer.from([0, 0, 0, 0xea, 0x60]))]);
  return [
    ...heads,
    ...bodies,
    large,
    ...faces,
    {
      name: "messages over gRPC",
      port: "otlpGrpc",
      first: message,
      drip: frame(0, 0, 1, Buffer.from("a")),
      msMax: BODY_MS_MAX,
    },
  ];
}

/**
 * Holds all kinds open together, beside good traffic that is light: memory is judged, beyond what the same large good
 * bodies take alone.
 *
 * @param isWhole Waits for the ends of those that may take a minute too.
 */
export async function slowClients(
  report: SuiteReport,
  { program, traffic, slack, isWhole }: { program: Program; traffic: GoodTraffic; slack: number; isWhole: boolean },
): Promise<void> {
  await traffic.take();
  const memory = new MemoryPeak(program.pid);
  const beforeLarge = memory.reset();
  const largeAlone = await largeFault(program);
  const largeBytes = memory.peak() - beforeLarge;
  report.add(`slow: large good bodies alone take ${Math.round(largeBytes / MIB)} MiB`, largeAlone);
  await traffic.take();
  await sleep(QUIET_MS);
  const quiet = await traffic.take();
  const before = memory.reset();
  const bytesMax = slack === 1 ? MORE_BYTES_MAX : SHORT_SLACK * MORE_BYTES_MAX;
  const running = slows().map((slow) => ({ slow, ended: holdAll(program, slow) }));
  await sleep(LARGE_AFTER_MS);
  report.add("slow: large good bodies are taken meanwhile", await largeFault(program));
  const waitMs = isWhole ? BODY_MS_MAX : HEAD_MS_MAX;
  const awaited = running.filter(({ slow }) => slow.msMax <= waitMs);
  const outcomes = await Promise.all(awaited.map(async ({ slow, ended }) => ({ slow, ...(await ended) })));
  const moreBytes = memory.peak() - before;
  const busy = await traffic.take();
  for (const { slow, slowestMs, open } of outcomes) {
    const name = `slow: ${CLIENTS} ${slow.name} are cut off (the last after ${(slowestMs / 1000).toFixed(0)} s)`;
    report.add(name, open === 0 ? "" : `${open} are open after ${slow.msMax} ms`);
  }
  const all = CLIENTS * running.length;
  const figures = `${all} at once, ${Math.round(moreBytes / MIB)} MiB more`;
  const allowedMib = Math.round((largeBytes + bytesMax) / MIB);
  report.add(`slow: memory (${figures})`, moreBytes <= largeBytes + bytesMax ? "" : `${allowedMib} MiB may be`);
  for (const what of ["writesMs", "queriesMs"] as const) {
    const [quietMs, busyMs] = [p99(quiet[what]), p99(busy[what])];
    const allowedMs = Math.max(slack === 1 ? 0 : SHORT_GOOD_MS, slack * Math.max(GOOD_MS_FLOOR, 2 * quietMs));
    const told = `slow: p99 of good ${what.replace("Ms", "")} ${busyMs.toFixed(1)} ms, quiet ${quietMs.toFixed(1)} ms`;
    report.add(told, busyMs <= allowedMs ? "" : `more than ${allowedMs.toFixed(1)} ms`);
  }
  report.add("slow: good requests are answered meanwhile", busy.faults.slice(0, 3).join("\n"));
}

/** As many at once as there is room for, twice; sent again, as exporters do, where slow ones are not known as such yet. */
async function largeFault({ otlpHttp }: Program): Promise<string> {
  // One unknown field, which costs nothing to read.
  const body = Buffer.concat([Buffer.from([0x7a, 0x80, 0x80, 0x80, 0x0e]), Buffer.alloc(14 * 2 ** 21)]);
  const headers = { "content-type": "application/x-protobuf" };
  const deadline = performance.now() + LARGE_MS_MAX;
  const send = async (): Promise<string> => {
    for (;;) {
      const answer = await fetch(`${otlpHttp}/v1/traces`, { method: "POST", headers, body });
      const text = await answer.text();
      if (answer.status === 200) return "";
      if (answer.status !== 503 || performance.now() > deadline) return `${answer.status}: ${text.slice(0, 200)}`;
      await sleep(DRIP_MS);
    }
  };
  for (let round = 0; round < 2; round++) {
    const faults = (await Promise.all([send(), send()])).filter((one) => one !== "");
    if (faults.length > 0) return faults.join("\n");
  }
  return "";
}

interface Held {
  readonly slowestMs: number;
  /** Not cut off in time. */
  readonly open: number;
}

async function holdAll(program: Program, slow: Slow): Promise<Held> {
  const address = slow.port === "otlpGrpc" ? program.otlpGrpc : program[slow.port].replace("http://", "");
  const [host = "", port = ""] = address.split(":");
  const tookMs = await Promise.all(Array.from({ length: CLIENTS }, () => hold(host, Number(port), slow)));
  const cut = tookMs.filter((ms) => ms !== undefined);
  return { slowestMs: Math.max(0, ...cut), open: tookMs.length - cut.length };
}

/** Milliseconds until the server ended the connection, or answered; undefined where it did neither. */
function hold(host: string, port: number, { first, drip, msMax }: Slow): Promise<number | undefined> {
  return new Promise((resolve) => {
    const sinceMs = performance.now();
    const socket: Socket = createConnection({ host, port, noDelay: true });
    const end = (ms: number | undefined) => {
      clearInterval(dripping);
      clearTimeout(timer);
      socket.destroy();
      resolve(ms);
    };
    const timer = setTimeout(() => end(undefined), msMax);
    let dripping: NodeJS.Timeout | undefined;
    socket.on("connect", () => {
      socket.write(first);
      dripping = setInterval(() => socket.write(drip), DRIP_MS);
    });
    // Whatever comes back over HTTP/1 is a refusal; over HTTP/2 the peer greets first.
    socket.on("data", (chunk: Buffer) => {
      if (chunk.subarray(0, 5).toString("latin1") === "HTTP/" || hasEnd(chunk)) end(performance.now() - sinceMs);
    });
    socket.on("error", () => end(performance.now() - sinceMs));
    socket.on("close", () => end(performance.now() - sinceMs));
  });
}

/** Whether a frame of HTTP/2 among these ends the stream or the connection. */
function hasEnd(chunk: Buffer): boolean {
  for (let at = 0; at + 9 <= chunk.length; at += 9 + chunk.readUIntBE(at, 3)) {
    const type = chunk[at + 3];
    const isLast = type === 1 && ((chunk[at + 4] ?? 0) & 1) === 1;
    if (isLast || type === 3 || type === 7) return true;
  }
  return false;
}
