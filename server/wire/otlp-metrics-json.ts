/**
 * OTLP ExportMetricsServiceRequest (equally MetricsData) in JSON → series.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */

import type { Attribute } from "../model/span-batch.ts";
import { readKeyValueJson } from "./any-value-json.ts";
import type { JsonCursor } from "./json-reader.ts";
import {
  firstElement,
  firstKey,
  nextElement,
  nextKey,
  readBigInt,
  readBoolean,
  readDoubleJson,
  readString,
  readUint32Json,
  skipNull,
  skipValue,
} from "./json-reader.ts";
import {
  type MetricDecodeOutcome,
  type MetricKind,
  type MetricPoint,
  MetricSeries,
  millisecondsOf,
  newPoint,
  type PointExemplar,
} from "./metric-series.ts";
import { readEnvelopeJson } from "./otlp-envelope.ts";
import { readEnumNumber, readHexBytes, UINT64_MAX } from "./otlp-json-values.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "./otlp-translation.ts";
import { labelUnits, SERIES_UNITS, takeBuckets, takeUnits } from "./wire-budget.ts";

const NAMES = { resources: "resourceMetrics", scopes: "scopeMetrics", items: "metrics" };
const TEMPORALITY_NAMES = [
  "AGGREGATION_TEMPORALITY_UNSPECIFIED",
  "AGGREGATION_TEMPORALITY_DELTA",
  "AGGREGATION_TEMPORALITY_CUMULATIVE",
];
const CUMULATIVE = 2;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const INT32_MIN = -(2n ** 31n);
const INT32_MAX = 2n ** 31n - 1n;

/** Members of a metric that hold its data, and what they are. */
const KINDS: ReadonlyMap<string, MetricKind["kind"]> = new Map([
  ["gauge", "gauge"],
  ["sum", "sum"],
  ["histogram", "histogram"],
  ["exponentialHistogram", "exponential"],
  ["summary", "summary"],
]);

/** One a thread: a request is decoded in one turn. */
const series = new MetricSeries();

/** Decodes a whole request. Never throws on input; bytes that are not OTLP JSON give `malformed`. */
export function decodeMetricsJson(
  bytes: Uint8Array,
  translation: OtlpTranslation = DEFAULT_TRANSLATION,
): MetricDecodeOutcome {
  series.begin(translation);
  const outcome = readEnvelopeJson(bytes, NAMES, series, readMetric);
  const sealed = outcome.kind === "malformed" ? outcome : series.seal(outcome);
  // Lets go of what it made, which may be a lot.
  series.begin(translation);
  return sealed;
}

/** Points say nothing without name and kind, which may stand behind them: they are passed over and read at the end. */
function readMetric(cursor: JsonCursor): void {
  if (skipNull(cursor)) return;
  const texts = { name: "", unit: "", help: "" };
  let kind: MetricKind["kind"] | undefined;
  let start = 0;
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    const found = KINDS.get(name);
    if (name === "name") texts.name = readString(cursor);
    else if (name === "description") texts.help = readString(cursor);
    else if (name === "unit") texts.unit = readString(cursor);
    else {
      if (found !== undefined) {
        kind = found;
        start = cursor.at;
      }
      skipValue(cursor);
    }
  }
  if (kind === undefined) return;
  const end = cursor.at;
  cursor.at = start;
  readValues(cursor, kind, texts);
  cursor.at = end;
}

function readValues(
  cursor: JsonCursor,
  kind: MetricKind["kind"],
  texts: { readonly name: string; readonly unit: string; readonly help: string },
): void {
  const hasTemporality = kind !== "gauge" && kind !== "summary";
  let temporality = hasTemporality ? 0 : CUMULATIVE;
  let monotonic = false;
  const starts: number[] = [];
  let points = 0;
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "aggregationTemporality" && hasTemporality) temporality = readEnumNumber(cursor, TEMPORALITY_NAMES);
    else if (name === "isMonotonic" && kind === "sum") monotonic = readBoolean(cursor);
    else {
      if (name === "dataPoints") {
        starts.push(cursor.at);
        points += countElements(cursor);
      } else skipValue(cursor);
    }
  }
  series.beginMetric({ kind, monotonic, temporality }, texts, points);
  for (const start of starts) {
    cursor.at = start;
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) readPoint(cursor, kind);
  }
}

/** Passes over a list. */
function countElements(cursor: JsonCursor): number {
  let count = 0;
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    skipValue(cursor);
    count++;
  }
  return count;
}

/** `null` in a list is an empty message. */
function readPoint(cursor: JsonCursor, kind: MetricKind["kind"]): void {
  const point = newPoint();
  if (!skipNull(cursor)) {
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (!skipNull(cursor)) readPointMember(cursor, name, kind, point);
    }
  }
  series.point(point);
}

function readPointMember(cursor: JsonCursor, name: string, kind: MetricKind["kind"], point: MetricPoint): void {
  if (name === "attributes") readAttributes(cursor, point.attributes);
  else if (name === "startTimeUnixNano") point.startMs = readTime(cursor);
  else if (name === "timeUnixNano") point.timeMs = readTime(cursor);
  else if (name === "flags") point.flags = readUint32Json(cursor);
  else if (name === "exemplars" && kind !== "summary") readExemplars(cursor, point);
  else if (kind === "gauge" || kind === "sum") readNumberMember(cursor, name, point);
  else if (name === "count") point.count = readCount(cursor);
  else if (name === "sum") {
    point.sum = readDoubleJson(cursor);
    point.sentSum = point.sum;
  } else if (kind === "histogram") readHistogramMember(cursor, name, point);
  else if (kind === "exponential") readExponentialMember(cursor, name, point);
  else if (name === "quantileValues") readQuantiles(cursor, point);
  else skipValue(cursor);
}

function readNumberMember(cursor: JsonCursor, name: string, point: { value: number | undefined }): void {
  if (name === "asDouble") point.value = readDoubleJson(cursor);
  else if (name === "asInt") point.value = Number(readBigInt(cursor, INT64_MIN, INT64_MAX));
  else skipValue(cursor);
}

function readHistogramMember(cursor: JsonCursor, name: string, point: MetricPoint): void {
  if (name === "bucketCounts") readNumbers(cursor, point.buckets, readCount);
  else if (name === "explicitBounds") readNumbers(cursor, point.bounds, readDoubleJson);
  else skipValue(cursor);
}

function readExponentialMember(cursor: JsonCursor, name: string, point: MetricPoint): void {
  if (name === "scale") point.scale = readInt32(cursor);
  else if (name === "zeroCount") point.zeroCount = readCount(cursor);
  else if (name === "zeroThreshold") point.zeroThreshold = readDoubleJson(cursor);
  else if (name === "positive") readDense(cursor, point.positive);
  else if (name === "negative") readDense(cursor, point.negative);
  else skipValue(cursor);
}

function readDense(cursor: JsonCursor, buckets: MetricPoint["positive"]): void {
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "offset") buckets.offset = readInt32(cursor);
    else if (name === "bucketCounts") readNumbers(cursor, buckets.counts, readCount);
    else skipValue(cursor);
  }
}

function readQuantiles(cursor: JsonCursor, { quantiles }: MetricPoint): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    // Each becomes a series.
    takeUnits(series.budget, SERIES_UNITS, cursor.at);
    let quantile = 0;
    let value = 0;
    if (!skipNull(cursor)) {
      for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
        if (skipNull(cursor)) continue;
        if (name === "quantile") quantile = readDoubleJson(cursor);
        else if (name === "value") value = readDoubleJson(cursor);
        else skipValue(cursor);
      }
    }
    quantiles.push([quantile, value]);
  }
}

function readExemplars(cursor: JsonCursor, { exemplars }: MetricPoint): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    takeUnits(series.budget, 1, cursor.at);
    const exemplar: PointExemplar = { timeMs: 0, value: undefined, traceId: "", spanId: "", attributes: [] };
    if (!skipNull(cursor)) {
      for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
        if (!skipNull(cursor)) readExemplarMember(cursor, name, exemplar);
      }
    }
    exemplars.push(exemplar);
  }
}

function readExemplarMember(cursor: JsonCursor, name: string, exemplar: PointExemplar): void {
  if (name === "timeUnixNano") exemplar.timeMs = readTime(cursor);
  else if (name === "traceId") exemplar.traceId = idOf(readHexBytes(cursor), 16);
  else if (name === "spanId") exemplar.spanId = idOf(readHexBytes(cursor), 8);
  else if (name === "filteredAttributes") readAttributes(cursor, exemplar.attributes);
  else readNumberMember(cursor, name, exemplar);
}

function readAttributes(cursor: JsonCursor, attributes: Attribute[]): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (skipNull(cursor)) continue;
    const start = cursor.at;
    attributes.push(readKeyValueJson(cursor));
    takeUnits(series.budget, labelUnits(cursor.at - start), start);
  }
}

function readNumbers(cursor: JsonCursor, into: number[], read: (cursor: JsonCursor) => number): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    takeBuckets(series.budget, 1, cursor.at);
    into.push(skipNull(cursor) ? 0 : read(cursor));
  }
}

function readTime(cursor: JsonCursor): number {
  return millisecondsOf(readBigInt(cursor, 0n, UINT64_MAX));
}

function readCount(cursor: JsonCursor): number {
  return Number(readBigInt(cursor, 0n, UINT64_MAX));
}

function readInt32(cursor: JsonCursor): number {
  return Number(readBigInt(cursor, INT32_MIN, INT32_MAX));
}

/** Hex of an id; empty where it is of a wrong length or zero. */
function idOf(bytes: Uint8Array, length: number): string {
  return bytes.length === length && bytes.some((byte) => byte !== 0) ? Buffer.from(bytes).toString("hex") : "";
}
