import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { STALE_NAN } from "../model/float-chunk.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import type { SeriesToAppend } from "../model/series.ts";
import {
  allOf,
  EVERYTHING,
  labels,
  metricDirectory,
  openMetrics,
  START_MS,
  seriesOf,
  type TestSample,
} from "./metric-fixture.ts";
import type { MetricStore } from "./metric-store.ts";

const M = labels("m", { job: "shop" });

/** Increments `[seconds after START_MS, value]`, as delta temporality brings them. */
function increments(...samples: (readonly [seconds: number, value: number | NativeHistogram])[]): SeriesToAppend {
  const placed = samples.map(([seconds, value]): TestSample => [START_MS + seconds * 1_000, value, START_MS]);
  return { ...seriesOf(M, placed), increments: true };
}

function observed(counts: readonly number[], schema = 0): NativeHistogram {
  return {
    schema,
    zeroThreshold: 0,
    zeroCount: 0,
    count: counts.reduce((sum, each) => sum + each, 0),
    sum: counts.length,
    positiveSpans: [{ offset: 0, length: counts.length }],
    positiveCounts: Float64Array.from(counts),
    negativeSpans: [],
    negativeCounts: new Float64Array(),
    customValues: new Float64Array(),
    resetHint: "unknown",
    integer: true,
  };
}

async function totalsOf(metrics: MetricStore): Promise<number[]> {
  const [series] = await metrics.reader.select(EVERYTHING, 0, 2 ** 52);
  return [...(series?.values ?? [])];
}

const VALUES = [0, 1, 2.5, 4];

test("increments are stored as the running total, and go on over a clean stop", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory);
  t.after(() => metrics.close());
  for (const [at, value] of VALUES.entries()) {
    const { samples, refused } = await metrics.appendSeries([increments([at + 1, value])]);
    assert.deepEqual([samples, refused.size], [1, 0]);
  }
  assert.deepEqual(await totalsOf(metrics), [0, 1, 3.5, 7.5]);
  await metrics.close();
  metrics = await openMetrics(directory);
  await metrics.appendSeries([increments([10, 2]), increments([11, 3])]);
  assert.deepEqual(await totalsOf(metrics), [0, 1, 3.5, 7.5, 9.5, 12.5]);
});

test("an increment that is sent again is counted once, and is no fault", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  t.after(() => metrics.close());
  await metrics.appendSeries([increments([1, 5])]);
  for (const write of [[increments([1, 5])], [increments([2, 1])], [increments([2, 1])]]) {
    const { samples, refused } = await metrics.appendSeries(write);
    assert.deepEqual([samples, refused.size], [1, 0]);
  }
  assert.deepEqual(await totalsOf(metrics), [5, 6]);
});

test("what is older, or of one time within one write, is refused and told: it is in no total", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), { outOfOrderWindowMs: 3_600_000 });
  t.after(() => metrics.close());
  await metrics.appendSeries([increments([5, 5])]);
  const old = await metrics.appendSeries([increments([4, 1])]);
  assert.deepEqual([old.samples, Object.fromEntries(old.refused), old.refusedSeries], [0, { out_of_order: 1 }, [0]]);
  assert.match(old.refusals[0]?.text ?? "", /out of order sample/);
  const twice = await metrics.appendSeries([increments([6, 1]), increments([6, 2])]);
  assert.deepEqual([twice.samples, Object.fromEntries(twice.refused), twice.refusedSeries], [1, { duplicate: 1 }, [1]]);
  await metrics.appendSeries([increments([7, 1])]);
  assert.deepEqual(await totalsOf(metrics), [5, 6, 7]);
});

test("a write that failed leaves no trace in the total", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { segmentBytesMax: 1 });
  t.after(() => metrics.close());
  await metrics.appendSeries([increments(...Array.from({ length: 100 }, (_, at) => [at, 1 / 3] as const))]);
  const [before] = (await totalsOf(metrics)).slice(-1);
  const blocker = join(directory, "wal", "metrics-00000002.log");
  await writeFile(blocker, "");
  const next = [increments([200, 2])];
  await assert.rejects(metrics.appendSeries(next), { code: "store_unavailable" });
  await rm(blocker);
  assert.equal((await metrics.appendSeries(next)).samples, 1);
  assert.deepEqual((await totalsOf(metrics)).slice(-2), [before, (before ?? 0) + 2]);
});

test("a total begins anew behind a stale marker, and behind a number that is none", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  t.after(() => metrics.close());
  await metrics.appendSeries([increments([1, 5], [2, Number.NaN], [3, 2], [4, 1])]);
  await metrics.appendSeries([seriesOf(M, [[START_MS + 5_000, STALE_NAN]])]);
  await metrics.appendSeries([increments([6, 4])]);
  assert.deepEqual((await totalsOf(metrics)).map(String), ["5", "NaN", "2", "3", "NaN", "4"]);
});

test("histograms add up, in one write, over writes and over a crash, in the coarser of their schemas", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  t.after(() => metrics.close());
  const counts = async () => {
    const [series] = await metrics.reader.select(EVERYTHING, 0, 2 ** 52);
    return series?.histograms?.map((each) => [each?.schema, each?.count, [...(each?.positiveCounts ?? [])]].flat(2));
  };
  await metrics.appendSeries([
    increments([1, observed([1, 2])], [2, observed([1, 1])]),
    increments([3, observed([0, 0, 4])]),
  ]);
  await metrics.appendSeries([increments([4, observed([1, 1], -1)])]);
  assert.deepEqual(await counts(), [
    [0, 3, 1, 2],
    [0, 5, 2, 3],
    [0, 9, 2, 3, 4],
    [-1, 11, 3, 8],
  ]);
  const again = await metrics.appendSeries([increments([4, observed([1, 1], -1)])]);
  assert.deepEqual([again.histograms, again.refused.size], [1, 0]);
  assert.equal((await allOf(metrics)).length, 1);
});

/** One observation in bucket `index`. */
function observedIn(index: number, schema: number): NativeHistogram {
  return { ...observed([1], schema), positiveSpans: [{ offset: index, length: 1 }] };
}

test("a total of histograms keeps to 160 buckets a side, made coarser for it", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  t.after(() => metrics.close());
  const indexes = [-2000, 2000, 0, ...Array.from({ length: 3_000 }, (_, at) => at - 1500)];
  await metrics.appendSeries(indexes.map((index, at) => increments([at + 1, observedIn(index, 8)])));
  const [series] = await metrics.reader.select(EVERYTHING, 0, 2 ** 52);
  const totals = series?.histograms ?? [];
  // The schemas that the Collector's processor deltatocumulative chooses.
  assert.deepEqual(
    totals.slice(0, 3).map((each) => each?.schema),
    [8, 3, 3],
  );
  assert.deepEqual(totals[1]?.positiveSpans, [
    { offset: -62, length: 1 },
    { offset: 124, length: 1 },
  ]);
  const last = totals.at(-1);
  assert.equal(last?.count, indexes.length);
  assert.equal(
    last?.positiveCounts.reduce((sum, each) => sum + each),
    indexes.length,
  );
  assert.ok(totals.every((each) => each !== undefined && each.positiveCounts.length <= 160));
});

test("a total begins anew where no schema has few enough buckets for it", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  t.after(() => metrics.close());
  await metrics.appendSeries([-(2 ** 30), 2 ** 30].map((index, at) => increments([at + 1, observedIn(index, 8)])));
  const [series] = await metrics.reader.select(EVERYTHING, 0, 2 ** 52);
  assert.deepEqual(
    series?.histograms?.map((each) => [each?.count, each?.schema, each?.positiveSpans[0]?.offset]),
    [
      [1, 8, -(2 ** 30)],
      [1, 8, 2 ** 30],
    ],
  );
});

test("totals of one write have 2,000,000 buckets together; what goes beyond is refused and told", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  t.after(() => metrics.close());
  const wide = observed(Array.from({ length: 150_000 }, () => 1));
  const write = Array.from({ length: 15 }, (_, at) => ({
    ...increments([1, wide]),
    labels: labels("m", { at: String(at) }),
  }));
  const { histograms, refused, refusedSeries, refusals } = await metrics.appendSeries(write);
  assert.deepEqual([histograms, [...refused], refusedSeries], [14, [["total_buckets_max", 1]], [14]]);
  assert.match(refusals[0]?.text ?? "", /have 2000000 buckets already for series \{__name__="m", at="14"\}/);
  const again = await metrics.appendSeries(write.slice(14));
  assert.deepEqual([again.histograms, again.refused.size], [1, 0]);
});
