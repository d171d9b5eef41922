/**
 * Samples by windows of a minute and an hour, in block files of their own that may be kept longer than the samples.
 *
 * Time is gone through range by range. A range is written when no sample in memory lies in it, from all samples that there
 * are; late ones that come to a block afterwards make it dirty, and it is written anew.
 *
 * Invariants: ranges below `doneBelowMs` are written, dirty ones aside; samples above it are read as they came, and must not
 * be let go; a range's block replaces the one before in one rename; after a crash blocks that came after `seenBlock` make
 * their ranges dirty.
 */

import { link, open, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ThalwegError } from "../model/errors.ts";
import {
  errorCodeOf,
  fileBytes,
  isMissing,
  makePrivateDirectory,
  renameDurably,
  syncDirectory,
} from "../platform/files.ts";
import { BlockWriter } from "./metric-block-writer.ts";
import { type Block, type MetricBlocks, openBlocks } from "./metric-blocks.ts";
import { ownChunk, type SealedChunk } from "./metric-chunk.ts";
import { inFileOrder } from "./metric-file-order.ts";
import type { MetricHead } from "./metric-head.ts";
import { type Level, rangeStart } from "./metric-levels.ts";
import type { MetricReader } from "./metric-reader.ts";
import { type MetricSeries, NO_SAMPLE } from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import { chunksOfWindows, windowsOf, windowsOfChunks, windowsOutside } from "./metric-windows.ts";
import { Turns } from "./turns.ts";

const PRIVATE_FILE_MODE = 0o600;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** A counter's growth is counted from a sample that lies so far before the range at most. */
const BEFORE_MS = 2 * HOUR_MS;
/** Series and samples that are in memory at once, as far as blocks tell how many a series has: 32 MiB. */
const SERIES_AT_ONCE = 256;
const SAMPLES_AT_ONCE = 2_000_000;
/** Ranges that wait to be written anew; what comes late to others stays out of their windows. */
const DIRTY_MAX = 10_000;

/** How long windows are kept, by their length; undefined where there are none. */
export interface DownsamplingOptions {
  readonly minuteRetentionMs?: number | undefined;
  readonly hourRetentionMs?: number | undefined;
}

interface DownsamplerParts {
  readonly directory: string;
  readonly quarantine: string;
  readonly table: SeriesTable;
  readonly onDamage: (damage: ThalwegError) => void;
}

interface State {
  readonly seenBlock: number;
  readonly goneBelowMs: number | null;
  readonly levels: readonly {
    readonly resolutionMs: number;
    readonly doneBelowMs: number | null;
    readonly dirty: readonly number[];
  }[];
}

/** What it reads samples from. */
export interface DownsamplerSources {
  readonly head: MetricHead;
  readonly blocks: MetricBlocks;
  readonly reader: MetricReader;
}

/** All levels. Only the store's one maintenance calls what writes. */
export class Downsampler {
  readonly #parts: DownsamplerParts;
  readonly #levels: readonly Level[];
  #seenBlock = 0;
  #noticed = false;
  /** Samples before this time may have been let go: ranges that start before it are not written anew. */
  #goneBelowMs = Number.NEGATIVE_INFINITY;

  private constructor(parts: DownsamplerParts, levels: readonly Level[]) {
    this.#parts = parts;
    this.#levels = levels;
  }

  /** Opens the levels that are kept; called before the log is read, as all blocks are. */
  static async open(parts: DownsamplerParts, options: DownsamplingOptions): Promise<Downsampler> {
    const wanted = [
      { resolutionMs: MINUTE_MS, rangeMs: 6 * HOUR_MS, retentionMs: options.minuteRetentionMs },
      { resolutionMs: HOUR_MS, rangeMs: 24 * HOUR_MS, retentionMs: options.hourRetentionMs },
    ];
    const levels: Level[] = [];
    const state = await readState(join(parts.directory, "state.json"));
    for (const { resolutionMs, rangeMs, retentionMs } of wanted) {
      if (retentionMs === undefined) continue;
      const directory = join(parts.directory, folderOf(resolutionMs));
      const { quarantine, table, onDamage } = parts;
      await makePrivateDirectory(parts.directory);
      const blocks = await openBlocks({ directory, quarantine, table, tombstones: undefined, onDamage });
      const known = state?.levels.find((level) => level.resolutionMs === resolutionMs);
      const ends = blocks.all.map(({ foot }) => rangeStart(foot.maxMs, rangeMs) + rangeMs);
      const doneBelowMs = known?.doneBelowMs ?? Math.max(Number.NEGATIVE_INFINITY, ...ends);
      levels.push({ resolutionMs, rangeMs, retentionMs, blocks, doneBelowMs, dirty: new Set(known?.dirty ?? []) });
    }
    const downsampler = new Downsampler(parts, levels);
    downsampler.#seenBlock = state?.seenBlock ?? 0;
    downsampler.#goneBelowMs = state?.goneBelowMs ?? Number.NEGATIVE_INFINITY;
    return downsampler;
  }

  get levels(): readonly Level[] {
    return this.#levels;
  }

  /** Windows of at most this length, the longest first. */
  levelsFor(resolutionMs: number): readonly Level[] {
    return this.#levels.filter((level) => level.resolutionMs <= resolutionMs).toReversed();
  }

  /** Samples at or after this time are in no window of some level; `Infinity` where there are no levels. */
  get neededFromMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#levels.map(({ doneBelowMs }) => doneBelowMs - BEFORE_MS));
  }

  /** Notes what came to blocks since the last time: ranges that are done already are written anew. */
  async notice(blocks: readonly Block[], lastNumber: number): Promise<void> {
    if (this.#levels.length === 0) return;
    if (!this.#noticed) for (const level of this.#levels) this.#markMissing(level, blocks);
    this.#noticed = true;
    for (const { number, foot } of blocks) {
      if (number <= this.#seenBlock || foot.replaces.length > 0) continue;
      for (const level of this.#levels) this.#markDirty(level, foot.minMs, foot.maxMs);
    }
    this.#seenBlock = lastNumber;
    await this.#keepState();
  }

  /** Notes that samples up to this time are about to go. */
  async letGo(maxMs: number): Promise<void> {
    if (this.#levels.length === 0 || maxMs <= this.#goneBelowMs) return;
    this.#goneBelowMs = maxMs;
    await this.#keepState();
  }

  /** Writes one range that is over or dirty. @returns False where there is none. */
  async writeNext(sources: DownsamplerSources): Promise<boolean> {
    for (const level of this.#levels) {
      const { rangeMs } = level;
      const startMs = nextRange(level, sources);
      if (startMs === undefined) continue;
      await this.#writeRange(level, { startMs, endMs: startMs + rangeMs }, sources);
      level.dirty.delete(startMs);
      level.doneBelowMs = Math.max(level.doneBelowMs, startMs + rangeMs);
      await this.#keepState();
      return true;
    }
    return false;
  }

  /** Lets go of windows past their retention. @returns Blocks that went. */
  async enforceRetention(newestMs: number, leave: (refs: Uint32Array) => Promise<void>): Promise<number> {
    let dropped = 0;
    for (const { blocks, retentionMs } of this.#levels) {
      for (const block of blocks.all.filter(({ foot }) => foot.maxMs <= newestMs - retentionMs)) {
        await blocks.drop(block);
        await leave(block.refs);
        dropped++;
      }
    }
    return dropped;
  }

  /** Makes the same windows in another directory: blocks are the same files under another name. */
  async linkTo(directory: string): Promise<void> {
    if (this.#levels.length === 0) return;
    await makePrivateDirectory(directory);
    for (const { resolutionMs, blocks } of this.#levels) {
      const into = join(directory, folderOf(resolutionMs));
      await makePrivateDirectory(into);
      for (const { path } of blocks.all) await link(path, join(into, basename(path)));
      await syncDirectory(into);
    }
    await this.#keepState(directory);
    await syncDirectory(directory);
  }

  /** Writes blocks anew without the windows of those series in `[minMs, maxMs]`. */
  async deleteWindows(series: readonly MetricSeries[], minMs: number, maxMs: number): Promise<void> {
    const hit = new Set(series);
    for (const level of this.#levels) {
      const { blocks } = level;
      // Windows at both ends may hold more than is deleted.
      for (const ms of [minMs, maxMs]) this.#markDirty(level, ms, ms + 1);
      for (const block of blocks.all.filter(({ foot }) => foot.maxMs >= minMs && foot.minMs <= maxMs)) {
        const refs = new Set(block.refs);
        if (!series.some(({ ref }) => refs.has(ref))) continue;
        const all = this.#parts.table.index.all.filter(({ ref }) => refs.has(ref));
        const chunks = new Map<MetricSeries, readonly SealedChunk[]>();
        const everything = { minMs: Number.NEGATIVE_INFINITY, maxMs: Number.POSITIVE_INFINITY };
        await blocks.read(block, { series: all, ...everything }, (one, found) => {
          const kept = found.map(ownChunk);
          chunks.set(one, hit.has(one) ? chunksOfWindows(windowsOutside(windowsOfChunks(kept), minMs, maxMs)) : kept);
        });
        await this.#publish(blocks, [block], async (writer) => {
          for (const { series: one } of inFileOrder(all.map((each) => ({ series: each })))) {
            const left = chunks.get(one) ?? [];
            if (left.length > 0) writer.add(one, left, NO_SAMPLE);
          }
        });
      }
    }
    if (this.#levels.length > 0) await this.#keepState();
  }

  async #writeRange(
    { resolutionMs, blocks }: Level,
    { startMs, endMs }: { readonly startMs: number; readonly endMs: number },
    sources: DownsamplerSources,
  ): Promise<void> {
    const { reader } = sources;
    const replaced = blocks.all.filter(({ foot }) => foot.minMs > startMs && foot.maxMs <= endMs);
    const labels = await reader.finder.series([], startMs + 1, endMs);
    const all = labels.map((each) => this.#parts.table.find(each)).filter((one) => one !== undefined);
    const atOnce = seriesAtOnce(sources.blocks.all, startMs - BEFORE_MS, endMs);
    const turns = new Turns();
    await this.#publish(blocks, replaced, async (writer) => {
      const ordered = [...inFileOrder(all.map((series) => ({ series })))].map(({ series }) => series);
      for (let from = 0; from < ordered.length; from += atOnce) {
        const part = ordered.slice(from, from + atOnce);
        const found = await reader.selectSeries(
          part.map((one) => one.labels),
          startMs + 1 - BEFORE_MS,
          endMs,
        );
        const bySeries = new Map(found.map((one) => [one.labels, one]));
        for (const series of part) {
          const run = bySeries.get(series.labels);
          const chunks = run === undefined ? [] : chunksOfWindows(windowsOf(run, resolutionMs, startMs));
          if (chunks.length > 0) writer.add(series, chunks, NO_SAMPLE);
          if (turns.isDue) await turns.pass();
        }
        await writer.flush();
      }
    });
  }

  /** Writes a block in the place of others, which may be none; an empty one is not kept. */
  async #publish(
    blocks: MetricBlocks,
    replaced: readonly Block[],
    fill: (writer: BlockWriter) => Promise<void>,
  ): Promise<void> {
    const { table } = this.#parts;
    const place = blocks.reserve(0);
    const writer = await BlockWriter.create(place.unfinishedPath);
    try {
      await fill(writer);
      if (writer.series === 0) await writer.abandon();
      else {
        const replaces = replaced.map(({ number }) => number);
        const foot = await writer.finish(place.path, { covers: [], replaces, first: place.number });
        blocks.publish(place, foot, writer.refs, await fileBytes(place.path));
        table.count(Uint32Array.from(writer.refs).sort(), 1);
      }
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    for (const block of replaced) {
      table.count(block.refs, -1);
      await blocks.drop(block);
    }
  }

  /** Ranges that are done, not past their retention, and have no block, though there are samples: it was damaged. */
  #markMissing(level: Level, blocks: readonly Block[]): void {
    const { rangeMs } = level;
    const written = new Set(level.blocks.all.map(({ foot }) => rangeStart(foot.maxMs, rangeMs)));
    const goneToMs =
      blocks.reduce((newest, { foot }) => Math.max(newest, foot.maxMs), Number.NEGATIVE_INFINITY) - level.retentionMs;
    for (const { foot } of blocks) {
      const endMs = Math.min(foot.maxMs, level.doneBelowMs);
      for (let startMs = rangeStart(foot.minMs, rangeMs); startMs < endMs; startMs += rangeMs) {
        if (!written.has(startMs) && startMs + rangeMs > goneToMs)
          this.#markDirty(level, startMs + 1, startMs + rangeMs);
      }
    }
  }

  /** Ranges that are done and reach into `[minMs, maxMs]` are written anew where their samples are all there. */
  #markDirty(level: Level, minMs: number, maxMs: number): void {
    const { rangeMs } = level;
    const firstMs = Math.max(rangeStart(minMs, rangeMs), Math.ceil(this.#goneBelowMs / rangeMs) * rangeMs);
    for (let startMs = firstMs; startMs < Math.min(maxMs, level.doneBelowMs); startMs += rangeMs) {
      if (level.dirty.size >= DIRTY_MAX) return;
      level.dirty.add(startMs);
    }
  }

  async #keepState(directory = this.#parts.directory): Promise<void> {
    const state: State = {
      seenBlock: this.#seenBlock,
      goneBelowMs: finite(this.#goneBelowMs),
      levels: this.#levels.map(({ resolutionMs, doneBelowMs, dirty }) => ({
        resolutionMs,
        doneBelowMs: finite(doneBelowMs),
        dirty: [...dirty],
      })),
    };
    const path = join(directory, "state.json");
    const handle = await open(`${path}.new`, "w", PRIVATE_FILE_MODE);
    try {
      await handle.writeFile(JSON.stringify(state));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await renameDurably(`${path}.new`, path);
  }
}

function folderOf(resolutionMs: number): string {
  return `${resolutionMs / 1000}s`;
}

/** JSON has no infinity. */
function finite(ms: number): number | null {
  return Number.isFinite(ms) ? ms : null;
}

/** Series whose samples of a range are few enough to be in memory at once. */
function seriesAtOnce(blocks: readonly Block[], minMs: number, maxMs: number): number {
  let samplesEach = 0;
  for (const { foot } of blocks) {
    const insideMs = Math.min(maxMs, foot.maxMs) - Math.max(minMs, foot.minMs);
    if (insideMs < 0 || foot.series === 0) continue;
    const part = Math.min(1, (insideMs + 1) / (foot.maxMs - foot.minMs + 1));
    samplesEach += (part * foot.samples) / foot.series;
  }
  return Math.max(1, Math.min(SERIES_AT_ONCE, Math.floor(SAMPLES_AT_ONCE / Math.max(1, samplesEach))));
}

/** A dirty range, or the one after those that are done if it is over; undefined where there is none to write. */
function nextRange(level: Level, { head, blocks }: Pick<DownsamplerSources, "head" | "blocks">): number | undefined {
  const { rangeMs } = level;
  const [dirty] = level.dirty;
  if (dirty !== undefined) return dirty;
  let oldestMs = head.oldestMs;
  for (const { foot } of blocks.all) oldestMs = Math.min(oldestMs, foot.minMs);
  if (!Number.isFinite(oldestMs)) return undefined;
  const startMs = Math.max(level.doneBelowMs, rangeStart(oldestMs, rangeMs));
  const isOver = startMs + rangeMs < head.oldestMs && startMs + rangeMs <= head.newestMs - HOUR_MS;
  if (!isOver) return undefined;
  // Where nothing is for long, that is passed over.
  const hasSamples = blocks.all.some(({ foot }) => foot.maxMs > startMs && foot.minMs <= startMs + rangeMs);
  if (hasSamples) return startMs;
  const laterMs = Math.min(...blocks.all.map(({ foot }) => foot.minMs).filter((ms) => ms > startMs), head.oldestMs);
  if (!Number.isFinite(laterMs)) return undefined;
  level.doneBelowMs = rangeStart(laterMs, rangeMs);
  return nextRange(level, { head, blocks });
}

async function readState(path: string): Promise<State | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as State; // written by `#keepState`
  } catch (error) {
    // What blocks tell will do.
    if (errorCodeOf(error) === "EISDIR") await rm(path, { recursive: true, force: true });
    else if (!isMissing(error) && !(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}
