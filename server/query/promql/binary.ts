/** Operators between a vector and a scalar, and set operators. */

import { isComparison } from "../../../grammar/promql-check.ts";
import type { PromqlBinary } from "../../../grammar/promql-tree.ts";
import type { Evaluation } from "./evaluation.ts";
import { mergeResults, withoutName } from "./evaluation.ts";
import { histogramsWithScalar, isTrim, OperatorNotes } from "./histogram-operators.ts";
import { partialKey } from "./series-labels.ts";
import { ABSENT, FLOAT, type StepGrid, type StepSeries } from "./step-vector.ts";
import { arithmetic, comparison } from "./vector-kernels.ts";
import { bySignature, matchedBy, presence } from "./vector-signature.ts";

/** The value of an operation, or undefined where a comparison filters it out. */
export type Operation = (left: number, right: number) => number | undefined;

/** What an operator does with two values; a filtering comparison keeps the left one. */
export function operationOf(node: PromqlBinary): Operation {
  if (isTrim(node.op)) return () => undefined; // floats have no buckets
  if (!isComparison(node.op)) return arithmetic(node.op);
  const compare = comparison(node.op);
  if (node.bool) return (left, right) => (compare(left, right) ? 1 : 0);
  return (left, right) => (compare(left, right) ? left : undefined);
}

/** Vector with scalar, in either order. A filter keeps the value of the vector. */
export function vectorScalar(
  node: PromqlBinary,
  vector: readonly StepSeries[],
  scalar: { readonly values: Float64Array; readonly isLeft: boolean },
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  const filters = isComparison(node.op) && !node.bool;
  const operate = operationOf(node);
  const notes = new OperatorNotes();
  for (const series of vector) {
    if (series.histograms !== undefined || isTrim(node.op)) {
      histogramsWithScalar(node, series, scalar, notes, evaluation.budget);
    }
    const { values, present } = series;
    for (let k = 0; k < present.length; k++) {
      if (present[k] !== FLOAT) continue;
      const value = values[k] ?? Number.NaN;
      const other = scalar.values[k] ?? Number.NaN;
      const result = scalar.isLeft ? operate(other, value) : operate(value, other);
      if (result === undefined) present[k] = ABSENT;
      else values[k] = filters ? value : result;
    }
    if (!filters && !isTrim(node.op)) withoutName(series, evaluation);
  }
  notes.say(evaluation.annotations, node.position);
  return mergeResults(vector, grid, evaluation);
}

/** `and`, `or`, `unless`. */
export function setOperation(
  node: PromqlBinary,
  left: readonly StepSeries[],
  right: readonly StepSeries[],
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  const matched = matchedBy(node);
  const others = bySignature(node.op === "or" ? left : right, matched);
  const filtered = node.op === "or" ? right : left;
  const keepWhere = node.op === "and" ? 1 : 0;
  const presences = new Map<string, Uint8Array>();
  for (const one of filtered) {
    const key = partialKey(one.labels, matched);
    let other = presences.get(key);
    if (other === undefined) {
      other = presence(others.get(key) ?? [], grid.steps);
      presences.set(key, other);
    }
    for (let k = 0; k < grid.steps; k++) if (other[k] !== keepWhere) one.present[k] = ABSENT;
  }
  return mergeResults(node.op === "or" ? [...left, ...right] : left, grid, evaluation);
}
