/** Values of an expression over the steps of a query: one typed column per series. */

import { type Labels, STALE_NAN_BITS } from "../../model/series.ts";
import type { QueryBudget } from "./query-budget.ts";
import { sameLabelsetError } from "./query-error.ts";
import { compareLabels, dropMetricName, labelsKey } from "./series-labels.ts";

/** The times at which an expression is evaluated: `startMs + k * stepMs` for `k < steps`. */
export interface StepGrid {
  readonly startMs: number;
  readonly stepMs: number;
  readonly steps: number;
}

/** One series; `values[k]` means something only where `present[k]` is 1. */
export interface StepSeries {
  labels: Labels;
  /** The name is still among the labels but goes when the result is written (delayed name removal). */
  dropName: boolean;
  readonly values: Float64Array;
  readonly present: Uint8Array;
}

/** Samples of one series as a range function reads them: no staleness markers. */
export interface RangeSeries {
  readonly labels: Labels;
  readonly dropName: boolean;
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** A value for every step. */
export type StepValue =
  | { readonly kind: "scalar"; readonly values: Float64Array }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "vector"; readonly series: StepSeries[] };

const STALE_HIGH = Number(STALE_NAN_BITS >> 32n);
const STALE_LOW = Number(STALE_NAN_BITS & 0xffff_ffffn);

/** Time of step `k` in Unix milliseconds. */
export function stepTimeMs(grid: StepGrid, step: number): number {
  return grid.startMs + step * grid.stepMs;
}

/** An empty column for a series; its room is taken from the budget. */
export function makeSeries(labels: Labels, dropName: boolean, grid: StepGrid, budget: QueryBudget): StepSeries {
  budget.hold(grid.steps);
  return { labels, dropName, values: new Float64Array(grid.steps), present: new Uint8Array(grid.steps) };
}

/** Gives back the room of series that are no longer used. */
export function releaseSeries(series: readonly StepSeries[], budget: QueryBudget): void {
  for (const { values } of series) budget.release(values.length);
}

/** Whether a series has a value at any step. */
export function hasValues(series: StepSeries): boolean {
  return series.present.includes(1);
}

/** The 32-bit halves of an array of doubles, low half first: NaNs keep their bits when read this way. */
export function wordsOf(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}

/** Whether value `index` is a staleness marker. */
export function isStale(words: Uint32Array, index: number): boolean {
  return words[2 * index] === STALE_LOW && words[2 * index + 1] === STALE_HIGH;
}

/**
 * Joins series with equal labels into one.
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
    known.dropName ||= one.dropName;
    for (let k = 0; k < one.present.length; k++) {
      if (one.present[k] === 0) continue;
      if (known.present[k] === 1) throw sameLabelsetError();
      known.present[k] = 1;
      known.values[k] = one.values[k] ?? Number.NaN;
    }
  }
  return byKey.size === series.length ? [...series] : [...byKey.values()];
}

/** Resolves delayed name removal: drops marked names and joins what became equal. */
export function resolveNames(series: readonly StepSeries[]): StepSeries[] {
  for (const one of series) {
    if (!one.dropName) continue;
    one.labels = dropMetricName(one.labels);
    one.dropName = false;
  }
  return mergeEqualSeries(series);
}

/** In the order of range results. */
export function sortByLabels(series: readonly StepSeries[]): StepSeries[] {
  return series.toSorted((a, b) => compareLabels(a.labels, b.labels));
}
