/**
 * Answers of remote read: samples in one message, or a stream of frames with chunks.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/
 */

import type { NativeHistogram } from "../model/histogram.ts";
import type { Labels, SeriesSamples } from "../model/series.ts";
import { crc32c } from "./crc32c.ts";
import { isWhole } from "./histogram-chunk.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { RESET_HINTS } from "./remote-histogram.ts";
import { CHUNK_XOR, type Chunk, chunksOf, histogramThatEnds } from "./series-chunks.ts";
import { STALE_HIGH, STALE_LOW, wordsOf } from "./xor-values.ts";

/** Bytes of chunks after which a frame is closed, less those of its labels; Prometheus' own default. */
export const FRAME_BYTES_MAX = 1_048_576;

const RESULT_SERIES = 1;
const SERIES_LABELS = 1;
const SERIES_SAMPLES = 2;
const RESULT_FIELDS: SampleFields = { histograms: 4 };
const LABEL_NAME = 1;
const LABEL_VALUE = 2;
const SAMPLE_VALUE = 1;
const SAMPLE_TIMESTAMP = 2;
const RESPONSE_CHUNKED_SERIES = 1;
const RESPONSE_QUERY_INDEX = 2;
const CHUNKED_LABELS = 1;
const CHUNKED_CHUNKS = 2;
const CHUNK_MIN = 1;
const CHUNK_MAX = 2;
const CHUNK_TYPE = 3;
const CHUNK_DATA = 4;

/** An empty chunk: what Prometheus sends where only labels were asked for. */
const EMPTY_CHUNK: Chunk = { minMs: 0, maxMs: 0, type: CHUNK_XOR, bytes: new Uint8Array(2) };

/** Appends a series to a `QueryResult`. */
export function writeResultSeries(out: ProtobufWriter, series: SeriesSamples): void {
  const opened = out.openMessage(RESULT_SERIES);
  writeLabels(out, SERIES_LABELS, series.labels);
  writeSamples(out, series, RESULT_FIELDS);
  out.closeMessage(opened);
}

/** Fields in which protocols differ: of a series its histograms; of samples and histograms since when they count. */
export interface SampleFields {
  readonly histograms: number;
  readonly sampleStart?: number;
  readonly histogramStart?: number;
}

/** Appends floats as field 2, and histograms, to a series of any of the protocols. */
export function writeSamples(out: ProtobufWriter, series: SeriesSamples, fields: SampleFields): void {
  const { timestampsMs, values, histograms, startsMs } = series;
  const words = wordsOf(values);
  for (let at = 0; at < timestampsMs.length; at++) {
    if (histograms !== undefined && (histograms[at] !== undefined || histogramThatEnds(series, at) !== undefined))
      continue;
    const sample = out.openMessage(SERIES_SAMPLES);
    out.writeDoubleWords(SAMPLE_VALUE, words[2 * at] as number, words[2 * at + 1] as number); // in range: two a value
    out.writeInt64Number(SAMPLE_TIMESTAMP, timestampsMs[at] as number); // in range: checked by the loop
    writeStart(out, fields.sampleStart, startsMs?.[at]);
    out.closeMessage(sample);
  }
  for (let at = 0; histograms !== undefined && at < timestampsMs.length; at++) {
    const timestampMs = timestampsMs[at] as number; // in range: checked by the loop
    const histogram = histograms[at];
    if (histogram !== undefined) {
      const opened = out.openMessage(fields.histograms);
      writeHistogram(out, histogram, timestampMs);
      writeStart(out, fields.histogramStart, startsMs?.[at]);
      out.closeMessage(opened);
    } else {
      const ended = histogramThatEnds(series, at);
      if (ended !== undefined) {
        writeStaleHistogram(out, { field: fields.histograms, timestampMs, isInteger: isWhole(ended) });
      }
    }
  }
}

/** A stale marker as Prometheus sends it after a histogram: one that has nothing but the marker for its sum. */
function writeStaleHistogram(
  out: ProtobufWriter,
  {
    field,
    timestampMs,
    isInteger,
  }: { readonly field: number; readonly timestampMs: number; readonly isInteger: boolean },
): void {
  const opened = out.openMessage(field);
  if (isInteger) out.writeInt64Number(1, 0);
  else out.writeDouble(2, 0);
  out.writeDoubleWords(3, STALE_LOW, STALE_HIGH);
  out.writeInt64Number(15, timestampMs);
  out.closeMessage(opened);
}

function writeStart(out: ProtobufWriter, field: number | undefined, startMs: number | undefined): void {
  if (field !== undefined && startMs !== undefined && startMs !== 0) out.writeInt64Number(field, startMs);
}

/** A histogram with its time, as a message of `prometheus.Histogram` that is open. */
function writeHistogram(out: ProtobufWriter, of: NativeHistogram, timestampMs: number): void {
  const isInteger = isWhole(of);
  if (isInteger) out.writeInt64Number(1, of.count);
  else out.writeDouble(2, of.count);
  out.writeDouble(3, of.sum);
  if (of.schema !== 0) out.writeSint(4, of.schema);
  out.writeDouble(5, of.zeroThreshold);
  if (isInteger) out.writeInt64Number(6, of.zeroCount);
  else out.writeDouble(7, of.zeroCount);
  writeSide(
    out,
    { spans: 8, deltas: 9, counts: 10 },
    { spans: of.negativeSpans, counts: of.negativeCounts, isInteger },
  );
  writeSide(
    out,
    { spans: 11, deltas: 12, counts: 13 },
    { spans: of.positiveSpans, counts: of.positiveCounts, isInteger },
  );
  const hint = RESET_HINTS.indexOf(of.resetHint);
  if (hint > 0) out.writeUint32(14, hint);
  out.writeInt64Number(15, timestampMs);
  if (of.customValues.length > 0) out.writeDoubles(16, of.customValues);
}

interface SideFields {
  readonly spans: number;
  readonly deltas: number;
  readonly counts: number;
}

interface Side {
  readonly spans: NativeHistogram["positiveSpans"];
  readonly counts: Float64Array;
  readonly isInteger: boolean;
}

function writeSide(out: ProtobufWriter, fields: SideFields, { spans, counts, isInteger }: Side): void {
  for (const { offset, length } of spans) {
    const opened = out.openMessage(fields.spans);
    if (offset !== 0) out.writeSint(1, offset);
    if (length !== 0) out.writeUint32(2, length);
    out.closeMessage(opened);
  }
  if (counts.length === 0) return;
  if (!isInteger) {
    out.writeDoubles(fields.counts, counts);
    return;
  }
  let before = 0;
  const deltas = counts.map((count) => {
    const delta = count - before;
    before = count;
    return delta;
  });
  out.writeSints(fields.deltas, deltas);
}

/**
 * The frames that tell a series, each with the labels again and so many chunks as fit; none for a series without samples.
 *
 * Frames are made when they are asked for, so that a slow reader holds them up.
 *
 * @param queryIndex Place of the query in the request.
 */
export function* seriesFrames(series: SeriesSamples, queryIndex: number): Generator<Uint8Array> {
  const out = new ProtobufWriter();
  const room = FRAME_BYTES_MAX - labelsBytes(series.labels);
  let held: Chunk[] = [];
  let left = room;
  for (const chunk of chunksOf(series)) {
    // The frame before is closed only once there is more, as the last one closes after the loop.
    if (held.length > 0 && left <= 0) {
      yield frameOf(out, { labels: series.labels, chunks: held, queryIndex });
      held = [];
      left = room;
    }
    held.push(chunk);
    left -= chunk.bytes.length + CHUNK_BYTES_BESIDE;
  }
  if (held.length > 0) yield frameOf(out, { labels: series.labels, chunks: held, queryIndex });
}

/** Tags, times, type and lengths of a chunk in a frame, about. */
const CHUNK_BYTES_BESIDE = 20;

/** The frame of a series of which only the labels were asked for. */
export function labelsFrame(labels: Labels, queryIndex: number): Uint8Array {
  return frameOf(new ProtobufWriter(), { labels, chunks: [EMPTY_CHUNK], queryIndex });
}

interface Frame {
  readonly labels: Labels;
  readonly chunks: readonly Chunk[];
  readonly queryIndex: number;
}

/** Length, check sum, message. */
function frameOf(out: ProtobufWriter, { labels, chunks, queryIndex }: Frame): Uint8Array {
  const opened = out.openMessage(RESPONSE_CHUNKED_SERIES);
  writeLabels(out, CHUNKED_LABELS, labels);
  for (const { minMs, maxMs, type, bytes } of chunks) {
    const chunk = out.openMessage(CHUNKED_CHUNKS);
    out.writeInt64Number(CHUNK_MIN, minMs);
    out.writeInt64Number(CHUNK_MAX, maxMs);
    out.writeUint32(CHUNK_TYPE, type);
    out.writeBytes(CHUNK_DATA, bytes);
    out.closeMessage(chunk);
  }
  out.closeMessage(opened);
  if (queryIndex !== 0) out.writeInt64Number(RESPONSE_QUERY_INDEX, queryIndex);
  const message = out.take();
  const head = Buffer.alloc(9);
  let at = 0;
  for (let rest = message.length; ; rest >>>= 7) {
    head[at++] = rest > 0x7f ? (rest & 0x7f) | 0x80 : rest;
    if (rest <= 0x7f) break;
  }
  at = head.writeUInt32BE(crc32c(message), at);
  return Buffer.concat([head.subarray(0, at), message]);
}

/** Appends labels as messages of `prometheus.Label`. */
export function writeLabels(out: ProtobufWriter, field: number, labels: Labels): void {
  for (const [name, value] of labels) {
    const opened = out.openMessage(field);
    out.writeText(LABEL_NAME, name);
    out.writeText(LABEL_VALUE, value);
    out.closeMessage(opened);
  }
}

function labelsBytes(labels: Labels): number {
  let bytes = 0;
  for (const [name, value] of labels) bytes += 4 + Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}
