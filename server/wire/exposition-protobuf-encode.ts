/**
 * Metrics to Prometheus' protobuf format of expositions: delimited `io.prometheus.client.MetricFamily`.
 *
 * @see https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
 */

import {
  type BucketSpan,
  CUSTOM_BUCKETS_SCHEMA,
  cumulativeCustomCounts,
  type NativeHistogram,
} from "../model/histogram.ts";
import type { Labels } from "../model/series.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

/** Types of families that are written, with the format's number of each. */
const TYPE_NUMBERS = { untyped: 3, histogram: 4, gaugehistogram: 5 } as const;
/** Fields of a metric's histogram. */
const NEGATIVE = { span: 9, count: 11 } as const;
const POSITIVE = { span: 12, count: 14 } as const;
/** A span that shows that a histogram is a native one where nothing else does. */
const NO_BUCKETS: readonly BucketSpan[] = [{ offset: 0, length: 0 }];

/** Type of a family that is written. */
export type EncodedFamilyType = keyof typeof TYPE_NUMBERS;

/** What every metric has. */
interface MetricFrame {
  readonly labels: Labels;
  readonly timeMs: number;
}

/** Writes families metric by metric; what one call gives is whole. */
export class FamilyEncoder {
  readonly #out = new ProtobufWriter();

  /**
   * A metric as a field of its family: a number, or a histogram with float counts, one of custom buckets as the classic one it
   * stands for.
   */
  metric({ labels, timeMs }: MetricFrame, value: number | NativeHistogram): Uint8Array {
    const out = this.#out;
    const opened = out.openMessage(4);
    for (const [name, text] of labels) {
      const pair = out.openMessage(1);
      out.writeText(1, name);
      out.writeText(2, text);
      out.closeMessage(pair);
    }
    if (typeof value === "number") writeUntyped(out, value);
    out.writeInt64Number(6, timeMs);
    if (typeof value !== "number") writeHistogram(out, value);
    out.closeMessage(opened);
    return out.take();
  }

  /** What stands before the metrics of a family, of so many bytes together. */
  head(name: string, type: EncodedFamilyType, metricsBytes: number): Uint8Array {
    const out = this.#out;
    out.writeText(1, name);
    out.writeUint32(3, TYPE_NUMBERS[type]);
    const head = out.take();
    out.writeLength(head.length + metricsBytes);
    out.writeRaw(head);
    return out.take();
  }
}

function writeUntyped(out: ProtobufWriter, value: number): void {
  const opened = out.openMessage(5);
  out.writeDouble(1, value);
  out.closeMessage(opened);
}

function writeHistogram(out: ProtobufWriter, histogram: NativeHistogram): void {
  const isClassic = histogram.schema === CUSTOM_BUCKETS_SCHEMA;
  const opened = out.openMessage(7);
  out.writeDouble(2, histogram.sum);
  if (isClassic) writeClassicBuckets(out, histogram);
  out.writeDouble(4, histogram.count);
  if (!isClassic) writeNativeBuckets(out, histogram);
  out.closeMessage(opened);
}

/** The bucket up to infinity is what the count says. */
function writeClassicBuckets(out: ProtobufWriter, histogram: NativeHistogram): void {
  for (const [at, below] of cumulativeCustomCounts(histogram).entries()) {
    const opened = out.openMessage(3);
    out.writeDouble(2, histogram.customValues[at] as number); // in range: there is a count for each bound
    out.writeDouble(4, below);
    out.closeMessage(opened);
  }
}

function writeNativeBuckets(out: ProtobufWriter, histogram: NativeHistogram): void {
  const { zeroThreshold, zeroCount, positiveSpans, negativeSpans } = histogram;
  out.writeSint(5, histogram.schema);
  out.writeDouble(6, zeroThreshold);
  out.writeDouble(8, zeroCount);
  const isShown = zeroThreshold > 0 || zeroCount > 0 || positiveSpans.length > 0 || negativeSpans.length > 0;
  writeSide(out, NEGATIVE, negativeSpans, histogram.negativeCounts);
  writeSide(out, POSITIVE, isShown ? positiveSpans : NO_BUCKETS, histogram.positiveCounts);
}

function writeSide(
  out: ProtobufWriter,
  fields: typeof NEGATIVE | typeof POSITIVE,
  spans: readonly BucketSpan[],
  counts: Float64Array,
): void {
  for (const { offset, length } of spans) {
    const opened = out.openMessage(fields.span);
    out.writeSint(1, offset);
    out.writeUint32(2, length);
    out.closeMessage(opened);
  }
  for (const count of counts) out.writeDouble(fields.count, count);
}
