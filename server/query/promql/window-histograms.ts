/**
 * `rate` and `increase` of native histograms at one step, computed where they lie: the first of a window and the last are
 * decoded, and those beside a counter reset.
 *
 * Whatever there is something to be said of is left to the worker, which has all samples then.
 */

import type { CounterResetHint, NativeHistogram } from "../../model/histogram.ts";
import type { HistogramLayout } from "../../model/histogram-layout.ts";
import type { Labels, SeriesSamples } from "../../model/series.ts";
import type { HistogramReader, WindowHistograms } from "../../store/reader.ts";
import type { FedSeries } from "./encoded-columns.ts";
import { haveOneKind } from "./histogram/dense-histograms.ts";
import { isCounterReset } from "./histogram/histogram-reset.ts";
import { extrapolatedHistogram } from "./histogram-rate.ts";
import type { HistogramKernel, HistogramWindow } from "./histogram-window.ts";
import type { WindowCall } from "./window-numbers.ts";

const NO_RESET = 1;
const RESET = 2;
const NONE = new Float64Array(0);
/** Of a series whose only sample is what was made of others. */
const ONE = Float64Array.of(Number.NaN);

/** What computes a call from the histograms of each series; undefined where it needs all of them. */
export function histogramReader({ name, startMs, endMs }: WindowCall): HistogramReader | undefined {
  if (name !== "rate" && name !== "increase") return undefined;
  const kernel = extrapolatedHistogram({ isCounter: true, isRate: name === "rate" });
  return { read: (samples) => rateOf(samples, kernel, { startMs, endMs }) };
}

function rateOf(
  samples: WindowHistograms,
  kernel: HistogramKernel,
  edges: { readonly startMs: number; readonly endMs: number },
): NativeHistogram | "nothing" | "unknown" {
  const { timestampsMs, low, high } = samples;
  if (high - low < 2) return "nothing";
  const count = high - low;
  const resets = new Uint8Array(count);
  let layout: HistogramLayout | undefined;
  for (let i = 0; i < count; i++) {
    const hint = samples.hintAt(low + i);
    if (hint === "gauge") return "unknown";
    const own = samples.layoutAt(low + i);
    if (own !== layout && layout !== undefined && !haveOneKind(own, layout)) return "unknown";
    layout = own;
    if (i > 0) resets[i] = beginsAnew(samples, low + i, hint) ? RESET : NO_RESET;
  }
  const last = samples.at(high - 1);
  // Of those in between the kernel looks at nothing but what they have in common.
  const values = new Array<NativeHistogram>(count).fill(last);
  values[0] = samples.at(low);
  for (let i = 2; i < count; i++) if (resets[i] === RESET) values[i - 1] = samples.at(low + i - 1);
  const window: HistogramWindow = {
    floats: { timestampsMs: NONE, values: NONE, startsMs: undefined, low: 0, high: 0 },
    histograms: { timestampsMs: timestampsMs.subarray(low, high), values, startsMs: undefined, low: 0, high: count },
    ...edges,
    first: Number.NaN,
    second: Number.NaN,
    resets,
  };
  let isSilent = true;
  const tell = (): undefined => {
    isSilent = false;
  };
  const result = kernel(window, { metricName: "", warn: tell, info: tell });
  return isSilent && typeof result === "object" ? result : "unknown";
}

function beginsAnew(samples: WindowHistograms, index: number, hint: CounterResetHint): boolean {
  if (hint !== "unknown") return hint === "reset";
  return isCounterReset(samples.at(index), samples.at(index - 1));
}

/** A series whose only sample is what a function made of its histograms, to be packed. */
export function madeSamples({ labels, histogram }: MadeHistogram): SeriesSamples {
  return { labels, timestampsMs: ONE, values: ONE, histograms: [histogram] };
}

/** The same as it is evaluated. */
export function madeSeries(labels: Labels, made: NativeHistogram): FedSeries {
  return { labels, timestampsMs: NONE, values: NONE, made };
}

/** What a range function makes of the histograms of a series. */
interface MadeHistogram {
  readonly labels: Labels;
  readonly histogram: NativeHistogram;
}
