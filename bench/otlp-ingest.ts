/**
 * Storing spans over OTLP with a durable answer, RED and the service graph on: the data shape of Jaeger's benchmark.
 *
 * `npm run -s bench -- otlp-ingest [--spans N] [--runs N] [--connections N] [--shape semconv|tracegen]
 * [--transports protobuf,gzip,json,grpc] [--jaeger PROGRAM]`. With a Jaeger 2 program given, it is measured in turns
 * with the server, once with its memory store and once with Badger.
 */

import { rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { encodeBodies, TRANSPORTS, type Transport } from "../conformance/otlp-senders.ts";
import { type CompactedDay, compactDay } from "./compact-kit.ts";
import { type Figure, printFigure } from "./figure-kit.ts";
import { runJaeger } from "./jaeger-kit.ts";
import { type IngestRun, runThalweg } from "./otlp-run-kit.ts";

const { values: flags } = parseArgs({
  options: {
    spans: { type: "string", default: "5000000" },
    runs: { type: "string", default: "3" },
    connections: { type: "string", default: "64" },
    shape: { type: "string", default: "semconv" },
    transports: { type: "string", default: "protobuf,gzip,json,grpc" },
    jaeger: { type: "string" },
  },
});

const BENCH = "otlp-ingest";

/** Figures of one transport, a value a run. */
interface Gathered {
  readonly runs: IngestRun[];
  /** The days of the runs after the night. */
  readonly compacted: CompactedDay[];
  readonly peers: Map<string, IngestRun[]>;
}

async function main(): Promise<void> {
  const spans = Number(flags.spans);
  const connections = Number(flags.connections);
  const shape = flags.shape === "tracegen" ? "tracegen" : "semconv";
  const transports = TRANSPORTS.filter((transport) => flags.transports.split(",").includes(transport));
  for (const transport of transports) {
    const bodies = encodeBodies(shape, transport);
    const load = { bodies, connections, spans: transport === "protobuf" ? spans : Math.ceil(spans / 4), transport };
    const gathered: Gathered = { runs: [], compacted: [], peers: new Map() };
    for (let run = 0; run < Number(flags.runs); run++) {
      const measured = await runThalweg(load);
      gathered.runs.push(measured);
      if (transport === "protobuf") gathered.compacted.push(await compactDay(measured.directory, measured.spans));
      if (flags.jaeger === undefined || transport !== "protobuf") continue;
      for (const store of ["memory", "badger"] as const) {
        // Badger takes a tenth of the rate: a tenth of the spans take it as long.
        const measured = await runJaeger(
          flags.jaeger,
          store,
          store === "badger" ? { ...load, spans: spans / 10 } : load,
        );
        gathered.peers.set(store, [...(gathered.peers.get(store) ?? []), measured]);
      }
    }
    report(transport, shape, connections, gathered);
  }
}

function report(transport: Transport, shape: string, connections: number, { runs, compacted, peers }: Gathered): void {
  const note = `${transport}, ${shape}, ${connections} x 512 in flight, RED and graph on`;
  const own = { bench: BENCH, durability: "always", note };
  const figure = (measure: string, unit: string, pick: (run: IngestRun) => number): void => {
    const values = runs.map(pick);
    const line: Figure = { ...own, measure, unit, values };
    printFigure(line);
    for (const [store, measured] of peers) {
      const theirs = measured.map(pick);
      const ratios = values.map((value, at) => value / (theirs[at] ?? Number.NaN));
      const peer = { name: `Jaeger, ${store}`, version: measured[0]?.version ?? "", values: theirs };
      printFigure({ ...line, peer, ratios, note: `${note}; the peer does not sync before it answers` });
    }
  };
  figure("rate", "spans/s", (run) => run.spansPerSecond);
  figure("cpu", "us/span", (run) => run.cpuUsPerSpan);
  figure("generator cpu", "us/span", (run) => run.generatorCpuUsPerSpan);
  figure("answer p50", "ms", (run) => run.answerP50Ms);
  figure("answer p99", "ms", (run) => run.answerP99Ms);
  figure("peak memory", "MiB", (run) => run.peakMiB);
  figure("disk", "B/span", (run) => run.bytesPerSpan);
  if (compacted.length > 0) {
    const values = (pick: (day: CompactedDay) => number) => compacted.map(pick);
    printFigure({ ...own, measure: "disk, compacted", unit: "B/span", values: values((day) => day.bytesPerSpan) });
    printFigure({ ...own, measure: "compaction cpu", unit: "us/span", values: values((day) => day.cpuUsPerSpan) });
  }
  printFigure({ ...own, measure: "loop p99", unit: "ms", values: runs.map((run) => run.loopP99Ms) });
  printFigure({ ...own, measure: "refused", unit: "requests", values: runs.map((run) => run.refused) });
  for (const run of [...runs, ...[...peers.values()].flat()]) rmSync(run.directory, { recursive: true, force: true });
}

await main();
