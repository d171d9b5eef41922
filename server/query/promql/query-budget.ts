/** What one query may take: time, and values held in memory at the same time. */

import type { Clock } from "../../model/clock.ts";
import { ThalwegError } from "../../model/errors.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { HistogramLayout } from "../../model/histogram-layout.ts";
import { type SeriesSamples, sizeOfEncoded } from "../../model/series.ts";

/** Bytes of a histogram without its buckets, as Prometheus counts them; a float sample has 16. */
const HISTOGRAM_BYTES = 168;

/** How many floats a histogram counts for: as many as Prometheus counts. */
export function histogramSize(histogram: NativeHistogram): number {
  return sizeOfBuckets(histogram, histogram.positiveCounts.length + histogram.negativeCounts.length);
}

/** The same for a layout with so many buckets. */
export function sizeOfBuckets(
  { positiveSpans, negativeSpans, customValues }: Omit<HistogramLayout, "schema" | "zeroThreshold">,
  buckets: number,
): number {
  const numbers = positiveSpans.length + negativeSpans.length + customValues.length + buckets;
  return Math.floor((HISTOGRAM_BYTES + 8 + 8 * numbers) / 16);
}

/** How many floats the samples of a series count for; histograms that are still encoded for as many as they take bytes. */
export function samplesSize(
  series: SeriesSamples & {
    readonly columns?: { readonly size: number } | undefined;
    readonly newest?: object;
    readonly number?: number | undefined;
    readonly made?: NativeHistogram | undefined;
    readonly size?: number | undefined;
  },
): number {
  if (series.size !== undefined) return series.size;
  if (series.newest !== undefined || series.number !== undefined) return 1;
  if (series.made !== undefined) return histogramSize(series.made);
  let size = series.values.length;
  if (series.columns !== undefined) return size + series.columns.size;
  for (const one of series.encoded ?? []) size += sizeOfEncoded(one);
  if (series.histograms === undefined) return size;
  for (const histogram of series.histograms) if (histogram !== undefined) size += histogramSize(histogram) - 1;
  return size;
}

/** What a running query looks at now and then. */
export interface QueryWatch extends Pick<Clock, "monotonicMs"> {
  /** Told how many values the query holds; throws where the server has no room for them, or where nobody waits. */
  readonly check?: (held: number) => void;
}

/** Characters of a text that count for a value. */
const UNITS_PER_VALUE = 8;

/** Room for so many values is taken with a look at the clock, smaller ones with one for several. */
const LOOKED_AT_ONCE = 1_024;
const UNSEEN_MAX = 16;

/** Counts values held by a query and looks at the clock. */
export class QueryBudget {
  readonly #samplesMax: number;
  readonly #clock: QueryWatch;
  readonly #deadlineMs: number;
  readonly #timeoutMs: number;
  #held = 0;
  /** Calls of `hold` since the clock was looked at. */
  #unseen = UNSEEN_MAX;
  #peak = 0;

  constructor(limits: { readonly samplesMax: number; readonly timeoutMs: number }, clock: QueryWatch) {
    this.#samplesMax = limits.samplesMax;
    this.#clock = clock;
    this.#timeoutMs = limits.timeoutMs;
    this.#deadlineMs = clock.monotonicMs() + limits.timeoutMs;
  }

  /** The most values that were held at once. */
  get peak(): number {
    return this.#peak;
  }

  /** Takes room for `count` values; throws `query_samples_max`, or `query_timeout` where the time is over. */
  hold(count: number): void {
    this.#held += count;
    if (this.#held > this.#peak) this.#peak = this.#held;
    if (this.#held > this.#samplesMax) {
      throw new ThalwegError("query_samples_max", { asked: this.#held, max: this.#samplesMax });
    }
    // Many small columns come between two looks at the clock, which costs as much as to fill one.
    if (count >= LOOKED_AT_ONCE || ++this.#unseen >= UNSEEN_MAX) {
      this.#unseen = 0;
      this.look();
    }
  }

  /** Takes room for a text that is made; throws as `hold`. */
  holdText(units: number): void {
    this.hold(Math.ceil(units / UNITS_PER_VALUE));
  }

  /** Goes on where there is time and somebody waits; throws as `hold`. For work that takes no room. */
  look(): void {
    this.#clock.check?.(this.#held);
    if (this.#clock.monotonicMs() > this.#deadlineMs)
      throw new ThalwegError("query_timeout", { timeoutMs: this.#timeoutMs });
  }

  /** Gives room back when values are no longer referred to. */
  release(count: number): void {
    this.#held -= count;
  }
}
