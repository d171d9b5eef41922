/**
 * Native histograms as bytes, column by column: neighbours of one layout form a stretch, in which each bucket is a column
 * of its own over time, and so are sum, count and zero count.
 *
 * A stretch is its length, its layout, its marks as runs, how many bytes of columns follow, and the columns
 * (`float-column.ts`). So its size is known, and part of it can be passed over, without any number being decoded.
 */

import { ArraySlab } from "./array-slab.ts";
import { ByteReader, BytesEndError } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { readFloatAt, readFloatColumn, writeFloatColumn } from "./float-column.ts";
import type { CounterResetHint, NativeHistogram } from "./histogram.ts";
import { bucketsOf, type HistogramLayout, haveOneLayout, readLayout, writeLayout } from "./histogram-layout.ts";

/** Columns before those of the buckets: sum, count, zero count. */
const COLUMNS_BEFORE_BUCKETS = 3;

const HINTS: readonly CounterResetHint[] = ["unknown", "reset", "not_reset", "gauge"];
/** In a mark. */
const HINT_MASK = 0b11;
const INTEGER = 0b100;
const MARK_COUNT = 8;
/** Numbers of one stretch of more than one histogram, which are decoded at once. */
const NUMBERS_MAX = 2 ** 22;
/** Marks that are kept. */
const SAME_MARKS_MAX = 65_536;
const NO_DOUBLES = new Float64Array(0);

const columns = new ByteWriter();
let column = new Float64Array(128);

/** Writes histograms in their order; at least one. */
export function writeHistograms(out: ByteWriter, histograms: readonly NativeHistogram[]): void {
  for (let from = 0; from < histograms.length; ) {
    const first = histograms[from] as NativeHistogram; // in range: the loop's bounds
    const width = widthOf(first);
    const end = Math.min(histograms.length, from + Math.max(1, Math.floor(NUMBERS_MAX / width)));
    let to = from + 1;
    while (to < end && haveOneLayout(first, histograms[to] as NativeHistogram)) to++;
    writeStretch(out, first, histograms, from, to);
    from = to;
  }
}

const encoder = new ByteWriter();

/**
 * Histograms for who reads them at once: to encode their numbers takes longer than to copy them.
 *
 * @param take Gives room for so many numbers, all of which are written.
 */
export function plainHistograms(
  histograms: readonly NativeHistogram[],
  take: (count: number) => Float64Array,
): { readonly bytes: Uint8Array; readonly numbers: Float64Array } {
  encoder.clear();
  const ends: number[] = [];
  let size = 0;
  for (let from = 0; from < histograms.length; ) {
    const first = histograms[from] as NativeHistogram; // in range: the loop's bounds, here and below
    let to = from + 1;
    while (to < histograms.length && haveOneLayout(first, histograms[to] as NativeHistogram)) to++;
    encoder.varint(to - from);
    writeLayout(encoder, first);
    writeMarks(encoder, histograms, from, to);
    size += (to - from) * widthOf(first);
    ends.push(to);
    from = to;
  }
  const numbers = take(size);
  let from = 0;
  let at = 0;
  for (const to of ends) {
    for (let i = from; i < to; i++) putColumn(histograms[i] as NativeHistogram, numbers, at + i - from, to - from);
    at += (to - from) * widthOf(histograms[from] as NativeHistogram);
    from = to;
  }
  return { bytes: encoder.take(), numbers };
}

function widthOf({ positiveCounts, negativeCounts }: NativeHistogram): number {
  return COLUMNS_BEFORE_BUCKETS + positiveCounts.length + negativeCounts.length;
}

/** The numbers of a histogram, each `apart` from the one before. */
function putColumn(histogram: NativeHistogram, numbers: Float64Array, from: number, apart: number): void {
  const { sum, count, zeroCount, positiveCounts, negativeCounts } = histogram;
  numbers[from] = sum;
  numbers[from + apart] = count;
  numbers[from + 2 * apart] = zeroCount;
  let at = from + COLUMNS_BEFORE_BUCKETS * apart;
  for (let k = 0; k < positiveCounts.length; k++, at += apart) numbers[at] = positiveCounts[k] as number; // in range
  for (let k = 0; k < negativeCounts.length; k++, at += apart) numbers[at] = negativeCounts[k] as number;
}

function writeStretch(
  out: ByteWriter,
  first: NativeHistogram,
  histograms: readonly NativeHistogram[],
  from: number,
  to: number,
): void {
  const count = to - from;
  out.varint(count);
  writeLayout(out, first);
  writeMarks(out, histograms, from, to);
  columns.clear();
  if (column.length < count) column = new Float64Array(2 * count);
  const values = column.subarray(0, count);
  const write = (numberOf: (histogram: NativeHistogram) => number) => {
    for (let i = 0; i < count; i++) values[i] = numberOf(histograms[from + i] as NativeHistogram); // in range, as above
    writeFloatColumn(columns, values);
  };
  write(({ sum }) => sum);
  write((histogram) => histogram.count);
  write(({ zeroCount }) => zeroCount);
  for (let k = 0; k < first.positiveCounts.length; k++) write(({ positiveCounts }) => positiveCounts[k] as number);
  for (let k = 0; k < first.negativeCounts.length; k++) write(({ negativeCounts }) => negativeCounts[k] as number);
  out.varint(columns.length);
  out.raw(columns.written());
}

function writeMarks(out: ByteWriter, histograms: readonly NativeHistogram[], from: number, to: number): void {
  let mark = -1;
  let length = 0;
  for (let i = from; i < to; i++) {
    const { resetHint, integer } = histograms[i] as NativeHistogram; // in range: the caller's bounds
    const here = HINTS.indexOf(resetHint) | (integer ? INTEGER : 0);
    if (here !== mark && length > 0) {
      out.varint(length * MARK_COUNT + mark);
      length = 0;
    }
    mark = here;
    length++;
  }
  out.varint(length * MARK_COUNT + mark);
}

/** A stretch whose columns are not decoded yet. */
export interface HistogramStretch {
  readonly count: number;
  readonly layout: HistogramLayout;
  readonly positives: number;
  readonly negatives: number;
  /** For each histogram its hint, read with `hintOf`; others may follow, and it is never written to. */
  readonly marks: Uint8Array;
  readonly bytes: Uint8Array;
  /** The columns where they are not encoded. */
  readonly numbers: Float64Array | undefined;
  /** Where its columns begin, in the numbers where they are there. */
  readonly at: number;
}

/**
 * Finds the stretches of `count` histograms, and leaves the reader behind them.
 *
 * @throws BytesEndError where the bytes cannot have been written by `writeHistograms`.
 */
export function readStretches(
  reader: ByteReader,
  bytes: Uint8Array,
  count: number,
  numbers?: Float64Array | undefined,
): HistogramStretch[] {
  const stretches: HistogramStretch[] = [];
  let from = 0;
  for (let found = 0; found < count; ) {
    const length = reader.varint();
    if (length === 0 || length > count - found) throw new BytesEndError(reader.at);
    const layout = readKnownLayout(reader, bytes);
    const positives = bucketsOf(layout.positiveSpans);
    const negatives = bucketsOf(layout.negativeSpans);
    const width = COLUMNS_BEFORE_BUCKETS + positives + negatives;
    const marks = readMarks(reader, length);
    found += length;
    if (numbers !== undefined) {
      if (width * length > numbers.length - from) throw new BytesEndError(reader.at);
      stretches.push({ count: length, layout, positives, negatives, marks, bytes, numbers, at: from });
      from += width * length;
      continue;
    }
    const columnBytes = reader.varint();
    // A column takes two bytes at least.
    if (2 * width > columnBytes || columnBytes > reader.left || (length > 1 && width * length > NUMBERS_MAX)) {
      throw new BytesEndError(reader.at);
    }
    stretches.push({ count: length, layout, positives, negatives, marks, bytes, numbers, at: reader.at });
    reader.skip(columnBytes);
  }
  return stretches;
}

/** Marks of a stretch of one run, as most are, by mark: all such have the same array, which is as long as the longest. */
const SAME_MARKS = Array.from({ length: MARK_COUNT }, (_, mark) => new Uint8Array(128).fill(mark));

/** At least `count` marks; never written to. */
function readMarks(reader: ByteReader, count: number): Uint8Array {
  let marks: Uint8Array | undefined;
  for (let done = 0; done < count; ) {
    const packed = reader.varint();
    const length = Math.floor(packed / MARK_COUNT);
    if (length === 0 || length > count - done) throw new BytesEndError(reader.at);
    const mark = packed % MARK_COUNT;
    if (length === count) return sameMarks(mark, count);
    marks ??= new Uint8Array(count);
    marks.fill(mark, done, done + length);
    done += length;
  }
  return marks ?? sameMarks(0, 0);
}

function sameMarks(mark: number, count: number): Uint8Array {
  const known = SAME_MARKS[mark] as Uint8Array; // in range: one for each mark
  if (known.length >= count) return known;
  const longer = new Uint8Array(2 * count).fill(mark);
  if (longer.length <= SAME_MARKS_MAX) SAME_MARKS[mark] = longer;
  return longer;
}

/** The layout that was read last, and its bytes: most that are read are the same. */
let knownLayout: HistogramLayout | undefined;
let knownBytes = new Uint8Array(0);

/** A layout of the same bytes as the one before is the same object. */
function readKnownLayout(reader: ByteReader, bytes: Uint8Array): HistogramLayout {
  const { at } = reader;
  if (knownLayout !== undefined && knownBytes.length <= reader.left && startsWithKnown(bytes, at)) {
    reader.skip(knownBytes.length);
    return knownLayout;
  }
  knownLayout = undefined;
  const layout = readLayout(reader);
  knownBytes = bytes.slice(at, reader.at);
  knownLayout = layout;
  return layout;
}

function startsWithKnown(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < knownBytes.length; i++) if (bytes[at + i] !== knownBytes[i]) return false;
  return true;
}

/** The hint of a mark. */
export function hintOf(mark: number): CounterResetHint {
  return HINTS[mark & HINT_MASK] ?? "unknown";
}

/**
 * Decodes the columns of a stretch one after the other: sum, count, zero count, positive and negative buckets.
 *
 * @param placeOf Where in `into` the column of that number begins.
 * @throws BytesEndError where the bytes cannot have been written by `writeHistograms`.
 */
export function readColumns(
  { bytes, numbers, at, positives, negatives, count }: HistogramStretch,
  into: Float64Array,
  placeOf: (column: number) => number,
): void {
  const width = COLUMNS_BEFORE_BUCKETS + positives + negatives;
  if (numbers !== undefined) {
    for (let k = 0; k < width; k++) {
      const to = placeOf(k);
      const from = at + k * count;
      for (let i = 0; i < count; i++) into[to + i] = numbers[from + i] as number; // in range: as many were found
    }
    return;
  }
  const reader = new ByteReader(bytes, at);
  for (let k = 0; k < width; k++) readFloatColumn(reader, into, placeOf(k), count);
}

const doubles = new ArraySlab((length) => new Float64Array(length), 8_192);

/**
 * One histogram of a stretch, as an object with counts of its own; the others are passed over.
 *
 * @throws BytesEndError as `readColumns`.
 */
export function histogramIn(stretch: HistogramStretch, index: number): NativeHistogram {
  const { count, layout, positives, negatives, marks, bytes, numbers, at } = stretch;
  if (numbers !== undefined) throw new Error("one histogram is looked for where all are at hand");
  const { schema, zeroThreshold, positiveSpans, negativeSpans, customValues } = layout;
  const reader = new ByteReader(bytes, at);
  const sum = readFloatAt(reader, index, count);
  const observations = readFloatAt(reader, index, count);
  const zeroCount = readFloatAt(reader, index, count);
  const positiveCounts = positives === 0 ? NO_DOUBLES : doubles.take(positives);
  const negativeCounts = negatives === 0 ? NO_DOUBLES : doubles.take(negatives);
  for (let k = 0; k < positives; k++) positiveCounts[k] = readFloatAt(reader, index, count);
  for (let k = 0; k < negatives; k++) negativeCounts[k] = readFloatAt(reader, index, count);
  const mark = marks[index] ?? 0;
  return {
    schema,
    zeroThreshold,
    zeroCount,
    count: observations,
    sum,
    positiveSpans,
    positiveCounts,
    negativeSpans,
    negativeCounts,
    customValues,
    resetHint: hintOf(mark),
    integer: (mark & INTEGER) !== 0,
  };
}

/** The histograms of a stretch, each an object with counts of its own. @throws BytesEndError as `readColumns`. */
export function histogramsOf(stretch: HistogramStretch): NativeHistogram[] {
  const { count, layout, positives, negatives, marks } = stretch;
  const width = COLUMNS_BEFORE_BUCKETS + positives + negatives;
  if (column.length < count * width) column = new Float64Array(count * width);
  readColumns(stretch, column, (k) => k * count);
  // Rows of all follow each other in one buffer, since a buffer each costs more than to decode it.
  const buckets = positives + negatives;
  const counts = buckets === 0 ? NO_DOUBLES : new Float64Array(count * buckets);
  for (let k = 0; k < buckets; k++) {
    const from = (COLUMNS_BEFORE_BUCKETS + k) * count;
    for (let i = 0; i < count; i++) counts[i * buckets + k] = column[from + i] as number; // in range: as long as decoded
  }
  const { schema, zeroThreshold, positiveSpans, negativeSpans, customValues } = layout;
  const histograms: NativeHistogram[] = [];
  for (let i = 0; i < count; i++) {
    const mark = marks[i] ?? 0;
    const from = i * buckets;
    histograms.push({
      schema,
      zeroThreshold,
      zeroCount: column[2 * count + i] as number, // in range, here and below
      count: column[count + i] as number,
      sum: column[i] as number,
      positiveSpans,
      positiveCounts: counts.subarray(from, from + positives),
      negativeSpans,
      negativeCounts: counts.subarray(from + positives, from + buckets),
      customValues,
      resetHint: hintOf(mark),
      integer: (mark & INTEGER) !== 0,
    });
  }
  return histograms;
}
