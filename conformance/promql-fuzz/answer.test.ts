import assert from "node:assert/strict";
import { test } from "node:test";
import { type ApiAnswer, compareAnswers } from "./answer.ts";

const HISTOGRAM = { count: "3", sum: "4", buckets: [[0, "1", "2", "3"]] } as const;

function vector(...samples: readonly (readonly [x: string, value: string])[]): ApiAnswer {
  const result = samples.map(([x, value]) => ({ metric: { x }, value: [1, value] as const }));
  return { code: 200, status: "success", data: { resultType: "vector", result } };
}

function matrix(histogram: object): ApiAnswer {
  // Any histogram of the API.
  const result = [{ metric: {}, histograms: [[1, histogram as typeof HISTOGRAM] as const] }];
  return { code: 200, status: "success", data: { resultType: "matrix", result } };
}

test("differences are told by their kind", () => {
  const kind = (wanted: ApiAnswer, got: ApiAnswer, isOrdered = false) => compareAnswers(wanted, got, isOrdered)?.kind;
  const one = vector(["a", "1"], ["b", "2"]);
  const failed: ApiAnswer = { code: 422, status: "error", errorType: "execution", error: "text" };
  assert.equal(kind(one, vector(["b", "2"], ["a", "1"])), undefined);
  assert.equal(kind(one, vector(["b", "2"], ["a", "1"]), true), "order");
  assert.equal(kind(vector(["a", "1"], ["b", "1"]), vector(["b", "1"], ["a", "1"]), true), undefined);
  assert.equal(kind(one, vector(["a", "1"])), "shape");
  assert.equal(kind(one, vector(["a", "1"], ["b", "2"], ["c", "3"])), "shape");
  assert.equal(kind(one, vector(["a", "1"], ["b", "2.0000001"])), "value");
  assert.equal(kind(one, vector(["a", "1"], ["b", "2.0"])), "value");
  assert.equal(kind(one, vector(["a", "1"], ["b", "2.0000000000000004"])), "last digits");
  assert.equal(kind(vector(["a", "NaN"]), vector(["a", "1"])), "value");
  assert.equal(kind(one, failed), "status");
  assert.equal(kind(failed, { ...failed, error: "other" }), "wording");
  assert.equal(kind(failed, { ...failed, errorType: "bad_data" }), "status");
  assert.equal(kind({ ...one, warnings: ["w"] }, one), "annotations");
  assert.equal(kind(one, { ...one, infos: ["i"] }), "annotations");
});

test("histograms are compared bucket by bucket", () => {
  const kind = (got: object, wanted: object = HISTOGRAM) => compareAnswers(matrix(wanted), matrix(got), false)?.kind;
  assert.equal(kind(HISTOGRAM), undefined);
  assert.equal(kind({ ...HISTOGRAM, count: "4" }), "value");
  assert.equal(kind({ ...HISTOGRAM, buckets: [[1, "1", "2", "3"]] }), "value");
  assert.equal(kind({ ...HISTOGRAM, buckets: [[0, "1", "2", "4"]] }), "value");
  assert.equal(kind({ ...HISTOGRAM, buckets: [] }), "value");
  const spelt = { ...HISTOGRAM, buckets: [...HISTOGRAM.buckets, [0, "2", "4", "NaN"]] };
  assert.equal(kind(HISTOGRAM, spelt), "layout");
});
