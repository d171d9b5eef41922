/**
 * What StatsD's senders told so far, as the series Prometheus would scrape of it.
 *
 * Counters only grow, gauges keep their last value, timers (in seconds) and distributions are classic histograms, sets are
 * gauges of how many members were told apart since the last time.
 */

import type { Labels, MetricMetadata, SeriesToAppend } from "../model/series.ts";
import type { RemoteWrite } from "../wire/remote-write.ts";
import { checkLabels } from "../wire/series-labels.ts";
import type { StatsdSample, StatsdType } from "./statsd-line.ts";

/** Metrics with their tags that are remembered. */
const STATSD_SERIES_MAX = 20_000;
/** Members of all sets between two times. */
const MEMBERS_MAX = 200_000;
/** Metrics that were not told for so long are forgotten, and end. */
const IDLE_MS = 3_600_000;
/** Upper bounds of buckets; of timers in seconds. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

interface Metric {
  readonly kind: "counter" | "gauge" | "histogram" | "set";
  readonly labels: readonly Labels[];
  readonly name: string;
  value: number;
  sum: number;
  readonly buckets: Float64Array;
  readonly members: Set<string>;
  lastMs: number;
}

/** Why a sample is not taken, in the words of `thalweg_statsd_rejected_total`. */
export type StatsdRefusal = "series_max" | "members_max" | "labels" | "type";

/** All metrics. */
export class StatsdMetrics {
  readonly #metrics = new Map<string, Metric>();
  #members = 0;

  get size(): number {
    return this.#metrics.size;
  }

  /** Takes a sample; gives why not where it does not. */
  add(sample: StatsdSample, nowMs: number): StatsdRefusal | undefined {
    const key = JSON.stringify([sample.name, [...sample.tags].sort()]);
    let metric = this.#metrics.get(key);
    if (metric === undefined) {
      if (this.#metrics.size >= STATSD_SERIES_MAX) return "series_max";
      const made = metricOf(sample, nowMs);
      if (made === undefined) return "labels";
      metric = made;
      this.#metrics.set(key, metric);
    }
    if (metric.kind !== KINDS[sample.type]) return "type";
    if (metric.kind === "set" && !metric.members.has(sample.member)) {
      if (this.#members >= MEMBERS_MAX) return "members_max";
      this.#members++;
    }
    apply(metric, sample);
    metric.lastMs = nowMs;
    return undefined;
  }

  /** All series at a time; sets begin anew, and what was idle for an hour is forgotten. */
  collect(nowMs: number): RemoteWrite {
    const series: SeriesToAppend[] = [];
    const metadata: MetricMetadata[] = [];
    for (const [key, metric] of this.#metrics) {
      if (nowMs - metric.lastMs > IDLE_MS) {
        this.#metrics.delete(key);
        continue;
      }
      const type = metric.kind === "set" ? "gauge" : metric.kind;
      metadata.push({ name: metric.name, type, help: "", unit: "" });
      for (const [index, value] of valuesOf(metric).entries()) {
        const labels = metric.labels[index] ?? [];
        series.push({ labels, lasting: true, timestampsMs: Float64Array.of(nowMs), values: Float64Array.of(value) });
      }
      metric.members.clear();
    }
    this.#members = 0;
    return {
      version: 2,
      rows: undefined,
      series,
      metadata,
      received: { samples: series.length, histograms: 0, exemplars: 0 },
      staleHistograms: 0,
      rejected: new Map(),
      rejectedExemplars: new Map(),
      faults: [],
    };
  }
}

const KINDS: Readonly<Record<StatsdType, Metric["kind"]>> = {
  counter: "counter",
  gauge: "gauge",
  gauge_change: "gauge",
  timer: "histogram",
  distribution: "histogram",
  set: "set",
};

function apply(metric: Metric, sample: StatsdSample): void {
  switch (sample.type) {
    case "counter":
      // A counter that falls would be a reset.
      metric.value += Math.max(0, sample.value) * sample.weight;
      return;
    case "gauge":
      metric.value = sample.value;
      return;
    case "gauge_change":
      metric.value += sample.value;
      return;
    case "set":
      metric.members.add(sample.member);
      return;
    default: {
      const index = BOUNDS.findIndex((bound) => sample.value <= bound);
      const at = index === -1 ? BOUNDS.length : index;
      metric.buckets[at] = (metric.buckets[at] ?? 0) + sample.weight;
      metric.sum += sample.value * sample.weight;
      metric.value += sample.weight;
    }
  }
}

/** Values in the order of the metric's labels: of a histogram its buckets, sum and count. */
function valuesOf(metric: Metric): number[] {
  if (metric.kind === "set") return [metric.members.size];
  if (metric.kind !== "histogram") return [metric.value];
  let count = 0;
  const buckets = Array.from(metric.buckets, (each) => {
    count += each;
    return count;
  });
  return [...buckets, metric.sum, metric.value];
}

function metricOf(sample: StatsdSample, nowMs: number): Metric | undefined {
  const kind = KINDS[sample.type];
  const clean = cleanName(sample.name, /[^a-zA-Z0-9_:]/g);
  const name = sample.type === "timer" && !/seconds$/.test(clean) ? `${clean}_seconds` : clean;
  const tags = new Map([...sample.tags].map(([tag, value]) => [cleanName(tag, /[^a-zA-Z0-9_]/g), value]));
  const labels: Labels[] = [];
  const shapes: (readonly [suffix: string, bound?: string])[] =
    kind === "histogram"
      ? [...BOUNDS.map((bound) => ["_bucket", String(bound)] as const), ["_bucket", "+Inf"], ["_sum"], ["_count"]]
      : [[""]];
  for (const [suffix, bound] of shapes) {
    const pairs: [string, string][] = [...tags, ["__name__", name + suffix]];
    if (bound !== undefined) pairs.push(["le", bound === "+Inf" || bound.includes(".") ? bound : `${bound}.0`]);
    const checked = checkLabels(pairs, true);
    if (checked.fault !== undefined) return undefined;
    labels.push(checked.labels);
  }
  const buckets = new Float64Array(kind === "histogram" ? BOUNDS.length + 1 : 0);
  return { kind, labels, name, value: 0, sum: 0, buckets, members: new Set(), lastMs: nowMs };
}

function cleanName(name: string, others: RegExp): string {
  const clean = name.replace(others, "_");
  return /^\d/.test(clean) ? `_${clean}` : clean;
}
