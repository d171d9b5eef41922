import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { BucketSpan, CounterResetHint, NativeHistogram } from "../model/histogram.ts";
import { STALE_NAN_BITS } from "../model/series.ts";
import { BitReader, BitWriter } from "./bit-stream.ts";
import { crc32c } from "./crc32c.ts";
import { canFollow, decodeHistogramChunk, encodeHistogramChunk } from "./histogram-chunk.ts";
import { grow, randomHistogram } from "./remote-oracle.ts";
import { CHUNK_FLOAT_HISTOGRAM, CHUNK_HISTOGRAM, CHUNK_XOR, chunksOf } from "./series-chunks.ts";
import { seededRandom } from "./trace-oracle.ts";
import { WireError } from "./wire-error.ts";
import { decodeXorChunk, encodeXorChunk } from "./xor-chunk.ts";
import { wordsOf } from "./xor-values.ts";

const LARGE = [2 ** 20, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52, Number.MAX_SAFE_INTEGER];

/** Doubles by their bits. */
function doubles(...bits: bigint[]): Float64Array {
  return new Float64Array(BigUint64Array.from(bits).buffer);
}

function bitsOf(values: Float64Array): bigint[] {
  return [...new BigUint64Array(values.slice().buffer)];
}

test("integers of all classes come back, at their limits too", () => {
  const edges = [3, 6, 9, 12, 14, 17, 18, 20, 25].flatMap((bits) => [2 ** (bits - 1), 2 ** bits]);
  const signed = [0, ...edges, ...LARGE].flatMap((edge) => [edge - 1, edge, edge + 1, -edge - 1, -edge, 1 - edge]);
  const safe = signed.filter(Number.isSafeInteger).map((value) => value + 0);
  const out = new BitWriter();
  out.bits(1, 1); // nothing is aligned
  for (const value of safe) out.varbitInt(value);
  for (const value of safe) out.varbitUint(Math.abs(value));
  for (const value of safe) out.int64(value);
  for (const value of safe.filter((each) => Math.abs(each) < 2 ** 52)) out.varint(value);
  for (const value of safe) out.uvarint(Math.abs(value));
  const from = new BitReader(out.take(), 0);
  assert.equal(from.bits(1), 1);
  for (const value of safe) assert.equal(from.varbitInt(), value);
  for (const value of safe) assert.equal(from.varbitUint(), Math.abs(value));
  for (const value of safe) assert.equal(from.int64(), value);
  for (const value of safe.filter((each) => Math.abs(each) < 2 ** 52)) assert.equal(from.varint() + 0, value);
  for (const value of safe) assert.equal(from.uvarint(), Math.abs(value));
  assert.ok(from.left < 8);
  assert.throws(() => from.bits(8), WireError);
});

/** A chunk that Prometheus' own library made of the samples beside it; doubles as the hex of their bits. */
interface RecordedChunk {
  readonly name: string;
  readonly type: "xor" | "histogram" | "float_histogram";
  readonly chunk: string;
  readonly samples: readonly RecordedSample[];
}

interface RecordedSample {
  readonly t: number;
  readonly v: string;
  readonly schema: number;
  readonly zeroThreshold: string;
  readonly zeroCount: string;
  readonly count: string;
  readonly sum: string;
  readonly positiveSpans: readonly BucketSpan[];
  readonly negativeSpans: readonly BucketSpan[];
  readonly positiveCounts: readonly string[];
  readonly negativeCounts: readonly string[];
  readonly customValues: readonly string[];
  readonly gauge: boolean;
  readonly stale?: boolean;
}

const RECORDED: readonly RecordedChunk[] = JSON.parse(
  readFileSync(join(import.meta.dirname, "testdata", "chunks.json"), "utf8"),
);

function fromHex(hex: readonly string[]): Float64Array {
  return doubles(...hex.map((each) => BigInt(`0x${each}`)));
}

test("floats: chunks of Prometheus are read, and written byte for byte", () => {
  const floats = RECORDED.filter(({ type }) => type === "xor");
  assert.equal(floats.length, 5);
  for (const { name, chunk, samples } of floats) {
    const bytes = Buffer.from(chunk, "base64");
    const timestampsMs = Float64Array.from(samples, ({ t }) => t);
    const values = fromHex(samples.map(({ v }) => v));
    const read = decodeXorChunk(bytes);
    assert.deepEqual(read.timestampsMs, timestampsMs, name);
    assert.deepEqual(bitsOf(read.values), bitsOf(values), name);
    assert.equal(Buffer.from(encodeXorChunk({ timestampsMs, values })).toString("base64"), chunk, name);
  }
});

test("histograms: chunks of Prometheus are read, and written byte for byte", () => {
  const recorded = RECORDED.filter(({ type }) => type !== "xor");
  assert.equal(recorded.length, 8);
  for (const { name, type, chunk, samples } of recorded) {
    const kind = type === "histogram" ? "whole" : "float";
    const expected = samples.map((sample, at): NativeHistogram | undefined => {
      if (sample.stale === true) return undefined;
      const [zeroThreshold = 0, zeroCount = 0, count = 0, sum = 0] = fromHex([
        sample.zeroThreshold,
        sample.zeroCount,
        sample.count,
        sample.sum,
      ]);
      return {
        schema: sample.schema,
        zeroThreshold,
        zeroCount,
        count,
        sum,
        positiveSpans: sample.positiveSpans,
        negativeSpans: sample.negativeSpans,
        positiveCounts: fromHex(sample.positiveCounts),
        negativeCounts: fromHex(sample.negativeCounts),
        customValues: fromHex(sample.customValues),
        resetHint: sample.gauge ? "gauge" : at === 0 ? "unknown" : "not_reset",
        integer: kind === "whole",
      };
    });
    const bytes = Buffer.from(chunk, "base64");
    const timestampsMs = Float64Array.from(samples, ({ t }) => t);
    const read = decodeHistogramChunk(bytes, kind);
    assert.deepEqual(read.timestampsMs, timestampsMs, name);
    assert.deepEqual(read.histograms, expected, name);
    const written = encodeHistogramChunk({ timestampsMs, histograms: expected });
    assert.equal(Buffer.from(written).toString("base64"), chunk, name);
  }
});

test("floats come back with their bits: regular, jumping, before 1970, markers, noise", () => {
  const random = seededRandom(21);
  const check = (timestampsMs: Float64Array, values: Float64Array) => {
    const back = decodeXorChunk(encodeXorChunk({ timestampsMs, values }));
    assert.deepEqual(back.timestampsMs, timestampsMs);
    assert.deepEqual(bitsOf(back.values), bitsOf(values));
  };
  check(new Float64Array(0), new Float64Array(0));
  check(Float64Array.of(-5), Float64Array.of(-0));
  check(Float64Array.of(1, 2, 3), doubles(STALE_NAN_BITS, 0x7ff8_0000_0000_0001n, 0xffff_ffff_ffff_ffffn));
  check(Float64Array.of(0, 2 ** 45, 2 ** 45 + 1), doubles(1n, 1n << 63n, (1n << 63n) | 1n));
  for (let round = 0; round < 2_000; round++) {
    const rows = 1 + Math.floor(random() * 130);
    const timestampsMs = new Float64Array(rows);
    let at = Math.floor((random() - 0.3) * 2e12);
    const jitter = 10 ** Math.floor(random() * 10);
    for (let row = 0; row < rows; row++) {
      timestampsMs[row] = at;
      at += 1 + (random() < 0.6 ? 15_000 : Math.floor(random() * jitter));
    }
    const words = Uint32Array.from({ length: 2 * rows }, () => Math.floor(random() * 2 ** 32));
    const kind = Math.floor(random() * 3);
    const values =
      kind === 0
        ? new Float64Array(words.buffer)
        : Float64Array.from({ length: rows }, (_, row) => (kind === 1 ? row * 3 : Math.floor(random() * 4) / 8));
    check(timestampsMs, values);
  }
});

function run(random: () => number, integer: boolean, hint: CounterResetHint): NativeHistogram[] {
  const run = [randomHistogram(random, integer, hint)];
  for (let length = Math.floor(random() * 30); length > 0; length--)
    run.push(grow(run.at(-1) ?? assert.fail(), random));
  return run;
}

test("histograms come back: whole counts and floats, exponential and custom buckets, all hints", () => {
  const random = seededRandom(22);
  for (let round = 0; round < 2_000; round++) {
    const integer = random() < 0.5;
    const hint = (["unknown", "reset", "not_reset", "gauge"] as const)[round % 4] ?? "unknown";
    const histograms = run(random, integer, hint);
    const timestampsMs = Float64Array.from(histograms, (_, at) => 1_000 * at * at - 7);
    const chunk = encodeHistogramChunk({ timestampsMs, histograms });
    const back = decodeHistogramChunk(chunk, integer ? "whole" : "float");
    assert.deepEqual(back.timestampsMs, timestampsMs);
    for (const [at, histogram] of histograms.entries()) {
      const resetHint = hint === "gauge" ? "gauge" : at === 0 ? "unknown" : "not_reset";
      assert.deepEqual(back.histograms[at], { ...histogram, resetHint });
    }
  }
});

test("a chunk is cut where a histogram cannot follow", () => {
  const random = seededRandom(23);
  let before = randomHistogram(random, true, "unknown");
  while (before.positiveCounts.length < 2 || before.positiveCounts[1] === 0)
    before = grow(randomHistogram(random, true, "unknown"), random);
  const ok = (next: NativeHistogram) => assert.ok(canFollow(before, next));
  const bad = (next: NativeHistogram) => assert.ok(!canFollow(before, next));
  ok(before);
  ok({ ...before, count: before.count + 1 });
  bad({ ...before, count: before.count - 1 });
  bad({ ...before, zeroCount: before.zeroCount - 1 });
  bad({ ...before, positiveCounts: before.positiveCounts.with(1, 0) });
  bad({ ...before, schema: before.schema + 1 });
  bad({ ...before, zeroThreshold: 17 });
  bad({ ...before, integer: false });
  bad({ ...before, resetHint: "reset" });
  bad({ ...before, resetHint: "gauge" });
  bad({ ...before, positiveSpans: [{ offset: 1, length: before.positiveCounts.length }] });
  bad({ ...before, customValues: Float64Array.of(1) });
  assert.ok(canFollow({ ...before, resetHint: "gauge" }, { ...before, resetHint: "gauge", count: 0 }));
});

test("a series of everything comes back from its chunks", () => {
  const random = seededRandom(24);
  const histograms: (NativeHistogram | undefined)[] = [];
  for (let part = 0; part < 40; part++) {
    const kind = Math.floor(random() * 3);
    if (kind === 0) for (let at = 0; at < random() * 200; at++) histograms.push(undefined);
    else histograms.push(...run(random, kind === 1, "unknown"));
  }
  const rows = histograms.length;
  const timestampsMs = Float64Array.from({ length: rows }, (_, at) => at * 10);
  const values = Float64Array.from(histograms, (each, at) => (each === undefined ? at : Number.NaN));
  const back: { timestampMs: number; value: number; histogram: NativeHistogram | undefined }[] = [];
  let maxMs = -1;
  for (const chunk of chunksOf({ labels: [], timestampsMs, values, histograms })) {
    assert.ok(chunk.minMs > maxMs && chunk.maxMs >= chunk.minMs);
    maxMs = chunk.maxMs;
    if (chunk.type === CHUNK_XOR) {
      const floats = decodeXorChunk(chunk.bytes);
      assert.ok(floats.values.length <= 120);
      for (const [at, value] of floats.values.entries()) {
        back.push({ timestampMs: floats.timestampsMs[at] ?? -1, value, histogram: undefined });
      }
      continue;
    }
    assert.ok(chunk.type === CHUNK_HISTOGRAM || chunk.type === CHUNK_FLOAT_HISTOGRAM);
    const read = decodeHistogramChunk(chunk.bytes, chunk.type === CHUNK_HISTOGRAM ? "whole" : "float");
    for (const [at, histogram] of read.histograms.entries()) {
      back.push({ timestampMs: read.timestampsMs[at] ?? -1, value: Number.NaN, histogram });
    }
  }
  assert.equal(back.length, rows);
  for (const [at, { timestampMs, value, histogram }] of back.entries()) {
    assert.equal(timestampMs, timestampsMs[at]);
    assert.deepEqual(value, values[at]);
    const sent = histograms[at];
    assert.deepEqual({ ...histogram, resetHint: "" }, { ...sent, resetHint: "" });
  }
});

test("stale markers stand in the chunk of the histogram that they end", () => {
  const random = seededRandom(26);
  const histogram = randomHistogram(random, true, "unknown");
  const values = doubles(...[0n, 0n, STALE_NAN_BITS, STALE_NAN_BITS, 0n, STALE_NAN_BITS, 0n]);
  const series = {
    labels: [],
    timestampsMs: Float64Array.from({ length: 7 }, (_, at) => at),
    values,
    histograms: [histogram, histogram, undefined, undefined, undefined, undefined, histogram],
  };
  const [ended] = [
    ...chunksOf({
      ...series,
      histograms: [histogram],
      timestampsMs: Float64Array.of(0, 1),
      values: values.subarray(1, 3),
    }),
  ];
  assert.deepEqual(decodeHistogramChunk(ended?.bytes ?? assert.fail(), "whole").histograms.length, 2);
  const chunks = [...chunksOf(series)].map(({ type, bytes, minMs, maxMs }) => {
    const held =
      type === CHUNK_XOR ? "floats" : decodeHistogramChunk(bytes, "whole").histograms.map((each) => each === undefined);
    return [minMs, maxMs, held];
  });
  assert.deepEqual(chunks, [
    [0, 3, [false, false, true, true]],
    [4, 5, "floats"],
    [6, 6, [false]],
  ]);
});

test("fuzz: damaged chunks are refused or read to their end, in bounded time and memory", () => {
  const random = seededRandom(25);
  const floats = Float64Array.from({ length: 120 }, () => Math.floor(random() * 1_000) / 8);
  const times = Float64Array.from(floats, (_, at) => at * 15_000 + Math.floor(random() * 20));
  const samples = Array.from({ length: 40 }, () => {
    const integer = random() < 0.5;
    const histograms = run(random, integer, "unknown");
    const timestampsMs = Float64Array.from(histograms, (_, at) => at * 1_000);
    return {
      kind: integer ? ("whole" as const) : ("float" as const),
      chunk: encodeHistogramChunk({ timestampsMs, histograms }),
    };
  });
  const xor = encodeXorChunk({ timestampsMs: times, values: floats });
  const started = performance.now();
  let refused = 0;
  const attempt = (decode: () => void) => {
    try {
      decode();
    } catch (error) {
      assert.ok(error instanceof WireError, String(error));
      refused++;
    }
  };
  const damage = (chunk: Uint8Array) => {
    const damaged = chunk.slice(0, random() < 0.3 ? Math.floor(random() * chunk.length) : chunk.length);
    for (let flips = 1 + Math.floor(random() * 3); flips > 0 && damaged.length > 0; flips--) {
      damaged[Math.floor(random() * Math.min(damaged.length, random() < 0.5 ? 12 : damaged.length))] = Math.floor(
        random() * 256,
      );
    }
    return damaged;
  };
  for (let round = 0; round < 10_000; round++) {
    const { kind, chunk } = samples[round % samples.length] ?? assert.fail();
    const damaged = damage(chunk);
    attempt(() => decodeHistogramChunk(damaged, kind));
    if (round % 4 === 0) {
      const damagedFloats = damage(xor);
      attempt(() => decodeXorChunk(damagedFloats));
    }
  }
  assert.ok(refused > 100);
  assert.ok(performance.now() - started < 60_000, `${performance.now() - started} ms`);
});

test("the bits of a stale marker survive hot loops", () => {
  const values = doubles(STALE_NAN_BITS, STALE_NAN_BITS);
  const timestampsMs = Float64Array.of(1, 2);
  for (let round = 0; round < 20_000; round++) {
    const words = wordsOf(decodeXorChunk(encodeXorChunk({ timestampsMs, values })).values);
    if (words[0] !== 2 || words[1] !== 0x7ff0_0000) assert.fail(`round ${round}`);
  }
});

test("crc32c: the vectors of RFC 3720, B.4", () => {
  assert.equal(crc32c(new Uint8Array(32)), 0x8a91_36aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8_ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, at) => at)), 0x46dd_794e);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, at) => 31 - at)), 0x113f_db5c);
  assert.equal(crc32c(Buffer.from("123456789")), 0xe306_9283);
});
