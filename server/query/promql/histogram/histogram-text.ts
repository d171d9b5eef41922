/** Histograms as text. */

import type { NativeHistogram } from "../../../model/histogram.ts";
import { printGeneral } from "../number-text.ts";
import { type HistogramBucket, negativeBuckets, positiveBuckets, zeroBucket } from "./histogram-buckets.ts";

/** `{count:9, sum:18.4, [-0.001,0.001]:2, (0.5,1]:7}`: what `count_values` makes a label of. Empty buckets are left out. */
export function printHistogram(histogram: NativeHistogram): string {
  const buckets = negativeBuckets(histogram).reverse();
  buckets.push(zeroBucket(histogram), ...positiveBuckets(histogram));
  const parts = buckets.filter(({ count }) => count !== 0).map(printBucket);
  return `{${[`count:${printGeneral(histogram.count)}`, `sum:${printGeneral(histogram.sum)}`, ...parts].join(", ")}}`;
}

function printBucket({ lower, upper, lowerInclusive, upperInclusive, count }: HistogramBucket): string {
  const bounds = `${printGeneral(lower)},${printGeneral(upper)}`;
  return `${lowerInclusive ? "[" : "("}${bounds}${upperInclusive ? "]" : ")"}:${printGeneral(count)}`;
}
