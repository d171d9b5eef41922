/**
 * Shared memory on its way to a worker, which knows most of it from earlier queries: each thread makes an object for a
 * page that comes anew, and V8 collects garbage the sooner the more such objects there are.
 *
 * Invariant: both sides know the same pages, as long as a worker takes what was packed for it in the same order.
 */

import { type BytePage, bytePage } from "../../model/paged-bytes.ts";

/** Bytes of pages that a worker keeps, used last first: they may be all that holds memory which the store let go of. */
const KEPT_BYTES_MAX = 32 * 2 ** 20;

/** Pages of one selection. */
export interface PackedPages {
  /** The worker shall forget all that it knows. */
  readonly isFirst: boolean;
  /** For each page its number. */
  readonly numbers: readonly number[];
  /** Those that it does not know yet, in order of `numbers`. */
  readonly fresh: readonly SharedArrayBuffer[];
  /** Numbers that it shall forget after this selection. */
  readonly dropped: readonly number[];
}

/** Pages that went to one worker. */
export class SentPages {
  /** Those that were used last stand at the end. */
  readonly #numbers = new Map<SharedArrayBuffer, number>();
  #next = 0;
  #bytes = 0;

  pack(pages: readonly SharedArrayBuffer[]): PackedPages {
    const isFirst = this.#next === 0;
    const fresh: SharedArrayBuffer[] = [];
    const numbers: number[] = [];
    for (const page of pages) {
      let number = this.#numbers.get(page);
      if (number === undefined) {
        number = this.#next++;
        fresh.push(page);
        this.#bytes += page.byteLength;
      } else this.#numbers.delete(page);
      this.#numbers.set(page, number);
      numbers.push(number);
    }
    const dropped: number[] = [];
    for (const [page, number] of this.#numbers) {
      if (this.#bytes <= KEPT_BYTES_MAX) break;
      this.#numbers.delete(page);
      this.#bytes -= page.byteLength;
      dropped.push(number);
    }
    return { isFirst, numbers, fresh, dropped };
  }
}

/** A page, as bytes and as numbers. */
export interface SharedPage extends BytePage {
  readonly floats: Float64Array;
}

/** A page over all of its memory. */
export function sharedPage(buffer: SharedArrayBuffer): SharedPage {
  return { ...bytePage(buffer), floats: new Float64Array(buffer) };
}

/** Pages that came to a worker. */
export class KnownPages {
  readonly #pages = new Map<number, SharedPage>();

  /** The pages of a selection; to be called for every one that comes, also of a query that has ended. */
  take({ isFirst, numbers, fresh, dropped }: PackedPages): SharedPage[] {
    if (isFirst) this.#pages.clear();
    let next = 0;
    const taken: SharedPage[] = [];
    for (const number of numbers) {
      let page = this.#pages.get(number);
      if (page === undefined) {
        const buffer = fresh[next++];
        if (buffer === undefined) throw new Error(`page ${number} is not known and did not come`);
        page = sharedPage(buffer);
        this.#pages.set(number, page);
      }
      taken.push(page);
    }
    for (const number of dropped) this.#pages.delete(number);
    return taken;
  }
}
