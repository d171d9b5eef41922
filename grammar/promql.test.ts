import assert from "node:assert/strict";
import { test } from "node:test";
import { caretFrame, PromqlSyntaxError } from "./promql-error.ts";
import { promqlJson } from "./promql-json.ts";
import { PROMQL_TEXT_LENGTH_MAX, PROMQL_TOKENS_MAX, parseMetricSelector, parsePromql } from "./promql-parse.ts";
import { PrettyTooLongError, prettyPromql } from "./promql-pretty.ts";
import { printPromql } from "./promql-print.ts";
import type { PromqlExpression } from "./promql-tree.ts";

/** Stands for RE2 in these tests: the patterns here mean the same to V8. */
const options = {
  regexMatchesEmpty: (pattern: string) => new RegExp(`^(?:${pattern})$`, "s").test(""),
  experimentalFunctions: false,
  fillModifiers: false,
  unquotedUtf8Names: false,
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
    assert.equal(printPromql(tree, options), printed);
    assert.deepEqual(withoutPositions(parse(printed)), withoutPositions(tree), text);
  };
  same("up");
  same('up{instance!~"b.*",job="a"}[5m] offset -1m');
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
  same("{'service.name'=`a\\b`, \"http.requests\"}", '{"service.name"="a\\\\b",__name__="http.requests"}');
  same("5400 + 1h30m + rate(x[300])", "5400 + 1h30m + rate(x[5m])");
  same("x # a comment\n + 1 # another", "x + 1");
  same("x @ 1603774568.5 + 1_000 + .5e-3 + 017 + Inf + -NaN", "x @ 1603774568.500 + 1000 + 0.0005 + 15 + +Inf + NaN");
});

test("refusals carry Prometheus' words and the place, and the one that it finds first is told", () => {
  const bad = (text: string, message: string) =>
    assert.throws(() => parse(text), { name: "PromqlSyntaxError", message }, text);
  bad("", "unknown position: parse error: no expression found in input");
  bad(" \n", "1:1: parse error: no expression found in input");
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
  bad("a + fill(1) b", "1:1: parse error: binop fill modifiers are experimental and not enabled");
  bad("sum(a b)", '1:7: parse error: unexpected identifier "b" in aggregation');
  bad("rate(a[5m)", '1:10: parse error: unexpected ")" in subquery or range, expected ":" or "]"');
  bad("a * on(b) group_left == c", '1:22: parse error: unexpected <op:==> in grouping opts, expected "("');
  bad("f(a, ) b", "1:4: parse error: trailing commas not allowed in function call args");
  bad(
    "sum(a, b) c",
    "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2",
  );
  bad("foo(a) $", '1:1: parse error: unknown function with name "foo"');
  bad("a[0] $", "1:3: parse error: duration must be greater than 0");
  bad("a[0$", "1:4: parse error: unexpected character: '$'");
  bad("sum(a, b) $", "1:11: parse error: unexpected character: '$'");
  bad("1e+(", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e+": invalid syntax');
  bad("a[5m / 0]", "1:6: parse error: division by zero");
  bad("a.b", "1:2: parse error: unexpected character: '.'");
});

test("names in any script need no quotes where the switch is on", () => {
  const unquoted = { ...options, unquotedUtf8Names: true };
  const printed = (text: string) => printPromql(parsePromql(text, unquoted), unquoted);
  assert.equal(
    printed("sum by (service.name) (http.requests{größe='1'})"),
    'sum by (service.name) (http.requests{größe="1"})',
  );
  assert.equal(printed('{"http.requests"}'), '{__name__="http.requests"}');
  assert.throws(() => parsePromql("sum by (a:b) (c)", unquoted), /invalid label name for grouping: "a:b"/);
  assert.equal(printPromql(parse("sum by (a:b) (c)"), options), 'sum by ("a:b") (c)');
});

test("a frame shows the line and where in it the mistake is", () => {
  const frame = (text: string) => {
    try {
      parse(text);
      return undefined;
    } catch (cause) {
      return cause instanceof PromqlSyntaxError ? caretFrame(text, `invalid: ${cause.message}`) : String(cause);
    }
  };
  assert.equal(frame("a\n\t+ rate(up)\n"), " + rate(up)\n        ^");
  assert.equal(frame("sum("), "sum(\n    ^");
  assert.equal(frame("'é😀' b"), "'é😀' b\n      ^");
  assert.equal(frame(`${"a + ".repeat(100)}b c`)?.split("\n")[0]?.length, 51);
  assert.equal(caretFrame("a", "query timed out"), undefined);
});

test("a selector alone may match everything, and nothing may follow it", () => {
  assert.deepEqual(parseMetricSelector("{}", options), []);
  assert.equal(parseMetricSelector("sum{a='b'}", options).length, 2);
  assert.throws(() => parseMetricSelector("a[5m]", options), { message: '1:2: parse error: unexpected "["' });
  assert.throws(() => parseMetricSelector("a{b=~'('}", options), /parse error/);
});

test("bytes that are no text are kept as they were written", () => {
  const tree = parse(String.raw`a{b="\xff\u00e9\303\251"}`);
  assert.equal(printPromql(tree, options), String.raw`a{b="\xfféé"}`);
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

test("work grows with the length of a text and not faster, for texts that are fine and texts that are not", () => {
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
    "x offset 1m + ",
    "-",
    "a{b=~'",
    "a#",
    "'",
    "sum(x) by",
    "1*(",
    "x @ ",
    "a + on() 1 + ",
    "a[1+",
  ]) {
    for (const tail of ["", "a", ")", "}"]) {
      const short = cpuUs(piece, tail, PROMQL_TEXT_LENGTH_MAX / 8);
      const long = cpuUs(piece, tail, PROMQL_TEXT_LENGTH_MAX);
      // Eight times the text: eight times the work, 64 times where it is quadratic. Short runs are mostly noise.
      assert.ok(long < 30 * Math.max(short, 2000), `${piece}…${tail}: ${short} µs, then ${long} µs`);
    }
  }
});

/** The least processor time of three runs over a text of `length` characters. */
function cpuUs(piece: string, tail: string, length: number): number {
  const text = piece.repeat(Math.floor((length - tail.length) / piece.length)) + tail;
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3; round++) {
    const before = process.cpuUsage();
    try {
      const tree = parse(text);
      printPromql(tree, options);
      promqlJson(tree);
    } catch (cause) {
      assert.ok(cause instanceof PromqlSyntaxError, String(cause));
    }
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, user + system);
  }
  return least;
}

test("long runs of operators stay flat for every walker, and a pretty form without end is refused", () => {
  const tree = parse(`${"a + ".repeat(9_999)}a`);
  assert.equal(printPromql(tree, options).length, 39_997);
  assert.ok(promqlJson(tree).length > 39_997);
  assert.throws(() => prettyPromql(tree, options), PrettyTooLongError);
  assert.equal(prettyPromql(parse(`${"abc + ".repeat(20)}a`), options).split("\n").length, 9);
});

test("texts of too many tokens are refused before the parser runs where that is asked for, what dashboards make is not", () => {
  const bounded = { ...options, tokensMax: PROMQL_TOKENS_MAX };
  const refused = { message: /^1:\d+: parse error: query has more than 20000 names, values and operators; ask/ };
  const terms = (count: number) => `1${"+1".repeat(count)}`;
  assert.throws(() => parsePromql(terms(PROMQL_TOKENS_MAX / 2), bounded), refused);
  assert.throws(() => parsePromql(`a{${"b='c',".repeat(PROMQL_TOKENS_MAX / 4)}}`, bounded), refused);
  assert.throws(() => parseMetricSelector(`a{${"b='c',".repeat(PROMQL_TOKENS_MAX / 4)}}`, bounded), refused);
  parsePromql(terms(PROMQL_TOKENS_MAX / 2 - 1), bounded);
  parsePromql(terms(PROMQL_TEXT_LENGTH_MAX / 2 - 1), options);
  const panel = 'sum by (le, service) (rate(requests_seconds_bucket{job="a",namespace=~"b|c"}[5m])) * 100';
  parsePromql(Array.from({ length: 700 }, () => panel).join(" or "), bounded);
});

test("pretty form: what is longer than a line is broken", () => {
  const long = "some_metric_with_a_long_name";
  assert.equal(
    prettyPromql(parse(`sum by (a) (rate(${long}{job="x"}[5m])) / sum(rate(${long}[5m]))`), options),
    [`  sum by (a) (rate(${long}{job="x"}[5m]))`, "/", `  sum(rate(${long}[5m]))`].join("\n"),
  );
});

test("the tree as JSON has Prometheus' shape", () => {
  const json = (text: string) => JSON.parse(promqlJson(parse(text)));
  assert.deepEqual(json("-1"), { type: "numberLiteral", val: "-1" });
  assert.deepEqual(json("a + b").matching, {
    card: "one-to-one",
    labels: [],
    on: false,
    include: [],
    fillValues: { lhs: null, rhs: null },
  });
  assert.equal(json("a and b").matching.card, "many-to-many");
  assert.equal(json("a + 1").matching, null);
  assert.deepEqual(json("rate(a{b='c'}[5m] offset (1m) @ 2)").args[0], {
    type: "matrixSelector",
    range: 300_000,
    rangeExpr: null,
    name: "a",
    matchers: [
      { name: "b", value: "c", type: "=" },
      { name: "__name__", value: "a", type: "=" },
    ],
    offset: 0,
    offsetExpr: {
      type: "durationExpr",
      op: "+",
      lhs: null,
      rhs: { type: "numberLiteral", val: "60", duration: true },
      wrapped: true,
    },
    timestamp: 2000,
    startOrEnd: null,
    anchored: false,
    smoothed: false,
  });
  assert.deepEqual(json("round(a)").func, {
    name: "round",
    argTypes: ["vector", "scalar"],
    variadic: 1,
    returnType: "vector",
  });
});

test("random texts are parsed or refused, never anything else, and what is parsed prints to itself", () => {
  const pieces =
    "sum( rate( ) { } [ ] 5m 1 x y:z a=\"b\" , by (a) on ignoring group_left + - * ^ == bool and or unless offset @ start() 1h: 'q' `r` # \n ! ~ é step() min_of( anchored smoothed fill( </ >/ 0x 1e .5 \\ topk( 5 % without".split(
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
      const printed = printPromql(parse(text), options);
      assert.equal(printPromql(parse(printed), options), printed);
      parsed++;
    } catch (cause) {
      if (!(cause instanceof PromqlSyntaxError)) throw new Error(`on ${JSON.stringify(text)}`, { cause });
    }
  }
  assert.ok(parsed > 100, `only ${parsed} were expressions`);
});
