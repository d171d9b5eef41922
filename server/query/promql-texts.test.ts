import assert from "node:assert/strict";
import test from "node:test";
import { PROMQL_DEFAULTS } from "./promql/query.ts";
import { formatPromql, matcherTest, parseSelector, parseSelectors } from "./promql-texts.ts";

test("parseSelector", () => {
  const matchers = (text: string) => {
    const outcome = parseSelector(text, PROMQL_DEFAULTS);
    if (outcome.kind === "matches_empty") return outcome.kind;
    return outcome.kind === "matchers"
      ? outcome.matchers.map(({ name, kind, value }) => `${name}${kind}${value}`).sort()
      : outcome.message;
  };
  assert.deepEqual(matchers('up{job="a",x=~"b|c"}'), ["__name__=up", "job=a", "x=~b|c"]);
  assert.deepEqual(matchers('{__name__!=""}'), ["__name__!="]);
  for (const text of ["{}", '{x=~".*"}', '{a=""}']) assert.equal(matchers(text), "matches_empty", text);
  const bad = (text: string, message: string) => assert.equal(matchers(text), message, text);
  bad("", "unknown position: parse error: unexpected end of input");
  bad("up[5m]", '1:3: parse error: unexpected "["');
  bad("up offset 1m", "1:4: parse error: unexpected <offset>");
  bad("sum(up)", '1:4: parse error: unexpected "("');
  bad("(", '1:1: parse error: unexpected "("');
  bad("up{a='b'} or up", "1:11: parse error: unexpected <op:or>");
  for (const text of ["up{", 'up{x=~"("}']) assert.match(String(matchers(text)), /^1:\d+: parse error: /, text);
});

test("formatPromql", () => {
  assert.deepEqual(formatPromql(" sum  by(a)( up ) ", PROMQL_DEFAULTS), { kind: "text", text: "sum by (a) (up)" });
  assert.equal(formatPromql("sum(", PROMQL_DEFAULTS).kind, "refused");
});

test("parseSelectors: every selector in the order of the text", () => {
  const outcome = parseSelectors(
    "sum(rate(a[5m])) / (b offset 1m) + c[1h:] > 1 or count_values('x', d)",
    PROMQL_DEFAULTS,
  );
  assert.equal(outcome.kind, "refused"); // a sub-query stands where a vector must
  const good = parseSelectors(
    "sum(rate(a[5m])) / (-b offset 1m) or max_over_time(c[1h:]) or topk(scalar(e), d)",
    PROMQL_DEFAULTS,
  );
  assert.ok(good.kind === "selectors");
  assert.deepEqual(
    good.selectors.map(([first]) => first?.value),
    ["a", "b", "c", "d", "e"],
  );
  assert.deepEqual(parseSelectors("1 + 1", PROMQL_DEFAULTS), { kind: "selectors", selectors: [] });
});

test("matcherTest", () => {
  const test = (kind: "=" | "!=" | "=~" | "!~", value: string) => matcherTest({ name: "a", kind, value });
  assert.ok(test("=", "x")("x") && !test("=", "x")("xx"));
  assert.ok(test("!=", "x")("") && !test("!=", "x")("x"));
  assert.ok(test("=~", "a|b")("b") && !test("=~", "a|b")("ab"));
  assert.ok(test("!~", "a|b")("ab") && !test("!~", "a|b")("a"));
});
