/**
 * The stage of the capture benches: nginx of its own, wrk, a paced client, capturing processes.
 */

import { type ChildProcess, fork, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { makeCertificate } from "../conformance/tls/services.ts";
import type { AgentReport, BenchRung } from "./capture-agent-kit.ts";

/** Bytes of `/small`, as in the benches of other tracers. */
const SMALL_BYTES = 612;
const BIG_BYTES = 3_000_000;
const WRK_CONNECTIONS = 32;
const PACED_CONNECTIONS = 10;
const pacedTickMs = 10;
/** Tenths of a second that the last answers may take. */
const answersWaitTurns = 30;
const readyWaitMs = 15_000;

/** A running nginx with one worker. */
export interface Nginx {
  readonly port: number;
  readonly isTls: boolean;
  readonly version: string;
  /** CPU time of the worker until now, in microseconds. */
  cpuUs(): number;
  stop(): Promise<void>;
}

/** What a load found. */
export interface Load {
  readonly requests: number;
  readonly seconds: number;
  /** CPU of nginx's worker for each request, in microseconds. */
  readonly serverUs: number;
}

/** A capturing process. */
export interface CapturingProcess {
  report(): Promise<AgentReport>;
  /** Ends it. @returns Its report with all that was still in the ring. */
  stop(): Promise<AgentReport>;
}

/** Programs that are not there; empty where all are. */
export function missingPrograms(names: readonly string[]): string[] {
  return names.filter((name) => spawnSync(name, ["-v"], { stdio: "ignore" }).error !== undefined);
}

/** Starts nginx on a free port of 127.0.0.1, with files of its own; by TLS it speaks nothing else. */
export async function startNginx(isTls = false): Promise<Nginx> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-bench-nginx-"));
  // nginx's worker is another user than the one that made the directory.
  chmodSync(directory, 0o755);
  const port = await freePort();
  writeFileSync(join(directory, "small"), "x".repeat(SMALL_BYTES));
  writeFileSync(join(directory, "big"), Buffer.alloc(BIG_BYTES));
  if (isTls) makeCertificate(directory);
  const tls = isTls
    ? `ssl_certificate ${directory}/cert.pem; ssl_certificate_key ${directory}/key.pem; keepalive_timeout 3600;`
    : "";
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${directory}/${name};`)
    .join(" ");
  writeFileSync(
    join(directory, "nginx.conf"),
    `worker_processes 1; daemon off; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000000; ${temporary}
  server { listen 127.0.0.1:${port}${isTls ? " ssl" : ""}; ${tls} root ${directory}; } }
`,
  );
  const process = spawn("nginx", [
    "-p",
    directory,
    "-c",
    join(directory, "nginx.conf"),
    "-e",
    join(directory, "error.log"),
  ]);
  await answers(port);
  const worker = await workerOf(process.pid);
  return {
    port,
    isTls,
    version: /nginx\/([\d.]+)/.exec(spawnSync("nginx", ["-v"], { encoding: "utf8" }).stderr)?.[1] ?? "unknown",
    cpuUs: () => Number(readFileSync(`/proc/${worker}/schedstat`, "utf8").split(" ")[0]) / 1000,
    stop: async () => {
      process.kill("SIGTERM");
      await once(process, "exit");
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || address === null) throw new Error("The system gave no port.");
  return address.port;
}

async function answers(port: number): Promise<void> {
  for (const end = Date.now() + readyWaitMs; Date.now() < end; await sleep(20)) {
    const socket = connect({ port, host: "127.0.0.1" });
    const isOpen = await Promise.race([once(socket, "connect").then(() => true), sleep(200, false)]).catch(() => false);
    socket.destroy();
    if (isOpen) return;
  }
  throw new Error(`nginx does not answer on port ${port}`);
}

/** The master listens before it has a worker. */
async function workerOf(master: number | undefined): Promise<number> {
  for (const end = Date.now() + readyWaitMs; Date.now() < end; await sleep(20)) {
    const children = readFileSync(`/proc/${master}/task/${master}/children`, "utf8").trim().split(" ").map(Number);
    const [worker] = children;
    if (worker !== undefined && worker > 0) return worker;
  }
  throw new Error("nginx has no worker");
}

/** As many requests as the machine gives, over 32 connections. */
export async function saturate(nginx: Nginx, path: string, seconds: number): Promise<Load> {
  const url = `${nginx.isTls ? "https" : "http"}://127.0.0.1:${nginx.port}${path}`;
  return saturateUrl(url, seconds, nginx.cpuUs);
}

/** The same on any server. @param cpuUs Its CPU time until now. */
export async function saturateUrl(url: string, seconds: number, cpuUs: () => number): Promise<Load> {
  const before = cpuUs();
  const wrk = spawn("wrk", ["-t1", `-c${WRK_CONNECTIONS}`, `-d${seconds}s`, url], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  wrk.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  await once(wrk, "close");
  const found = /(\d+) requests in ([\d.]+)s/.exec(said);
  const errors = /Non-2xx|Socket errors/.exec(said);
  if (found === null || errors !== null) throw new Error(`wrk failed: ${said}`);
  const requests = Number(found[1]);
  return { requests, seconds: Number(found[2]), serverUs: (cpuUs() - before) / requests };
}

/** Requests at an even rate, each over the connection that was quiet longest. */
export async function pace(
  nginx: Nginx,
  perSecond: number,
  seconds: number,
  connections = PACED_CONNECTIONS,
): Promise<Load> {
  const request = `GET /small HTTP/1.1\r\nHost: 127.0.0.1:${nginx.port}\r\n\r\n`;
  const sockets: Socket[] = [];
  let answered = 0;
  for (let index = 0; index < connections; index++) {
    const socket = await connected(nginx.port, nginx.isTls);
    socket.on("data", (chunk: Buffer) => {
      answered += countOf(chunk, "HTTP/1.1 200");
    });
    sockets.push(socket);
  }
  const before = nginx.cpuUs();
  const startMs = performance.now();
  let sent = 0;
  while (performance.now() - startMs < seconds * 1000) {
    const due = ((performance.now() - startMs) / 1000) * perSecond;
    for (; sent < due; sent++) sockets[sent % sockets.length]?.write(request);
    await sleep(pacedTickMs);
  }
  const elapsed = (performance.now() - startMs) / 1000;
  for (let turn = 0; turn < answersWaitTurns && answered < sent; turn++) await sleep(100);
  const serverUs = (nginx.cpuUs() - before) / sent;
  for (const socket of sockets) socket.destroy();
  if (answered < sent * 0.99) throw new Error(`${answered} of ${sent} paced requests were answered`);
  return { requests: sent, seconds: elapsed, serverUs };
}

async function connected(port: number, isTls: boolean): Promise<Socket> {
  const socket = isTls
    ? connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false })
    : connect({ port, host: "127.0.0.1" });
  await once(socket, isTls ? "secureConnect" : "connect");
  socket.setNoDelay(true);
  return socket;
}

/** How often `text` is in `chunk`; one that two chunks share is missed, which a bench can bear. */
function countOf(chunk: Buffer, text: string): number {
  let count = 0;
  for (let at = chunk.indexOf(text); at >= 0; at = chunk.indexOf(text, at + text.length)) count++;
  return count;
}

/** Starts a capturing process and waits until it captures. */
export async function startCapture(rung: BenchRung, parse: boolean): Promise<CapturingProcess> {
  const child = fork(join(import.meta.dirname, "capture-agent-kit.ts"), [rung, ...(parse ? ["parse"] : [])]);
  await answerOf(child);
  const ask = async (message: string): Promise<AgentReport> => {
    const answer = answerOf(child);
    child.send(message);
    // The child sends nothing else after it is ready.
    return (await answer) as AgentReport;
  };
  return { report: () => ask("report"), stop: () => ask("stop") };
}

/** The next message; throws where the process ends instead. */
async function answerOf(child: ChildProcess): Promise<unknown> {
  const over = new AbortController();
  const gone = once(child, "exit", { signal: over.signal }).then(() => {
    throw new Error("the capturing process has ended; its words are above");
  });
  const message = once(child, "message", { signal: over.signal }).then(([first]: unknown[]) => first);
  try {
    return await Promise.race([message, gone]);
  } finally {
    over.abort();
    gone.catch(() => undefined);
    message.catch(() => undefined);
  }
}
