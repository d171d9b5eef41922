/**
 * Series whose samples came encoded, decoded one after the other into the same memory: what the next one is read into is
 * in the processor's cache, and nothing as large as all samples is ever written.
 *
 * Invariant: columns that `read` gives hold until the next series is read, whichever it belongs to; times stay.
 */

import { ArraySlab } from "../../model/array-slab.ts";
import {
  CHUNK_WORDS,
  type ChunkColumns,
  type ChunkSelection,
  TAIL_WORDS,
  TIMES_WORDS,
} from "../../model/chunk-selection.ts";
import {
  CHUNK_HAS_EVEN_TIMES,
  CHUNK_HAS_KINDS,
  emptyChunkHead,
  openFloatChunk,
  readChunkFloats,
  readUnevenTimes,
} from "../../model/float-chunk.ts";
import type { Labels, SeriesSamples } from "../../model/series.ts";
import {
  type PickedSteps,
  type PickedValues,
  pickEven,
  pickOne,
  pickUneven,
  putPicked,
  roomForPicks,
} from "./newest-picks.ts";
import {
  type KnownLabels,
  type PackedLabels,
  packedLabelBuffers,
  packLabels,
  type SentLabels,
} from "./packed-labels.ts";
import type { PackedPages, SharedPage } from "./shared-pages.ts";

/** Some series of a selection on their way to the worker. */
export interface PackedChunks extends PackedLabels {
  readonly rows: Uint32Array;
  /** Where samples lie: undefined where an earlier part of the selection told it. Its pages are `pages`. */
  readonly columns: PlacedColumns | undefined;
  readonly pages: PackedPages | undefined;
}

/** Columns without the pages that they speak of. */
type PlacedColumns = Omit<ChunkColumns, "pages">;

/** Packs the series `[from, to)`. */
export function packChunks(found: ChunkSelection, from: number, to: number, sent: SentLabels): PackedChunks {
  const labels = from === 0 && to === found.labels.length ? found.labels : found.labels.slice(from, to);
  return {
    ...packLabels(labels, sent),
    rows: found.rows.slice(from, to),
    columns: from === 0 ? withoutPages(found.columns) : undefined,
    pages: from === 0 ? sent.pages.pack(found.columns.pages) : undefined,
  };
}

function withoutPages({ minMs, maxMs, layers, tails, times, sizes }: ChunkColumns): PlacedColumns {
  return { minMs, maxMs, layers, tails, times, sizes };
}

/** Buffers to transfer. */
export function chunkBuffers(packed: PackedChunks): ArrayBuffer[] {
  const buffers = [...packedLabelBuffers(packed), packed.rows.buffer as ArrayBuffer]; // made above, as the labels' own
  if (packed.columns === undefined) return buffers;
  const { layers, tails, times, sizes } = packed.columns;
  for (const { from, counts, chunks } of layers) {
    for (const array of [from, counts, chunks]) buffers.push(array.buffer as ArrayBuffer); // made for the selection
  }
  for (const array of [tails, times, sizes]) buffers.push(array.buffer as ArrayBuffer);
  return buffers;
}

/**
 * The series again. @param known Labels that came before; those of this part were added to them.
 *
 * @param store What the first part told of the selection.
 */
export function unpackChunks(
  { setNumbers, rows }: PackedChunks,
  store: ChunkStore,
  known: Pick<KnownLabels, "set">,
): ChunkedSeries[] {
  const series: ChunkedSeries[] = [];
  for (let i = 0; i < rows.length; i++) {
    series.push(new ChunkedSeries(known.set(setNumbers[i] as number), store, rows[i] as number)); // in range: as many
  }
  return series;
}

/** The series of a selection on the thread that made it. @param pages Those of its columns, in order. */
export function chunkedSeries(
  { labels, rows, columns }: ChunkSelection,
  pages: readonly SharedPage[],
): ChunkedSeries[] {
  const store = new ChunkStore(columns, pages);
  return labels.map((one, i) => new ChunkedSeries(one, store, rows[i] as number)); // in range: a row each
}

/** Samples of one series as they lie in memory until the next one is read. */
export interface ReadSamples {
  timestampsMs: Float64Array;
  values: Float64Array;
  /** There may be stale markers among the values; if not, there are none. */
  mayBeStale: boolean;
}

/** A series whose samples are decoded when they are looked at. */
export class ChunkedSeries implements SeriesSamples {
  readonly labels: Labels;
  readonly histograms: undefined = undefined;
  readonly startsMs: undefined = undefined;
  readonly #store: ChunkStore;
  readonly #row: number;
  #timestampsMs: Float64Array | undefined;
  #values: Float64Array | undefined;

  constructor(labels: Labels, store: ChunkStore, row: number) {
    this.labels = labels;
    this.#store = store;
    this.#row = row;
  }

  /** How many samples there are; near where times are not even. */
  get size(): number {
    return this.#store.sizeOf(this.#row);
  }

  /** Decodes them for as long as no other series is read. */
  read(): ReadSamples {
    return this.#store.read(this.#row);
  }

  /** As `ChunkStore.pickNewest`. */
  pickNewest(grid: PickedSteps, lookbackMs: number, out: PickedValues): void {
    this.#store.pickNewest(this.#row, grid, lookbackMs, out);
  }

  get timestampsMs(): Float64Array {
    this.#timestampsMs ??= this.#keep().timestampsMs;
    return this.#timestampsMs;
  }

  get values(): Float64Array {
    this.#values ??= this.#keep().values;
    return this.#values;
  }

  /** Decodes them to memory of their own. */
  #keep(): { readonly timestampsMs: Float64Array; readonly values: Float64Array } {
    const { timestampsMs, values } = this.#store.read(this.#row);
    this.#timestampsMs = timestampsMs;
    this.#values = values.slice();
    return { timestampsMs, values: this.#values };
  }
}

/** Times that series have in common. */
interface KnownTimes {
  /** Of each chunk: first time, step, samples. */
  readonly chunks: Float64Array;
  /** Of what lies behind them: number of the column, where it begins there, samples. */
  readonly column: number;
  readonly columnFrom: number;
  readonly tailCount: number;
  readonly from: number;
  readonly to: number;
  readonly timestampsMs: Float64Array;
}

/** Columns of times that are remembered for one first time: more differ in what follows. */
const ALIKE_MAX = 4;
/** Numbers that tell of the times of a chunk. */
const SPAN_NUMBERS = 3;

/** What was decoded of a row. */
interface DecodedRow {
  chunks: number;
  /** Samples of chunks and of what lies behind them. */
  count: number;
  /** The times of all chunks are even. */
  isEven: boolean;
}

/** Of the row that was decoded last. */
const decoded: DecodedRow = { chunks: 0, count: 0, isEven: true };

/** All series are read into these; they grow with the longest. */
let values = new Float64Array(1_024);
let uneven = new Float64Array(1_024);
/** Times in the window of the series that is read, and those that are kept for as long as series have them. */
let window = new Float64Array(1_024);
const kept = new ArraySlab((length) => new Float64Array(length), 8_192);
/** Of the chunks of the series that is read: first time, step, samples. */
let spans = new Float64Array(64 * SPAN_NUMBERS);
/** The part of `values` that was asked for last, which mostly is asked for again. */
let part = values.subarray(0, 0);
let partFrom = 0;
let partTo = 0;
const head = emptyChunkHead();

/** Where the samples of one selection lie. */
export class ChunkStore {
  readonly #columns: PlacedColumns;
  readonly #pages: readonly SharedPage[];
  readonly #known = new Map<number, KnownTimes[]>();
  #last: KnownTimes | undefined;
  readonly #read: ReadSamples = { timestampsMs: values, values, mayBeStale: false };

  constructor(columns: PlacedColumns, pages: readonly SharedPage[]) {
    this.#columns = columns;
    this.#pages = pages;
  }

  sizeOf(row: number): number {
    return this.#columns.sizes[row] as number; // in range: a row of the selection
  }

  /** Decodes the samples of a row. @throws BytesEndError where bytes are none that the store wrote. */
  read(row: number): ReadSamples {
    const read = this.#read;
    const known = this.#timesOf(row, this.#decode(row));
    const { from, to } = known;
    if (from !== partFrom || to !== partTo || part.buffer !== values.buffer) {
      part = values.subarray(from, to);
      partFrom = from;
      partTo = to;
    }
    read.timestampsMs = known.timestampsMs;
    read.values = part;
    return read;
  }

  /**
   * Puts the newest sample in `(T - lookbackMs, T]` for every step `T`, unless it is a stale marker; no column of times is
   * made. The window of the selection holds all samples that may be picked. @throws As `read`.
   */
  pickNewest(row: number, grid: PickedSteps, lookbackMs: number, out: PickedValues): void {
    const { chunks, count } = this.#decode(row);
    const { steps } = grid;
    roomForPicks(steps);
    // The newest sample before the stretch of samples that is looked at, and the first time that does not look back to it.
    let newest = -1;
    let endMs = Number.NEGATIVE_INFINITY;
    let k = 0;
    let at = 0;
    for (let span = 0; span < chunks * SPAN_NUMBERS && k < steps; span += SPAN_NUMBERS) {
      const firstMs = spans[span] as number;
      const evenMs = spans[span + 1] as number;
      const samples = spans[span + 2] as number;
      if (Number.isNaN(firstMs)) {
        k = pickUneven(uneven, at, samples, { grid, lookbackMs, k, newest, endMs, at });
        newest = at + samples - 1;
        endMs = (uneven[newest] as number) + lookbackMs;
      } else {
        k = pickOne(newest, endMs, firstMs, grid, k);
        k = pickEven(firstMs, evenMs, samples, { grid, lookbackMs, k, at });
        newest = at + samples - 1;
        endMs = firstMs + (samples - 1) * evenMs + lookbackMs;
      }
      at += samples;
    }
    if (at < count && k < steps) {
      const { tails, times } = this.#columns;
      const tail = row * TAIL_WORDS;
      const column = (tails[tail + 3] as number) * TIMES_WORDS;
      const { floats } = this.#pages[times[column] as number] as SharedPage;
      const from = (times[column + 1] as number) + (tails[tail + 4] as number);
      k = pickUneven(floats, from, count - at, { grid, lookbackMs, k, newest, endMs, at });
      newest = count - 1;
      endMs = (floats[from + newest - at] as number) + lookbackMs;
    }
    pickOne(newest, endMs, Number.POSITIVE_INFINITY, grid, k);
    putPicked(steps, values, out);
  }

  /** Decodes the values of a row, and tells the times of its chunks in `spans` and `uneven`. */
  #decode(row: number): DecodedRow {
    const read = this.#read;
    read.mayBeStale = false;
    let isEven = true;
    let at = 0;
    let chunk = 0;
    // All numbers are in range, as the store wrote them.
    for (const { from, counts, chunks } of this.#columns.layers) {
      let word = (from[row] as number) * CHUNK_WORDS;
      for (let left = counts[row] as number; left > 0; left--, word += CHUNK_WORDS, chunk++) {
        const page = this.#pages[chunks[word] as number] as SharedPage;
        const count = chunks[word + 2] as number;
        if (at + count > values.length) growValues(at + count);
        openFloatChunk(page, chunks[word + 1] as number, count, head);
        if ((head.flags & CHUNK_HAS_EVEN_TIMES) === 0) {
          isEven = false;
          readUnevenTimes(page, head, roomForTimes(at + count), at, count);
        }
        if ((head.flags & CHUNK_HAS_KINDS) !== 0) read.mayBeStale = true;
        const span = chunk * SPAN_NUMBERS;
        if (span === spans.length) growSpans();
        spans[span] = (head.flags & CHUNK_HAS_EVEN_TIMES) === 0 ? Number.NaN : head.firstMs;
        spans[span + 1] = head.stepMs;
        spans[span + 2] = count;
        readChunkFloats(page, head, values, at, count);
        at += count;
      }
    }
    const { tails } = this.#columns;
    const tail = row * TAIL_WORDS;
    const tailCount = tails[tail + 2] as number;
    if (tailCount > 0) {
      if (at + tailCount > values.length) growValues(at + tailCount);
      const { floats: numbers } = this.#pages[tails[tail] as number] as SharedPage;
      const from = tails[tail + 1] as number;
      for (let i = 0; i < tailCount; i++) {
        const value = numbers[from + i] as number;
        if (Number.isNaN(value)) read.mayBeStale = true;
        values[at + i] = value;
      }
    }
    decoded.chunks = chunk;
    decoded.count = at + tailCount;
    decoded.isEven = isEven;
    return decoded;
  }

  /** The times of the row that was just read, the same array for equal ones. */
  #timesOf(row: number, { chunks, count, isEven }: DecodedRow): KnownTimes {
    const { tails } = this.#columns;
    const tail = row * TAIL_WORDS;
    const tailCount = tails[tail + 2] as number;
    const column = tails[tail + 3] as number;
    const columnFrom = tails[tail + 4] as number;
    if (!isEven) return this.#unevenTimes(row, chunks, count);
    const last = this.#last;
    if (last !== undefined && isLike(last, chunks, column, columnFrom, tailCount)) return last;
    // Columns are numbered from 0, and no sample of a chunk is so old.
    const key = chunks > 0 ? (spans[0] as number) : -1 - column;
    let alike = this.#known.get(key);
    if (alike === undefined) {
      alike = [];
      this.#known.set(key, alike);
    }
    for (const one of alike) {
      if (!isLike(one, chunks, column, columnFrom, tailCount)) continue;
      this.#last = one;
      return one;
    }
    const made = this.#makeTimes(row, chunks, count);
    if (alike.length === ALIKE_MAX) alike.shift();
    alike.push(made);
    this.#last = made;
    return made;
  }

  /** Times that have to be compared one by one: mostly they are those of the series before. */
  #unevenTimes(row: number, chunks: number, count: number): KnownTimes {
    const made = this.#makeTimes(row, chunks, count);
    const last = this.#last;
    if (last !== undefined && last.from === made.from && areEqual(last.timestampsMs, made.timestampsMs)) return last;
    this.#last = made;
    return made;
  }

  #makeTimes(row: number, chunks: number, count: number): KnownTimes {
    const { tails, times, minMs, maxMs } = this.#columns;
    if (window.length < count) window = new Float64Array(2 * count);
    // Samples before the window, and those of it.
    let from = 0;
    let found = 0;
    let at = 0;
    for (let span = 0; span < chunks * SPAN_NUMBERS; span += SPAN_NUMBERS) {
      const ms = spans[span] as number;
      const stepMs = spans[span + 1] as number;
      const samples = spans[span + 2] as number;
      if (Number.isNaN(ms)) {
        for (let i = at; i < at + samples; i++) {
          const time = uneven[i] as number;
          if (time < minMs) from++;
          else if (time <= maxMs) window[found++] = time;
        }
      } else {
        let low = 0;
        let high = samples;
        if (ms < minMs) low = stepMs > 0 ? Math.min(samples, Math.ceil((minMs - ms) / stepMs)) : samples;
        if (ms + (samples - 1) * stepMs > maxMs) {
          high = stepMs > 0 ? Math.max(0, Math.floor((maxMs - ms) / stepMs) + 1) : 0;
        }
        from += low;
        for (let i = low; i < high; i++) window[found++] = ms + i * stepMs;
      }
      at += samples;
    }
    const tail = row * TAIL_WORDS;
    const tailCount = tails[tail + 2] as number;
    const column = tails[tail + 3] as number;
    const columnFrom = tails[tail + 4] as number;
    if (tailCount > 0) {
      const { floats: numbers } = this.#pages[times[column * TIMES_WORDS] as number] as SharedPage;
      const first = (times[column * TIMES_WORDS + 1] as number) + columnFrom;
      for (let i = first; i < first + tailCount; i++) {
        const time = numbers[i] as number;
        if (time < minMs) from++;
        else if (time <= maxMs) window[found++] = time;
      }
    }
    const timestampsMs = kept.take(found);
    for (let i = 0; i < found; i++) timestampsMs[i] = window[i] as number;
    return {
      chunks: spans.slice(0, chunks * SPAN_NUMBERS),
      column,
      columnFrom,
      tailCount,
      from,
      to: from + found,
      timestampsMs,
    };
  }
}

/** Whether the times of the series that was just read are these. */
function isLike(known: KnownTimes, chunks: number, column: number, columnFrom: number, tailCount: number): boolean {
  if (known.tailCount !== tailCount || known.column !== column || known.columnFrom !== columnFrom) return false;
  const { length } = known.chunks;
  if (length !== chunks * SPAN_NUMBERS) return false;
  for (let i = 0; i < length; i++) if (known.chunks[i] !== spans[i]) return false;
  return true;
}

function areEqual(a: Float64Array, b: Float64Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function growValues(length: number): void {
  const longer = new Float64Array(2 * length);
  longer.set(values);
  values = longer;
}

function growSpans(): void {
  const longer = new Float64Array(2 * spans.length);
  longer.set(spans);
  spans = longer;
}

function roomForTimes(length: number): Float64Array {
  if (uneven.length < length) {
    const longer = new Float64Array(2 * length);
    longer.set(uneven);
    uneven = longer;
  }
  return uneven;
}
