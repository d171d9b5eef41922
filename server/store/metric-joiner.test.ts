import assert from "node:assert/strict";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ThalwegError } from "../model/errors.ts";
import { allOf, labels, metricDirectory, openMetrics, START_MS, seriesOf, TestClock } from "./metric-fixture.ts";
import type { MetricStore } from "./metric-store.ts";

const HOUR_MS = 3_600_000;

/** Writes `count` blocks of an hour each, four series in each; the last block has one of its own. */
async function writeBlocks(metrics: MetricStore, count: number): Promise<void> {
  for (let block = 0; block < count; block++) {
    const startMs = START_MS + block * HOUR_MS;
    const names = ["a", "b", "c", block === count - 1 ? "last" : "d"];
    const samples = [...Array(60).keys()].map((i) => [startMs + i * 60_000, block * 60 + i] as const);
    await metrics.appendSeries(names.map((name) => seriesOf(labels(name), samples)));
    await metrics.sealAll();
  }
}

async function joined(metrics: MetricStore, times: number): Promise<void> {
  for (let tries = 0; metrics.stats().joins < times && tries < 200; tries++) await sleep(10);
  assert.equal(metrics.stats().joins, times);
}

const filesIn = async (directory: string) => (await readdir(join(directory, "blocks"))).sort();

test("small blocks of neighbouring times become one, which answers as they did", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  await writeBlocks(metrics, 7);
  const before = await allOf(metrics);
  assert.equal(metrics.stats().blocks, 7);
  await metrics.appendSeries([seriesOf(labels("a"), [[START_MS + 7 * HOUR_MS, 1]])]);
  const whole = await allOf(metrics);
  assert.notDeepEqual(whole, before);
  await metrics.sealAll();
  await joined(metrics, 1);
  assert.equal(metrics.stats().blocks, 1);
  assert.deepEqual(await allOf(metrics), whole);
  await metrics.close();
  assert.equal((await filesIn(directory)).length, 1);
  const again = await openMetrics(directory);
  assert.deepEqual(await allOf(again), whole);
  const repeat = await again.appendSeries([seriesOf(labels("a"), [[START_MS + 7 * HOUR_MS, 2]])]);
  assert.deepEqual([...repeat.refused.keys()], ["duplicate"], "the newest sample is known still");
  await again.close();
});

test("whoever reads while blocks are joined finds all of them", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  await writeBlocks(metrics, 7);
  await metrics.appendSeries([seriesOf(labels("a"), [[START_MS + 7 * HOUR_MS, 1]])]);
  const whole = await allOf(metrics);
  const sealed = metrics.sealAll();
  const reads: Promise<string[]>[] = [];
  while (metrics.stats().joins === 0) {
    reads.push(allOf(metrics));
    await sleep(1);
  }
  await sealed;
  for (const lines of await Promise.all(reads)) assert.deepEqual(lines, whole);
  assert.equal((await filesIn(directory)).length, 1, "and the others are gone when nobody reads them any more");
  await metrics.close();
});

/** A directory as a crash leaves it that came after the joined block was there and before the others were gone. */
async function crashed(t: TestContext): Promise<{ directory: string; lines: string[] }> {
  const directory = await metricDirectory(t);
  const image = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  await writeBlocks(metrics, 7);
  await cp(directory, image, { recursive: true });
  await metrics.appendSeries([seriesOf(labels("a"), [[START_MS + 7 * HOUR_MS, 1]])]);
  const lines = await allOf(metrics);
  await metrics.sealAll();
  await joined(metrics, 1);
  await metrics.close();
  await cp(join(directory, "blocks"), join(image, "blocks"), { recursive: true });
  return { directory: image, lines };
}

test("after a crash between the joined block and the others these go, and retention still works", async (t) => {
  const { directory, lines } = await crashed(t);
  assert.equal((await filesIn(directory)).length, 8);
  const clock = new TestClock();
  const metrics = await openMetrics(directory, { clock, retentionMs: 24 * HOUR_MS });
  assert.equal((await filesIn(directory)).length, 1);
  assert.deepEqual(await allOf(metrics), lines);
  clock.ms += 72 * HOUR_MS;
  await metrics.appendSeries([seriesOf(labels("z"), [[START_MS + 72 * HOUR_MS, 1]])]);
  await metrics.sealAll();
  assert.equal(await metrics.enforceRetention(), 1);
  assert.deepEqual(await metrics.reader.finder.labelValues("__name__", { matchers: [], minMs: 0, maxMs: 2 ** 52 }), [
    "z",
  ]);
  assert.equal(metrics.stats().series, 1);
  await metrics.close();
});

test("a damaged joined block is set aside while the others are still there, and they answer", async (t) => {
  const { directory, lines } = await crashed(t);
  const newest = (await filesIn(directory)).pop() ?? "";
  const path = join(directory, "blocks", newest);
  const bytes = await readFile(path);
  bytes[bytes.length - 5] = (bytes[bytes.length - 5] ?? 0) ^ 1;
  await writeFile(path, bytes);
  const damage: ThalwegError[] = [];
  const metrics = await openMetrics(directory, { onDamage: (found) => damage.push(found) });
  assert.equal(damage.length, 1);
  const left = await allOf(metrics);
  assert.equal(left.length, lines.length);
  assert.ok(left.filter((line) => lines.includes(line)).length >= 4, "all but the sample that came last");
  await metrics.close();
});

test("a block with damage is not joined", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  await writeBlocks(metrics, 7);
  await metrics.close();
  const [, second = ""] = await filesIn(directory);
  const path = join(directory, "blocks", second);
  const bytes = await readFile(path);
  bytes[20] = (bytes[20] ?? 0) ^ 1;
  await writeFile(path, bytes);
  const damage: ThalwegError[] = [];
  const again = await openMetrics(directory, { onDamage: (found) => damage.push(found) });
  await again.appendSeries([seriesOf(labels("a"), [[START_MS + 7 * HOUR_MS, 1]])]);
  await again.sealAll();
  for (let tries = 0; damage.length === 0 && tries < 200; tries++) await sleep(10);
  await again.close();
  assert.equal(damage.length, 1);
  assert.equal((await filesIn(directory)).length, 8);
  assert.deepEqual(await readFile(path), bytes);
});
