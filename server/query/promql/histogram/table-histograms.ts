/** The histograms of a table one after the other, for who looks at each once: none is made anew. */

import { spansOfIndexes } from "../../../model/bucket-indexes.ts";
import type { BucketSpan, NativeHistogram } from "../../../model/histogram.ts";
import { COUNT_ROW, type DenseTable, FIRST_BUCKET_ROW, SUM_ROW, ZERO_ROW } from "./dense-histograms.ts";

/** Equal to what `histogramOfTable` gives. */
export class TableHistograms {
  readonly #table: DenseTable;
  readonly #positive: TableSide;
  readonly #negative: TableSide;
  readonly #histogram: { -readonly [Field in keyof NativeHistogram]: NativeHistogram[Field] };

  constructor(table: DenseTable) {
    const { schema, zeroThreshold, customValues, positiveFrom, positiveRows, negativeFrom, negativeRows } = table.shape;
    this.#table = table;
    this.#positive = new TableSide(table, { row: FIRST_BUCKET_ROW, rows: positiveRows, index: positiveFrom });
    const row = FIRST_BUCKET_ROW + positiveRows;
    this.#negative = new TableSide(table, { row, rows: negativeRows, index: negativeFrom });
    this.#histogram = {
      schema,
      zeroThreshold,
      zeroCount: 0,
      count: 0,
      sum: 0,
      positiveSpans: this.#positive.spans,
      positiveCounts: this.#positive.counts,
      negativeSpans: this.#negative.spans,
      negativeCounts: this.#negative.counts,
      customValues,
      resetHint: "gauge",
      integer: false,
    };
  }

  /** The histogram of a column; it is another one once the next is asked for. */
  at(column: number): NativeHistogram {
    const { columns, numbers } = this.#table;
    const histogram = this.#histogram;
    // In range: a table has these rows.
    histogram.sum = numbers[SUM_ROW * columns + column] as number;
    histogram.count = numbers[COUNT_ROW * columns + column] as number;
    histogram.zeroCount = numbers[ZERO_ROW * columns + column] as number;
    this.#positive.read(column);
    this.#negative.read(column);
    histogram.positiveSpans = this.#positive.spans;
    histogram.positiveCounts = this.#positive.counts;
    histogram.negativeSpans = this.#negative.spans;
    histogram.negativeCounts = this.#negative.counts;
    return histogram;
  }
}

/** Rows of a table, and the index of the bucket that the first one stands for. */
interface SideRows {
  readonly row: number;
  readonly rows: number;
  readonly index: number;
}

/** The buckets of one side that are not 0; spans are made where others count something than in the column before. */
class TableSide {
  spans: readonly BucketSpan[] = [];
  counts: Float64Array;
  readonly #table: DenseTable;
  readonly #rows: SideRows;
  readonly #room: Float64Array;
  readonly #indexes: Int32Array;

  constructor(table: DenseTable, rows: SideRows) {
    this.#table = table;
    this.#rows = rows;
    this.#room = new Float64Array(rows.rows);
    this.#indexes = new Int32Array(rows.rows);
    this.counts = this.#room.subarray(0, 0);
  }

  read(column: number): void {
    const { row, rows, index } = this.#rows;
    const { columns, numbers } = this.#table;
    const room = this.#room;
    const indexes = this.#indexes;
    const before = this.counts.length;
    let isAsBefore = true;
    let kept = 0;
    let at = row * columns + column;
    for (let k = 0; k < rows; k++, at += columns) {
      const count = numbers[at] as number; // in range: a row of the table
      if (count === 0) continue;
      room[kept] = count;
      if (kept >= before || indexes[kept] !== index + k) {
        isAsBefore = false;
        indexes[kept] = index + k;
      }
      kept++;
    }
    if (isAsBefore && kept === before) return;
    this.counts = room.subarray(0, kept);
    this.spans = spansOfIndexes(indexes, kept);
  }
}
