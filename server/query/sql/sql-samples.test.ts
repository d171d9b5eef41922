import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { NativeHistogram } from "../../model/histogram.ts";
import { STALE_NAN_BITS } from "../../model/series.ts";
import { batchOf, NOON_MS, openIn, temporaryDirectory } from "../../store/store-fixture.ts";
import { openSqlDoor } from "./sql-door.ts";

type Params = readonly (string | number | boolean | null)[];

const SECOND_NS = 1_000_000_000n;
const STEP_MS = 15_000;
const FROM = new Date(NOON_MS).toISOString();
const TO = new Date(NOON_MS + 3_600_000).toISOString();

const HISTOGRAM: NativeHistogram = {
  schema: 0,
  zeroThreshold: 0.001,
  zeroCount: 1,
  count: 4,
  sum: 6.5,
  positiveSpans: [{ offset: 0, length: 2 }],
  positiveCounts: Float64Array.of(1, 2),
  negativeSpans: [],
  negativeCounts: new Float64Array(0),
  customValues: new Float64Array(0),
  resetHint: "unknown",
  integer: true,
};

async function open(t: TestContext) {
  const store = await openIn(t, await temporaryDirectory(t));
  const door = openSqlDoor({ reader: store.reader });
  const run = (query: string, params: Params = []) =>
    door.run({ query, params, timeoutMs: 10_000, rowsMax: 1_000_000 });
  const rows = async (query: string, params: Params = []) => {
    const outcome = await run(query, params);
    assert.equal(outcome.kind, "answer", `${query}: ${JSON.stringify(outcome)}`);
    return outcome.kind === "answer" ? outcome.answer.rows : [];
  };
  return { store, run, rows };
}

/** `count` counters of ten samples each, growing by their number. */
async function fill({ store }: Pick<Awaited<ReturnType<typeof open>>, "store">, count: number, fromMs = NOON_MS) {
  for (let at = 0; at < count; at++) {
    await store.writer.appendSeries([
      {
        labels: [
          ["__name__", "calls_total"],
          ["job", at % 2 === 0 ? "even" : "odd"],
          ["path", `/a/rather/long/path/number/${at}`],
        ],
        timestampsMs: Float64Array.from({ length: 10 }, (_, i) => fromMs + i * STEP_MS),
        values: Float64Array.from({ length: 10 }, (_, i) => i * at),
      },
    ]);
  }
}

test("samples() has its columns, in order of time, both ends included", async (t) => {
  const shop = await open(t);
  await fill(shop, 3);
  const query = "SELECT * FROM samples('calls_total{path=~\".*/2\"}', ?, ?)";
  const rows = await shop.rows(query, [FROM, new Date(NOON_MS + STEP_MS).toISOString()]);
  const labels = { job: "even", path: "/a/rather/long/path/number/2" };
  const at = (i: number) => {
    const ns = BigInt(NOON_MS + i * STEP_MS) * 1_000_000n;
    return [String(ns), `${new Date(NOON_MS + i * STEP_MS).toISOString().slice(0, -1)}000000Z`] as const;
  };
  assert.deepEqual(JSON.parse(JSON.stringify(rows)), [
    ["calls_total", labels, ...at(0), 0, null],
    ["calls_total", labels, ...at(1), 2, null],
  ]);
  const outcome = await shop.run(query, [FROM, TO]);
  assert.deepEqual(outcome.kind === "answer" && outcome.answer.columns.map(({ name, type }) => `${name} ${type}`), [
    "name VARCHAR",
    "labels MAP(VARCHAR, VARCHAR)",
    "time_ns BIGINT",
    "timestamp TIMESTAMP",
    "value DOUBLE",
    "histogram VARCHAR",
  ]);
});

test("times may be numbers of any unit, texts, TIMESTAMPs, and what a query gives", async (t) => {
  const shop = await open(t);
  await fill(shop, 1);
  await shop.store.writer.commitSpans(batchOf([{ startNs: BigInt(NOON_MS) * 1_000_000n }]));
  const count = async (from: string, to: string, params: Params = []) =>
    (await shop.rows(`SELECT count(*) FROM samples('calls_total', ${from}, ${to})`, params))[0]?.[0];
  const seconds = NOON_MS / 1000;
  assert.equal(await count(String(seconds), String(seconds + 30)), "3");
  assert.equal(await count(String(NOON_MS), `${NOON_MS + 29_999}`), "2");
  assert.equal(await count("?", "?", [NOON_MS * 1000, (NOON_MS + 15_000) * 1000]), "2");
  assert.equal(await count(`${BigInt(seconds) * SECOND_NS}`, `${BigInt(seconds + 1) * SECOND_NS}`), "1");
  assert.equal(
    await count(`TIMESTAMP '${FROM.slice(0, 19)}'`, `TIMESTAMP '${FROM.slice(0, 19)}' + INTERVAL 1 minute`),
    "5",
  );
  assert.equal(
    await count("(SELECT min(start_ns) FROM spans)", "(SELECT max(start_ns) + 15000000000 FROM spans)"),
    "2",
  );
  assert.equal(await count("now() - INTERVAL 1 hour", "current_timestamp"), "0");
  assert.equal(await count(`${seconds + 30}`, String(seconds)), "0", "a range that ends before it starts");
});

test("samples() joins, groups, stands in WITH and twice in one statement", async (t) => {
  const shop = await open(t);
  await fill(shop, 4);
  const both = `samples('calls_total', '${FROM}', '${TO}')`;
  const sorted = `SELECT labels['job'] job, count(*) n, max(value) most FROM ${both} GROUP BY job ORDER BY job`;
  assert.deepEqual(await shop.rows(sorted), [
    ["even", "20", 18],
    ["odd", "20", 27],
  ]);
  const joined = `SELECT a.time_ns FROM ${both} a JOIN ${both} AS b USING (time_ns) WHERE a.value < b.value ORDER BY a.time_ns LIMIT 1`;
  assert.equal((await shop.rows(joined)).length, 1);
  const cte = `WITH s AS (SELECT labels['path'] p, max(value) m FROM ${both} GROUP BY p) SELECT count(*), (SELECT max(m) FROM s) FROM s a, s b`;
  assert.deepEqual(await shop.rows(cte), [["16", 27]]);
  assert.deepEqual(await shop.rows(`SELECT count(*) FROM samples('nothing_of_that_name', 0, now())`), [["0"]]);
  assert.deepEqual(await shop.rows("SELECT name FROM samples($1, $2, $3) LIMIT 1", ["calls_total", 0, TO]), [
    ["calls_total"],
  ]);
  assert.deepEqual(
    await shop.rows(`SELECT DISTINCT labels['path'] FROM samples('{job="odd"}', 0, '${TO}') ORDER BY 1`),
    [["/a/rather/long/path/number/1"], ["/a/rather/long/path/number/3"]],
  );
});

test("samples of memory, blocks and both at once are the same", async (t) => {
  const shop = await open(t);
  const sums = () =>
    shop.rows(
      `SELECT count(*), sum(value), min(time_ns), max(time_ns), count(DISTINCT labels) FROM samples('calls_total', 0, '${TO}')`,
    );
  await fill(shop, 1200);
  const before = await sums();
  assert.deepEqual([before[0]?.[0], before[0]?.[4]], ["12000", "1200"]);
  await shop.store.sealMetrics();
  assert.deepEqual(await sums(), before);
  await fill(shop, 1200, NOON_MS + 600_000);
  assert.deepEqual((await sums())[0]?.[0], "24000");
});

test("histograms are told as JSON, stale markers are left out, other NaN stay", async (t) => {
  const { store, rows } = await open(t);
  const stale = new Float64Array(new BigUint64Array([STALE_NAN_BITS]).buffer);
  await store.writer.appendSeries([
    {
      labels: [["__name__", "mixed"]],
      timestampsMs: Float64Array.of(NOON_MS, NOON_MS + 1000, NOON_MS + 2000, NOON_MS + 3000),
      values: Float64Array.of(Number.NaN, 7, stale[0] ?? 0, Number.NaN),
      histograms: [HISTOGRAM, undefined, undefined, undefined],
    },
  ]);
  const found = await rows(`SELECT value, histogram FROM samples('mixed', '${FROM}', '${TO}')`);
  assert.deepEqual(
    found.map(([value, text]) => [value, typeof text === "string" ? JSON.parse(text) : text]),
    [
      [
        null,
        {
          count: "4",
          sum: "6.5",
          buckets: [
            [3, "-0.001", "0.001", "1"],
            [0, "0.5", "1", "1"],
            [0, "1", "2", "2"],
          ],
        },
      ],
      [7, null],
      ["NaN", null],
    ],
  );
});

test("what is wrong with a call is told at its place", async (t) => {
  const { run } = await open(t);
  const bad = async (query: string, httpStatus: number, column: number, message: RegExp, params: Params = []) => {
    const outcome = await run(query, params);
    assert.equal(outcome.kind, "refused", query);
    if (outcome.kind !== "refused") return;
    assert.deepEqual(
      [outcome.refusal.httpStatus, outcome.refusal.column],
      [httpStatus, column],
      outcome.refusal.message,
    );
    assert.match(outcome.refusal.message, message);
  };
  await bad(
    "SELECT * FROM samples('up{job=}', 0, now())",
    400,
    31,
    /selector of samples\(\) is none: 1:8: parse error/,
  );
  await bad("SELECT * FROM samples('a{b=''c'',,}', 0, now())", 400, 34, /parse error/);
  await bad("SELECT * FROM samples($1, 0, now())", 400, 23, /parse error/, ["up{"]);
  await bad("SELECT * FROM samples('{}', 0, now())", 403, 23, /matches every series/);
  await bad("SELECT * FROM samples('up', 'soon', now())", 400, 29, /cannot take "soon" as a time/);
  await bad("SELECT * FROM samples('up', $1, now())", 400, 29, /as a time/, ["soon"]);
  await bad("SELECT * FROM samples('up', TRUE, now())", 422, 1, /cannot take true as a time/);
  await bad("SELECT * FROM samples('up', 0)", 403, 15, /3 arguments/);
  await bad("SELECT * FROM samples(name, 0, now())", 403, 23, /must be a constant text/);
  await bad("SELECT * FROM samples", 403, 15, /is a function/);
  await bad("SELECT * FROM stored_samples(1)", 403, 15, /not allowed/);
  await bad("SELECT * FROM main.samples('up', 0, 1)", 403, 15, /not allowed/);
  await bad("SELECT * FROM range(10)", 403, 15, /not allowed/);
  await bad("SELECT * FROM spans s, samples('up', s.start_ns, now())", 400, 38, /start_ns/);
  await bad("SELECT * FROM samples('up', (SELECT x FROM secrets), now())", 403, 44, /secrets/);
});

test("rows of an answer are capped, and calls read again after one that failed", async (t) => {
  const shop = await open(t);
  await fill(shop, 300);
  const door = openSqlDoor({ reader: shop.store.reader });
  const query = `SELECT * FROM samples('calls_total', 0, '${TO}')`;
  const outcome = await door.run({ query, params: [], timeoutMs: 10_000, rowsMax: 100 });
  assert.equal(outcome.kind === "answer" && outcome.answer.truncated, true);
  const failed = await shop.run(`SELECT CAST(name AS INTEGER) FROM samples('calls_total', 0, '${TO}')`);
  assert.equal(failed.kind, "refused");
  assert.deepEqual(await shop.rows(`SELECT count(*) FROM samples('calls_total', 0, '${TO}')`), [["3000"]]);
});
