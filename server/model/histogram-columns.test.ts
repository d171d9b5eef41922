import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteReader, BytesEndError } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import type { NativeHistogram } from "./histogram.ts";
import { histogramsOf, plainHistograms, readStretches, writeHistograms } from "./histogram-columns.ts";

function histogram(i: number, buckets: number): NativeHistogram {
  return {
    schema: 3,
    zeroThreshold: 1e-9,
    zeroCount: i,
    count: 9 * i,
    sum: i / 3,
    positiveSpans: [{ offset: -4, length: buckets }],
    positiveCounts: Float64Array.from({ length: buckets }, (_, k) => i * (k + 1)),
    negativeSpans: [{ offset: 1, length: 1 }],
    negativeCounts: new Float64Array([i * i]),
    customValues: new Float64Array(0),
    resetHint: i === 0 ? "unknown" : "not_reset",
    integer: i % 2 === 0,
  };
}

function encodeHistograms(histograms: readonly NativeHistogram[]): Uint8Array {
  const out = new ByteWriter();
  writeHistograms(out, histograms);
  return out.take();
}

function decode(bytes: Uint8Array, count: number): NativeHistogram[] {
  return readStretches(new ByteReader(bytes), bytes, count).flatMap(histogramsOf);
}

const some = Array.from({ length: 50 }, (_, i) => histogram(i, i < 20 ? 5 : 8));

test("histograms come back in their order, a stretch for each layout", () => {
  const bytes = encodeHistograms(some);
  const stretches = readStretches(new ByteReader(bytes), bytes, some.length);
  assert.deepEqual(
    stretches.map(({ count, positives }) => [count, positives]),
    [
      [20, 5],
      [30, 8],
    ],
  );
  assert.deepEqual(decode(bytes, some.length), some);
});

test("numbers that are not encoded come back in the same way, and too few of them are refused", () => {
  const { bytes, numbers } = plainHistograms(some, (count) => new Float64Array(count));
  const read = (found: Float64Array) => readStretches(new ByteReader(bytes), bytes, some.length, found);
  assert.deepEqual(read(numbers).flatMap(histogramsOf), some);
  assert.equal(numbers.length, 20 * 9 + 30 * 12);
  assert.throws(() => read(numbers.subarray(1)), BytesEndError);
});

test("neighbours take few bytes", () => {
  assert.ok(encodeHistograms(some.slice(20)).length < 30 * 11);
});

test("bytes that were changed or cut are refused, or are others' histograms; never read past their end", () => {
  const bytes = encodeHistograms(some);
  let refused = 0;
  for (let round = 0; round < 5_000; round++) {
    const changed = bytes.slice(0, round % 5 === 0 ? round % bytes.length : bytes.length);
    for (let k = 0; k < 1 + (round % 3) && changed.length > 0; k++) {
      changed[Math.floor(Math.random() * changed.length)] = Math.floor(Math.random() * 256);
    }
    try {
      assert.equal(decode(changed, some.length).length, some.length);
    } catch (error) {
      if (!(error instanceof BytesEndError)) throw error;
      refused++;
    }
  }
  assert.ok(refused > 1_000, `${refused} refused`);
});
