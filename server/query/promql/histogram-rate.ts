/** `rate`, `increase`, `delta`, `irate` and `idelta` over native histograms. */

import type { NativeHistogram } from "../../model/histogram.ts";
import {
  coarserHistogram,
  compactHistogram,
  divideHistogram,
  scaleHistogram,
  usesCustomBuckets,
  withResetHint,
} from "./histogram/float-histogram.ts";
import { addHistograms, subtractHistograms } from "./histogram/histogram-sum.ts";
import { differPlainly, plainDifference } from "./histogram/plain-difference.ts";
import {
  boundsReconciled,
  mixedSchemas,
  mixedTypes,
  notCounter,
  notGauge,
  startOverlap,
} from "./histogram-messages.ts";
import {
  floatCount,
  type HistogramKernel,
  type HistogramWindow,
  histogramOf,
  isResetAt,
  type WindowNotes,
} from "./histogram-window.ts";
import { startsOverlap } from "./start-timestamps.ts";

/** What a rate is of. */
export interface RateKind {
  /** Falls are resets, and the value is never below zero. */
  readonly isCounter: boolean;
  /** Per second. */
  readonly isRate: boolean;
}

/** The kernel of `rate`, `increase` or `delta`, for windows that hold histograms. */
export function extrapolatedHistogram({ isCounter, isRate }: RateKind): HistogramKernel {
  return (window, notes) => {
    if (floatCount(window) > 0) return notes.warn(mixedTypes(notes.metricName));
    const { timestampsMs, startsMs, low, high } = window.histograms;
    const steps = high - low - 1;
    const first = histogramOf(window, low);
    const last = histogramOf(window, high - 1);
    let result: NativeHistogram | "plain" | undefined;
    if (steps > 0) {
      result = isCounter ? counterDifference(window, notes) : gaugeDifference(window, notes);
      if (result === undefined) return undefined;
    }
    const firstMs = timestampsMs[low] ?? 0;
    const lastMs = timestampsMs[high - 1] ?? 0;
    const counterStartMs = isCounter ? (startsMs?.[low] ?? 0) : 0;
    const meanSeconds = steps > 0 ? (lastMs - firstMs) / 1000 / steps : 0;
    const threshold = meanSeconds * 1.1;
    let sampledSeconds = (lastMs - firstMs) / 1000;
    let toStart = (firstMs - window.startMs) / 1000;
    let toEnd = (window.endMs - lastMs) / 1000;
    if (counterStartMs !== 0 && counterStartMs > window.startMs && counterStartMs < firstMs) {
      // The counter was zero when it started, inside the window.
      toStart = 0;
      sampledSeconds = (lastMs - counterStartMs) / 1000;
      if (result === "plain") result = plainDifference(last, first, 1);
      result = result === undefined ? first : addedTo(result, first, notes);
    } else {
      if (toStart >= threshold) toStart = meanSeconds / 2;
      const growth = result === "plain" ? last.count - first.count : (result?.count ?? 0);
      if (isCounter && growth > 0 && first.count >= 0) {
        const toZero = sampledSeconds * (first.count / growth);
        if (toZero < toStart) toStart = toZero;
      }
    }
    if (result === undefined) return undefined;
    if (toEnd >= threshold) toEnd = meanSeconds / 2;
    let factor = sampledSeconds === 0 ? 1 : (sampledSeconds + toStart + toEnd) / sampledSeconds;
    if (isRate) factor /= (window.endMs - window.startMs) / 1000;
    return result === "plain" ? plainDifference(last, first, factor) : scaleHistogram(result, factor);
  };
}

function addedTo(sum: NativeHistogram, more: NativeHistogram, notes: WindowNotes): NativeHistogram | undefined {
  const combined = addHistograms(sum, more);
  if (combined === undefined) return notes.warn(mixedSchemas(notes.metricName));
  if (combined.boundsReconciled) notes.info(boundsReconciled("addition"));
  return combined.histogram;
}

/** The last histogram less the first; `plain` where nothing more than that is to be done. */
function gaugeDifference(window: HistogramWindow, notes: WindowNotes): NativeHistogram | "plain" | undefined {
  const first = histogramOf(window, window.histograms.low);
  const last = histogramOf(window, window.histograms.high - 1);
  if (usesCustomBuckets(first) !== usesCustomBuckets(last)) return notes.warn(mixedSchemas(notes.metricName));
  if (first.resetHint === "gauge" && last.resetHint === "gauge" && differPlainly(last, first)) return "plain";
  const difference = subtractHistograms(last, first);
  if (difference === undefined) return notes.warn(mixedSchemas(notes.metricName));
  if (difference.boundsReconciled) notes.info(boundsReconciled("subtraction"));
  if (first.resetHint !== "gauge" || last.resetHint !== "gauge") notes.warn(notGauge(notes.metricName));
  return compactHistogram(withResetHint(difference.histogram, "gauge"));
}

/**
 * How much a counter grew from the first histogram to the last, with what it had reached before each reset.
 *
 * @returns `plain` where it is the last less the first.
 */
function counterDifference(window: HistogramWindow, notes: WindowNotes): NativeHistogram | "plain" | undefined {
  const { low, high } = window.histograms;
  const last = histogramOf(window, high - 1);
  let first = histogramOf(window, low);
  let gauges = first.resetHint === "gauge" || last.resetHint === "gauge";
  // A first sample before a reset does not count, so it need not fit the others either.
  if (isResetAt(window, low + 1)) first = nothingLike(histogramOf(window, low + 1));
  const custom = usesCustomBuckets(first);
  if (usesCustomBuckets(last) !== custom) {
    if (gauges) notes.warn(notCounter(notes.metricName));
    return notes.warn(mixedSchemas(notes.metricName));
  }
  let schema = Math.min(last.schema, first.schema);
  let resets = 0;
  for (let i = low + 1; i < high; i++) if (isResetAt(window, i)) resets++;
  for (let i = low + 1; i < high - 1; i++) {
    const current = histogramOf(window, i);
    if (usesCustomBuckets(current) !== custom) return notes.warn(mixedSchemas(notes.metricName));
    if (current.resetHint === "gauge") gauges = true;
    if (current.schema < schema) schema = current.schema;
  }
  if (resets === 0 && !gauges && window.histograms.startsMs === undefined && schema === last.schema) {
    if (differPlainly(last, first)) return "plain";
  }
  const difference = subtractHistograms(coarserHistogram(last, schema), first);
  if (difference === undefined) return notes.warn(mixedSchemas(notes.metricName));
  let sum = difference.histogram;
  let reconciledInSum = false;
  for (let i = low + 2; i < high; i++) {
    if (!isResetAt(window, i)) continue;
    const more = addHistograms(sum, histogramOf(window, i - 1));
    if (more === undefined) return notes.warn(mixedSchemas(notes.metricName));
    sum = more.histogram;
    reconciledInSum ||= more.boundsReconciled;
  }
  if (gauges) notes.warn(notCounter(notes.metricName));
  if (difference.boundsReconciled) notes.info(boundsReconciled("subtraction"));
  if (reconciledInSum) notes.info(boundsReconciled("addition"));
  if (overlapsSomewhere(window)) notes.warn(startOverlap(notes.metricName), { kind: "start_overlap", occurrences: 1 });
  return compactHistogram(withResetHint(sum, "gauge"));
}

function overlapsSomewhere({ histograms: { timestampsMs, startsMs, low, high } }: HistogramWindow): boolean {
  if (startsMs === undefined) return false;
  for (let i = low + 1; i < high; i++) {
    if (startsOverlap(startsMs[i - 1] ?? 0, timestampsMs[i - 1] ?? 0, startsMs[i] ?? 0)) return true;
  }
  return false;
}

/** An empty histogram that goes together with the given one. */
function nothingLike({ schema, customValues }: NativeHistogram): NativeHistogram {
  const none = new Float64Array();
  return {
    schema,
    customValues,
    zeroThreshold: 0,
    zeroCount: 0,
    count: 0,
    sum: 0,
    positiveSpans: [],
    positiveCounts: none,
    negativeSpans: [],
    negativeCounts: none,
    resetHint: "unknown",
    integer: false,
  };
}

/** Time of the sample `back` places from the end of a window; before all others where there is none. */
function timeFromEnd(samples: HistogramWindow["floats" | "histograms"], back: number): number {
  const index = samples.high - back;
  return index < samples.low ? Number.NEGATIVE_INFINITY : (samples.timestampsMs[index] ?? 0);
}

/** The kernel of `irate` or `idelta`, for windows that hold histograms: the last two samples decide. */
export function instantaneousHistogram(isRate: boolean): HistogramKernel {
  return (window, notes) => {
    const { floats, histograms } = window;
    if (floatCount(window) + histograms.high - histograms.low < 2) return undefined;
    const newestMs = timeFromEnd(histograms, 1);
    const beforeMs = timeFromEnd(histograms, 2);
    if (timeFromEnd(floats, 2) > newestMs) return "float_result";
    if (timeFromEnd(floats, 1) > beforeMs) return notes.warn(mixedTypes(notes.metricName));
    const newest = histogramOf(window, histograms.high - 1);
    const before = histogramOf(window, histograms.high - 2);
    const bothGauges = newest.resetHint === "gauge" && before.resetHint === "gauge";
    if (isRate && (newest.resetHint === "gauge" || before.resetHint === "gauge")) {
      notes.warn(notCounter(notes.metricName));
    }
    if (!isRate && !bothGauges) notes.warn(notGauge(notes.metricName));
    let result = newest;
    if (!isRate || !isResetAt(window, histograms.high - 1)) {
      const difference = subtractHistograms(newest, before);
      if (difference === undefined) return notes.warn(mixedSchemas(notes.metricName));
      if (difference.boundsReconciled) notes.info(boundsReconciled("subtraction"));
      result = difference.histogram;
    }
    result = compactHistogram(withResetHint(result, "gauge"));
    return isRate ? divideHistogram(result, (newestMs - beforeMs) / 1000) : result;
  };
}
