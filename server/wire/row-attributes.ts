/**
 * Attributes of rows in columns, while a request is read.
 *
 * Call `beginRow`, `add` each attribute, then `keepRow` or nothing: the next `beginRow` forgets a row that was not kept.
 * Invariant: keys that differ as text stand once in a row; the last value of a key counts.
 */

import { grownTo } from "./growing-bytes.ts";
import type { RequestKeys } from "./request-keys.ts";

/** Attributes kept of one row or resource; those beyond are left out and counted. */
export const ATTRIBUTES_MAX = 1024;
const KEYS_AT_FIRST = 1024;
const ATTRIBUTES_AT_FIRST = 8 * 1024;

/** Made once a thread; `clear` before each request. */
export class RowAttributes {
  readonly #keys: RequestKeys;
  #key = new Uint32Array(ATTRIBUTES_AT_FIRST);
  #kind = new Uint8Array(ATTRIBUTES_AT_FIRST);
  #value = new Uint32Array(ATTRIBUTES_AT_FIRST);
  /** Where the row at hand starts and ends. */
  #from = 0;
  #to = 0;
  /** Keys of the row at hand, by place among its attributes; and by key, the row it was met in and its place there. */
  readonly #rowKeys = new Uint32Array(ATTRIBUTES_MAX);
  #keyRow = new Float64Array(KEYS_AT_FIRST);
  #keyAt = new Uint32Array(KEYS_AT_FIRST);
  /** Tells this row from all others. */
  #row = 0;
  /** Attributes left out: earlier values of a repeated key, or more than `ATTRIBUTES_MAX`. */
  leftOut = 0;

  constructor(keys: RequestKeys) {
    this.#keys = keys;
  }

  clear(): void {
    this.#from = 0;
    this.#to = 0;
    this.leftOut = 0;
  }

  beginRow(): void {
    this.#to = this.#from;
    this.#row++;
    this.#keys.forgetIfFull();
  }

  /** Adds an attribute: a number of the keys, the char code of an `AttributeKind`, a text of the request. */
  add(key: number, kind: number, value: number): void {
    const at = this.#to;
    if (key >= this.#keyAt.length) this.#growKeys(key);
    if (this.#keyRow[key] === this.#row) {
      const known = this.#keyAt[key] ?? 0;
      this.#kind[known] = kind;
      this.#value[known] = value;
      this.leftOut++;
      return;
    }
    const place = at - this.#from;
    if (place === ATTRIBUTES_MAX) {
      this.leftOut++;
      return;
    }
    if (at === this.#kind.length) this.#grow();
    this.#keyRow[key] = this.#row;
    this.#keyAt[key] = at;
    this.#rowKeys[place] = key;
    this.#key[at] = this.#keys.text(key);
    this.#kind[at] = kind;
    this.#value[at] = value;
    this.#to = at + 1;
  }

  /** How many attributes the row at hand has. */
  get rowLength(): number {
    return this.#to - this.#from;
  }

  /** Number of the key of an attribute of the row at hand, by its place there. */
  rowKey(place: number): number {
    return this.#rowKeys[place] ?? 0;
  }

  /** Text of the value of an attribute of the row at hand. */
  rowValue(place: number): number {
    return this.#value[this.#from + place] ?? 0;
  }

  /** Keeps the row at hand. @returns How many attributes all kept rows have. */
  keepRow(): number {
    this.#from = this.#to;
    return this.#to;
  }

  /** How many attributes the kept rows have. */
  get length(): number {
    return this.#from;
  }

  /** The columns, of which the first `length` entries count. */
  get columns(): { readonly key: Uint32Array; readonly kind: Uint8Array; readonly value: Uint32Array } {
    return { key: this.#key, kind: this.#kind, value: this.#value };
  }

  #growKeys(key: number): void {
    this.#keyRow = grownTo(this.#keyRow, new Float64Array(2 * key));
    this.#keyAt = grownTo(this.#keyAt, new Uint32Array(2 * key));
  }

  #grow(): void {
    const length = 2 * this.#kind.length;
    this.#key = grownTo(this.#key, new Uint32Array(length));
    this.#kind = grownTo(this.#kind, new Uint8Array(length));
    this.#value = grownTo(this.#value, new Uint32Array(length));
  }
}
