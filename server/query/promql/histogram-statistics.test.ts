import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePromql } from "../../../grammar/promql-parse.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import { histogramStatistics, selectorsOfStatistics } from "./histogram-statistics.ts";
import { regexMatchesEmpty } from "./regex.ts";

const SYNTAX = { experimentalFunctions: true, fillModifiers: true, unquotedUtf8Names: false };

test("buckets are left behind where nothing above a selector looks at them", () => {
  const names = (text: string) =>
    Array.from(
      selectorsOfStatistics(parsePromql(text, { regexMatchesEmpty, ...SYNTAX })),
      ({ matchers }) => matchers[0]?.value,
    ).sort();
  assert.deepEqual(names("histogram_count(a)"), ["a"]);
  assert.deepEqual(names("histogram_sum(sum(rate(a[5m])) + b)"), ["a", "b"]);
  assert.deepEqual(names("a"), []);
  assert.deepEqual(names("histogram_count(rate(a[5m:1m]))"), []);
  assert.deepEqual(names("histogram_count(a unless histogram_quantile(0.5, b))"), ["a"]);
  assert.deepEqual(names("histogram_quantile(0.5, a unless histogram_count(b))"), []);
  assert.deepEqual(names("histogram_count(a == b) + histogram_count(c)"), ["c"]);
  assert.deepEqual(names('count_values("v", histogram_count(a))'), []);
});

test("hints say of resets what the buckets said", () => {
  const sample = (count: number, buckets: readonly number[], more: Partial<NativeHistogram> = {}): NativeHistogram => ({
    schema: 0,
    zeroThreshold: 0,
    zeroCount: 0,
    count,
    sum: count,
    positiveSpans: [{ offset: 0, length: buckets.length }],
    positiveCounts: new Float64Array(buckets),
    negativeSpans: [],
    negativeCounts: new Float64Array(),
    customValues: new Float64Array(),
    resetHint: "unknown",
    integer: true,
    ...more,
  });
  const histograms = [
    sample(3, [1, 2]),
    sample(4, [1, 3]),
    sample(5, [0, 5]),
    sample(1, [1, 0], { resetHint: "gauge" }),
  ];
  const series = {
    labels: [],
    timestampsMs: new Float64Array([0, 1, 2, 3]),
    values: new Float64Array(4).fill(Number.NaN),
    histograms,
  };
  const out = histogramStatistics(series).histograms ?? [];
  assert.deepEqual(
    out.map((one) => [one?.count, one?.resetHint, one?.positiveCounts.length]),
    [
      [3, "unknown", 0],
      [4, "not_reset", 0],
      [5, "reset", 0],
      [1, "gauge", 0],
    ],
  );
});
