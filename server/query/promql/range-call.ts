/** Calls of functions over ranges: the series and windows they read, and what they say of them. */

import { unwrapParens } from "../../../grammar/promql-check.ts";
import { quoteGo } from "../../../grammar/promql-error.ts";
import type { PromqlCall, PromqlExpression, PromqlModifiers, TextRange } from "../../../grammar/promql-tree.ts";
import type { Labels } from "../../model/series.ts";
import { warnQuantile } from "./aggregate.ts";
import { argument, scalarArgument } from "./call-arguments.ts";
import { COLUMN_KERNELS } from "./column-kernels.ts";
import { denseRates } from "./dense-rate.ts";
import { durationMs } from "./durations.ts";
import type { FedSeries } from "./encoded-columns.ts";
import { type Evaluate, type Evaluation, withoutName } from "./evaluation.ts";
import { functionKernels, refuseMode } from "./extended-kernels.ts";
import { startOverlap } from "./histogram-messages.ts";
import { applyHistogramKernel, seriesNotes, splitTypes } from "./histogram-window.ts";
import { INTEGRAL_DEFAULT, isIntegralStrategy } from "./integral.ts";
import { absentLabels } from "./label-functions.ts";
import { printGeneral } from "./number-text.ts";
import { pinnedMs, rangeMsOf, shiftedGrid, subqueryGrid } from "./plan.ts";
import { NAME_KEEPING_KERNELS } from "./range-kernels.ts";
import {
  applyKernel,
  forgetResets,
  passingWithoutStale,
  type RangeGrid,
  stepsToSamples,
  withoutStarts,
} from "./select-steps.ts";
import { dropMetricName, isMetricLabel, labelsKey, labelValue, METRIC_NAME, METRIC_TYPE } from "./series-labels.ts";
import {
  ABSENT,
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
} from "./step-vector.ts";

/** Functions for which start timestamps are resets. */
const START_FUNCTIONS: ReadonlySet<string> = new Set(["rate", "increase", "irate", "resets"]);

/** Functions of counters: the name of what they read should say so. */
const COUNTER_FUNCTIONS: ReadonlySet<string> = new Set(["rate", "increase"]);
const COUNTER_NAME = /_(?:total|sum|count|bucket)$/;

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
      const isMade = putMade(one, out, evaluation);
      const split = one.histograms === undefined ? undefined : splitTypes(one);
      const floats = split?.floats ?? one;
      const isDone = isMade || (floats.startsMs === undefined && column?.(floats, ranges, scalarsByStep, out) === true);
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

/** What a series was made into where it is stored. @returns Whether there is such. */
function putMade({ number, made }: RangeSeries, out: StepSeries, { budget }: Evaluation): boolean {
  if (number !== undefined) {
    out.present[0] = FLOAT;
    out.values[0] = number;
  }
  if (made !== undefined) putHistogram(out, 0, made, budget);
  return number !== undefined || made !== undefined;
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

/** Without names series may be equal: they are one where their values never meet. */
export function mergeRangeResults(series: readonly StepSeries[], evaluation: Evaluation): StepSeries[] {
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

/** `absent_over_time`: 1 at the steps at which no series has a sample in the window, labelled by the selector. */
export function absentOverTime(
  node: PromqlCall,
  grid: StepGrid,
  evaluation: Evaluation,
  evaluate: Evaluate,
): StepSeries {
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
