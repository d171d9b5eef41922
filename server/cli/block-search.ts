/** Finds where samples go on behind a stretch without any, by asking whether longer and longer stretches hold some. */

/** Length of a block, and what its times are multiples of. */
export const BLOCK_MS = 2 * 3_600_000;

/** Whether there is a sample in a range, both times included. */
export type HoldsSamples = (minMs: number, maxMs: number) => Promise<boolean>;

/**
 * The start of the first block that holds samples, of those from `startMs` to `maxMs`; undefined where there is none.
 *
 * Asks about twice for each doubling of the distance to it.
 *
 * @param startMs A start of a block.
 */
export async function nextBlock(holds: HoldsSamples, startMs: number, maxMs: number): Promise<number | undefined> {
  let fromMs = startMs;
  let widthMs = BLOCK_MS;
  while (fromMs <= maxMs && !(await holds(fromMs, Math.min(maxMs, fromMs + widthMs - 1)))) {
    fromMs += widthMs;
    widthMs *= 2;
  }
  if (fromMs > maxMs) return undefined;
  // The first that holds some is within the width, whole blocks all of it.
  while (widthMs > BLOCK_MS) {
    widthMs /= 2;
    if (fromMs + widthMs > maxMs) continue;
    if (!(await holds(fromMs, fromMs + widthMs - 1))) fromMs += widthMs;
  }
  return fromMs;
}
