/** A `thalweg agent` under test: started in front of a receiver, asked through the words that run a command on its host. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { until } from "../program.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const READY_MS_MAX = 30_000;

/** What `/api/v1/capture` of an agent says, as far as the suite asks. */
interface AgentState {
  readonly tier: string;
  readonly seen: number;
  readonly delivered: number;
  readonly lost: Readonly<Record<string, number>>;
  readonly export: {
    readonly made: number;
    readonly sent: number;
    readonly queued: number;
    readonly lost: Readonly<Record<string, number>>;
  };
}

/** A running agent. */
export class AgentProcess {
  readonly #child: ChildProcess;
  readonly #before: readonly string[];
  readonly #output: { text: string };

  private constructor(child: ChildProcess, before: readonly string[], output: { text: string }) {
    this.#child = child;
    this.#before = before;
    this.#output = output;
  }

  /** @param before Words that run a command on its host. @throws Error with its output where it does not come up. */
  static async start(before: readonly string[], flags: readonly string[]): Promise<AgentProcess> {
    const main = join(ROOT, "server", "cli", "main.ts");
    const words = [...before, process.execPath, "--disable-warning=ExperimentalWarning", main, "agent", ...flags];
    const child = spawn(words[0] ?? "", [...words.slice(1), "--listen", "127.0.0.1:0"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output = { text: "" };
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (more: string) => {
        output.text = (output.text + more).slice(-100_000);
      });
    }
    await until(
      async () => (output.text.includes("Ready.") || child.exitCode !== null ? true : undefined),
      READY_MS_MAX,
    );
    if (output.text.includes("Ready.")) return new AgentProcess(child, before, output);
    child.kill("SIGKILL");
    throw new Error(`the agent did not come up (status ${child.exitCode}):\n${output.text}`);
  }

  get output(): string {
    return this.#output.text;
  }

  state(): AgentState {
    const [, address = ""] = /(http:\/\/\S+)\/readyz/.exec(this.output) ?? [];
    const words = [...this.#before, "curl", "-sS", "--max-time", "5", `${address}/api/v1/capture`];
    const ran = spawnSync(words[0] ?? "", words.slice(1), { encoding: "utf8" });
    // The route's own shape.
    return JSON.parse(ran.stdout) as AgentState;
  }

  /** What does not add up, or was lost; empty where all is well. */
  fault(): string {
    const { seen, delivered, lost, export: spans } = this.state();
    const sum = (counts: Readonly<Record<string, number>>) =>
      Object.values(counts).reduce((all, count) => all + count, 0);
    const faults: string[] = [];
    if (seen !== delivered + sum(lost))
      faults.push(`seen ${seen} ≠ delivered ${delivered} + lost ${JSON.stringify(lost)}`);
    if (spans.made !== spans.sent + spans.queued + sum(spans.lost)) faults.push(`spans: ${JSON.stringify(spans)}`);
    if (sum(spans.lost) > 0) faults.push(`spans were lost: ${JSON.stringify(spans.lost)}`);
    return faults.join("; ");
  }

  /** Stops as an operator would. @returns The exit status. */
  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGTERM");
      await ended;
    }
    return this.#child.exitCode;
  }
}
