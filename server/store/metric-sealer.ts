/**
 * Moves samples from memory into a block, and lets go of the log segments that held them.
 *
 * Invariants: readers find a sample all the time, in memory until its block can be read; a segment goes only when every
 * sample in it is in a durable block; after a crash at any point each sample is read from the block or from the log, since
 * the block says which segments it covers and up to which time.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { fileBytes } from "../platform/files.ts";
import type { BlockCover } from "./metric-block-format.ts";
import { BlockWriter } from "./metric-block-writer.ts";
import type { MetricBlocks } from "./metric-blocks.ts";
import { joinChunks } from "./metric-chunk.ts";
import { inFileOrder } from "./metric-file-order.ts";
import type { MetricHead } from "./metric-head.ts";
import type { MetricLog } from "./metric-log.ts";
import {
  firstInOrderMs,
  forgetTaken,
  headBytes,
  type MetricSeries,
  type NewestSample,
  NO_SAMPLE,
  newestIn,
  putBack,
  setLateAside,
  takeForBlock,
} from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";

/** The event loop gets a turn after so much work. */
const SLICE_MS = 5;

/** A series with samples for the block, as it was when the log was rotated. */
interface Target {
  readonly series: MetricSeries;
  /** Samples in order before this time. */
  readonly belowMs: number;
  /** The newest sample, if all in order are taken. */
  readonly newest: NewestSample;
}

interface SealerParts {
  readonly table: SeriesTable;
  readonly head: MetricHead;
  readonly blocks: MetricBlocks;
}

/** Writes blocks, one at a time. */
export class MetricSealer {
  readonly #parts: SealerParts;
  #running: Promise<void> | undefined;
  #sliceEndsMs = 0;
  #seals = 0;
  #failures = 0;

  constructor(parts: SealerParts) {
    this.#parts = parts;
  }

  /** The seal under way. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  get stats(): { readonly seals: number; readonly failures: number } {
    return { seals: this.#seals, failures: this.#failures };
  }

  /**
   * Seals all samples before `cutMs`; waits for a seal under way first. Resolves when the block is durable and readable.
   *
   * @throws The system's error where the block cannot be written, or the reason of `signal` once it is aborted; then all
   *   samples are in memory as before.
   */
  async seal(cutMs: number, signal?: AbortSignal): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
    const running = this.#seal(cutMs, signal);
    this.#running = running;
    try {
      await running;
      this.#seals++;
    } catch (error) {
      this.#failures++;
      throw error;
    } finally {
      this.#running = undefined;
    }
  }

  /** Runs `work` while nothing is sealed. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
    const done = work();
    this.#running = done.then(
      () => undefined,
      () => undefined,
    );
    try {
      return await done;
    } finally {
      this.#running = undefined;
    }
  }

  async #seal(cutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { head, blocks } = this.#parts;
    const { segment, targets } = await head.exclusively((log) => this.#rotate(log, cutMs));
    if (targets.length > 0) {
      try {
        await this.#writeBlock(targets, { segment, cutMs }, signal);
      } catch (error) {
        for (const target of targets) this.#measured(target.series, putBack);
        throw error;
      }
      for (const { series } of targets) {
        series.blocks++;
        this.#measured(series, forgetTaken);
        if (performance.now() >= this.#sliceEndsMs) await this.#pause();
      }
    }
    await head.exclusively(async (log) => {
      const isSpare = (number: number, maxMs: number) => maxMs < blocks.sealedBelowMs(number);
      if (log.has(isSpare)) await head.carryOver(log);
      await log.drop(isSpare);
    });
  }

  /** Looks what is to be sealed, when no write is under way: all of it is in the segments up to the one returned. */
  async #rotate(log: MetricLog, cutMs: number): Promise<{ segment: number; targets: Target[] }> {
    const { head, table } = this.#parts;
    const segment = await log.rotate();
    const targets: Target[] = [];
    let oldest = Number.POSITIVE_INFINITY;
    for (const series of table.all()) {
      if (series.head === undefined) continue;
      // No write is under way: what is staged is stored.
      const newest = newestIn(series);
      const belowMs = Math.min(cutMs, newest.ms + 1);
      const hasLate = this.#measured(series, (one) => setLateAside(one, cutMs));
      if (hasLate || firstInOrderMs(series.head) < belowMs) {
        targets.push({ series, belowMs, newest: newest.ms < belowMs ? newest : NO_SAMPLE });
      }
      if (newest.ms >= belowMs || series.head.late !== undefined) oldest = Math.min(oldest, belowMs);
      if (performance.now() >= this.#sliceEndsMs) await this.#pause();
    }
    head.oldestMs = oldest;
    return { segment, targets };
  }

  async #writeBlock(targets: readonly Target[], cover: BlockCover, signal?: AbortSignal): Promise<void> {
    const { blocks } = this.#parts;
    const place = blocks.reserve(cover.segment);
    const writer = await BlockWriter.create(place.unfinishedPath);
    try {
      for (const { series, belowMs, newest } of inFileOrder(targets)) {
        signal?.throwIfAborted();
        const taken = this.#measured(series, (one) => takeForBlock(one, belowMs));
        writer.add(series, [...joinChunks(taken.inOrder), ...taken.late], newest);
        if (writer.isFull) await writer.flush();
        if (performance.now() >= this.#sliceEndsMs) await this.#pause();
      }
      const foot = await writer.finish(place.path, { covers: [cover], replaces: [], first: place.number });
      blocks.publish(place, foot, writer.refs, await fileBytes(place.path));
    } catch (error) {
      await writer.abandon();
      throw error;
    }
  }

  /** Does something to a series and keeps the head's count of bytes right. */
  #measured<T>(series: MetricSeries, act: (series: MetricSeries) => T): T {
    const before = headBytes(series.head);
    const result = act(series);
    this.#parts.head.sampleBytes += headBytes(series.head) - before;
    return result;
  }

  async #pause(): Promise<void> {
    await nextTurn();
    this.#sliceEndsMs = performance.now() + SLICE_MS;
  }
}
