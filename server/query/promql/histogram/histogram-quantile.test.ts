import assert from "node:assert/strict";
import { test } from "node:test";
import { ascendingBuckets } from "./histogram-buckets.ts";
import { histogramVariance } from "./histogram-moments.ts";
import { histogramFraction, histogramQuantile } from "./histogram-quantile.ts";
import { custom, exponential, randomExponential, seededNumbers } from "./test-histogram.ts";

function near(actual: number, wanted: number): void {
  assert.ok(Math.abs(actual - wanted) <= 1e-12 * Math.abs(wanted), `${actual} is not near ${wanted}`);
}

test("quantiles lie on a logarithmic scale inside exponential buckets", () => {
  const one = exponential(0, { 1: 4, 2: 4 }); // (1, 2] and (2, 4]
  near(histogramQuantile(0.25, one).value, Math.SQRT2);
  near(histogramQuantile(0.75, one).value, 2 * Math.SQRT2);
  assert.equal(histogramQuantile(0, one).value, 1);
  assert.equal(histogramQuantile(0.5, one).value, 2);
  assert.equal(histogramQuantile(1, one).value, 4);
  const mirrored = exponential(0, {}, { negative: { 1: 4, 2: 4 } });
  near(histogramQuantile(0.25, mirrored).value, -2 * Math.SQRT2);
  near(histogramQuantile(0.75, mirrored).value, -Math.SQRT2);
});

test("quantiles outside [0, 1], and of nothing", () => {
  const one = exponential(0, { 1: 4 });
  assert.equal(histogramQuantile(-0.1, one).value, -Infinity);
  assert.equal(histogramQuantile(1.1, one).value, Infinity);
  assert.ok(Number.isNaN(histogramQuantile(Number.NaN, one).value));
  assert.ok(Number.isNaN(histogramQuantile(0.5, exponential(0, {})).value));
});

test("the zero bucket is linear, and one-sided where all other buckets are on one side", () => {
  const zero = { zeroThreshold: 1, zeroCount: 4 };
  assert.equal(histogramQuantile(0.25, exponential(0, {}, zero)).value, -0.5);
  assert.equal(histogramQuantile(0.25, exponential(0, { 2: 4 }, zero)).value, 0.5);
  assert.equal(histogramQuantile(0.75, exponential(0, {}, { ...zero, negative: { 2: 4 } })).value, -0.5);
  assert.equal(histogramQuantile(0.5, exponential(0, { 2: 1 }, { ...zero, negative: { 2: 1 } })).value, 0);
});

test("custom buckets are linear, begin at 0 or know only their end, and end at their last bound", () => {
  const one = custom([2, 4], { 0: 4, 1: 4, 2: 2 });
  assert.equal(histogramQuantile(0.2, one).value, 1);
  assert.equal(histogramQuantile(0.6, one).value, 3);
  assert.equal(histogramQuantile(0.9, one).value, 4);
  assert.equal(histogramQuantile(0.1, custom([-1, 1], { 0: 4, 1: 4 })).value, -1);
});

test("NaN observations are above all others", () => {
  // Eight observations lie in buckets, two are NaN.
  const one = exponential(0, { 1: 4, 2: 4 }, { count: 10, sum: Number.NaN });
  const median = histogramQuantile(0.5, one);
  near(median.value, 2 * 2 ** 0.25);
  assert.equal(median.nans, "skew");
  assert.deepEqual(histogramQuantile(0.9, one), { value: Number.NaN, nans: "result" });
  // -Inf and +Inf make a NaN of the sum, too, but nothing is missing.
  assert.equal(histogramQuantile(0.5, { ...one, count: 8 }).nans, "none");
  assert.deepEqual(histogramFraction(1, 4, one), { value: 0.8, hasNans: true });
});

test("fractions", () => {
  const one = exponential(0, { 1: 4, 2: 4 });
  const fraction = (lower: number, upper: number) => histogramFraction(lower, upper, one).value;
  assert.equal(fraction(1, 2), 0.5);
  near(fraction(-Infinity, Math.SQRT2), 0.25);
  near(fraction(Math.SQRT2, 2 * Math.SQRT2), 0.5);
  assert.equal(fraction(-Infinity, Infinity), 1);
  assert.equal(fraction(5, Infinity), 0);
  assert.equal(fraction(2, 2), 0);
  assert.equal(fraction(3, 2), 0);
  assert.ok(Number.isNaN(fraction(Number.NaN, 2)));
  assert.ok(Number.isNaN(histogramFraction(0, 1, exponential(0, {})).value));
});

test("fractions of custom buckets: a bound at 0, and a first bucket without a lower end", () => {
  assert.equal(histogramFraction(-Infinity, 1, custom([2, 4], { 0: 4, 1: 4 })).value, 0.25);
  const around = custom([-2, 0, 2], { 0: 2, 1: 4, 2: 4 });
  assert.equal(histogramFraction(-1, 1, around).value, 0.4);
  assert.equal(histogramFraction(-Infinity, -5, around).value, 0.2); // all of the first bucket, since it has no width
  assert.equal(histogramFraction(-Infinity, 0, custom([0, 2], { 0: 3, 1: 1 })).value, 0.75);
});

test("a fraction up to a quantile is its rank", () => {
  const random = seededNumbers(3);
  for (let round = 0; round < 300; round++) {
    const one = randomExponential(random);
    if (one.count === 0) continue;
    const quantile = 0.01 + random() * 0.98;
    const { value } = histogramQuantile(quantile, one);
    // At a bound, in an empty stretch, either end is a right answer.
    if (ascendingBuckets(one).some(({ lower, upper }) => lower === value || upper === value)) continue;
    const back = histogramFraction(-Infinity, value, one).value;
    assert.ok(Math.abs(back - quantile) < 1e-9, `round ${round}: ${quantile} became ${back}`);
  }
});

test("variance: the middle of a bucket stands for what is in it", () => {
  // Two at sqrt(2) and two at 2 sqrt(2) around a mean of 3 sqrt(2) / 2.
  const mean = 1.5 * Math.SQRT2;
  near(histogramVariance(exponential(0, { 1: 2, 2: 2 }, { sum: 4 * mean })), 0.5);
  // One at 0 and one at -sqrt(2).
  near(histogramVariance(exponential(0, {}, { zeroCount: 1, negative: { 1: 1 }, sum: -Math.SQRT2 })), 0.5);
  near(histogramVariance(custom([1, 3, 5], { 1: 1, 2: 1 }, { sum: 6 })), 1);
  assert.ok(Number.isNaN(histogramVariance(exponential(0, {}))));
});
