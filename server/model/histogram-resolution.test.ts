import assert from "node:assert/strict";
import { test } from "node:test";
import type { NativeHistogram } from "./histogram.ts";
import { isTooFine, reduceResolution } from "./histogram-resolution.ts";

test("reduceResolution: neighbouring buckets are joined, counts stay", () => {
  const fine: NativeHistogram = {
    schema: 10,
    zeroThreshold: 0,
    zeroCount: 0,
    sum: 1,
    count: 36,
    positiveSpans: [
      { offset: -5, length: 3 },
      { offset: 4, length: 5 },
    ],
    positiveCounts: Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    negativeSpans: [{ offset: 1, length: 1 }],
    negativeCounts: Float64Array.of(9),
    customValues: new Float64Array(),
    resetHint: "unknown",
    integer: true,
  };
  assert.ok(isTooFine(fine));
  const coarse = reduceResolution(fine, 8);
  // Four buckets of schema 10 make one of schema 8: -7…-4 is -1, -3…0 is 0, 1…4 is 1, 5…8 is 2.
  assert.equal(coarse.schema, 8);
  assert.deepEqual(coarse.positiveSpans, [{ offset: -1, length: 4 }]);
  assert.deepEqual(coarse.positiveCounts, Float64Array.of(3, 3, 15, 15));
  assert.deepEqual(coarse.negativeSpans, [{ offset: 1, length: 1 }]);
  assert.deepEqual(coarse.negativeCounts, Float64Array.of(9));
  const broken = reduceResolution({ ...fine, positiveCounts: Float64Array.of(1) }, 8);
  assert.deepEqual(broken.positiveSpans, fine.positiveSpans);
  assert.ok(
    !isTooFine({ ...fine, schema: 8 }) && !isTooFine({ ...fine, schema: 53 }) && isTooFine({ ...fine, schema: 52 }),
  );
});
