/** `anchored` and `smoothed` ranges over native histograms, alone or between floats. */

import type { NativeHistogram } from "../../model/histogram.ts";
import { extendedSpan, type Span, type TimedSamples } from "./extended-window.ts";
import {
  compactHistogram,
  divideHistogram,
  scaleHistogram,
  usesCustomBuckets,
  withResetHint,
} from "./histogram/float-histogram.ts";
import { isCounterReset } from "./histogram/histogram-reset.ts";
import { addHistograms, subtractHistograms } from "./histogram/histogram-sum.ts";
import { boundsReconciled, mixedSchemas, mixedTypes, notCounter, notGauge } from "./histogram-messages.ts";
import type { RateKind } from "./histogram-rate.ts";
import {
  floatCount,
  type HistogramKernel,
  type HistogramWindow,
  histogramOf,
  type WindowNotes,
} from "./histogram-window.ts";

/** `rate`, `increase` or `delta` of an anchored or smoothed range that holds histograms. */
export function extendedHistogramRate({ isCounter, isRate }: RateKind, isSmoothed: boolean): HistogramKernel {
  return (window, notes) => {
    if (floatCount(window) > 0) return notes.warn(mixedTypes(notes.metricName));
    const span = extendedSpan(timed(window), isSmoothed);
    if (span === undefined) return undefined;
    if (isSmoothed && timeAt(window, span.first) > window.endMs) return undefined;
    if (!fitTogether(window, span, isCounter, notes)) return undefined;
    const rules = { isSmoothed, isCounter };
    const left = leftEdge(window, span, rules, notes);
    const right = left === undefined ? undefined : rightEdge(window, span, rules, notes);
    if (left === undefined || right === undefined) return undefined;
    if (!isCounter && (left.resetHint !== "gauge" || right.resetHint !== "gauge")) {
      notes.warn(notGauge(notes.metricName));
    }
    let result = difference(right, left, notes);
    if (result !== undefined && isCounter) result = withLost(result, window, { span, left, right, isSmoothed }, notes);
    if (result === undefined) return undefined;
    const perSecond = isRate ? divideHistogram(result, (window.endMs - window.startMs) / 1000) : result;
    return compactHistogram(withResetHint(perSecond, "gauge"));
  };
}

interface EdgeRules {
  readonly isSmoothed: boolean;
  readonly isCounter: boolean;
}

function timed({ histograms, startMs, endMs }: HistogramWindow): TimedSamples {
  const { timestampsMs, low, high } = histograms;
  return { timestampsMs, low, high, startMs, endMs };
}

function timeAt({ histograms }: HistogramWindow, index: number): number {
  return histograms.timestampsMs[index] ?? Number.NaN;
}

/** Whether all histograms have the same kind of buckets. */
function fitTogether(window: HistogramWindow, { first, last }: Span, isCounter: boolean, notes: WindowNotes): boolean {
  const custom = usesCustomBuckets(histogramOf(window, first));
  for (let i = first; i <= last; i++) {
    const histogram = histogramOf(window, i);
    if (usesCustomBuckets(histogram) !== custom) {
      notes.warn(mixedSchemas(notes.metricName));
      return false;
    }
    if (isCounter && histogram.resetHint === "gauge") notes.warn(notCounter(notes.metricName));
  }
  return true;
}

function leftEdge(
  window: HistogramWindow,
  { first }: Span,
  rules: EdgeRules,
  notes: WindowNotes,
): NativeHistogram | undefined {
  if (!rules.isSmoothed || timeAt(window, first) >= window.startMs) return histogramOf(window, first);
  return between(window, first, window.startMs, rules.isCounter, notes);
}

function rightEdge(
  window: HistogramWindow,
  { last }: Span,
  rules: EdgeRules,
  notes: WindowNotes,
): NativeHistogram | undefined {
  const isPast = timeAt(window, last) > window.endMs && last > window.histograms.low;
  if (!rules.isSmoothed || !isPast) return histogramOf(window, last);
  return between(window, last - 1, window.endMs, rules.isCounter, notes);
}

/** Between the histogram at `index` and the next one. */
function between(
  window: HistogramWindow,
  index: number,
  timeMs: number,
  isCounter: boolean,
  notes: WindowNotes,
): NativeHistogram | undefined {
  const before = { timeMs: timeAt(window, index), histogram: histogramOf(window, index) };
  const after = { timeMs: timeAt(window, index + 1), histogram: histogramOf(window, index + 1) };
  return interpolateHistograms(before, after, { timeMs, isCounter }, notes);
}

interface HistogramPoint {
  readonly timeMs: number;
  readonly histogram: NativeHistogram;
}

/**
 * Linear between two histograms; a counter that was reset began at nothing.
 *
 * @returns undefined where exponential and custom buckets meet, which is said.
 */
export function interpolateHistograms(
  before: HistogramPoint,
  after: HistogramPoint,
  { timeMs, isCounter }: { readonly timeMs: number; readonly isCounter: boolean },
  notes: WindowNotes,
): NativeHistogram | undefined {
  if (timeMs === before.timeMs) return before.histogram;
  if (timeMs === after.timeMs) return after.histogram;
  const share = (timeMs - before.timeMs) / (after.timeMs - before.timeMs);
  if (isCounter && isCounterReset(after.histogram, before.histogram)) return scaleHistogram(after.histogram, share);
  const grown = difference(after.histogram, before.histogram, notes);
  return grown === undefined ? undefined : sum(scaleHistogram(grown, share), before.histogram, notes);
}

function difference(a: NativeHistogram, b: NativeHistogram, notes: WindowNotes): NativeHistogram | undefined {
  const combined = subtractHistograms(a, b);
  if (combined === undefined) return notes.warn(mixedSchemas(notes.metricName));
  if (combined.boundsReconciled) notes.info(boundsReconciled("subtraction"));
  return combined.histogram;
}

function sum(a: NativeHistogram, b: NativeHistogram, notes: WindowNotes): NativeHistogram | undefined {
  const combined = addHistograms(a, b);
  if (combined === undefined) return notes.warn(mixedSchemas(notes.metricName));
  if (combined.boundsReconciled) notes.info(boundsReconciled("addition"));
  return combined.histogram;
}

/** What a range begins and ends with. */
interface Edges {
  readonly span: Span;
  readonly left: NativeHistogram;
  readonly right: NativeHistogram;
  readonly isSmoothed: boolean;
}

/** Adds what a counter had reached before each reset between its edges. */
function withLost(
  grown: NativeHistogram,
  window: HistogramWindow,
  { span, left, right, isSmoothed }: Edges,
  notes: WindowNotes,
): NativeHistogram | undefined {
  let from = span.first + 1;
  let before = left;
  if (
    isSmoothed &&
    timeAt(window, span.first) < window.startMs &&
    isCounterReset(histogramOf(window, span.first + 1), histogramOf(window, span.first))
  ) {
    // The left edge was interpolated over this reset, so it counts already.
    before = histogramOf(window, span.first + 1);
    from++;
  }
  // The last sample is what the right edge is made of, and is compared in its place.
  if (from > span.last) return grown;
  let lost: NativeHistogram | undefined;
  for (let i = from; i <= span.last; i++) {
    const current = i === span.last ? right : histogramOf(window, i);
    if (isCounterReset(current, before)) {
      lost = lost === undefined ? before : sum(lost, before, notes);
      if (lost === undefined) return undefined;
    }
    before = current;
  }
  return lost === undefined ? grown : sum(grown, lost, notes);
}

/**
 * Lets a kernel that compares neighbours begin with the last sample at or before the left edge, of whichever type.
 *
 * A range without a sample after its left edge has no result.
 */
export function anchoredNeighbours(kernel: HistogramKernel): HistogramKernel {
  return (window, notes) => {
    const { floats, histograms, startMs } = window;
    const [floatLow, histogramLow] = [floats.low, histograms.low];
    const floatAnchor = lastAtOrBefore(floats, startMs);
    const histogramAnchor = lastAtOrBefore(histograms, startMs);
    if (floatAnchor + 1 >= floats.high && histogramAnchor + 1 >= histograms.high) return undefined;
    const floatMs = floatAnchor < floats.low ? Number.NEGATIVE_INFINITY : (floats.timestampsMs[floatAnchor] ?? 0);
    const histogramMs =
      histogramAnchor < histograms.low ? Number.NEGATIVE_INFINITY : (histograms.timestampsMs[histogramAnchor] ?? 0);
    const floatWins = floatMs > Number.NEGATIVE_INFINITY && floatMs >= histogramMs;
    floats.low = floatWins ? floatAnchor : floatAnchor + 1;
    histograms.low = !floatWins && histogramMs > Number.NEGATIVE_INFINITY ? histogramAnchor : histogramAnchor + 1;
    const result = kernel(window, notes);
    floats.low = floatLow;
    histograms.low = histogramLow;
    return result;
  };
}

/** Index of the last sample at or before a time; `low - 1` where there is none. */
function lastAtOrBefore(samples: HistogramWindow["floats" | "histograms"], timeMs: number): number {
  let index = samples.high - 1;
  while (index >= samples.low && (samples.timestampsMs[index] ?? 0) > timeMs) index--;
  return index;
}
