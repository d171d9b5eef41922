/**
 * Routes that take a PromQL text: `query`, `query_range`, `query_exemplars`, `format_query`, `parse_query`.
 */

import type { SeriesExemplars } from "../model/series.ts";
import { printSample } from "../query/promql/number-text.ts";
import { compareLabels } from "../query/promql/series-labels.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { AddRoute, PrometheusAnswer, PrometheusRequest } from "./prometheus-answer.ts";
import {
  PrometheusError,
  readLimit,
  readQueryOptions,
  readRange,
  readTimeMs,
  readTimes,
  statsWarning,
} from "./prometheus-parameters.ts";

const BOTH = ["GET", "POST"] as const;

/** Adds the routes. */
export function addQueryRoutes(add: AddRoute, deps: ApiDeps): void {
  add("query", BOTH, (request) => {
    const { form } = request;
    const seriesMax = readLimit(form);
    const timeMs = readTimeMs(form, "time", deps.clock.nowMs());
    return deps.promql.instant({
      query: form.get("query"),
      timeMs,
      ...sharedOptions(deps, request, { seriesMax, stepMs: 0 }),
    });
  });
  add("query_range", BOTH, (request) => {
    const { form } = request;
    const seriesMax = readLimit(form);
    const range = readRange(form);
    return deps.promql.range({
      query: form.get("query"),
      ...range,
      ...sharedOptions(deps, request, { seriesMax, stepMs: range.stepMs }),
    });
  });
  add("query_exemplars", BOTH, (request) => answerExemplars(deps, request));
  add("format_query", BOTH, ({ form, signal }) => deps.promql.format(form.get("query"), signal));
  add("parse_query", BOTH, ({ form, signal }) => deps.promql.tree(form.get("query"), signal));
}

function sharedOptions(
  deps: ApiDeps,
  { form, headers, signal }: PrometheusRequest,
  { seriesMax, stepMs }: { readonly seriesMax: number; readonly stepMs: number },
) {
  const warning = statsWarning(form);
  const useStartTimestamps = headers["x-prometheus-use-start-timestamps"];
  return {
    ...readQueryOptions(form, useStartTimestamps, { timeoutMsMax: deps.prometheus.queryTimeoutMs, stepMs }),
    seriesMax,
    warnings: warning === undefined ? [] : [warning],
    signal,
  };
}

/** A query without a selector is answered with nothing at all, as Prometheus does. */
async function answerExemplars(deps: ApiDeps, { form, signal }: PrometheusRequest): Promise<PrometheusAnswer> {
  const { startMs, endMs } = readTimes(form);
  if (endMs < startMs) throw new PrometheusError("bad_data", "end timestamp must not be before start timestamp");
  const outcome = await deps.promql.selectors(form.get("query"), signal);
  if (outcome.kind === "refused") throw new PrometheusError("bad_data", outcome.message);
  if (outcome.selectors.length === 0) return "empty";
  const bySeries = new Map<string, SeriesExemplars>();
  for (const matchers of outcome.selectors) {
    for (const one of await deps.reader.exemplars(matchers, startMs, endMs, signal)) {
      bySeries.set(JSON.stringify(one.labels), one);
    }
  }
  const sorted = [...bySeries.values()].sort((a, b) => compareLabels(a.labels, b.labels));
  return { data: sorted.map(exemplarsOfSeries) };
}

function exemplarsOfSeries({ labels, exemplars }: SeriesExemplars): object {
  return {
    seriesLabels: Object.fromEntries(labels),
    exemplars: exemplars.map((one) => ({
      labels: Object.fromEntries(one.labels),
      value: printSample(one.value),
      timestamp: one.timestampMs / 1000,
    })),
  };
}
