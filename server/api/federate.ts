/**
 * `/federate`: the newest sample of the chosen series in Prometheus' text format, for another Prometheus to scrape.
 *
 * @see https://prometheus.io/docs/prometheus/latest/federation/
 */

import type { FastifyInstance } from "fastify";
import { CUSTOM_BUCKETS_SCHEMA } from "../model/histogram.ts";
import { type Labels, type Matcher, STALE_NAN_BITS } from "../model/series.ts";
import type { ApiDeps } from "./api-deps.ts";
import { FEDERATED_SERIES_MAX, FederateLines, type NameEscaping } from "./federate-lines.ts";
import { addressValues, untilLeft } from "./prometheus-answer.ts";
import { readMatcherSets, visitSets } from "./prometheus-labels.ts";
import { ERROR_STATUS, PrometheusError } from "./prometheus-parameters.ts";
import { visitSliced } from "./slices.ts";

/** Readers that do not ask for names in UTF-8 would fail at the quotes around them. */
const CONTENT_TYPES: Readonly<Record<NameEscaping, string>> = {
  underscores: "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
  "allow-utf-8": "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
};

/** Adds the route. */
export function addFederateRoute(app: FastifyInstance, deps: ApiDeps): void {
  app.get("/federate", async (request, reply) => {
    try {
      const form = addressValues(request);
      if (form.fault !== undefined) throw new PrometheusError("bad_data", `error parsing form values: ${form.fault}`);
      const sets = form.has("match[]") ? readMatcherSets(deps, form, "taken") : [];
      const escaping = escapingOf(request.headers.accept ?? "");
      const answer = await federated(deps, { sets, escaping }, untilLeft(reply));
      return reply.header("vary", "Accept").type(CONTENT_TYPES[escaping]).send(answer);
    } catch (error) {
      if (!(error instanceof PrometheusError)) throw error;
      return reply.code(ERROR_STATUS[error.errorType]).type("text/plain; charset=utf-8").send(`${error.message}\n`);
    }
  });
}

/**
 * How a reader takes names, by its `Accept`: the last `escaping` among what it likes at least as well as text. The others of
 * Prometheus' schemes are not made here; their readers take underscores.
 */
function escapingOf(accept: string): NameEscaping {
  const ranges = accept.split(",").map((range) => {
    const [type = "", ...parameters] = range.split(";").map((each) => each.trim().toLowerCase());
    const parameter = (name: string) => parameters.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
    return { type, weight: Number(parameter("q") ?? 1), escaping: parameter("escaping") };
  });
  let found: NameEscaping = "underscores";
  for (const { type, escaping } of ranges.sort((a, b) => b.weight - a.weight)) {
    if (escaping !== undefined) found = escaping === "allow-utf-8" ? "allow-utf-8" : "underscores";
    if (["text/plain", "text/*", "*/*"].includes(type)) break;
  }
  return found;
}

interface Asked {
  readonly sets: readonly (readonly Matcher[])[];
  readonly escaping: NameEscaping;
}

async function federated(deps: ApiDeps, { sets, escaping }: Asked, left: AbortSignal): Promise<Buffer> {
  const nowMs = deps.clock.nowMs();
  // Its own samples only: what lies further back is no longer a value.
  const times = { startMs: nowMs - deps.prometheus.promql.lookbackMs + 1, endMs: nowMs };
  const lines = new FederateLines(deps.remoteRead.externalLabels, escaping);
  const limits = { samplesMax: deps.remoteRead.samplesMax, seriesMax: FEDERATED_SERIES_MAX };
  await visitSets(deps, { times, sets, left }, async (matchers, stop) => {
    const newest = await deps.reader.selectNewest(matchers, times.startMs, times.endMs, { ...limits, signal: stop });
    const { labels, values, timestampsMs, others } = newest;
    let at = 0;
    const add = (each: Labels) => {
      addFloat(lines, each, { values, timestampsMs }, at++);
    };
    await visitSliced(labels, add, stop);
    const addOther = (series: (typeof others)[number]) => {
      const last = series.timestampsMs.length - 1;
      const histogram = series.histograms?.[last];
      if (histogram === undefined) addFloat(lines, series.labels, series, last);
      // The text format has no exponential buckets.
      else if (histogram.schema === CUSTOM_BUCKETS_SCHEMA) {
        lines.addHistogram(series.labels, histogram, series.timestampsMs[last] ?? nowMs);
      }
    };
    await visitSliced(others, addOther, stop);
  });
  return lines.text();
}

interface Columns {
  readonly values: Float64Array;
  readonly timestampsMs: Float64Array;
}

function addFloat(lines: FederateLines, labels: Labels, { values, timestampsMs }: Columns, at: number): void {
  const value = values[at];
  const timeMs = timestampsMs[at];
  if (value !== undefined && timeMs !== undefined && !isStale(values, at)) lines.addFloat(labels, value, timeMs);
}

function isStale(values: Float64Array, at: number): boolean {
  if (!Number.isNaN(values[at])) return false;
  return new BigUint64Array(values.buffer, values.byteOffset, values.length)[at] === STALE_NAN_BITS;
}
