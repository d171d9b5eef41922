/** One side of a histogram, its spans and counts: put together, made coarser, cleared of empty buckets. */

import { exponentialBound } from "../../../model/bucket-bounds.ts";
import { bucketIndexes, spansOfIndexes, writeIndexes } from "../../../model/bucket-indexes.ts";
import type { BucketSpan } from "../../../model/histogram.ts";
import { sameSpans } from "../../../model/histogram-layout.ts";
import { carriedLoss } from "../compensated.ts";
import { PromqlExecutionError } from "../query-error.ts";

/** The positive or the negative buckets. */
export interface BucketSide {
  readonly spans: readonly BucketSpan[];
  readonly counts: Float64Array;
  /** What rounding took from each count; undefined where nobody keeps it. */
  readonly lost?: Float64Array | undefined;
}

/** Whether two sides have the same buckets, however their spans are cut. */
export function sameBuckets(a: BucketSide, b: BucketSide): boolean {
  if (a.counts.length !== b.counts.length) return false;
  if (sameSpans(a.spans, b.spans)) return true;
  const others = bucketIndexes(b.spans, b.counts.length);
  return bucketIndexes(a.spans, a.counts.length).every((index, k) => index === others[k]);
}

/** Without buckets that count nothing (and lost nothing), under the fewest spans. */
export function compactSide(side: BucketSide): BucketSide {
  const { spans, counts, lost } = side;
  let kept = 0;
  for (let k = 0; k < counts.length; k++) if (counts[k] !== 0 || (lost !== undefined && lost[k] !== 0)) kept++;
  const isTight = spans.every(({ offset, length }, k) => length > 0 && (k === 0 || offset > 0));
  if (kept === counts.length && isTight) return side;
  const indexes = bucketIndexes(spans, counts.length);
  const out = outputOf(kept, lost !== undefined);
  let at = 0;
  for (let k = 0; k < indexes.length; k++) {
    const count = counts[k] ?? 0;
    if (count === 0 && (lost === undefined || lost[k] === 0)) continue;
    out.indexes[at] = indexes[k] ?? 0;
    out.counts[at] = count;
    if (out.lost !== undefined) out.lost[at] = lost?.[k] ?? 0;
    at++;
  }
  return closeOutput(out, at);
}

/** Index of the bucket of a coarser schema, `shift` steps down, that holds bucket `index`. */
function coarserIndex(index: number, shift: number): number {
  return ((index - 1) >> shift) + 1;
}

/**
 * Joins neighbouring buckets until they are those of a schema `shift` steps coarser.
 *
 * @throws PromqlExecutionError where spans and counts do not fit, in Prometheus' words.
 */
export function coarserSide(side: BucketSide, shift: number): BucketSide {
  const { spans, counts, lost } = side;
  checkSpans(spans, counts.length);
  const indexes = bucketIndexes(spans, counts.length);
  const out = outputOf(counts.length, lost !== undefined);
  let at = -1;
  for (let k = 0; k < indexes.length; k++) {
    const index = coarserIndex(indexes[k] ?? 0, shift);
    const count = counts[k] ?? 0;
    if (at === -1 || out.indexes[at] !== index) {
      at++;
      out.indexes[at] = index;
      out.counts[at] = count;
      if (out.lost !== undefined) out.lost[at] = lost?.[k] ?? 0;
    } else {
      increase(out, at, count, lost === undefined ? undefined : lost[k]);
    }
  }
  return closeOutput(out, at + 1);
}

function checkSpans(spans: readonly BucketSpan[], have: number): void {
  let need = 0;
  spans.forEach(({ offset, length }, n) => {
    if (n > 0 && offset < 0) {
      throw new PromqlExecutionError(
        `span number ${n + 1} with offset ${offset}: histogram has a span whose offset is negative`,
      );
    }
    need += length;
  });
  if (need !== have) {
    const why = "histogram spans specify different number of buckets than provided";
    throw new PromqlExecutionError(`spans need ${need} buckets, have ${have} buckets: ${why}`);
  }
}

/** Without the exponential buckets that end at or below `threshold`, which the zero bucket has counted. */
export function sideAbove(side: BucketSide, schema: number, threshold: number): BucketSide {
  const { spans, counts, lost } = side;
  const first = spans[0];
  if (counts.length === 0 || first === undefined) return side;
  if (first.length > 0 && exponentialBound(first.offset, schema) > threshold) return side;
  const indexes = bucketIndexes(spans, counts.length);
  let skipped = 0;
  while (skipped < indexes.length && exponentialBound(indexes[skipped] ?? 0, schema) <= threshold) skipped++;
  if (skipped === 0) return side;
  return {
    spans: spansOfIndexes(indexes.subarray(skipped)),
    counts: counts.subarray(skipped),
    lost: lost?.subarray(skipped),
  };
}

/** How two sides are put together. */
export interface MergeMode {
  /** Take the second away. */
  readonly subtract: boolean;
  /** The counts of the first belong to the caller and are written over where it has all buckets of the second. */
  readonly overwrite: boolean;
}

/**
 * `a` and `b` put together; what `a` loses to rounding is carried on where it keeps that.
 *
 * Both have the same schema or custom bounds. `b` is never changed.
 */
export function mergeSides(a: BucketSide, b: BucketSide, { subtract, overwrite }: MergeMode): BucketSide {
  if (b.counts.length === 0) return a;
  const sign = subtract ? -1 : 1;
  if (a.counts.length !== b.counts.length || !sameSpans(a.spans, b.spans)) return interleave(a, b, sign, overwrite);
  const counts = overwrite ? a.counts : a.counts.slice();
  const lost = overwrite ? a.lost : a.lost?.slice();
  if (lost === undefined) {
    for (let k = 0; k < counts.length; k++) counts[k] = (counts[k] ?? 0) + sign * (b.counts[k] ?? 0);
  } else {
    for (let k = 0; k < counts.length; k++) carry(counts, lost, k, sign * (b.counts[k] ?? 0));
    for (let k = 0; k < (b.lost?.length ?? 0); k++) carry(counts, lost, k, sign * (b.lost?.[k] ?? 0));
  }
  return { spans: a.spans, counts, lost };
}

function lossOf(side: BucketSide, k: number, sign: number): number | undefined {
  return side.lost === undefined ? undefined : sign * (side.lost[k] ?? 0);
}

/** Where sides are put together before the result has its length; grows with the longest. */
let ownIndexes = new Int32Array(0);
let otherIndexes = new Int32Array(0);
let scratch = outputOf(0, true);

function interleave(a: BucketSide, b: BucketSide, sign: number, overwrite: boolean): BucketSide {
  const room = a.counts.length + b.counts.length;
  if (scratch.counts.length < room) {
    scratch = outputOf(2 * room, true);
    ownIndexes = new Int32Array(2 * room);
    otherIndexes = new Int32Array(2 * room);
  }
  const owns = writeIndexes(a.spans, a.counts.length, ownIndexes);
  const others = writeIndexes(b.spans, b.counts.length, otherIndexes);
  if (areTight(a.spans, a.counts.length) && areAmong(otherIndexes, others, ownIndexes, owns)) {
    return increaseAll(a, b, others, { sign, overwrite });
  }
  const out: Output = a.lost === undefined ? { ...scratch, lost: undefined } : scratch;
  let at = 0;
  let i = 0;
  let j = 0;
  while (i < owns || j < others) {
    const left = i < owns ? (ownIndexes[i] ?? 0) : Number.POSITIVE_INFINITY;
    const right = j < others ? (otherIndexes[j] ?? 0) : Number.POSITIVE_INFINITY;
    if (left <= right) {
      out.indexes[at] = left;
      out.counts[at] = a.counts[i] ?? 0;
      if (out.lost !== undefined) out.lost[at] = a.lost?.[i] ?? 0;
      if (left === right) increase(out, at, sign * (b.counts[j] ?? 0), lossOf(b, j, sign));
      i++;
      if (left === right) j++;
    } else {
      out.indexes[at] = right;
      out.counts[at] = sign * (b.counts[j] ?? 0);
      if (out.lost !== undefined) out.lost[at] = lossOf(b, j, sign) ?? 0;
      j++;
    }
    at++;
  }
  const counts = out.counts.slice(0, at);
  return { spans: spansOfIndexes(out.indexes, at), counts, lost: out.lost?.slice(0, at) };
}

/** Whether growing indexes are all among others, which are replaced by the places at which they stand there. */
function areAmong(indexes: Int32Array, count: number, others: Int32Array, otherCount: number): boolean {
  let at = 0;
  for (let i = 0; i < count; i++) {
    const index = indexes[i] as number; // in range, as below
    while (at < otherCount && (others[at] as number) < index) at++;
    if (at === otherCount || others[at] !== index) return false;
  }
  at = 0;
  for (let i = 0; i < count; i++) {
    while (others[at] !== indexes[i]) at++;
    indexes[i] = at;
  }
  return true;
}

/** Whether spans are those that `spansOfIndexes` makes of so many buckets. */
function areTight(spans: readonly BucketSpan[], buckets: number): boolean {
  let left = buckets;
  for (let n = 0; n < spans.length; n++) {
    const { offset, length } = spans[n] as BucketSpan; // in range: the loop's bounds
    if (length <= 0 || (n > 0 && offset <= 0)) return false;
    left -= length;
  }
  return left === 0;
}

/** Adds to buckets of `a` at the places in `otherIndexes`: the first `count` of `b` are among them. */
function increaseAll(
  a: BucketSide,
  b: BucketSide,
  count: number,
  { sign, overwrite }: { readonly sign: number; readonly overwrite: boolean },
): BucketSide {
  const counts = overwrite ? a.counts : a.counts.slice();
  const lost = overwrite ? a.lost : a.lost?.slice();
  const out = { indexes: otherIndexes, counts, lost };
  for (let j = 0; j < count; j++) {
    increase(out, otherIndexes[j] as number, sign * (b.counts[j] as number), lossOf(b, j, sign)); // in range: a place each
  }
  return { spans: a.spans, counts, lost };
}

/** Buckets that are being written, with room for the most there can be. */
interface Output {
  readonly indexes: Int32Array;
  readonly counts: Float64Array;
  readonly lost: Float64Array | undefined;
}

function outputOf(room: number, withLost: boolean): Output {
  return {
    indexes: new Int32Array(room),
    counts: new Float64Array(room),
    lost: withLost ? new Float64Array(room) : undefined,
  };
}

function closeOutput(out: Output, used: number): BucketSide {
  const full = used === out.counts.length;
  return {
    spans: spansOfIndexes(full ? out.indexes : out.indexes.subarray(0, used)),
    counts: full ? out.counts : out.counts.slice(0, used),
    lost: full ? out.lost : out.lost?.slice(0, used),
  };
}

/** Adds to a bucket, and then what the added count itself had lost. */
function increase({ counts, lost }: Output, at: number, count: number, lossOfCount: number | undefined): void {
  if (lost === undefined) {
    counts[at] = (counts[at] ?? 0) + count;
    return;
  }
  carry(counts, lost, at, count);
  if (lossOfCount !== undefined) carry(counts, lost, at, lossOfCount);
}

function carry(counts: Float64Array, lost: Float64Array, at: number, value: number): void {
  const sum = counts[at] ?? 0;
  lost[at] = carriedLoss(sum, value, lost[at] ?? 0);
  counts[at] = sum + value;
}

/**
 * Puts two sides of custom buckets with different bounds together in the buckets that both know.
 *
 * Custom buckets have no zero bucket, and sums are compensated even where the loss is not kept, as in Prometheus.
 */
export function mergeCustomSides(
  a: { readonly side: BucketSide; readonly bounds: Float64Array },
  b: { readonly side: BucketSide; readonly bounds: Float64Array },
  shared: Float64Array,
  subtract: boolean,
): BucketSide {
  const buckets = shared.length + 1;
  const out: Output = {
    indexes: Int32Array.from({ length: buckets }, (_, k) => k),
    counts: new Float64Array(buckets),
    lost: new Float64Array(buckets),
  };
  pour(a.side, a.bounds, shared, out, 1);
  pour({ ...b.side, lost: undefined }, b.bounds, shared, out, subtract ? -1 : 1);
  const compacted = compactSide({ spans: [{ offset: 0, length: buckets }], counts: out.counts, lost: out.lost });
  return a.side.lost === undefined ? { ...compacted, lost: undefined } : compacted;
}

function pour(side: BucketSide, bounds: Float64Array, shared: Float64Array, out: Output, sign: number): void {
  const indexes = bucketIndexes(side.spans, side.counts.length);
  let target = 0;
  for (let k = 0; k < indexes.length; k++) {
    const bound = bounds[indexes[k] ?? 0] ?? Number.POSITIVE_INFINITY;
    while (target < shared.length && (shared[target] ?? 0) < bound) target++;
    increase(out, target, sign * (side.counts[k] ?? 0), side.lost?.[k]);
  }
}

/** Bounds that both lists have. Each list grows. */
export function sharedBounds(a: Float64Array, b: Float64Array): Float64Array {
  const others = new Set(b);
  return a.filter((bound) => others.has(bound));
}
