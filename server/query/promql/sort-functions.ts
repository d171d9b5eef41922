/** `sort`, `sort_desc`, `sort_by_label` and `sort_by_label_desc`: the order of an instant query's result. */

import { goSort } from "./go-sort.ts";
import { compareLabels, compareText, labelValue } from "./series-labels.ts";
import type { StepSeries } from "./step-vector.ts";
import { sortDescending } from "./value-heap.ts";

/** By value at the only step; NaN comes last whichever way. */
export function sortByValue(series: readonly StepSeries[], isDescending: boolean): StepSeries[] {
  const valueAt = (index: number) => series[index]?.values[0] ?? Number.NaN;
  const less = (a: number, b: number) => {
    const [left, right] = [valueAt(a), valueAt(b)];
    return Number.isNaN(left) || (isDescending ? left < right : left > right);
  };
  const order = sortDescending([...series.keys()], less);
  return order.flatMap((index) => series[index] ?? []);
}

/**
 * By the values of some labels, digits read as numbers, and then by all labels.
 *
 * What compares is no order, as in Go: of `1` and `01` each precedes the other, a missing label neither precedes nor
 * follows.
 */
export function sortByLabelValues(
  series: readonly StepSeries[],
  labels: readonly string[],
  isDescending: boolean,
): StepSeries[] {
  const compare = (a: StepSeries, b: StepSeries) => {
    for (const label of labels) {
      const [left, right] = [labelValue(a.labels, label), labelValue(b.labels, label)];
      if (left !== right) return precedes(left, right) === isDescending ? 1 : -1;
    }
    return compareLabels(a.labels, b.labels) * (isDescending ? -1 : 1);
  };
  return goSort([...series], (a, b) => compare(a, b) < 0);
}

/**
 * Whether a text comes before another one that differs, runs of digits read as numbers.
 *
 * @see https://github.com/facette/natsort
 */
export function precedes(a: string, b: string): boolean {
  const left = chunksOf(a);
  const right = chunksOf(b);
  for (const [i, chunk] of left.entries()) {
    const other = right[i];
    if (other === undefined) return false;
    const [number, otherNumber] = [integerOf(chunk), integerOf(other)];
    const isEqual = number === undefined || otherNumber === undefined ? chunk === other : number === otherNumber;
    if (isEqual) {
      if (i === left.length - 1) return true;
      if (i === right.length - 1) return false;
    } else if (number !== undefined && otherNumber !== undefined) return number < otherNumber;
    else return compareText(chunk, other) < 0;
  }
  return false;
}

function chunksOf(text: string): readonly string[] {
  return text.match(/[0-9]+|[^0-9]+/g) ?? [];
}

/** Digits as a number; undefined for other text, and for what needs more than 64 bits. */
function integerOf(chunk: string): bigint | undefined {
  if (!/^[0-9]/.test(chunk)) return undefined;
  const value = BigInt(chunk);
  return value < 2n ** 63n ? value : undefined;
}
