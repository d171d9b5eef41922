/**
 * Chunks of a series and what comes after them as one run, whose times are decoded once for all series of one scrape: where
 * those of the series before are the same, only values are.
 */

import type { SampleRoom } from "../model/sample-room.ts";
import {
  emptyColumns,
  hasEvenTimes,
  type RunColumns,
  readChunk,
  type SampleRun,
  type SealedChunk,
} from "./metric-chunk.ts";
import { cutBetween, lowerBound, upperBound } from "./metric-runs.ts";

/** Samples behind the last chunk. */
export interface RunTail {
  /** The same object for the same times, as far as `count` goes; undefined where there is no sample. */
  readonly times: object | undefined;
  readonly count: number;
  /** Copies them to `[at, at + count)`, times too unless `columns` has them. */
  readonly copyTo: (columns: RunColumns, at: number) => void;
}

/** What is read, and where it is put. */
interface RunWindow {
  readonly minMs: number;
  readonly maxMs: number;
  readonly room: SampleRoom | undefined;
}

/**
 * The samples in `[minMs, maxMs]`; undefined where there are none.
 *
 * @param chunks In order of time, each behind the one before and all before the tail.
 */
export function readRun(chunks: readonly SealedChunk[], tail: RunTail, window: RunWindow): SampleRun | undefined {
  const { minMs, maxMs, room } = window;
  let total = tail.count;
  for (const { count } of chunks) total += count;
  const known = room?.known;
  if (room !== undefined && known !== undefined && isLike(known, chunks, tail, window)) {
    const values = room.take(total);
    // Where it lies in another page, times have to lie there too.
    if (room.known === known) {
      const { whole: timestampsMs, times, from, to } = known;
      const columns: RunColumns = {
        timestampsMs,
        values,
        histograms: undefined,
        startsMs: undefined,
        encoded: [],
        hasTimes: true,
      };
      fill(columns, chunks, tail);
      return cutBetween(columns, from, to, times);
    }
  }
  const columns = emptyColumns(total, room);
  fill(columns, chunks, tail);
  if (room !== undefined) columns.timestampsMs = room.shared(columns.timestampsMs);
  const { timestampsMs: whole } = columns;
  const from = lowerBound(whole, total, minMs);
  const to = upperBound(whole, total, maxMs);
  if (from >= to) return undefined;
  const times = to - from === total ? whole : whole.subarray(from, to);
  if (room !== undefined && whole.buffer === columns.values.buffer && chunks.every(hasEvenTimes)) {
    room.known = { chunks, tail: tail.times, tailCount: tail.count, minMs, maxMs, whole, times, from, to };
  }
  return cutBetween(columns, from, to, times);
}

function fill(columns: RunColumns, chunks: readonly SealedChunk[], tail: RunTail): void {
  let at = 0;
  for (const chunk of chunks) {
    readChunk(chunk, columns, at);
    at += chunk.count;
  }
  if (tail.count > 0) tail.copyTo(columns, at);
}

/** Whether a run has the times that are known: even steps are told by their ends. */
function isLike(
  known: NonNullable<SampleRoom["known"]>,
  chunks: readonly SealedChunk[],
  tail: RunTail,
  { minMs, maxMs }: RunWindow,
): boolean {
  if (known.tail !== tail.times || known.tailCount !== tail.count || known.chunks.length !== chunks.length)
    return false;
  if (known.minMs !== minMs || known.maxMs !== maxMs) return false;
  for (let i = 0; i < chunks.length; i++) {
    const a = known.chunks[i];
    const b = chunks[i];
    if (a === undefined || b === undefined) return false;
    if (a.count !== b.count || a.minMs !== b.minMs || a.maxMs !== b.maxMs) return false;
    if (!hasEvenTimes(b)) return false;
  }
  return true;
}
