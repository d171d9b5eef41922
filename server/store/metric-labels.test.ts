import assert from "node:assert/strict";
import { test } from "node:test";
import type { Matcher } from "../model/series.ts";
import { EVERYTHING, labels, metricDirectory, openMetrics, random, START_MS, seriesOf } from "./metric-fixture.ts";

const HOUR_MS = 3_600_000;

test("names and values of labels come from memory and blocks, as far as series lie in the range", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  await metrics.appendSeries([
    seriesOf(labels("early", { job: "a", zone: "z" }), [[START_MS, 1]]),
    seriesOf(labels("both", { job: "b" }), [[START_MS, 1]]),
  ]);
  await metrics.sealAll();
  await metrics.appendSeries([
    seriesOf(labels("both", { job: "b" }), [[START_MS + HOUR_MS, 1]]),
    seriesOf(labels("late", { job: "c", rack: "r" }), [[START_MS + HOUR_MS, 1]]),
  ]);
  const { reader } = metrics;
  const b: Matcher[] = [{ name: "job", kind: "=", value: "b" }];
  assert.deepEqual(await reader.finder.labelNames({ matchers: [], minMs: 0, maxMs: 2 ** 52 }), [
    "__name__",
    "job",
    "rack",
    "zone",
  ]);
  assert.deepEqual(await reader.finder.labelNames({ matchers: [], minMs: START_MS, maxMs: START_MS }), [
    "__name__",
    "job",
    "zone",
  ]);
  assert.deepEqual(await reader.finder.labelNames({ matchers: b, minMs: 0, maxMs: 2 ** 52 }), ["__name__", "job"]);
  assert.deepEqual(await reader.finder.labelNames({ matchers: [], minMs: 0, maxMs: START_MS - 1 }), []);
  assert.deepEqual(await reader.finder.labelValues("job", { matchers: [], minMs: 0, maxMs: 2 ** 52 }), ["a", "b", "c"]);
  assert.deepEqual(await reader.finder.labelValues("job", { matchers: [], minMs: START_MS + 1, maxMs: 2 ** 52 }), [
    "b",
    "c",
  ]);
  assert.deepEqual(await reader.finder.labelValues("__name__", { matchers: b, minMs: START_MS, maxMs: START_MS }), [
    "both",
  ]);
  assert.deepEqual(await reader.finder.labelValues("absent", { matchers: [], minMs: 0, maxMs: 2 ** 52 }), []);
  await metrics.close();
});

test("the status tells series, pairs, bytes and the largest of each", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  assert.equal(metrics.status(10).minMs, undefined);
  await metrics.appendSeries([
    seriesOf(labels("up", { job: "shop" }), [[START_MS, 1]]),
    seriesOf(labels("up", { job: "cart" }), [[START_MS + 5, 1]]),
    seriesOf(labels("down", { job: "shop" }), [[START_MS + 9, 1]]),
  ]);
  const want = {
    series: 3,
    chunks: 3,
    minMs: START_MS,
    maxMs: START_MS + 9,
    labelPairs: 4,
    seriesByMetric: [
      { name: "up", count: 2 },
      { name: "down", count: 1 },
    ],
    valuesByLabel: [
      { name: "__name__", count: 2 },
      { name: "job", count: 2 },
    ],
    // Name, value and a byte of length for each, in every series.
    bytesByLabel: [
      { name: "__name__", count: 2 * 12 + 14 },
      { name: "job", count: 3 * 9 },
    ],
    seriesByPair: [
      { name: "__name__=up", count: 2 },
      { name: "job=shop", count: 2 },
      { name: "__name__=down", count: 1 },
      { name: "job=cart", count: 1 },
    ],
    blocks: [],
  };
  assert.deepEqual(metrics.status(10), want);
  assert.deepEqual(metrics.status(1).seriesByPair, want.seriesByPair.slice(0, 1));
  await metrics.sealAll();
  const { blocks, ...sealed } = metrics.status(10);
  const { blocks: none, ...others } = want;
  assert.deepEqual([none.length, sealed], [0, { ...others, chunks: 0 }]);
  const [block] = blocks;
  assert.ok(block !== undefined && block.bytes > 0);
  const { number, minMs, maxMs, series, samples, joinedFrom } = block;
  assert.deepEqual([number, minMs, maxMs, series, samples, joinedFrom], [1, START_MS, START_MS + 9, 3, 3, []]);
  await metrics.close();
});

test("the largest counts are found among many", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  const pick = random(4);
  const counts = new Map<string, number>();
  const write = Array.from({ length: 2000 }, (_, i) => {
    const name = `m${Math.floor(pick(40) ** 2 / 40)}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    return seriesOf(labels(name, { i: String(i) }), [[START_MS, 1]]);
  });
  await metrics.appendSeries(write);
  const want = [...counts.values()].sort((a, b) => b - a).slice(0, 5);
  assert.deepEqual(
    metrics.status(5).seriesByMetric.map(({ count }) => count),
    want,
  );
  await metrics.close();
});

test("a selection stops at its bounds and when its client leaves, in memory and in blocks", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  const samples = [...Array(100).keys()].map((i) => [START_MS + i, i] as const);
  await metrics.appendSeries(["a", "b", "c"].map((name) => seriesOf(labels(name), samples)));
  for (const where of ["memory", "blocks"]) {
    const select = (samplesMax: number, seriesMax: number, signal?: AbortSignal) =>
      metrics.reader.select(EVERYTHING, 0, 2 ** 52, { samplesMax, seriesMax, signal });
    assert.equal((await select(300, 3)).length, 3, where);
    await assert.rejects(select(299, 3), { code: "query_samples_max" });
    await assert.rejects(select(300, 2), { code: "query_series_max" });
    await metrics.sealAll();
  }
  const limits = { samplesMax: 300, seriesMax: 3, signal: AbortSignal.abort(new Error("gone")) };
  await assert.rejects(metrics.reader.select(EVERYTHING, 0, 2 ** 52, limits), /gone/);
  await metrics.close();
});
