/** Functions of `anchored` and `smoothed` ranges. */

import type { PromqlRangeMode } from "../../../grammar/promql-tree.ts";
import { anchoredNeighbours, extendedHistogramRate } from "./extended-histogram.ts";
import { anchorIndex, extendedDifference } from "./extended-window.ts";
import { histogramKernel } from "./histogram-kernels.ts";
import type { RateKind } from "./histogram-rate.ts";
import type { HistogramKernel } from "./histogram-window.ts";
import { PromqlExecutionError } from "./query-error.ts";
import { RANGE_KERNELS, type RangeKernel } from "./range-kernels.ts";

/** What a function does with the floats and with the histograms of a window. */
export interface FunctionKernels {
  readonly floats: RangeKernel;
  readonly histograms: HistogramKernel;
}

const RATES: ReadonlyMap<string, RateKind> = new Map([
  ["rate", { isCounter: true, isRate: true }],
  ["increase", { isCounter: true, isRate: false }],
  ["delta", { isCounter: false, isRate: false }],
]);

/** Functions that compare each sample with the one before it. */
const NEIGHBOURS: ReadonlySet<string> = new Set(["changes", "resets"]);

/** Which functions take which range, in the words of the error. */
const ALLOWED: Readonly<Record<PromqlRangeMode, string>> = {
  anchored: "changes, delta, increase, rate, resets",
  smoothed: "delta, increase, rate",
};

/**
 * Kernels of a range function; undefined where `name` is none.
 *
 * @throws PromqlExecutionError where the function does not know what to do with such a range.
 */
export function functionKernels(name: string, mode: PromqlRangeMode | undefined): FunctionKernels | undefined {
  const floats = RANGE_KERNELS.get(name);
  if (floats === undefined) return undefined;
  const histograms = histogramKernel(name);
  if (mode === undefined) return { floats, histograms };
  const rate = RATES.get(name);
  if (rate !== undefined) return extendedRate(rate, mode === "smoothed");
  if (mode === "smoothed" || !NEIGHBOURS.has(name)) refuseMode(name, mode);
  return { floats: fromAnchor(floats), histograms: anchoredNeighbours(histograms) };
}

/** Says that a function does not take such a range. */
export function refuseMode(name: string, mode: PromqlRangeMode): never {
  throw new PromqlExecutionError(`${mode} modifier can only be used with: ${ALLOWED[mode]} - not with ${name}`);
}

function extendedRate(rate: RateKind, isSmoothed: boolean): FunctionKernels {
  const rules = { isSmoothed, isCounter: rate.isCounter };
  return {
    floats: (window) => {
      const difference = extendedDifference(window, rules);
      if (difference === undefined) return false;
      window.result = rate.isRate ? difference / ((window.endMs - window.startMs) / 1000) : difference;
      return true;
    },
    histograms: extendedHistogramRate(rate, isSmoothed),
  };
}

/** Begins with the last sample at or before the left edge. */
function fromAnchor(kernel: RangeKernel): RangeKernel {
  return (window) => {
    window.low = anchorIndex(window);
    return window.low < window.high && kernel(window);
  };
}
