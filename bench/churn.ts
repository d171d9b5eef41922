/**
 * Many series: what memory, writes, queries and a restart cost at each number of series, and what a flood of series beyond
 * the limit does to those that were there before.
 *
 * `npm run -s bench -- churn [--sizes 10000,100000,1000000] [--steps N] [--flood N] [--flood-memory BYTES]`.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Figure, printFigure } from "./figure-kit.ts";
import { countStored, type MetricServer, startThalweg } from "./metric-server-kit.ts";
import { cpuSeconds } from "./otlp-run-kit.ts";
import { encodeLoad, type RemoteLoad, SERIES_PER_TARGET } from "./remote-load-kit.ts";
import { sendLoad } from "./remote-send-kit.ts";

const { values: flags } = parseArgs({
  options: {
    sizes: { type: "string", default: "10000,100000,1000000" },
    steps: { type: "string", default: "4" },
    flood: { type: "string", default: "1000000" },
    "flood-memory": { type: "string", default: "1GiB" },
  },
});

const BENCH = "churn";
const CONNECTIONS = 8;
const STEP_MS = 15_000;
const RUNS = 5;
/** Targets of the flood are numbered from here on: none is one of the steady ones. */
const FLOOD_FIRST_TARGET = 1_000_000;
const QUERIES = [
  { name: "one series", query: 'up{instance="10.0.0.7:9090"}' },
  { name: "one metric, summed", query: "sum by (service) (app_events_7_total)" },
  { name: "all series, counted", query: 'count({__name__=~".+"})' },
] as const;

async function main(): Promise<void> {
  const endMs = Math.floor(Date.now() / 60_000) * 60_000;
  for (const size of flags.sizes.split(",").map(Number)) await measureSize(size, endMs);
  if (Number(flags.flood) > 0) await measureFlood(endMs);
}

function loadOf(series: number, steps: number, endMs: number, firstTarget = 0): Promise<RemoteLoad> {
  const targets = Math.ceil(series / SERIES_PER_TARGET);
  return encodeLoad({ version: 1, targets, steps, connections: CONNECTIONS, endMs, firstTarget });
}

async function measureSize(size: number, endMs: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-bench-churn-"));
  const note = `${size} series`;
  const tell = (measure: string, unit: string, values: readonly number[]) =>
    printFigure({ bench: BENCH, measure, unit, values, durability: "always", note });
  try {
    const steps = Number(flags.steps);
    const server = await startThalweg("thalweg", directory, "always");
    // The first scrape makes all series, those after it are what goes on all day.
    const first = await sendLoad(server, await loadOf(size, 1, endMs - steps * STEP_MS));
    const then = await sendLoad(server, await loadOf(size, steps, endMs));
    tell("rate of first samples", "samples/s", [first.samplesPerSecond]);
    tell("rate", "samples/s", [then.samplesPerSecond]);
    tell("cpu of first samples", "s/M samples", [first.cpuPerMillion]);
    tell("cpu", "s/M samples", [then.cpuPerMillion]);
    tell("answer p99", "ms", [then.answerP99Ms]);
    tell("peak memory", "MiB", [then.peakMiB]);
    for (const { name, query } of QUERIES) tell(`query: ${name}`, "ms", await queryTimes(server, query, endMs));
    process.kill(server.pid, "SIGKILL");
    await server.stop();
    const afterKill = await startAgain(directory, (measure, unit, value) =>
      tell(`${measure} after kill -9`, unit, [value]),
    );
    const stoppedMs = performance.now();
    await afterKill.stop();
    tell("clean stop", "ms", [performance.now() - stoppedMs]);
    const again = await startAgain(directory, (measure, unit, value) =>
      tell(`${measure} after a clean stop`, unit, [value]),
    );
    await again.discard();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function startAgain(
  directory: string,
  told: (measure: string, unit: string, value: number) => void,
): Promise<MetricServer> {
  const startedMs = performance.now();
  const server = await startThalweg("thalweg", directory, "always");
  told("restart until ready", "ms", performance.now() - startedMs);
  told("processor time of the restart", "s", cpuSeconds(server.pid));
  return server;
}

async function queryTimes(server: MetricServer, query: string, timeMs: number): Promise<number[]> {
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const startedMs = performance.now();
    const form = new URLSearchParams({ query, time: String(timeMs / 1000) });
    const answer = await fetch(`${server.base}/api/v1/query?${form}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${query} is answered with ${text.slice(0, 200)}`);
    times.push(performance.now() - startedMs);
  }
  return times;
}

/** Steady series are written before and after a flood of others that goes far beyond the limit. */
async function measureFlood(endMs: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-bench-flood-"));
  const memory = flags["flood-memory"];
  const server = await startThalweg("thalweg", directory, "always", ["--memory", memory]);
  try {
    const steady = 10_000;
    const before = await sendLoad(server, await loadOf(steady, 10, endMs - 10 * STEP_MS));
    const flood = await loadOf(Number(flags.flood), 1, endMs - 10 * STEP_MS, FLOOD_FIRST_TARGET);
    const flooded = await sendLoad(server, flood, { mayLeaveOut: true });
    const after = await sendLoad(server, await loadOf(steady, 10, endMs));
    const names = flood.metricNames;
    const stored = await countStored(server, names, { endMs, seconds: 20 * 15 + 60 });
    const expected = before.samplesPerSecond > 0 ? steady * 20 : 0;
    const own = { bench: BENCH, durability: "always", note: `${flags.flood} series at once, --memory ${memory}` };
    const figure = (more: Omit<Figure, "bench" | "durability" | "note">) => printFigure({ ...own, ...more });
    figure({ measure: "flood: answer p99", unit: "ms", values: [flooded.answerP99Ms] });
    figure({ measure: "flood: requests with something left out", unit: "requests", values: [flooded.leftOut] });
    figure({ measure: "flood: samples stored beside the steady ones", unit: "samples", values: [stored - expected] });
    figure({ measure: "steady: requests with something left out", unit: "requests", values: [after.leftOut] });
    figure({ measure: "steady: answer p99 before", unit: "ms", values: [before.answerP99Ms] });
    figure({ measure: "steady: answer p99 after", unit: "ms", values: [after.answerP99Ms] });
    figure({ measure: "peak memory", unit: "MiB", values: [after.peakMiB] });
  } finally {
    await server.discard();
  }
}

await main();
