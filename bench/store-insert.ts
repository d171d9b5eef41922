/**
 * What storing spans costs: group commits with a durable answer, the whole process' CPU, bytes on disk, and a trace read
 * by its id afterwards.
 *
 * Run as `node bench/store-insert.ts [SPANS]`; prints one JSON line a figure.
 */

import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { traceIdToHex } from "../server/model/hex.ts";
import type { Resource, SpanBatch } from "../server/model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder } from "../server/model/span-batch-builder.ts";
import { systemClock } from "../server/platform/system-clock.ts";
import { openStore } from "../server/store/store.ts";

const SPANS_PER_BATCH = 512;
const SPANS_PER_TRACE = 10;
const IN_FLIGHT = 64;
const SERVICES = 50;
const NAMES = 2_000;
const TRACE_READS = 200;

const resources: Resource[] = Array.from({ length: SERVICES }, (_, index) => ({
  service: `service-${index}`,
  instance: `service-${index}-0`,
  attributes: [
    { key: "service.instance.id", kind: "s", value: `service-${index}-0` },
    { key: "service.name", kind: "s", value: `service-${index}` },
  ],
}));

/** A batch of traces that never repeat, with 11 attributes a span: 7 with columns of their own, 4 for the MAP. */
function makeBatch(builder: SpanBatchBuilder, firstSpan: number, nowNs: bigint): SpanBatch {
  for (let index = firstSpan; index < firstSpan + SPANS_PER_BATCH; index++) {
    const trace = BigInt(Math.floor(index / SPANS_PER_TRACE)) * 0x9e37_79b9_7f4a_7c15n;
    const resource = resources[(index * 7) % SERVICES] ?? resources[0];
    if (resource === undefined) throw new Error("bench: there are no resources");
    builder.append({
      ...EMPTY_SPAN,
      resource: builder.addResource(resource),
      scope: builder.addScope({ name: "bench", version: "1" }),
      traceIdHigh: BigInt.asUintN(64, trace),
      traceIdLow: BigInt.asUintN(64, trace * 31n + 7n),
      spanId: BigInt.asUintN(64, BigInt(index + 1) * 0xbf58_476d_1ce4_e5b9n),
      parentSpanId: index % SPANS_PER_TRACE === 0 ? 0n : BigInt(index),
      startNs: nowNs + BigInt(index * 1000),
      endNs: nowNs + BigInt(index * 1000 + ((index * 7919) % 50_000_000)),
      name: `GET /api/resource-${index % NAMES}`,
      kind: index % 2 === 0 ? 2 : 3,
      status: index % 50 === 0 ? 2 : 0,
      source: 2,
      attributes: [
        { key: "http.request.method", kind: "s", value: "GET" },
        { key: "http.response.status_code", kind: "i", value: index % 50 === 0 ? "500" : "200" },
        { key: "http.route", kind: "s", value: `/api/resource-${index % NAMES}` },
        { key: "url.path", kind: "s", value: `/api/resource-${index % NAMES}/${index}` },
        { key: "server.address", kind: "s", value: "shop.internal.example" },
        { key: "server.port", kind: "i", value: "8080" },
        { key: "user_agent.original", kind: "s", value: "Mozilla/5.0 (X11; Linux x86_64) bench" },
        { key: "net.transport", kind: "s", value: "tcp" },
        { key: "enduser.id", kind: "s", value: `user-${index % 1000}` },
        { key: "thread.id", kind: "i", value: String(index % 16) },
        { key: "sampled", kind: "b", value: "true" },
      ],
    });
  }
  return builder.seal();
}

function report(measure: string, unit: string, value: number): void {
  process.stdout.write(
    `${JSON.stringify({ bench: "store-insert", measure, unit, value: Math.round(value * 100) / 100 })}\n`,
  );
}

function quantile(sorted: readonly number[], of: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * of))] ?? Number.NaN;
}

const spans = Number(process.argv[2] ?? 300_000);
const directory = await mkdtemp(join(tmpdir(), "thalweg-bench-"));
const clock = systemClock();
const store = await openStore({ directory, clock, retentionMs: 86_400_000, memoryLimitBytes: 512 * 2 ** 20 });

const builder = new SpanBatchBuilder();
const batches = Array.from({ length: Math.ceil(spans / SPANS_PER_BATCH) }, (_, index) =>
  makeBatch(builder, index * SPANS_PER_BATCH, clock.nowUnixNano()),
);
const latencies: number[] = [];
const loop = monitorEventLoopDelay({ resolution: 1 });
loop.enable();
const cpu = process.cpuUsage();
const startMs = performance.now();
const pending = batches.slice();
await Promise.all(
  Array.from({ length: IN_FLIGHT }, async () => {
    for (let batch = pending.pop(); batch !== undefined; batch = pending.pop()) {
      const sentMs = performance.now();
      await store.writer.commitSpans(batch);
      latencies.push(performance.now() - sentMs);
    }
  }),
);
const elapsedMs = performance.now() - startMs;
const used = process.cpuUsage(cpu);
loop.disable();
const stored = batches.length * SPANS_PER_BATCH;
latencies.sort((a, b) => a - b);
report("spans per second", "1/s", stored / (elapsedMs / 1000));
report("CPU per span", "us", (used.user + used.system) / stored);
report("answer p50", "ms", quantile(latencies, 0.5));
report("answer p99", "ms", quantile(latencies, 0.99));
report("loop delay p99", "ms", loop.percentile(99) / 1e6);
report("loop delay max", "ms", loop.max / 1e6);
report("groups", "1", store.stats().spans.groups);

const reads: number[] = [];
for (let read = 0; read < TRACE_READS; read++) {
  const trace = BigInt(Math.floor((read / TRACE_READS) * (stored / SPANS_PER_TRACE))) * 0x9e37_79b9_7f4a_7c15n;
  const readMs = performance.now();
  const found = await store.reader.trace(
    traceIdToHex(BigInt.asUintN(64, trace), BigInt.asUintN(64, trace * 31n + 7n)),
    1000,
  );
  reads.push(performance.now() - readMs);
  if (found.length < SPANS_PER_TRACE - 8) throw new Error(`bench: a trace has ${found.length} spans`);
}
reads.sort((a, b) => a - b);
report("trace by id p50", "ms", quantile(reads, 0.5));
report("trace by id p99", "ms", quantile(reads, 0.99));
await store.close();
let bytes = 0;
for (const name of await readdir(join(directory, "db"))) bytes += (await stat(join(directory, "db", name))).size;
report("bytes per span on disk, free blocks included", "B", bytes / stored);
await rm(directory, { recursive: true, force: true });
