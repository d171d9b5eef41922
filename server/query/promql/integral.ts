/** `integral(range, strategy)`: the area under a series, in value times seconds. */

import { carriedLoss } from "./compensated.ts";

/** What stands for the value between two samples. */
const LEFT = 0;
const RIGHT = 1;
const TRAPEZOID = 2;

/** The strategy of a call that names none. */
export const INTEGRAL_DEFAULT = TRAPEZOID;

/** Whether a number names a strategy; with any other the default is used. */
export function isIntegralStrategy(strategy: number): boolean {
  return strategy === LEFT || strategy === RIGHT || strategy === TRAPEZOID;
}

/** Samples `[low, high)` of a series, and the strategy. */
interface IntegralWindow {
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
  readonly low: number;
  readonly high: number;
  readonly first: number;
}

/** A sum and what rounding took from it. */
interface Compensated {
  readonly sum: number;
  readonly lost: number;
}

function increase({ sum, lost }: Compensated, value: number): Compensated {
  return { sum: sum + value, lost: carriedLoss(sum, value, lost) };
}

/** NaN is no area: its neighbours count half. */
function orZero(value: number | undefined): number {
  return value === undefined || Number.isNaN(value) ? 0 : value;
}

/** The height between two samples. */
function heightOf(strategy: number, before: number, value: number): Compensated {
  if (strategy === LEFT) return { sum: before, lost: 0 };
  if (strategy === RIGHT) return { sum: value, lost: 0 };
  const both = increase({ sum: before, lost: 0 }, value);
  if (Number.isFinite(both.sum) || !Number.isFinite(before) || !Number.isFinite(value)) {
    return { sum: both.sum / 2, lost: both.lost / 2 };
  }
  return increase({ sum: before / 2, lost: 0 }, value / 2); // the sum of both is too large
}

/** Area over the samples of a window; `first` is the strategy. A single sample has none. */
export function integral({ timestampsMs, values, low, high, first }: IntegralWindow): number {
  const strategy = isIntegralStrategy(first) ? first : INTEGRAL_DEFAULT;
  let area: Compensated = { sum: 0, lost: 0 };
  for (let i = low + 1; i < high; i++) {
    const height = heightOf(strategy, orZero(values[i - 1]), orZero(values[i]));
    if (height.sum === 0 && height.lost === 0) continue;
    const seconds = ((timestampsMs[i] ?? 0) - (timestampsMs[i - 1] ?? 0)) / 1000;
    area = increase({ sum: area.sum, lost: area.lost + height.lost * seconds }, height.sum * seconds);
  }
  return Number.isFinite(area.sum) || Number.isNaN(area.sum) ? area.sum + area.lost : area.sum;
}
