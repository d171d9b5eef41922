/**
 * Native histograms as bytes: the layout where it differs from the histogram before, then counts and sum as differences.
 *
 * Whole counts are stored as differences in a few bits, others byte by byte as far as they differ; every bit is kept.
 */

import { ArraySlab } from "../model/array-slab.ts";
import { type ByteReader, BytesEndError } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import { readXor, writeXor } from "../model/double-codec.ts";
import type { CounterResetHint, NativeHistogram } from "../model/histogram.ts";
import { bucketsOf, haveOneLayout, readLayout, writeLayout } from "../model/histogram-layout.ts";

const HINTS: readonly CounterResetHint[] = ["unknown", "reset", "not_reset", "gauge"];
const HINT_MASK = 0b11;
/** The layout stands before the counts. */
const HAS_LAYOUT = 0b100;
/** Counts are differences of whole numbers. */
const WHOLE_COUNTS = 0b1000;
const INTEGER = 0b1_0000;
/** Whole counts up to here can be stored as differences. */
const WHOLE_MAX = 2 ** 50;
const NO_DOUBLES = new Float64Array(0);

/**
 * Writes a histogram.
 *
 * @param previous The one written before it, which the reader must give to `readHistogram`; undefined at a start.
 */
export function writeHistogram(
  out: ByteWriter,
  histogram: NativeHistogram,
  previous: NativeHistogram | undefined,
): void {
  const base = previous !== undefined && haveOneLayout(histogram, previous) ? previous : undefined;
  const whole = hasWholeCounts(histogram) && (base === undefined || hasWholeCounts(base));
  const { integer, resetHint } = histogram;
  out.byte(
    HINTS.indexOf(resetHint) |
      (base === undefined ? HAS_LAYOUT : 0) |
      (whole ? WHOLE_COUNTS : 0) |
      (integer ? INTEGER : 0),
  );
  if (base === undefined) writeLayout(out, histogram);
  writeXor(out, histogram.sum, previous?.sum ?? 0);
  const write = whole ? writeWhole : writeXor;
  write(out, histogram.count, base?.count ?? 0);
  write(out, histogram.zeroCount, base?.zeroCount ?? 0);
  writeCounts(out, write, histogram.positiveCounts, base?.positiveCounts);
  writeCounts(out, write, histogram.negativeCounts, base?.negativeCounts);
}

/** Reads what `writeHistogram` wrote. Throws `BytesEndError` where it cannot have written that. */
export function readHistogram(reader: ByteReader, previous: NativeHistogram | undefined): NativeHistogram {
  const flags = reader.byte();
  const hasLayout = (flags & HAS_LAYOUT) !== 0;
  if (!hasLayout && previous === undefined) throw new BytesEndError(reader.at);
  const layout = hasLayout || previous === undefined ? readLayout(reader) : previous;
  const base = hasLayout ? undefined : previous;
  const read = (flags & WHOLE_COUNTS) !== 0 ? readWhole : readXor;
  const { schema, zeroThreshold, positiveSpans, negativeSpans, customValues } = layout;
  const sum = readXor(reader, previous?.sum ?? 0);
  const count = read(reader, base?.count ?? 0);
  const zeroCount = read(reader, base?.zeroCount ?? 0);
  const positiveCounts = readCounts(reader, read, bucketsOf(positiveSpans), base?.positiveCounts);
  const negativeCounts = readCounts(reader, read, bucketsOf(negativeSpans), base?.negativeCounts);
  const resetHint = HINTS[flags & HINT_MASK] ?? "unknown";
  return {
    schema,
    zeroThreshold,
    zeroCount,
    count,
    sum,
    positiveSpans,
    positiveCounts,
    negativeSpans,
    negativeCounts,
    customValues,
    resetHint,
    integer: (flags & INTEGER) !== 0,
  };
}

type Write = (out: ByteWriter, value: number, previous: number) => void;
type Read = (reader: ByteReader, previous: number) => number;

function writeWhole(out: ByteWriter, value: number, previous: number): void {
  out.signed(value - previous);
}

function readWhole(reader: ByteReader, previous: number): number {
  return previous + reader.signed();
}

function writeCounts(out: ByteWriter, write: Write, counts: Float64Array, base: Float64Array | undefined): void {
  // Neighbours are near each other where there is no histogram before.
  let neighbour = 0;
  for (let i = 0; i < counts.length; i++) {
    const value = counts[i] ?? 0;
    write(out, value, base === undefined ? neighbour : (base[i] ?? 0));
    neighbour = value;
  }
}

function readCounts(reader: ByteReader, read: Read, length: number, base: Float64Array | undefined): Float64Array {
  if (length === 0) return NO_DOUBLES;
  if (length > reader.left) throw new BytesEndError(reader.at);
  const counts = doubles.take(length);
  if (read === readWhole && base?.length === length) {
    reader.signedOver(base, counts);
    return counts;
  }
  let neighbour = 0;
  for (let i = 0; i < length; i++) {
    const value = read(reader, base === undefined ? neighbour : (base[i] ?? 0));
    counts[i] = value;
    neighbour = value;
  }
  return counts;
}

/** Counts of some hundred histograms. */
const doubles = new ArraySlab((length) => new Float64Array(length), 8_192);

function hasWholeCounts(histogram: NativeHistogram): boolean {
  return (
    isWhole(histogram.count) &&
    isWhole(histogram.zeroCount) &&
    histogram.positiveCounts.every(isWhole) &&
    histogram.negativeCounts.every(isWhole)
  );
}

function isWhole(value: number): boolean {
  return Number.isInteger(value) && Math.abs(value) <= WHOLE_MAX && !Object.is(value, -0);
}
