/** What every part of the evaluation of one query shares. */

import type { PromqlExpression, PromqlSelector } from "../../../grammar/promql-tree.ts";
import type { SeriesSamples } from "../../model/series.ts";
import type { Annotations } from "./annotations.ts";
import type { QueryTimes } from "./plan.ts";
import type { QueryBudget } from "./query-budget.ts";
import { dropMetricName } from "./series-labels.ts";
import type { StepGrid, StepSeries, StepValue } from "./step-vector.ts";

/** One query while it runs. */
export interface Evaluation {
  readonly times: QueryTimes;
  readonly budget: QueryBudget;
  readonly annotations: Annotations;
  /** Keep dropped names until the result is written (Prometheus' switch promql-delayed-name-removal). */
  readonly delayedNameRemoval: boolean;
  /** Series of each selector, sorted by labels. */
  readonly samples: ReadonlyMap<PromqlSelector, readonly SeriesSamples[]>;
}

/** Evaluates a node over a grid; parts that hold operands call it. */
export type Evaluate = (node: PromqlExpression, grid: StepGrid) => StepValue;

/** Takes the name away, or marks it to be taken away. */
export function withoutName(series: StepSeries, evaluation: Evaluation): void {
  if (evaluation.delayedNameRemoval) series.dropName = true;
  else series.labels = dropMetricName(series.labels);
}

/** The node inside parentheses. */
export function unwrapParens(node: PromqlExpression): PromqlExpression {
  let inner = node;
  while (inner.kind === "paren") inner = inner.operand;
  return inner;
}
