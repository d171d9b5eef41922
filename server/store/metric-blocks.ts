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
import { type BlockFoot, FINGERPRINT_BYTES, readEntry, readLabels } from "./metric-block-format.ts";
import type { SealedChunk } from "./metric-chunk.ts";
import { coversAll, type Interval, withoutIntervals } from "./metric-intervals.ts";
import { type MetricSeries, type NewestSample, setNewest } from "./metric-series.ts";
import { fingerprintOf, type SeriesTable } from "./metric-series-table.ts";
import type { MetricTombstones } from "./metric-tombstones.ts";

const BLOCK_NAME = /^block-(\d{8})-(\d{8,})\.metrics$/;
const QUARANTINED_NAME = /^block-(\d{8})-(\d{8,})\.metrics\.\d+$/;
const UNFINISHED_NAME = /^unfinished-\d+\.metrics$/;

/** Above every place in a directory; a reference times this is a whole number still. */
const PLACES = 2 ** 21;

const NOTHING_HIDDEN: readonly Interval[] = [];

/** Names of a block to write. */
export interface BlockPlace {
  readonly number: number;
  readonly path: string;
  readonly unfinishedPath: string;
}

/** A block that can be read. */
export interface Block {
  readonly number: number;
  readonly path: string;
  readonly foot: BlockFoot;
  readonly fileBytes: number;
  /** References of its series, growing; without those of which all is deleted. */
  refs: Uint32Array;
  /** Where in the directory each of them stands. */
  places: Uint32Array;
  /** References of series of which the file holds samples that are deleted. */
  readonly hidden: Set<number>;
  /** Places whose samples were found damaged and reported. */
  readonly damaged: Set<number>;
  /** Readers that may still open the file; it is deleted after the last one. */
  readers: number;
  dropped: boolean;
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
  /** What is deleted of samples; undefined where blocks are written anew instead. */
  readonly tombstones: MetricTombstones | undefined;
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

  /** Number of the newest block that ever was, or is being written. */
  get lastNumber(): number {
    return this.#nextNumber - 1;
  }

  /** Names for a block to write: the one it gets when it is durable, and the one it has until then. */
  reserve(segment: number): BlockPlace {
    const { directory } = this.#options;
    const number = this.#nextNumber++;
    const digits = (value: number) => String(value).padStart(8, "0");
    return {
      number,
      path: join(directory, `block-${digits(number)}-${digits(segment)}.metrics`),
      unfinishedPath: join(directory, `unfinished-${number}.metrics`),
    };
  }

  /** Samples before this time that the log segment holds are in blocks; `-Infinity` where none is. */
  sealedBelowMs(segment: number): number {
    let cutMs = Number.NEGATIVE_INFINITY;
    for (const { foot } of this.#blocks) {
      for (const cover of foot.covers) if (cover.segment >= segment) cutMs = Math.max(cutMs, cover.cutMs);
    }
    return cutMs;
  }

  /** Reads all directories; called once. */
  async open(): Promise<void> {
    const { directory, quarantine, table, tombstones } = this.#options;
    for (const name of await namesIn(quarantine)) this.#countName(QUARANTINED_NAME.exec(name));
    // What comes must not get a number that a tombstone speaks of, though the files of that time may be gone.
    for (const { blockMax, segmentMax } of tombstones?.all ?? []) this.#count(blockMax, segmentMax);
    const known = new Map<string, MetricSeries>();
    for (const series of table.all()) known.set(fingerprintOf(series), series);
    const replaced = new Set<number>();
    // Newest first: a block that was joined from others comes before them, and a crash may have left them there.
    for (const name of (await listNames(directory)).reverse()) {
      const path = join(directory, name);
      if (UNFINISHED_NAME.test(name)) await rm(path, { force: true });
      const match = BLOCK_NAME.exec(name);
      if (match === null) continue;
      this.#countName(match);
      const number = Number(match[1]);
      const foot = replaced.has(number) ? await rm(path, { force: true }) : await this.#load(path, number, known);
      for (const other of foot?.replaces ?? []) replaced.add(other);
    }
  }

  /** Adds a block that was just written, in the place of those it replaces. @param refs References of its series by place. */
  publish({ number, path }: BlockPlace, foot: BlockFoot, refs: readonly number[], fileBytes: number): void {
    for (const { segment } of foot.covers) this.#coversMax = Math.max(this.#coversMax, segment);
    const block = blockOf({ number, path, foot, fileBytes }, Uint32Array.from(refs));
    this.#blocks = inOrder([...this.#blocks.filter((other) => !foot.replaces.includes(other.number)), block]);
  }

  /** Takes a block out of the list, and deletes its file as soon as nobody reads it. */
  async drop(block: Block): Promise<void> {
    this.#blocks = this.#blocks.filter((other) => other !== block);
    block.dropped = true;
    if (block.readers === 0) await this.#delete(block);
  }

  /** Gives `work` the blocks with samples in `[minMs, maxMs]`; their files stay until it is done. */
  async using(minMs: number, maxMs: number, work: (blocks: readonly Block[]) => Promise<void>): Promise<void> {
    const used = this.#blocks.filter(({ foot }) => foot.maxMs >= minMs && foot.minMs <= maxMs);
    for (const block of used) block.readers++;
    try {
      await work(used);
    } finally {
      for (const block of used) {
        block.readers--;
        if (block.dropped && block.readers === 0) await this.#delete(block);
      }
    }
  }

  async #delete(block: Block): Promise<void> {
    await rm(block.path, { force: true });
    await syncDirectory(this.#options.directory);
  }

  /** Calls `take` with the chunks of each series that reach into the range; damage is reported and passed over. */
  async read(
    block: Block,
    query: BlockQuery,
    take: (series: MetricSeries, chunks: readonly SealedChunk[], newest: NewestSample) => void,
  ): Promise<void> {
    const { places, seriesAt } = placesOf(block, query.series);
    if (places.length === 0) return;
    await this.#unlessDamaged(block, () =>
      readExtents(
        block.path,
        block.foot,
        { ...query, places },
        {
          take: (place, chunks, newest) => {
            const series = seriesAt.get(place);
            if (series === undefined) return;
            const hidden = block.hidden.has(series.ref) ? this.#hiddenIn(block, series) : NOTHING_HIDDEN;
            if (hidden.length === 0) take(series, chunks, newest);
            else take(series, withoutIntervals(chunks, hidden), newest);
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
    await this.#unlessDamaged(block, async () => {
      for (const { place, entry } of await readEntries(block.path, block.foot, { ...query, places })) {
        const series = seriesAt.get(place);
        if (series !== undefined && !this.#isHidden(block, series, cut(entry, query))) found.push(series);
      }
    });
    return found;
  }

  #isHidden(block: Block, series: MetricSeries, { minMs, maxMs }: Interval): boolean {
    if (!block.hidden.has(series.ref)) return false;
    return coversAll(this.#hiddenIn(block, series), minMs, maxMs);
  }

  #hiddenIn({ number }: Block, series: MetricSeries): readonly Interval[] {
    return this.#options.tombstones?.hiddenIn(number, series) ?? NOTHING_HIDDEN;
  }

  /**
   * Hides what tombstones hide of those series in a block: one of which nothing is left is no longer in it. The next reads
   * leave the rest out.
   */
  async hideIn(block: Block, series: readonly MetricSeries[]): Promise<void> {
    const touched = new Map<MetricSeries, boolean>();
    const inOrder = [...series].sort((a, b) => a.ref - b.ref);
    const { places, seriesAt } = placesOf(block, inOrder);
    if (places.length === 0) return;
    const everywhere = { minMs: Number.NEGATIVE_INFINITY, maxMs: Number.POSITIVE_INFINITY };
    await this.#unlessDamaged(block, async () => {
      for (const { place, entry } of await readEntries(block.path, block.foot, { places, ...everywhere })) {
        const one = seriesAt.get(place);
        const hidden = one === undefined ? NOTHING_HIDDEN : this.#hiddenIn(block, one);
        if (one === undefined || !hidden.some(({ minMs, maxMs }) => maxMs >= entry.minMs && minMs <= entry.maxMs))
          continue;
        touched.set(one, coversAll(hidden, entry.minMs, entry.maxMs));
        block.hidden.add(one.ref);
      }
    });
    const partly = [...touched.keys()].filter((one) => touched.get(one) === false).sort((a, b) => a.ref - b.ref);
    await this.read(block, { series: partly, ...everywhere }, (one, chunks) => {
      if (chunks.length === 0) touched.set(one, true);
    });
    const gone = new Set([...touched.keys()].filter((one) => touched.get(one) === true).map(({ ref }) => ref));
    if (gone.size === 0) return;
    for (const one of touched.keys()) if (gone.has(one.ref)) one.blocks--;
    const kept = [...block.refs.keys()].filter((at) => !gone.has(block.refs[at] ?? 0));
    [block.refs, block.places] = [
      Uint32Array.from(kept, (at) => block.refs[at] ?? 0),
      Uint32Array.from(kept, (at) => block.places[at] ?? 0),
    ];
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

  /** Reports a file that is cut short or gone; what the others hold is answered. */
  async #unlessDamaged(block: Block, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const damage = isMissing(error) ? new BlockDamage(0, "it is gone", error) : error;
      if (!(damage instanceof BlockDamage)) throw error;
      this.reportDamage(block, -1, damage);
    }
  }

  async #load(path: string, number: number, known: Map<string, MetricSeries>): Promise<BlockFoot | undefined> {
    try {
      const opened = await openBlock(path);
      const series = await this.#seriesOf(opened, known);
      const refs = Uint32Array.from(series, ({ ref }) => ref);
      for (const [place, one] of series.entries()) adopt(one, readEntry(opened.directory, place, opened.foot).newest);
      const { foot, fileBytes } = opened;
      this.#blocks = inOrder([...this.#blocks, blockOf({ number, path, foot, fileBytes }, refs)]);
      return foot;
    } catch (error) {
      if (!(error instanceof BlockDamage)) throw error;
      await this.#setAside(path, error);
      return undefined;
    }
  }

  async #seriesOf(opened: OpenedBlock, known: Map<string, MetricSeries>): Promise<MetricSeries[]> {
    const { foot, directory } = opened;
    const bytes = Buffer.from(directory.buffer, directory.byteOffset, directory.byteLength);
    const fingerprintAt = (place: number) =>
      bytes.toString("latin1", place * foot.entryBytes, place * foot.entryBytes + FINGERPRINT_BYTES);
    const found: (MetricSeries | undefined)[] = [];
    let unknown = 0;
    for (let place = 0; place < foot.series; place++) {
      const series = known.get(fingerprintAt(place));
      if (series === undefined) unknown++;
      found.push(series);
    }
    if (unknown === 0) return found.filter((series) => series !== undefined);
    const labels = readLabels(await opened.readLabels(), foot.series);
    return found.map((series, place) => {
      const next = labels.next();
      if (next.done === true) throw new BlockDamage(foot.labelsOffset, "it has too few labels");
      if (series !== undefined) return series;
      const added = this.#options.table.adopt(next.value);
      // As it was written: to compute it again takes longer than all else here, and a check sum covers it.
      const fingerprint = fingerprintAt(place);
      added.fingerprint = fingerprint;
      known.set(fingerprint, added);
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
    if (match !== null) this.#count(Number(match[1]), Number(match[2]));
  }

  #count(number: number, segment: number): void {
    this.#nextNumber = Math.max(this.#nextNumber, number + 1);
    this.#coversMax = Math.max(this.#coversMax, segment);
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
function adopt(series: MetricSeries, newest: NewestSample): void {
  series.blocks++;
  if (newest.ms > series.newestMs) setNewest(series, newest);
}

/** The part of a range in which an entry of the directory has samples. */
function cut(entry: Interval, range: Interval): Interval {
  return { minMs: Math.max(entry.minMs, range.minMs), maxMs: Math.min(entry.maxMs, range.maxMs) };
}

function inOrder(blocks: readonly Block[]): Block[] {
  return [...blocks].sort((a, b) => a.foot.first - b.foot.first);
}

function blockOf(
  block: Omit<Block, "refs" | "places" | "hidden" | "damaged" | "readers" | "dropped">,
  refsByPlace: Uint32Array,
): Block {
  // Reference and place as one number sort many times faster than by a function.
  const keys = Float64Array.from(refsByPlace, (ref, place) => ref * PLACES + place).sort();
  const refs = Uint32Array.from(keys, (key) => Math.floor(key / PLACES));
  const places = Uint32Array.from(keys, (key) => key % PLACES);
  return { ...block, refs, places, hidden: new Set(), damaged: new Set(), readers: 0, dropped: false };
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
