import assert from "node:assert/strict";
import test from "node:test";
import { formatPromql, parseSelector } from "./promql-texts.ts";

test("parseSelector", () => {
  const matchers = (text: string) => {
    const outcome = parseSelector(text);
    return outcome.kind === "matchers"
      ? outcome.matchers.map(({ name, kind, value }) => `${name}${kind}${value}`).sort()
      : outcome.message;
  };
  assert.deepEqual(matchers('up{job="a",x=~"b|c"}'), ["__name__=up", "job=a", "x=~b|c"]);
  assert.deepEqual(matchers('{__name__!=""}'), ["__name__!="]);
  for (const text of ["", "up{", "up[5m]", "up offset 1m", "sum(up)", '{x=~".*"}', 'up{x=~"("}']) {
    assert.match(String(matchers(text)), /^1:\d+: parse error: /, text);
  }
});

test("formatPromql", () => {
  assert.deepEqual(formatPromql(" sum  by(a)( up ) "), { kind: "text", text: "sum by (a) (up)" });
  assert.equal(formatPromql("sum(").kind, "refused");
});
