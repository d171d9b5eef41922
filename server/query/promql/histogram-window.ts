/**
 * Windows over a series that holds histograms, be it alone or between floats.
 *
 * The floats of such a series go through the kernels that other series go through, as if there were no histograms.
 * Where a window does hold histograms, a `HistogramKernel` decides what becomes of the step.
 */

import type { TextRange } from "../../../grammar/promql-tree.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { Labels } from "../../model/series.ts";
import type { AnnotationDetail, Annotations } from "./annotations.ts";
import { isCounterReset } from "./histogram/histogram-reset.ts";
import type { QueryBudget } from "./query-budget.ts";
import type { RangeGrid } from "./select-steps.ts";
import { labelValue, METRIC_NAME } from "./series-labels.ts";
import { isStartReset } from "./start-timestamps.ts";
import { ABSENT, FLOAT, putHistogram, type RangeSeries, type StepSeries, stepTimeMs } from "./step-vector.ts";

/** Samples of one type, and which of them lie in the window: `[low, high)`. */
interface Samples {
  readonly timestampsMs: Float64Array;
  readonly startsMs: Float64Array | undefined;
  low: number;
  high: number;
}

/** What a histogram kernel looks at: at least one histogram, and floats or none. */
export interface HistogramWindow {
  readonly floats: Samples & { readonly values: Float64Array };
  readonly histograms: Samples & { readonly values: readonly NativeHistogram[] };
  /** Edges of the window after offset and `@`: left one open. */
  startMs: number;
  endMs: number;
  /** Scalar arguments at this step; NaN where there are none. */
  first: number;
  second: number;
  /** For each histogram whether it begins anew after the one before it; 0 where nobody has asked yet. */
  readonly resets: Uint8Array;
}

const NO_RESET = 1;
const RESET = 2;

/** Says something about the series whose window is looked at. Both give undefined, as a kernel without result does. */
export interface WindowNotes {
  readonly metricName: string;
  warn(message: string, detail?: AnnotationDetail): undefined;
  info(message: string): undefined;
}

/** Notes about the series with these labels, at a place in the text. */
export function seriesNotes(labels: Labels, position: TextRange, annotations: Annotations): WindowNotes {
  return {
    metricName: labelValue(labels, METRIC_NAME),
    warn: (message, detail): undefined => annotations.warn(message, position, detail),
    info: (message): undefined => annotations.info(message, position),
  };
}

/** `float_result` leaves what the kernel for floats gave, be it a value or none; undefined means no result. */
export type HistogramKernel = (
  window: HistogramWindow,
  notes: WindowNotes,
) => number | NativeHistogram | "float_result" | undefined;

/** A series by the type of its samples. */
export interface SplitSeries {
  /** The floats as a series of their own. */
  readonly floats: RangeSeries;
  readonly histograms: Pick<RangeSeries, "timestampsMs" | "startsMs"> & { readonly values: readonly NativeHistogram[] };
}

/** Takes a series apart. */
export function splitTypes(series: RangeSeries): SplitSeries {
  const { timestampsMs, startsMs } = series;
  const values = (series.histograms ?? []).filter((histogram) => histogram !== undefined);
  const all = values.length === timestampsMs.length;
  const isFloat = (_: unknown, i: number) => series.histograms?.[i] === undefined;
  const floats = {
    ...series,
    columns: undefined,
    histograms: undefined,
    timestampsMs: all ? NONE : timestampsMs.filter(isFloat),
    values: all ? NONE : series.values.filter(isFloat),
    startsMs: all ? undefined : startsMs?.filter(isFloat),
  };
  if (all) return { floats, histograms: { timestampsMs, startsMs, values } };
  const isHistogram = (_: unknown, i: number) => series.histograms?.[i] !== undefined;
  const times = { timestampsMs: timestampsMs.filter(isHistogram), startsMs: startsMs?.filter(isHistogram) };
  return { floats, histograms: { ...times, values } };
}

const NONE = new Float64Array();

/** Number of floats in the window. */
export function floatCount({ floats }: HistogramWindow): number {
  return floats.high - floats.low;
}

/** The histogram at an index of the window's series. */
export function histogramOf({ histograms }: HistogramWindow, index: number): NativeHistogram {
  const histogram = histograms.values[index];
  if (histogram === undefined) throw new Error("a window reaches past its histograms");
  return histogram;
}

/** Whether a counter began anew between the histogram at `index` and the one before it. */
export function isResetAt(window: HistogramWindow, index: number): boolean {
  const known = window.resets[index];
  if (known === NO_RESET || known === RESET) return known === RESET;
  const { timestampsMs, startsMs } = window.histograms;
  const [startMs, beforeStartMs] = [startsMs?.[index] ?? 0, startsMs?.[index - 1] ?? 0];
  const reset =
    isStartReset(beforeStartMs, timestampsMs[index - 1] ?? 0, startMs, timestampsMs[index] ?? 0) ||
    isCounterReset(histogramOf(window, index), histogramOf(window, index - 1));
  window.resets[index] = reset ? RESET : NO_RESET;
  return reset;
}

/** What a kernel is run with beside its windows. */
export interface HistogramRun {
  readonly notes: WindowNotes;
  readonly budget: QueryBudget;
  readonly scalars: { readonly first: Float64Array | undefined; readonly second: Float64Array | undefined };
}

/**
 * Runs a kernel over every window that holds a histogram.
 *
 * @param out Holds what the kernel for floats gave for the floats of this series.
 * @returns 1 for each step at which that was not the result.
 */
export function applyHistogramKernel(
  { floats, histograms }: SplitSeries,
  kernel: HistogramKernel,
  ranges: RangeGrid,
  out: StepSeries,
  { notes, budget, scalars }: HistogramRun,
): Uint8Array {
  const decided = new Uint8Array(ranges.grid.steps);
  const window: HistogramWindow = {
    floats: { timestampsMs: floats.timestampsMs, values: floats.values, startsMs: floats.startsMs, low: 0, high: 0 },
    histograms: { ...histograms, low: 0, high: 0 },
    startMs: Number.NaN,
    endMs: Number.NaN,
    first: Number.NaN,
    second: Number.NaN,
    resets: new Uint8Array(histograms.values.length),
  };
  let result: ReturnType<HistogramKernel>;
  for (let k = 0; k < ranges.grid.steps; k++) {
    if (k === 0 || !ranges.isPinned) {
      const endMs = stepTimeMs(ranges.shifted, k);
      window.endMs = endMs;
      window.startMs = endMs - ranges.rangeMs;
      window.first = scalars.first?.[k] ?? Number.NaN;
      window.second = scalars.second?.[k] ?? Number.NaN;
      slide(window.floats, window.startMs - ranges.beforeMs, endMs + ranges.afterMs);
      slide(window.histograms, window.startMs - ranges.beforeMs, endMs + ranges.afterMs);
      result = isEmpty(window.histograms) ? "float_result" : kernel(window, notes);
    }
    if (result === "float_result") continue;
    decided[k] = 1;
    out.present[k] = ABSENT;
    if (typeof result === "number") {
      out.present[k] = FLOAT;
      out.values[k] = result;
    } else if (result !== undefined) putHistogram(out, k, result, budget);
  }
  return decided;
}

function isEmpty({ low, high }: Samples): boolean {
  return low === high;
}

function slide(samples: Samples, afterMs: number, untilMs: number): void {
  const { timestampsMs } = samples;
  while (samples.high < timestampsMs.length && (timestampsMs[samples.high] ?? 0) <= untilMs) samples.high++;
  while (samples.low < samples.high && (timestampsMs[samples.low] ?? 0) <= afterMs) samples.low++;
}
