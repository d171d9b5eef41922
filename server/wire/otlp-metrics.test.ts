import assert from "node:assert/strict";
import test from "node:test";
import { type SeriesToAppend, STALE_NAN_BITS } from "../model/series.ts";
import { type MetricDecodeOutcome, NO_POINT } from "./metric-series.ts";
import { decodeMetricsJson } from "./otlp-metrics-json.ts";
import { decodeMetrics } from "./otlp-metrics-protobuf.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { oracleEncode } from "./trace-oracle.ts";

const T = "1700000000123456789";
const T_MS = 1_700_000_000_123;
const START = "1699999999000000000";

type Decoded = Extract<MetricDecodeOutcome, { kind: "decoded" }>;

/** The same request in both encodings, decoded alike. */
function decodedOf(metrics: object[], resource: object[] = []): Decoded {
  const request = { resourceMetrics: [{ resource: { attributes: resource }, scopeMetrics: [{ metrics }] }] };
  const json = decodeMetricsJson(Buffer.from(JSON.stringify(request)));
  const protobuf = decodeMetrics(oracleEncode("MetricsData", request));
  if (json.kind === "malformed") assert.fail(json.reason);
  assert.deepEqual(protobuf, json);
  return json;
}

function lineOf({ labels, timestampsMs, values }: SeriesToAppend): string {
  const text = labels.map(([name, value]) => `${name}=${value}`).join(",");
  return `${text} ${values[0]} @${timestampsMs[0]}`;
}

test("gauges and sums: names, labels, whole numbers and doubles, start times", () => {
  const attributes = [
    { key: "http.method", value: { stringValue: "GET" } },
    { key: "http_method", value: { stringValue: "again" } },
    { key: "count", value: { intValue: "9007199254740993" } },
    { key: "empty", value: { stringValue: "" } },
  ];
  const { series, metadata, received, samples, rejected } = decodedOf(
    [
      {
        name: "temp",
        unit: "Cel",
        description: "how warm",
        gauge: { dataPoints: [{ asDouble: 21.5, timeUnixNano: T }] },
      },
      {
        name: "requests",
        sum: {
          isMonotonic: true,
          aggregationTemporality: 2,
          dataPoints: [{ asInt: "7", timeUnixNano: T, startTimeUnixNano: START, attributes }],
        },
      },
    ],
    [
      { key: "service.name", value: { stringValue: "shop" } },
      { key: "service.namespace", value: { stringValue: "eu" } },
      { key: "service.instance.id", value: { stringValue: "1" } },
      { key: "host.name", value: { stringValue: "box" } },
    ],
  );
  assert.deepEqual(series.map(lineOf), [
    `__name__=temp_celsius,instance=1,job=eu/shop 21.5 @${T_MS}`,
    `__name__=requests_total,count=9007199254740993,http_method=GET;again,instance=1,job=eu/shop 7 @${T_MS}`,
    `__name__=target_info,host_name=box,instance=1,job=eu/shop 1 @${T_MS}`,
  ]);
  assert.equal(series[1]?.startsMs?.[0], 1_699_999_999_000);
  assert.equal(series[0]?.startsMs, undefined);
  assert.deepEqual(metadata, [
    { name: "temp_celsius", type: "gauge", help: "how warm", unit: "celsius" },
    { name: "requests_total", type: "counter", help: "", unit: "" },
    { name: "target_info", type: "gauge", help: "Target metadata", unit: "" },
  ]);
  assert.deepEqual([received, samples, rejected.size], [2, 3, 0]);
});

test("classic histograms and summaries", () => {
  const exemplars = [
    { asDouble: 0.5, timeUnixNano: T, traceId: "5b8efff798038103d269b633813fc60c", spanId: "eee19b7ec3c1b174" },
    { asInt: "3", timeUnixNano: T, filteredAttributes: [{ key: "user", value: { stringValue: "u" } }] },
    { timeUnixNano: T },
  ];
  const point = {
    timeUnixNano: T,
    count: "6",
    sum: 9.5,
    bucketCounts: ["1", "2", "3"],
    explicitBounds: [1, 2.5],
    exemplars: exemplars.map((each) =>
      "traceId" in each ? { ...each, traceId: each.traceId, spanId: each.spanId } : each,
    ),
  };
  const request = {
    resourceMetrics: [
      {
        scopeMetrics: [
          {
            metrics: [
              { name: "latency", unit: "s", histogram: { aggregationTemporality: 2, dataPoints: [point] } },
              {
                name: "size",
                summary: {
                  dataPoints: [{ timeUnixNano: T, count: "4", sum: 8, quantileValues: [{ quantile: 0.99, value: 3 }] }],
                },
              },
            ],
          },
        ],
      },
    ],
  };
  const outcome = decodeMetricsJson(Buffer.from(JSON.stringify(request)));
  assert.ok(outcome.kind === "decoded");
  assert.deepEqual(outcome.series.map(lineOf), [
    `__name__=latency_seconds_sum 9.5 @${T_MS}`,
    `__name__=latency_seconds_count 6 @${T_MS}`,
    `__name__=latency_seconds_bucket,le=1 1 @${T_MS}`,
    `__name__=latency_seconds_bucket,le=2.5 3 @${T_MS}`,
    `__name__=latency_seconds_bucket,le=+Inf 6 @${T_MS}`,
    `__name__=size_sum 8 @${T_MS}`,
    `__name__=size_count 4 @${T_MS}`,
    `__name__=size,quantile=0.99 3 @${T_MS}`,
  ]);
  assert.deepEqual(outcome.series[2]?.exemplars, [
    {
      labels: [
        ["span_id", "eee19b7ec3c1b174"],
        ["trace_id", "5b8efff798038103d269b633813fc60c"],
      ],
      timestampMs: T_MS,
      value: 0.5,
    },
  ]);
  assert.deepEqual(outcome.series[4]?.exemplars, [{ labels: [["user", "u"]], timestampMs: T_MS, value: 3 }]);
  assert.deepEqual([outcome.exemplars, outcome.rejectedExemplars.get("exemplar_value")], [3, 1]);
});

test("exponential histograms become native ones; finer scales are merged, coarser ones refused", () => {
  const at = (change: object) => ({
    name: "latency",
    exponentialHistogram: {
      aggregationTemporality: 2,
      dataPoints: [
        {
          timeUnixNano: T,
          count: "12",
          sum: 30,
          scale: 0,
          zeroCount: "1",
          positive: { offset: -1, bucketCounts: ["1", "0", "0", "0", "4", "5"] },
          negative: { offset: 2, bucketCounts: ["1"] },
          ...change,
        },
      ],
    },
  });
  const native = decodedOf([at({})]).series[0]?.histograms?.[0];
  assert.deepEqual(native, {
    schema: 0,
    zeroThreshold: 1e-128,
    zeroCount: 1,
    count: 12,
    sum: 30,
    positiveSpans: [
      { offset: 0, length: 1 },
      { offset: 3, length: 2 },
    ],
    positiveCounts: Float64Array.of(1, 4, 5),
    negativeSpans: [{ offset: 3, length: 1 }],
    negativeCounts: Float64Array.of(1),
    customValues: new Float64Array(0),
    resetHint: "unknown",
    integer: true,
  });
  const merged = decodedOf([at({ scale: 9 })]).series[0]?.histograms?.[0];
  assert.equal(merged?.schema, 8);
  assert.deepEqual(merged?.positiveCounts, Float64Array.of(1, 0, 4, 5), "of -1 to 4 two become one");
  assert.deepEqual(decodedOf([at({ scale: -4 })]).series[0]?.histograms?.[0]?.schema, -4);
  const coarse = decodedOf([at({ scale: -5 })]);
  assert.deepEqual([...coarse.rejected], [["histogram_scale", 1]]);
  assert.equal(coarse.series.length, 0);
  assert.equal(decodedOf([at({ sum: undefined })]).series[0]?.histograms?.[0]?.sum, 0);
  const thresholdOf = (zeroThreshold: number) =>
    decodedOf([at({ zeroThreshold })]).series[0]?.histograms?.[0]?.zeroThreshold;
  assert.equal(thresholdOf(0.25), 0.25);
  assert.equal(thresholdOf(0), 1e-128, "0 is not set");
  assert.equal(thresholdOf(-1), 1e-128, "no width");
});

test("numbers of many points stand in a few buffers, since each takes long to hand to another thread", () => {
  const dataPoints = Array.from({ length: 500 }, (_, i) => ({
    attributes: [{ key: "id", value: { intValue: i } }],
    timeUnixNano: `${1_700_000_000 + i}000000000`,
    startTimeUnixNano: `${1_600_000_000 + i}000000000`,
    count: "3",
    positive: { offset: i, bucketCounts: ["1", "2"] },
  }));
  const { series } = decodedOf([{ name: "x", exponentialHistogram: { aggregationTemporality: 2, dataPoints } }]);
  const buffers = new Set<ArrayBufferLike>();
  for (const [i, { timestampsMs, values, startsMs, histograms }] of series.slice(0, dataPoints.length).entries()) {
    const { positiveCounts, negativeCounts } = histograms?.[0] ?? assert.fail();
    assert.deepEqual([timestampsMs[0], startsMs?.[0]], [1_700_000_000_000 + 1000 * i, 1_600_000_000_000 + 1000 * i]);
    assert.deepEqual([...positiveCounts], [1, 2]);
    for (const { buffer } of [timestampsMs, values, startsMs ?? values, positiveCounts, negativeCounts]) {
      buffers.add(buffer);
    }
  }
  assert.ok(buffers.size <= 4, `${buffers.size} buffers`);
});

test("a point without a recorded value is a stale marker, of histograms too", () => {
  const flags = 1;
  const { series } = decodedOf([
    { name: "g", gauge: { dataPoints: [{ timeUnixNano: T, flags, asDouble: 5 }] } },
    {
      name: "h",
      histogram: { aggregationTemporality: 2, dataPoints: [{ timeUnixNano: T, flags, count: "1", sum: 2 }] },
    },
    { name: "e", exponentialHistogram: { aggregationTemporality: 2, dataPoints: [{ timeUnixNano: T, flags }] } },
  ]);
  assert.equal(series.length, 5);
  for (const { values, histograms } of series) {
    assert.equal(new BigUint64Array(values.buffer, values.byteOffset, 1)[0], STALE_NAN_BITS);
    assert.equal(histograms, undefined);
  }
});

test("what cannot be kept is counted by point and reason; the others are kept", () => {
  const point = { timeUnixNano: T, asInt: "1" };
  const long = { key: "k", value: { stringValue: "x".repeat(70_000) } };
  const { received, rejected, series, pointOf, faults, samples } = decodedOf([
    { name: "other", sum: { aggregationTemporality: 3, dataPoints: [point, point] } },
    { name: "unset", sum: { dataPoints: [point] } },
    { name: "日本", gauge: { dataPoints: [point] } },
    { name: "label", gauge: { dataPoints: [{ ...point, attributes: [{ key: "..", value: {} }] }] } },
    { name: "limit", gauge: { dataPoints: [{ ...point, attributes: [long] }] } },
    { name: "nothing" },
    { name: "good", gauge: { dataPoints: [point] } },
  ]);
  assert.equal(received, 7);
  assert.deepEqual(Object.fromEntries(rejected), {
    temporality: 3,
    metric_name: 1,
    labels_invalid: 1,
    labels_limit: 1,
  });
  assert.deepEqual(series.map(lineOf), [`__name__=good 1 @${T_MS}`]);
  assert.deepEqual([...pointOf], [6]);
  assert.equal(samples, 1);
  assert.deepEqual(faults, []);
});

test("points of delta temporality are increments, stale ones excepted", () => {
  const point = { timeUnixNano: T, startTimeUnixNano: T, asInt: "1" };
  const kinds = [
    { name: "d", sum: { aggregationTemporality: 1, dataPoints: [point, { ...point, flags: 1 }] } },
    { name: "h", histogram: { aggregationTemporality: 1, dataPoints: [{ ...point, count: "1" }] } },
    { name: "e", exponentialHistogram: { aggregationTemporality: 1, dataPoints: [{ ...point, count: "1" }] } },
    { name: "c", sum: { aggregationTemporality: 2, dataPoints: [point] } },
    { name: "g", gauge: { dataPoints: [point] } },
  ];
  for (const metrics of [kinds, kinds.toReversed()]) {
    const { series, rejected } = decodedOf(metrics, [
      { key: "service.name", value: { stringValue: "s" } },
      { key: "k", value: { stringValue: "v" } },
    ]);
    assert.equal(rejected.size, 0);
    const added = series.filter(({ increments }) => increments === true).map(({ labels }) => labels[0]?.[1]);
    assert.deepEqual(added.toSorted(), ["d", "e", "h_bucket", "h_count"]);
  }
});

test("target_info: one sample each two and a half minutes, once for equal resources", () => {
  const resource = [
    { key: "service.name", value: { stringValue: "s" } },
    {
      key: "k",
      value: {
        kvlistValue: {
          values: [
            { key: "b", value: { intValue: "1" } },
            { key: "a", value: {} },
          ],
        },
      },
    },
  ];
  const later = String(BigInt(T) + 400_000_000_000n);
  const gauge = {
    dataPoints: [
      { timeUnixNano: T, asInt: "1" },
      { timeUnixNano: later, asInt: "2" },
    ],
  };
  const one = { resource: { attributes: resource }, scopeMetrics: [{ metrics: [{ name: "g", gauge }] }] };
  const outcome = decodeMetricsJson(Buffer.from(JSON.stringify({ resourceMetrics: [one, one] })));
  assert.ok(outcome.kind === "decoded");
  const info = outcome.series.filter((_, at) => outcome.pointOf[at] === NO_POINT);
  assert.deepEqual(
    info.map(({ timestampsMs }) => (timestampsMs[0] ?? 0) - T_MS),
    [0, 150_000, 300_000, 400_000],
  );
  assert.deepEqual(info[0]?.labels, [
    ["__name__", "target_info"],
    ["job", "s"],
    ["k", '{"a":null,"b":1}'],
  ]);
});

test("members in any order, names of enums, and requests that ask for too much", () => {
  const text = `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"dataPoints":[{"timeUnixNano":${T},"asInt":3}],
    "isMonotonic":true,"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE"},"unit":"By","name":"late"}]}],
    "resource":{"attributes":[{"value":{"stringValue":"j"},"key":"service.name"}]}}]}`;
  const outcome = decodeMetricsJson(Buffer.from(text));
  assert.ok(outcome.kind === "decoded");
  assert.deepEqual(outcome.series.map(lineOf), [`__name__=late_bytes_total,job=j 3 @${T_MS}`]);
  const bounds = new Array(2_100_000).fill(0);
  const wide = { name: "h", histogram: { aggregationTemporality: 2, dataPoints: [{ explicitBounds: bounds }] } };
  const request = { resourceMetrics: [{ scopeMetrics: [{ metrics: [wide] }] }] };
  assert.equal(decodeMetrics(oracleEncode("MetricsData", request)).kind, "malformed");
});

test("protobuf: of several data of one metric the last kind counts, those that are not counted must be readable", () => {
  const writer = new ProtobufWriter();
  const metricOf = (fields: readonly (readonly [field: number, bytes: Uint8Array])[]) => {
    const resource = writer.openMessage(1);
    const scope = writer.openMessage(2);
    const metric = writer.openMessage(2);
    writer.writeText(1, "m");
    for (const [field, bytes] of fields) writer.writeBytes(field, bytes);
    for (const open of [metric, scope, resource]) writer.closeMessage(open);
    return decodeMetrics(writer.take());
  };
  const gauge = oracleEncode("Gauge", { dataPoints: [{ asInt: "1", timeUnixNano: T }] });
  const sum = oracleEncode("Sum", { aggregationTemporality: 2, dataPoints: [{ asInt: "7", timeUnixNano: T }] });
  const cut = gauge.subarray(0, -2);
  const values = (outcome: ReturnType<typeof decodeMetrics>) =>
    outcome.kind === "decoded" ? outcome.series.map(({ values }) => values[0]) : outcome.kind;
  assert.deepEqual(
    values(
      metricOf([
        [5, gauge],
        [7, sum],
      ]),
    ),
    [7],
  );
  assert.deepEqual(
    values(
      metricOf([
        [7, sum],
        [5, gauge],
        [5, gauge],
      ]),
    ),
    [1, 1],
  );
  assert.equal(
    values(
      metricOf([
        [5, cut],
        [7, sum],
      ]),
    ),
    "malformed",
  );
  assert.equal(
    values(
      metricOf([
        [7, sum],
        [12, Buffer.from([10, 9])],
      ]),
    ),
    "malformed",
  );
  const before = process.cpuUsage();
  metricOf(Array.from({ length: 300_000 }, () => [5, new Uint8Array(0)] as const));
  assert.ok(process.cpuUsage(before).user < 2_000_000, "in time proportional to the body");
});

test("target_info of a request from 1970 to 2200 is made of the last days alone", () => {
  const dataPoints = ["0", "7258118400000000000"].map((timeUnixNano) => ({ timeUnixNano, asInt: "1" }));
  const resource = ["service.name", "zone"].map((key) => ({ key, value: { stringValue: "s" } }));
  const { series, pointOf } = decodedOf([{ name: "g", gauge: { dataPoints } }], resource);
  const info = series.filter((_, at) => pointOf[at] === NO_POINT);
  assert.equal(info.length, 2_017);
  assert.equal(info.at(-1)?.timestampsMs[0], 7_258_118_400_000);
});

test("more points than a request may make series of are refused before one is made", () => {
  const points = 600_000;
  const request = { resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: "a", gauge: { dataPoints: [] } }] }] }] };
  const json = JSON.stringify(request).replace('"dataPoints":[]', `"dataPoints":[${"{},".repeat(points - 1)}{}]`);
  const field = (tag: number, bytes: Buffer) => {
    const writer = new ProtobufWriter();
    writer.writeBytes(tag, bytes);
    return Buffer.from(writer.take());
  };
  const gauge = field(5, Buffer.alloc(2 * points, Buffer.from([10, 0])));
  const protobuf = field(1, field(2, field(2, Buffer.concat([field(1, Buffer.from("a")), gauge]))));
  for (const decode of [() => decodeMetrics(protobuf), () => decodeMetricsJson(Buffer.from(json))]) {
    const before = process.memoryUsage().heapUsed;
    const outcome = decode();
    assert.equal(outcome.kind, "malformed");
    const more = (process.memoryUsage().heapUsed - before) / 2 ** 20;
    assert.ok(more < 64, `${more.toFixed(0)} MiB`);
  }
});
