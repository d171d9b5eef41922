/** Who answers queries: a server over HTTP, or the engine of this process over samples in memory. */

import type { PromqlSettings } from "../../server/query/promql/query.ts";
import { sleep } from "../program.ts";
import { type Asked, renderEngine } from "../promql/engine-answer.ts";
import type { TestStore } from "../promql/memory-store.ts";
import type { ApiAnswer } from "./answer.ts";
import type { FuzzQuery } from "./expression.ts";

/** Answers one query; undefined where it has no answer to it. */
export type Target = (query: FuzzQuery) => Promise<ApiAnswer | undefined>;

const ATTEMPTS_MAX = 3;

/** A server; queries are sent as forms, as Grafana sends them. */
export function httpTarget(base: string): Target {
  return async ({ text, startMs, endMs, stepMs }) => {
    const form = new URLSearchParams({ query: text });
    if (stepMs === 0) form.set("time", seconds(startMs));
    else {
      form.set("start", seconds(startMs));
      form.set("end", seconds(endMs));
      form.set("step", seconds(stepMs));
    }
    const path = stepMs === 0 ? "/api/v1/query" : "/api/v1/query_range";
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await fetch(`${base}${path}`, { method: "POST", body: form });
        return { code: answer.status, ...JSON.parse(await answer.text()) };
      } catch (cause) {
        if (attempt === ATTEMPTS_MAX) throw new Error(`${path} of ${base}: ${text}`, { cause });
        await sleep(100 * attempt);
      }
    }
  };
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}

/** The engine without a server around it. */
export function engineTarget(store: TestStore, settings: PromqlSettings): Target {
  return async ({ text, startMs, endMs, stepMs }) => {
    const asked: Asked = { query: text, startMs, endMs, stepMs };
    const { status, body } = await renderEngine(store, asked, settings);
    return { code: status, ...JSON.parse(new TextDecoder().decode(body)) };
  };
}
