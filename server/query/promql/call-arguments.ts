/** Arguments of a call. The parser has checked their number and kinds: to find others is a bug, and throws. */

import { unwrapParens } from "../../../grammar/promql-check.ts";
import type { PromqlCall, PromqlExpression } from "../../../grammar/promql-tree.ts";
import type { Evaluate } from "./evaluation.ts";
import type { StepGrid, StepSeries } from "./step-vector.ts";

/** The expression at `index`. */
export function argument(node: PromqlCall, index: number): PromqlExpression {
  const found = node.args[index];
  if (found === undefined) throw new Error(`${node.name} lacks argument ${index}`);
  return found;
}

/** Values of the scalar at `index`, one a step of `grid`. */
export function scalarArgument(node: PromqlCall, index: number, grid: StepGrid, evaluate: Evaluate): Float64Array {
  const value = evaluate(argument(node, index), grid);
  if (value.kind !== "scalar") throw new Error(`argument ${index} of ${node.name} is no scalar`);
  return value.values;
}

/** Text of the string at `index`. */
export function stringArgument(node: PromqlCall, index: number): string {
  const inner = unwrapParens(argument(node, index));
  if (inner.kind !== "string") throw new Error(`argument ${index} of ${node.name} is no string`);
  return inner.value;
}

/** Series of the vector at `index`, which are the caller's. */
export function vectorArgument(node: PromqlCall, index: number, grid: StepGrid, evaluate: Evaluate): StepSeries[] {
  const value = evaluate(argument(node, index), grid);
  if (value.kind !== "vector") throw new Error(`argument ${index} of ${node.name} is no vector`);
  return value.series;
}
