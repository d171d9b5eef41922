/**
 * Prometheus' HTTP API over the PromQL door and the store's series.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Labels, Matcher, MetricMetadata } from "../model/series.ts";
import type { RenderedAnswer } from "../query/doors.ts";
import { formatPromql, parseSelector } from "../query/promql-texts.ts";
import type { ApiDeps } from "./api-deps.ts";
import {
  invalid,
  ParameterError,
  readLimit,
  readRange,
  readTimeMs,
  readTimeoutMs,
  TIME_MAX_MS,
  TIME_MIN_MS,
} from "./prometheus-parameters.ts";
import type { BodyLimits } from "./request-body.ts";
import { readBody } from "./request-body.ts";

/** Longest a query may run; `timeout` of a request only lowers it. */
const QUERY_TIMEOUT_MS = 120_000;
/** Largest form of a POST. */
const FORM_BYTES_MAX = 4 * 2 ** 20;
const FORM_TYPE = "application/x-www-form-urlencoded";
const TRUNCATED = "results truncated due to limit";

/** What a route answers: data under `success`, or an answer that the engine rendered. */
type Answer = { readonly data: unknown; readonly warnings?: readonly string[] } | RenderedAnswer;
type Handler = (parameters: URLSearchParams, request: FastifyRequest) => Answer | Promise<Answer>;

/** Adds the routes under `/api/v1`. */
export function addPrometheusRoutes(app: FastifyInstance, deps: ApiDeps, limits: BodyLimits): void {
  const formLimits = { ...limits, bytesMax: FORM_BYTES_MAX };
  const add = (path: string, methods: readonly string[], handler: Handler) => {
    app.route({
      method: [...methods],
      url: path,
      handler: async (request, reply) => answer(request, reply, formLimits, handler),
    });
  };
  const both = ["GET", "POST"];
  add("/api/v1/query", both, (parameters) => {
    const query = parameters.get("query") ?? "";
    const timeMs = readTimeMs(parameters, "time", deps.clock.nowMs());
    return deps.promql.instant({ query, timeMs, timeoutMs: readTimeoutMs(parameters, QUERY_TIMEOUT_MS) });
  });
  add("/api/v1/query_range", both, (parameters) => {
    const query = parameters.get("query") ?? "";
    const range = readRange(parameters);
    return deps.promql.range({ query, ...range, timeoutMs: readTimeoutMs(parameters, QUERY_TIMEOUT_MS) });
  });
  add("/api/v1/format_query", both, formatQuery);
  add("/api/v1/series", both, (parameters) => answerSeries(deps, parameters));
  add("/api/v1/labels", both, (parameters) => answerLabels(deps, parameters));
  add("/api/v1/label/:name/values", ["GET"], (parameters, request) => {
    // The route has exactly one parameter.
    const { name } = request.params as { name: string };
    return answerLabelValues(deps, parameters, name);
  });
  add("/api/v1/metadata", ["GET"], (parameters) => answerMetadata(deps.reader.metadata(), parameters));
  add("/api/v1/query_exemplars", both, () => ({ data: [] }));
  add("/api/v1/rules", ["GET"], () => ({ data: { groups: [] } }));
  add("/api/v1/alerts", ["GET"], () => ({ data: { alerts: [] } }));
  add("/api/v1/status/buildinfo", ["GET"], () => ({ data: buildInfo(deps.version) }));
}

/** Prometheus' and Tempo's shape of build information. */
export function buildInfo(version: string): Readonly<Record<string, string>> {
  return { version, revision: "", branch: "", buildUser: "", buildDate: "", goVersion: "" };
}

async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  limits: BodyLimits,
  handler: Handler,
): Promise<FastifyReply> {
  reply.type("application/json");
  try {
    const parameters = await readParameters(request, reply, limits);
    if (parameters === undefined) return reply;
    const result = await handler(parameters, request);
    if ("body" in result) return reply.code(result.status).send(Buffer.from(result.body));
    return reply.send(JSON.stringify({ status: "success", ...result }));
  } catch (error) {
    if (!(error instanceof ParameterError)) throw error;
    return sendError(reply, 400, "bad_data", error.message);
  }
}

/** Answers in Prometheus' error shape. */
export function sendError(reply: FastifyReply, status: number, errorType: string, error: string): FastifyReply {
  return reply
    .code(status)
    .type("application/json")
    .send(JSON.stringify({ status: "error", errorType, error }));
}

/** Parameters of the address and of a form together; undefined where the body was refused and answered. */
async function readParameters(
  request: FastifyRequest,
  reply: FastifyReply,
  limits: BodyLimits,
): Promise<URLSearchParams | undefined> {
  const parameters = searchParameters(request);
  if (request.method !== "POST") return parameters;
  const body = await readBody(request.raw, limits);
  if (body.kind === "refused") {
    if (!request.raw.complete) reply.header("connection", "close");
    sendError(reply, body.status, body.status === 503 ? "unavailable" : "bad_data", body.reason);
    return undefined;
  }
  const isForm = (request.headers["content-type"] ?? "").toLowerCase().startsWith(FORM_TYPE);
  if (isForm) {
    for (const [name, value] of new URLSearchParams(body.bytes.toString("utf8"))) parameters.append(name, value);
  }
  body.release();
  return parameters;
}

/** Parameters of a request's address; a name may stand several times. */
export function searchParameters(request: FastifyRequest): URLSearchParams {
  const at = request.url.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : request.url.slice(at + 1));
}

function formatQuery(parameters: URLSearchParams): Answer {
  const outcome = formatPromql(parameters.get("query") ?? "");
  if (outcome.kind === "refused") throw invalid("query", outcome.message);
  return { data: outcome.text };
}

async function answerSeries(deps: ApiDeps, parameters: URLSearchParams): Promise<Answer> {
  if (!parameters.has("match[]")) throw new ParameterError("no match[] parameter provided");
  return limited(
    (await seriesOf(deps, parameters)).map((labels) => Object.fromEntries(labels)),
    readLimit(parameters),
  );
}

async function answerLabels(deps: ApiDeps, parameters: URLSearchParams): Promise<Answer> {
  const names = new Set<string>();
  for (const labels of await seriesOf(deps, parameters)) for (const [name] of labels) names.add(name);
  return limited([...names].sort(byCodeUnit), readLimit(parameters));
}

async function answerLabelValues(deps: ApiDeps, parameters: URLSearchParams, escaped: string): Promise<Answer> {
  const name = unescapeLabelName(escaped);
  if (name === "") throw new ParameterError(`invalid label name: ${JSON.stringify(escaped)}`);
  const values = new Set<string>();
  for (const labels of await seriesOf(deps, parameters)) {
    const value = labels.find((label) => label[0] === name)?.[1];
    if (value !== undefined) values.add(value);
  }
  return limited([...values].sort(byCodeUnit), readLimit(parameters));
}

/** Label sets that any of the `match[]` selectors selects, sorted; all of them where none is given. */
async function seriesOf(deps: ApiDeps, parameters: URLSearchParams): Promise<Labels[]> {
  const minMs = readTimeMs(parameters, "start", TIME_MIN_MS);
  const maxMs = readTimeMs(parameters, "end", TIME_MAX_MS);
  if (maxMs < minMs) throw invalid("end", "end timestamp must not be before start time");
  const selectors = parameters.getAll("match[]");
  const matcherSets = selectors.length === 0 ? [[]] : selectors.map(matchersOf);
  const byIdentity = new Map<string, Labels>();
  for (const matchers of matcherSets) {
    for (const labels of await deps.reader.series(matchers, minMs, maxMs))
      byIdentity.set(JSON.stringify(labels), labels);
  }
  return [...byIdentity.entries()].sort((a, b) => byCodeUnit(a[0], b[0])).map((entry) => entry[1]);
}

function matchersOf(selector: string): readonly Matcher[] {
  const outcome = parseSelector(selector);
  if (outcome.kind === "refused") throw invalid("match[]", outcome.message);
  return outcome.matchers;
}

function answerMetadata(metadata: readonly MetricMetadata[], parameters: URLSearchParams): Answer {
  const metric = parameters.get("metric") ?? "";
  const limit = readLimit(parameters);
  const perMetric = readLimit(parameters, "limit_per_metric");
  const byName = new Map<string, object[]>();
  for (const { name, type, help, unit } of metadata) {
    if (metric !== "" && name !== metric) continue;
    const entries = byName.get(name) ?? [];
    if (entries.length === 0 && byName.size >= limit) continue;
    if (entries.length < perMetric) entries.push({ type, help, unit });
    byName.set(name, entries);
  }
  return { data: Object.fromEntries(byName) };
}

function limited(found: readonly unknown[], limit: number): Answer {
  if (found.length <= limit) return { data: found };
  return { data: found.slice(0, limit), warnings: [TRUNCATED] };
}

function byCodeUnit(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Undoes Prometheus' `U__` escaping of label names: `_2e_` is a dot, `__` an underscore. */
export function unescapeLabelName(name: string): string {
  if (!name.startsWith("U__")) return name;
  return name.slice(3).replace(/__|_([0-9a-fA-F]{1,6})_/g, (whole, hex: string | undefined) => {
    if (hex === undefined) return "_";
    const codePoint = Number.parseInt(hex, 16);
    return codePoint <= 0x10ffff ? String.fromCodePoint(codePoint) : whole;
  });
}
