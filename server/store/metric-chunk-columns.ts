/**
 * Finds where the samples of many series lie, without decoding any: chunks of memory where they are, what is not
 * encoded copied to memory that threads share.
 *
 * Invariant: a row that is left out has something that columns do not tell (histograms, starts, samples out of order, a
 * seal under way), or is not sure to have a sample in the window; it is read otherwise.
 */

import { CHUNK_WORDS, type ChunkColumns, type ChunkLayer, TAIL_WORDS, TIMES_WORDS } from "../model/chunk-selection.ts";
import { holdsOnlyFloats } from "../model/float-chunk.ts";
import type { SampleRoom } from "../model/sample-room.ts";
import { hasEvenTimes, type SealedChunk } from "./metric-chunk.ts";
import type { TimeColumn } from "./metric-open-memory.ts";
import { lowerBound, upperBound } from "./metric-runs.ts";
import type { MetricSeries } from "./metric-series.ts";
import type { Track } from "./metric-track.ts";

/** States of rows; at first there is nothing. */
const ROW_FOUND = 1;
const ROW_LEFT_OUT = 2;

/** A column of times that was copied, as far as `count` goes. */
interface KnownColumn {
  readonly number: number;
  readonly count: number;
  readonly column: TimeColumn;
}

/** What is gathered, row by row. */
export class ChunkGatherer {
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #room: SampleRoom;
  readonly #states: Uint8Array;
  readonly #sizes: Uint32Array;
  readonly #tails: Uint32Array;
  readonly #head: LayerBuilder;
  readonly #blocks: LayerBuilder[] = [];
  /** By row, where memory begins, and where the block before ends. */
  readonly #memoryMs: Float64Array;
  readonly #endMs: Float64Array;
  readonly #times = new WordList(64 * TIMES_WORDS);
  readonly #timesOf = new Map<TimeColumn, KnownColumn>();
  /** By the first time. */
  readonly #timesFrom = new Map<number, KnownColumn>();
  readonly #pages = new PageNumbers();
  #lastColumn: TimeColumn | undefined;
  #lastTimes = 0;
  #lastCount = 0;
  #roomPage: Float64Array | undefined;
  #roomPageNumber = 0;

  constructor(rows: number, window: { readonly minMs: number; readonly maxMs: number }, room: SampleRoom) {
    this.#minMs = window.minMs;
    this.#maxMs = window.maxMs;
    this.#room = room;
    this.#states = new Uint8Array(rows);
    this.#sizes = new Uint32Array(rows);
    this.#tails = new Uint32Array(rows * TAIL_WORDS);
    this.#head = new LayerBuilder(rows);
    this.#memoryMs = new Float64Array(rows).fill(Number.POSITIVE_INFINITY);
    this.#endMs = new Float64Array(rows).fill(Number.NEGATIVE_INFINITY);
  }

  /** Adds what a series has in memory. @returns Samples of it in the window, as far as they are known. */
  addMemory(row: number, { head }: MetricSeries): number {
    if (head === undefined) return 0;
    const { inOrder } = head;
    if (head.late !== undefined || head.sealing !== undefined || !inOrder.hasOnlyFloats) {
      this.#states[row] = ROW_LEFT_OUT;
      return 0;
    }
    const size = this.#addChunks(row, inOrder.chunks);
    if (this.#states[row] === ROW_LEFT_OUT) return 0;
    const whole = size + this.#addOpen(row, inOrder);
    if (whole > 0) {
      this.#states[row] = ROW_FOUND;
      this.#sizes[row] = whole;
    }
    return whole;
  }

  /** What is added from here on is of the next block. */
  beginBlock(): void {
    this.#blocks.push(new LayerBuilder(this.#states.length));
  }

  /** Adds chunks that a block has of a series, in order. @returns Samples of them in the window, as far as they are known. */
  addBlock(row: number, chunks: readonly SealedChunk[]): number {
    const layer = this.#blocks.at(-1);
    if (layer === undefined || this.#states[row] === ROW_LEFT_OUT) return this.#certainIn(chunks);
    let size = 0;
    let endMs = this.#endMs[row] as number; // in range: a row of the selection
    for (const chunk of chunks) {
      if (chunk.maxMs < this.#minMs || chunk.minMs > this.#maxMs) continue;
      const inside = insideOf(chunk, this.#minMs, this.#maxMs);
      if (inside === 0) continue;
      const { bytes, count } = chunk;
      const page = this.#pages.numberOf(bytes.buffer);
      if (inside < 0 || page < 0 || chunk.minMs <= endMs || !holdsOnlyFloats(bytes[0] ?? 0)) {
        this.#states[row] = ROW_LEFT_OUT;
        return this.#certainIn(chunks);
      }
      endMs = chunk.maxMs;
      layer.add(row, page, bytes.byteOffset, count);
      size += inside;
    }
    if (size === 0) return 0;
    this.#endMs[row] = endMs;
    this.#states[row] = endMs < (this.#memoryMs[row] as number) ? ROW_FOUND : ROW_LEFT_OUT;
    this.#sizes[row] = (this.#sizes[row] as number) + size;
    return size;
  }

  /** Samples of chunks that lie in the window wholly: what is left out was read too, and is bounded as it will be then. */
  #certainIn(chunks: readonly SealedChunk[]): number {
    let size = 0;
    for (const { minMs, maxMs, count } of chunks) if (minMs >= this.#minMs && maxMs <= this.#maxMs) size += count;
    return size;
  }

  #addChunks(row: number, chunks: readonly SealedChunk[]): number {
    const minMs = this.#minMs;
    const maxMs = this.#maxMs;
    let first = chunks.length;
    while (first > 0 && (chunks[first - 1]?.maxMs ?? minMs) >= minMs) first--;
    let size = 0;
    for (let i = first; i < chunks.length; i++) {
      const chunk = chunks[i];
      if (chunk === undefined || chunk.minMs > maxMs) break;
      const { bytes, count } = chunk;
      const inside = insideOf(chunk, minMs, maxMs);
      const page = this.#pages.numberOf(bytes.buffer);
      if (inside < 0 || page < 0) {
        this.#states[row] = ROW_LEFT_OUT;
        return 0;
      }
      if (inside === 0) continue;
      if (size === 0) this.#memoryMs[row] = chunk.minMs;
      this.#head.add(row, page, bytes.byteOffset, count);
      size += inside;
    }
    return size;
  }

  #addOpen(row: number, { times, count, values, base }: Track): number {
    if (times === undefined || count === 0) return 0;
    const { ms } = times;
    const from = (ms[0] as number) >= this.#minMs ? 0 : lowerBound(ms, count, this.#minMs); // in range, here and below
    const to = (ms[count - 1] as number) <= this.#maxMs ? count : upperBound(ms, count, this.#maxMs);
    if (from >= to) return 0;
    if (this.#memoryMs[row] === Number.POSITIVE_INFINITY) this.#memoryMs[row] = ms[from] as number;
    const length = to - from;
    const room = this.#room;
    const at = room.reserve(length);
    const { page } = room;
    for (let i = 0; i < length; i++) page[at + i] = values[base + from + i] as number;
    const tail = row * TAIL_WORDS;
    this.#tails[tail] = this.#roomNumber(page);
    this.#tails[tail + 1] = at;
    this.#tails[tail + 2] = length;
    this.#tails[tail + 3] = this.#timesNumber(times, count);
    this.#tails[tail + 4] = from;
    return length;
  }

  #roomNumber(page: Float64Array): number {
    if (page !== this.#roomPage) {
      this.#roomPage = page;
      this.#roomPageNumber = this.#pages.numberOf(page.buffer);
    }
    return this.#roomPageNumber;
  }

  /** The number of a column of which so many times are needed. */
  #timesNumber(column: TimeColumn, count: number): number {
    if (column === this.#lastColumn && count <= this.#lastCount) return this.#lastTimes;
    let known = this.#timesOf.get(column) ?? this.#alike(column, count);
    if (known === undefined || known.count < count) {
      known = { number: this.#times.length / TIMES_WORDS, count: column.count, column };
      this.#timesOf.set(column, known);
      this.#timesFrom.set(column.ms[0] ?? 0, known);
      const at = this.#room.reserve(column.count);
      this.#room.page.set(column.ms.subarray(0, column.count), at);
      this.#times.push(this.#roomNumber(this.#room.page));
      this.#times.push(at);
      this.#times.push(column.count);
    }
    this.#lastColumn = column;
    this.#lastTimes = known.number;
    this.#lastCount = known.count;
    return known.number;
  }

  /** Samples of a row, as far as they are known. */
  sizeOf(row: number): number {
    return this.#sizes[row] as number; // in range: a row of the selection
  }

  /** A column that begins with the same times, as those of one scrape do whose series got columns of their own. */
  #alike(column: TimeColumn, count: number): KnownColumn | undefined {
    const known = this.#timesFrom.get(column.ms[0] ?? 0);
    if (known === undefined || known.count < count) return undefined;
    for (let i = 0; i < count; i++) if (known.column.ms[i] !== column.ms[i]) return undefined;
    return known;
  }

  /** Whether a row has samples and none that columns do not tell. */
  isFound(row: number): boolean {
    return this.#states[row] === ROW_FOUND;
  }

  /** Whether a row has to be read otherwise. */
  isLeftOut(row: number): boolean {
    return this.#states[row] === ROW_LEFT_OUT;
  }

  finish(): ChunkColumns {
    return {
      minMs: this.#minMs,
      maxMs: this.#maxMs,
      layers: [...this.#blocks, this.#head].map((layer) => layer.finish()),
      tails: this.#tails,
      times: this.#times.finish(),
      sizes: this.#sizes,
      pages: this.#pages.all,
    };
  }
}

/** Samples of a chunk in a window that it reaches into, near where its times are not even; -1 where it may have none there. */
function insideOf(chunk: SealedChunk, fromMs: number, toMs: number): number {
  const { count, minMs, maxMs } = chunk;
  if (minMs >= fromMs && maxMs <= toMs) return count;
  const isAcross = minMs < fromMs && maxMs > toMs;
  if (isAcross && !hasEvenTimes(chunk)) return -1;
  const stepMs = (maxMs - minMs) / (count - 1);
  const first = minMs >= fromMs ? 0 : Math.ceil((fromMs - minMs) / stepMs);
  const last = maxMs <= toMs ? count - 1 : Math.floor((toMs - minMs) / stepMs);
  return Math.max(isAcross ? 0 : 1, last - first + 1);
}

/** Chunks of one layer while rows are added, each once, in any order. */
class LayerBuilder {
  readonly #from: Uint32Array;
  readonly #counts: Uint32Array;
  readonly #chunks: WordList;

  constructor(rows: number) {
    this.#from = new Uint32Array(rows);
    this.#counts = new Uint32Array(rows);
    this.#chunks = new WordList(CHUNK_WORDS * Math.max(16, 4 * rows));
  }

  /** Adds the next chunk of a row; those of one row come one after the other. */
  add(row: number, page: number, at: number, count: number): void {
    const words = this.#chunks;
    const before = this.#counts[row] as number; // in range: a row of the selection
    if (before === 0) this.#from[row] = words.length / CHUNK_WORDS;
    this.#counts[row] = before + 1;
    words.push(page);
    words.push(at);
    words.push(count);
  }

  finish(): ChunkLayer {
    return { from: this.#from, counts: this.#counts, chunks: this.#chunks.finish() };
  }
}

/** Whole numbers, one after the other. */
class WordList {
  #words: Uint32Array;
  length = 0;

  constructor(room: number) {
    this.#words = new Uint32Array(room);
  }

  push(word: number): void {
    if (this.length === this.#words.length) {
      const longer = new Uint32Array(2 * this.length);
      longer.set(this.#words);
      this.#words = longer;
    }
    this.#words[this.length++] = word;
  }

  /** Those that were added, as the caller's own. */
  finish(): Uint32Array {
    return this.#words.subarray(0, this.length);
  }
}

/** Shared memory by number, in order of its first use. */
class PageNumbers {
  readonly all: SharedArrayBuffer[] = [];
  readonly #numbers = new Map<ArrayBufferLike, number>();
  #last: ArrayBufferLike | undefined;
  #lastNumber = -1;

  /** -1 for memory that threads do not share. */
  numberOf(buffer: ArrayBufferLike): number {
    if (buffer === this.#last) return this.#lastNumber;
    let number = this.#numbers.get(buffer);
    if (number === undefined) {
      if (!(buffer instanceof SharedArrayBuffer)) return -1;
      number = this.all.length;
      this.#numbers.set(buffer, number);
      this.all.push(buffer);
    }
    this.#last = buffer;
    this.#lastNumber = number;
    return number;
  }
}
