/**
 * What deriving a span costs: RED and graph, and the snapshot and samples of a flush.
 *
 * Prints one JSON line a figure. Usage: `node bench/derive.ts`.
 */

import { bench, run } from "mitata";
import { DerivedStreams } from "../server/derive/derived-streams.ts";
import type { SpanBatch } from "../server/model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder } from "../server/model/span-batch-builder.ts";

const BATCHES = 64;
const ROWS = 512;
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

const batches = makeBatches();
const streams = new DerivedStreams();
let sequence = 0;
const observeAll = () => {
  for (const batch of batches) streams.observe(batch, ++sequence, NOW_MS);
  streams.takeMinutes();
};
observeAll();
for (const cadence of streams.zeros(NOW_MS).cadences) cadence.zeroed = true;

bench("observe", observeAll);
bench("snapshot", () => streams.snapshot());
bench("samples", () => {
  streams.markUnwritten();
  return streams.samples(NOW_MS);
});

const spans = BATCHES * ROWS;
const { benchmarks } = await run({ format: "quiet" });
for (const { alias, runs } of benchmarks) {
  for (const { stats } of runs) {
    if (stats === undefined) continue;
    const perSpan = alias === "observe" ? spans : 1;
    process.stdout.write(
      `${JSON.stringify({
        bench: "derive",
        measure: alias,
        unit: alias === "observe" ? "ns/span" : "ms",
        value: Number((stats.p50 / perSpan / (alias === "observe" ? 1 : 1e6)).toPrecision(4)),
        min: Number((stats.min / perSpan / (alias === "observe" ? 1 : 1e6)).toPrecision(4)),
        max: Number((stats.max / perSpan / (alias === "observe" ? 1 : 1e6)).toPrecision(4)),
        runs: stats.samples.length,
        note: `${spans} spans a round, state of ${streams.snapshot().state.length} bytes`,
      })}\n`,
    );
  }
}
