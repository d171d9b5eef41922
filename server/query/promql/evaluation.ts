/** What every part of the evaluation of one query shares. */

import type { PromqlExpression } from "../../../grammar/promql-tree.ts";
import type { Annotations } from "./annotations.ts";
import type { FedSeries } from "./encoded-columns.ts";
import type { QueryProfile } from "./explain.ts";
import type { Selecting } from "./plan.ts";
import type { QueryBudget } from "./query-budget.ts";
import type { QueryStatistics } from "./query-statistics.ts";
import { dropMetricName } from "./series-labels.ts";
import { mergeEqualSeries, type QueryTimes, type StepGrid, type StepSeries, type StepValue } from "./step-vector.ts";

/** One query while it runs. */
export interface Evaluation {
  readonly times: QueryTimes;
  readonly budget: QueryBudget;
  readonly annotations: Annotations;
  /** Keep dropped names until the result is written (Prometheus' switch promql-delayed-name-removal). */
  readonly delayedNameRemoval: boolean;
  /** Start timestamps tell of counter resets (use-start-timestamps). */
  readonly useStartTimestamps: boolean;
  /** `__type__` says whether a series is a counter, in place of its name (type-and-unit-labels). */
  readonly typeAndUnitLabels: boolean;
  /** Counts samples, where that is asked for. */
  readonly statistics: QueryStatistics | undefined;
  /** Nodes with the same value at every step. */
  readonly once: ReadonlySet<PromqlExpression>;
  /** Series of each selector and of each `info()`, sorted by labels. */
  readonly samples: ReadonlyMap<Selecting, readonly FedSeries[]>;
  /** Measures the parts of the query; undefined where nobody asked. */
  readonly profile: QueryProfile | undefined;
}

/** Evaluates a node over a grid; parts that hold operands call it. */
export type Evaluate = (node: PromqlExpression, grid: StepGrid) => StepValue;

/** Takes the name away, or marks it to be taken away. */
export function withoutName(series: StepSeries, evaluation: Evaluation): void {
  if (evaluation.delayedNameRemoval) series.dropName = true;
  else series.labels = dropMetricName(series.labels);
}

/**
 * Joins what an operation gave for the same labels at different steps.
 *
 * With delayed name removal an instant query may carry equal label sets on; its result is looked at last.
 *
 * @throws PromqlExecutionError where two have a value at the same step.
 */
export function mergeResults(series: readonly StepSeries[], grid: StepGrid, evaluation: Evaluation): StepSeries[] {
  if (grid.isInstant && evaluation.delayedNameRemoval) return [...series];
  return mergeEqualSeries(series);
}
