/**
 * Metrics of OpenTelemetry → series of Prometheus, point by point while a request is read.
 *
 * Translated as Prometheus' OTLP receiver does, by default: names escaped with underscores and suffixed with units, `job` and
 * `instance` from the resource's service, its other attributes in `target_info`. Where Prometheus refuses a
 * whole request for one point, the point alone is left out and counted, as OTLP's partial success asks.
 *
 * Invariant: `received` = points that became series + the sum of `rejected`.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import {
  type Exemplar,
  type Labels,
  type MetricMetadata,
  type MetricType,
  type SeriesToAppend,
  STALE_NAN_BITS,
} from "../model/series.ts";
import type { Attribute, Scope } from "../model/span-batch.ts";
import { customHistogramOf, type ExponentialPoint, nativeHistogramOf, packedNumbers } from "./otlp-buckets.ts";
import type { MalformedBody } from "./otlp-envelope.ts";
import { exemplarLabels, named, OtlpLabels, TARGET_INFO, withLabel } from "./otlp-labels.ts";
import type { OtlpRest } from "./otlp-rest.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "./otlp-translation.ts";
import { plainDecimal, prometheusMetricName, prometheusUnit } from "./prometheus-names.ts";
import { RequestMetadata } from "./request-metadata.ts";
import { LABELS_MAX } from "./series-labels.ts";
import {
  EXEMPLAR_UNITS,
  HISTOGRAM_UNITS,
  needUnits,
  SERIES_UNITS,
  seriesUnits,
  takeUnits,
  type WireBudget,
  wireBudget,
} from "./wire-budget.ts";
import { WireError } from "./wire-error.ts";

/** `target_info` has a sample so often between the first and the last point: half of PromQL's usual lookback. */
const TARGET_INFO_EVERY_MS = 150_000;
/** Samples of `target_info` that one resource may make, the latest ones: three and a half days. */
const TARGET_INFO_SAMPLES_MAX = 2_016;
const HELP_UNITS_MAX = 4_096;
const NO_RECORDED_VALUE = 1;
const CUMULATIVE = 2;
const DELTA = 1;
/** Stands in `pointOf` for series that are no point's. */
export const NO_POINT = 0xffff_ffff;

const STALE = new Float64Array(BigUint64Array.of(STALE_NAN_BITS).buffer);
const NOT_A_FLOAT = Float64Array.of(Number.NaN);

/** Why a point is left out, in the words of `thalweg_ingest_rejected_total`. */
type PointRejectReason =
  | "temporality"
  | "metric_name"
  | "histogram_scale"
  | "labels_invalid"
  | "labels_duplicate"
  | "labels_limit"
  | "metadata_invalid";

/** What was mended rather than rejected. */
interface MetricRepairs {
  /** Strings with invalid UTF-8 or lone surrogates; U+FFFD stands in their place. */
  readonly text: number;
  /** Attribute values that were nested too deeply; what stood too deep is empty. */
  readonly values: number;
  /** Labels that several attributes of a point or resource became. */
  readonly labels: number;
  /** Names that metrics of different type or unit became. */
  readonly names: number;
}

/** What became of a request's bytes. */
export type MetricDecodeOutcome =
  | {
      readonly kind: "decoded";
      readonly series: readonly SeriesToAppend[];
      /** By series: the number of its point, or `NO_POINT`. */
      readonly pointOf: Uint32Array;
      readonly metadata: readonly MetricMetadata[];
      /** Points the request held. */
      readonly received: number;
      readonly rejected: ReadonlyMap<string, number>;
      /** Samples and histograms in `series`. */
      readonly samples: number;
      readonly histograms: number;
      /** Exemplars the request held, and those left out by reason. */
      readonly exemplars: number;
      readonly rejectedExemplars: ReadonlyMap<string, number>;
      /** What a person should know of, beside the counts: a few sentences at most. */
      readonly faults: readonly string[];
      readonly repaired: MetricRepairs;
    }
  | MalformedBody;

/** What a metric is. */
export interface MetricKind {
  readonly kind: "gauge" | "sum" | "histogram" | "exponential" | "summary";
  readonly monotonic: boolean;
  /** OTLP's number; `CUMULATIVE` where the kind has none. */
  readonly temporality: number;
}

/** An exemplar as it came. Ids are hex, empty where there is none. */
export interface PointExemplar {
  timeMs: number;
  /** Undefined where it has none. */
  value: number | undefined;
  traceId: string;
  spanId: string;
  attributes: Attribute[];
}

/** One data point of any kind; what its kind does not have stays as `newPoint` made it. */
export interface MetricPoint extends ExponentialPoint {
  attributes: Attribute[];
  startMs: number;
  timeMs: number;
  flags: number;
  value: number;
  count: number;
  /** Undefined where it was not sent. */
  sentSum: number | undefined;
  bounds: number[];
  buckets: number[];
  quantiles: (readonly [quantile: number, value: number])[];
  exemplars: PointExemplar[];
  sum: number;
  scale: number;
  zeroCount: number;
  zeroThreshold: number;
  positive: { offset: number; counts: number[] };
  negative: { offset: number; counts: number[] };
}

/** A point with every field at its default. */
export function newPoint(): MetricPoint {
  return {
    attributes: [],
    startMs: 0,
    timeMs: 0,
    flags: 0,
    value: 0,
    count: 0,
    sum: 0,
    sentSum: undefined,
    bounds: [],
    buckets: [],
    quantiles: [],
    exemplars: [],
    scale: 0,
    zeroCount: 0,
    zeroThreshold: 0,
    positive: { offset: 0, counts: [] },
    negative: { offset: 0, counts: [] },
  };
}

/** Milliseconds of Unix nanoseconds, as Go converts them: times beyond 63 bits become negative. */
export function millisecondsOf(unixNano: bigint): number {
  return Number(BigInt.asIntN(64, unixNano) / 1_000_000n);
}

/** Call `begin`, then resource, metric and point by point what the request holds, then `seal`. One request at a time. */
export class MetricSeries {
  /** What the request may still make; readers take buckets and labels of it. */
  budget: WireBudget = wireBudget();
  readonly #labels = new OtlpLabels();
  #series: SeriesToAppend[] = [];
  #pointOf: number[] = [];
  #metadata = new RequestMetadata();
  #rejected = new Map<string, number>();
  #rejectedExemplars = new Map<string, number>();
  #faults = new Set<string>();
  #translation: OtlpTranslation = DEFAULT_TRANSLATION;
  #received = 0;
  #samples = 0;
  #histograms = 0;
  #exemplars = 0;
  #earliestMs = Number.POSITIVE_INFINITY;
  #latestMs = Number.NEGATIVE_INFINITY;
  #targetInfoSeen = new Set<string>();
  #metric: MetricKind = { kind: "gauge", monotonic: false, temporality: CUMULATIVE };
  #name = "";
  /** Those of the series before: most that come together have the same. */
  #time = packedNumbers([0]);
  #start = packedNumbers([0]);
  /** Why no point of the metric at hand is taken. */
  #fault: PointRejectReason | undefined;

  begin(translation: OtlpTranslation): void {
    this.budget = wireBudget();
    this.#translation = translation;
    this.#labels.begin(translation, this.budget);
    this.#series = [];
    this.#pointOf = [];
    this.#metadata = new RequestMetadata();
    this.#rejected = new Map();
    this.#rejectedExemplars = new Map();
    this.#faults = new Set();
    this.#targetInfoSeen = new Set();
    this.#received = 0;
    this.#samples = 0;
    this.#histograms = 0;
    this.#exemplars = 0;
    this.#startResource([]);
  }

  keepResourceAttribute(attributes: Attribute[], attribute: Attribute): void {
    if (attributes.length < LABELS_MAX) attributes.push(attribute);
    else this.#faults.add(`a resource has more than ${LABELS_MAX} attributes; the first are kept`);
  }

  beginResource(attributes: Attribute[]): void {
    this.#tellTarget();
    this.#startResource(attributes);
  }

  get wantsWholeScopes(): boolean {
    return this.#translation.promoteScope;
  }

  beginScope(scope: Scope, rest?: OtlpRest): void {
    this.#labels.startScope(scope, rest);
  }

  amendResource(): void {}

  amendScope(): void {}

  /**
   * Begins a metric: `point` is called for each of its points.
   *
   * @param points How many there will be: where they are more than a request may make series of, none is made.
   */
  beginMetric(
    metric: MetricKind,
    texts: { readonly name: string; readonly unit: string; readonly help: string },
    points: number,
  ): void {
    this.#metric = metric;
    this.#fault = undefined;
    const named = metric.kind === "gauge" ? "gauge" : metric.kind === "sum" && metric.monotonic ? "counter" : "other";
    const name = prometheusMetricName(texts.name, texts.unit, named, this.#translation.strategy);
    if (metric.temporality !== CUMULATIVE && metric.temporality !== DELTA) this.#fault = "temporality";
    else if (name === undefined) this.#fault = "metric_name";
    this.#name = name ?? "";
    if (this.#fault === undefined) needUnits(this.budget, points * SERIES_UNITS, 0);
    if (this.#fault !== undefined) return;
    const help = texts.help.slice(0, HELP_UNITS_MAX);
    const metadata = { name: this.#name, type: typeOf(metric), help, unit: prometheusUnit(texts.unit) };
    this.#metadata.describe(metadata, texts.name);
    this.#labels.startMetric(metadata);
  }

  /** Takes a point, or counts why not. */
  point(point: MetricPoint): void {
    const number = this.#received++;
    this.#exemplars += point.exemplars.length;
    const reason = this.#fault ?? this.#take(point, number);
    if (reason === undefined) {
      this.#earliestMs = Math.min(this.#earliestMs, point.timeMs);
      this.#latestMs = Math.max(this.#latestMs, point.timeMs);
      return;
    }
    add(this.#rejected, reason, 1);
    add(this.#rejectedExemplars, reason, point.exemplars.length);
  }

  seal({
    textRepaired,
    valuesCut,
  }: {
    readonly textRepaired: number;
    readonly valuesCut: number;
  }): MetricDecodeOutcome {
    try {
      this.#tellTarget();
    } catch (error) {
      if (error instanceof WireError) return { kind: "malformed", reason: error.message, offset: error.offset };
      throw error;
    }
    return {
      kind: "decoded",
      series: this.#series,
      pointOf: Uint32Array.from(this.#pointOf),
      metadata: this.#metadata.all(),
      received: this.#received,
      rejected: this.#rejected,
      samples: this.#samples,
      histograms: this.#histograms,
      exemplars: this.#exemplars,
      rejectedExemplars: this.#rejectedExemplars,
      faults: [...this.#faults, ...this.#metadata.told, ...this.#labels.told],
      repaired: {
        text: textRepaired,
        values: valuesCut,
        labels: this.#labels.collisions,
        names: this.#metadata.mixed,
      },
    };
  }

  #startResource(attributes: Attribute[]): void {
    this.#labels.startResource(attributes);
    this.#earliestMs = Number.POSITIVE_INFINITY;
    this.#latestMs = Number.NEGATIVE_INFINITY;
  }

  /** @returns Why the point is left out. */
  #take(point: MetricPoint, number: number): PointRejectReason | undefined {
    const base = this.#labels.ofPoint(point.attributes, this.#name);
    if (typeof base === "string") return base;
    switch (this.#metric.kind) {
      case "gauge":
        add(this.#rejectedExemplars, "exemplar_series", point.exemplars.length);
        this.#append(number, base, point, point.value);
        return undefined;
      case "sum":
        this.#append(number, base, point, point.value, this.#exemplarsOf(point));
        return undefined;
      case "histogram":
        if (this.#translation.customBuckets) this.#appendCustom(number, base, point);
        else this.#appendHistogram(number, base, point);
        return undefined;
      case "summary":
        this.#appendSummary(number, base, point);
        return undefined;
      case "exponential":
        return this.#appendExponential(number, base, point);
    }
  }

  #appendHistogram(number: number, base: Labels, point: MetricPoint): void {
    const { sentSum, count, bounds, buckets } = point;
    if (sentSum !== undefined) this.#append(number, named(base, `${this.#name}_sum`), point, sentSum);
    this.#append(number, named(base, `${this.#name}_count`), point, count);
    const exemplars = this.#exemplarsOf(point);
    const bucketBase = named(base, `${this.#name}_bucket`);
    let below = 0;
    let nextExemplar = 0;
    for (let at = 0; at < bounds.length && at < buckets.length; at++) {
      const bound = bounds[at] ?? 0;
      below += buckets[at] ?? 0;
      // The last bucket is made of the count; a bound that says so too would write it twice.
      if (bound === Number.POSITIVE_INFINITY) continue;
      const from = nextExemplar;
      while (nextExemplar < exemplars.length && !((exemplars[nextExemplar]?.value ?? 0) > bound)) nextExemplar++;
      const inside = exemplars.slice(from, nextExemplar);
      this.#append(number, withLabel(bucketBase, "le", plainDecimal(bound)), point, below, inside);
    }
    this.#append(number, withLabel(bucketBase, "le", "+Inf"), point, count, exemplars.slice(nextExemplar));
  }

  #appendSummary(number: number, base: Labels, point: MetricPoint): void {
    add(this.#rejectedExemplars, "exemplar_series", point.exemplars.length);
    this.#append(number, named(base, `${this.#name}_sum`), point, point.sum);
    this.#append(number, named(base, `${this.#name}_count`), point, point.count);
    for (const [quantile, value] of point.quantiles) {
      this.#append(number, withLabel(base, "quantile", plainDecimal(quantile)), point, value);
    }
  }

  #appendExponential(number: number, base: Labels, point: MetricPoint): PointRejectReason | undefined {
    takeUnits(this.budget, HISTOGRAM_UNITS, 0);
    const histogram = nativeHistogramOf({ ...point, sum: point.sentSum ?? 0 });
    if (histogram === undefined) return "histogram_scale";
    this.#appendNative(number, base, point, histogram);
    return undefined;
  }

  #appendCustom(number: number, base: Labels, point: MetricPoint): void {
    takeUnits(this.budget, HISTOGRAM_UNITS, 0);
    this.#appendNative(number, base, point, customHistogramOf({ ...point, sum: point.sentSum ?? 0 }));
  }

  #appendNative(number: number, base: Labels, point: MetricPoint, histogram: NativeHistogram): void {
    const exemplars = this.#exemplarsOf(point);
    // A stale marker is a float, of histogram series too.
    if ((point.flags & NO_RECORDED_VALUE) !== 0) this.#append(number, base, point, 0, exemplars);
    else this.#push(number, base, point, { values: NOT_A_FLOAT, histogram, exemplars });
  }

  #append(number: number, labels: Labels, point: MetricPoint, value: number, exemplars?: readonly Exemplar[]): void {
    const isStale = (point.flags & NO_RECORDED_VALUE) !== 0;
    const values = isStale ? STALE : packedNumbers([value]);
    this.#push(number, labels, point, { values, histogram: undefined, exemplars });
  }

  #push(number: number, labels: Labels, { timeMs, startMs, flags }: MetricPoint, sample: NewSample): void {
    const { values, histogram, exemplars } = sample;
    takeUnits(this.budget, seriesUnits(labels.length), 0);
    if (histogram === undefined) this.#samples++;
    else this.#histograms++;
    this.#pointOf.push(number);
    this.#series.push({
      labels,
      timestampsMs: this.#timeOf(timeMs),
      values,
      histograms: histogram === undefined ? undefined : [histogram],
      startsMs: startMs === 0 ? undefined : this.#startOf(startMs),
      // Neither a stale marker nor what tells of a resource is a number to add.
      increments: number !== NO_POINT && this.#metric.temporality === DELTA && (flags & NO_RECORDED_VALUE) === 0,
      untold: number === NO_POINT,
      exemplars: exemplars === undefined || exemplars.length === 0 ? undefined : exemplars,
    });
  }

  #timeOf(timeMs: number): Float64Array {
    if (this.#time[0] !== timeMs) this.#time = packedNumbers([timeMs]);
    return this.#time;
  }

  #startOf(startMs: number): Float64Array {
    if (this.#start[0] !== startMs) this.#start = packedNumbers([startMs]);
    return this.#start;
  }

  /** In the order they came; those that cannot be kept are counted. A point without a value has none. */
  #exemplarsOf({ exemplars, timeMs, flags }: MetricPoint): Exemplar[] {
    if ((flags & NO_RECORDED_VALUE) !== 0) {
      add(this.#rejectedExemplars, "exemplar_series", exemplars.length);
      return [];
    }
    const made: Exemplar[] = [];
    for (const exemplar of exemplars) {
      takeUnits(this.budget, EXEMPLAR_UNITS, 0);
      const { value } = exemplar;
      const labels = exemplarLabels(exemplar);
      if (value === undefined) add(this.#rejectedExemplars, "exemplar_value", 1);
      else if (labels === undefined) add(this.#rejectedExemplars, "exemplar_labels", 1);
      // Prometheus takes one without a time as one of 1970, which nothing finds.
      else made.push({ labels, timestampMs: exemplar.timeMs === 0 ? timeMs : exemplar.timeMs, value });
    }
    return made;
  }

  /** Makes `target_info` of the resource whose points were read. */
  #tellTarget(): void {
    const labels = this.#latestMs < this.#earliestMs ? undefined : this.#labels.ofTarget();
    if (labels === undefined) return;
    if (typeof labels === "string") {
      this.#faults.add(`attributes of a resource cannot be labels of ${TARGET_INFO}: ${labels}`);
      return;
    }
    const identity = JSON.stringify(labels);
    const last = this.#latestMs;
    const first = Math.max(this.#earliestMs, last - TARGET_INFO_SAMPLES_MAX * TARGET_INFO_EVERY_MS);
    for (let timeMs = first; timeMs < last; timeMs += TARGET_INFO_EVERY_MS)
      this.#appendTarget(labels, identity, timeMs);
    this.#appendTarget(labels, identity, last);
    this.#metadata.describe({ name: TARGET_INFO, type: "gauge", help: "Target metadata", unit: "" }, TARGET_INFO);
  }

  /** Resources that differ only in what is no label have one `target_info`. */
  #appendTarget(labels: Labels, identity: string, timeMs: number): void {
    const key = `${timeMs} ${identity}`;
    if (this.#targetInfoSeen.has(key)) return;
    this.#targetInfoSeen.add(key);
    this.#append(NO_POINT, labels, { ...newPoint(), timeMs }, 1);
  }
}

interface NewSample {
  readonly values: Float64Array;
  readonly histogram: NativeHistogram | undefined;
  readonly exemplars: readonly Exemplar[] | undefined;
}

function typeOf({ kind, monotonic }: MetricKind): MetricType {
  switch (kind) {
    case "gauge":
      return "gauge";
    case "sum":
      return monotonic ? "counter" : "gauge";
    case "histogram":
    case "exponential":
      return "histogram";
    case "summary":
      return "summary";
  }
}

function add(counts: Map<string, number>, reason: string, count: number): void {
  if (count > 0) counts.set(reason, (counts.get(reason) ?? 0) + count);
}
