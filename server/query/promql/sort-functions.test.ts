import assert from "node:assert/strict";
import { test } from "node:test";
import { precedes, sortByLabelValues, sortByValue } from "./sort-functions.ts";
import type { StepSeries } from "./step-vector.ts";

function series(label: string, value = 0): StepSeries {
  const labels = label === "" ? [] : [["n", label] as const];
  return { labels, dropName: false, values: Float64Array.of(value), present: Uint8Array.of(1), histograms: undefined };
}

test("runs of digits are numbers", () => {
  assert.equal(precedes("a9", "a10"), true);
  assert.equal(precedes("a10", "a9"), false);
  assert.equal(precedes("a10b", "a10"), false);
  assert.equal(precedes("a10", "a10b"), true);
  assert.equal(precedes("99999999999999999999", "9"), false);
  assert.equal(precedes("Z", "a"), true);
  assert.deepEqual(
    [precedes("01", "1"), precedes("1", "01"), precedes("", "a"), precedes("a", "")],
    [true, true, false, false],
  );
});

test("series are sorted by labels as Go does, where labels are missing too", () => {
  const order = (labels: string[], isDescending: boolean) =>
    sortByLabelValues(
      labels.map((label) => series(label)),
      ["n"],
      isDescending,
    ).map(({ labels }) => labels[0]?.[1] ?? "");
  assert.deepEqual(order(["b10", "b9", "a"], false), ["a", "b9", "b10"]);
  assert.deepEqual(order(["b10", "b9", "a"], true), ["b10", "b9", "a"]);
  assert.deepEqual(order(["b", "", "a"], false), ["b", "", "a"]);
  assert.deepEqual(order(["b", "", "a"], true), ["", "b", "a"]);
});

test("series are sorted by value, NaN last", () => {
  const order = (values: number[], isDescending: boolean) =>
    sortByValue(
      values.map((value) => series("", value)),
      isDescending,
    ).map(({ values }) => values[0]);
  assert.deepEqual(order([2, Number.NaN, 1, Number.POSITIVE_INFINITY], false), [
    1,
    2,
    Number.POSITIVE_INFINITY,
    Number.NaN,
  ]);
  assert.deepEqual(order([2, Number.NaN, 1, Number.POSITIVE_INFINITY], true), [
    Number.POSITIVE_INFINITY,
    2,
    1,
    Number.NaN,
  ]);
});
