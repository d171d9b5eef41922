/**
 * Prometheus histograms of latencies, classic and native, exact under weights and in any order of observation.
 *
 * Invariants: counts are whole numbers, not cumulative; classic buckets and native ones add up to the same count; the
 * sum is held as whole seconds and whole nanoseconds, so that the same calls give the same sum whatever their order,
 * before and after a restart.
 */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import type { SampleToAppend } from "../model/series.ts";
import { addLogCount, emptyLogCounts, type LogCounts, readLogCounts, writeLogCounts } from "./log-counts.ts";
import { NATIVE_ZERO, nativeHistogramOf, nativeSlotOf } from "./native-buckets.ts";
import { type LabelPairs, labelsOf } from "./series-labels.ts";

const NS_PER_SECOND = 1_000_000_000;

/** Upper bounds of a histogram, the last `+Inf` left out. */
export interface LatencyBounds {
  readonly ns: readonly number[];
  /** The same bounds as Prometheus prints them in `le`, in seconds, `+Inf` included. */
  readonly le: readonly string[];
}

/** Makes bounds from milliseconds in growing order. */
export function latencyBounds(boundsMs: readonly number[]): LatencyBounds {
  return {
    ns: boundsMs.map((ms) => ms * 1_000_000),
    le: [...boundsMs.map((ms) => String(ms / 1000)), "+Inf"],
  };
}

/** Counts of one series set; `counts[i]` is of latencies above bound `i-1` and at most bound `i`. */
export interface LatencyHistogram {
  readonly counts: Float64Array;
  /** By slot of `native-buckets.ts`. */
  readonly native: LogCounts;
  count: number;
  sumSeconds: number;
  /** Below 10^9. */
  sumNs: number;
}

/** A histogram without observations. */
export function emptyHistogram(bounds: LatencyBounds): LatencyHistogram {
  return { counts: new Float64Array(bounds.le.length), native: emptyLogCounts(), count: 0, sumSeconds: 0, sumNs: 0 };
}

/** Counts `weight` calls of `latencyNs` each. Returns their classic bucket. */
export function observeLatency(
  histogram: LatencyHistogram,
  bounds: LatencyBounds,
  latencyNs: number,
  weight: number,
): number {
  const { ns } = bounds;
  let at = 0;
  while (at < ns.length && latencyNs > (ns[at] ?? 0)) at++;
  histogram.counts[at] = (histogram.counts[at] ?? 0) + weight;
  histogram.count += weight;
  addLogCount(histogram.native, nativeSlotOf(latencyNs), weight);
  const seconds = Math.floor(latencyNs / NS_PER_SECOND);
  const ns1 = histogram.sumNs + (latencyNs - seconds * NS_PER_SECOND) * weight;
  const carry = Math.floor(ns1 / NS_PER_SECOND);
  histogram.sumSeconds += seconds * weight + carry;
  histogram.sumNs = ns1 - carry * NS_PER_SECOND;
  return at;
}

/** Appends the samples of `NAME_bucket`, `NAME_sum`, `NAME_count` and the native `NAME`; `zero` writes them all as 0. */
export class HistogramSeries {
  readonly #labels: {
    buckets: SampleToAppend["labels"][];
    sum: SampleToAppend["labels"];
    count: SampleToAppend["labels"];
    native: SampleToAppend["labels"];
  };

  /** @param labels Labels beside `__name__` and `le`. */
  constructor(name: string, labels: LabelPairs, bounds: LatencyBounds) {
    this.#labels = {
      buckets: bounds.le.map((le) => labelsOf(`${name}_bucket`, [...labels, ["le", le]])),
      sum: labelsOf(`${name}_sum`, labels),
      count: labelsOf(`${name}_count`, labels),
      native: labelsOf(name, labels),
    };
  }

  /** Labels of a bucket's series. */
  bucketLabels(bucket: number): SampleToAppend["labels"] {
    return this.#labels.buckets[bucket] ?? [];
  }

  push(out: SampleToAppend[], histogram: LatencyHistogram, timestampMs: number, zero: boolean): void {
    let below = 0;
    for (const [at, labels] of this.#labels.buckets.entries()) {
      below += histogram.counts[at] ?? 0;
      out.push({ labels, timestampMs, value: zero ? 0 : below });
    }
    const sum = histogram.sumSeconds + histogram.sumNs / NS_PER_SECOND;
    out.push({ labels: this.#labels.sum, timestampMs, value: zero ? 0 : sum });
    out.push({ labels: this.#labels.count, timestampMs, value: zero ? 0 : histogram.count });
    const native = zero ? NATIVE_ZERO : nativeHistogramOf(histogram.native, histogram.count, sum);
    out.push({ labels: this.#labels.native, timestampMs, value: Number.NaN, histogram: native });
  }
}

/** Writes counts and sum; `readHistogram` reads them with the same bounds. */
export function writeHistogram(out: ByteWriter, histogram: LatencyHistogram): void {
  for (const count of histogram.counts) out.varint(count);
  out.varint(histogram.sumSeconds);
  out.varint(histogram.sumNs);
  writeLogCounts(out, histogram.native);
}

/** Reads what `writeHistogram` wrote. Throws BytesEndError where bytes are missing. */
export function readHistogram(reader: ByteReader, bounds: LatencyBounds): LatencyHistogram {
  const counts = new Float64Array(bounds.le.length);
  let count = 0;
  for (const at of counts.keys()) {
    const own = reader.varint();
    counts[at] = own;
    count += own;
  }
  const sumSeconds = reader.varint();
  const sumNs = reader.varint();
  return { counts, native: readLogCounts(reader), count, sumSeconds, sumNs };
}
