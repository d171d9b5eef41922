import assert from "node:assert/strict";
import { test } from "node:test";
import { SQL_TABLES } from "../../model/sql-tables.ts";
import { batchOf, NOON_NS, openIn, temporaryDirectory } from "../../store/store-fixture.ts";
import { readGraph } from "../graph.ts";
import { readTrace } from "../trace.ts";
import { checkSql, openSqlDoor } from "./sql-door.ts";

type Params = readonly (string | number | boolean | null)[];

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";

/** A store with one trace: the shop's server span, and a client span of it that failed. */
async function openShop(t: Parameters<typeof temporaryDirectory>[0]) {
  const store = await openIn(t, await temporaryDirectory(t));
  const ids = { traceIdHigh: 0x0af7651916cd43ddn, traceIdLow: 0x8448eb211c80319cn };
  const attributes = [
    { key: "http.route", kind: "s" as const, value: "/buy" },
    { key: "shop.cart", kind: "s" as const, value: "7" },
  ];
  await store.writer.commitSpans(batchOf([{ ...ids, spanId: 0xffn, attributes }]));
  await store.writer.commitSpans(
    batchOf([
      { ...ids, spanId: 0xabcn, parentSpanId: 0xffn, kind: 3, status: 2, name: "SELECT carts", startNs: NOON_NS + 1n },
    ]),
  );
  const door = openSqlDoor({ reader: store.reader });
  const run = (query: string, params: Params = []) => door.run({ query, params, timeoutMs: 10_000, rowsMax: 1000 });
  return { store, run };
}

test("statements answer over the tables", async (t) => {
  const { run } = await openShop(t);
  const gives = async (query: string, rows: unknown, params: Params = []) => {
    const outcome = await run(query, params);
    assert.equal(outcome.kind, "answer", `${query}: ${JSON.stringify(outcome)}`);
    if (outcome.kind === "answer") assert.deepEqual(outcome.answer.rows, rows, query);
  };
  await gives("SELECT count(*) FROM spans", [["2"]]);
  await gives("SELECT name, kind, status FROM spans ORDER BY start_ns", [
    ["GET /", "server", "unset"],
    ["SELECT carts", "client", "error"],
  ]);
  await gives(`SELECT span_id FROM spans WHERE trace_id = '${TRACE_ID}' AND parent_span_id IS NULL`, [
    ["00000000000000ff"],
  ]);
  await gives("SELECT span_id FROM spans WHERE span_id IN (?, $2)", [["00000000000000ff"]], ["00000000000000ff", "00"]);
  await gives("SELECT c.name, p.name FROM spans c JOIN spans p ON c.parent_span_id = p.span_id", [
    ["SELECT carts", "GET /"],
  ]);
  await gives("SELECT count(*) FROM spans c LEFT JOIN traces USING (trace_id) WHERE trace_id <> '00'", [["2"]]);
  await gives(
    "SELECT attributes['http.route'] r, attributes['shop.cart']::INT + 1 FROM spans WHERE attributes[?] = '/buy'",
    [["/buy", 8]],
    ["http.route"],
  );
  await gives("SELECT root_service, spans, errors FROM traces", [["shop", "2", "1"]]);
  await gives(
    "SELECT n.kind k, n.c FROM (SELECT kind, count(*) c FROM spans GROUP BY kind) AS n WHERE n.c > 0 ORDER BY k DESC NULLS LAST LIMIT 1",
    [["server", "1"]],
  );
  await gives("SELECT DISTINCT service FROM spans UNION ALL SELECT 'x' ORDER BY 1", [["shop"], ["x"]]);
  await gives("WITH s AS (SELECT * FROM spans) SELECT count(*) FILTER (WHERE status = 'error') FROM s", [["1"]]);
  await gives(
    "SELECT date_trunc('hour', make_timestamp_ns(start_ns)) FROM spans LIMIT ?",
    [["2026-11-26T12:00:00.000000000Z"]],
    [1],
  );
  await gives("SELECT $1 + 1, $2, $3, $1", [["8", "it's", null, "7"]], [7, "it's", null]);
  await gives(
    "SELECT CASE WHEN 1 = 1 THEN 'a' || 'b' END, TRY_CAST('x' AS BIGINT), 7 // 2, EXTRACT(day FROM DATE '2026-11-26')",
    [["ab", null, 3, "26"]],
  );
  await gives(
    "SELECT upper(s) FROM (SELECT service s FROM spans) WHERE s IN (SELECT service FROM services) GROUP BY s",
    [["SHOP"]],
  );
  await gives("SELECT count(*) FROM spans WHERE make_timestamp_ns(start_ns) < now() + INTERVAL 900 DAYS", [["2"]]);
  await gives(
    "SELECT date_part($1, DATE '2026-11-26') FROM spans GROUP BY date_part($1, DATE '2026-11-26')",
    [["26"]],
    ["day"],
  );
  await gives("SELECT count(*) FROM edges WHERE bucket > CURRENT_TIMESTAMP - INTERVAL '15 minutes'", [["0"]]);
  await gives("SELECT count(*) FROM spans WHERE start_ns < epoch_ns(now()) - 1 AND current_date < DATE '2020-01-01'", [
    ["0"],
  ]);
});

test("every table and column of the model can be read", async (t) => {
  const { run } = await openShop(t);
  for (const [table, columns] of Object.entries(SQL_TABLES)) {
    for (const query of [
      `SELECT * FROM ${table}`,
      `SELECT ${columns.map(({ name }) => name).join(", ")} FROM ${table.toUpperCase()}`,
    ]) {
      const outcome = await run(query);
      assert.equal(outcome.kind, "answer", `${query}: ${JSON.stringify(outcome)}`);
    }
  }
});

test("what an untrusted client may try is refused before it runs", async (t) => {
  const { run } = await openShop(t);
  const refused = async (query: string, httpStatus: number) => {
    const outcome = await run(query);
    assert.equal(outcome.kind, "refused", `ran: ${query}`);
    if (outcome.kind !== "refused") return;
    assert.equal(outcome.refusal.httpStatus, httpStatus, `${query}: ${JSON.stringify(outcome.refusal)}`);
    assert.ok(outcome.refusal.message.length > 0 && outcome.refusal.line >= 1 && outcome.refusal.column >= 1);
  };
  const forbidden = [
    ...[
      "read_csv('/etc/passwd')",
      "read_text('x')",
      "read_blob('x')",
      "glob('*')",
      "read_parquet('x')",
      "read_json('x')",
    ],
    ...["sniff_csv('x')", "'file.csv'", "'http://127.0.0.1/x.parquet'", "duckdb_settings()", "duckdb_databases()"],
    ...["pragma_database_list()", "duckdb_secrets()", "which_secret('a', 'b')", "duckdb_logs", "duckdb_functions()"],
    ...["enable_logging(storage = 'file')", "disable_logging()", "checkpoint()", "truncate_duckdb_logs()"],
    ...[
      "range(10)",
      "generate_series(1, 2)",
      "query('SELECT 1')",
      "query_table('spans')",
      "json_execute_serialized_sql('x')",
    ],
    ...[
      "information_schema.tables",
      "main.spans",
      "memory.main.spans",
      "d20261126.span",
      "sqlite_master",
      "staged_spans()",
    ],
    ...[
      '"spans\u0000"',
      "Ѕpans",
      "ｓpans",
      "\u200bspans",
      '"sp""ans"',
      "pg_catalog.pg_class",
      "__proto__",
      "constructor",
    ],
  ];
  for (const source of forbidden) {
    await refused(`SELECT * FROM ${source}`, /[^ -~]/.test(source) ? 400 : 403);
  }
  for (const call of [
    ...["getenv('HOME')", "current_setting('home_directory')", "repeat('x', 2000000000)", "lpad('x', 2000000000, 'y')"],
    ...[
      "rpad('x', 2000000000, 'y')",
      "format('{:2000000000}', 1)",
      "printf('%2000000000d', 1)",
      "len(range(100000000))",
    ],
    ...[
      "list_resize([1], 100000000)",
      "array_resize([1], 100000000)",
      "generate_series(1, 2)",
      "bitstring('1', 2000000000)",
    ],
    ...[
      "write_log('x')",
      "setseed(0.5)",
      "nextval('a')",
      "query('SELECT 1')",
      "which_secret('a', 'b')",
      "bar(1, 0, 10, 2000000000)",
    ],
    ...[
      "list_aggregate([1], 'sum')",
      "list_transform([1], x)",
      "array_cosine_distance([1], [1])",
      "random()",
      "version()",
    ],
    ...[
      "current_database()",
      "read_text('x')",
      "json_serialize_sql('SELECT 1')",
      "\"repeat\"('x', 9)",
      "REPEAT('x', 9)",
    ],
    ...["E'a'", "x'00'", "blob 'a'", "CAST('a' AS blob)", "1::struct", 'CAST(1 AS "my type")', "nosuchtype '1'"],
  ]) {
    await refused(`SELECT ${call}`, 403);
    await refused(`SELECT 1 FROM spans WHERE (SELECT ${call}) IS NULL`, 403);
  }
  for (const statement of [
    ...[
      "INSERT INTO spans VALUES (1)",
      "UPDATE spans SET name = 'x'",
      "DELETE FROM spans",
      "DROP VIEW spans",
      "USE memory",
    ],
    ...["CREATE TABLE x (a INT)", "ATTACH ':memory:'", "DETACH x", "PREPARE p AS SELECT 1", "EXECUTE p", "CHECKPOINT"],
    ...[
      "SET threads = 1",
      "RESET threads",
      "PRAGMA database_list",
      "CALL enable_logging()",
      "COPY spans TO 'x'",
      "LOAD httpfs",
    ],
    ...[
      "EXPORT DATABASE 'x'",
      "IMPORT DATABASE 'x'",
      "INSTALL httpfs",
      "EXPLAIN ANALYZE DELETE FROM spans",
      "BEGIN",
      "VACUUM",
    ],
    ...[
      "SELECT 1; DROP VIEW spans",
      "SELECT 1;;SELECT 2",
      "SELECT 1 /* */ ; -- \n DELETE FROM spans",
      "SUMMARIZE spans",
      "SHOW TABLES",
    ],
    ...[
      "DESCRIBE spans",
      "VALUES (1)",
      "FROM spans",
      "PIVOT spans ON kind",
      "SET VARIABLE x = 1",
      "MERGE INTO spans USING spans",
    ],
  ]) {
    await refused(statement, 403);
  }
  await refused("WITH RECURSIVE r AS (SELECT 1) SELECT * FROM r", 400);
  await refused("SELECT '\u0000'", 400);
  await refused("SELECT $1", 400);
  await refused("SELECT nothing FROM spans", 400);
  await refused("SELECT name FROM spans a, spans b", 400);
  await refused("SELECT count(DISTINCT *) FROM spans WHERE *", 403);
  await refused(`SELECT '${"x".repeat(70_000)}'`, 413);
  const many = (part: string, between: string, count: number) => new Array(count).fill(part).join(between);
  await refused(`SELECT ${many("1", ",", 1_001)}`, 413);
  await refused(`SELECT ${many("*", ",", 100)} FROM spans`, 413);
  await refused(many("SELECT 1, 2", " UNION ", 501), 413);
  await refused(`WITH a AS (SELECT ${many("1", ",", 600)}) SELECT ${many("1", ",", 600)} FROM a`, 413);
  assert.equal((await run(`SELECT ${many("1", ",", 1_000)}`)).kind, "answer");
});

test("texts cannot grow by being put together again and again", async (t) => {
  const { run } = await openShop(t);
  const refused = async (query: string) => {
    const outcome = await run(query);
    assert.equal(outcome.kind === "refused" && outcome.refusal.httpStatus, 403, query.slice(0, 80));
  };
  let doubled = "SELECT 'aaaaaaaaaaaaaaaa' AS s";
  for (let i = 0; i < 25; i++) doubled = `SELECT s || s AS s FROM (${doubled})`;
  await refused(`SELECT length(s) FROM (${doubled})`);
  const long = "a".repeat(3000);
  await refused(`SELECT replace(replace('${long}', 'a', '${long}'), 'a', '${long}')`);
  await refused(`SELECT regexp_replace(regexp_replace('${long}', 'a', '${long}', 'g'), 'a', '${long}', 'g')`);
  let listed = "SELECT [1, 2] AS s";
  for (let i = 0; i < 25; i++) listed = `SELECT [s, s] AS s FROM (${listed})`;
  await refused(listed);
  let named = "WITH c0 AS (SELECT 'aaaaaaaaaaaaaaaa' AS s)";
  for (let i = 1; i < 25; i++) named += `, c${i} AS (SELECT concat(s, s) AS s FROM c${i - 1})`;
  await refused(`${named} SELECT length(s) FROM c24`);
});

test("LIKE means what it says, in linear time", async (t) => {
  const { run } = await openShop(t);
  const is = async (condition: string, want: boolean | null, params: Params = []) => {
    const outcome = await run(`SELECT ${condition}`, params);
    assert.deepEqual(
      outcome.kind === "answer" && outcome.answer.rows,
      [[want]],
      `${condition}: ${JSON.stringify(outcome)}`,
    );
  };
  await is("'abc' LIKE 'a%'", true);
  await is("'abc' LIKE 'a_c'", true);
  await is("'abbc' LIKE 'a_c'", false);
  await is("'a\nc' LIKE 'a_c'", true);
  await is("'a.c' LIKE 'a_c' AND 'axc' NOT LIKE 'a._'", true);
  await is("'a%c' LIKE 'a!%c' ESCAPE '!'", true);
  await is("'abc' LIKE 'a!%c' ESCAPE '!'", false);
  await is("'(a+b)*[c]$' LIKE '(_+b)*[c]$'", true);
  await is("'ABC' ILIKE 'a%' AND 'É' ILIKE 'é' AND 'ABC' NOT LIKE 'a%'", true);
  await is("'abc' LIKE ?", true, ["%b%"]);
  await is("'abc' LIKE '%' || $1 || '_'", true, ["b"]);
  await is("'abc' LIKE NULL", null);
  await is("'abc' NOT LIKE $1", null, [null]);
  const slow = "a".repeat(3000);
  const start = performance.now();
  await is(`'${slow}' LIKE '%a%a%a%a_%a%b'`, false);
  await is(`'${slow}' ILIKE '%a%a%a%a%a%b'`, false);
  await is(`'${slow}' LIKE '%a%a%a%a%a%b' ESCAPE '!'`, false);
  await is(`regexp_matches('${slow}', '(a*)*(a|a)*b')`, false);
  assert.ok(performance.now() - start < 5000);
  const status = async (query: string) => {
    const outcome = await run(query);
    return outcome.kind === "refused" ? outcome.refusal.httpStatus : 200;
  };
  assert.equal(await status("SELECT name LIKE p FROM (SELECT name, '%a%a_%b' p FROM spans)"), 403);
  assert.equal(await status("SELECT regexp_matches(name, service) FROM spans"), 403);
  assert.equal(await status(`SELECT regexp_matches(name, '${"a?".repeat(600)}') FROM spans`), 403);
  assert.equal(await status(`SELECT contains(name, '${"a".repeat(5000)}') FROM spans`), 403);
  assert.equal(await status(`SELECT 1 FROM ${Array.from({ length: 17 }, (_, i) => `spans s${i}`).join(", ")}`), 403);
});

test("hex ids and attributes are asked in the store's terms", () => {
  const prints = (query: string, part: string, params: Params = []) => {
    const { text } = checkSql({ query, params });
    assert.ok(text.includes(part), text);
  };
  prints(`SELECT 1 FROM spans WHERE trace_id = '${TRACE_ID}'`, `("trace_uuid" = UUID '${TRACE_ID}')`);
  prints(`SELECT 1 FROM traces t WHERE '${TRACE_ID}' <> t.trace_id`, `("t"."trace_uuid" <> UUID '${TRACE_ID}')`);
  prints("SELECT 1 FROM spans WHERE span_id = ?", '("span_key" = CAST(255 AS UBIGINT))', ["00000000000000ff"]);
  prints("SELECT 1 FROM spans WHERE duplicate_of IS NULL", '("duplicate_of_key" IS NULL)');
  prints(
    "SELECT 1 FROM spans a JOIN spans b ON a.span_id = b.parent_span_id",
    '("a"."span_key" = "b"."parent_span_key")',
  );
  prints(
    "SELECT s.attributes['http.route'] FROM spans s",
    `coalesce("s".attr_http_route, "s".attributes_rest['http.route'])`,
  );
  // What is no id of a span compares as text, and is false.
  prints("SELECT 1 FROM spans WHERE span_id = 'XY'", `("span_id" = 'XY')`);
  prints("SELECT 1 FROM spans WHERE span_id IN ('00000000000000ff', 'x')", `("span_id" IN (`);
  prints("SELECT 1 FROM (SELECT trace_id FROM spans) d WHERE d.trace_id = 'a'", `("d"."trace_id" = 'a')`);
  prints("SELECT 1 FROM logs WHERE span_id = '00000000000000ff'", `("span_key" = CAST(255 AS UBIGINT))`);
});

test("places, hints and the engine's own refusals", async (t) => {
  const { run } = await openShop(t);
  const refusal = async (query: string) => {
    const outcome = await run(query);
    return outcome.kind === "refused" ? outcome.refusal : undefined;
  };
  assert.deepEqual(await refusal("SELECT name\nFROM people"), {
    code: "not_allowed",
    message: "Table people is not known here.",
    line: 2,
    column: 6,
    hint: "Tables: spans, traces, services, logs, edges.",
    httpStatus: 403,
  });
  const typo = await refusal("SELECT durationns FROM spans");
  assert.deepEqual([typo?.code, typo?.column], ["unknown_column", 8]);
  assert.equal((await refusal("SELECT 'a'::INTEGER FROM spans"))?.httpStatus, 422);
  assert.equal((await refusal("SELECT sum(name) FROM spans"))?.httpStatus, 400);
});

test("a trace by id, short ids included, and the graph", async (t) => {
  const { store } = await openShop(t);
  const names = async (id: string) => (await readTrace(store.reader, id))?.map((span) => span.name);
  assert.deepEqual(await names(TRACE_ID), ["GET /", "SELECT carts"]);
  assert.deepEqual(await names(TRACE_ID.slice(1).toUpperCase()), ["GET /", "SELECT carts"]);
  assert.equal(await names("1"), undefined);
  assert.equal(await names("no id"), undefined);

  const bucketMs = Date.parse("2026-11-26T12:00:00Z");
  const edge = {
    bucketMs,
    client: "shop",
    server: "redis",
    connectionType: "database",
    requests: 6,
    errors: 2,
  } as const;
  const buckets = [[160, 6]] as const;
  const minutes = [
    { ...edge, serverBuckets: [], clientBuckets: buckets },
    { ...edge, bucketMs: bucketMs + 60_000, serverBuckets: [], clientBuckets: buckets },
    {
      ...edge,
      client: "user",
      server: "shop",
      connectionType: "virtual_node",
      serverBuckets: buckets,
      clientBuckets: [],
    } as const,
  ];
  await store.writer.saveDerived({ sequence: 1, state: new Uint8Array() }, { edges: minutes, aliases: [] });
  const graph = await readGraph(store.reader, bucketMs, bucketMs + 120_000);
  assert.deepEqual([graph.from, graph.to], ["2026-11-26T12:00:00.000Z", "2026-11-26T12:02:00.000Z"]);
  assert.deepEqual(
    graph.edges.map(({ client, server, requests, errors, rate }) => [client, server, requests, errors, rate]),
    [
      ["shop", "redis", 12, 4, 0.1],
      ["user", "shop", 6, 2, 0.05],
    ],
  );
  assert.deepEqual(
    graph.nodes.map(({ id, kind, requests, errors }) => [id, kind, requests, errors]),
    [
      ["redis", "database", 12, 4],
      ["shop", "service", 6, 2],
      ["user", "virtual_node", 0, 0],
    ],
  );
  const p50 = graph.edges[0]?.p50_ms ?? 0;
  assert.ok(p50 > 0.9 && p50 < 1.1, `2^20 ns is about a millisecond, got ${p50}`);
  assert.equal((await readGraph(store.reader, bucketMs + 300_000, bucketMs + 360_000)).edges.length, 0);
});

test("long windows of the graph are read by the hour, with the same counts", async (t) => {
  const { store } = await openShop(t);
  const bucketMs = Date.parse("2026-11-26T12:00:00Z");
  const edges = Array.from({ length: 90 }, (_, minute) => ({
    bucketMs: bucketMs + minute * 60_000,
    client: "a",
    server: "b",
    connectionType: "" as const,
    requests: 2,
    errors: 1,
    serverBuckets: [[160, 2]] as const,
    clientBuckets: [],
  }));
  await store.writer.saveDerived({ sequence: 1, state: new Uint8Array() }, { edges, aliases: [] });
  const [edge] = (await readGraph(store.reader, bucketMs - 86_400_000 * 3, bucketMs + 86_400_000)).edges;
  assert.deepEqual([edge?.requests, edge?.errors], [180, 90]);
  assert.ok((edge?.p95_ms ?? 0) > 0.9);
});
