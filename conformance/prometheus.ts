/** A real Prometheus as reference: started on a free port of the loopback with a directory of its own. */

import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "./program.ts";

const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 10_000;

/** The switches under which PromQL's tests were written, by Prometheus' names, which are ours too. */
export const PROMQL_FEATURES =
  "promql-experimental-functions,promql-delayed-name-removal,promql-binop-fill-modifiers," +
  "promql-unquoted-utf8-names,st-storage,use-start-timestamps";

/** A running Prometheus. */
export class Prometheus {
  #child: ChildProcess;
  #output = "";
  #failure: Error | undefined;
  readonly #command: readonly [binary: string, ...args: string[]];
  readonly #directory: string;
  /** `http://127.0.0.1:PORT`. */
  readonly http: string;

  private constructor(command: readonly [string, ...string[]], directory: string, http: string) {
    this.#command = command;
    this.#directory = directory;
    this.http = http;
    this.#child = this.#spawn();
  }

  /**
   * Starts it as a receiver of remote write that scrapes nothing.
   *
   * @param options.config Its configuration file; an empty one unless given.
   * @param options.blocks A directory whose blocks it starts with.
   * @throws Error with its output where it does not come up.
   */
  static async start(
    binary: string,
    options: {
      readonly features?: string;
      readonly config?: string;
      readonly flags?: readonly string[];
      readonly blocks?: string;
    } = {},
  ): Promise<Prometheus> {
    const directory = mkdtempSync(join(tmpdir(), "thalweg-prometheus-"));
    const config = join(directory, "prometheus.yml");
    if (options.blocks !== undefined) cpSync(options.blocks, join(directory, "data"), { recursive: true });
    writeFileSync(config, options.config ?? "global: {}\n");
    const address = `127.0.0.1:${await freePort()}`;
    const features = options.features === undefined ? [] : [`--enable-feature=${options.features}`];
    const command = [
      binary,
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(directory, "data")}`,
      `--web.listen-address=${address}`,
      "--web.enable-remote-write-receiver",
      "--log.level=error",
      ...features,
      ...(options.flags ?? []),
    ] as const;
    const prometheus = new Prometheus(command, directory, `http://${address}`);
    await prometheus.#untilReady();
    return prometheus;
  }

  /** Ends it at once, as a crash does. */
  async kill(): Promise<void> {
    const child = this.#child;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Starts it again after `kill`, with what it has on its disk. */
  async revive(): Promise<void> {
    this.#child = this.#spawn();
    await this.#untilReady();
  }

  #spawn(): ChildProcess {
    const [binary, ...args] = this.#command;
    const child = spawn(binary, args, { stdio: ["ignore", "ignore", "pipe"] });
    child.on("error", (cause) => {
      this.#failure = cause;
    });
    child.stderr.setEncoding("utf8").on("data", (more: string) => {
      this.#output = (this.#output + more).slice(-20_000);
    });
    return child;
  }

  async #untilReady(): Promise<void> {
    const child = this.#child;
    const deadline = performance.now() + READY_MS_MAX;
    while (performance.now() < deadline && child.exitCode === null && this.#failure === undefined) {
      if (await isReady(this.http)) return;
      await sleep(50);
    }
    await this.discard();
    const [binary] = this.#command;
    throw new Error(`${binary} did not come up: ${this.#failure?.message ?? this.#output}`, { cause: this.#failure });
  }

  /** Version it tells. */
  async version(): Promise<string> {
    const text = await (await fetch(`${this.http}/api/v1/status/buildinfo`)).text();
    const answer: { data: { version: string } } = JSON.parse(text);
    return answer.data.version;
  }

  /** Where its samples lie. */
  get dataDirectory(): string {
    return join(this.#directory, "data");
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Stops and removes its directory. */
  async discard(): Promise<void> {
    const child = this.#child;
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function isReady(base: string): Promise<boolean> {
  try {
    return (await fetch(`${base}/-/ready`)).ok;
  } catch {
    // It does not listen before its log is read.
    return false;
  }
}

/** A port of the loopback that nobody listens at. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
