/**
 * Classic histograms of an answer become native ones with custom buckets (NHCB), as Prometheus does it: lines of one metric and
 * equal labels that follow each other are one histogram, unless a native one with these labels came right before.
 */

import { type BucketSpan, customHistogram, type NativeHistogram } from "../model/histogram.ts";
import { histogramFault } from "../model/histogram-validate.ts";
import type { MetricType } from "../model/series.ts";
import type { ExposedExemplar, ExposedLabels, ExposedMetadata, ExposedSample, ExpositionSink } from "./exposition.ts";

const METRIC_NAME = "__name__";
const BOUND = "le";
/** Empty buckets between others that stay in a span, of whole counts. */
const EMPTY_BUCKETS_MAX = 2;
/** Buckets of one histogram; one with more is left out, as are exemplars beyond so many. */
const BUCKETS_MAX = 10_000;

/** Lines of one histogram. */
interface Collected {
  readonly identity: string;
  readonly labels: ExposedLabels;
  readonly timestampMs: number | undefined;
  readonly buckets: { readonly bound: number; readonly count: number }[];
  readonly exemplars: ExposedExemplar[];
  count: number | undefined;
  sum: number;
  /** What its lines say contradicts itself. */
  isFaulty: boolean;
}

/** Stands between a reader and who takes its samples. `finish` must be called at the end of the answer. */
export class NhcbSink implements ExpositionSink {
  readonly #sink: ExpositionSink;
  readonly #keepsClassic: boolean;
  #type: MetricType | undefined;
  #name = "";
  #collected: Collected | undefined;
  /** Metric and labels of the native histogram that came last. */
  #native = "";

  /** @param keepsClassic Whether the classic series are handed on too. */
  constructor(sink: ExpositionSink, keepsClassic: boolean) {
    this.#sink = sink;
    this.#keepsClassic = keepsClassic;
  }

  describe(metadata: ExposedMetadata): void {
    this.finish();
    if (metadata.type !== undefined) {
      this.#type = metadata.type;
      this.#name = metadata.name;
    }
    this.#sink.describe(metadata);
  }

  sample(exposed: ExposedSample): void {
    if (exposed.histogram !== undefined) {
      this.finish();
      const labels = exposed.labels();
      this.#native = identityOf(nameOf(labels), labels);
      this.#sink.sample({ ...exposed, labels: () => labels });
      return;
    }
    if (this.#type !== "histogram") {
      this.finish();
      this.#sink.sample(exposed);
      return;
    }
    const labels = exposed.labels();
    const name = nameOf(labels);
    const suffix = ["_bucket", "_count", "_sum"].find((each) => name === this.#name + each);
    const identity = identityOf(this.#name, labels);
    if (this.#collected !== undefined && (suffix === undefined || this.#collected.identity !== identity)) this.finish();
    const isTaken =
      suffix !== undefined && identity !== this.#native && this.#collect(suffix, identity, labels, exposed);
    if (!isTaken) this.#sink.sample({ ...exposed, labels: () => labels });
    else if (this.#keepsClassic) {
      // Native histograms take none without a time.
      const exemplars = exposed.exemplars.filter(({ timestampMs }) => timestampMs === undefined);
      this.#sink.sample({ ...exposed, labels: () => labels, exemplars });
    }
  }

  /** Hands on what was collected. */
  finish(): void {
    const collected = this.#collected;
    this.#collected = undefined;
    if (collected === undefined) return;
    const histogram = histogramOf(collected);
    if (histogram === undefined || histogramFault(histogram) !== undefined) return;
    this.#sink.sample({
      key: `nhcb ${collected.identity}`,
      labels: () => collected.labels,
      value: Number.NaN,
      histogram,
      timestampMs: collected.timestampMs,
      exemplars: collected.exemplars,
    });
  }

  /** @returns False where the line is no part of a histogram. */
  #collect(suffix: string, identity: string, labels: ExposedLabels, exposed: ExposedSample): boolean {
    const text = labels.find(([name]) => name === BOUND)?.[1];
    const bound = suffix === "_bucket" ? boundOf(text) : undefined;
    if (suffix === "_bucket" && bound === undefined) return false;
    this.#collected ??= {
      identity,
      labels: [[METRIC_NAME, this.#name], ...labels.filter(([name]) => name !== METRIC_NAME && name !== BOUND)],
      timestampMs: exposed.timestampMs,
      buckets: [],
      exemplars: [],
      count: undefined,
      sum: 0,
      isFaulty: false,
    };
    const collected = this.#collected;
    if (collected.exemplars.length < BUCKETS_MAX) collected.exemplars.push(...exposed.exemplars);
    if (bound !== undefined) addBucket(collected, bound, exposed.value);
    else if (suffix === "_sum") collected.sum = exposed.value;
    else if (exposed.value < 0) collected.isFaulty = true;
    else collected.count = exposed.value;
    return true;
  }
}

function nameOf(labels: ExposedLabels): string {
  return labels.find(([name]) => name === METRIC_NAME)?.[1] ?? "";
}

/** Tells a metric with its labels, the bound of a bucket aside. */
function identityOf(metric: string, labels: ExposedLabels): string {
  const others = labels.filter(([name]) => name !== METRIC_NAME && name !== BOUND);
  return JSON.stringify([metric, ...others.sort(([a], [b]) => (a < b ? -1 : 1))]);
}

function boundOf(text: string | undefined): number | undefined {
  if (text === undefined || text.trim() === "") return undefined;
  if (/^\+?inf(inity)?$/i.test(text)) return Number.POSITIVE_INFINITY;
  if (/^-inf(inity)?$/i.test(text)) return Number.NEGATIVE_INFINITY;
  const bound = Number(text);
  return Number.isNaN(bound) ? undefined : bound;
}

/** Buckets mostly come in order of their bounds; one that comes twice counts once, the first time. */
function addBucket(collected: Collected, bound: number, count: number): void {
  const { buckets } = collected;
  let at = buckets.length;
  while (at > 0 && (buckets[at - 1]?.bound ?? 0) >= bound) at--;
  if (buckets[at]?.bound === bound) return;
  const before = buckets[at - 1]?.count ?? 0;
  const after = buckets[at]?.count ?? Number.POSITIVE_INFINITY;
  if (count < before || count > after || buckets.length >= BUCKETS_MAX) collected.isFaulty = true;
  else buckets.splice(at, 0, { bound, count });
}

function histogramOf({ buckets, count: told, sum, isFaulty }: Collected): NativeHistogram | undefined {
  const count = told ?? buckets.at(-1)?.count;
  if (isFaulty || count === undefined) return undefined;
  const all = [...buckets];
  if (all.at(-1)?.bound !== Number.POSITIVE_INFINITY) all.push({ bound: Number.POSITIVE_INFINITY, count });
  if (all.at(-1)?.count !== count) return undefined;
  const integer = all.every((bucket) => Number.isInteger(bucket.count)) && Number.isInteger(count);
  const counts = all.map((bucket, at) => bucket.count - (all[at - 1]?.count ?? 0));
  return customHistogram({
    count,
    sum,
    ...compact(counts, integer ? EMPTY_BUCKETS_MAX : 0),
    customValues: Float64Array.from(all.slice(0, -1), ({ bound }) => bound),
    integer,
  });
}

/** Spans without empty buckets at their ends, and with at most so many in a row inside. */
function compact(
  counts: readonly number[],
  emptyMax: number,
): Pick<NativeHistogram, "positiveSpans" | "positiveCounts"> {
  const spans: { offset: number; length: number }[] = [];
  const kept: number[] = [];
  let end = 0;
  for (const [at, count] of counts.entries()) {
    if (count === 0) continue;
    const last = spans.at(-1);
    if (last !== undefined && at - end <= emptyMax) {
      last.length += at - end + 1;
      for (; end < at; end++) kept.push(0);
    } else spans.push({ offset: at - end, length: 1 });
    kept.push(count);
    end = at + 1;
  }
  const positiveSpans: readonly BucketSpan[] = spans;
  return { positiveSpans, positiveCounts: Float64Array.from(kept) };
}
