import assert from "node:assert/strict";
import test from "node:test";
import type { CounterResetHint } from "../model/histogram.ts";
import { STALE_NAN_BITS } from "../model/series.ts";
import { histogramMessage, randomHistogram, remoteEncode } from "./remote-oracle.ts";
import { type RemoteWrite, type RemoteWriteOutcome, seriesOfWrite } from "./remote-write.ts";
import { RemoteWriteDecoder1 } from "./remote-write-1.ts";
import { RemoteWriteDecoder2 } from "./remote-write-2.ts";
import { seededRandom } from "./trace-oracle.ts";

const STALE = new DataView(new ArrayBuffer(8));
STALE.setBigUint64(0, STALE_NAN_BITS, true);

function decoded(outcome: RemoteWriteOutcome): RemoteWrite {
  if (outcome.kind === "malformed") assert.fail(`malformed: ${outcome.reason} at ${outcome.offset}`);
  return { ...outcome.write, series: seriesOfWrite(outcome.write) };
}

function one(request: object): Uint8Array {
  return remoteEncode("one", "WriteRequest", request);
}

function labels(...pairs: [string, string][]): object[] {
  return pairs.map(([name, value]) => ({ name, value }));
}

/** A request of version 2 from series whose labels and texts are told by name. */
function two(series: readonly { readonly labels: readonly string[]; readonly [field: string]: unknown }[]): Uint8Array {
  const symbols = new Map([["", 0]]);
  const ref = (text: string) => {
    const known = symbols.get(text) ?? symbols.size;
    symbols.set(text, known);
    return known;
  };
  const timeseries = series.map(({ labels: names, help, unit, type, exemplars, ...rest }) => ({
    ...rest,
    labels_refs: names.map(ref),
    metadata: { type, help_ref: ref(String(help ?? "")), unit_ref: ref(String(unit ?? "")) },
    // The tests below give exemplars with labels by name.
    exemplars: ((exemplars ?? []) as { labels: string[] }[]).map((each) => ({
      ...each,
      labels_refs: each.labels.map(ref),
    })),
  }));
  return remoteEncode("two", "Request", { symbols: [...symbols.keys()], timeseries });
}

/** Bytes of a request of version 1 with one sample whose value has these bits. */
function oneSample(name: string, bits: bigint, timestampMs: number): Uint8Array {
  const value = new DataView(new ArrayBuffer(8));
  value.setBigUint64(0, bits, true);
  const bytes = Buffer.from(
    one({ timeseries: [{ labels: labels(["__name__", name]), samples: [{ value: 1.5, timestamp: timestampMs }] }] }),
  );
  const at = bytes.indexOf(Buffer.from(Float64Array.of(1.5).buffer));
  Buffer.from(value.buffer).copy(bytes, at);
  return bytes;
}

test("1.0: samples, exemplars, histograms and metadata", () => {
  const histogram = randomHistogram(seededRandom(1), true, "reset");
  const write = decoded(
    new RemoteWriteDecoder1().decode(
      one({
        timeseries: [
          {
            labels: labels(["__name__", "up"], ["job", "a"]),
            samples: [
              { value: 1, timestamp: 1_700_000_000_123 },
              { value: -0.5, timestamp: -1 },
              { timestamp: 5 },
              { value: 7 },
            ],
            exemplars: [
              { labels: labels(["trace_id", "x"], ["a", "b"], ["empty", ""]), value: 2, timestamp: 9 },
              { value: 1, timestamp: 8 },
            ],
          },
          { labels: labels(["__name__", "h"]), histograms: [histogramMessage(histogram, 77)] },
        ],
        metadata: [
          { type: 1, metric_family_name: "up", help: "Whether.", unit: "bool" },
          { type: 99, metric_family_name: "h" },
          { type: 1, help: "nobody's" },
        ],
      }),
    ),
  );
  assert.deepEqual(write.received, { samples: 4, histograms: 1, exemplars: 2 });
  assert.deepEqual(write.series[0], {
    labels: [
      ["__name__", "up"],
      ["job", "a"],
    ],
    lasting: false,
    timestampsMs: Float64Array.of(1_700_000_000_123, -1, 5, 0),
    values: Float64Array.of(1, -0.5, 0, 7),
    histograms: undefined,
    startsMs: undefined,
    exemplars: [
      { labels: [], value: 1, timestampMs: 8 },
      {
        labels: [
          ["a", "b"],
          ["trace_id", "x"],
        ],
        value: 2,
        timestampMs: 9,
      },
    ],
  });
  assert.deepEqual(write.series[1]?.histograms, [histogram]);
  assert.deepEqual(write.series[1]?.values, Float64Array.of(Number.NaN));
  assert.deepEqual(write.metadata, [
    { name: "up", type: "counter", help: "Whether.", unit: "bool" },
    { name: "h", type: "unknown", help: "", unit: "" },
  ]);
  assert.deepEqual([...write.rejected, ...write.faults], []);
});

test("1.0: labels are sorted, empty values go, and series that Prometheus skips are skipped without a word", () => {
  const sample = {
    samples: [
      { value: 1, timestamp: 1 },
      { value: 2, timestamp: 2 },
    ],
  };
  const bytes = one({
    timeseries: [
      { labels: labels(["b", "2"], ["__name__", "good"], ["a", ""]), ...sample },
      { labels: labels(["job", "a"]), ...sample },
      { labels: labels(["__name__", ""]), ...sample },
      { labels: labels(["__name__", "x"], ["", "v"]), ...sample },
      { labels: labels(["__name__", "x"], ["a", "1"], ["a", "2"]), ...sample },
      { labels: labels(["__name__", "x"], ["a", "1"], ["a", ""]), ...sample },
      { ...sample },
      { labels: labels(["__name__", "metric with spaces"], ["host.name", "ü"]), ...sample },
    ],
  });
  const write = decoded(new RemoteWriteDecoder1().decode(bytes));
  assert.deepEqual(
    write.series.map(({ labels }) => labels),
    [
      [
        ["__name__", "good"],
        ["b", "2"],
      ],
      [
        ["__name__", "metric with spaces"],
        ["host.name", "ü"],
      ],
    ],
  );
  assert.deepEqual(Object.fromEntries(write.rejected), { labels_invalid: 8, labels_duplicate: 4 });
  assert.deepEqual(write.faults, []);
});

test("1.0: labels that are not UTF-8 are not taken", () => {
  const bytes = Buffer.from(one({ timeseries: [{ labels: labels(["__name__", "abc"]), samples: [{ value: 1 }] }] }));
  bytes[bytes.indexOf("abc") + 1] = 0xff;
  assert.deepEqual([...decoded(new RemoteWriteDecoder1().decode(bytes)).rejected], [["labels_invalid", 1]]);
});

test("limits of our own are told in both versions", () => {
  const long = "v".repeat(70_000);
  const sample = { samples: [{ value: 1, timestamp: 1 }] };
  const v1 = decoded(
    new RemoteWriteDecoder1().decode(
      one({ timeseries: [{ labels: labels(["__name__", "x"], ["a", long]), ...sample }] }),
    ),
  );
  const many = Array.from({ length: 1_025 }, (_, at): [string, string] => [`l${at}`, "v"]);
  const v2 = decoded(new RemoteWriteDecoder2().decode(two([{ labels: ["__name__", "x", ...many.flat()], ...sample }])));
  assert.deepEqual(v1.faults, ["the value of label a has more than 65536 characters, the limit"]);
  assert.deepEqual(v2.faults, ["a series has more than 1024 labels"]);
  const longer = one({ timeseries: [{ labels: labels(["__name__", "x"], ["a", "ü".repeat(300_000)]), ...sample }] });
  const cut = decoded(new RemoteWriteDecoder1().decode(longer));
  assert.deepEqual([...cut.rejected, cut.faults], [["labels_limit", 1], v1.faults]);
  assert.deepEqual(
    [...v1.rejected, ...v2.rejected],
    [
      ["labels_limit", 1],
      ["labels_limit", 1],
    ],
  );
});

test("1.0: labels between other fields, repeated fields and unknown ones", () => {
  const series = Buffer.concat([
    one({ timeseries: [{ samples: [{ value: 1, timestamp: 1 }] }] }).subarray(2),
    one({ timeseries: [{ labels: labels(["__name__", "x"]) }] }).subarray(2),
    Buffer.from([0xfa, 0x01, 1, 7]), // field 31
    one({ timeseries: [{ labels: labels(["a", "b"]), samples: [{ value: 2, timestamp: 2 }] }] }).subarray(2),
  ]);
  const bytes = Buffer.concat([Buffer.from([0x12, 1, 0, 0x0a, series.length]), series]);
  const write = decoded(new RemoteWriteDecoder1().decode(bytes));
  assert.deepEqual(write.series[0]?.labels, [
    ["__name__", "x"],
    ["a", "b"],
  ]);
  assert.deepEqual(write.series[0]?.values, Float64Array.of(1, 2));
});

test("the same series gives the same labels object, whatever comes between, in both versions", () => {
  const first = new RemoteWriteDecoder1();
  const second = new RemoteWriteDecoder2();
  const names = Array.from({ length: 500 }, (_, at) => `series_${at}`);
  const sample = { samples: [{ value: 1, timestamp: 1 }] };
  const v1 = (list: readonly string[]) =>
    decoded(first.decode(one({ timeseries: list.map((name) => ({ labels: labels(["__name__", name]), ...sample })) })));
  const v2 = (list: readonly string[]) =>
    decoded(second.decode(two(list.map((name) => ({ labels: ["__name__", name], ...sample })))));
  for (const send of [v1, v2]) {
    const known = new Map(send(names).series.map(({ labels }) => [labels[0]?.[1], labels]));
    assert.equal(known.size, 500);
    for (const list of [names, names.toReversed(), ["other", ...names.filter((_, at) => at % 3 === 0)]]) {
      for (const { labels, lasting } of send(list).series) {
        const before = known.get(labels[0]?.[1]);
        assert.ok(before === undefined || lasting);
        if (before !== undefined) assert.equal(labels, before);
        else assert.deepEqual(labels, [["__name__", "other"]]);
      }
    }
  }
});

test("2.0: metadata of a malformed request are told with the next", () => {
  const decoder = new RemoteWriteDecoder2();
  const samples = [{ value: 1, timestamp: 1 }];
  const good = two([{ labels: ["__name__", "m"], samples, type: 1, help: "helps" }]);
  // Behind it a series whose sample is longer than the series.
  assert.equal(decoder.decode(Buffer.concat([good, Buffer.of(0x2a, 2, 0x12, 0x7f)])).kind, "malformed");
  assert.deepEqual(decoded(decoder.decode(good)).metadata, [{ name: "m", type: "counter", help: "helps", unit: "" }]);
  assert.deepEqual(decoded(decoder.decode(good)).metadata, []);
});

test("2.0: samples with starts, histograms, exemplars and metadata, told once", () => {
  const decoder = new RemoteWriteDecoder2();
  const histogram = randomHistogram(seededRandom(3), false, "gauge");
  const request = () =>
    two([
      {
        labels: ["__name__", "requests_total", "job", "a"],
        samples: [
          { value: 1, timestamp: 10, start_timestamp: 5 },
          { value: 2, timestamp: 20 },
        ],
        exemplars: [{ labels: ["trace_id", "x"], value: 2, timestamp: 9 }],
        type: 1,
        help: "Requests.",
      },
      { labels: ["__name__", "latency"], histograms: [histogramMessage(histogram, 30, 6)], type: 3, unit: "seconds" },
      {
        labels: ["__name__", "classic_bucket", "le", "1"],
        samples: [{ value: 2, timestamp: 1 }],
        type: 3,
        help: "Classic.",
      },
      { labels: ["__name__", "plain"], samples: [{ value: 2, timestamp: 1 }] },
    ]);
  const write = decoded(decoder.decode(request()));
  assert.deepEqual(write.faults, []);
  assert.deepEqual(write.received, { samples: 4, histograms: 1, exemplars: 1 });
  assert.deepEqual(write.series[0]?.startsMs, Float64Array.of(5, 0));
  assert.deepEqual(write.series[0]?.exemplars, [{ labels: [["trace_id", "x"]], value: 2, timestampMs: 9 }]);
  assert.deepEqual(write.series[1]?.histograms, [histogram]);
  assert.deepEqual(write.series[1]?.startsMs, Float64Array.of(6));
  assert.deepEqual(write.metadata, [
    { name: "requests_total", type: "counter", help: "Requests.", unit: "" },
    { name: "latency", type: "histogram", help: "", unit: "seconds" },
    { name: "classic", type: "histogram", help: "Classic.", unit: "" },
  ]);
  assert.deepEqual(decoded(decoder.decode(request())).metadata, []);
});

test("2.0: what is wrong with a series is told in Prometheus' words, and the rest is kept", () => {
  const samples = [{ value: 1, timestamp: 1 }];
  const write = decoded(
    new RemoteWriteDecoder2().decode(
      remoteEncode("two", "Request", {
        symbols: ["", "__name__", "good", "job", "a", "x"],
        timeseries: [
          { labels_refs: [1, 2], samples },
          { labels_refs: [1, 2, 3], samples },
          { labels_refs: [1, 6], samples },
          { labels_refs: [3, 4], samples },
          { labels_refs: [1, 2, 3, 4, 3, 5], samples },
          { labels_refs: [1, 4, 3, 4] },
          { labels_refs: [1, 2], exemplars: [{ labels_refs: [3, 4], timestamp: 7 }] },
          { labels_refs: [1, 4], samples, metadata: { unit_ref: 9 } },
          { labels_refs: [1, 4], samples, metadata: { help_ref: 9 } },
          {
            labels_refs: [1, 5],
            samples,
            exemplars: [{ labels_refs: [3, 4], timestamp: 4 }, { labels_refs: [3, 77] }],
          },
          { labels_refs: [3, 4, 1, 2], samples },
        ],
      }),
    ),
  );
  assert.deepEqual(
    write.series.map(({ labels }) => labels.map(([, value]) => value).join()),
    ["good", "good", "x", "good,a"],
  );
  assert.deepEqual(write.faults, [
    "parsing labels for series [1 2 3]: invalid labelRefs length 3",
    "parsing labels for series [1 6]: labelRefs 1 (name) = 6 (value) outside of symbols table (size 6)",
    'invalid metric name or labels, got {job="a"}',
    'invalid labels for series, labels {__name__="good", job="a", job="x"}, duplicated label job',
    'TimeSeries must contain at least one sample or histogram for series {__name__="a", job="a"}',
    "parsing metadata for series [1 4]: metadata unit_ref 9 outside of symbols table (size 6)",
    "parsing metadata for series [1 4]: metadata help_ref 9 outside of symbols table (size 6)",
    'parsing exemplar for series {__name__="x"}: labelRefs 3 (name) = 77 (value) outside of symbols table (size 6)',
  ]);
  assert.deepEqual(Object.fromEntries(write.rejected), { labels_invalid: 3, labels_duplicate: 1, metadata_invalid: 2 });
  assert.deepEqual(Object.fromEntries(write.rejectedExemplars), { labels_invalid: 1 });
  assert.deepEqual(write.series[1]?.exemplars, [{ labels: [["job", "a"]], value: 0, timestampMs: 7 }]);
  const kept = write.series.reduce((sum, { values }) => sum + values.length, 0);
  assert.equal(write.received.samples, kept + [...write.rejected.values()].reduce((sum, count) => sum + count, 0));
});

test("a body of the other version holds nothing", () => {
  const v1 = one({ timeseries: [{ labels: labels(["__name__", "x"]), samples: [{ value: 1 }] }] });
  const v2 = two([{ labels: ["__name__", "x"], samples: [{ value: 1, timestamp: 1 }] }]);
  assert.deepEqual(decoded(new RemoteWriteDecoder2().decode(v1)).received, { samples: 0, histograms: 0, exemplars: 0 });
  assert.deepEqual(decoded(new RemoteWriteDecoder1().decode(v2)).received, { samples: 0, histograms: 0, exemplars: 0 });
});

test("the bits of stale markers survive, hot or cold; a stale histogram is a float", () => {
  const decoder = new RemoteWriteDecoder1();
  const bytes = oneSample("x", STALE_NAN_BITS, 1_000);
  for (let round = 0; round < 30_000; round++) {
    const { series } = decoded(decoder.decode(bytes));
    const values = series[0]?.values ?? assert.fail();
    if (new BigUint64Array(values.buffer, values.byteOffset, 1)[0] !== STALE_NAN_BITS) assert.fail(`round ${round}`);
  }
  const sent = Buffer.from(
    one({
      timeseries: [
        {
          labels: labels(["__name__", "h"]),
          histograms: [histogramMessage(randomHistogram(seededRandom(1), true, "unknown"), 5)],
        },
      ],
    }).slice(),
  );
  const sumAt = sent.lastIndexOf(0x19);
  const histogram = Buffer.concat([Buffer.from([0x19]), Buffer.from(STALE.buffer), Buffer.from([0x78, 5])]);
  assert.ok(sumAt > 0);
  const series = Buffer.concat([
    Buffer.from(one({ timeseries: [{ labels: labels(["__name__", "h"]) }] })).subarray(2),
    Buffer.from([0x22, histogram.length]),
    histogram,
  ]);
  const write = decoded(decoder.decode(Buffer.concat([Buffer.from([0x0a, series.length]), series])));
  assert.equal(write.staleHistograms, 1);
  assert.equal(write.series[0]?.histograms, undefined);
  assert.deepEqual(write.series[0]?.timestampsMs, Float64Array.of(5));
  const values = write.series[0]?.values ?? assert.fail();
  assert.equal(new BigUint64Array(values.buffer, values.byteOffset, 1)[0], STALE_NAN_BITS);
});

test("histograms of protobufjs come back from both decoders", () => {
  const random = seededRandom(5);
  const v1 = new RemoteWriteDecoder1();
  const v2 = new RemoteWriteDecoder2();
  const hints: readonly CounterResetHint[] = ["unknown", "reset", "not_reset", "gauge"];
  for (let round = 0; round < 1_000; round++) {
    const histogram = randomHistogram(random, random() < 0.5, hints[round % 4] ?? "unknown");
    const message = histogramMessage(histogram, 1_000 + round, round % 3);
    const timeseries = [{ labels: labels(["__name__", "h"]), histograms: [message] }];
    assert.deepEqual(decoded(v1.decode(one({ timeseries }))).series[0]?.histograms, [histogram]);
    const write = decoded(v2.decode(two([{ labels: ["__name__", "h"], histograms: [message] }])));
    assert.deepEqual(write.series[0]?.histograms, [histogram]);
    assert.equal(write.series[0]?.startsMs?.[0], round % 3 === 0 ? undefined : round % 3);
  }
});

test("2.0: an empty series holds nothing, whatever stands behind it", () => {
  const body = Buffer.concat([Buffer.from([0x22, 0, 0x2a, 0]), Buffer.from([0x0a, 0x80, 0x80]), Buffer.from([0x01])]);
  assert.equal(new RemoteWriteDecoder2().decode(body).kind, "malformed", "a field that is cut short");
  const good = Buffer.from([0x22, 0, 0x2a, 0, 0x0a, 2, 0xff, 0xff]);
  assert.deepEqual(decoded(new RemoteWriteDecoder2().decode(good)).series, []);
});

test("malformed requests", () => {
  const bad = (bytes: number[]) => {
    assert.equal(new RemoteWriteDecoder1().decode(Uint8Array.from(bytes)).kind, "malformed", `1.0: ${bytes}`);
  };
  bad([0x0a]); // no length
  bad([0x0a, 5, 1]); // beyond the end
  bad([0x08, 1]); // series as a number
  bad([0x0a, 2, 0x08, 1]); // labels as a number
  bad([0x0a, 4, 0x12, 2, 0x08, 1]); // a sample's value as a number
  bad([0x0a, 3, 0x12, 1, 0x09]); // a double cut short
  bad([0x0a, 4, 0x22, 2, 0x38, 1]); // a histogram's float zero count as a number
  bad([0x0a, 6, 0x22, 4, 0x5a, 2, 0x0a, 0]); // the offset of a span with a length
  bad([0x1a, 2, 0x10, 1]); // the name of a metric as a number
  bad([0x07]);
  bad([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
  const bad2 = (bytes: number[]) => {
    assert.equal(new RemoteWriteDecoder2().decode(Uint8Array.from(bytes)).kind, "malformed", `2.0: ${bytes}`);
  };
  bad2([0x22]);
  bad2([0x20, 1]);
  bad2([0x2a, 2, 0x10, 1]);
  bad2([0x2a, 3, 0x0a, 1, 0x80]); // a reference cut short
  bad2([0x22, 0, 0x2a, 4, 0x2a, 2, 0x1a, 0]); // the help of a metric with a length
});

test("bombs: two bytes that ask for an object each are refused in time", () => {
  const repeat = (bytes: number[], times: number) => Buffer.alloc(bytes.length * times, Buffer.from(bytes));
  const wrap = (tag: number, content: Buffer) => {
    const head = Buffer.alloc(6);
    head[0] = tag;
    let at = 1;
    for (let rest = content.length; ; rest >>>= 7) {
      head[at++] = rest > 0x7f ? (rest & 0x7f) | 0x80 : rest;
      if (rest <= 0x7f) break;
    }
    return Buffer.concat([head.subarray(0, at), content]);
  };
  const MANY = 5_000_000;
  const bombs: [name: string, version: 1 | 2, bytes: Buffer][] = [
    ["series", 1, repeat([0x0a, 0], MANY)],
    ["metadata", 1, repeat([0x1a, 0], MANY)],
    ["samples", 1, wrap(0x0a, repeat([0x12, 0], MANY))],
    ["labels", 1, wrap(0x0a, repeat([0x0a, 0], MANY))],
    ["series of labels", 1, repeat([0x0a, 12, 0x0a, 0, 0x0a, 0, 0x0a, 0, 0x0a, 0, 0x0a, 0, 0x0a, 0], MANY / 10)],
    ["exemplars", 1, wrap(0x0a, repeat([0x1a, 0], MANY))],
    ["labels of an exemplar", 1, wrap(0x0a, wrap(0x1a, repeat([0x0a, 0], MANY)))],
    ["histograms", 1, wrap(0x0a, repeat([0x22, 0], MANY))],
    ["spans", 1, wrap(0x0a, wrap(0x22, repeat([0x5a, 0], MANY)))],
    ["deltas", 1, wrap(0x0a, wrap(0x22, wrap(0x62, Buffer.alloc(2 * MANY))))],
    ["symbols", 2, repeat([0x22, 0], MANY)],
    ["series", 2, repeat([0x2a, 0], MANY)],
    ["references", 2, wrap(0x2a, wrap(0x0a, Buffer.alloc(2 * MANY)))],
    [
      "references of exemplars",
      2,
      Buffer.concat([Buffer.from([0x22, 0]), wrap(0x2a, repeat([0x22, 4, 0x0a, 2, 0, 0], MANY / 2))]),
    ],
  ];
  for (const [name, version, bytes] of bombs) {
    const decoder = version === 1 ? new RemoteWriteDecoder1() : new RemoteWriteDecoder2();
    const before = process.threadCpuUsage();
    const outcome = decoder.decode(bytes);
    const tookMs = process.threadCpuUsage(before).user / 1_000;
    // A quiet machine takes a quarter of it; what matters is that it does not grow with the bytes.
    assert.ok(tookMs < 400, `${name}: ${tookMs} ms`);
    if (name !== "references") assert.equal(outcome.kind, "malformed", name);
    else assert.deepEqual([...decoded(outcome).rejected, decoded(outcome).series.length], [0]);
  }
});

test("fuzz: damaged requests are refused, or every sample is accounted for", () => {
  const random = seededRandom(6);
  const hints: readonly CounterResetHint[] = ["unknown", "gauge"];
  const series = Array.from({ length: 4 }, (_, at) => ({
    labels: ["__name__", `name_${at}`, "job", "a", "instance", "host:9100"],
    samples: at % 2 === 0 ? [{ value: at, timestamp: 1_700_000_000_000 + at, start_timestamp: 3 }] : [],
    histograms:
      at % 2 === 0 ? [] : [histogramMessage(randomHistogram(random, at === 1, hints[at % 2] ?? "unknown"), 4, 1)],
    exemplars: [{ labels: ["trace_id", "abc"], value: 1, timestamp: 5 }],
    type: 1,
    help: "text",
  }));
  const v1 = one({
    timeseries: series.map((each) => ({
      ...each,
      labels: labels(["__name__", each.labels[1] ?? ""], ["job", "a"]),
      exemplars: [{ labels: labels(["trace_id", "abc"]), value: 1, timestamp: 5 }],
    })),
    metadata: [{ type: 1, metric_family_name: "m", help: "text" }],
  });
  const v2 = two(series);
  const decoders = [new RemoteWriteDecoder1(), new RemoteWriteDecoder2()] as const;
  const started = performance.now();
  let malformed = 0;
  for (let round = 0; round < 20_000; round++) {
    const isFirst = round % 2 === 0;
    const damaged = Buffer.from(isFirst ? v1 : v2);
    for (let flips = 1 + Math.floor(random() * 3); flips > 0; flips--) {
      damaged[Math.floor(random() * damaged.length)] = Math.floor(random() * 256);
    }
    const cut = random() < 0.2 ? Math.floor(random() * damaged.length) : damaged.length;
    const outcome = decoders[isFirst ? 0 : 1].decode(damaged.subarray(0, cut));
    if (outcome.kind === "malformed") {
      malformed++;
      continue;
    }
    const { write } = outcome;
    let kept = 0;
    for (const { timestampsMs, values, histograms, labels } of write.series) {
      kept += values.length;
      assert.equal(timestampsMs.length, values.length);
      assert.ok(histograms === undefined || histograms.length === values.length);
      assert.ok(labels.length > 0);
    }
    for (const count of write.rejected.values()) kept += count;
    assert.equal(kept, write.received.samples + write.received.histograms);
  }
  assert.ok(malformed > 100 && malformed < 19_000, String(malformed));
  assert.ok(performance.now() - started < 60_000);
});
