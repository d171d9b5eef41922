import assert from "node:assert/strict";
import { test } from "node:test";
import { COLUMN_KERNELS } from "./column-kernels.ts";
import { QueryBudget } from "./query-budget.ts";
import { RANGE_KERNELS } from "./range-kernels.ts";
import { applyKernel } from "./select-steps.ts";
import { makeSeries, type RangeSeries } from "./step-vector.ts";

/** Samples some 15 s apart with gaps and falls, the same for the same seed. */
function samples(seed: number, count: number): RangeSeries {
  let x = seed;
  const random = (max: number) => {
    x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
    return (x >>> 8) % max;
  };
  const timestampsMs = new Float64Array(count);
  const values = new Float64Array(count);
  let ms = 0;
  for (let i = 0; i < count; i++) {
    ms += 14_000 + random(2_000) + (random(20) === 0 ? 700_000 : 0);
    timestampsMs[i] = ms;
    values[i] = random(15) === 0 ? random(5) : (values[i - 1] ?? 0) + random(1_000) / 7;
  }
  return { labels: [], dropName: false, timestampsMs, values, histograms: undefined, startsMs: undefined };
}

test("a column holds what the kernel gives window by window, to the last bit", () => {
  const budget = new QueryBudget({ samplesMax: 1e9, timeoutMs: 1e9 }, { monotonicMs: () => 0 });
  for (const [name, column] of COLUMN_KERNELS) {
    const kernel = RANGE_KERNELS.get(name);
    assert.ok(kernel !== undefined, name);
    for (let seed = 1; seed <= 40; seed++) {
      const series = samples(seed, 20 + 13 * seed);
      const endMs = series.timestampsMs.at(-1) ?? 0;
      const stepMs = [15_000, 60_000, 1_000_000][seed % 3] ?? 0;
      const grid = { startMs: 0, stepMs, steps: Math.floor(endMs / stepMs) + 10, isInstant: false };
      const rangeMs = [1, 60_000, 300_000, 3_600_000, 1e8][seed % 5] ?? 0;
      const ranges = { grid, shifted: grid, rangeMs, isPinned: false, beforeMs: 0, afterMs: 0 };
      const args = { first: new Float64Array(grid.steps).map((_, k) => (k % 13) / 10 - 0.1), second: undefined };
      const [ours, theirs] = [makeSeries([], false, grid, budget), makeSeries([], false, grid, budget)];
      assert.equal(column(series, ranges, args, ours), true);
      applyKernel(series, kernel, ranges, args, theirs);
      assert.deepEqual(ours, theirs, `${name}, seed ${seed}`);
    }
  }
});

test("what has no order among itself is left to the kernel", () => {
  const budget = new QueryBudget({ samplesMax: 1e9, timeoutMs: 1e9 }, { monotonicMs: () => 0 });
  const grid = { startMs: 0, stepMs: 1000, steps: 3, isInstant: false };
  const ranges = { grid, shifted: grid, rangeMs: 2000, isPinned: false, beforeMs: 0, afterMs: 0 };
  const args = { first: new Float64Array(3).fill(0.5), second: undefined };
  const timestampsMs = new Float64Array([0, 1000, 2000]);
  for (const odd of [Number.NaN, -0]) {
    const series = { ...samples(1, 0), timestampsMs, values: new Float64Array([1, odd, 2]) };
    const quantile = COLUMN_KERNELS.get("quantile_over_time");
    assert.equal(quantile?.(series, ranges, args, makeSeries([], false, grid, budget)), false);
  }
});

test("series with times in common, between others and beyond what is kept, have their own results", () => {
  const budget = new QueryBudget({ samplesMax: 1e9, timeoutMs: 1e9 }, { monotonicMs: () => 0 });
  const grid = { startMs: 0, stepMs: 100, steps: 100_000, isInstant: false };
  const ranges = { grid, shifted: grid, rangeMs: 300_000, isPinned: false, beforeMs: 0, afterMs: 0 };
  const args = { first: undefined, second: undefined };
  const [column, kernel] = [COLUMN_KERNELS.get("rate"), RANGE_KERNELS.get("rate")];
  assert.ok(column !== undefined && kernel !== undefined);
  const times = [1, 2, 3, 4].map((seed) => samples(seed, 700).timestampsMs);
  for (const [i, which] of [0, 1, 0, 2, 3, 2, 3, 3, 1, 2].entries()) {
    const series = { ...samples(100 + i, 700), timestampsMs: times[which] ?? new Float64Array(0) };
    const [ours, theirs] = [makeSeries([], false, grid, budget), makeSeries([], false, grid, budget)];
    column(series, ranges, args, ours);
    applyKernel(series, kernel, ranges, args, theirs);
    assert.equal(Buffer.compare(bytesOf(ours.values), bytesOf(theirs.values)), 0);
    assert.equal(Buffer.compare(ours.present, theirs.present), 0);
  }
});

function bytesOf({ buffer, byteOffset, byteLength }: Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
