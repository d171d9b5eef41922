/**
 * `/federate`: the newest sample of the chosen series in text or protobuf, for another Prometheus to scrape.
 *
 * @see https://prometheus.io/docs/prometheus/latest/federation/
 */

import type { FastifyInstance } from "fastify";
import { type Labels, type Matcher, STALE_NAN_BITS } from "../model/series.ts";
import type { ApiDeps } from "./api-deps.ts";
import { FEDERATED_SERIES_MAX, FederateFamilies, type FederateFormat, type NameEscaping } from "./federate-families.ts";
import { protobufFormat, textFormat } from "./federate-formats.ts";
import { addressValues, untilLeft } from "./prometheus-answer.ts";
import { readMatcherSets, visitSets } from "./prometheus-labels.ts";
import { ERROR_STATUS, PrometheusError } from "./prometheus-parameters.ts";
import { visitSliced } from "./slices.ts";

const TEXT_TYPES = ["text/plain", "text/*", "*/*"];
const PROTOBUF_TYPE = "application/vnd.google.protobuf";

/** Adds the route. */
export function addFederateRoute(app: FastifyInstance, deps: ApiDeps): void {
  app.get("/federate", async (request, reply) => {
    try {
      const form = addressValues(request);
      if (form.fault !== undefined) throw new PrometheusError("bad_data", `error parsing form values: ${form.fault}`);
      const sets = form.has("match[]") ? readMatcherSets(deps, form, "taken") : [];
      const { format, escaping } = negotiate(request.headers.accept ?? "");
      const send = async <Told extends string | Uint8Array>(told: FederateFormat<Told>) => {
        const families = new FederateFamilies(told, deps.remoteRead.externalLabels, escaping);
        const body = await answer(deps, { sets, families }, untilLeft(reply));
        return reply.header("vary", "Accept").type(told.contentType(escaping)).send(body);
      };
      return await (format === "protobuf" ? send(protobufFormat()) : send(textFormat()));
    } catch (error) {
      if (!(error instanceof PrometheusError)) throw error;
      return reply.code(ERROR_STATUS[error.errorType]).type("text/plain; charset=utf-8").send(`${error.message}\n`);
    }
  });
}

/** What a reader takes, by its `Accept`. */
interface Negotiated {
  readonly format: "text" | "protobuf";
  readonly escaping: NameEscaping;
}

/**
 * The format that a reader likes best of those that are made here, and how it takes names: the last `escaping` among what it
 * likes at least as well. The others of Prometheus' schemes are not made here; their readers take underscores.
 */
function negotiate(accept: string): Negotiated {
  const ranges = accept.split(",").map((range) => {
    const [type = "", ...parameters] = range.split(";").map((each) => each.trim().toLowerCase());
    const parameter = (name: string) => parameters.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
    return { type, parameter, weight: Number(parameter("q") ?? 1) };
  });
  let escaping: NameEscaping = "underscores";
  for (const { type, parameter, weight } of ranges.sort((a, b) => b.weight - a.weight)) {
    if (weight === 0) break;
    const asked = parameter("escaping");
    if (asked !== undefined) escaping = asked === "allow-utf-8" ? "allow-utf-8" : "underscores";
    if (TEXT_TYPES.includes(type)) break;
    const isFamilies =
      parameter("proto") === "io.prometheus.client.metricfamily" && parameter("encoding") === "delimited";
    if (type === PROTOBUF_TYPE && isFamilies) return { format: "protobuf", escaping };
  }
  return { format: "text", escaping };
}

interface Asked<Told extends string | Uint8Array> {
  readonly sets: readonly (readonly Matcher[])[];
  readonly families: FederateFamilies<Told>;
}

async function answer<Told extends string | Uint8Array>(
  deps: ApiDeps,
  { sets, families }: Asked<Told>,
  left: AbortSignal,
): Promise<Buffer> {
  const nowMs = deps.clock.nowMs();
  // Its own samples only: what lies further back is no longer a value.
  const times = { startMs: nowMs - deps.prometheus.promql.lookbackMs + 1, endMs: nowMs };
  const limits = { samplesMax: deps.remoteRead.samplesMax, seriesMax: FEDERATED_SERIES_MAX };
  await visitSets(deps, { times, sets, left }, async (matchers, stop) => {
    const newest = await deps.reader.selectNewest(matchers, times.startMs, times.endMs, { ...limits, signal: stop });
    const { labels, values, timestampsMs, others } = newest;
    let at = 0;
    const add = (each: Labels) => {
      addFloat(families, each, { values, timestampsMs }, at++);
    };
    await visitSliced(labels, add, stop);
    const addOther = (series: (typeof others)[number]) => {
      const last = series.timestampsMs.length - 1;
      const histogram = series.histograms?.[last];
      if (histogram === undefined) addFloat(families, series.labels, series, last);
      else families.addHistogram(series.labels, histogram, series.timestampsMs[last] ?? nowMs);
    };
    await visitSliced(others, addOther, stop);
  });
  return families.answer();
}

interface Columns {
  readonly values: Float64Array;
  readonly timestampsMs: Float64Array;
}

interface FloatTaker {
  addFloat(labels: Labels, value: number, timeMs: number): void;
}

function addFloat(families: FloatTaker, labels: Labels, { values, timestampsMs }: Columns, at: number): void {
  const value = values[at];
  const timeMs = timestampsMs[at];
  if (value !== undefined && timeMs !== undefined && !isStale(values, at)) families.addFloat(labels, value, timeMs);
}

function isStale(values: Float64Array, at: number): boolean {
  if (!Number.isNaN(values[at])) return false;
  return new BigUint64Array(values.buffer, values.byteOffset, values.length)[at] === STALE_NAN_BITS;
}
