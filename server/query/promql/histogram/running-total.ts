/**
 * A compensated sum of histograms with the same buckets, added up in place.
 *
 * Sums of many series and long windows mostly meet one layout; a sum that changes its own arrays needs no object for
 * each histogram. The numbers are those of `addCompensated`.
 */

import { sameBounds } from "../../../model/bucket-bounds.ts";
import type { NativeHistogram } from "../../../model/histogram.ts";
import { sameSpans } from "../../../model/histogram-layout.ts";
import { carriedLoss } from "../compensated.ts";
import { hidesBuckets, usesCustomBuckets } from "./float-histogram.ts";
import { type CompensatedHistogram, combinedHint } from "./histogram-sum.ts";

/** Belongs to one sum; its arrays are never those of a histogram that came in. */
export class RunningTotal {
  /** What it began with: layout, and the fields that no sum changes. */
  readonly #first: NativeHistogram;
  readonly #positive: Float64Array;
  readonly #negative: Float64Array;
  readonly #positiveLost: Float64Array;
  readonly #negativeLost: Float64Array;
  /** A bucket of this layout lies in the zero bucket, where a histogram that is added leaves it out. */
  readonly #hidesBuckets: boolean;
  #zeroCount: number;
  #count: number;
  #sum: number;
  #zeroLost: number;
  #countLost: number;
  #sumLost: number;
  #resetHint: NativeHistogram["resetHint"];

  /** @param start Its arrays belong to the total from here on. */
  constructor({ histogram, loss }: CompensatedHistogram) {
    this.#first = histogram;
    this.#positive = histogram.positiveCounts;
    this.#negative = histogram.negativeCounts;
    this.#positiveLost = loss.positive;
    this.#negativeLost = loss.negative;
    this.#zeroCount = histogram.zeroCount;
    this.#count = histogram.count;
    this.#sum = histogram.sum;
    this.#zeroLost = loss.zeroCount;
    this.#countLost = loss.count;
    this.#sumLost = loss.sum;
    this.#resetHint = histogram.resetHint;
    this.#hidesBuckets = hidesBuckets(histogram);
  }

  /** Whether `add` takes this histogram. */
  takes(histogram: NativeHistogram): boolean {
    const first = this.#first;
    return (
      !this.#hidesBuckets &&
      histogram.schema === first.schema &&
      histogram.zeroThreshold === first.zeroThreshold &&
      histogram.positiveCounts.length === this.#positive.length &&
      histogram.negativeCounts.length === this.#negative.length &&
      sameSpans(histogram.positiveSpans, first.positiveSpans) &&
      sameSpans(histogram.negativeSpans, first.negativeSpans) &&
      sameBounds(histogram.customValues, first.customValues)
    );
  }

  /** Whether adding it would make a number infinite. */
  overflowsWith({ zeroCount, count, sum, positiveCounts, negativeCounts }: NativeHistogram): boolean {
    return (
      isInfinite(this.#zeroCount + zeroCount) ||
      isInfinite(this.#count + count) ||
      isInfinite(this.#sum + sum) ||
      anyInfinite(this.#positive, positiveCounts) ||
      anyInfinite(this.#negative, negativeCounts)
    );
  }

  /** Adds one that it takes. */
  add({ zeroCount, count, sum, positiveCounts, negativeCounts, resetHint }: NativeHistogram): void {
    if (!usesCustomBuckets(this.#first)) {
      this.#zeroLost = carriedLoss(this.#zeroCount, zeroCount, this.#zeroLost);
      this.#zeroCount += zeroCount;
    }
    this.#countLost = carriedLoss(this.#count, count, this.#countLost);
    this.#count += count;
    this.#sumLost = carriedLoss(this.#sum, sum, this.#sumLost);
    this.#sum += sum;
    addAll(this.#positive, this.#positiveLost, positiveCounts);
    addAll(this.#negative, this.#negativeLost, negativeCounts);
    this.#resetHint = combinedHint(this.#resetHint, resetHint).resetHint;
  }

  /** The sum so far; its arrays are those of the total. */
  get state(): CompensatedHistogram {
    return {
      histogram: {
        ...this.#first,
        zeroCount: this.#zeroCount,
        count: this.#count,
        sum: this.#sum,
        positiveCounts: this.#positive,
        negativeCounts: this.#negative,
        resetHint: this.#resetHint,
        integer: false,
      },
      loss: {
        zeroCount: this.#zeroLost,
        count: this.#countLost,
        sum: this.#sumLost,
        positive: this.#positiveLost,
        negative: this.#negativeLost,
      },
    };
  }
}

function addAll(sums: Float64Array, lost: Float64Array, more: Float64Array): void {
  for (let k = 0; k < sums.length; k++) {
    const sum = sums[k] ?? 0;
    const value = more[k] ?? 0;
    lost[k] = carriedLoss(sum, value, lost[k] ?? 0);
    sums[k] = sum + value;
  }
}

function anyInfinite(sums: Float64Array, more: Float64Array): boolean {
  for (let k = 0; k < sums.length; k++) if (isInfinite((sums[k] ?? 0) + (more[k] ?? 0))) return true;
  return false;
}

function isInfinite(value: number): boolean {
  return value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY;
}
