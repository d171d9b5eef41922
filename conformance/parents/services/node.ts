/**
 * A Node service that calls another one for each request. Arguments: pattern, port, port that is called, calls.
 *
 * The pattern `databases` calls `REDIS,POSTGRESQL,PASSWORD` instead of a port. See served.ts for TLS.
 *
 * Tells the truth on standard output, one line a call: `call PORT TO ORDINAL for PORT AT ORDINAL`, that is the call's own
 * port, the port it goes to and its number on that pair, then the same of the request it was made for.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Agent, RequestListener } from "node:http";
import { connect, type Socket } from "node:net";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { isMainThread, Worker } from "node:worker_threads";
import { createAgent, createListener, getFrom, isTls } from "./served.ts";

/** The request that calls are made for, as the truth names it. */
type Cause = string;
type Call = (cause: Cause) => Promise<void>;

const [, , pattern = "", ownPort = "", toPort = "", callCount = "2"] = process.argv;
const calls = Number(callCount);
const ordinals = new Map<number, number>();
const counted = new Map<number, number>();
const pooled = createAgent(pattern === "pool" ? 4 : Number.POSITIVE_INFINITY);
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
      const request = getFrom({ host: "127.0.0.1", port: toPort, path: "/item", agent }, (response) => {
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
    const response = await fetch(`${isTls ? "https" : "http"}://127.0.0.1:${toPort}/item`);
    await response.arrayBuffer();
  });

/** A connection to a database that nobody uses at the moment. */
interface Database {
  readonly socket: Socket;
  readonly port: string;
}

const idle: Record<"redis" | "postgresql", Database[]> = { redis: [], postgresql: [] };
const [redisPort = "", postgresqlPort = "", password = ""] = toPort.split(",");
const QUERY = Buffer.from("SELECT name FROM items WHERE id = 7\0");
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

function redisCommand(...words: string[]): Buffer {
  return Buffer.from(`*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`);
}

/** A message of PostgreSQL: its type, where it has one, then the length of what follows with itself. */
function postgresqlMessage(type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(4 + body.length);
  return Buffer.concat([Buffer.from(type), length, body]);
}

/** Sends one message and waits for its whole answer. Without a cause it is none that spans are made of. */
async function ask(
  { socket, port }: Database,
  message: Buffer,
  isWhole: (answer: Buffer) => boolean,
  cause: Cause | undefined,
) {
  const local = socket.localPort ?? 0;
  const ordinal = (ordinals.get(local) ?? 0) + 1;
  if (cause !== undefined) {
    ordinals.set(local, ordinal);
    process.stdout.write(`call ${local} ${port} ${ordinal} for ${cause}\n`);
  }
  socket.write(message);
  let answer = Buffer.alloc(0);
  while (!isWhole(answer)) {
    const [bytes] = (await once(socket, "data")) as [Buffer];
    answer = Buffer.concat([answer, bytes]);
  }
}

const endsLine = (answer: Buffer) => answer.subarray(-2).toString() === "\r\n";
const isReady = (answer: Buffer) => answer.subarray(-READY.length).equals(READY);

async function opened(port: string): Promise<Database> {
  const socket = connect({ host: "127.0.0.1", port: Number(port), noDelay: true });
  await once(socket, "connect");
  return { socket, port };
}

async function databaseCalls(cause: Cause): Promise<void> {
  let redis = idle.redis.pop();
  if (redis === undefined) {
    redis = await opened(redisPort);
    await ask(redis, redisCommand("AUTH", password), endsLine, cause);
  }
  await ask(redis, redisCommand("GET", "item"), endsLine, cause);
  idle.redis.push(redis);
  let postgresql = idle.postgresql.pop();
  if (postgresql === undefined) {
    postgresql = await opened(postgresqlPort);
    const startup = Buffer.from("\0\x03\0\0user\0app\0database\0postgres\0\0", "latin1");
    await ask(postgresql, postgresqlMessage("", startup), isReady, undefined);
  }
  await ask(postgresql, postgresqlMessage("Q", QUERY), isReady, cause);
  idle.postgresql.push(postgresql);
}

async function between(): Promise<void> {
  if (pattern === "timers") await sleep(3);
  if (pattern === "fs") {
    await readFile(import.meta.filename);
    await immediate();
  }
}

async function work(cause: Cause): Promise<void> {
  if (pattern === "databases") return databaseCalls(cause);
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
  const answer: RequestListener = (request, response) => {
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
  };
  createListener(answer).listen(Number(ownPort), "127.0.0.1", 1024, () => process.stdout.write("ready\n"));
}

if (pattern === "worker" && isMainThread) new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
else serve();
