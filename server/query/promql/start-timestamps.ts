/** What start timestamps say of counters. Times are Unix milliseconds; 0 where a start is unknown. */

/**
 * Whether a counter began anew between two samples, by their start timestamps.
 *
 * A start that is not before its own sample says nothing. One that equals the time of the sample before is a new
 * beginning only where that sample's own start was known, as it is for deltas.
 */
export function isStartReset(beforeStartMs: number, beforeMs: number, startMs: number, timeMs: number): boolean {
  if (beforeStartMs === startMs || startMs === 0 || startMs >= timeMs) return false;
  if (startMs !== beforeMs) return startMs > beforeMs;
  return beforeStartMs !== 0 && beforeStartMs < beforeMs;
}

/** Whether a counter began anew after `afterMs`, by the start timestamp of a sample. */
export function isStartResetAfter(afterMs: number, startMs: number, timeMs: number): boolean {
  if (startMs <= afterMs || timeMs <= afterMs) return false;
  return isStartReset(afterMs, afterMs, startMs, timeMs);
}

/** Whether a sample claims to count since before the sample before it, and that one counts since another time. */
export function startsOverlap(beforeStartMs: number, beforeMs: number, startMs: number): boolean {
  return startMs !== 0 && startMs < beforeMs && startMs !== beforeStartMs;
}
