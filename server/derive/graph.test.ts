import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { KIND_CLIENT, KIND_PRODUCER, KIND_SERVER, type SpanBatch } from "../model/span-batch.ts";
import { requireOrSkip } from "../platform/test-ability.ts";
import { DerivedStreams } from "./derived-streams.ts";
import type { MinuteRow } from "./edge-series.ts";
import { EDGE_WAIT_MS, type GraphLimits } from "./graph.ts";
import { batchOf, batchOfOtlp, type OtlpRequest, START_MS, sampleMap, type TestSpan } from "./test-spans.ts";

const SHARED = join(import.meta.dirname, "..", "..", "..", "shared");
const CASES = join(SHARED, "conformance", "otlp", "servicegraph-cases.json");
const SHOP = join(SHARED, "conformance", "otlp", "sdk-shop");
const FIELD = join(SHARED, "field", "inputs");

/** Index of `ebpf` and `otlp` in `SPAN_SOURCES`. */
const KERNEL = 0;

function derive(batches: readonly SpanBatch[], graph: GraphLimits = {}): DerivedStreams {
  const streams = new DerivedStreams({ graph });
  for (const [at, batch] of batches.entries()) streams.observe(batch, at + 1, START_MS + at);
  return streams;
}

/** Values of all series after everything waiting was given up. */
function settle(streams: DerivedStreams): Map<string, number> {
  streams.expire(START_MS + 1_000_000);
  for (const cadence of streams.zeros(START_MS).cadences) cadence.zeroed = true;
  return sampleMap(streams.samples(START_MS + 1_000_001));
}

interface Edge {
  client: string;
  server: string;
  connection_type: string;
  requests: number;
  failed: number;
  client_ms?: number;
  server_ms?: number;
}

function edgesOf(samples: Map<string, number>, withLatency: boolean): Edge[] {
  const edges: Edge[] = [];
  for (const [series, requests] of samples) {
    const labels = /^traces_service_graph_request_total(\{.*\})$/.exec(series)?.[1];
    if (labels === undefined) continue;
    const label = (name: string) => new RegExp(`[{,]${name}="([^"]*)"`).exec(labels)?.[1] ?? "";
    const meanMs = (side: string) => {
      const sum = samples.get(`traces_service_graph_request_${side}_seconds_sum${labels}`) ?? Number.NaN;
      const count = samples.get(`traces_service_graph_request_${side}_seconds_count${labels}`) ?? Number.NaN;
      return Math.round((sum / count) * 1e6) / 1e3;
    };
    edges.push({
      client: label("client"),
      server: label("server"),
      connection_type: label("connection_type"),
      requests,
      failed: samples.get(`traces_service_graph_request_failed_total${labels}`) ?? Number.NaN,
      ...(withLatency ? { client_ms: meanMs("client"), server_ms: meanMs("server") } : {}),
    });
  }
  return sorted(edges);
}

function sorted(edges: readonly Edge[]): Edge[] {
  const key = ({ client, server, connection_type: type }: Edge) => `${client} ${server} ${type}`;
  return [...edges].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function minutesOf(rows: readonly MinuteRow[]): Record<string, number> {
  const requests: Record<string, number> = {};
  for (const row of rows) {
    const key = `${row.client}>${row.server}`;
    requests[key] = (requests[key] ?? 0) + row.requests;
  }
  return requests;
}

function expiredOf(streams: DerivedStreams): Record<string, number> {
  const counted = Object.entries(streams.graphCounts().expired).filter(([, count]) => count > 0);
  return Object.fromEntries(counted.map(([kind, count]) => [`SPAN_KIND_${kind.toUpperCase()}`, count]));
}

interface GraphCase {
  name: string;
  request: OtlpRequest;
  expectedEdges: Edge[];
  expectedExpired: Record<string, number>;
}

const MISSING = existsSync(CASES) ? "" : `${CASES} does not exist`;

test("servicegraph-cases.json", async (t) => {
  if (!requireOrSkip(t, "suites", MISSING)) return;
  // The file is a checked-out fixture; its shape is stated in its folder's README.
  const cases = JSON.parse(readFileSync(CASES, "utf8")) as GraphCase[];
  for (const { name, request, expectedEdges, expectedExpired } of cases) {
    for (const order of ["as sent", "reversed", "one span a batch"]) {
      await t.test(`${name}, ${order}`, () => {
        const one = (resourceSpans: OtlpRequest["resourceSpans"]) => batchOfOtlp({ resourceSpans });
        const spans = request.resourceSpans;
        const alone = spans.flatMap(({ resource, scopeSpans }) =>
          scopeSpans.flatMap((scope) =>
            scope.spans.map((span) => one([{ ...(resource ? { resource } : {}), scopeSpans: [{ spans: [span] }] }])),
          ),
        );
        const batches =
          order === "one span a batch" ? alone : [one(order === "reversed" ? [...spans].reverse() : spans)];
        const streams = derive(batches);
        assert.deepEqual(edgesOf(settle(streams), true), sorted(expectedEdges));
        assert.deepEqual(expiredOf(streams), expectedExpired);
      });
    }
  }
});

test("sdk-shop, its JSON bodies", (t) => {
  if (!requireOrSkip(t, "suites", MISSING)) return;
  const batches = readdirSync(SHOP)
    .filter((name) => /traces\.json(\.gz)?$/.test(name))
    .map((name) => {
      const bytes = readFileSync(join(SHOP, name));
      return batchOfOtlp(JSON.parse((name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString()) as OtlpRequest);
    });
  const streams = derive(batches);
  const samples = settle(streams);
  let calls = 0;
  for (const [series, value] of samples) if (series.startsWith("traces_spanmetrics_calls_total{")) calls += value;
  assert.equal(
    calls,
    batches.reduce((sum, { rows }) => sum + rows, 0),
  );
});

test("messages found by link and by parent, in both orders", (t) => {
  if (!requireOrSkip(t, "suites", MISSING)) return;
  for (const name of ["SG-01.otlp.json", "SG-01.reversed.otlp.json"]) {
    const request = JSON.parse(readFileSync(join(FIELD, name), "utf8")) as OtlpRequest;
    const apart = request.resourceSpans.map((spans) => batchOfOtlp({ resourceSpans: [spans] }));
    for (const batches of [[batchOfOtlp(request)], apart, [...apart].reverse()]) {
      const streams = derive(batches);
      const samples = settle(streams);
      const edge = (server: string): Edge => ({
        client: "shop",
        server,
        connection_type: "messaging_system",
        requests: 1,
        failed: 0,
      });
      assert.deepEqual(edgesOf(samples, false), [edge("audit"), edge("billing")]);
      assert.deepEqual(expiredOf(streams), {});
      const labels = '{client="shop",connection_type="messaging_system",server="billing"}';
      const waited = samples.get(`traces_service_graph_request_messaging_system_seconds_sum${labels}`) ?? 0;
      assert.ok(Math.abs(waited - 0.995) < 1e-6);
      assert.equal(samples.get(`traces_service_graph_request_client_seconds_sum${labels}`), 0.005);
    }
  }
});

const client = (service: string, spanId: bigint, more: Partial<TestSpan> = {}): TestSpan => ({
  service,
  kind: KIND_CLIENT,
  spanId,
  ...more,
});
const server = (service: string, spanId: bigint, parentSpanId: bigint, more: Partial<TestSpan> = {}): TestSpan => ({
  service,
  kind: KIND_SERVER,
  spanId,
  parentSpanId,
  ...more,
});

test("a second server of one client span is unpaired in the series and called by that client in the minutes", () => {
  for (const spans of [
    [client("a", 1n), server("b", 2n, 1n), server("b", 3n, 1n)],
    [server("b", 2n, 1n), server("b", 3n, 1n), client("a", 1n)],
  ]) {
    for (const batches of [[batchOf(spans)], spans.map((span) => batchOf([span]))]) {
      const streams = derive(batches);
      const edges = edgesOf(settle(streams), false);
      assert.deepEqual(
        edges.map(({ client: c, server: s, requests }) => [c, s, requests]),
        [["a", "b", 1]],
      );
      assert.deepEqual(expiredOf(streams), { SPAN_KIND_SERVER: 1 });
      assert.deepEqual(minutesOf(streams.takeRows().edges), { "a>b": 2 });
    }
  }
});

test("spans the agent saw: a root is an edge at once, an unseen parent is an unknown caller", () => {
  const streams = derive([batchOf([server("a", 1n, 0n, { source: KERNEL }), server("a", 2n, 9n, { source: KERNEL })])]);
  assert.deepEqual(minutesOf(streams.takeRows().edges), { "user>a": 1 });
  const samples = settle(streams);
  assert.deepEqual(
    edgesOf(samples, false).map(({ client: c, server: s, requests }) => [c, s, requests]),
    [["user", "a", 2]],
  );
});

test("a client the agent saw names its server by address", () => {
  const streams = derive([batchOf([client("a", 1n, { source: KERNEL, serverAddr: "10.0.0.7", serverPort: 443 })])]);
  assert.deepEqual(
    edgesOf(settle(streams), false).map(({ server: s, connection_type: type }) => [s, type]),
    [["10.0.0.7:443", "virtual_node"]],
  );
});

test("a database call that the agent saw at both ends is one edge, in whatever batches its sights come", () => {
  const address = {
    source: KERNEL,
    clientAddr: "127.0.0.1",
    clientPort: 4001,
    serverAddr: "127.0.0.1",
    serverPort: 6379,
  };
  const asked = client("shop", 1n, { ...address, attributes: { "db.system": "redis", "db.namespace": "0" } });
  const answered = server("redis", 2n, 1n, { ...address, attributes: { "db.system": "redis" } });
  for (const batches of [
    [batchOf([asked, answered])],
    [batchOf([asked]), batchOf([answered])],
    [batchOf([answered]), batchOf([asked])],
  ]) {
    const streams = derive(batches);
    assert.deepEqual(
      edgesOf(settle(streams), false).map(({ client: c, server: s, connection_type: type, requests }) => [
        c,
        s,
        type,
        requests,
      ]),
      [["shop", "redis", "database", 1]],
    );
    assert.deepEqual(minutesOf(streams.takeRows().edges), { "shop>redis": 1 });
    assert.deepEqual(expiredOf(streams), {});
  }
  const alone = edgesOf(settle(derive([batchOf([asked])])), false);
  assert.deepEqual(
    alone.map(({ client: c, connection_type: type, requests }) => [c, type, requests]),
    [["shop", "database", 1]],
  );
});

test("weights count, and the server's weight is the edge's", () => {
  const streams = derive([batchOf([client("a", 1n, { weight: 10 }), server("b", 2n, 1n, { weight: 10 })])]);
  assert.equal(edgesOf(settle(streams), false)[0]?.requests, 10);
});

test("a late half within the wait pairs, a later one does not", () => {
  const streams = new DerivedStreams();
  streams.observe(batchOf([server("b", 2n, 1n), server("b", 12n, 11n)]), 1, START_MS);
  streams.expire(START_MS + EDGE_WAIT_MS - 1);
  streams.observe(batchOf([client("a", 1n)]), 2, START_MS + EDGE_WAIT_MS - 1);
  streams.expire(START_MS + EDGE_WAIT_MS);
  streams.observe(batchOf([client("a", 11n)]), 3, START_MS + EDGE_WAIT_MS + 1);
  assert.equal(edgesOf(settle(streams), false)[0]?.requests, 1);
  assert.deepEqual(expiredOf(streams), { SPAN_KIND_SERVER: 1, SPAN_KIND_CLIENT: 1 });
  assert.deepEqual(minutesOf(streams.takeRows().edges), { "a>b": 1, "unknown>b": 1 });
});

test("a duplicate tells who called, and the call counts once", () => {
  const sdkServer = server("shop", 5n, 0n);
  const kernelClient = client("curl", 1n, { source: KERNEL });
  const kernelServer = server("shop", 2n, 1n, { source: KERNEL, duplicateOf: 5n });
  for (const spans of [
    [sdkServer, kernelClient, kernelServer],
    [kernelServer, kernelClient, sdkServer],
    [kernelClient, sdkServer, kernelServer],
  ]) {
    const streams = derive(spans.map((span) => batchOf([span])));
    assert.deepEqual(
      edgesOf(settle(streams), false).map(({ client: c, server: s, requests }) => [c, s, requests]),
      [["curl", "shop", 1]],
    );
    assert.deepEqual(minutesOf(streams.takeRows().edges), { "curl>shop": 1 });
    assert.deepEqual(expiredOf(streams), {});
  }
});

test("calls that carry one parent id pair by connection, and count once beside the program's own span", () => {
  const carried = { source: KERNEL, linkReason: "traceparent", parentSpanId: 100n, clientAddr: "127.0.0.1" };
  const hop = (from: string, to: string, id: bigint, clientPort: number): TestSpan[] => [
    client(from, id, { ...carried, clientPort, serverAddr: "127.0.0.1", serverPort: 80 }),
    server(to, id + 1n, 100n, { ...carried, clientPort, serverAddr: "127.0.0.1", serverPort: 80 }),
  ];
  const own = client("curl", 100n, { attributes: { "peer.service": "front" } });
  const hops = [...hop("curl", "front", 1n, 4001), ...hop("front", "back", 3n, 4002)];
  for (const batches of [
    [batchOf(hops)],
    [...hops].reverse().map((span) => batchOf([span])),
    [batchOf(hops), batchOf([own])],
  ]) {
    const streams = derive(batches);
    const edges = edgesOf(settle(streams), false);
    assert.deepEqual(
      edges.map(({ client: c, server: s, requests }) => [c, s, requests]),
      [
        ["curl", "front", 1],
        ["front", "back", 1],
      ],
    );
    assert.deepEqual(expiredOf(streams), {});
  }
});

test("a call of two SDKs whose client the agent cannot name counts once, in every order of its four sights", () => {
  const carried = { source: KERNEL, linkReason: "traceparent", parentSpanId: 100n, clientPort: 4001 };
  const sights = [
    client("front", 100n),
    server("back", 200n, 100n),
    client("unknown", 1n, carried),
    server("back", 2n, 100n, { ...carried, duplicateOf: 200n }),
  ];
  for (const order of permutations(sights)) {
    const streams = derive(order.map((span) => batchOf([span])));
    settle(streams);
    const into = streams.takeRows().edges.filter(({ server: name }) => name === "back");
    assert.equal(
      into.reduce((sum, { requests }) => sum + requests, 0),
      1,
      order.map(({ service, spanId }) => `${service} ${spanId}`).join(", "),
    );
  }
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((first, at) =>
    permutations(items.filter((_, other) => other !== at)).map((rest) => [first, ...rest]),
  );
}

test("loops and self-parents end in one edge each", () => {
  const streams = derive([batchOf([server("a", 1n, 2n), server("a", 2n, 1n), server("a", 3n, 3n), client("a", 4n)])]);
  settle(streams);
  assert.deepEqual(minutesOf(streams.takeRows().edges), { "unknown>a": 3 });
});

test("where no more may wait, those that waited longest make room: a call whose sides come together always pairs", () => {
  const roots = Array.from({ length: 20 }, (_, at) => server("a", BigInt(100 + at), 0n));
  const streams = derive([batchOf(roots), batchOf([client("a", 1n), server("b", 2n, 1n)])], { waitingMax: 4 });
  assert.deepEqual(edgesOf(settle(streams), false), [
    { client: "a", server: "b", connection_type: "", requests: 1, failed: 0 },
    { client: "user", server: "a", connection_type: "virtual_node", requests: 20, failed: 0 },
  ]);
});

test("every server span is in exactly one edge of the minutes, whatever is lost, late, doubled or too much", () => {
  let state = 12345;
  const pick = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 40; round++) {
    const streams = new DerivedStreams({ graph: { waitingMax: 1 + pick(30), edgesMax: 4 } });
    const want: Record<string, number> = {};
    const got: Record<string, number> = {};
    let nowMs = START_MS;
    const kinds = [KIND_SERVER, KIND_SERVER, KIND_CLIENT, KIND_CLIENT, KIND_PRODUCER];
    for (let sequence = 1; sequence <= 40; sequence++) {
      const spans: TestSpan[] = Array.from({ length: pick(12) }, () => {
        const kind = kinds[pick(kinds.length)] ?? 0;
        const service = `s${pick(3)}`;
        const weight = 1 + pick(3);
        if (kind === KIND_SERVER) want[service] = (want[service] ?? 0) + weight;
        return {
          service,
          kind,
          weight,
          source: pick(2) * 2,
          traceIdLow: BigInt(pick(3)),
          spanId: BigInt(pick(20)),
          parentSpanId: BigInt(pick(20)),
          attributes: pick(6) === 0 ? { "db.system": "redis" } : {},
          startMs: nowMs - START_MS,
        };
      });
      streams.observe(batchOf(spans), sequence, nowMs);
      nowMs += pick(4000);
      streams.expire(nowMs);
    }
    streams.expire(nowMs + EDGE_WAIT_MS);
    assert.equal(streams.graphCounts().waiting, 0);
    for (const row of streams.takeRows().edges) {
      if (row.server in want) got[row.server] = (got[row.server] ?? 0) + row.requests;
    }
    assert.deepEqual(got, want);
  }
});

test("a server span that the agent saw too has an unknown caller, in every order, should its parent never show", () => {
  const own = { service: "back", kind: 2, spanId: 200n, parentSpanId: 100n } as const;
  const seen = { ...own, spanId: 2n, source: 1, linkReason: "traceparent", clientPort: 4000, duplicateOf: 200n };
  for (const order of [
    [own, seen],
    [seen, own],
  ]) {
    const streams = new DerivedStreams();
    for (const [at, span] of order.entries()) streams.observe(batchOf([span]), at + 1, START_MS + 1_000 * at);
    streams.expire(START_MS + 60_000);
    const edges = streams.takeRows().edges.map(({ client, server, requests }) => [client, server, requests]);
    assert.deepEqual(edges, [["user", "back", 1]]);
    for (const cadence of streams.zeros(START_MS + 60_000).cadences) cadence.zeroed = true;
    const samples = sampleMap(streams.samples(START_MS + 60_000));
    const labels = '{client="user",connection_type="virtual_node",server="back"}';
    assert.equal(samples.get(`traces_service_graph_request_total${labels}`), 1);
    assert.ok([...samples.keys()].every((key) => !key.startsWith("traces_service_graph_unpaired")));
  }
});
