import assert from "node:assert/strict";
import test from "node:test";
import { CUSTOM_BUCKETS_SCHEMA, customHistogram, type NativeHistogram } from "../model/histogram.ts";
import { type Labels, type SeriesToAppend, STALE_NAN_BITS } from "../model/series.ts";
import { openIn, temporaryDirectory } from "../store/store-fixture.ts";
import type { ExpositionSink } from "../wire/exposition.ts";
import { ProtobufExposition } from "../wire/exposition-protobuf.ts";
import { ask, startFixture } from "./api-fixture.test.ts";

/** The fixture's clock. */
const NOW_MS = 1_700_000_000_000;

function seriesOf(labels: Labels, samples: readonly (readonly [beforeMs: number, value: number])[]): SeriesToAppend {
  return {
    labels,
    timestampsMs: Float64Array.from(samples, ([beforeMs]) => NOW_MS - beforeMs),
    values: Float64Array.from(samples, ([, value]) => value),
  };
}

/** A sample, then the mark of an end; its bits get lost in a number. */
function ended(labels: Labels): SeriesToAppend {
  const values = new Float64Array(2);
  new BigUint64Array(values.buffer)[1] = STALE_NAN_BITS;
  return { labels, timestampsMs: Float64Array.of(NOW_MS - 60_000, NOW_MS - 1_000), values };
}

test("federation tells the newest sample of each chosen series once, by name", async (context) => {
  const store = await openIn(context, await temporaryDirectory(context));
  const { url } = await startFixture(context, {
    reader: store.reader,
    remoteRead: { samplesMax: 1_000, externalLabels: [["region", "north"]] },
  });
  const metric = (name: string, ...labels: [string, string][]): Labels => [["__name__", name], ...labels];
  await store.writer.appendSeries([
    seriesOf(metric("up", ["job", 'a "b"']), [
      [60_000, 1],
      [1_000, 2],
    ]),
    seriesOf(metric("up", ["instance", "here"], ["region", "south"]), [[2_000, Number.NaN]]),
    ended(metric("gone")),
    seriesOf(metric("old"), [[299_999, 1e21]]),
    seriesOf(metric("older"), [[300_000, 1]]),
    seriesOf(metric("a.b"), [[0, -1]]),
  ]);
  const headers = { accept: "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.3" };
  const answer = await ask(`${url}/federate?match[]=up&match[]=${encodeURIComponent('{__name__=~".+"}')}`, { headers });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8");
  assert.deepEqual(answer.text.split("\n"), [
    '# TYPE "a.b" untyped',
    `{"a.b",instance="",region="north"} -1 ${NOW_MS}`,
    "# TYPE old untyped",
    `old{instance="",region="north"} 1e+21 ${NOW_MS - 299_999}`,
    "# TYPE up untyped",
    ...[
      `up{job="a \\"b\\"",instance="",region="north"} 2 ${NOW_MS - 1_000}`,
      `up{instance="here",region="south"} NaN ${NOW_MS - 2_000}`,
    ],
    "",
  ]);
  assert.equal((await ask(`${url}/federate`)).text, "");
  const all = await ask(`${url}/federate?match[]=${encodeURIComponent('{none=""}')}`, { headers });
  assert.equal(all.text, answer.text, "a selector may match by labels that are not there");
});

test("names have underscores for readers that do not ask for UTF-8", async (context) => {
  const store = await openIn(context, await temporaryDirectory(context));
  const { url } = await startFixture(context, { reader: store.reader });
  const labels: Labels = [
    ["__name__", "1 é.b"],
    ["c-d", "e.f"],
  ];
  await store.writer.appendSeries([seriesOf(labels, [[0, 1]])]);
  const told = async (accept: string) => {
    const { text, headers } = await ask(`${url}/federate?match[]={"c-d"!=""}`, { headers: { accept } });
    return [headers["content-type"]?.split("escaping=")[1], ...text.split("\n").slice(0, 2)];
  };
  const plain = ["underscores", "# TYPE ____b untyped", `____b{c_d="e.f",instance=""} 1 ${NOW_MS}`];
  const utf8 = ["allow-utf-8", '# TYPE "1 é.b" untyped', `{"1 é.b","c-d"="e.f",instance=""} 1 ${NOW_MS}`];
  for (const accept of ["", "*/*", "text/plain;version=0.0.4", "text/plain;version=1.0.0;escaping=dots"]) {
    assert.deepEqual(await told(accept), plain, accept);
  }
  assert.deepEqual(
    await told("text/plain;version=0.0.4;q=0.3,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4"),
    utf8,
  );
  assert.deepEqual(await told("text/plain;q=0.5,application/openmetrics-text;escaping=allow-utf-8;q=0.4"), plain);
});

test("histograms of custom buckets are told as classic ones", async (context) => {
  const store = await openIn(context, await temporaryDirectory(context));
  const { url } = await startFixture(context, { reader: store.reader });
  const histogram: NativeHistogram = {
    schema: CUSTOM_BUCKETS_SCHEMA,
    zeroThreshold: 0,
    zeroCount: 0,
    count: 6,
    sum: 7.5,
    positiveSpans: [
      { offset: 0, length: 1 },
      { offset: 1, length: 2 },
    ],
    positiveCounts: Float64Array.of(1, 2, 3),
    negativeSpans: [],
    negativeCounts: new Float64Array(),
    customValues: Float64Array.of(0.5, 1, 2.5),
    resetHint: "unknown",
    integer: true,
  };
  const sample = { timestampsMs: Float64Array.of(NOW_MS), values: new Float64Array(1) };
  await store.writer.appendSeries([
    { labels: [["__name__", "h"]], ...sample, histograms: [histogram] },
    seriesOf([["__name__", "h_up"]], [[0, 1]]),
  ]);
  const { text } = await ask(`${url}/federate?match[]=${encodeURIComponent('{__name__=~"h.*"}')}`);
  assert.deepEqual(text.split("\n"), [
    "# TYPE h histogram",
    `h_bucket{instance="",le="0.5"} 1 ${NOW_MS}`,
    `h_bucket{instance="",le="1"} 1 ${NOW_MS}`,
    `h_bucket{instance="",le="2.5"} 3 ${NOW_MS}`,
    `h_bucket{instance="",le="+Inf"} 6 ${NOW_MS}`,
    `h_sum{instance=""} 7.5 ${NOW_MS}`,
    `h_count{instance=""} 6 ${NOW_MS}`,
    "# TYPE h_up untyped",
    `h_up{instance=""} 1 ${NOW_MS}`,
    "",
  ]);
});

const EXPONENTIAL: NativeHistogram = {
  schema: 2,
  zeroThreshold: 1e-6,
  zeroCount: 1,
  count: 10,
  sum: -2.5,
  positiveSpans: [
    { offset: -3, length: 2 },
    { offset: 4, length: 1 },
  ],
  positiveCounts: Float64Array.of(1, 2, 3),
  negativeSpans: [{ offset: 0, length: 1 }],
  negativeCounts: Float64Array.of(3),
  customValues: new Float64Array(),
  resetHint: "unknown",
  integer: false,
};
const PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

test("readers that like protobuf best get it, exponential histograms too", async (context) => {
  const store = await openIn(context, await temporaryDirectory(context));
  const { url } = await startFixture(context, { reader: store.reader });
  const sample = { timestampsMs: Float64Array.of(NOW_MS), values: new Float64Array(1) };
  const [gauge, empty]: NativeHistogram[] = [
    { ...EXPONENTIAL, resetHint: "gauge", integer: true },
    {
      ...EXPONENTIAL,
      ...{ zeroThreshold: 0, zeroCount: 0, count: 0, sum: 0, positiveSpans: [], negativeSpans: [] },
      ...{ positiveCounts: new Float64Array(), negativeCounts: new Float64Array() },
    },
  ];
  const custom = customHistogram({
    ...{ count: 6, sum: 7.5, positiveSpans: [{ offset: 1, length: 2 }], positiveCounts: Float64Array.of(2, 4) },
    ...{ customValues: Float64Array.of(0.5, 1), integer: true },
  });
  await store.writer.appendSeries([
    {
      labels: [
        ["__name__", "e.h"],
        ["a.b", "c"],
      ],
      ...sample,
      histograms: [EXPONENTIAL],
    },
    {
      labels: [
        ["__name__", "e.h"],
        ["a.b", "d"],
      ],
      ...sample,
      histograms: [gauge],
    },
    { labels: [["__name__", "empty"]], ...sample, histograms: [empty] },
    { labels: [["__name__", "nhcb"]], ...sample, histograms: [custom] },
    seriesOf([["__name__", "up"]], [[0, Number.NaN]]),
    seriesOf([["job", "nameless"]], [[0, 1]]),
  ]);
  const accept = `${PROTOBUF};q=0.7,text/plain;version=0.0.4;q=0.6`;
  const path = `${url}/federate?match[]=${encodeURIComponent('{a!="x"}')}`;
  const answer = await fetch(path, { headers: { accept } });
  assert.equal(
    answer.headers.get("content-type"),
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores",
  );
  const told: unknown[] = [];
  const sink: ExpositionSink = {
    describe: ({ name, type }) => told.push(`${name} ${type}`),
    sample: ({ labels, value, histogram, timestampMs }) => {
      assert.equal(timestampMs, NOW_MS);
      told.push([Object.fromEntries(labels()), histogram ?? value]);
    },
  };
  const choice = { native: true, alwaysClassic: false };
  new ProtobufExposition(new Uint8Array(await answer.arrayBuffer()), choice, sink).read(1_000);
  const series = (name: string, value: unknown, more: object = {}) => [
    { __name__: name, ...more, ...{ instance: "" } },
    value,
  ];
  assert.deepEqual(told, [
    "e_h gaugehistogram",
    series("e_h", { ...gauge, integer: false }, { a_b: "d" }),
    "e_h histogram",
    series("e_h", EXPONENTIAL, { a_b: "c" }),
    "empty histogram",
    series("empty", { ...empty, positiveSpans: [{ offset: 0, length: 0 }], integer: true }),
    "nhcb histogram",
    series("nhcb_count", 6),
    series("nhcb_sum", 7.5),
    series("nhcb_bucket", 0, { le: "0.5" }),
    series("nhcb_bucket", 2, { le: "1.0" }),
    series("nhcb_bucket", 6, { le: "+Inf" }),
    "up unknown",
    series("up", Number.NaN),
  ]);
  for (const other of ["", `${PROTOBUF};q=0.1,*/*`, PROTOBUF.replace("delimited", "text"), `${PROTOBUF};q=0`]) {
    const { headers, text } = await ask(path, { headers: { accept: other } });
    assert.match(headers["content-type"] ?? "", /^text\/plain/, other);
    assert.match(text, /^# TYPE nhcb histogram\n(?:.*\n){5}# TYPE up untyped\n.*\n$/);
  }
});

test("selectors that are wrong, too many or too long are refused by every route that takes them", async (context) => {
  const { url } = await startFixture(context);
  const many = `${"match[]=a&".repeat(1_001)}a=b`;
  for (const path of ["federate", "api/v1/series", "api/v1/labels", "api/v1/label/a/values"]) {
    const tooMany = await ask(`${url}/${path}?${many}`);
    assert.equal(tooMany.status, 400, path);
    assert.match(tooMany.text, /stands 1001 times; the limit is 1000: join selectors by regular expressions/, path);
    assert.equal((await ask(`${url}/${path}?match[]=${"%7B"}`)).status, 400, path);
  }
  const wrong = async (query: string) => {
    const { status, text, headers } = await ask(`${url}/federate?${query}`);
    assert.match(headers["content-type"] ?? "", /^text\/plain/);
    return `${status} ${text}`;
  };
  assert.match(await wrong("match[]=%7B"), /^400 1:2: parse error: unexpected end of input inside braces\n$/);
  assert.match(await wrong("match[]=%zz"), /^400 error parsing form values: invalid URL escape "%zz"\n$/);
  const long = { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" } };
  const tooLong = await ask(`${url}/api/v1/series`, long, `match[]=${"a".repeat(65_537)}`);
  assert.match(tooLong.text, /match\[\] has 65537 characters together; the limit is 65536/);
});
