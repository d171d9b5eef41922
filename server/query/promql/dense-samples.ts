/** The samples of a series of native histograms as a table of numbers, with what their hints say of counter resets. */

import type { NativeHistogram } from "../../model/histogram.ts";
import { type HistogramStretch, hintOf, readColumns } from "../../model/histogram-columns.ts";
import { type HistogramLayout, haveOneLayout } from "../../model/histogram-layout.ts";
import {
  bucketRows,
  COUNT_ROW,
  type DenseShape,
  type DenseTable,
  FIRST_BUCKET_ROW,
  rowsOf,
  SUM_ROW,
  shapeOf,
  ZERO_ROW,
} from "./histogram/dense-histograms.ts";

/** A stretch, and the index of the sample that its first histogram is. */
export interface PlacedStretch {
  readonly first: number;
  readonly stretch: HistogramStretch;
}

/** Histograms of a series of `length` samples, encoded and as objects. */
export interface HistogramPieces {
  readonly length: number;
  readonly stretches: readonly PlacedStretch[];
  /** Those that came as objects, sparse by sample. */
  readonly open: readonly (NativeHistogram | undefined)[] | undefined;
}

/** The samples of a series of histograms, one a column of the table; some before and after them may come along. */
export interface DenseSamples extends DenseTable {
  /** Column of the first sample. */
  readonly offset: number;
  /** For each column what its hint says of the one before it; others may follow. */
  readonly resets: Uint8Array;
}

const UNKNOWN = 0;
const NO_RESET = 1;
const RESET = 2;

/** Numbers of the series that is looked at; grows with the largest. */
let scratch = new Float64Array(0);
/** What its hints say. */
let resetScratch = new Uint8Array(512);

/**
 * Decodes a series; undefined where it has anything but counter histograms of one kind.
 *
 * Numbers and resets lie where those of the next series will.
 *
 * @throws BytesEndError where its bytes are none that a store wrote.
 */
export function denseSamples(columns: HistogramPieces): DenseSamples | undefined {
  const { length, stretches, open = [] } = columns;
  const layouts: HistogramLayout[] = [];
  let covered = 0;
  let from = 0;
  let to = length;
  for (const { first, stretch } of stretches) {
    // A window may cut the first stretch and the last one.
    from = Math.min(from, first);
    to = Math.max(to, first + stretch.count);
    covered += Math.min(length, first + stretch.count) - Math.max(0, first);
    layouts.push(stretch.layout);
  }
  for (const one of open) {
    if (one === undefined) continue;
    covered++;
    layouts.push(one);
  }
  const places = covered === length ? placesOf(layouts) : undefined;
  if (places === undefined) return undefined;
  const { shape } = places;
  const total = to - from;
  const numbers = roomFor(places, total);
  if (resetScratch.length < total) resetScratch = new Uint8Array(2 * total);
  const resets = resetScratch;
  let { rows, layout: rowsOfLayout } = places;
  for (const { first, stretch } of stretches) {
    if (!isSameLayout(rowsOfLayout, stretch.layout)) {
      rowsOfLayout = stretch.layout;
      rows = bucketRows(shape, rowsOfLayout);
    }
    const at = first - from;
    const bucketRow = rows;
    const rowOf = (k: number) => (k < FIRST_BUCKET_ROW ? k : (bucketRow[k - FIRST_BUCKET_ROW] as number)); // a row for each
    readColumns(stretch, numbers, (k) => at + total * rowOf(k));
    for (let i = 0; i < stretch.count; i++) {
      const reset = resetOf(hintOf(stretch.marks[i] as number)); // in range: a mark for each
      if (reset === undefined) return undefined;
      resets[at + i] = reset;
    }
  }
  for (const [i, one] of open.entries()) {
    if (one === undefined) continue;
    const reset = resetOf(one.resetHint);
    if (reset === undefined) return undefined;
    resets[i - from] = reset;
    if (!isSameLayout(rowsOfLayout, one)) {
      rowsOfLayout = one;
      rows = bucketRows(shape, rowsOfLayout);
    }
    putColumn(one, rows, numbers, i - from, total);
  }
  for (let at = COUNT_ROW * total; at < (COUNT_ROW + 1) * total; at++) {
    // What is not finite meets other rules, and the count tells of it.
    if (!Number.isFinite(numbers[at] as number)) return undefined; // in range: a row of the table
  }
  return { shape, columns: total, offset: -from, numbers, resets };
}

/** Where the buckets of some layouts lie in a table. */
interface Places {
  readonly shape: DenseShape;
  /** The first of the layouts, and the row of each of its buckets. */
  readonly layout: HistogramLayout;
  readonly rows: Int32Array;
  /** Each layout has a bucket in every row. */
  readonly isFull: boolean;
}

/** Those of the series before: mostly all histograms of all series have the same object for their layout. */
let knownPlaces: Places | undefined;

/** Undefined where they have no shape. */
function placesOf(layouts: readonly HistogramLayout[]): Places | undefined {
  const [first] = layouts;
  if (first === undefined) return undefined;
  const isOne = layouts.every((layout) => layout === first);
  if (isOne && knownPlaces?.layout === first) return knownPlaces;
  const shape = shapeOf(layouts);
  if (shape === undefined) return undefined;
  const rows = bucketRows(shape, first);
  const isFull =
    rows.length === rowsOf(shape) - FIRST_BUCKET_ROW && layouts.every((layout) => isSameLayout(first, layout));
  const places = { shape, layout: first, rows, isFull };
  if (isOne) knownPlaces = places;
  return places;
}

function isSameLayout(a: HistogramLayout, b: HistogramLayout): boolean {
  return a === b || haveOneLayout(a, b);
}

/** Room for a table, with 0 where not all layouts have a bucket. */
function roomFor({ shape, isFull }: Places, columns: number): Float64Array {
  const size = rowsOf(shape) * columns;
  if (scratch.length < size) scratch = new Float64Array(size);
  else if (!isFull) scratch.fill(0, 0, size);
  return scratch;
}

/** Undefined for a gauge. */
function resetOf(hint: NativeHistogram["resetHint"]): number | undefined {
  switch (hint) {
    case "gauge":
      return undefined;
    case "reset":
      return RESET;
    case "not_reset":
      return NO_RESET;
    case "unknown":
      return UNKNOWN;
  }
}

function putColumn(one: NativeHistogram, rows: Int32Array, numbers: Float64Array, at: number, columns: number): void {
  numbers[SUM_ROW * columns + at] = one.sum;
  numbers[COUNT_ROW * columns + at] = one.count;
  numbers[ZERO_ROW * columns + at] = one.zeroCount;
  const { positiveCounts, negativeCounts } = one;
  for (let k = 0; k < rows.length; k++) {
    const count = k < positiveCounts.length ? positiveCounts[k] : negativeCounts[k - positiveCounts.length];
    numbers[(rows[k] as number) * columns + at] = count as number; // in range: a bucket has a row and a count
  }
}

/** Whether the counter began anew between the histogram of a column and the one before it. */
export function isResetIn(samples: DenseSamples, column: number): boolean {
  const { resets } = samples;
  if (resets[column] === UNKNOWN) resets[column] = fell(samples, column) ? RESET : NO_RESET;
  return resets[column] === RESET;
}

/** Of one kind and without buckets in the zero bucket, a count that fell is all that tells. @see isCounterReset */
function fell({ numbers, columns, shape }: DenseSamples, column: number): boolean {
  const rows = rowsOf(shape);
  for (let row = COUNT_ROW; row < rows; row++) {
    const at = row * columns + column;
    if ((numbers[at] as number) < (numbers[at - 1] as number)) return true; // in range: not the first column
  }
  return false;
}

/**
 * The same without buckets, for those who look at counts and sums only; its numbers are its own.
 *
 * What buckets said of resets is kept; so is that nothing is known before the first of the samples.
 */
export function statisticsOf(samples: DenseSamples, length: number): DenseSamples {
  const { offset, columns, numbers, shape } = samples;
  const kept = new Float64Array(FIRST_BUCKET_ROW * length);
  for (const row of [SUM_ROW, COUNT_ROW]) {
    const from = row * columns + offset;
    kept.set(numbers.subarray(from, from + length), row * length);
  }
  const resets = new Uint8Array(length);
  resets[0] = samples.resets[offset] ?? UNKNOWN;
  for (let i = 1; i < length; i++) resets[i] = isResetIn(samples, offset + i) ? RESET : NO_RESET;
  const none = { positiveFrom: 0, positiveRows: 0, negativeFrom: 0, negativeRows: 0 };
  const statistics = { schema: shape.schema, zeroThreshold: 0, customValues: NO_BOUNDS, ...none };
  return { shape: statistics, columns: length, offset: 0, numbers: kept, resets };
}

const NO_BOUNDS = new Float64Array(0);

/** What the resets of a column say as a hint. */
export function hintIn({ resets }: DenseSamples, column: number): NativeHistogram["resetHint"] {
  if (resets[column] === UNKNOWN) return "unknown";
  return resets[column] === RESET ? "reset" : "not_reset";
}
