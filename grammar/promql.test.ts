import assert from "node:assert/strict";
import { test } from "node:test";
import { PromqlSyntaxError } from "./promql-error.ts";
import { PROMQL_TEXT_LENGTH_MAX, parsePromql } from "./promql-parse.ts";
import { printPromql } from "./promql-print.ts";
import type { PromqlExpression } from "./promql-tree.ts";

/** Stands for RE2 in these tests: the patterns here mean the same to V8. */
const options = {
  regexMatchesEmpty: (pattern: string) => new RegExp(`^(?:${pattern})$`, "s").test(""),
  experimental: false,
};

function parse(text: string): PromqlExpression {
  return parsePromql(text, options);
}

function withoutPositions(node: unknown): unknown {
  return JSON.parse(
    JSON.stringify(node, (key, value) => {
      if (key === "position" || key === "opPosition") return undefined;
      return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
    }),
  );
}

test("printing a tree and parsing it again gives the same tree", () => {
  const same = (text: string, printed = text) => {
    const tree = parse(text);
    assert.equal(printPromql(tree), printed);
    assert.deepEqual(withoutPositions(parse(printed)), withoutPositions(tree), text);
  };
  same("up");
  same('up{job="a",instance!~"b.*"}[5m] offset -1m');
  same("sum(rate(x[5m]))BY(a, b,)", "sum by (a, b) (rate(x[5m]))");
  same("SUM without () (x)", "sum without () (x)");
  same("a OR b unless C and d", "a or b unless C and d");
  same("1 + 2 * 3 ^ -x ^ 2 % 4");
  same("-1 ^ 2");
  same('(a + on (x, "y.z") group_left (q) b) > bool 0x1F', '(a + on (x, "y.z") group_left (q) b) > bool 31');
  same(
    "max_over_time(rate(x[1m])[10m:30s] @ end() offset 5m)[1h:]",
    "max_over_time(rate(x[1m])[10m:30s] @ end() offset 5m)[1h:]",
  );
  same("{\"http.requests\", 'service.name'=`a\\b`}", '{"http.requests","service.name"="a\\\\b"}');
  same("5400 + 1h30m + rate(x[300])", "5400 + 1h30m + rate(x[5m])");
  same("x # a comment\n + 1 # another", "x + 1");
  same("x @ 1603774568.5 + 1_000 + .5e-3 + 017 + Inf + -NaN", "x @ 1603774568.500 + 1000 + 0.0005 + 15 + +Inf + NaN");
});

test("refusals carry Prometheus' words and the place", () => {
  const bad = (text: string, message: string) =>
    assert.throws(() => parse(text), { name: "PromqlSyntaxError", message });
  bad("", "1:1: parse error: no expression found in input");
  bad("sum(", "1:5: parse error: unclosed left parenthesis");
  bad("up{", "1:4: parse error: unexpected end of input inside braces");
  bad("up{a=}", '1:6: parse error: unexpected "}" in label matching, expected string');
  bad("a\n  + b c", '2:7: parse error: unexpected identifier "c"');
  bad("{é}", "1:2: parse error: unexpected character inside braces: 'é'");
  bad('"é" + foo bar', '1:12: parse error: unexpected identifier "bar"');
  bad("rate(up)", '1:6: parse error: expected type range vector in call to function "rate", got instant vector');
  bad("rat(up[5m])", '1:1: parse error: unknown function with name "rat"');
  bad("1 > 2", "1:3: parse error: comparisons between scalars must use BOOL modifier");
  bad("up[5mm]", '1:4: parse error: bad number or duration syntax: "5mm"');
  bad("up offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times");
  bad('{a=~".*"}', "1:1: parse error: vector selector must contain at least one non-empty matcher");
  bad("sort_by_label(up, 'a')", '1:1: parse error: function "sort_by_label" is not enabled');
});

test("nesting is capped before the parser runs", () => {
  for (const [open, close] of [
    ["(", ")"],
    ["sum(", ")"],
    ["-", ""],
    ["2^", ""],
    ["2 * -", ""],
  ] as const) {
    const deep = (levels: number) => `${open.repeat(levels)}x${close.repeat(levels)}`;
    parse(deep(150));
    if (open !== "2 * -") assert.throws(() => parse(deep(10_000)), /nests deeper than 200 levels/, open);
  }
});

test("parse time is linear to 64 KiB, for texts that are fine and texts that are not", () => {
  const fill = (piece: string, tail: string) => {
    const text = piece.repeat(Math.floor((PROMQL_TEXT_LENGTH_MAX - tail.length) / piece.length)) + tail;
    const start = performance.now();
    try {
      printPromql(parse(text));
    } catch (cause) {
      assert.ok(cause instanceof PromqlSyntaxError, String(cause));
    }
    const tookMs = performance.now() - start;
    assert.ok(tookMs < 2000, `${piece} took ${tookMs} ms`);
  };
  for (const piece of [
    "a+",
    "a or ",
    "1 ^",
    "f(",
    "sum by(a)(",
    "a{b='c',",
    "{",
    "[",
    "a[5m:",
    "((a)+",
    "x offset ",
    "-",
    "a{b=~'",
    "a#",
    "'",
    "sum(x) by",
    "1*(",
    "x @ ",
  ]) {
    fill(piece, "");
    fill(piece, "a");
    fill(piece, ")");
  }
  fill(`sum(a{${"b='c',".repeat(9000)}`, "})");
});

test("random texts are parsed or refused, never anything else, and what is parsed prints to itself", () => {
  const pieces =
    "sum( rate( ) { } [ ] 5m 1 x y:z a=\"b\" , by (a) on ignoring group_left + - * ^ == bool and or unless offset @ start() 1h: 'q' `r` # \n ! ~ é".split(
      " ",
    );
  let seed = 7;
  const next = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * below);
  };
  let parsed = 0;
  for (let round = 0; round < 20_000; round++) {
    const text = Array.from({ length: 1 + next(9) }, () => pieces[next(pieces.length)]).join(next(2) === 0 ? " " : "");
    try {
      const printed = printPromql(parse(text));
      assert.equal(printPromql(parse(printed)), printed);
      parsed++;
    } catch (cause) {
      if (!(cause instanceof PromqlSyntaxError)) throw new Error(`on ${JSON.stringify(text)}`, { cause });
    }
  }
  assert.ok(parsed > 100, `only ${parsed} were expressions`);
});
