/**
 * How many bytes of request bodies, raw and decompressed, may lie in memory at a time.
 */

/** Invariant: `0 <= used`; `used` is the sum of what was taken and not given back. */
export class ByteBudget {
  readonly bytesMax: number;
  #used = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes `bytes`, or takes nothing and answers false where that would exceed the maximum. */
  take(bytes: number): boolean {
    if (this.#used + bytes > this.bytesMax) return false;
    this.#used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}
