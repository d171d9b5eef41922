/** Evaluates a checked expression over the steps of a query. */

import { isSetOperator, promqlType } from "../../../grammar/promql-check.ts";
import type { PromqlAggregate, PromqlBinary, PromqlExpression, PromqlSelector } from "../../../grammar/promql-tree.ts";
import { countValues, foldAggregate, isFolding, quantileAggregate, seriesByGroup } from "./aggregate.ts";
import { operationOf, setOperation, vectorScalar } from "./binary.ts";
import { evaluateCall } from "./call.ts";
import { type Evaluation, withoutName } from "./evaluation.ts";
import { scaleHistogram } from "./histogram/float-histogram.ts";
import { seriesNotes } from "./histogram-window.ts";
import { joinStream } from "./join-stream.ts";
import { pickAggregate } from "./pick-aggregate.ts";
import { instantGrid, shiftedGrid } from "./plan.ts";
import { mayMeet, rangeCallStream } from "./range-call.ts";
import { selectInstant } from "./select-steps.ts";
import { selectSmoothed } from "./smoothed-select.ts";
import {
  ABSENT,
  hasValues,
  histogramAt,
  makeSeries,
  mergeEqualSeries,
  putHistogram,
  releaseOne,
  releaseSeries,
  type StepGrid,
  type StepSeries,
  type StepValue,
} from "./step-vector.ts";
import { vectorVector } from "./vector-match.ts";

/**
 * Evaluates `node` at every step of `grid`.
 *
 * The columns of the result belong to the caller, who may write over them. A range or sub-query has no value of its
 * own here: functions read it.
 *
 * @throws PromqlExecutionError, or ThalwegError where a limit of the budget is reached.
 */
export function evaluate(node: PromqlExpression, grid: StepGrid, evaluation: Evaluation): StepValue {
  const { profile } = evaluation;
  if (profile === undefined) return evaluateNode(node, grid, evaluation);
  return profile.measure(node, () => evaluateNode(node, grid, evaluation));
}

function evaluateNode(node: PromqlExpression, grid: StepGrid, evaluation: Evaluation): StepValue {
  if (grid.steps === 0) return nothing(node);
  if (!grid.isInstant && evaluation.once.has(node)) {
    const first = instantGrid(grid.startMs);
    const { statistics } = evaluation;
    const evaluateOnce = () => evaluateNode(node, first, evaluation);
    return repeated(statistics === undefined ? evaluateOnce() : statistics.once(first, evaluateOnce), grid, evaluation);
  }
  const again = (inner: PromqlExpression, innerGrid: StepGrid) => evaluate(inner, innerGrid, evaluation);
  switch (node.kind) {
    case "number":
      return { kind: "scalar", values: new Float64Array(grid.steps).fill(node.value) };
    case "string":
      return { kind: "string", value: node.value };
    case "paren":
      return again(node.operand, grid);
    case "selector":
      return { kind: "vector", series: [...selectorStream(node, grid, evaluation)].filter(hasValues) };
    case "unary":
      return evaluateUnary(again(node.operand, grid), node.op, evaluation);
    case "binary":
      return evaluateSpine(node, grid, evaluation);
    case "aggregate":
      return { kind: "vector", series: evaluateAggregate(node, grid, evaluation).filter(hasValues) };
    case "call":
      return evaluateCall(node, grid, evaluation, again);
    case "range":
    case "subquery":
      throw new Error("a range is not evaluated by itself");
  }
}

/** The value over no steps: nothing is evaluated, so nothing can fail. */
function nothing(node: PromqlExpression): StepValue {
  if (promqlType(node) === "scalar") return { kind: "scalar", values: new Float64Array(0) };
  return { kind: "vector", series: [] };
}

/** A value of one step at all steps of `grid`. */
function repeated(value: StepValue, grid: StepGrid, evaluation: Evaluation): StepValue {
  if (value.kind === "string") return value;
  if (value.kind === "scalar") {
    return { kind: "scalar", values: new Float64Array(grid.steps).fill(value.values[0] ?? Number.NaN) };
  }
  const series = value.series.map((one) => {
    const out = makeSeries(one.labels, one.dropName, grid, evaluation.budget);
    const histogram = histogramAt(one, 0);
    if (histogram !== undefined)
      for (let k = 0; k < grid.steps; k++) putHistogram(out, k, histogram, evaluation.budget);
    else {
      out.values.fill(one.values[0] ?? Number.NaN);
      out.present.fill(one.present[0] ?? ABSENT);
    }
    return out;
  });
  releaseSeries(value.series, evaluation.budget);
  return { kind: "vector", series };
}

/** The series of an instant selector one after the other. */
function* selectorStream(node: PromqlSelector, grid: StepGrid, evaluation: Evaluation): Generator<StepSeries> {
  const shifted = shiftedGrid(node, grid);
  const { times, budget, annotations, statistics } = evaluation;
  const { lookbackMs } = times;
  const selected = evaluation.samples.get(node) ?? [];
  statistics?.countSeries(selected.length);
  for (const samples of selected) {
    if (node.mode === "smoothed") {
      const notes = seriesNotes(samples.labels, node.position, annotations);
      yield selectSmoothed(samples, shifted, { lookbackMs, notes, budget });
      continue;
    }
    const series = selectInstant(samples, shifted, { lookbackMs, read: "value" }, budget);
    statistics?.countSelected(series, true);
    yield series;
  }
}

function evaluateUnary(value: StepValue, op: "+" | "-", evaluation: Evaluation): StepValue {
  if (op === "+" || value.kind === "string") return value;
  if (value.kind === "scalar") return { kind: "scalar", values: value.values.map((one) => -one) };
  for (const series of value.series) {
    for (let k = 0; k < series.values.length; k++) series.values[k] = -(series.values[k] ?? Number.NaN);
    series.histograms = series.histograms?.map((one) => (one === undefined ? undefined : scaleHistogram(one, -1)));
    withoutName(series, evaluation);
  }
  return { kind: "vector", series: evaluation.delayedNameRemoval ? value.series : mergeEqualSeries(value.series) };
}

/** Walks a run of operators from the left in a loop: it is a deep tree. */
function evaluateSpine(node: PromqlBinary, grid: StepGrid, evaluation: Evaluation): StepValue {
  const spine: PromqlBinary[] = [];
  let base: PromqlExpression = node;
  while (base.kind === "binary" && (base === node || grid.isInstant || !evaluation.once.has(base))) {
    spine.push(base);
    base = base.left;
  }
  let left = evaluate(base, grid, evaluation);
  for (const binary of spine.reverse()) {
    left = evaluateBinary(binary, left, evaluate(binary.right, grid, evaluation), grid, evaluation);
  }
  return left;
}

function evaluateBinary(
  node: PromqlBinary,
  left: StepValue,
  right: StepValue,
  grid: StepGrid,
  evaluation: Evaluation,
): StepValue {
  if (left.kind === "string" || right.kind === "string") throw new Error("operators do not take strings");
  if (left.kind === "scalar" && right.kind === "scalar") {
    const operate = operationOf(node);
    return {
      kind: "scalar",
      values: left.values.map((value, k) => operate(value, right.values[k] ?? 0) ?? Number.NaN),
    };
  }
  let series: StepSeries[];
  if (left.kind === "scalar") {
    if (right.kind === "scalar") throw new Error("two scalars are done above");
    series = vectorScalar(node, right.series, { values: left.values, isLeft: true }, grid, evaluation);
  } else if (right.kind === "scalar")
    series = vectorScalar(node, left.series, { values: right.values, isLeft: false }, grid, evaluation);
  else if (isSetOperator(node.op)) series = setOperation(node, left.series, right.series, grid, evaluation);
  else {
    series = vectorVector({ node, left: left.series, right: right.series, grid }, evaluation);
    releaseSeries(left.series, evaluation.budget);
    releaseSeries(right.series, evaluation.budget);
  }
  return { kind: "vector", series: series.filter(hasValues) };
}

/** Series that an aggregation folds: those of a selector or range function are made one at a time. */
function operandStream(node: PromqlExpression, grid: StepGrid, evaluation: Evaluation): Iterable<StepSeries> {
  if (node.kind === "paren") return operandStream(node.operand, grid, evaluation);
  if (!grid.isInstant && evaluation.once.has(node)) return vectorOf(evaluate(node, grid, evaluation));
  if (node.kind === "binary") {
    const ones = (operand: PromqlExpression) => vectorOf(evaluate(operand, grid, evaluation));
    const many = (operand: PromqlExpression) => operandStream(operand, grid, evaluation);
    return joinStream(node, grid, evaluation, { ones, many }) ?? vectorOf(evaluate(node, grid, evaluation));
  }
  const { profile } = evaluation;
  const measured = (stream: Iterable<StepSeries>) => profile?.measureStream(node, stream) ?? stream;
  if (node.kind === "selector") return measured(selectorStream(node, grid, evaluation));
  const again = (inner: PromqlExpression, innerGrid: StepGrid) => evaluate(inner, innerGrid, evaluation);
  const streams = node.kind === "call" && !mayMeet(node, evaluation);
  const stream = streams ? rangeCallStream(node, grid, evaluation, again, true) : undefined;
  return stream === undefined ? vectorOf(evaluate(node, grid, evaluation)) : measured(stream);
}

function vectorOf(value: StepValue): StepSeries[] {
  if (value.kind !== "vector") throw new Error(`wants a vector, got a ${value.kind}`);
  return value.series;
}

function evaluateAggregate(node: PromqlAggregate, grid: StepGrid, evaluation: Evaluation): StepSeries[] {
  if (isFolding(node.op)) {
    const { budget } = evaluation;
    const operand = operandStream(node.operand, grid, evaluation);
    return foldAggregate(node, operand, grid, evaluation, (series) => releaseOne(series, budget));
  }
  const parameter = node.parameter === undefined ? undefined : evaluate(node.parameter, grid, evaluation);
  const series = vectorOf(evaluate(node.operand, grid, evaluation));
  let out: StepSeries[];
  if (parameter?.kind === "string") out = countValues(node, series, parameter.value, grid, evaluation);
  else if (parameter?.kind !== "scalar") throw new Error(`${node.op} wants a parameter`);
  else if (node.op === "quantile") out = quantileAggregate(node, series, parameter.values, grid, evaluation);
  else out = pickAggregate(node, seriesByGroup(node, series), parameter.values, grid, evaluation);
  releaseSeries(series, evaluation.budget);
  return out;
}
