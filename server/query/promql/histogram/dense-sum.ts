/** A compensated sum of tables of histograms, column by column; the numbers are those of `HistogramSum`. */

import { carriedLoss } from "../compensated.ts";
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
    let isWhole = true;
    for (let k = 0; k < columns; k++) if (present[k] === 0 || has[k] === 0) isWhole = false;
    const rows = rowsOf(table.shape);
    for (let row = 0; row < rows; row++) {
      const to = rowIn(this.#shape, table.shape, row) * columns;
      if (isWhole) this.#addWholeRow(table.numbers, row * columns, to);
      else this.#addRow(table.numbers, row * columns, present, to);
    }
    for (let k = 0; k < columns; k++) if (present[k] !== 0) has[k] = 1;
  }

  /** Adds to a row of which each column has something already, as mostly they have. */
  #addWholeRow(values: Float64Array, from: number, to: number): void {
    const end = to + this.#columns;
    const isBucket = to >= FIRST_BUCKET_ROW * this.#columns;
    const numbers = this.#numbers;
    const lost = this.#lost;
    for (let at = to, i = from; at < end; at++, i++) {
      const value = values[i] as number; // in range: a row of the table, here and below
      if (value === 0 && isBucket) continue;
      const sum = numbers[at] as number;
      lost[at] = carriedLoss(sum, value, lost[at] as number);
      numbers[at] = sum + value;
    }
  }

  #addRow(values: Float64Array, from: number, present: Uint8Array, to: number): void {
    const columns = this.#columns;
    const isBucket = to >= FIRST_BUCKET_ROW * columns;
    const numbers = this.#numbers;
    const lost = this.#lost;
    const { has } = this;
    for (let k = 0; k < columns; k++) {
      if (present[k] === 0) continue;
      const value = values[from + k] as number; // in range: a row of the table, here and below
      const at = to + k;
      if (has[k] === 0) {
        numbers[at] = value;
        continue;
      }
      if (value === 0 && isBucket) continue;
      const sum = numbers[at] as number;
      lost[at] = carriedLoss(sum, value, lost[at] as number);
      numbers[at] = sum + value;
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
    return compensatedOfTable(
      { shape: this.#shape, columns: this.#columns, numbers: this.#numbers },
      this.#lost,
      column,
    );
  }

  /** All sums, with what was lost given back to them. Nothing may be added afterwards. */
  finished(): DenseTable {
    const numbers = this.#numbers;
    for (let i = 0; i < numbers.length; i++) numbers[i] = (numbers[i] as number) + (this.#lost[i] as number);
    return { shape: this.#shape, columns: this.#columns, numbers };
  }
}

/** The row in `shape` of a row of `other`, whose buckets are all there. */
function rowIn(shape: DenseShape, other: DenseShape, row: number): number {
  if (row < FIRST_BUCKET_ROW) return row;
  const negative = FIRST_BUCKET_ROW + other.positiveRows;
  if (row < negative) return row + other.positiveFrom - shape.positiveFrom;
  return row - negative + FIRST_BUCKET_ROW + shape.positiveRows + other.negativeFrom - shape.negativeFrom;
}
