import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom } from "./http1.testkit.ts";
import { readSql } from "./sql-template.ts";

const read = (sql: string, backslashEscapes = false) => readSql(sql, { redaction: true, backslashEscapes });

test("literals of every form become ?, names stay", () => {
  for (const [sql, wanted] of [
    ["SELECT * FROM t WHERE a = 'x' AND b = 7", "SELECT * FROM t WHERE a = ? AND b = ?"],
    ["SELECT 'it''s', E'a\\'b', B'101', x'1f', U&'d\\0061t', N'n' FROM t", "SELECT ?, ?, ?, ?, ?, ? FROM t"],
    ["SELECT $$a'b$$, $t$ $$ 'c' $t$, $1 FROM t", "SELECT ?, ?, $1 FROM t"],
    ["SELECT 1.5e-3, .5, 1_000, 0xff, -5, n - 1, n-1, (a) -1", "SELECT ?, ?, ?, ?, ?, n - ?, n-?, (a) -?"],
    ['SELECT "a ""1"" b"."c" FROM "T 1" t2', 'SELECT "a ""1"" b"."c" FROM "T 1" t2'],
    ["SELECT 'a'\n  'b'", "SELECT ?"],
    ["SELECT a--secret 'x'\nFROM t /* one /* 'two' */ three */ WHERE b", "SELECT a FROM t WHERE b"],
    ["SELECT\n\t1  ;", "SELECT ? ;"],
    ["SELECT a->>'k', a @> '{\"s\": 1}'::jsonb", "SELECT a->>?, a @> ?::jsonb"],
    ["SELECT 'C:\\' , 'x'", "SELECT ? , ?"],
    ["ALTER ROLE joe PASSWORD 'hunter2'", "ALTER ROLE joe PASSWORD ?"],
    ["DO $$ BEGIN PERFORM 'secret'; END $$", "DO ?"],
    ["SELECT a$1b FROM t", "SELECT a$1b FROM t"],
    ["SELECT ghp_abcdefghijklmnopqrstuvwxyz0123456789", "SELECT REDACTED"],
  ] as const) {
    assert.equal(read(sql).text, wanted, sql);
  }
  assert.equal(read("SELECT 'it\\'s secret', 'b'", true).text, "SELECT ?, ?");
});

test("values that are no literals: settings, passwords, and what is no statement at all", () => {
  for (const [sql, wanted] of [
    ["SET app.token TO hunter2; SELECT a = b FROM t", "SET app.token TO ?; SELECT a = b FROM t"],
    ['SET LOCAL search_path = "$user", shop', "SET LOCAL search_path = ?, ?"],
    ["SET a TO DEFAULT", "SET a TO DEFAULT"],
    ["ALTER ROLE joe SET app.token = hunter2", "ALTER ROLE joe SET app.token = ?"],
    ["UPDATE t SET a = b", "UPDATE t SET a = b"],
    ["CREATE USER joe LOGIN PASSWORD hunter2 VALID UNTIL 'x'", "CREATE USER joe LOGIN PASSWORD ? VALID UNTIL ?"],
    ["ALTER USER joe PASSWORD NULL", "ALTER USER joe PASSWORD NULL"],
    ["CREATE TABLE t (password text)", "CREATE TABLE t (password text)"],
    ["hunter2", "?"],
    ["SELECT 1; hunter2!x, y", "SELECT ?; ?"],
    ["/* a */ (SELECT 1)", "(SELECT ?)"],
    ["UPSERT INTO t VALUES (1)", "UPSERT INTO t VALUES (?)"],
  ] as const) {
    assert.equal(read(sql).text, wanted, sql);
  }
});

test("what is not closed is a literal to its end", () => {
  for (const cut of [
    "'secret",
    "E'secret\\'",
    "$$secret",
    "$tag$secret",
    "/* secret",
    "-- secret",
    '"secret',
    "$sec",
  ]) {
    assert.doesNotMatch(read(`SELECT a, ${cut}`).text, /sec/, cut);
  }
});

test("lists of values become one", () => {
  assert.equal(read("SELECT 1 WHERE a IN (1, 2, 'x', NULL)").template, "SELECT ? WHERE a IN (?)");
  assert.equal(read("SELECT 1 WHERE a in ($1,$2,$3)").template, "SELECT ? WHERE a in (?)");
  assert.equal(
    read("SELECT 1 WHERE a IN (SELECT b FROM c WHERE d = 2)").template,
    "SELECT ? WHERE a IN (SELECT b FROM c WHERE d = ?)",
  );
  assert.equal(read("SELECT 1 WHERE a IN (b, 2)").template, "SELECT ? WHERE a IN (b, ?)");
  assert.equal(read("SELECT ARRAY[1,2,3]").template, "SELECT ARRAY[?]");
  assert.equal(
    read("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3, 'z') RETURNING a").template,
    "INSERT INTO t (a, b) VALUES (?, ?) RETURNING a",
  );
  assert.equal(
    read("INSERT INTO t VALUES (1, now()), (2, DEFAULT)").template,
    "INSERT INTO t VALUES (?, now()), (?, DEFAULT)",
  );
  assert.equal(read("SELECT 1 WHERE a IN (1, 2)").text, "SELECT ? WHERE a IN (?, ?)");
});

test("summaries: operations and targets in their order", () => {
  for (const [sql, wanted, collection] of [
    ["SELECT * FROM wuser_table WHERE username = 'x'", "SELECT wuser_table", "wuser_table"],
    ["select a.b from public.items a where c = 1", "SELECT public.items", "public.items"],
    ["INSERT INTO shipping (a) SELECT a FROM orders", "INSERT shipping SELECT orders", ""],
    ["SELECT * FROM songs, artists WHERE 1", "SELECT songs artists", ""],
    ["SELECT x FROM (SELECT * FROM orders o JOIN customers c ON o.i = c.i) t", "SELECT SELECT orders customers", ""],
    ['SELECT * FROM "song list"', 'SELECT "song list"', '"song list"'],
    ["UPDATE stock SET n = n - 1 WHERE id IN (SELECT id FROM gone)", "UPDATE stock SELECT gone", ""],
    ["DELETE FROM carts USING users u WHERE u.id = 1", "DELETE carts users", ""],
    ["SELECT 1 FROM t FOR UPDATE", "SELECT t", "t"],
    ["INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1", "INSERT t", "t"],
    ["WITH a AS (SELECT * FROM x), b AS (SELECT 1 FROM a) SELECT * FROM a, b, c", "SELECT x SELECT SELECT c", ""],
    ["SELECT EXTRACT(day FROM d), a IS DISTINCT FROM b FROM t", "SELECT t", "t"],
    ["CREATE TABLE IF NOT EXISTS t (i int REFERENCES u ON DELETE CASCADE)", "CREATE TABLE t", "t"],
    ["CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX i", "i"],
    ["DROP TABLE IF EXISTS a, b", "DROP TABLE a b", ""],
    ["ALTER USER joe PASSWORD 'x'", "ALTER USER", ""],
    ["TRUNCATE TABLE a", "TRUNCATE a", "a"],
    ["COPY tmp FROM STDIN", "COPY tmp", "tmp"],
    ["COPY (SELECT * FROM t) TO STDOUT", "COPY SELECT t", "t"],
    ["CALL do_it(1)", "CALL do_it", ""],
    ["EXPLAIN ANALYZE SELECT * FROM t", "EXPLAIN SELECT t", "t"],
    ["MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "MERGE t s", ""],
    ["BEGIN; UPDATE a SET b = 1; COMMIT", "BEGIN UPDATE a COMMIT", ""],
    ["SELECT 1; SELECT 2", "SELECT SELECT", ""],
    ["SET search_path TO a, b", "SET", ""],
    ["SELECT * FROM generate_series(1, 2)", "SELECT generate_series", "generate_series"],
    ["SELECT pg_sleep(9)", "SELECT", ""],
    ["/* c */ SELECT 1", "SELECT", ""],
    ["(SELECT 1 FROM a) UNION (SELECT 2 FROM b)", "SELECT a SELECT b", ""],
    ["", "", ""],
    ["garbage here", "", ""],
  ] as const) {
    const { summary, collection: found } = read(sql);
    assert.equal(summary, wanted, sql);
    assert.equal(found, collection, sql);
  }
  assert.equal(read("SELECT 1 FROM a".repeat(100)).summary.length <= 255, true);
  assert.equal(read("SELECT 1; SELECT 2;").statements, 2);
  assert.equal(read("CALL app.do_it(1)").procedure, "app.do_it");
});

test("the context of SQLCommenter is the request's own", () => {
  const comment = "/*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',tracestate='congo%3Dt61'*/";
  const { context, text } = read(`SELECT * FROM songs ${comment}`);
  assert.equal(text, "SELECT * FROM songs");
  assert.deepEqual(
    [context?.traceId, context?.spanId, context?.traceState],
    ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "congo=t61"],
  );
  assert.equal(
    read("SELECT 'traceparent=''00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'''").context,
    undefined,
  );
});

test("no secret in a literal survives, however it is written and wherever the text is cut", () => {
  const forms = [
    "'S3CRET'",
    "E'\\'S3CRET'",
    "'a''S3CRET'",
    "$$S3CRET$$",
    "$q$'S3CRET$q$",
    "/* S3CRET */ 1",
    "N'S3CRET'",
    "'x'\n'S3CRET'",
    "-- S3CRET\n1",
  ];
  for (let seed = 1; seed <= 3000; seed++) {
    const random = randomFrom(seed);
    const pick = () => forms[Math.floor(random() * forms.length)] as string;
    const sql = `SELECT a FROM t WHERE b = ${pick()} AND c IN (${pick()}, ${pick()}) AND "d" = ${pick()}`;
    const cut = random() < 0.5 ? sql : sql.slice(0, Math.floor(random() * sql.length));
    const { template, text, summary } = read(cut);
    assert.doesNotMatch(template + text + summary, /S3C/, cut);
    if (cut === sql) assert.equal(summary, "SELECT t");
  }
});

test("any text is read in linear time", () => {
  for (const piece of ["(", "'", "$a", "/*", "IN (1,", "VALUES (1),", "WITH a AS (", "a.", "- -1", '"', "$$"]) {
    const started = process.cpuUsage().user;
    read(piece.repeat(20_000));
    assert.ok(process.cpuUsage().user - started < 1e6, piece);
  }
});
