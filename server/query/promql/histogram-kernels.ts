/** What range functions make of windows that hold histograms. */

import { compactHistogram, equalHistograms } from "./histogram/float-histogram.ts";
import { HistogramMean, HistogramSum } from "./histogram/histogram-accumulator.ts";
import { boundsReconciled, ignoredInRange, mixedSchemas, mixedTypes, resetCollision } from "./histogram-messages.ts";
import { extrapolatedHistogram, instantaneousHistogram } from "./histogram-rate.ts";
import { floatCount, type HistogramKernel, type HistogramWindow, histogramOf, isResetAt } from "./histogram-window.ts";
import { checkFactors } from "./range-kernels.ts";
import { isStartReset } from "./start-timestamps.ts";

/** Functions of floats: histograms between them are left out, which is said. */
const floatsOnly: HistogramKernel = (window, notes) => {
  if (floatCount(window) === 0) return undefined;
  notes.info(ignoredInRange(notes.metricName));
  return "float_result";
};

/** Its factors are looked at even where there is nothing to smooth. */
const smoothing: HistogramKernel = (window, notes) => {
  checkFactors(window.first, window.second);
  return floatsOnly(window, notes);
};

/** `sum_over_time` and `avg_over_time`. */
function accumulated(make: () => HistogramSum | HistogramMean): HistogramKernel {
  return (window, notes) => {
    if (floatCount(window) > 0) return notes.warn(mixedTypes(notes.metricName));
    const total = make();
    for (let i = window.histograms.low; i < window.histograms.high; i++) total.add(histogramOf(window, i));
    const { findings } = total;
    if (findings.incompatible) return notes.warn(mixedSchemas(notes.metricName));
    if (findings.resetCollision) notes.warn(resetCollision("aggregation"));
    if (findings.boundsReconciled) notes.info(boundsReconciled("aggregation"));
    return total.value;
  };
}

/** The oldest or newest sample of the window. */
function edge(which: "first" | "last"): HistogramKernel {
  return (window) => {
    const { floats, histograms } = window;
    const index = which === "first" ? histograms.low : histograms.high - 1;
    const floatMs = floats.timestampsMs[which === "first" ? floats.low : floats.high - 1] ?? 0;
    const histogramMs = histograms.timestampsMs[index] ?? 0;
    const floatWins = which === "first" ? floatMs < histogramMs : floatMs > histogramMs;
    return floatCount(window) > 0 && floatWins ? "float_result" : histogramOf(window, index);
  };
}

/** The time of the oldest or newest sample, in seconds. */
function edgeTime(which: "first" | "last"): HistogramKernel {
  const find = edge(which);
  return (window, notes) => {
    if (find(window, notes) === "float_result") return "float_result";
    const { timestampsMs, low, high } = window.histograms;
    return (timestampsMs[which === "first" ? low : high - 1] ?? 0) / 1000;
  };
}

/** How a sample differs from the one before it, for two floats and for two histograms. */
interface Steps {
  readonly floats: (window: HistogramWindow, index: number) => boolean;
  readonly histograms: (window: HistogramWindow, index: number) => boolean;
}

/** Counts the samples that differ from the one before; another type always does. */
function countSteps(steps: Steps): HistogramKernel {
  return (window) => {
    const { floats, histograms } = window;
    let float = floats.low;
    let histogram = histograms.low;
    let count = 0;
    let before: "float" | "histogram" | undefined;
    while (float < floats.high || histogram < histograms.high) {
      const floatMs = float < floats.high ? (floats.timestampsMs[float] ?? 0) : Number.POSITIVE_INFINITY;
      const histogramMs =
        histogram < histograms.high ? (histograms.timestampsMs[histogram] ?? 0) : Number.POSITIVE_INFINITY;
      const type = floatMs < histogramMs ? "float" : "histogram";
      if (before !== undefined) {
        if (type !== before) count++;
        else if (type === "float" ? steps.floats(window, float) : steps.histograms(window, histogram)) count++;
      }
      if (type === "float") float++;
      else histogram++;
      before = type;
    }
    return count;
  };
}

const changes: Steps = {
  floats: ({ floats: { values } }, index) => {
    const value = values[index] ?? Number.NaN;
    const before = values[index - 1] ?? Number.NaN;
    return value !== before && !(Number.isNaN(value) && Number.isNaN(before));
  },
  // A store lays all histograms of a run out alike, so that a bucket without observations is no change.
  histograms: (window, index) =>
    !equalHistograms(compactHistogram(histogramOf(window, index)), compactHistogram(histogramOf(window, index - 1))),
};

const resets: Steps = {
  floats: ({ floats: { values, timestampsMs, startsMs } }, index) => {
    if ((values[index] ?? Number.NaN) < (values[index - 1] ?? Number.NaN)) return true;
    if (startsMs === undefined) return false;
    const [beforeMs, timeMs] = [timestampsMs[index - 1] ?? 0, timestampsMs[index] ?? 0];
    return isStartReset(startsMs[index - 1] ?? 0, beforeMs, startsMs[index] ?? 0, timeMs);
  },
  histograms: isResetAt,
};

/** Kernels by function name; those of the others use the floats only. `absent_over_time` looks at all series together. */
const KERNELS: ReadonlyMap<string, HistogramKernel> = new Map<string, HistogramKernel>([
  ["rate", extrapolatedHistogram({ isCounter: true, isRate: true })],
  ["increase", extrapolatedHistogram({ isCounter: true, isRate: false })],
  ["delta", extrapolatedHistogram({ isCounter: false, isRate: false })],
  ["irate", instantaneousHistogram(true)],
  ["idelta", instantaneousHistogram(false)],
  ["sum_over_time", accumulated(() => new HistogramSum())],
  ["avg_over_time", accumulated(() => new HistogramMean())],
  ["count_over_time", (window) => floatCount(window) + window.histograms.high - window.histograms.low],
  ["present_over_time", () => 1],
  ["first_over_time", edge("first")],
  ["last_over_time", edge("last")],
  ["ts_of_first_over_time", edgeTime("first")],
  ["ts_of_last_over_time", edgeTime("last")],
  ["double_exponential_smoothing", smoothing],
  ["changes", countSteps(changes)],
  ["resets", countSteps(resets)],
]);

/** What a function makes of a window that holds histograms. */
export function histogramKernel(name: string): HistogramKernel {
  return KERNELS.get(name) ?? floatsOnly;
}
