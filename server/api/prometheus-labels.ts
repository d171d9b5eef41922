/**
 * Routes over series and what is known of metrics: `series`, `labels`, `label/{name}/values`, `metadata`.
 */

import type { Labels, Matcher, MetricMetadata } from "../model/series.ts";
import { compareLabels, compareText } from "../query/promql/series-labels.ts";
import { parseSelector, quoteText } from "../query/promql-texts.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { FormValues } from "./form-values.ts";
import type { AddRoute, PrometheusAnswer, PrometheusRequest } from "./prometheus-answer.ts";
import { invalid, PrometheusError, readLimit, readPlainLimit, readTimes } from "./prometheus-parameters.ts";
import { renderSliced, visitSliced } from "./slices.ts";

const TRUNCATED = "results truncated due to limit";
/** Characters of all selectors of a request: they are parsed on the thread that answers everybody. */
const MATCH_LENGTH_MAX = 65_536;
/** Selectors of a request: each costs a look at the index, and some µs of that thread. */
const MATCHES_MAX = 1_000;
/** Prometheus promises no order; a list this short is sorted, since people read it. */
const SORTED_SERIES_MAX = 5_000;
/** The longest that a timer of Node waits. */
const TIMER_MS_MAX = 2 ** 31 - 1;
const NO_MATCHERS: readonly (readonly Matcher[])[] = [[]];

/** Adds the routes. */
export function addLabelRoutes(add: AddRoute, deps: ApiDeps): void {
  add("series", ["GET", "POST"], (request) => answerSeries(deps, request));
  add("labels", ["GET", "POST"], (request) => answerLabels(deps, request));
  add("label/:name/values", ["GET"], (request) => answerLabelValues(deps, request));
  add("metadata", ["GET"], ({ form }) => answerMetadata(deps.reader.metadata(), form));
}

async function answerSeries(deps: ApiDeps, { form, signal }: PrometheusRequest): Promise<PrometheusAnswer> {
  if (form.fault !== undefined) throw new PrometheusError("bad_data", `error parsing form values: ${form.fault}`);
  if (!form.has("match[]")) throw new PrometheusError("bad_data", "no match[] parameter provided");
  const limit = readLimit(form);
  const times = readTimes(form);
  let sets: readonly (readonly Matcher[])[];
  try {
    sets = readMatcherSets(deps, form);
  } catch (error) {
    if (error instanceof PrometheusError) throw invalid("match[]", error.message);
    throw error;
  }
  const byKey = new Map<string, Labels>();
  let series: readonly Labels[] = [];
  await visitSets(deps, { times, sets, left: signal }, async (matchers, stop) => {
    const found = await deps.reader.series(matchers, times.startMs, times.endMs, stop);
    if (sets.length === 1) series = found;
    else await visitSliced(found, (labels) => byKey.set(JSON.stringify(labels), labels), stop);
  });
  if (sets.length > 1) series = [...byKey.values()];
  if (series.length <= SORTED_SERIES_MAX) series = series.toSorted(compareLabels);
  return answerList(series, limit, signal, (labels) => JSON.stringify(Object.fromEntries(labels)));
}

async function answerLabels(deps: ApiDeps, { form, signal }: PrometheusRequest): Promise<PrometheusAnswer> {
  const limit = readLimit(form);
  const times = readTimes(form);
  const names = new Set<string>();
  await visitSets(deps, { times, sets: readMatcherSets(deps, form), left: signal }, async (matchers, stop) => {
    const window = { matchers, minMs: times.startMs, maxMs: times.endMs, signal: stop };
    for (const name of await deps.reader.labelNames(window)) names.add(name);
  });
  return answerList(sortedTexts(names), limit, signal, JSON.stringify);
}

async function answerLabelValues(deps: ApiDeps, request: PrometheusRequest): Promise<PrometheusAnswer> {
  const { form, signal } = request;
  const wanted = unescapeLabelName(request.name);
  if (wanted === "" || wanted.includes("\ufffd")) {
    throw new PrometheusError("bad_data", `invalid label name: ${quoteText(wanted)}`);
  }
  const limit = readLimit(form);
  const times = readTimes(form);
  const values = new Set<string>();
  await visitSets(deps, { times, sets: readMatcherSets(deps, form), left: signal }, async (matchers, stop) => {
    const window = { matchers, minMs: times.startMs, maxMs: times.endMs, signal: stop };
    for (const value of await deps.reader.labelValues(wanted, window)) values.add(value);
  });
  return answerList(sortedTexts(values), limit, signal, JSON.stringify);
}

/** In byte order; what comes from one set of matchers almost always is. */
function sortedTexts(texts: ReadonlySet<string>): readonly string[] {
  const list = [...texts];
  for (let i = 1; i < list.length; i++) {
    if (compareText(list[i - 1] ?? "", list[i] ?? "") > 0) return list.sort(compareText);
  }
  return list;
}

/** Which series a request asks about. */
interface Asked {
  readonly times: { readonly startMs: number; readonly endMs: number };
  readonly sets: readonly (readonly Matcher[])[];
  /** Aborted when the client left. */
  readonly left: AbortSignal;
}

/** Calls `ask` for each set of matchers in turn, until the time is up or the client left; not at all where no time is meant. */
export async function visitSets(
  deps: ApiDeps,
  { times, sets, left }: Asked,
  ask: (matchers: readonly Matcher[], stop: AbortSignal) => Promise<void>,
): Promise<void> {
  if (times.endMs < times.startMs) return;
  const timeUp = AbortSignal.timeout(Math.min(deps.prometheus.queryTimeoutMs, TIMER_MS_MAX));
  const stop = AbortSignal.any([left, timeUp]);
  try {
    for (const matchers of sets) {
      stop.throwIfAborted();
      await ask(matchers, stop);
    }
  } catch (error) {
    if (left.aborted) throw new PrometheusError("canceled", "the request was canceled while series were gathered");
    if (timeUp.aborted) throw new PrometheusError("timeout", "the request timed out while series were gathered");
    throw error;
  }
}

/**
 * Reads `match[]`; without any, one set that matches everything.
 *
 * @param empty Whether selectors may match series without any of their labels, which `/federate` alone lets them.
 * @throws PrometheusError without the name of the parameter, which only some routes tell.
 */
export function readMatcherSets(
  deps: ApiDeps,
  form: FormValues,
  empty: "refused" | "taken" = "refused",
): readonly (readonly Matcher[])[] {
  const texts = form.all("match[]");
  if (texts.length === 0) return NO_MATCHERS;
  const fault = matchesFault(texts);
  if (fault !== "") throw new PrometheusError("bad_data", fault);
  return texts.map((text) => {
    const outcome = parseSelector(text, deps.prometheus.promql);
    if (outcome.kind === "refused") throw new PrometheusError("bad_data", outcome.message);
    if (outcome.kind === "matches_empty" && empty === "refused") {
      throw new PrometheusError("bad_data", "match[] must contain at least one non-empty matcher");
    }
    return outcome.matchers;
  });
}

/** Why so many selectors, or such long ones, are not read; empty where they are. */
export function matchesFault(texts: readonly string[]): string {
  if (texts.length > MATCHES_MAX) {
    return `match[] stands ${texts.length} times; the limit is ${MATCHES_MAX}: join selectors by regular expressions`;
  }
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  return length > MATCH_LENGTH_MAX ? `match[] has ${length} characters together; the limit is ${MATCH_LENGTH_MAX}` : "";
}

function answerMetadata(metadata: readonly MetricMetadata[], form: FormValues): PrometheusAnswer {
  const limit = readPlainLimit(form, "limit") ?? -1;
  const perMetric = readPlainLimit(form, "limit_per_metric") ?? -1;
  const metric = form.get("metric");
  const byName = new Map<string, object[]>();
  for (const { name, type, help, unit } of metadata) {
    if (metric !== "" && name !== metric) continue;
    const entries = byName.get(name) ?? [];
    if (entries.length === 0 && limit >= 0 && byName.size >= limit) continue;
    if (perMetric <= 0 || entries.length < perMetric) entries.push({ type, unit, help });
    byName.set(name, entries);
  }
  return { data: Object.fromEntries(byName) };
}

/** A list as `data`, cut to its limit with a warning. */
async function answerList<T>(
  found: readonly T[],
  limit: number,
  signal: AbortSignal,
  render: (one: T) => string,
): Promise<PrometheusAnswer> {
  const truncated = found.length > limit;
  const tail = truncated ? `],"warnings":["${TRUNCATED}"]}` : "]}";
  const around = { head: '{"status":"success","data":[', tail, signal };
  return { status: 200, body: await renderSliced(truncated ? found.slice(0, limit) : found, render, around) };
}

/**
 * Undoes Prometheus' `U__` escaping of names: `_2e_` is a dot, `__` an underscore; a name that is not so escaped stays.
 *
 * @see https://prometheus.io/docs/instrumenting/escaping_schemes/
 */
export function unescapeLabelName(name: string): string {
  if (!name.startsWith("U__")) return name;
  const escaped = name.slice(3);
  let out = "";
  for (let at = 0; at < escaped.length; at++) {
    const character = escaped[at] ?? "";
    if (character !== "_") {
      out += character;
      continue;
    }
    const code = /^_(?:_|([0-9a-fA-F]{1,5})_)/.exec(escaped.slice(at, at + 7));
    if (code === null) return name;
    const codePoint = Number.parseInt(code[1] ?? "5f", 16);
    if (codePoint >= 0xd800 && codePoint < 0xe000) return name;
    out += String.fromCodePoint(codePoint);
    at += code[0].length - 1;
  }
  return out;
}
