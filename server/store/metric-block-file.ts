/** Opens block files and reads parts of them. */

import { type FileHandle, open } from "node:fs/promises";
import { promisify } from "node:util";
import { crc32, inflateRaw } from "node:zlib";
import { BytesEndError } from "../model/byte-reader.ts";
import { ROOM_PAGE_BYTES, type SampleRoom } from "../model/sample-room.ts";
import {
  type BlockEntry,
  type BlockFoot,
  footBytesOf,
  HEAD_BYTES,
  readEntry,
  readExtent,
  readFoot,
  TAIL_BYTES,
  versionOfHead,
} from "./metric-block-format.ts";
import type { SealedChunk } from "./metric-chunk.ts";
import type { NewestSample } from "./metric-series.ts";

/** Neighbours this near are read at once, rather than each by itself. */
const GAP_BYTES_MAX = 32 * 1024;
/** One read is not larger unless one extent is. */
const READ_BYTES_MAX = 2 ** 22;
/** Labels that inflate beyond this cannot have been written here. */
const LABELS_LENGTH_MAX = 2 ** 30;

const inflate = promisify(inflateRaw);

/** Bytes of a block that cannot be read. */
export class BlockDamage extends Error {
  readonly offset: number;

  constructor(offset: number, why: string, cause?: unknown) {
    super(why, { cause });
    this.name = "BlockDamage";
    this.offset = offset;
  }
}

/** A block whose directory was read. */
export interface OpenedBlock {
  readonly foot: BlockFoot;
  readonly directory: Uint8Array;
  readonly fileBytes: number;
  /** Reads the labels of all series. Throws `BlockDamage` where they are damaged. */
  readonly readLabels: () => Promise<Uint8Array>;
}

/**
 * Reads foot and directory.
 *
 * @throws BlockDamage where they are damaged, or not of this version.
 */
export async function openBlock(path: string): Promise<OpenedBlock> {
  const handle = await open(path, "r");
  try {
    const stat = await handle.stat();
    const { size } = stat;
    if (!stat.isFile()) throw new BlockDamage(0, "it is not a file");
    if (size < HEAD_BYTES + TAIL_BYTES) throw new BlockDamage(0, "it is cut short");
    const version = versionOfHead(await readBytes(handle, 0, HEAD_BYTES));
    if (typeof version === "string") throw new BlockDamage(0, version);
    const foot = await readFootOf(handle, size, version);
    const { directoryOffset, directorySum, series, entryBytes } = foot;
    const directory = await readBytes(handle, directoryOffset, series * entryBytes);
    if (crc32(directory) !== directorySum) throw new BlockDamage(directoryOffset, "its directory fails its check sum");
    return { foot, directory, fileBytes: size, readLabels: () => readLabelsOf(path, foot) };
  } finally {
    await handle.close();
  }
}

async function readFootOf(handle: FileHandle, size: number, version: number): Promise<BlockFoot> {
  const length = footBytesOf(await readBytes(handle, size - TAIL_BYTES, TAIL_BYTES));
  const start = size - TAIL_BYTES - (length ?? 0);
  if (length === undefined || start < HEAD_BYTES) throw new BlockDamage(size - TAIL_BYTES, "its end is damaged");
  let foot: BlockFoot | undefined;
  try {
    foot = readFoot(await readBytes(handle, start, size - start), version);
  } catch (error) {
    if (!(error instanceof BytesEndError)) throw error;
  }
  if (foot === undefined) throw new BlockDamage(start, "its foot fails its check sum");
  return foot;
}

async function readLabelsOf(path: string, foot: BlockFoot): Promise<Uint8Array> {
  const { labelsOffset, labelsBytes, labelsLength, labelsSum } = foot;
  const handle = await open(path, "r");
  try {
    const deflated = await readBytes(handle, labelsOffset, labelsBytes);
    if (crc32(deflated) !== labelsSum || labelsLength > LABELS_LENGTH_MAX) {
      throw new BlockDamage(labelsOffset, "its labels fail their check sum");
    }
    return await inflate(deflated, { maxOutputLength: Math.max(1, labelsLength) });
  } finally {
    await handle.close();
  }
}

/** What to read of a block. */
export interface BlockRead {
  /** Places of series in the directory, growing. */
  readonly places: readonly number[];
  /** Only extents with samples in `[minMs, maxMs]`, as far as the directory tells. */
  readonly minMs: number;
  readonly maxMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Where the bytes of chunks lie; memory of their own where there is none. */
  readonly room?: SampleRoom | undefined;
}

/** Entries of the directory for these places whose samples reach into `[minMs, maxMs]`. */
export async function readEntries(
  path: string,
  foot: BlockFoot,
  read: BlockRead,
): Promise<{ readonly place: number; readonly entry: BlockEntry }[]> {
  const handle = await open(path, "r");
  try {
    return await entriesOf(handle, foot, read);
  } finally {
    await handle.close();
  }
}

/**
 * Calls `take` with the chunks of every series that reaches into `[minMs, maxMs]`, and `damaged` for an extent that cannot
 * be read.
 *
 * The bytes of chunks stay as they are; who keeps them keeps a stretch of at most `READ_BYTES_MAX`, or one extent.
 */
export async function readExtents(
  path: string,
  foot: BlockFoot,
  read: BlockRead,
  on: {
    readonly take: (place: number, chunks: readonly SealedChunk[], newest: NewestSample) => void;
    readonly damaged: (place: number, damage: BlockDamage) => void;
  },
): Promise<void> {
  const handle = await open(path, "r");
  try {
    const entries = await entriesOf(handle, foot, read);
    const spans = entries.map(({ entry }) => ({ from: entry.offset, to: entry.offset + entry.bytes }));
    const { room } = read;
    for (const group of neighbours(spans, room === undefined ? READ_BYTES_MAX : ROOM_PAGE_BYTES)) {
      read.signal?.throwIfAborted();
      const length = group.to - group.from;
      const into = room === undefined ? new Uint8Array(length) : room.takeBytes(length);
      const bytes = await readInto(handle, group.from, into, true);
      for (let i = group.first; i < group.end; i++) {
        const found = entries[i];
        if (found === undefined) continue;
        const { place, entry } = found;
        const at = entry.offset - group.from;
        const chunks = chunksOf(bytes.subarray(at, at + entry.bytes), entry, foot);
        if (chunks instanceof BlockDamage) on.damaged(place, chunks);
        else on.take(place, chunks, entry.newest);
      }
    }
  } finally {
    await handle.close();
  }
}

function chunksOf(extent: Uint8Array, entry: BlockEntry, foot: BlockFoot): SealedChunk[] | BlockDamage {
  if (extent.length !== entry.bytes) return new BlockDamage(entry.offset, "it is cut short");
  if (crc32(extent) !== entry.sum) return new BlockDamage(entry.offset, "samples of a series fail their check sum");
  try {
    return readExtent(extent, foot);
  } catch (error) {
    return new BlockDamage(entry.offset, "samples of a series make no sense", error);
  }
}

async function entriesOf(
  handle: FileHandle,
  foot: BlockFoot,
  { places, minMs, maxMs, signal }: BlockRead,
): Promise<{ readonly place: number; readonly entry: BlockEntry }[]> {
  const { entryBytes } = foot;
  const spans = places.map((place) => ({ from: place * entryBytes, to: (place + 1) * entryBytes }));
  const entries: { place: number; entry: BlockEntry }[] = [];
  for (const group of neighbours(spans, READ_BYTES_MAX)) {
    signal?.throwIfAborted();
    const bytes = await readBytes(handle, foot.directoryOffset + group.from, group.to - group.from);
    for (let i = group.first; i < group.end; i++) {
      const place = places[i] ?? 0;
      const entry = readEntry(bytes, place - group.from / entryBytes, foot);
      if (entry.maxMs >= minMs && entry.minMs <= maxMs) entries.push({ place, entry });
    }
  }
  return entries;
}

/** Spans `[first, end)` of a list, and the stretch of the file that holds them. */
interface Neighbours {
  readonly first: number;
  readonly end: number;
  readonly from: number;
  readonly to: number;
}

/** Groups spans, which grow, into stretches worth one read each. */
function* neighbours(
  spans: readonly { readonly from: number; readonly to: number }[],
  bytesMax: number,
): Generator<Neighbours> {
  let group: Neighbours | undefined;
  for (const [i, { from, to }] of spans.entries()) {
    if (group !== undefined && from - group.to <= GAP_BYTES_MAX && to - group.from <= bytesMax) {
      group = { ...group, end: i + 1, to };
    } else {
      if (group !== undefined) yield group;
      group = { first: i, end: i + 1, from, to };
    }
  }
  if (group !== undefined) yield group;
}

function readBytes(handle: FileHandle, from: number, length: number): Promise<Uint8Array> {
  return readInto(handle, from, new Uint8Array(length), false);
}

/** Fills `bytes`. @param mayEnd The file may end before; then fewer bytes are given. */
async function readInto(handle: FileHandle, from: number, bytes: Uint8Array, mayEnd: boolean): Promise<Uint8Array> {
  const { length } = bytes;
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(bytes, done, length - done, from + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  if (done < length && !mayEnd) throw new BlockDamage(from + done, "it is cut short");
  return bytes.subarray(0, done);
}
