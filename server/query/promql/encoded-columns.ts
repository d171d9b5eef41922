/**
 * The histograms of one series as they came to the worker: decoded into columns of numbers for what works on columns, or
 * into an object each for everything else.
 */

import { ByteReader } from "../../model/byte-reader.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import { histogramsOf, readStretches } from "../../model/histogram-columns.ts";
import type { EncodedHistograms, SeriesSamples } from "../../model/series.ts";
import type { ChunkedSeries } from "./chunked-series.ts";
import { type DenseSamples, denseSamples, type HistogramPieces, type PlacedStretch } from "./dense-samples.ts";
import type { NewestSeries } from "./newest-samples.ts";
import { histogramSize, sizeOfBuckets } from "./query-budget.ts";

/** Where the histograms of a series come from. */
export interface HistogramSource {
  /** How many floats they count for beyond one a sample. */
  readonly size: number;
  /** Every sample is a histogram; where it is false, they mostly are. */
  readonly isWhole: boolean;
  /** All of them as objects, sparse by sample. */
  readonly histograms: readonly (NativeHistogram | undefined)[];
  /** All of them as a table, good until the next one is asked for; undefined where they do not go into one. */
  dense(): DenseSamples | undefined;
}

/** Histograms of a series of `length` samples. */
class EncodedColumns implements HistogramSource, HistogramPieces {
  readonly length: number;
  readonly stretches: readonly PlacedStretch[];
  /** Those that came as objects, sparse by sample. */
  readonly open: readonly (NativeHistogram | undefined)[] | undefined;
  /** How many floats they count for beyond one a sample. */
  readonly size: number;
  readonly isWhole: boolean;
  #histograms: readonly (NativeHistogram | undefined)[] | undefined;

  /** @throws BytesEndError where the bytes are none that a store wrote. */
  constructor(
    length: number,
    encoded: readonly EncodedHistograms[],
    open: readonly (NativeHistogram | undefined)[] | undefined,
  ) {
    const stretches: PlacedStretch[] = [];
    let size = 0;
    let left = length;
    for (const { bytes, numbers, count, first } of encoded) {
      let at = first;
      for (const stretch of readStretches(new ByteReader(bytes), bytes, count, numbers)) {
        const inside = Math.min(length, at + stretch.count) - Math.max(0, at);
        if (inside > 0) {
          stretches.push({ first: at, stretch });
          left -= inside;
          size += inside * (sizeOfBuckets(stretch.layout, stretch.positives + stretch.negatives) - 1);
        }
        at += stretch.count;
      }
    }
    for (const one of open ?? []) {
      if (one === undefined) continue;
      size += histogramSize(one) - 1;
      left--;
    }
    this.length = length;
    this.stretches = stretches;
    this.open = open;
    this.size = size;
    this.isWhole = left === 0;
  }

  /** All of them as objects, sparse by sample; made once. */
  get histograms(): readonly (NativeHistogram | undefined)[] {
    this.#histograms ??= this.#decode();
    return this.#histograms;
  }

  dense(): DenseSamples | undefined {
    return denseSamples(this);
  }

  #decode(): (NativeHistogram | undefined)[] {
    const all = this.open?.slice() ?? new Array<NativeHistogram | undefined>(this.length);
    for (const { first, stretch } of this.stretches) {
      for (const [i, histogram] of histogramsOf(stretch).entries()) {
        if (first + i >= 0 && first + i < this.length) all[first + i] = histogram;
      }
    }
    return all;
  }
}

/** Samples in a worker: where `columns` is there, `histograms` are made of it when they are looked at, and where `read` is, so are all samples. */
export interface FedSeries
  extends SeriesSamples,
    Partial<Pick<NewestSeries, "newest" | "at">>,
    Partial<Pick<ChunkedSeries, "read" | "pickNewest" | "size">> {
  /** What a range function makes of it, where there is nothing else. */
  readonly number?: number | undefined;
  /** The same where it is a histogram. */
  readonly made?: NativeHistogram | undefined;
  readonly columns?: HistogramSource | undefined;
}

/** A series whose histograms are decoded once they are asked for. */
export function fedSeries(samples: SeriesSamples): FedSeries {
  const { labels, timestampsMs, values, startsMs, encoded, histograms } = samples;
  if (encoded === undefined) return samples;
  return withColumns(
    { labels, timestampsMs, values, startsMs },
    new EncodedColumns(values.length, encoded, histograms),
  );
}

/** A series with histograms that are looked at when they are asked for. */
export function withColumns<Series extends Pick<SeriesSamples, "labels" | "timestampsMs" | "values" | "startsMs">>(
  series: Series,
  columns: HistogramSource,
): Series & { readonly columns: HistogramSource; readonly histograms: HistogramSource["histograms"] } {
  return {
    ...series,
    columns,
    get histograms() {
      return columns.histograms;
    },
  };
}
