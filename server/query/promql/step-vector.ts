/** Values of an expression over the steps of a query: one typed column per series. */

import type { NativeHistogram } from "../../model/histogram.ts";
import type { Labels } from "../../model/series.ts";
import type { HistogramSource } from "./encoded-columns.ts";
import { type DenseTable, histogramOfTable } from "./histogram/dense-histograms.ts";
import { histogramSize, type QueryBudget } from "./query-budget.ts";
import { sameLabelsetError } from "./query-error.ts";
import { dropMetricName, labelsKey } from "./series-labels.ts";

/** Times of a whole query; an instant query has `startMs` equal to `endMs` and `stepMs` 0. */
export interface QueryTimes {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
  readonly lookbackMs: number;
  /** Step of a sub-query that names none. */
  readonly defaultStepMs: number;
}

/** The times at which an expression is evaluated: `startMs + k * stepMs` for `k < steps`. */
export interface StepGrid {
  readonly startMs: number;
  readonly stepMs: number;
  readonly steps: number;
  /** Start and end are the same time: the order of series counts, and there is nothing to join over steps. */
  readonly isInstant: boolean;
}

/** In `present`: there is no value at this step. */
export const ABSENT = 0;
/** In `present`: `values` holds a float for this step. */
export const FLOAT = 1;
/** In `present`: `histograms` holds a histogram for this step. */
export const HISTOGRAM = 2;

/** Histograms by step or by sample; sparse. */
type HistogramColumn = (NativeHistogram | undefined)[];

/** One series; `present[k]` says whether step `k` has nothing, a float in `values` or a histogram in `histograms`. */
export interface StepSeries {
  labels: Labels;
  /** The name is still among the labels but goes when the result is written (delayed name removal). */
  dropName: boolean;
  readonly values: Float64Array;
  /** `ABSENT`, `FLOAT` or `HISTOGRAM` for each step, so that loops over floats look for one number only. */
  readonly present: Uint8Array;
  /** Read it through `histogramAt`: it may still hold what `present` no longer shows. Undefined where all are floats. */
  histograms: HistogramColumn | undefined;
  /** The histograms of a result as a table, until somebody looks at `histograms`, which is made of it then. */
  readonly dense?: DenseTable | undefined;
}

/** Samples of one series as a range function reads them: no staleness markers. */
export interface RangeSeries {
  readonly labels: Labels;
  readonly dropName: boolean;
  readonly timestampsMs: Float64Array;
  /** NaN where the sample is a histogram. */
  readonly values: Float64Array;
  /** Sparse by sample; undefined where all are floats. */
  readonly histograms: readonly (NativeHistogram | undefined)[] | undefined;
  /** Where `histograms` come from, for what can do without them. */
  readonly columns?: HistogramSource | undefined;
  /** What the function makes of the series at the only step, where there are no samples. */
  readonly number?: number | undefined;
  /** The same where it is a histogram. */
  readonly made?: NativeHistogram | undefined;
  /** Unix milliseconds since which a counter counts, by sample; 0 where unknown. Undefined where none is known. */
  readonly startsMs: Float64Array | undefined;
}

/** A value for every step. */
export type StepValue =
  | { readonly kind: "scalar"; readonly values: Float64Array }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "vector"; readonly series: StepSeries[] };

/** Time of step `k` in Unix milliseconds. */
export function stepTimeMs(grid: StepGrid, step: number): number {
  return grid.startMs + step * grid.stepMs;
}

/** An empty column for a series; its room is taken from the budget. */
export function makeSeries(labels: Labels, dropName: boolean, grid: StepGrid, budget: QueryBudget): StepSeries {
  const { steps } = grid;
  budget.hold(steps);
  if (steps > SLAB_STEPS / 8) {
    return { labels, dropName, values: new Float64Array(steps), present: new Uint8Array(steps), histograms: undefined };
  }
  if (slabUsed + steps > SLAB_STEPS) {
    slabValues = new Float64Array(SLAB_STEPS);
    slabPresent = new Uint8Array(SLAB_STEPS);
    slabUsed = 0;
  }
  const from = slabUsed;
  slabUsed += steps;
  const values = slabValues.subarray(from, slabUsed);
  return { labels, dropName, values, present: slabPresent.subarray(from, slabUsed), histograms: undefined };
}

/**
 * Makes a series of the histograms of a table; its room is taken from the budget.
 *
 * @param has 1 for each step that has one.
 */
export function makeDenseSeries(
  { labels, dropName }: Pick<StepSeries, "labels" | "dropName">,
  table: DenseTable,
  has: Uint8Array,
  grid: StepGrid,
  budget: QueryBudget,
): StepSeries {
  return asDenseSeries(makeSeries(labels, dropName, grid, budget), table, has, budget);
}

/** The same over the columns of a series that has nothing at these steps; its place is taken by the result. */
export function asDenseSeries(
  { labels, dropName, values, present }: StepSeries,
  table: DenseTable,
  has: Uint8Array,
  budget: QueryBudget,
): StepSeries {
  for (let k = 0; k < has.length; k++) {
    if (has[k] === 0) continue;
    present[k] = HISTOGRAM;
    values[k] = Number.NaN;
  }
  budget.hold(table.numbers.length);
  return new DenseSeries(labels, dropName, { values, present, dense: table, budget });
}

/** Turns into a series like others when its histograms are looked at one by one. */
class DenseSeries implements StepSeries {
  labels: Labels;
  dropName: boolean;
  readonly values: Float64Array;
  readonly present: Uint8Array;
  readonly #budget: QueryBudget;
  #dense: DenseTable | undefined;
  #histograms: HistogramColumn | undefined;

  constructor(
    labels: Labels,
    dropName: boolean,
    { values, present, dense, budget }: Pick<StepSeries, "values" | "present" | "dense"> & { budget: QueryBudget },
  ) {
    this.labels = labels;
    this.dropName = dropName;
    this.values = values;
    this.present = present;
    this.#dense = dense;
    this.#budget = budget;
  }

  get dense(): DenseTable | undefined {
    return this.#dense;
  }

  get histograms(): HistogramColumn | undefined {
    const table = this.#dense;
    if (table === undefined) return this.#histograms;
    this.#dense = undefined;
    this.#budget.release(table.numbers.length);
    const made = new Array<NativeHistogram | undefined>(this.values.length);
    for (let k = 0; k < made.length; k++) {
      if (this.present[k] !== HISTOGRAM) continue;
      const histogram = histogramOfTable(table, k);
      this.#budget.hold(histogramSize(histogram));
      made[k] = histogram;
    }
    this.#histograms = made;
    return made;
  }

  set histograms(histograms: HistogramColumn | undefined) {
    const table = this.#dense;
    if (table !== undefined) this.#budget.release(table.numbers.length);
    this.#dense = undefined;
    this.#histograms = histograms;
  }
}

/** Steps of a shared buffer: a buffer for each short column costs more than what is computed in it. */
const SLAB_STEPS = 8192;
let slabValues = new Float64Array(SLAB_STEPS);
let slabPresent = new Uint8Array(SLAB_STEPS);
let slabUsed = 0;

/** Puts a histogram at a step, or takes the place of what was there; its room is taken from the budget. */
export function putHistogram(series: StepSeries, step: number, histogram: NativeHistogram, budget: QueryBudget): void {
  series.histograms ??= new Array<NativeHistogram | undefined>(series.values.length);
  const before = series.histograms[step];
  if (before !== undefined) budget.release(histogramSize(before));
  budget.hold(histogramSize(histogram));
  series.histograms[step] = histogram;
  series.values[step] = Number.NaN;
  series.present[step] = HISTOGRAM;
}

/** The histogram at a step; undefined where there is a float or nothing. */
export function histogramAt(series: StepSeries, step: number): NativeHistogram | undefined {
  return series.present[step] === HISTOGRAM ? series.histograms?.[step] : undefined;
}

/** Leaves a series with its floats only. */
export function dropHistograms(series: StepSeries, budget: QueryBudget): void {
  if (series.histograms === undefined) return;
  releaseHistograms(series, budget);
  series.histograms = undefined;
  const { present } = series;
  for (let k = 0; k < present.length; k++) if (present[k] === HISTOGRAM) present[k] = ABSENT;
}

function releaseHistograms({ histograms }: StepSeries, budget: QueryBudget): void {
  for (const histogram of histograms ?? []) if (histogram !== undefined) budget.release(histogramSize(histogram));
}

/** Gives back the room of series that are no longer used. */
export function releaseSeries(series: readonly StepSeries[], budget: QueryBudget): void {
  for (const one of series) releaseOne(one, budget);
}

/** Gives back the room of a series that is no longer used. */
export function releaseOne(one: StepSeries, budget: QueryBudget): void {
  budget.release(one.values.length);
  if (one.dense !== undefined) budget.release(one.dense.numbers.length);
  else if (one.histograms !== undefined) releaseHistograms(one, budget);
}

/** Whether a series has a value at any step. */
export function hasValues({ present }: StepSeries): boolean {
  // Most have one at the last step already.
  for (let k = present.length - 1; k >= 0; k--) if (present[k] !== ABSENT) return true;
  return false;
}

/**
 * Joins series with equal labels into one; whether the name goes, the one that begins first says.
 *
 * @throws PromqlExecutionError where two of them have a value at the same step.
 */
export function mergeEqualSeries(series: readonly StepSeries[]): StepSeries[] {
  const byKey = new Map<string, StepSeries>();
  for (const one of series) {
    const key = labelsKey(one.labels);
    const known = byKey.get(key);
    if (known === undefined) {
      byKey.set(key, one);
      continue;
    }
    if (firstStep(one) < firstStep(known)) known.dropName = one.dropName;
    for (let k = 0; k < one.present.length; k++) {
      if (one.present[k] === ABSENT) continue;
      if (known.present[k] !== ABSENT) throw sameLabelsetError();
      known.present[k] = one.present[k] ?? FLOAT;
      known.values[k] = one.values[k] ?? Number.NaN;
      if (one.present[k] !== HISTOGRAM) continue;
      known.histograms ??= new Array<NativeHistogram | undefined>(known.values.length);
      known.histograms[k] = one.histograms?.[k];
    }
  }
  return byKey.size === series.length ? [...series] : [...byKey.values()];
}

/** The first step with a value; past the last where there is none. */
function firstStep({ present }: StepSeries): number {
  const step = present.findIndex((kind) => kind !== ABSENT);
  return step === -1 ? present.length : step;
}

/** Resolves delayed name removal: drops marked names and joins what became equal. */
export function resolveNames(series: readonly StepSeries[]): readonly StepSeries[] {
  // Whatever else makes labels equal joins or refuses them itself.
  if (!series.some(({ dropName }) => dropName)) return series;
  for (const one of series) {
    if (!one.dropName) continue;
    one.labels = dropMetricName(one.labels);
    one.dropName = false;
  }
  return mergeEqualSeries(series);
}
