/** Remote write and remote read over real bytes: faces, ingest and store together. */

import assert from "node:assert/strict";
import http from "node:http";
import test from "node:test";
import { acceptSeries } from "../ingest/accept-series.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Labels, SeriesSamples } from "../model/series.ts";
import { FakeClock, NOON_MS, openIn, temporaryDirectory } from "../store/store-fixture.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { crc32c } from "../wire/crc32c.ts";
import { histogramMessage, randomHistogram, remoteDecode, remoteEncode } from "../wire/remote-oracle.ts";
import { decodeSnappy, encodeSnappy } from "../wire/snappy.ts";
import { seededRandom } from "../wire/trace-oracle.ts";
import { decodeXorChunk } from "../wire/xor-chunk.ts";
import { type Answer, listReader, startFixture } from "./api-fixture.test.ts";

const V1 = "application/x-protobuf";
const V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

interface Remote {
  readonly url: string;
  readonly telemetry: Telemetry;
  /** Set to have the next writes refused. */
  trouble: Error | undefined;
  write(body: Uint8Array, type?: string, headers?: http.OutgoingHttpHeaders): Promise<Answer>;
  read(request: object): Promise<Answer>;
}

/** Faces over a real store and real ingest. */
async function startRemote(
  context: test.TestContext,
  change: { readonly externalLabels?: Labels; readonly samplesMax?: number; readonly bodiesBytesMax?: number } = {},
): Promise<Remote> {
  const store = await openIn(context, await temporaryDirectory(context));
  const telemetry = new Telemetry();
  const state = { trouble: undefined as Error | undefined };
  const deps = { writer: store.writer, telemetry, clock: new FakeClock() };
  const { url } = await startFixture(context, {
    reader: store.reader,
    acceptSeries: (write) => {
      if (state.trouble === undefined) return acceptSeries(deps, write);
      const { trouble } = state;
      return acceptSeries({ ...deps, writer: { ...store.writer, appendSeries: () => Promise.reject(trouble) } }, write);
    },
    remoteRead: { samplesMax: change.samplesMax ?? 1_000_000, externalLabels: change.externalLabels ?? [] },
    ...(change.bodiesBytesMax === undefined ? {} : { bodiesBytesMax: change.bodiesBytesMax }),
  });
  const post = (path: string, body: Uint8Array, headers: http.OutgoingHttpHeaders) =>
    send(`${url}${path}`, headers, body);
  return Object.assign(state, {
    url,
    telemetry,
    write: (body: Uint8Array, type = V1, headers: http.OutgoingHttpHeaders = {}) =>
      post("/api/v1/write", body, { "content-type": type, "content-encoding": "snappy", ...headers }),
    read: (request: object) =>
      post("/api/v1/read", encodeSnappy(remoteEncode("one", "ReadRequest", request)), {
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
      }),
  });
}

function send(url: string, headers: http.OutgoingHttpHeaders, body: Uint8Array): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      url,
      { method: "POST", headers: { ...headers, "content-length": body.length } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const bytes = Buffer.concat(chunks);
          resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes, text: bytes.toString() });
        });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

/** A request of version 1: for each name samples as time and value. */
function one(series: Readonly<Record<string, readonly (readonly [number, number])[]>>): Uint8Array {
  const timeseries = Object.entries(series).map(([name, samples]) => ({
    labels: [
      { name: "__name__", value: name },
      { name: "job", value: "a" },
    ],
    samples: samples.map(([timestamp, value]) => ({ timestamp, value })),
  }));
  return encodeSnappy(remoteEncode("one", "WriteRequest", { timeseries }));
}

/** A request of version 2 with the same names. */
function two(series: Readonly<Record<string, readonly (readonly [number, number])[]>>, more: object = {}): Uint8Array {
  const names = Object.keys(series);
  const timeseries = names.map((name, at) => ({
    labels_refs: [1, 4 + at, 2, 3],
    samples: series[name]?.map(([timestamp, value]) => ({ timestamp, value })),
    ...more,
  }));
  return encodeSnappy(remoteEncode("two", "Request", { symbols: ["", "__name__", "job", "a", ...names], timeseries }));
}

function matcher(name: string, value: string, type = 0): object {
  return { type, name, value };
}

function query(...matchers: object[]): object {
  return { start_timestamp_ms: 0, end_timestamp_ms: NOON_MS + 3_600_000, matchers };
}

interface ReadLabel {
  readonly name: string;
  readonly value: string;
}

interface ReadResponse {
  readonly results: readonly {
    readonly timeseries: readonly {
      readonly labels: readonly ReadLabel[];
      readonly samples: readonly { readonly value?: number; readonly timestamp?: number }[];
      readonly histograms: readonly object[];
    }[];
  }[];
}

/** Results of the sampled form: `name{labels} time=value …` for each series. */
function samplesOf(answer: Answer): string[][] {
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers["content-type"], "application/x-protobuf");
  assert.equal(answer.headers["content-encoding"], "snappy");
  const bytes = decodeSnappy(answer.bytes) ?? assert.fail("not snappy");
  const { results } = remoteDecode<ReadResponse>("ReadResponse", bytes);
  return results.map(({ timeseries }) =>
    timeseries.map(({ labels, samples, histograms }) =>
      [
        labels.map(({ name, value }) => `${name}=${value}`).join(),
        ...samples.map(({ timestamp, value }) => `${timestamp ?? 0}=${value ?? 0}`),
        ...histograms.map(() => "histogram"),
      ].join(" "),
    ),
  );
}

interface ReadChunks {
  readonly chunked_series: readonly {
    readonly labels: readonly ReadLabel[];
    readonly chunks: readonly { readonly type: number; readonly data: Buffer }[];
  }[];
  readonly query_index?: number;
}

/** Frames of the streamed form in the same words, with the number of the query. */
function framesOf(answer: Answer): string[] {
  assert.equal(answer.status, 200, answer.text);
  const type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
  assert.equal(answer.headers["content-type"], type);
  const frames: string[] = [];
  let at = 0;
  while (at < answer.bytes.length) {
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = answer.bytes[at++] ?? assert.fail("cut short");
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    const message = answer.bytes.subarray(at + 4, at + 4 + length);
    assert.equal(answer.bytes.readUInt32BE(at), crc32c(message));
    at += 4 + length;
    const { chunked_series: series, query_index: index } = remoteDecode<ReadChunks>("ChunkedReadResponse", message);
    assert.equal(series.length, 1);
    const words = (series[0]?.labels ?? []).map(({ name, value }) => `${name}=${value}`).join();
    const samples = (series[0]?.chunks ?? []).flatMap(({ type: encoding, data }) => {
      if (encoding !== 1) return [`encoding ${encoding}`];
      const { timestampsMs, values } = decodeXorChunk(data);
      return Array.from(timestampsMs, (time, row) => `${time}=${values[row]}`);
    });
    frames.push([index ?? 0, words, ...samples].join(" "));
  }
  return frames;
}

test("1.0: what is written is read back", async (context) => {
  const remote = await startRemote(context);
  const answer = await remote.write(
    one({
      up: [
        [1_000, 1],
        [2_000, 2],
      ],
      down: [[1_000, 0]],
    }),
  );
  assert.equal(answer.status, 204);
  assert.equal(answer.text, "");
  assert.equal(answer.headers["x-prometheus-remote-write-samples-written"], undefined);
  assert.deepEqual(samplesOf(await remote.read({ queries: [query(matcher("__name__", "up"))] })), [
    ["__name__=up,job=a 1000=1 2000=2"],
  ]);
});

test("2.0: what was written is told in headers, also where a part was refused", async (context) => {
  const remote = await startRemote(context);
  const written = (answer: Answer) =>
    ["samples", "histograms", "exemplars"].map((kind) => answer.headers[`x-prometheus-remote-write-${kind}-written`]);
  const first = await remote.write(
    two(
      {
        up: [
          [1_000, 1],
          [2_000, 2],
        ],
      },
      { exemplars: [{ labels_refs: [2, 3], value: 1, timestamp: 1_500 }] },
    ),
    V2,
  );
  assert.equal(first.status, 204, first.text);
  assert.deepEqual(written(first), ["2", "0", "1"]);
  const second = await remote.write(two({ up: [[1_500, 9]], other: [[1_500, 1]], more: [[NOON_MS + 700_000, 1]] }), V2);
  assert.equal(second.status, 400);
  assert.deepEqual(written(second), ["1", "0", "0"]);
  assert.equal(second.headers["content-type"], "text/plain; charset=utf-8");
  assert.equal(
    second.text,
    'out of bounds: timestamp is too far in the future for series {__name__="more", job="a"}\n' +
      'out of order sample for series {__name__="up", job="a"}\n',
  );
  const histogram = randomHistogram(seededRandom(1), true, "unknown");
  const third = await remote.write(
    encodeSnappy(
      remoteEncode("two", "Request", {
        symbols: ["", "__name__", "h"],
        timeseries: [{ labels_refs: [1, 2], histograms: [histogramMessage(histogram, 5_000)] }],
      }),
    ),
    V2,
  );
  assert.deepEqual([third.status, ...written(third)], [204, "0", "1", "0"], third.text);
  const malformed = await remote.write(encodeSnappy(Buffer.from([0x2a, 9])), V2);
  assert.deepEqual([malformed.status, ...written(malformed)], [400, "0", "0", "0"]);
});

test("1.0: a refused sample is named as Prometheus names it, and the good ones stay", async (context) => {
  const remote = await startRemote(context);
  assert.equal((await remote.write(one({ up: [[2_000, 1]] }))).status, 204);
  const late = await remote.write(one({ new_1: [[1_000, 1]], up: [[1_000, 1]], new_2: [[1_000, 1]] }));
  assert.deepEqual([late.status, late.text], [400, "out of order sample\n"]);
  const other = await remote.write(one({ up: [[2_000, 7]] }));
  assert.equal(other.status, 400);
  assert.match(other.text, /^duplicate sample for timestamp 2000; overrides not allowed: existing 1, new value 7\n$/);
  assert.equal((await remote.write(one({ up: [[2_000, 1]] }))).status, 204);
  const ahead = await remote.write(one({ up: [[NOON_MS + 600_001, 1]] }));
  assert.deepEqual([ahead.status, ahead.text], [400, "out of bounds: timestamp is too far in the future\n"]);
  assert.equal((await remote.write(one({ up: [[NOON_MS + 600_000, 1]] }))).status, 204);
  const found = samplesOf(await remote.read({ queries: [query(matcher("__name__", "new_.", 2))] }));
  assert.equal(found[0]?.length, 2);
  const count = (metric: "received" | "stored" | "rejected", reason = "") =>
    metric === "received"
      ? remote.telemetry.value("thalweg_ingest_received_total", { signal: "metrics", transport: "remote_write" })
      : metric === "stored"
        ? remote.telemetry.value("thalweg_ingest_stored_total", { signal: "metrics" })
        : remote.telemetry.value("thalweg_ingest_rejected_total", { signal: "metrics", reason });
  assert.equal(count("received"), 8);
  assert.equal(count("stored"), 5);
  assert.equal(count("rejected", "out_of_order"), 1);
  assert.equal(count("rejected", "duplicate"), 1);
  assert.equal(count("rejected", "timestamp"), 1);
});

test("encodings, types, methods and broken bodies are answered as Prometheus answers", async (context) => {
  const remote = await startRemote(context);
  const body = one({ up: [[1_000, 1]] });
  const answers = async (answer: Promise<Answer>, status: number, text: RegExp) => {
    const { status: got, text: words, headers } = await answer;
    assert.equal(got, status, words);
    assert.match(words, text);
    assert.equal(headers["content-type"], "text/plain; charset=utf-8");
  };
  await answers(
    remote.write(body, V1, { "content-encoding": "gzip" }),
    415,
    /^gzip encoding \(compression\) is not accepted/,
  );
  await answers(remote.write(body, "application/json"), 415, /^expected application\/x-protobuf as the first/);
  await answers(
    remote.write(body, `${V1};proto=some.Thing`),
    415,
    /unknown type for remote write protobuf message some.Thing/,
  );
  await answers(remote.write(body, `${V1};charset`), 415, /key-values, got charset/);
  await answers(remote.write(Buffer.from("not snappy at all")), 400, /^s2: corrupt input\n$/);
  await answers(remote.write(Buffer.alloc(0)), 400, /^s2: corrupt input\n$/);
  await answers(remote.write(Buffer.from("not snappy"), "application/json"), 400, /^s2: corrupt input\n$/);
  await answers(
    remote.write(Buffer.from([0x80, 0x80, 0x80, 0x80, 0x08, 0])),
    400,
    /^decoded size exceeds the 33554432 bytes limit\n$/,
  );
  await answers(remote.write(encodeSnappy(Buffer.from([0x0a, 99]))), 400, /not a prometheus.WriteRequest/);
  await answers(remote.write(Buffer.alloc(32 * 2 ** 20 + 1)), 413, /^request body exceeds the 33554432 bytes limit\n$/);
  const put = await fetch(`${remote.url}/api/v1/write`, { method: "PUT" });
  assert.deepEqual(
    [put.status, put.headers.get("allow"), await put.text()],
    [405, "OPTIONS, POST", "Method Not Allowed\n"],
  );
  for (const headers of [{ "content-encoding": "" }, { "content-type": `${V1};proto=prometheus.WriteRequest` }]) {
    assert.equal((await remote.write(body, V1, headers)).status, 204);
  }
  const bare = await send(`${remote.url}/api/v1/write`, {}, body);
  assert.equal(bare.status, 204, bare.text);
});

test("trouble of the store is 503 with a time, and counted", async (context) => {
  const remote = await startRemote(context);
  remote.trouble = new ThalwegError("store_unavailable", { why: "a test says so" });
  const refused = await remote.write(two({ up: [[1_000, 1]] }), V2);
  assert.deepEqual([refused.status, refused.headers["retry-after"]], [503, "2"]);
  assert.match(refused.text, /a test says so/);
  assert.equal(refused.headers["x-prometheus-remote-write-samples-written"], "0");
  remote.trouble = new Error("secret detail");
  const bug = await remote.write(one({ up: [[1_000, 1]] }));
  assert.deepEqual([bug.status, bug.headers["retry-after"]], [503, "5"]);
  assert.doesNotMatch(bug.text, /secret/);
  const rejected = { signal: "metrics", reason: "store_unavailable" } as const;
  assert.equal(remote.telemetry.value("thalweg_ingest_rejected_total", rejected), 2);
});

test("bodies beyond the budget are refused with 503, and the budget comes back", async (context) => {
  const remote = await startRemote(context, { bodiesBytesMax: 300_000 });
  const large = one(
    Object.fromEntries(Array.from({ length: 9_000 }, (_, at) => [`series_${at}`, [[1_000, at]] as const])),
  );
  const refused = await remote.write(large);
  assert.deepEqual([refused.status, refused.headers["retry-after"]], [503, "5"]);
  for (let round = 0; round < 20; round++) {
    const small = one(
      Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`series_${at}`, [[round, at]] as const])),
    );
    assert.equal((await remote.write(small)).status, 204, `round ${round}`);
  }
});

test("read: results in the order of the queries, series in order, matchers of all kinds", async (context) => {
  const remote = await startRemote(context);
  const timeseries = ["b", "a", "aa", "c"].flatMap((name) =>
    ["2", "", "10"].map((zone) => ({
      labels: [
        { name: "__name__", value: name },
        { name: "job", value: "x" },
        { name: "zone", value: zone },
      ],
      samples: [
        { timestamp: 1_000, value: 1 },
        { timestamp: 3_000, value: 2 },
      ],
    })),
  );
  assert.equal((await remote.write(encodeSnappy(remoteEncode("one", "WriteRequest", { timeseries })))).status, 204);
  const queries = [
    query(matcher("job", "x"), matcher("zone", "")),
    { ...query(matcher("__name__", "b|aa", 2), matcher("zone", "2", 1)), start_timestamp_ms: 2_000 },
    query(matcher("__name__", "nothing")),
    query(matcher("__name__", "a.*", 3), matcher("zone", "1.", 2)),
    query(),
    { ...query(matcher("__name__", "c")), hints: { func: "rate", start_ms: 2_500, end_ms: 9_000 } },
    { ...query(matcher("__name__", "c")), hints: { func: "series", end_ms: 9_000 } },
  ];
  const expected = [
    [
      "__name__=a,job=x 1000=1 3000=2",
      "__name__=aa,job=x 1000=1 3000=2",
      "__name__=b,job=x 1000=1 3000=2",
      "__name__=c,job=x 1000=1 3000=2",
    ],
    [
      "__name__=aa,job=x 3000=2",
      "__name__=aa,job=x,zone=10 3000=2",
      "__name__=b,job=x 3000=2",
      "__name__=b,job=x,zone=10 3000=2",
    ],
    [],
    ["__name__=b,job=x,zone=10 1000=1 3000=2", "__name__=c,job=x,zone=10 1000=1 3000=2"],
    [],
    ["__name__=c,job=x 3000=2", "__name__=c,job=x,zone=10 3000=2", "__name__=c,job=x,zone=2 3000=2"],
    ["__name__=c,job=x", "__name__=c,job=x,zone=10", "__name__=c,job=x,zone=2"],
  ];
  assert.deepEqual(samplesOf(await remote.read({ queries })), expected);
  const frames = expected.flatMap((series, index) => series.map((words) => `${index} ${words}`));
  assert.deepEqual(framesOf(await remote.read({ queries, accepted_response_types: [1] })), frames);
  assert.deepEqual(framesOf(await remote.read({ queries, accepted_response_types: [7, 1, 0] })), frames);
  assert.deepEqual(samplesOf(await remote.read({ queries, accepted_response_types: [0, 1] })), expected);
  assert.deepEqual(samplesOf(await remote.read({ queries: [] })), []);
});

test("read: a long series of floats, markers and histograms, in both forms", async (context) => {
  const remote = await startRemote(context);
  const random = seededRandom(2);
  const labels = [{ name: "__name__", value: "long" }];
  const samples = Array.from({ length: 1_000 }, (_, at) => ({
    timestamp: 1_000 * (at + 1),
    value: Math.floor(random() * 99),
  }));
  const histograms = Array.from({ length: 50 }, (_, at) =>
    histogramMessage(randomHistogram(random, at % 2 === 0, "unknown"), 2_000_000 + at * 1_000),
  );
  const body = remoteEncode("one", "WriteRequest", {
    timeseries: [
      { labels, samples },
      { labels, histograms },
    ],
  });
  assert.equal((await remote.write(encodeSnappy(body))).status, 204);
  const queries = [query(matcher("__name__", "long"))];
  const sampled = samplesOf(await remote.read({ queries }))[0]?.[0]?.split(" ") ?? [];
  assert.deepEqual(sampled, [
    "__name__=long",
    ...samples.map(({ timestamp, value }) => `${timestamp}=${value}`),
    ...histograms.map(() => "histogram"),
  ]);
  const [frame = ""] = framesOf(await remote.read({ queries, accepted_response_types: [1] }));
  const [, , ...words] = frame.split(" ");
  assert.deepEqual(
    words.slice(0, 1_000),
    samples.map(({ timestamp, value }) => `${timestamp}=${value}`),
  );
  assert.ok(
    words.slice(1_000).every((word, at) => (at % 2 === 0 ? word === "encoding" : word === "2" || word === "3")),
  );
});

test("read: external labels are added, and asked for as if they were stored", async (context) => {
  const externalLabels: Labels = [
    ["cluster", "one"],
    ["job", "never"],
  ];
  const remote = await startRemote(context, { externalLabels });
  await remote.write(one({ up: [[1_000, 1]] }));
  const queries = [
    query(matcher("__name__", "up"), matcher("cluster", "one")),
    query(matcher("__name__", "up"), matcher("cluster", "two")),
    query(matcher("__name__", "up"), matcher("cluster", "one", 2)),
  ];
  const series = "__name__=up,cluster=one,job=a 1000=1";
  assert.deepEqual(samplesOf(await remote.read({ queries })), [[series], [], []]);
  assert.deepEqual(framesOf(await remote.read({ queries, accepted_response_types: [1] })), [`0 ${series}`]);
});

test("read: what is asked wrongly or is too much", async (context) => {
  const remote = await startRemote(context, { samplesMax: 3 });
  await remote.write(
    one({
      up: [
        [1_000, 1],
        [2_000, 1],
        [3_000, 1],
      ],
      down: [[1_000, 1]],
    }),
  );
  const refused = async (request: object, text: RegExp) => {
    const answer = await remote.read(request);
    assert.equal(answer.status, 400);
    assert.match(answer.text, text);
  };
  await refused({ queries: [query(matcher("job", "a"))] }, /^exceeded sample limit \(3\)\n$/);
  assert.equal(
    framesOf(await remote.read({ queries: [query(matcher("job", "a"))], accepted_response_types: [1] })).length,
    2,
  );
  await refused({ queries: [query(matcher("job", "(", 2))] }, /missing/);
  await refused({ queries: [query(matcher("job", "(", 3))], accepted_response_types: [1] }, /missing/);
  await refused({ queries: [query(matcher("job", "a", 9))] }, /invalid matcher type/);
  await refused(
    { queries: [], accepted_response_types: [5] },
    /does not support any of the requested response types: \[5\]/,
  );
  const headers = { "content-encoding": "snappy" };
  const broken = await send(`${remote.url}/api/v1/read`, headers, Buffer.from("nonsense"));
  assert.deepEqual([broken.status, broken.text], [400, "snappy: corrupt input\n"]);
  const huge = await send(`${remote.url}/api/v1/read`, headers, Buffer.from([0xff, 0xff, 0xff, 0xff, 0x07, 0]));
  assert.deepEqual([huge.status, huge.text], [400, "snappy: decoded length 2147483647 exceeds limit 33554432\n"]);
});

test("read: ten at a time, and one who leaves makes room", async (context) => {
  const remote = await startRemote(context);
  const rows = Array.from({ length: 5_000 }, (_, at) => [1_000 * at, at] as const);
  await remote.write(one({ up: rows }));
  const request = {
    queries: Array.from({ length: 5 }, () => query(matcher("__name__", "up"))),
    accepted_response_types: [1],
  };
  const answers = await Promise.all(Array.from({ length: 40 }, () => remote.read(request)));
  for (const answer of answers) assert.equal(framesOf(answer).length, 5);
  const controllers = Array.from({ length: 30 }, () => new AbortController());
  const body = encodeSnappy(remoteEncode("one", "ReadRequest", request));
  const left = controllers.map(({ signal }) =>
    fetch(`${remote.url}/api/v1/read`, { method: "POST", body, signal }).catch(() => undefined),
  );
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (const controller of controllers) controller.abort();
  await Promise.all(left);
  assert.equal(framesOf(await remote.read(request)).length, 5);
});

/** A reader of so many series with 10,000 samples of noise each, and the series it was asked for. */
function noiseReader(seriesCount: number, failsAt = Number.POSITIVE_INFINITY) {
  const random = seededRandom(3);
  const words = Uint32Array.from({ length: 20_000 }, () => Math.floor(random() * 2 ** 32));
  const columns = {
    timestampsMs: Float64Array.from({ length: 10_000 }, (_, at) => at * 1_000),
    values: new Float64Array(words.buffer),
  };
  const all = Array.from(
    { length: seriesCount },
    (_, at): Labels => [["__name__", `noise_${String(at).padStart(5, "0")}`]],
  );
  const asked = { series: 0 };
  const reader = {
    ...listReader(() => []),
    series: async () => all,
    selectSeries: async (labels: readonly Labels[]): Promise<SeriesSamples[]> => {
      asked.series += labels.length;
      if (asked.series > failsAt) throw new Error("a test says so");
      return labels.map((each) => ({ labels: each, ...columns }));
    },
  };
  return { reader, asked };
}

function noiseRequest(types: readonly number[]): Buffer {
  return Buffer.from(
    encodeSnappy(
      remoteEncode("one", "ReadRequest", {
        queries: [query(matcher("__name__", "x"))],
        accepted_response_types: types,
      }),
    ),
  );
}

test("read: a slow reader holds the store up, and memory with it", async (context) => {
  const { reader, asked } = noiseReader(3_000);
  const { url } = await startFixture(context, { reader });
  const bytes = await new Promise<number>((resolve, reject) => {
    const request = http.request(`${url}/api/v1/read`, { method: "POST" }, (response) => {
      response.on("error", reject);
      let read = 0;
      response.on("data", (chunk: Buffer) => {
        read += chunk.length;
        if (read < 1_000_000 || response.isPaused()) return;
        response.pause();
        setTimeout(() => {
          request.destroy();
          resolve(read);
        }, 500);
      });
    });
    request.on("error", () => undefined);
    request.end(noiseRequest([1]));
  });
  assert.ok(bytes < 30_000_000);
  assert.ok(asked.series > 5 && asked.series < 600, `${asked.series} series of 3000`);
  const before = asked.series;
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(asked.series <= before + 32, "the store is asked on after the reader has gone");
});

test("read: a stream that fails in the middle breaks off, and one that fails at once is an error", async (context) => {
  const { reader } = noiseReader(3_000, 400);
  const fixture = await startFixture(context, { reader });
  const cut = await fetch(`${fixture.url}/api/v1/read`, { method: "POST", body: noiseRequest([1]) });
  assert.equal(cut.status, 200);
  await assert.rejects(cut.arrayBuffer());
  assert.equal(fixture.logged.length, 1);
  const failing = await startFixture(context, { reader: noiseReader(10, 0).reader });
  const answer = await fetch(`${failing.url}/api/v1/read`, { method: "POST", body: noiseRequest([0]) });
  assert.equal(answer.status, 500);
  assert.doesNotMatch(await answer.text(), /a test says so/);
});
