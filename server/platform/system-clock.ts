/** The machine's own clock. */

import type { Clock } from "../model/clock.ts";

/** How far the interpolated wall clock may stray from `Date.now()` before it is set again. */
const STRAY_NS_MAX = 2_000_000n;

/**
 * Makes a clock of the machine's wall and monotonic time.
 *
 * Node tells wall time in milliseconds only: below that the monotonic clock interpolates, so two readings in one
 * millisecond differ. A stepped wall clock is followed at the next reading.
 */
export function systemClock(): Clock {
  let offsetNs = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();
  return {
    nowMs: () => Date.now(),
    nowUnixNano: () => {
      const monotonicNs = process.hrtime.bigint();
      const wallNs = BigInt(Date.now()) * 1_000_000n;
      const strayNs = monotonicNs + offsetNs - wallNs;
      if (strayNs < 0n || strayNs > STRAY_NS_MAX) offsetNs = wallNs - monotonicNs;
      return monotonicNs + offsetNs;
    },
    monotonicMs: () => performance.now(),
  };
}
