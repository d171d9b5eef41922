/**
 * Histograms of one schema and zero bucket in a table of numbers: a row for sum, count and zero count each and for every
 * bucket index of a range, a column for each histogram. What has no bucket has 0 there.
 *
 * Sums and differences go row by row over all histograms; a bucket that counts nothing changes neither sum nor loss, so
 * results equal those of histograms that leave it out, once both are compact.
 */

import { sameBounds } from "../../../model/bucket-bounds.ts";
import { bucketIndexes, spansOfIndexes } from "../../../model/bucket-indexes.ts";
import type { NativeHistogram } from "../../../model/histogram.ts";
import type { HistogramLayout } from "../../../model/histogram-layout.ts";
import { hidesBuckets } from "./float-histogram.ts";
import type { CompensatedHistogram } from "./histogram-sum.ts";

/** Rows before those of the buckets. */
export const SUM_ROW = 0;
export const COUNT_ROW = 1;
export const ZERO_ROW = 2;
export const FIRST_BUCKET_ROW = 3;

/** A range of buckets may be so many times as wide as there are buckets, and so many wider. */
const SPREAD_MAX = 4;
const SPREAD_SLACK = 64;

/** Which rows a table has. */
export interface DenseShape {
  readonly schema: number;
  readonly zeroThreshold: number;
  readonly customValues: Float64Array;
  /** Index of the first positive bucket, and how many rows there are from it on. */
  readonly positiveFrom: number;
  readonly positiveRows: number;
  readonly negativeFrom: number;
  readonly negativeRows: number;
}

/** The rows of a table with a column for each of `columns` histograms; row `r` begins at `r * columns`. */
export interface DenseTable {
  readonly shape: DenseShape;
  readonly columns: number;
  readonly numbers: Float64Array;
}

/** How many rows a shape has. */
export function rowsOf({ positiveRows, negativeRows }: DenseShape): number {
  return FIRST_BUCKET_ROW + positiveRows + negativeRows;
}

/** Whether numbers of two shapes mean the same, apart from which buckets there are. */
export function haveOneKind(a: DenseShape | HistogramLayout, b: DenseShape | HistogramLayout): boolean {
  return a.schema === b.schema && a.zeroThreshold === b.zeroThreshold && sameBounds(a.customValues, b.customValues);
}

/**
 * The shape that has all buckets of some layouts.
 *
 * @returns undefined where the layouts are not of one kind, lie too far apart, or have buckets inside of the zero bucket.
 */
export function shapeOf(layouts: readonly HistogramLayout[]): DenseShape | undefined {
  const [first] = layouts;
  if (first === undefined) return undefined;
  const positive = new BucketRange();
  const negative = new BucketRange();
  let before: HistogramLayout | undefined;
  for (const layout of layouts) {
    if (layout === before) continue;
    before = layout;
    if (layout !== first && !haveOneKind(layout, first)) return undefined;
    if (hidesBuckets(layout)) return undefined;
    positive.include(layout.positiveSpans);
    negative.include(layout.negativeSpans);
  }
  if (positive.isScattered || negative.isScattered) return undefined;
  const { schema, zeroThreshold, customValues } = first;
  return {
    schema,
    zeroThreshold,
    customValues,
    positiveFrom: positive.from,
    positiveRows: positive.rows,
    negativeFrom: negative.from,
    negativeRows: negative.rows,
  };
}

/** The shape that has the buckets of both, which are of one kind; `a` itself where it has those of `b`. */
export function joinedShape(a: DenseShape, b: DenseShape): DenseShape {
  const positive = joinedRange(a.positiveFrom, a.positiveRows, b.positiveFrom, b.positiveRows);
  const negative = joinedRange(a.negativeFrom, a.negativeRows, b.negativeFrom, b.negativeRows);
  if (positive.rows === a.positiveRows && negative.rows === a.negativeRows) return a;
  return {
    ...a,
    positiveFrom: positive.from,
    positiveRows: positive.rows,
    negativeFrom: negative.from,
    negativeRows: negative.rows,
  };
}

function joinedRange(from: number, rows: number, otherFrom: number, otherRows: number): { from: number; rows: number } {
  if (otherRows === 0) return { from, rows };
  if (rows === 0) return { from: otherFrom, rows: otherRows };
  const least = Math.min(from, otherFrom);
  return { from: least, rows: Math.max(from + rows, otherFrom + otherRows) - least };
}

/** Bucket indexes that spans name. */
class BucketRange {
  from = 0;
  rows = 0;
  #most = 0;

  include(spans: NativeHistogram["positiveSpans"]): void {
    let index = 0;
    let buckets = 0;
    for (const { offset, length } of spans) {
      index += offset;
      if (length === 0) continue;
      const { from, rows } = joinedRange(this.from, this.rows, index, length);
      this.from = from;
      this.rows = rows;
      index += length;
      buckets += length;
    }
    if (buckets > this.#most) this.#most = buckets;
  }

  get isScattered(): boolean {
    return this.rows > SPREAD_MAX * this.#most + SPREAD_SLACK;
  }
}

/** For each bucket of a layout, positive ones first, the row it has in a table; the layout's buckets are all there. */
export function bucketRows(shape: DenseShape, { positiveSpans, negativeSpans }: HistogramLayout): Int32Array {
  const count = (spans: NativeHistogram["positiveSpans"]) => spans.reduce((sum, { length }) => sum + length, 0);
  const positive = bucketIndexes(positiveSpans, count(positiveSpans));
  const negative = bucketIndexes(negativeSpans, count(negativeSpans));
  const rows = new Int32Array(positive.length + negative.length);
  for (let k = 0; k < positive.length; k++) {
    rows[k] = FIRST_BUCKET_ROW + (positive[k] as number) - shape.positiveFrom; // in range: the loop's bounds, here and below
  }
  const negativeFrom = FIRST_BUCKET_ROW + shape.positiveRows - shape.negativeFrom;
  for (let k = 0; k < negative.length; k++) rows[positive.length + k] = negativeFrom + (negative[k] as number);
  return rows;
}

/** One histogram of a table, its buckets those that are not 0; a gauge, as results are. */
export function histogramOfTable(table: DenseTable, column: number): NativeHistogram {
  return compensatedOfTable(table, undefined, column).histogram;
}

/** The same with what rounding took from its numbers, in a table of the same shape. */
export function compensatedOfTable(
  { shape, columns, numbers }: DenseTable,
  lost: Float64Array | undefined,
  column: number,
): CompensatedHistogram {
  const { schema, zeroThreshold, customValues, positiveFrom, positiveRows, negativeFrom, negativeRows } = shape;
  const at = (row: number) => numbers[row * columns + column] as number; // in range: a row of the shape, here and below
  const lostAt = (row: number) => (lost === undefined ? 0 : (lost[row * columns + column] as number));
  const side = (firstRow: number, rows: number, firstIndex: number) => {
    let kept = 0;
    for (let r = firstRow; r < firstRow + rows; r++) if (at(r) !== 0 || lostAt(r) !== 0) kept++;
    const counts = new Float64Array(kept);
    const losses = new Float64Array(lost === undefined ? 0 : kept);
    const indexes = new Int32Array(kept);
    let next = 0;
    for (let r = firstRow; r < firstRow + rows; r++) {
      if (at(r) === 0 && lostAt(r) === 0) continue;
      counts[next] = at(r);
      losses[next] = lostAt(r);
      indexes[next++] = firstIndex + r - firstRow;
    }
    return { spans: spansOfIndexes(indexes), counts, losses };
  };
  const positive = side(FIRST_BUCKET_ROW, positiveRows, positiveFrom);
  const negative = side(FIRST_BUCKET_ROW + positiveRows, negativeRows, negativeFrom);
  const histogram: NativeHistogram = {
    schema,
    zeroThreshold,
    zeroCount: at(ZERO_ROW),
    count: at(COUNT_ROW),
    sum: at(SUM_ROW),
    positiveSpans: positive.spans,
    positiveCounts: positive.counts,
    negativeSpans: negative.spans,
    negativeCounts: negative.counts,
    customValues,
    resetHint: "gauge",
    integer: false,
  };
  const loss = {
    zeroCount: lostAt(ZERO_ROW),
    count: lostAt(COUNT_ROW),
    sum: lostAt(SUM_ROW),
    positive: positive.losses,
    negative: negative.losses,
  };
  return { histogram, loss };
}
