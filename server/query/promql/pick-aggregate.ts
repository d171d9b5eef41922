/** `topk`, `bottomk`, `limitk` and `limit_ratio`: aggregations that pick series and keep their labels. */

import { unwrapParens } from "../../../grammar/promql-check.ts";
import type { PromqlAggregate } from "../../../grammar/promql-tree.ts";
import type { Evaluation } from "./evaluation.ts";
import { ignoredInAggregation } from "./histogram-messages.ts";
import { labelShare } from "./label-hash.ts";
import { printGeneral } from "./number-text.ts";
import { PromqlExecutionError } from "./query-error.ts";
import {
  ABSENT,
  FLOAT,
  HISTOGRAM,
  histogramAt,
  makeSeries,
  putHistogram,
  type StepGrid,
  type StepSeries,
} from "./step-vector.ts";
import { type Less, pushHeap, replaceTop, sortDescending } from "./value-heap.ts";
import { maxOf, minOf } from "./vector-kernels.ts";

/**
 * Picks series, step by step.
 *
 * Of an instant query the picked series come in order of value inside their group. Of equal values those stay that
 * Prometheus' heap keeps.
 *
 * @param groups The series of each group, in order.
 * @throws PromqlExecutionError for parameters that are no numbers of series.
 */
export function pickAggregate(
  node: PromqlAggregate,
  groups: readonly (readonly StepSeries[])[],
  parameter: Float64Array,
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  if (!picksAny(node, parameter, evaluation)) return [];
  const ranks = node.op === "topk" || node.op === "bottomk";
  if (ranks && ignoresHistograms(groups, parameter)) {
    evaluation.annotations.info(ignoredInAggregation(node.op), node.position);
  }
  const count = groups.reduce((sum, members) => sum + members.length, 0);
  return groups.flatMap((members) => {
    const pick = node.op === "limit_ratio" ? ratioPicker(members) : countPicker(node.op, members, count, parameter);
    return pickedSeries(members, pick, parameter, grid, evaluation);
  });
}

/** Indexes of the members picked at a step, in the order in which an instant query tells them. */
type Pick = (step: number, parameter: number) => readonly number[];

function pickedSeries(
  members: readonly StepSeries[],
  pick: Pick,
  parameter: Float64Array,
  grid: StepGrid,
  { budget }: Evaluation,
): StepSeries[] {
  const picked = new Map<number, StepSeries>();
  for (let k = 0; k < grid.steps; k++) {
    for (const index of pick(k, parameter[k] ?? 0)) {
      const source = members[index];
      if (source === undefined) continue;
      let target = picked.get(index);
      if (target === undefined) {
        target = makeSeries(source.labels, source.dropName, grid, budget);
        picked.set(index, target);
      }
      const histogram = histogramAt(source, k);
      if (histogram !== undefined) putHistogram(target, k, histogram, budget);
      else {
        target.present[k] = FLOAT;
        target.values[k] = source.values[k] ?? Number.NaN;
      }
    }
  }
  return [...picked.values()];
}

function ratioPicker(members: readonly StepSeries[]): Pick {
  const shares = members.map(({ labels }) => labelShare(labels));
  return (step, parameter) => {
    const ratio = Math.max(-1, Math.min(1, parameter));
    const heap: number[] = [];
    const less = lessAt(members, step, false);
    for (const [index, { present }] of members.entries()) {
      const share = shares[index] ?? 0;
      const isPicked = ratio >= 0 ? share < ratio : share >= 1 + ratio;
      if (isPicked && present[step] !== ABSENT) pushHeap(heap, index, less);
    }
    return heap;
  };
}

/** Steps that are ranked at once: members are gone through in order, and no more than these heaps are held. */
const RANKED_STEPS = 64;

/** @param most Series in all groups: no more can be picked. */
function countPicker(op: string, members: readonly StepSeries[], most: number, parameter: Float64Array): Pick {
  const countAt = (step: number) => Math.min(Math.trunc(parameter[step] ?? 0), most);
  if (op === "limitk") {
    return (step) => {
      const heap: number[] = [];
      const count = countAt(step);
      const less = lessAt(members, step, false);
      for (const [index, { present }] of members.entries()) {
        if (heap.length >= count) break;
        if (present[step] !== ABSENT) pushHeap(heap, index, less);
      }
      return heap;
    };
  }
  let from = 0;
  let ranked: number[][] = [];
  return (step) => {
    if (step < from || step >= from + ranked.length) {
      from = step;
      const steps = Math.min(RANKED_STEPS, parameter.length - step);
      ranked = rank(members, { isReversed: op === "bottomk", from, steps, countAt });
    }
    return ranked[step - from] ?? [];
  };
}

/** The best members at each of some steps, best first. */
function rank(
  members: readonly StepSeries[],
  span: {
    readonly isReversed: boolean;
    readonly from: number;
    readonly steps: number;
    readonly countAt: (step: number) => number;
  },
): number[][] {
  const { isReversed, from, steps, countAt } = span;
  const heaps = Array.from({ length: steps }, (): number[] => []);
  const counts = Array.from({ length: steps }, (_, i) => countAt(from + i));
  const orders = Array.from({ length: steps }, (_, i) => lessAt(members, from + i, isReversed));
  /** Value of the member on top of each heap that is full. */
  const worst = new Float64Array(steps);
  const isFull = new Uint8Array(steps);
  for (const [index, { present, values }] of members.entries()) {
    for (let i = 0; i < steps; i++) {
      if (present[from + i] !== FLOAT) continue;
      const value = values[from + i] as number; // in range, as all below: a step of the grid
      const least = worst[i] as number;
      if (isFull[i] === 1) {
        const isBetter = isReversed ? least > value : least < value;
        if (!isBetter && !(Number.isNaN(least) && !Number.isNaN(value))) continue;
      }
      const heap = heaps[i] as number[];
      const count = counts[i] as number;
      if (count < 1) continue;
      const less = orders[i] as Less;
      if (isFull[i] === 1) replaceTop(heap, index, less);
      else pushHeap(heap, index, less);
      if (heap.length < count) continue;
      isFull[i] = 1;
      worst[i] = members[heap[0] as number]?.values[from + i] as number;
    }
  }
  return heaps.map((heap, i) => sortDescending(heap, orders[i] as Less));
}

/** Order of a heap: NaN first, then the smallest value, or the largest where reversed. Histograms count as 0. */
function lessAt(members: readonly StepSeries[], step: number, isReversed: boolean): Less {
  const valueAt = (index: number) => {
    const member = members[index];
    return member?.present[step] === FLOAT ? (member.values[step] ?? Number.NaN) : 0;
  };
  return (a, b) => {
    const left = valueAt(a);
    const right = valueAt(b);
    return Number.isNaN(left) || (isReversed ? left > right : left < right);
  };
}

function ignoresHistograms(groups: readonly (readonly StepSeries[])[], parameter: Float64Array): boolean {
  return groups.some((members) =>
    members.some(({ histograms, present }) => {
      return histograms !== undefined && present.some((type, k) => type === HISTOGRAM && (parameter[k] ?? 0) >= 1);
    }),
  );
}

/** Parameters of a pick from here on are no 64-bit integers. */
const PICK_OVERFLOW = 2 ** 63 - 1024;
const PICK_UNDERFLOW = -(2 ** 63);

/** Checks the parameter of a pick; false where it picks nothing at any step. */
function picksAny(node: PromqlAggregate, parameter: Float64Array, { annotations }: Evaluation): boolean {
  const { least, most } = extremes(parameter);
  const hasNan = parameter.some(Number.isNaN);
  if (node.op !== "limit_ratio") {
    if (most < 1) return false;
    if (hasNan) throw new PromqlExecutionError("Parameter value is NaN");
    if (least <= PICK_UNDERFLOW) throw new PromqlExecutionError(`Scalar value ${printGeneral(least)} underflows int64`);
    if (most >= PICK_OVERFLOW) throw new PromqlExecutionError(`Scalar value ${printGeneral(most)} overflows int64`);
    return true;
  }
  if (most === 0 && least === 0) return false;
  if (hasNan) throw new PromqlExecutionError("Ratio value is NaN");
  const { position } = unwrapParens(node.parameter ?? node);
  const cap = (ratio: number, to: number) =>
    annotations.warn(`ratio value should be between -1 and 1, got ${printGeneral(ratio)}, capping to ${to}`, position);
  if (most > 1) cap(most, 1);
  if (least < -1) cap(least, -1);
  return true;
}

/** The extremes of a parameter over the steps; one that is NaN at some step is NaN, unless it is infinite at another. */
export function extremes(parameter: Float64Array): { readonly least: number; readonly most: number } {
  let least = Number.MAX_VALUE;
  let most = -Number.MAX_VALUE;
  if (parameter.every((value) => value === parameter[0])) return { least: parameter[0] ?? 0, most: parameter[0] ?? 0 };
  for (const value of parameter) {
    least = minOf(least, value);
    most = maxOf(most, value);
  }
  return { least, most };
}
