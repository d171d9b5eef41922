import assert from "node:assert/strict";
import { test } from "node:test";
import { ThalwegError } from "../model/errors.ts";
import type { LogBatch } from "../model/log-batch.ts";
import { decodeLogsJson } from "../wire/otlp-logs-json.ts";
import type { Store } from "./store.ts";
import { batchOf, DAY_MS, FakeClock, NOON_NS, openIn, rowsOf, SHOP, temporaryDirectory } from "./store-fixture.ts";

const TRACE = "00000000000000010000000000000002";
const SPAN = "0000000000000003";

test("a batch larger than a group is stored in parts, whole and once, and spans are stored between them", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = await openIn(t, directory);
  const records = 150_001;
  const attributes = (row: number) => [{ key: "row", value: { intValue: String(row) } }];
  const batch = logsOf(
    Array.from({ length: records }, (_, row) => ({
      timeUnixNano: String(row + 1),
      body: { stringValue: `text ${row}` },
      ...(row % 3 === 0 ? { attributes: attributes(row) } : {}),
    })),
  );
  let logsDone = false;
  const logs = store.writer.commitLogs(batch).then((receipt) => {
    logsDone = true;
    return receipt;
  });
  const small = store.writer.commitLogs(logsOf([{ body: { stringValue: "behind" } }]));
  let between = 0;
  for (let commit = 1n; !logsDone; commit++) {
    await store.writer.commitSpans(batchOf([{ spanId: commit }]));
    if (!logsDone) between++;
  }
  assert.deepEqual(await logs, { records, sequence: 1 });
  assert.deepEqual(await small, { records: 1, sequence: 2 });
  assert.ok(between > 1, `${between} commits of spans came between its parts`);
  const ask = async (from: Store) =>
    plainRows(
      from,
      `SELECT count(*), count(DISTINCT time_ns), min(time_ns), max(time_ns), count(*) FILTER (body = 'text ' || (time_ns - 1)),
         count(*) FILTER (CAST(attributes['row'] AS BIGINT) = time_ns - 1) FROM logs WHERE body != 'behind'`,
    );
  const all = String(records);
  const wanted = [[all, all, "1", all, all, String(Math.ceil(records / 3))]];
  assert.deepEqual(await ask(store), wanted);
  await store.close();
  const again = await openIn(t, directory);
  assert.deepEqual(await ask(again), wanted);
  assert.deepEqual(await again.writer.commitLogs(logsOf([{}])), { records: 1, sequence: 3 });
});

/** Log records of the shop, as OTLP JSON says them. */
function logsOf(records: readonly object[], scope: object = { name: "scope", version: "1.0" }): LogBatch {
  const attributes = [
    { key: "service.name", value: { stringValue: "shop" } },
    { key: "service.instance.id", value: { stringValue: "shop-1" } },
    { key: "host.cpus", value: { intValue: "2" } },
    { key: "telemetry.sdk.language", value: { stringValue: "nodejs" } },
  ];
  const request = { resourceLogs: [{ resource: { attributes }, scopeLogs: [{ scope, logRecords: records }] }] };
  const outcome = decodeLogsJson(Buffer.from(JSON.stringify(request)));
  assert.ok(outcome.kind === "decoded");
  return outcome.batch;
}

test("log records are rows, joined to spans by their ids; every field comes back", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  await store.writer.commitSpans(batchOf([{ name: "GET /orders" }]));
  const whole = {
    traceId: TRACE,
    spanId: SPAN,
    timeUnixNano: "1700000000000000001",
    observedTimeUnixNano: "1700000000000000002",
    severityNumber: 17,
    severityText: "ERROR",
    body: { stringValue: "upstream said no" },
    eventName: "order.failed",
    flags: 1,
    droppedAttributesCount: 3,
    attributes: [
      { key: "order", value: { intValue: "9007199254740993" } },
      { key: "http.route", value: { stringValue: "/orders" } },
      { key: "tags", value: { arrayValue: { values: [{ boolValue: true }] } } },
    ],
  };
  const records = [
    whole,
    {},
    { body: { stringValue: "" }, observedTimeUnixNano: "5" },
    { body: { kvlistValue: { values: [{ key: "a", value: { doubleValue: 1.5 } }] } } },
  ];
  assert.deepEqual(await store.writer.commitLogs(logsOf(records)), { records: 4, sequence: 1 });
  const rows = await plainRows(
    store,
    `SELECT trace_id, span_id, time_ns, observed_ns, severity_number, severity_text, body, service,
       resource['host.cpus'], attributes, instance, event_name, body_kind, flags, dropped_attributes, attribute_kinds,
       scope_name, scope_version, scope_rest FROM logs`,
  );
  const origin = ["scope", "1.0", null];
  assert.deepEqual(rows[0], [
    TRACE,
    SPAN,
    "1700000000000000001",
    "1700000000000000002",
    17,
    "ERROR",
    "upstream said no",
    "shop",
    "2",
    { order: "9007199254740993", "http.route": "/orders", tags: '{"arrayValue":{"values":[{"boolValue":true}]}}' },
    "shop-1",
    "order.failed",
    "s",
    1,
    3,
    "isj",
    ...origin,
  ]);
  const empty = [null, null, String(NOON_NS), null, 0, null, null, "shop", "2", {}, "shop-1", null, "n", 0, 0, ""];
  assert.deepEqual(rows[1], [...empty, ...origin], "a record that says nothing is found by the time it arrived");
  assert.deepEqual(rows[2]?.slice(2, 7), ["5", "5", 0, null, ""], "an empty text is a body, and observed a time");
  assert.deepEqual(rows[3]?.[6], '{"kvlistValue":{"values":[{"key":"a","value":{"doubleValue":1.5}}]}}');
  assert.deepEqual(
    await rowsOf(
      store,
      "SELECT s.name, l.body FROM logs l JOIN spans s ON l.trace_id = s.trace_id AND l.span_id = s.span_id",
    ),
    [["GET /orders", "upstream said no"]],
  );
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM d20261126.resource"), [["1"]], "one resource for both");
});

/** Rows with maps as plain objects. */
async function plainRows(store: Store, text: string): Promise<unknown[][]> {
  // Rows hold only what JSON holds.
  return JSON.parse(JSON.stringify(await rowsOf(store, text))) as unknown[][];
}

test("logs live in the day file of their arrival, survive a reopening, and go with the file", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  const first = await openIn(t, directory, clock);
  await first.writer.commitLogs(logsOf([{ body: { stringValue: "one" } }]));
  clock.ms += DAY_MS;
  await Promise.all([
    first.writer.commitLogs(logsOf([{ body: { stringValue: "two" } }])),
    first.writer.commitSpans(batchOf([{}], SHOP)),
    first.writer.commitLogs(logsOf([{ body: { stringValue: "three" } }], { name: "other" })),
  ]);
  await first.close();
  const store = await openIn(t, directory, clock);
  assert.deepEqual(await rowsOf(store, "SELECT body, scope_name FROM logs ORDER BY ingest_ns, body DESC"), [
    ["one", "scope"],
    ["two", "scope"],
    ["three", "other"],
  ]);
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM d20261127.log"), [["2"]]);
  assert.equal((await store.writer.commitLogs(logsOf([{}]))).sequence, 4, "numbers go on");
  clock.ms += 15 * DAY_MS;
  assert.equal(await store.enforceRetention(), "2026-11-26");
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM logs WHERE body = 'one'"), [["0"]]);
});

test("a batch that breaks its promises is refused alone; a closed store refuses all", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const good = logsOf([{ body: { stringValue: "good" } }]);
  const bad = { ...good, body: Uint32Array.of(9_999) };
  await assert.rejects(store.writer.commitLogs(bad), /body\[0\] is 9999/);
  await store.writer.commitLogs(good);
  assert.deepEqual(await rowsOf(store, "SELECT body FROM logs"), [["good"]]);
  await store.close();
  await assert.rejects(
    store.writer.commitLogs(good),
    (error) => error instanceof ThalwegError && error.code === "store_unavailable",
  );
});

test("many records in several batches at once, more than a chunk", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const records = Array.from({ length: 5_000 }, (_, at) => ({
    body: { stringValue: `line ${at} with a text that is not short` },
    severityNumber: at % 25,
    attributes: [{ key: `k${at % 7}`, value: { intValue: String(at) } }],
  }));
  const batch = logsOf(records);
  const receipts = await Promise.all(Array.from({ length: 4 }, () => store.writer.commitLogs(batch)));
  assert.deepEqual(
    receipts.map(({ sequence }) => sequence),
    [1, 2, 3, 4],
  );
  assert.deepEqual(await rowsOf(store, "SELECT count(*), count(DISTINCT body), sum(severity_number) FROM logs"), [
    ["20000", "5000", String(4 * records.reduce((sum, { severityNumber }) => sum + severityNumber, 0))],
  ]);
  assert.deepEqual(await rowsOf(store, "SELECT attributes['k3'] FROM logs WHERE body LIKE 'line 4994 %' LIMIT 1"), [
    ["4994"],
  ]);
});

test("the spans stored last are found behind a day that has none yet", async (t) => {
  const clock = new FakeClock();
  const store = await openIn(t, await temporaryDirectory(t), clock);
  await store.writer.commitSpans(batchOf([{ spanId: 1n }]));
  clock.ms += DAY_MS;
  await store.writer.commitLogs(logsOf([{}]));
  assert.equal((await store.writer.recentSpans(10)).rows, 1);
  await store.writer.commitSpans(batchOf([{ spanId: 2n }, { spanId: 3n }]));
  assert.deepEqual([...(await store.writer.recentSpans(10)).spanId].toSorted(), [1n, 2n, 3n]);
  assert.deepEqual([...(await store.writer.recentSpans(2)).spanId].toSorted(), [2n, 3n]);
});
