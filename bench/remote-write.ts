/**
 * Remote write side by side: the same encoded stream into this program, Prometheus and VictoriaMetrics, in turns.
 *
 * `npm run -s bench -- remote-write [--series N] [--hours H] [--versions 1,2] [--rounds N] [--connections N]
 * [--servers thalweg,thalweg-interval,prometheus,victoria] [--prometheus PROGRAM] [--victoria PROGRAM]`. Every round
 * starts with another server; each begins empty and is counted afterwards by PromQL, metric by metric. VictoriaMetrics
 * answers version 2 with success and stores nothing of it, so it takes part in version 1 only.
 */

import { parseArgs } from "node:util";
import { type Figure, printFigure } from "./figure-kit.ts";
import { countStored, type ServerKind, type SettledBytes, startMetricServer } from "./metric-server-kit.ts";
import { encodeLoad, type RemoteLoad, SERIES_PER_TARGET } from "./remote-load-kit.ts";
import { type SendCost, sendLoad } from "./remote-send-kit.ts";

const { values: flags } = parseArgs({
  options: {
    series: { type: "string", default: "10000" },
    hours: { type: "string", default: "3" },
    versions: { type: "string", default: "1,2" },
    rounds: { type: "string", default: "2" },
    connections: { type: "string", default: "8" },
    servers: { type: "string", default: "thalweg,thalweg-interval,prometheus,victoria" },
    prometheus: { type: "string" },
    victoria: { type: "string" },
  },
});

const BENCH = "remote-write";
const STEPS_PER_HOUR = 240;
const KINDS: readonly ServerKind[] = ["thalweg", "thalweg-interval", "prometheus", "victoria"];

interface Run extends SendCost, SettledBytes {
  readonly kind: ServerKind;
  readonly version: string;
  readonly durability: string;
  readonly stored: number;
}

async function main(): Promise<void> {
  const wanted = new Set(flags.servers.split(","));
  const given = KINDS.filter((kind) => wanted.has(kind) && (!isPeer(kind) || flags[kind] !== undefined));
  for (const version of [1, 2] as const) {
    if (!flags.versions.split(",").includes(String(version))) continue;
    const kinds = given.filter((kind) => version === 1 || kind !== "victoria");
    const load = await encodeLoad({
      version,
      targets: Math.ceil(Number(flags.series) / SERIES_PER_TARGET),
      steps: Math.round(Number(flags.hours) * STEPS_PER_HOUR),
      connections: Number(flags.connections),
      endMs: Math.floor(Date.now() / 60_000) * 60_000,
    });
    tell(`version ${version}: ${load.samples} samples, ${(load.wireBytes / load.samples).toFixed(1)} B each`);
    const runs: Run[] = [];
    for (let round = 0; round < Number(flags.rounds); round++) {
      const first = round % kinds.length;
      for (const kind of [...kinds.slice(first), ...kinds.slice(0, first)]) runs.push(await run(kind, load));
    }
    report(load, kinds, runs);
  }
}

function isPeer(kind: ServerKind): kind is "prometheus" | "victoria" {
  return kind === "prometheus" || kind === "victoria";
}

async function run(kind: ServerKind, load: RemoteLoad): Promise<Run> {
  const server = await startMetricServer(kind, { prometheus: flags.prometheus, victoria: flags.victoria });
  try {
    const cost = await sendLoad(server, load);
    const window = { endMs: load.endMs, seconds: Number(flags.hours) * 3_600 + 60 };
    const stored = await countStored(server, load.metricNames, window);
    const settled = await server.settle();
    const { version, durability } = server;
    const done = { kind, version, durability, stored, ...cost, ...settled };
    tell(JSON.stringify(done));
    return done;
  } finally {
    await server.discard();
  }
}

interface Measure {
  readonly name: string;
  readonly unit: string;
  readonly pick: (run: Run) => number;
}

function report(load: RemoteLoad, kinds: readonly ServerKind[], runs: readonly Run[]): void {
  const perSample = (bytes: number) => bytes / load.samples;
  const measures: readonly Measure[] = [
    { name: "rate", unit: "samples/s", pick: (run) => run.samplesPerSecond },
    { name: "cpu", unit: "s/M samples", pick: (run) => run.cpuPerMillion },
    { name: "peak memory", unit: "MiB", pick: (run) => run.peakMiB },
    { name: "blocks", unit: "B/sample", pick: (run) => perSample(run.blocks) },
    { name: "data directory", unit: "B/sample", pick: (run) => perSample(run.whole) },
    { name: "answer p50", unit: "ms", pick: (run) => run.answerP50Ms },
    { name: "answer p99", unit: "ms", pick: (run) => run.answerP99Ms },
    { name: "stored", unit: "of those sent", pick: (run) => run.stored / load.samples },
    { name: "sender cpu", unit: "s/M samples", pick: (run) => run.senderCpuPerMillion },
  ];
  const what = `version ${load.version}, ${load.series} series, ${flags.hours} h, ${flags.connections} connections`;
  for (const kind of kinds.filter((each) => !isPeer(each))) {
    const ours = runs.filter((each) => each.kind === kind);
    const durability = ours[0]?.durability ?? "";
    for (const { name, unit, pick } of measures) {
      const values = ours.map(pick);
      const line: Figure = { bench: BENCH, measure: name, unit, values, durability, note: what };
      printFigure(line);
      for (const peer of kinds.filter(isPeer)) {
        const theirs = runs.filter((each) => each.kind === peer);
        const ratios = values.map(
          (value, round) => value / (theirs[round] === undefined ? Number.NaN : pick(theirs[round])),
        );
        const version = theirs[0]?.version ?? "";
        const note = `${what}; the peer's durability: ${theirs[0]?.durability ?? ""}`;
        printFigure({ ...line, peer: { name: peer, version, values: theirs.map(pick) }, ratios, note });
      }
    }
  }
}

/** What is under way; figures alone go to standard output. */
function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

await main();
