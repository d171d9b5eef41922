/**
 * What the server says of itself in Prometheus' words.
 */

import { type FeatureList, promqlFeatureList } from "../query/promql/feature-list.ts";
import type { BlockStatus, NamedCount } from "../store/reader.ts";
import type { ApiDeps } from "./api-deps.ts";
import { parseIntGo } from "./go-values.ts";
import type { AddRoute, PrometheusAnswer, PrometheusRequest } from "./prometheus-answer.ts";
import { PrometheusError } from "./prometheus-parameters.ts";

/** The Prometheus whose API this is; clients choose by it what they may ask. */
const PROMETHEUS_VERSION = "3.16.0";
const TSDB_LIMIT = 10;
const TSDB_LIMIT_MAX = 10_000;
/** Prometheus' times of a head without samples, as JSON numbers hold them. */
const NO_MIN_TIME = Number.MAX_SAFE_INTEGER;
const NO_MAX_TIME = Number.MIN_SAFE_INTEGER;
const GET = ["GET"] as const;

/** Adds the routes. */
export function addPrometheusStatusRoutes(add: AddRoute, deps: ApiDeps): void {
  const { prometheus } = deps;
  add("status/buildinfo", GET, () => ({ data: prometheusBuildInfo(deps.version) }));
  add("status/runtimeinfo", GET, () => ({ data: runtimeInfo(deps) }));
  add("status/flags", GET, () => ({ data: prometheus.flags }));
  add("status/config", GET, () => ({ data: { yaml: prometheus.configYaml() } }));
  add("status/tsdb", GET, (request) => answerTsdb(deps, request));
  add("status/tsdb/blocks", GET, () => ({ data: { blocks: deps.reader.metricStatus(1).blocks.map(blockMeta) } }));
  add("status/walreplay", GET, () => ({ data: { min: 0, max: 0, current: 0 } }));
  add("features", GET, () => ({ data: featureList(deps) }));
  add("notifications", GET, () => ({ data: [] }));
  add("alertmanagers", GET, () => ({
    data: { activeAlertmanagers: prometheus.alertmanagers().map((url) => ({ url })), droppedAlertmanagers: [] },
  }));
}

/** Which Prometheus this server speaks like; `revision` says what it is. */
function prometheusBuildInfo(version: string): Readonly<Record<string, string>> {
  return { ...buildInfo(PROMETHEUS_VERSION), revision: `thalweg-${version}` };
}

/** Prometheus' and Tempo's shape of build information. */
export function buildInfo(version: string): Readonly<Record<string, string>> {
  return { version, revision: "", branch: "", buildUser: "", buildDate: "", goVersion: "" };
}

/** What of Prometheus' API is on. */
function featureList({ prometheus }: ApiDeps): Readonly<Record<string, FeatureList>> {
  return {
    api: {
      admin: prometheus.admin !== undefined,
      exclude_alerts: true,
      label_values_match: true,
      lifecycle: prometheus.reloadRules !== undefined,
      otlp_write_receiver: true,
      query_cost: false,
      query_stats: true,
      query_warnings: true,
      remote_write_receiver: true,
      search: prometheus.searchApi,
      search_fuzz_alg_jarowinkler: true,
      search_fuzz_alg_subsequence: true,
      time_range_labels: true,
      time_range_series: true,
    },
    otlp_receiver: { delta_conversion: true, native_delta_ingestion: false },
    prometheus: { agent_mode: false, auto_reload_config: false, server_mode: true },
    ...promqlFeatureList(prometheus.promql),
    rules: { concurrent_rule_eval: false, keep_firing_for: true, query_offset: true },
    templating_functions: Object.fromEntries(prometheus.templateFunctions.map((name) => [name, true])),
  };
}

function runtimeInfo({ prometheus, clock }: ApiDeps): object {
  const { runtime } = prometheus;
  const startTime = new Date(runtime.startMs).toISOString();
  return {
    startTime,
    CWD: runtime.workingDirectory,
    hostname: runtime.hostname,
    serverTime: new Date(clock.nowMs()).toISOString(),
    reloadConfigSuccess: true,
    lastConfigTime: startTime,
    corruptionCount: prometheus.damageCount(),
    goroutineCount: 0,
    GOMAXPROCS: runtime.processors,
    GOMEMLIMIT: runtime.memoryBytes,
    GOGC: "",
    GODEBUG: "",
    storageRetention: runtime.retention,
  };
}

/** Where the series lie: the largest by name, label and pair. */
function answerTsdb(deps: ApiDeps, { form }: PrometheusRequest): PrometheusAnswer {
  const status = deps.reader.metricStatus(readTsdbLimit(form.get("limit")));
  return {
    data: {
      headStats: {
        numSeries: status.series,
        numLabelPairs: status.labelPairs,
        chunkCount: status.chunks,
        minTime: status.minMs ?? NO_MIN_TIME,
        maxTime: status.maxMs ?? NO_MAX_TIME,
      },
      seriesCountByMetricName: namedCounts(status.seriesByMetric),
      labelValueCountByLabelName: namedCounts(status.valuesByLabel),
      memoryInBytesByLabelName: namedCounts(status.bytesByLabel),
      seriesCountByLabelValuePair: namedCounts(status.seriesByPair),
    },
  };
}

/** A block as Prometheus' `meta.json` tells it; its id is the number in the form of a ULID. Chunks are not counted. */
function blockMeta({ number, bytes, minMs, maxMs, series, samples, joinedFrom }: BlockStatus): object {
  return {
    ulid: ulidOf(number),
    minTime: minMs,
    // Prometheus' blocks end before this time.
    maxTime: maxMs + 1,
    stats: { numSamples: samples, numSeries: series, numBytes: bytes },
    compaction: {
      level: joinedFrom.length === 0 ? 1 : 2,
      sources: (joinedFrom.length === 0 ? [number] : joinedFrom).map(ulidOf),
    },
    version: 1,
  };
}

function ulidOf(number: number): string {
  return String(number).padStart(26, "0");
}

function namedCounts(counts: readonly NamedCount[]): object[] {
  return counts.map(({ name, count }) => ({ name, value: count }));
}

function readTsdbLimit(text: string): number {
  if (text === "") return TSDB_LIMIT;
  const limit = parseIntGo(text);
  if (limit.kind === "refused" || limit.value < 1) {
    throw new PrometheusError("bad_data", "limit must be a positive number");
  }
  if (limit.value > TSDB_LIMIT_MAX) throw new PrometheusError("bad_data", `limit must not exceed ${TSDB_LIMIT_MAX}`);
  return limit.value;
}
