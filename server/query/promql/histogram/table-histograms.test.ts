import assert from "node:assert/strict";
import { test } from "node:test";
import { type DenseShape, histogramOfTable, rowsOf } from "./dense-histograms.ts";
import { TableHistograms } from "./table-histograms.ts";

/** Columns whose buckets come and go; every third number is 0. */
function tableOf(shape: DenseShape, columns: number) {
  const numbers = Float64Array.from({ length: rowsOf(shape) * columns }, (_, i) => (i % 3 === 0 ? 0 : (7 * i) % 11));
  return { shape, columns, numbers };
}

test("the histograms of a table are the same read one after the other as each made anew", () => {
  const sides = { positiveFrom: -3, positiveRows: 5, negativeFrom: 2, negativeRows: 4 };
  const table = tableOf({ schema: 3, zeroThreshold: 0.5, customValues: new Float64Array(0), ...sides }, 6);
  // One column like the one before it, and one without any bucket.
  for (let row = 0; row < rowsOf(table.shape); row++) {
    table.numbers[row * 6 + 4] = table.numbers[row * 6 + 3] ?? 0;
    table.numbers[row * 6 + 5] = 0;
  }
  const read = new TableHistograms(table);
  for (const column of [0, 1, 2, 3, 4, 5, 0, 5, 2]) {
    assert.deepEqual(read.at(column), histogramOfTable(table, column));
  }
});
