/**
 * JSON as it grows, in bytes: a million numbers are written digit by digit where they stay, without a text for each.
 *
 * Invariants: a page is full up to the last one; nothing is written without room for it.
 */

import { ThalwegError } from "../../model/errors.ts";
import { takeSharedBytes } from "../../model/shared-bytes.ts";
import { DECIMAL_BELOW, DECIMAL_FROM, fourDigits, writeFraction } from "./decimal-bytes.ts";
import { printSample } from "./number-text.ts";

const PAGE_BYTES = 2 ** 20;
/** Longer answers lie in memory that comes back. */
const OWN_BYTES_MAX = 65_536;
/** Pages that are kept for the next answer. */
const IDLE_PAGES_MAX = 16;
/** A text up to here is copied by its characters: the encoder costs more to call. */
const COPIED_UNITS_MAX = 256;
const POINT = 0x2e;
const MINUS = 0x2d;
const ZERO = 0x30;
const ASCII_MAX = 0x7f;
/** Printed texts are copied word by word. */
const WORD_BYTES = 4;
/** Longest that `sample` writes. */
const SAMPLE_BYTES_MAX = 40;

const encoder = new TextEncoder();
const idle: Uint8Array[] = [];

/** Texts that are written again and again, as bytes; each begins with a word of its own. */
export interface PrintedTexts {
  readonly words: Uint32Array;
  /** In which word each begins, and where the last one ends. */
  readonly ends: Uint32Array;
  readonly lengths: Uint32Array;
}

/** Encodes texts once. They are ASCII. */
export function printTexts(texts: readonly string[]): PrintedTexts {
  const lengths = Uint32Array.from(texts, ({ length }) => length);
  const ends = new Uint32Array(texts.length + 1);
  for (let i = 0; i < lengths.length; i++) {
    ends[i + 1] = (ends[i] as number) + Math.ceil((lengths[i] as number) / WORD_BYTES); // in range: a text each
  }
  const words = new Uint32Array(ends.at(-1) ?? 0);
  for (const [i, text] of texts.entries()) {
    const from = ends[i] as number; // in range, as above
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      if (unit > ASCII_MAX) throw new Error(`a text that is written again and again is not ASCII: ${text}`);
      // The first character is the lowest byte of its word.
      words[from + (at >>> 2)] = (words[from + (at >>> 2)] as number) | (unit << (8 * (at & 3)));
    }
  }
  return { words, ends, lengths };
}

/** Grows by pages; give it back with `finish` or `discard`. */
export class JsonBytes {
  readonly #bytesMax: number;
  readonly #full: Uint8Array[] = [];
  #page: Uint8Array = takePage();
  #view: DataView = viewOf(this.#page);
  #at = 0;
  /** Bytes in full pages. */
  #before = 0;

  /** @param bytesMax Beyond this it throws `query_answer_max`. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Any text. */
  add(text: string): void {
    const { length } = text;
    if (length > COPIED_UNITS_MAX) {
      this.#addEncoded(text);
      return;
    }
    if (this.#at + length > PAGE_BYTES) this.#next();
    const page = this.#page;
    let at = this.#at;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > ASCII_MAX) {
        this.#addEncoded(text);
        return;
      }
      page[at++] = unit;
    }
    this.#at = at;
  }

  /** One of the texts. */
  addPrinted({ words, ends, lengths }: PrintedTexts, index: number): void {
    const from = ends[index] as number; // in range: the caller's index, here and below
    const to = ends[index + 1] as number;
    if (this.#at + WORD_BYTES * (to - from) > PAGE_BYTES) this.#next();
    const view = this.#view;
    let at = this.#at;
    for (let i = from; i < to; i++, at += WORD_BYTES) view.setUint32(at, words[i] as number, true);
    this.#at += lengths[index] as number;
  }

  /** Bytes of JSON, at most a few KiB. */
  addBytes(bytes: Uint8Array): void {
    if (this.#at + bytes.length > PAGE_BYTES) this.#next();
    this.#page.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** Where it ends, for `since`. */
  mark(): number {
    return this.#before + this.#at;
  }

  /** Writes once more what stands between two marks; false where that, or what is left of a page, does not hold it. */
  repeat(from: number, to: number): boolean {
    if (from < this.#before || this.#at + to - from > PAGE_BYTES) return false;
    this.#page.copyWithin(this.#at, from - this.#before, to - this.#before);
    this.#at += to - from;
    return true;
  }

  /** What was written since a mark, until more is written; undefined where it lies in several pages. */
  since(mark: number): Uint8Array | undefined {
    const from = mark - this.#before;
    return from < 0 ? undefined : this.#page.subarray(from, this.#at);
  }

  /** A number as `printSample` prints it. */
  sample(value: number): void {
    if (this.#at + SAMPLE_BYTES_MAX > PAGE_BYTES) this.#next();
    const size = value < 0 ? -value : value;
    if (size < DECIMAL_BELOW) {
      const from = this.#at;
      if (value < 0 || (size === 0 && Object.is(value, -0))) this.#page[this.#at++] = MINUS;
      const whole = Math.floor(size);
      if (whole === size) {
        this.#digits(whole);
        return;
      }
      // Of at most fifteen digits, so that it is the shortest where it means the number.
      const hundredths = Math.round(size * 100);
      if (hundredths < DECIMAL_BELOW && hundredths / 100 === size) {
        this.#hundredths(whole, hundredths - 100 * whole);
        return;
      }
      const end = size < DECIMAL_FROM ? -1 : writeFraction(size, this.#view, this.#at);
      if (end !== -1) {
        this.#at = end;
        return;
      }
      this.#at = from;
    }
    this.add(printSample(value));
  }

  #hundredths(whole: number, rest: number): void {
    this.#digits(whole);
    const page = this.#page;
    page[this.#at++] = POINT;
    const tenths = (rest / 10) | 0;
    page[this.#at++] = ZERO + tenths;
    const last = rest - tenths * 10;
    if (last !== 0) page[this.#at++] = ZERO + last;
  }

  /** Digits of a whole number below `DECIMAL_BELOW`. */
  #digits(whole: number): void {
    if (whole < 10_000) {
      const skipped = whole < 10 ? 3 : whole < 100 ? 2 : whole < 1000 ? 1 : 0;
      this.#view.setUint32(this.#at, fourDigits(whole) >>> (8 * skipped), true);
      this.#at += 4 - skipped;
      return;
    }
    const upper = Math.floor(whole / 10_000);
    this.#digits(upper);
    this.#view.setUint32(this.#at, fourDigits(whole - upper * 10_000), true);
    this.#at += 4;
  }

  #addEncoded(text: string): void {
    // Three bytes a unit at most.
    for (let from = 0; from < text.length; ) {
      const to = Math.min(text.length, from + PAGE_BYTES / 4);
      const end = to < text.length && isLeading(text.charCodeAt(to - 1)) ? to - 1 : to;
      const piece = from === 0 && end === text.length ? text : text.slice(from, end);
      if (this.#at + 3 * piece.length > PAGE_BYTES) this.#next();
      this.#at += encoder.encodeInto(piece, this.#page.subarray(this.#at)).written;
      from = end;
    }
  }

  #next(): void {
    this.#full.push(this.#page.subarray(0, this.#at));
    this.#before += this.#at;
    this.#at = 0;
    if (this.#before > this.#bytesMax) throw new ThalwegError("query_answer_max", { max: this.#bytesMax });
    this.#page = takePage();
    this.#view = viewOf(this.#page);
  }

  /** All of it; whoever read it gives it back with `releaseSharedBytes`. @throws ThalwegError `query_answer_max` */
  finish(): Uint8Array {
    const length = this.#before + this.#at;
    if (length > this.#bytesMax) throw new ThalwegError("query_answer_max", { max: this.#bytesMax });
    const whole = length > OWN_BYTES_MAX ? takeSharedBytes(length) : new Uint8Array(length);
    let at = 0;
    for (const page of this.#full) {
      whole.set(page, at);
      at += page.length;
    }
    whole.set(this.#page.subarray(0, this.#at), at);
    this.discard();
    return whole;
  }

  /** Lets its pages go to the next answer. */
  discard(): void {
    for (const { buffer } of [...this.#full.splice(0), this.#page]) {
      if (buffer.byteLength === PAGE_BYTES && idle.length < IDLE_PAGES_MAX) idle.push(new Uint8Array(buffer));
    }
    this.#page = NO_PAGE;
    this.#view = viewOf(NO_PAGE);
    this.#at = PAGE_BYTES;
  }
}

const NO_PAGE = new Uint8Array(0);

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

function takePage(): Uint8Array {
  return idle.pop() ?? new Uint8Array(PAGE_BYTES);
}

/** Whether a unit is the first of a pair. */
function isLeading(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
