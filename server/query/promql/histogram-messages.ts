/** What a query says of histograms, in Prometheus' words. */

import { quoteGo } from "../../../grammar/promql-error.ts";

/** Where two histograms were put together. */
export type HistogramOperation = "addition" | "subtraction" | "aggregation";

/** Warning: a window holds floats and histograms. */
export function mixedTypes(metricName: string): string {
  return `encountered a mix of histograms and floats for metric name ${quoteGo(metricName)}`;
}

/** Warning: a group holds floats and histograms. */
export const MIXED_TYPES_IN_AGGREGATION = "encountered a mix of histograms and floats for aggregation";

/** Warning: exponential buckets met custom ones. */
export function mixedSchemas(metricName: string): string {
  const what = "vector contains a mix of histograms with exponential and custom buckets schemas";
  return `${what} for metric name ${quoteGo(metricName)}`;
}

/** Warning: a function of counters read a gauge. */
export function notCounter(metricName: string): string {
  return `this native histogram metric is not a counter: ${quoteGo(metricName)}`;
}

/** Warning: a function of gauges read a counter. */
export function notGauge(metricName: string): string {
  return `this native histogram metric is not a gauge: ${quoteGo(metricName)}`;
}

/** Warning: some of the histograms had seen a counter reset and others none. */
export function resetCollision(operation: HistogramOperation): string {
  return `conflicting counter resets during histogram ${operation}`;
}

/** Info: custom bounds differed, and the result has those that all know. */
export function boundsReconciled(operation: HistogramOperation): string {
  return `mismatched custom buckets were reconciled during ${operation}`;
}

/** Info: an operator that cannot do anything with these types. */
export function incompatibleTypes(op: string, left: SampleType, right: SampleType): string {
  return `incompatible sample types encountered for binary operator ${quoteGo(op)}: ${left} ${op} ${right}`;
}

/** A type in the words of `incompatibleTypes`. */
export type SampleType = "float" | "histogram";

/** Warning: an operator between exponential and custom buckets. */
export function incompatibleLayout(op: string): string {
  return `incompatible bucket layout encountered for binary operator ${op}`;
}

/** Info: an aggregation over floats only. */
export function ignoredInAggregation(op: string): string {
  return `ignored histogram in ${op} aggregation`;
}

/** Info: a function over floats only. */
export function ignoredInRange(metricName: string): string {
  const what = "ignored histograms in a range containing both floats and histograms";
  return `${what} for metric name ${quoteGo(metricName)}`;
}

/** Warning: a sample counts since before the sample before it. */
export function startOverlap(metricName: string): string {
  return `sample has start time that overlaps with previous sample timestamp for metric ${quoteGo(metricName)}`;
}

function of(message: string, metricName: string): string {
  return metricName === "" ? message : `${message} for metric name ${quoteGo(metricName)}`;
}

/** Warning: a bucket of a classic histogram whose bound is no number. */
export function badBucketLabel(bound: string, metricName: string): string {
  return of(`bucket label "le" is missing or has a malformed value of ${quoteGo(bound)}`, metricName);
}

/** Warning: a classic and a native histogram have the same labels, so neither has a result. */
export function mixedClassicNative(metricName: string): string {
  return of("vector contains a mix of classic and native histograms", metricName);
}

/** Info: cumulative buckets counted less than smaller ones, and were lifted. */
export function forcedMonotonic(metricName: string): string {
  const where = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";
  return of(`input to histogram_quantile needed to be fixed for monotonicity (see ${where})`, metricName);
}

/** Info: the quantile is among NaN observations, or higher because of them. */
export function quantileNans(nans: "result" | "skew", metricName: string): string {
  const what = nans === "result" ? "result is NaN" : "result is skewed higher";
  return of(`input to histogram_quantile has NaN observations, ${what}`, metricName);
}

/** Info: no fraction includes NaN observations. */
export function fractionNans(metricName: string): string {
  return of("input to histogram_fraction has NaN observations, which are excluded from all fractions", metricName);
}
