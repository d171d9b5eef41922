/** A query bound to one time with `@`, so that it must answer the same whenever it is asked. */

import { parsePromql } from "../../grammar/promql-parse.ts";
import { printPromql } from "../../grammar/promql-print.ts";
import type { PromqlAt, PromqlExpression, PromqlSelector } from "../../grammar/promql-tree.ts";
import { regexMatchesEmpty } from "../../server/query/promql/regex.ts";
import type { Asked } from "./engine-answer.ts";
import type { EvalCase } from "./test-language.ts";

/** What these give depends on the time of evaluation even over samples of a fixed one. */
const TIME_FUNCTIONS: ReadonlySet<string> = new Set([
  "days_in_month",
  "day_of_month",
  "day_of_week",
  "day_of_year",
  "end",
  "hour",
  "minute",
  "month",
  "predict_linear",
  "range",
  "start",
  "step",
  "time",
  "timestamp",
  "year",
]);

/** What the files of the language use. */
const SYNTAX = { experimentalFunctions: true, fillModifiers: true, unquotedUtf8Names: true };

/**
 * The instant queries that must answer as `wanted` does: every selector and outermost sub-query without an `@` gets one,
 * and the whole is asked at other times. None where the result would depend on them.
 */
export function fixedTimeQueries({ query, startMs, stepMs }: EvalCase): Asked[] {
  if (stepMs !== 0) return [];
  let tree: PromqlExpression;
  try {
    tree = parsePromql(query, { regexMatchesEmpty, ...SYNTAX });
  } catch {
    // A query that must fail is judged as it stands.
    return [];
  }
  if (callsTimeFunction(tree)) return [];
  const text = printPromql(fixTimes(tree, { kind: "time", timestampMs: startMs }), SYNTAX);
  const times = startMs === 0 ? [-1000, 0, 1000] : [-10 * startMs, 0, Math.trunc(startMs / 5), startMs, 10 * startMs];
  return times.map((timeMs) => ({ query: text, startMs: timeMs, endMs: timeMs, stepMs: 0 }));
}

function callsTimeFunction(node: PromqlExpression): boolean {
  switch (node.kind) {
    case "call":
      return TIME_FUNCTIONS.has(node.name) || node.args.some(callsTimeFunction);
    case "binary":
      return callsTimeFunction(node.left) || callsTimeFunction(node.right);
    case "aggregate":
      return callsTimeFunction(node.operand) || (node.parameter !== undefined && callsTimeFunction(node.parameter));
    case "unary":
    case "paren":
    case "subquery":
      return callsTimeFunction(node.operand);
    case "selector":
    case "range":
    case "number":
    case "string":
      return false;
  }
}

function fixTimes(node: PromqlExpression, at: PromqlAt): PromqlExpression {
  const fix = (inner: PromqlExpression) => fixTimes(inner, at);
  switch (node.kind) {
    case "selector":
      return fixSelector(node, at);
    case "range":
      return { ...node, selector: fixSelector(node.selector, at) };
    case "subquery":
      return { ...node, at: fixAt(node.at, at) };
    case "call":
      return { ...node, args: node.args.map(fix) };
    case "binary":
      return { ...node, left: fix(node.left), right: fix(node.right) };
    case "aggregate":
      return { ...node, operand: fix(node.operand), parameter: node.parameter && fix(node.parameter) };
    case "unary":
    case "paren":
      return { ...node, operand: fix(node.operand) };
    case "number":
    case "string":
      return node;
  }
}

function fixSelector(selector: PromqlSelector, at: PromqlAt): PromqlSelector {
  return { ...selector, at: fixAt(selector.at, at) };
}

/** `start()` and `end()` are the time of the query too. */
function fixAt(written: PromqlAt | undefined, at: PromqlAt): PromqlAt {
  return written?.kind === "time" ? written : at;
}
