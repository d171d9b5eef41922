import assert from "node:assert/strict";
import { test } from "node:test";
import { type DenseTable, FIRST_BUCKET_ROW, histogramOfTable } from "./dense-histograms.ts";
import { DenseSum } from "./dense-sum.ts";
import { compactHistogram } from "./float-histogram.ts";
import { HistogramSum } from "./histogram-accumulator.ts";
import { randomOf } from "./random.testkit.ts";

const COLUMNS = 9;
const ROWS = 4;
/** What rounding, cancelling and leaving the range of doubles look like. */
const NUMBERS = [0, 0.1, -0.3, 1e16, -1e16, 3e-9, 7, Number.MAX_VALUE, 1e-320, -1e-320];
/** For the sum alone: the other numbers are finite in a table. */
const SUMS = [...NUMBERS, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];

function tableOf(pick: (max: number) => number): DenseTable {
  const numbers = new Float64Array((FIRST_BUCKET_ROW + ROWS) * COLUMNS);
  for (let at = 0; at < numbers.length; at++) {
    const known = at < COLUMNS ? SUMS : NUMBERS;
    numbers[at] = (known[pick(known.length)] as number) * (pick(2) === 0 ? 1 : pick(1000) / 7); // in range
  }
  const shape = {
    schema: 0,
    zeroThreshold: 1e-9,
    customValues: new Float64Array(0),
    positiveFrom: pick(3),
    positiveRows: ROWS,
    negativeFrom: 0,
    negativeRows: 0,
  };
  return { shape, columns: COLUMNS, numbers };
}

test("sums of tables are those of their histograms one by one", () => {
  let infinite = 0;
  for (let seed = 0; seed < 300; seed++) {
    const pick = randomOf(seed);
    const sums = Array.from({ length: COLUMNS }, () => new HistogramSum());
    let table: DenseSum | undefined;
    for (let series = 0; series < 6; series++) {
      const one = tableOf(pick);
      const present = Uint8Array.from({ length: COLUMNS }, () => (pick(4) === 0 ? 0 : 1));
      table ??= new DenseSum(one.shape, COLUMNS);
      table.add(one, present);
      for (const [k, sum] of sums.entries()) if (present[k] === 1) sum.add(histogramOfTable(one, k));
    }
    assert.ok(table !== undefined);
    const totals = sums.map((_, k) => (table?.has[k] === 1 ? table.totalAt(k) : undefined));
    const finished = table.finished();
    for (const [k, sum] of sums.entries()) {
      const { value } = sum;
      assert.equal(table.has[k], value === undefined ? 0 : 1);
      if (value === undefined) continue;
      const total = totals[k];
      assert.ok(total !== undefined);
      if (Math.abs(value.sum) === Number.POSITIVE_INFINITY) infinite++;
      assert.deepEqual(histogramOfTable(finished, k), compactHistogram(value), `seed ${seed}, column ${k}`);
      const left = HistogramSum.from(total).value;
      assert.deepEqual(left && compactHistogram(left), compactHistogram(value), `seed ${seed}, column ${k}`);
    }
  }
  assert.ok(infinite > 100, `${infinite} left the range of doubles`);
});
