/**
 * Boot time and its offset to Unix time.
 */

import { readFileSync } from "node:fs";
import type { ClockOffset } from "../../server/model/capture-event.ts";

/** Clocks of the kernel, where the addon gives them. */
export interface NativeClocks {
  clockBootNs(): bigint;
  clockRealtimeNs(): bigint;
}

/** Boot time in nanoseconds, and what makes Unix time of it. */
export interface BootClock {
  nowNs(): number;
  /** Measured at most a second ago: the wall clock may step. */
  offset(): ClockOffset;
}

const offsetKeptNs = 1e9;

/**
 * Makes a boot clock.
 *
 * Without the addon boot time is the monotonic clock plus the time the machine has slept, read once; it is exact
 * enough for replay, whose times are made here.
 */
export function bootClock(native: NativeClocks | undefined): BootClock {
  const bootNs = native === undefined ? bootWithoutNative() : () => native.clockBootNs();
  const realtimeNs = native === undefined ? () => BigInt(Date.now()) * 1_000_000n : () => native.clockRealtimeNs();
  let measuredNs = Number.NEGATIVE_INFINITY;
  let offset: ClockOffset = { bootToUnixNano: 0n };
  return {
    nowNs: () => Number(bootNs()),
    offset: () => {
      const nowNs = bootNs();
      if (Number(nowNs) - measuredNs >= offsetKeptNs) {
        offset = { bootToUnixNano: measureOffset(bootNs, realtimeNs) };
        measuredNs = Number(nowNs);
      }
      return offset;
    },
  };
}

/** The tightest of a few readings: a wake-up between two clocks would be an error of its length. */
function measureOffset(bootNs: () => bigint, realtimeNs: () => bigint): bigint {
  let best = 0n;
  let bestSpan: bigint | undefined;
  for (let reading = 0; reading < 5; reading++) {
    const before = bootNs();
    const realtime = realtimeNs();
    const span = bootNs() - before;
    if (bestSpan !== undefined && span >= bestSpan) continue;
    bestSpan = span;
    best = realtime - before - span / 2n;
  }
  return best;
}

function bootWithoutNative(): () => bigint {
  const monotonicNs = process.hrtime.bigint();
  let sleptNs = 0n;
  try {
    const uptimeSeconds = Number.parseFloat(readFileSync("/proc/uptime", "utf8"));
    const aheadNs = BigInt(Math.round(uptimeSeconds * 1e9)) - monotonicNs;
    // The file has hundredths of a second: less than that is no sleep.
    if (aheadNs > 100_000_000n) sleptNs = aheadNs;
  } catch {
    // No /proc (another system): only replay runs there, and it needs no more than a monotonic clock.
  }
  return () => process.hrtime.bigint() + sleptNs;
}
