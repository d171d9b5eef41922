import assert from "node:assert/strict";
import { test } from "node:test";
import { allOf, labels, metricDirectory, openMetrics, random, START_MS } from "./metric-fixture.ts";
import { OpenMemory } from "./metric-open-memory.ts";
import { DeclaredSeries, FloatGather } from "./metric-replay.ts";
import { emptySeries, type MetricSeries } from "./metric-series.ts";

const memory = new OpenMemory();
const seriesWith = (ref: number): MetricSeries => emptySeries(ref, [["n", `${ref}`]], { owner: memory, memory });

test("floats come out by series, each in its order, whatever the order of references", () => {
  const pick = random(3);
  for (const refs of [
    [1, 2, 3, 4],
    [70, 71, 5, 72, 2 ** 40, 6, 73],
  ]) {
    const declared = new DeclaredSeries();
    const came = new Map<number, number[]>();
    let runs = 0;
    let last: MetricSeries | undefined;
    const gather = new FloatGather(declared, (series, { timestampsMs, values }, from, end) => {
      if (series !== last) runs++;
      last = series;
      const times = [...timestampsMs.subarray(from, end)];
      assert.deepEqual(
        [...values.subarray(from, end)],
        times.map((ms) => ms / 2),
      );
      came.set(series.ref, [...(came.get(series.ref) ?? []), ...times]);
    });
    const want = new Map<number, number[]>();
    for (const [i, ref] of refs.entries()) {
      declared.set(ref, seriesWith(ref));
      for (let sample = 0; sample < 1_500; sample++) {
        const to = refs[pick(i + 1)] ?? 0;
        const ms = want.size + sample + 10_000 * i;
        want.set(to, [...(want.get(to) ?? []), ms]);
        gather.add(to, ms, ms / 2);
      }
      gather.add(74, 1, 0.5);
    }
    gather.flush();
    gather.flush();
    assert.deepEqual(came, want);
    assert.equal(runs, refs.length);
  }
});

test("what waits is applied before something else of its series", () => {
  const declared = new DeclaredSeries();
  const came: number[] = [];
  const gather = new FloatGather(declared, (_, { timestampsMs }, from, end) => {
    came.push(...timestampsMs.subarray(from, end));
  });
  for (const ref of [8, 9]) declared.set(ref, seriesWith(ref));
  gather.add(8, 1, 0);
  gather.flushBefore(declared.placeOf(9) ?? -1);
  assert.deepEqual(came, []);
  gather.flushBefore(declared.placeOf(8) ?? -1);
  assert.deepEqual(came, [1]);
  declared.clear();
  gather.add(8, 2, 0);
  gather.flush();
  assert.deepEqual(came, [1]);
});

test("series take no more memory after a start than before it, since those of one scrape share their times again", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  for (let scrape = 0; scrape < 150; scrape++) {
    const samples = Array.from({ length: 200 }, (_, series) => ({
      labels: labels("m", { series: String(series) }),
      // Ten targets, each scraped at a moment of its own.
      timestampMs: START_MS + 15_000 * scrape + 7 * Math.floor(series / 20),
      value: scrape * series,
    }));
    await metrics.append(samples);
  }
  const before = { bytes: metrics.stats().memoryBytes, all: await allOf(metrics) };
  await metrics.close();
  const again = await openMetrics(directory);
  assert.deepEqual(await allOf(again), before.all);
  assert.equal(again.stats().memoryBytes, before.bytes);
  await again.close();
});
