/**
 * JSON as it grows, in bytes: a million numbers are written digit by digit where they stay, without a text for each.
 *
 * Invariants: a page is full up to the last one; nothing is written without room for it.
 */

import { ThalwegError } from "../../model/errors.ts";
import { takeSharedBytes } from "../../model/shared-bytes.ts";
import { printSample } from "./number-text.ts";

const PAGE_BYTES = 2 ** 20;
/** Longer answers lie in memory that comes back. */
const OWN_BYTES_MAX = 65_536;
/** Pages that are kept for the next answer. */
const IDLE_PAGES_MAX = 16;
/** A text up to here is copied by its characters: the encoder costs more to call. */
const COPIED_UNITS_MAX = 256;
/** Whole numbers below this have at most fifteen digits, so that they and their hundredths are the shortest that mean the number. */
const SHORT_MAX = 1e15;
const POINT = 0x2e;
const MINUS = 0x2d;
const ZERO = 0x30;
const ASCII_MAX = 0x7f;
/** Longest that `sample` writes. */
const SAMPLE_BYTES_MAX = 40;

const encoder = new TextEncoder();
const idle: Uint8Array[] = [];

/** Texts that are written again and again, as bytes. */
export interface PrintedTexts {
  readonly bytes: Uint8Array;
  /** Where each begins, and where the last one ends. */
  readonly ends: Uint32Array;
}

/** Encodes texts once. */
export function printTexts(texts: readonly string[]): PrintedTexts {
  const ends = new Uint32Array(texts.length + 1);
  const bytes = encoder.encode(texts.join(""));
  let end = 0;
  for (const [i, text] of texts.entries()) {
    end += encoder.encode(text).length;
    ends[i + 1] = end;
  }
  return { bytes, ends };
}

/** Grows by pages; give it back with `finish` or `discard`. */
export class JsonBytes {
  readonly #bytesMax: number;
  readonly #full: Uint8Array[] = [];
  #page: Uint8Array = takePage();
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
  addPrinted({ bytes, ends }: PrintedTexts, index: number): void {
    const from = ends[index] as number; // in range: the caller's index, here and below
    const to = ends[index + 1] as number;
    if (this.#at + to - from > PAGE_BYTES) this.#next();
    const page = this.#page;
    let at = this.#at;
    for (let i = from; i < to; i++) page[at++] = bytes[i] as number;
    this.#at = at;
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

  /** What was written since a mark, until more is written; undefined where it lies in several pages. */
  since(mark: number): Uint8Array | undefined {
    const from = mark - this.#before;
    return from < 0 ? undefined : this.#page.subarray(from, this.#at);
  }

  /** A number as `printSample` prints it. */
  sample(value: number): void {
    if (this.#at + SAMPLE_BYTES_MAX > PAGE_BYTES) this.#next();
    const size = value < 0 ? -value : value;
    if (size < SHORT_MAX) {
      const whole = Math.floor(size);
      if (whole === size) {
        if (size === 0 && Object.is(value, -0)) this.#page[this.#at++] = MINUS;
        else if (value < 0) this.#page[this.#at++] = MINUS;
        this.#digits(whole);
        return;
      }
      const hundredths = Math.round(size * 100);
      if (hundredths < SHORT_MAX && hundredths / 100 === size) {
        if (value < 0) this.#page[this.#at++] = MINUS;
        this.#hundredths(hundredths);
        return;
      }
    }
    this.add(printSample(value));
  }

  #hundredths(hundredths: number): void {
    const whole = Math.floor(hundredths / 100);
    const rest = hundredths - whole * 100;
    this.#digits(whole);
    const page = this.#page;
    page[this.#at++] = POINT;
    const tenths = (rest / 10) | 0;
    page[this.#at++] = ZERO + tenths;
    const last = rest - tenths * 10;
    if (last !== 0) page[this.#at++] = ZERO + last;
  }

  /** Digits of a whole number below `SHORT_MAX`. */
  #digits(whole: number): void {
    if (whole < 2 ** 31) {
      this.#smallDigits(whole | 0, 1);
      return;
    }
    const upper = Math.floor(whole / 1e9);
    this.#smallDigits(upper | 0, 1);
    this.#smallDigits((whole - upper * 1e9) | 0, 9);
  }

  /** At least `least` digits. */
  #smallDigits(whole: number, least: number): void {
    let count = least;
    if (least === 1) {
      for (let power = 10; power <= whole; power *= 10) count++;
    }
    const page = this.#page;
    const from = this.#at;
    let rest = whole;
    for (let at = from + count - 1; at >= from; at--) {
      const tens = (rest / 10) | 0;
      page[at] = ZERO + rest - tens * 10;
      rest = tens;
    }
    this.#at = from + count;
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
    this.#at = PAGE_BYTES;
  }
}

const NO_PAGE = new Uint8Array(0);

function takePage(): Uint8Array {
  return idle.pop() ?? new Uint8Array(PAGE_BYTES);
}

/** Whether a unit is the first of a pair. */
function isLeading(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
