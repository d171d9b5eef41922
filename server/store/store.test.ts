import assert from "node:assert/strict";
import { test } from "node:test";
import { ThalwegError } from "../model/errors.ts";
import { spanIdToHex, traceIdToHex } from "../model/hex.ts";
import type { Attribute, Resource } from "../model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder, type SpanToAppend } from "../model/span-batch-builder.ts";
import { ROW_GROUP_ROWS } from "./schema.ts";
import type { Store } from "./store.ts";
import { batchOf, NOON_MS, NOON_NS, openIn, rowsOf, SHOP, temporaryDirectory, WIDE_LIMITS } from "./store-fixture.ts";

test("a span comes back whole, by trace and in SQL", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const attributes: Attribute[] = [
    { key: "http.request.method", kind: "s", value: "GET" },
    { key: "http.response.status_code", kind: "i", value: "200" },
    { key: "ratio", kind: "d", value: "NaN" },
    { key: "yes", kind: "b", value: "true" },
    { key: "list", kind: "j", value: '{"arrayValue":{"values":[{"intValue":"1"}]}}' },
    { key: "bytes", kind: "x", value: "AAEC" },
    { key: "nothing", kind: "n", value: "" },
    { key: "ratio", kind: "s", value: "again" },
    { key: "server.port", kind: "s", value: "a text where a number stands" },
    { key: "url.path", kind: "s", value: "" },
    { key: "long.text", kind: "s", value: "größer als zwölf Bytes 🎐 \0 und weiter" },
    { key: "http.request.method", kind: "s", value: "POST" },
  ];
  const span: Partial<SpanToAppend> = {
    traceIdHigh: 0x8af7651916cd43ddn,
    traceIdLow: 0x8448eb211c80319cn,
    spanId: 0xb7ad6b7169203331n,
    parentSpanId: 0x00f067aa0ba902b7n,
    name: "GET /orders/{id}",
    kind: 3,
    status: 2,
    statusMessage: "upstream said no",
    source: 2,
    linkReason: "one-sight",
    protocol: "http1",
    clientAddr: "127.0.0.1",
    clientPort: 40_001,
    serverAddr: "2001:db8::1",
    serverPort: 8080,
    pid: 4_000_000_000,
    weight: 7,
    duplicateOf: 0x8000_0000_0000_0000n,
    flags: 0xffff_ffff,
    traceState: "a=b,c=d",
    attributes,
    events: Uint8Array.from({ length: 40 }, (_, index) => index),
    links: Uint8Array.of(1, 2, 3),
  };
  const resource = { ...SHOP, rest: '{"droppedAttributesCount":2}' };
  const scope = { name: "scope", version: "1.0", rest: '{"schemaUrl":"https://opentelemetry.io/schemas/1.30.0"}' };
  const receipt = await store.writer.commitSpans(batchOf([span], resource, scope));
  assert.deepEqual(receipt, { spans: 1, sequence: 1 });

  const [stored] = await store.reader.trace("8af7651916cd43dd8448eb211c80319c", 10);
  assert.deepEqual(stored, {
    traceId: "8af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    parentSpanId: "00f067aa0ba902b7",
    service: "shop",
    instance: "shop-1",
    name: span.name,
    kind: 3,
    status: 2,
    statusMessage: span.statusMessage,
    startNs: NOON_NS,
    endNs: NOON_NS + 5_000_000n,
    source: "otlp",
    linkReason: "one-sight",
    traceState: "a=b,c=d",
    flags: 0xffff_ffff,
    scopeName: "scope",
    scopeVersion: "1.0",
    scopeRest: '{"schemaUrl":"https://opentelemetry.io/schemas/1.30.0"}',
    resourceRest: '{"droppedAttributesCount":2}',
    resource: SHOP.attributes,
    attributes,
    events: span.events,
    links: span.links,
  });

  const { columns, rows } = await store.reader.sql({ text: "SELECT * FROM spans", params: [] }, WIDE_LIMITS);
  const row = Object.fromEntries(columns.map(({ name }, index) => [name, rows[0]?.[index]]));
  assert.equal(row["trace_id"], "8af7651916cd43dd8448eb211c80319c");
  assert.equal(row["span_id"], "b7ad6b7169203331");
  assert.equal(row["parent_span_id"], "00f067aa0ba902b7");
  assert.equal(row["duplicate_of"], "8000000000000000");
  assert.equal(row["kind"], "client");
  assert.equal(row["status"], "error");
  assert.equal(row["start_ns"], `${NOON_MS}000000`);
  assert.equal(row["duration_ns"], "5000000");
  assert.equal(row["source"], "otlp");
  assert.equal(row["client_port"], 40_001);
  assert.equal(row["pid"], 4_000_000_000);
  assert.equal(row["weight"], 7);
  assert.equal(row["tb"], 0x9c);
  assert.deepEqual(
    { ...(row["attributes"] as object) },
    {
      ratio: "NaN",
      yes: "true",
      list: '{"arrayValue":{"values":[{"intValue":"1"}]}}',
      bytes: "AAEC",
      nothing: "",
      "server.port": "a text where a number stands",
      "long.text": "größer als zwölf Bytes 🎐 \0 und weiter",
      "http.request.method": "GET",
      "http.response.status_code": "200",
      "url.path": "",
    },
  );
  assert.deepEqual(
    { ...(row["resource"] as object) },
    { "host.cpus": "2", "service.instance.id": "shop-1", "service.name": "shop", "telemetry.sdk.language": "nodejs" },
  );
});

test("extremes of ids and times, absent values and broken surrogates", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const year = (text: string) => BigInt(Date.parse(text)) * 1_000_000n;
  const cases: Partial<SpanToAppend>[] = [
    { traceIdHigh: 0n, traceIdLow: 1n, spanId: 0n, startNs: 0n, endNs: 0n },
    {
      traceIdHigh: 2n ** 63n,
      traceIdLow: 2n ** 63n,
      spanId: 2n ** 63n,
      startNs: year("2017-01-01"),
      endNs: year("2017-01-01") + 1n,
    },
    {
      traceIdHigh: 2n ** 64n - 1n,
      traceIdLow: 2n ** 64n - 1n,
      spanId: 2n ** 64n - 1n,
      startNs: year("2200-01-01"),
      endNs: 2n ** 63n - 1n,
    },
    {
      traceIdHigh: 7n,
      startNs: 10n,
      endNs: 5n,
      name: "broken \ud800 surrogate",
      attributes: [
        { key: "a\udc00", kind: "s", value: "\ud83d" },
        { key: "a\ufffd", kind: "s", value: "same key in UTF-8" },
      ],
    },
  ];
  await store.writer.commitSpans(batchOf(cases));
  for (const span of cases) {
    const id = traceIdToHex(span.traceIdHigh ?? 1n, span.traceIdLow ?? 2n);
    const [stored] = await store.reader.trace(id, 1);
    assert.equal(stored?.traceId, id);
    assert.equal(stored?.spanId, spanIdToHex(span.spanId ?? 3n));
    assert.equal(stored?.parentSpanId, "");
    assert.equal(stored?.startNs, span.startNs);
    assert.equal(stored?.endNs, span.endNs);
  }
  const [broken] = await store.reader.trace(traceIdToHex(7n, 2n), 1);
  assert.equal(broken?.name, "broken \ufffd surrogate");
  assert.deepEqual(broken?.attributes, [
    { key: "a\ufffd", kind: "s", value: "\ufffd" },
    { key: "a\ufffd", kind: "s", value: "same key in UTF-8" },
  ]);
  assert.deepEqual(
    await rowsOf(store, "SELECT DISTINCT parent_span_id, link_reason, duplicate_of, pid, protocol FROM spans"),
    [[null, null, null, null, null]],
  );
  assert.deepEqual(store.stats().days, ["2026-11-26"], "times of spans make no files");
});

test("resources without attributes, and more of them than one statement takes", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const bare: Resource = { service: "unknown_service", instance: "", attributes: [] };
  await store.writer.commitSpans(batchOf([{ traceIdLow: 9n }], bare));
  const [stored] = await store.reader.trace(traceIdToHex(1n, 9n), 1);
  assert.deepEqual(stored?.resource, []);
  const builder = new SpanBatchBuilder();
  for (let pod = 0; pod < 150; pod++) {
    const attributes: Attribute[] = [{ key: "pod", kind: "s", value: `p${pod}` }];
    const resource = builder.addResource({ service: "shop", instance: `i${pod}`, attributes });
    const scope = builder.addScope({ name: "", version: "" });
    builder.append({ ...EMPTY_SPAN, traceIdHigh: 2n, traceIdLow: 2n, spanId: BigInt(pod + 1), resource, scope });
  }
  await store.writer.commitSpans(builder.seal());
  assert.deepEqual(
    await rowsOf(
      store,
      "SELECT count(*), count(DISTINCT resource['pod']), count(*) FILTER (resource['pod'] = replace(instance, 'i', 'p')) FROM spans WHERE service = 'shop'",
    ),
    [["150", "150", "150"]],
  );
});

test("100,000 spans in many batches, again after a restart", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = await openIn(t, directory);
  const receipts = await Promise.all(
    Array.from({ length: 200 }, (_, batch) =>
      store.writer.commitSpans(
        batchOf(
          Array.from({ length: 500 }, (_, row) => ({
            traceIdLow: BigInt(batch),
            spanId: BigInt(batch * 500 + row + 1),
            name: `operation ${row % 50} with a long name`,
            attributes: [
              { key: "http.route", kind: "s", value: `/route/${row % 7}` },
              { key: "row", kind: "i", value: String(row) },
            ],
          })),
        ),
      ),
    ),
  );
  assert.deepEqual(
    receipts.map(({ sequence }) => sequence),
    Array.from({ length: 200 }, (_, index) => index + 1),
  );
  const check = async (from: Store) => {
    assert.deepEqual(
      await rowsOf(
        from,
        "SELECT count(*), count(DISTINCT span_id), sum(CAST(attributes_rest['row'] AS INTEGER)) FROM spans",
      ),
      [["100000", "100000", String((200 * 499 * 500) / 2)]],
    );
    assert.deepEqual(await rowsOf(from, "SELECT count(*) FROM spans WHERE attr_http_route = '/route/3'"), [["14200"]]);
    assert.equal((await from.reader.trace(traceIdToHex(1n, 77n), 1000)).length, 500);
    assert.equal((await from.reader.trace(traceIdToHex(1n, 77n), 10)).length, 10);
  };
  await check(store);
  await store.close();
  const again = await openIn(t, directory);
  await check(again);
  assert.deepEqual(await again.writer.commitSpans(batchOf([{}])), { spans: 1, sequence: 201 });
});

test("durations of any two times fit 63 bits", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const last = 2n ** 63n - 1n;
  const times: [bigint, bigint][] = [
    [0n, 0n],
    [0xffff_ffffn, 0x1_0000_0000n],
    [0x1_0000_0001n, 0x2_0000_0000n],
    [NOON_NS, NOON_NS + 1n],
    [5n, 3n],
    [0n, last],
    [-1n, last],
    [-last, last],
    [last, 0n],
    [1n, -last],
    [2n, -last],
    [last, -last],
  ];
  await store.writer.commitSpans(
    batchOf(times.map(([startNs, endNs], row) => ({ spanId: BigInt(row + 1), startNs, endNs }))),
  );
  const cut = (duration: bigint) => (duration > last ? last : duration < -last ? -last : duration);
  assert.deepEqual(
    await rowsOf(store, "SELECT duration_ns FROM spans ORDER BY span_id"),
    times.map(([startNs, endNs]) => [String(cut(endNs - startNs))]),
  );
});

test("batches that come while a group is stored join it in order", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const order: number[] = [];
  const sent: Promise<void>[] = [];
  for (let batch = 0; batch < 120; batch++) {
    const spans = Array.from({ length: 300 }, (_, row) => ({ spanId: BigInt(batch * 300 + row + 1) }));
    sent.push(store.writer.commitSpans(batchOf(spans)).then(({ sequence }) => void order.push(sequence)));
    if (batch % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(sent);
  assert.deepEqual(
    order,
    Array.from({ length: 120 }, (_, at) => at + 1),
  );
  assert.ok(store.stats().spans.groups < 40, `${store.stats().spans.groups} groups`);
  assert.deepEqual(await rowsOf(store, "SELECT count(*), count(DISTINCT span_id) FROM spans"), [["36000", "36000"]]);
});

test("a group has two row groups at most, and one batch where that has more", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const groupsFor = async (batches: number, rows: number) => {
    const before = store.stats().spans.groups;
    const spans = batchOf(Array.from({ length: rows }, (_, row) => ({ spanId: BigInt(row + 1) })));
    await Promise.all(Array.from({ length: batches }, () => store.writer.commitSpans(spans)));
    return store.stats().spans.groups - before;
  };
  assert.equal(await groupsFor(20, ROW_GROUP_ROWS / 4), 3);
  assert.equal(await groupsFor(2, 2 * ROW_GROUP_ROWS + 1), 2);
});

test("a second open is refused with the pid of the holder", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = await openIn(t, directory);
  await assert.rejects(openIn(t, directory), (error: unknown) => {
    assert.ok(error instanceof ThalwegError);
    assert.equal(error.code, "data_locked");
    assert.match(error.message, new RegExp(`process ${process.pid}\\b`));
    return true;
  });
  await store.close();
  await openIn(t, directory);
});

test("a batch that breaks its invariants is refused alone and takes no number", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const broken = { ...batchOf([{}]), name: Uint32Array.of(99) };
  await assert.rejects(store.writer.commitSpans(broken), /name\[0\] is 99/);
  assert.equal((await store.writer.commitSpans(batchOf([{}]))).sequence, 1);
});

test("more than may wait is refused with a retryable error and counted", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const batch = batchOf(Array.from({ length: 50_000 }, () => ({})));
  const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => store.writer.commitSpans(batch)));
  const refused = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.ok(refused.length >= 3, `${refused.length} were refused`);
  for (const { reason } of refused) assert.equal((reason as ThalwegError).code, "store_unavailable");
  assert.equal(store.stats().spans.refusedSpans, refused.length * 50_000);
  assert.equal(store.stats().spans.spans, (8 - refused.length) * 50_000);
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [[String((8 - refused.length) * 50_000)]]);
});
