import assert from "node:assert/strict";
import { test } from "node:test";
import { SqlTextError } from "./sql-error.ts";
import { parseSql, SQL_RUN_MAX, SQL_TEXT_LENGTH_MAX, SQL_TOKENS_MAX } from "./sql-parse.ts";
import { printSql } from "./sql-print.ts";

function withoutPlaces(node: unknown): unknown {
  return JSON.parse(JSON.stringify(node, (key, value) => (key === "at" || key === "text" ? undefined : value)));
}

test("printing a tree and parsing it again gives the same tree", () => {
  const same = (text: string, printed: string) => {
    const tree = parseSql(text);
    assert.equal(printSql(tree), printed);
    assert.deepEqual(withoutPlaces(parseSql(printed)), withoutPlaces(tree), text);
    // With every operation in parentheses only those are added.
    const explicit = printSql(tree, { explicit: true, parameter: (index) => `$${index}` });
    assert.equal(printSql(parseSql(explicit)), explicit);
  };
  same("select * from spans;", 'SELECT * FROM "spans"');
  same(
    "SELECT DISTINCT service s, count(*) AS n FROM spans GROUP BY 1 HAVING count(*) > 2 ORDER BY n DESC NULLS LAST, s LIMIT 5 OFFSET 2",
    'SELECT DISTINCT "service" AS "s", count(*) AS "n" FROM "spans" GROUP BY 1 HAVING count(*) > 2 ' +
      'ORDER BY "n" DESC NULLS LAST, "s" LIMIT 5 OFFSET 2',
  );
  same(
    "select a.name, b.* from spans a join spans as b on a.span_id = b.parent_span_id left outer join traces t using (trace_id), logs",
    'SELECT "a"."name", "b".* FROM "spans" AS "a" INNER JOIN "spans" AS "b" ON "a"."span_id" = "b"."parent_span_id" ' +
      'LEFT JOIN "traces" AS "t" USING ("trace_id"), "logs"',
  );
  same(
    "select x.n from (select 1 n union all (select 2 order by 1 limit 1)) x where not x.n between 1 and 2 or x.n is not null",
    'SELECT "x"."n" FROM (SELECT 1 AS "n" UNION ALL (SELECT 2 ORDER BY 1 LIMIT 1)) AS "x" ' +
      'WHERE NOT "x"."n" BETWEEN 1 AND 2 OR "x"."n" IS NOT NULL',
  );
  same(
    "select case kind when 'a' then 1 else 2 end, case when x then y end, cast(x as decimal(10, 2)), x::bigint[]::text",
    `SELECT CASE "kind" WHEN 'a' THEN 1 ELSE 2 END, CASE WHEN "x" THEN "y" END, CAST("x" AS decimal(10, 2)), "x"::bigint[]::text`,
  );
  same(
    "select attributes['it''s'], \"odd \"\"name\"\"\", 'x' || -y // 2 % 3, interval 5 minute, interval '1 hour', timestamp '2026-01-01'",
    `SELECT "attributes"['it''s'], "odd ""name""", 'x' || - "y" // 2 % 3, INTERVAL 5 minute, INTERVAL '1 hour', timestamp '2026-01-01'`,
  );
  same(
    "select name in ('a', ?), name not in (select service from services), name ilike $2 escape '!', sum(x) filter (where y = ?)",
    `SELECT "name" IN ('a', $1), "name" NOT IN (SELECT "service" FROM "services"), "name" ILIKE $2 ESCAPE '!', sum("x") FILTER (WHERE "y" = $2)`,
  );
  same(
    "with a as (select 1), b as (select * from a) select list(distinct c order by d desc), extract(hour from e), a is not distinct from b from b -- end",
    'WITH "a" AS (SELECT 1), "b" AS (SELECT * FROM "a") SELECT list(DISTINCT "c" ORDER BY "d" DESC), EXTRACT(hour FROM "e"), ' +
      '"a" IS NOT DISTINCT FROM "b" FROM "b"',
  );
  same(
    "select /* a comment */ all_, left(a, 1), first(b), 1e3, .5 from t group by all",
    'SELECT "all_", left("a", 1), first("b"), 1e3, .5 FROM "t" GROUP BY ALL',
  );
});

test("refusals say what, where and the way out", () => {
  const bad = (text: string, code: string, line: number, column: number) =>
    assert.throws(() => parseSql(text), { name: "SqlTextError", code, line, column }, text);
  bad("", "syntax", 1, 1);
  bad("-- nothing", "syntax", 1, 1);
  bad("SELECT", "syntax", 1, 7);
  bad("SELECT 'a", "syntax", 1, 8);
  bad("SELECT a\nFROM 1", "syntax", 2, 6);
  bad("SELECT 'é', FROM t", "syntax", 1, 14);
  bad("SELECT a /* b", "syntax", 1, 10);
  bad("SELECT /* /* */ */ a", "syntax", 1, 11);
  bad("SELECT a; SELECT b", "not_allowed", 1, 11);
  bad("DROP TABLE spans", "not_allowed", 1, 1);
  bad("  EXPLAIN SELECT 1", "not_allowed", 1, 3);
  bad("FROM spans", "not_allowed", 1, 1);
  bad("SELECT a.b.c FROM t", "not_allowed", 1, 8);
  bad("SELECT $$a$$", "syntax", 1, 8);
  bad("SELECT 12ab", "syntax", 1, 8);
  bad(`SELECT ${"x".repeat(SQL_TEXT_LENGTH_MAX)}`, "too_large", 1, 1);
});

test("nesting is capped before the parser runs", () => {
  for (const [open, close] of [
    ["(", ")"],
    ["abs(", ")"],
    ["NOT ", ""],
    ["- ", ""],
    ["CASE WHEN a THEN ", " END"],
    ["(SELECT ", ")"],
    ["[", "]"],
    ["a IN (", ")"],
  ] as const) {
    const deep = (levels: number) => `SELECT ${open.repeat(levels)}1${close.repeat(levels)}`;
    parseSql(deep(150));
    assert.throws(() => parseSql(deep(2500)), /nests deeper than 200 levels/, open);
  }
});

test("runs of operators and lists are capped before the parser runs", () => {
  for (const [head, piece, tail] of [
    ["1", "+1", ""],
    ["1", " + (CAST(a AS int))", ""],
    ["a", "||b", ""],
    ["a", "::text", ""],
    ["a", "-f(1, 2)", ""],
    ["sum(a", "%$1", ") FILTER (WHERE b)"],
  ] as const) {
    const run = (length: number) => `SELECT b AND ${head}${piece.repeat(length)}${tail}, 1+1`;
    parseSql(run(SQL_RUN_MAX));
    assert.throws(() => parseSql(run(SQL_RUN_MAX + 1)), { code: "syntax", message: /More than 128 operators/ }, piece);
  }
  const inBrackets = `SELECT (1${"+1".repeat(100)})${"+1".repeat(29)}`;
  assert.throws(() => parseSql(inBrackets), { code: "syntax", message: /More than 128 operators/ });
  // Each of these has many runs, and none that is long.
  parseSql(`SELECT ${"a+b*c, ".repeat(900)}1`);
  parseSql(`SELECT 1 FROM t WHERE a + 1 = 2${" OR a + 1 = 2".repeat(2000)}`);
  parseSql(`SELECT CASE ${"WHEN a + 1 = 2 THEN b * 3 ".repeat(900)}END`);
  // A list of a few thousand values is nothing much.
  parseSql(`SELECT 1 FROM t WHERE a IN (1${",1234".repeat(9_900)})`);
  const long = `SELECT 1 FROM t WHERE a IN (1${",1".repeat(SQL_TOKENS_MAX / 2)})`;
  assert.throws(() => parseSql(long), { code: "too_large", message: /more than 20000 names, values and operators/ });
});

test("parse time is linear to 64 KiB, for texts that are fine and texts that are not", () => {
  const pieces = [
    "a + ",
    "a AND ",
    "NOT ",
    "a || ",
    "(",
    "((a) + ",
    "f(",
    "a.",
    "a[",
    "x::int",
    "CASE WHEN a THEN ",
    "a IN (",
    "'",
    '"',
    "/*",
    "--",
    "a, ",
    "$1",
    "- ",
    "SELECT a FROM (",
    "a BETWEEN b AND ",
  ];
  for (const piece of pieces) {
    for (const tail of ["", "a", ") FROM t"]) {
      const text = `SELECT ${piece.repeat(Math.floor((SQL_TEXT_LENGTH_MAX - 20) / piece.length))}${tail}`;
      const start = performance.now();
      try {
        printSql(parseSql(text));
      } catch (cause) {
        assert.ok(cause instanceof SqlTextError, String(cause));
      }
      const tookMs = performance.now() - start;
      assert.ok(tookMs < 2000, `${piece} took ${tookMs} ms`);
    }
  }
});

test("random texts are parsed or refused, never anything else, and what is parsed prints to itself", () => {
  const pieces =
    "SELECT DISTINCT a b FROM spans t WHERE GROUP BY HAVING ORDER LIMIT AS AND OR NOT IN BETWEEN LIKE IS NULL CASE WHEN THEN ELSE END CAST ( ) , . [ ] * + - / = <> 1 2.5 'x' \"q\" ? $1 :: UNION ALL JOIN LEFT ON USING INTERVAL count( ; -- /* */ ' é \u0000 |".split(
      " ",
    );
  let seed = 11;
  const next = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * below);
  };
  let parsed = 0;
  for (let round = 0; round < 20_000; round++) {
    const text = `SELECT ${Array.from({ length: 1 + next(8) }, () => pieces[next(pieces.length)]).join(" ")}`;
    try {
      const printed = printSql(parseSql(text));
      assert.equal(printSql(parseSql(printed)), printed, text);
      parsed++;
    } catch (cause) {
      if (!(cause instanceof SqlTextError)) throw new Error(`on ${JSON.stringify(text)}`, { cause });
    }
  }
  assert.ok(parsed > 100, `only ${parsed} were statements`);
});
