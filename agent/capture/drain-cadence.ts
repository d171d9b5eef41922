/**
 * When the rings of a rung inside the kernel are read.
 *
 * Few long turns find the processor's caches warmer than many short ones, which is a fifth of what a call costs: so calls
 * lie in the data ring for a while, at most `dataWaitMsMax` milliseconds. Openings and ends are read each time, since a
 * short-lived process is gone soon.
 */

/** Above this share of the ring the next drain comes at once. */
const busyShare = 1 / 8;
const drainBusyMs = 1;
/** How long calls may lie in the data ring, and how much of it they may fill. */
const dataWaitMsMax = 40;
/** Timers come a little early or late: calls that would wait longer than the maximum by the next look are read now. */
const timerSlackMs = 5;
const dataWaitShare = 1 / 16;
/** While sockets and processes come and go. */
const drainMs = 10;
/** After so many drains without a coming or going they come more seldom: each wakes a thread, with cold caches. */
const idleDrainsMax = 20;
const drainIdleMs = 20;

/** The cadence of one rung's drains. */
export class DrainCadence {
  readonly #ringBytes: number;
  readonly #monotonicMs: () => number;
  #isBusy = false;
  #readMs = 0;
  /** Drains since the last for which the next must come soon. */
  #idleDrains = 0;

  /**
   * @param ringBytes Size of the data ring.
   * @param monotonicMs The thread's own clock.
   */
  constructor(ringBytes: number, monotonicMs: () => number) {
    this.#ringBytes = ringBytes;
    this.#monotonicMs = monotonicMs;
  }

  /** Whether so much lay in the data ring at the last look that it may overflow. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** A drain found so many bytes in the data ring. */
  found(dataBytes: number): void {
    this.#isBusy = dataBytes > this.#ringBytes * busyShare;
  }

  /** Whether calls of so many bytes may stay in the data ring until the next drain. */
  mayWait(dataBytes: number): boolean {
    if (dataBytes > this.#ringBytes * dataWaitShare) return false;
    return this.#monotonicMs() - this.#readMs < dataWaitMsMax - timerSlackMs;
  }

  /** The data ring is read now. */
  read(): void {
    this.#readMs = this.#monotonicMs();
  }

  /** A drain has ended. @param isHurried What it found is likely to be followed by more that must not wait. */
  ended(isHurried: boolean): void {
    this.#idleDrains = isHurried ? 0 : this.#idleDrains + 1;
  }

  /** Milliseconds from one drain to the next. */
  get nextMs(): number {
    if (this.#isBusy) return drainBusyMs;
    return this.#idleDrains > idleDrainsMax ? drainIdleMs : drainMs;
  }
}
