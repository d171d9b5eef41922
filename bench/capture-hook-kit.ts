/** What each hook costs a call, as the kernel counts it, on servers that differ in how they call. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { type Mode, measure } from "./capture-compare-kit.ts";
import { type Load, saturateUrl } from "./capture-stage-kit.ts";
import { printFigure } from "./figure-kit.ts";

const STATS_SWITCH = "/proc/sys/kernel/bpf_stats_enabled";
const NODE_SERVER = `require("http").createServer((request, response) => response.end("x".repeat(612)))
  .listen(0, "127.0.0.1", function () { console.log(this.address().port); })`;

/** A server, its load, and the modes of capture in which its calls are timed. */
export interface HookTarget {
  readonly name: string;
  readonly modes: readonly Mode[];
  work(): Promise<Load>;
}

/** A server of Node, on whose calls the hook reads which turn of the loop makes them. */
export async function startNodeTarget(seconds: number): Promise<{ target: HookTarget; stop(): void }> {
  const server = spawn(process.execPath, ["-e", NODE_SERVER], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(server.stdout, "data");
  const url = `http://127.0.0.1:${String(line).trim()}/`;
  const work = () => saturateUrl(url, seconds, () => 0);
  return { target: { name: "node", modes: ["socket"], work }, stop: () => server.kill("SIGKILL") };
}

/** Prints nanoseconds of each hook. The kernel's counting, which is switched on meanwhile, adds some 20 to 40 to each. */
export async function printHooks(targets: readonly HookTarget[], runs: number): Promise<void> {
  const before = readFileSync(STATS_SWITCH, "utf8");
  writeFileSync(STATS_SWITCH, "1");
  try {
    for (const { name, modes, work } of targets) for (const mode of modes) await printHook(name, mode, runs, work);
  } finally {
    writeFileSync(STATS_SWITCH, before);
  }
}

async function printHook(name: string, mode: Mode, runs: number, work: () => Promise<Load>): Promise<void> {
  const byHook = new Map<string, number[]>();
  const sampled: number[] = [];
  let withUnit = 0;
  let slices = 0;
  for (let run = 0; run < runs; run++) {
    const { report } = await measure(mode, work);
    if (report === undefined) continue;
    let all = { runs: 0, ns: 0 };
    for (const [hook, stats] of Object.entries(report.hooks)) {
      all = { runs: all.runs + stats.runs, ns: all.ns + stats.ns };
      if (stats.runs > 0) byHook.set(hook, [...(byHook.get(hook) ?? []), stats.ns / stats.runs]);
    }
    if (all.runs > 0) byHook.set("call", [...(byHook.get("call") ?? []), all.ns / all.runs]);
    if (report.timedCalls > 0) sampled.push(report.timedNs / report.timedCalls);
    withUnit += report.withUnit;
    slices += report.slices;
  }
  const what = `hook/${name}/${mode}`;
  const note = `bpf_stats; ${withUnit} of ${slices} slices with their unit of work`;
  for (const [hook, values] of byHook) {
    printFigure({ bench: "capture-cost", measure: `${what}/${hook}`, unit: "ns/call", values, note });
  }
  const sample = "the hooks' own sample, without the kernel's way into them";
  printFigure({ bench: "capture-cost", measure: `${what}/timed`, unit: "ns/call", values: sampled, note: sample });
}
