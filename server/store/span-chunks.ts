/**
 * Fills DuckDB's data chunks with the rows of staged batches, column by column.
 *
 * Invariants: `COLUMNS` stands in the order of `STAGED_COLUMNS`; a chunk holds at most `CHUNK_ROWS_MAX` rows, which may
 * come from several batches; buffers are reused, since DuckDB copies them at `flush`.
 */

import duckdb from "@duckdb/node-bindings";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import { KIND_WORD_AT, SOURCE_WORD_AT, STATUS_WORD_AT, type StagedBatch } from "./staged-spans.ts";
import { STRING_WORDS, writeString } from "./text-heap.ts";

/** Rows of a DuckDB vector. */
const CHUNK_ROWS_MAX = 2048;
const VALIDITY_WORDS = CHUNK_ROWS_MAX / 32;
const ALL_VALID = 0xffff_ffff;
const TYPED_COUNT = TYPED_ATTRIBUTES.length;
const DURATION_NS_MAX = 2n ** 63n - 1n;
/** Texts of a resource and of a scope in `StagedBatch.extra`. */
const RESOURCE_TEXTS = 2;
const SCOPE_TEXTS = 3;

interface ColumnBuffer {
  /** Copies rows `from` to `to` of a batch to rows `at` and after of the chunk. */
  add(staged: StagedBatch, from: number, to: number, at: number): void;
  /** Copies what was added to the vector and empties the buffer. */
  flush(vector: duckdb.Vector, rows: number): void;
}

type Numbers = Uint8Array | Uint16Array | Uint32Array | Int32Array | BigUint64Array | BigInt64Array;

/** Reads staged batches row by row into chunks. */
export class SpanChunkSource {
  #batches: readonly StagedBatch[] = [];
  #batch = 0;
  #row = 0;
  readonly #columns: readonly ColumnBuffer[] = columnBuffers();

  /** Starts over with these batches. */
  start(batches: readonly StagedBatch[]): void {
    this.#batches = batches;
    this.rewind();
  }

  rewind(): void {
    this.#batch = 0;
    this.#row = 0;
  }

  /** Fills the next chunk; a chunk of 0 rows is the end. */
  fill(chunk: duckdb.DataChunk): void {
    let filled = 0;
    while (filled < CHUNK_ROWS_MAX) {
      const staged = this.#batches[this.#batch];
      if (staged === undefined) break;
      const to = Math.min(staged.batch.rows, this.#row + CHUNK_ROWS_MAX - filled);
      for (const column of this.#columns) column.add(staged, this.#row, to, filled);
      filled += to - this.#row;
      this.#row = to;
      if (to === staged.batch.rows) {
        this.#batch++;
        this.#row = 0;
      }
    }
    duckdb.data_chunk_set_size(chunk, filled);
    if (filled === 0) return;
    for (const [index, column] of this.#columns.entries()) {
      column.flush(duckdb.data_chunk_get_vector(chunk, index), filled);
    }
  }
}

function columnBuffers(): ColumnBuffer[] {
  return [
    constantPerBatch(new BigUint64Array(CHUNK_ROWS_MAX), ({ sequence }) => BigInt(sequence)),
    traceIds(),
    traceBytes(),
    numbers(new BigUint64Array(CHUNK_ROWS_MAX), ({ batch }) => batch.spanId),
    nonZeroIds(({ batch }) => batch.parentSpanId),
    resourceIds(),
    resourceText(0, false),
    resourceText(1, true),
    scopeText(0),
    scopeText(1),
    text(({ batch }) => batch.name, false),
    word(({ batch }) => batch.kind, KIND_WORD_AT),
    word(({ batch }) => batch.status, STATUS_WORD_AT),
    text(({ batch }) => batch.statusMessage, true),
    numbers(new BigInt64Array(CHUNK_ROWS_MAX), ({ batch }) => batch.startNs),
    durations(),
    word(({ batch }) => batch.source, SOURCE_WORD_AT),
    text(({ batch }) => batch.linkReason, true),
    text(({ batch }) => batch.protocol, true),
    text(({ batch }) => batch.clientAddr, true),
    nonZero(new Uint16Array(CHUNK_ROWS_MAX), ({ batch }) => batch.clientPort),
    text(({ batch }) => batch.serverAddr, true),
    nonZero(new Uint16Array(CHUNK_ROWS_MAX), ({ batch }) => batch.serverPort),
    nonZero(new Uint32Array(CHUNK_ROWS_MAX), ({ batch }) => batch.pid),
    numbers(new Uint32Array(CHUNK_ROWS_MAX), ({ batch }) => batch.weight),
    nonZeroIds(({ batch }) => batch.duplicateOf),
    numbers(new Uint32Array(CHUNK_ROWS_MAX), ({ batch }) => batch.flags),
    text(({ batch }) => batch.traceState, true),
    ...TYPED_ATTRIBUTES.map(({ kind }, index) => (kind === "s" ? typedText(index) : typedIntegers(index))),
    attributeMap(),
    extraText((staged) => staged.kinds, false),
    extraText((staged) => staged.repeats, true),
    blobs((staged) => [staged.batch.eventsEnd, staged.events]),
    blobs((staged) => [staged.batch.linksEnd, staged.links]),
    scopeText(2),
  ];
}

/** Validity of one chunk's rows, one bit each. */
class Validity {
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

function copyOut(vector: duckdb.Vector, out: Numbers, entries: number): void {
  // The bindings take any buffer; their type asks for an ArrayBuffer, which is what these arrays were made of.
  duckdb.copy_data_to_vector(vector, 0, out.buffer as ArrayBuffer, out.byteOffset, entries * out.BYTES_PER_ELEMENT);
}

function numbers<T extends Numbers>(out: T, pick: (staged: StagedBatch) => T): ColumnBuffer {
  return {
    add(staged, from, to, at) {
      // Both sides have the same element type T; the union of their `set` methods cannot say so.
      (out as { set(source: unknown, at: number): void }).set(pick(staged).subarray(from, to), at);
    },
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

function constantPerBatch(out: BigUint64Array, pick: (staged: StagedBatch) => bigint): ColumnBuffer {
  return {
    add: (staged, from, to, at) => out.fill(pick(staged), at, at + to - from),
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

function nonZero<T extends Uint16Array | Uint32Array>(out: T, pick: (staged: StagedBatch) => T): ColumnBuffer {
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
  };
}

/** 64-bit ids of which 0 means absent; handled as pairs of 32-bit words, since a BigInt per value is dear. */
function nonZeroIds(pick: (staged: StagedBatch) => BigUint64Array): ColumnBuffer {
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
  };
}

function wordsOf(ids: BigUint64Array): Uint32Array {
  return new Uint32Array(ids.buffer, ids.byteOffset, ids.length * 2);
}

/** DuckDB keeps a UUID as a signed 128-bit number with its highest bit flipped, low half first. */
function traceIds(): ColumnBuffer {
  const out = new Uint32Array(CHUNK_ROWS_MAX * 4);
  return {
    add(staged, from, to, at) {
      const source = wordsOf(staged.batch.traceId);
      for (let row = from; row < to; row++) {
        const place = 4 * (at + row - from);
        out[place] = source[4 * row + 2] ?? 0;
        out[place + 1] = source[4 * row + 3] ?? 0;
        out[place + 2] = source[4 * row] ?? 0;
        out[place + 3] = (source[4 * row + 1] ?? 0) ^ 0x8000_0000;
      }
    },
    flush: (vector, rows) => copyOut(vector, out, rows * 4),
  };
}

function traceBytes(): ColumnBuffer {
  const out = new Uint8Array(CHUNK_ROWS_MAX);
  return {
    add(staged, from, to, at) {
      const source = wordsOf(staged.batch.traceId);
      for (let row = from; row < to; row++) out[at + row - from] = source[4 * row + 2] ?? 0;
    },
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

function resourceIds(): ColumnBuffer {
  const out = new BigUint64Array(CHUNK_ROWS_MAX);
  return {
    add(staged, from, to, at) {
      const { resource } = staged.batch;
      for (let row = from; row < to; row++) out[at + row - from] = staged.resources[resource[row] ?? 0]?.id ?? 0n;
    },
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

/** Durations that 63 bits cannot hold are cut, so that start plus duration never overflows in SQL. */
function durations(): ColumnBuffer {
  const out = new BigInt64Array(CHUNK_ROWS_MAX);
  return {
    add(staged, from, to, at) {
      const { startNs, endNs } = staged.batch;
      for (let row = from; row < to; row++) {
        const duration = (endNs[row] ?? 0n) - (startNs[row] ?? 0n);
        out[at + row - from] =
          duration > DURATION_NS_MAX ? DURATION_NS_MAX : duration < -DURATION_NS_MAX ? -DURATION_NS_MAX : duration;
      }
    },
    flush: (vector, rows) => copyOut(vector, out, rows),
  };
}

/** 16-byte strings of one chunk. */
class StringBuffer {
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
    this.words.fill(0, row * STRING_WORDS, (row + 1) * STRING_WORDS);
    this.validity.setNull(row);
  }

  flush(vector: duckdb.Vector, rows: number): void {
    copyOut(vector, this.words, rows * STRING_WORDS);
    this.validity.flush(vector);
  }
}

type PickIds = (staged: StagedBatch) => Uint32Array;

/** Text of `batch.text`; `nullable`: index 0 is NULL, else it is the empty text. */
function text(pick: PickIds, nullable: boolean): ColumnBuffer {
  return placedText((staged) => staged.text.words, pick, nullable);
}

/** Text of `extra`, as `text`. */
function extraText(pick: PickIds, nullable: boolean): ColumnBuffer {
  return placedText((staged) => staged.extra.words, pick, nullable);
}

function placedText(placed: PickIds, pick: PickIds, nullable: boolean): ColumnBuffer {
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
  };
}

function word(pick: (staged: StagedBatch) => Uint8Array, wordAt: number): ColumnBuffer {
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

/** Service (0) or instance (1) of the row's resource. */
function resourceText(which: 0 | 1, nullable: boolean): ColumnBuffer {
  return tupleText((staged) => [staged.batch.resource, staged.resourceTextAt + which], RESOURCE_TEXTS, nullable);
}

/** Name (0), version (1) or rest (2) of the row's scope. */
function scopeText(which: 0 | 1 | 2): ColumnBuffer {
  return tupleText((staged) => [staged.batch.scope, staged.scopeTextAt + which], SCOPE_TEXTS, true);
}

/** Texts of `extra` that stand there in tuples of `stride`: by row the tuple, and where the first one is. */
function tupleText(
  pick: (staged: StagedBatch) => [tuple: Uint32Array, firstAt: number],
  stride: number,
  nullable: boolean,
): ColumnBuffer {
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
  };
}

function typedText(typed: number): ColumnBuffer {
  const out = new StringBuffer();
  return {
    add(staged, from, to, at) {
      const { words } = staged.text;
      for (let row = from; row < to; row++) {
        const place = row * TYPED_COUNT + typed;
        if (staged.typedSet[place] === 1) out.copy(at + row - from, words, staged.typed[place] ?? 0);
        else out.setNull(at + row - from);
      }
    },
    flush: (vector, rows) => out.flush(vector, rows),
  };
}

function typedIntegers(typed: number): ColumnBuffer {
  const out = new Int32Array(CHUNK_ROWS_MAX);
  const validity = new Validity();
  return {
    add(staged, from, to, at) {
      for (let row = from; row < to; row++) {
        const place = row * TYPED_COUNT + typed;
        out[at + row - from] = staged.typed[place] ?? 0;
        if (staged.typedSet[place] !== 1) validity.setNull(at + row - from);
      }
    },
    flush(vector, rows) {
      copyOut(vector, out, rows);
      validity.flush(vector);
    },
  };
}

/** A MAP is a list of key and value pairs: per row offset and length, then all keys and all values of the chunk. */
function attributeMap(): ColumnBuffer {
  const lists = new Uint32Array(CHUNK_ROWS_MAX * 4);
  let keys = new Uint32Array(CHUNK_ROWS_MAX * 8 * STRING_WORDS);
  let values = new Uint32Array(CHUNK_ROWS_MAX * 8 * STRING_WORDS);
  let entries = 0;
  const append = (staged: StagedBatch, at: number) => {
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
function blobs(pick: (staged: StagedBatch) => [Uint32Array, StagedBatch["events"]]): ColumnBuffer {
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
  };
}
