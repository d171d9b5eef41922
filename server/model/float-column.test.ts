import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { readFloatAt, readFloatColumn, writeFloatColumn } from "./float-column.ts";

/** Columns of each form and of most widths: counters that grow by up to so much, gauges, patterns. */
function columns(): Float64Array[] {
  const all: Float64Array[] = [];
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed / 2 ** 32;
  };
  for (const length of [1, 2, 16, 64, 65, 66, 130, 200]) {
    for (const most of [1, 2, 4, 7, 16, 60, 1_000, 1e6, 2 ** 36]) {
      let total = Math.floor(random() * 1e6);
      const next = (): number => {
        total += Math.floor(random() * most);
        return total;
      };
      all.push(Float64Array.from({ length }, next));
      all.push(Float64Array.from({ length }, () => next() * 64));
      all.push(Float64Array.from({ length }, () => 1e9 + 5 * next()));
      all.push(Float64Array.from({ length }, () => Math.floor(random() * most) - most / 2));
      all.push(Float64Array.from({ length }, () => Math.floor(random() * most) / 100));
      all.push(Float64Array.from({ length }, () => random() * most));
    }
    all.push(new Float64Array(length).fill(0.1 + 0.2));
    all.push(new Float64Array(length).fill(Number.NaN));
    all.push(new Float64Array(length).fill(1.25));
    // Whole numbers up to the last one.
    for (const last of [-0, 0.25, 2 ** 53, Number.NEGATIVE_INFINITY, Number.NaN]) {
      all.push(Float64Array.from({ length }, (_, i) => (i === length - 1 ? last : 3 * i - 7)));
    }
  }
  return all;
}

test("one number of a column is what it is among all of them, and the reader ends where the column does", () => {
  for (const column of columns()) {
    const out = new ByteWriter();
    writeFloatColumn(out, column.slice());
    const bytes = out.take();
    const all = new Float64Array(column.length);
    readFloatColumn(new ByteReader(bytes), all, 0, column.length);
    assert.deepEqual(all, column);
    for (let i = 0; i < column.length; i += column.length > 66 ? 7 : 1) {
      const reader = new ByteReader(bytes);
      assert.ok(Object.is(readFloatAt(reader, i, column.length), column[i]), `${i} of ${column.length}`);
      assert.equal(reader.left, 0);
    }
  }
});

test("a column is as it was once it is written", () => {
  for (const column of columns()) {
    const written = column.slice();
    writeFloatColumn(new ByteWriter(), written);
    assert.deepEqual(written, column);
  }
});
