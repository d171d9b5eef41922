/** Since when an alert is active that was active before the program was started. */

/** What is known of the time before. Times are Unix milliseconds. */
export interface AlertMemory {
  /** When the alert was last seen: the time of the last sample of `ALERTS_FOR_STATE`. */
  readonly seenMs: number;
  /** Since when it was active: the value of that sample. */
  readonly activeAtMs: number;
}

/**
 * The time from which `for` counts, so that the outage counts neither for nor against the alert.
 *
 * @param graceMs The least time that an alert stays pending after a start, where it was pending before.
 * @returns Undefined where it counts from now on.
 */
export function restoredActiveAtMs(
  { seenMs, activeAtMs }: AlertMemory,
  holdMs: number,
  nowMs: number,
  graceMs: number,
): number | undefined {
  const remainingMs = holdMs - (seenMs - activeAtMs);
  if (remainingMs <= 0) return activeAtMs;
  if (holdMs < graceMs) return undefined;
  return remainingMs < graceMs ? nowMs + graceMs - holdMs : activeAtMs + (nowMs - seenMs);
}
