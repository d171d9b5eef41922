/**
 * Remote write as a sender writes it.
 *
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec/
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
 */

import type { Exemplar, Labels, MetricMetadata, MetricType, SeriesSamples } from "../model/series.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { type SampleFields, writeLabels, writeSamples } from "./remote-read-encode.ts";

/** Field numbers that the versions do not share. */
const SERIES_1 = 1;
const EXEMPLARS_1 = 3;
const METADATA_1 = 3;
const SYMBOLS_2 = 4;
const SERIES_2 = 5;
const EXEMPLARS_2 = 4;
const METADATA_2 = 5;
const SERIES_LABELS = 1;
const EXEMPLAR_LABELS = 1;
const EXEMPLAR_VALUE = 2;
const EXEMPLAR_TIMESTAMP = 3;
const FIELDS_1: SampleFields = { histograms: 4 };
const FIELDS_2: SampleFields = { histograms: 3, sampleStart: 3, histogramStart: 17 };
/** By their numbers in both versions. */
const TYPES: readonly MetricType[] = [
  "unknown",
  "counter",
  "gauge",
  "histogram",
  "gaugehistogram",
  "summary",
  "info",
  "stateset",
];

/** A series to write: all floats, or all histograms and what ends them. */
export interface WrittenSeries extends SeriesSamples {
  readonly exemplars?: readonly Exemplar[] | undefined;
  /** Version 2 carries it with the series. */
  readonly metadata?: MetricMetadata | undefined;
}

/** A `prometheus.WriteRequest`, not compressed. */
export function encodeRemoteWrite1(all: readonly WrittenSeries[]): Uint8Array {
  const out = new ProtobufWriter();
  for (const series of all) {
    const opened = out.openMessage(SERIES_1);
    writeLabels(out, SERIES_LABELS, series.labels);
    writeSamples(out, series, FIELDS_1);
    for (const exemplar of series.exemplars ?? []) {
      const example = out.openMessage(EXEMPLARS_1);
      writeLabels(out, EXEMPLAR_LABELS, exemplar.labels);
      writeExemplarValue(out, exemplar);
      out.closeMessage(example);
    }
    out.closeMessage(opened);
  }
  return out.take();
}

/** A `prometheus.WriteRequest` of metadata alone, not compressed. */
export function encodeRemoteMetadata(all: readonly MetricMetadata[]): Uint8Array {
  const out = new ProtobufWriter();
  for (const { name, type, help, unit } of all) {
    const opened = out.openMessage(METADATA_1);
    const number = TYPES.indexOf(type);
    if (number > 0) out.writeUint32(1, number);
    out.writeText(2, name);
    if (help !== "") out.writeText(4, help);
    if (unit !== "") out.writeText(5, unit);
    out.closeMessage(opened);
  }
  return out.take();
}

/** An `io.prometheus.write.v2.Request`, not compressed. */
export function encodeRemoteWrite(all: readonly WrittenSeries[]): Uint8Array {
  const body = new ProtobufWriter();
  const symbols = new Map<string, number>([["", 0]]);
  for (const series of all) {
    const opened = body.openMessage(SERIES_2);
    writeRefs(body, SERIES_LABELS, series.labels, symbols);
    writeSamples(body, series, FIELDS_2);
    for (const exemplar of series.exemplars ?? []) {
      const example = body.openMessage(EXEMPLARS_2);
      writeRefs(body, EXEMPLAR_LABELS, exemplar.labels, symbols);
      writeExemplarValue(body, exemplar);
      body.closeMessage(example);
    }
    if (series.metadata !== undefined) {
      const { type, help, unit } = series.metadata;
      const metadata = body.openMessage(METADATA_2);
      const number = TYPES.indexOf(type);
      if (number > 0) body.writeUint32(1, number);
      if (help !== "") body.writeUint32(3, numberOf(symbols, help));
      if (unit !== "") body.writeUint32(4, numberOf(symbols, unit));
      body.closeMessage(metadata);
    }
    body.closeMessage(opened);
  }
  const out = new ProtobufWriter();
  for (const text of symbols.keys()) out.writeText(SYMBOLS_2, text);
  out.writeRaw(body.take());
  return out.take();
}

function writeRefs(out: ProtobufWriter, field: number, labels: Labels, symbols: Map<string, number>): void {
  for (const [name, value] of labels) {
    out.writeUint32(field, numberOf(symbols, name));
    out.writeUint32(field, numberOf(symbols, value));
  }
}

function writeExemplarValue(out: ProtobufWriter, { value, timestampMs }: Exemplar): void {
  out.writeDouble(EXEMPLAR_VALUE, value);
  out.writeInt64Number(EXEMPLAR_TIMESTAMP, timestampMs);
}

function numberOf(symbols: Map<string, number>, text: string): number {
  const known = symbols.get(text);
  if (known !== undefined) return known;
  symbols.set(text, symbols.size);
  return symbols.size - 1;
}
