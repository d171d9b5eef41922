/**
 * PromQL over HTTP side by side: the same samples in this program, Prometheus 3 and VictoriaMetrics, the same queries in
 * turns, and every value compared with Prometheus'.
 *
 * `npm run -s bench -- promql --prometheus PROGRAM [--victoria PROGRAM] [--hours 6] [--pods 100] [--windows 0,1,6,24]
 * [--rounds 5] [--shapes NAME,…] [--settle SECONDS] [--warm SECONDS]`. Each query is asked for a second before it is measured. A pod has 100 series; window 0 are instant queries, the others
 * ranges that end with the data, in steps of a minute. VictoriaMetrics runs without its cache, and without the shapes it
 * has no counterpart for. Exits with 1 where a value differs from Prometheus'.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Figure, printFigure } from "./figure-kit.ts";
import { type MetricServer, type ServerKind, startMetricServer } from "./metric-server-kit.ts";
import { SERIES_PER_POD, writeQueryLoad } from "./query-load-kit.ts";
import { ask, type BenchQuery, costOf, differenceOf, type QueryCost } from "./query-run-kit.ts";

const { values: flags } = parseArgs({
  options: {
    hours: { type: "string", default: "6" },
    pods: { type: "string", default: "100" },
    windows: { type: "string", default: "0,1,6,24" },
    rounds: { type: "string", default: "5" },
    shapes: { type: "string" },
    settle: { type: "string", default: "5" },
    warm: { type: "string", default: "1" },
    prometheus: { type: "string" },
    victoria: { type: "string" },
  },
});

const BENCH = "promql";
const STEP_MS = 60_000;
const HOUR_MS = 3_600_000;
const STEPS_PER_HOUR = 240;
/** Sums of the same numbers in another order differ by less. */
const RELATIVE_MAX = 1e-12;
/** What is asked so often in a row for a round: a short query more often, since its time is the noisier. */
const ASKED_MS = 150;
const ASKED_MAX = 20;

interface Shape {
  readonly name: string;
  readonly text: string;
  /** What VictoriaMetrics has nothing like. */
  readonly isNative?: boolean;
  /** Where values are equal, which series is given is not told. */
  readonly isPick?: boolean;
}

const SHAPES: readonly Shape[] = [
  { name: "100 out", text: "pod_info" },
  { name: "selector, 2000 out", text: "http_requests_total" },
  { name: "rate, 2000 out", text: "rate(http_requests_total[5m])" },
  { name: "sum by rate", text: "sum by (service) (rate(http_requests_total[5m]))" },
  {
    name: "histogram_quantile, 4000 in",
    text: "histogram_quantile(0.99, sum by (le, service) (rate(http_latency_seconds_bucket[5m])))",
  },
  { name: "topk", text: "topk(10, sum by (pod, route) (rate(http_requests_total[5m])))", isPick: true },
  { name: "quantile_over_time, 900 out", text: "quantile_over_time(0.9, queue_depth[10m])" },
  {
    name: "group_left join",
    text: "sum by (version) (rate(http_requests_total[5m]) * on (pod) group_left (version) pod_info)",
  },
  { name: "subquery", text: "max_over_time(sum by (service) (rate(http_requests_total[5m]))[30m:1m])" },
  {
    name: "native histogram_quantile",
    text: "histogram_quantile(0.99, sum by (service) (rate(rpc_duration_seconds[5m])))",
    isNative: true,
  },
];

async function main(): Promise<void> {
  const kinds: readonly ServerKind[] = [
    "thalweg",
    "prometheus",
    ...(flags.victoria === undefined ? [] : ["victoria" as const]),
  ];
  const servers: MetricServer[] = [];
  try {
    const programs = { prometheus: flags.prometheus, victoria: flags.victoria };
    for (const kind of kinds) servers.push(await startMetricServer(kind, programs));
    const endMs = Math.floor(Date.now() / STEP_MS) * STEP_MS;
    const [pods, steps] = [Number(flags.pods), Math.round(Number(flags.hours) * STEPS_PER_HOUR)];
    await writeQueryLoad({ bases: servers.map(({ base }) => base), pods, steps, endMs });
    tell(`${pods * SERIES_PER_POD} series, ${pods * SERIES_PER_POD * steps} samples`);
    await sleep(Number(flags.settle) * 1_000);
    const wanted = flags.shapes?.split(",");
    for (const hours of flags.windows.split(",").map(Number)) {
      if (hours > Number(flags.hours)) continue;
      for (const shape of SHAPES) {
        if (wanted !== undefined && !wanted.includes(shape.name)) continue;
        const query: BenchQuery = {
          text: shape.text,
          startMs: endMs - hours * HOUR_MS,
          endMs,
          stepMs: hours === 0 ? 0 : STEP_MS,
        };
        await compare(shape, query, servers);
      }
    }
  } finally {
    for (const server of servers) await server.discard();
  }
}

async function compare(shape: Shape, query: BenchQuery, servers: readonly MetricServer[]): Promise<void> {
  const asked = servers.filter(({ kind }) => shape.isNative !== true || kind !== "victoria");
  const [ours, theirs] = asked;
  if (ours === undefined || theirs === undefined) throw new Error("nothing to compare with");
  const sinceMs = performance.now();
  const difference = differenceOf(await ask(ours.base, query), await ask(theirs.base, query), shape.isPick === true);
  const times = Math.min(ASKED_MAX, Math.max(1, Math.round(ASKED_MS / ((performance.now() - sinceMs) / 2))));
  const { values, unequal, alone, relative } = difference;
  const equality = `${values} values, ${unequal} of other text (at most ${relative.toExponential(1)} apart), ${alone} alone`;
  if (values === 0 || alone > 0 || relative > RELATIVE_MAX) {
    process.exitCode = 1;
    tell(`'${shape.text}' is answered otherwise than by Prometheus: ${equality}`);
  }
  // What compiles while it runs, or reads a block for the first time, has done so.
  for (const server of asked) {
    const untilMs = performance.now() + 1000 * Number(flags.warm);
    do await costOf(server, query, times);
    while (performance.now() < untilMs);
  }
  const costs = new Map<MetricServer, QueryCost[][]>(asked.map((server) => [server, []]));
  for (let round = 0; round < Number(flags.rounds); round++) {
    const first = round % asked.length;
    for (const server of [...asked.slice(first), ...asked.slice(0, first)]) {
      costs.get(server)?.push(await costOf(server, query, times));
    }
  }
  const window = query.stepMs === 0 ? "instant" : `${(query.endMs - query.startMs) / HOUR_MS} h`;
  for (const [unit, pick] of [
    ["wall", (cost: QueryCost) => cost.wallMs],
    ["cpu", (cost: QueryCost) => cost.cpuMs],
  ] as const) {
    const valuesOf = (server: MetricServer) => (costs.get(server) ?? []).map((round) => mean(round.map(pick)));
    const line: Figure = {
      bench: BENCH,
      measure: `${shape.name}, ${window}, ${unit}`,
      unit: "ms",
      values: valuesOf(ours),
      durability: ours.durability,
      note: equality,
    };
    for (const peer of asked.slice(1)) {
      const peerValues = valuesOf(peer);
      const ratios = line.values.map((value, round) => value / (peerValues[round] ?? Number.NaN));
      printFigure({ ...line, peer: { name: peer.kind, version: peer.version, values: peerValues }, ratios });
    }
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** What is under way; figures alone go to standard output. */
function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

await main();
