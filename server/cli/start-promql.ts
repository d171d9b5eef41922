/** PromQL as the server runs it: workers within their share of memory, the file of running queries, log, counters. */

import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Settings } from "../config/settings.ts";
import type { Clock } from "../model/clock.ts";
import { type ActiveQueryFile, openActiveQueryFile } from "../platform/active-query-file.ts";
import type { PromqlDoor } from "../query/doors.ts";
import { chooseFeatures } from "../query/promql/features.ts";
import type { PromqlSettings } from "../query/promql/query.ts";
import { openPromqlDoor, type QueryReport } from "../query/promql-door.ts";
import type { Store } from "../store/store.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";
import type { MemoryShares } from "./memory-shares.ts";

/** Names of `--enable-feature` that concern routes, not how PromQL is understood. */
const API_FEATURES: ReadonlySet<string> = new Set(["search-api"]);
/** Workers are many, so that a few slow queries leave room for quick ones; each has its own heap. */
const WORKERS_MIN = 2;
const WORKERS_USUAL = 4;
const WORKERS_MAX = 8;
const MEMORY_PER_WORKER = 512 * 2 ** 20;

/** What PromQL is made from. */
export interface PromqlParts {
  readonly settings: Settings;
  readonly promqlSettings: PromqlSettings;
  readonly shares: MemoryShares;
  readonly workerUrl: URL;
  readonly dataDirectory: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
}

/** Opens PromQL; tells of queries that an earlier run did not finish and of features that make no difference here. */
export function startPromql(parts: PromqlParts): { readonly door: PromqlDoor; close(): Promise<void> } {
  const { settings, shares, clock, telemetry, log } = parts;
  for (const feature of chooseFeatures(settings.enableFeatures).ignored) {
    if (!API_FEATURES.has(feature)) log.warn({ feature }, "this name of --enable-feature has no effect here");
  }
  const workers = workerCount(settings.queryConcurrency, availableParallelism(), settings.memoryBytesMax);
  const active = openActive(join(parts.dataDirectory, "queries.active"), workers, log);
  const door = openPromqlDoor({
    reader: parts.store.reader,
    clock,
    workerUrl: parts.workerUrl,
    workers,
    settings: parts.promqlSettings,
    limits: {
      valuesMax: shares.querySamples,
      heapBytesMax: shares.queryHeapBytes,
      answerBytesMax: shares.queryAnswerBytes,
      seriesMax: shares.querySeries,
    },
    onBegin: (place, text) => active?.enter(place, text, Math.floor(clock.nowMs() / 1000)),
    onEnd: (place) => active?.leave(place),
    onAnswer: (report) => tell(report, settings.querySlowMs, telemetry, log),
    onWorkerFailure: (cause) => log.error({ error: cause }, "the PromQL worker died and was replaced"),
  });
  const close = async () => {
    await door.close();
    active?.close();
  };
  return { door, close };
}

/** As many as asked for, or as cores and memory allow. */
export function workerCount(asked: number, processors: number, memoryBytes: number): number {
  if (asked > 0) return asked;
  const byCores = Math.min(WORKERS_MAX, Math.max(WORKERS_USUAL, processors));
  return Math.max(WORKERS_MIN, Math.min(byCores, Math.floor(memoryBytes / MEMORY_PER_WORKER)));
}

/** Undefined where the file cannot be written: queries run all the same. */
function openActive(path: string, places: number, log: Log): ActiveQueryFile | undefined {
  try {
    const file = openActiveQueryFile(path, places);
    for (const { text, startedSeconds } of file.unfinished) {
      const started = new Date(startedSeconds * 1000).toISOString();
      log.warn({ query: text, started }, "this query was running when the server last ended without a stop");
    }
    return file;
  } catch (error) {
    log.warn({ error, path }, "the file that names running queries cannot be written");
    return undefined;
  }
}

function tell(report: QueryReport, slowMs: number, telemetry: Telemetry, log: Log): void {
  const { query, outcome, totalMs, queueMs } = report;
  telemetry.count("thalweg_promql_queries_total", { outcome });
  telemetry.count("thalweg_promql_seconds_total", {}, totalMs / 1000);
  telemetry.count("thalweg_promql_queue_seconds_total", {}, queueMs / 1000);
  if (totalMs <= slowMs) return;
  telemetry.count("thalweg_promql_slow_total", {});
  log.warn(
    {
      query: query.text,
      start: new Date(query.startMs).toISOString(),
      rangeMs: query.endMs - query.startMs,
      stepMs: query.stepMs,
      outcome,
      totalMs: Math.round(totalMs),
      queueMs: Math.round(queueMs),
      samplesPeak: report.samplesPeak,
      answerBytes: report.answerBytes,
    },
    "a PromQL query was slow",
  );
}
