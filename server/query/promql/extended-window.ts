/**
 * `anchored` and `smoothed` ranges over floats: what lies at their edges is taken from samples outside.
 *
 * Anchored, a range begins with the last sample at or before its left edge. Smoothed, the values at both edges are
 * interpolated. Neither extrapolates. For counters a start timestamp is a sample of zero at that time.
 *
 * @see Prometheus, promql/functions.go, extendedRate
 */

import { isStartReset, isStartResetAfter } from "./start-timestamps.ts";

/** Samples of one series around a range: `[low, high)`. Times are whole milliseconds. */
export interface TimedSamples {
  readonly timestampsMs: Float64Array;
  readonly low: number;
  readonly high: number;
  /** Edges of the range itself. */
  readonly startMs: number;
  readonly endMs: number;
}

/** Floats of one series around a range. */
export interface ExtendedFloats extends TimedSamples {
  readonly values: Float64Array;
  /** Undefined where start timestamps are unknown or not looked at. */
  readonly startsMs: Float64Array | undefined;
  /** How far back samples may be. */
  readonly earliestMs: number;
}

/** A value, or a sample's place and value. */
interface Point {
  readonly timeMs: number;
  readonly value: number;
}

/** A value at an edge, and since when it counts; 0 where that is unknown. */
interface Edge {
  readonly value: number;
  readonly startMs: number;
}

/** Which samples a range uses: `first` is the last one at or before the left edge, where there is one. */
export interface Span {
  readonly first: number;
  readonly last: number;
}

/** How values between samples are understood. */
interface EdgeRules {
  readonly isSmoothed: boolean;
  /** Falls and start timestamps are resets. */
  readonly isCounter: boolean;
}

function timeAt({ timestampsMs }: ExtendedFloats, index: number): number {
  return timestampsMs[index] ?? Number.NaN;
}

function startAt({ startsMs }: ExtendedFloats, index: number): number {
  return startsMs?.[index] ?? 0;
}

function pointAt(floats: ExtendedFloats, index: number): Point {
  return { timeMs: timeAt(floats, index), value: floats.values[index] ?? Number.NaN };
}

/** Finds the samples of a range; undefined where none lies after its left edge. */
export function extendedSpan(samples: TimedSamples, isSmoothed: boolean): Span | undefined {
  const { timestampsMs, low, high, startMs, endMs } = samples;
  const newest = high - 1;
  const first = Math.max(low, firstFrom(timestampsMs, low, newest, startMs + 1) - 1);
  const last = isSmoothed ? firstFrom(timestampsMs, low, newest, endMs) : newest;
  return (timestampsMs[last] ?? Number.NaN) <= startMs ? undefined : { first, last };
}

/** The first index in `[low, high)` whose time is at least `timeMs`; `high` where there is none. */
function firstFrom(timestampsMs: Float64Array, low: number, high: number, timeMs: number): number {
  let from = low;
  let to = high;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((timestampsMs[middle] ?? Number.NaN) < timeMs) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** Linear between two samples; a counter that fell began at zero. */
export function interpolate(before: Point, after: Point, timeMs: number, isCounter: boolean): number {
  const from = isCounter && after.value < before.value ? 0 : before.value;
  return from + ((after.value - from) * (timeMs - before.timeMs)) / (after.timeMs - before.timeMs);
}

function leftEdge(floats: ExtendedFloats, first: number, { isSmoothed, isCounter }: EdgeRules): Edge {
  const { startMs, earliestMs } = floats;
  let before = pointAt(floats, first);
  const beforeStartMs = startAt(floats, first);
  let startedMs = beforeStartMs > startMs ? 0 : beforeStartMs;
  if (before.timeMs === startMs) return { value: before.value, startMs: beforeStartMs };
  if (before.timeMs > startMs) {
    if (!isCounter || !isStartResetAfter(earliestMs, beforeStartMs, before.timeMs)) {
      return { value: before.value, startMs: startedMs };
    }
    const zero = { timeMs: beforeStartMs, value: 0 };
    const isInside = isStartResetAfter(startMs, beforeStartMs, before.timeMs);
    const value = isInside || !isSmoothed ? 0 : interpolate(zero, before, startMs, isCounter);
    return { value, startMs: startedMs };
  }
  let after = pointAt(floats, first + 1);
  const afterStartMs = startAt(floats, first + 1);
  if (isCounter) {
    if (isStartResetAfter(startMs, afterStartMs, after.timeMs)) after = { timeMs: afterStartMs, value: 0 };
    else if (isStartReset(beforeStartMs, before.timeMs, afterStartMs, after.timeMs)) {
      before = { timeMs: afterStartMs, value: 0 };
      startedMs = afterStartMs;
    }
  }
  return { value: isSmoothed ? interpolate(before, after, startMs, isCounter) : before.value, startMs: startedMs };
}

function rightEdge(floats: ExtendedFloats, last: number, { isSmoothed, isCounter }: EdgeRules): Edge {
  const { endMs, earliestMs, low } = floats;
  let after = pointAt(floats, last);
  const afterStartMs = startAt(floats, last);
  let startedMs = afterStartMs > endMs ? 0 : afterStartMs;
  if (after.timeMs <= endMs) return { value: after.value, startMs: startedMs };
  if (last === low) {
    if (!isCounter || !isStartResetAfter(earliestMs, afterStartMs, after.timeMs)) {
      return { value: after.value, startMs: startedMs };
    }
    const zero = { timeMs: afterStartMs, value: 0 };
    const isLater = isStartResetAfter(endMs, afterStartMs, after.timeMs);
    const value = isLater || !isSmoothed ? 0 : interpolate(zero, after, endMs, isCounter);
    return { value, startMs: startedMs };
  }
  let before = pointAt(floats, last - 1);
  const beforeStartMs = startAt(floats, last - 1);
  if (isCounter) {
    if (isStartResetAfter(endMs, afterStartMs, after.timeMs)) {
      after = { timeMs: afterStartMs, value: 0 };
      startedMs = beforeStartMs;
    } else if (isStartReset(beforeStartMs, before.timeMs, afterStartMs, after.timeMs)) {
      before = { timeMs: afterStartMs, value: 0 };
    }
  }
  return { value: isSmoothed ? interpolate(before, after, endMs, isCounter) : before.value, startMs: startedMs };
}

/** The samples of a span that lie strictly inside the range: `[from, to)`. */
function inside(floats: ExtendedFloats, { first, last }: Span): { readonly from: number; readonly to: number } {
  const from = timeAt(floats, first) <= floats.startMs ? first + 1 : first;
  const to = timeAt(floats, last) >= floats.endMs ? last : last + 1;
  return { from, to: Math.max(from, to) };
}

/** What a counter had reached before each reset. */
function lostToResets(floats: ExtendedFloats, span: Span, left: Edge, right: Edge): number {
  let lost = 0;
  let before = left.value;
  let beforeMs = floats.startMs;
  let beforeStartMs = left.startMs;
  const { from, to } = inside(floats, span);
  for (let i = from; i < to; i++) {
    const { value, timeMs } = pointAt(floats, i);
    const startMs = startAt(floats, i);
    if (value < before || isStartReset(beforeStartMs, beforeMs, startMs, timeMs)) lost += before;
    before = value;
    beforeMs = timeMs;
    beforeStartMs = startMs;
  }
  if (right.value < before || isStartReset(beforeStartMs, beforeMs, right.startMs, floats.endMs)) lost += before;
  return lost;
}

/** How much a series grew over a range; undefined where it has no sample there. */
export function extendedDifference(floats: ExtendedFloats, rules: EdgeRules): number | undefined {
  const span = extendedSpan(floats, rules.isSmoothed);
  if (span === undefined) return undefined;
  const firstMs = timeAt(floats, span.first);
  if (rules.isSmoothed && firstMs > floats.endMs) {
    const firstStartMs = startAt(floats, span.first);
    const startsBefore =
      rules.isCounter &&
      isStartResetAfter(floats.earliestMs, firstStartMs, firstMs) &&
      !isStartResetAfter(floats.endMs, firstStartMs, firstMs);
    if (!startsBefore) return undefined;
  }
  const left = leftEdge(floats, span.first, rules);
  const right = rightEdge(floats, span.last, rules);
  const difference = right.value - left.value;
  return rules.isCounter ? difference + lostToResets(floats, span, left, right) : difference;
}

/** Samples of a range with a value at each edge: what a query of the range itself answers. */
export function extendedSamples(floats: ExtendedFloats, isSmoothed: boolean): readonly Point[] {
  if (floats.low === floats.high) return [];
  const span = extendedSpan(floats, isSmoothed);
  if (span === undefined) return [];
  const rules = { isSmoothed, isCounter: false };
  const { from, to } = inside(floats, span);
  const points: Point[] = [{ timeMs: floats.startMs, value: leftEdge(floats, span.first, rules).value }];
  for (let i = from; i < to; i++) points.push(pointAt(floats, i));
  points.push({ timeMs: floats.endMs, value: rightEdge(floats, span.last, rules).value });
  return points;
}

/**
 * The first sample that counts for what compares neighbours: the last one at or before the left edge.
 *
 * @returns `high` where no sample lies after the left edge.
 */
export function anchorIndex({ timestampsMs, low, high, startMs }: TimedSamples): number {
  const after = firstFrom(timestampsMs, low, high, startMs + 1);
  return after === high ? high : Math.max(low, after - 1);
}
