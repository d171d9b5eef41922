import assert from "node:assert/strict";
import { test } from "node:test";
import { ThalwegError } from "../../model/errors.ts";
import type { SeriesSamples } from "../../model/series.ts";
import { evaluateQuery, PROMQL_DEFAULTS, type PromqlSettings, planQuery } from "./query.ts";
import { printLabels } from "./series-labels.ts";

const clock = { monotonicMs: () => performance.now() };

/** Two counters that differ in their name only, a sample a minute. */
function counters(): SeriesSamples[] {
  const timestampsMs = Float64Array.from({ length: 11 }, (_, k) => k * 60_000);
  return ["a_total", "b_total"].map((name, index) => ({
    labels: [
      ["__name__", name],
      ["job", "x"],
    ],
    timestampsMs,
    values: timestampsMs.map((timeMs) => (timeMs / 1000) * (index + 1)),
  }));
}

function ask(text: string, settings: Partial<PromqlSettings> = {}): string[] {
  const all = { ...PROMQL_DEFAULTS, ...settings };
  const query = { text, startMs: 600_000, endMs: 600_000, stepMs: 0, timeoutMs: 10_000, settings: all };
  const plan = planQuery(query);
  const { result } = evaluateQuery(query, plan, plan.selections.map(counters), clock);
  assert.equal(result.kind, "vector");
  return result.kind === "vector"
    ? result.series.map(({ labels, values }) => `${printLabels(labels)} ${values[0]}`)
    : [];
}

test("names are dropped at once, or when the result is written", () => {
  const same = { message: "vector cannot contain metrics with the same labelset" };
  const every = '{__name__=~".+"}';
  assert.throws(() => ask(`rate(${every}[5m])`), same);
  assert.throws(() => ask(`-${every}`), same);
  assert.deepEqual(ask(`sum by (__name__) (${every})`), ['{__name__="a_total"} 600', '{__name__="b_total"} 1200']);

  const late = { delayedNameRemoval: true };
  assert.throws(() => ask(`rate(${every}[5m])`, late), same);
  const renamed = `label_replace(delta(${every}[5m] offset 1m), "was", "$1", "__name__", "(.)_total")`;
  assert.equal(ask(renamed, late).length, 2);
  assert.throws(() => ask(renamed), /label/);
});

test("a query holds no more values than it may", () => {
  assert.throws(
    () => ask('sum({__name__=~".+"})', { samplesMax: 10 }),
    (cause) => cause instanceof ThalwegError && cause.code === "query_samples_max",
  );
  assert.equal(ask('count({__name__=~".+"})', { samplesMax: 60 }).length, 1);
});
