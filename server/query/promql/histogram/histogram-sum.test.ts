import assert from "node:assert/strict";
import { test } from "node:test";
import { bucketIndexes } from "../../../model/bucket-indexes.ts";
import type { NativeHistogram } from "../../../model/histogram.ts";
import { addObservations } from "../../../model/histogram-add.ts";
import { histogramFault } from "../../../model/histogram-validate.ts";
import {
  coarserHistogram,
  compactHistogram,
  divideHistogram,
  equalHistograms,
  scaleHistogram,
} from "./float-histogram.ts";
import { HistogramMean, HistogramSum } from "./histogram-accumulator.ts";
import { addHistograms, subtractHistograms } from "./histogram-sum.ts";
import { custom, exponential, randomExponential, seededNumbers, type TestBuckets } from "./test-histogram.ts";

function added(a: NativeHistogram, b: NativeHistogram): NativeHistogram {
  const sum = addHistograms(a, b);
  assert.ok(sum !== undefined);
  return sum.histogram;
}

function subtracted(a: NativeHistogram, b: NativeHistogram): NativeHistogram {
  const difference = subtractHistograms(a, b);
  assert.ok(difference !== undefined);
  return difference.histogram;
}

function positive(histogram: NativeHistogram): TestBuckets {
  const { positiveSpans, positiveCounts } = histogram;
  const indexes = bucketIndexes(positiveSpans, positiveCounts.length);
  return Object.fromEntries(Array.from(indexes, (index, k) => [index, positiveCounts[k] ?? 0]));
}

function inBuckets({ zeroCount, positiveCounts, negativeCounts }: NativeHistogram): number {
  return [zeroCount, ...positiveCounts, ...negativeCounts].reduce((sum, count) => sum + count, 0);
}

test("a sum has the buckets of both", () => {
  const sum = added(
    exponential(0, { 0: 1, 1: 2, 5: 3 }, { sum: 7 }),
    exponential(0, { [-3]: 4, 1: 5, 4: 6 }, { sum: 8 }),
  );
  assert.deepEqual(positive(sum), { [-3]: 4, 0: 1, 1: 7, 4: 6, 5: 3 });
  assert.deepEqual(sum.positiveSpans, [
    { offset: -3, length: 1 },
    { offset: 2, length: 2 },
    { offset: 2, length: 2 },
  ]);
  assert.equal(sum.count, 21);
  assert.equal(sum.sum, 15);
});

test("buckets that are all among those of the other are added in place, and to no histogram that came", () => {
  const wide = exponential(0, { 0: 1, 1: 2, 2: 0, 5: 3, 9: 1e16 });
  const narrow = exponential(0, { 1: 0.5, 5: 4, 9: 1 });
  const [before, beside] = [positive(wide), positive(narrow)];
  const sum = added(wide, narrow);
  assert.deepEqual(sum, added(narrow, wide));
  assert.deepEqual(positive(sum), { 0: 1, 1: 2.5, 2: 0, 5: 7, 9: 1e16 });
  assert.deepEqual(positive(subtracted(wide, narrow)), { 0: 1, 1: 1.5, 2: 0, 5: -1, 9: 1e16 - 1 });
  assert.deepEqual([positive(wide), positive(narrow)], [before, beside]);
  const running = new HistogramSum();
  for (const one of [wide, narrow, narrow, narrow, exponential(0, { 7: 2 }), narrow]) running.add(one);
  assert.deepEqual(positive(running.value ?? exponential(0, {})), { 0: 1, 1: 4, 2: 0, 5: 19, 7: 2, 9: 1e16 + 4 });
  assert.deepEqual(positive(wide), before);
});

test("a difference may count less than nothing", () => {
  const difference = subtracted(exponential(0, { 1: 2 }), exponential(0, { 1: 5, 2: 1 }));
  assert.deepEqual(positive(difference), { 1: -3, 2: -1 });
  assert.equal(difference.count, -4);
});

test("schemas meet in the coarser one", () => {
  // Schema 1 splits (1, 2] of schema 0 in its buckets 1 and 2.
  const fine = exponential(1, { 0: 1, 1: 2, 2: 3, 3: 4 });
  const coarse = exponential(0, { 1: 10 });
  for (const sum of [added(fine, coarse), added(coarse, fine)]) {
    assert.equal(sum.schema, 0);
    assert.deepEqual(positive(sum), { 0: 1, 1: 15, 2: 4 });
  }
});

test("a zero bucket takes in what it reaches, and ends where a bucket ends", () => {
  // Bucket 0 of schema 0 is (0.5, 1], which a threshold of 0.75 would cut.
  const narrow = exponential(0, { [-2]: 1, 0: 2, 2: 3 }, { zeroThreshold: 0.01, zeroCount: 5 });
  const wide = exponential(0, { 1: 1 }, { zeroThreshold: 0.75, zeroCount: 7 });
  for (const sum of [added(narrow, wide), added(wide, narrow)]) {
    assert.equal(sum.zeroThreshold, 1);
    assert.equal(sum.zeroCount, 15);
    assert.deepEqual(positive(compactHistogram(sum)), { 1: 1, 2: 3 });
  }
  // An empty bucket may be cut.
  const empty = exponential(0, { 0: 0, 2: 3 }, { zeroThreshold: 0.01 });
  assert.equal(added(empty, wide).zeroThreshold, 0.75);
});

test("custom buckets meet in the bounds that both have", () => {
  const sum = addHistograms(custom([1, 2, 5], { 0: 1, 1: 2, 2: 3, 3: 4 }), custom([2, 3, 5], { 0: 10, 1: 20, 3: 40 }));
  assert.ok(sum?.boundsReconciled);
  assert.deepEqual([...sum.histogram.customValues], [2, 5]);
  assert.deepEqual(positive(sum.histogram), { 0: 13, 1: 23, 2: 44 });
  assert.equal(addHistograms(custom([1], { 0: 1 }), custom([1], { 1: 1 }))?.boundsReconciled, false);
  assert.deepEqual(positive(subtracted(custom([1, 2], { 1: 5 }), custom([1], { 1: 5 }))), {});
  assert.equal(addHistograms(custom([1], { 0: 1 }), exponential(0, { 0: 1 })), undefined);
});

test("hints of a sum", () => {
  const hint = (a: NativeHistogram["resetHint"], b: NativeHistogram["resetHint"]) => {
    const sum = addHistograms(exponential(0, { 0: 1 }, { resetHint: a }), exponential(0, { 0: 1 }, { resetHint: b }));
    return [sum?.histogram.resetHint, sum?.resetCollision];
  };
  assert.deepEqual(hint("reset", "reset"), ["reset", false]);
  assert.deepEqual(hint("reset", "not_reset"), ["unknown", true]);
  assert.deepEqual(hint("not_reset", "unknown"), ["unknown", false]);
  assert.deepEqual(hint("reset", "gauge"), ["gauge", false]);
  assert.deepEqual(hint("gauge", "unknown"), ["gauge", false]);
});

test("spans that do not fit their counts are refused where buckets must be joined", () => {
  const broken: NativeHistogram = { ...exponential(1, { 0: 1, 1: 2 }), positiveSpans: [{ offset: 0, length: 3 }] };
  assert.throws(() => addHistograms(broken, exponential(0, { 0: 1 })), /spans need 3 buckets, have 2 buckets/);
});

test("scaling and dividing", () => {
  const one = exponential(0, { 0: 2, 3: 4 }, { sum: 6, zeroCount: 1, zeroThreshold: 0.1, resetHint: "not_reset" });
  const half = divideHistogram(one, 2);
  assert.deepEqual(positive(half), { 0: 1, 3: 2 });
  assert.deepEqual([half.count, half.sum, half.zeroCount, half.resetHint], [3.5, 3, 0.5, "not_reset"]);
  assert.equal(scaleHistogram(one, -1).resetHint, "gauge");
  const none = divideHistogram(one, 0);
  assert.deepEqual([none.count, none.sum, none.positiveCounts.length], [Infinity, Infinity, 0]);
  assert.equal(Number.isNaN(divideHistogram(exponential(0, {}), 0).count), true);
  assert.equal(scaleHistogram(custom([1], { 0: 1 }), Number.NaN).zeroCount, 0);
});

test("any two histograms: sums commute, taking away undoes adding, nothing is lost", () => {
  const random = seededNumbers(7);
  for (let round = 0; round < 500; round++) {
    const a = randomExponential(random);
    const b = randomExponential(random);
    const sum = added(a, b);
    assert.equal(histogramFault(sum), undefined);
    assert.equal(inBuckets(sum), a.count + b.count);
    assert.ok(equalHistograms(compactHistogram(sum), compactHistogram(added(b, a))), `round ${round}`);
    const back = compactHistogram(subtracted(sum, b));
    const reached = compactHistogram(added(a, scaleHistogram(b, 0)));
    // Where the zero bucket grew over buckets of `b` alone, `a` has to be brought to the same one first.
    if (reached.zeroThreshold === back.zeroThreshold) assert.ok(equalHistograms(back, reached), `round ${round}`);
    else assert.ok(back.zeroThreshold > reached.zeroThreshold);
  }
});

test("any histogram: compact and coarser ones count the same, and are canonical", () => {
  const random = seededNumbers(8);
  for (let round = 0; round < 500; round++) {
    const one = randomExponential(random);
    const compact = compactHistogram(one);
    assert.equal(compactHistogram(compact), compact);
    assert.equal(histogramFault(compact), undefined);
    assert.equal(inBuckets(compact), one.count);
    assert.ok(!compact.positiveCounts.includes(0) && !compact.negativeCounts.includes(0));
    for (const [k, { offset, length }] of compact.positiveSpans.entries()) {
      assert.ok(length > 0 && (k === 0 || offset > 0));
    }
    if (one.schema === -2) continue;
    const coarse = coarserHistogram(one, one.schema - 1);
    assert.equal(histogramFault(coarse), undefined);
    assert.equal(inBuckets(coarse), one.count);
    const twice = coarserHistogram(coarse, -3);
    assert.ok(equalHistograms(twice, coarserHistogram(one, -3)));
  }
});

test("running sums keep what plain addition loses", () => {
  const parts = [1e100, 1, -1e100].map((count) => exponential(0, { 0: count, 3: count }, { sum: count }));
  const sum = new HistogramSum();
  for (const part of parts) sum.add(part);
  assert.deepEqual(positive(sum.value ?? exponential(0, {})), { 0: 1, 3: 1 });
  assert.equal(sum.value?.sum, 1);
  const mean = new HistogramMean();
  for (const part of parts) mean.add(part);
  assert.equal(mean.value?.count, 2 / 3);
});

test("a mean stays finite where the sum would not", () => {
  const mean = new HistogramMean();
  const huge = exponential(0, { 0: 1e308 }, { sum: 1.5e308 });
  for (let k = 0; k < 4; k++) mean.add(huge);
  assert.equal(mean.value?.sum, 1.5e308);
  assert.deepEqual(positive(mean.value ?? huge), { 0: 1e308 });
});

test("running sums tell what came up", () => {
  const sum = new HistogramSum();
  assert.equal(sum.value, undefined);
  sum.add(custom([1, 2], { 0: 1, 2: 1 }, { resetHint: "reset" }));
  sum.add(custom([1], { 0: 1 }, { resetHint: "unknown" }));
  assert.equal(sum.findings.resetCollision, false);
  sum.add(custom([1], { 0: 1 }, { resetHint: "not_reset" }));
  assert.equal(sum.findings.resetCollision, true);
  assert.equal(sum.findings.boundsReconciled, true);
  assert.deepEqual(positive(sum.value ?? custom([], {})), { 0: 3, 1: 1 });
  sum.add(exponential(0, { 0: 1 }));
  assert.equal(sum.findings.incompatible, true);
  assert.equal(sum.value, undefined);
});

test("what a store adds up has the buckets of a sum here", () => {
  const pick = seededNumbers(11);
  let moved = 0;
  for (let round = 0; round < 2_000; round++) {
    const [a, b] = [randomExponential(pick), randomExponential(pick)];
    const total = addObservations(a, b);
    assert.ok(total !== undefined);
    const sum = compactHistogram(added(a, b));
    assert.ok(equalHistograms(compactHistogram(total), sum), JSON.stringify([a, b, total, sum]));
    assert.equal(histogramFault({ ...total, count: inBuckets(total) }), undefined);
    if (a.zeroThreshold !== b.zeroThreshold) moved++;
  }
  assert.ok(moved > 500);
  const one = custom([1, 2], { 0: 1, 2: 4 });
  assert.deepEqual(positive(addObservations(one, one) as NativeHistogram), { 0: 2, 2: 8 });
  assert.equal(addObservations(one, custom([1, 3], { 0: 1 })), undefined);
  assert.equal(addObservations(one, randomExponential(pick)), undefined);
});
