import assert from "node:assert/strict";
import { test } from "node:test";
import type { SeriesSamples } from "../../model/series.ts";
import { evaluateQuery, PROMQL_DEFAULTS, planQuery } from "./query.ts";
import { renderOutcome } from "./render.ts";

const clock = { monotonicMs: () => performance.now() };

/** A sample a minute for half an hour. */
const EVERY_MINUTE = Float64Array.from({ length: 31 }, (_, k) => k * 60_000);

function select(minMs: number, maxMs: number): SeriesSamples[] {
  const timestampsMs = EVERY_MINUTE.filter((timeMs) => timeMs >= minMs && timeMs <= maxMs);
  return ["a", "b"].map((job) => ({
    labels: [
      ["__name__", "m"],
      ["job", job],
    ],
    timestampsMs,
    values: timestampsMs.slice(),
  }));
}

function answer(text: string, [startMs, endMs, stepMs]: readonly [number, number, number]) {
  const settings = { ...PROMQL_DEFAULTS, perStepStats: true };
  const query = { text, startMs, endMs, stepMs, timeoutMs: 10_000, settings, stats: "per_step" } as const;
  const plan = planQuery(query);
  const selected = plan.selections.map(({ minMs, maxMs }) => select(minMs, maxMs));
  return evaluateQuery(query, plan, selected, clock);
}

test("samples are counted as Prometheus 3.16 counts them", () => {
  const range = [600_000, 900_000, 150_000] as const;
  const instant = [900_000, 900_000, 0] as const;
  const ok = (text: string, times: typeof range | typeof instant, queryable: number[], read: number[], series = 2) => {
    const { counts } = answer(text, times);
    assert.deepEqual(
      counts && [Array.from(counts.queryable), Array.from(counts.read), counts.series],
      [queryable, read, series],
      text,
    );
  };
  const any = "m";
  ok(any, range, [2, 2, 2], [2, 2, 2]);
  ok(`${any} @ 700`, range, [2, 2, 2], [2, 0, 0]);
  ok(`rate(${any}[5m])`, range, [10, 10, 10], [10, 4, 6]);
  ok(`rate(${any}[1m])`, range, [2, 2, 2], [2, 2, 2]);
  ok(`predict_linear(${any}[5m] @ 600, 1)`, range, [10, 10, 10], [10, 0, 0]);
  ok(`max_over_time(${any}[5m:1m])`, range, [10, 10, 10], [10, 4, 6]);
  ok(`max_over_time(${any}[5m:1m] @ 600)`, range, [10, 10, 10], [10, 0, 0]);
  ok(`max_over_time(${any}[1m:1m])`, range, [2, 2, 2], [2, 2, 2]);
  ok(`max_over_time(rate(${any}[3m])[4m:2m])`, instant, [12], [10]);
  ok(`${any} + ${any}`, instant, [4], [4], 4);
  ok(`${any}[5m]`, instant, [10], [10]);
  ok(`timestamp(${any})`, instant, [2], [2]);
  ok("time()", instant, [0], [0], 0);
});

test("an answer tells of its samples in Prometheus' form", () => {
  const { body } = renderOutcome(answer("a", [60_000, 120_500, 60_500]));
  const { stats } = JSON.parse(new TextDecoder().decode(body)).data;
  const { peakSamples, ...samples } = stats.samples;
  assert.ok(peakSamples > 0);
  assert.deepEqual(samples, {
    totalQueryableSamplesPerStep: [
      [60, 2],
      [120.5, 2],
    ],
    totalQueryableSamples: 4,
    samplesReadPerStep: [
      [60, 2],
      [120.5, 2],
    ],
    samplesRead: 4,
    seriesTouched: 2,
  });
  assert.equal(typeof stats.timings.evalTotalTime, "number");
});
