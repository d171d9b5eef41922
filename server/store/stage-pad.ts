/**
 * Memory that a staged batch takes for as long as it waits, used again for the next one.
 *
 * A batch needs hundreds of kilobytes for a fraction of a second, in JavaScript and in DuckDB. Left to the collector
 * that memory would be found again only by going through the whole heap, many times a second under load.
 *
 * Invariant: nothing of a pad may be used after it was given back; columns handed out are zero at first, unless they are `unset`.
 */

import duckdb from "@duckdb/node-bindings";

/** Pads that are kept for later, and the memory of columns that one may keep. */
const PADS_KEPT_MAX = 160;
const KEPT_BYTES_MAX = 1024 * 1024;
const BYTES_AT_FIRST = 16 * 1024;
const ALIGNMENT = 8;
const STRING_BYTES = 16;
const HIGH_WORD = 0x1_0000_0000;

/** Columns and native copies of one batch. */
export class StagePad {
  #buffer = new ArrayBuffer(BYTES_AT_FIRST);
  #used = 0;
  readonly #chunk = duckdb.create_data_chunk([duckdb.create_logical_type(duckdb.Type.BLOB)]);
  readonly #vector = duckdb.data_chunk_get_vector(this.#chunk, 0);
  #copies = 0;

  /** A column of zeros. */
  uint32(length: number): Uint32Array<ArrayBuffer> {
    const at = this.#take(4 * length);
    return at < 0 ? new Uint32Array(length) : new Uint32Array(this.#buffer, at, length).fill(0);
  }

  /** A column of whatever was there: the caller writes all of it. */
  unsetUint32(length: number): Uint32Array<ArrayBuffer> {
    const at = this.#take(4 * length);
    return at < 0 ? new Uint32Array(length) : new Uint32Array(this.#buffer, at, length);
  }

  /** @see uint32 */
  int32(length: number): Int32Array<ArrayBuffer> {
    const at = this.#take(4 * length);
    return at < 0 ? new Int32Array(length) : new Int32Array(this.#buffer, at, length).fill(0);
  }

  /** @see uint32 */
  uint8(length: number): Uint8Array<ArrayBuffer> {
    const at = this.#take(length);
    return at < 0 ? new Uint8Array(length) : new Uint8Array(this.#buffer, at, length).fill(0);
  }

  /** Copies more than 12 bytes to native memory. @returns Their address there. */
  copy(bytes: Uint8Array): number {
    const row = this.#copies++;
    duckdb.vector_assign_string_element_len(this.#vector, row, bytes);
    const strings = duckdb.vector_get_data(this.#vector, STRING_BYTES * (row + 1));
    const view = new DataView(strings.buffer, strings.byteOffset + STRING_BYTES * row, STRING_BYTES);
    return view.getUint32(8, true) + view.getUint32(12, true) * HIGH_WORD;
  }

  /** Frees the native copies and makes room for the next batch. @returns Whether the pad is of a size to be kept. */
  clear(): boolean {
    if (this.#copies > 0) duckdb.data_chunk_reset(this.#chunk);
    this.#copies = 0;
    const wanted = this.#used;
    this.#used = 0;
    if (wanted > KEPT_BYTES_MAX) return false;
    if (wanted > this.#buffer.byteLength) this.#buffer = new ArrayBuffer(Math.min(KEPT_BYTES_MAX, 1.25 * wanted));
    return true;
  }

  /** Where the next bytes lie; -1 where they need memory of their own, for which there will be room the next time. */
  #take(bytes: number): number {
    const at = this.#used;
    this.#used = at + Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    return this.#used > this.#buffer.byteLength ? -1 : at;
  }
}

/** Pads that wait for a batch. One a process: stores share it. */
const kept: StagePad[] = [];

/** A pad that nobody else uses. */
export function takePad(): StagePad {
  return kept.pop() ?? new StagePad();
}

/** Gives a pad back: what was taken from it must not be used any more. */
export function givePad(pad: StagePad): void {
  if (pad.clear() && kept.length < PADS_KEPT_MAX) kept.push(pad);
}
