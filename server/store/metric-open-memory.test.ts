import assert from "node:assert/strict";
import { test } from "node:test";
import { OPEN_SAMPLES_MAX, OpenMemory, type TimeColumn, type ValueRow } from "./metric-open-memory.ts";

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

test("series that are read one after another share their times as those that are written scrape by scrape do", () => {
  const scrapes = 3 * OPEN_SAMPLES_MAX + 21;
  const targets = [0, 7, 3_000].map((offsetMs) =>
    Float64Array.from({ length: scrapes }, (_, i) => 1e12 + offsetMs + 15_000 * i),
  );
  const timesOf = (series: number) => targets[Math.floor(series / 100)] as Float64Array;
  for (const order of ["by scrape", "by series"]) {
    const memory = new OpenMemory();
    const open: (TimeColumn | undefined)[] = [];
    const counts = new Uint32Array(100 * targets.length);
    const add = (series: number, scrape: number) => {
      const column = open[series];
      if (column !== undefined && counts[series] === OPEN_SAMPLES_MAX) {
        memory.leave(column);
        open[series] = undefined;
        counts[series] = 0;
      }
      const at = counts[series] as number;
      open[series] = memory.timeAt(open[series], at, timesOf(series), scrape);
      counts[series] = at + 1;
    };
    if (order === "by scrape") {
      for (let scrape = 0; scrape < scrapes; scrape++) for (const series of counts.keys()) add(series, scrape);
    } else for (const series of counts.keys()) for (let scrape = 0; scrape < scrapes; scrape++) add(series, scrape);
    for (const [series, column] of open.entries()) {
      const times = timesOf(series).subarray(scrapes - (counts[series] as number));
      assert.deepEqual(column?.ms.subarray(0, counts[series]), times, `${order}: series ${series} has its own times`);
    }
    assert.equal(new Set(open).size, targets.length, `columns ${order}`);
    const bytes = memory.timeBytes;
    for (const column of new Set(open)) {
      assert.equal(column?.users, 100);
      for (let user = 0; user < 100 && column !== undefined; user++) memory.leave(column);
    }
    assert.ok(bytes > 0);
    assert.equal(memory.timeBytes, 0);
  }
});

function emptyRow(): ValueRow {
  return { page: undefined, values: new Float64Array(0), base: 0, capacity: 0 };
}
