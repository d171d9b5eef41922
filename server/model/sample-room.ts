/**
 * Memory for the samples of one selection, which threads can share: they are decoded where their reader finds them.
 *
 * Pages go from one selection to the next, since fresh memory costs more to touch than samples to decode.
 */

/** Numbers of a page: 1 MiB. */
const PAGE_LENGTH = 131_072;
/** Pages that wait for the next selection. */
const IDLE_PAGES_MAX = 32;

const idle: Float64Array[] = [];

/** Numbers taken for one selection, all given back at once. */
export class SampleRoom {
  readonly #pages: Float64Array[] = [];
  #used = PAGE_LENGTH;

  /** Room for `count` numbers, which hold anything; an array of its own where a page is too short. */
  take(count: number): Float64Array {
    if (count > PAGE_LENGTH / 4) return new Float64Array(new SharedArrayBuffer(8 * count));
    if (this.#used + count > PAGE_LENGTH) {
      this.#pages.push(idle.pop() ?? new Float64Array(new SharedArrayBuffer(8 * PAGE_LENGTH)));
      this.#used = 0;
    }
    this.#used += count;
    return this.#pages.at(-1)?.subarray(this.#used - count, this.#used) ?? new Float64Array(count);
  }

  /** Gives all of it back: nobody reads what was taken any longer. */
  release(): void {
    for (const page of this.#pages.splice(0)) if (idle.length < IDLE_PAGES_MAX) idle.push(page);
    this.#used = PAGE_LENGTH;
  }
}
