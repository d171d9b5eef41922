/** Whether an answer is what an eval wants. */

import { RE2JS } from "re2js";
import { CUSTOM_BUCKETS_SCHEMA } from "../../server/model/histogram.ts";
import type { Labels } from "../../server/model/series.ts";
import { compareLabels, labelsKey, printLabels } from "../../server/query/promql/series-labels.ts";
import type { Answer, AnswerSeries, Point } from "./engine-answer.ts";
import type { TestValue } from "./series-notation.ts";
import { printHistogram, type TestHistogram } from "./test-histogram.ts";
import type { EvalCase, MessageCondition, Wanted, WantedSeries } from "./test-language.ts";

const SMALLEST_NORMAL = 2.2250738585072014e-308;
const TOLERANCE = 1e-6;

type Answered = Answer & { readonly kind: "answered" };

/** @returns What is wrong; empty where the answer meets every expectation. */
export function judge(wanted: EvalCase, answer: Answer): string {
  if (wanted.fail !== undefined) {
    if (answer.kind === "answered") return "the query succeeds, but must fail";
    if (answer.isBug) return `the query dies of a bug: ${answer.message}`;
    return meets(wanted.fail, answer.message) ? "" : `fails with "${answer.message}", not ${print(wanted.fail)}`;
  }
  if (answer.kind === "failed") return `the query fails: ${answer.message}`;
  return (
    judgeMessages("warning", wanted.warnings, wanted.noWarnings, answer.warnings) ||
    judgeMessages("info", wanted.infos, wanted.noInfos, answer.infos) ||
    judgeResult(wanted, answer)
  );
}

/** The same query as a range query of three steps: the middle one, at `timeMs`, must be what the instant query wants. */
export function judgeMiddle(wanted: EvalCase, answer: Answer, timeMs: number): string {
  if (answer.kind === "failed") return `as a range query it fails: ${answer.message}`;
  if (answer.type !== "matrix") return `as a range query it gives a ${answer.type}`;
  if (wanted.ordered) return "";
  const middle = answer.series
    .map(({ labels, points }) => ({ labels, points: points.filter((point) => point.timeMs === timeMs) }))
    .filter(({ points }) => points.length > 0);
  const fault =
    wanted.wanted.kind === "scalar"
      ? judgePoint(wanted.wanted.value, middle[0]?.points[0])
      : judgeSeries(atOneTime(wanted.wanted, timeMs), middle);
  return fault === "" ? "" : `as a range query, middle step: ${fault}`;
}

/** Whether an instant eval is also asked as a range query. */
export function hasMiddle({ stepMs, fail, wanted, query }: EvalCase): boolean {
  if (stepMs !== 0 || fail !== undefined || wanted.kind === "string" || wanted.kind === "range vector") return false;
  return !["start()", "end()", "range()", "step()"].some((call) => query.includes(call));
}

function judgeMessages(
  what: string,
  conditions: readonly MessageCondition[],
  none: boolean,
  messages: readonly string[],
): string {
  if (none && messages.length > 0) return `unexpected ${what}: ${messages.join("; ")}`;
  if (conditions.length === 0) return "";
  if (messages.length === 0) return `no ${what}, wanted ${conditions.map(print).join("; ")}`;
  for (const condition of conditions) {
    if (!messages.some((message) => meets(condition, message)))
      return `no ${what} is ${print(condition)}, but: ${messages.join("; ")}`;
  }
  const stray = messages.find((message) => !conditions.some((condition) => meets(condition, message)));
  return stray === undefined ? "" : `unexpected ${what}: ${stray}`;
}

function meets({ kind, text }: MessageCondition, message: string): boolean {
  if (kind === "any") return true;
  return kind === "msg" ? message === text : RE2JS.compile(text).matcher(message).find();
}

function print({ kind, text }: MessageCondition): string {
  return kind === "any" ? "any" : kind === "msg" ? `"${text}"` : `/${text}/`;
}

function judgeResult({ wanted, stepMs, startMs, ordered }: EvalCase, answer: Answered): string {
  const typeFault = (type: string) => (answer.type === type ? "" : `the result is a ${answer.type}, not a ${type}`);
  switch (wanted.kind) {
    case "string":
      if (answer.type !== "string") return typeFault("string");
      return answer.text === wanted.value ? "" : `"${answer.text}" is not "${wanted.value}"`;
    case "scalar":
      return typeFault("scalar") || judgePoint(wanted.value, answer.series[0]?.points[0]);
    case "range vector":
      return typeFault("matrix") || judgeSeries(atSteps(wanted.series, wanted), answer.series);
    case "series":
      if (stepMs === 0) {
        return (
          typeFault("vector") ||
          judgeSeries(atOneTime(wanted, answer.series[0]?.points[0]?.timeMs ?? startMs), answer.series) ||
          (ordered ? judgePlaces(wanted.series, answer.series) : "")
        );
      }
      return (
        typeFault("matrix") ||
        judgeSeries(atSteps(wanted.series, { startMs, stepMs }), answer.series) ||
        judgeOrder(answer.series)
      );
  }
}

interface WantedPoints {
  readonly labels: Labels;
  readonly points: readonly { readonly timeMs: number; readonly value: TestValue }[];
}

function atSteps(
  series: readonly WantedSeries[],
  { startMs, stepMs }: { readonly startMs: number; readonly stepMs: number },
): WantedPoints[] {
  return series.map(({ labels, values }) => ({
    labels,
    points: values.flatMap((value, k) => (value === undefined ? [] : [{ timeMs: startMs + k * stepMs, value }])),
  }));
}

function atOneTime(wanted: Wanted, timeMs: number): WantedPoints[] {
  return "series" in wanted ? atSteps(wanted.series, { startMs: timeMs, stepMs: 0 }) : [];
}

function judgeSeries(wanted: readonly WantedPoints[], got: readonly AnswerSeries[]): string {
  const byKey = new Map<string, AnswerSeries>();
  for (const series of got) {
    const key = labelsKey(series.labels);
    if (byKey.has(key)) return `${printLabels(series.labels)} twice`;
    byKey.set(key, series);
  }
  const keys = new Set(wanted.map(({ labels }) => labelsKey(labels)));
  const stray = got.find(({ labels }) => !keys.has(labelsKey(labels)));
  if (stray !== undefined) return `unexpected ${printLabels(stray.labels)}`;
  for (const { labels, points } of wanted) {
    const found = byKey.get(labelsKey(labels));
    const fault = found === undefined ? (points.length > 0 ? "missing" : "") : judgePoints(points, found.points);
    if (fault !== "") return `${printLabels(labels)}: ${fault}`;
  }
  return "";
}

function judgePoints(wanted: WantedPoints["points"], got: readonly Point[]): string {
  const byTime = new Map(got.map((point) => [point.timeMs, point]));
  if (byTime.size !== got.length) return "two points at the same time";
  for (const { timeMs, value } of wanted) {
    const fault = judgePoint(value, byTime.get(timeMs));
    if (fault !== "") return wanted.length > 1 || got.length > 1 ? `at ${timeMs / 1000} s: ${fault}` : fault;
    byTime.delete(timeMs);
  }
  const [stray] = byTime.values();
  return stray === undefined ? "" : `at ${stray.timeMs / 1000} s: unexpected ${printValue(stray.value)}`;
}

function judgePoint(wanted: TestValue, got: Point | undefined): string {
  if (got === undefined) return `no point, wanted ${printValue(wanted)}`;
  if (typeof wanted === "object" && typeof got.value === "object") {
    const fault = judgeHistogram(wanted, got.value);
    return fault === "" ? "" : `${fault} in ${printHistogram(got.value)}, wanted ${printHistogram(wanted)}`;
  }
  const same = typeof wanted === "number" && typeof got.value === "number" && sameFloat(wanted, got.value);
  return same ? "" : `${printValue(got.value)}, wanted ${printValue(wanted)}`;
}

/** Equal within the tolerance of Prometheus' own runner. */
function sameFloat(a: number, b: number): boolean {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b);
  if (a === b) return true;
  const sum = Math.abs(a) + Math.abs(b);
  const difference = Math.abs(a - b);
  if (a === 0 || b === 0 || sum < SMALLEST_NORMAL) return difference < TOLERANCE * SMALLEST_NORMAL;
  return difference / Math.min(sum, Number.MAX_VALUE) < TOLERANCE;
}

function judgeHistogram(wanted: TestHistogram, got: TestHistogram): string {
  if (got.schema !== wanted.schema) return `schema ${got.schema}`;
  if (got.zeroThreshold !== wanted.zeroThreshold) return `zero threshold ${got.zeroThreshold}`;
  if (wanted.schema === CUSTOM_BUCKETS_SCHEMA && got.customValues.join() !== wanted.customValues.join())
    return `bounds ${got.customValues.join(" ")}`;
  for (const key of ["count", "sum", "zeroCount"] as const) {
    if (!sameFloat(wanted[key], got[key])) return `${key} ${got[key]}`;
  }
  for (const side of ["positive", "negative"] as const) {
    for (const index of new Set([...wanted[side].keys(), ...got[side].keys()])) {
      const want = wanted[side].get(index) ?? 0;
      const have = got[side].get(index) ?? 0;
      if ((want === 0) !== (have === 0) || !sameFloat(want, have)) return `${side} bucket ${index} ${have}`;
    }
  }
  return wanted.hintWritten && got.hint !== wanted.hint ? `hint ${got.hint}` : "";
}

function judgePlaces(wanted: readonly WantedSeries[], got: readonly AnswerSeries[]): string {
  const at = wanted.findIndex(({ labels }, index) => labelsKey(labels) !== labelsKey(got[index]?.labels ?? []));
  return at === -1 ? "" : `place ${at + 1} holds ${printLabels(got[at]?.labels ?? [])}`;
}

function judgeOrder(got: readonly AnswerSeries[]): string {
  const at = got.findIndex(({ labels }, index) => index > 0 && compareLabels(got[index - 1]?.labels ?? [], labels) > 0);
  return at === -1 ? "" : `${printLabels(got[at]?.labels ?? [])} is out of the order of labels`;
}

function printValue(value: TestValue): string {
  return typeof value === "object" ? printHistogram(value) : String(value);
}

/** An answer in the notation of the test files, for reading. */
export function printAnswer(answer: Answer): string {
  if (answer.kind === "failed") return `error: ${answer.message}`;
  const lines =
    answer.type === "string"
      ? [JSON.stringify(answer.text)]
      : answer.series.map((one) => printSeries(one, answer.type));
  for (const text of answer.warnings) lines.push(`warning: ${text}`);
  for (const text of answer.infos) lines.push(`info: ${text}`);
  return lines.length === 0 ? "(empty)" : lines.join("\n");
}

function printSeries({ labels, points }: AnswerSeries, type: string): string {
  const values = points.map(({ timeMs, value }) =>
    type === "matrix" ? `${printValue(value)}@${timeMs / 1000}` : printValue(value),
  );
  return `${printLabels(labels)} ${values.join(" ")}`;
}
