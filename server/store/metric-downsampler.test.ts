import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { SeriesSamples } from "../model/series.ts";
import {
  anyHistogram,
  EVERYTHING,
  labels,
  metricDirectory,
  openMetrics,
  random,
  seriesOf,
  TestClock,
  type TestSample,
} from "./metric-fixture.ts";
import type { MetricStore } from "./metric-store.ts";
import type { WindowAggregate } from "./reader.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A whole day, which ranges of every length start at. */
const DAY_ONE_MS = Math.floor(1_768_478_400_000 / DAY_MS) * DAY_MS;
const ALL = { minMs: -(2 ** 52), maxMs: 2 ** 52 };
const ON = {
  downsampling: { minuteRetentionMs: 90 * DAY_MS, hourRetentionMs: 365 * DAY_MS },
  retentionMs: 30 * DAY_MS,
};

async function read(metrics: MetricStore, aggregate: WindowAggregate, resolutionMs = MINUTE_MS, range = ALL) {
  const limits = { samplesMax: 1e9, seriesMax: 1e6, source: { resolutionMs, aggregate } };
  return metrics.reader.select(EVERYTHING, range.minMs, range.maxMs, limits);
}

const pairs = (found: readonly SeriesSamples[]) =>
  [...(found[0]?.timestampsMs ?? [])].map((ms, at) => [ms, found[0]?.values[at]] as const);

/** A counter with resets and a gauge, every `stepMs`, with jitter. */
function samplesOf(seed: number, count: number, stepMs: number): [counter: TestSample[], gauge: TestSample[]] {
  const pick = random(seed);
  let total = 5;
  const counter: TestSample[] = [];
  const gauge: TestSample[] = [];
  for (let at = 1; at <= count; at++) {
    const ms = DAY_ONE_MS + at * stepMs - pick(stepMs / 2);
    total = pick(200) === 0 ? pick(10) : total + pick(20);
    counter.push([ms, total]);
    gauge.push([ms, pick(2000) / 8 - 100]);
  }
  return [counter, gauge];
}

/** Windows as a person would count them. */
function windowsBy(samples: readonly TestSample[], resolutionMs: number, of: (values: readonly number[]) => number) {
  const windows = new Map<number, TestSample[]>();
  for (const sample of samples) {
    const key = Math.ceil(sample[0] / resolutionMs);
    windows.set(key, [...(windows.get(key) ?? []), sample]);
  }
  return [...windows.values()].map(
    (window) => [window.at(-1)?.[0], of(window.map(([, value]) => value as number))] as const,
  );
}

test("windows tell exactly what the samples do, from blocks and memory together", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), ON);
  const [, gauge] = samplesOf(1, 8 * 240, 15_000);
  await metrics.appendSeries([seriesOf(labels("g"), gauge)]);
  await metrics.sealAll();
  await metrics.settled();
  const done = DAY_ONE_MS + 6 * HOUR_MS;
  const old = gauge.filter(([ms]) => ms <= done);
  const recent = gauge.filter(([ms]) => ms > done);
  const check = async (aggregate: WindowAggregate, of: (values: readonly number[]) => number) => {
    const wanted = [
      ...windowsBy(old, MINUTE_MS, of),
      ...recent.map(([ms, value]) => [ms, of([value as number])] as const),
    ];
    assert.deepEqual(pairs(await read(metrics, aggregate)), wanted, aggregate);
  };
  await check("count", (values) => values.length);
  await check("sum", (values) => values.reduce((a, b) => a + b));
  await check("min", (values) => Math.min(...values));
  await check("max", (values) => Math.max(...values));
  await check("last", (values) => values.at(-1) ?? 0);
  const part = { minMs: DAY_ONE_MS + HOUR_MS + 1, maxMs: DAY_ONE_MS + 2 * HOUR_MS };
  assert.equal(
    pairs(await read(metrics, "count", MINUTE_MS, part)).reduce((sum, [, value]) => sum + (value ?? 0), 0),
    240,
  );
  await metrics.close();
});

test("a counter grows by what its samples grew by, over resets, ranges and into memory", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory, ON);
  const [counter] = samplesOf(2, 30 * 240, 15_000);
  await metrics.appendSeries([seriesOf(labels("c_total"), counter)]);
  await metrics.sealAll();
  await metrics.settled();
  await metrics.close();
  metrics = await openMetrics(directory, ON);
  for (const resolutionMs of [MINUTE_MS, HOUR_MS]) {
    const found = pairs(await read(metrics, "counter", resolutionMs));
    const byTime = new Map(found);
    const times = new Set(counter.map(([ms]) => ms));
    const inWindows = found.filter(([ms]) => times.has(ms));
    let grown = 0;
    let previous: number | undefined;
    let first: readonly [grown: number, told: number] | undefined;
    let checked = 0;
    for (const [ms, value] of counter) {
      const now = value as number;
      if (previous !== undefined) grown += now >= previous ? now - previous : now;
      previous = now;
      const told = byTime.get(ms);
      if (told === undefined) continue;
      first ??= [grown, told];
      assert.equal(told - first[1], grown - first[0], `${resolutionMs} at ${ms}`);
      checked++;
    }
    assert.equal(checked, inWindows.length);
    assert.ok(checked > 20);
  }
  await metrics.close();
});

test("hours are told by a day, minutes where only they are asked for; nothing where downsampling is off", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), ON);
  const [, gauge] = samplesOf(3, 50 * 60, 60_000);
  await metrics.appendSeries([seriesOf(labels("g"), gauge)]);
  await metrics.sealAll();
  await metrics.settled();
  const old = gauge.filter(([ms]) => ms <= DAY_ONE_MS + 48 * HOUR_MS);
  const hours = pairs(await read(metrics, "max", DAY_MS, { minMs: ALL.minMs, maxMs: DAY_ONE_MS + 48 * HOUR_MS }));
  assert.deepEqual(
    hours,
    windowsBy(old, HOUR_MS, (values) => Math.max(...values)),
  );
  assert.equal(pairs(await read(metrics, "max", 59_999)).length, gauge.length, "too short for windows: samples");
  await metrics.close();
  const off = await openMetrics(await metricDirectory(t));
  await off.appendSeries([seriesOf(labels("g"), gauge)]);
  await off.sealAll();
  await off.settled();
  assert.deepEqual(
    pairs(await read(off, "count")),
    gauge.map(([ms]) => [ms, 1]),
  );
  await off.close();
});

test("late samples make their range be written anew, also after a crash before that", async (t) => {
  const directory = await metricDirectory(t);
  const late = { ...ON, outOfOrderWindowMs: 2 * DAY_MS };
  let metrics = await openMetrics(directory, late);
  const [, gauge] = samplesOf(4, 20 * 60, 60_000);
  const isLate = (at: number) => at % 7 === 3;
  await metrics.appendSeries([
    seriesOf(
      labels("g"),
      gauge.filter((_, at) => !isLate(at)),
    ),
  ]);
  await metrics.sealAll();
  await metrics.settled();
  await metrics.appendSeries([
    seriesOf(
      labels("g"),
      gauge.filter((_, at) => isLate(at)),
    ),
  ]);
  await metrics.close();
  metrics = await openMetrics(directory, late);
  await metrics.sealAll();
  await metrics.settled();
  const done = DAY_ONE_MS + 18 * HOUR_MS;
  const wanted = windowsBy(
    gauge.filter(([ms]) => ms <= done),
    MINUTE_MS,
    (values) => values.reduce((a, b) => a + b),
  );
  assert.deepEqual(pairs(await read(metrics, "sum", MINUTE_MS, { minMs: ALL.minMs, maxMs: done })), wanted);
  const files = (await readdir(join(directory, "downsampled", "60s"))).filter((name) => name.startsWith("block-"));
  assert.equal(files.length, 3, "a range has one file");
  await metrics.close();
});

test("without its state, and with a damaged block, windows are as before", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory, ON);
  const [, gauge] = samplesOf(8, 20 * 60, 60_000);
  await metrics.appendSeries([seriesOf(labels("g"), gauge)]);
  await metrics.sealAll();
  await metrics.settled();
  const before = pairs(await read(metrics, "sum"));
  await metrics.close();
  await rm(join(directory, "downsampled", "state.json"));
  await mkdir(join(directory, "downsampled", "state.json"));
  metrics = await openMetrics(directory, ON);
  assert.deepEqual(pairs(await read(metrics, "sum")), before);
  await metrics.settled();
  assert.deepEqual(pairs(await read(metrics, "sum")), before);
  await metrics.close();
  const minutes = join(directory, "downsampled", "60s");
  const [first = ""] = (await readdir(minutes)).filter((name) => name.startsWith("block-"));
  const bytes = await readFile(join(minutes, first));
  bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1;
  await writeFile(join(minutes, first), bytes);
  const damages: string[] = [];
  metrics = await openMetrics(directory, { ...ON, onDamage: (damage) => damages.push(damage.message) });
  assert.equal(damages.length, 1);
  await metrics.settled();
  assert.deepEqual(pairs(await read(metrics, "sum")), before, "the range is written anew, since its samples are there");
  await metrics.close();
});

test("windows are kept when samples go, name their series, and go by their own retention", async (t) => {
  const directory = await metricDirectory(t);
  const short = { downsampling: { minuteRetentionMs: 2 * DAY_MS, hourRetentionMs: 6 * DAY_MS }, retentionMs: DAY_MS };
  const clock = new TestClock();
  clock.ms = DAY_ONE_MS + 10 * DAY_MS;
  const metrics = await openMetrics(directory, { ...short, clock });
  const [, gauge] = samplesOf(5, 5 * 24 * 60, 60_000);
  await metrics.appendSeries([seriesOf(labels("old"), gauge.slice(0, 24 * 60))]);
  await metrics.sealAll();
  await metrics.settled();
  for (let day = 0; day < 5; day++) {
    await metrics.appendSeries([seriesOf(labels("g"), gauge.slice(day * 24 * 60, (day + 1) * 24 * 60))]);
    await metrics.sealAll();
    await metrics.settled();
  }
  for (let call = 0; call < 10; call++) await metrics.enforceRetention();
  const raw = await metrics.reader.select(EVERYTHING, ALL.minMs, ALL.maxMs);
  assert.ok((raw[0]?.timestampsMs[0] ?? 0) > DAY_ONE_MS + 2 * DAY_MS, "samples went");
  const minutes = await read(metrics, "max", MINUTE_MS);
  assert.ok((minutes[0]?.timestampsMs[0] ?? 0) > DAY_ONE_MS + 2.5 * DAY_MS, "minutes went");
  const hours = await read(metrics, "max", HOUR_MS);
  assert.equal(hours.length, 2);
  const [first] = hours.filter(({ labels: l }) => l[0]?.[1] === "g");
  const end = DAY_ONE_MS + 4 * DAY_MS;
  assert.deepEqual(
    pairs(first === undefined ? [] : [first]).filter(([ms]) => ms <= end),
    windowsBy(
      gauge.filter(([ms]) => ms <= end),
      HOUR_MS,
      (values) => Math.max(...values),
    ),
  );
  const names = await metrics.reader.finder.labelValues("__name__", { matchers: [], ...ALL });
  assert.deepEqual(names, ["g", "old"], "a series of which only windows are left is named");
  await metrics.deleteSeries([{ name: "__name__", kind: "=", value: "old" }], ALL.minMs, ALL.maxMs);
  assert.deepEqual(await metrics.reader.finder.labelValues("__name__", { matchers: [], ...ALL }), ["g"]);
  assert.equal((await read(metrics, "max", HOUR_MS)).length, 1);
  await metrics.close();
});

test("the size of all blocks is that of windows too, and each kind keeps its newest", async (t) => {
  const directory = await metricDirectory(t);
  const [, gauge] = samplesOf(5, 5 * 24 * 60, 60_000);
  const metrics = await openMetrics(directory, { ...ON, retentionMs: 90 * DAY_MS });
  for (let day = 0; day < 5; day++) {
    await metrics.appendSeries([seriesOf(labels("g"), gauge.slice(day * 24 * 60, (day + 1) * 24 * 60))]);
    await metrics.sealAll();
    await metrics.settled();
  }
  await metrics.enforceRetention();
  const { blockBytes, windowBlockBytes, windowBlocks } = metrics.stats();
  await metrics.close();
  // More than the samples alone: without windows in the sum nothing would go.
  const blockBytesMax = Math.floor(0.7 * (blockBytes + windowBlockBytes));
  assert.ok(blockBytesMax > blockBytes);
  const half = await openMetrics(directory, { ...ON, retentionMs: 90 * DAY_MS, blockBytesMax });
  await half.enforceRetention();
  const left = half.stats();
  assert.ok(left.blockBytes + left.windowBlockBytes <= blockBytesMax);
  assert.ok(left.windowBlocks < windowBlocks && left.windowBlocks > 2, "windows give way");
  assert.ok(left.blockBytes < blockBytes && left.blocks > 1, "samples give way");
  await half.close();
  const none = await openMetrics(directory, { ...ON, retentionMs: 90 * DAY_MS, blockBytesMax: 1 });
  await none.enforceRetention();
  assert.deepEqual([none.stats().blocks, none.stats().windowBlocks], [1, 2]);
  await none.close();
});

test("where windows went before their samples, the samples are read", async (t) => {
  const downsampling = { minuteRetentionMs: DAY_MS, hourRetentionMs: 2 * DAY_MS };
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { downsampling, retentionMs: 90 * DAY_MS });
  const [counter, gauge] = samplesOf(5, 4 * 24 * 120, 30_000);
  await metrics.appendSeries([seriesOf(labels("g"), gauge)]);
  await metrics.sealAll();
  await metrics.settled();
  const countOf = async (resolutionMs: number) => {
    const found = pairs(await read(metrics, "count", resolutionMs));
    assert.ok(found.every(([ms], at) => ms > (found[at - 1]?.[0] ?? 0)));
    return { count: found.reduce((sum, [, value]) => sum + (value ?? 0), 0), points: found.length };
  };
  const before = [await countOf(MINUTE_MS), await countOf(HOUR_MS)];
  assert.ok((await metrics.enforceRetention()) > 0);
  const { windowBlocks } = metrics.stats();
  const after = [await countOf(MINUTE_MS), await countOf(HOUR_MS)];
  assert.deepEqual(
    [...before, ...after].map(({ count }) => count),
    new Array(4).fill(gauge.length),
  );
  assert.ok(after.every(({ points }, at) => points > (before[at]?.points ?? 0) && points < gauge.length));
  await metrics.close();
  const again = await openMetrics(directory, { downsampling, retentionMs: 90 * DAY_MS });
  // A block that comes has the missing ranges looked for.
  await again.appendSeries([seriesOf(labels("g"), [[(gauge.at(-1)?.[0] ?? 0) + 1_000, 1]])]);
  await again.sealAll();
  await again.settled();
  // But for a range at the edge of each level.
  assert.ok(again.stats().windowBlocks <= windowBlocks + 2, "what is past its retention is not written anew");
  await again.close();
  // What a counter grew by is told alike by windows alone and by samples with windows after them.
  const counting = await openMetrics(await metricDirectory(t), { downsampling, retentionMs: 90 * DAY_MS });
  await counting.appendSeries([seriesOf(labels("c"), counter)]);
  await counting.sealAll();
  await counting.settled();
  const grown = async () => {
    const found = pairs(await read(counting, "counter", HOUR_MS));
    assert.ok(found.every(([ms], at) => ms > (found[at - 1]?.[0] ?? 0)));
    return { points: found.length, growth: (found.at(-1)?.[1] ?? 0) - (found[0]?.[1] ?? 0) };
  };
  const whole = await grown();
  await counting.enforceRetention();
  const mixed = await grown();
  assert.ok(mixed.points > whole.points);
  assert.equal(mixed.growth, whole.growth);
  await counting.close();
});

test("deletions are deleted in windows too, over a restart", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory, ON);
  const [counter, gauge] = samplesOf(6, 20 * 240, 15_000);
  await metrics.appendSeries([seriesOf(labels("c"), counter), seriesOf(labels("g"), gauge)]);
  await metrics.sealAll();
  await metrics.settled();
  const hole = { minMs: DAY_ONE_MS + 3 * HOUR_MS + 17_000, maxMs: DAY_ONE_MS + 9 * HOUR_MS + 31_000 };
  await metrics.deleteSeries([{ name: "__name__", kind: "=", value: "g" }], hole.minMs, hole.maxMs);
  await metrics.sealAll();
  await metrics.settled();
  await metrics.close();
  metrics = await openMetrics(directory, ON);
  const limits = { samplesMax: 1e9, seriesMax: 10, source: { resolutionMs: MINUTE_MS, aggregate: "count" as const } };
  const done = DAY_ONE_MS + 18 * HOUR_MS;
  const [found] = await metrics.reader.select([{ name: "__name__", kind: "=", value: "g" }], ALL.minMs, done, limits);
  const left = gauge.filter(([ms]) => ms <= done && (ms < hole.minMs || ms > hole.maxMs));
  assert.deepEqual(
    pairs(found === undefined ? [] : [found]),
    windowsBy(left, MINUTE_MS, (values) => values.length),
  );
  await metrics.close();
});

test("histograms are told by the last of each window, and counted with the floats", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), ON);
  const pick = random(7);
  const samples: TestSample[] = Array.from({ length: 10 * 240 }, (_, at) => [
    DAY_ONE_MS + (at + 1) * 15_000,
    at % 16 < 8 ? anyHistogram(pick) : at,
  ]);
  await metrics.appendSeries([seriesOf(labels("h"), samples)]);
  await metrics.sealAll();
  await metrics.settled();
  const range = { minMs: ALL.minMs, maxMs: DAY_ONE_MS + 6 * HOUR_MS };
  const old = samples.filter(([ms]) => ms <= range.maxMs);
  assert.deepEqual(
    pairs(await read(metrics, "count", MINUTE_MS, range)).map(([, count]) => count),
    Array.from({ length: 360 }, () => 4),
  );
  const [last] = await read(metrics, "last", MINUTE_MS, range);
  assert.equal(last?.timestampsMs.length, 360);
  for (const [at, ms] of (last?.timestampsMs ?? []).entries()) {
    const sample = old.find(([time]) => time === ms);
    const value = sample?.[1];
    if (typeof value === "number") assert.equal(last?.values[at], value);
    else assert.equal(last?.histograms?.[at]?.count, value?.count);
  }
  await metrics.close();
});
