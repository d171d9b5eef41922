/** Results and errors as the JSON of Prometheus' HTTP API. */

import { printPlainNumber } from "../../../grammar/promql-number.ts";
import { ThalwegError } from "../../model/errors.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { Labels } from "../../model/series.ts";
import type { PromqlErrorType, RenderedAnswer } from "../doors.ts";
import { printHistogramJson } from "./histogram-json.ts";
import { JsonBytes, type PrintedTexts, printTexts } from "./json-bytes.ts";
import { keepJson, keptJson } from "./kept-labels.ts";
import { printSeconds } from "./number-text.ts";
import { isBadQuery, type PromqlOutcome, type PromqlResult, type SampleSeries } from "./query.ts";
import { PromqlExecutionError } from "./query-error.ts";
import { renderStatistics } from "./render-statistics.ts";
import { FLOAT, histogramAt, type StepGrid, type StepSeries, stepTimeMs } from "./step-vector.ts";

/** Prometheus' warning where an answer shows no more than `limit` series. */
const TRUNCATED = "results truncated due to limit";

/** Prometheus' words for queries that are too large; ours with the figures follow. */
const TOO_MANY_SAMPLES = "query processing would load too many samples into memory in query execution";
const TOO_MANY_SERIES = "query would load too many series into memory in query execution";

const STATUS_OF: Readonly<Record<PromqlErrorType, number>> = {
  bad_data: 400,
  execution: 422,
  cost_limit: 422,
  timeout: 503,
  canceled: 499,
  internal: 500,
  unavailable: 503,
};

/** What of a result is shown, and what is said beside it. */
export interface AnswerShow {
  /** Series that are shown; a warning says that there are more. */
  readonly seriesMax: number;
  /** Warnings beside those of the engine. */
  readonly warnings: readonly string[];
}

/** How long a query took until it was evaluated, in milliseconds. */
interface QueryTimings {
  /** Waiting for a worker. */
  readonly queueMs: number;
  /** Parsing and planning. */
  readonly planMs: number;
  /** Gathering samples. */
  readonly selectMs: number;
  readonly evaluateMs: number;
}

/** Bounds of the rendered answer. */
interface AnswerLimits {
  readonly bytesMax: number;
}

/** What an answer is made with beside the outcome. */
export interface AnswerOptions extends AnswerShow, AnswerLimits {
  readonly timings?: QueryTimings | undefined;
}

const WHOLE: AnswerOptions = { seriesMax: Number.POSITIVE_INFINITY, warnings: [], bytesMax: 2 ** 30 };

/**
 * A successful answer.
 *
 * @throws ThalwegError `query_answer_max` where it is longer than its limit.
 */
export function renderOutcome(outcome: PromqlOutcome, show: AnswerOptions = WHOLE): RenderedAnswer {
  const json = new JsonBytes(show.bytesMax);
  json.add('{"status":"success","data":{"resultType":"');
  const { result } = outcome;
  renderResult(result, show.seriesMax, json);
  if (outcome.counts !== undefined) json.add(`,"stats":${renderStatistics(outcome.counts, outcome, show.timings)}`);
  if (outcome.explained !== undefined) {
    json.add(`,"explain":${JSON.stringify({ ...explainTimings(show.timings), plan: outcome.explained })}`);
  }
  json.add("}");
  const truncated = "series" in result && result.series.length > show.seriesMax;
  const warnings = [...outcome.warnings, ...(truncated ? [TRUNCATED] : []), ...show.warnings];
  if (warnings.length > 0) json.add(`,"warnings":${JSON.stringify(warnings)}`);
  if (outcome.infos.length > 0) json.add(`,"infos":${JSON.stringify(outcome.infos)}`);
  json.add("}");
  return { status: 200, body: json.finish() };
}

function explainTimings(timings: QueryTimings | undefined): object {
  if (timings === undefined) return {};
  const { queueMs, planMs, selectMs, evaluateMs } = timings;
  const [queue_ms, plan_ms, select_ms, evaluate_ms] = [queueMs, planMs, selectMs, evaluateMs].map(
    (ms) => Math.round(ms * 1000) / 1000,
  );
  return { queue_ms, plan_ms, select_ms, evaluate_ms };
}

/** An error answer; `status` where it is not the usual one of its kind. */
export function renderError(errorType: PromqlErrorType, error: string): RenderedAnswer {
  const body = JSON.stringify({ status: "error", errorType, error });
  return { status: STATUS_OF[errorType], body: new TextEncoder().encode(body), errorType };
}

/** The answer to a query that threw; undefined where the error is a bug of ours. */
export function renderFailure(cause: unknown): RenderedAnswer | undefined {
  if (isBadQuery(cause)) return renderError("bad_data", `invalid parameter "query": ${cause.message}`);
  if (cause instanceof PromqlExecutionError) return renderError("execution", cause.message);
  if (cause instanceof RangeError) return renderRangeError(cause);
  if (!(cause instanceof ThalwegError)) return undefined;
  switch (cause.code) {
    case "query_timeout":
      return renderError("timeout", "query timed out in expression evaluation");
    case "query_canceled":
      return renderError("canceled", "query was canceled in expression evaluation");
    case "query_busy":
      return renderError("unavailable", cause.message);
    case "query_series_max":
      return renderError("cost_limit", `${TOO_MANY_SERIES}: ${cause.message}`);
    case "query_samples_max":
    case "query_memory_max":
    case "query_answer_max":
      return renderError("execution", `${TOO_MANY_SAMPLES}: ${cause.message}`);
    default:
      return renderError("execution", cause.message);
  }
}

/** What the engine of JavaScript cannot do: too long a text or array, too deep a recursion. Anything else is a bug. */
function renderRangeError({ message }: RangeError): RenderedAnswer | undefined {
  if (/call stack/.test(message)) return renderError("execution", "the expression nests too deeply to be evaluated");
  if (!/Invalid (?:string|array|typed array|array buffer) length|allocation failed/i.test(message)) return undefined;
  return renderError("execution", `${TOO_MANY_SAMPLES}: ${message}`);
}

function renderResult(result: PromqlResult, seriesMax: number, json: JsonBytes): void {
  switch (result.kind) {
    case "scalar":
      json.add(`scalar","result":[${result.timeMs / 1000},"${printPlainNumber(result.value)}"]`);
      return;
    case "string":
      json.add(`string","result":[${result.timeMs / 1000},${JSON.stringify(result.value.toWellFormed())}]`);
      return;
    case "vector":
      json.add('vector","result":[');
      renderVector(result.series.slice(0, seriesMax), result.timeMs, json);
      json.add("]");
      return;
    case "steps":
      json.add('matrix","result":[');
      renderSteps(result.series.slice(0, seriesMax), result.grid, json);
      json.add("]");
      return;
    case "samples":
      json.add('matrix","result":[');
      renderSamples(result.series.slice(0, seriesMax), json);
      json.add("]");
  }
}

/** Texts of pairs that are kept: beyond it all go, since on the main thread pairs live as long as their series. */
const PAIR_TEXTS_MAX = 65_536;
/** Pairs as JSON, printed once as long as they are there: series share them, and so do the queries of a worker. */
let pairTexts = new WeakMap<Labels[number], string>();
let pairTextsMade = 0;

function addLabels(labels: Labels, json: JsonBytes): void {
  const known = keptJson(labels);
  if (known !== undefined) {
    json.addBytes(known);
    return;
  }
  const from = json.mark();
  let before = "{";
  for (const pair of labels) {
    json.add(before);
    json.add(pairTexts.get(pair) ?? printPair(pair));
    before = ",";
  }
  json.add(before === "{" ? "{}" : "}");
  const printed = json.since(from);
  if (printed !== undefined) keepJson(labels, printed);
}

function printPair(pair: Labels[number]): string {
  const [name, value] = pair;
  const text = `${JSON.stringify(name)}:${JSON.stringify(value)}`;
  if (pairTextsMade === PAIR_TEXTS_MAX) {
    pairTexts = new WeakMap();
    pairTextsMade = 0;
  }
  pairTextsMade++;
  pairTexts.set(pair, text);
  return text;
}

function renderVector(series: readonly StepSeries[], timeMs: number, json: JsonBytes): void {
  const valueHead = `,"value":[${printSeconds(timeMs)},"`;
  let before = '{"metric":';
  for (const one of series) {
    const histogram = histogramAt(one, 0);
    if (histogram === undefined && one.present[0] !== FLOAT) continue;
    json.add(before);
    before = ',{"metric":';
    addLabels(one.labels, json);
    if (histogram === undefined) {
      json.add(valueHead);
      json.sample(one.values[0] ?? 0);
      json.add('"]}');
    } else json.add(`,"histogram":[${printSeconds(timeMs)},${printHistogramJson(histogram)}]}`);
  }
}

/** Times of a grid, printed once and used for every series: what stands before the first value of a series, and before others. */
interface PrintedGrid {
  readonly grid: StepGrid;
  readonly first: PrintedTexts;
  readonly next: PrintedTexts;
}

/** Of the answer before: panels of a page ask for the same times. */
let printedGrid: PrintedGrid | undefined;

function printGrid(grid: StepGrid): PrintedGrid {
  const known = printedGrid?.grid;
  if (printedGrid !== undefined && known?.startMs === grid.startMs) {
    if (known.stepMs === grid.stepMs && known.steps === grid.steps) return printedGrid;
  }
  const times = Array.from({ length: grid.steps }, (_, k) => printSeconds(stepTimeMs(grid, k)));
  printedGrid = {
    grid,
    first: printTexts(times.map((time) => `,"values":[[${time},"`)),
    next: printTexts(times.map((time) => `"],[${time},"`)),
  };
  return printedGrid;
}

function renderSteps(series: readonly StepSeries[], grid: StepGrid, json: JsonBytes): void {
  const printed = printGrid(grid);
  let before = '{"metric":';
  let last: StepSeries | undefined;
  let from = 0;
  let to = 0;
  for (const one of series) {
    json.add(before);
    before = ',{"metric":';
    addLabels(one.labels, json);
    if (last === undefined || !haveEqualFloats(one, last) || !json.repeat(from, to)) {
      last = one;
      from = json.mark();
      renderFloats(one, printed, json);
      to = json.mark();
    }
    if (one.histograms !== undefined) {
      renderHistograms(
        grid.steps,
        (k) => histogramAt(one, k),
        (k) => `[${printSeconds(stepTimeMs(grid, k))},`,
        json,
      );
    }
    json.add("}");
  }
}

function renderFloats({ present, values }: StepSeries, { grid, first, next }: PrintedGrid, json: JsonBytes): void {
  let heads = first;
  for (let k = 0; k < grid.steps; k++) {
    if (present[k] !== FLOAT) continue;
    json.addPrinted(heads, k);
    heads = next;
    json.sample(values[k] as number); // in range: a column is as long as the grid
  }
  if (heads === next) json.add('"]]');
}

/** Whether the floats of two series are printed alike, as those that tell what something is mostly are. */
function haveEqualFloats(a: StepSeries, b: StepSeries): boolean {
  for (let k = 0; k < a.values.length; k++) {
    if (a.present[k] !== b.present[k]) return false;
    const value = a.values[k] as number; // in range: the loop's bounds, and columns of one grid
    if (value !== b.values[k] || (value === 0 && !Object.is(value, b.values[k]))) return false;
  }
  return true;
}

function renderSamples(series: readonly SampleSeries[], json: JsonBytes): void {
  let separator = "";
  for (const one of series) {
    json.add(`${separator}{"metric":`);
    addLabels(one.labels, json);
    separator = ",";
    const { timestampsMs, values, histograms } = one;
    let before = ',"values":[';
    for (let i = 0; i < values.length; i++) {
      if (histograms?.[i] !== undefined) continue;
      json.add(`${before}[${printSeconds(timestampsMs[i] ?? 0)},"`);
      json.sample(values[i] ?? 0);
      json.add('"]');
      before = ",";
    }
    if (before === ",") json.add("]");
    if (histograms !== undefined) {
      renderHistograms(
        values.length,
        (i) => histograms[i],
        (i) => `[${printSeconds(timestampsMs[i] ?? 0)},`,
        json,
      );
    }
    json.add("}");
  }
}

/** The histograms among `count` points; nothing where there are none. */
function renderHistograms(
  count: number,
  histogramOf: (index: number) => NativeHistogram | undefined,
  headOf: (index: number) => string,
  json: JsonBytes,
): void {
  let before = ',"histograms":[';
  for (let i = 0; i < count; i++) {
    const histogram = histogramOf(i);
    if (histogram === undefined) continue;
    json.add(`${before}${headOf(i)}${printHistogramJson(histogram)}]`);
    before = ",";
  }
  if (before === ",") json.add("]");
}
