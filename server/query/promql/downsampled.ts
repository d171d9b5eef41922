/**
 * Queries over samples by windows: which selector reads what of the windows, so that functions give what they give over the
 * samples.
 *
 * Exact where ranges begin and end where windows do: `count_over_time`, `sum_over_time` and `avg_over_time` (up to the rounding
 * of sums), `min_over_time`, `max_over_time`; others see the last sample of each window, `rate` and its kin a counter whose
 * resets were counted.
 */

import type { PromqlBinary, PromqlCall, PromqlExpression, PromqlSelector } from "../../../grammar/promql-tree.ts";
import type { WindowAggregate, WindowSource } from "../../store/reader.ts";
import { rangeMsOf } from "./plan.ts";

/** The shortest windows there are. */
const RESOLUTION_MIN_MS = 60_000;
/** Windows that a range must hold. */
const WINDOWS_MIN: Readonly<Record<WindowAggregate, number>> = {
  count: 1,
  sum: 1,
  min: 1,
  max: 1,
  last: 1,
  counter: 2,
};
const AGGREGATES: ReadonlyMap<string, WindowAggregate> = new Map([
  ["count_over_time", "count"],
  ["sum_over_time", "sum"],
  ["min_over_time", "min"],
  ["max_over_time", "max"],
  ["rate", "counter"],
  ["increase", "counter"],
  ["irate", "counter"],
]);

/** A selector that reads windows. */
interface WindowSelector extends PromqlSelector {
  readonly source: WindowSource;
}

/** What a selector reads in place of samples; undefined where it reads those. */
export function sourceOf(selector: PromqlSelector | PromqlCall): WindowSource | undefined {
  return "source" in selector ? (selector as WindowSelector).source : undefined; // put there by `downsample` alone
}

/** How far instant selectors look back over windows of at most this length: one window must be in sight. */
export function windowLookbackMs(lookbackMs: number, resolutionMs: number): number {
  const longest = 60 * RESOLUTION_MIN_MS;
  const windowMs = resolutionMs >= longest ? longest : resolutionMs >= RESOLUTION_MIN_MS ? RESOLUTION_MIN_MS : 0;
  return Math.max(lookbackMs, windowMs);
}

/**
 * The same query over windows of at most `resolutionMs`.
 *
 * @param tree Prepared: its durations are numbers.
 */
export function downsample(tree: PromqlExpression, resolutionMs: number): PromqlExpression {
  if (resolutionMs < RESOLUTION_MIN_MS) return tree;
  const visit = (node: PromqlExpression): PromqlExpression => {
    switch (node.kind) {
      case "number":
      case "string":
      case "range":
        return node;
      case "selector":
        return reading(node, "last", resolutionMs);
      case "subquery":
      case "paren":
      case "unary":
        return { ...node, operand: visit(node.operand) };
      case "binary":
        return spine(node, visit);
      case "aggregate":
        return {
          ...node,
          parameter: node.parameter === undefined ? undefined : visit(node.parameter),
          operand: visit(node.operand),
        };
      case "call":
        return overRange(node, resolutionMs) ?? { ...node, args: node.args.map(visit) };
    }
  };
  return visit(tree);
}

/** Runs of operators are deep trees: they are walked in a loop. */
function spine(root: PromqlBinary, visit: (node: PromqlExpression) => PromqlExpression): PromqlExpression {
  const waiting: PromqlBinary[] = [];
  let base: PromqlExpression = root;
  for (; base.kind === "binary"; base = base.left) waiting.push(base);
  let left = visit(base);
  for (const node of waiting.reverse()) left = { ...node, left, right: visit(node.right) };
  return left;
}

function reading(selector: PromqlSelector, aggregate: WindowAggregate, resolutionMs: number): WindowSelector {
  return { ...selector, source: { resolutionMs, aggregate } };
}

/** A call over a range of a selector; undefined for other calls, and where the range holds too few windows. */
function overRange(call: PromqlCall, resolutionMs: number): PromqlExpression | undefined {
  const ranges = call.args.filter((each) => innermost(each).kind === "range");
  if (ranges.length === 0) return undefined;
  if (call.name === "avg_over_time") {
    const sum = over({ ...call, name: "sum_over_time" }, "sum", resolutionMs);
    const count = over({ ...call, name: "sum_over_time" }, "count", resolutionMs);
    return sum === undefined || count === undefined ? call : quotient(call, sum, count);
  }
  const aggregate = AGGREGATES.get(call.name) ?? "last";
  // Counts are added up.
  const name = call.name === "count_over_time" ? "sum_over_time" : call.name;
  return over({ ...call, name }, aggregate, resolutionMs) ?? call;
}

function over(call: PromqlCall, aggregate: WindowAggregate, resolutionMs: number): PromqlCall | undefined {
  let isWide = true;
  const windowed = (node: PromqlExpression): PromqlExpression => {
    if (node.kind === "paren") return { ...node, operand: windowed(node.operand) };
    if (node.kind !== "range") return node;
    const fitsMs = Math.min(resolutionMs, Math.floor(rangeMsOf(node) / WINDOWS_MIN[aggregate]));
    if (fitsMs < RESOLUTION_MIN_MS || node.selector.mode !== undefined) isWide = false;
    return { ...node, selector: reading(node.selector, aggregate, fitsMs) };
  };
  const args = call.args.map(windowed);
  return isWide ? { ...call, args } : undefined;
}

function innermost(node: PromqlExpression): PromqlExpression {
  return node.kind === "paren" ? innermost(node.operand) : node;
}

function quotient({ position }: PromqlCall, left: PromqlCall, right: PromqlCall): PromqlExpression {
  const matching = {
    on: false,
    labels: [],
    group: undefined,
    include: [],
    fillLeft: undefined,
    fillRight: undefined,
  };
  const operand = {
    kind: "binary",
    op: "/",
    bool: false,
    matching,
    left,
    right,
    position,
    opPosition: position,
  } as const;
  return { kind: "paren", operand, position };
}
