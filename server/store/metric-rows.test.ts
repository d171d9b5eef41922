import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { STALE_NAN } from "../model/float-chunk.ts";
import type { FloatRows, LabelsHandle, SeriesToAppend } from "../model/series.ts";
import {
  allOf,
  anyDouble,
  labels,
  metricDirectory,
  openMetrics,
  type Pick,
  random,
  START_MS,
  seriesOf,
  TestClock,
} from "./metric-fixture.ts";

const HANDLES = 12;

interface Row {
  readonly at: number;
  readonly ms: number;
  readonly value: number;
}

/** Rows of a scrape as senders bring them: most of one time, some late, repeated or of a time of their own. */
function anyRows(pick: Pick, step: number): Row[] {
  const rows: Row[] = [];
  const base = START_MS + 15_000 * step;
  for (let at = 0; at < HANDLES; at++) {
    if (pick(9) === 0) continue;
    const odd = pick(12);
    const ms = odd === 0 ? base - pick(40_000) : odd === 1 ? base + pick(3) : base;
    const value = pick(20) === 0 ? Number.NaN : pick(3) === 0 ? anyDouble(pick) : pick(1000);
    rows.push({ at, ms, value });
    if (pick(10) === 0) rows.push({ at, ms: pick(2) === 0 ? ms : ms + 1, value: pick(2) === 0 ? value : 7 });
  }
  return rows;
}

function columnsOf(rows: readonly Row[], handles: readonly LabelsHandle[]): FloatRows {
  const timestampsMs = new Float64Array(rows.length);
  const values = new Float64Array(rows.length);
  for (const [row, { ms, value }] of rows.entries()) {
    timestampsMs[row] = ms;
    // A NaN of a list may have lost its bits.
    values[row] = Number.isNaN(value) ? STALE_NAN : value;
  }
  const named = rows.map(({ at }) => handles[at]).filter((handle) => handle !== undefined);
  return { count: rows.length, handles: named, timestampsMs, values };
}

function seriesOfRows({ count, handles, timestampsMs, values }: FloatRows): SeriesToAppend[] {
  return Array.from({ length: count }, (_, row) => ({
    labels: handles[row]?.labels ?? [],
    timestampsMs: timestampsMs.slice(row, row + 1),
    values: values.slice(row, row + 1),
  }));
}

test("rows are judged, stored, sealed and replayed as the same samples one by one are", async (t) => {
  for (const outOfOrderWindowMs of [0, 30_000]) {
    const pick = random(11 + outOfOrderWindowMs);
    const clock = new TestClock();
    const open = (directory: string) => openMetrics(directory, { clock, outOfOrderWindowMs });
    const directories = [await metricDirectory(t), await metricDirectory(t)] as const;
    let byRows = await open(directories[0]);
    let bySeries = await open(directories[1]);
    let handles: LabelsHandle[] = [];
    for (let step = 0; step < 700; step++) {
      if (step % 250 === 0) {
        // Handles of another process, as after a restart of the decoder.
        handles = Array.from({ length: HANDLES }, (_, i) => ({
          labels: labels("m", { i: String(i) }),
          note: undefined,
        }));
      }
      const rows = columnsOf(anyRows(pick, step), handles);
      const more = pick(5) === 0 ? [seriesOf(labels("m", { i: "3" }), [[START_MS + 15_000 * step + 9, 1]])] : [];
      const one = await byRows.appendSeries(more, rows);
      const other = await bySeries.appendSeries([...seriesOfRows(rows), ...more]);
      assert.deepEqual({ ...one, refusedSeries: [] }, { ...other, refusedSeries: [] }, `step ${step}`);
      if (step === 300) await Promise.all([byRows.sealAll(), bySeries.sealAll()]);
      if (step % 200 !== 199) continue;
      assert.deepEqual(await allOf(byRows), await allOf(bySeries));
      await Promise.all([byRows.close(), bySeries.close()]);
      byRows = await open(directories[0]);
      bySeries = await open(directories[1]);
      assert.deepEqual(await allOf(byRows), await allOf(bySeries));
    }
    assert.deepEqual(await allOf(byRows), await allOf(bySeries));
    await Promise.all([byRows.close(), bySeries.close()]);
  }
});

test("rows of a write that failed are judged again as if they had never come", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { segmentBytesMax: 1 });
  const handle: LabelsHandle = { labels: labels("m"), note: undefined };
  const write = (rows: readonly Row[]) => metrics.appendSeries([], columnsOf(rows, [handle]));
  await write(Array.from({ length: 100 }, (_, i) => ({ at: 0, ms: START_MS + i, value: i })));
  const before = await allOf(metrics);
  const blocker = join(directory, "wal", "metrics-00000002.log");
  await writeFile(blocker, "");
  const next = [{ at: 0, ms: START_MS + 200, value: 1 }];
  await assert.rejects(write(next), { code: "store_unavailable" });
  assert.deepEqual(await allOf(metrics), before);
  await rm(blocker);
  assert.equal((await write([{ at: 0, ms: START_MS + 150, value: 2 }, ...next])).samples, 2);
  await metrics.close();
});
