/** Servers of each runtime that the agent looks into, and one request to each. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { postgresqlPrograms, startDatabases } from "../databases/servers.ts";
import { freePort } from "../demo/shop.ts";
import { until } from "../program.ts";

const SOURCES = join(import.meta.dirname, "servers");
const READY_MS_MAX = 30_000;
const ANSWER_MS_MAX = 10_000;
const STOP_MS_MAX = 2_000;
const PASSWORD = "thalweg-loss";
const NODE_SERVER = 'require("http").createServer((q, r) => r.end("ok")).listen(Number(process.argv[1]), "127.0.0.1")';

/** A server under load. */
export interface Runtime {
  readonly name: string;
  /** Asks once over a connection of the pool. @returns What went wrong; empty for the right answer. */
  ask(): Promise<string>;
}

/** All that this machine has. */
export interface Runtimes {
  readonly all: readonly Runtime[];
  /** Names of what it lacks. */
  readonly missing: readonly string[];
  stop(): Promise<void>;
}

/** Ends a server. nginx is asked to: killed, it would leave its worker behind. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
  await exit;
  clearTimeout(timer);
}

/** Starts them and waits until each answers. */
export async function startRuntimes(): Promise<Runtimes> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-loss-"));
  chmodSync(directory, 0o755);
  const children: ChildProcess[] = [];
  const all: Runtime[] = [];
  const missing: string[] = [];
  const undo: (() => Promise<void>)[] = [];
  const stop = async () => {
    await Promise.all(children.map(ended));
    for (const each of undo) await each();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (const [name, commandOf] of Object.entries(WEB_SERVERS)) {
      const port = await freePort();
      const command = commandOf(directory, port);
      if (command === undefined || !isThere(command[0] ?? "")) {
        missing.push(name);
        continue;
      }
      children.push(spawn(command[0] ?? "", command.slice(1), { stdio: "ignore" }));
      all.push(webServer(name, port));
    }
    if (isThere("redis-server") && postgresqlPrograms() !== "") {
      const databases = await startDatabases(PASSWORD, "trust");
      undo.push(() => databases.stop());
      all.push(redis(databases.redisPort), postgresql(databases.postgresqlPort));
    } else missing.push("redis and postgresql");
    for (const runtime of all) {
      const up = await until(async () => ((await runtime.ask()) === "" ? true : undefined), READY_MS_MAX);
      if (up === undefined) throw new Error(`${runtime.name} did not come up`);
    }
    return { all, missing, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function isThere(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v "${program}"`]).status === 0;
}

/** Commands by name; undefined where the program cannot be built. */
const WEB_SERVERS: Readonly<Record<string, (directory: string, port: number) => string[] | undefined>> = {
  node: (_, port) => [process.execPath, "-e", NODE_SERVER, String(port)],
  python: (_, port) => ["python3", join(SOURCES, "server.py"), String(port)],
  go: (directory, port) => {
    const program = join(directory, "go-server");
    const built = spawnSync("go", ["build", "-o", program, join(SOURCES, "main.go")], { stdio: "ignore" });
    return built.status === 0 ? [program, String(port)] : undefined;
  },
  java: (directory, port) => {
    const built = spawnSync("javac", ["-d", directory, join(SOURCES, "Server.java")], { stdio: "ignore" });
    return built.status === 0 ? ["java", "-Xmx64m", "-cp", directory, "Server", String(port)] : undefined;
  },
  nginx: (directory, port) => {
    const file = join(directory, "nginx.conf");
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (name) => `${name}_temp_path ${directory}/${name};`,
    );
    writeFileSync(
      file,
      `worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 128; }
http { access_log off; keepalive_requests 1000000; ${temporary.join(" ")}
  server { listen 127.0.0.1:${port}; location / { return 200 ok; } } }
`,
    );
    return ["nginx", "-e", "stderr", "-p", directory, "-c", file];
  },
};

function webServer(name: string, port: number): Runtime {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  return {
    name,
    ask: () =>
      new Promise((resolve) => {
        const asked = get({ host: "127.0.0.1", port, path: "/", agent, timeout: ANSWER_MS_MAX }, (response) => {
          let text = "";
          response.on("data", (chunk: Buffer) => {
            text += chunk.toString();
          });
          response.on("end", () => resolve(response.statusCode === 200 && text === "ok" ? "" : `said ${text}`));
          response.on("error", (error) => resolve(error.message));
        });
        asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
        asked.on("error", (error) => resolve(error.message));
      }),
  };
}

/** One connection that asks `question` and waits for an answer that ends with `end`. */
class Dialog {
  readonly #port: number;
  readonly #greeting: readonly { readonly bytes: Buffer; readonly end: Buffer }[];
  #socket: Socket | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(port: number, greeting: readonly { bytes: Buffer; end: Buffer }[]) {
    this.#port = port;
    this.#greeting = greeting;
  }

  /** Asks after those that asked before. */
  ask(bytes: Buffer, end: Buffer): Promise<string> {
    const answer = this.#last.then(() => this.#ask(bytes, end));
    this.#last = answer;
    return answer;
  }

  async #ask(bytes: Buffer, end: Buffer): Promise<string> {
    let socket = this.#socket;
    if (socket === undefined) {
      socket = connect({ port: this.#port, host: "127.0.0.1", noDelay: true });
      for (const step of this.#greeting) {
        const fault = await exchange(socket, step.bytes, step.end);
        if (fault !== "") return fault;
      }
    }
    const fault = await exchange(socket, bytes, end);
    if (fault !== "") socket.destroy();
    this.#socket = fault === "" ? socket : undefined;
    return fault;
  }
}

function exchange(socket: Socket, bytes: Buffer, end: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let got = Buffer.alloc(0);
    const done = (fault: string) => {
      clearTimeout(timer);
      socket.off("data", onData).off("error", onError).off("close", onClose);
      resolve(fault);
    };
    const onData = (chunk: Buffer) => {
      got = Buffer.concat([got, chunk]);
      if (got.subarray(-end.length).equals(end)) done("");
    };
    const onError = (error: Error) => done(error.message);
    const onClose = () => done("the connection was closed");
    const timer = setTimeout(() => done(`no answer in time, only ${got.toString("latin1")}`), ANSWER_MS_MAX);
    socket.on("data", onData).on("error", onError).on("close", onClose);
    socket.write(bytes);
  });
}

function redis(port: number): Runtime {
  const ok = Buffer.from("+OK\r\n");
  const dialog = new Dialog(port, [{ bytes: Buffer.from(`AUTH ${PASSWORD}\r\n`), end: ok }]);
  return { name: "redis", ask: () => dialog.ask(Buffer.from("SET loss 1\r\n"), ok) };
}

function postgresql(port: number): Runtime {
  // ReadyForQuery, idle.
  const ready = Buffer.from("Z\0\0\0\x05I", "latin1");
  const words = Buffer.from("\0\x03\0\0user\0app\0database\0postgres\0\0", "latin1");
  const dialog = new Dialog(port, [{ bytes: withLength(words), end: ready }]);
  const query = Buffer.concat([Buffer.from("Q"), withLength(Buffer.from("SELECT 1\0"))]);
  return { name: "postgresql", ask: () => dialog.ask(query, ready) };
}

function withLength(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length + 4);
  return Buffer.concat([length, bytes]);
}
