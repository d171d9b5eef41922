/**
 * The program under test, run from outside: started on free ports with a directory of its own, asked over HTTP.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..");
/** A program that is not up by then hangs; how long a start may take is judged by who asks. */
const READY_MS_MAX = 120_000;
const STOP_MS_MAX = 15_000;

/** As `bin/machine.mjs` sets them. */
const MALLOC = {
  MALLOC_ARENA_MAX: "2",
  MALLOC_MMAP_THRESHOLD_: String(4 * 2 ** 20),
  MALLOC_TRIM_THRESHOLD_: String(8 * 2 ** 20),
};

/** A cell of a SQL answer in the JSON form of `/api/v1/sql`. */
export type Cell = string | number | boolean | null | Readonly<Record<string, string>>;

/** One series of an instant vector. */
export interface VectorSample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What a start may put around the program. */
export interface Surroundings {
  /** Words before the command, such as those of a tracer. */
  readonly before?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A running server. */
export class Program {
  readonly #child: ChildProcess;
  readonly #output: { text: string };
  readonly dataDirectory: string;
  readonly http: string;
  readonly otlpHttp: string;
  /** `HOST:PORT`. */
  readonly otlpGrpc: string;

  private constructor(child: ChildProcess, output: { text: string }, dataDirectory: string, addresses: Addresses) {
    this.#child = child;
    this.#output = output;
    this.dataDirectory = dataDirectory;
    this.http = urlOf(addresses.http);
    this.otlpHttp = urlOf(addresses.otlp_http);
    this.otlpGrpc = addresses.otlp_grpc.replace(/^https?:\/\//, "");
  }

  /**
   * Starts `thalweg serve` and waits until it answers.
   *
   * @param dataDirectory A directory to go on with; a fresh one where absent.
   * @throws Error with the program's own output where it does not come up within two minutes.
   */
  static async start(
    flags: readonly string[],
    dataDirectory = mkdtempSync(join(tmpdir(), "thalweg-program-")),
    surroundings: Surroundings = {},
  ): Promise<Program> {
    const file = join(dataDirectory, "addresses.json");
    rmSync(file, { recursive: true, force: true });
    const child = spawnProgram(flags, dataDirectory, surroundings);
    const output = { text: "" };
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (more: string) => {
        output.text = (output.text + more).slice(-200_000);
      });
    }
    const deadline = performance.now() + READY_MS_MAX;
    while (performance.now() < deadline && child.exitCode === null) {
      if (existsSync(file)) {
        const program = new Program(child, output, dataDirectory, readAddresses(file));
        if (await program.#isReady()) return program;
      }
      await sleep(25);
    }
    child.kill("SIGKILL");
    throw new Error(`the program did not come up (status ${child.exitCode}):\n${output.text}`);
  }

  /** Starts the program and kills it after `afterMs`, whether or not it came up by then. */
  static async killAtStart(flags: readonly string[], dataDirectory: string, afterMs: number): Promise<void> {
    const child = spawnProgram(flags, dataDirectory, {});
    for (const stream of [child.stdout, child.stderr]) stream.resume();
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    const timer = setTimeout(() => child.kill("SIGKILL"), afterMs);
    await ended;
    clearTimeout(timer);
  }

  /** What it printed so far, at most the last 200,000 characters. */
  get output(): string {
    return this.#output.text;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Rows of a SQL statement, which may take `timeout`. Throws with the server's words where it refuses. */
  async sql(
    query: string,
    params: readonly (string | number)[] = [],
    timeout = "30s",
  ): Promise<readonly (readonly Cell[])[]> {
    const answer = await fetch(`${this.http}/api/v1/sql`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query, params, timeout }),
    });
    const body: { rows?: Cell[][]; error?: { message: string } } = JSON.parse(await answer.text());
    if (body.rows === undefined) throw new Error(`SQL ${query}: ${body.error?.message ?? answer.status}`);
    return body.rows;
  }

  /** Instant vector of a PromQL expression. */
  async promql(query: string, timeMs?: number): Promise<readonly VectorSample[]> {
    const at = timeMs === undefined ? "" : `&time=${timeMs / 1000}`;
    const answer = await fetch(`${this.http}/api/v1/query?query=${encodeURIComponent(query)}${at}`);
    const body: {
      status: string;
      error?: string;
      data?: { result: { metric: Record<string, string>; value: [number, string] }[] };
    } = JSON.parse(await answer.text());
    if (body.data === undefined) throw new Error(`PromQL ${query}: ${body.error ?? answer.status}`);
    return body.data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
  }

  /** JSON of any route. */
  async json<T>(path: string): Promise<T> {
    const answer = await fetch(`${this.http}${path}`);
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    // The caller names the shape of what it asks for.
    return (await answer.json()) as T;
  }

  /** Value of a counter of `/metrics`, summed over its labels. */
  async counter(name: string, labels = ""): Promise<number> {
    const [sum = 0] = await this.counters([name], labels);
    return sum;
  }

  /** Values of several counters at one moment, in the order of their names. */
  async counters(names: readonly string[], labels = ""): Promise<number[]> {
    const lines = (await (await fetch(`${this.http}/metrics`)).text())
      .split("\n")
      .filter((line) => line.includes(labels));
    return names.map((name) => {
      const own = lines.filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      return own.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
    });
  }

  /** Stops as an operator would. @returns The exit status. */
  async stop(): Promise<number | null> {
    return this.#end("SIGTERM");
  }

  /** Sends a signal and waits for nothing. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits until it has ended by itself or by others, at most 15 s. */
  async ended(): Promise<void> {
    const deadline = performance.now() + STOP_MS_MAX;
    while (this.#child.exitCode === null && this.#child.signalCode === null && performance.now() < deadline)
      await sleep(20);
  }

  /** Kills without warning. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Stops and removes the directory. */
  async discard(): Promise<void> {
    await this.stop();
    rmSync(this.dataDirectory, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const ended = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
    const status = await ended;
    clearTimeout(timer);
    return status;
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await fetch(`${this.http}/readyz`)).ok;
    } catch {
      // The address is written before the listener answers its first connection.
      return false;
    }
  }
}

function spawnProgram(flags: readonly string[], dataDirectory: string, { before = [], env = {} }: Surroundings) {
  const free = ["--listen", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"];
  const program = [process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, "server", "cli", "main.ts")];
  const words = [...before, ...program, "serve", "--data", dataDirectory, ...free, ...flags];
  return spawn(words[0] ?? "", words.slice(1), {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, UV_THREADPOOL_SIZE: "12", ...MALLOC, ...env },
  });
}

interface Addresses {
  readonly http: string;
  readonly otlp_grpc: string;
  readonly otlp_http: string;
}

function readAddresses(file: string): Addresses {
  return JSON.parse(readFileSync(file, "utf8"));
}

function urlOf(address: string): string {
  return address.startsWith("http") ? address : `http://${address}`;
}

/** Resolves after `ms` milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks until the answer is not undefined, at most `msMax`. */
export async function until<T>(ask: () => Promise<T | undefined>, msMax: number): Promise<T | undefined> {
  const deadline = performance.now() + msMax;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined || performance.now() > deadline) return answer;
    await sleep(100);
  }
}
