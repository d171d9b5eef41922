/** Whether data points that were sent are answered by PromQL, under the names that Prometheus gives them. */

import { prometheusLabelName, prometheusMetricName } from "../../server/wire/prometheus-names.ts";
import type { Program } from "../program.ts";
import { contentOf, type Json, listOf, memberOf, type OtlpRequest, textOf } from "./requests.ts";

const KINDS = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"] as const;
/** Delta and cumulative; the total of the first point of a series is its value in either. */
const TEMPORALITIES: ReadonlySet<number> = new Set([1, 2]);
const CLOSE = 1e-9;

/** A sample that a query must give. */
interface Expected {
  readonly query: string;
  readonly timeMs: number;
  readonly value: number;
}

/** Points that cannot be taken: those of unknown temporality. */
export function refusedPoints(request: OtlpRequest): number {
  let count = 0;
  for (const { data, taken } of metricsOf(contentOf(request))) if (!taken) count += listOf(data, "dataPoints").length;
  return count;
}

/** What is wrong with the points of these requests; of one series and time the first one counts. */
export async function metricsFault(program: Program, requests: readonly OtlpRequest[]): Promise<string> {
  const wanted = new Map<string, Expected>();
  for (const request of requests) {
    for (const metric of metricsOf(contentOf(request))) {
      if (!metric.taken) continue;
      for (const point of listOf(metric.data, "dataPoints")) {
        for (const each of samplesOf(metric, point)) {
          const key = `${each.query} ${each.timeMs}`;
          if (!wanted.has(key)) wanted.set(key, each);
        }
      }
    }
  }
  const faults: string[] = [];
  for (const { query, timeMs, value } of wanted.values()) {
    const found = await program.promql(query, timeMs);
    const [sample] = found;
    const close = sample !== undefined && Math.abs(sample.value - value) <= CLOSE * Math.max(1, Math.abs(value));
    if (found.length !== 1 || !close) {
      faults.push(`${query} at ${timeMs}: expected ${value}, found ${JSON.stringify(found)}`);
    }
  }
  return faults.slice(0, 5).join("\n");
}

interface Metric {
  readonly name: string;
  readonly kind: (typeof KINDS)[number];
  readonly data: Json;
  readonly taken: boolean;
  readonly resource: Readonly<Record<string, string>>;
}

function metricsOf(content: Json): Metric[] {
  return listOf(content, "resourceMetrics").flatMap((group) => {
    const attributes = labelsOf(memberOf(group, "resource"));
    const { service_name: service, service_namespace: namespace, service_instance_id: instance } = attributes;
    const job = service === undefined ? "" : namespace === undefined ? service : `${namespace}/${service}`;
    const resource = { ...(job === "" ? {} : { job }), ...(instance === undefined ? {} : { instance }) };
    return listOf(group, "scopeMetrics").flatMap((scope) =>
      listOf(scope, "metrics").flatMap((metric) => metricOf(metric, resource)),
    );
  });
}

function metricOf(metric: Json, resource: Metric["resource"]): Metric[] {
  const kind = KINDS.find((each) => each in metric);
  if (kind === undefined) return [];
  const data = memberOf(metric, kind) ?? {};
  const named =
    kind === "gauge" ? "gauge" : kind === "sum" && textOf(data, "isMonotonic") === "true" ? "counter" : "other";
  const name = prometheusMetricName(textOf(metric, "name"), textOf(metric, "unit"), named) ?? "";
  const hasTemporality = kind !== "gauge" && kind !== "summary";
  const taken = !hasTemporality || TEMPORALITIES.has(Number(textOf(data, "aggregationTemporality")));
  return [{ name, kind, data, taken, resource }];
}

/** Attributes as labels; lists are left out of the comparison by the caller's choice of points. */
function labelsOf(message: Json | undefined): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const pair of listOf(message, "attributes")) {
    const name = prometheusLabelName(textOf(pair, "key"));
    const [scalar] = Object.values(memberOf(pair, "value") ?? {});
    if (
      name !== undefined &&
      (typeof scalar === "string" || typeof scalar === "number" || typeof scalar === "boolean")
    ) {
      labels[name] = String(scalar);
    }
  }
  return labels;
}

function samplesOf({ name, kind, resource }: Metric, point: Json): Expected[] {
  const timeMs = Number(BigInt(textOf(point, "timeUnixNano") || "0") / 1_000_000n);
  const labels = { ...labelsOf(point), ...resource };
  if ((Number(textOf(point, "flags")) & 1) !== 0) return [];
  const at = (query: string, value: number): Expected => ({ query, timeMs, value });
  const select = (suffix: string, more: Record<string, string> = {}) =>
    selector(`${name}${suffix}`, { ...labels, ...more });
  const number = (member: string) => Number(textOf(point, member) || 0);
  switch (kind) {
    case "gauge":
    case "sum":
      return [at(select(""), "asDouble" in point ? number("asDouble") : number("asInt"))];
    case "histogram": {
      const samples = [at(select("_count"), number("count"))];
      if ("sum" in point) samples.push(at(select("_sum"), number("sum")));
      const bounds = numbersOf(point, "explicitBounds");
      let below = 0;
      for (const [index, count] of numbersOf(point, "bucketCounts").entries()) {
        below += count;
        const bound = bounds[index];
        samples.push(at(select("_bucket", { le: bound === undefined ? "+Inf" : String(bound) }), below));
      }
      return samples;
    }
    case "exponentialHistogram":
      return [at(`histogram_count(${select("")})`, number("count")), at(`histogram_sum(${select("")})`, number("sum"))];
    case "summary": {
      const samples = [at(select("_count"), number("count")), at(select("_sum"), number("sum"))];
      for (const each of listOf(point, "quantileValues")) {
        const quantile = textOf(each, "quantile") || "0";
        samples.push(at(select("", { quantile }), Number(textOf(each, "value") || 0)));
      }
      return samples;
    }
  }
}

function numbersOf(point: Json, member: string): number[] {
  const list = point[member];
  return Array.isArray(list) ? list.map(Number) : [];
}

function selector(name: string, labels: Readonly<Record<string, string>>): string {
  const matchers = Object.entries(labels).map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return `${name}{${matchers.join(",")}}`;
}
