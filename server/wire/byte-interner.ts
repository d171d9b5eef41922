/**
 * Numbers for byte strings that come again and again.
 *
 * Senders repeat their strings in the same order from request to request. So the string after the one found last is
 * compared first, and only where that fails a hash is looked up. Strings are compared whole: equal numbers mean equal
 * bytes.
 *
 * Invariants: the strings lie one after another in pages, in the order of their numbers; string `id` ends at
 * `#ends[id]`, counted over all pages, and begins where the one before ends, or its page where it did not fit the one
 * before; `#slots` holds `id + 1` of each at its hash or one of the places after it, 0 where free, and is at most half
 * full.
 */

/**
 * Pages rather than one long room: one that doubles is half empty at times, and held twice while what is in it moves.
 * Longer strings than a page get no number.
 */
const PAGE_BITS = 18;
const PAGE_BYTES = 2 ** PAGE_BITS;
const IN_PAGE = PAGE_BYTES - 1;
const SLOTS_AT_FIRST = 256;
/** A string whose places are all taken gets no number, so that chosen collisions cost little. */
const PROBES_MAX = 64;

/** Bytes and a view over the same bytes. */
export interface ByteSource {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Words by their place, as one request numbers them. */
export interface WordPlaces {
  readonly bytes: Uint8Array;
  readonly table: Int32Array;
  /** Places that are taken. */
  readonly count: number;
}

/** How much an interner may hold. */
export interface InternerLimits {
  readonly stringsMax: number;
  /** Less than 2 GiB. */
  readonly bytesMax: number;
}

/** A page of strings; `words` are the same bytes, four at a time. */
interface Page extends ByteSource {
  readonly words: Int32Array;
}

/** Gives each byte string a number from 0 on. Holds at most what its limits say; nothing is forgotten but by `clear`. */
export class ByteInterner {
  readonly #limits: InternerLimits;
  readonly #pages: Page[] = [];
  #ends = new Uint32Array(SLOTS_AT_FIRST);
  #slots = new Uint32Array(SLOTS_AT_FIRST);
  #count = 0;
  #bytes = 0;
  /** The string expected next. */
  #next = 0;

  constructor(limits: InternerLimits) {
    this.#limits = limits;
  }

  /** Strings with a number. */
  get count(): number {
    return this.#count;
  }

  /** Whether a string of so many bytes may not find room any more. */
  isFull(bytes: number): boolean {
    return this.#count >= this.#limits.stringsMax || this.#bytes + bytes > this.#limits.bytesMax;
  }

  /** The number of the string expected next where it stands at `start` and ends before or at `end`, or -1. */
  findExpected(source: ByteSource, start: number, end: number): number {
    const expected = this.#next;
    if (expected >= this.#count) return -1;
    const to = start + this.bytesOf(expected);
    if (to > end || !this.#equals(expected, source, start, to)) return -1;
    this.#next = expected + 1;
    return expected;
  }

  /**
   * As `findExpected` for a string of words of four bytes that stand in a table: `bytes[start, end)` are the places of
   * the words in it, as varints. Places of more than two bytes are not looked at.
   */
  findExpectedWords(places: WordPlaces, start: number, end: number): number {
    const expected = this.#next;
    if (expected >= this.#count) return -1;
    const { bytes, table, count } = places;
    const from = this.#startOf(expected);
    const bytesExpected = (this.#ends[expected] as number) - from; // in range: `expected` has a number
    if (bytesExpected === 0) return -1;
    const { words } = this.#pageOf(from);
    let word = (from & IN_PAGE) >>> 2;
    const last = word + (bytesExpected >>> 2);
    let at = start;
    for (; at < end; word++) {
      let place = bytes[at++] as number; // in range: before `end`
      if (place >= 0x80) {
        const high = at < end ? (bytes[at++] as number) : 0x80; // in range, as above
        if (high >= 0x80) return -1;
        place = (place & 0x7f) | (high << 7);
      }
      if (place >= count || word >= last || table[place] !== words[word]) return -1;
    }
    if (word !== last) return -1;
    this.#next = expected + 1;
    return expected;
  }

  /** Bytes of a string with a number. */
  bytesOf(id: number): number {
    return (this.#ends[id] as number) - this.#startOf(id); // in range: `id` has a number
  }

  /** The number of `source.bytes[start, end)`, or -1. */
  find(source: ByteSource, start: number, end: number): number {
    const expected = this.#next;
    if (expected < this.#count && this.#equals(expected, source, start, end)) {
      this.#next = expected + 1;
      return expected;
    }
    const mask = this.#slots.length - 1;
    let slot = hashOf(source, start, end) & mask;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const id = (this.#slots[slot] as number) - 1; // in range: `slot` is masked
      if (id < 0) return -1;
      if (this.#equals(id, source, start, end)) {
        this.#next = id + 1;
        return id;
      }
      slot = (slot + 1) & mask;
    }
    return -1;
  }

  /** Gives a string that `find` did not know the next number; -1 where there is no room. The bytes are copied. */
  add(source: ByteSource, start: number, end: number): number {
    const length = end - start;
    const from = this.#placeFor(length);
    if (length > PAGE_BYTES || this.isFull(from + length - this.#bytes)) return -1;
    if (2 * (this.#count + 1) > this.#slots.length) this.#widen();
    const id = this.#count;
    if (!this.#place(id, hashOf(source, start, end))) return -1;
    if (length > 0) this.#pageFor(from).bytes.set(source.bytes.subarray(start, end), from & IN_PAGE);
    this.#bytes = from + length;
    this.#ends[id] = this.#bytes;
    this.#count++;
    this.#next = this.#count;
    return id;
  }

  /** Forgets all strings; numbers start over. */
  clear(): void {
    this.#slots.fill(0);
    this.#count = 0;
    this.#bytes = 0;
    this.#next = 0;
  }

  #startOf(id: number): number {
    const before = id === 0 ? 0 : (this.#ends[id - 1] as number); // in range: `id` has a number
    const page = ((this.#ends[id] as number) - 1) & ~IN_PAGE; // in range, as above
    return Math.max(before, page);
  }

  /** Where a string of so many bytes goes. */
  #placeFor(length: number): number {
    const left = PAGE_BYTES - (this.#bytes & IN_PAGE);
    return length <= left ? this.#bytes : this.#bytes + left;
  }

  /** The page of a string that is not empty. */
  #pageOf(from: number): Page {
    return this.#pages[from >>> PAGE_BITS] as Page; // in range: the string lies in it
  }

  #pageFor(from: number): Page {
    const number = from >>> PAGE_BITS;
    if (number === this.#pages.length) {
      const bytes = new Uint8Array(PAGE_BYTES);
      const { buffer } = bytes;
      this.#pages.push({ bytes, view: new DataView(buffer), words: new Int32Array(buffer) });
    }
    return this.#pageOf(from);
  }

  #equals(id: number, { bytes, view }: ByteSource, start: number, end: number): boolean {
    const place = this.#startOf(id);
    const length = (this.#ends[id] as number) - place; // in range: `id` has a number
    if (end - start !== length) return false;
    if (length === 0) return true;
    const page = this.#pageOf(place);
    const from = place & IN_PAGE;
    const ours = page.view;
    // Neighbours share most of their start, so what differs is likely near the end.
    if (length >= 16) {
      let at = from + length - 16;
      let theirs = end - 16;
      // Numbers of 64 bits that are only compared are never made objects of.
      if (ours.getBigInt64(at, true) !== view.getBigInt64(theirs, true)) return false;
      if (ours.getBigInt64(at + 8, true) !== view.getBigInt64(theirs + 8, true)) return false;
      const last = at;
      at = from;
      theirs = start;
      for (; at < last; at += 16, theirs += 16) {
        if (ours.getBigInt64(at, true) !== view.getBigInt64(theirs, true)) return false;
        if (ours.getBigInt64(at + 8, true) !== view.getBigInt64(theirs + 8, true)) return false;
      }
      return true;
    }
    for (let at = 0; at < length; at++) if (page.bytes[from + at] !== bytes[start + at]) return false;
    return true;
  }

  #place(id: number, hash: number): boolean {
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      if (this.#slots[slot] === 0) {
        this.#slots[slot] = id + 1;
        return true;
      }
      slot = (slot + 1) & mask;
    }
    return false;
  }

  /** Doubles the table. A string that finds no place in the larger one keeps its number, but is not found by hash. */
  #widen(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2);
    const ends = new Uint32Array(this.#slots.length);
    ends.set(this.#ends.subarray(0, this.#count));
    this.#ends = ends;
    for (let id = 0; id < this.#count; id++) {
      const from = this.#startOf(id);
      const length = (this.#ends[id] as number) - from; // in range: `id` has a number
      const at = from & IN_PAGE;
      this.#place(id, length === 0 ? hashOf(NOTHING, 0, 0) : hashOf(this.#pageOf(from), at, at + length));
    }
  }
}

const NOTHING: ByteSource = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) };

function hashOf({ bytes, view }: ByteSource, start: number, end: number): number {
  let hash = end - start;
  let at = start;
  for (const last = end - 4; at <= last; at += 4) {
    hash = Math.imul(hash ^ view.getInt32(at, true), 0x9e37_79b1);
    hash ^= hash >>> 15;
  }
  for (; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x0100_0193); // in range: the caller's bounds
  return (hash ^ (hash >>> 13)) >>> 0;
}
