import assert from "node:assert/strict";
import { test } from "node:test";
import type { CounterResetHint, NativeHistogram } from "../model/histogram.ts";
import {
  anyHistogram,
  EVERYTHING,
  grown,
  labels,
  linesOf,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
  type TestSample,
} from "./metric-fixture.ts";
import type { FloatReader, HistogramReader } from "./reader.ts";

const STEP_MS = 15_000;
const floats: FloatReader = { samplesMax: 64, result: 0, read: () => true };

/** Looks at some histograms of each window, in an order of their own, and makes the last of them. */
function lookingReader(pick: (below: number) => number, seen: Map<number, NativeHistogram[]>): HistogramReader {
  return {
    read: (samples) => {
      const { timestampsMs, low, high } = samples;
      for (let looks = 1 + pick(5); looks > 0; looks--) {
        const index = low + pick(high - low);
        const found = samples.at(index);
        const { schema, zeroThreshold, positiveSpans, negativeSpans, customValues } = found;
        const layout = samples.layoutAt(index);
        assert.deepEqual(
          [layout.schema, layout.zeroThreshold, layout.positiveSpans, layout.negativeSpans, layout.customValues],
          [schema, zeroThreshold, positiveSpans, negativeSpans, customValues],
        );
        const hint: CounterResetHint = samples.hintAt(index);
        assert.equal(hint, found.resetHint);
        const at = timestampsMs[index] ?? 0;
        seen.set(at, [...(seen.get(at) ?? []), found]);
      }
      return pick(10) === 0 ? "nothing" : samples.at(high - 1);
    },
  };
}

test("histograms that are looked at where they lie are those that are read whole", async (t) => {
  for (const seed of [1, 2, 3, 4]) {
    const pick = random(seed);
    const metrics = await openMetrics(await metricDirectory(t));
    let histogram = anyHistogram(pick);
    const samples: TestSample[] = [];
    for (let i = 0; i < 150; i++) {
      histogram = pick(40) === 0 ? anyHistogram(pick) : grown(histogram, pick(5));
      samples.push([START_MS + i * STEP_MS + pick(3), histogram, seed === 4 ? START_MS - 1_000 : 0]);
    }
    for (const sample of samples) await metrics.appendSeries([seriesOf(labels("h"), [sample])]);
    let made = 0;
    for (let round = 0; round < 60; round++) {
      const minMs = START_MS + pick(150 * STEP_MS);
      const maxMs = minMs + pick(60 * STEP_MS);
      const seen = new Map<number, NativeHistogram[]>();
      const histograms = lookingReader(pick, seen);
      const found = await metrics.reader.selectNumbers({ matchers: EVERYTHING, minMs, maxMs, floats, histograms });
      const [whole] = await metrics.reader.select(EVERYTHING, minMs, maxMs);
      assert.deepEqual([found.labels, found.others], [[], []]);
      const times = [...(whole?.timestampsMs ?? [])];
      for (const [ms, several] of seen) {
        for (const one of several) assert.deepEqual(one, whole?.histograms?.[times.indexOf(ms)]);
      }
      for (const one of found.made) assert.deepEqual(one.histogram, whole?.histograms?.at(-1));
      made += found.made.length;
    }
    assert.ok(made > 20, `${made} were made`);
    await metrics.close();
  }
});

test("a window with anything but histograms in order is read whole", async (t) => {
  const pick = random(5);
  const metrics = await openMetrics(await metricDirectory(t));
  const histogram = anyHistogram(pick);
  for (const value of [histogram, 1, grown(histogram, 1)]) {
    const ms = START_MS + STEP_MS * (value === 1 ? 2 : value === histogram ? 1 : 3);
    await metrics.appendSeries([seriesOf(labels("mixed"), [[ms, value]])]);
  }
  const window = { minMs: START_MS, maxMs: START_MS + 60_000 };
  const histograms = lookingReader(pick, new Map());
  const unread = await metrics.reader.selectNumbers({ matchers: EVERYTHING, ...window, floats });
  const found = await metrics.reader.selectNumbers({ matchers: EVERYTHING, ...window, floats, histograms });
  assert.deepEqual([found.made, found.labels], [[], []]);
  assert.deepEqual(linesOf(found.others), linesOf(unread.others));
  const unknown = { read: () => "unknown" as const };
  await metrics.appendSeries([seriesOf(labels("alone"), [[START_MS + STEP_MS, histogram]])]);
  const all = await metrics.reader.selectNumbers({ matchers: EVERYTHING, ...window, floats, histograms: unknown });
  assert.equal(all.others.length, 2);
  await metrics.close();
});
