/**
 * Samples of Prometheus' blocks, as its queries would answer them: without what was deleted, and in order of time for each
 * series where blocks overlap, as those of late samples do.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import { type Labels, type SeriesSamples, STALE_NAN_BITS } from "../model/series.ts";
import { type BlockMeta, ChunkFiles, readIndexFile, readTombstonesFile } from "../platform/tsdb-files.ts";
import { crc32c } from "../wire/crc32c.ts";
import { decodeHistogramChunk } from "../wire/histogram-chunk.ts";
import { CHUNK_FLOAT_HISTOGRAM, CHUNK_HISTOGRAM, CHUNK_XOR } from "../wire/series-chunks.ts";
import {
  type ChunkPlace,
  compareLabels,
  type IndexedSeries,
  readTsdbIndex,
  TsdbFormatError,
} from "../wire/tsdb-index.ts";
import { type DeletedRange, readTsdbTombstones } from "../wire/tsdb-tombstones.ts";
import { decodeXorChunk } from "../wire/xor-chunk.ts";

const NAN_BITS = 0x7ff8_0000_0000_0000n;

/** A block on the disk. */
export interface BlockAt {
  readonly directory: string;
  readonly meta: BlockMeta;
}

/** A chunk that is wanted, and what of it is not. */
interface WantedChunk extends ChunkPlace {
  readonly files: ChunkFiles;
  readonly deleted: readonly DeletedRange[];
}

type Samples = Omit<SeriesSamples, "labels">;

/** Blocks that overlap, directly or by others, stand together. @param blocks In order of their first time. */
export function overlapping(blocks: readonly BlockAt[]): BlockAt[][] {
  const groups: BlockAt[][] = [];
  let endMs = -Infinity;
  for (const block of blocks) {
    if (block.meta.minTime < endMs) groups.at(-1)?.push(block);
    else groups.push([block]);
    endMs = Math.max(endMs, block.meta.maxTime);
  }
  return groups;
}

/**
 * Samples of overlapping blocks, series by series, each in order of time; undefined for a chunk that is damaged.
 *
 * @throws Error that names the file that is not what it should be.
 */
export function* readBlocks(blocks: readonly BlockAt[]): Generator<SeriesSamples | undefined> {
  const open: OpenBlock[] = [];
  try {
    for (const { directory } of blocks) open.push(new OpenBlock(directory));
    for (let labels = firstOf(open); labels !== undefined; labels = firstOf(open)) {
      const wanted = [];
      for (const block of open) wanted.push(...block.take(labels));
      wanted.sort((a, b) => a.minMs - b.minMs);
      for (const chunks of overlappingChunks(wanted)) yield* readChunks(chunks, labels);
    }
  } finally {
    for (const block of open) block.close();
  }
}

/** The least labels of the series that blocks stand at. */
function firstOf(blocks: readonly OpenBlock[]): Labels | undefined {
  let first: Labels | undefined;
  for (const { labels } of blocks) {
    if (labels !== undefined && (first === undefined || compareLabels(labels, first) < 0)) first = labels;
  }
  return first;
}

function overlappingChunks(chunks: readonly WantedChunk[]): WantedChunk[][] {
  const groups: WantedChunk[][] = [];
  let endMs = -Infinity;
  for (const chunk of chunks) {
    if (chunk.minMs <= endMs) groups.at(-1)?.push(chunk);
    else groups.push([chunk]);
    endMs = Math.max(endMs, chunk.maxMs);
  }
  return groups;
}

function* readChunks(chunks: readonly WantedChunk[], labels: Labels): Generator<SeriesSamples | undefined> {
  const whole: Samples[] = [];
  for (const chunk of chunks) {
    const samples = readChunk(chunk);
    if (samples === undefined) yield undefined;
    else whole.push(withoutDeleted(samples, chunk.deleted));
  }
  yield* runsOf({ labels, ...merged(whole) });
}

/** Floats and histograms apart, since a series of remote write has all of one before all of the other. */
function* runsOf(series: SeriesSamples): Generator<SeriesSamples> {
  const { labels, timestampsMs, values, histograms } = series;
  if (histograms === undefined) {
    yield series;
    return;
  }
  const words = new BigUint64Array(values.buffer, values.byteOffset, values.length);
  for (let from = 0, to = 0; from < values.length; from = to) {
    const isHistogram = histograms[from] !== undefined;
    for (to = from + 1; to < values.length; to++) {
      // A stale marker ends whichever comes before it.
      if (words[to] !== STALE_NAN_BITS && (histograms[to] !== undefined) !== isHistogram) break;
    }
    yield {
      labels,
      timestampsMs: timestampsMs.subarray(from, to),
      values: values.subarray(from, to),
      histograms: isHistogram ? histograms.slice(from, to) : undefined,
    };
  }
}

/** Samples of a chunk; undefined where it is damaged. */
function readChunk({ files, segment, offset }: WantedChunk): Samples | undefined {
  const chunk = files.read(segment, offset);
  if (chunk === undefined) return undefined;
  switch (chunk.type) {
    case CHUNK_XOR:
      return decodeXorChunk(chunk.bytes);
    case CHUNK_HISTOGRAM:
    case CHUNK_FLOAT_HISTOGRAM: {
      const kind = chunk.type === CHUNK_HISTOGRAM ? "whole" : "float";
      const { timestampsMs, histograms } = decodeHistogramChunk(chunk.bytes, kind);
      return { timestampsMs, values: staleWhereUndefined(histograms), histograms };
    }
    default:
      throw new Error(`a chunk of encoding ${chunk.type}, which is not read; write blocks without feature flags`);
  }
}

/** The marker of a stale histogram is a float. */
function staleWhereUndefined(histograms: readonly (NativeHistogram | undefined)[]): Float64Array {
  const words = BigUint64Array.from(histograms, (histogram) => (histogram === undefined ? STALE_NAN_BITS : NAN_BITS));
  return new Float64Array(words.buffer);
}

function withoutDeleted(samples: Samples, deleted: readonly DeletedRange[]): Samples {
  if (deleted.length === 0) return samples;
  const isKept = (ms: number) => !deleted.some(({ fromMs, toMs }) => ms >= fromMs && ms <= toMs);
  return picked(
    samples,
    [...samples.timestampsMs.keys()].filter((at) => isKept(samples.timestampsMs[at] ?? 0)),
  );
}

/** In order of time; of samples of one time the one of the block that comes first. */
function merged(parts: readonly Samples[]): Samples {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const all = joined(parts);
  const timeOf = (at: number) => all.timestampsMs[at] ?? 0;
  const order = [...all.timestampsMs.keys()].sort((a, b) => timeOf(a) - timeOf(b) || a - b);
  return picked(
    all,
    order.filter((at, index) => index === 0 || timeOf(order[index - 1] ?? 0) !== timeOf(at)),
  );
}

function joined(parts: readonly Samples[]): Samples {
  const hasHistograms = parts.some(({ histograms }) => histograms !== undefined);
  const count = parts.reduce((sum, { values }) => sum + values.length, 0);
  // Whole words, since a copy by numbers need not keep which NaN one is.
  const timestampsMs = new Float64Array(count);
  const values = new Float64Array(count);
  const histograms: (NativeHistogram | undefined)[] = [];
  let at = 0;
  for (const part of parts) {
    timestampsMs.set(part.timestampsMs, at);
    values.set(part.values, at);
    if (hasHistograms) histograms.push(...(part.histograms ?? new Array(part.values.length).fill(undefined)));
    at += part.values.length;
  }
  return { timestampsMs, values, histograms: hasHistograms ? histograms : undefined };
}

function picked({ timestampsMs, values, histograms }: Samples, order: readonly number[]): Samples {
  const words = new BigUint64Array(values.buffer, values.byteOffset, values.length);
  const kept = BigUint64Array.from(order, (at) => words[at] ?? 0n);
  return {
    timestampsMs: Float64Array.from(order, (at) => timestampsMs[at] ?? 0),
    values: new Float64Array(kept.buffer),
    histograms: histograms && order.map((at) => histograms[at]),
  };
}

/** A block that is read series by series. */
class OpenBlock {
  readonly #directory: string;
  readonly #files: ChunkFiles;
  readonly #deleted: ReadonlyMap<number, readonly DeletedRange[]>;
  readonly #index: Generator<IndexedSeries>;
  #series: IndexedSeries | undefined;

  /** @throws Error that names the file that is not what it should be. */
  constructor(directory: string) {
    this.#directory = directory;
    const tombstones = readTombstonesFile(directory);
    this.#deleted =
      tombstones === undefined ? new Map() : this.#read("tombstones", () => readTsdbTombstones(tombstones));
    this.#index = readTsdbIndex(readIndexFile(directory));
    this.#series = this.#next();
    this.#files = new ChunkFiles(directory, crc32c);
  }

  /** Of the series that it stands at; undefined behind the last one. */
  get labels(): Labels | undefined {
    return this.#series?.labels;
  }

  /** Chunks of a series that are not deleted as a whole, and goes on to the next one, where it stands at that series. */
  take(labels: Labels): WantedChunk[] {
    const series = this.#series;
    if (series === undefined || compareLabels(series.labels, labels) !== 0) return [];
    this.#series = this.#next();
    const deleted = this.#deleted.get(series.number) ?? [];
    const isKept = ({ minMs, maxMs }: ChunkPlace) =>
      !deleted.some(({ fromMs, toMs }) => fromMs <= minMs && toMs >= maxMs);
    return series.chunks.filter(isKept).map((place) => ({ ...place, files: this.#files, deleted }));
  }

  close(): void {
    this.#files.close();
  }

  #next(): IndexedSeries | undefined {
    const next = this.#read("index", () => this.#index.next());
    return next.done ? undefined : next.value;
  }

  #read<T>(file: string, read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof TsdbFormatError)) throw error;
      throw new Error(`${this.#directory}/${file}: ${error.message}`, { cause: error });
    }
  }
}
