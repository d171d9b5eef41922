/**
 * Metric series as Prometheus knows them.
 */

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
  readonly values: Float64Array;
}

/** One sample to append to the series that carries `labels`. */
export interface SampleToAppend {
  readonly labels: Labels;
  readonly timestampMs: number;
  readonly value: number;
}

/** What Prometheus' `/api/v1/metadata` says of a metric. */
export interface MetricMetadata {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram" | "summary" | "unknown";
  readonly help: string;
  readonly unit: string;
}

/** Bit pattern of the NaN that marks a series as gone at a scrape. */
export const STALE_NAN_BITS = 0x7ff0_0000_0000_0002n;
