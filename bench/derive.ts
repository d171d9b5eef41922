/**
 * What deriving a span costs: RED and graph, and the snapshot and samples of a flush.
 *
 * Prints one JSON line a figure. Usage: `node bench/derive.ts`.
 */

import { DerivedStreams } from "../server/derive/derived-streams.ts";
import type { SpanBatch } from "../server/model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder } from "../server/model/span-batch-builder.ts";
import { printFigure } from "./figure-kit.ts";

const BATCHES = 64;
const ROWS = 512;
const ROUNDS = 15;
const SERVICES = 50;
const NAMES = 2_000;
const NOW_MS = 1_768_478_400_000;
const ATTRIBUTES = Array.from({ length: 11 }, (_, n) => ({
  key: `attribute.${n}`,
  kind: "s" as const,
  value: `v${n}`,
}));

/** Batches like an SDK's: spans of one service, in traces of a client and a server side. */
function makeBatches(): SpanBatch[] {
  const resources = Array.from({ length: SERVICES }, (_, n) => ({
    service: `service-${n}`,
    instance: "",
    attributes: [{ key: "service.name", kind: "s" as const, value: `service-${n}` }],
  }));
  const builder = new SpanBatchBuilder();
  const startNs = BigInt(NOW_MS) * 1_000_000n;
  return Array.from({ length: BATCHES }, (_, batch) => {
    const scope = builder.addScope({ name: "bench", version: "1" });
    for (let row = 0; row < ROWS; row++) {
      const call = (batch * ROWS + row) >> 1;
      const isServer = row % 2 === 1;
      const resource = resources[(call + (isServer ? 1 : 0)) % SERVICES] ?? resources[0];
      if (resource === undefined) continue;
      builder.append({
        ...EMPTY_SPAN,
        resource: builder.addResource(resource),
        scope,
        source: 2,
        traceIdHigh: (BigInt(call) * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn,
        traceIdLow: BigInt(call + 1),
        spanId: BigInt(call * 2 + (isServer ? 2 : 1)),
        parentSpanId: isServer ? BigInt(call * 2 + 1) : 0n,
        kind: isServer ? 2 : 3,
        name: `operation-${call % NAMES}`,
        startNs,
        endNs: startNs + BigInt((call % 1000) * 100_000 + 50_000),
        attributes: ATTRIBUTES,
      });
    }
    return builder.seal();
  });
}

/** CPU microseconds of this thread and of the collector that work takes. */
function cpuMicros(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

function main(): void {
  const batches = makeBatches();
  const streams = new DerivedStreams();
  let sequence = 0;
  const observeAll = () => {
    for (const batch of batches) streams.observe(batch, ++sequence, NOW_MS);
    streams.takeRows().edges;
  };
  const spans = BATCHES * ROWS;
  for (let round = 0; round < 5; round++) observeAll();
  for (const cadence of streams.zeros(NOW_MS).cadences) cadence.zeroed = true;
  const note = `${spans} spans a round, CPU time, state of ${streams.snapshot().state.length} bytes`;
  const figure = (measure: string, unit: string, work: () => void, scale: number) => {
    const values = Array.from({ length: ROUNDS }, () => cpuMicros(work) * scale);
    printFigure({ bench: "derive", measure, unit, values, note });
  };
  figure("observe", "ns/span", observeAll, 1000 / spans);
  figure("snapshot", "ms", () => streams.snapshot(), 1 / 1000);
  figure(
    "samples",
    "ms",
    () => {
      streams.markUnwritten();
      streams.samples(NOW_MS);
    },
    1 / 1000,
  );
}

main();
