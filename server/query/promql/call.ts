/** Calls of PromQL's functions. */

import { unwrapParens } from "../../../grammar/promql-check.ts";
import { quoteGo } from "../../../grammar/promql-error.ts";
import type { PromqlCall, PromqlExpression, PromqlModifiers, TextRange } from "../../../grammar/promql-tree.ts";
import type { Labels } from "../../model/series.ts";
import { warnQuantile } from "./aggregate.ts";
import { COLUMN_KERNELS } from "./column-kernels.ts";
import { DATE_KERNELS } from "./date-kernels.ts";
import { denseRates } from "./dense-rate.ts";
import { durationMs } from "./durations.ts";
import type { FedSeries } from "./encoded-columns.ts";
import { type Evaluate, type Evaluation, mergeResults, withoutName } from "./evaluation.ts";
import { functionKernels, refuseMode } from "./extended-kernels.ts";
import { histogramFunction } from "./histogram-functions.ts";
import { startOverlap } from "./histogram-messages.ts";
import { applyHistogramKernel, seriesNotes, splitTypes } from "./histogram-window.ts";
import { evaluateInfo } from "./info.ts";
import { INTEGRAL_DEFAULT, isIntegralStrategy } from "./integral.ts";
import { absentLabels, labelJoin, labelReplace } from "./label-functions.ts";
import { printGeneral } from "./number-text.ts";
import { pinnedMs, rangeMsOf, shiftedGrid, subqueryGrid } from "./plan.ts";
import { NAME_KEEPING_KERNELS } from "./range-kernels.ts";
import {
  applyKernel,
  forgetResets,
  passingWithoutStale,
  type RangeGrid,
  selectInstant,
  stepsToSamples,
  withoutStarts,
} from "./select-steps.ts";
import { dropMetricName, isMetricLabel, labelsKey, labelValue, METRIC_NAME, METRIC_TYPE } from "./series-labels.ts";
import { sortByLabelValues, sortByValue } from "./sort-functions.ts";
import {
  ABSENT,
  dropHistograms,
  FLOAT,
  hasValues,
  makeDenseSeries,
  makeSeries,
  mergeEqualSeries,
  putHistogram,
  type RangeSeries,
  releaseSeries,
  type StepGrid,
  type StepSeries,
  type StepValue,
  stepTimeMs,
} from "./step-vector.ts";
import { MATH_KERNELS, maxOf, minOf, roundTo } from "./vector-kernels.ts";

/** Functions for which start timestamps are resets. */
const START_FUNCTIONS: ReadonlySet<string> = new Set(["rate", "increase", "irate", "resets"]);

/** Functions of counters: the name of what they read should say so. */
const COUNTER_FUNCTIONS: ReadonlySet<string> = new Set(["rate", "increase"]);
const COUNTER_NAME = /_(?:total|sum|count|bucket)$/;

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

function argument(node: PromqlCall, index: number): PromqlExpression {
  const found = node.args[index];
  if (found === undefined) throw new Error(`${node.name} lacks argument ${index}`);
  return found;
}

function scalarArgument(node: PromqlCall, index: number, grid: StepGrid, evaluate: Evaluate): Float64Array {
  const value = evaluate(argument(node, index), grid);
  if (value.kind !== "scalar") throw new Error(`argument ${index} of ${node.name} is no scalar`);
  return value.values;
}

function stringArgument(node: PromqlCall, index: number): string {
  const inner = unwrapParens(argument(node, index));
  if (inner.kind !== "string") throw new Error(`argument ${index} of ${node.name} is no string`);
  return inner.value;
}

function vectorArgument(node: PromqlCall, index: number, grid: StepGrid, evaluate: Evaluate): StepSeries[] {
  const value = evaluate(argument(node, index), grid);
  if (value.kind !== "vector") throw new Error(`argument ${index} of ${node.name} is no vector`);
  return value.series;
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

/** The series and windows of a range argument. */
interface RangeArgument {
  readonly length: number;
  /** A series; it holds until the next one is asked for, and each is asked for once. */
  readonly at: (index: number) => RangeSeries;
  readonly ranges: RangeGrid;
}

function rangeArgument(
  node: PromqlCall,
  index: number,
  grid: StepGrid,
  evaluation: Evaluation,
  evaluate: Evaluate,
): RangeArgument {
  const { times } = evaluation;
  const inner = unwrapParens(argument(node, index));
  if (inner.kind === "range") {
    const { selector } = inner;
    const samples = evaluation.samples.get(selector) ?? [];
    evaluation.statistics?.countSeries(samples.length);
    const usesStarts = evaluation.useStartTimestamps && START_FUNCTIONS.has(node.name);
    const { lookbackMs } = times;
    const ranges = {
      ...rangeGrid(inner, selector, grid),
      beforeMs: selector.mode === undefined ? 0 : lookbackMs,
      afterMs: selector.mode === "smoothed" ? lookbackMs : 0,
    };
    const at = (index: number) => {
      const kept = passingWithoutStale(samples[index] as FedSeries); // in range, as asked
      evaluation.statistics?.countWindows(kept, ranges);
      return usesStarts || kept.startsMs === undefined ? kept : withoutStarts(kept);
    };
    return { length: samples.length, at, ranges };
  }
  if (inner.kind !== "subquery") throw new Error("a range function wants a range");
  const innerGrid = subqueryGrid(inner, grid, times);
  const value = evaluateInside(inner, { innerGrid, grid }, evaluation, evaluate);
  const steps = value.kind === "vector" ? value.series : [];
  const series = steps.map((one) => forgetResets(stepsToSamples(one, innerGrid)));
  const at = (index: number) => series[index] as RangeSeries; // in range, as asked
  return { length: series.length, at, ranges: rangeGrid(inner, inner, grid) };
}

/** Evaluates the operand of a sub-query, and counts what of it the function looks at. */
function evaluateInside(
  node: PromqlExpression & { readonly kind: "subquery" },
  { innerGrid, grid }: { readonly innerGrid: StepGrid; readonly grid: StepGrid },
  { statistics }: Evaluation,
  evaluate: Evaluate,
): StepValue {
  const evaluateOperand = () => evaluate(node.operand, innerGrid);
  if (statistics === undefined) return evaluateOperand();
  const offsetMs = node.offset === undefined ? 0 : durationMs(node.offset);
  const consumer = { grid, offsetMs, rangeMs: rangeMsOf(node), atMs: pinnedMs(node) };
  return statistics.subquery(innerGrid, consumer, evaluateOperand);
}

function rangeGrid(
  node: PromqlExpression & { readonly kind: "range" | "subquery" },
  modifiers: PromqlModifiers,
  grid: StepGrid,
): RangeGrid {
  const isPinned = modifiers.at !== undefined;
  const shifted = shiftedGrid(modifiers, grid);
  return { grid, shifted, rangeMs: rangeMsOf(node), isPinned, beforeMs: 0, afterMs: 0 };
}

/**
 * Results of a range function, series by series; undefined where `node` is no such call.
 *
 * @param isTransient Nobody looks at a series after the next one was asked for.
 */
export function rangeCallStream(
  node: PromqlCall,
  grid: StepGrid,
  evaluation: Evaluation,
  evaluate: Evaluate,
  isTransient = false,
): Iterable<StepSeries> | undefined {
  const rangeAt = node.name === "quantile_over_time" ? 1 : 0;
  const range = node.args[rangeAt];
  const kernels = functionKernels(node.name, range?.kind === "range" ? range.selector.mode : undefined);
  if (kernels === undefined) return undefined;
  const scalars = node.args.flatMap((_, index) =>
    index === rangeAt ? [] : [scalarArgument(node, index, grid, evaluate)],
  );
  const [first = defaultArgument(node.name, grid), second] = scalars;
  const { length, at, ranges } = rangeArgument(node, rangeAt, grid, evaluation, evaluate);
  const keepsName = NAME_KEEPING_KERNELS.has(node.name);
  const hasMode = range?.kind === "range" && range.selector.mode !== undefined;
  const isPlain = !hasMode && !ranges.isPinned;
  const column = isPlain ? COLUMN_KERNELS.get(node.name) : undefined;
  const position = firstPosition(node, rangeAt);
  const isOfCounters = COUNTER_FUNCTIONS.has(node.name);
  const tellDoubt = doubtTeller(position, evaluation);
  const scalarsByStep = { first, second };
  return (function* () {
    let spare: StepSeries | undefined;
    for (let index = 0; index < length; index++) {
      const one = at(index);
      const rates =
        one.columns === undefined || one.startsMs !== undefined || !isPlain || !COUNTER_FUNCTIONS.has(node.name)
          ? undefined
          : denseRates(one.columns.dense(), one.timestampsMs, ranges, { isRate: node.name === "rate", isTransient });
      if (rates !== undefined) {
        const series = makeDenseSeries(one, rates, rates.present, grid, evaluation.budget);
        withoutName(series, evaluation);
        yield series;
        continue;
      }
      const out: StepSeries =
        refilled(spare, one, evaluation) ?? makeSeries(one.labels, one.dropName, grid, evaluation.budget);
      spare = undefined;
      if (one.number !== undefined) {
        out.present[0] = FLOAT;
        out.values[0] = one.number;
      }
      if (one.made !== undefined) putHistogram(out, 0, one.made, evaluation.budget);
      const split = one.histograms === undefined ? undefined : splitTypes(one);
      const floats = split?.floats ?? one;
      const isDone =
        one.number !== undefined ||
        one.made !== undefined ||
        (floats.startsMs === undefined && column?.(floats, ranges, scalarsByStep, out) === true);
      const overlapping = isDone ? NO_STEPS : applyKernel(floats, kernels.floats, ranges, scalarsByStep, out);
      if (first !== undefined) warnArguments(node, first, out, evaluation);
      let overlaps = overlapping.length;
      if (split !== undefined) {
        const { budget, annotations } = evaluation;
        const notes = seriesNotes(one.labels, position, annotations);
        const decided = applyHistogramKernel(split, kernels.histograms, ranges, out, {
          notes,
          budget,
          scalars: scalarsByStep,
        });
        overlaps = overlapping.filter((k) => decided[k] !== 1).length;
      }
      if (overlaps > 0) {
        const notes = seriesNotes(one.labels, position, evaluation.annotations);
        notes.warn(startOverlap(notes.metricName), { kind: "start_overlap", occurrences: overlaps });
      }
      if (isOfCounters && out.present.includes(FLOAT)) tellDoubt(one.labels);
      if (!keepsName) withoutName(out, evaluation);
      yield out;
      if (isTransient && out.histograms === undefined) spare = out;
    }
  })();
}

const NO_STEPS: readonly number[] = [];

/** A series that nobody looks at any longer, empty and with other labels; undefined where there is none. */
function refilled(
  spare: StepSeries | undefined,
  { labels, dropName }: Pick<StepSeries, "labels" | "dropName">,
  { budget }: Evaluation,
): StepSeries | undefined {
  if (spare === undefined) return undefined;
  budget.hold(spare.values.length);
  spare.present.fill(ABSENT);
  spare.labels = labels;
  spare.dropName = dropName;
  return spare;
}

/** Where what a range function says belongs: its first argument, and the beginning of the text for a sub-query. */
function firstPosition(node: PromqlCall, rangeAt: number): TextRange {
  const first = unwrapParens(argument(node, 0));
  return rangeAt === 0 && first.kind === "subquery" ? { start: 0, end: 0 } : first.position;
}

/** The scalar that a call leaves out. */
function defaultArgument(name: string, grid: StepGrid): Float64Array | undefined {
  return name === "integral" ? new Float64Array(grid.steps).fill(INTEGRAL_DEFAULT) : undefined;
}

/** Warns of quantiles and strategies that are none, at steps at which there are floats to use them on. */
function warnArguments(node: PromqlCall, values: Float64Array, { present }: StepSeries, evaluation: Evaluation): void {
  if (node.name !== "quantile_over_time" && node.name !== "integral") return;
  for (let k = 0; k < present.length; k++) {
    if (present[k] !== FLOAT) continue;
    const value = values[k] ?? Number.NaN;
    if (node.name === "quantile_over_time") warnQuantile(value, argument(node, 0), evaluation);
    else if (!isIntegralStrategy(value)) {
      const text = `strategy should be 0, 1, or 2 (default), using 2, got ${printGeneral(value)}`;
      evaluation.annotations.warn(text, argument(node, 1).position);
    }
  }
}

/** Says of series that they may be no counters: neighbours mostly have one name, of which it is said once. */
function doubtTeller(position: TextRange, { annotations, typeAndUnitLabels }: Evaluation): (labels: Labels) => void {
  let nameBefore: string | undefined;
  return (labels) => {
    const name = labelValue(labels, METRIC_NAME);
    if (name === nameBefore && !typeAndUnitLabels) return;
    nameBefore = name;
    const doubt = counterDoubt(labels, typeAndUnitLabels);
    if (doubt !== undefined) annotations.info(doubt, position);
  };
}

/** Why a series may be no counter; undefined where its name, or its type where types are labels, says that it is one. */
function counterDoubt(labels: Labels, hasTypes: boolean): string | undefined {
  const name = labelValue(labels, METRIC_NAME);
  if (name === "") return undefined;
  if (hasTypes) {
    const type = labelValue(labels, METRIC_TYPE);
    if (type === "counter" || type === "histogram") return undefined;
    const missing = `__type__ label is not set to "counter" or "histogram", got ${quoteGo(type)}`;
    return `metric might not be a counter, ${missing}: ${quoteGo(name)}`;
  }
  if (COUNTER_NAME.test(name)) return undefined;
  return `metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ${quoteGo(name)}`;
}

/** Without names series may be equal: they are one where their values never meet. */
function mergeRangeResults(series: readonly StepSeries[], evaluation: Evaluation): StepSeries[] {
  const present = series.filter(hasValues);
  return evaluation.delayedNameRemoval ? present : mergeEqualSeries(present);
}

/** Whether results of a range function over a selector may have equal labels once their names are dropped. */
export function mayMeet(node: PromqlCall, evaluation: Evaluation): boolean {
  if (evaluation.delayedNameRemoval || NAME_KEEPING_KERNELS.has(node.name)) return false;
  const range = node.args.find(({ kind }) => kind === "range" || kind === "subquery");
  if (range?.kind !== "range") return true;
  const series = evaluation.samples.get(range.selector) ?? [];
  // All labels together differ, so the others do where the name is the same.
  const name = labelValue(series[0]?.labels ?? [], METRIC_NAME);
  if (series.every(({ labels }) => isOnlyMetricLabel(labels, name))) return false;
  return new Set(series.map(({ labels }) => labelsKey(dropMetricName(labels)))).size !== series.length;
}

function isOnlyMetricLabel(labels: Labels, name: string): boolean {
  for (const [key, value] of labels) if (isMetricLabel(key) && (key !== METRIC_NAME || value !== name)) return false;
  return labelValue(labels, METRIC_NAME) === name;
}

function absentOverTime(node: PromqlCall, grid: StepGrid, evaluation: Evaluation, evaluate: Evaluate): StepSeries {
  const range = argument(node, 0);
  const { length, at, ranges } = rangeArgument(node, 0, grid, evaluation, evaluate);
  if (range.kind === "range" && range.selector.mode !== undefined) refuseMode(node.name, range.selector.mode);
  const out = makeSeries(absentLabels(range), false, grid, evaluation.budget);
  out.present.fill(FLOAT);
  out.values.fill(1);
  const scratch = makeSeries([], false, grid, evaluation.budget);
  for (let index = 0; index < length; index++) {
    const one = at(index);
    scratch.present.fill(ABSENT);
    applyKernel(one, () => true, ranges, { first: undefined, second: undefined }, scratch);
    for (let k = 0; k < grid.steps; k++) if (scratch.present[k] === FLOAT) out.present[k] = ABSENT;
  }
  releaseSeries([scratch], evaluation.budget);
  return out;
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
