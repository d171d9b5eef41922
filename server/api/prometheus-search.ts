/**
 * `search/metric_names`, `search/label_names`, `search/label_values`: names and values that fit what somebody types, as
 * lines of JSON; behind Prometheus' switch search-api.
 */

import type { Matcher, MetricMetadata, MetricType } from "../model/series.ts";
import { compareText } from "../query/promql/series-labels.ts";
import { quoteText } from "../query/promql-texts.ts";
import { textScore } from "../query/text-score.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { FormValues } from "./form-values.ts";
import { parseBoolGo, parseIntGo } from "./go-values.ts";
import type { AddRoute, PrometheusAnswer, PrometheusRequest } from "./prometheus-answer.ts";
import { readMatcherSets, visitSets } from "./prometheus-labels.ts";
import { PrometheusError, readTimeMs } from "./prometheus-parameters.ts";
import { visitSliced } from "./slices.ts";

const HOUR_MS = 3_600_000;
const LIMIT_DEFAULT = 100;
/** Prometheus' own default of `--web.search.max-limit`. */
const LIMIT_MAX = 10_000;
const BATCH_DEFAULT = 100;
const BATCH_MAX = 1000;
const TERMS_MAX = 32;
const ALGORITHMS = ["subsequence", "jarowinkler"] as const;

/** Adds the routes. */
export function addSearchRoutes(add: AddRoute, deps: ApiDeps): void {
  const methods = ["GET", "POST"] as const;
  const metadata = (form: FormValues) =>
    readBool(form, "include_metadata", false) ? familiesOf(deps.reader.metadata()) : undefined;
  add("search/metric_names", methods, async (request) => {
    const asked = readSearch(deps, request, "metric_names");
    const families = metadata(request.form);
    const found = await search(deps, request, asked, (window) => deps.reader.labelValues("__name__", window));
    return lines(asked, found, (name, score) => ({ name, ...score, ...(families && metadataOf(families, name)) }));
  });
  add("search/label_names", methods, async (request) => {
    const asked = readSearch(deps, request, "label_names");
    const found = await search(deps, request, asked, (window) => deps.reader.labelNames(window));
    return lines(asked, found, (name, score) => ({ name, ...score }));
  });
  add("search/label_values", methods, async (request) => {
    const asked = readSearch(deps, request, "label_values");
    const label = request.form.get("label");
    if (label === "") throw bad('missing required parameter "label"');
    const found = await search(deps, request, asked, (window) => deps.reader.labelValues(label, window));
    return lines(asked, found, (value, score) => ({ value, ...score }));
  });
}

/** What a request asks for. */
interface Search {
  readonly times: { readonly startMs: number; readonly endMs: number };
  readonly sets: readonly (readonly Matcher[])[];
  readonly terms: readonly string[];
  readonly threshold: number;
  readonly algorithm: (typeof ALGORITHMS)[number];
  readonly caseSensitive: boolean;
  readonly includeScore: boolean;
  readonly order: "alpha" | "alpha_down" | "score";
  readonly limit: number;
  readonly batchSize: number;
}

interface Found {
  readonly text: string;
  readonly score: number;
}

/** Reads and refuses parameters in Prometheus' order and words. */
function readSearch(deps: ApiDeps, { form }: PrometheusRequest, endpoint: string): Search {
  if (!deps.prometheus.searchApi) throw new PrometheusError("unavailable", "search API disabled");
  if (form.fault !== undefined) throw bad(`error parsing form values: ${form.fault}`);
  const times = readSearchTimes(form, deps.clock.nowMs());
  const sets = readMatcherSets(deps, form);
  const terms = form.all("search[]");
  if (terms.length > TERMS_MAX) throw bad(`too many search[] terms: got ${terms.length}, maximum is ${TERMS_MAX}`);
  const threshold = readThreshold(form) / 100;
  const algorithm = readAlgorithm(form);
  const caseSensitive = readBool(form, "case_sensitive", true);
  const includeScore = readBool(form, "include_score", false);
  const order = readOrder(form, terms.length > 0, endpoint);
  const limit = readPositive(form, "limit", LIMIT_DEFAULT);
  if (limit > LIMIT_MAX) {
    throw bad(`limit ${limit} exceeds the configured maximum (${LIMIT_MAX}, see --web.search.max-limit)`);
  }
  const batchSize = Math.min(readPositive(form, "batch_size", BATCH_DEFAULT), limit, BATCH_MAX);
  return { times, sets, terms, threshold, algorithm, caseSensitive, includeScore, order: order(), limit, batchSize };
}

/** The last hour unless said otherwise. */
function readSearchTimes(form: FormValues, nowMs: number): Search["times"] {
  try {
    const startMs = readTimeMs(form, "start", nowMs - HOUR_MS);
    const endMs = readTimeMs(form, "end", nowMs);
    if (endMs >= startMs) return { startMs, endMs };
  } catch (error) {
    // These routes tell what is wrong without the frame that others put around it.
    if (error instanceof PrometheusError) throw bad(error.message.replace(/^invalid parameter "\w+": /, ""));
    throw error;
  }
  throw bad("end timestamp must not be before start timestamp");
}

function readThreshold(form: FormValues): number {
  const text = form.get("fuzz_threshold");
  if (text === "") return 0;
  const threshold = parseIntGo(text);
  if (threshold.kind === "value" && threshold.value >= 0 && threshold.value <= 100) return threshold.value;
  throw bad(`invalid fuzz_threshold ${quoteText(text)}: must be 0-100`);
}

function readAlgorithm(form: FormValues): Search["algorithm"] {
  const text = form.get("fuzz_alg");
  const algorithm = ALGORITHMS.find((one) => one === (text === "" ? ALGORITHMS[0] : text));
  if (algorithm !== undefined) return algorithm;
  throw bad(`unsupported fuzz_alg ${quoteText(text)}: must be one of [${ALGORITHMS.join(" ")}]`);
}

/** What names an order that there is not is told last. */
function readOrder(form: FormValues, hasTerms: boolean, endpoint: string): () => Search["order"] {
  const by = form.get("sort_by");
  const direction = form.get("sort_dir");
  if (direction !== "" && by === "") throw bad("sort_dir is only valid when sort_by is set");
  if (direction !== "" && by === "score") throw bad("sort_dir is not supported for sort_by=score");
  if (direction !== "" && direction !== "asc" && direction !== "dsc") {
    throw bad(`invalid sort_dir ${quoteText(direction)}: must be "asc" or "dsc"`);
  }
  if (by === "score" && !hasTerms) throw bad("sort_by=score requires search[] to be set");
  return () => {
    if (by === "score") return "score";
    if (by === "" || by === "alpha") return direction === "dsc" ? "alpha_down" : "alpha";
    throw bad(`invalid sort_by ${quoteText(by)} for ${endpoint}: must be "alpha" or "score"`);
  };
}

function readPositive(form: FormValues, name: string, fallback: number): number {
  const text = form.get(name);
  if (text === "") return fallback;
  const count = parseIntGo(text);
  if (count.kind === "value" && count.value > 0) return count.value;
  throw bad(`invalid ${name} ${quoteText(text)}: must be a positive integer`);
}

function readBool(form: FormValues, name: string, fallback: boolean): boolean {
  const text = form.get(name);
  if (text === "") return fallback;
  const outcome = parseBoolGo(text);
  if (outcome.kind === "value") return outcome.value;
  throw bad(`invalid ${name} ${quoteText(text)}: must be boolean`);
}

function bad(message: string): PrometheusError {
  return new PrometheusError("bad_data", message);
}

/** All that fits, in order; at most one more than the limit where that is known early. */
async function search(
  deps: ApiDeps,
  { signal }: PrometheusRequest,
  asked: Search,
  textsIn: (window: {
    matchers: readonly Matcher[];
    minMs: number;
    maxMs: number;
    signal: AbortSignal;
  }) => Promise<string[]>,
): Promise<readonly Found[]> {
  const { times, sets, order } = asked;
  const texts = new Set<string>();
  await visitSets(deps, { times, sets, left: signal }, async (matchers, stop) => {
    const window = { matchers, minMs: times.startMs, maxMs: times.endMs, signal: stop };
    for (const text of await textsIn(window)) texts.add(text);
  });
  const score = textScore(asked);
  const found: Found[] = [];
  const visit = (text: string) => {
    const one = score(text);
    if (one !== undefined) found.push({ text, score: one });
  };
  await visitSliced(texts, visit, signal);
  const byText = (a: Found, b: Found) => compareText(a.text, b.text);
  if (order === "score") return found.sort((a, b) => b.score - a.score || byText(a, b));
  return found.sort(order === "alpha" ? byText : (a, b) => byText(b, a));
}

/** Batches, then a line that says whether there was more. */
function lines(
  { includeScore, limit, batchSize }: Search,
  found: readonly Found[],
  show: (text: string, score: { readonly score?: number }) => object,
): PrometheusAnswer {
  const results = found.slice(0, limit).map(({ text, score }) => show(text, includeScore ? { score } : {}));
  const out: string[] = [];
  for (let from = 0; from === 0 || from < results.length; from += batchSize) {
    out.push(JSON.stringify({ results: results.slice(from, from + batchSize) }));
  }
  out.push(JSON.stringify({ status: "success", has_more: found.length > limit }));
  return { text: `${out.join("\n")}\n`, type: "application/x-ndjson; charset=utf-8" };
}

type Families = ReadonlyMap<string, readonly MetricMetadata[]>;

function familiesOf(metadata: readonly MetricMetadata[]): Families {
  const families = new Map<string, MetricMetadata[]>();
  for (const one of metadata) {
    const known = families.get(one.name);
    if (known === undefined) families.set(one.name, [one]);
    else if (known.every(({ type }) => type !== one.type)) known.push(one);
  }
  return families;
}

/** Types whose series may have a name with this ending. */
const ENDINGS: Readonly<Record<string, readonly MetricType[]>> = {
  _total: ["counter"],
  _bucket: ["histogram", "gaugehistogram"],
  _sum: ["histogram", "gaugehistogram", "summary"],
  _count: ["histogram", "gaugehistogram", "summary"],
  _gsum: ["gaugehistogram"],
  _gcount: ["gaugehistogram"],
  _info: ["info"],
};

/** What is known of the family that a metric belongs to. */
function metadataOf(families: Families, name: string): object {
  const [exact] = families.get(name) ?? [];
  if (exact !== undefined) return shown(exact);
  const at = name.lastIndexOf("_");
  const ending = at < 0 ? "" : name.slice(at);
  const family = name.slice(0, Math.max(0, at));
  if ((ending === "_total" || ending === "_info") && family.endsWith(ending)) return {};
  const found = families.get(family)?.find(({ type }) => ENDINGS[ending]?.includes(type) === true);
  return found === undefined ? {} : shown(found);
}

/** Empty texts are left out. */
function shown({ type, help, unit }: MetricMetadata): object {
  return { type, ...(help === "" ? {} : { help }), ...(unit === "" ? {} : { unit }) };
}
