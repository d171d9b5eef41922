/** Stretches of time, and chunks without the samples in them. */

import { emptyColumns, readChunk, type SealedChunk, sealChunk } from "./metric-chunk.ts";

/** Milliseconds, both ends included. */
export interface Interval {
  readonly minMs: number;
  readonly maxMs: number;
}

/** The same times in as few intervals as there are, in order, none touching another. */
export function merged(intervals: readonly Interval[]): Interval[] {
  const out: { minMs: number; maxMs: number }[] = [];
  for (const { minMs, maxMs } of [...intervals].sort((a, b) => a.minMs - b.minMs)) {
    const last = out.at(-1);
    if (last !== undefined && minMs <= last.maxMs + 1) last.maxMs = Math.max(last.maxMs, maxMs);
    else out.push({ minMs, maxMs });
  }
  return out;
}

/** Whether one of the intervals, none touching another, holds all of `[minMs, maxMs]`. */
export function coversAll(intervals: readonly Interval[], minMs: number, maxMs: number): boolean {
  return intervals.some((interval) => interval.minMs <= minMs && interval.maxMs >= maxMs);
}

/** Chunks without the samples in the intervals; chunks that lose none are the same objects. */
export function withoutIntervals(chunks: readonly SealedChunk[], intervals: readonly Interval[]): SealedChunk[] {
  return chunks.flatMap((chunk) => {
    const near = intervals.filter(({ minMs, maxMs }) => maxMs >= chunk.minMs && minMs <= chunk.maxMs);
    if (near.length === 0) return [chunk];
    return coversAll(near, chunk.minMs, chunk.maxMs) ? [] : stretchesOutside(chunk, near);
  });
}

function stretchesOutside(chunk: SealedChunk, intervals: readonly Interval[]): SealedChunk[] {
  const columns = emptyColumns(chunk.count);
  readChunk(chunk, columns, 0);
  const isHidden = (at: number) => {
    const ms = columns.timestampsMs[at] ?? 0;
    return intervals.some(({ minMs, maxMs }) => ms >= minMs && ms <= maxMs);
  };
  const kept: SealedChunk[] = [];
  for (let from = 0; from < chunk.count; from++) {
    if (isHidden(from)) continue;
    let to = from + 1;
    while (to < chunk.count && !isHidden(to)) to++;
    kept.push(sealChunk(columns, from, to));
    from = to;
  }
  return kept;
}
