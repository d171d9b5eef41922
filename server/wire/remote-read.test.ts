import assert from "node:assert/strict";
import test from "node:test";
import type { SeriesSamples } from "../model/series.ts";
import { STALE_NAN_BITS } from "../model/series.ts";
import { crc32c } from "./crc32c.ts";
import { decodeHistogramChunk } from "./histogram-chunk.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { grow, histogramMessage, randomHistogram, remoteDecode, remoteEncode } from "./remote-oracle.ts";
import { decodeReadRequest, type ReadRequest } from "./remote-read.ts";
import { FRAME_BYTES_MAX, labelsFrame, seriesFrames, writeResultSeries } from "./remote-read-encode.ts";
import { RemoteWriteDecoder1 } from "./remote-write-1.ts";
import { seededRandom } from "./trace-oracle.ts";
import { decodeXorChunk } from "./xor-chunk.ts";

function decoded(bytes: Uint8Array): ReadRequest {
  const outcome = decodeReadRequest(bytes);
  if (outcome.kind === "malformed") assert.fail(`malformed: ${outcome.reason} at ${outcome.offset}`);
  return outcome.request;
}

test("requests: several queries, all matchers, hints, response types packed or not", () => {
  const bytes = remoteEncode("one", "ReadRequest", {
    queries: [
      {
        start_timestamp_ms: -5,
        end_timestamp_ms: 1_700_000_000_000,
        matchers: [
          { type: 0, name: "__name__", value: "up" },
          { type: 1, name: "a", value: "" },
          { type: 2, name: "b", value: "x|y" },
          { type: 3, name: "c", value: "z.*" },
        ],
        hints: { step_ms: 15, func: "rate", start_ms: 1, end_ms: 2, grouping: ["x"], by: true, range_ms: 4 },
      },
      {},
    ],
    accepted_response_types: [1, 0],
  });
  const expected: ReadRequest = {
    queries: [
      {
        startMs: -5,
        endMs: 1_700_000_000_000,
        matchers: [
          { name: "__name__", kind: "=", value: "up" },
          { name: "a", kind: "!=", value: "" },
          { name: "b", kind: "=~", value: "x|y" },
          { name: "c", kind: "!~", value: "z.*" },
        ],
        hints: { function: "rate", startMs: 1, endMs: 2 },
      },
      { startMs: 0, endMs: 0, matchers: [], hints: undefined },
    ],
    responseTypes: [1, 0],
  };
  assert.deepEqual(decoded(bytes), expected);
  assert.deepEqual(decoded(Uint8Array.from([0x10, 1, 0x10, 7])).responseTypes, [1, 7]);
});

test("requests: malformed ones, and more than is taken", () => {
  const reason = (bytes: Uint8Array) => {
    const outcome = decodeReadRequest(bytes);
    return outcome.kind === "malformed" ? outcome.reason : "decoded";
  };
  const matcher = remoteEncode("one", "ReadRequest", { queries: [{ matchers: [{ type: 4, name: "a" }] }] });
  assert.equal(reason(matcher), "invalid matcher type");
  assert.match(reason(Uint8Array.from([0x0a, 9])), /beyond/);
  assert.equal(reason(Buffer.alloc(2_002, Buffer.from([0x0a, 0]))), "more than 1000 queries");
  const matchers = Array.from({ length: 10_001 }, () => ({ name: "a" }));
  assert.equal(reason(remoteEncode("one", "ReadRequest", { queries: [{ matchers }] })), "more than 10000 matchers");
  assert.equal(reason(Buffer.alloc(2 * 70, Buffer.from([0x10, 0]))), "more than 64 response types");
  const before = process.threadCpuUsage();
  assert.equal(reason(Buffer.alloc(20_000_000, Buffer.from([0x0a, 0]))), "more than 1000 queries");
  assert.ok(process.threadCpuUsage(before).user < 100_000);
});

test("fuzz: damaged requests never throw", () => {
  const random = seededRandom(31);
  const whole = remoteEncode("one", "ReadRequest", {
    queries: [
      {
        start_timestamp_ms: 1,
        end_timestamp_ms: 2 ** 40,
        matchers: [{ type: 2, name: "__name__", value: "abc.*" }],
        hints: { func: "rate", start_ms: 4, end_ms: 5 },
      },
    ],
    accepted_response_types: [1],
  });
  let malformed = 0;
  for (let round = 0; round < 20_000; round++) {
    const damaged = Buffer.from(whole);
    for (let flips = 1 + Math.floor(random() * 3); flips > 0; flips--) {
      damaged[Math.floor(random() * damaged.length)] = Math.floor(random() * 256);
    }
    const cut = random() < 0.3 ? Math.floor(random() * damaged.length) : damaged.length;
    if (decodeReadRequest(damaged.subarray(0, cut)).kind === "malformed") malformed++;
  }
  assert.ok(malformed > 1_000 && malformed < 99_000, String(malformed));
});

function mixedSeries(rows: number): SeriesSamples {
  const random = seededRandom(32);
  let histogram = randomHistogram(random, true, "unknown");
  const histograms = Array.from({ length: rows }, (_, at) => {
    if (at % 5 === 4) return undefined;
    histogram = grow(histogram, random);
    return histogram;
  });
  const values = Float64Array.from(histograms, (each, at) => (each === undefined ? at / 2 : Number.NaN));
  return {
    labels: [
      ["__name__", "mixed"],
      ["job", "ü"],
    ],
    timestampsMs: Float64Array.from({ length: rows }, (_, at) => 1_700_000_000_000 + at * 15_000),
    values,
    histograms,
  };
}

test("samples: what is written, protobufjs reads, and our own decoder too", () => {
  const series = mixedSeries(20);
  const out = new ProtobufWriter();
  writeResultSeries(out, series);
  const bytes = out.take();
  const read = remoteDecode<{
    timeseries: { labels: object[]; samples: object[]; histograms: { timestamp: number; count_int: number }[] }[];
  }>("QueryResult", bytes);
  const [first] = read.timeseries;
  assert.deepEqual(
    first?.labels.map((label) => ({ ...label })),
    [
      { name: "__name__", value: "mixed" },
      { name: "job", value: "ü" },
    ],
  );
  assert.deepEqual(
    first?.samples.map((sample) => ({ ...sample })),
    [4, 9, 14, 19].map((at) => ({ value: at / 2, timestamp: 1_700_000_000_000 + at * 15_000 })),
  );
  assert.equal(first?.histograms.length, 16);
  // A QueryResult has its series under the number that a WriteRequest has them.
  const outcome = new RemoteWriteDecoder1().decode(bytes);
  assert.ok(outcome.kind === "decoded");
  const [again] = outcome.write.series;
  const sent = series.histograms?.filter((each) => each !== undefined);
  assert.deepEqual(
    again?.histograms?.filter((each) => each !== undefined),
    sent,
  );
  assert.deepEqual(outcome.write.series[0]?.labels, series.labels);
});

test("samples: histograms of all kinds as protobufjs would write them", () => {
  const random = seededRandom(33);
  for (let round = 0; round < 500; round++) {
    const hint = (["unknown", "reset", "not_reset", "gauge"] as const)[round % 4] ?? "unknown";
    const histogram = randomHistogram(random, round % 2 === 0, hint);
    const out = new ProtobufWriter();
    writeResultSeries(out, {
      labels: [],
      timestampsMs: Float64Array.of(-9),
      values: Float64Array.of(Number.NaN),
      histograms: [histogram],
    });
    const read = remoteDecode<{ timeseries: { histograms: object[] }[] }>("QueryResult", out.take());
    const bytes = remoteEncode("one", "TimeSeries", { histograms: [histogramMessage(histogram, -9)] });
    const expected = remoteDecode<{ histograms: object[] }>("TimeSeries", bytes);
    const plain = (message: object | undefined) => ({ sum: 0, zero_threshold: 0, ...message });
    assert.deepEqual(plain(read.timeseries[0]?.histograms[0]), plain(expected.histograms[0]));
  }
});

interface ReadFrame {
  readonly chunked_series: readonly {
    readonly labels: readonly { readonly name: string; readonly value: string }[];
    readonly chunks: readonly { min_time_ms: number; max_time_ms: number; type: number; data: Buffer }[];
  }[];
  /** Undefined for the first query. */
  readonly query_index?: number;
}

/** Takes the length and the check sum off a frame. */
function readFrame(frame: Uint8Array): ReadFrame {
  let at = 0;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = frame[at++] ?? assert.fail("no length");
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  const message = frame.subarray(at + 4);
  assert.equal(message.length, length);
  assert.equal(Buffer.from(frame).readUInt32BE(at), crc32c(message));
  return remoteDecode<ReadFrame>("ChunkedReadResponse", message);
}

test("samples: a stale marker after a histogram is one of the kind of histogram, as Prometheus sends it", () => {
  const random = seededRandom(35);
  for (const integer of [true, false]) {
    const values = new Float64Array(BigUint64Array.of(0n, STALE_NAN_BITS, 0n, STALE_NAN_BITS).buffer);
    const histograms = [randomHistogram(random, integer, "unknown"), undefined, undefined, undefined];
    const out = new ProtobufWriter();
    writeResultSeries(out, {
      labels: [["__name__", "x"]],
      timestampsMs: Float64Array.of(1, 2, 3, 4),
      values,
      histograms,
    });
    const bytes = out.take();
    const outcome = new RemoteWriteDecoder1().decode(bytes);
    assert.ok(outcome.kind === "decoded");
    assert.equal(outcome.write.staleHistograms, 1);
    assert.deepEqual(outcome.write.received, { samples: 2, histograms: 2, exemplars: 0 });
    const read = remoteDecode<{ timeseries: { histograms: object[] }[] }>("QueryResult", bytes);
    assert.equal("count_int" in (read.timeseries[0]?.histograms[1] ?? {}), integer);
  }
});

test("frames: chunks of a series of floats and histograms", () => {
  const series = mixedSeries(300);
  const frames = [...seriesFrames(series, 3)].map(readFrame);
  assert.equal(frames.length, 1);
  const [frame = assert.fail()] = frames;
  assert.equal(Number(frame.query_index), 3);
  const [only = assert.fail()] = frame.chunked_series;
  assert.deepEqual(
    only.labels.map(({ name, value }) => [name, value]),
    series.labels,
  );
  const times: number[] = [];
  for (const { type, data, min_time_ms, max_time_ms } of only.chunks) {
    const chunk = type === 1 ? decodeXorChunk(data) : decodeHistogramChunk(data, type === 2 ? "whole" : "float");
    assert.equal(chunk.timestampsMs[0], Number(min_time_ms));
    assert.equal(chunk.timestampsMs.at(-1), Number(max_time_ms));
    times.push(...chunk.timestampsMs);
  }
  assert.deepEqual(Float64Array.from(times), series.timestampsMs);
});

test("frames: a long series goes on in the next frame, with its labels again", () => {
  const rows = 300_000;
  const random = seededRandom(34);
  const words = Uint32Array.from({ length: 2 * rows }, () => Math.floor(random() * 2 ** 32));
  const series: SeriesSamples = {
    labels: [["__name__", "noise"]],
    timestampsMs: Float64Array.from({ length: rows }, (_, at) => at * 1_000),
    values: new Float64Array(words.buffer),
  };
  const whole = [...seriesFrames(series, 0)];
  assert.ok(whole.length >= 3);
  let samples = 0;
  for (const bytes of whole) {
    assert.ok(bytes.length < FRAME_BYTES_MAX + 2_000);
    const { chunked_series: held, query_index: index } = readFrame(bytes);
    assert.equal(index ?? 0, 0);
    assert.equal(held.length, 1);
    assert.deepEqual(
      held[0]?.labels.map(({ name, value }) => [name, value]),
      series.labels,
    );
    for (const { data } of held[0]?.chunks ?? []) samples += decodeXorChunk(data).values.length;
  }
  assert.equal(samples, rows);
  assert.deepEqual(
    [...seriesFrames({ ...series, timestampsMs: new Float64Array(0), values: new Float64Array(0) }, 0)],
    [],
  );
});

test("frames: labels alone come with an empty chunk; stale markers keep their bits", () => {
  const { chunked_series: series } = readFrame(labelsFrame([["__name__", "x"]], 1));
  assert.deepEqual(
    series[0]?.chunks.map(({ data }) => data.toString("hex")),
    ["0000"],
  );
  const values = new Float64Array(BigUint64Array.of(STALE_NAN_BITS).buffer);
  const stale: SeriesSamples = { labels: [], timestampsMs: Float64Array.of(1), values };
  const [frame = assert.fail()] = [...seriesFrames(stale, 0)].map(readFrame);
  const back = decodeXorChunk(frame.chunked_series[0]?.chunks[0]?.data ?? assert.fail()).values;
  assert.deepEqual(new BigUint64Array(back.buffer), BigUint64Array.of(STALE_NAN_BITS));
  const out = new ProtobufWriter();
  writeResultSeries(out, stale);
  assert.ok(Buffer.from(out.take()).includes(Buffer.from("02000000 0000f07f".replace(" ", ""), "hex")));
});
