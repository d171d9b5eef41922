import assert from "node:assert/strict";
import { test } from "node:test";
import { type SeriesSamples, STALE_NAN_BITS } from "../../model/series.ts";
import type { FedSeries } from "./encoded-columns.ts";
import { evaluateQuery, PROMQL_DEFAULTS, type PromqlOutcome, type PromqlQuery, planQuery } from "./query.ts";
import { windowReader } from "./window-numbers.ts";

const END_MS = 1_700_000_000_000;
const watch = { monotonicMs: () => 0 };

/** Counters and gauges 10 s apart: some restart, some have stale markers, ordinary NaNs, infinities, zeros of both signs. */
function anySeries(count: number): SeriesSamples[] {
  let x = 7;
  const pick = (max: number) => {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
    return (x >>> 8) % max;
  };
  return Array.from({ length: count }, (_, at) => {
    const length = pick(70);
    const bits = new BigUint64Array(length);
    const values = new Float64Array(bits.buffer);
    let total = 0;
    for (let i = 0; i < length; i++) {
      total = pick(15) === 0 ? 0 : total + pick(100) / 8;
      values[i] = total;
      if (at % 3 === 0 && pick(6) === 0) bits[i] = STALE_NAN_BITS;
      if (at % 4 === 0 && pick(6) === 0) values[i] = [Number.NaN, Number.POSITIVE_INFINITY, -0, 0][pick(4)] ?? 0;
    }
    const timestampsMs = Float64Array.from(values, (_, i) => END_MS - 300_000 + i * 10_000 + pick(2_000));
    const labels = [["__name__", pick(9) === 0 ? "a_gauge" : "a_total"] as const, ["n", String(at)] as const];
    return { labels, timestampsMs, values };
  });
}

function outcomeOf(text: string, stats: PromqlQuery["stats"]): { outcome: PromqlOutcome; isCalled: boolean } {
  const times = { startMs: END_MS, endMs: END_MS, stepMs: 0, timeoutMs: 1e6 };
  const query = { text, ...times, settings: PROMQL_DEFAULTS, stats };
  const plan = planQuery(query);
  const selected = plan.selections.map(({ minMs, maxMs, call }) => {
    const fed: FedSeries[] = [];
    for (const one of anySeries(60)) {
      const from = one.timestampsMs.findIndex((ms) => ms >= minMs);
      const to = one.timestampsMs.findLastIndex((ms) => ms <= maxMs) + 1;
      if (from === -1 || from >= to) continue;
      const [timestampsMs, values] = [one.timestampsMs.slice(from, to), one.values.slice(from, to)];
      if (call === undefined) {
        fed.push({ labels: one.labels, timestampsMs, values });
        continue;
      }
      const reader = windowReader(call);
      // As the store has them: in the middle of columns that others were in before.
      const columns = [timestampsMs, values].map((column) => {
        const longer = new Float64Array(column.length + 7).fill(-1);
        longer.set(column, 3);
        return longer;
      });
      if (reader.read(columns[0] ?? values, columns[1] ?? values, 3, 3 + values.length)) {
        const none = new Float64Array(0);
        fed.push({ labels: one.labels, timestampsMs: none, values: none, number: reader.result });
      }
    }
    return fed;
  });
  const isCalled = plan.selections.every(({ call }) => call !== undefined);
  return { outcome: evaluateQuery(query, plan, selected, watch), isCalled };
}

test("functions that are computed where samples lie give what they give of samples", () => {
  const calls = [
    ...["rate", "increase", "delta", "irate", "idelta", "changes", "resets", "deriv"],
    ...["avg", "count", "first", "last", "max", "min", "present", "stddev", "stdvar", "sum"].map(
      (n) => `${n}_over_time`,
    ),
  ].map((name) => `${name}({n=~".+"}[5m])`);
  const texts = [
    ...calls,
    "quantile_over_time(0.9, {n=~'.+'}[5m])",
    "quantile_over_time(2, {n=~'.+'}[5m])",
    "rate({n=~'.+'}[5m] offset 20s)",
    "rate({n=~'.+'}[4m] @ 1699999950)",
    "sum by (__name__) (rate({n=~'.+'}[5m]))",
    "count(rate({n=~'.+'}[5m])) + sum(max_over_time({n=~'.+'}[1m]))",
  ];
  for (const text of texts) {
    const there = outcomeOf(text, "none");
    const here = outcomeOf(text, "totals");
    assert.ok(there.isCalled && !here.isCalled, text);
    const shown = ({ result, warnings, infos }: PromqlOutcome) => {
      assert.ok(result.kind === "vector" && result.series.length > 0, text);
      const series = result.series.map(({ labels, values, present }) => ({
        labels,
        value: values[0],
        has: present[0],
      }));
      return { series, warnings, infos };
    };
    assert.deepEqual(shown(there.outcome), shown(here.outcome), text);
  }
});

test("what more than floats at one step decide is computed of samples", () => {
  for (const text of ["rate(a[5m:1m])", "predict_linear(a[5m], 60)", "quantile_over_time(scalar(b), a[5m])", "a[5m]"]) {
    const query = { text, startMs: END_MS, endMs: END_MS, stepMs: 0, timeoutMs: 1e6, settings: PROMQL_DEFAULTS };
    assert.ok(
      planQuery(query).selections.every(({ call }) => call === undefined),
      text,
    );
  }
  const text = "rate(a[5m])";
  const range = { text, startMs: END_MS - 60_000, endMs: END_MS, stepMs: 60_000, timeoutMs: 1e6 };
  assert.ok(planQuery({ ...range, settings: PROMQL_DEFAULTS }).selections[0]?.call === undefined);
  const settings = { ...PROMQL_DEFAULTS, useStartTimestamps: true };
  assert.ok(planQuery({ ...range, startMs: END_MS, stepMs: 0, settings }).selections[0]?.call === undefined);
});
