import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { batchOf, START_MS, type TestSpan } from "../derive/test-spans.ts";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import { textReader } from "../model/text-table.ts";
import { openStore, type Store } from "../store/store.ts";
import type { StoreWriter } from "../store/writer.ts";
import { createLog } from "../telemetry/log.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { type Ingest, openIngest } from "./ingest.ts";

interface TestClock extends Clock {
  ms: number;
}

interface Running {
  readonly directory: string;
  readonly clock: TestClock;
  readonly telemetry: Telemetry;
  store: Store;
  ingest: Ingest;
}

function clockAt(ms: number): TestClock {
  return {
    ms,
    nowMs() {
      return this.ms;
    },
    nowUnixNano() {
      return BigInt(this.ms) * 1_000_000n;
    },
    monotonicMs: () => performance.now(),
  };
}

const log = createLog({ level: "error", terminal: false, write: () => undefined, monotonicMs: () => 0 });

function openTestStore(directory: string, clock: Clock): Promise<Store> {
  return openStore({ directory, clock, retentionMs: 15 * 86_400_000, memoryLimitBytes: 256 * 2 ** 20 });
}

async function start(t: TestContext): Promise<Running> {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-ingest-"));
  const clock = clockAt(START_MS);
  const telemetry = new Telemetry();
  const store = await openTestStore(directory, clock);
  const ingest = await openIngest({ writer: store.writer, clock, telemetry, log });
  const running = { directory, clock, telemetry, store, ingest };
  t.after(async () => {
    await running.ingest.close();
    await running.store.close();
    await rm(directory, { recursive: true, force: true });
  });
  return running;
}

/** Opens the directory again; `crash`: as after kill -9, so nothing derived since the last flush was saved. */
async function restart(running: Running, how: "crash" | "stop"): Promise<void> {
  running.clock.ms += 10;
  if (how === "stop") await running.ingest.close();
  await running.store.close();
  running.store = await openTestStore(running.directory, running.clock);
  const { clock, telemetry, store } = running;
  running.ingest = await openIngest({ writer: store.writer, clock, telemetry, log });
}

async function rowsOf(store: Store, text: string): Promise<unknown[][]> {
  const limits = { rowsMax: 1000, bytesMax: 1e7, timeoutMs: 10_000 };
  return (await store.reader.sql({ text, params: [] }, limits)).rows.map((row) => [...row]);
}

/** Newest value of each series of a metric, by the labels named. */
async function newest(store: Store, metric: string, labels: readonly string[]): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  const matchers = [{ name: "__name__", kind: "=" as const, value: metric }];
  for (const series of await store.reader.select(matchers, 0, Number.MAX_SAFE_INTEGER)) {
    const key = labels.map((name) => series.labels.find(([label]) => label === name)?.[1] ?? "").join(" ");
    found.set(key, (found.get(key) ?? 0) + (series.values.at(-1) ?? 0));
  }
  return found;
}

/** One truth: RED equals the rows, and the edges into a service equal its server spans. */
async function assertOneTruth(store: Store): Promise<void> {
  const rows = await rowsOf(
    store,
    "SELECT service, name, sum(weight) FROM spans WHERE duplicate_of IS NULL GROUP BY ALL ORDER BY ALL",
  );
  const calls = await newest(store, "traces_spanmetrics_calls_total", ["service", "span_name"]);
  assert.deepEqual(
    new Map(rows.map(([service, name, count]) => [`${service} ${name}`, Number(count)])),
    new Map([...calls].sort(([a], [b]) => (a < b ? -1 : 1))),
  );
  const servers = await rowsOf(
    store,
    "SELECT service, sum(weight) FROM spans WHERE kind = 'server' AND duplicate_of IS NULL GROUP BY ALL ORDER BY ALL",
  );
  const edges = await rowsOf(store, "SELECT server, sum(requests) FROM edges GROUP BY ALL ORDER BY ALL");
  assert.deepEqual(
    edges.map(([server, requests]) => [server, Number(requests)]),
    servers.map(([service, weight]) => [service, Number(weight)]),
  );
}

function calls(first: number, count: number): TestSpan[] {
  return Array.from({ length: count }, (_, at): TestSpan[] => {
    const id = BigInt((first + at) * 10 + 1);
    const name = `GET /${at % 3}`;
    const front: TestSpan = { service: "front", kind: 2, spanId: id, name, durationMs: 5, source: 0 };
    const out: TestSpan = { service: "front", kind: 3, spanId: id + 1n, parentSpanId: id, name, durationMs: 4 };
    const back: TestSpan = { service: "back", kind: 2, spanId: id + 2n, parentSpanId: id + 1n, name, durationMs: 3 };
    const orphan: TestSpan = { service: "back", kind: 2, spanId: id + 3n, parentSpanId: 77n, name };
    return at % 4 === 0 ? [front, out, back, orphan] : [front, out, back];
  }).flat();
}

const OTLP = { signal: "traces", transport: "http" } as const;
const AS_SENT = { rejected: new Map(), mended: new Map() };

test("accepted spans are in SQL, RED, the graph and the counters; the truth is one after expiry", async (t) => {
  const running = await start(t);
  const { store, ingest, clock, telemetry } = running;
  const spans = calls(0, 40);
  const accepted = await Promise.all([
    ingest.acceptSpans(batchOf(spans), { ...OTLP, mended: new Map([["unicode", 4]]) }),
    ingest.acceptSpans(batchOf([{ service: "front", kind: 2, spanId: 0n }]), OTLP),
    // What was mended in rows that were then left out is not counted as stored.
    ingest.acceptSpans(batchOf([]), {
      ...OTLP,
      rejected: new Map([["span_id_length", 2]]),
      mended: new Map([["unicode", 3]]),
    }),
  ]);
  assert.deepEqual(
    accepted.map(({ stored }) => stored),
    [spans.length, 0, 0],
  );
  await ingest.flush();
  const edge = await newest(store, "traces_service_graph_request_total", ["client", "server"]);
  assert.deepEqual(
    edge,
    new Map([
      ["user front", 40],
      ["front back", 40],
    ]),
  );
  clock.ms += 30_000;
  await new Promise((resolve) => setTimeout(resolve, 700));
  await ingest.flush();
  await assertOneTruth(store);
  const labels = { signal: "traces", transport: "http" };
  assert.equal(telemetry.value("thalweg_ingest_received_total", labels), spans.length + 3);
  assert.equal(telemetry.value("thalweg_ingest_stored_total", { signal: "traces" }), spans.length);
  for (const [reason, count] of [
    ["span_id_zero", 1],
    ["span_id_length", 2],
  ] as const) {
    assert.equal(telemetry.value("thalweg_ingest_rejected_total", { signal: "traces", reason }), count);
  }
  assert.equal(telemetry.value("thalweg_ingest_mended_total", { signal: "traces", what: "unicode" }), 4);
  assert.match(telemetry.render(), /^thalweg_graph_expired_total\{kind="server"\} 10$/m);
});

test("latency buckets have exemplars that lead to a trace", async (t) => {
  const { store, ingest, clock } = await start(t);
  await ingest.acceptSpans(batchOf(calls(0, 4)), OTLP);
  await ingest.flush();
  clock.ms += 20_000;
  await ingest.acceptSpans(batchOf(calls(50, 4)), OTLP);
  await ingest.flush();
  const matchers = [
    { name: "__name__", kind: "=", value: "traces_spanmetrics_latency_bucket" },
    { name: "service", kind: "=", value: "front" },
    { name: "span_kind", kind: "=", value: "SPAN_KIND_SERVER" },
    { name: "span_name", kind: "=", value: "GET /0" },
  ] as const;
  const found = await store.reader.exemplars([...matchers], 0, Number.MAX_SAFE_INTEGER);
  assert.deepEqual(
    found.map(({ labels, exemplars }) => [
      labels.find(([name]) => name === "le")?.[1],
      exemplars.map((exemplar) => exemplar.value),
    ]),
    [["0.008", [0.005, 0.005]]],
  );
  const label = (name: string) => found[0]?.exemplars[0]?.labels.find(([key]) => key === name)?.[1] ?? "";
  const trace = await store.reader.trace(label("traceID"), 10_000);
  assert.ok(trace.some(({ spanId, name }) => spanId === label("spanID") && name === "GET /0"));
});

test("a new edge is stored by itself within three seconds, zeros first", async (t) => {
  const { store, ingest } = await start(t);
  await ingest.acceptSpans(batchOf(calls(0, 1)), OTLP);
  const valuesOf = async () => {
    const [series] = await store.reader.select(
      [
        { name: "__name__", kind: "=", value: "traces_service_graph_request_total" },
        { name: "server", kind: "=", value: "back" },
      ],
      0,
      Number.MAX_SAFE_INTEGER,
    );
    return [...(series?.values ?? [])];
  };
  const deadline = performance.now() + 3_000;
  while ((await valuesOf()).length < 2 && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(await valuesOf(), [0, 1]);
  assert.deepEqual(await rowsOf(store, "SELECT client, server, requests FROM edges ORDER BY ALL"), [
    ["front", "back", "1"],
    ["user", "front", "1"],
  ]);
});

test("counters go on over crashes and stops, without a decrease, and the truth stays one", async (t) => {
  const running = await start(t);
  for (let round = 0; round < 6; round++) {
    await running.ingest.acceptSpans(batchOf(calls(round * 100, 10)), OTLP);
    if (round % 2 === 0) await running.ingest.flush();
    await running.ingest.acceptSpans(batchOf(calls(round * 100 + 50, 7)), OTLP);
    running.clock.ms += 3000;
    await restart(running, round % 3 === 2 ? "stop" : "crash");
  }
  running.clock.ms += 60_000;
  await new Promise((resolve) => setTimeout(resolve, 700));
  await running.ingest.flush();
  await assertOneTruth(running.store);
  for (const metric of ["traces_spanmetrics_calls_total", "traces_service_graph_request_total"]) {
    const matchers = [{ name: "__name__", kind: "=" as const, value: metric }];
    for (const { labels, values } of await running.store.reader.select(matchers, 0, Number.MAX_SAFE_INTEGER)) {
      assert.equal(values[0], 0);
      for (const [at, value] of values.entries()) {
        assert.ok(value >= (values[at - 1] ?? 0), `${JSON.stringify(labels)}: ${values.join()}`);
      }
    }
  }
});

test("a clock that jumps ahead and back: every span is kept, counters neither decrease nor stop", async (t) => {
  const running = await start(t);
  const { clock, store, ingest } = running;
  const jumpsMs = [0, 5_000, 3 * 3_600_000, 5_000, -3_600_000, 5_000, -7_200_000 - 10_000, 5_000, 7_200_000 + 60_000];
  for (const [round, jumpMs] of jumpsMs.entries()) {
    clock.ms += jumpMs;
    await ingest.acceptSpans(batchOf(calls(round * 100, 10)), OTLP);
    await ingest.flush();
  }
  const rows = await rowsOf(store, "SELECT count(*) FROM spans WHERE kind = 'server' AND service = 'front'");
  assert.deepEqual(rows, [[String(10 * jumpsMs.length)]]);
  const matchers = [
    { name: "__name__", kind: "=" as const, value: "traces_spanmetrics_calls_total" },
    { name: "service", kind: "=" as const, value: "front" },
    { name: "span_kind", kind: "=" as const, value: "SPAN_KIND_SERVER" },
  ];
  let counted = 0;
  const found = await store.reader.select(matchers, 0, Number.MAX_SAFE_INTEGER);
  for (const { values, timestampsMs } of found) {
    counted += values.at(-1) ?? 0;
    for (let at = 1; at < values.length; at++) {
      assert.ok((values[at] ?? 0) >= (values[at - 1] ?? 0), `${values}`);
      assert.ok((timestampsMs[at] ?? 0) > (timestampsMs[at - 1] ?? 0));
    }
  }
  assert.equal(counted, 10 * jumpsMs.length, "the last samples count all");
});

test("what is mended in spans is told, of repeated ones nothing", async (t) => {
  const { ingest } = await start(t);
  const batch = batchOf([{ service: "front", name: "n".repeat(2_000), spanId: 5n, parentSpanId: 5n }]);
  const receive = () => ingest.receive({ batch, ...AS_SENT, transport: "grpc" });
  for (const told of [{ self_parent: 1, text_length: 1 }, {}]) {
    const outcome = await receive();
    assert.ok(outcome.kind === "stored");
    assert.deepEqual(Object.fromEntries(outcome.mended), told);
  }
});

test("too much at once is refused before it is kept, and counted for who can send again and who cannot", async (t) => {
  const running = await start(t);
  const { store, clock, telemetry } = running;
  await running.ingest.close();
  const ingest = await openIngest({ writer: store.writer, clock, telemetry, log, pendingBytesMax: 60_000 });
  running.ingest = ingest;
  const batch = batchOf(calls(0, 50));
  const [first, second, third] = await Promise.all([
    ingest.receive({ batch, ...AS_SENT, transport: "grpc" }),
    ingest.receive({ batch, ...AS_SENT, transport: "grpc" }),
    ingest.receive({ batch, ...AS_SENT, transport: "capture" }),
  ]);
  assert.equal(first?.kind, "stored");
  assert.equal(second?.kind, "refused");
  assert.equal(third?.kind, "refused");
  const reason = "overload";
  assert.equal(telemetry.value("thalweg_ingest_rejected_total", { signal: "traces", reason }), batch.rows);
  assert.equal(telemetry.value("thalweg_ingest_lost_total", { signal: "traces", reason }), batch.rows);
  assert.equal((await ingest.receive({ batch, ...AS_SENT, transport: "grpc" })).kind, "stored");
});

test("a store that refuses: nothing is counted as stored or derived", async (t) => {
  const running = await start(t);
  await running.ingest.close();
  const { clock, telemetry } = running;
  const before = telemetry.value("thalweg_ingest_stored_total", { signal: "traces" });
  await running.store.close();
  await assert.rejects(running.ingest.acceptSpans(batchOf(calls(0, 2)), OTLP), { code: "store_unavailable" });
  assert.equal(telemetry.value("thalweg_ingest_stored_total", { signal: "traces" }), before);
  const refused = telemetry.value("thalweg_ingest_rejected_total", {
    signal: "traces",
    reason: "store_unavailable",
  });
  assert.equal(refused, batchOf(calls(0, 2)).rows);
  running.store = await openTestStore(running.directory, clock);
  running.ingest = await openIngest({ writer: running.store.writer, clock, telemetry, log });
});

test("readiness tells why spans cannot be stored, until one is", async (t) => {
  const { ingest, store, clock, telemetry } = await start(t);
  await ingest.close();
  let full = true;
  const guarded: StoreWriter = {
    ...store.writer,
    commitSpans: async (batch) => {
      if (full) throw new ThalwegError("store_unavailable", { why: "No space left on device" });
      return store.writer.commitSpans(batch);
    },
  };
  const second = await openIngest({ writer: guarded, clock, telemetry, log });
  assert.deepEqual(second.troubles(), []);
  await assert.rejects(second.acceptSpans(batchOf(calls(0, 1)), OTLP), { code: "store_unavailable" });
  assert.match(second.troubles().join(), /No space left on device/);
  full = false;
  await second.acceptSpans(batchOf(calls(0, 1)), OTLP);
  assert.deepEqual(second.troubles(), []);
  await second.close();
  assert.deepEqual(second.troubles(), ["The server is stopping."]);
});

test("a state that cannot be read is reported, and everything is derived again without doubled edges", async (t) => {
  const running = await start(t);
  await running.ingest.acceptSpans(batchOf(calls(0, 10)), OTLP);
  await restart(running, "stop");
  await running.ingest.acceptSpans(batchOf(calls(50, 10)), OTLP);
  await running.ingest.close();
  running.clock.ms += 10;
  const { clock, telemetry, store } = running;
  const writer: StoreWriter = {
    ...store.writer,
    loadDerived: async () => {
      const saved = await store.writer.loadDerived();
      return saved === undefined ? undefined : { ...saved, state: Uint8Array.of(200) };
    },
  };
  running.ingest = await openIngest({ writer, clock, telemetry, log });
  assert.equal(telemetry.value("thalweg_store_damage_total", { reason: "derived_state" }), 1);
  const labels = ["client", "server"];
  await running.ingest.flush();
  assert.equal((await newest(store, "traces_service_graph_request_total", labels)).get("front back"), 20);
  const rows = await rowsOf(store, "SELECT sum(requests) FROM edges WHERE server = 'back' AND client = 'front'");
  assert.deepEqual(rows, [["20"]]);
});

test("the first live span is told once while a replay plays", async (t) => {
  const { ingest } = await start(t);
  let told = 0;
  ingest.onceLive(() => told++);
  const replayed = batchOf([{ service: "a", kind: 2, spanId: 1n, source: 5 }]);
  await ingest.acceptSpans(replayed, { signal: "traces", transport: "replay" });
  assert.equal(told, 0);
  await ingest.acceptSpans(batchOf(calls(1, 1)), OTLP);
  await ingest.acceptSpans(batchOf(calls(2, 1)), OTLP);
  assert.equal(told, 1);
});

test("a call that program and agent both saw counts once, whoever came first, and the truth stays one", async (t) => {
  const running = await start(t);
  await running.ingest.close();
  const { store, clock, telemetry } = running;
  const ingest = await openIngest({ writer: store.writer, clock, telemetry, log, holdMs: 300 });
  running.ingest = ingest;
  const shown: number[] = [];
  ingest.onHeldStored(({ rows }) => shown.push(rows));
  const sdk = (trace: bigint): TestSpan[] => [
    { service: "front", kind: 3, spanId: 100n, name: "GET", traceIdLow: trace },
    { service: "back", kind: 2, spanId: 200n, parentSpanId: 100n, name: "GET /", traceIdLow: trace },
  ];
  const carried = { source: 0, linkReason: "traceparent", parentSpanId: 100n, name: "GET /", clientPort: 4000 };
  const agent = (trace: bigint): TestSpan[] => [
    { ...carried, service: "front", kind: 3, spanId: 1n, traceIdLow: trace },
    { ...carried, service: "back", kind: 2, spanId: 2n, traceIdLow: trace },
  ];
  const capture = { signal: "traces", transport: "capture" } as const;
  // The agent first, of programs not known; then known programs, their spans first, last, and never.
  await ingest.acceptSpans(batchOf(agent(1n)), capture);
  await ingest.acceptSpans(batchOf(sdk(1n)), OTLP);
  await ingest.acceptSpans(batchOf(sdk(2n)), OTLP);
  await ingest.acceptSpans(batchOf(agent(2n)), capture);
  const held = await ingest.acceptSpans(batchOf([...agent(3n), ...agent(4n)]), capture);
  assert.deepEqual([held.stored, held.batch.rows], [0, 0]);
  await ingest.acceptSpans(batchOf(sdk(3n)), OTLP);
  await new Promise((resolve) => setTimeout(resolve, 700));
  assert.equal(
    shown.reduce((sum, rows) => sum + rows, 0),
    4,
  );
  await ingest.acceptSpans(batchOf(agent(5n)), capture);
  await ingest.close();
  assert.deepEqual(
    await rowsOf(store, "SELECT source, count(*), count(duplicate_of) FROM spans GROUP BY source ORDER BY source"),
    [
      ["ebpf", "10", "4"],
      ["otlp", "6", "2"],
    ],
  );
  running.ingest = await openIngest({ writer: store.writer, clock, telemetry, log });
  clock.ms += 60_000;
  await new Promise((resolve) => setTimeout(resolve, 700));
  await running.ingest.flush();
  await assertOneTruth(store);
  assert.deepEqual(await rowsOf(store, "SELECT client, server, sum(requests) FROM edges GROUP BY ALL"), [
    ["front", "back", "5"],
  ]);
});

test("what live views are shown is what is stored: rows left out are missing, long names are cut", async (t) => {
  const { ingest } = await start(t);
  const long = "n".repeat(5_000);
  const { batch, stored } = await ingest.acceptSpans(
    batchOf([
      { service: "front", kind: 2, spanId: 0n },
      { service: "front", kind: 2, spanId: 7n, name: long },
    ]),
    OTLP,
  );
  assert.deepEqual([stored, batch.rows], [1, 1]);
  assert.equal(textReader(batch.text)(batch.name[0]).length, 1_024);
});

test("what is sent again is stored and counted once, over a crash too", async (t) => {
  const running = await start(t);
  const batch = batchOf(calls(0, 20));
  const send = () => running.ingest.receive({ batch, ...AS_SENT, transport: "grpc" });
  const together = await Promise.all([send(), send()]);
  assert.deepEqual(
    together.map(({ kind }) => kind),
    ["stored", "stored"],
  );
  await restart(running, "crash");
  assert.equal((await send()).kind, "stored");
  const [[rows]] = (await rowsOf(running.store, "SELECT count(*) FROM spans")) as [[string]];
  assert.equal(Number(rows), batch.rows);
  const repeated = 2 * batch.rows;
  assert.match(running.telemetry.render(), new RegExp(`\\{signal="traces",reason="repeated"\\} ${repeated}$`, "m"));
  running.clock.ms += 60_000;
  await new Promise((resolve) => setTimeout(resolve, 700));
  await running.ingest.flush();
  await assertOneTruth(running.store);
});

test("who has more span names than are kept apart is named, once, in the log and in our metrics", async (t) => {
  const running = await start(t);
  await running.ingest.close();
  const { store, clock, telemetry } = running;
  const lines: string[] = [];
  const told = createLog({ level: "warn", terminal: false, write: (line) => lines.push(line), monotonicMs: () => 0 });
  running.ingest = await openIngest({ writer: store.writer, clock, telemetry, log: told });
  const many = (first: number, count: number): TestSpan[] =>
    Array.from({ length: count }, (_, at) => ({
      service: "noisy",
      kind: 1,
      spanId: BigInt(first + at),
      name: `GET /users/${first + at}`,
    }));
  await running.ingest.acceptSpans(batchOf(many(1, 1_200)), OTLP);
  await running.ingest.flush();
  await running.ingest.acceptSpans(batchOf(many(5_000, 30)), OTLP);
  await running.ingest.acceptSpans(batchOf([{ service: "calm", kind: 1, spanId: 9_999n, name: "GET" }]), OTLP);
  await running.ingest.flush();
  const about = lines.filter((line) => line.includes("span names"));
  assert.equal(about.length, 1, lines.join());
  assert.match(about[0] ?? "", /noisy/);
  assert.match(telemetry.render(), /^thalweg_derive_overflow_offender_calls\{of="span_name",service="noisy"\} 230$/m);
  const calls = await newest(store, "traces_spanmetrics_calls_total", ["service", "span_name"]);
  assert.equal(calls.get("noisy __cardinality_overflow__"), 230);
  assert.equal(calls.get("calm GET"), 1);
});
