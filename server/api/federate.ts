/**
 * `/federate`: the newest sample of the chosen series in Prometheus' text format, for another Prometheus to scrape.
 *
 * @see https://prometheus.io/docs/prometheus/latest/federation/
 */

import type { FastifyInstance } from "fastify";
import { ThalwegError } from "../model/errors.ts";
import { type Labels, type Matcher, STALE_NAN_BITS } from "../model/series.ts";
import { goFloat } from "../wire/exposition.ts";
import type { ApiDeps } from "./api-deps.ts";
import { addressValues, untilLeft } from "./prometheus-answer.ts";
import { readMatcherSets, visitSets } from "./prometheus-labels.ts";
import { ERROR_STATUS, PrometheusError } from "./prometheus-parameters.ts";
import { renderSliced, visitSliced } from "./slices.ts";

/** Series of one answer. */
const SERIES_MAX = 200_000;
/** UTF-16 units of one answer. */
const ANSWER_UNITS_MAX = 64 * 2 ** 20;
const CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const PLAIN_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** Adds the route. */
export function addFederateRoute(app: FastifyInstance, deps: ApiDeps): void {
  app.get("/federate", async (request, reply) => {
    try {
      const form = addressValues(request);
      if (form.fault !== undefined) throw new PrometheusError("bad_data", `error parsing form values: ${form.fault}`);
      const sets = form.has("match[]") ? readMatcherSets(deps, form) : [];
      const answer = await federated(deps, sets, untilLeft(reply));
      return reply.type(CONTENT_TYPE).send(answer);
    } catch (error) {
      if (!(error instanceof PrometheusError)) throw error;
      return reply.code(ERROR_STATUS[error.errorType]).type("text/plain; charset=utf-8").send(`${error.message}\n`);
    }
  });
}

async function federated(deps: ApiDeps, sets: readonly (readonly Matcher[])[], left: AbortSignal): Promise<Buffer> {
  const nowMs = deps.clock.nowMs();
  // Its own samples only: what lies further back is no longer a value.
  const times = { startMs: nowMs - deps.prometheus.promql.lookbackMs + 1, endMs: nowMs };
  const lines = new Lines(deps.remoteRead.externalLabels);
  const limits = { samplesMax: deps.remoteRead.samplesMax, seriesMax: SERIES_MAX };
  await visitSets(deps, { times, sets, left }, async (matchers, stop) => {
    // Series whose newest sample is a histogram are among the others: the text format has none.
    const newest = await deps.reader.selectNewest(matchers, times.startMs, times.endMs, { ...limits, signal: stop });
    const { labels, values, timestampsMs, others } = newest;
    let at = 0;
    const add = (each: Labels) => {
      lines.add(each, values, timestampsMs, at++);
    };
    await visitSliced(labels, add, stop);
    const addOther = (series: (typeof others)[number]) => {
      const last = series.timestampsMs.length - 1;
      if (series.histograms?.[last] === undefined) lines.add(series.labels, series.values, series.timestampsMs, last);
    };
    await visitSliced(others, addOther, stop);
  });
  return lines.text();
}

/** Lines of an answer by their metric, each series once. */
class Lines {
  readonly #external: ReadonlyMap<string, string>;
  readonly #byName = new Map<string, Map<string, string>>();
  #count = 0;
  #units = 0;

  constructor(externalLabels: Labels) {
    const external = new Map(externalLabels);
    if (!external.has("instance")) external.set("instance", "");
    this.#external = external;
  }

  /** Adds the sample at a place of the columns. @throws ThalwegError `query_series_max`, `query_answer_max` */
  add(labels: Labels, values: Float64Array, timestampsMs: Float64Array, at: number): void {
    const value = values[at];
    const timeMs = timestampsMs[at];
    if (value === undefined || timeMs === undefined || isStale(values, at)) return;
    const name = labels.find(([key]) => key === "__name__")?.[1] ?? "";
    const lines = this.#byName.get(name) ?? new Map<string, string>();
    this.#byName.set(name, lines);
    const key = seriesText(name, withExternal(labels, this.#external));
    if (lines.has(key)) return;
    const line = `${key} ${goFloat(value)} ${timeMs}\n`;
    lines.set(key, line);
    this.#units += line.length;
    if (++this.#count > SERIES_MAX) throw new ThalwegError("query_series_max", { max: SERIES_MAX });
    if (this.#units > ANSWER_UNITS_MAX) throw new ThalwegError("query_answer_max", { max: ANSWER_UNITS_MAX });
  }

  text(): Promise<Buffer> {
    return renderSliced(this.#all(), (line) => line, { head: "", tail: "", separator: "" });
  }

  #all(): string[] {
    const all: string[] = [];
    for (const name of [...this.#byName.keys()].sort()) {
      const lines = this.#byName.get(name);
      all.push(`# TYPE ${PLAIN_NAME.test(name) ? name : quoted(name)} untyped\n`);
      for (const line of lines?.values() ?? []) all.push(line);
    }
    return all;
  }
}

function isStale(values: Float64Array, at: number): boolean {
  if (!Number.isNaN(values[at])) return false;
  return new BigUint64Array(values.buffer, values.byteOffset, values.length)[at] === STALE_NAN_BITS;
}

function withExternal(labels: Labels, external: ReadonlyMap<string, string>): Labels {
  const own = labels.filter(([name]) => name !== "__name__");
  const names = new Set(own.map(([name]) => name));
  return [...own, ...[...external].filter(([name]) => !names.has(name))];
}

function seriesText(name: string, labels: Labels): string {
  const pairs = labels.map(([key, value]) => `${PLAIN_NAME.test(key) ? key : quoted(key)}=${quoted(value)}`);
  if (PLAIN_NAME.test(name)) return pairs.length === 0 ? name : `${name}{${pairs.join(",")}}`;
  return `{${[quoted(name), ...pairs].join(",")}}`;
}

function quoted(text: string): string {
  return `"${text.replace(/[\\"\n]/g, (each) => (each === "\n" ? "\\n" : `\\${each}`))}"`;
}
