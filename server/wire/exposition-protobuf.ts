/**
 * Prometheus' protobuf format of answers to a scrape: delimited `io.prometheus.client.MetricFamily`.
 *
 * Families become the series that the text formats show. Native histograms are told as such only where asked for.
 *
 * @see https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
 */

import type { BucketSpan, NativeHistogram } from "../model/histogram.ts";
import type { MetricType } from "../model/series.ts";
import {
  type ExposedExemplar,
  type ExposedLabels,
  ExpositionError,
  type ExpositionSink,
  openMetricsFloat,
} from "./exposition.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readDouble,
  readInt64Number,
  readTag,
  readText,
  readUint64Number,
  readVarint32,
  readZigzag32,
  readZigzagNumber,
  skipField,
} from "./protobuf-reader.ts";
import { WireError } from "./wire-error.ts";

/** Which histograms are told. */
export interface HistogramChoice {
  readonly native: boolean;
  /** Buckets as series also where a histogram is told as a native one. */
  readonly alwaysClassic: boolean;
}

/** The tag of a family's metrics. */
const METRIC = 34;
const COUNTER = 0;
const SUMMARY = 2;
const HISTOGRAM = 4;
const GAUGE_HISTOGRAM = 5;
/** By the numbers of the format's `MetricType`. */
const TYPES: readonly MetricType[] = ["counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram"];
/** Labels, buckets, spans, quantiles and exemplars of one metric. */
const PARTS_MAX = 100_000;
/** UTF-16 units of the labels of all series that one metric makes, each label counting `LABEL_UNITS` more. */
const SERIES_UNITS_MAX = 4 * 2 ** 20;
const LABEL_UNITS = 16;

/** An answer in protobuf. */
export class ProtobufExposition {
  readonly #steps: Generator<undefined, void>;

  constructor(bytes: Uint8Array, choice: HistogramChoice, sink: ExpositionSink) {
    this.#steps = readFamilies(cursorOver(bytes), { choice, sink, budget: { parts: 0 } });
  }

  /**
   * Reads on for so many families, metrics and other fields of families.
   *
   * @returns Whether there is more to read.
   * @throws ExpositionError where the bytes leave the format; what stood before was told to the sink.
   */
  read(stepsMax: number): boolean {
    try {
      for (let steps = 0; steps < stepsMax; steps++) if (this.#steps.next().done === true) return false;
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new ExpositionError(`protobuf at byte ${error.offset}: ${error.message}`);
    }
    return true;
  }
}

interface Reading {
  readonly choice: HistogramChoice;
  readonly sink: ExpositionSink;
  /** What the metric at hand may still have of parts. */
  readonly budget: { parts: number };
}

interface Family {
  name: string;
  help: string;
  unit: string;
  type: number;
}

function* readFamilies(cursor: ProtobufCursor, reading: Reading): Generator<undefined, void> {
  while (cursor.at < cursor.end) {
    const outer = enterMessage(cursor);
    yield* readFamily(cursor, reading);
    leaveMessage(cursor, outer);
    yield;
  }
}

/** Metrics may stand before name and type, so that they are read in a second pass. */
function* readFamily(cursor: ProtobufCursor, reading: Reading): Generator<undefined, void> {
  const family: Family = { name: "", help: "", unit: "", type: COUNTER };
  const start = cursor.at;
  let metrics = 0;
  let lastAt = start;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) family.name = readText(cursor);
    else if (tag === 18) family.help = readText(cursor);
    else if (tag === 24) family.type = readVarint32(cursor);
    else if (tag === 42) family.unit = readText(cursor);
    else {
      if (tag === METRIC) {
        metrics++;
        lastAt = cursor.at;
      }
      skipField(cursor, tag);
    }
    yield;
  }
  const type = TYPES[family.type];
  if (type === undefined) throw new WireError(`metric type ${family.type} of ${family.name}`, cursor.at);
  if (family.name === "") throw new WireError("a metric family without a name", cursor.at);
  const { name, help, unit } = family;
  reading.sink.describe({ name, type, help, unit });
  const { end } = cursor;
  cursor.at = start;
  while (metrics > 0 && cursor.at <= lastAt) {
    const tag = readTag(cursor);
    if (tag === METRIC) {
      const outer = enterMessage(cursor);
      reading.budget.parts = PARTS_MAX;
      const metric = readMetric(cursor, reading.budget);
      if (unitsOf(metric) > SERIES_UNITS_MAX)
        throw new WireError("a metric has too many buckets of as long labels", cursor.at);
      tellMetric(metric, family, reading);
      leaveMessage(cursor, outer);
    } else skipField(cursor, tag);
    yield;
  }
  cursor.at = end;
}

/** What the labels of all its series take: each has all of them. */
function unitsOf({ labels, buckets }: Metric): number {
  const units = labels.reduce((sum, [name, value]) => sum + name.length + value.length + LABEL_UNITS, LABEL_UNITS);
  return units * (buckets.length + 1);
}

interface Bucket {
  readonly bound: number;
  readonly count: number;
  readonly exemplar: ExposedExemplar | undefined;
}

interface Side {
  readonly spans: BucketSpan[];
  readonly deltas: number[];
  readonly counts: number[];
}

/** A metric of any type; what its type does not use stays empty. */
interface Metric {
  readonly labels: ExposedLabels;
  timestampMs: number | undefined;
  value: number;
  count: number;
  floatCount: number;
  sum: number;
  readonly buckets: Bucket[];
  readonly exemplars: ExposedExemplar[];
  schema: number;
  zeroThreshold: number;
  zeroCount: number;
  floatZeroCount: number;
  readonly positive: Side;
  readonly negative: Side;
}

function readMetric(cursor: ProtobufCursor, budget: { parts: number }): Metric {
  const side = (): Side => ({ spans: [], deltas: [], counts: [] });
  const metric: Metric = {
    labels: [],
    timestampMs: undefined,
    value: 0,
    count: 0,
    floatCount: 0,
    sum: 0,
    buckets: [],
    exemplars: [],
    schema: 0,
    zeroThreshold: 0,
    zeroCount: 0,
    floatZeroCount: 0,
    positive: side(),
    negative: side(),
  };
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) {
      take(budget, 1, cursor);
      metric.labels.push(readPair(cursor));
    } else if (tag === 48) metric.timestampMs = readInt64Number(cursor) || undefined;
    else if (tag === 18 || tag === 26 || tag === 42) readSimple(cursor, metric, budget);
    else if (tag === 34) readSummary(cursor, metric, budget);
    else if (tag === 58) readHistogram(cursor, metric, budget);
    else skipField(cursor, tag);
  }
  return metric;
}

function readPair(cursor: ProtobufCursor): [string, string] {
  const pair: [string, string] = ["", ""];
  within(cursor, (tag) => {
    if (tag === 10) pair[0] = readText(cursor);
    else if (tag === 18) pair[1] = readText(cursor);
    else return false;
    return true;
  });
  return pair;
}

/** Reads fields of a message until its end; `read` gives false for those it does not know. */
function within(cursor: ProtobufCursor, read: (tag: number) => boolean): void {
  const outer = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (!read(tag)) skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
}

/** `Gauge`, `Counter` and `Untyped`. */
function readSimple(cursor: ProtobufCursor, metric: Metric, budget: { parts: number }): void {
  within(cursor, (tag) => {
    if (tag === 9) metric.value = readDouble(cursor);
    else if (tag === 18) metric.exemplars.push(readExemplar(cursor, budget));
    else return false;
    return true;
  });
}

function readSummary(cursor: ProtobufCursor, metric: Metric, budget: { parts: number }): void {
  within(cursor, (tag) => {
    if (tag === 8) metric.count = readUint64Number(cursor);
    else if (tag === 17) metric.sum = readDouble(cursor);
    else if (tag === 26) {
      take(budget, 1, cursor);
      let [bound, count] = [0, 0];
      within(cursor, (part) => {
        if (part === 9) bound = readDouble(cursor);
        else if (part === 17) count = readDouble(cursor);
        else return false;
        return true;
      });
      metric.buckets.push({ bound, count, exemplar: undefined });
    } else return false;
    return true;
  });
}

function readExemplar(cursor: ProtobufCursor, budget: { parts: number }): ExposedExemplar {
  take(budget, 1, cursor);
  const labels: ExposedLabels = [];
  let value = 0;
  let timestampMs: number | undefined;
  within(cursor, (tag) => {
    if (tag === 10) {
      take(budget, 1, cursor);
      labels.push(readPair(cursor));
    } else if (tag === 17) value = readDouble(cursor);
    else if (tag === 26) {
      let [seconds, nanoseconds] = [0, 0];
      within(cursor, (part) => {
        if (part === 8) seconds = readInt64Number(cursor);
        else if (part === 16) nanoseconds = readVarint32(cursor);
        else return false;
        return true;
      });
      timestampMs = seconds * 1000 + Math.floor(nanoseconds / 1e6);
    } else return false;
    return true;
  });
  return { labels, value, timestampMs };
}

function readHistogram(cursor: ProtobufCursor, metric: Metric, budget: { parts: number }): void {
  within(cursor, (tag) => {
    if (tag === 8) metric.count = readUint64Number(cursor);
    else if (tag === 33) metric.floatCount = readDouble(cursor);
    else if (tag === 17) metric.sum = readDouble(cursor);
    else if (tag === 26) metric.buckets.push(readBucket(cursor, budget));
    else if (tag === 40) metric.schema = readZigzag32(cursor);
    else if (tag === 49) metric.zeroThreshold = readDouble(cursor);
    else if (tag === 56) metric.zeroCount = readUint64Number(cursor);
    else if (tag === 65) metric.floatZeroCount = readDouble(cursor);
    else if (tag === 130) metric.exemplars.push(readExemplar(cursor, budget));
    else
      return (
        readSide(cursor, tag, { side: metric.negative, from: 9, budget }) ||
        readSide(cursor, tag, { side: metric.positive, from: 12, budget })
      );
    return true;
  });
}

/** Spans, deltas and counts, whose field numbers follow each other from `from` on. */
function readSide(
  cursor: ProtobufCursor,
  tag: number,
  { side, from, budget }: { readonly side: Side; readonly from: number; readonly budget: { parts: number } },
): boolean {
  const field = tag >>> 3;
  const wireType = tag & 7;
  if (field === from && wireType === 2) {
    take(budget, 1, cursor);
    let [offset, length] = [0, 0];
    within(cursor, (part) => {
      if (part === 8) offset = readZigzag32(cursor);
      else if (part === 16) length = readVarint32(cursor);
      else return false;
      return true;
    });
    side.spans.push({ offset, length });
    return true;
  }
  const read = field === from + 1 ? readZigzagNumber : field === from + 2 ? readDouble : undefined;
  if (read === undefined) return false;
  const into = read === readZigzagNumber ? side.deltas : side.counts;
  if (wireType !== 2) {
    take(budget, 1, cursor);
    into.push(read(cursor));
    return true;
  }
  const outer = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    take(budget, 1, cursor);
    into.push(read(cursor));
  }
  leaveMessage(cursor, outer);
  return true;
}

function readBucket(cursor: ProtobufCursor, budget: { parts: number }): Bucket {
  take(budget, 1, cursor);
  let [count, floatCount, bound] = [0, 0, 0];
  let exemplar: ExposedExemplar | undefined;
  within(cursor, (tag) => {
    if (tag === 8) count = readUint64Number(cursor);
    else if (tag === 33) floatCount = readDouble(cursor);
    else if (tag === 17) bound = readDouble(cursor);
    else if (tag === 26) exemplar = readExemplar(cursor, budget);
    else return false;
    return true;
  });
  return { bound, count: floatCount > 0 ? floatCount : count, exemplar };
}

function take(budget: { parts: number }, parts: number, cursor: ProtobufCursor): void {
  budget.parts -= parts;
  if (budget.parts < 0)
    throw new WireError(`a metric has more than ${PARTS_MAX} labels, buckets and exemplars`, cursor.at);
}

/** Tells the series of one metric, named as in the text formats. */
class MetricTeller {
  readonly #metric: Metric;
  readonly #name: string;
  readonly #sink: ExpositionSink;

  constructor(metric: Metric, name: string, sink: ExpositionSink) {
    this.#metric = metric;
    this.#name = name;
    this.#sink = sink;
  }

  tell(suffix: string, value: number, more: SeriesParts = {}): void {
    const labels: ExposedLabels = [["__name__", this.#name + suffix], ...this.#metric.labels];
    if (more.bound !== undefined) labels.push([more.bound[0], openMetricsFloat(more.bound[1])]);
    this.#sink.sample({
      key: JSON.stringify(labels),
      labels: () => labels,
      value,
      histogram: more.histogram,
      timestampMs: this.#metric.timestampMs,
      exemplars: more.exemplars ?? [],
    });
  }
}

interface SeriesParts {
  readonly bound?: readonly [label: string, bound: number];
  readonly exemplars?: readonly ExposedExemplar[];
  readonly histogram?: NativeHistogram;
}

function tellMetric(metric: Metric, family: Family, { sink, choice }: Reading): void {
  const teller = new MetricTeller(metric, family.name, sink);
  if (family.type === SUMMARY) {
    teller.tell("_count", metric.count);
    teller.tell("_sum", metric.sum);
    for (const { bound, count } of metric.buckets) teller.tell("", count, { bound: ["quantile", bound] });
  } else if (family.type === HISTOGRAM || family.type === GAUGE_HISTOGRAM) {
    if (choice.native && isNativeHistogram(metric)) {
      const exemplars = metric.exemplars.length > 0 ? metric.exemplars : bucketExemplars(metric);
      // Exemplars of native histograms are told apart by their time.
      const timed = exemplars.filter((each) => each.timestampMs !== undefined);
      teller.tell("", NaN, { histogram: nativeOf(metric, family.type === GAUGE_HISTOGRAM), exemplars: timed });
      if (!choice.alwaysClassic || metric.buckets.length === 0) return;
    }
    tellClassic(metric, teller);
  } else teller.tell("", metric.value, { exemplars: metric.exemplars });
}

function tellClassic(metric: Metric, teller: MetricTeller): void {
  const count = metric.floatCount > 0 ? metric.floatCount : metric.count;
  teller.tell("_count", count);
  teller.tell("_sum", metric.sum);
  for (const { bound, count: upTo, exemplar } of metric.buckets) {
    teller.tell("_bucket", upTo, { bound: ["le", bound], exemplars: exemplar === undefined ? [] : [exemplar] });
  }
  if (metric.buckets.at(-1)?.bound !== Infinity) teller.tell("_bucket", count, { bound: ["le", Infinity] });
}

function bucketExemplars(metric: Metric): readonly ExposedExemplar[] {
  return metric.buckets.flatMap(({ exemplar }) => exemplar ?? []);
}

/** A histogram that never saw anything shows that it is a native one by a span of no length or its zero bucket. */
function isNativeHistogram({ positive, negative, zeroThreshold, zeroCount }: Metric): boolean {
  return positive.spans.length > 0 || negative.spans.length > 0 || zeroThreshold > 0 || zeroCount > 0;
}

function nativeOf(metric: Metric, isGauge: boolean): NativeHistogram {
  const isFloat =
    metric.floatCount > 0 ||
    metric.floatZeroCount > 0 ||
    metric.positive.counts.length > 0 ||
    metric.negative.counts.length > 0;
  const counts = ({ deltas, counts: floats }: Side): Float64Array => {
    if (isFloat) return Float64Array.from(floats);
    let count = 0;
    return Float64Array.from(deltas, (delta) => {
      count += delta;
      return count;
    });
  };
  return {
    schema: metric.schema,
    zeroThreshold: metric.zeroThreshold,
    zeroCount: isFloat ? metric.floatZeroCount : metric.zeroCount,
    count: isFloat ? metric.floatCount : metric.count,
    sum: metric.sum,
    positiveSpans: metric.positive.spans,
    positiveCounts: counts(metric.positive),
    negativeSpans: metric.negative.spans,
    negativeCounts: counts(metric.negative),
    customValues: new Float64Array(0),
    resetHint: isGauge ? "gauge" : "unknown",
    integer: !isFloat,
  };
}
