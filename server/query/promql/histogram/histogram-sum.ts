/** Sums and differences of two histograms, which may differ in schema, zero bucket or custom bounds. */

import { sameBounds } from "../../../model/bucket-bounds.ts";
import type { CounterResetHint, NativeHistogram } from "../../../model/histogram.ts";
import { carriedLoss } from "../compensated.ts";
import {
  type BucketSide,
  coarserSide,
  type MergeMode,
  mergeCustomSides,
  mergeSides,
  sharedBounds,
  sideAbove,
} from "./bucket-layout.ts";
import { negativeSide, positiveSide, usesCustomBuckets, withSides } from "./float-histogram.ts";
import { shareZero, type ZeroedSides } from "./zero-bucket.ts";

/** Two histograms put together, and what that took. */
export interface HistogramCombination {
  readonly histogram: NativeHistogram;
  /** One of them had seen a counter reset and the other none, so the hint of the result is `unknown`. */
  readonly resetCollision: boolean;
  /** Their custom bounds differed, so the result has the bounds that both know. */
  readonly boundsReconciled: boolean;
}

/** What rounding took from each number of a histogram; the buckets are those of the histogram. */
export interface HistogramLoss {
  readonly zeroCount: number;
  readonly count: number;
  readonly sum: number;
  readonly positive: Float64Array;
  readonly negative: Float64Array;
}

/** A histogram with what rounding took from it. */
export interface CompensatedHistogram {
  readonly histogram: NativeHistogram;
  readonly loss: HistogramLoss;
}

/**
 * `a + b`, in the coarser schema, the wider zero bucket or the shared custom bounds of the two; not compact.
 *
 * @returns undefined for exponential buckets with custom ones, which cannot be put together.
 * @throws PromqlExecutionError where spans and counts of a histogram that must get coarser do not fit.
 */
export function addHistograms(a: NativeHistogram, b: NativeHistogram): HistogramCombination | undefined {
  return combine(a, b, false);
}

/**
 * `a - b`, in the same way. The hint is that of a sum; the operator `-` and rates make a gauge of it.
 *
 * @see addHistograms
 */
export function subtractHistograms(a: NativeHistogram, b: NativeHistogram): HistogramCombination | undefined {
  return combine(a, b, true);
}

function combine(a: NativeHistogram, b: NativeHistogram, subtract: boolean): HistogramCombination | undefined {
  const own = { positive: positiveSide(a), negative: negativeSide(a), zeroLost: 0 };
  const merged = mergeBuckets(a, b, own, { subtract, overwrite: false });
  if (merged === undefined) return undefined;
  const sign = subtract ? -1 : 1;
  const { resetHint, collision } = combinedHint(a.resetHint, b.resetHint);
  const histogram: NativeHistogram = {
    ...withSides(a, merged.positive, merged.negative),
    schema: merged.schema,
    zeroThreshold: merged.threshold,
    zeroCount: merged.zeroCount + sign * merged.otherZeroCount,
    count: a.count + sign * b.count,
    sum: a.sum + sign * b.sum,
    customValues: merged.customValues,
    resetHint,
  };
  return { histogram, resetCollision: collision, boundsReconciled: merged.boundsReconciled };
}

/** The histogram as a sum that has lost nothing. Its counts are copies, which the sum may write over. */
export function startCompensation(histogram: NativeHistogram): CompensatedHistogram {
  const positiveCounts = histogram.positiveCounts.slice();
  const negativeCounts = histogram.negativeCounts.slice();
  const positive = new Float64Array(positiveCounts.length);
  const negative = new Float64Array(negativeCounts.length);
  return {
    histogram: { ...histogram, positiveCounts, negativeCounts },
    loss: { zeroCount: 0, count: 0, sum: 0, positive, negative },
  };
}

/** A compensated sum of histograms with one more in it. */
export interface CompensatedCombination {
  readonly sum: CompensatedHistogram;
  /** Their custom bounds differed, so the result has the bounds that both know. */
  readonly boundsReconciled: boolean;
}

/**
 * `a + b` with every number's loss carried on (Kahan and Neumaier), as in `sum` and `avg`.
 *
 * @param overwrite The caller needs `a` no longer; its counts are written over where the buckets are the same.
 * @returns undefined for exponential buckets with custom ones.
 * @throws PromqlExecutionError where spans and counts of a histogram that must get coarser do not fit.
 */
export function addCompensated(
  a: CompensatedHistogram,
  b: NativeHistogram,
  overwrite: boolean,
): CompensatedCombination | undefined {
  const { histogram, loss } = a;
  const positive = { ...positiveSide(histogram), lost: loss.positive };
  const negative = { ...negativeSide(histogram), lost: loss.negative };
  const merged = mergeBuckets(
    histogram,
    b,
    { positive, negative, zeroLost: loss.zeroCount },
    {
      subtract: false,
      overwrite,
    },
  );
  if (merged === undefined) return undefined;
  let { zeroCount, zeroLost } = merged;
  for (const more of [merged.otherZeroCount, merged.otherZeroLost]) {
    zeroLost = carriedLoss(zeroCount, more, zeroLost);
    zeroCount += more;
  }
  const sum: CompensatedHistogram = {
    histogram: {
      ...withSides(histogram, merged.positive, merged.negative),
      schema: merged.schema,
      zeroThreshold: merged.threshold,
      zeroCount,
      count: histogram.count + b.count,
      sum: histogram.sum + b.sum,
      customValues: merged.customValues,
      resetHint: combinedHint(histogram.resetHint, b.resetHint).resetHint,
    },
    loss: {
      zeroCount: zeroLost,
      count: carriedLoss(histogram.count, b.count, loss.count),
      sum: carriedLoss(histogram.sum, b.sum, loss.sum),
      positive: merged.positive.lost ?? new Float64Array(merged.positive.counts.length),
      negative: merged.negative.lost ?? new Float64Array(merged.negative.counts.length),
    },
  };
  return { sum, boundsReconciled: merged.boundsReconciled };
}

/** The sum with what was lost given back to it. */
export function closeCompensation({ histogram, loss }: CompensatedHistogram): NativeHistogram {
  return {
    ...histogram,
    zeroCount: histogram.zeroCount + loss.zeroCount,
    count: histogram.count + loss.count,
    sum: histogram.sum + loss.sum,
    positiveCounts: sumOf(histogram.positiveCounts, loss.positive),
    negativeCounts: sumOf(histogram.negativeCounts, loss.negative),
    integer: false,
  };
}

function sumOf(counts: Float64Array, lost: Float64Array): Float64Array {
  const out = new Float64Array(counts.length);
  for (let k = 0; k < out.length; k++) out[k] = (counts[k] ?? 0) + (lost[k] ?? 0);
  return out;
}

/** The sides of the first operand, as they are or with their losses. */
interface OwnSides {
  readonly positive: BucketSide;
  readonly negative: BucketSide;
  readonly zeroLost: number;
}

interface MergedBuckets extends ZeroedSides {
  readonly otherZeroCount: number;
  readonly otherZeroLost: number;
  readonly customValues: Float64Array;
  readonly boundsReconciled: boolean;
}

function mergeBuckets(
  a: NativeHistogram,
  b: NativeHistogram,
  own: OwnSides,
  mode: MergeMode,
): MergedBuckets | undefined {
  if (usesCustomBuckets(a) !== usesCustomBuckets(b)) return undefined;
  if (usesCustomBuckets(a)) return mergeCustom(a, b, own, mode);
  const shared = shareZero({ ...own, schema: a.schema, threshold: a.zeroThreshold, zeroCount: a.zeroCount }, b);
  let { positive, negative } = shared.own;
  const { threshold } = shared.own;
  let otherPositive = sideAbove(positiveSide(b), b.schema, threshold);
  let otherNegative = sideAbove(negativeSide(b), b.schema, threshold);
  const schema = Math.min(a.schema, b.schema);
  if (a.schema > schema) {
    positive = coarserSide(positive, a.schema - schema);
    negative = coarserSide(negative, a.schema - schema);
  } else if (b.schema > schema) {
    otherPositive = coarserSide(keepingLoss(otherPositive, positive), b.schema - schema);
    otherNegative = coarserSide(keepingLoss(otherNegative, negative), b.schema - schema);
  }
  return {
    ...shared.own,
    schema,
    positive: mergeSides(positive, otherPositive, mode),
    negative: mergeSides(negative, otherNegative, mode),
    otherZeroCount: shared.otherZeroCount,
    otherZeroLost: shared.otherZeroLost,
    customValues: a.customValues,
    boundsReconciled: false,
  };
}

/** Joining buckets loses digits too; they are kept where the sum they go into keeps its own. */
function keepingLoss(side: BucketSide, into: BucketSide): BucketSide {
  return into.lost === undefined ? side : { ...side, lost: new Float64Array(side.counts.length) };
}

function mergeCustom(a: NativeHistogram, b: NativeHistogram, own: OwnSides, mode: MergeMode): MergedBuckets {
  const boundsReconciled = !sameBounds(a.customValues, b.customValues);
  let positive: BucketSide;
  let customValues = a.customValues;
  if (boundsReconciled) {
    customValues = sharedBounds(a.customValues, b.customValues);
    const ownBuckets = { side: own.positive, bounds: a.customValues };
    positive = mergeCustomSides(
      ownBuckets,
      { side: positiveSide(b), bounds: b.customValues },
      customValues,
      mode.subtract,
    );
  } else {
    positive = mergeSides(own.positive, positiveSide(b), mode);
  }
  return {
    ...own,
    schema: a.schema,
    threshold: a.zeroThreshold,
    zeroCount: a.zeroCount,
    positive,
    otherZeroCount: 0,
    otherZeroLost: 0,
    customValues,
    boundsReconciled,
  };
}

/** The hint of a sum: equal ones stay, a gauge wins, and `reset` with `not_reset` is a collision. */
export function combinedHint(
  a: CounterResetHint,
  b: CounterResetHint,
): { resetHint: CounterResetHint; collision: boolean } {
  if (a === b) return { resetHint: a, collision: false };
  if (a === "gauge" || b === "gauge") return { resetHint: "gauge", collision: false };
  return { resetHint: "unknown", collision: a !== "unknown" && b !== "unknown" };
}
