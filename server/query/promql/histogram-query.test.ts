/** Native histograms on their way through whole queries, from samples to JSON. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ThalwegError } from "../../model/errors.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { SeriesSamples } from "../../model/series.ts";
import { custom, exponential } from "./histogram/test-histogram.ts";
import { evaluateQuery, PROMQL_DEFAULTS, type PromqlSettings, planQuery } from "./query.ts";
import { renderOutcome } from "./render.ts";

const clock = { monotonicMs: () => performance.now() };
const MINUTE_MS = 60_000;

/** A sample a minute from 0 on. */
function series(name: string, samples: readonly (number | NativeHistogram)[]): SeriesSamples {
  return {
    labels: [["__name__", name]],
    timestampsMs: Float64Array.from(samples, (_, k) => k * MINUTE_MS),
    values: Float64Array.from(samples, (sample) => (typeof sample === "number" ? sample : Number.NaN)),
    histograms: samples.map((sample) => (typeof sample === "number" ? undefined : sample)),
  };
}

const counter = (k: number) =>
  exponential(0, { 0: k, 1: 2 * k }, { sum: 10 * k, resetHint: k === 0 ? "unknown" : "not_reset" });
const gauge = exponential(0, { 0: 4, 2: 1 }, { sum: 7, resetHint: "gauge" });

/** By metric name. */
const WORLD: Readonly<Record<string, SeriesSamples>> = {
  counter: series("counter", [0, 1, 2, 3, 4, 5].map(counter)),
  restarted: series("restarted", [counter(3), counter(4), { ...counter(1), resetHint: "reset" }, counter(2)]),
  gauge: series("gauge", [gauge, gauge, exponential(1, { 0: 1 }, { sum: 2, resetHint: "gauge" })]),
  mixed: series("mixed", [1, counter(1), 3, 5]),
  bounded: series("bounded", [custom([1, 2], { 0: 1, 2: 5 }, { sum: 9 }), custom([1, 4], { 0: 2, 1: 1 }, { sum: 8 })]),
  float: series("float", [1, 2, 3, 4, 5, 6]),
};

interface Asked {
  readonly endMs?: number;
  readonly stepMs?: number;
  readonly settings?: Partial<PromqlSettings>;
}

/** Asks at minute 5, unless told otherwise. */
function ask(text: string, { endMs = 5 * MINUTE_MS, stepMs = 0, settings = {} }: Asked = {}) {
  const all = { ...PROMQL_DEFAULTS, experimentalFunctions: true, ...settings };
  const query = { text, startMs: stepMs === 0 ? endMs : 0, endMs, stepMs, timeoutMs: 10_000, settings: all };
  const plan = planQuery(query);
  const selected = plan.selections.map(({ matchers, minMs, maxMs }) =>
    matchers
      .filter(({ name }) => name === "__name__")
      .flatMap(({ value }) => value.split("|").flatMap((name) => WORLD[name] ?? []))
      .map(({ labels, timestampsMs, values, histograms }) => {
        const isInside = (_: unknown, k: number) => (timestampsMs[k] ?? 0) >= minMs && (timestampsMs[k] ?? 0) <= maxMs;
        return {
          labels,
          timestampsMs: timestampsMs.filter(isInside),
          values: values.filter(isInside),
          histograms: histograms?.filter(isInside),
        };
      }),
  );
  const outcome = evaluateQuery(query, plan, selected, clock);
  const answer = JSON.parse(new TextDecoder().decode(renderOutcome(outcome).body));
  const points = answer.data.result.map((one: Record<string, unknown>) => {
    const { metric: _metric, ...rest } = one;
    return rest;
  });
  return { points, warnings: outcome.warnings, infos: outcome.infos, peak: outcome.samplesPeak };
}

/** `count`, `sum` and buckets of the only histogram that a query gives. */
function one(text: string, asked?: Asked): unknown {
  const { points } = ask(text, asked);
  assert.equal(points.length, 1, text);
  return points[0].histogram?.[1];
}

test("histograms are rendered as the HTTP API of Prometheus does", () => {
  assert.deepEqual(ask("gauge").points, [
    { histogram: [300, { count: "1", sum: "2", buckets: [[0, "0.7071067811865475", "1", "1"]] }] },
  ]);
  const zero = { count: "0", sum: "0" };
  const first = {
    count: "3",
    sum: "10",
    buckets: [
      [0, "0.5", "1", "1"],
      [0, "1", "2", "2"],
    ],
  };
  assert.deepEqual(ask("counter[2m]", { endMs: MINUTE_MS }).points, [
    {
      histograms: [
        [0, zero],
        [60, first],
      ],
    },
  ]);
  assert.deepEqual(ask("mixed", { endMs: 2 * MINUTE_MS, stepMs: MINUTE_MS }).points, [
    {
      values: [
        [0, "1"],
        [120, "3"],
      ],
      histograms: [[60, first]],
    },
  ]);
});

test("rates are of whole histograms, resets and extrapolation included", () => {
  // Two steps of three minutes are sampled; the rest of the range is taken to go on like them.
  assert.deepEqual(one("increase(counter[3m])"), {
    count: "9",
    sum: "30",
    buckets: [
      [0, "0.5", "1", "3"],
      [0, "1", "2", "6"],
    ],
  });
  assert.equal(ask("increase(restarted[4m])", { endMs: 3 * MINUTE_MS }).points[0].histogram[1].count, "12");
  assert.deepEqual(ask("resets(restarted[4m])", { endMs: 3 * MINUTE_MS }).points, [{ value: [180, "1"] }]);
  const delta = ask("delta(counter[3m])");
  assert.deepEqual(delta.warnings, ['PromQL warning: this native histogram metric is not a gauge: "counter" (1:7)']);
  const rate = ask("rate(gauge[3m])", { endMs: MINUTE_MS });
  assert.deepEqual(rate.warnings, ['PromQL warning: this native histogram metric is not a counter: "gauge" (1:6)']);
});

test("a window of both types has no rate, and floats only for what takes floats", () => {
  const name = 'metric name "mixed"';
  const rate = ask("rate(mixed[4m])", { endMs: 3 * MINUTE_MS });
  assert.deepEqual(rate.points, []);
  assert.deepEqual(rate.warnings, [`PromQL warning: encountered a mix of histograms and floats for ${name} (1:6)`]);
  const most = ask("max_over_time(mixed[4m])", { endMs: 3 * MINUTE_MS });
  assert.deepEqual(most.points, [{ value: [180, "5"] }]);
  const ignored = "PromQL info: ignored histograms in a range containing both floats and histograms";
  assert.deepEqual(most.infos, [`${ignored} for ${name} (1:15)`]);
  assert.deepEqual(ask("count_over_time(mixed[4m])", { endMs: 3 * MINUTE_MS }).points, [{ value: [180, "4"] }]);
  assert.deepEqual(ask("changes(mixed[4m])", { endMs: 3 * MINUTE_MS }).points, [{ value: [180, "3"] }]);
  assert.deepEqual(ask("idelta(mixed[4m])", { endMs: 3 * MINUTE_MS }).points, [{ value: [180, "2"] }]);
  assert.equal(ask("irate(mixed[4m])", { endMs: 2 * MINUTE_MS }).warnings.length, 1);
});

test("what a range function says of a sub-query belongs to the beginning of the text", () => {
  const { warnings } = ask("sum(rate(gauge[3m:1m]))", { endMs: MINUTE_MS });
  assert.deepEqual(warnings, ['PromQL warning: this native histogram metric is not a counter: "gauge" (1:1)']);
});

test("aggregations add histograms up, count them, or leave them out and say so", () => {
  const both = '{__name__=~"counter|gauge"}';
  assert.deepEqual(one(`sum(${both})`, { endMs: MINUTE_MS }), {
    count: "8",
    sum: "17",
    buckets: [
      [0, "0.5", "1", "5"],
      [0, "1", "2", "2"],
      [0, "2", "4", "1"],
    ],
  });
  assert.equal(ask(`avg(${both})`, { endMs: MINUTE_MS }).points[0].histogram[1].sum, "8.5");
  assert.deepEqual(ask('count({__name__=~"counter|float"})').points, [{ value: [300, "2"] }]);
  const least = ask('min({__name__=~"counter|float"})');
  assert.deepEqual(least.points, [{ value: [300, "6"] }]);
  assert.deepEqual(least.infos, ["PromQL info: ignored histogram in min aggregation (1:5)"]);
  assert.deepEqual(ask('topk(3, {__name__=~"counter|float"})').infos, [
    "PromQL info: ignored histogram in topk aggregation (1:1)",
  ]);
  for (const order of ["counter|float", "float|counter"]) {
    const mixed = ask(`sum({__name__=~"${order}"})`);
    assert.deepEqual(mixed.points, []);
    assert.deepEqual(mixed.warnings, [
      "PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)",
    ]);
  }
  const incompatible = ask('sum({__name__=~"counter|bounded"})', { endMs: MINUTE_MS });
  assert.deepEqual(incompatible.points, []);
  assert.match(incompatible.warnings[0] ?? "", /mix of histograms with exponential and custom buckets schemas/);
});

test("operators take histograms where that means something", () => {
  assert.deepEqual(one("counter + counter", { endMs: MINUTE_MS }), {
    count: "6",
    sum: "20",
    buckets: [
      [0, "0.5", "1", "2"],
      [0, "1", "2", "4"],
    ],
  });
  assert.deepEqual(one("-counter", { endMs: MINUTE_MS }), {
    count: "-3",
    sum: "-10",
    buckets: [
      [0, "0.5", "1", "-1"],
      [0, "1", "2", "-2"],
    ],
  });
  assert.deepEqual(ask("(counter - counter) / 2").points, [{ histogram: [300, { count: "0", sum: "0" }] }]);
  assert.deepEqual(ask("counter == bool counter").points, [{ value: [300, "1"] }]);
  assert.deepEqual(ask("counter != counter").points, []);
  const plus = ask("counter + 1");
  assert.deepEqual(plus.points, []);
  const what = "PromQL info: incompatible sample types encountered for binary operator";
  assert.deepEqual(plus.infos, [`${what} "+": histogram + float (1:1)`]);
  assert.deepEqual(ask("2 - counter").infos, [`${what} "-": float - histogram (1:1)`]);
  assert.deepEqual(ask("1 + (float </ 1)").infos, [`${what} "</": float </ float (1:6)`]);
  const reconciled = ask("bounded + (bounded offset 1m)", { endMs: MINUTE_MS });
  assert.deepEqual(reconciled.infos, ["PromQL info: mismatched custom buckets were reconciled during addition (1:1)"]);
  assert.deepEqual(reconciled.points[0].histogram[1].buckets, [
    [3, "-Inf", "1", "3"],
    [0, "1", "+Inf", "6"],
  ]);
  const layouts = ask("counter - bounded", { endMs: MINUTE_MS });
  assert.deepEqual(layouts.warnings, [
    "PromQL warning: incompatible bucket layout encountered for binary operator - (1:1)",
  ]);
});

test("functions of floats drop histograms, functions of samples keep them", () => {
  for (const text of ["abs(counter)", "clamp_min(counter, 0)", "round(counter)", "sort(counter)", "year(counter)"]) {
    assert.deepEqual(ask(text).points, [], text);
  }
  assert.deepEqual(ask("scalar(counter)").points.length, 2); // [time, value]
  assert.deepEqual(ask("absent(counter)").points, []);
  assert.deepEqual(ask("timestamp(counter * 2)").points, [{ value: [300, "300"] }]);
  assert.equal(ask("sort_by_label(counter)").points.length, 1);
  assert.equal(ask('label_replace(counter, "a", "b", "", "")').points[0].histogram[1].count, "15");
  assert.equal(ask("last_over_time(counter[2m])").points[0].histogram[1].count, "15");
});

test("a histogram counts for as many samples as it is large", () => {
  const size = ask("gauge", { endMs: 0 }).peak / 2; // the stored one and that of the step
  assert.equal(size, (168 + 8 * 4 + 8) / 16 + 0.5); // two spans, two buckets; the column itself counts once more
  assert.throws(
    () => ask("counter[6m]", { settings: { samplesMax: 20 } }),
    (cause) => cause instanceof ThalwegError && cause.code === "query_samples_max",
  );
});
