/**
 * Metric series as Prometheus knows them.
 */

import type { NativeHistogram } from "./histogram.ts";

/** Label pairs sorted by name (by UTF-16 code unit), without duplicates and without empty values. */
export type Labels = ReadonlyArray<readonly [name: string, value: string]>;

/** One label condition of a selector. */
export interface Matcher {
  readonly name: string;
  readonly kind: "=" | "!=" | "=~" | "!~";
  readonly value: string;
}

/** Samples of one series, oldest first; `timestampsMs[i]` belongs to `values[i]`. */
export interface SeriesSamples {
  readonly labels: Labels;
  readonly timestampsMs: Float64Array;
  /** NaN where the sample is a histogram. A stale marker is always a float, of histogram series too. */
  readonly values: Float64Array;
  /** Sparse by index: the histogram that a sample is. Undefined where all samples are floats. */
  readonly histograms?: readonly (NativeHistogram | undefined)[] | undefined;
  /** Histograms that are left encoded for whoever asked for them so; `histograms` lacks them. */
  readonly encoded?: readonly EncodedHistograms[] | undefined;
  /** Unix milliseconds since which a counter counts, by sample; 0 where unknown. Undefined where none is known. */
  readonly startsMs?: Float64Array | undefined;
}

/** Histograms of neighbouring samples, as `histogram-columns.ts` writes them. */
export interface EncodedHistograms {
  /** Index of the sample that the first one is; below 0, and past the end for the last, where a window cuts them. */
  readonly first: number;
  readonly count: number;
  readonly bytes: Uint8Array;
  /** Where it is there, the bytes lack the columns, which are these numbers. */
  readonly numbers?: Float64Array | undefined;
}

/** What they count for where samples are bounded: a number as much as a byte, as long as it is not decoded. */
export function sizeOfEncoded({ bytes, numbers }: EncodedHistograms): number {
  return bytes.length + (numbers?.length ?? 0);
}

/** An example of what a series counts, usually with a trace id among its labels. */
export interface Exemplar {
  readonly labels: Labels;
  readonly timestampMs: number;
  readonly value: number;
}

/** Exemplars of one series, oldest first. */
export interface SeriesExemplars {
  readonly labels: Labels;
  readonly exemplars: readonly Exemplar[];
}

/** What one write brings for one series. Times need not grow: what is too old or out of order is refused by sample. */
export interface SeriesToAppend extends SeriesSamples {
  /** Whether the same object `labels` comes with later writes too, so that it is worth being remembered. */
  readonly lasting?: boolean | undefined;
  /** Whether each sample counts since the one before (delta temporality): what is stored is the running total. */
  readonly increments?: boolean | undefined;
  /** Whether the sender did not send it as such, and is not told where it comes too late or twice. */
  readonly untold?: boolean | undefined;
  readonly exemplars?: readonly Exemplar[] | undefined;
}

/**
 * Labels that come again with later writes as the same object. A store may leave a note on it to find its series by, and
 * equal labels that it keeps anyway.
 */
export interface LabelsHandle {
  labels: Labels;
  note: object | undefined;
}

/** Float samples of many series: `values[i]` at `timestampsMs[i]` for the series of `handles[i]`, up to `count`. */
export interface FloatRows {
  readonly count: number;
  readonly handles: readonly LabelsHandle[];
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** One sample to append to the series that carries `labels`; `value` is NaN where it is a histogram. */
export interface SampleToAppend {
  readonly labels: Labels;
  readonly timestampMs: number;
  readonly value: number;
  readonly histogram?: NativeHistogram;
}

/** Types of metrics in Prometheus' words. */
export type MetricType =
  | "counter"
  | "gauge"
  | "histogram"
  | "gaugehistogram"
  | "summary"
  | "info"
  | "stateset"
  | "unknown";

/** What Prometheus' `/api/v1/metadata` says of a metric. */
export interface MetricMetadata {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly unit: string;
}

/** Bit pattern of the NaN that marks a series as gone at a scrape. */
export const STALE_NAN_BITS = 0x7ff0_0000_0000_0002n;
