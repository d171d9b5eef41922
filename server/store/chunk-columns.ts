/**
 * Columns of DuckDB's data chunks, filled from the columns of staged batches.
 *
 * Invariants: a chunk holds at most `CHUNK_ROWS_MAX` rows, which may come from several batches; buffers are reused, since
 * DuckDB copies them at `flush`.
 */

import duckdb from "@duckdb/node-bindings";
import { type PlacedBytes, type PlacedText, STRING_WORDS, writeString } from "./text-heap.ts";

/** Rows of a DuckDB vector. */
export const CHUNK_ROWS_MAX = 2048;
const VALIDITY_WORDS = CHUNK_ROWS_MAX / 32;
const ALL_VALID = 0xffff_ffff;

interface Rows {
  readonly batch: { readonly rows: number };
}

/** A batch with texts in native memory. */
export interface PlacedRows extends Rows {
  /** Texts of the batch. */
  readonly text: PlacedText;
  /** Texts made for storing it. */
  readonly extra: PlacedText;
}

/** A batch whose attributes are split for the MAP. */
interface AttributedRows extends PlacedRows {
  readonly batch: PlacedRows["batch"] & {
    readonly attributeEnd: Uint32Array;
    readonly attributeKey: Uint32Array;
    readonly attributeValue: Uint32Array;
  };
  /** Per attribute of the batch: 1 where it stands in the MAP. */
  readonly inMap: Uint8Array;
}

/** One column of a chunk. */
export interface ColumnBuffer<S> {
  /** Copies rows `from` to `to` of a batch to rows `at` and after of the chunk. */
  add(staged: S, from: number, to: number, at: number): void;
  /** Copies what was added to the vector and empties the buffer. */
  flush(vector: duckdb.Vector, rows: number): void;
  /** The one value that all rows of a batch have, which need not be added then, as text: null where none has one. */
  only?(staged: S): string | null | undefined;
}

type Numbers = Uint8Array | Uint16Array | Uint32Array | Int32Array | BigUint64Array | BigInt64Array;

/** Reads staged batches row by row into chunks. */
export class ChunkSource<S extends PlacedRows> {
  #batches: readonly S[] = [];
  #batch = 0;
  #row = 0;
  #fromRow = 0;
  #toRow = Number.POSITIVE_INFINITY;
  readonly #columns: readonly ColumnBuffer<S>[];
  /** Those that are asked for, in the order of a chunk's vectors. */
  #asked: readonly ColumnBuffer<S>[];

  /** @param columns In the order of the table function. */
  constructor(columns: readonly ColumnBuffer<S>[]) {
    this.#columns = columns;
    this.#asked = columns;
  }

  /** Starts over with these batches; of each only the rows `[fromRow, toRow)`. */
  start(batches: readonly S[], fromRow = 0, toRow = Number.POSITIVE_INFINITY): void {
    this.#batches = batches;
    this.#fromRow = fromRow;
    this.#toRow = toRow;
    this.#batch = 0;
    this.#row = fromRow;
  }

  /** The batches that it starts with. */
  get batches(): readonly S[] {
    return this.#batches;
  }

  /** The value in column `index` of all rows of these batches: null where none has one, undefined where there are several. */
  only(index: number, [first, ...others]: readonly S[]): string | null | undefined {
    const column = this.#columns[index];
    const only = first === undefined ? undefined : column?.only?.(first);
    if (only === undefined) return undefined;
    return others.every((staged) => column?.only?.(staged) === only) ? only : undefined;
  }

  /** Begins again; the chunks hold the columns with these numbers, in this order. */
  rewind(asked: readonly number[]): void {
    this.#batch = 0;
    this.#row = this.#fromRow;
    this.#asked = asked.flatMap((number) => this.#columns[number] ?? []);
  }

  /** Fills the next chunk; a chunk of 0 rows is the end. */
  fill(chunk: duckdb.DataChunk): void {
    let filled = 0;
    while (filled < CHUNK_ROWS_MAX) {
      const staged = this.#batches[this.#batch];
      if (staged === undefined) break;
      const end = Math.min(staged.batch.rows, this.#toRow);
      const to = Math.min(end, this.#row + CHUNK_ROWS_MAX - filled);
      for (const column of this.#asked) column.add(staged, this.#row, to, filled);
      filled += to - this.#row;
      this.#row = to;
      if (to === end) {
        this.#batch++;
        this.#row = this.#fromRow;
      }
    }
    duckdb.data_chunk_set_size(chunk, filled);
    if (filled === 0) return;
    for (const [index, column] of this.#asked.entries()) {
      column.flush(duckdb.data_chunk_get_vector(chunk, index), filled);
    }
  }
}

/** Validity of one chunk's rows, one bit each. */
export class Validity {
  readonly #words = new Uint32Array(VALIDITY_WORDS).fill(ALL_VALID);
  #anyNull = false;

  setNull(row: number): void {
    this.#anyNull = true;
    const word = row >>> 5;
    this.#words[word] = (this.#words[word] ?? 0) & ~(1 << (row & 31));
  }

  flush(vector: duckdb.Vector): void {
    if (!this.#anyNull) return;
    duckdb.vector_ensure_validity_writable(vector);
    duckdb.copy_data_to_vector_validity(vector, 0, this.#words.buffer, 0, this.#words.byteLength);
    this.#words.fill(ALL_VALID);
    this.#anyNull = false;
  }
}

/** Copies entries to a vector. */
export function copyOut(vector: duckdb.Vector, out: Numbers, entries: number): void {
  // The bindings take any buffer; their type asks for an ArrayBuffer, which is what these arrays were made of.
  duckdb.copy_data_to_vector(vector, 0, out.buffer as ArrayBuffer, out.byteOffset, entries * out.BYTES_PER_ELEMENT);
}

/** Values as the batch has them. */
export function numbers<S, T extends Numbers>(out: T, pick: (staged: S) => T): ColumnBuffer<S> {
  return {
    add(staged, from, to, at) {
      // Both sides have the same element type T; the union of their `set` methods cannot say so.
      (out as { set(source: unknown, at: number): void }).set(pick(staged).subarray(from, to), at);
    },
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

/** One value a batch. */
export function constantPerBatch<S>(out: BigUint64Array, pick: (staged: S) => bigint): ColumnBuffer<S> {
  return {
    add: (staged, from, to, at) => out.fill(pick(staged), at, at + to - from),
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

/** Values of which 0 means absent. */
export function nonZero<S extends Rows, T extends Uint16Array | Uint32Array>(
  out: T,
  pick: (staged: S) => T,
): ColumnBuffer<S> {
  const validity = new Validity();
  return {
    add(staged, from, to, at) {
      const source = pick(staged);
      for (let row = from; row < to; row++) {
        const value = source[row] ?? 0;
        out[at + row - from] = value;
        if (value === 0) validity.setNull(at + row - from);
      }
    },
    flush(vector, rows) {
      copyOut(vector, out, rows);
      validity.flush(vector);
    },
    only: (staged) => nullIfZero(pick(staged), staged.batch.rows),
  };
}

/** null where the first `count` words are all 0. */
function nullIfZero(words: Uint8Array | Uint16Array | Uint32Array, count: number): null | undefined {
  for (let at = 0; at < count; at++) if (words[at] !== 0) return undefined;
  return null;
}

/** 64-bit ids of which 0 means absent; handled as pairs of 32-bit words, since a BigInt per value is dear. */
export function nonZeroIds<S extends Rows>(pick: (staged: S) => BigUint64Array): ColumnBuffer<S> {
  const out = new Uint32Array(CHUNK_ROWS_MAX * 2);
  const validity = new Validity();
  return {
    add(staged, from, to, at) {
      const source = wordsOf(pick(staged));
      for (let row = from; row < to; row++) {
        const low = source[2 * row] ?? 0;
        const high = source[2 * row + 1] ?? 0;
        const place = at + row - from;
        out[2 * place] = low;
        out[2 * place + 1] = high;
        if (low === 0 && high === 0) validity.setNull(place);
      }
    },
    flush(vector, rows) {
      copyOut(vector, out, rows * 2);
      validity.flush(vector);
    },
    only: (staged) => nullIfZero(wordsOf(pick(staged)), 2 * staged.batch.rows),
  };
}

/** The 32-bit words of 64-bit values. */
export function wordsOf(ids: BigUint64Array | BigInt64Array): Uint32Array {
  return new Uint32Array(ids.buffer, ids.byteOffset, ids.length * 2);
}

/**
 * 128-bit ids, two entries a row, of which 0 means absent.
 *
 * DuckDB keeps a UUID as a signed 128-bit number with its highest bit flipped, low half first.
 */
export function uuids<S extends Rows>(pick: (staged: S) => BigUint64Array): ColumnBuffer<S> {
  const out = new Uint32Array(CHUNK_ROWS_MAX * 4);
  const validity = new Validity();
  return {
    add(staged, from, to, at) {
      const source = wordsOf(pick(staged));
      for (let row = from; row < to; row++) {
        const place = 4 * (at + row - from);
        out[place] = source[4 * row + 2] ?? 0;
        out[place + 1] = source[4 * row + 3] ?? 0;
        out[place + 2] = source[4 * row] ?? 0;
        out[place + 3] = (source[4 * row + 1] ?? 0) ^ 0x8000_0000;
        if (isZero(source, 4 * row)) validity.setNull(at + row - from);
      }
    },
    flush(vector, rows) {
      copyOut(vector, out, rows * 4);
      validity.flush(vector);
    },
    only: (staged) => nullIfZero(wordsOf(pick(staged)), 4 * staged.batch.rows),
  };
}

function isZero(words: Uint32Array, at: number): boolean {
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0 && words[at + 3] === 0;
}

/** Rows with resources that have ids. */
interface ResourcedRows {
  readonly batch: { readonly resource: Uint32Array };
  readonly resources: readonly { readonly id: bigint }[];
}

/** Id of the row's resource. */
export function resourceIds<S extends ResourcedRows>(): ColumnBuffer<S> {
  const out = new BigUint64Array(CHUNK_ROWS_MAX);
  return {
    add(staged, from, to, at) {
      const { resource } = staged.batch;
      for (let row = from; row < to; row++) out[at + row - from] = staged.resources[resource[row] ?? 0]?.id ?? 0n;
    },
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

/** 16-byte strings of one chunk. */
export class StringBuffer {
  readonly words = new Uint32Array(CHUNK_ROWS_MAX * STRING_WORDS);
  readonly bytes = new Uint8Array(this.words.buffer);
  readonly validity = new Validity();

  copy(row: number, from: Uint32Array, index: number): void {
    const { words } = this;
    const to = row * STRING_WORDS;
    const at = index * STRING_WORDS;
    words[to] = from[at] ?? 0;
    words[to + 1] = from[at + 1] ?? 0;
    words[to + 2] = from[at + 2] ?? 0;
    words[to + 3] = from[at + 3] ?? 0;
  }

  /** An absent string still stands as an empty one: DuckDB may look at the slots of NULLs. */
  setNull(row: number): void {
    const { words } = this;
    const to = row * STRING_WORDS;
    words[to] = 0;
    words[to + 1] = 0;
    words[to + 2] = 0;
    words[to + 3] = 0;
    this.validity.setNull(row);
  }

  flush(vector: duckdb.Vector, rows: number): void {
    copyOut(vector, this.words, rows * STRING_WORDS);
    this.validity.flush(vector);
  }
}

type PickIds<S> = (staged: S) => Uint32Array;

/** Text of `batch.text`; `nullable`: index 0 is NULL, else it is the empty text. */
export function text<S extends PlacedRows>(pick: PickIds<S>, nullable: boolean): ColumnBuffer<S> {
  return placedText<S>((staged) => staged.text.words, pick, nullable);
}

/** Text of `extra`, as `text`. */
export function extraText<S extends PlacedRows>(pick: PickIds<S>, nullable: boolean): ColumnBuffer<S> {
  return placedText<S>((staged) => staged.extra.words, pick, nullable);
}

function placedText<S extends PlacedRows>(placed: PickIds<S>, pick: PickIds<S>, nullable: boolean): ColumnBuffer<S> {
  const out = new StringBuffer();
  return {
    add(staged, from, to, at) {
      const ids = pick(staged);
      const words = placed(staged);
      for (let row = from; row < to; row++) {
        const id = ids[row] ?? 0;
        if (nullable && id === 0) out.setNull(at + row - from);
        else out.copy(at + row - from, words, id);
      }
    },
    flush: (vector, rows) => out.flush(vector, rows),
    only: (staged) => (nullable ? nullIfZero(pick(staged), staged.batch.rows) : undefined),
  };
}

/** A word of a fixed list that starts at `wordAt` of `extra`. */
export function word<S extends PlacedRows>(pick: (staged: S) => Uint8Array, wordAt: number): ColumnBuffer<S> {
  const out = new StringBuffer();
  return {
    add(staged, from, to, at) {
      const ids = pick(staged);
      const { words } = staged.extra;
      for (let row = from; row < to; row++) out.copy(at + row - from, words, wordAt + (ids[row] ?? 0));
    },
    flush: (vector, rows) => out.flush(vector, rows),
  };
}

/** Texts of `extra` that stand there in tuples of `stride`: by row the tuple, and where the first one is. */
export function tupleText<S extends PlacedRows>(
  pick: (staged: S) => [tuple: Uint32Array, firstAt: number],
  stride: number,
  nullable: boolean,
): ColumnBuffer<S> {
  const out = new StringBuffer();
  return {
    add(staged, from, to, at) {
      const [tuple, first] = pick(staged);
      const { words } = staged.extra;
      for (let row = from; row < to; row++) {
        const index = first + stride * (tuple[row] ?? 0);
        if (nullable && words[index * STRING_WORDS] === 0) out.setNull(at + row - from);
        else out.copy(at + row - from, words, index);
      }
    },
    flush: (vector, rows) => out.flush(vector, rows),
    only(staged) {
      if (!nullable) return undefined;
      const [tuple, first] = pick(staged);
      const { words } = staged.extra;
      for (let row = 0; row < staged.batch.rows; row++) {
        if (words[(first + stride * (tuple[row] ?? 0)) * STRING_WORDS] !== 0) return undefined;
      }
      return null;
    },
  };
}

/** A MAP is a list of key and value pairs: per row offset and length, then all keys and all values of the chunk. */
export function attributeMap<S extends AttributedRows>(): ColumnBuffer<S> {
  const lists = new Uint32Array(CHUNK_ROWS_MAX * 4);
  let keys = new Uint32Array(CHUNK_ROWS_MAX * 8 * STRING_WORDS);
  let values = new Uint32Array(CHUNK_ROWS_MAX * 8 * STRING_WORDS);
  let entries = 0;
  const append = (staged: S, at: number) => {
    const { words } = staged.text;
    const to = entries * STRING_WORDS;
    if (to + STRING_WORDS > keys.length) {
      keys = doubled(keys);
      values = doubled(values);
    }
    const key = (staged.batch.attributeKey[at] ?? 0) * STRING_WORDS;
    const value = (staged.batch.attributeValue[at] ?? 0) * STRING_WORDS;
    for (let part = 0; part < STRING_WORDS; part++) {
      keys[to + part] = words[key + part] ?? 0;
      values[to + part] = words[value + part] ?? 0;
    }
    entries++;
  };
  return {
    add(staged, from, to, at) {
      const { attributeEnd } = staged.batch;
      let attribute = from === 0 ? 0 : (attributeEnd[from - 1] ?? 0);
      for (let row = from; row < to; row++) {
        const first = entries;
        const end = attributeEnd[row] ?? attribute;
        for (; attribute < end; attribute++) if (staged.inMap[attribute] === 1) append(staged, attribute);
        const place = 4 * (at + row - from);
        lists[place] = first;
        lists[place + 2] = entries - first;
      }
    },
    flush(vector, rows) {
      duckdb.list_vector_reserve(vector, entries);
      duckdb.list_vector_set_size(vector, entries);
      copyOut(vector, lists, rows * 4);
      const child = duckdb.list_vector_get_child(vector);
      if (entries > 0) {
        copyOut(duckdb.struct_vector_get_child(child, 0), keys, entries * STRING_WORDS);
        copyOut(duckdb.struct_vector_get_child(child, 1), values, entries * STRING_WORDS);
      }
      entries = 0;
    },
  };
}

function doubled(words: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(words.length * 2);
  larger.set(words);
  return larger;
}

/** Byte strings of which an empty one is NULL. */
export function blobs<S extends Rows>(pick: (staged: S) => [ends: Uint32Array, bytes: PlacedBytes]): ColumnBuffer<S> {
  const out = new StringBuffer();
  return {
    add(staged, from, to, at) {
      const [ends, placed] = pick(staged);
      let start = from === 0 ? 0 : (ends[from - 1] ?? 0);
      for (let row = from; row < to; row++) {
        const end = ends[row] ?? start;
        if (end === start) out.setNull(at + row - from);
        else writeString(out.words, out.bytes, at + row - from, placed, start, end);
        start = end;
      }
    },
    flush: (vector, rows) => out.flush(vector, rows),
    only: (staged) => ((pick(staged)[0][staged.batch.rows - 1] ?? 0) === 0 ? null : undefined),
  };
}
