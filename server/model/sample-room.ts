/**
 * Memory for the samples of one selection, which threads can share: they are decoded where their reader finds them.
 *
 * Pages go from one selection to the next, since fresh memory costs more to touch than samples to decode.
 */

/** Numbers of a page: 1 MiB. */
const PAGE_LENGTH = 131_072;
/** Bytes of a page. */
export const ROOM_PAGE_BYTES = 8 * PAGE_LENGTH;
/** Pages that wait for the next selection. */
const IDLE_PAGES_MAX = 32;

const idle: Float64Array[] = [];
const NO_PAGE = new Float64Array(0);

/** Times of the series before in a page, and what tells that those of another are the same without decoding them. */
interface KnownTimes {
  /** Stretches of even steps, first and last time told. */
  readonly chunks: readonly { readonly count: number; readonly minMs: number; readonly maxMs: number }[];
  /** What stands for the times behind them, of which so many are meant. */
  readonly tail: object | undefined;
  readonly tailCount: number;
  /** What was asked for. */
  readonly minMs: number;
  readonly maxMs: number;
  /** All times, and those asked for: `whole[from, to)`. */
  readonly whole: Float64Array;
  readonly times: Float64Array;
  readonly from: number;
  readonly to: number;
}

/** Numbers taken for one selection, all given back at once. */
export class SampleRoom {
  readonly #pages: Float64Array[] = [];
  #used = PAGE_LENGTH;
  /** Times that were shared last, and others that nobody needs since they are equal. */
  #times: Float64Array | undefined;
  #spare: Float64Array | undefined;
  /** Set and read by who decodes; forgotten with the page that the times lie in. */
  known: KnownTimes | undefined;

  /** Room for `count` numbers, which hold anything; an array of its own where a page is too short. */
  take(count: number): Float64Array {
    if (count > PAGE_LENGTH / 4) return new Float64Array(new SharedArrayBuffer(8 * count));
    if (this.#used + count > PAGE_LENGTH) this.#turnPage();
    this.#used += count;
    return this.#pages.at(-1)?.subarray(this.#used - count, this.#used) ?? new Float64Array(count);
  }

  /** Room for at most a page: where it begins in `page`. */
  reserve(count: number): number {
    if (this.#used + count > PAGE_LENGTH) this.#turnPage();
    this.#used += count;
    return this.#used - count;
  }

  /** Room for bytes; more than a page have memory of their own, of whole numbers as a page. */
  takeBytes(bytes: number): Uint8Array<ArrayBufferLike> {
    const count = Math.ceil(bytes / 8);
    if (count > PAGE_LENGTH) return new Uint8Array(new SharedArrayBuffer(8 * count), 0, bytes);
    const at = this.reserve(count);
    return new Uint8Array(this.page.buffer, 8 * at, bytes);
  }

  /** The page that was reserved from last. */
  get page(): Float64Array {
    return this.#pages.at(-1) ?? NO_PAGE;
  }

  #turnPage(): void {
    this.#pages.push(idle.pop() ?? new Float64Array(new SharedArrayBuffer(8 * PAGE_LENGTH)));
    this.#used = 0;
    this.#times = undefined;
    this.#spare = undefined;
    this.known = undefined;
  }

  /** Room for the times of a series, to be filled and then given to `shared`. */
  takeTimes(count: number): Float64Array {
    const spare = this.#spare;
    if (spare === undefined || spare.length !== count) return this.take(count);
    this.#spare = undefined;
    return spare;
  }

  /**
   * The times of the series before where they are the same and lie in the same page, as those of one scrape mostly do;
   * else those that are given.
   */
  shared(times: Float64Array): Float64Array {
    const before = this.#times;
    if (before === undefined || before.buffer !== times.buffer || !areEqual(before, times)) {
      this.#times = times;
      return times;
    }
    this.#spare = times;
    return before;
  }

  /** Gives all of it back: nobody reads what was taken any longer. */
  release(): void {
    for (const page of this.#pages.splice(0)) if (idle.length < IDLE_PAGES_MAX) idle.push(page);
    this.#used = PAGE_LENGTH;
    this.#times = undefined;
    this.#spare = undefined;
    this.known = undefined;
  }
}

function areEqual(a: Float64Array, b: Float64Array): boolean {
  if (a.length !== b.length || a[0] !== b[0]) return false;
  for (let i = 1; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
