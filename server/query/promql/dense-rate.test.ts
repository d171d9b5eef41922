/** Histograms in columns give the same answers, to the last digit, as the same histograms one by one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteWriter } from "../../model/byte-writer.ts";
import { type CounterResetHint, CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../../model/histogram.ts";
import { plainHistograms, writeHistograms } from "../../model/histogram-columns.ts";
import type { EncodedHistograms, SeriesSamples } from "../../model/series.ts";
import { type FedSeries, fedSeries } from "./encoded-columns.ts";
import { randomOf } from "./histogram/random.testkit.ts";
import { KnownLabels, SentLabels } from "./packed-labels.ts";
import { packSamples, unpackSamples } from "./packed-samples.ts";
import { evaluateQuery, PROMQL_DEFAULTS, planQuery } from "./query.ts";
import { renderOutcome } from "./render.ts";
import { histogramReader, madeSeries } from "./window-histograms.ts";
import type { WindowCall } from "./window-numbers.ts";

const STEP_MS = 15_000;
const SAMPLES = 200;
const clock = { monotonicMs: () => performance.now() };

interface Kind {
  readonly schema: number;
  readonly bounds: Float64Array;
  /** Counts with fractions, which rounding meets. */
  readonly scale: number;
  readonly gauge: boolean;
}

/** A counter that now and then gets another bucket, begins anew, or is told to have. */
function samplesOf(pick: (max: number) => number, { schema, bounds, scale, gauge }: Kind): NativeHistogram[] {
  const counts = new Map<number, number>([[pick(4), 1]]);
  const negatives = new Map<number, number>();
  const room = bounds.length === 0 ? 30 : bounds.length + 1;
  let zeroCount = 0;
  let sum = 0;
  return Array.from({ length: SAMPLES }, (_, i) => {
    let resetHint: CounterResetHint = i % 32 === 0 ? "unknown" : "not_reset";
    if (pick(60) === 0) {
      counts.clear();
      counts.set(pick(room), 1);
      negatives.clear();
      zeroCount = 0;
      sum = 0;
      resetHint = pick(2) === 0 ? "reset" : "unknown";
    }
    for (let k = pick(4); k > 0; k--) {
      const bucket = pick(12) === 0 ? pick(room) : ([...counts.keys()][pick(counts.size)] ?? 0);
      counts.set(bucket, (counts.get(bucket) ?? 0) + scale * pick(9));
      sum += scale * pick(100);
    }
    if (bounds.length === 0 && pick(5) === 0) {
      zeroCount += scale;
      const bucket = pick(6);
      negatives.set(bucket, (negatives.get(bucket) ?? 0) + scale);
      sum -= scale * pick(10);
    }
    const side = (buckets: Map<number, number>) => {
      const indexes = [...buckets.keys()].sort((a, b) => a - b);
      return {
        spans: indexes.map((index, k) => ({ offset: k === 0 ? index : index - (indexes[k - 1] ?? 0) - 1, length: 1 })),
        counts: Float64Array.from(indexes, (index) => buckets.get(index) ?? 0),
      };
    };
    const positive = side(counts);
    const negative = side(negatives);
    const total = [...positive.counts, ...negative.counts].reduce((all, count) => all + count, zeroCount);
    return {
      schema,
      zeroThreshold: bounds.length === 0 ? 1e-9 : 0,
      zeroCount,
      count: total,
      sum,
      positiveSpans: positive.spans,
      positiveCounts: positive.counts,
      negativeSpans: negative.spans,
      negativeCounts: negative.counts,
      customValues: bounds,
      resetHint: gauge ? "gauge" : resetHint,
      integer: scale === 1,
    };
  });
}

function seriesOf(name: string, number: number, histograms: readonly NativeHistogram[]): SeriesSamples {
  return {
    labels: [
      ["__name__", name],
      ["instance", String(number)],
      ["job", `j${number % 2}`],
    ],
    timestampsMs: Float64Array.from(histograms, (_, i) => i * STEP_MS + number * 7),
    values: new Float64Array(histograms.length).fill(Number.NaN),
    histograms,
  };
}

function encodeHistograms(histograms: readonly NativeHistogram[]): Uint8Array {
  const out = new ByteWriter();
  writeHistograms(out, histograms);
  return out.take();
}

/** The same series as a store gives it to a worker: pieces that a window may cut, the last samples as objects or not. */
function encodedOf(series: SeriesSamples, pick: (max: number) => number): FedSeries {
  const { histograms = [] } = series;
  const all = histograms.filter((histogram) => histogram !== undefined);
  const open = pick(2) * pick(20);
  const encoded: EncodedHistograms[] = [];
  for (let first = 0; first < all.length - open; first += 32) {
    const piece = all.slice(first, Math.min(all.length - open, first + 32));
    encoded.push({ first, count: piece.length, bytes: encodeHistograms(piece) });
  }
  // The first piece begins before the window.
  const [head] = encoded;
  if (head !== undefined && pick(2) === 0 && all[0] !== undefined) {
    const before = [{ ...all[0], count: 0, resetHint: "unknown" as const }, all[0]];
    encoded[0] = {
      first: -2,
      count: head.count + 2,
      bytes: encodeHistograms([...before, ...all.slice(0, head.count)]),
    };
  }
  const plain = pick(2) === 0 && open > 0 ? all.slice(all.length - open) : [];
  if (plain.length > 0) {
    const numbers = plainHistograms(plain, (count) => new Float64Array(count));
    encoded.push({ first: all.length - open, count: open, ...numbers });
  }
  const isLeft = open > 0 && plain.length === 0;
  const left = isLeft ? histograms.map((one, i) => (i < all.length - open ? undefined : one)) : undefined;
  const packed = packSamples([{ ...series, histograms: left, encoded }], new SentLabels());
  const known = new KnownLabels();
  known.add(packed);
  const [fed] = unpackSamples(packed, known);
  assert.ok(fed?.columns !== undefined);
  return fed;
}

const RANGE = { startMs: 0, endMs: SAMPLES * STEP_MS, stepMs: 47_000 };

function answer(text: string, selected: readonly FedSeries[], times = RANGE): unknown {
  const query = { text, ...times, timeoutMs: 60_000, settings: { ...PROMQL_DEFAULTS, experimentalFunctions: true } };
  const plan = planQuery(query);
  const name = /hist_\w/.exec(text)?.[0];
  const found = plan.selections.map(() => selected.filter(({ labels }) => labels[0]?.[1] === name));
  const outcome = evaluateQuery(query, plan, found, clock);
  const { data } = JSON.parse(new TextDecoder().decode(renderOutcome(outcome).body));
  return { data, warnings: outcome.warnings, infos: outcome.infos };
}

const NO_BOUNDS = new Float64Array(0);
const KINDS: readonly Kind[] = [
  { schema: 3, bounds: NO_BOUNDS, scale: 1, gauge: false },
  { schema: 0, bounds: NO_BOUNDS, scale: 0.1, gauge: false },
  { schema: CUSTOM_BUCKETS_SCHEMA, bounds: new Float64Array([0.1, 0.5, 1, 5]), scale: 1, gauge: false },
];

test("answers over columns are those over histograms one by one", () => {
  for (let seed = 0; seed < 24; seed++) {
    const pick = randomOf(seed);
    const kind = KINDS[seed % KINDS.length] ?? KINDS[0];
    if (kind === undefined) throw new Error("no kinds");
    const plain = Array.from({ length: 5 }, (_, i) => {
      // Series of another kind end the sum in columns.
      const other = seed % 4 === 3 && i === 3 ? { ...kind, schema: kind.bounds.length === 0 ? 1 : kind.schema } : kind;
      return seriesOf("hist_a", i, samplesOf(pick, seed % 8 === 7 && i === 4 ? { ...other, gauge: true } : other));
    });
    const encoded = plain.map((series) => encodedOf(series, pick));
    assert.ok(seed % 4 === 3 || encoded.every(({ columns }) => columns?.dense() !== undefined), "not in columns");
    for (const text of [
      "rate(hist_a[5m])",
      "increase(hist_a[1m])",
      "sum(rate(hist_a[5m]))",
      "sum by (job) (increase(hist_a[2m]))",
      "avg(rate(hist_a[5m]))",
      "histogram_quantile(0.9, sum by (job) (rate(hist_a[5m])))",
      "histogram_count(rate(hist_a[5m]))",
      "histogram_sum(sum(rate(hist_a[5m])))",
      "histogram_avg(increase(hist_a[5m]))",
      "count(rate(hist_a[5m])) + sum(histogram_count(rate(hist_a[5m])))",
      "rate(hist_a[5m]) - rate(hist_a[5m])",
      "sum(hist_a)",
      "max_over_time(histogram_count(rate(hist_a[2m]))[5m:1m])",
      "histogram_count(hist_a)",
      "delta(hist_a[5m])",
    ]) {
      assert.deepEqual(answer(text, encoded), answer(text, plain), `seed ${seed}: ${text}`);
    }
  }
});

/** What a range function makes of a series where it lies; the series itself where it makes nothing there. */
function madeOf(
  { labels, timestampsMs, histograms = [] }: SeriesSamples,
  call: WindowCall,
): { readonly series: readonly FedSeries[]; readonly looks: number } {
  let looks = 0;
  const from = timestampsMs.findIndex((ms) => ms > call.startMs);
  const to = timestampsMs.findLastIndex((ms) => ms <= call.endMs) + 1;
  if (from === -1 || from >= to) return { series: [], looks };
  const at = (index: number): NativeHistogram => {
    const found = histograms[index];
    assert.ok(found !== undefined && index >= from && index < to);
    return found;
  };
  const reader = histogramReader(call);
  const samples = { timestampsMs, low: from, high: to, hintAt: (i: number) => at(i).resetHint, layoutAt: at };
  const made = reader?.read({
    ...samples,
    at: (index) => {
      looks++;
      return at(index);
    },
  });
  if (made === "nothing") return { series: [], looks };
  if (typeof made === "object") return { series: [madeSeries(labels, made)], looks };
  const cut = { timestampsMs: timestampsMs.slice(from, to), values: new Float64Array(to - from).fill(Number.NaN) };
  return { series: [{ labels, ...cut, histograms: histograms.slice(from, to) }], looks };
}

test("rates at one step are the same where the samples lie, of which few are looked at", () => {
  let looks = 0;
  let made = 0;
  for (let seed = 0; seed < 24; seed++) {
    const pick = randomOf(seed);
    const kind = KINDS[seed % KINDS.length] ?? KINDS[0];
    if (kind === undefined) throw new Error("no kinds");
    const plain = Array.from({ length: 5 }, (_, i) => {
      const other = seed % 4 === 3 && i === 3 ? { ...kind, gauge: true } : kind;
      return seriesOf("hist_a", i, samplesOf(pick, other));
    });
    for (let round = 0; round < 12; round++) {
      const name = pick(2) === 0 ? "rate" : "increase";
      const rangeMs = [15_000, 60_000, 300_000, 3_000_000][pick(4)] ?? 0;
      const endMs = 20_000 + pick(SAMPLES * STEP_MS);
      const call = { name, startMs: endMs - rangeMs, endMs, first: 0 };
      const found = plain.map((series) => madeOf(series, call));
      const series = found.flatMap((one) => one.series);
      looks += found.reduce((sum, one) => sum + one.looks, 0);
      made += series.filter((one) => one.made !== undefined).length;
      for (const text of [`${name}(hist_a[${rangeMs}ms])`, `sum by (job) (${name}(hist_a[${rangeMs}ms]))`]) {
        const instant = { startMs: endMs, endMs, stepMs: 0 };
        assert.deepEqual(answer(text, series, instant), answer(text, plain, instant), `seed ${seed}: ${text} ${endMs}`);
      }
    }
  }
  assert.ok(made > 500 && looks < 6 * made, `${looks} looks for ${made}`);
});

test("floats between histograms, and bytes that nobody wrote, do not go into columns", () => {
  const pick = randomOf(1);
  const series = seriesOf("hist_a", 0, samplesOf(pick, KINDS[0] as Kind)); // it is there
  const { histograms = [] } = series;
  const half = histograms.filter((histogram) => histogram !== undefined).slice(0, 100);
  const encoded = [{ first: 0, count: 100, bytes: encodeHistograms(half) }];
  const fed = fedSeries({ ...series, histograms: undefined, encoded });
  assert.equal(fed.columns?.dense(), undefined);
  assert.throws(() => fedSeries({ ...series, encoded: [{ first: 0, count: 9, bytes: new Uint8Array([9, 1]) }] }));
});
