/** Windows by their length, and which of them a span of time is read from. */

import type { MetricBlocks } from "./metric-blocks.ts";

/** Windows of one length. */
export interface Level {
  readonly resolutionMs: number;
  /** What one block holds: so many windows that a chunk pays, so few that late samples cost little. */
  readonly rangeMs: number;
  readonly retentionMs: number;
  readonly blocks: MetricBlocks;
  /** `-Infinity` before the first range. */
  doneBelowMs: number;
  /** Starts of ranges to write anew. */
  readonly dirty: Set<number>;
}

/** A span of time, both ends included, with what is to be read there: the windows of a level, or else the samples. */
interface Piece {
  readonly level: Level | undefined;
  readonly minMs: number;
  readonly maxMs: number;
}

/**
 * Cuts `[minMs, maxMs]` into spans, in order. Windows that went by their retention or the size of all blocks leave what
 * is kept of shorter ones, or of the samples.
 *
 * @param levels The ones with the longest windows first; where several have windows the first of them is taken.
 */
export function piecesOf(levels: readonly Level[], minMs: number, maxMs: number): Piece[] {
  const pieces: Piece[] = [];
  for (let fromMs = minMs; fromMs <= maxMs; ) {
    let toMs = maxMs;
    let chosen: Level | undefined;
    for (const level of levels) {
      const afterMs = keptAfterMs(level);
      if (level.doneBelowMs < fromMs || level.doneBelowMs <= afterMs) continue;
      toMs = Math.min(toMs, afterMs < fromMs ? level.doneBelowMs : afterMs);
      if (afterMs >= fromMs) continue;
      chosen = level;
      break;
    }
    pieces.push({ level: chosen, minMs: fromMs, maxMs: toMs });
    fromMs = toMs + 1;
  }
  return pieces;
}

/** Where the oldest range that is kept starts; its own windows come after that. */
function keptAfterMs({ rangeMs, blocks }: Level): number {
  let oldestMs = Number.POSITIVE_INFINITY;
  for (const { foot } of blocks.all) oldestMs = Math.min(oldestMs, foot.minMs);
  return rangeStart(oldestMs, rangeMs);
}

/** The range in which a time lies: ranges are open at their start. */
export function rangeStart(ms: number, rangeMs: number): number {
  return (Math.ceil(ms / rangeMs) - 1) * rangeMs;
}
