/**
 * Work over long lists, cut so that the loop turns in between.
 */

import { setImmediate } from "node:timers/promises";

/** How long one slice may hold the loop. */
const SLICE_MS = 5;
/** The clock is read once for so many. */
const CLOCK_EVERY = 256;

/** Visits all in order; other work runs at least every few milliseconds. @throws The signal's reason once aborted. */
export async function visitSliced<T>(
  all: Iterable<T>,
  visit: (one: T) => void,
  signal?: AbortSignal | undefined,
): Promise<void> {
  let sinceMs = performance.now();
  let count = 0;
  for (const one of all) {
    visit(one);
    count++;
    if (count % CLOCK_EVERY !== 0 || performance.now() - sinceMs < SLICE_MS) continue;
    await setImmediate();
    signal?.throwIfAborted();
    sinceMs = performance.now();
  }
}
