/** One PromQL query from text to result. */

import { promqlType, unwrapParens } from "../../../grammar/promql-check.ts";
import { PromqlSyntaxError } from "../../../grammar/promql-error.ts";
import { type ParseOptions, PROMQL_TOKENS_MAX, parsePromql } from "../../../grammar/promql-parse.ts";
import type { PromqlExpression } from "../../../grammar/promql-tree.ts";
import { Annotations } from "./annotations.ts";
import { downsample, windowLookbackMs } from "./downsampled.ts";
import type { FedSeries } from "./encoded-columns.ts";
import { evaluate } from "./evaluate.ts";
import type { Evaluation } from "./evaluation.ts";
import { type ExplainNode, QueryProfile } from "./explain.ts";
import { extendedRange } from "./extended-range.ts";
import { histogramStatistics, selectorsOfStatistics } from "./histogram-statistics.ts";
import {
  planSelections,
  queryGrid,
  rangeMsOf,
  type Selecting,
  type Selection,
  shiftedGrid,
  subqueryGrid,
} from "./plan.ts";
import { type PreparedTree, prepareTree } from "./prepare.ts";
import { QueryBudget, type QueryWatch, samplesSize } from "./query-budget.ts";
import { PromqlDurationError } from "./query-error.ts";
import { QueryStatistics, type StepCounts } from "./query-statistics.ts";
import { regexMatchesEmpty } from "./regex.ts";
import { stepsToSamples, withoutStale } from "./select-steps.ts";
import { inOrderOfLabels, resultInOrder } from "./series-order.ts";
import {
  FLOAT,
  type QueryTimes,
  type RangeSeries,
  resolveNames,
  type StepGrid,
  type StepSeries,
} from "./step-vector.ts";

/** How queries are understood; Prometheus' own defaults and switches. */
export interface PromqlSettings {
  readonly lookbackMs: number;
  /** The longest windows that selectors may read in place of samples; 0 for samples only. */
  readonly sourceResolutionMs: number;
  /** Step of a sub-query that names none. */
  readonly defaultStepMs: number;
  /** Values one query may hold at the same time. */
  readonly samplesMax: number;
  /** promql-experimental-functions. */
  readonly experimentalFunctions: boolean;
  /** promql-delayed-name-removal. */
  readonly delayedNameRemoval: boolean;
  /** promql-binop-fill-modifiers. */
  readonly fillModifiers: boolean;
  /** promql-unquoted-utf8-names. */
  readonly unquotedUtf8Names: boolean;
  /** use-start-timestamps: since when a counter counts tells of resets; a request may say otherwise for itself. */
  readonly useStartTimestamps: boolean;
  /** promql-per-step-stats: `stats=all` tells of every step. */
  readonly perStepStats: boolean;
  /** type-and-unit-labels: whether a series is a counter is read from `__type__`, not from its name. */
  readonly typeAndUnitLabels: boolean;
}

/** What a Prometheus server does without flags. */
export const PROMQL_DEFAULTS: PromqlSettings = {
  lookbackMs: 300_000,
  sourceResolutionMs: 0,
  defaultStepMs: 60_000,
  samplesMax: 50_000_000,
  experimentalFunctions: false,
  delayedNameRemoval: false,
  fillModifiers: false,
  unquotedUtf8Names: false,
  useStartTimestamps: false,
  perStepStats: false,
  typeAndUnitLabels: false,
};

/** A text with its times: an instant query has `startMs` equal to `endMs` and `stepMs` 0. */
export interface PromqlQuery {
  readonly text: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
  readonly timeoutMs: number;
  readonly settings: PromqlSettings;
  /** Tells where the time went. */
  readonly explain?: boolean | undefined;
  /** Counts samples; those of each step are told only where the server has its switch on. */
  readonly stats?: "none" | "totals" | "per_step" | undefined;
}

/** A checked query and what it needs from the store. */
export interface PlannedQuery extends PreparedTree {
  readonly times: QueryTimes;
  readonly selections: readonly Selection[];
}

/** Samples of one series in a result of raw samples. */
export type SampleSeries = Pick<RangeSeries, "labels" | "timestampsMs" | "values" | "histograms">;

/** A result before it is rendered. */
export type PromqlResult =
  | { readonly kind: "scalar"; readonly timeMs: number; readonly value: number }
  | { readonly kind: "string"; readonly timeMs: number; readonly value: string }
  /** One step, in the order that the query asks for. */
  | { readonly kind: "vector"; readonly timeMs: number; readonly series: readonly StepSeries[] }
  /** Steps of a range query, sorted by labels. */
  | { readonly kind: "steps"; readonly grid: StepGrid; readonly series: readonly StepSeries[] }
  /** Raw samples: what an instant query of a range selector gives. */
  | { readonly kind: "samples"; readonly series: readonly SampleSeries[] };

/** Samples that a query looked at. @see QueryStatistics */
export interface SampleCounts extends StepCounts {
  /** Series that selectors found, each counted for every selector. */
  readonly series: number;
  /** Whether the counts of each step are to be told. */
  readonly tellsSteps: boolean;
}

/** A result with what was said on the way. */
export interface PromqlOutcome {
  readonly result: PromqlResult;
  readonly warnings: readonly string[];
  readonly infos: readonly string[];
  /** The most values held at the same time. */
  readonly samplesPeak: number;
  /** Where the time went, for queries that ask for it. */
  readonly explained?: ExplainNode | undefined;
  /** Samples that were looked at, for queries that ask for it. */
  readonly counts?: SampleCounts | undefined;
}

/** What the parser has to know of the settings. */
export function parseOptions(settings: PromqlSettings): ParseOptions {
  return { ...settings, regexMatchesEmpty };
}

/**
 * Parses, checks and plans a query.
 *
 * @throws PromqlSyntaxError for the text, PromqlDurationError for durations that only the times show to be wrong.
 */
export function planQuery(query: PromqlQuery): PlannedQuery {
  return planTree(query, parseQuery(query));
}

/** Parses and checks the text of a query; the tree is never changed. @throws PromqlSyntaxError */
export function parseQuery({ text, settings }: Pick<PromqlQuery, "text" | "settings">): PromqlExpression {
  return parsePromql(text, { ...parseOptions(settings), tokensMax: PROMQL_TOKENS_MAX });
}

/** Plans a query that was parsed before, with settings that differ in times alone. @throws As `planQuery`. */
export function planTree(query: PromqlQuery, tree: PromqlExpression): PlannedQuery {
  const { settings, text } = query;
  const type = promqlType(tree);
  if (query.stepMs !== 0 && type !== "scalar" && type !== "vector") throw new RangeTypeError(type);
  const times: QueryTimes = {
    startMs: query.startMs,
    endMs: query.endMs,
    stepMs: query.stepMs,
    lookbackMs: windowLookbackMs(settings.lookbackMs, settings.sourceResolutionMs),
    defaultStepMs: settings.defaultStepMs,
  };
  const sampled = prepareTree(text, tree, times);
  const windowed = downsample(sampled.tree, settings.sourceResolutionMs);
  const prepared = windowed === sampled.tree ? sampled : prepareTree(text, windowed, times);
  const { explain = false, stats = "none" } = query;
  const needsSamples = explain || stats !== "none" || settings.useStartTimestamps || settings.sourceResolutionMs > 0;
  return { ...prepared, times, selections: planSelections(prepared, times, needsSamples) };
}

/** A range query over something that has no value at a step. */
class RangeTypeError extends Error {
  constructor(type: string) {
    const name = type === "matrix" ? "range vector" : type;
    super(`invalid expression type "${name}" for range query, must be Scalar or instant Vector`);
    this.name = "RangeTypeError";
  }
}

/** Whether an error says that the query is wrong, rather than that it failed. */
export function isBadQuery(cause: unknown): cause is Error {
  return cause instanceof PromqlSyntaxError || cause instanceof RangeTypeError || cause instanceof PromqlDurationError;
}

/**
 * Evaluates a planned query.
 *
 * @param selected Series of each selection, in the order of the plan.
 * @throws PromqlExecutionError, or ThalwegError where a limit is reached.
 */
export function evaluateQuery(
  query: PromqlQuery,
  plan: PlannedQuery,
  selected: readonly (readonly FedSeries[])[],
  watch: QueryWatch,
): PromqlOutcome {
  const budget = new QueryBudget({ samplesMax: query.settings.samplesMax, timeoutMs: query.timeoutMs }, watch);
  const annotations = new Annotations(query.text);
  const samples = new Map<Selecting, readonly FedSeries[]>();
  const ofStatistics: ReadonlySet<Selecting> = selectorsOfStatistics(plan.tree);
  for (const [index, { selector }] of plan.selections.entries()) {
    const found = selected[index] ?? [];
    const series = ofStatistics.has(selector) ? found.map(histogramStatistics) : found;
    for (const one of series) budget.hold(samplesSize(one));
    samples.set(selector, inOrderOfLabels(series));
  }
  const { delayedNameRemoval, useStartTimestamps, typeAndUnitLabels } = query.settings;
  const { times, once } = plan;
  const switches = { delayedNameRemoval, useStartTimestamps, typeAndUnitLabels };
  const profile = query.explain === true ? new QueryProfile(watch.monotonicMs) : undefined;
  const { stats = "none" } = query;
  const statistics = stats === "none" ? undefined : new QueryStatistics(queryGrid(times));
  const evaluation: Evaluation = { times, budget, annotations, ...switches, once, samples, profile, statistics };
  const result = resultOf(query, plan, evaluation);
  const { warnings, infos } = annotations;
  const tellsSteps = stats === "per_step" && query.settings.perStepStats;
  const counts = statistics === undefined ? undefined : { ...statistics.counts, series: statistics.series, tellsSteps };
  const explained = profile?.tree(plan.tree, samples);
  return { result, warnings, infos, samplesPeak: budget.peak, explained, counts };
}

function resultOf(query: PromqlQuery, plan: PlannedQuery, evaluation: Evaluation): PromqlResult {
  const inner = unwrapParens(plan.tree);
  const timeMs = query.startMs;
  const grid = queryGrid(plan.times);
  if (inner.kind === "range") return rawSamples(inner, grid, evaluation);
  if (inner.kind === "subquery") return subquerySamples(inner, grid, evaluation);
  const value = evaluate(plan.tree, grid, evaluation);
  if (value.kind === "string") return { kind: "string", timeMs, value: value.value };
  if (value.kind === "scalar") {
    if (query.stepMs === 0) return { kind: "scalar", timeMs, value: value.values[0] ?? Number.NaN };
    const present = new Uint8Array(grid.steps).fill(FLOAT);
    const scalar = { labels: [], dropName: false, values: value.values, present, histograms: undefined };
    return { kind: "steps", grid, series: [scalar] };
  }
  const series = resolveNames(value.series);
  if (query.stepMs === 0) return { kind: "vector", timeMs, series };
  return { kind: "steps", grid, series: resultInOrder(series) };
}

/** The store was asked for exactly the window of the selector, and for what its mode adds around it. */
function rawSamples(
  node: PromqlExpression & { readonly kind: "range" },
  grid: StepGrid,
  evaluation: Evaluation,
): PromqlResult {
  const { selector } = node;
  const { mode } = selector;
  let series: SampleSeries[] = (evaluation.samples.get(selector) ?? []).map(withoutStale);
  if (mode !== undefined) {
    const endMs = shiftedGrid(selector, grid).startMs;
    const edges = { startMs: endMs - rangeMsOf(node), endMs, lookbackMs: evaluation.times.lookbackMs };
    series = series.map((one) => extendedRange(one, mode, edges));
  }
  evaluation.statistics?.countSeries(series.length);
  for (const one of series) evaluation.statistics?.countRange(one);
  return { kind: "samples", series: series.filter((one) => one.values.length > 0) };
}

function subquerySamples(
  node: PromqlExpression & { readonly kind: "subquery" },
  grid: StepGrid,
  evaluation: Evaluation,
): PromqlResult {
  const innerGrid = subqueryGrid(node, grid, evaluation.times);
  const evaluateOperand = () => evaluate(node.operand, innerGrid, evaluation);
  const consumer = { grid, offsetMs: 0, rangeMs: 0, atMs: undefined };
  const value = evaluation.statistics?.subquery(innerGrid, consumer, evaluateOperand) ?? evaluateOperand();
  const series = value.kind === "vector" ? resultInOrder(resolveNames(value.series)) : [];
  return { kind: "samples", series: series.map((one) => stepsToSamples(one, innerGrid)) };
}
