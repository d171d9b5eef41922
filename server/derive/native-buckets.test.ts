import assert from "node:assert/strict";
import { test } from "node:test";
import { histogramFault } from "../model/histogram-validate.ts";
import { addLogCount, emptyLogCounts } from "./log-counts.ts";
import { NATIVE_ZERO, nativeHistogramOf, nativeSlotOf } from "./native-buckets.ts";

/** Index of the bucket by its definition: the smallest `i` with `seconds <= 2^(i / 8)`. */
function bucketOf(seconds: number): number {
  let index = Math.floor(Math.log2(seconds) * 8) - 2;
  while (seconds > 2 ** (index / 8)) index++;
  return index;
}

test("a latency is in the bucket of schema 3 whose bounds hold it, bounds included above", () => {
  const samples = [1, 2, 3, 4, 5, 7, 1e3, 999_999, 1e6, 1e9 - 1, 1e9, 1e9 + 1, 2e9, 2e9 + 1, 1e18 / 128, 2 ** 53 - 1];
  for (let ns = 1; ns < 2 ** 53; ns = Math.ceil(ns * 1.0171)) samples.push(ns);
  for (let octave = 0; octave < 52; octave++) samples.push(2 ** octave, 2 ** octave + 1, Math.max(1, 2 ** octave - 1));
  for (const ns of samples) {
    const slot = nativeSlotOf(ns);
    const histogram = nativeHistogramOf({ first: slot, counts: Float64Array.of(1) }, 1, ns / 1e9);
    assert.deepEqual(histogram.positiveSpans, [{ offset: bucketOf(ns / 1e9), length: 1 }], `${ns} ns`);
  }
  assert.equal(nativeSlotOf(0), 0);
  assert.equal(nativeSlotOf(-5), 0);
});

test("counts in slots are a valid histogram with the zero bucket apart", () => {
  const slots = emptyLogCounts();
  const observed = [0, 0, 1, 1_000_000, 1_050_000, 1_300_000, 80_000_000, 1_000_000_000, 3_600_000_000_000];
  for (const ns of observed) addLogCount(slots, nativeSlotOf(ns), 3);
  const histogram = nativeHistogramOf(slots, 3 * observed.length, 3 * 3601.08335);
  assert.equal(histogramFault(histogram), undefined);
  assert.equal(histogram.zeroCount, 6);
  assert.equal(histogram.schema, 3);
  assert.equal(
    histogram.zeroCount + histogram.positiveCounts.reduce((sum, count) => sum + count, 0),
    3 * observed.length,
  );
  assert.equal(histogramFault(NATIVE_ZERO), undefined);
});
