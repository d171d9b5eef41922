/** One query through the engine, and its result as plain points. */

import { SampleRoom } from "../../server/model/sample-room.ts";
import type { Labels } from "../../server/model/series.ts";
import type { RenderedAnswer } from "../../server/query/doors.ts";
import { chooseFeatures } from "../../server/query/promql/features.ts";
import {
  evaluateQuery,
  isBadQuery,
  PROMQL_DEFAULTS,
  type PromqlOutcome,
  type PromqlResult,
  type PromqlSettings,
  planQuery,
  type SampleSeries,
} from "../../server/query/promql/query.ts";
import { PromqlExecutionError } from "../../server/query/promql/query-error.ts";
import { renderError, renderFailure, renderOutcome } from "../../server/query/promql/render.ts";
import {
  ABSENT,
  histogramAt,
  type StepGrid,
  type StepSeries,
  stepTimeMs,
} from "../../server/query/promql/step-vector.ts";
import { readSelection } from "../../server/query/small-selection.ts";
import { PROMQL_FEATURES } from "../prometheus.ts";
import type { TestStore } from "./memory-store.ts";
import { fromNative, type TestHistogram } from "./test-histogram.ts";

/** Everything that the tests take for granted and a server has behind switches. */
export const TEST_SETTINGS: PromqlSettings = {
  ...PROMQL_DEFAULTS,
  ...chooseFeatures(PROMQL_FEATURES.split(",")).settings,
};

const TIMEOUT_MS = 100_000;
const NO_LIMITS = { samplesMax: Number.POSITIVE_INFINITY, seriesMax: Number.POSITIVE_INFINITY };
const CLOCK = { monotonicMs: () => performance.now() };

/** A value at a time. */
export interface Point {
  readonly timeMs: number;
  readonly value: number | TestHistogram;
}

/** Points of one series, oldest first. */
export interface AnswerSeries {
  readonly labels: Labels;
  readonly points: readonly Point[];
}

/** What a query answered. */
export type Answer =
  | { readonly kind: "failed"; readonly message: string; readonly isBug: boolean }
  | {
      readonly kind: "answered";
      readonly type: "scalar" | "string" | "vector" | "matrix";
      /** Of a scalar: one series without labels. Empty for a string. */
      readonly series: readonly AnswerSeries[];
      readonly text: string;
      readonly warnings: readonly string[];
      readonly infos: readonly string[];
    };

/** A query with its times; `stepMs` 0 is an instant query. */
export interface Asked {
  readonly query: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

/** Asks the engine over what a store holds. */
export async function askEngine(store: TestStore, asked: Asked): Promise<Answer> {
  try {
    const { result, warnings, infos } = await outcomeOf(store, asked, TEST_SETTINGS);
    return { kind: "answered", ...pointsOf(result), warnings, infos };
  } catch (cause) {
    const isBug = !(isBadQuery(cause) || cause instanceof PromqlExecutionError);
    const error = cause instanceof Error ? cause : new Error(String(cause));
    return { kind: "failed", message: isBug ? (error.stack ?? error.message) : error.message, isBug };
  }
}

/** The answer as the query API renders it; a bug of the engine answers 500 with its stack. */
export async function renderEngine(store: TestStore, asked: Asked, settings: PromqlSettings): Promise<RenderedAnswer> {
  try {
    return renderOutcome(await outcomeOf(store, asked, settings));
  } catch (cause) {
    const stack = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    return renderFailure(cause) ?? renderError("internal", stack);
  }
}

async function outcomeOf(
  store: TestStore,
  { query, startMs, endMs, stepMs }: Asked,
  settings: PromqlSettings,
): Promise<PromqlOutcome> {
  const asked = { text: query, startMs, endMs, stepMs, timeoutMs: TIMEOUT_MS, settings };
  const plan = planQuery(asked);
  // The result may lie in it, so it is not given back.
  const limits = { ...NO_LIMITS, room: new SampleRoom() };
  const selected = await Promise.all(plan.selections.map((selection) => readSelection(store, selection, limits)));
  const series = selected.map((one) => one.series);
  return evaluateQuery(asked, plan, series, CLOCK);
}

function pointsOf(result: PromqlResult): Pick<Answer & { kind: "answered" }, "type" | "series" | "text"> {
  switch (result.kind) {
    case "scalar": {
      const points = [{ timeMs: result.timeMs, value: result.value }];
      return { type: "scalar", series: [{ labels: [], points }], text: "" };
    }
    case "string":
      return { type: "string", series: [], text: result.value };
    case "vector": {
      const grid = { startMs: result.timeMs, stepMs: 0, steps: 1, isInstant: true };
      return { type: "vector", series: result.series.map((one) => stepPoints(one, grid)).filter(hasPoints), text: "" };
    }
    case "steps":
      return { type: "matrix", series: result.series.map((one) => stepPoints(one, result.grid)), text: "" };
    case "samples":
      return { type: "matrix", series: result.series.map(samplePoints), text: "" };
  }
}

function hasPoints({ points }: AnswerSeries): boolean {
  return points.length > 0;
}

function stepPoints(series: StepSeries, grid: StepGrid): AnswerSeries {
  const points: Point[] = [];
  for (let k = 0; k < grid.steps; k++) {
    if (series.present[k] === ABSENT) continue;
    const histogram = histogramAt(series, k);
    const value = histogram === undefined ? (series.values[k] ?? Number.NaN) : fromNative(histogram);
    points.push({ timeMs: stepTimeMs(grid, k), value });
  }
  return { labels: series.labels, points };
}

function samplePoints(series: SampleSeries): AnswerSeries {
  const points = Array.from(series.timestampsMs, (timeMs, index) => {
    const histogram = series.histograms?.[index];
    return { timeMs, value: histogram === undefined ? (series.values[index] ?? Number.NaN) : fromNative(histogram) };
  });
  return { labels: series.labels, points };
}
