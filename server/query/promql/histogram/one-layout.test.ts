/** What is quicker for histograms of one layout gives the numbers of the general way, to the last bit. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { NativeHistogram } from "../../../model/histogram.ts";
import { compactHistogram, scaleHistogram, withResetHint } from "./float-histogram.ts";
import { HistogramMean, HistogramSum } from "./histogram-accumulator.ts";
import { addCompensated, closeCompensation, startCompensation, subtractHistograms } from "./histogram-sum.ts";
import { differPlainly, plainDifference } from "./plain-difference.ts";
import { RunningTotal } from "./running-total.ts";
import { custom, exponential } from "./test-histogram.ts";

let seed = 7;

function random(): number {
  seed = (seed * 48_271) % 0x7fff_ffff;
  return seed / 0x7fff_ffff;
}

/** Mostly numbers of very different sizes, some equal to each other, some without end. */
function value(): number {
  const kind = random();
  if (kind < 0.1) return 0;
  if (kind < 0.2) return 3;
  if (kind < 0.23) return [Number.POSITIVE_INFINITY, Number.NaN, 1e308, -0][Math.floor(random() * 4)] ?? 0;
  return (random() - 0.3) * 10 ** Math.floor(random() * 30);
}

function histogram(kind: "custom" | "exponential"): NativeHistogram {
  const more = { count: value(), sum: value(), integer: true };
  if (kind === "custom") return custom([1, 2, 5], { 0: value(), 1: value(), 3: value() }, more);
  const negative = { 0: value(), 1: value() };
  const positive = { "-2": value(), "-1": value(), 2: value(), 7: value() };
  return exponential(2, positive, { ...more, negative, zeroCount: value(), zeroThreshold: 0.01 });
}

test("differences", () => {
  for (let i = 0; i < 500; i++) {
    const kind = i % 2 === 0 ? "custom" : "exponential";
    const [last, first] = [histogram(kind), histogram(kind)];
    assert.ok(differPlainly(last, first));
    const factor = random() * 5;
    const general = subtractHistograms(last, first)?.histogram;
    assert.ok(general);
    const wanted = scaleHistogram(compactHistogram(withResetHint(general, "gauge")), factor);
    assert.deepEqual(plainDifference(last, first, factor), wanted);
  }
  const hidden = exponential(0, { "-9": 1 }, { zeroThreshold: 1 });
  assert.ok(!differPlainly(hidden, hidden));
  assert.ok(!differPlainly(custom([1], { 0: 1 }), custom([2], { 0: 1 })));
});

test("sums and means", () => {
  for (let i = 0; i < 300; i++) {
    const kind = i % 2 === 0 ? "custom" : "exponential";
    const parts = Array.from({ length: 2 + (i % 5) }, () => histogram(kind));
    const [first, ...rest] = parts;
    assert.ok(first);
    let general = startCompensation(first);
    const total = new RunningTotal(startCompensation(first));
    for (const part of rest) {
      general = addCompensated(general, part, false)?.sum ?? general;
      assert.ok(total.takes(part));
      total.add(part);
    }
    assert.deepEqual(total.state, general);
    const sum = new HistogramSum();
    for (const part of parts) sum.add(part);
    assert.deepEqual(sum.value, closeCompensation(general));
  }
});

test("a mean goes on where the sum would leave the range of doubles", () => {
  const large = exponential(0, { 0: 1e308 }, { sum: 1e308 });
  const mean = new HistogramMean();
  for (let i = 0; i < 4; i++) mean.add(large);
  assert.equal(mean.value?.sum, 1e308);
  assert.equal(mean.value?.count, 1e308);
  assert.equal(mean.value?.positiveCounts[0], 1e308);
  const small = new HistogramMean();
  for (const count of [1, 2, 6]) small.add(exponential(0, { 0: count }));
  assert.equal(small.value?.count, 3);
});
