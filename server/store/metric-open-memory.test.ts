import assert from "node:assert/strict";
import { test } from "node:test";
import { OPEN_SAMPLES_MAX, OpenMemory, type ValueRow } from "./metric-open-memory.ts";

const SERIES = 3_000;

test("rows keep their values and never lie over each other as series grow, leave and come", () => {
  const memory = new OpenMemory();
  const rows = Array.from({ length: SERIES }, emptyRow);
  const pages = new Set<Float64Array>();
  for (let at = 0; at < OPEN_SAMPLES_MAX; at++) {
    for (const [series, row] of rows.entries()) {
      if (at === row.capacity) memory.grow(row, at);
      pages.add(row.values);
      row.values[row.base + at] = series * 1_000 + at;
    }
    // Every seventh series leaves on the way, and begins anew in a row that another had.
    if (at !== 20) continue;
    for (const [series, row] of rows.entries()) {
      if (series % 7 !== 0) continue;
      memory.release(row);
      for (let again = 0; again <= at; again++) {
        if (again === row.capacity) memory.grow(row, again);
        row.values[row.base + again] = series * 1_000 + again;
      }
    }
  }
  for (const [series, row] of rows.entries()) {
    const kept = row.values.subarray(row.base, row.base + OPEN_SAMPLES_MAX);
    assert.ok(
      kept.every((value, at) => value === series * 1_000 + at),
      `series ${series} has values of another`,
    );
  }
  const pageValues = rows[0]?.values.length ?? 0;
  const needed = Math.ceil((SERIES * OPEN_SAMPLES_MAX) / pageValues);
  assert.ok(pages.size < 1.7 * needed, `${pages.size} pages were made, ${needed} are needed at the end`);
});

function emptyRow(): ValueRow {
  return { page: undefined, values: new Float64Array(0), base: 0, capacity: 0 };
}
