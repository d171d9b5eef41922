import assert from "node:assert/strict";
import { test } from "node:test";
import { CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../../model/histogram.ts";
import { SampleRoom } from "../../model/sample-room.ts";
import type { Labels, SeriesSamples } from "../../model/series.ts";
import { KnownLabels, packLabels, SentLabels } from "./packed-labels.ts";
import { packedBuffers, packSamples, unpackSamples } from "./packed-samples.ts";

const exponential: NativeHistogram = {
  schema: 2,
  zeroThreshold: 0.25,
  zeroCount: 1,
  count: 12,
  sum: -4.5,
  positiveSpans: [
    { offset: -3, length: 2 },
    { offset: 1, length: 1 },
  ],
  positiveCounts: new Float64Array([1, 2, 3]),
  negativeSpans: [{ offset: 4, length: 1 }],
  negativeCounts: new Float64Array([5]),
  customValues: new Float64Array(0),
  resetHint: "not_reset",
  integer: true,
};

const custom: NativeHistogram = {
  schema: CUSTOM_BUCKETS_SCHEMA,
  zeroThreshold: 0,
  zeroCount: 0,
  count: 7.5,
  sum: Number.NaN,
  positiveSpans: [{ offset: 1, length: 2 }],
  positiveCounts: new Float64Array([3.5, 4]),
  negativeSpans: [],
  negativeCounts: new Float64Array(0),
  customValues: new Float64Array([0.5, 1]),
  resetHint: "gauge",
  integer: false,
};

test("samples arrive as they were sent: floats, histograms, start timestamps", () => {
  const timestampsMs = new Float64Array([0, 1000, 2000, 3000]);
  const values = new Float64Array([Number.NaN, 7, Number.NaN, Number.NaN]);
  const more = { ...exponential, positiveCounts: new Float64Array([2, 3, 4]), count: 15 };
  const sparse = new Array<NativeHistogram | undefined>(4);
  sparse[0] = exponential;
  sparse[2] = more;
  sparse[3] = custom;
  const mixed: SeriesSamples = {
    labels: [["__name__", "mixed"]],
    timestampsMs,
    values,
    histograms: sparse,
    startsMs: new Float64Array([0, -1, -1, 2500]),
  };
  const floats: SeriesSamples = {
    labels: [["__name__", "floats"]],
    timestampsMs,
    values: new Float64Array([1, 2, 3, 4]),
    histograms: undefined,
    startsMs: undefined,
  };
  const alone: SeriesSamples = { ...floats, histograms: [custom, custom, custom, custom], values };
  const sent = new SentLabels();
  const known = new KnownLabels();
  const arrive = (series: readonly SeriesSamples[]) => {
    const packed = packSamples(series, sent);
    known.add(packed);
    return unpackSamples(structuredClone(packed, { transfer: packedBuffers(packed) }), known);
  };
  const unpacked = arrive([floats, mixed]);
  assert.deepEqual(unpacked, [floats, mixed]);
  assert.deepEqual(arrive([]), []);
  assert.deepEqual(arrive([alone]), [alone]);
  const again = packSamples([floats, mixed, alone], sent); // labels are sent once, and equal ones are told by their pairs
  assert.deepEqual([again.pairs.length, again.pairCounts.length], [0, 0]);
  assert.equal(unpackSamples(again, known)[0]?.labels, unpacked[0]?.labels);
  const histograms = unpacked[1]?.histograms;
  assert.equal(histograms?.[0]?.positiveSpans, histograms?.[2]?.positiveSpans); // equal layouts are one
});

test("samples in shared memory are seen where they lie", () => {
  const room = new SampleRoom();
  const [timestampsMs, values] = [room.take(2), room.take(2)];
  timestampsMs.set([1, 2]);
  values.set([3, 4]);
  const shared: SeriesSamples = { labels: [], timestampsMs, values, histograms: undefined, startsMs: undefined };
  const copied: SeriesSamples = { ...shared, timestampsMs: new Float64Array([5]), values: new Float64Array([6]) };
  const packed = packSamples([copied, shared], new SentLabels());
  const known = new KnownLabels();
  known.add(packed);
  const [first, second] = unpackSamples(structuredClone(packed, { transfer: packedBuffers(packed) }), known);
  assert.deepEqual([first, second], [copied, shared]);
  values[0] = 7;
  assert.equal(second?.values[0], 7);
  room.release();
  assert.equal(room.take(2).buffer, values.buffer); // a page goes to the next selection
});

test("pairs and sets are known from query to query, and forgotten where they are counted anew", () => {
  const series = (value: string): SeriesSamples => ({
    labels: [
      ["__name__", "a"],
      ["x", value],
    ],
    timestampsMs: new Float64Array([1]),
    values: new Float64Array([2]),
  });
  const known = new KnownLabels();
  const arrive = (value: string, sent: SentLabels) => {
    const packed = packSamples([series(value)], sent);
    known.add(packed);
    return { labels: unpackSamples(packed, known)[0]?.labels, texts: packed.pairs.length };
  };
  const sent = new SentLabels();
  assert.deepEqual(arrive("1", sent), { labels: series("1").labels, texts: 4 });
  assert.deepEqual(arrive("2", sent), { labels: series("2").labels, texts: 2 });
  assert.deepEqual(arrive("1", sent), { labels: series("1").labels, texts: 0 });
  // Parts of this sender were lost after it had numbered them: another one begins.
  packSamples([series("3")], sent);
  const other = new SentLabels();
  assert.deepEqual(arrive("4", other), { labels: series("4").labels, texts: 4 });
  assert.deepEqual(arrive("2", other), { labels: series("2").labels, texts: 2 });
  assert.equal(other.pairCount, 3);
});

test("what is more than a worker keeps is forgotten after the query, on both sides", () => {
  const sent = new SentLabels();
  const known = new KnownLabels();
  const arrive = (from: number, count: number) => {
    const all = Array.from({ length: count }, (_, i): Labels => [["x", String((from + i) % 100)]]);
    known.add(packLabels(all, sent));
    known.tidy();
    return all;
  };
  const [first] = arrive(0, 32_768);
  assert.equal(sent.isSmall, true);
  assert.deepEqual([known.set(0), known.set(32_767)], [first, [["x", "67"]]]);
  arrive(1, 1);
  assert.equal(sent.isSmall, false);
  assert.deepEqual(known.set(0), []);
});
