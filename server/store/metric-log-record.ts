/**
 * Records of the metric log: how they are framed, found again after damage, and what they hold.
 *
 * A frame is magic, length, check sum of the two, check sum of the payload (four bytes each, lowest first), payload.
 * The header has its own sum so that a write cut short (header whole, payload short) can be told from a damaged
 * length. A payload needs nothing from other records but the declarations of its own segment.
 */

import { crc32 } from "node:zlib";
import { type ByteReader, BytesEndError, ByteReader as Reader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import type { Exemplar, Labels, MetricMetadata, MetricType } from "../model/series.ts";
import { readHistogram, writeHistogram } from "./metric-histogram-codec.ts";
import type { Sample } from "./metric-track.ts";

const FRAME_MAGIC = 0x4c4d_5754;
const HEADER_BYTES = 16;
const PAYLOAD_BYTES_MAX = 2 ** 28;
const KIND_DECLARE = 1;
const KIND_SAMPLES = 2;
const KIND_EXEMPLARS = 3;
const KIND_METADATA = 4;
/** As exemplars, which an older segment held before. */
const KIND_EXEMPLARS_AGAIN = 5;
/** Whole numbers below this are written as varints with one bit that tells them from a tag. */
const INTEGER_MAX = 2 ** 51;
const TAG_DOUBLE = 1;
const TAG_HISTOGRAM = 3;
/** A start timestamp, as far as it lies before the sample; the value follows. */
const TAG_START = 5;
/** Never reordered: its places are written. */
const METRIC_TYPES: readonly MetricType[] = [
  "unknown",
  "counter",
  "gauge",
  "histogram",
  "gaugehistogram",
  "summary",
  "info",
  "stateset",
];

/** Receives what the log holds, in order. */
export interface LogVisitor {
  /** `ref` names these labels until the segment ends. */
  declare(ref: number, labels: Labels): void;
  /** A float of which no start is known, as most samples are. */
  float(ref: number, timestampMs: number, value: number): void;
  sample(ref: number, sample: Sample): void;
  /** @param isAgain An older segment held it before. */
  exemplar(ref: number, exemplar: Exemplar, isAgain: boolean): void;
  metadata(metadata: MetricMetadata): void;
}

/** Something of one series, as the head hands it to the log. */
export interface OfSeries<T> {
  readonly series: { readonly ref: number };
  readonly item: T;
}

/** Appends a frame that declares series. */
export function writeDeclarations(
  out: ByteWriter,
  series: readonly { readonly ref: number; readonly labels: Labels }[],
): void {
  const start = beginFrame(out);
  out.byte(KIND_DECLARE);
  out.varint(series.length);
  for (const { ref, labels } of series) {
    out.varint(ref);
    writeLabels(out, labels);
  }
  endFrame(out, start);
}

function writeLabels(out: ByteWriter, labels: Labels): void {
  out.varint(labels.length);
  for (const [name, value] of labels) {
    out.text(name);
    out.text(value);
  }
}

/** Samples as the head hands them to the log, row by row. */
export interface LoggedSamples {
  readonly count: number;
  readonly series: readonly { readonly ref: number }[];
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
  /** The whole sample where it is more than a float. */
  moreOf(row: number): { readonly sample: Sample } | undefined;
}

/** Appends a frame of samples; neighbours with the same time or near refs take the fewest bytes. */
export function writeSamples(out: ByteWriter, samples: LoggedSamples): void {
  const { count, series, timestampsMs, values } = samples;
  const start = beginFrame(out);
  out.byte(KIND_SAMPLES);
  out.varint(count);
  let previousRef = 0;
  let previousMs = 0;
  let previousHistogram: NativeHistogram | undefined;
  for (let row = 0; row < count; row++) {
    const { ref } = series[row] as { readonly ref: number }; // in range: the loop's bounds, here and below
    const timestampMs = timestampsMs[row] as number;
    out.signed(ref - previousRef);
    out.signed(timestampMs - previousMs);
    previousRef = ref;
    previousMs = timestampMs;
    const more = samples.moreOf(row);
    if (more !== undefined && more.sample.startMs !== 0) {
      out.varint(TAG_START);
      out.signed(timestampMs - more.sample.startMs);
    }
    if (more?.sample.histogram !== undefined) {
      out.varint(TAG_HISTOGRAM);
      writeHistogram(out, more.sample.histogram, previousHistogram);
      previousHistogram = more.sample.histogram;
      continue;
    }
    const value = values[row] as number;
    if (value >= 0 && value < INTEGER_MAX && Number.isInteger(value) && !Object.is(value, -0)) {
      out.varint(value * 2);
    } else {
      out.byte(TAG_DOUBLE);
      out.float64(value);
    }
  }
  endFrame(out, start);
}

/** Appends a frame of exemplars. */
export function writeExemplars(out: ByteWriter, exemplars: readonly OfSeries<Exemplar>[], isAgain: boolean): void {
  const start = beginFrame(out);
  out.byte(isAgain ? KIND_EXEMPLARS_AGAIN : KIND_EXEMPLARS);
  out.varint(exemplars.length);
  for (const { series, item } of exemplars) {
    out.varint(series.ref);
    out.signed(item.timestampMs);
    out.float64(item.value);
    writeLabels(out, item.labels);
  }
  endFrame(out, start);
}

/** Appends a frame of what is known of metrics. */
export function writeMetadata(out: ByteWriter, metadata: readonly MetricMetadata[]): void {
  const start = beginFrame(out);
  out.byte(KIND_METADATA);
  out.varint(metadata.length);
  for (const { name, type, help, unit } of metadata) {
    out.text(name);
    out.byte(METRIC_TYPES.indexOf(type));
    out.text(help);
    out.text(unit);
  }
  endFrame(out, start);
}

/** Names with values by the bytes that tell them: series share most of theirs, and decoding text costs most. */
export type KnownLabels = Map<string, Labels[number]>;

/**
 * Reads one payload. Throws `BytesEndError` where it cannot have been written by this program.
 *
 * @param known Labels that payloads before declared; those of this one are added.
 */
export function readPayload(payload: Uint8Array, visitor: LogVisitor, known: KnownLabels): void {
  const reader = new Reader(payload);
  const kind = reader.byte();
  if (kind === KIND_DECLARE) readDeclarations(reader, payload, visitor, known);
  else if (kind === KIND_SAMPLES) readSamples(reader, visitor);
  else if (kind === KIND_EXEMPLARS) readExemplars(reader, visitor, false);
  else if (kind === KIND_EXEMPLARS_AGAIN) readExemplars(reader, visitor, true);
  else if (kind === KIND_METADATA) readMetadata(reader, visitor);
  else throw new BytesEndError(0);
}

/** A stretch of a segment: whole frames' payloads, or bytes that are none. */
export type Stretch =
  | { readonly kind: "payload"; readonly from: number; readonly bytes: Uint8Array }
  | { readonly kind: "damaged"; readonly from: number; readonly to: number; readonly why: string }
  | { readonly kind: "torn"; readonly from: number; readonly to: number };

/** Cuts a segment into stretches, in order. Only the last can be `torn`: a write that never finished. */
export function* readStretches(bytes: Uint8Array): Generator<Stretch> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at < bytes.length) {
    const fault = faultOfFrame(view, bytes, at);
    if (fault === undefined) {
      const to = at + HEADER_BYTES + view.getUint32(at + 4, true);
      yield { kind: "payload", from: at, bytes: bytes.subarray(at + HEADER_BYTES, to) };
      at = to;
      continue;
    }
    let to = at + 1;
    while (to < bytes.length && faultOfFrame(view, bytes, to) !== undefined) to++;
    const torn = to >= bytes.length && (fault === "short" || bytes.subarray(at).every((byte) => byte === 0));
    if (torn) yield { kind: "torn", from: at, to: bytes.length };
    else yield { kind: "damaged", from: at, to, why: fault === "short" ? "record is cut short" : fault };
    at = to;
  }
}

function faultOfFrame(view: DataView, bytes: Uint8Array, at: number): string | undefined {
  const left = bytes.length - at;
  if (left >= 4 && view.getUint32(at, true) !== FRAME_MAGIC) return "no record starts here";
  if (left < HEADER_BYTES) return "short";
  const length = view.getUint32(at + 4, true);
  if (view.getUint32(at + 8, true) !== crc32(bytes.subarray(at, at + 8))) return "record header fails its check sum";
  if (length > PAYLOAD_BYTES_MAX) return "record is too long";
  if (length > left - HEADER_BYTES) return "short";
  const payload = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length);
  return view.getUint32(at + 12, true) === crc32(payload) ? undefined : "record fails its check sum";
}

/** Bytes of a frame before its payload. */
export const FRAME_HEADER_BYTES = HEADER_BYTES;

/** The frame at a place; `short`: it would take so many bytes in all, as far as it can be seen. */
export function readFrame(
  bytes: Uint8Array,
  at: number,
):
  | { readonly kind: "payload"; readonly payload: Uint8Array; readonly end: number }
  | { readonly kind: "short"; readonly bytes: number }
  | { readonly kind: "damaged" } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fault = faultOfFrame(view, bytes, at);
  const payloadBytes = bytes.length - at < HEADER_BYTES ? 0 : view.getUint32(at + 4, true);
  if (fault === "short") return { kind: "short", bytes: HEADER_BYTES + payloadBytes };
  if (fault !== undefined) return { kind: "damaged" };
  const end = at + HEADER_BYTES + payloadBytes;
  return { kind: "payload", payload: bytes.subarray(at + HEADER_BYTES, end), end };
}

/** Whether a payload declares series. */
export function isDeclaration(payload: Uint8Array): boolean {
  return payload[0] === KIND_DECLARE;
}

/** Samples in the frames of a segment from a place on. */
export function countSamples(bytes: Uint8Array, from: number): number {
  let count = 0;
  for (const stretch of readStretches(bytes.subarray(from))) {
    if (stretch.kind !== "payload" || stretch.bytes[0] !== KIND_SAMPLES) continue;
    count += new Reader(stretch.bytes, 1).varint();
  }
  return count;
}

function beginFrame(out: ByteWriter): number {
  const start = out.length;
  out.uint32(FRAME_MAGIC);
  out.uint32(0);
  out.uint32(0);
  out.uint32(0);
  return start;
}

function endFrame(out: ByteWriter, start: number): void {
  const payload = out.written(start + HEADER_BYTES);
  out.setUint32(start + 4, payload.length);
  out.setUint32(start + 8, crc32(out.written(start).subarray(0, 8)));
  out.setUint32(start + 12, crc32(payload));
}

function readDeclarations(reader: ByteReader, payload: Uint8Array, visitor: LogVisitor, known: KnownLabels): void {
  for (let left = reader.varint(); left > 0; left--) {
    const ref = reader.varint();
    const labels: Labels[number][] = [];
    for (let count = reader.varint(); count > 0; count--) labels.push(readKnownLabel(reader, payload, known));
    visitor.declare(ref, labels);
  }
}

function readKnownLabel(reader: ByteReader, payload: Uint8Array, known: KnownLabels): Labels[number] {
  const from = reader.at;
  reader.skipText();
  reader.skipText();
  const key = reader.latin1Since(from);
  let label = known.get(key);
  if (label === undefined) {
    const texts = new Reader(payload, from);
    label = [texts.text(), texts.text()];
    known.set(key, label);
  }
  return label;
}

function readLabels(reader: ByteReader, count: number): Labels {
  const labels: [string, string][] = [];
  for (let left = count; left > 0; left--) labels.push([reader.text(), reader.text()]);
  return labels;
}

function readSamples(reader: ByteReader, visitor: LogVisitor): void {
  let ref = 0;
  let timestampMs = 0;
  let previousHistogram: NativeHistogram | undefined;
  for (let left = reader.varint(); left > 0; left--) {
    ref += reader.signed();
    timestampMs += reader.signed();
    let tagged = reader.varint();
    let startMs = 0;
    if (tagged === TAG_START) {
      startMs = timestampMs - reader.signed();
      tagged = reader.varint();
    }
    let value = tagged / 2;
    let histogram: NativeHistogram | undefined;
    if (tagged === TAG_HISTOGRAM) {
      value = Number.NaN;
      histogram = readHistogram(reader, previousHistogram);
      previousHistogram = histogram;
    } else if (tagged === TAG_DOUBLE) value = reader.float64();
    else if ((tagged & 1) !== 0) throw new BytesEndError(reader.at);
    if (histogram === undefined && startMs === 0) visitor.float(ref, timestampMs, value);
    else visitor.sample(ref, { timestampMs, value, histogram, startMs });
  }
}

function readExemplars(reader: ByteReader, visitor: LogVisitor, isAgain: boolean): void {
  for (let left = reader.varint(); left > 0; left--) {
    const ref = reader.varint();
    const timestampMs = reader.signed();
    const value = reader.float64();
    visitor.exemplar(ref, { labels: readLabels(reader, reader.varint()), timestampMs, value }, isAgain);
  }
}

function readMetadata(reader: ByteReader, visitor: LogVisitor): void {
  for (let left = reader.varint(); left > 0; left--) {
    const name = reader.text();
    const type = METRIC_TYPES[reader.byte()];
    if (type === undefined) throw new BytesEndError(reader.at);
    visitor.metadata({ name, type, help: reader.text(), unit: reader.text() });
  }
}
