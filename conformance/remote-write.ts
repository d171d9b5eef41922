/**
 * Bodies of Prometheus' remote write 1.0 and 2.0, encoded here and by nothing of the program under test.
 *
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
 */

import type { NativeHistogram } from "../server/model/histogram.ts";
import { type Labels, STALE_NAN_BITS } from "../server/model/series.ts";

/** A sample as it is sent. */
export interface SentSample {
  readonly timestampMs: number;
  /** Unix milliseconds since which a counter counts; 0 where unknown. Version 1 has no place for it. */
  readonly startMs: number;
  readonly value: number | "stale" | NativeHistogram;
}

/** A series as it is sent, samples in order of time. */
export interface SentSeries {
  readonly labels: Labels;
  readonly samples: readonly SentSample[];
}

/** Version of the protocol. */
export type WriteVersion = 1 | 2;

const STALE = new DataView(new BigUint64Array([STALE_NAN_BITS]).buffer);
const RESET_HINTS = { unknown: 0, reset: 1, not_reset: 2, gauge: 3 } as const;
/** A literal of snappy's block form with a length of two bytes. */
const LITERAL_BYTES_MAX = 65_536;

/** Headers that go with a body. */
export function writeHeaders(version: WriteVersion): Record<string, string> {
  return {
    "content-encoding": "snappy",
    "content-type":
      version === 1 ? "application/x-protobuf" : "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "x-prometheus-remote-write-version": version === 1 ? "0.1.0" : "2.0.0",
  };
}

/**
 * One request with the samples of all series.
 *
 * A series whose samples are floats at one time and histograms at another is sent run by run, so that each message
 * holds one kind and all come in order of time.
 */
export function encodeWrite(series: readonly SentSeries[], version: WriteVersion): Uint8Array<ArrayBuffer> {
  const symbols = new Map<string, number>([["", 0]]);
  const body = new Message();
  for (const { labels, samples } of series) {
    for (const run of runsOf(samples)) {
      if (version === 1) body.message(1, seriesOfVersion1(labels, run));
      else body.message(5, seriesOfVersion2(labels, run, symbols));
    }
  }
  if (version === 2) {
    const all = new Message();
    for (const symbol of symbols.keys()) all.text(4, symbol);
    all.append(body);
    return snappyLiterals(all.finish());
  }
  return snappyLiterals(body.finish());
}

/** Sends one request. @returns The status and what a refusal says. */
export async function sendWrite(
  base: string,
  series: readonly SentSeries[],
  version: WriteVersion,
): Promise<{ readonly status: number; readonly text: string }> {
  const answer = await fetch(`${base}/api/v1/write`, {
    method: "POST",
    headers: writeHeaders(version),
    body: encodeWrite(series, version),
  });
  return { status: answer.status, text: await answer.text() };
}

function runsOf(samples: readonly SentSample[]): SentSample[][] {
  const runs: SentSample[][] = [];
  let wasHistogram: boolean | undefined;
  for (const sample of samples) {
    const isHistogram = typeof sample.value === "object";
    if (isHistogram !== wasHistogram) runs.push([]);
    runs.at(-1)?.push(sample);
    wasHistogram = isHistogram;
  }
  return runs;
}

function seriesOfVersion1(labels: Labels, samples: readonly SentSample[]): Message {
  const series = new Message();
  for (const [name, value] of labels) {
    const label = new Message();
    label.text(1, name);
    label.text(2, value);
    series.message(1, label);
  }
  for (const sample of samples) {
    if (typeof sample.value === "object") series.message(4, histogramOf(sample.value, sample));
    else series.message(2, floatOf(sample));
  }
  return series;
}

function seriesOfVersion2(labels: Labels, samples: readonly SentSample[], symbols: Map<string, number>): Message {
  const series = new Message();
  const references = new Message();
  for (const text of labels.flat()) {
    const known = symbols.get(text) ?? symbols.size;
    symbols.set(text, known);
    references.varint(known);
  }
  series.message(1, references);
  for (const sample of samples) {
    if (typeof sample.value === "object") {
      const histogram = histogramOf(sample.value, sample);
      if (sample.startMs !== 0) histogram.whole(17, sample.startMs);
      series.message(3, histogram);
    } else {
      const float = floatOf(sample);
      if (sample.startMs !== 0) float.whole(3, sample.startMs);
      series.message(2, float);
    }
  }
  return series;
}

function floatOf({ timestampMs, value }: SentSample): Message {
  const sample = new Message();
  if (value === "stale") sample.stale(1);
  else if (typeof value === "number") sample.double(1, value);
  sample.whole(2, timestampMs);
  return sample;
}

function histogramOf(histogram: NativeHistogram, { timestampMs }: SentSample): Message {
  const { integer } = histogram;
  const out = new Message();
  if (integer) out.whole(1, histogram.count);
  else out.double(2, histogram.count);
  out.double(3, histogram.sum);
  out.zigzag(4, histogram.schema);
  out.double(5, histogram.zeroThreshold);
  if (integer) out.whole(6, histogram.zeroCount);
  else out.double(7, histogram.zeroCount);
  const sides = [
    { spans: histogram.negativeSpans, counts: histogram.negativeCounts, field: 8 },
    { spans: histogram.positiveSpans, counts: histogram.positiveCounts, field: 11 },
  ];
  for (const { spans, counts, field } of sides) {
    for (const { offset, length } of spans) {
      const span = new Message();
      span.zigzag(1, offset);
      span.whole(2, length);
      out.message(field, span);
    }
    const packed = new Message();
    let before = 0;
    for (const count of counts) {
      if (integer) packed.zigzagVarint(count - before);
      else packed.rawDouble(count);
      before = count;
    }
    if (counts.length > 0) out.message(field + (integer ? 1 : 2), packed);
  }
  out.whole(14, RESET_HINTS[histogram.resetHint]);
  out.whole(15, timestampMs);
  if (histogram.customValues.length > 0) {
    const packed = new Message();
    for (const bound of histogram.customValues) packed.rawDouble(bound);
    out.message(16, packed);
  }
  return out;
}

/** Grows by bytes; whole numbers may be as large as a double holds exactly, negative ones as 64-bit two's complement. */
class Message {
  #bytes = new Uint8Array(64);
  #length = 0;

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  append(other: Message): void {
    const bytes = other.finish();
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  varint(value: number): void {
    let rest = BigInt.asUintN(64, BigInt(value));
    this.#reserve(10);
    while (rest > 127n) {
      this.#bytes[this.#length++] = Number(rest & 127n) | 128;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  zigzagVarint(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  rawDouble(value: number): void {
    this.#reserve(8);
    new DataView(this.#bytes.buffer).setFloat64(this.#length, value, true);
    this.#length += 8;
  }

  whole(field: number, value: number): void {
    this.varint(field * 8);
    this.varint(value);
  }

  zigzag(field: number, value: number): void {
    this.varint(field * 8);
    this.zigzagVarint(value);
  }

  double(field: number, value: number): void {
    this.varint(field * 8 + 1);
    this.rawDouble(value);
  }

  /** The staleness marker, whose bits a double in a variable might lose. */
  stale(field: number): void {
    this.varint(field * 8 + 1);
    this.#reserve(8);
    for (let at = 0; at < 8; at++) this.#bytes[this.#length++] = STALE.getUint8(at);
  }

  text(field: number, value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.varint(field * 8 + 2);
    this.varint(bytes.length);
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  message(field: number, inner: Message): void {
    this.varint(field * 8 + 2);
    this.varint(inner.finish().length);
    this.append(inner);
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    bytes.set(this.finish());
    this.#bytes = bytes;
  }
}

/** Snappy's block form without any compression. */
function snappyLiterals(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new Message();
  head.varint(bytes.length);
  const pieces = Math.ceil(bytes.length / LITERAL_BYTES_MAX);
  const out = new Uint8Array(head.finish().length + bytes.length + pieces * 3);
  out.set(head.finish());
  let at = head.finish().length;
  for (let from = 0; from < bytes.length; from += LITERAL_BYTES_MAX) {
    const piece = bytes.subarray(from, from + LITERAL_BYTES_MAX);
    const length = piece.length - 1;
    out.set([61 * 4, length & 255, length >> 8], at);
    out.set(piece, at + 3);
    at += 3 + piece.length;
  }
  return out;
}
