/**
 * OTLP ExportMetricsServiceRequest (equally MetricsData) in protobuf → series.
 *
 * @see https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto
 */

import { readKeyValue } from "./any-value.ts";
import {
  type MetricDecodeOutcome,
  type MetricKind,
  type MetricPoint,
  MetricSeries,
  millisecondsOf,
  newPoint,
  type PointExemplar,
} from "./metric-series.ts";
import { readEnvelope } from "./otlp-envelope.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "./otlp-translation.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  enterMessage,
  leaveMessage,
  readByteView,
  readDouble,
  readFixed64,
  readLength,
  readTag,
  readText,
  readUint64Number,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { labelUnits, SERIES_UNITS, takeBuckets, takeUnits } from "./wire-budget.ts";

/** One a thread: a request is decoded in one turn. */
const series = new MetricSeries();
const CUMULATIVE = 2;

/** Fields of Metric that hold its data, and what they are. */
const KINDS: ReadonlyMap<number, MetricKind["kind"]> = new Map([
  [42, "gauge"],
  [58, "sum"],
  [74, "histogram"],
  [82, "exponential"],
  [90, "summary"],
]);

/** Decodes a whole request. Never throws on input; bytes that are not protobuf give `malformed`. */
export function decodeMetrics(
  bytes: Uint8Array,
  translation: OtlpTranslation = DEFAULT_TRANSLATION,
): MetricDecodeOutcome {
  series.begin(translation);
  const outcome = readEnvelope(bytes, series, readMetric);
  const sealed = outcome.kind === "malformed" ? outcome : series.seal(outcome);
  // Lets go of what it made, which may be a lot.
  series.begin(translation);
  return sealed;
}

/** Points say nothing without name and kind, which may stand behind them. */
function readMetric(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  const texts = { name: "", unit: "", help: "" };
  let kind: MetricKind["kind"] | undefined;
  /** Of one oneof the last member counts; a member that comes again goes on. */
  let starts: number[] = [];
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    const found = KINDS.get(tag);
    if (tag === 10) texts.name = readText(cursor);
    else if (tag === 18) texts.help = readText(cursor);
    else if (tag === 26) texts.unit = readText(cursor);
    else {
      if (found !== undefined) {
        takeUnits(series.budget, 1, cursor.at);
        if (found !== kind) {
          if (kind !== undefined) checkPoints(cursor, kind, starts);
          starts = [];
          kind = found;
        }
        starts.push(cursor.at);
      }
      if (tag === 98) readKeyValue(cursor);
      else skipField(cursor, tag);
    }
  }
  if (kind !== undefined) {
    const { points, ...read } = readKind(cursor, kind, starts);
    series.beginMetric(read, texts, points);
    for (const start of starts) {
      cursor.at = start;
      readPoints(cursor, kind, (point) => series.point(point));
    }
  }
  leaveMessage(cursor, outerEnd);
}

/** Data that another kind takes the place of must be readable all the same. */
function checkPoints(cursor: ProtobufCursor, kind: MetricKind["kind"], starts: readonly number[]): void {
  const { at } = cursor;
  for (const start of starts) {
    cursor.at = start;
    readPoints(cursor, kind, () => {});
  }
  cursor.at = at;
}

/** What a metric is, and how many points it has. */
function readKind(
  cursor: ProtobufCursor,
  kind: MetricKind["kind"],
  starts: readonly number[],
): MetricKind & { readonly points: number } {
  const hasTemporality = kind !== "gauge" && kind !== "summary";
  let temporality = hasTemporality ? 0 : CUMULATIVE;
  let monotonic = false;
  let points = 0;
  for (const start of starts) {
    cursor.at = start;
    const outerEnd = enterMessage(cursor);
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === 16 && hasTemporality) temporality = readVarint32(cursor);
      else if (tag === 24 && kind === "sum") monotonic = readUint64Number(cursor) !== 0;
      else {
        if (tag === 10) points++;
        skipField(cursor, tag);
      }
    }
    leaveMessage(cursor, outerEnd);
  }
  return { kind, monotonic, temporality, points };
}

function readPoints(cursor: ProtobufCursor, kind: MetricKind["kind"], take: (point: MetricPoint) => void): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) take(readPoint(cursor, kind));
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readPoint(cursor: ProtobufCursor, kind: MetricKind["kind"]): MetricPoint {
  const outerEnd = enterMessage(cursor);
  const point = newPoint();
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (kind === "exponential") readExponentialField(cursor, tag, point);
    else if (tag === 17) point.startMs = millisecondsOf(readFixed64(cursor));
    else if (tag === 25) point.timeMs = millisecondsOf(readFixed64(cursor));
    else if (kind === "histogram") readHistogramField(cursor, tag, point);
    else if (kind === "summary") readSummaryField(cursor, tag, point);
    else readNumberField(cursor, tag, point);
  }
  leaveMessage(cursor, outerEnd);
  return point;
}

function readNumberField(cursor: ProtobufCursor, tag: number, point: MetricPoint): void {
  if (tag === 33) point.value = readDouble(cursor);
  else if (tag === 49) point.value = Number(BigInt.asIntN(64, readFixed64(cursor)));
  else if (tag === 42) point.exemplars.push(readExemplar(cursor));
  else if (tag === 58) readAttribute(cursor, point);
  else if (tag === 64) point.flags = readVarint32(cursor);
  else skipField(cursor, tag);
}

function readHistogramField(cursor: ProtobufCursor, tag: number, point: MetricPoint): void {
  if (tag === 33) point.count = Number(readFixed64(cursor));
  else if (tag === 41) point.sentSum = readDouble(cursor);
  else if (tag === 49) readNumber(cursor, point.buckets, readFixed64Number);
  else if (tag === 50) readPacked(cursor, point.buckets, readFixed64Number);
  else if (tag === 57) readNumber(cursor, point.bounds, readDouble);
  else if (tag === 58) readPacked(cursor, point.bounds, readDouble);
  else if (tag === 66) point.exemplars.push(readExemplar(cursor));
  else if (tag === 74) readAttribute(cursor, point);
  else if (tag === 80) point.flags = readVarint32(cursor);
  else skipField(cursor, tag);
}

function readSummaryField(cursor: ProtobufCursor, tag: number, point: MetricPoint): void {
  if (tag === 33) point.count = Number(readFixed64(cursor));
  else if (tag === 41) point.sum = readDouble(cursor);
  else if (tag === 50) readQuantile(cursor, point);
  else if (tag === 58) readAttribute(cursor, point);
  else if (tag === 64) point.flags = readVarint32(cursor);
  else skipField(cursor, tag);
}

function readExponentialField(cursor: ProtobufCursor, tag: number, point: MetricPoint): void {
  switch (tag) {
    case 10:
      readAttribute(cursor, point);
      return;
    case 17:
      point.startMs = millisecondsOf(readFixed64(cursor));
      return;
    case 25:
      point.timeMs = millisecondsOf(readFixed64(cursor));
      return;
    case 33:
      point.count = Number(readFixed64(cursor));
      return;
    case 41:
      point.sentSum = readDouble(cursor);
      return;
    case 48:
      point.scale = readSint32(cursor);
      return;
    case 57:
      point.zeroCount = Number(readFixed64(cursor));
      return;
    case 66:
      readDense(cursor, point.positive);
      return;
    case 74:
      readDense(cursor, point.negative);
      return;
    case 80:
      point.flags = readVarint32(cursor);
      return;
    case 90:
      point.exemplars.push(readExemplar(cursor));
      return;
    case 113:
      point.zeroThreshold = readDouble(cursor);
      return;
    default:
      skipField(cursor, tag);
  }
}

function readAttribute(cursor: ProtobufCursor, { attributes }: { attributes: MetricPoint["attributes"] }): void {
  const start = cursor.at;
  attributes.push(readKeyValue(cursor));
  takeUnits(series.budget, labelUnits(cursor.at - start), start);
}

function readQuantile(cursor: ProtobufCursor, { quantiles }: MetricPoint): void {
  // Each becomes a series.
  takeUnits(series.budget, SERIES_UNITS, cursor.at);
  const outerEnd = enterMessage(cursor);
  let quantile = 0;
  let value = 0;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 9) quantile = readDouble(cursor);
    else if (tag === 17) value = readDouble(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  quantiles.push([quantile, value]);
}

function readDense(cursor: ProtobufCursor, buckets: MetricPoint["positive"]): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 8) buckets.offset = readSint32(cursor);
    else if (tag === 16) readNumber(cursor, buckets.counts, readUint64Number);
    else if (tag === 18) readPacked(cursor, buckets.counts, readUint64Number);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readExemplar(cursor: ProtobufCursor): PointExemplar {
  takeUnits(series.budget, 1, cursor.at);
  const outerEnd = enterMessage(cursor);
  const exemplar: PointExemplar = { timeMs: 0, value: undefined, traceId: "", spanId: "", attributes: [] };
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 17) exemplar.timeMs = millisecondsOf(readFixed64(cursor));
    else if (tag === 25) exemplar.value = readDouble(cursor);
    else if (tag === 34) exemplar.spanId = idOf(readByteView(cursor), 8);
    else if (tag === 42) exemplar.traceId = idOf(readByteView(cursor), 16);
    else if (tag === 49) exemplar.value = Number(BigInt.asIntN(64, readFixed64(cursor)));
    else if (tag === 58) readAttribute(cursor, exemplar);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  return exemplar;
}

/** Hex of an id; empty where it is of a wrong length or zero. */
function idOf(bytes: Uint8Array, length: number): string {
  if (bytes.length !== length || bytes.every((byte) => byte === 0)) return "";
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** A zigzag number of 32 bits. */
function readSint32(cursor: ProtobufCursor): number {
  const value = readVarint32(cursor);
  return (value >>> 1) ^ -(value & 1);
}

function readFixed64Number(cursor: ProtobufCursor): number {
  return Number(readFixed64(cursor));
}

function readNumber(cursor: ProtobufCursor, into: number[], read: (cursor: ProtobufCursor) => number): void {
  takeBuckets(series.budget, 1, cursor.at);
  into.push(read(cursor));
}

function readPacked(cursor: ProtobufCursor, into: number[], read: (cursor: ProtobufCursor) => number): void {
  const end = readLength(cursor);
  const outerEnd = cursor.end;
  cursor.end = end;
  while (cursor.at < end) readNumber(cursor, into, read);
  leaveMessage(cursor, outerEnd);
}
