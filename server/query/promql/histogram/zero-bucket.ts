/** The zero bucket of exponential histograms: made wider so that two of them can be put together. */

import { exponentialBound } from "../../../model/bucket-bounds.ts";
import { bucketIndexes } from "../../../model/bucket-indexes.ts";
import type { NativeHistogram } from "../../../model/histogram.ts";
import { carriedLoss } from "../compensated.ts";
import { type BucketSide, compactSide } from "./bucket-layout.ts";

/** The parts of a histogram that a wider zero bucket changes. */
export interface ZeroedSides {
  readonly schema: number;
  readonly threshold: number;
  readonly zeroCount: number;
  /** What rounding took from `zeroCount`; 0 where nobody keeps it. */
  readonly zeroLost: number;
  readonly positive: BucketSide;
  readonly negative: BucketSide;
}

/** What a zero bucket would count if it were wider. */
export interface WiderZero {
  readonly zeroCount: number;
  readonly zeroLost: number;
  readonly threshold: number;
}

/** The parts of `histogram` that a wider zero bucket changes, with nothing lost so far. */
export function zeroedSides(histogram: NativeHistogram): ZeroedSides {
  return {
    schema: histogram.schema,
    threshold: histogram.zeroThreshold,
    zeroCount: histogram.zeroCount,
    zeroLost: 0,
    positive: { spans: histogram.positiveSpans, counts: histogram.positiveCounts },
    negative: { spans: histogram.negativeSpans, counts: histogram.negativeCounts },
  };
}

/**
 * What the zero bucket would count up to `threshold`, which is not below the threshold it has.
 *
 * Where that would cut a bucket that counts something, the threshold moves on to the far end of that bucket.
 */
export function widerZero(of: ZeroedSides, threshold: number): WiderZero {
  if (threshold === of.threshold) return { zeroCount: of.zeroCount, zeroLost: of.zeroLost, threshold };
  let reached = threshold;
  for (;;) {
    const start = { zeroCount: of.zeroCount, zeroLost: of.zeroLost, threshold: reached };
    const positive = swallow(of.positive, of.schema, start);
    const negative = swallow(of.negative, of.schema, positive);
    // A threshold that grew on the negative side may reach into further positive buckets.
    if (negative.threshold === positive.threshold) return negative;
    reached = negative.threshold;
  }
}

/** Adds the buckets of one side that begin below the threshold. */
function swallow(side: BucketSide, schema: number, zero: WiderZero): WiderZero {
  const indexes = bucketIndexes(side.spans, side.counts.length);
  let { zeroCount, zeroLost, threshold } = zero;
  for (let k = 0; k < indexes.length; k++) {
    const index = indexes[k] ?? 0;
    if (exponentialBound(index - 1, schema) >= threshold) break;
    const count = side.counts[k] ?? 0;
    zeroLost = carriedLoss(zeroCount, count, zeroLost);
    zeroCount += count;
    if (side.lost !== undefined) {
      const lost = side.lost[k] ?? 0;
      zeroLost = carriedLoss(zeroCount, lost, zeroLost);
      zeroCount += lost;
    }
    const end = exponentialBound(index, schema);
    if (end > threshold) {
      if (count !== 0) threshold = end;
      break;
    }
  }
  return { zeroCount, zeroLost, threshold };
}

/** With a zero bucket up to `threshold` or further: its buckets counted there, and gone from the sides. */
function widenZero(of: ZeroedSides, threshold: number): ZeroedSides {
  const zero = widerZero(of, threshold);
  return {
    schema: of.schema,
    ...zero,
    positive: withoutBelow(of.positive, of.schema, zero.threshold),
    negative: withoutBelow(of.negative, of.schema, zero.threshold),
  };
}

function withoutBelow(side: BucketSide, schema: number, threshold: number): BucketSide {
  const indexes = bucketIndexes(side.spans, side.counts.length);
  const counts = side.counts.slice();
  const lost = side.lost?.slice();
  for (let k = 0; k < indexes.length; k++) {
    if (exponentialBound((indexes[k] ?? 0) - 1, schema) >= threshold) break;
    counts[k] = 0;
    if (lost !== undefined) lost[k] = 0;
  }
  return compactSide({ spans: side.spans, counts, lost });
}

/** The first of two with the zero bucket both can share, and what the second counts in it. */
export interface SharedZero {
  readonly own: ZeroedSides;
  readonly otherZeroCount: number;
  readonly otherZeroLost: number;
}

/** Finds the narrowest zero bucket that holds both and cuts no bucket that counts something. */
export function shareZero(own: ZeroedSides, other: NativeHistogram): SharedZero {
  const others = zeroedSides(other);
  let left = own;
  let right: WiderZero = { zeroCount: other.zeroCount, zeroLost: 0, threshold: other.zeroThreshold };
  while (left.threshold !== right.threshold) {
    if (left.threshold > right.threshold) right = widerZero(others, left.threshold);
    if (right.threshold > left.threshold) left = widenZero(left, right.threshold);
  }
  return { own: left, otherZeroCount: right.zeroCount, otherZeroLost: right.zeroLost };
}
