import assert from "node:assert/strict";
import { test } from "node:test";
import { customHistogram, withOwnNumbers } from "./histogram.ts";

test("a histogram that is kept holds no more memory than its own numbers", () => {
  const page = Float64Array.from({ length: 1_000 }, (_, i) => i);
  const part = customHistogram({
    count: 15,
    sum: 7,
    positiveSpans: [{ offset: 0, length: 3 }],
    positiveCounts: page.subarray(4, 7),
    customValues: page.subarray(1, 3),
    integer: true,
  });
  const own = withOwnNumbers(part);
  assert.deepEqual(own, part);
  assert.deepEqual([own.positiveCounts.buffer.byteLength, own.customValues.buffer.byteLength], [24, 16]);
  assert.equal(withOwnNumbers(own), own, "what is whole is not copied");
});
