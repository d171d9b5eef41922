/**
 * The block files of a store, oldest first, and which series lie in which.
 *
 * Invariants: a file has the name of a block only when it is whole and durable, so one that cannot be read was damaged
 * later; a damaged file is moved to the quarantine, never deleted; `blocks` of a series counts the blocks that hold it.
 */

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ThalwegError } from "../model/errors.ts";
import { isMissing, listNames, makePrivateDirectory, renameDurably, syncDirectory } from "../platform/files.ts";
import {
  BlockDamage,
  type BlockRead,
  type OpenedBlock,
  openBlock,
  readEntries,
  readExtents,
} from "./metric-block-file.ts";
import { type BlockFoot, ENTRY_BYTES, FINGERPRINT_BYTES, readEntry, readLabels } from "./metric-block-format.ts";
import type { SealedChunk } from "./metric-chunk.ts";
import type { MetricSeries } from "./metric-series.ts";
import { fingerprintOf, type SeriesTable } from "./metric-series-table.ts";

const BLOCK_NAME = /^block-(\d{8})-(\d{8,})\.metrics$/;
const QUARANTINED_NAME = /^block-(\d{8})-(\d{8,})\.metrics\.\d+$/;
const UNFINISHED_NAME = "unfinished.metrics";

/** A block that can be read. */
export interface Block {
  readonly number: number;
  readonly path: string;
  readonly foot: BlockFoot;
  readonly fileBytes: number;
  /** References of its series, growing. */
  readonly refs: Uint32Array;
  /** Where in the directory each of them stands. */
  readonly places: Uint32Array;
  /** Places whose samples were found damaged and reported. */
  readonly damaged: Set<number>;
}

/** What to find in a block. */
export interface BlockQuery extends Omit<BlockRead, "places"> {
  /** Ordered by reference. */
  readonly series: readonly MetricSeries[];
}

interface BlocksOptions {
  readonly directory: string;
  readonly quarantine: string;
  readonly table: SeriesTable;
  readonly onDamage: (damage: ThalwegError) => void;
}

/** All blocks. Only the store's one writer adds and drops them. */
export class MetricBlocks {
  readonly #options: BlocksOptions;
  #blocks: readonly Block[] = [];
  #nextNumber = 1;
  #coversMax = 0;

  /** Use `openBlocks`. */
  constructor(options: BlocksOptions) {
    this.#options = options;
  }

  /** Oldest first. The list itself is never changed. */
  get all(): readonly Block[] {
    return this.#blocks;
  }

  /** The last log segment that a block, readable or not, was made from. */
  get coversMax(): number {
    return this.#coversMax;
  }

  /** Where to write the next block before it has a name. */
  get unfinishedPath(): string {
    return join(this.#options.directory, UNFINISHED_NAME);
  }

  /** The name of the next block. */
  pathOf(coversSegment: number): string {
    const digits = (value: number) => String(value).padStart(8, "0");
    return join(this.#options.directory, `block-${digits(this.#nextNumber)}-${digits(coversSegment)}.metrics`);
  }

  /** Samples before this time that the log segment holds are in blocks; `-Infinity` where none is. */
  sealedBelowMs(segment: number): number {
    let cutMs = Number.NEGATIVE_INFINITY;
    for (const { foot } of this.#blocks) if (foot.coversSegment >= segment) cutMs = Math.max(cutMs, foot.cutMs);
    return cutMs;
  }

  /** Reads all directories; called once. */
  async open(): Promise<void> {
    const { directory, quarantine, table } = this.#options;
    for (const name of await namesIn(quarantine)) this.#countName(QUARANTINED_NAME.exec(name));
    const known = new Map<string, MetricSeries>();
    for (const series of table.all()) known.set(fingerprintOf(series), series);
    for (const name of await listNames(directory)) {
      if (name === UNFINISHED_NAME) await rm(join(directory, name), { force: true });
      const match = BLOCK_NAME.exec(name);
      if (match === null) continue;
      this.#countName(match);
      await this.#load(join(directory, name), Number(match[1]), known);
    }
  }

  /** Adds a block that was just written. @param refs References of its series by place. */
  publish(path: string, foot: BlockFoot, refs: readonly number[], fileBytes: number): void {
    const number = this.#nextNumber++;
    this.#coversMax = Math.max(this.#coversMax, foot.coversSegment);
    this.#blocks = [...this.#blocks, blockOf({ number, path, foot, fileBytes }, Uint32Array.from(refs))];
  }

  /** Deletes a block. @returns Series that lie in no block any more. */
  async drop(block: Block): Promise<MetricSeries[]> {
    this.#blocks = this.#blocks.filter((other) => other !== block);
    await rm(block.path, { force: true });
    await syncDirectory(this.#options.directory);
    const gone = new Set(block.refs);
    const left: MetricSeries[] = [];
    for (const series of this.#options.table.all()) {
      if (!gone.has(series.ref)) continue;
      series.blocks--;
      if (series.blocks === 0) left.push(series);
    }
    return left;
  }

  /** Calls `take` with the chunks of each series that reach into the range; damage is reported and passed over. */
  async read(
    block: Block,
    query: BlockQuery,
    take: (series: MetricSeries, chunks: readonly SealedChunk[]) => void,
  ): Promise<void> {
    const { places, seriesAt } = placesOf(block, query.series);
    if (places.length === 0) return;
    await this.#unlessDropped(block, () =>
      readExtents(
        block.path,
        block.foot,
        { ...query, places },
        {
          take: (place, chunks) => {
            const series = seriesAt.get(place);
            if (series !== undefined) take(series, chunks);
          },
          damaged: (place, damage) => this.reportDamage(block, place, damage),
        },
      ),
    );
  }

  /** Series of a query whose samples in the block reach into the range, as far as the directory tells. */
  async seriesIn(block: Block, query: BlockQuery): Promise<MetricSeries[]> {
    const { places, seriesAt } = placesOf(block, query.series);
    const { minMs, maxMs } = query;
    if (minMs <= block.foot.minMs && maxMs >= block.foot.maxMs) return [...seriesAt.values()];
    const found: MetricSeries[] = [];
    if (places.length === 0) return found;
    await this.#unlessDropped(block, async () => {
      for (const { place } of await readEntries(block.path, block.foot, { ...query, places })) {
        const series = seriesAt.get(place);
        if (series !== undefined) found.push(series);
      }
    });
    return found;
  }

  /** Reports a damaged stretch once. */
  reportDamage(block: Block, place: number, damage: BlockDamage): void {
    if (block.damaged.has(place)) return;
    block.damaged.add(place);
    const { path } = block;
    this.#options.onDamage(
      new ThalwegError(
        "data_damaged",
        { file: path, offset: damage.offset, why: damage.message, quarantine: path },
        damage,
      ),
    );
  }

  /** A block that was dropped while somebody waited to read it has nothing to say. */
  async #unlessDropped(block: Block, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const isDropped = isMissing(error) && !this.#blocks.includes(block);
      if (!isDropped && !(error instanceof BlockDamage)) throw error;
      if (error instanceof BlockDamage) this.reportDamage(block, -1, error);
    }
  }

  async #load(path: string, number: number, known: Map<string, MetricSeries>): Promise<void> {
    try {
      const opened = await openBlock(path);
      const series = await this.#seriesOf(opened, known);
      const refs = Uint32Array.from(series, ({ ref }) => ref);
      for (const [place, one] of series.entries()) adopt(one, opened.directory, place);
      const { foot, fileBytes } = opened;
      this.#blocks = [...this.#blocks, blockOf({ number, path, foot, fileBytes }, refs)];
    } catch (error) {
      if (!(error instanceof BlockDamage)) throw error;
      await this.#setAside(path, error);
    }
  }

  async #seriesOf(opened: OpenedBlock, known: Map<string, MetricSeries>): Promise<MetricSeries[]> {
    const { foot, directory } = opened;
    const fingerprints = Buffer.from(directory.buffer, directory.byteOffset, directory.byteLength);
    const found: (MetricSeries | undefined)[] = [];
    let unknown = 0;
    for (let place = 0; place < foot.series; place++) {
      const series = known.get(
        fingerprints.toString("latin1", place * ENTRY_BYTES, place * ENTRY_BYTES + FINGERPRINT_BYTES),
      );
      if (series === undefined) unknown++;
      found.push(series);
    }
    if (unknown === 0) return found.filter((series) => series !== undefined);
    const labels = readLabels(await opened.readLabels(), foot.series);
    return found.map((series) => {
      const next = labels.next();
      if (next.done === true) throw new BlockDamage(foot.labelsOffset, "it has too few labels");
      if (series !== undefined) return series;
      const added = this.#options.table.adopt(next.value);
      known.set(fingerprintOf(added), added);
      return added;
    });
  }

  async #setAside(path: string, damage: BlockDamage): Promise<void> {
    const { quarantine, onDamage } = this.#options;
    await makePrivateDirectory(quarantine);
    const kept = join(quarantine, `${path.slice(path.lastIndexOf("/") + 1)}.${Date.now()}`);
    await renameDurably(path, kept);
    const { offset, message: why } = damage;
    onDamage(new ThalwegError("data_damaged", { file: path, offset, why, quarantine: kept }, damage));
  }

  #countName(match: RegExpExecArray | null): void {
    if (match === null) return;
    this.#nextNumber = Math.max(this.#nextNumber, Number(match[1]) + 1);
    this.#coversMax = Math.max(this.#coversMax, Number(match[2]));
  }
}

/** Opens the blocks of a directory, and puts their series into the table. */
export async function openBlocks(options: BlocksOptions): Promise<MetricBlocks> {
  await makePrivateDirectory(options.directory);
  const blocks = new MetricBlocks(options);
  await blocks.open();
  return blocks;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await listNames(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** What a series must know of a block that holds it. */
function adopt(series: MetricSeries, directory: Uint8Array, place: number): void {
  series.blocks++;
  const { newest } = readEntry(directory, place);
  if (newest.ms <= series.logged.ms) return;
  series.logged = newest;
  series.applied = newest;
}

function blockOf(block: Omit<Block, "refs" | "places" | "damaged">, refsByPlace: Uint32Array): Block {
  const places = Uint32Array.from(refsByPlace, (_, place) => place);
  places.sort((a, b) => (refsByPlace[a] ?? 0) - (refsByPlace[b] ?? 0));
  const refs = Uint32Array.from(places, (place) => refsByPlace[place] ?? 0);
  return { ...block, refs, places, damaged: new Set() };
}

/** Places of those series that the block holds, growing. */
function placesOf(
  block: Block,
  series: readonly MetricSeries[],
): { readonly places: number[]; readonly seriesAt: ReadonlyMap<number, MetricSeries> } {
  const seriesAt = new Map<number, MetricSeries>();
  let at = 0;
  for (const one of series) {
    at = firstNotBelow(block.refs, one.ref, at);
    if (block.refs[at] === one.ref) seriesAt.set(block.places[at] ?? 0, one);
  }
  return { places: [...seriesAt.keys()].sort((a, b) => a - b), seriesAt };
}

/** First index from `from` on whose value is at least `ref`; looks near first, since queries and blocks are both in order. */
function firstNotBelow(refs: Uint32Array, ref: number, from: number): number {
  let step = 1;
  let low = from;
  while (low + step < refs.length && (refs[low + step] ?? 0) < ref) {
    low += step;
    step *= 2;
  }
  let high = Math.min(refs.length, low + step + 1);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((refs[middle] ?? 0) < ref) low = middle + 1;
    else high = middle;
  }
  return low;
}
