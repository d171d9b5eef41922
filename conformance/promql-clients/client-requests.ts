/** What clients send: the command lines of promtool, and the requests of Grafana's Prometheus data source. */

import { FIRST_MS, LAST_MS } from "./client-series.ts";

/** A call of promtool; `SERVER` stands for the base of the server asked. */
export interface ToolCall {
  readonly name: string;
  readonly args: readonly string[];
}

/** A request as Grafana sends it. */
export interface GrafanaRequest {
  readonly name: string;
  readonly method: "GET" | "POST";
  readonly path: string;
  /** The form of a POST, the query of a GET. */
  readonly params: readonly (readonly [name: string, value: string])[];
  /**
   * `fields`: names and types of the answer and of its data are compared, not what they say; `shape`: of the answer only;
   * `status`: the status alone.
   */
  readonly compare: "whole" | "fields" | "shape" | "status";
}

const FROM = String(FIRST_MS / 1000);
const TO = String(LAST_MS / 1000);
/** Grafana aligns a panel's range to its step. */
const PANEL: GrafanaRequest["params"] = [
  ["start", String(FIRST_MS / 1000 + 600)],
  ["end", String(LAST_MS / 1000)],
  ["step", "60"],
];
const RFC_FROM = new Date(FIRST_MS + 600_000).toISOString();
const RFC_TO = new Date(LAST_MS).toISOString();

/** Queries that instant and range requests are made with. */
const QUERIES: readonly (readonly [name: string, text: string])[] = [
  ["selector", 'orders_total{job="api"}'],
  ["rate", "sum by (job) (rate(orders_total[5m]))"],
  ["quantile", "histogram_quantile(0.95, sum by (le) (rate(wait_seconds_bucket[5m])))"],
  ["native", 'rate(size_bytes{job="web"}[5m])'],
  ["native quantile", "histogram_quantile(0.9, size_bytes)"],
  ["matching", "sum without (code) (orders_total) / on (job) up"],
  ["scalar", "1 + 1"],
  ["empty", "nothing_here"],
];

/** Every call of promtool that a server answers. */
export function toolCalls(): ToolCall[] {
  const calls: ToolCall[] = [];
  for (const [name, text] of QUERIES) {
    calls.push({ name: `instant ${name}`, args: ["query", "instant", `--time=${TO}`, "SERVER", text] });
    calls.push({
      name: `range ${name}`,
      args: ["query", "range", `--start=${RFC_FROM}`, `--end=${RFC_TO}`, "--step=5m", "SERVER", text],
    });
  }
  const times = [`--start=${RFC_FROM}`, `--end=${RFC_TO}`];
  return [
    ...calls,
    { name: "instant as JSON", args: ["query", "-o", "json", "instant", `--time=${TO}`, "SERVER", "queue_size"] },
    { name: "instant refused", args: ["query", "instant", `--time=${TO}`, "SERVER", "sum("] },
    { name: "instant failing", args: ["query", "instant", `--time=${TO}`, "SERVER", "up * on (job) orders_total"] },
    { name: "series", args: ["query", "series", "--match=up", '--match=orders_total{code="500"}', ...times, "SERVER"] },
    { name: "series as JSON", args: ["query", "-o", "json", "series", "--match=up", ...times, "SERVER"] },
    { name: "labels", args: ["query", "labels", ...times, "SERVER", "job"] },
    { name: "labels of names", args: ["query", "labels", ...times, "SERVER", "__name__"] },
    { name: "labels matched", args: ["query", "labels", "--match=up", ...times, "SERVER", "instance"] },
  ];
}

/** Every request that Grafana's data source sends: health test, panels, editor, variables, annotations, alert list. */
export function grafanaRequests(): GrafanaRequest[] {
  const form = (name: string, path: string, params: GrafanaRequest["params"]): GrafanaRequest => ({
    name,
    method: "POST",
    path,
    params,
    compare: "whole",
  });
  const get = (
    name: string,
    path: string,
    params: GrafanaRequest["params"] = [],
    compare: GrafanaRequest["compare"] = "whole",
  ): GrafanaRequest => ({ name, method: "GET", path, params, compare });
  const times: GrafanaRequest["params"] = [
    ["start", FROM],
    ["end", TO],
  ];
  return [
    form("health: query", "/api/v1/query", [
      ["query", "1+1"],
      ["time", "4"],
    ]),
    get("health: buildinfo", "/api/v1/status/buildinfo", [], "fields"),
    ...QUERIES.flatMap(([name, text]) => [
      form(`panel: ${name}`, "/api/v1/query_range", [["query", text], ...PANEL]),
      get(`panel by GET: ${name}`, "/api/v1/query_range", [["query", text], ...PANEL]),
      form(`instant: ${name}`, "/api/v1/query", [
        ["query", text],
        ["time", `${TO}.123`],
      ]),
    ]),
    form("panel: syntax error", "/api/v1/query_range", [["query", "sum(rate(orders_total[5m])"], ...PANEL]),
    form("panel: wrong type", "/api/v1/query_range", [["query", "orders_total[5m]"], ...PANEL]),
    form("panel: too many points", "/api/v1/query_range", [
      ["query", "up"],
      ["start", "0"],
      ["end", "1700000000"],
      ["step", "15"],
    ]),
    form("panel: zero step", "/api/v1/query_range", [["query", "up"], ...times, ["step", "0"]]),
    form("panel: with limits", "/api/v1/query", [
      ["query", "orders_total"],
      ["time", TO],
      ["timeout", "30s"],
      ["limit", "2"],
      ["lookback_delta", "1m"],
    ]),
    form("exemplars", "/api/v1/query_exemplars", [["query", "rate(wait_seconds_bucket[5m])"], ...times]),
    get("labels", "/api/v1/labels", times),
    form("labels by POST", "/api/v1/labels", [...times, ["match[]", "orders_total"], ["limit", "40000"]]),
    get("metric names", "/api/v1/label/__name__/values", times),
    get("metric names, limited", "/api/v1/label/__name__/values", [...times, ["limit", "3"]], "shape"),
    get("values of a label", "/api/v1/label/job/values", [...times, ["match[]", 'orders_total{code="500"}']]),
    get("values of an escaped label", "/api/v1/label/U__service_2e_name/values", times),
    get("values of no label", "/api/v1/label/nothing/values", times),
    form("series", "/api/v1/series", [...times, ["match[]", '{__name__=~"orders.*"}'], ["limit", "40000"]]),
    get("series of two", "/api/v1/series", [...times, ["match[]", "up"], ["match[]", '{"http.server.requests"}']]),
    get("series without a match", "/api/v1/series", times),
    get("metadata", "/api/v1/metadata", [["limit", "1000"]], "shape"),
    get("metadata of one", "/api/v1/metadata", [["metric", "nothing_here"]]),
    get("rules", "/api/v1/rules", [], "fields"),
    get("rules of alerts", "/api/v1/rules", [["type", "alert"]], "fields"),
    get("alerts", "/api/v1/alerts", [], "fields"),
    get("format", "/api/v1/format_query", [["query", "sum by(job)(rate(orders_total[5m]))"]]),
    get("parse", "/api/v1/parse_query", [["query", "sum by(job)(rate(orders_total[5m]))"]]),
    get("config", "/api/v1/status/config", [], "fields"),
    get("flags", "/api/v1/status/flags", [], "shape"),
    get("unknown route", "/api/v1/xyz", [], "status"),
  ];
}
