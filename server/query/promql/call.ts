/** Calls of PromQL's functions. */

import type { PromqlCall } from "../../../grammar/promql-tree.ts";
import { argument, scalarArgument, stringArgument, vectorArgument } from "./call-arguments.ts";
import { DATE_KERNELS } from "./date-kernels.ts";
import { type Evaluate, type Evaluation, mergeResults, withoutName } from "./evaluation.ts";
import { histogramFunction } from "./histogram-functions.ts";
import { evaluateInfo } from "./info.ts";
import { absentLabels, labelJoin, labelReplace } from "./label-functions.ts";
import { pinnedMs, shiftedGrid } from "./plan.ts";
import { absentOverTime, mayMeet, mergeRangeResults, rangeCallStream } from "./range-call.ts";
import { NAME_KEEPING_KERNELS } from "./range-kernels.ts";
import { selectInstant } from "./select-steps.ts";
import { sortByLabelValues, sortByValue } from "./sort-functions.ts";
import {
  ABSENT,
  dropHistograms,
  FLOAT,
  hasValues,
  makeSeries,
  releaseSeries,
  type StepGrid,
  type StepSeries,
  type StepValue,
  stepTimeMs,
} from "./step-vector.ts";
import { MATH_KERNELS, maxOf, minOf, roundTo } from "./vector-kernels.ts";

/** Evaluates a call; `evaluate` does the arguments. */
export function evaluateCall(node: PromqlCall, grid: StepGrid, evaluation: Evaluation, evaluate: Evaluate): StepValue {
  const vector = (series: readonly StepSeries[]): StepValue => ({ kind: "vector", series: series.filter(hasValues) });
  const scalarConstant = scalarFunction(node, grid, evaluation, evaluate);
  if (scalarConstant !== undefined) return { kind: "scalar", values: scalarConstant };
  const stream = rangeCallStream(node, grid, evaluation, evaluate);
  if (stream !== undefined) {
    const meet = NAME_KEEPING_KERNELS.has(node.name) || mayMeet(node, evaluation);
    return vector(meet ? mergeRangeResults([...stream], evaluation) : [...stream]);
  }
  if (node.name === "absent_over_time") return vector([absentOverTime(node, grid, evaluation, evaluate)]);
  if (node.name === "info") return vector(evaluateInfo(node, grid, evaluation, evaluate));
  if (node.name === "vector") {
    const series = makeSeries([], false, grid, evaluation.budget);
    series.values.set(scalarArgument(node, 0, grid, evaluate));
    series.present.fill(FLOAT);
    return vector([series]);
  }
  if (node.name === "timestamp" || node.name === "start_timestamp")
    return vector(timestamps(node, grid, evaluation, evaluate));
  if (DATE_KERNELS.has(node.name) && node.args.length === 0) {
    const series = makeSeries([], false, grid, evaluation.budget);
    series.present.fill(FLOAT);
    for (let k = 0; k < grid.steps; k++) series.values[k] = stepTimeMs(grid, k) / 1000;
    return vector(mapValues([series], DATE_KERNELS.get(node.name) ?? Number, grid, evaluation));
  }
  return vector(vectorFunction(node, grid, evaluation, evaluate));
}

/** Functions that give a scalar; undefined for all others. */
function scalarFunction(
  node: PromqlCall,
  grid: StepGrid,
  evaluation: Evaluation,
  evaluate: Evaluate,
): Float64Array | undefined {
  const fill = (value: number) => new Float64Array(grid.steps).fill(value);
  switch (node.name) {
    case "time":
      return new Float64Array(grid.steps).map((_, k) => stepTimeMs(grid, k) / 1000);
    case "pi":
      return fill(Math.PI);
    case "min_of":
    case "max_of": {
      const left = scalarArgument(node, 0, grid, evaluate);
      const right = scalarArgument(node, 1, grid, evaluate);
      const pick = node.name === "min_of" ? minOf : maxOf;
      return left.map((value, k) => pick(value, right[k] ?? Number.NaN));
    }
    case "scalar": {
      const series = vectorArgument(node, 0, grid, evaluate);
      const out = fill(Number.NaN);
      for (let k = 0; k < grid.steps; k++) {
        const here = series.filter((one) => one.present[k] === FLOAT);
        if (here.length === 1) out[k] = here[0]?.values[k] ?? Number.NaN;
      }
      releaseSeries(series, evaluation.budget);
      return out;
    }
    default:
      return undefined;
  }
}

function timestamps(node: PromqlCall, grid: StepGrid, evaluation: Evaluation, evaluate: Evaluate): StepSeries[] {
  const inner = argument(node, 0);
  const read = node.name === "timestamp" ? "time" : "start";
  let series: StepSeries[];
  if (read === "start" && (inner.kind !== "selector" || !evaluation.useStartTimestamps)) {
    // Only samples know since when they count; other values are evaluated for what they have to say.
    vectorArgument(node, 0, grid, evaluate);
    return [];
  }
  if (inner.kind === "selector") {
    const pinned = pinnedMs(inner);
    // With `@` the offset only says which samples can be seen, as in Prometheus.
    const shifted = pinned === undefined ? shiftedGrid(inner, grid) : { ...grid, startMs: pinned, stepMs: 0 };
    const options = { lookbackMs: evaluation.times.lookbackMs, read } as const;
    const selected = evaluation.samples.get(inner) ?? [];
    evaluation.statistics?.countSeries(selected.length);
    series = selected.map((one) => selectInstant(one, shifted, options, evaluation.budget));
    for (const one of series) evaluation.statistics?.countSelected(one, false);
  } else {
    series = vectorArgument(node, 0, grid, evaluate);
    for (const one of series) {
      for (let k = 0; k < grid.steps; k++) {
        one.values[k] = stepTimeMs(grid, k) / 1000;
        if (one.present[k] !== ABSENT) one.present[k] = FLOAT;
      }
    }
  }
  for (const one of series) withoutName(one, evaluation);
  return mergeResults(series.filter(hasValues), grid, evaluation);
}

function mapValues(
  series: StepSeries[],
  kernel: (value: number, step: number) => number,
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  for (const one of series) {
    for (let k = 0; k < one.values.length; k++) {
      if (one.present[k] === FLOAT) one.values[k] = kernel(one.values[k] ?? Number.NaN, k);
    }
    dropHistograms(one, evaluation.budget);
    withoutName(one, evaluation);
  }
  return mergeResults(series, grid, evaluation);
}

function vectorFunction(node: PromqlCall, grid: StepGrid, evaluation: Evaluation, evaluate: Evaluate): StepSeries[] {
  const math = MATH_KERNELS.get(node.name) ?? DATE_KERNELS.get(node.name);
  if (math !== undefined)
    return mapValues(vectorArgument(node, 0, grid, evaluate), (value) => math(value), grid, evaluation);
  const histograms = histogramFunction(
    node,
    {
      node: (index) => argument(node, index),
      scalar: (index) => scalarArgument(node, index, grid, evaluate),
      text: (index) => stringArgument(node, index),
      vector: (index) => vectorArgument(node, index, grid, evaluate),
    },
    grid,
    evaluation,
  );
  if (histograms !== undefined) return histograms;
  switch (node.name) {
    case "absent":
      return [absent(node, grid, evaluation, evaluate)];
    case "clamp":
    case "clamp_min":
    case "clamp_max":
      return clamp(node, grid, evaluation, evaluate);
    case "round": {
      const nearest = node.args.length > 1 ? scalarArgument(node, 1, grid, evaluate) : undefined;
      return mapValues(
        vectorArgument(node, 0, grid, evaluate),
        (value, k) => roundTo(value, nearest?.[k] ?? 1),
        grid,
        evaluation,
      );
    }
    case "label_replace":
      return labelReplace(
        vectorArgument(node, 0, grid, evaluate),
        node.args.slice(1).map((_, i) => stringArgument(node, i + 1)),
        evaluation.budget,
      );
    case "label_join":
      return labelJoin(
        vectorArgument(node, 0, grid, evaluate),
        node.args.slice(1).map((_, i) => stringArgument(node, i + 1)),
        evaluation.budget,
      );
    case "sort":
    case "sort_desc":
    case "sort_by_label":
    case "sort_by_label_desc":
      return sorted(node, grid, evaluation, evaluate);
    default:
      throw new Error(`function ${node.name} is declared but not evaluated`);
  }
}

function absent(node: PromqlCall, grid: StepGrid, evaluation: Evaluation, evaluate: Evaluate): StepSeries {
  const series = vectorArgument(node, 0, grid, evaluate);
  const out = makeSeries(absentLabels(argument(node, 0)), false, grid, evaluation.budget);
  out.present.fill(FLOAT);
  out.values.fill(1);
  for (const one of series) for (let k = 0; k < grid.steps; k++) if (one.present[k] !== ABSENT) out.present[k] = ABSENT;
  releaseSeries(series, evaluation.budget);
  return out;
}

function clamp(node: PromqlCall, grid: StepGrid, evaluation: Evaluation, evaluate: Evaluate): StepSeries[] {
  const series = vectorArgument(node, 0, grid, evaluate);
  const lower = node.name === "clamp_max" ? undefined : scalarArgument(node, 1, grid, evaluate);
  const upper =
    node.name === "clamp_min" ? undefined : scalarArgument(node, node.name === "clamp" ? 2 : 1, grid, evaluate);
  for (let k = 0; k < grid.steps; k++) {
    const least = lower?.[k] ?? Number.NEGATIVE_INFINITY;
    const most = upper?.[k] ?? Number.POSITIVE_INFINITY;
    if (most < least) for (const one of series) one.present[k] = ABSENT;
  }
  return mapValues(
    series,
    (value, k) => maxOf(lower?.[k] ?? Number.NEGATIVE_INFINITY, minOf(upper?.[k] ?? Number.POSITIVE_INFINITY, value)),
    grid,
    evaluation,
  );
}

/** Order matters only for an instant query; NaN comes last whichever way. */
function sorted(node: PromqlCall, grid: StepGrid, evaluation: Evaluation, evaluate: Evaluate): StepSeries[] {
  const series = vectorArgument(node, 0, grid, evaluate);
  const byLabel = node.name.startsWith("sort_by_label");
  if (!byLabel) for (const one of series) dropHistograms(one, evaluation.budget);
  if (!grid.isInstant) {
    const text = "sort is ineffective for range queries since results are always ordered by labels";
    evaluation.annotations.warn(text, node.position);
    return series;
  }
  const isDescending = node.name.endsWith("_desc");
  if (!byLabel) return sortByValue(series, isDescending);
  const labels = node.args.slice(1).map((_, index) => stringArgument(node, index + 1));
  return sortByLabelValues(series, labels, isDescending);
}
