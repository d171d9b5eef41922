/**
 * Redis and PostgreSQL for the capture benches, saturated by their own load generators or asked at an even rate, and what
 * their processes spend on it.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { postgresqlPrograms, startDatabases } from "../conformance/databases/servers.ts";
import { makeCertificate } from "../conformance/tls/services.ts";
import type { Load } from "./capture-stage-kit.ts";

const PASSWORD = "thalweg-bench";
const CONNECTIONS = 16;
const PACED_CONNECTIONS = 10;
const pacedTickMs = 10;
/** Tenths of a second that the last answers may take. */
const answersWaitTurns = 30;
/** A generator that said nothing by then does not work. */
const rateWaitMsMax = 15_000;
/** Each twice as long as the one before. */
const PGBENCH_TRIES = 4;
/** `/proc/PID/stat` counts in hundredths of a second. */
const TICK_US = 10_000;

/** A server under load. */
export interface BenchServer {
  readonly name: "nginx" | "redis" | "postgresql";
  readonly version: string;
  /** As many requests as the machine gives. */
  saturate(seconds: number): Promise<Load>;
  /** Requests at an even rate. */
  pace(perSecond: number, seconds: number): Promise<Load>;
}

/** What is missing for them; empty where nothing is. */
export function missingServers(): string[] {
  const missing = ["redis-server", "redis-benchmark"].filter(
    (name) => spawnSync(name, ["--version"]).error !== undefined,
  );
  return postgresqlPrograms() === "" ? [...missing, "postgresql"] : missing;
}

/** Starts both, by TLS or not; `stop` ends them. */
export async function startServers(isTls = false): Promise<{ servers: readonly BenchServer[]; stop(): Promise<void> }> {
  const databases = await startDatabases(PASSWORD, "trust", isTls ? makeCertificate : undefined);
  const directory = mkdtempSync(join(tmpdir(), "thalweg-bench-servers-"));
  const stop = async () => {
    await databases.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  const script = join(directory, "select.sql");
  writeFileSync(script, "SELECT name FROM items WHERE id = 42;\n");
  const servers: BenchServer[] = [
    {
      name: "redis",
      version: /v=([\d.]+)/.exec(spawnSync("redis-server", ["--version"], { encoding: "utf8" }).stdout)?.[1] ?? "",
      saturate: async (seconds) => {
        const words = ["-p", String(databases.redisPort), "-a", PASSWORD, "-c", String(CONNECTIONS), "-t", "get", "-q"];
        if (isTls) words.push("--tls", "--insecure");
        return timed(databases.redisPort, () =>
          run(spawn("redis-benchmark", [...words, "-n", "1000000000"]), seconds, /rps=[\d.]+ \(overall: ([\d.]+)\)/g),
        );
      },
      pace: (perSecond, seconds) =>
        paced({ port: databases.redisPort, perSecond, seconds, tls: isTls ? "at once" : "never" }, [
          `AUTH ${PASSWORD}\r\n`,
          "GET bench\r\n",
          "$-1\r\n",
        ]),
    },
    {
      name: "postgresql",
      version:
        /([\d.]+)/.exec(spawnSync(join(postgresqlPrograms(), "postgres"), ["-V"], { encoding: "utf8" }).stdout)?.[1] ??
        "",
      saturate: (seconds) =>
        timed(databases.postgresqlPort, async () => {
          const words = ["-h", "127.0.0.1", "-p", String(databases.postgresqlPort), "-n", "-f", script, "-c", "8"];
          const env = { ...databases.env, PGSSLMODE: isTls ? "require" : "disable" };
          let said = "";
          // Its time runs while it connects: on a busy machine all of it may go in handshakes of TLS.
          for (let attempt = 0, length = seconds; attempt < PGBENCH_TRIES; attempt++, length *= 2) {
            said = await outputOf(
              spawn(join(postgresqlPrograms(), "pgbench"), [...words, "-T", String(length)], { env }),
            );
            const rate = Number(/tps = ([\d.]+)/.exec(said)?.[1] ?? Number.NaN);
            if (rate > 0) return { requests: rate * length, seconds: length };
          }
          throw new Error(`pgbench did nothing: ${said}`);
        }),
      pace: (perSecond, seconds) =>
        paced({ port: databases.postgresqlPort, perSecond, seconds, tls: isTls ? "asked for" : "never" }, [
          withLength("\0\x03\0\0user\0app\0database\0postgres\0\0"),
          `Q${withLength("SELECT name FROM items WHERE id = 42\0")}`,
          "Z\0\0\0\x05I",
        ]),
    },
  ];
  return { servers, stop };
}

function withLength(text: string): string {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length + 4);
  return length.toString("latin1") + text;
}

/** @param work Does requests, and says how many in what time. */
async function timed(port: number, work: () => Promise<Omit<Load, "serverUs">>): Promise<Load> {
  const before = cpuUsOf(port);
  const { requests, seconds } = await work();
  return { requests, seconds, serverUs: (cpuUsOf(port) - before) / requests };
}

/**
 * Lets a generator without an end of its own run so long, or until it has said anything; its last word is the mean of what
 * it did a second.
 */
async function run(child: ChildProcess, seconds: number, rate: RegExp): Promise<Omit<Load, "serverUs">> {
  const startMs = performance.now();
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const closed = once(child, "close");
  const rates = () => [...said.matchAll(rate)];
  await sleep(seconds * 1000);
  while (rates().length === 0 && performance.now() - startMs < rateWaitMsMax) await sleep(100);
  const elapsed = (performance.now() - startMs) / 1000;
  child.kill("SIGINT");
  await closed;
  const last = rates().at(-1)?.[1];
  if (last === undefined) throw new Error("the load generator told no rate");
  return { requests: Number(last) * elapsed, seconds: elapsed };
}

async function outputOf(child: ChildProcess): Promise<string> {
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  }
  await once(child, "close");
  return said;
}

/** CPU time of the server whose command names a port, and of its children, those that have ended too; in microseconds. */
function cpuUsOf(port: number): number {
  const ticks = new Map<number, { parent: number; ticks: number; isServer: boolean }>();
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      const program = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
      if (program !== "postgres" && program !== "redis-server") continue;
      const fields = stat
        .slice(stat.lastIndexOf(")") + 2)
        .split(" ")
        .map(Number);
      // utime, stime, cutime, cstime
      const own = (fields[11] ?? 0) + (fields[12] ?? 0) + (fields[13] ?? 0) + (fields[14] ?? 0);
      const isServer = readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(String(port));
      ticks.set(Number(pid), { parent: fields[1] ?? 0, ticks: own, isServer });
    } catch {
      // It has ended since.
    }
  }
  let sum = 0;
  for (const process of ticks.values()) {
    if (process.isServer || ticks.get(process.parent)?.isServer === true) sum += process.ticks;
  }
  return sum * TICK_US;
}

interface Pace {
  readonly port: number;
  readonly perSecond: number;
  readonly seconds: number;
  /** PostgreSQL is asked first whether it speaks TLS. */
  readonly tls: "never" | "at once" | "asked for";
}

/** The eight bytes by which PostgreSQL is asked for TLS; it answers `S`. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

async function connected(port: number, tls: Pace["tls"]): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  if (tls === "never") return socket;
  if (tls === "asked for") {
    socket.write(SSL_REQUEST);
    const [answer]: Buffer[] = await once(socket, "data");
    if (answer?.toString("latin1") !== "S") throw new Error("PostgreSQL does not speak TLS");
  }
  const secure = connectTls({ socket, rejectUnauthorized: false });
  await once(secure, "secureConnect");
  return secure;
}

/** Asks at an even rate over ten connections; the words are a greeting, a question, and the end of its answer. */
async function paced({ port, perSecond, seconds, tls }: Pace, words: readonly string[]): Promise<Load> {
  const [greeting = "", question = "", end = ""] = words;
  let answered = 0;
  const sockets = await Promise.all(
    Array.from({ length: PACED_CONNECTIONS }, async () => {
      const socket = await connected(port, tls);
      socket.write(Buffer.from(greeting, "latin1"));
      await once(socket, "data");
      await sleep(100);
      socket.on("data", (chunk: Buffer) => {
        answered += chunk.toString("latin1").split(end).length - 1;
      });
      return socket;
    }),
  );
  const bytes = Buffer.from(question, "latin1");
  const load = await timed(port, async () => {
    const startMs = performance.now();
    let sent = 0;
    while (performance.now() - startMs < seconds * 1000) {
      const due = ((performance.now() - startMs) / 1000) * perSecond;
      for (; sent < due; sent++) sockets[sent % sockets.length]?.write(bytes);
      await sleep(pacedTickMs);
    }
    const elapsed = (performance.now() - startMs) / 1000;
    for (let turn = 0; turn < answersWaitTurns && answered < sent; turn++) await sleep(100);
    return { requests: sent, seconds: elapsed };
  });
  for (const socket of sockets) socket.destroy();
  if (answered < load.requests * 0.99) throw new Error(`${answered} of ${load.requests} paced requests were answered`);
  return load;
}
