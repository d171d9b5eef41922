/**
 * How many bytes of request bodies, raw and decompressed, may lie in memory at a time.
 */

/** What a body may take before it counts as a large one. */
export const LARGE_FROM_BYTES = 2 ** 20;

/**
 * Bodies share one budget. What a body takes beyond `LARGE_FROM_BYTES` comes from a part of it that large bodies share,
 * so that a few of them neither fill the memory nor keep out the many small ones, nor these them.
 *
 * Invariant: `0 <= used`; `used` is the sum of what was taken and not given back.
 */
export class ByteBudget {
  readonly bytesMax: number;
  readonly #largeBytesMax: number;
  readonly #smallBytesMax: number;
  #used = 0;
  #large = 0;

  /**
   * @param largeBytesMax What all large bodies may take beyond what small ones may; all of it unless given.
   * @param smallBytesMax What all bodies may take without that; all of it unless given.
   */
  constructor(bytesMax: number, largeBytesMax = bytesMax, smallBytesMax = bytesMax) {
    this.bytesMax = bytesMax;
    this.#largeBytesMax = largeBytesMax;
    this.#smallBytesMax = smallBytesMax;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes `bytes`, or takes nothing and answers false where that would exceed the maximum. */
  take(bytes: number): boolean {
    return this.takePart(bytes, 0);
  }

  give(bytes: number): void {
    this.givePart(bytes, 0);
  }

  /** Whether `takePart` would succeed. */
  hasRoom(bytes: number, large: number): boolean {
    return (
      this.#used + bytes <= this.bytesMax &&
      this.#large + large <= this.#largeBytesMax &&
      // What is given back is never refused.
      (bytes <= large || this.#used - this.#large + bytes - large <= this.#smallBytesMax)
    );
  }

  /** As `take`; `large` of the bytes are beyond what a small body may take, and may be more or less than `bytes`. */
  takePart(bytes: number, large: number): boolean {
    if (!this.hasRoom(bytes, large)) return false;
    this.#used += bytes;
    this.#large += large;
    return true;
  }

  givePart(bytes: number, large: number): void {
    this.#used -= bytes;
    this.#large -= large;
  }
}

/** What one body holds of a budget: its bytes as they came, and those they decompress to. */
export class BodyRoom {
  readonly #budget: ByteBudget;
  #raw = 0;
  #decoded = 0;
  #large = 0;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /** Takes what is missing to hold so many bytes as they came; false, and nothing taken, where there is no room. */
  holdRaw(bytes: number): boolean {
    return this.#hold(bytes, this.#decoded);
  }

  /** Whether so many bytes as they come would find room now; takes nothing. */
  hasRoomFor(bytes: number): boolean {
    return this.#budget.hasRoom(bytes, Math.max(0, bytes - LARGE_FROM_BYTES));
  }

  /** @see holdRaw */
  holdDecoded(bytes: number): boolean {
    return this.#hold(this.#raw, bytes);
  }

  /** Gives back the bytes as they came. */
  dropRaw(): void {
    this.#hold(0, this.#decoded);
  }

  /** Gives everything back; may be called again. */
  release(): void {
    this.#hold(0, 0);
  }

  /** Only the larger of the two counts as large: a body must be able to become as large as one may be. */
  #hold(raw: number, decoded: number): boolean {
    const more = raw + decoded - this.#raw - this.#decoded;
    const large = Math.max(0, Math.max(raw, decoded) - LARGE_FROM_BYTES);
    const moreLarge = large - this.#large;
    if (more <= 0 && moreLarge <= 0) this.#budget.givePart(-more, -moreLarge);
    else if (!this.#budget.takePart(more, moreLarge)) return false;
    this.#raw = raw;
    this.#decoded = decoded;
    this.#large = large;
    return true;
  }
}
