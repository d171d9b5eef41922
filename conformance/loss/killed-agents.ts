/** An agent that is killed without warning leaves no program, link, map or probe in the kernel. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Native } from "../../bpf/native.ts";
import { sleep } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const READY_MS_MAX = 30_000;
const GONE_MS_MAX = 1000;
/** Nothing listens there: what it captures it keeps. */
const NOWHERE = "http://127.0.0.1:9";
const UPROBES = ["/sys/kernel/tracing/uprobe_events", "/sys/kernel/debug/tracing/uprobe_events"];

type Kind = "program" | "link" | "map";

interface KernelObject {
  readonly kind: Kind;
  readonly id: number;
}

const FIELDS: Readonly<Record<string, Kind>> = { prog_id: "program", link_id: "link", map_id: "map" };

/** Kills `kills` agents, each once it captures, and looks for what they left. */
export async function killedAgents(report: SuiteReport, native: Native, kills: number): Promise<void> {
  let objects = 0;
  const faults: string[] = [];
  let slowestMs = 0;
  for (let kill = 0; kill < kills; kill++) {
    const agent = await startAgentProcess();
    const held = objectsOf(agent.pid ?? 0);
    const links = held.filter(({ kind }) => kind === "link").length;
    if (links < 5) faults.push(`kill ${kill + 1}: the agent held ${links} links, too few to tell anything`);
    objects += held.length;
    const gone = new Promise((resolve) => agent.once("exit", resolve));
    agent.kill("SIGKILL");
    await gone;
    const killedMs = performance.now();
    let left = held;
    while (left.length > 0 && performance.now() - killedMs < GONE_MS_MAX) {
      left = left.filter(({ kind, id }) => native.bpfExists(kind, id));
      if (left.length > 0) await sleep(20);
    }
    slowestMs = Math.max(slowestMs, performance.now() - killedMs);
    if (left.length > 0) faults.push(`kill ${kill + 1}: left ${JSON.stringify(left)}`);
    const probes = uprobesOf(agent.pid ?? 0);
    if (probes.length > 0) faults.push(`kill ${kill + 1}: left ${probes.join("; ")}`);
  }
  report.add(
    `kill -9: ${kills} agents with ${objects} programs, links and maps; all were gone after ${Math.ceil(slowestMs)} ms`,
    faults.join("\n"),
  );
}

async function startAgentProcess(): Promise<ChildProcess> {
  const main = join(import.meta.dirname, "..", "..", "server", "cli", "main.ts");
  const words = ["agent", "--to", NOWHERE, "--listen", "127.0.0.1:0", "--capture", "socket", "--tls", "auto"];
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", main, ...words], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const end = performance.now() + READY_MS_MAX;
  while (!/^Ready/m.test(said)) {
    if (child.exitCode !== null || performance.now() > end) {
      child.kill("SIGKILL");
      throw new Error(`the agent did not come up:\n${said}`);
    }
    await sleep(20);
  }
  return child;
}

/** What a process holds by descriptors, as the kernel tells of them. */
function objectsOf(pid: number): KernelObject[] {
  const directory = `/proc/${pid}/fdinfo`;
  const objects: KernelObject[] = [];
  for (const fd of readdirSync(directory)) {
    let text: string;
    try {
      text = readFileSync(join(directory, fd), "utf8");
    } catch {
      // It was closed since.
      continue;
    }
    // A link tells of its program too: the first number is its own.
    const found = /^(link_id|prog_id|map_id):\s*(\d+)$/m.exec(text);
    const kind = FIELDS[found?.[1] ?? ""];
    if (kind !== undefined) objects.push({ kind, id: Number(found?.[2]) });
  }
  return objects;
}

/** Probes in programs' files that carry the number of the process that set them. */
function uprobesOf(pid: number): string[] {
  const file = UPROBES.find((name) => existsSync(name));
  if (file === undefined) return [];
  const own = new RegExp(`thalweg.*\\b${pid}\\b|\\b${pid}\\b.*thalweg`);
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => own.test(line));
}
