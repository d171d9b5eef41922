import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { batchOf, START_MS, type TestSpan } from "../derive/test-spans.ts";
import { assembleTrace } from "../query/trace-assembly.ts";
import { openStore, type Store } from "../store/store.ts";
import { createLog } from "../telemetry/log.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { type Ingest, openIngest } from "./ingest.ts";

const OTLP = { signal: "traces", transport: "http" } as const;
const log = createLog({
  level: "warn",
  terminal: false,
  write: (line) => process.stdout.write(line),
  monotonicMs: () => 0,
});

type Kill = "no" | "between" | "after";

class World {
  ms = START_MS;
  store: Store;
  ingest: Ingest;
  readonly #directory: string;

  private constructor(directory: string, store: Store, ingest: Ingest) {
    this.#directory = directory;
    this.store = store;
    this.ingest = ingest;
  }

  static async open(t: TestContext): Promise<World> {
    const directory = await mkdtemp(join(tmpdir(), "thalweg-late-"));
    const at = { ms: START_MS };
    const { store, ingest } = await opened(directory, () => at.ms);
    const world = new World(directory, store, ingest);
    Object.defineProperty(world, "ms", {
      get: () => at.ms,
      set: (ms: number) => {
        at.ms = ms;
      },
    });
    t.after(async () => {
      await world.ingest.close();
      await world.store.close();
      await rm(directory, { recursive: true, force: true });
    });
    return world;
  }

  async send(...spans: TestSpan[]): Promise<void> {
    await this.ingest.acceptSpans(batchOf(spans), OTLP);
  }

  /** Time passes, halves that waited are given up or looked for, and all is written. */
  async pass(ms: number): Promise<void> {
    this.ms += ms;
    await new Promise((resolve) => setTimeout(resolve, 1_300));
    await this.ingest.flush();
  }

  /** As kill -9: what was derived since the last flush is gone. */
  async kill(): Promise<void> {
    this.ms += 10;
    await this.store.close();
    const { store, ingest } = await opened(this.#directory, () => this.ms);
    this.store = store;
    this.ingest = ingest;
  }

  async edges(): Promise<unknown[][]> {
    const text =
      "SELECT client, server, connection_type, sum(requests), sum(errors) FROM edges GROUP BY ALL ORDER BY ALL";
    const limits = { rowsMax: 1000, bytesMax: 1e7, timeoutMs: 10_000 };
    return (await this.store.reader.sql({ text, params: [] }, limits)).rows.map((row) => row.map(String));
  }

  /** Last values of a metric's series that are not 0, by client, server and type. */
  async series(metric: string): Promise<Record<string, number>> {
    const found: Record<string, number> = {};
    const matchers = [{ name: "__name__", kind: "=", value: metric }] as const;
    for (const { labels, values } of await this.store.reader.select([...matchers], 0, Number.MAX_SAFE_INTEGER)) {
      const name = (label: string) => labels.find(([key]) => key === label)?.[1] ?? "";
      const value = values.at(-1) ?? 0;
      if (value !== 0) found[`${name("client")}|${name("server")}|${name("connection_type")}`] = value;
    }
    return found;
  }
}

async function opened(directory: string, nowMs: () => number): Promise<{ store: Store; ingest: Ingest }> {
  const clock = {
    nowMs,
    nowUnixNano: () => BigInt(nowMs()) * 1_000_000n,
    monotonicMs: () => performance.now(),
  };
  const store = await openStore({ directory, clock, retentionMs: 15 * 86_400_000, memoryLimitBytes: 256 * 2 ** 20 });
  return { store, ingest: await openIngest({ writer: store.writer, clock, telemetry: new Telemetry(), log }) };
}

const CLIENT: TestSpan = { service: "a", kind: 3, spanId: 1n, status: 2, durationMs: 40 };
const SERVER: TestSpan = { service: "b", kind: 2, spanId: 2n, parentSpanId: 1n, durationMs: 30 };
const REQUESTS = "traces_service_graph_request_total";

/** One side, then a minute, then the other. */
async function lateCall(t: TestContext, first: TestSpan, late: TestSpan, kill: Kill): Promise<World> {
  const world = await World.open(t);
  await world.send(first);
  await world.pass(20_000);
  if (kill === "between") await world.kill();
  world.ms += 40_000;
  await world.send(late);
  if (kill === "after") await world.kill();
  await world.pass(1_000);
  await world.pass(15_000);
  return world;
}

// Each waits most of the time, for what comes by the second.
describe("late calls", { concurrency: true }, () => {
  for (const kill of ["no", "between", "after"] as const) {
    test(`a client that comes a minute late finds its server in the store (kill -9: ${kill})`, async (t) => {
      const world = await lateCall(t, SERVER, CLIENT, kill);
      assert.deepEqual(await world.edges(), [["a", "b", "", "1", "1"]]);
      assert.deepEqual(await world.series(REQUESTS), { "a|b|": 1 });
      assert.deepEqual(await world.series("traces_service_graph_unpaired_spans_total"), { "|b|": 1 });
      assert.deepEqual(await world.series("traces_service_graph_backfilled_spans_total"), { "|b|": 1 });
      await world.kill();
      await world.pass(30_000);
      assert.deepEqual(await world.edges(), [["a", "b", "", "1", "1"]]);
      assert.deepEqual(await world.series(REQUESTS), { "a|b|": 1 });
    });

    test(`a server that comes a minute late finds its client in the store (kill -9: ${kill})`, async (t) => {
      const named = { ...CLIENT, attributes: { "peer.service": "10.0.0.5:80" } };
      const world = await lateCall(t, named, SERVER, kill);
      assert.deepEqual(await world.edges(), [["a", "b", "", "1", "1"]]);
      assert.deepEqual(await world.series(REQUESTS), { "a|b|": 1, "a|10.0.0.5:80|virtual_node": 1 });
      assert.deepEqual(await world.series("traces_service_graph_unpaired_spans_total"), {});
    });
  }

  test("a call that the series hold as one into the server is not counted in them again", async (t) => {
    const world = await lateCall(t, { ...CLIENT, attributes: { "peer.service": "b" } }, SERVER, "no");
    assert.deepEqual(await world.edges(), [["a", "b", "", "1", "1"]]);
    assert.deepEqual(await world.series(REQUESTS), { "a|b|virtual_node": 1 });
    const seen = await lateCall(t, { ...SERVER, source: 0 }, CLIENT, "no");
    assert.deepEqual(await seen.edges(), [["a", "b", "", "1", "1"]]);
    assert.deepEqual(await seen.series(REQUESTS), { "user|b|virtual_node": 1 });
  });

  test("a late second server of a client that has one is a call of that client, and unpaired", async (t) => {
    const world = await World.open(t);
    await world.send(CLIENT, SERVER);
    await world.pass(60_000);
    await world.send({ ...SERVER, spanId: 3n });
    await world.pass(1_000);
    await world.kill();
    await world.send({ ...SERVER, spanId: 4n });
    await world.pass(11_000);
    await world.pass(11_000);
    const edges = (await world.edges()).map(([client, server, , requests]) => [client, server, requests]);
    assert.equal(
      edges.reduce((sum, [, , requests]) => sum + Number(requests), 0),
      3,
    );
    assert.deepEqual(await world.series(REQUESTS), { "a|b|": 1 });
  });

  test("of two late servers of one client the first pairs, the second is a call of that client in the minutes", async (t) => {
    const world = await World.open(t);
    await world.send(CLIENT);
    await world.pass(60_000);
    await world.send(SERVER, { ...SERVER, spanId: 3n });
    await world.pass(1_000);
    await world.pass(11_000);
    assert.deepEqual(await world.edges(), [["a", "b", "", "2", "1"]]);
    assert.deepEqual(await world.series(REQUESTS), { "a|b|": 1 });
    assert.deepEqual(await world.series("traces_service_graph_unpaired_spans_total"), { "a||": 1, "|b|": 1 });
    assert.deepEqual(await world.series("traces_service_graph_backfilled_spans_total"), { "a||": 1 });
  });

  test("a late client with two servers takes both from the unknown caller", async (t) => {
    const world = await World.open(t);
    await world.send(SERVER, { ...SERVER, spanId: 3n });
    await world.pass(20_000);
    await world.send(CLIENT);
    await world.pass(1_000);
    await world.pass(11_000);
    assert.deepEqual(await world.edges(), [["a", "b", "", "2", "1"]]);
    assert.deepEqual(await world.series(REQUESTS), { "a|b|": 1 });
  });

  test("messages pair late, by parent and over a restart; of two late halves none is counted twice", async (t) => {
    const world = await World.open(t);
    await world.send({ service: "shop", kind: 4, spanId: 1n });
    await world.pass(20_000);
    await world.kill();
    const consumer: TestSpan = { service: "billing", kind: 5, spanId: 2n, parentSpanId: 1n };
    await world.send(consumer, { ...consumer, service: "audit", spanId: 3n });
    await world.pass(11_000);
    await world.pass(11_000);
    assert.deepEqual(await world.series(REQUESTS), {
      "shop|billing|messaging_system": 1,
      "shop|audit|messaging_system": 1,
    });
  });

  test("orphans of many traces are given up as ever", async (t) => {
    const world = await World.open(t);
    const orphans = Array.from({ length: 50 }, (_, at) => ({ ...SERVER, traceIdLow: BigInt(at + 9) }));
    await world.send(...orphans);
    await world.kill();
    await world.pass(11_000);
    await world.pass(11_000);
    assert.deepEqual(await world.edges(), [["unknown", "b", "virtual_node", "50", "0"]]);
    assert.deepEqual(await world.series("traces_service_graph_unpaired_spans_total"), { "|b|": 50 });
  });

  test("a trace the agent computed and the program's own are one under both ids, over a restart too", async (t) => {
    const world = await World.open(t);
    const seen: TestSpan = {
      service: "front",
      kind: 2,
      spanId: 9n,
      traceIdLow: 5n,
      source: 0,
      durationMs: 50,
      linksTo: [[6n, 2n]],
    };
    await world.send(seen);
    const own: TestSpan = { service: "front", kind: 2, spanId: 1n, traceIdLow: 6n, startMs: 1, durationMs: 45 };
    await world.send(own, { service: "front", kind: 3, spanId: 2n, parentSpanId: 1n, traceIdLow: 6n, startMs: 2 });
    const idOf = (low: number) => `${"1".padStart(16, "0")}${String(low).padStart(16, "0")}`;
    const spansOf = async (low: number) =>
      (await world.store.reader.trace(idOf(low), 100)).map(({ spanId }) => Number(spanId));
    await world.kill();
    await world.pass(1_000);
    assert.deepEqual(await spansOf(5), [9, 1, 2]);
    assert.deepEqual(await spansOf(6), [9, 1, 2]);
    await world.kill();
    assert.deepEqual(await spansOf(5), [9, 1, 2]);
    const assembly = assembleTrace(await world.store.reader.trace(idOf(6), 100));
    let step = assembly.next();
    while (step.done !== true) step = assembly.next();
    assert.deepEqual(
      step.value.map(({ parent }) => parent),
      [-1, 0, 1],
    );
    // A link of the program's own says nothing of the kind.
    await world.send({ ...own, traceIdLow: 7n, linksTo: [[8n, 2n]] }, { ...own, traceIdLow: 8n });
    await world.pass(1_000);
    assert.deepEqual(await spansOf(7), [1]);
  });
});
