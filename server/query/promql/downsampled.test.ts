import assert from "node:assert/strict";
import { test } from "node:test";
import { printPromql } from "../../../grammar/promql-print.ts";
import { sourceOf } from "./downsampled.ts";
import { PROMQL_DEFAULTS, planQuery } from "./query.ts";

const HOUR_MS = 3_600_000;

function plan(text: string, sourceResolutionMs: number) {
  const settings = { ...PROMQL_DEFAULTS, experimentalFunctions: true, sourceResolutionMs };
  return planQuery({ text, startMs: 0, endMs: 10 * HOUR_MS, stepMs: HOUR_MS, timeoutMs: 1000, settings });
}

/** What is evaluated, and what each selector reads. */
function told(text: string, sourceResolutionMs: number): string {
  const { tree, selections } = plan(text, sourceResolutionMs);
  const sources = selections.map(({ selector }) => {
    const source = sourceOf(selector);
    return source === undefined ? "samples" : `${source.aggregate} ${source.resolutionMs / 1000}`;
  });
  return `${printPromql(tree, { unquotedUtf8Names: false })} | ${sources.join(", ")}`;
}

test("functions read what answers them of windows", () => {
  const gives = (text: string, wanted: string, resolutionMs = HOUR_MS) =>
    assert.equal(told(text, resolutionMs), wanted);
  gives("max_over_time(a[2h])", "max_over_time(a[2h]) | max 3600");
  gives("min_over_time((a[2h]))", "min_over_time(a[2h]) | min 3600");
  gives("count_over_time(a[2h])", "sum_over_time(a[2h]) | count 3600");
  gives(
    "avg_over_time(a[2h] offset 1h)",
    "(sum_over_time(a[2h] offset 1h) / sum_over_time(a[2h] offset 1h)) | sum 3600, count 3600",
  );
  gives("sum by (x) (rate(a[2h])) / b", "sum by (x) (rate(a[2h])) / b | counter 3600, last 3600");
  gives("histogram_quantile(0.9, increase(a[4h]))", "histogram_quantile(0.9, increase(a[4h])) | counter 3600");
  gives("quantile_over_time(0.5, a[3h])", "quantile_over_time(0.5, a[3h]) | last 3600");
  gives("max_over_time(rate(a[2h])[6h:1h])", "max_over_time(rate(a[2h])[6h:1h]) | counter 3600");
  gives("topk(scalar(k), a)", "topk(scalar(k), a) | last 3600, last 3600");
  gives("-a + 1", "-a + 1 | last 3600");
});

test("ranges that hold too few windows read shorter ones, or samples", () => {
  assert.equal(told("rate(a[30m])", HOUR_MS), "rate(a[30m]) | counter 900");
  assert.equal(told("max_over_time(a[30m])", HOUR_MS), "max_over_time(a[30m]) | max 1800");
  assert.equal(told("count_over_time(a[59s])", HOUR_MS), "count_over_time(a[59s]) | samples");
  assert.equal(told("rate(a[1m])", HOUR_MS), "rate(a[1m]) | samples");
  assert.equal(told("avg_over_time(a[30s])", HOUR_MS), "avg_over_time(a[30s]) | samples");
  assert.equal(told("max_over_time(a[1h])", 59_000), "max_over_time(a[1h]) | samples");
  assert.equal(told("max_over_time(a[1h])", 0), "max_over_time(a[1h]) | samples");
});

test("instant selectors look back far enough to see a window", () => {
  assert.equal(plan("a", 0).times.lookbackMs, 300_000);
  assert.equal(plan("a", 60_000).times.lookbackMs, 300_000);
  assert.equal(plan("a", HOUR_MS).times.lookbackMs, HOUR_MS);
});
