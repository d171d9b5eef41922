/** A compensated sum of tables of histograms, column by column; the numbers are those of `HistogramSum`. */

import {
  compensatedOfTable,
  type DenseShape,
  type DenseTable,
  FIRST_BUCKET_ROW,
  haveOneKind,
  joinedShape,
  rowsOf,
} from "./dense-histograms.ts";
import type { CompensatedHistogram } from "./histogram-sum.ts";

/** Rows that a sum may have; what would need more is added up histogram by histogram. */
const ROWS_MAX = 2_048;

/** One sum for each column. */
export class DenseSum {
  /** 1 for each column that something was added to. */
  readonly has: Uint8Array;
  readonly #columns: number;
  #shape: DenseShape;
  #numbers: Float64Array;
  #lost: Float64Array;

  constructor(shape: DenseShape, columns: number) {
    const length = rowsOf(shape) * columns;
    this.has = new Uint8Array(columns);
    this.#columns = columns;
    this.#shape = shape;
    this.#numbers = new Float64Array(length);
    this.#lost = new Float64Array(length);
  }

  /** Numbers that it holds. */
  get size(): number {
    return 2 * this.#numbers.length;
  }

  /** Whether `add` takes a table. */
  takes({ shape, columns }: DenseTable): boolean {
    if (columns !== this.#columns || !haveOneKind(shape, this.#shape)) return false;
    return rowsOf(joinedShape(this.#shape, shape)) <= ROWS_MAX;
  }

  /** Adds the columns for which `present` is not 0. */
  add(table: DenseTable, present: Uint8Array): void {
    this.#grow(joinedShape(this.#shape, table.shape));
    const columns = this.#columns;
    const { has } = this;
    const begun: number[] = [];
    for (let k = 0; k < columns; k++) if (present[k] !== 0 && has[k] === 0) begun.push(k);
    const rows = rowsOf(table.shape);
    for (let from = 0; from < columns; ) {
      if (present[from] === 0 || has[from] === 0) {
        from++;
        continue;
      }
      let to = from + 1;
      while (to < columns && present[to] !== 0 && has[to] !== 0) to++;
      for (let row = 0; row < rows; row++) {
        const at = rowIn(this.#shape, table.shape, row) * columns;
        this.#addRow(table.numbers, row * columns + from, at + from, at + to);
      }
      from = to;
    }
    for (const k of begun) {
      has[k] = 1;
      for (let row = 0; row < rows; row++) {
        // In range: a row of the table.
        this.#numbers[rowIn(this.#shape, table.shape, row) * columns + k] = table.numbers[row * columns + k] as number;
      }
    }
  }

  /**
   * Adds to the numbers from `at` to `end`, none of which is a first one.
   *
   * What rounding takes from a sum is the same as by `carriedLoss`, without a look at which number is the larger; where
   * the sum is infinite it is nothing that counts.
   *
   * @see Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B
   */
  #addRow(values: Float64Array, from: number, at: number, end: number): void {
    const numbers = this.#numbers;
    const lost = this.#lost;
    for (let to = at, i = from; to < end; to++, i++) {
      const value = values[i] as number; // in range: a row of the table, here and below
      const sum = numbers[to] as number;
      const total = sum + value;
      const added = total - sum;
      lost[to] = (lost[to] as number) + (sum - (total - added) + (value - added));
      numbers[to] = total;
    }
  }

  #grow(shape: DenseShape): void {
    if (shape === this.#shape) return;
    const columns = this.#columns;
    const numbers = new Float64Array(rowsOf(shape) * columns);
    const lost = new Float64Array(numbers.length);
    const rows = rowsOf(this.#shape);
    for (let row = 0; row < rows; row++) {
      const to = rowIn(shape, this.#shape, row) * columns;
      numbers.set(this.#numbers.subarray(row * columns, (row + 1) * columns), to);
      lost.set(this.#lost.subarray(row * columns, (row + 1) * columns), to);
    }
    this.#shape = shape;
    this.#numbers = numbers;
    this.#lost = lost;
  }

  /** The sum of one column, with what rounding took from it; its arrays are the caller's. */
  totalAt(column: number): CompensatedHistogram {
    for (let at = column; at < this.#numbers.length; at += this.#columns) this.#lost[at] = this.#lostAt(at);
    return compensatedOfTable(
      { shape: this.#shape, columns: this.#columns, numbers: this.#numbers },
      this.#lost,
      column,
    );
  }

  /** All sums, with what was lost given back to them. Nothing may be added afterwards. */
  finished(): DenseTable {
    const numbers = this.#numbers;
    for (let at = 0; at < numbers.length; at++) numbers[at] = (numbers[at] as number) + this.#lostAt(at); // in range
    return { shape: this.#shape, columns: this.#columns, numbers };
  }

  /** Rounding takes nothing from a sum that became infinite, and it stays so. */
  #lostAt(at: number): number {
    return Math.abs(this.#numbers[at] as number) === Number.POSITIVE_INFINITY ? 0 : (this.#lost[at] as number); // in range
  }
}

/** The row in `shape` of a row of `other`, whose buckets are all there. */
function rowIn(shape: DenseShape, other: DenseShape, row: number): number {
  if (row < FIRST_BUCKET_ROW) return row;
  const negative = FIRST_BUCKET_ROW + other.positiveRows;
  if (row < negative) return row + other.positiveFrom - shape.positiveFrom;
  return row - negative + FIRST_BUCKET_ROW + shape.positiveRows + other.negativeFrom - shape.negativeFrom;
}
