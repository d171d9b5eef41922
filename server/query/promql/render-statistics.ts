/** `stats` of a query's answer, in Prometheus' form. */

import { printSeconds } from "./number-text.ts";
import type { SampleCounts } from "./query.ts";
import { type StepGrid, stepTimeMs } from "./step-vector.ts";

/** Milliseconds that the parts of a query took. */
interface Timings {
  readonly queueMs: number;
  readonly planMs: number;
  readonly selectMs: number;
  readonly evaluateMs: number;
}

const NONE: Timings = { queueMs: 0, planMs: 0, selectMs: 0, evaluateMs: 0 };

/** JSON of timings and counts. Sorting is part of the evaluation here. */
export function renderStatistics(
  counts: SampleCounts,
  { samplesPeak }: { readonly samplesPeak: number },
  { queueMs, planMs, selectMs, evaluateMs }: Timings = NONE,
): string {
  const prepareMs = planMs + selectMs;
  const timings = {
    evalTotalTime: (prepareMs + evaluateMs) / 1000,
    resultSortTime: 0,
    queryPreparationTime: prepareMs / 1000,
    innerEvalTime: evaluateMs / 1000,
    execQueueTime: queueMs / 1000,
    execTotalTime: (queueMs + prepareMs + evaluateMs) / 1000,
  };
  const { grid, queryable, read, series, tellsSteps } = counts;
  const steps = (name: string, column: Float64Array) => (tellsSteps ? [`"${name}":${renderSteps(column, grid)}`] : []);
  const samples = [
    ...steps("totalQueryableSamplesPerStep", queryable),
    `"totalQueryableSamples":${total(queryable)}`,
    ...steps("samplesReadPerStep", read),
    `"samplesRead":${total(read)}`,
    `"seriesTouched":${series}`,
    `"peakSamples":${samplesPeak}`,
  ];
  return `{"timings":${JSON.stringify(timings)},"samples":{${samples.join(",")}}}`;
}

function total(column: Float64Array): number {
  return column.reduce((sum, count) => sum + count, 0);
}

function renderSteps(column: Float64Array, grid: StepGrid): string {
  return `[${Array.from(column, (count, k) => `[${printSeconds(stepTimeMs(grid, k))},${count}]`).join(",")}]`;
}
