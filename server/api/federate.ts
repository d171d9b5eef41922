/**
 * `/federate`: the newest sample of the chosen series in Prometheus' text format, for another Prometheus to scrape.
 *
 * @see https://prometheus.io/docs/prometheus/latest/federation/
 */

import type { FastifyInstance } from "fastify";
import { type Labels, type Matcher, STALE_NAN_BITS } from "../model/series.ts";
import { parseSelector } from "../query/promql-texts.ts";
import { goFloat } from "../wire/exposition.ts";
import type { ApiDeps } from "./api-deps.ts";

/** Series of one answer. */
const SERIES_MAX = 200_000;
const CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const PLAIN_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** Adds the route. */
export function addFederateRoute(app: FastifyInstance, deps: ApiDeps): void {
  app.get("/federate", async (request, reply) => {
    const sets: (readonly Matcher[])[] = [];
    for (const text of new URL(request.url, "http://localhost").searchParams.getAll("match[]")) {
      const outcome = parseSelector(text, deps.prometheus.promql);
      if (outcome.kind === "matchers") sets.push(outcome.matchers);
      else {
        const why =
          outcome.kind === "refused" ? outcome.message : "match[] must contain at least one non-empty matcher";
        return reply.code(400).type("text/plain; charset=utf-8").send(`${why}\n`);
      }
    }
    return reply.type(CONTENT_TYPE).send(await federated(deps, sets));
  });
}

async function federated(deps: ApiDeps, sets: readonly (readonly Matcher[])[]): Promise<string> {
  const nowMs = deps.clock.nowMs();
  const found = new Map<string, Map<string, string>>();
  const external = new Map(deps.remoteRead.externalLabels);
  if (!external.has("instance")) external.set("instance", "");
  const limits = { samplesMax: deps.remoteRead.samplesMax, seriesMax: SERIES_MAX };
  for (const matchers of sets) {
    // Its own samples only: what lies further back is no longer a value.
    const { lookbackMs } = deps.prometheus.promql;
    for (const series of await deps.reader.select(matchers, nowMs - lookbackMs + 1, nowMs, limits)) {
      const { labels, timestampsMs, values, histograms } = series;
      const last = timestampsMs.length - 1;
      const value = values[last];
      const timeMs = timestampsMs[last];
      // The text format has no native histograms.
      if (value === undefined || timeMs === undefined || histograms?.[last] !== undefined || isStale(values, last))
        continue;
      const name = labels.find(([key]) => key === "__name__")?.[1] ?? "";
      const lines = found.get(name) ?? new Map<string, string>();
      found.set(name, lines);
      const key = seriesText(name, withExternal(labels, external));
      lines.set(key, `${key} ${goFloat(value)} ${timeMs}\n`);
    }
  }
  const names = [...found.keys()].sort();
  return names
    .map((name) => {
      const lines = [...(found.get(name)?.values() ?? [])];
      return `# TYPE ${PLAIN_NAME.test(name) ? name : quoted(name)} untyped\n${lines.join("")}`;
    })
    .join("");
}

function isStale(values: Float64Array, at: number): boolean {
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
