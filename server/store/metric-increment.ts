/** Samples that count since the one before, as running totals: delta temporality becomes cumulative. */

import type { NativeHistogram } from "../model/histogram.ts";
import { addObservations } from "../model/histogram-add.ts";
import { isHistogram, KIND_FLOAT, type NewestSample } from "./metric-series.ts";
import type { Sample } from "./metric-track.ts";

/**
 * The total after a sample that is newer than all others of its series.
 *
 * A total begins anew with the sample where there is none of its sort to add to, and with it the time since which it counts.
 *
 * @param last The newest sample where that is a histogram and still in memory.
 */
export function totalAfter(newest: NewestSample, last: NativeHistogram | undefined, sample: Sample): Sample {
  const { histogram } = sample;
  if (histogram === undefined) {
    const continues = newest.kind === KIND_FLOAT && Number.isFinite(newest.identity);
    return continues ? { ...sample, value: newest.identity + sample.value, startMs: 0 } : sample;
  }
  const total = isHistogram(newest) && last !== undefined ? addObservations(last, histogram) : undefined;
  if (total !== undefined) return { ...sample, histogram: { ...total, resetHint: "unknown" }, startMs: 0 };
  // Where buckets are fuller than those of the total before, nothing else shows that it ended.
  return { ...sample, histogram: { ...histogram, resetHint: "reset" } };
}

/** Whether the newest sample of a series can be the total that a sample of the same time is part of. */
export function isTotal(newest: NewestSample, { histogram }: Sample): boolean {
  return histogram === undefined ? newest.kind === KIND_FLOAT : isHistogram(newest);
}
