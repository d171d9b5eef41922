import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Asked, askEngine } from "../../conformance/promql/engine-answer.ts";
import { batchOf, START_MS, type TestSpan } from "../derive/test-spans.ts";
import type { Clock } from "../model/clock.ts";
import { openStore, type Store } from "../store/store.ts";
import { createLog } from "../telemetry/log.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { type Ingest, openIngest } from "./ingest.ts";

const OTLP = { signal: "traces", transport: "http" } as const;
const log = createLog({ level: "error", terminal: false, write: () => undefined, monotonicMs: () => 0 });

interface Running {
  readonly clock: Clock & { ms: number };
  store: Store;
  ingest: Ingest;
  restart(how: "crash" | "stop"): Promise<void>;
}

async function start(t: TestContext): Promise<Running> {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-derived-"));
  const clock = {
    ms: START_MS,
    nowMs: () => clock.ms,
    nowUnixNano: () => BigInt(clock.ms) * 1_000_000n,
    monotonicMs: () => performance.now(),
  };
  const open = () => openStore({ directory, clock, retentionMs: 15 * 86_400_000, memoryLimitBytes: 256 * 2 ** 20 });
  const openIn = (store: Store) => openIngest({ writer: store.writer, clock, telemetry: new Telemetry(), log });
  const store = await open();
  const running: Running = {
    clock,
    store,
    ingest: await openIn(store),
    async restart(how) {
      clock.ms += 10;
      if (how === "stop") await running.ingest.close();
      await running.store.close();
      running.store = await open();
      running.ingest = await openIn(running.store);
    },
  };
  t.after(async () => {
    await running.ingest.close();
    await running.store.close();
    await rm(directory, { recursive: true, force: true });
  });
  return running;
}

/** Value of an instant query that answers one series. */
async function answerTo({ store, clock }: Running, query: string): Promise<number> {
  const asked: Asked = { query, startMs: clock.ms, endMs: clock.ms, stepMs: 0 };
  const reading = {
    select: (...window: Parameters<Store["reader"]["select"]>) => store.reader.select(...window),
    clear: async () => undefined,
    load: async () => undefined,
  };
  const answer = await askEngine(reading, asked);
  assert.ok(answer.kind === "answered", `${query}: ${JSON.stringify(answer)}`);
  assert.deepEqual(answer.warnings, [], query);
  assert.equal(answer.series.length, 1, `${query} answers ${answer.series.length} series`);
  const value = answer.series[0]?.points[0]?.value;
  assert.ok(typeof value === "number", query);
  return value;
}

/** Latencies of 0, and of microseconds to seconds. */
function latencyMs(at: number): number {
  return at % 17 === 0 ? 0 : Math.round(1.31 ** (at % 60) * 1000) / 1e6;
}

function spans(from: number, count: number): TestSpan[] {
  return Array.from({ length: count }, (_, n) => {
    const at = from + n;
    const call = { traceIdLow: BigInt(at + 1), name: "GET /x", durationMs: latencyMs(at), weight: 1 + (at % 3) };
    return [
      { ...call, service: "front", kind: 3, spanId: BigInt(2 * at + 1) },
      { ...call, service: "back", kind: 2, spanId: BigInt(2 * at + 2), parentSpanId: BigInt(2 * at + 1) },
    ];
  }).flat();
}

test("native histograms beside the classic ones count the same calls, over crashes and stops", async (t) => {
  const running = await start(t);
  const series = '{service="back",span_kind="SPAN_KIND_SERVER"}';
  const edge = '{client="front",server="back"}';
  const durations: number[] = [];
  for (let round = 0; round < 4; round++) {
    const sent = spans(round * 100, 90);
    await running.ingest.acceptSpans(batchOf(sent.slice(0, 100)), OTLP);
    if (round % 2 === 0) await running.ingest.flush();
    await running.ingest.acceptSpans(batchOf(sent.slice(100)), OTLP);
    if (round === 1) await running.restart("crash");
    if (round === 2) await running.restart("stop");
    await running.ingest.flush();
    for (const { kind, weight = 1, durationMs = 0 } of sent) {
      for (let call = 0; kind === 2 && call < weight; call++) durations.push(durationMs / 1000);
    }
    running.clock.ms += 15_000;
    await running.ingest.flush();
    const calls = await answerTo(running, `traces_spanmetrics_calls_total${series}`);
    assert.equal(calls, durations.length);
    for (const query of [
      `histogram_count(traces_spanmetrics_latency${series})`,
      `traces_spanmetrics_latency_count${series}`,
      `traces_spanmetrics_latency_bucket{le="+Inf",${series.slice(1)}`,
      `histogram_count(traces_service_graph_request_server_seconds${edge})`,
      `histogram_count(traces_service_graph_request_client_seconds${edge})`,
      `traces_service_graph_request_total${edge}`,
    ]) {
      assert.equal(await answerTo(running, query), calls, query);
    }
    const sum = await answerTo(running, `histogram_sum(traces_spanmetrics_latency${series})`);
    assert.equal(sum, await answerTo(running, `traces_spanmetrics_latency_sum${series}`));
  }
  durations.sort((a, b) => a - b);
  for (const quantile of [0.5, 0.9, 0.99]) {
    const exact = durations[Math.ceil(quantile * durations.length) - 1] ?? 0;
    for (const target of [
      `traces_spanmetrics_latency${series}`,
      `traces_service_graph_request_server_seconds${edge}`,
    ]) {
      const native = await answerTo(running, `histogram_quantile(${quantile}, ${target})`);
      assert.ok(Math.abs(native / exact - 1) < 0.1, `${quantile} of ${target}: ${native} for ${exact}`);
      const rated = await answerTo(running, `histogram_quantile(${quantile}, rate(${target}[5m]))`);
      assert.ok(Math.abs(rated / exact - 1) < 0.1, `${quantile} of the rate of ${target}: ${rated} for ${exact}`);
    }
    const classic = `sum by (le) (rate(traces_spanmetrics_latency_bucket${series}[5m]))`;
    const coarse = await answerTo(running, `histogram_quantile(${quantile}, ${classic})`);
    assert.ok(coarse > exact / 2.1 && coarse < exact * 2.1, `${quantile} of classic buckets: ${coarse} for ${exact}`);
  }
  const zeros = durations.filter((seconds) => seconds === 0).length / durations.length;
  const found = await answerTo(running, `histogram_fraction(-1, 1e-12, traces_spanmetrics_latency${series})`);
  assert.ok(Math.abs(found - zeros) < 1e-9, `${found} of the calls took no time, not ${zeros}`);
  assert.equal(await answerTo(running, `resets(traces_spanmetrics_latency${series}[10m])`), 0);
  const increase = await answerTo(running, `increase(traces_spanmetrics_calls_total${series}[10m])`);
  const native = await answerTo(running, `histogram_count(increase(traces_spanmetrics_latency${series}[10m]))`);
  assert.ok(Math.abs(native / increase - 1) < 1e-9, `${native} and ${increase}`);
});

test("the size of spans is counted, the same after a crash", async (t) => {
  const running = await start(t);
  const query = 'traces_spanmetrics_size_total{service="back"}';
  const attributes = { "http.request.method": "GET", "url.path": "/".repeat(300), own: "ä".repeat(70) };
  const sent = spans(0, 30).map((span) => ({ ...span, attributes, status: 2, statusMessage: "refused" }));
  await running.ingest.acceptSpans(batchOf(sent), OTLP);
  await running.ingest.flush();
  const once = await answerTo(running, query);
  assert.ok(once > 30 * 500 && once < 30 * 800, String(once));
  const again = spans(500, 30).map((span) => ({ ...span, attributes, status: 2, statusMessage: "refused" }));
  await running.ingest.acceptSpans(batchOf(again), OTLP);
  await running.restart("crash");
  await running.ingest.flush();
  assert.equal(await answerTo(running, query), 2 * once);
});
