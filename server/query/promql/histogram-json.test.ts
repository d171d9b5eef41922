import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonBuckets } from "./histogram/histogram-buckets.ts";
import { custom, exponential } from "./histogram/test-histogram.ts";
import { printHistogramJson } from "./histogram-json.ts";
import { printSample } from "./number-text.ts";

test("histograms as JSON: buckets from the lowest to the highest, with their bounds and which of them belong", () => {
  const both = exponential(
    0,
    { 0: 2, 2: 0.5 },
    { negative: { 0: 3, 1: 1 }, zeroCount: 4, zeroThreshold: 0.25, sum: -1e-7 },
  );
  assert.equal(
    printHistogramJson(both),
    '{"count":"10.5","sum":"-1e-07","buckets":[[1,"-2","-1","1"],[1,"-1","-0.5","3"],[3,"-0.25","0.25","4"],' +
      '[0,"0.5","1","2"],[0,"2","4","0.5"]]}',
  );
  assert.equal(
    printHistogramJson(custom([1, 2.5], { 0: 1, 2: 5 }, { sum: Number.NaN })),
    '{"count":"6","sum":"NaN","buckets":[[3,"-Inf","1","1"],[0,"2.5","+Inf","5"]]}',
  );
  assert.equal(printHistogramJson(exponential(3, { 1: 0 })), '{"count":"0","sum":"0"}');
});

test("the short way prints what the buckets say one by one", () => {
  for (const zeroThreshold of [0, 0.1, 0.3, 0.5, 0.75, 3]) {
    for (const schema of [-2, 0, 1, 5]) {
      const histogram = exponential(
        schema,
        { "-1": 1, 0: 2, 3: 0.3 },
        { negative: { 0: 7, 4: 1e22 }, zeroCount: 1, zeroThreshold },
      );
      const shown = jsonBuckets(histogram).map(([rule, ...numbers]) => [rule, ...numbers.map(printSample)]);
      assert.deepEqual(JSON.parse(printHistogramJson(histogram)).buckets, shown, `${zeroThreshold} ${schema}`);
    }
  }
});
