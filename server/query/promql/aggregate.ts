/** Aggregations over the series of a vector, step by step. */

import { unwrapParens } from "../../../grammar/promql-check.ts";
import { printPlainNumber } from "../../../grammar/promql-number.ts";
import type { PromqlAggregate } from "../../../grammar/promql-tree.ts";
import { ArraySlab } from "../../model/array-slab.ts";
import type { Labels } from "../../model/series.ts";
import { HistogramGroup } from "./aggregate-histograms.ts";
import { CompensatedMean } from "./compensated.ts";
import type { Evaluation } from "./evaluation.ts";
import { printHistogram } from "./histogram/histogram-text.ts";
import { ignoredInAggregation } from "./histogram-messages.ts";
import { keptGroupKey, keptGroupLabels } from "./kept-labels.ts";
import { isLabelName } from "./label-functions.ts";
import { printGeneral } from "./number-text.ts";
import { extremes } from "./pick-aggregate.ts";
import { quantileOf } from "./quantile.ts";
import { PromqlExecutionError } from "./query-error.ts";
import { filterLabels, isMetricLabel, labelsKey, partialKey, setLabel } from "./series-labels.ts";
import {
  ABSENT,
  FLOAT,
  HISTOGRAM,
  hasValues,
  histogramAt,
  makeSeries,
  type StepGrid,
  type StepSeries,
} from "./step-vector.ts";

/** A group while it grows; what `a` to `c` mean depends on the operator. */
interface Group {
  readonly out: StepSeries;
  readonly counts: Float64Array;
  readonly lost: Float64Array;
  readonly running: Uint8Array;
  /** The last step with a value: what is there then says whether the name goes. */
  lastStep: number;
  /** Undefined while all of `sum` and `avg` are floats. */
  histograms: HistogramGroup | undefined;
}

/** Which labels a grouping keeps. */
function keptBy(node: PromqlAggregate): (name: string) => boolean {
  const names = new Set(node.grouping);
  return node.without ? (name) => !names.has(name) && !isMetricLabel(name) : (name) => names.has(name);
}

/** How the labels of a series tell its group. */
interface Grouping {
  /** The key of the group. */
  readonly keyOf: (labels: Labels) => string;
  /** The labels of the group; to be asked after the key. */
  readonly labelsOf: (labels: Labels) => Labels;
}

function groupingOf(node: PromqlAggregate): Grouping {
  const kept = keptBy(node);
  const grouping = JSON.stringify([node.without, node.grouping]);
  const make = (labels: Labels) => filterLabels(labels, kept);
  return {
    keyOf: (labels) => keptGroupKey(labels, grouping, () => partialKey(labels, kept)),
    labelsOf: (labels) => keptGroupLabels(labels, grouping, make),
  };
}

/** Aggregations that fold series one after the other, so that they never need all at once. */
const FOLDING: ReadonlySet<string> = new Set(["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"]);

/** Whether `foldAggregate` does this operator. */
export function isFolding(op: string): boolean {
  return FOLDING.has(op);
}

/**
 * `sum`, `avg`, `count`, `min`, `max`, `group`, `stddev`, `stdvar`.
 *
 * @param series Consumed one by one, those without values too; `done` gets each back when it is no longer needed.
 */
export function foldAggregate(
  node: PromqlAggregate,
  series: Iterable<StepSeries>,
  grid: StepGrid,
  evaluation: Evaluation,
  done: (series: StepSeries) => void,
): StepSeries[] {
  const groups = new FoldedGroups(node, grid, evaluation);
  // Nothing else is done here: code that was made while the loop ran ends with it, and what follows would be made anew.
  for (const one of series) {
    if (hasValues(one)) groups.add(one);
    done(one);
  }
  return groups.finish();
}

/** Groups while series are folded into them. */
class FoldedGroups {
  readonly #node: PromqlAggregate;
  readonly #grid: StepGrid;
  readonly #evaluation: Evaluation;
  readonly #grouping: Grouping;
  readonly #groups = new Map<string, Group>();
  #lastKey = "";
  #last: Group | undefined;

  constructor(node: PromqlAggregate, grid: StepGrid, evaluation: Evaluation) {
    this.#node = node;
    this.#grid = grid;
    this.#evaluation = evaluation;
    this.#grouping = groupingOf(node);
  }

  add(one: StepSeries): void {
    const key = this.#grouping.keyOf(one.labels);
    const last = this.#last;
    // Neighbours are often of one group, and their key the same text.
    const group = key === this.#lastKey && last !== undefined ? last : this.#groupOf(key, one.labels);
    noteName(group, one);
    if (one.dense !== undefined || one.histograms !== undefined || group.histograms !== undefined)
      foldHistograms(this.#node, group, one, this.#evaluation);
    foldInto(this.#node.op, group, one);
  }

  #groupOf(key: string, labels: Labels): Group {
    const group = this.#groups.get(key) ?? this.#begin(key, labels);
    this.#lastKey = key;
    this.#last = group;
    return group;
  }

  #begin(key: string, labels: Labels): Group {
    const { op } = this.#node;
    const { budget } = this.#evaluation;
    const { steps } = this.#grid;
    const counted = op === "avg" || op.startsWith("std") ? steps : 0;
    const extra = op === "sum" ? steps : counted;
    budget.hold(counted + extra);
    const group: Group = {
      out: makeSeries(this.#grouping.labelsOf(labels), false, this.#grid, budget),
      counts: counted === 0 ? NO_NUMBERS : new Float64Array(counted),
      lost: extra === 0 ? NO_NUMBERS : zeros.take(extra),
      running: op === "avg" ? new Uint8Array(steps) : NO_FLAGS,
      lastStep: -1,
      histograms: undefined,
    };
    this.#groups.set(key, group);
    return group;
  }

  finish(): StepSeries[] {
    const out: StepSeries[] = [];
    for (const group of this.#groups.values()) {
      finish(this.#node.op, group);
      out.push(group.histograms?.finish() ?? group.out);
      this.#evaluation.budget.release(group.counts.length + group.lost.length);
    }
    return out;
  }
}

const NO_NUMBERS = new Float64Array(0);
const NO_FLAGS = new Uint8Array(0);

const zeros = new ArraySlab((length) => new Float64Array(length), 8_192);

/** Names that a member was to drop are dropped from the group too. */
function noteName(group: Pick<Group, "out" | "lastStep">, one: StepSeries): void {
  let last = one.present.length - 1;
  while (last >= 0 && one.present[last] === ABSENT) last--;
  if (last < group.lastStep) return;
  group.out.dropName = one.dropName || (last === group.lastStep && group.out.dropName);
  group.lastStep = last;
}

function foldInto(op: string, group: Group, one: StepSeries): void {
  if (op === "sum") foldSum(group, one);
  else if (op === "avg") foldMean(group, one);
  else if (op === "stddev" || op === "stdvar") foldVariance(group, one);
  else foldSimple(group.out, one, SIMPLE_FOLDS[op] ?? SIMPLE_FOLDS["group"]);
}

/** Histograms are added up, counted, or left out, which is said. */
function foldHistograms(node: PromqlAggregate, group: Group, one: StepSeries, evaluation: Evaluation): void {
  const { op } = node;
  const { position } = unwrapParens(node.operand);
  if (op === "sum" || op === "avg") {
    group.histograms ??= new HistogramGroup(op, group.out, evaluation, position);
    group.histograms.add(one);
  } else if (op === "count" || op === "group") {
    foldSimple(group.out, one, SIMPLE_FOLDS[op], HISTOGRAM);
  } else if (one.present.includes(HISTOGRAM)) {
    evaluation.annotations.info(ignoredInAggregation(op), position);
  }
}

/** What the first value of a group makes, and what a further one changes. */
interface SimpleFold {
  readonly first: (value: number) => number;
  readonly next: (known: number, value: number) => number;
}

const SIMPLE_FOLDS: Readonly<Record<string, SimpleFold>> = {
  count: { first: () => 1, next: (known) => known + 1 },
  group: { first: () => 1, next: () => 1 },
  min: { first: same, next: (known, value) => (value < known || Number.isNaN(known) ? value : known) },
  max: { first: same, next: (known, value) => (value > known || Number.isNaN(known) ? value : known) },
};

function same(value: number): number {
  return value;
}

/** Folds the values of one type. */
function foldSimple(out: StepSeries, one: StepSeries, fold: SimpleFold | undefined, type: number = FLOAT): void {
  if (fold === undefined) throw new Error("an aggregation without a fold");
  const { values, present } = one;
  for (let k = 0; k < present.length; k++) {
    if (present[k] !== type) continue;
    const value = values[k] ?? Number.NaN;
    out.values[k] = out.present[k] === FLOAT ? fold.next(out.values[k] ?? Number.NaN, value) : fold.first(value);
    out.present[k] = FLOAT;
  }
}

/** Compensated, in columns: see `CompensatedSum` for one at a time. */
function foldSum(group: Group, one: StepSeries): void {
  const { values, present } = one;
  const { values: sums, present: has } = group.out;
  const { lost } = group;
  for (let k = 0; k < present.length; k++) {
    if (present[k] !== FLOAT) continue;
    // All columns have the steps of the grid.
    const value = values[k] as number;
    if (has[k] === ABSENT) {
      has[k] = FLOAT;
      sums[k] = value;
      continue;
    }
    const sum = sums[k] as number;
    const total = sum + value;
    if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) lost[k] = 0;
    else if (Math.abs(sum) >= Math.abs(value)) lost[k] = (lost[k] as number) + (sum - total + value);
    else lost[k] = (lost[k] as number) + (value - total + sum);
    sums[k] = total;
  }
}

/** `CompensatedMean` in columns; its state moves in and out for each step. */
function foldMean(group: Group, one: StepSeries): void {
  const { out, counts, lost, running } = group;
  for (let k = 0; k < one.present.length; k++) {
    if (one.present[k] !== FLOAT) continue;
    MEAN.load(counts[k] ?? 0, out.values[k] ?? 0, lost[k] ?? 0, running[k] === 1);
    MEAN.add(one.values[k] ?? Number.NaN);
    counts[k] = MEAN.count;
    out.values[k] = MEAN.sum;
    lost[k] = MEAN.lost;
    running[k] = MEAN.isRunning ? 1 : 0;
    out.present[k] = FLOAT;
  }
}

const MEAN = new CompensatedMean();

/** Welford without compensation; `out.values` holds the mean, `lost` the squares. */
function foldVariance(group: Group, one: StepSeries): void {
  const { out, counts, lost: squares } = group;
  for (let k = 0; k < one.present.length; k++) {
    if (one.present[k] !== FLOAT) continue;
    const value = one.values[k] ?? Number.NaN;
    const count = (counts[k] ?? 0) + 1;
    counts[k] = count;
    out.present[k] = FLOAT;
    if (count === 1) {
      out.values[k] = value;
      squares[k] = Number.isFinite(value) ? 0 : Number.NaN;
      continue;
    }
    const mean = out.values[k] ?? Number.NaN;
    const delta = value - mean;
    const moved = mean + delta / count;
    out.values[k] = moved;
    squares[k] = (squares[k] ?? 0) + delta * (value - moved);
  }
}

function finish(op: string, group: Group): void {
  const { out, counts, lost } = group;
  if (op !== "sum" && op !== "avg" && op !== "stddev" && op !== "stdvar") return;
  for (let k = 0; k < out.present.length; k++) {
    if (out.present[k] === ABSENT) continue;
    const count = counts[k] ?? 0;
    const value = out.values[k] ?? Number.NaN;
    if (op === "sum") out.values[k] = value + (lost[k] ?? 0);
    else if (op === "avg") {
      MEAN.load(count, value, lost[k] ?? 0, group.running[k] === 1);
      out.values[k] = MEAN.value;
    } else {
      const variance = (lost[k] ?? 0) / count;
      out.values[k] = op === "stddev" ? Math.sqrt(variance) : variance;
    }
  }
}

/** The series of each group, in the order in which groups and series come. */
export function seriesByGroup(node: PromqlAggregate, series: readonly StepSeries[]): StepSeries[][] {
  return Array.from(grouped(node, series).values(), ({ members }) => members);
}

/** Series by group, in the order in which groups and series come. */
function grouped(
  node: PromqlAggregate,
  series: readonly StepSeries[],
): Map<string, { labels: Labels; members: StepSeries[] }> {
  const { keyOf, labelsOf } = groupingOf(node);
  const groups = new Map<string, { labels: Labels; members: StepSeries[] }>();
  for (const one of series) {
    const key = keyOf(one.labels);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { labels: labelsOf(one.labels), members: [one] });
    else group.members.push(one);
  }
  return groups;
}

/** `quantile(φ, v)`. */
export function quantileAggregate(
  node: PromqlAggregate,
  series: readonly StepSeries[],
  parameter: Float64Array,
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  const { least, most } = extremes(parameter);
  // One warning for all that are NaN, one for all that are too large, one for all that are too small.
  const told = [...(parameter.some(Number.isNaN) ? [Number.NaN] : []), Math.max(most, 1), Math.min(least, 0)];
  for (const value of grid.steps === 0 ? [] : told)
    warnQuantile(value, unwrapParens(node.parameter ?? node), evaluation);
  if (series.some((one) => one.histograms !== undefined && one.present.includes(HISTOGRAM))) {
    evaluation.annotations.info(ignoredInAggregation(node.op), unwrapParens(node.operand).position);
  }
  const out: StepSeries[] = [];
  for (const { labels, members } of grouped(node, series).values()) {
    const result = makeSeries(labels, false, grid, evaluation.budget);
    const group = { out: result, lastStep: -1 };
    for (const one of members) noteName(group, one);
    const scratch = new Float64Array(members.length);
    for (let k = 0; k < grid.steps; k++) {
      let count = 0;
      for (const one of members) if (one.present[k] === FLOAT) scratch[count++] = one.values[k] ?? Number.NaN;
      if (count === 0) continue;
      result.present[k] = FLOAT;
      result.values[k] = quantileOf(scratch.subarray(0, count), parameter[k] ?? Number.NaN);
    }
    out.push(result);
  }
  return out;
}

/** Whether a number is a quantile. */
export function isQuantile(quantile: number): boolean {
  return quantile >= 0 && quantile <= 1;
}

/** Warns of a quantile that is none. */
export function warnQuantile(
  quantile: number,
  node: { readonly position: { readonly start: number; readonly end: number } },
  evaluation: Evaluation,
): void {
  if (isQuantile(quantile)) return;
  const got = printGeneral(quantile);
  evaluation.annotations.warn(`quantile value should be between 0 and 1, got ${got}`, node.position);
}

/** `count_values("label", v)`: one series for each value. A name that was to be dropped stays, as in Prometheus. */
export function countValues(
  node: PromqlAggregate,
  series: readonly StepSeries[],
  label: string,
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  if (!isLabelName(label)) throw new PromqlExecutionError(`invalid label name "${label}"`);
  const kept = keptBy(node);
  const byKey = new Map<string, StepSeries>();
  for (const one of series) {
    const known = new Map<string, StepSeries>();
    for (let k = 0; k < grid.steps; k++) {
      if (one.present[k] === ABSENT) continue;
      const histogram = histogramAt(one, k);
      const text = histogram === undefined ? printPlainNumber(one.values[k] ?? Number.NaN) : printHistogram(histogram);
      let target = known.get(text);
      if (target === undefined) {
        const labels = node.without
          ? filterLabels(setLabel(one.labels, label, text), kept)
          : setLabel(filterLabels(one.labels, kept), label, text);
        const key = labelsKey(labels);
        target = byKey.get(key) ?? makeSeries(labels, false, grid, evaluation.budget);
        byKey.set(key, target);
        known.set(text, target);
      }
      target.present[k] = FLOAT;
      target.values[k] = (target.values[k] ?? 0) + 1;
    }
  }
  return [...byKey.values()];
}
