import assert from "node:assert/strict";
import { test } from "node:test";
import type { NativeHistogram } from "./histogram.ts";
import { histogramFault } from "./histogram-validate.ts";

const EXPONENTIAL: NativeHistogram = {
  schema: 1,
  zeroThreshold: 0.001,
  zeroCount: 1,
  count: 10,
  sum: 7,
  positiveSpans: [
    { offset: -2, length: 2 },
    { offset: 3, length: 1 },
  ],
  positiveCounts: Float64Array.of(1, 2, 3),
  negativeSpans: [{ offset: 0, length: 1 }],
  negativeCounts: Float64Array.of(3),
  customValues: new Float64Array(),
  resetHint: "unknown",
  integer: true,
};

const CUSTOM: NativeHistogram = {
  ...EXPONENTIAL,
  schema: -53,
  zeroThreshold: 0,
  zeroCount: 0,
  count: 3,
  positiveSpans: [{ offset: 1, length: 2 }],
  positiveCounts: Float64Array.of(1, 2),
  negativeSpans: [],
  negativeCounts: new Float64Array(),
  customValues: Float64Array.of(-1, 2),
};

function wrong(base: NativeHistogram, change: Partial<NativeHistogram>, words: string): void {
  assert.match(histogramFault({ ...base, ...change }) ?? "valid", new RegExp(words));
}

test("valid histograms", () => {
  assert.equal(histogramFault(EXPONENTIAL), undefined);
  assert.equal(histogramFault(CUSTOM), undefined);
  assert.equal(histogramFault({ ...CUSTOM, customValues: Float64Array.of(-Infinity, 2) }), undefined);
  // NaN observations lie in no bucket.
  assert.equal(histogramFault({ ...EXPONENTIAL, count: 12, sum: Number.NaN }), undefined);
  // Floats are not added up.
  assert.equal(histogramFault({ ...EXPONENTIAL, count: 12, integer: false }), undefined);
});

test("schemas", () => {
  for (const schema of [9, -5, -52]) wrong(EXPONENTIAL, { schema }, `invalid schema.*got schema ${schema}`);
});

test("spans and counts must fit", () => {
  wrong(EXPONENTIAL, { positiveCounts: Float64Array.of(1, 2) }, "positive side: spans need 3 buckets, have 2 buckets");
  wrong(EXPONENTIAL, { negativeSpans: [] }, "negative side: spans need 0 buckets, have 1 buckets");
  const positiveSpans = [
    { offset: 0, length: 2 },
    { offset: -1, length: 1 },
  ];
  wrong(EXPONENTIAL, { positiveSpans }, "positive side: span number 2 with offset -1: .*offset is negative");
  wrong(EXPONENTIAL, { positiveSpans: [{ offset: 2 ** 31 - 2, length: 3 }] }, "span number 1 ends at bucket index");
  wrong(EXPONENTIAL, { positiveSpans: [{ offset: -(2 ** 31), length: 3 }] }, "starts at bucket index .* out of range");
});

test("counts must not be negative", () => {
  wrong(EXPONENTIAL, { positiveCounts: Float64Array.of(1, -2, 3) }, "positive side: bucket number 2 has .* of -2:");
  wrong(EXPONENTIAL, { negativeCounts: Float64Array.of(-3) }, "negative side: bucket number 1");
  wrong(EXPONENTIAL, { zeroCount: -1 }, "zero bucket has observation count of -1");
  wrong({ ...EXPONENTIAL, integer: false }, { count: -1 }, "observation count is negative");
});

test("whole counts must add up", () => {
  wrong(EXPONENTIAL, { count: 11 }, "10 observations found in buckets, but the Count field is 11: .*should equal");
  wrong(EXPONENTIAL, { count: 9, sum: Number.NaN }, "should be at least the number of observations");
});

test("custom buckets", () => {
  const bounds = (...values: number[]) => ({ customValues: Float64Array.from(values) });
  wrong(CUSTOM, bounds(2, 2), "previous bound is 2.000000 and current is 2.000000");
  wrong(CUSTOM, bounds(2, Infinity), "last \\+Inf bound must not be explicitly defined");
  wrong(CUSTOM, bounds(1, Number.NaN), "must not be NaN");
  wrong(CUSTOM, bounds(1), "only 1 custom bounds defined which is insufficient to cover total span length of 3");
  wrong(CUSTOM, { positiveSpans: [{ offset: -1, length: 2 }] }, "span number 1 with offset -1");
  wrong(CUSTOM, { zeroCount: 1 }, "zero count of 0");
  wrong(CUSTOM, { zeroThreshold: 1 }, "zero threshold of 0");
  wrong(CUSTOM, { negativeSpans: [{ offset: 0, length: 0 }] }, "must not have negative spans");
  wrong(CUSTOM, { negativeCounts: Float64Array.of(1) }, "must not have negative buckets");
  wrong(EXPONENTIAL, bounds(1), "exponential schema must not have custom bounds");
});
