/**
 * Small arrays cut off from larger ones: one of its own costs more to make and to collect than to fill.
 */

type Numbers = Float64Array | Int32Array | Uint8Array;

/** Arrays of zeros. What is taken is never used again: the last view on a page keeps it in memory. */
export class ArraySlab<Kind extends Numbers> {
  readonly #make: (length: number) => Kind;
  readonly #length: number;
  #page: Kind;
  #used = 0;

  /** @param length Of a page; what is longer than an eighth of it has an array of its own. */
  constructor(make: (length: number) => Kind, length: number) {
    this.#make = make;
    this.#length = length;
    this.#page = make(0);
  }

  /** `count` zeros. */
  take(count: number): Kind {
    if (count > this.#length / 8) return this.#make(count);
    if (this.#used + count > this.#page.length) {
      this.#page = this.#make(this.#length);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += count;
    return this.#page.subarray(from, this.#used) as Kind; // Of the same kind as the page.
  }
}
