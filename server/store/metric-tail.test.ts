import assert from "node:assert/strict";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  anyHistogram,
  labels,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
  type TestSample,
} from "./metric-fixture.ts";
import type { MetricStore } from "./metric-store.ts";
import type { SampleTail, TailSample } from "./reader.ts";

const STEP_MS = 15_000;

/** Appends `count` samples to each of some series. */
async function write(metrics: MetricStore, series: number, from: number, count: number) {
  for (let at = 0; at < count; at++) {
    const timeMs = START_MS + (from + at) * STEP_MS;
    await metrics.appendSeries(
      Array.from({ length: series }, (_, i) => seriesOf(labels("m", { i: String(i) }), [[timeMs, from + at]])),
    );
  }
}

const texts = (samples: readonly TailSample[]) =>
  samples.map(
    ({ labels: l, sample }) => `${l.find(([name]) => name === "i")?.[1]}@${(sample.timestampMs - START_MS) / STEP_MS}`,
  );

async function readAll(tail: SampleTail, samplesMax = 7): Promise<string[]> {
  const found: string[] = [];
  for (;;) {
    const { samples, place } = await tail.read(samplesMax);
    if (samples.length === 0) return found;
    found.push(...texts(samples));
    await tail.commit(place);
  }
}

const expected = (series: number, from: number, count: number) =>
  Array.from({ length: count }, (_, at) => Array.from({ length: series }, (_, i) => `${i}@${from + at}`)).flat();

async function tailOf(metrics: MetricStore): Promise<SampleTail> {
  const [tail] = await metrics.openTails(["a"]);
  assert.ok(tail);
  return tail;
}

test("a reader gets what is written from its first day on, once, over restarts and seals", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory, { segmentBytesMax: 2000 });
  await write(metrics, 3, 0, 5);
  let tail = await tailOf(metrics);
  assert.deepEqual(await readAll(tail), [], "what was there before is not sent");
  await write(metrics, 3, 5, 100);
  assert.deepEqual(await readAll(tail), expected(3, 5, 100));
  await write(metrics, 3, 105, 100);
  await metrics.sealAll();
  assert.ok((await readdir(join(directory, "remote-write"))).filter((name) => name.endsWith(".log")).length > 0);
  await metrics.close();
  metrics = await openMetrics(directory, { segmentBytesMax: 2000 });
  await metrics.sealAll();
  await write(metrics, 3, 205, 10);
  tail = await tailOf(metrics);
  const part = await tail.read(50);
  await tail.commit(part.place);
  const done = texts(part.samples);
  // Read and not committed: read again after the restart.
  await tail.read(50);
  await metrics.close();
  metrics = await openMetrics(directory, { segmentBytesMax: 2000 });
  tail = await tailOf(metrics);
  assert.deepEqual([...done, ...(await readAll(tail))], expected(3, 105, 110));
  assert.deepEqual(
    (await readdir(join(directory, "remote-write"))).filter((name) => name.endsWith(".log")),
    [],
  );
  await metrics.openTails([]);
  assert.deepEqual(await readdir(join(directory, "remote-write")), []);
  await metrics.close();
});

test("reading beside writing and sealing gives all of it in order", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { segmentBytesMax: 1000 });
  const tail = await tailOf(metrics);
  let done = false;
  const writing = (async () => {
    for (let from = 0; from < 300; from += 10) {
      await write(metrics, 2, from, 10);
      if (from % 50 === 0) await metrics.sealAll();
    }
    done = true;
  })();
  const found: string[] = [];
  while (!done || tail.stats().behindBytes > 0) {
    found.push(...(await readAll(tail)));
    await tail.waitForMore(50, new AbortController().signal);
  }
  await writing;
  assert.deepEqual(found, expected(2, 0, 300));
  await metrics.close();
});

test("what waits is bounded: the oldest goes and is counted", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { segmentBytesMax: 1000, spoolBytesMax: 6000 });
  const tail = await tailOf(metrics);
  await write(metrics, 5, 0, 400);
  await metrics.sealAll();
  const { lostSamples, spoolBytes } = tail.stats();
  assert.ok(lostSamples > 0 && spoolBytes <= 6000, `${lostSamples} lost, ${spoolBytes} bytes`);
  const left = await readAll(tail);
  assert.equal(left.length + lostSamples, 2000);
  assert.deepEqual(left, expected(5, 0, 400).slice(lostSamples));
  await metrics.close();
});

test("a place that cannot be read is as none, a directory in place of files is no trouble", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory);
  await tailOf(metrics);
  await metrics.close();
  const folder = join(directory, "remote-write");
  await rm(join(folder, "a.place"));
  for (const name of ["a.place", "metrics-00000009.log"]) await mkdir(join(folder, name));
  await mkdir(join(directory, "blocks", "tombstones"));
  const damages: string[] = [];
  metrics = await openMetrics(directory, { onDamage: (damage) => damages.push(damage.message) });
  assert.equal(damages.length, 1);
  const tail = await tailOf(metrics);
  await write(metrics, 2, 0, 3);
  assert.deepEqual(await readAll(tail), expected(2, 0, 3));
  await metrics.deleteSeries([{ name: "i", kind: "=", value: "0" }], 0, 2 ** 52);
  await metrics.close();
  await writeFile(join(folder, "a.place"), "not JSON");
  metrics = await openMetrics(directory);
  assert.deepEqual(await readAll(await tailOf(metrics)), []);
  await metrics.close();
});

test("who ends and is opened again reads again what was not done with", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  const first = await tailOf(metrics);
  await write(metrics, 2, 0, 10);
  const part = await first.read(6);
  await first.commit(part.place);
  await first.read(6);
  assert.equal(await tailOf(metrics).then((tail) => tail.stats().behindBytes), first.stats().behindBytes, "it is open");
  first.close();
  const second = await tailOf(metrics);
  assert.deepEqual([...texts(part.samples), ...(await readAll(second))], expected(2, 0, 10));
  await metrics.close();
});

test("samples of every kind are given as they were written", async (t) => {
  const pick = random(3);
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const tail = await tailOf(metrics);
  const sent: TestSample[] = Array.from({ length: 50 }, (_, i) => [
    START_MS + i * STEP_MS,
    i % 3 === 0 ? anyHistogram(pick) : i,
    i % 2 === 0 ? START_MS - 1000 : 0,
  ]);
  await metrics.appendSeries([
    { ...seriesOf(labels("m"), sent), exemplars: [{ labels: [["trace_id", "a"]], timestampMs: START_MS, value: 2 }] },
  ]);
  const { samples, exemplars } = await tail.read(1000);
  assert.deepEqual(
    samples.map(({ sample }) => [sample.timestampMs, sample.histogram?.count ?? sample.value, sample.startMs]),
    sent.map(([ms, value, startMs]) => [ms, typeof value === "number" ? value : value.count, startMs]),
  );
  assert.equal(exemplars[0]?.exemplar.value, 2);
  await metrics.close();
});

test("exemplars that the log carries on are given once, also over a restart", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory);
  let tail = await tailOf(metrics);
  const told: number[] = [];
  const readOn = async () => {
    const { exemplars, place } = await tail.read(100);
    told.push(...exemplars.map(({ exemplar }) => exemplar.value));
    await tail.commit(place);
  };
  const writeOne = async (value: number) => {
    const exemplars = [{ labels: labels("x"), timestampMs: START_MS + value, value }];
    await metrics.appendSeries([{ ...seriesOf(labels("m"), [[START_MS + value, value]]), exemplars }]);
  };
  await writeOne(1);
  await readOn();
  await metrics.sealAll();
  await readOn();
  await writeOne(2);
  await metrics.sealAll();
  await metrics.close();
  metrics = await openMetrics(directory);
  tail = await tailOf(metrics);
  await readOn();
  await readOn();
  assert.deepEqual(told, [1, 2]);
  const [found] = await metrics.reader.finder.exemplars([], 0, 2 ** 52);
  assert.equal(found?.exemplars.length, 2, "they are still there to be asked for");
  await metrics.close();
});
