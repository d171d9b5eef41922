/**
 * What of a rate depends on times only: which samples the window of each step begins and ends with, and how far it
 * reaches beyond them. Series of one scrape have their times in common, so it is found once for all of them.
 */

import { ArraySlab } from "../../model/array-slab.ts";
import type { RangeGrid } from "./select-steps.ts";

/** Steps that are kept for times that may come again, of all times together: 12 MiB. */
const KEPT_STEPS_MAX = 2 ** 18;

/** By step. All but `first` hold anything at steps of fewer than two samples. */
export interface RangeWindows {
  /** Index of the first sample; -1 where there are fewer than two. */
  readonly first: Int32Array;
  readonly last: Int32Array;
  /** From the first sample to the last one. */
  readonly sampledSeconds: Float64Array;
  /** How far the difference is carried on before the first sample, and behind the last one. */
  readonly beforeSeconds: Float64Array;
  readonly afterSeconds: Float64Array;
  /** A counter whose first value is more than so many differences was not zero within `beforeSeconds`, however it is rounded. */
  readonly certainFirst: Float64Array;
  /** By what the difference is multiplied to be that of the whole window. */
  readonly factor: Float64Array;
  /** The same for a rate per second. */
  readonly rateFactor: Float64Array;
}

/** Windows of one range function by the times of its series. */
class WindowBook {
  readonly #byTimes = new Map<Float64Array, RangeWindows>();
  #steps = 0;
  /** The windows of these times where there is no room to keep more. */
  #times: Float64Array | undefined;
  #windows: RangeWindows | undefined;

  of(timestampsMs: Float64Array, ranges: RangeGrid): RangeWindows {
    if (this.#times === timestampsMs && this.#windows !== undefined) return this.#windows;
    const known = this.#byTimes.get(timestampsMs);
    if (known !== undefined) {
      this.#times = timestampsMs;
      this.#windows = known;
      return known;
    }
    const { steps } = ranges.shifted;
    const isKept = this.#steps + steps <= KEPT_STEPS_MAX;
    const windows = isKept || this.#windows === undefined || this.#isKept() ? emptyWindows(steps) : this.#windows;
    fill(windows, timestampsMs, ranges);
    if (isKept) {
      this.#steps += steps;
      this.#byTimes.set(timestampsMs, windows);
    }
    this.#times = timestampsMs;
    this.#windows = windows;
    return windows;
  }

  #isKept(): boolean {
    return this.#times !== undefined && this.#byTimes.has(this.#times);
  }
}

const books = new WeakMap<RangeGrid, WindowBook>();

/**
 * The windows of a series that has no more in them than their range.
 *
 * @returns Good until it is asked for other times.
 */
export function rangeWindows(timestampsMs: Float64Array, ranges: RangeGrid): RangeWindows {
  let book = books.get(ranges);
  if (book === undefined) {
    book = new WindowBook();
    books.set(ranges, book);
  }
  return book.of(timestampsMs, ranges);
}

/** Far more than rounding changes a product or quotient. */
const CERTAIN = 1 + 1e-9;

/** Room for windows. */
const seconds = new ArraySlab((length) => new Float64Array(length), 16_384);
const indexes = new ArraySlab((length) => new Int32Array(length), 16_384);

function emptyWindows(steps: number): RangeWindows {
  return {
    first: indexes.take(steps),
    last: indexes.take(steps),
    sampledSeconds: seconds.take(steps),
    beforeSeconds: seconds.take(steps),
    afterSeconds: seconds.take(steps),
    certainFirst: seconds.take(steps),
    factor: seconds.take(steps),
    rateFactor: seconds.take(steps),
  };
}

function fill(windows: RangeWindows, timestampsMs: Float64Array, { shifted, rangeMs }: RangeGrid): void {
  const { startMs: firstEndMs, stepMs, steps } = shifted;
  const count = timestampsMs.length;
  const rangeSeconds = rangeMs / 1000;
  let low = 0;
  let high = 0;
  for (let k = 0; k < steps; k++) {
    const endMs = firstEndMs + k * stepMs;
    const startMs = endMs - rangeMs;
    // All indexes are in range: `low < high <= count` wherever they are used.
    while (high < count && (timestampsMs[high] as number) <= endMs) high++;
    while (low < high && (timestampsMs[low] as number) <= startMs) low++;
    const gaps = high - low - 1;
    windows.first[k] = gaps < 1 ? -1 : low;
    if (gaps < 1) continue;
    windows.last[k] = high - 1;
    const firstMs = timestampsMs[low] as number;
    const lastMs = timestampsMs[high - 1] as number;
    const sampled = (lastMs - firstMs) / 1000;
    const mean = sampled / gaps;
    const threshold = mean * 1.1;
    let before = (firstMs - startMs) / 1000;
    let after = (endMs - lastMs) / 1000;
    if (before >= threshold) before = mean / 2;
    if (after >= threshold) after = mean / 2;
    windows.sampledSeconds[k] = sampled;
    windows.beforeSeconds[k] = before;
    windows.afterSeconds[k] = after;
    windows.certainFirst[k] = (before / sampled) * CERTAIN;
    const factor = extrapolation(sampled, before, after);
    windows.factor[k] = factor;
    windows.rateFactor[k] = factor / rangeSeconds;
  }
}

/** By what a difference over `sampled` seconds is multiplied where it is carried on. */
export function extrapolation(sampled: number, before: number, after: number): number {
  return sampled === 0 ? 1 : (sampled + before + after) / sampled;
}
