/**
 * Writes a block file: series by series into a file without a name of a block, which gets its name when all is durable.
 */

import { type FileHandle, open, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { crc32, deflateRaw } from "node:zlib";
import { ByteWriter } from "../model/byte-writer.ts";
import { renameDurably } from "../platform/files.ts";
import {
  type BlockFoot,
  type BlockOrigin,
  blockFoot,
  blockHead,
  LabelsWriter,
  packDirectory,
  writeEntry,
  writeExtent,
} from "./metric-block-format.ts";
import type { SealedChunk } from "./metric-chunk.ts";
import { type MetricSeries, type NewestSample, NO_SAMPLE } from "./metric-series.ts";
import { fingerprintOf } from "./metric-series-table.ts";

const PRIVATE_FILE_MODE = 0o600;
/** Samples are written in pieces of about this size. */
const PIECE_BYTES = 2 ** 20;

/** Of labels a sixth of what one level lower leaves is saved; a thread does it. */
const LABELS_LEVEL = 6;

const deflate = promisify(deflateRaw);

/** A block that is being written. */
export class BlockWriter {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #piece = new ByteWriter();
  readonly #directory = new ByteWriter();
  readonly #labels = new LabelsWriter();
  readonly #refs: number[] = [];
  #written = 0;
  #samples = 0;
  #minMs = Number.POSITIVE_INFINITY;
  #maxMs = Number.NEGATIVE_INFINITY;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
    this.#piece.raw(blockHead());
  }

  /** @param path Where to write for the time being; what is there is replaced. */
  static async create(path: string): Promise<BlockWriter> {
    return new BlockWriter(path, await open(path, "w", PRIVATE_FILE_MODE));
  }

  /** Bytes wait that `flush` should write. */
  get isFull(): boolean {
    return this.#piece.length >= PIECE_BYTES;
  }

  get series(): number {
    return this.#refs.length;
  }

  /** References of the series, in order. */
  get refs(): readonly number[] {
    return this.#refs;
  }

  /**
   * Adds a series.
   *
   * @param newest Its newest sample, which may be elsewhere: then the block says nothing of it.
   */
  add(series: MetricSeries, chunks: readonly SealedChunk[], newest: NewestSample): void {
    const start = this.#piece.length;
    writeExtent(this.#piece, chunks);
    const extent = this.#piece.written(start);
    let samples = 0;
    let minMs = Number.POSITIVE_INFINITY;
    let maxMs = Number.NEGATIVE_INFINITY;
    for (const chunk of chunks) {
      samples += chunk.count;
      if (chunk.minMs < minMs) minMs = chunk.minMs;
      if (chunk.maxMs > maxMs) maxMs = chunk.maxMs;
    }
    writeEntry(this.#directory, fingerprintOf(series), {
      offset: this.#written + start,
      bytes: extent.length,
      sum: crc32(extent),
      minMs,
      maxMs,
      newest: newest.ms === maxMs ? newest : NO_SAMPLE,
    });
    this.#labels.add(series.labels);
    this.#refs.push(series.ref);
    this.#samples += samples;
    this.#minMs = Math.min(this.#minMs, minMs);
    this.#maxMs = Math.max(this.#maxMs, maxMs);
  }

  /** Writes what waits. */
  async flush(): Promise<void> {
    await this.#write(this.#piece.take());
  }

  /**
   * Writes the rest and makes the file durable under its name.
   *
   * @param path The name of the block.
   */
  async finish(path: string, origin: BlockOrigin): Promise<BlockFoot> {
    await this.flush();
    const span = { minMs: this.#minMs, maxMs: this.#maxMs };
    const { directory, layout } = packDirectory(this.#directory.written(), span);
    const directoryOffset = this.#written;
    await this.#write(directory);
    const labels = this.#labels.take();
    const deflated = await deflate(labels, { level: LABELS_LEVEL });
    const labelsOffset = this.#written;
    await this.#write(deflated);
    const foot: BlockFoot = {
      ...origin,
      ...layout,
      series: this.#refs.length,
      samples: this.#samples,
      directoryOffset,
      directorySum: crc32(directory),
      labelsOffset,
      labelsBytes: deflated.length,
      labelsLength: labels.length,
      labelsSum: crc32(deflated),
    };
    await this.#write(blockFoot(foot));
    await this.#handle.sync();
    await this.#handle.close();
    await renameDurably(this.#path, path);
    return foot;
  }

  /** Gives up: nothing of it stays. */
  async abandon(): Promise<void> {
    // What led here is told by the caller; closing twice and a file that is gone are no further trouble.
    await Promise.allSettled([this.#handle.close()]);
    await rm(this.#path, { force: true });
  }

  async #write(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.#written + done);
      done += bytesWritten;
    }
    this.#written += bytes.length;
  }
}
