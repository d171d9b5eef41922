import assert from "node:assert/strict";
import { test } from "node:test";
import type { NativeHistogram } from "../../../model/histogram.ts";
import { jsonBuckets } from "./histogram-buckets.ts";
import { printHistogram } from "./histogram-text.ts";
import { type TrimKeeps, trimHistogram } from "./histogram-trim.ts";
import { custom, exponential, randomExponential, seededNumbers } from "./test-histogram.ts";

function buckets(histogram: NativeHistogram): (readonly [number, number, number])[] {
  return jsonBuckets(histogram).map(([, lower, upper, count]) => [lower, upper, count]);
}

test("whole buckets go, count and sum become those of what is left", () => {
  const one = exponential(0, { 1: 4, 2: 6 }, { sum: 100 });
  const below = trimHistogram(one, 2, "below");
  assert.deepEqual(buckets(below), [[1, 2, 4]]);
  assert.deepEqual([below.count, below.sum], [4, 4 * Math.SQRT2]);
  const above = trimHistogram(one, 2, "above");
  assert.deepEqual(buckets(above), [[2, 4, 6]]);
  assert.equal(above.sum, 6 * Math.sqrt(8));
});

test("where nothing goes, nothing changes", () => {
  const one = exponential(0, { 1: 4, 2: 6 }, { sum: 100 });
  assert.equal(trimHistogram(one, 4, "below"), one);
  assert.equal(trimHistogram(one, 1, "above"), one);
  assert.equal(trimHistogram(one, Infinity, "below"), one);
  assert.equal(trimHistogram(one, Number.NaN, "below").count, 0);
});

test("a bucket that holds the value is cut", () => {
  const one = exponential(0, { 2: 8 }); // (2, 4]
  const value = 2 * Math.SQRT2;
  assert.ok(Math.abs(trimHistogram(one, value, "below").count - 4) < 1e-12);
  const mirrored = trimHistogram(exponential(0, {}, { negative: { 2: 8 } }), -value, "above");
  assert.ok(Math.abs(mirrored.count - 4) < 1e-12);
  assert.ok(Math.abs(mirrored.sum + 4 * Math.sqrt(2 * value)) < 1e-12);
  assert.equal(trimHistogram(custom([2, 4], { 1: 8 }), 3.5, "below").count, 6);
});

test("the zero bucket is cut linearly, from zero where the others are all on one side", () => {
  const zero = { zeroThreshold: 1, zeroCount: 8 };
  assert.equal(trimHistogram(exponential(0, {}, zero), 0.5, "below").zeroCount, 6);
  assert.equal(trimHistogram(exponential(0, { 5: 1 }, zero), 0.5, "below").zeroCount, 4);
  assert.equal(trimHistogram(exponential(0, {}, { ...zero, negative: { 5: 1 } }), -0.25, "above").zeroCount, 2);
});

test("custom buckets without an end", () => {
  const one = custom([2, 4], { 0: 8, 2: 6 });
  // The first begins at 0, as for quantiles.
  assert.deepEqual(buckets(trimHistogram(one, 0.5, "below")), [[-Infinity, 2, 2]]);
  assert.deepEqual(buckets(trimHistogram(one, 0.5, "above")), [
    [-Infinity, 2, 6],
    [4, Infinity, 6],
  ]);
  // What is in the last one may be anywhere above 4.
  assert.equal(trimHistogram(one, 9, "below").count, 8);
  assert.deepEqual(trimHistogram(one, 9, "above").sum, 54);
  const negative = custom([-2], { 0: 8 });
  assert.deepEqual([trimHistogram(negative, -5, "below").count, trimHistogram(negative, -5, "above").count], [8, 0]);
});

test("both halves of any histogram make the whole", () => {
  const random = seededNumbers(5);
  for (let round = 0; round < 300; round++) {
    const one = randomExponential(random);
    const value = (random() - 0.5) * 10;
    const [below = 0, above = 0] = (["below", "above"] satisfies TrimKeeps[]).map(
      (keeps) => trimHistogram(one, value, keeps).count,
    );
    assert.ok(Math.abs(below + above - one.count) < 1e-9, `round ${round}`);
  }
});

test("text: from the lowest bucket to the highest, without empty ones", () => {
  const one = exponential(
    0,
    { 0: 1, 1: 0, 2: 1e6 },
    { zeroCount: 2, zeroThreshold: 0.001, negative: { 0: 3 }, sum: 18.4 },
  );
  assert.equal(
    printHistogram(one),
    "{count:1.000006e+06, sum:18.4, [-1,-0.5):3, [-0.001,0.001]:2, (0.5,1]:1, (2,4]:1e+06}",
  );
  assert.equal(printHistogram(custom([1], { 0: 2, 1: 3 })), "{count:5, sum:0, [-Inf,1]:2, (1,+Inf]:3}");
});

test("buckets of the HTTP API say which bounds belong to them", () => {
  const one = exponential(0, { 0: 1 }, { zeroCount: 2, zeroThreshold: 0.75, negative: { 1: 3 } });
  assert.deepEqual(jsonBuckets(one), [
    [1, -2, -1, 3],
    [3, -0.75, 0.75, 2],
    [0, 0.75, 1, 1], // it begins where the zero bucket ends
  ]);
  assert.deepEqual(jsonBuckets(custom([1], { 0: 2, 1: 3 })), [
    [3, -Infinity, 1, 2],
    [0, 1, Infinity, 3],
  ]);
});
