/**
 * Prometheus' admin API: series are deleted, what was deleted is let go, a copy of all is made. Off unless
 * `--web.enable-admin-api` is given, since whoever may ask may delete.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/#tsdb-admin-apis
 */

import { randomBytes } from "node:crypto";
import type { Matcher } from "../model/series.ts";
import { parseSelector } from "../query/promql-texts.ts";
import type { ApiDeps, TsdbAdmin } from "./api-deps.ts";
import { parseBoolGo } from "./go-values.ts";
import type { AddRoute, PrometheusAnswer, PrometheusRequest } from "./prometheus-answer.ts";
import { matchesFault } from "./prometheus-labels.ts";
import { invalid, PrometheusError, readTimes } from "./prometheus-parameters.ts";

const METHODS = ["POST", "PUT"] as const;

/** Adds the routes. */
export function addAdminRoutes(add: AddRoute, deps: ApiDeps): void {
  const route = (action: string, answer: (admin: TsdbAdmin, request: PrometheusRequest) => Promise<PrometheusAnswer>) =>
    add(`admin/tsdb/${action}`, METHODS, async (request) => {
      const { admin } = deps.prometheus;
      if (admin === undefined) throw new PrometheusError("unavailable", "admin APIs disabled");
      return answer(admin, request);
    });
  route("delete_series", (admin, request) => deleteSeries(deps, admin, request));
  route("clean_tombstones", async (admin) => {
    await internal("", () => admin.cleanTombstones());
    return "empty";
  });
  route("snapshot", (admin, request) => snapshot(deps, admin, request));
}

async function deleteSeries(deps: ApiDeps, admin: TsdbAdmin, { form }: PrometheusRequest): Promise<PrometheusAnswer> {
  if (form.fault !== undefined) throw new PrometheusError("bad_data", `error parsing form values: ${form.fault}`);
  if (!form.has("match[]")) throw new PrometheusError("bad_data", "no match[] parameter provided");
  const { startMs, endMs } = readTimes(form);
  // All are read before anything is deleted.
  for (const matchers of readSelectors(deps, form.all("match[]"))) {
    await internal("", () => admin.deleteSeries(matchers, startMs, endMs));
  }
  return "empty";
}

/** As in Prometheus, a selector may match series without any of its labels: `{}` is all of them. */
function readSelectors(deps: ApiDeps, texts: readonly string[]): (readonly Matcher[])[] {
  const fault = matchesFault(texts);
  if (fault !== "") throw invalid("match[]", fault);
  return texts.map((text) => {
    const outcome = parseSelector(text, deps.prometheus.promql);
    if (outcome.kind === "refused") throw invalid("match[]", outcome.message);
    return outcome.matchers;
  });
}

async function snapshot(deps: ApiDeps, admin: TsdbAdmin, { form }: PrometheusRequest): Promise<PrometheusAnswer> {
  const text = form.get("skip_head");
  const skip = text === "" ? { kind: "value" as const, value: false } : parseBoolGo(text);
  if (skip.kind === "refused") throw invalid("skip_head", `unable to parse boolean: ${skip.reason}`);
  const second = new Date(deps.clock.nowMs()).toISOString().replace(/[-:]|\.\d+/g, "");
  const name = `${second}-${randomBytes(8).toString("hex")}`;
  await internal("create snapshot: ", () => admin.snapshot(name, !skip.value));
  return { data: { name } };
}

async function internal(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new PrometheusError("internal", `${what}${error instanceof Error ? error.message : String(error)}`);
  }
}
