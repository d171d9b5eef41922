/** `smoothed` instant selectors: values between samples are interpolated, at the end the last one is carried on. */

import type { SeriesSamples } from "../../model/series.ts";
import { interpolateHistograms } from "./extended-histogram.ts";
import { interpolate } from "./extended-window.ts";
import { usesCustomBuckets, withResetHint } from "./histogram/float-histogram.ts";
import { mixedSchemas, mixedTypes } from "./histogram-messages.ts";
import type { WindowNotes } from "./histogram-window.ts";
import type { QueryBudget } from "./query-budget.ts";
import { withoutStale } from "./select-steps.ts";
import {
  FLOAT,
  makeSeries,
  putHistogram,
  type RangeSeries,
  type StepGrid,
  type StepSeries,
  stepTimeMs,
} from "./step-vector.ts";

/** What smoothing needs to know of the query. */
interface SmoothOptions {
  /** How far samples may be away on either side. */
  readonly lookbackMs: number;
  readonly notes: WindowNotes;
  readonly budget: QueryBudget;
}

/** Values of one series at the steps of `grid`; a step before the first sample has none. */
export function selectSmoothed(samples: SeriesSamples, grid: StepGrid, options: SmoothOptions): StepSeries {
  const series = withoutStale(samples);
  const { timestampsMs, histograms } = series;
  const out = makeSeries(series.labels, false, grid, options.budget);
  let low = 0;
  let high = 0;
  let next = 0;
  for (let k = 0; k < grid.steps; k++) {
    const timeMs = stepTimeMs(grid, k);
    while (high < timestampsMs.length && (timestampsMs[high] ?? 0) <= timeMs + options.lookbackMs) high++;
    while (low < high && (timestampsMs[low] ?? 0) <= timeMs - options.lookbackMs) low++;
    while (next < high && (next < low || (timestampsMs[next] ?? 0) < timeMs)) next++;
    if (low === high) continue;
    const here = { low, high, next, timeMs };
    const kind = histograms === undefined ? "floats" : typesIn(series, low, high);
    if (kind === "mixed") options.notes.warn(mixedTypes(options.notes.metricName));
    else if (kind === "floats") smoothFloat(series, here, k, out);
    else smoothHistogram(series, here, k, out, options);
  }
  return out;
}

/** Samples around a step: `[low, high)`, and the first of them at or after it. */
interface Around {
  readonly low: number;
  readonly high: number;
  readonly next: number;
  readonly timeMs: number;
}

function typesIn({ histograms }: RangeSeries, low: number, high: number): "floats" | "histograms" | "mixed" {
  let count = 0;
  for (let i = low; i < high; i++) if (histograms?.[i] !== undefined) count++;
  if (count === 0) return "floats";
  return count === high - low ? "histograms" : "mixed";
}

function smoothFloat(series: RangeSeries, { low, high, next, timeMs }: Around, step: number, out: StepSeries): void {
  const point = (index: number) => ({
    timeMs: series.timestampsMs[index] ?? Number.NaN,
    value: series.values[index] ?? Number.NaN,
  });
  const after = next < high ? point(next) : undefined;
  let value: number;
  if (after?.timeMs === timeMs) value = after.value;
  else if (next === low) return;
  else if (after === undefined) value = point(next - 1).value;
  else value = interpolate(point(next - 1), after, timeMs, false);
  out.values[step] = value;
  out.present[step] = FLOAT;
}

function smoothHistogram(
  series: RangeSeries,
  { low, high, next, timeMs }: Around,
  step: number,
  out: StepSeries,
  { notes, budget }: SmoothOptions,
): void {
  const point = (index: number) => {
    const histogram = series.histograms?.[index];
    return histogram === undefined ? undefined : { timeMs: series.timestampsMs[index] ?? Number.NaN, histogram };
  };
  const after = next < high ? point(next) : undefined;
  if (after?.timeMs === timeMs) {
    putHistogram(out, step, after.histogram, budget);
    return;
  }
  const before = next === low ? undefined : point(next - 1);
  if (before === undefined) return;
  if (after === undefined) {
    // The hint tells of the sample before, not of this value.
    putHistogram(out, step, withResetHint(before.histogram, "unknown"), budget);
    return;
  }
  if (usesCustomBuckets(before.histogram) !== usesCustomBuckets(after.histogram)) {
    notes.warn(mixedSchemas(notes.metricName));
    return;
  }
  const isCounter = before.histogram.resetHint !== "gauge" || after.histogram.resetHint !== "gauge";
  const histogram = interpolateHistograms(before, after, { timeMs, isCounter }, notes);
  if (histogram !== undefined) putHistogram(out, step, histogram, budget);
}
