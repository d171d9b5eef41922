/**
 * Joins small blocks of neighbouring times into one, so that there are never many.
 *
 * Invariants: the new block is durable before the blocks it replaces are deleted, and names them, so that after a crash in
 * between they go at the next start; a block in which damage was found is left as it is.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { fileBytes } from "../platform/files.ts";
import { BlockWriter } from "./metric-block-writer.ts";
import type { Block, MetricBlocks } from "./metric-blocks.ts";
import { joinChunks, ownChunk, type SealedChunk } from "./metric-chunk.ts";
import { inFileOrder } from "./metric-file-order.ts";
import { type MetricSeries, type NewestSample, NO_SAMPLE } from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";

/** So many neighbours are joined at least. */
const BLOCKS_MIN = 8;
/** A joined block spans at most so much, so that retention can let go of it in time; and takes at most so much. */
const SPAN_MS_MAX = 86_400_000;
const BYTES_MAX = 512 * 2 ** 20;
/** Series whose chunks are in memory at once. */
const SERIES_AT_ONCE = 512;

/** What a block holds of one series. */
interface Gathered {
  readonly chunks: SealedChunk[];
  newest: NewestSample;
}

/**
 * Joins one group of blocks where there is one worth it.
 *
 * @param stop Aborted where nobody should wait for it any longer.
 * @returns How many blocks became one; 0 where there was no such group, one of them is damaged, or it was stopped.
 * @throws The system's error where the new block cannot be written; then all is as before.
 */
export async function joinBlocks(blocks: MetricBlocks, table: SeriesTable, stop: AbortSignal): Promise<number> {
  const group = groupOf(blocks.all);
  return group.length === 0 ? 0 : writeAnew({ blocks, table, stop }, group);
}

/** Writes one block anew, without what is deleted; one that is damaged stays as it is. @see joinBlocks */
export async function rewriteBlock(
  blocks: MetricBlocks,
  table: SeriesTable,
  block: Block,
  stop: AbortSignal,
): Promise<void> {
  await writeAnew({ blocks, table, stop }, [block]);
}

interface RewriteParts {
  readonly blocks: MetricBlocks;
  readonly table: SeriesTable;
  readonly stop: AbortSignal;
}

async function writeAnew({ blocks, table, stop }: RewriteParts, group: readonly Block[]): Promise<number> {
  const wanted = new Set<number>();
  for (const { refs } of group) for (const ref of refs) wanted.add(ref);
  const targets = table.index.all.filter(({ ref }) => wanted.has(ref)).map((series) => ({ series }));
  const covers = group.flatMap(({ foot }) => foot.covers);
  const place = blocks.reserve(Math.max(...covers.map(({ segment }) => segment)));
  const writer = await BlockWriter.create(place.unfinishedPath);
  try {
    const ordered = [...inFileOrder(targets)].map(({ series }) => series);
    for (let from = 0; from < ordered.length; from += SERIES_AT_ONCE) {
      const part = ordered.slice(from, from + SERIES_AT_ONCE);
      const gathered = await gather(blocks, group, part);
      for (const series of part) {
        const found = gathered.get(series);
        if (found !== undefined && found.chunks.length > 0) {
          writer.add(series, joinChunks(found.chunks), found.newest);
        }
      }
      await writer.flush();
      await nextTurn();
      if (stop.aborted) break;
    }
    if (stop.aborted || group.some(({ damaged }) => damaged.size > 0)) {
      await writer.abandon();
      return 0;
    }
    if (writer.series === 0) {
      await writer.abandon();
      await dropAll(blocks, table, group);
      return group.length;
    }
    const replaces = group.map(({ number }) => number);
    const foot = await writer.finish(place.path, {
      covers: neededOf(covers),
      replaces,
      first: group[0]?.foot.first ?? 0,
    });
    blocks.publish(place, foot, writer.refs, await fileBytes(place.path));
  } catch (error) {
    await writer.abandon();
    throw error;
  }
  table.count(Uint32Array.from(writer.refs).sort(), 1);
  await dropAll(blocks, table, group);
  return group.length;
}

async function dropAll(blocks: MetricBlocks, table: SeriesTable, group: readonly Block[]): Promise<void> {
  for (const { refs } of group) table.count(refs, -1);
  for (const block of group) await blocks.drop(block);
}

/** The oldest run of neighbours that are many, near in time, and not one large block with a few small ones. */
function groupOf(all: readonly Block[]): readonly Block[] {
  for (let from = 0; from + BLOCKS_MIN <= all.length; from++) {
    let group: Block[] = [];
    let minMs = Number.POSITIVE_INFINITY;
    let maxMs = Number.NEGATIVE_INFINITY;
    let bytes = 0;
    for (const block of all.slice(from)) {
      minMs = Math.min(minMs, block.foot.minMs);
      maxMs = Math.max(maxMs, block.foot.maxMs);
      bytes += block.fileBytes;
      if (maxMs - minMs > SPAN_MS_MAX || bytes > BYTES_MAX || block.damaged.size > 0) break;
      group = [...group, block];
    }
    const largest = Math.max(...group.map((block) => block.fileBytes));
    const total = group.reduce((sum, block) => sum + block.fileBytes, 0);
    if (group.length >= BLOCKS_MIN && largest <= total / 2) return group;
  }
  return [];
}

async function gather(
  blocks: MetricBlocks,
  group: readonly Block[],
  series: readonly MetricSeries[],
): Promise<Map<MetricSeries, Gathered>> {
  const gathered = new Map<MetricSeries, Gathered>();
  const byReference = [...series].sort((a, b) => a.ref - b.ref);
  const everywhere = { minMs: Number.NEGATIVE_INFINITY, maxMs: Number.POSITIVE_INFINITY };
  for (const block of group) {
    await blocks.read(block, { series: byReference, ...everywhere }, (one, chunks, newest) => {
      const found = gathered.get(one) ?? { chunks: [], newest: NO_SAMPLE };
      gathered.set(one, found);
      // The bytes belong to a read that is over when this returns.
      for (const chunk of chunks) found.chunks.push(ownChunk(chunk));
      if (newest.ms > found.newest.ms) found.newest = newest;
    });
  }
  return gathered;
}

/** Covers that say something no other does. */
function neededOf<T extends { readonly segment: number; readonly cutMs: number }>(covers: readonly T[]): T[] {
  return covers.filter(
    (cover) =>
      !covers.some(
        (other) =>
          other.segment >= cover.segment &&
          other.cutMs >= cover.cutMs &&
          (other.segment > cover.segment || other.cutMs > cover.cutMs),
      ),
  );
}
