import assert from "node:assert/strict";
import { test } from "node:test";
import type { NativeHistogram } from "../../../model/histogram.ts";
import { coarserHistogram, scaleHistogram } from "./float-histogram.ts";
import { isCounterReset } from "./histogram-reset.ts";
import { addHistograms } from "./histogram-sum.ts";
import { custom, exponential, randomExponential, seededNumbers } from "./test-histogram.ts";

test("counts that fall", () => {
  const before = exponential(0, { 0: 1, 3: 2 }, { zeroCount: 1, zeroThreshold: 0.01, negative: { 0: 1 } });
  const reset = (now: NativeHistogram) => isCounterReset(now, before);
  const rest = { zeroCount: 1, zeroThreshold: 0.01, negative: { 0: 1 } };
  assert.equal(reset(before), false);
  assert.equal(reset(exponential(0, { 0: 1, 1: 5, 3: 2 }, rest)), false);
  assert.equal(reset(exponential(0, { 0: 1, 3: 1, 4: 9 }, rest)), true);
  assert.equal(reset(exponential(0, { 0: 9 }, rest)), true); // bucket 3 is gone
  assert.equal(reset(exponential(0, { 0: 9, 3: 2 }, { ...rest, zeroCount: 0 })), true);
  assert.equal(reset(exponential(0, { 0: 9, 3: 2 }, { ...rest, negative: {} })), true);
  assert.equal(reset({ ...before, count: before.count - 1 }), true);
  assert.equal(reset({ ...before, sum: before.sum - 1 }), false);
});

test("a hint decides", () => {
  const before = exponential(0, { 0: 5 });
  assert.equal(isCounterReset(exponential(0, { 0: 1 }, { resetHint: "not_reset" }), before), false);
  assert.equal(isCounterReset(exponential(0, { 0: 9 }, { resetHint: "reset" }), before), true);
  assert.equal(isCounterReset(exponential(0, { 0: 1 }, { resetHint: "gauge" }), before), true);
});

test("empty buckets may go, also before one that counts something", () => {
  const before = exponential(0, { 0: 0, 1: 3, 5: 0 });
  assert.equal(isCounterReset(exponential(0, { 1: 3 }), before), false);
  assert.equal(isCounterReset(exponential(0, { 2: 3 }), exponential(0, { 0: 0, 1: 3 })), true);
  assert.equal(isCounterReset(exponential(0, {}), exponential(0, { 0: 0 })), false);
});

test("a schema may only get coarser, a zero bucket only wider, and not into a bucket", () => {
  const before = exponential(1, { 1: 2, 2: 3, 3: 4 }, { zeroThreshold: 0.25, zeroCount: 1 });
  const rest = { zeroThreshold: 0.25, zeroCount: 1 };
  assert.equal(isCounterReset(exponential(0, { 1: 5, 2: 4 }, rest), before), false);
  assert.equal(isCounterReset(exponential(0, { 1: 4, 2: 5 }, rest), before), true);
  assert.equal(isCounterReset(before, exponential(0, { 1: 5, 2: 4 }, rest)), true);
  assert.equal(isCounterReset({ ...before, zeroThreshold: 0.125 }, before), true);
  // Up to 2: the zero bucket takes in 2 + 3.
  const wide = (zeroCount: number) => exponential(1, { 3: 4 }, { zeroThreshold: 2, zeroCount, count: 99 });
  assert.equal(isCounterReset(wide(6), before), false);
  assert.equal(isCounterReset(wide(5), before), true);
  assert.equal(isCounterReset({ ...wide(6), zeroThreshold: 1.5 }, before), true);
});

test("custom bounds may change where the counts between those that stay do not fall", () => {
  const before = custom([1, 2, 5], { 0: 1, 1: 2, 2: 3, 3: 4 });
  assert.equal(isCounterReset(custom([2, 5], { 0: 3, 1: 3, 2: 4 }), before), false);
  assert.equal(isCounterReset(custom([2, 5], { 0: 2, 1: 9, 2: 4 }), before), true);
  assert.equal(isCounterReset(custom([3], { 0: 0, 1: 10 }), before), false);
  assert.equal(isCounterReset(exponential(0, { 0: 99 }), before), true);
  assert.equal(isCounterReset(custom([1], { 0: 99 }), exponential(0, { 0: 1 })), true);
});

test("any histogram with more observations is no reset, one with fewer is", () => {
  const random = seededNumbers(11);
  for (let round = 0; round < 300; round++) {
    const before = randomExponential(random);
    const more = { ...randomExponential(random), schema: before.schema, zeroThreshold: 0, zeroCount: 0 };
    const sum = addHistograms(before, coarse(more, before.schema))?.histogram;
    assert.ok(sum !== undefined);
    assert.equal(isCounterReset(sum, before), false, `round ${round}`);
    if (before.count > 0) assert.equal(isCounterReset(scaleHistogram(sum, 1 - 1e-9), sum), true);
  }
});

function coarse(histogram: NativeHistogram, schema: number): NativeHistogram {
  return histogram.schema > schema ? coarserHistogram(histogram, schema) : histogram;
}
