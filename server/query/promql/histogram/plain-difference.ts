/** The difference of two histograms with the same buckets, scaled and compact in one go: what rates mostly are. */

import type { BucketSpan, NativeHistogram } from "../../../model/histogram.ts";
import { haveOneLayout } from "../../../model/histogram-layout.ts";
import type { BucketSide } from "./bucket-layout.ts";
import { hidesBuckets, usesCustomBuckets } from "./float-histogram.ts";

/** Whether the buckets of two histograms stand for the same observations, none of them in the zero bucket. */
export function differPlainly(a: NativeHistogram, b: NativeHistogram): boolean {
  return haveOneLayout(a, b) && !hidesBuckets(a);
}

/** `(last - first) * factor` as a gauge, for histograms of one layout and a factor that is not negative. */
export function plainDifference(last: NativeHistogram, first: NativeHistogram, factor: number): NativeHistogram {
  const positive = difference(last.positiveSpans, last.positiveCounts, first.positiveCounts, factor);
  const negative = difference(last.negativeSpans, last.negativeCounts, first.negativeCounts, factor);
  return {
    schema: last.schema,
    zeroThreshold: last.zeroThreshold,
    zeroCount: usesCustomBuckets(last) ? 0 : (last.zeroCount - first.zeroCount) * factor,
    count: (last.count - first.count) * factor,
    sum: (last.sum - first.sum) * factor,
    positiveSpans: positive.spans,
    positiveCounts: positive.counts,
    negativeSpans: negative.spans,
    negativeCounts: negative.counts,
    customValues: last.customValues,
    resetHint: "gauge",
    integer: false,
  };
}

const NONE: BucketSide = { spans: [], counts: new Float64Array() };

/** Buckets that did not change are left out, before they are scaled. */
function difference(spans: readonly BucketSpan[], last: Float64Array, first: Float64Array, factor: number): BucketSide {
  let kept = 0;
  for (let k = 0; k < last.length; k++) if ((last[k] ?? 0) - (first[k] ?? 0) !== 0) kept++; // infinities give NaN
  if (kept === 0) return NONE;
  const counts = new Float64Array(kept);
  const offsets: number[] = [];
  const lengths: number[] = [];
  let index = 0;
  let end = 0;
  let k = 0;
  let at = 0;
  for (const span of spans) {
    index += span.offset;
    for (let i = 0; i < span.length && k < last.length; i++, k++, index++) {
      const change = (last[k] ?? 0) - (first[k] ?? 0);
      if (change === 0) continue;
      counts[at++] = change * factor;
      if (index === end && lengths.length > 0) lengths[lengths.length - 1] = (lengths.at(-1) ?? 0) + 1;
      else {
        offsets.push(index - end);
        lengths.push(1);
      }
      end = index + 1;
    }
  }
  return { spans: offsets.map((offset, n) => ({ offset, length: lengths[n] ?? 0 })), counts };
}
