/**
 * Selected series on their way to the worker: few objects, few buffers that are handed over.
 *
 * Histograms lie in two streams of numbers. A layout (schema, zero threshold, spans, custom bounds) is written where it
 * differs from the one before in its series, so that samples with the same buckets share it again in the worker.
 */

import type { BucketSpan, CounterResetHint, NativeHistogram } from "../../model/histogram.ts";
import { haveOneLayout } from "../../model/histogram-layout.ts";
import type { EncodedHistograms, SeriesSamples } from "../../model/series.ts";
import { type FedSeries, fedSeries } from "./encoded-columns.ts";
import {
  type KnownLabels,
  type PackedLabels,
  packedLabelBuffers,
  packLabels,
  type SentLabels,
} from "./packed-labels.ts";
import { madeSeries } from "./window-histograms.ts";

/** Some series of a selection. */
export interface PackedSamples extends PackedLabels {
  /** The only sample of each series is what a range function makes of it. */
  readonly isMade: boolean;
  /** For each series: where its samples begin and how many they are. */
  readonly timesFrom: Uint32Array;
  readonly valuesFrom: Uint32Array;
  readonly lengths: Uint32Array;
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
  /** Memory that both threads see. */
  readonly pages: readonly Float64Array[];
  /** For each series, which page its times and values lie in, counted from 1; 0 where they lie in the two arrays above. */
  readonly pageOf: Uint32Array;
  /** For each series with start timestamps, where they begin, counted from 1; 0 for the others. */
  readonly startsFrom: Uint32Array;
  readonly startsMs: Float64Array;
  /** For each series: where its histograms begin and how many they are. */
  readonly histogramsFrom: Uint32Array;
  readonly histogramCounts: Uint32Array;
  readonly histograms: Float64Array;
  readonly layouts: Float64Array;
  /** For each run of encoded histograms: series, index of the sample of the first one, how many, how many bytes, and one more than how many numbers where there are some. */
  readonly runs: Int32Array;
  /** Of the runs, one after the other. */
  readonly runBytes: Uint8Array;
  readonly runNumbers: Float64Array;
}

/** Copies samples together; time stamps that several series share are copied once. */
export function packSamples(all: readonly SeriesSamples[], sent: SentLabels, isMade = false): PackedSamples {
  const shared = new Map<Float64Array, number>();
  const pages = new PartPages();
  const pageOf = new Uint32Array(all.length);
  let times = 0;
  let values = 0;
  let starts = 0;
  for (const [index, series] of all.entries()) {
    starts += series.startsMs?.length ?? 0;
    pageOf[index] = pages.numberOf(series);
    if (pageOf[index] !== 0) continue;
    values += series.values.length;
    if (shared.has(series.timestampsMs)) continue;
    shared.set(series.timestampsMs, times);
    times += series.timestampsMs.length;
  }
  const histograms = packHistograms(all);
  const packed: PackedSamples = {
    isMade,
    ...packLabels(
      all.map(({ labels }) => labels),
      sent,
    ),
    timesFrom: new Uint32Array(all.length),
    valuesFrom: new Uint32Array(all.length),
    lengths: new Uint32Array(all.length),
    timestampsMs: new Float64Array(times),
    values: new Float64Array(values),
    pages: pages.all,
    pageOf,
    startsFrom: new Uint32Array(all.length),
    startsMs: new Float64Array(starts),
    ...histograms,
    ...packRuns(all),
  };
  for (const [timestampsMs, from] of shared) packed.timestampsMs.set(timestampsMs, from);
  let from = 0;
  let startsAt = 0;
  for (const [index, series] of all.entries()) {
    packed.lengths[index] = series.values.length;
    if (pageOf[index] !== 0) {
      packed.timesFrom[index] = series.timestampsMs.byteOffset / 8;
      packed.valuesFrom[index] = series.values.byteOffset / 8;
    } else {
      packed.timesFrom[index] = shared.get(series.timestampsMs) ?? 0;
      packed.valuesFrom[index] = from;
      packed.values.set(series.values, from); // bytes are copied, so NaNs keep their bits
      from += series.values.length;
    }
    if (series.startsMs === undefined) continue;
    packed.startsFrom[index] = startsAt + 1;
    packed.startsMs.set(series.startsMs, startsAt);
    startsAt += series.startsMs.length;
  }
  return packed;
}

/** Shared memory that series of a part lie in. */
class PartPages {
  readonly all: Float64Array[] = [];
  readonly #numbers = new Map<ArrayBufferLike, number>();

  /** Counted from 1; 0 where times and values do not lie in one shared memory. */
  numberOf({ timestampsMs, values }: SeriesSamples): number {
    const { buffer } = values;
    if (timestampsMs.buffer !== buffer || !(buffer instanceof SharedArrayBuffer)) return 0;
    const known = this.#numbers.get(buffer);
    if (known !== undefined) return known;
    this.all.push(new Float64Array(buffer));
    this.#numbers.set(buffer, this.all.length);
    return this.all.length;
  }
}

/** Buffers to transfer, so that nothing is copied twice. */
export function packedBuffers(packed: PackedSamples): ArrayBuffer[] {
  const { timesFrom, valuesFrom, lengths, timestampsMs, values } = packed;
  const { startsFrom, startsMs, histogramsFrom, histogramCounts, histograms, layouts, pageOf } = packed;
  const all = [pageOf, timesFrom, valuesFrom, lengths, timestampsMs, values, startsFrom, startsMs];
  // Each array was made above and owns its buffer.
  const { runs, runBytes, runNumbers } = packed;
  return [...all, histogramsFrom, histogramCounts, histograms, layouts, runs, runBytes, runNumbers]
    .map((array) => array.buffer as ArrayBuffer)
    .concat(packedLabelBuffers(packed));
}

/**
 * The series again, as views on the buffers.
 *
 * @param known Labels that came before; those of this part were added to them.
 */
export function unpackSamples(packed: PackedSamples, known: Pick<KnownLabels, "set">): FedSeries[] {
  const out: FedSeries[] = [];
  const layouts = new Map<number, Layout>();
  const runs = unpackRuns(packed);
  let timesMs: Float64Array = NO_TIMES;
  let timesPage: Float64Array | undefined;
  for (let index = 0; index < packed.lengths.length; index++) {
    const labels = known.set(packed.setNumbers[index] ?? 0);
    const timesFrom = packed.timesFrom[index] ?? 0;
    const valuesFrom = packed.valuesFrom[index] ?? 0;
    const length = packed.lengths[index] ?? 0;
    const startsFrom = packed.startsFrom[index] ?? 0;
    const page = packed.pages[(packed.pageOf[index] ?? 0) - 1];
    // Series with the same times share the view on them, by which they are known for the same.
    if (page !== timesPage || timesFrom !== timesMs.byteOffset / 8 || length !== timesMs.length) {
      timesMs = (page ?? packed.timestampsMs).subarray(timesFrom, timesFrom + length);
      timesPage = page;
    }
    const series: SeriesSamples = {
      labels,
      timestampsMs: timesMs,
      values: (page ?? packed.values).subarray(valuesFrom, valuesFrom + length),
      startsMs: startsFrom === 0 ? undefined : packed.startsMs.subarray(startsFrom - 1, startsFrom - 1 + length),
      histograms: unpackHistograms(packed, index, length, layouts),
    };
    const made = packed.isMade ? series.histograms?.[0] : undefined;
    if (made !== undefined) {
      out.push(madeSeries(labels, made));
      continue;
    }
    const encoded = runs.get(index);
    out.push(encoded === undefined ? series : fedSeries({ ...series, encoded }));
  }
  return out;
}

const NO_TIMES = new Float64Array(0);

/** Numbers that tell of a run. */
const RUN_LENGTH = 5;

function packRuns(all: readonly SeriesSamples[]): Pick<PackedSamples, "runs" | "runBytes" | "runNumbers"> {
  let count = 0;
  let length = 0;
  let numbers = 0;
  for (const { encoded = [] } of all) {
    count += encoded.length;
    for (const { bytes, numbers: some } of encoded) {
      length += bytes.length;
      numbers += some?.length ?? 0;
    }
  }
  const runs = new Int32Array(RUN_LENGTH * count);
  const runBytes = new Uint8Array(length);
  const runNumbers = new Float64Array(numbers);
  let at = 0;
  let end = 0;
  let numbersEnd = 0;
  for (const [index, { encoded = [] }] of all.entries()) {
    for (const { first, count: histograms, bytes, numbers: some } of encoded) {
      runs[at++] = index;
      runs[at++] = first;
      runs[at++] = histograms;
      runs[at++] = bytes.length;
      runs[at++] = some === undefined ? 0 : 1 + some.length;
      runBytes.set(bytes, end);
      end += bytes.length;
      if (some === undefined) continue;
      runNumbers.set(some, numbersEnd);
      numbersEnd += some.length;
    }
  }
  return { runs, runBytes, runNumbers };
}

/** Runs by the number of their series. */
function unpackRuns({ runs, runBytes, runNumbers }: PackedSamples): Map<number, EncodedHistograms[]> {
  const bySeries = new Map<number, EncodedHistograms[]>();
  let end = 0;
  let numbersEnd = 0;
  for (let at = 0; at < runs.length; at += RUN_LENGTH) {
    const index = runs[at] as number; // in range: a run is five numbers, here and below
    const first = runs[at + 1] as number;
    const count = runs[at + 2] as number;
    const length = runs[at + 3] as number;
    const some = (runs[at + 4] as number) - 1;
    const numbers = some < 0 ? undefined : runNumbers.subarray(numbersEnd, numbersEnd + some);
    const run = { first, count, bytes: runBytes.subarray(end, end + length), numbers };
    end += length;
    if (some > 0) numbersEnd += some;
    const known = bySeries.get(index);
    if (known === undefined) bySeries.set(index, [run]);
    else known.push(run);
  }
  return bySeries;
}

/** What neighbouring histograms of a series have in common. */
type Layout = Pick<NativeHistogram, "schema" | "zeroThreshold" | "positiveSpans" | "negativeSpans" | "customValues"> & {
  readonly positiveLength: number;
  readonly negativeLength: number;
};

const HINTS: readonly CounterResetHint[] = ["unknown", "reset", "not_reset", "gauge"];

/** Numbers of a histogram before its buckets: index of the sample, layout, hint and kind, zero count, count, sum. */
const HEAD_LENGTH = 6;

/** Numbers of a layout before its spans: schema, zero threshold, how many spans, bounds and buckets there are. */
const LAYOUT_HEAD_LENGTH = 7;

type PackedHistograms = Pick<PackedSamples, "histogramsFrom" | "histogramCounts" | "histograms" | "layouts">;

function packHistograms(all: readonly SeriesSamples[]): PackedHistograms {
  let size = 0;
  let layoutSize = 0;
  for (const { histograms } of all) {
    let before: NativeHistogram | undefined;
    for (const one of histograms ?? []) {
      if (one === undefined) continue;
      size += HEAD_LENGTH + one.positiveCounts.length + one.negativeCounts.length;
      if (before === undefined || !haveOneLayout(before, one)) layoutSize += layoutLength(one);
      before = one;
    }
  }
  const packed: PackedHistograms = {
    histogramsFrom: new Uint32Array(all.length),
    histogramCounts: new Uint32Array(all.length),
    histograms: new Float64Array(size),
    layouts: new Float64Array(layoutSize),
  };
  let at = 0;
  let layoutEnd = 0;
  for (const [index, { histograms }] of all.entries()) {
    packed.histogramsFrom[index] = at;
    let before: NativeHistogram | undefined;
    let layoutAt = 0;
    let count = 0;
    for (const [sample, one] of histograms?.entries() ?? []) {
      if (one === undefined) continue;
      if (before === undefined || !haveOneLayout(before, one)) {
        layoutAt = layoutEnd;
        layoutEnd = writeLayout(packed.layouts, layoutEnd, one);
      }
      before = one;
      count++;
      at = writeHistogram(packed.histograms, at, sample, layoutAt, one);
    }
    packed.histogramCounts[index] = count;
  }
  return packed;
}

function layoutLength(one: NativeHistogram): number {
  const spans = one.positiveSpans.length + one.negativeSpans.length;
  return LAYOUT_HEAD_LENGTH + 2 * spans + one.customValues.length;
}

function writeLayout(out: Float64Array, from: number, one: NativeHistogram): number {
  const { positiveSpans, negativeSpans, customValues } = one;
  const lengths = [positiveSpans.length, negativeSpans.length, customValues.length];
  const buckets = [one.positiveCounts.length, one.negativeCounts.length];
  out.set([one.schema, one.zeroThreshold, ...lengths, ...buckets], from);
  let at = from + LAYOUT_HEAD_LENGTH;
  for (const spans of [positiveSpans, negativeSpans]) {
    for (const { offset, length } of spans) {
      out[at++] = offset;
      out[at++] = length;
    }
  }
  out.set(customValues, at);
  return at + customValues.length;
}

function writeHistogram(
  out: Float64Array,
  from: number,
  sample: number,
  layoutAt: number,
  one: NativeHistogram,
): number {
  out[from] = sample;
  out[from + 1] = layoutAt;
  out[from + 2] = 2 * HINTS.indexOf(one.resetHint) + (one.integer ? 1 : 0);
  out[from + 3] = one.zeroCount;
  out[from + 4] = one.count;
  out[from + 5] = one.sum;
  out.set(one.positiveCounts, from + HEAD_LENGTH);
  out.set(one.negativeCounts, from + HEAD_LENGTH + one.positiveCounts.length);
  return from + HEAD_LENGTH + one.positiveCounts.length + one.negativeCounts.length;
}

function readLayout(layouts: Float64Array, from: number): Layout {
  const number = (index: number) => layouts[from + index] ?? 0;
  let at = LAYOUT_HEAD_LENGTH;
  const spansOf = (count: number): BucketSpan[] => {
    const spans: BucketSpan[] = [];
    for (let i = 0; i < count; i++, at += 2) spans.push({ offset: number(at), length: number(at + 1) });
    return spans;
  };
  const positiveSpans = spansOf(number(2));
  const negativeSpans = spansOf(number(3));
  return {
    schema: number(0),
    zeroThreshold: number(1),
    positiveSpans,
    negativeSpans,
    customValues: layouts.subarray(from + at, from + at + number(4)),
    positiveLength: number(5),
    negativeLength: number(6),
  };
}

function unpackHistograms(
  packed: PackedSamples,
  index: number,
  samples: number,
  layouts: Map<number, Layout>,
): SeriesSamples["histograms"] {
  const count = packed.histogramCounts[index] ?? 0;
  if (count === 0) return undefined;
  const { histograms } = packed;
  const out = new Array<NativeHistogram | undefined>(samples);
  let at = packed.histogramsFrom[index] ?? 0;
  for (let i = 0; i < count; i++) {
    const layoutAt = histograms[at + 1] ?? 0;
    let layout = layouts.get(layoutAt);
    if (layout === undefined) {
      layout = readLayout(packed.layouts, layoutAt);
      layouts.set(layoutAt, layout);
    }
    const marks = histograms[at + 2] ?? 0;
    const buckets = at + HEAD_LENGTH;
    const negative = buckets + layout.positiveLength;
    const end = negative + layout.negativeLength;
    out[histograms[at] ?? 0] = {
      schema: layout.schema,
      zeroThreshold: layout.zeroThreshold,
      zeroCount: histograms[at + 3] ?? 0,
      count: histograms[at + 4] ?? 0,
      sum: histograms[at + 5] ?? 0,
      positiveSpans: layout.positiveSpans,
      positiveCounts: histograms.subarray(buckets, negative),
      negativeSpans: layout.negativeSpans,
      negativeCounts: histograms.subarray(negative, end),
      customValues: layout.customValues,
      resetHint: HINTS[marks >> 1] ?? "unknown",
      integer: marks % 2 === 1,
    };
    at = end;
  }
  return out;
}
