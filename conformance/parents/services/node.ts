/**
 * A Node service that calls another one for each request. Arguments: pattern, port, port that is called, calls.
 *
 * Tells the truth on standard output, one line a call: `call PORT TO ORDINAL for PORT AT ORDINAL`, that is the call's own
 * port, the port it goes to and its number on that pair, then the same of the request it was made for.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import { readFile } from "node:fs/promises";
import { Agent, createServer, get } from "node:http";
import type { Socket } from "node:net";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { isMainThread, Worker } from "node:worker_threads";

/** The request that calls are made for, as the truth names it. */
type Cause = string;
type Call = (cause: Cause) => Promise<void>;

const [, , pattern = "", ownPort = "", toPort = "", callCount = "2"] = process.argv;
const calls = Number(callCount);
const ordinals = new Map<number, number>();
const counted = new Map<number, number>();
const pooled = new Agent({ keepAlive: true, ...(pattern === "pool" ? { maxSockets: 4 } : {}) });
let answers = 0;

function tell(socket: Socket, cause: Cause): void {
  const port = socket.localPort ?? 0;
  const ordinal = (ordinals.get(port) ?? 0) + 1;
  ordinals.set(port, ordinal);
  process.stdout.write(`call ${port} ${toPort} ${ordinal} for ${cause}\n`);
}

function httpCall(agent: Agent | false): Call {
  return (cause) =>
    new Promise((resolve, reject) => {
      const request = get({ host: "127.0.0.1", port: toPort, path: "/item", agent }, (response) => {
        tell(response.socket, cause);
        response.resume();
        response.on("end", resolve);
      });
      request.on("error", reject);
    });
}

const causes = new AsyncLocalStorage<Cause>();
const causeOf = new WeakMap<object, Cause>();

/** Node's own fetch tells its socket on this channel alone. */
function watchFetch(): void {
  subscribe("undici:request:create", (message) => {
    const { request } = message as { request: object };
    const cause = causes.getStore();
    if (cause !== undefined) causeOf.set(request, cause);
  });
  subscribe("undici:client:sendHeaders", (message) => {
    const { request, socket } = message as { request: object; socket: Socket };
    tell(socket, causeOf.get(request) ?? "0 0 0");
  });
}

const fetchCall: Call = (cause) =>
  causes.run(cause, async () => {
    const response = await fetch(`http://127.0.0.1:${toPort}/item`);
    await response.arrayBuffer();
  });

async function between(): Promise<void> {
  if (pattern === "timers") await sleep(3);
  if (pattern === "fs") {
    await readFile(import.meta.filename);
    await immediate();
  }
}

async function work(cause: Cause): Promise<void> {
  const call = pattern === "new" ? httpCall(false) : pattern === "fetch" ? fetchCall : httpCall(pooled);
  if (pattern === "parallel") {
    await Promise.all(Array.from({ length: calls }, () => call(cause)));
    return;
  }
  for (let count = 0; count < calls; count++) {
    if (count > 0) await between();
    await call(cause);
  }
}

function serve(): void {
  if (pattern === "fetch") watchFetch();
  createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const port = request.socket.remotePort ?? 0;
    const ordinal = (counted.get(port) ?? 0) + 1;
    counted.set(port, ordinal);
    work(`${port} ${ownPort} ${ordinal}`).then(
      () => {
        // Lengths tell a proxy's log which answer it had.
        const bytes = 100 + (answers++ % 60_000);
        process.stdout.write(`backend ${port} ${ordinal} ${bytes}\n`);
        response.end("x".repeat(bytes));
      },
      () => response.writeHead(502).end(),
    );
  }).listen(Number(ownPort), "127.0.0.1", 1024, () => process.stdout.write("ready\n"));
}

if (pattern === "worker" && isMainThread) new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
else serve();
