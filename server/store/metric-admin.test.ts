import assert from "node:assert/strict";
import { cp, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Matcher } from "../model/series.ts";
import {
  allOf,
  EVERYTHING,
  labels,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
} from "./metric-fixture.ts";
import type { MetricStore } from "./metric-store.ts";

const ALL = { minMs: -(2 ** 52), maxMs: 2 ** 52 };
const STEP_MS = 15_000;

const of = (name: string, value: string): Matcher => ({ name, kind: "=", value });

/** Adds `count` samples to each of some series of one metric. */
async function write(metrics: MetricStore, series: number, count: number, fromMs = START_MS) {
  for (let at = 0; at < series; at++) {
    const samples = Array.from({ length: count }, (_, i) => [fromMs + i * STEP_MS, i * (at + 1)] as const);
    await metrics.appendSeries([seriesOf(labels("m", { i: String(at) }), samples)]);
  }
}

/** Values of label `i` and names of series, as answers without samples tell them. */
async function namesOf(metrics: MetricStore): Promise<string> {
  const { reader } = metrics;
  const values = await reader.finder.labelValues("i", { matchers: [], ...ALL });
  const narrow = await reader.finder.labelValues("i", {
    matchers: EVERYTHING,
    minMs: START_MS,
    maxMs: START_MS + 3_600_000,
  });
  const series = await reader.finder.series(EVERYTHING, ALL.minMs, ALL.maxMs);
  return `${values.join(",")} ${narrow.join(",")} ${series.length}`;
}

test("what is deleted is gone from memory, blocks, labels and series, and stays gone", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory);
  await write(metrics, 3, 300);
  await metrics.sealAll();
  await write(metrics, 3, 50, START_MS + 300 * STEP_MS);
  assert.equal(await namesOf(metrics), "0,1,2 0,1,2 3");
  await metrics.deleteSeries([of("i", "1")], ALL.minMs, ALL.maxMs);
  const middle = { minMs: START_MS + 100 * STEP_MS, maxMs: START_MS + 320 * STEP_MS };
  await metrics.deleteSeries([of("i", "2")], middle.minMs, middle.maxMs);
  const check = async (when: string) => {
    const found = await metrics.reader.select(EVERYTHING, ALL.minMs, ALL.maxMs);
    assert.deepEqual(
      found.map(({ labels: l, timestampsMs }) => [l.find(([name]) => name === "i")?.[1], timestampsMs.length]),
      [
        ["0", 350],
        ["2", 350 - 221],
      ],
      when,
    );
    assert.equal(await namesOf(metrics), "0,2 0,2 2", when);
    const inside = await metrics.reader.finder.series(EVERYTHING, middle.minMs, middle.minMs + 60_000);
    assert.equal(inside.length, 1, `${when}: series in the hole`);
  };
  await check("at once");
  await metrics.close();
  metrics = await openMetrics(directory);
  await check("after a restart");
  await metrics.sealAll();
  await check("after memory went to a block");
  const before = metrics.status(10).blocks.map(({ samples }) => samples);
  await metrics.cleanTombstones();
  await check("after clean_tombstones");
  const after = metrics.status(10).blocks.map(({ samples }) => samples);
  assert.deepEqual([before[0], after.reduce((a, b) => a + b)], [900, 350 + 129]);
  assert.equal((await readFile(join(directory, "blocks", "tombstones"), "utf8")).trim(), "", "nothing is left to hide");
  await metrics.close();
  metrics = await openMetrics(directory);
  await check("after a restart without tombstones");
  await metrics.close();
});

test("samples written after a deletion are not hidden, whatever their times", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory);
  await write(metrics, 1, 100);
  await metrics.deleteSeries(EVERYTHING, ALL.minMs, ALL.maxMs);
  assert.deepEqual(await allOf(metrics), []);
  await write(metrics, 1, 10);
  const again = await allOf(metrics);
  assert.equal(again.length, 1);
  await metrics.close();
  metrics = await openMetrics(directory);
  assert.deepEqual(await allOf(metrics), again, "from the log");
  await metrics.sealAll();
  assert.deepEqual(await allOf(metrics), again, "from a block");
  await metrics.close();
});

test("deletions, seals, joins, cleanings and restarts in any order leave what a list leaves", async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const pick = random(seed);
    const directory = await metricDirectory(t);
    let metrics = await openMetrics(directory);
    let expected = new Map<string, number[]>();
    let nowMs = START_MS;
    for (let round = 0; round < 40; round++) {
      const what = pick(10);
      if (what < 4) {
        const series = String(pick(5));
        const times = Array.from({ length: 1 + pick(200) }, () => (nowMs += 1 + pick(30_000)));
        await metrics.appendSeries([
          seriesOf(
            labels("m", { i: series }),
            times.map((ms) => [ms, ms % 1000] as const),
          ),
        ]);
        expected.set(series, [...(expected.get(series) ?? []), ...times]);
      } else if (what < 7) {
        const matcher: Matcher = pick(3) === 0 ? { name: "i", kind: "=~", value: "[0-2]" } : of("i", String(pick(5)));
        const from = START_MS + pick(nowMs - START_MS + 1);
        const to = pick(3) === 0 ? ALL.maxMs : from + pick(3_000_000);
        await metrics.deleteSeries([matcher], from, to);
        const isHit = (i: string) => (matcher.kind === "=" ? i === matcher.value : /^[0-2]$/.test(i));
        expected = new Map(
          [...expected]
            .map(([i, times]) => [i, isHit(i) ? times.filter((ms) => ms < from || ms > to) : times] as const)
            .filter(([, times]) => times.length > 0),
        );
      } else if (what === 7) await metrics.sealAll();
      else if (what === 8) await metrics.cleanTombstones();
      else {
        await metrics.close();
        metrics = await openMetrics(directory);
      }
      const found = await metrics.reader.select(EVERYTHING, ALL.minMs, ALL.maxMs);
      const got = found.map((one) => [one.labels.find(([name]) => name === "i")?.[1], [...one.timestampsMs]] as const);
      const byName = (a: readonly [unknown, unknown], b: readonly [unknown, unknown]) =>
        String(a[0]) < String(b[0]) ? -1 : 1;
      assert.deepEqual(got.toSorted(byName), [...expected].toSorted(byName), `seed ${seed}, round ${round}, ${what}`);
      assert.equal((await metrics.reader.finder.labelValues("i", { matchers: [], ...ALL })).length, expected.size);
    }
    await metrics.close();
  }
});

test("a deletion that was acknowledged holds after a crash", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  await write(metrics, 3, 100);
  await metrics.sealAll();
  await write(metrics, 3, 50, START_MS + 100 * STEP_MS);
  await metrics.deleteSeries([of("i", "1")], ALL.minMs, ALL.maxMs);
  await metrics.deleteSeries([of("i", "0")], START_MS + 50 * STEP_MS, START_MS + 120 * STEP_MS);
  const before = await allOf(metrics);
  // The files as they are now are what a crash leaves.
  const copy = await metricDirectory(t);
  await cp(directory, copy, { recursive: true });
  await metrics.close();
  const opened = await openMetrics(copy);
  assert.deepEqual(await allOf(opened), before);
  assert.equal(await namesOf(opened), "0,2 0,2 2");
  await opened.close();
});

test("a snapshot opens with all that was acknowledged, also while more is written", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  await write(metrics, 3, 300);
  await metrics.sealAll();
  await write(metrics, 3, 50, START_MS + 300 * STEP_MS);
  await metrics.deleteSeries([of("i", "1")], START_MS, START_MS + 200 * STEP_MS);
  metrics.describe({ name: "m", type: "counter", help: "helps", unit: "" });
  await write(metrics, 1, 1, START_MS + 400 * STEP_MS);
  const before = await allOf(metrics);
  const whole = join(directory, "snapshots", "whole");
  const part = join(directory, "snapshots", "part");
  const more = write(metrics, 3, 5, START_MS + 500 * STEP_MS);
  await metrics.snapshot(whole, true);
  await more;
  await metrics.snapshot(part, false);
  await metrics.deleteSeries(EVERYTHING, ALL.minMs, ALL.maxMs);
  await metrics.cleanTombstones();
  const opened = await openMetrics(whole);
  const lines = await allOf(opened);
  for (const [i, line] of before.entries()) assert.ok(lines[i]?.startsWith(line.slice(0, -1)), `series ${i}`);
  assert.deepEqual(
    opened.metadata().map(({ help }) => help),
    ["helps"],
  );
  await opened.close();
  const blocksOnly = await openMetrics(part);
  assert.equal((await blocksOnly.reader.select(EVERYTHING, ALL.minMs, ALL.maxMs))[0]?.timestampsMs.length, 300);
  assert.equal(((await stat(whole)).mode & 0o777).toString(8), "700");
  await blocksOnly.close();
  await metrics.close();
});

test("a damaged tombstone is reported and set aside; the others hold", async (t) => {
  const directory = await metricDirectory(t);
  let metrics = await openMetrics(directory);
  await write(metrics, 2, 10);
  await metrics.deleteSeries([of("i", "0")], ALL.minMs, ALL.maxMs);
  await metrics.deleteSeries([of("i", "1")], ALL.minMs, START_MS);
  await metrics.close();
  const path = join(directory, "blocks", "tombstones");
  const text = await readFile(path, "utf8");
  await writeFile(path, text.replace('"value":"1"', '"value":"7"'));
  const damages: string[] = [];
  metrics = await openMetrics(directory, { onDamage: (damage) => damages.push(damage.message) });
  assert.equal(damages.length, 1);
  assert.match(damages[0] ?? "", /a tombstone is damaged/);
  assert.deepEqual(await metrics.reader.finder.labelValues("i", { matchers: [], ...ALL }), ["1"]);
  assert.equal((await readdir(join(directory, "blocks"))).filter((name) => name.includes("damaged")).length, 1);
  await metrics.close();
});
