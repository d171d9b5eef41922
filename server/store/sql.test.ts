import assert from "node:assert/strict";
import { test } from "node:test";
import { ThalwegError } from "../model/errors.ts";
import { logBucketOf, logHistogramQuantile } from "../model/log-histogram.ts";
import { attributeExpression, HEX_COLUMNS, hexLiteral, SQL_TABLES, TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import { openStore } from "./store.ts";
import {
  batchOf,
  DAY_MS,
  FakeClock,
  NOON_MS,
  NOON_NS,
  openIn,
  rowsOf,
  SHOP,
  temporaryDirectory,
  WIDE_LIMITS,
} from "./store-fixture.ts";
import type { EdgeMinute } from "./writer.ts";

/** A statement that runs until it is stopped, and looks at the clock often. */
const ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = 7";

const codeIs = (code: string) => (error: unknown) => error instanceof ThalwegError && error.code === code;

test("tables have exactly the columns that the model tells, empty and filled", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const check = async () => {
    for (const [table, columns] of Object.entries(SQL_TABLES)) {
      const answer = await store.reader.sql({ text: `SELECT * FROM ${table}`, params: [] }, WIDE_LIMITS);
      assert.deepEqual(answer.columns, columns, table);
    }
  };
  await check();
  await store.writer.commitSpans(batchOf([{}]));
  await check();
});

test("rows stop where their memory would, which is several times their JSON", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = await openStore({
    directory,
    clock: new FakeClock(),
    retentionMs: DAY_MS,
    memoryLimitBytes: 256 * 2 ** 20,
    answerBytesMax: 100_000,
    waitingBytesMax: 128 * 2 ** 20,
  });
  try {
    await store.writer.commitSpans(batchOf(Array.from({ length: 3000 }, (_, at) => ({ spanId: BigInt(at + 1) }))));
    const whole = await store.reader.sql({ text: "SELECT * FROM spans", params: [] }, WIDE_LIMITS);
    assert.equal(whole.truncated, true);
    assert.ok(whole.rows.length > 10 && whole.rows.length < 100, `${whole.rows.length} rows`);
    const few = await store.reader.sql(
      { text: "SELECT service, count(*) FROM spans GROUP BY service", params: [] },
      WIDE_LIMITS,
    );
    assert.deepEqual([few.rows, few.truncated], [[["shop", "3000"]], false]);
  } finally {
    await store.close();
  }
});

test("values in JSON form", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const gives = async (expression: string, want: unknown) =>
    assert.deepEqual(JSON.parse(JSON.stringify(await rowsOf(store, `SELECT ${expression}`))), [[want]], expression);
  await gives("1::INTEGER", 1);
  await gives("9223372036854775807::BIGINT", "9223372036854775807");
  await gives("18446744073709551615::UBIGINT", "18446744073709551615");
  await gives("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727");
  await gives("1.50::DECIMAL(10,2)", "1.50");
  await gives("'NaN'::DOUBLE", "NaN");
  await gives("'infinity'::DOUBLE", "Infinity");
  await gives("'-infinity'::FLOAT", "-Infinity");
  await gives("0.5", "0.5");
  await gives("0.5::DOUBLE", 0.5);
  await gives("TIMESTAMP '2026-11-26 12:00:00.123456'", "2026-11-26T12:00:00.123456000Z");
  await gives("TIMESTAMP_NS '2026-11-26 12:00:00.123456789'", "2026-11-26T12:00:00.123456789Z");
  await gives("TIMESTAMPTZ '2026-11-26 12:00:00+02'", "2026-11-26T10:00:00.000000000Z");
  await gives("TIMESTAMP '1969-12-31 23:59:59.5'", "1969-12-31T23:59:59.500000000Z");
  await gives("DATE '2026-11-26'", "2026-11-26");
  await gives("MAP {'a': '1', '__proto__': '2'}", JSON.parse('{"a":"1","__proto__":"2"}'));
  await gives("{'x': 1::BIGINT, 'y': [true, NULL]}", { x: "1", y: [true, null] });
  await gives("'\\xAA\\x00'::BLOB", "qgA=");
  await gives("UUID '0af7651916cd43dd8448eb211c80319c'", "0af76519-16cd-43dd-8448-eb211c80319c");
  await gives("NULL", null);
});

test("parameters", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  assert.deepEqual(await rowsOf(store, "SELECT $1, $2, $3, $4, $5", ["it's", 2 ** 53 - 1, 0.25, true, null]), [
    ["it's", String(2 ** 53 - 1), 0.25, true, null],
  ]);
});

test("rows and bytes are capped, and the answer says so", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const ask = (text: string, limits: Partial<typeof WIDE_LIMITS>) =>
    store.reader.sql({ text, params: [] }, { ...WIDE_LIMITS, ...limits });
  const rows = await ask("SELECT * FROM range(1000000000)", { rowsMax: 10 });
  assert.equal(rows.rows.length, 10);
  assert.equal(rows.truncated, true);
  const exact = await ask("SELECT * FROM range(10)", { rowsMax: 10 });
  assert.equal(exact.rows.length, 10);
  assert.equal(exact.truncated, false);
  const bytes = await ask("SELECT 'x' || range FROM range(1000000000)", { bytesMax: 100_000 });
  assert.equal(bytes.truncated, true);
  assert.ok(JSON.stringify(bytes.rows).length <= 110_000);
  assert.ok(bytes.rows.length > 1_000);
});

test("a statement that runs too long is stopped, and the next one runs", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const startMs = performance.now();
  await assert.rejects(
    store.reader.sql({ text: ENDLESS, params: [] }, { ...WIDE_LIMITS, timeoutMs: 200 }),
    codeIs("query_timeout"),
  );
  assert.ok(performance.now() - startMs < 1500);
  assert.deepEqual(await rowsOf(store, "SELECT 1"), [[1]]);
});

test("more statements than may run wait; too many are refused; spans are stored meanwhile", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const outcomes = Array.from({ length: 60 }, () =>
    store.reader.sql({ text: ENDLESS, params: [] }, { ...WIDE_LIMITS, timeoutMs: 1500 }).then(
      () => "answered",
      (error: unknown) => (error instanceof ThalwegError ? error.code : String(error)),
    ),
  );
  await new Promise((resolve) => setTimeout(resolve, 100));
  const startMs = performance.now();
  await store.writer.commitSpans(batchOf([{}]));
  assert.ok(performance.now() - startMs < 1000, "a commit waits for no query");
  const codes = await Promise.all(outcomes);
  assert.equal(codes.filter((code) => code === "query_timeout").length, 2);
  assert.equal(codes.filter((code) => code === "query_busy").length, 58);
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [["1"]]);
});

test("the engine refuses writes, files, settings and the writer's own function", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = await openIn(t, directory);
  await store.writer.commitSpans(batchOf([{}]));
  const refused = (text: string) =>
    assert.rejects(rowsOf(store, text), codeIs("query_failed"), `must be refused: ${text}`);
  await refused("SELECT FROM");
  await refused("DELETE FROM d20261126.span");
  await refused("CREATE TABLE d20261126.mine (x INTEGER)");
  await refused("DROP VIEW spans");
  await refused("SET threads = 4");
  await refused("SELECT * FROM read_text('/etc/passwd')");
  await refused(`COPY (SELECT 1) TO '${directory}/out.csv'`);
  await refused("INSTALL httpfs");
  await refused("LOAD httpfs");
  await refused("SELECT * FROM staged_spans()");
  await refused("SELECT 1; SELECT 2");
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [["1"]]);
});

test("printed id predicates and attribute look-ups find the same rows and prune", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  await store.writer.commitSpans(
    batchOf([
      {
        traceIdHigh: 0xabn,
        traceIdLow: 0xcdn,
        spanId: 0xefn,
        attributes: [
          { key: "http.response.status_code", kind: "i", value: "200" },
          { key: "http.route", kind: "s", value: "/a" },
          { key: "it's", kind: "s", value: "here" },
        ],
      },
      { spanId: 4n, attributes: [{ key: "http.response.status_code", kind: "s", value: "200" }] },
    ]),
  );
  const [traceId, spanId] = HEX_COLUMNS;
  assert.ok(traceId !== undefined && spanId !== undefined);
  const trace = "00000000000000ab00000000000000cd";
  for (const predicate of [
    `trace_id = '${trace}'`,
    `${traceId.stored} = ${hexLiteral(traceId, trace)}`,
    `${spanId.stored} = ${hexLiteral(spanId, "00000000000000ef")}`,
    `${attributeExpression("", "http.route", "'http.route'")} = '/a'`,
    `${attributeExpression("spans.", "it's", "'it''s'")} = 'here'`,
  ]) {
    assert.deepEqual(
      await rowsOf(store, `SELECT span_id FROM spans WHERE ${predicate}`),
      [["00000000000000ef"]],
      predicate,
    );
  }
  const status = attributeExpression("", "http.response.status_code", "'http.response.status_code'");
  assert.deepEqual(await rowsOf(store, `SELECT count(*) FROM spans WHERE ${status} = '200'`), [["2"]]);
  assert.equal(hexLiteral(spanId, "00000000000000EF"), undefined, "upper case equals no lower-case text");
  assert.equal(hexLiteral(traceId, "ab"), undefined);
  for (const { column } of TYPED_ATTRIBUTES) assert.ok(SQL_TABLES["spans"]?.some(({ name }) => name === column));
});

test("traces and services", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  await store.writer.commitSpans(
    batchOf([
      { spanId: 1n, name: "GET /root", endNs: NOON_NS + 9_000_000n },
      { spanId: 2n, parentSpanId: 1n, kind: 3, status: 2, startNs: NOON_NS - 5n },
      { spanId: 3n, parentSpanId: 1n, duplicateOf: 2n, status: 2 },
    ]),
  );
  await store.writer.commitSpans(
    batchOf([{ spanId: 4n, parentSpanId: 2n, source: 1 }], {
      service: "stock",
      instance: "",
      attributes: [{ key: "service.name", kind: "s", value: "stock" }],
    }),
  );
  const trace = [
    "00000000000000010000000000000002",
    "shop",
    "GET /root",
    String(NOON_NS - 5n),
    "9000005",
    "3",
    "2",
    "1",
  ];
  assert.deepEqual(
    await rowsOf(
      store,
      "SELECT trace_id, root_service, root_name, start_ns, duration_ns, spans, services, errors FROM traces",
    ),
    [trace],
  );
  assert.deepEqual(await rowsOf(store, "SELECT * FROM services ORDER BY service"), [
    ["shop", String(NOON_NS - 5n), String(NOON_NS + 9_000_000n), "1", "nodejs", ["ebpf"]],
    ["stock", String(NOON_NS), String(NOON_NS + 5_000_000n), "1", null, ["packet"]],
  ]);
  assert.equal(SHOP.service, "shop");
});

test("edges add up and their quantiles are those of the model", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const buckets = (durationsMs: readonly number[]) => {
    const counts = new Map<number, number>();
    for (const ms of durationsMs) counts.set(logBucketOf(ms * 1e6), (counts.get(logBucketOf(ms * 1e6)) ?? 0) + 1);
    return [...counts].sort(([a], [b]) => a - b);
  };
  const row = (serverMs: number[], clientMs: number[]): EdgeMinute => ({
    bucketMs: NOON_MS,
    client: "it's a client",
    server: "shop \0 'x'",
    connectionType: "database",
    requests: serverMs.length,
    errors: 1,
    serverBuckets: buckets(serverMs),
    clientBuckets: buckets(clientMs),
  });
  const first = [1, 2, 3, 4, 100];
  const second = Array.from({ length: 200 }, (_, index) => 1.07 ** index / 1000);
  const edges = [row(first, []), { ...row([], []), client: "", connectionType: "" as const }];
  await store.writer.saveDerived({ sequence: 1, state: new Uint8Array() }, { edges, aliases: [] });
  await store.writer.saveDerived({ sequence: 2, state: new Uint8Array() }, { edges: [row(second, [])], aliases: [] });
  const both = buckets([...first, ...second]);
  const p = (quantile: number) => (logHistogramQuantile(both, quantile) ?? Number.NaN) / 1e6;
  const rows = await rowsOf(store, "SELECT * FROM edges ORDER BY client DESC");
  assert.equal(rows.length, 2);
  assert.deepEqual(rows[1]?.slice(1), ["", "shop \0 'x'", "", "0", "1", null, null, null, null, null, null]);
  const [bucket, client, server, type, requests, errors, p50, p95, p99, ...clientSide] = rows[0] ?? [];
  assert.deepEqual(
    [bucket, client, server, type, requests, errors],
    ["2026-11-26T12:00:00.000000000Z", "it's a client", "shop \0 'x'", "database", "205", "2"],
  );
  for (const [got, want] of [
    [p50, p(0.5)],
    [p95, p(0.95)],
    [p99, p(0.99)],
  ]) {
    assert.ok(Math.abs(Number(got) / Number(want) - 1) < 1e-9, `${String(got)} is not ${String(want)}`);
  }
  assert.deepEqual(clientSide, [null, null, null]);
});
