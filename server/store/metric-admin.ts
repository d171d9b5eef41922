/**
 * What an operator does to the metrics of a store: deletes series, lets go of what was deleted, makes a copy of all.
 *
 * Invariants: while one of these runs no samples move to blocks and no blocks are joined or dropped; a deletion is durable
 * before anything of it shows.
 */

import { constants, copyFile, link, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Matcher } from "../model/series.ts";
import { makePrivateDirectory, syncDirectory } from "../platform/files.ts";
import type { Block, MetricBlocks } from "./metric-blocks.ts";
import type { Downsampler } from "./metric-downsampler.ts";
import type { MetricHead } from "./metric-head.ts";
import { rewriteBlock } from "./metric-joiner.ts";
import { matchSeries } from "./metric-match.ts";
import type { MetricSealer } from "./metric-sealer.ts";
import { forgetSamples, headBytes, type MetricSeries } from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import type { MetricTombstones, Tombstone } from "./metric-tombstones.ts";
import { Turns } from "./turns.ts";

/** Tombstones at most; one more lets go of what they hide first. */
const TOMBSTONES_MAX = 1_000;

/** What the metrics of a store are made of. */
export interface AdminParts {
  readonly table: SeriesTable;
  readonly head: MetricHead;
  readonly blocks: MetricBlocks;
  readonly sealer: MetricSealer;
  readonly tombstones: MetricTombstones;
  readonly downsampler: Downsampler;
}

/** Deletes samples in `[minMs, maxMs]`; resolves when that is durable and nothing of them is answered any more. */
export async function deleteSamples(
  parts: AdminParts,
  matchers: readonly Matcher[],
  { minMs, maxMs }: { readonly minMs: number; readonly maxMs: number },
): Promise<void> {
  const { head, sealer, tombstones, table, blocks } = parts;
  if (minMs > maxMs) return;
  if (tombstones.all.length >= TOMBSTONES_MAX) {
    await sealer.seal(Number.POSITIVE_INFINITY);
    await dropDeleted(parts, new AbortController().signal);
  }
  await sealer.hold(async () => {
    let matched: readonly MetricSeries[] = [];
    await head.exclusively(async (log) => {
      const turns = new Turns();
      matched = await matchSeries(table.index, matchers, turns);
      if (matched.length === 0) return;
      const segmentMax = await log.rotate();
      await tombstones.add({ matchers, minMs, maxMs, blockMax: blocks.lastNumber, segmentMax });
      for (const series of matched) {
        const before = headBytes(series.head);
        forgetSamples(series, { minMs, maxMs });
        head.sampleBytes += headBytes(series.head) - before;
        if (turns.isDue) await turns.pass();
      }
    });
    for (const block of blocks.all) await blocks.hideIn(block, matched);
    await parts.downsampler.deleteWindows(matched, minMs, maxMs);
    await head.exclusively(async () => {
      table.remove(matched.filter((series) => isEmpty(series) && !series.removed));
    });
  });
}

/** Hides what tombstones of an earlier run hide; called once, before anybody reads. */
export async function hideDeleted({
  table,
  blocks,
  tombstones,
}: Omit<AdminParts, "head" | "sealer" | "downsampler">): Promise<void> {
  for (const { matchers } of tombstones.all) {
    const matched = await matchSeries(table.index, matchers, new Turns());
    for (const block of blocks.all) await blocks.hideIn(block, matched);
  }
}

function isEmpty({ head, blocks }: MetricSeries): boolean {
  return head === undefined && blocks === 0;
}

/**
 * Writes blocks anew that hold what was deleted, without it, and lets go of tombstones that hide nothing any more.
 *
 * @param stop Aborted where nobody should wait for it any longer.
 */
export async function dropDeleted(parts: AdminParts, stop: AbortSignal): Promise<void> {
  const { table, blocks, sealer } = parts;
  await sealer.hold(async () => {
    for (const block of blocks.all.filter(({ hidden }) => hidden.size > 0)) {
      if (!stop.aborted) await rewriteBlock(blocks, table, block, stop);
    }
  });
  await forgetTombstones(parts);
}

/** Lets go of tombstones that hide nothing any more. */
export async function forgetTombstones({
  head,
  blocks,
  tombstones,
}: Omit<AdminParts, "table" | "sealer" | "downsampler">): Promise<void> {
  if (tombstones.all.length === 0) return;
  await head.exclusively(async (log) => {
    const isInBlock = ({ blockMax }: Tombstone) =>
      blocks.all.some(({ number, hidden }) => number <= blockMax && hidden.size > 0);
    await tombstones.keep((stone) => log.firstSegment <= stone.segmentMax || isInBlock(stone));
  });
}

/**
 * Makes a data directory with all acknowledged samples: blocks are the same files under another name, the log is a copy.
 *
 * @param directory Must not exist.
 * @param withLog Whether samples that are in no block yet come along, and metadata.
 */
export async function snapshotTo(parts: AdminParts, directory: string, withLog: boolean): Promise<void> {
  const { head, sealer, blocks, tombstones } = parts;
  await sealer.hold(async () => {
    let files: readonly Block[] = [];
    let segments: readonly string[] = [];
    await head.exclusively(async (log) => {
      const last = await log.rotate();
      segments = withLog ? log.pathsUpTo(last) : [];
      files = blocks.all;
    });
    const [into, wal] = [join(directory, "blocks"), join(directory, "wal")];
    for (const path of [directory, into, wal]) await makePrivateDirectory(path);
    for (const { path } of files) await link(path, join(into, basename(path)));
    await tombstones.copyTo(into);
    await parts.downsampler.linkTo(join(directory, "downsampled"));
    for (const path of segments) await copyDurably(path, join(wal, basename(path)));
    for (const path of [into, wal, directory, dirname(directory)]) await syncDirectory(path);
  });
}

async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL);
  const handle = await open(to);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
