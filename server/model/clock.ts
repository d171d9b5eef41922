/** Wall and monotonic time, the only effect that tests replace. */
export interface Clock {
  /** Unix time in whole milliseconds. */
  nowMs(): number;
  /** Unix time in nanoseconds; precise to what the platform gives. */
  nowUnixNano(): bigint;
  /** Milliseconds since an arbitrary point; never steps back. */
  monotonicMs(): number;
}
