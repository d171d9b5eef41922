import assert from "node:assert/strict";
import { test } from "node:test";
import type { PromqlOutcome } from "./query.ts";
import { renderOutcome } from "./render.ts";
import { ABSENT, FLOAT, type StepGrid, type StepSeries } from "./step-vector.ts";

const GRID: StepGrid = { startMs: 1_000, stepMs: 500, steps: 3, isInstant: false };

/** A column; undefined where there is no value. */
function column(name: string, values: readonly (number | undefined)[]): StepSeries {
  return {
    labels: [["n", name]],
    dropName: false,
    values: Float64Array.from(values, (value) => value ?? 0),
    present: Uint8Array.from(values, (value) => (value === undefined ? ABSENT : FLOAT)),
    histograms: undefined,
  };
}

function rendered(series: readonly StepSeries[], grid: StepGrid = GRID): unknown {
  const outcome: PromqlOutcome = { result: { kind: "steps", grid, series }, warnings: [], infos: [], samplesPeak: 0 };
  return JSON.parse(Buffer.from(renderOutcome(outcome).body).toString()).data.result;
}

test("series whose values are those of the series before are written alike, others as they are", () => {
  const columns: readonly (readonly (number | undefined)[])[] = [
    [1, 1, 1],
    [1, 1, 1],
    [1, undefined, 1],
    [1, 0, 1],
    [1, -0, 1],
    [1, -0, 1],
    [Number.NaN, 1, 1],
    [Number.NaN, 1, 1],
    [undefined, undefined, undefined],
    [undefined, undefined, undefined],
    [1, 1, 2],
  ];
  const print = (value: number) => (Object.is(value, -0) ? "-0" : String(value));
  const wanted = columns.map((values, i) => {
    const points = values.flatMap((value, k) => (value === undefined ? [] : [[1 + k / 2, print(value)]]));
    return { metric: { n: `${i}` }, ...(points.length > 0 ? { values: points } : {}) };
  });
  assert.deepEqual(rendered(columns.map((values, i) => column(`${i}`, values))), wanted);
});

test("each answer has the times of its own grid", () => {
  const series = [column("a", [1, 2, 3])];
  const timesOf = (grid: StepGrid) => {
    const [one] = rendered(series, grid) as { values: [number, string][] }[];
    return one?.values.map(([time]) => time);
  };
  assert.deepEqual(timesOf(GRID), [1, 1.5, 2]);
  assert.deepEqual(timesOf({ ...GRID }), [1, 1.5, 2]);
  assert.deepEqual(timesOf({ ...GRID, startMs: 2_000 }), [2, 2.5, 3]);
  assert.deepEqual(timesOf({ ...GRID, startMs: 2_000, stepMs: 1_000 }), [2, 3, 4]);
  assert.deepEqual(timesOf({ ...GRID, startMs: 2_000, stepMs: 1_000, steps: 2 }), [2, 3]);
});
