import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { STALE_NAN } from "../model/float-chunk.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import type { Exemplar, Labels, SeriesToAppend } from "../model/series.ts";
import {
  allOf,
  anyHistogram,
  bitText,
  EVERYTHING,
  grown,
  labels,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
  type TestSample,
  valuesOf,
} from "./metric-fixture.ts";
import type { MetricStore, MetricStoreOptions } from "./metric-store.ts";
import type { AppendOutcome } from "./writer.ts";

const M = labels("m", { job: "shop" });

async function openIn(t: TestContext, more: Partial<MetricStoreOptions> = {}) {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory, more);
  t.after(() => metrics.close());
  const reopen = async () => {
    await metrics.close();
    metrics = await openMetrics(directory, more);
    return metrics;
  };
  return { metrics, reopen };
}

const floats = (...samples: (readonly [number, number])[]) => seriesOf(M, samples);

function refused({ refused: counts }: AppendOutcome): Record<string, number> {
  return Object.fromEntries(counts);
}

test("floats, histograms of all kinds, stale markers and starts are there after a restart as before", async (t) => {
  const { metrics, reopen } = await openIn(t);
  const pick = random(5);
  for (let round = 0; round < 30; round++) {
    const ms = 1_768_478_400_000 + round * 15_000;
    const outcome = await metrics.appendSeries([
      seriesOf(labels("float"), [[ms, round / 3, ms - 1000]]),
      seriesOf(labels("mixed"), [[ms, round % 4 === 0 ? round : anyHistogram(pick)]]),
      seriesOf(labels("histogram"), [
        [ms, anyHistogram(pick), 5],
        [ms + 1, round % 7 === 0 ? STALE_NAN : anyHistogram(pick)],
      ]),
    ]);
    assert.equal(outcome.samples + outcome.histograms, 4);
    assert.equal(outcome.refused.size, 0);
  }
  const before = await allOf(metrics);
  assert.equal(before.length, 3);
  const again = await reopen();
  assert.deepEqual(await allOf(again), before);
});

test("hints are read as Prometheus reads them: a counter that fell, or may have, is unknown, else not reset", async (t) => {
  const { metrics, reopen } = await openIn(t);
  const one: NativeHistogram = {
    ...anyHistogram(random(9)),
    ...{ schema: 3, zeroThreshold: 0, zeroCount: 1, count: 9, customValues: new Float64Array(0) },
    ...{ positiveSpans: [{ offset: 1, length: 2 }], positiveCounts: Float64Array.of(4, 4) },
    ...{ resetHint: "unknown", integer: false },
  };
  const gauge = { ...one, resetHint: "gauge" } as const;
  const reset = { ...grown(one, 3), resetHint: "reset" } as const;
  const liar = { ...one, count: 0, resetHint: "not_reset" } as const;
  const samples: TestSample[] = [
    [1, { ...one, resetHint: "not_reset" }],
    [2, grown(one, 1)],
    [3, grown(one, 2)],
    [4, reset],
    [5, grown(one, 4)],
    [6, liar],
    [7, gauge],
    [8, grown(one, 5)],
    [9, 1],
    [10, grown(one, 6)],
    [11, STALE_NAN],
    [12, grown(one, 7)],
    [13, { ...grown(one, 8), schema: 2 }],
    [14, { ...grown(one, 9), schema: 2 }],
    [7_200_000, { ...grown(one, 10), schema: 2 }],
    [7_200_001, { ...grown(one, 11), schema: 2 }],
  ];
  for (const [ms, value] of samples) await metrics.appendSeries([seriesOf(M, [[ms, value]])]);
  const hints = async (of: MetricStore) => {
    const [found] = await of.reader.select(EVERYTHING, 0, 2 ** 52);
    return found?.histograms?.map((histogram) => histogram?.resetHint).join(" ");
  };
  const want =
    "unknown not_reset not_reset unknown not_reset unknown gauge unknown  unknown  unknown unknown not_reset unknown not_reset";
  assert.equal(await hints(metrics), want);
  assert.equal(await hints(await reopen()), want);
});

test("a stale histogram becomes the stale float", async (t) => {
  const { metrics } = await openIn(t);
  const histogram = anyHistogram(random(3));
  const outcome = await metrics.appendSeries([
    seriesOf(M, [
      [1, histogram],
      [2, { ...histogram, sum: STALE_NAN }],
    ]),
  ]);
  assert.equal(outcome.histograms, 2);
  const [found] = await metrics.reader.select(EVERYTHING, 0, 10);
  assert.equal(bitText(found?.values[1] ?? 0), bitText(STALE_NAN));
  assert.equal(found?.histograms?.[1], undefined);
});

test("what is not newer than the newest is refused as Prometheus does, an exact repeat is kept", async (t) => {
  const { metrics, reopen } = await openIn(t);
  const histogram = anyHistogram(random(3));
  const check = async (of: MetricStore, series: SeriesToAppend, want: string) => {
    const { refusals, samples, histograms } = await of.appendSeries([series]);
    assert.equal(refusals[0]?.text ?? `kept ${samples + histograms}`, want);
  };
  await check(metrics, floats([1000, 1]), "kept 1");
  await check(metrics, floats([1000, 1]), "kept 1");
  const of = 'for series {__name__="m", job="shop"}';
  const twice = "duplicate sample for timestamp 1000; overrides not allowed: existing 1, new value 2";
  await check(metrics, floats([1000, 2]), `${twice} ${of}`);
  await check(metrics, seriesOf(M, [[1000, histogram]]), `duplicate sample for timestamp ${of}`);
  await check(metrics, floats([999, 1]), `out of order sample ${of}`);
  await check(metrics, seriesOf(M, [[1001, histogram]]), "kept 1");
  await check(metrics, seriesOf(M, [[1001, { ...histogram, resetHint: "reset" }]]), "kept 1");
  await check(metrics, seriesOf(M, [[1001, { ...histogram, sum: 12_345 }]]), `duplicate sample for timestamp ${of}`);
  const overHistogram =
    "duplicate sample for timestamp 1001; overrides not allowed: existing is a histogram, new value 3";
  await check(metrics, floats([1001, 3]), `${overHistogram} ${of}`);
  const again = await reopen();
  await check(again, seriesOf(M, [[1001, histogram]]), "kept 1");
  await check(again, floats([1001, 3]), `${overHistogram} ${of}`);
  await check(again, floats([2 ** 51, 3]), `out of bounds ${of}`);
  await check(
    again,
    seriesOf(M, [[1002, { ...histogram, schema: 20 }]]),
    `histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema 20 ${of}`,
  );
  assert.deepEqual(Object.fromEntries(again.stats().leftOut), { duplicate: 1, timestamp: 1, histogram_invalid: 1 });
});

test("what a write says against itself is left out but not reported", async (t) => {
  const { metrics } = await openIn(t);
  const outcome = await metrics.appendSeries([floats([10, 1], [10, 2], [5, 3], [11, 4]), floats([11, 5], [12, 6])]);
  assert.equal(outcome.samples, 3);
  assert.deepEqual(refused(outcome), { duplicate: 2, out_of_order: 1 });
  assert.deepEqual(outcome.refusals, []);
  assert.equal(outcome.unreported.samples, 3);
  assert.equal(await valuesOf(metrics), "10:1 11:4 12:6");
  const next = await metrics.appendSeries([floats([12, 7], [13, 8], [12.5, 0], [3, 9])]);
  assert.deepEqual(refused(next), { duplicate: 1, timestamp: 1, out_of_order: 1 });
  assert.equal(next.unreported.samples, 0);
  assert.equal(await valuesOf(metrics), "10:1 11:4 12:6 13:8");
});

test("late samples within the window are merged at read, those beyond it are too old", async (t) => {
  const { metrics, reopen } = await openIn(t, { outOfOrderWindowMs: 1000 });
  const pick = random(12);
  const other = labels("other");
  await metrics.appendSeries([floats([10_000, 0])]);
  const want = new Map([[10_000, 0]]);
  for (let round = 0; round < 400; round++) {
    const ms = 9000 + pick(1000);
    const outcome = await metrics.appendSeries([floats([ms, round])]);
    const known = want.has(ms);
    assert.ok(outcome.samples === 1 || (known && outcome.unreported.samples === 1), `${round} ${ms}`);
    if (!known) want.set(ms, round);
  }
  const { refusals } = await metrics.appendSeries([floats([8999, 1])]);
  assert.match(refusals[0]?.text ?? "", /^too old sample for series/);
  // In order for its own series, whatever the others have.
  assert.equal((await metrics.appendSeries([seriesOf(other, [[5, 1]])])).samples, 1);
  const sorted = [...want].sort(([a], [b]) => a - b).map(([ms, value]) => `${ms}:${value}`);
  assert.equal(await valuesOf(metrics), sorted.join(" "));
  const before = await allOf(metrics);
  const again = await reopen();
  assert.deepEqual(await allOf(again), before);
  const [part] = await again.reader.select(EVERYTHING, 9500, 9600);
  const inside = [...want.keys()].filter((ms) => ms >= 9500 && ms <= 9600).sort((a, b) => a - b);
  assert.deepEqual([...(part?.timestampsMs ?? [])], inside);
});

test("exemplars: repeats are kept once, older ones and long labels are refused, all is there after a restart", async (t) => {
  const { metrics, reopen } = await openIn(t);
  const trace: Labels = [["trace_id", "a".repeat(32)]];
  const exemplar = (timestampMs: number, value: number, l: Labels = trace): Exemplar => ({
    labels: l,
    timestampMs,
    value,
  });
  const append = (...exemplars: Exemplar[]) => metrics.appendSeries([{ ...floats([START_MS, 1]), exemplars }]);
  const kept = async (outcome: Promise<AppendOutcome>) => {
    const { exemplars, refusals, refused: counts } = await outcome;
    return [
      exemplars,
      [...counts.keys()].join(),
      refusals.find(({ of }) => of === "exemplars")?.text.split(" for ")[0] ?? "",
    ].join("|");
  };
  assert.equal(await kept(append(exemplar(20, 2), exemplar(10, 1))), "2||");
  assert.equal(await kept(append(exemplar(20, 2))), "1||");
  assert.equal(await kept(append(exemplar(15, 2))), "0|exemplar_out_of_order|out of order exemplar");
  assert.equal(await kept(append(exemplar(20, 1))), "0|exemplar_out_of_order|out of order exemplar");
  assert.equal(await kept(append(exemplar(20, 3))), "1||");
  assert.equal(await kept(append(exemplar(30, 1, [["t", "ä".repeat(127)]]))), "1||");
  assert.equal(await kept(append(exemplar(31, 1, [["t", "ä".repeat(128)]]))), "0|exemplar_labels|");
  const lonely = { ...seriesOf(labels("lonely"), []), exemplars: [exemplar(1, 1)] };
  assert.equal(await kept(metrics.appendSeries([lonely])), "0|exemplar_series|");
  const found = (of: MetricStore) => of.reader.finder.exemplars([{ name: "job", kind: "=", value: "shop" }], 15, 100);
  const want = [
    { labels: M, exemplars: [exemplar(20, 2), exemplar(20, 3), exemplar(30, 1, [["t", "ä".repeat(127)]])] },
  ];
  assert.deepEqual(await found(metrics), want);
  assert.deepEqual(await found(await reopen()), want);
});

test("metadata survives a restart, also one without samples and over full segments", async (t) => {
  const { metrics, reopen } = await openIn(t, { segmentBytesMax: 400 });
  metrics.describe({ name: "m", type: "counter", help: "Counts äöü.", unit: "" });
  metrics.describe({ name: "n", type: "gaugehistogram", help: "", unit: "seconds" });
  for (let i = 0; i < 60; i++) await metrics.appendSeries([floats([i, i / 7])]);
  metrics.describe({ name: "m", type: "counter", help: "Counts.", unit: "" });
  const want = metrics.metadata();
  const again = await reopen();
  assert.deepEqual(again.metadata(), want);
  assert.equal(want[0]?.help, "Counts.");
});

test("samples of 1970 are taken by an empty head and stay", async (t) => {
  const { metrics, reopen } = await openIn(t, { retentionMs: 3_600_000 });
  await metrics.appendSeries([floats([0, 1], [60_000, 2])]);
  const again = await reopen();
  assert.equal(await valuesOf(again), "0:1 60000:2");
});
