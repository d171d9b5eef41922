import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClassicBuckets, classicFraction, classicQuantile } from "./classic-quantile.ts";

function classic(counts: readonly (readonly [bound: number, count: number])[]): ClassicBuckets {
  return {
    bounds: Float64Array.from(counts, ([bound]) => bound),
    counts: Float64Array.from(counts, ([, count]) => count),
    length: counts.length,
  };
}

const PLAIN = [
  [1, 4],
  [2, 8],
  [Infinity, 10],
] as const;

test("quantiles", () => {
  const quantile = (q: number) => classicQuantile(q, classic(PLAIN)).value;
  assert.equal(quantile(0.2), 0.5);
  assert.equal(quantile(0.6), 1.5);
  assert.equal(quantile(0.9), 2);
  assert.equal(quantile(-1), -Infinity);
  assert.equal(quantile(2), Infinity);
  assert.ok(Number.isNaN(quantile(Number.NaN)));
});

test("what has no quantile", () => {
  const none = (counts: readonly (readonly [number, number])[]) =>
    assert.ok(Number.isNaN(classicQuantile(0.5, classic(counts)).value));
  none([[1, 4]]);
  none([[Infinity, 4]]);
  none([
    [1, 0],
    [Infinity, 0],
  ]);
});

test("a first bucket at or below zero is its bound", () => {
  assert.equal(
    classicQuantile(
      0.1,
      classic([
        [-1, 4],
        [Infinity, 8],
      ]),
    ).value,
    -1,
  );
});

test("equal bounds are one bucket", () => {
  const { value } = classicQuantile(
    0.5,
    classic([
      [1, 2],
      [1, 2],
      [Infinity, 8],
    ]),
  );
  assert.equal(value, 1);
});

test("counts that fall are lifted, silently where that is rounding", () => {
  const fallen = classicQuantile(
    0.75,
    classic([
      [1, 8],
      [2, 5],
      [3, 6],
      [4, 12],
      [Infinity, 12],
    ]),
  );
  assert.deepEqual(fallen.lifted, { minBound: 2, maxBound: 3, maxDifference: 3 });
  assert.equal(fallen.value, 3.25);
  const rounded = classicQuantile(
    0.5,
    classic([
      [1, 8],
      [2, 8 - 1e-13],
      [Infinity, 8],
    ]),
  );
  assert.deepEqual(rounded, { value: 0.5, lifted: undefined });
});

test("fractions", () => {
  const fraction = (lower: number, upper: number) => classicFraction(lower, upper, classic(PLAIN));
  assert.equal(fraction(0, 1), 0.4);
  assert.equal(fraction(0.5, 1.5), 0.4);
  assert.equal(fraction(-Infinity, Infinity), 1);
  assert.equal(fraction(5, Infinity), 0.2); // none of the last bucket is known to lie below 5
  assert.equal(fraction(2, 1), 0);
  assert.ok(Number.isNaN(fraction(Number.NaN, 1)));
  const negative = [
    [-1, 4],
    [0, 6],
    [Infinity, 8],
  ] as const;
  assert.equal(classicFraction(-Infinity, -5, classic(negative)), 0.5);
  assert.equal(classicFraction(-0.5, 0, classic(negative)), 0.125);
});
