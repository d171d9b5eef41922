import assert from "node:assert/strict";
import { test } from "node:test";
import type { Labels } from "../../model/series.ts";
import type { FedSeries } from "./encoded-columns.ts";
import { evaluateQuery, PROMQL_DEFAULTS, type PromqlOutcome, planQuery } from "./query.ts";

const STEP_MS = 15_000;
const SAMPLES = 80;
const STEPS = { startMs: 10 * STEP_MS, endMs: SAMPLES * STEP_MS, stepMs: 2 * STEP_MS };

function random(seed: number): (max: number) => number {
  let state = seed;
  return (max) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * max);
  };
}

const pick = random(11);

/** A series with gaps and values of all classes, as one that is decoded when it is read. */
function floats(labels: Labels, value: (i: number) => number): FedSeries {
  const times: number[] = [];
  for (let i = 0; i < SAMPLES; i++) if (pick(5) > 0 && !(labels.length % 2 === 1 && i > 30 && i < 60)) times.push(i);
  const timestampsMs = Float64Array.from(times, (i) => i * STEP_MS + 1);
  const values = Float64Array.from(times, value);
  const read = () => ({ timestampsMs, values, mayBeStale: false });
  return { labels, timestampsMs, values, histograms: undefined, startsMs: undefined, read, size: values.length };
}

const rare = [Number.NaN, Number.POSITIVE_INFINITY, -0, 1e308, 3];
const many: FedSeries[] = [];
const ones: FedSeries[] = [];
for (let pod = 0; pod < 12; pod++) {
  for (let route = 0; route < 5; route++) {
    const own: Labels = pod === 3 ? [["zone", "own"]] : [];
    const labels: Labels = [["__name__", "many"], ["pod", `p${pod}`], ["route", `/${route}`], ...own];
    many.push(floats(labels, (i) => (pick(20) === 0 ? (rare[pick(rare.length)] as number) : i * pick(9))));
  }
  if (pod !== 5)
    ones.push(
      floats(
        [
          ["__name__", "one"],
          ["pod", `p${pod}`],
          ["zone", `z${pod % 3}`],
        ],
        (i) => pick(3) * i,
      ),
    );
}
const twice = [
  ...ones,
  floats(
    [
      ["__name__", "one"],
      ["pod", "p1"],
      ["zone", "z9"],
    ],
    () => 1,
  ),
];

/** Once as a stream, and once with everything held, since who asks where the time goes gets it operand by operand. */
function bothWays(text: string, right: readonly FedSeries[]): { streamed: PromqlOutcome; held: PromqlOutcome } {
  const run = (explain: boolean) => {
    const query = { text, ...STEPS, timeoutMs: 60_000, settings: PROMQL_DEFAULTS, explain };
    const plan = planQuery(query);
    const selected = plan.selections.map(({ matchers }) => {
      if (matchers.some(({ value }) => value === "one")) return right;
      const isPlain = matchers.some(({ name }) => name === "zone");
      return isPlain ? many.filter(({ labels }) => labels.every(([name]) => name !== "zone")) : many;
    });
    return evaluateQuery(query, plan, selected, { monotonicMs: () => performance.now() });
  };
  return { streamed: run(false), held: run(true) };
}

/** Labels with values by step. Arrays of doubles are not compared, since those tell NaNs apart by their bits. */
function valuesOf({ result }: PromqlOutcome): unknown {
  assert.ok(result.kind === "steps");
  return result.series.map(({ labels, values, present }) => [labels, [...values], [...present]]);
}

const OPERATORS = ["*", "/", "+", "-", "%", "^", ">", "== bool", "!="];

test("a join that is folded as it is made gives what it gives when all of it is held, in less room", () => {
  let values = 0;
  for (const operator of OPERATORS) {
    for (const text of [
      `sum by (zone) (rate(many{zone=""}[2m]) ${operator} on (pod) group_left (zone) one)`,
      `avg without (route) (one ${operator} on (pod) group_right increase(many[3m]))`,
      `count by (pod) (max_over_time(many[1m]) ${operator} ignoring (route, zone) group_left () (one))`,
    ]) {
      const { streamed, held } = bothWays(text, ones);
      assert.deepEqual(valuesOf(streamed), valuesOf(held), text);
      assert.deepEqual([streamed.warnings, streamed.infos], [held.warnings, held.infos], text);
      assert.ok(streamed.result.kind === "steps");
      values += streamed.result.series.length;
      assert.ok(streamed.samplesPeak < held.samplesPeak, `${text} held ${streamed.samplesPeak} values`);
    }
  }
  assert.ok(values > 100);
});

test("labels that may meet, and partners that are not one, are told as they are without a stream", () => {
  // Of one pod all series have a zone of their own, which the join would write over.
  const text = "sum by (zone) (rate(many[2m]) * on (pod) group_left (zone) one)";
  const { streamed, held } = bothWays(text, ones);
  assert.deepEqual(valuesOf(streamed), valuesOf(held));
  assert.throws(() => bothWays("sum(rate(many[2m]) * on (pod) group_left () one)", twice), /found duplicate series/);
});
