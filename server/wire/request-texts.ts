/**
 * The texts of one request: mostly places in its own bytes, so that reading it makes no strings.
 *
 * Invariant: every text is well-formed UTF-8; text 0 is empty.
 */

import { isUtf8 } from "node:buffer";
import type { TextTable } from "../model/text-table.ts";
import { ByteNumbers } from "./byte-numbers.ts";
import { EMPTY_BYTES, GrowingBytes, grownTo, type Slab } from "./growing-bytes.ts";

const TEXTS_AT_FIRST = 8192;
const NAMES_AT_FIRST = 1024;
/** Names that are kept from one request to the next, and their bytes. */
const NAMES_MAX = 16_384;
const NAME_BYTES_MAX = 4 * 2 ** 20;
/** Whole numbers from 0 to here have their decimal text once a request. */
const SMALL_INTEGERS = 65_536;
/** Highest bits of four bytes. */
const NOT_ASCII = 0x8080_8080 | 0;
const WHOLE_DIGITS_MAX = 9;
const ZERO = "0".charCodeAt(0);
/**
 * Longer texts end here, so that one of them does not become strings and copies of many times its size. Ingest cuts them
 * further and counts them: this is more than its longest limit in the shortest encoding.
 */
export const TEXT_BYTES_MAX = 2 ** 20;

/** Call `begin` for each request. */
export class RequestTexts {
  #bytes: Uint8Array = EMPTY_BYTES;
  #buffer: Buffer = Buffer.alloc(0);
  #view = new DataView(EMPTY_BYTES.buffer);
  /** Texts that are not in the request's bytes; they start where those end. */
  readonly #extra = new GrowingBytes();
  #count = 1;
  #starts = new Uint32Array(TEXTS_AT_FIRST);
  #lengths = new Uint32Array(TEXTS_AT_FIRST);
  /** Tells this request from those before. */
  #request = 0;
  readonly #names = new ByteNumbers();
  #nameText = new Uint32Array(NAMES_AT_FIRST);
  #nameRequest = new Uint32Array(NAMES_AT_FIRST);
  readonly #decimalText = new Uint32Array(SMALL_INTEGERS);
  readonly #decimalRequest = new Uint32Array(SMALL_INTEGERS);
  readonly #constants = new Map<string, number>();
  /** Strings of the request with invalid UTF-8 or lone surrogates. */
  repaired = 0;

  /** Starts on a request whose texts stand in `bytes`, which must not change until `bytes`. */
  begin(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength); // whichever it is
    this.#extra.clear();
    this.#count = 1;
    this.#request++;
    this.#constants.clear();
    this.repaired = 0;
    if (this.#names.count > NAMES_MAX || this.#names.heapBytes > NAME_BYTES_MAX) this.#names.clear();
  }

  /** Bytes that `places` and `bytes` take. */
  get byteLength(): number {
    return 8 * this.#count + this.#bytes.length + this.#extra.length;
  }

  /** A text of the request's bytes. Invalid UTF-8 is replaced by U+FFFD and counted. */
  at(start: number, end: number): number {
    if (start === end) return 0;
    if (end - start > TEXT_BYTES_MAX) end = characterStart(this.#bytes, start + TEXT_BYTES_MAX);
    if (this.#isAscii(start, end) || isUtf8(this.#bytes.subarray(start, end))) return this.#add(start, end - start);
    this.repaired++;
    return this.of(this.#buffer.toString("utf8", start, end));
  }

  /** A text that stands nowhere in the request's bytes as it shall be kept. */
  of(text: string): number {
    if (text === "") return 0;
    const from = this.#extra.length;
    this.#extra.appendText(text.length > TEXT_BYTES_MAX ? text.slice(0, TEXT_BYTES_MAX) : text);
    return this.#add(this.#bytes.length + from, this.#extra.length - from);
  }

  /** As `at`, for texts of which many are equal: they share one index. */
  nameAt(start: number, end: number): number {
    if (start === end) return 0;
    const name = this.#names.find(this.#bytes, this.#view, start, end);
    if (name >= this.#nameText.length) {
      this.#nameText = grownTo(this.#nameText, new Uint32Array(2 * name));
      this.#nameRequest = grownTo(this.#nameRequest, new Uint32Array(2 * name));
    }
    if (this.#nameRequest[name] !== this.#request) {
      this.#nameRequest[name] = this.#request;
      this.#nameText[name] = this.at(start, end);
    }
    return this.#nameText[name] ?? 0;
  }

  /** Decimal text of a whole number from 0 to 2^53 - 1. */
  decimal(value: number): number {
    if (value >= SMALL_INTEGERS) return this.#addDecimal(value);
    if (this.#decimalRequest[value] !== this.#request) {
      this.#decimalRequest[value] = this.#request;
      this.#decimalText[value] = this.#addDecimal(value);
    }
    return this.#decimalText[value] ?? 0;
  }

  /** The whole number that a text is in decimal; -1 for other texts and more than nine digits. */
  wholeNumber(index: number): number {
    const length = this.#lengths[index] ?? 0;
    if (length === 0 || length > WHOLE_DIGITS_MAX) return -1;
    let start = this.#starts[index] ?? 0;
    let bytes = this.#bytes;
    if (start >= bytes.length) {
      start -= bytes.length;
      bytes = this.#extra.written();
    }
    let value = 0;
    for (let at = start; at < start + length; at++) {
      const digit = (bytes[at] ?? 0) - ZERO;
      if (digit < 0 || digit > 9) return -1;
      value = 10 * value + digit;
    }
    return value;
  }

  /** As `of`, for texts of which many are equal. */
  shared(text: string): number {
    let index = this.#constants.get(text);
    if (index === undefined) {
      index = this.of(text);
      this.#constants.set(text, index);
    }
    return index;
  }

  /** The string of a text. */
  read(index: number): string {
    const length = this.#lengths[index] ?? 0;
    if (index === 0 || length === 0) return "";
    const start = this.#starts[index] ?? 0;
    const inExtra = start - this.#bytes.length;
    if (inExtra < 0) return this.#buffer.toString("utf8", start, start + length);
    const extra = this.#extra.written();
    return Buffer.from(extra.buffer, extra.byteOffset + inExtra, length).toString("utf8");
  }

  /** Where each text stands, in memory of `slab`. */
  places(slab: Slab): Pick<TextTable, "starts" | "lengths"> {
    return { starts: slab.uint32(this.#starts, this.#count), lengths: slab.uint32(this.#lengths, this.#count) };
  }

  /** The bytes that `places` means, in memory of `slab`. */
  bytes(slab: Slab): Uint8Array {
    return slab.bytes(this.#bytes, this.#extra.written());
  }

  /** Four bytes at a time. */
  #isAscii(start: number, end: number): boolean {
    const view = this.#view;
    let at = start;
    for (; at + 4 <= end; at += 4) if ((view.getInt32(at, true) & NOT_ASCII) !== 0) return false;
    for (; at < end; at++) if (view.getInt8(at) < 0) return false;
    return true;
  }

  #addDecimal(value: number): number {
    const from = this.#extra.length;
    this.#extra.appendDecimal(value);
    return this.#add(this.#bytes.length + from, this.#extra.length - from);
  }

  #add(start: number, length: number): number {
    const index = this.#count++;
    if (index === this.#starts.length) {
      this.#starts = grownTo(this.#starts, new Uint32Array(2 * index));
      this.#lengths = grownTo(this.#lengths, new Uint32Array(2 * index));
    }
    this.#starts[index] = start;
    this.#lengths[index] = length;
    return index;
  }
}

/** The last place up to `at` where a character may start; `at` where bytes are no UTF-8. */
function characterStart(bytes: Uint8Array, at: number): number {
  for (let start = at; start > at - 4; start--) if (((bytes[start] ?? 0) & 0xc0) !== 0x80) return start;
  return at;
}
