import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePromql } from "../../../grammar/promql-parse.ts";
import type { PromqlExpression } from "../../../grammar/promql-tree.ts";

import { type PreparedTree, prepareTree } from "./prepare.ts";
import { regexMatchesEmpty } from "./regex.ts";
import type { QueryTimes } from "./step-vector.ts";

const TIMES: QueryTimes = {
  startMs: 600_000,
  endMs: 900_000,
  stepMs: 60_000,
  lookbackMs: 300_000,
  defaultStepMs: 60_000,
};

const SYNTAX = { experimentalFunctions: true, fillModifiers: true, unquotedUtf8Names: false };

function prepare(text: string): PreparedTree {
  return prepareTree(text, parsePromql(text, { regexMatchesEmpty, ...SYNTAX }), TIMES);
}

function textOf(text: string, { position }: PromqlExpression): string {
  return text.slice(position.start, position.end);
}

test("what is the same at every step is found as high in the tree as it goes", () => {
  const once = (text: string, ...parts: string[]) =>
    assert.deepEqual(
      [...prepare(text).once].map((node) => textOf(text, node)),
      parts,
      text,
    );
  once("a @ 10 + b", "a @ 10");
  once("a @ 10 + b @ start()", "a @ 10 + b @ start()");
  once("sum(rate(a[5m] @ end()))", "sum(rate(a[5m] @ end()))");
  once("time() + vector(1)", "vector(1)");
  once("timestamp((a @ 10))", "timestamp((a @ 10))");
  once("timestamp(-(a @ 10))", "-(a @ 10)");
  once("predict_linear(a[5m] @ 10, 60)");
  once("sum_over_time((a @ 10)[5m:1m])", "(a @ 10)");
  once("info(a @ 10)", "info(a @ 10)");
  once("info(a @ 10 + on() b @ 20)", "a @ 10 + on() b @ 20");
  once("topk(scalar(a @ 10), b)");
  once("topk(scalar(a), b @ 10)", "topk(scalar(a), b @ 10)");
});

test("variables become numbers", () => {
  const values = (text: string) => {
    const { tree } = prepare(text);
    return tree.kind === "number" ? tree.value : undefined;
  };
  assert.deepEqual(["start()", "end()", "range()", "step()"].map(values), [600, 900, 300, 60]);
});

test("durations are refused with the place of their arithmetic in bytes", () => {
  const refused = (text: string, message: string) => assert.throws(() => prepare(text), { message });
  refused("sum_over_time(a[(1-step())])", "17:25: duration must be greater than 0");
  refused('{a="é"} + sum_over_time(a[5m:-step()])', "30:37: duration must be greater than 0");
  refused("a offset (step() / (range() - 300))", "10:33: division by zero");
  refused("a offset (step() % (range() - 300))", "10:33: modulo by zero");
  refused("a[step() ^ 10000]", "2:16: duration is NaN or infinite");
  refused("a[step() * 9223372036]", "2:21: duration is out of range");
  refused("a[max_of(-1, -step())]", "2:21: duration must be greater than 0");
  assert.doesNotThrow(() => prepare("a offset (1 - step())"));
});
