import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeMetricsJson } from "./otlp-metrics-json.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "./otlp-translation.ts";

const TIME = "1700000000000000000";

function attributesOf(texts: Readonly<Record<string, string>>): object[] {
  return Object.entries(texts).map(([key, stringValue]) => ({ key, value: { stringValue } }));
}

function gauge(name: string, attributes: Readonly<Record<string, string>> = {}, unit = ""): object {
  return {
    name,
    unit,
    gauge: { dataPoints: [{ timeUnixNano: TIME, asInt: "1", attributes: attributesOf(attributes) }] },
  };
}

function counter(name: string, unit = ""): object {
  const dataPoints = [{ timeUnixNano: TIME, asInt: "1" }];
  return { name, unit, sum: { isMonotonic: true, aggregationTemporality: 2, dataPoints } };
}

function decoded(
  metrics: object[],
  resource: Readonly<Record<string, string>> = {},
  change: Partial<OtlpTranslation> = {},
) {
  const scopes = [{ metrics }];
  const request = { resourceMetrics: [{ resource: { attributes: attributesOf(resource) }, scopeMetrics: scopes }] };
  const outcome = decodeMetricsJson(Buffer.from(JSON.stringify(request)), { ...DEFAULT_TRANSLATION, ...change });
  if (outcome.kind === "malformed") assert.fail(outcome.reason);
  return outcome;
}

test("attributes that become one label are told once a label and request, in Prometheus' words", () => {
  const attributes = { "a.b": "1", a_b: "2", "a-b": "3", other: "4" };
  const { faults, repaired, rejected } = decoded([gauge("one", attributes), gauge("two", attributes)], {
    "service.name": "shop",
    "x.y": "1",
    x_y: "2",
  });
  assert.deepEqual(faults, [
    'OTLP data point attributes "a-b", "a.b", "a_b" collide as label "a_b" after name sanitization, values are concatenated with \';\'',
    'OTLP resource attributes "x.y", "x_y" collide as label "x_y" after name sanitization, values are concatenated with \';\'',
  ]);
  assert.deepEqual([repaired.labels, rejected.size], [2, 0]);
  const names = { strategy: "NoTranslation" } as const;
  assert.equal(decoded([gauge("one", attributes)], {}, names).repaired.labels, 0);
  assert.equal(decoded([gauge("one", { "a.b": "", a_b: "2" })]).repaired.labels, 0, "an empty value is no value");
});

test("type and unit of a metric are labels where that is asked for, before attributes of the same names", () => {
  const metrics = [
    gauge("g", { __type__: "own", __unit__: "own" }, "kg/m"),
    counter("c", "By"),
    { name: "h", summary: { dataPoints: [{ timeUnixNano: TIME, count: "1" }] } },
  ];
  const resource = { "service.name": "shop", zone: "a" };
  const labels = (change: Partial<OtlpTranslation>) =>
    decoded(metrics, resource, change).series.map((each) => Object.fromEntries(each.labels));
  const job = "shop";
  assert.deepEqual(labels({ typeAndUnitLabels: true }), [
    { __name__: "g_kg_per_minute", __type__: "gauge", __unit__: "kg_per_minute", job },
    { __name__: "c_bytes_total", __type__: "counter", __unit__: "bytes", job },
    { __name__: "h_sum", __type__: "summary", job },
    { __name__: "h_count", __type__: "summary", job },
    { __name__: "target_info", job, zone: "a" },
  ]);
  assert.deepEqual(labels({})[0], { __name__: "g_kg_per_minute", __type__: "own", __unit__: "own", job });
});

test("of many labels of several attributes only the first are told, and with the beginnings of their keys", () => {
  const metrics = Array.from({ length: 1_100 }, (_, at) => gauge("many", { [`l.${at}`]: "1", [`l_${at}`]: "2" }));
  const { faults, repaired } = decoded(metrics);
  assert.deepEqual([faults.length, repaired.labels], [10, 1_000]);
  const ends = Array.from({ length: 64 }, (_, at) =>
    at.toString(2).padStart(6, "0").replaceAll("0", ".").replaceAll("1", "-"),
  );
  const long = decoded([gauge("long", Object.fromEntries(ends.map((end) => [`${end}${"x".repeat(900)}`, "1"])))]);
  assert.equal(long.repaired.labels, 1);
  assert.ok((long.faults[0]?.length ?? 0) < 1_500, long.faults[0]);
});

test("metrics of one request that become one name of several types or units are told once a name", () => {
  const { faults, repaired, series } = decoded([
    gauge("cache.hits_total"),
    counter("cache.hits"),
    gauge("cache_hits.total"),
    gauge("same.name"),
    gauge("same_name"),
  ]);
  assert.deepEqual(faults, [
    'OTLP metrics "cache.hits_total" (gauge) and "cache.hits" (counter) become one metric "cache_hits_total"',
  ]);
  assert.deepEqual([repaired.names, series.length], [1, 5]);
  const units = decoded([gauge("took", {}, "s"), gauge("took", {}, "ms")], {}, { strategy: "NoTranslation" });
  assert.deepEqual(units.faults, [
    'OTLP metrics "took" (gauge, seconds) and "took" (gauge, milliseconds) become one metric "took"',
  ]);
});

test("a resource with a promoted attribute that is no label loses its points, counted", () => {
  const promoted = { all: true, keys: new Set<string>() };
  const { rejected, series } = decoded(
    [gauge("one"), gauge("two")],
    { 日本: "1", "service.name": "shop" },
    { promoted },
  );
  assert.deepEqual([[...rejected], series.length], [[["labels_invalid", 2]], 0]);
});

test("labels of resource and scope count for what one request may make", () => {
  const resource = Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`attribute.${at}`, "1"]));
  const request = {
    resourceMetrics: [
      {
        resource: { attributes: attributesOf(resource) },
        scopeMetrics: [{ metrics: Array.from({ length: 2_500 }, (_, at) => gauge(`metric.${at}`)) }],
      },
    ],
  };
  const body = Buffer.from(JSON.stringify(request));
  assert.equal(decodeMetricsJson(body).kind, "decoded");
  const all = { ...DEFAULT_TRANSLATION, promoted: { all: true, keys: new Set<string>() } };
  const outcome = decodeMetricsJson(body, all);
  assert.ok(outcome.kind === "malformed");
  assert.match(outcome.reason, /too many series, samples or labels/);
});

test("labels count for each of a point's many series, beyond those that series usually have", () => {
  const attributes = (count: number) =>
    attributesOf(Object.fromEntries(Array.from({ length: count }, (_, at) => [`attribute.${at}`, "1"])));
  const body = (labels: number, bounds: number) => {
    const explicitBounds = Array.from({ length: bounds }, (_, at) => at);
    const bucketCounts = Array.from({ length: bounds + 1 }, () => "0");
    const point = { timeUnixNano: TIME, count: "0", bucketCounts, explicitBounds, attributes: attributes(labels) };
    const metrics = [{ name: "h", histogram: { aggregationTemporality: 2, dataPoints: [point] } }];
    return Buffer.from(JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics }] }] }));
  };
  assert.equal(decodeMetricsJson(body(1_000, 1_500)).kind, "decoded");
  const outcome = decodeMetricsJson(body(1_000, 2_500));
  assert.ok(outcome.kind === "malformed");
  assert.match(outcome.reason, /too many series, samples or labels/);
  assert.equal(decodeMetricsJson(body(14, 20_000)).kind, "decoded");
});

test("a scope whose schema URL and name stand behind its metrics gives its labels all the same", () => {
  const request = {
    resourceMetrics: [{ scopeMetrics: [{ metrics: [gauge("one")], schemaUrl: "http://s/1", scope: { name: "lib" } }] }],
  };
  const promoting = { ...DEFAULT_TRANSLATION, promoteScope: true };
  const outcome = decodeMetricsJson(Buffer.from(JSON.stringify(request)), promoting);
  assert.ok(outcome.kind === "decoded");
  assert.deepEqual(outcome.series[0]?.labels, [
    ["__name__", "one"],
    ["otel_scope_name", "lib"],
    ["otel_scope_schema_url", "http://s/1"],
  ]);
});
