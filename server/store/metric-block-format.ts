/**
 * The bytes of a block file: samples of many series over some hours, written once and never changed.
 *
 * head (magic, version), one extent a series (its chunks), the directory (one entry of fixed size a series, in the order of
 * extents), the labels (deflated), the foot, the tail (length and check sum of the foot, magic). Extents, directory, labels
 * and foot have check sums of their own. Numbers are lowest byte first.
 */

import { crc32 } from "node:zlib";
import { ByteReader, BytesEndError } from "../model/byte-reader.ts";
import { ByteWriter } from "../model/byte-writer.ts";
import type { Labels } from "../model/series.ts";
import { evenTimesOf, type SealedChunk } from "./metric-chunk.ts";
import type { NewestSample } from "./metric-series.ts";

const MAGIC = 0x4b42_5754;
/**
 * Version 1 has entries of `OLD_ENTRY_BYTES`, extents that tell all times, and chunks of the layout before that of packed
 * numbers, which these tell themselves. Version 2 has no entries of `SHORT_ENTRY_BYTES`, and tells the length of all chunks.
 */
const VERSION = 3;
const VERSION_MIN = 1;
/** Bytes before the first extent. */
export const HEAD_BYTES = 8;
/** Bytes of one entry of the directory while it is gathered, and in files of version 1 or of a span too long for less. */
const OLD_ENTRY_BYTES = 64;
/** Bytes of one entry otherwise, and in a small file of a few hours. */
const ENTRY_BYTES = 48;
const SHORT_ENTRY_BYTES = 41;
/** Limits of short entries: places of extents, their bytes, and how far apart times lie. */
const SHORT_OFFSET_MAX = 2 ** 32;
const SHORT_EXTENT_BYTES_MAX = 2 ** 20;
const SHORT_SPAN_MS_MAX = 2 ** 24;
const ENTRY_SIZES: ReadonlySet<number> = new Set([OLD_ENTRY_BYTES, ENTRY_BYTES, SHORT_ENTRY_BYTES]);
/** Entries tell times as milliseconds after the first and before the last of the block. */
const ENTRY_SPAN_MS_MAX = 2 ** 32;
/** Bytes at the end that tell where the foot starts. */
export const TAIL_BYTES = 12;
/** Bytes at the start of an entry that tell its series. */
export const FINGERPRINT_BYTES = 16;
/** More than any chunk holds; a reader makes room for so many. */
const CHUNK_SAMPLES_MAX = 65_536;
/** More than the foot ever takes; a damaged length must not make a reader allocate. */
const FOOT_BYTES_MAX = 4096;

/** All samples before `cutMs` that segments of the log up to `segment` hold are in this block or in older ones. */
export interface BlockCover {
  readonly segment: number;
  readonly cutMs: number;
}

/** What is known of a block before it is written. */
export interface BlockOrigin {
  readonly covers: readonly BlockCover[];
  /** Numbers of the blocks that this one was joined from; they go when it is there. */
  readonly replaces: readonly number[];
  /** Number of the first block whose samples it holds, its own unless it was joined: blocks stand in this order. */
  readonly first: number;
}

/** What a block says of itself. */
export interface BlockFoot extends BlockOrigin, BlockLayout {
  readonly series: number;
  readonly samples: number;
  readonly directoryOffset: number;
  readonly directorySum: number;
  readonly labelsOffset: number;
  readonly labelsBytes: number;
  /** Bytes of the labels once they are inflated. */
  readonly labelsLength: number;
  readonly labelsSum: number;
}

/** What tells how a directory and extents are laid out. */
export interface BlockLayout {
  readonly version: number;
  /** Bytes of an entry of the directory. */
  readonly entryBytes: number;
  readonly minMs: number;
  readonly maxMs: number;
}

/** What the directory says of one series. */
export interface BlockEntry {
  readonly offset: number;
  readonly bytes: number;
  readonly sum: number;
  readonly minMs: number;
  readonly maxMs: number;
  /** The newest sample of the series when the block was written; of no kind where it was not in the block. */
  readonly newest: NewestSample;
}

/** The first bytes of a file. */
export function blockHead(): Uint8Array {
  const out = new ByteWriter();
  out.uint32(MAGIC);
  out.uint32(VERSION);
  return out.take();
}

/** The version that the first bytes of a file tell, or why they are not those of a block that can be read. */
export function versionOfHead(bytes: Uint8Array): number | string {
  const reader = new ByteReader(bytes);
  if (reader.left < HEAD_BYTES || reader.uint32() !== MAGIC) return "it does not start as a block";
  const version = reader.uint32();
  if (version >= VERSION_MIN && version <= VERSION) return version;
  return `its layout has version ${version}, this program knows ${VERSION_MIN} to ${VERSION}`;
}

/** Appends an extent. Times that the chunk itself tells at its start are left out, and the length of the last chunk. */
export function writeExtent(out: ByteWriter, chunks: readonly SealedChunk[]): void {
  out.varint(chunks.length);
  for (const [i, { count, minMs, maxMs, bytes }] of chunks.entries()) {
    const isEven = evenTimesOf(bytes, count) !== undefined;
    out.varint(2 * count + (isEven ? 1 : 0));
    if (!isEven) {
      out.signed(minMs);
      out.varint(maxMs - minMs);
    }
    if (i < chunks.length - 1) out.varint(bytes.length);
    out.raw(bytes);
  }
}

/** Chunks of an extent; their bytes are parts of `bytes`. Throws `BytesEndError` where it is none. */
export function readExtent(bytes: Uint8Array, { version }: Pick<BlockLayout, "version">): SealedChunk[] {
  const reader = new ByteReader(bytes);
  const chunks: SealedChunk[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const told = reader.varint();
    const isEven = version > 1 && told % 2 === 1;
    const count = version > 1 ? Math.floor(told / 2) : told;
    let minMs = isEven ? 0 : reader.signed();
    let maxMs = isEven ? 0 : minMs + reader.varint();
    const length = version > 2 && left === 1 ? reader.left : reader.varint();
    if (length > reader.left || count > CHUNK_SAMPLES_MAX) throw new BytesEndError(reader.at);
    const chunk = bytes.subarray(reader.at, reader.at + length);
    if (isEven) {
      const times = evenTimesOf(chunk, count);
      if (times === undefined) throw new BytesEndError(reader.at);
      minMs = times.minMs;
      maxMs = times.maxMs;
    }
    chunks.push({ count, minMs, maxMs, bytes: chunk });
    reader.skip(length);
  }
  return chunks;
}

/** Appends an entry to a directory that is gathered. @param fingerprint Tells the series, a character a byte. */
export function writeEntry(out: ByteWriter, fingerprint: string, entry: BlockEntry): void {
  for (let i = 0; i < FINGERPRINT_BYTES; i++) out.byte(fingerprint.charCodeAt(i));
  out.float64(entry.offset);
  out.uint32(entry.bytes);
  out.uint32(entry.sum);
  out.float64(entry.minMs);
  out.float64(entry.maxMs);
  out.uint32(0);
  out.uint32(entry.newest.kind);
  out.float64(entry.newest.identity);
}

/** A gathered directory as it goes to the file, with its layout. */
export function packDirectory(
  gathered: Uint8Array,
  span: { readonly minMs: number; readonly maxMs: number },
): { readonly directory: Uint8Array; readonly layout: BlockLayout } {
  const { minMs, maxMs } = span;
  const layout: BlockLayout = { version: VERSION, entryBytes: OLD_ENTRY_BYTES, minMs, maxMs };
  if (maxMs - minMs >= ENTRY_SPAN_MS_MAX) return { directory: gathered, layout };
  const isShort = fitsShort(gathered, layout);
  const out = new ByteWriter();
  for (let place = 0; place < gathered.length / OLD_ENTRY_BYTES; place++) {
    const entry = readEntry(gathered, place, layout);
    out.raw(gathered.subarray(place * OLD_ENTRY_BYTES, place * OLD_ENTRY_BYTES + FINGERPRINT_BYTES));
    if (isShort) {
      writeShort(out, entry, layout);
      continue;
    }
    out.uint32(entry.offset % ENTRY_SPAN_MS_MAX);
    out.uint32(Math.floor(entry.offset / ENTRY_SPAN_MS_MAX) + entry.newest.kind * KIND_SCALE);
    out.uint32(entry.bytes);
    out.uint32(entry.sum);
    out.uint32(entry.minMs - minMs);
    out.uint32(maxMs - entry.maxMs);
    out.float64(entry.newest.identity);
  }
  return { directory: out.take(), layout: { ...layout, entryBytes: isShort ? SHORT_ENTRY_BYTES : ENTRY_BYTES } };
}

function fitsShort(gathered: Uint8Array, layout: BlockLayout): boolean {
  if (layout.maxMs - layout.minMs >= SHORT_SPAN_MS_MAX) return false;
  for (let place = 0; place < gathered.length / OLD_ENTRY_BYTES; place++) {
    const { offset, bytes } = readEntry(gathered, place, layout);
    if (offset >= SHORT_OFFSET_MAX || bytes >= SHORT_EXTENT_BYTES_MAX) return false;
  }
  return true;
}

/** Of the bytes of an extent 20 bits, of its newest sample's kind 4, of both times 24. */
function writeShort(out: ByteWriter, entry: BlockEntry, { minMs, maxMs }: BlockLayout): void {
  const after = entry.minMs - minMs;
  const before = maxMs - entry.maxMs;
  out.uint32(entry.offset);
  out.uint32(entry.sum);
  out.uint32(entry.bytes + entry.newest.kind * SHORT_EXTENT_BYTES_MAX + (after % 256) * 2 ** 24);
  out.uint32(Math.floor(after / 256) + (before % 65_536) * 65_536);
  out.byte(Math.floor(before / 65_536));
  out.float64(entry.newest.identity);
}

function readShort(reader: ByteReader, layout: BlockLayout): BlockEntry {
  const offset = reader.uint32();
  const sum = reader.uint32();
  const first = reader.uint32();
  const second = reader.uint32();
  const minMs = layout.minMs + (first >>> 24) + 256 * (second & 0xffff);
  const maxMs = layout.maxMs - (second >>> 16) - 65_536 * reader.byte();
  const newest = { ms: maxMs, kind: (first >>> 20) & 0xf, identity: reader.float64() };
  return { offset, bytes: first % SHORT_EXTENT_BYTES_MAX, sum, minMs, maxMs, newest };
}

/** The kind of the newest sample stands above 24 bits of the offset. */
const KIND_SCALE = 2 ** 24;

/** Entry `place` of a stretch of the directory. */
export function readEntry(directory: Uint8Array, place: number, layout: BlockLayout): BlockEntry {
  const reader = new ByteReader(directory, place * layout.entryBytes + FINGERPRINT_BYTES);
  if (layout.entryBytes === OLD_ENTRY_BYTES) {
    const offset = reader.float64();
    const bytes = reader.uint32();
    const sum = reader.uint32();
    const minMs = reader.float64();
    const maxMs = reader.float64();
    reader.skip(4);
    const kind = reader.uint32();
    return { offset, bytes, sum, minMs, maxMs, newest: { ms: maxMs, kind, identity: reader.float64() } };
  }
  if (layout.entryBytes === SHORT_ENTRY_BYTES) return readShort(reader, layout);
  const low = reader.uint32();
  const high = reader.uint32();
  const bytes = reader.uint32();
  const sum = reader.uint32();
  const minMs = layout.minMs + reader.uint32();
  const maxMs = layout.maxMs - reader.uint32();
  const newest = { ms: maxMs, kind: Math.floor(high / KIND_SCALE), identity: reader.float64() };
  return { offset: low + (high % KIND_SCALE) * ENTRY_SPAN_MS_MAX, bytes, sum, minMs, maxMs, newest };
}

/** Foot and tail, the last bytes of a file. */
export function blockFoot(foot: BlockFoot): Uint8Array {
  const out = new ByteWriter();
  out.varint(foot.covers.length);
  for (const { segment, cutMs } of foot.covers) {
    out.varint(segment);
    out.float64(cutMs);
  }
  out.varint(foot.replaces.length);
  for (const number of foot.replaces) out.varint(number);
  out.varint(foot.first);
  out.float64(foot.minMs);
  out.float64(foot.maxMs);
  out.varint(foot.series);
  out.varint(foot.samples);
  out.varint(foot.directoryOffset);
  out.uint32(foot.directorySum);
  out.varint(foot.labelsOffset);
  out.varint(foot.labelsBytes);
  out.varint(foot.labelsLength);
  out.uint32(foot.labelsSum);
  out.varint(foot.entryBytes);
  const length = out.length;
  const sum = crc32(out.written());
  out.uint32(length);
  out.uint32(sum);
  out.uint32(MAGIC);
  return out.take();
}

/** Bytes of the foot that this tail closes; undefined where it is none. */
export function footBytesOf(tail: Uint8Array): number | undefined {
  const reader = new ByteReader(tail);
  const length = reader.uint32();
  reader.uint32();
  return reader.uint32() === MAGIC && length <= FOOT_BYTES_MAX ? length : undefined;
}

/** Reads foot and tail. @returns Undefined where the check sum fails. Throws `BytesEndError` where it makes no sense. */
export function readFoot(bytes: Uint8Array, version: number): BlockFoot | undefined {
  const length = bytes.length - TAIL_BYTES;
  const tail = new ByteReader(bytes, length + 4);
  if (tail.uint32() !== crc32(bytes.subarray(0, length))) return undefined;
  const reader = new ByteReader(bytes);
  const covers: BlockCover[] = [];
  for (let left = reader.varint(); left > 0; left--) covers.push({ segment: reader.varint(), cutMs: reader.float64() });
  const replaces: number[] = [];
  for (let left = reader.varint(); left > 0; left--) replaces.push(reader.varint());
  const told = {
    version,
    covers,
    replaces,
    first: reader.varint(),
    minMs: reader.float64(),
    maxMs: reader.float64(),
    series: reader.varint(),
    samples: reader.varint(),
    directoryOffset: reader.varint(),
    directorySum: reader.uint32(),
    labelsOffset: reader.varint(),
    labelsBytes: reader.varint(),
    labelsLength: reader.varint(),
    labelsSum: reader.uint32(),
  };
  const entryBytes = version === 1 ? OLD_ENTRY_BYTES : reader.varint();
  if (!ENTRY_SIZES.has(entryBytes)) throw new BytesEndError(reader.at);
  return { ...told, entryBytes };
}

/** Labels of many series, each text once. */
export class LabelsWriter {
  readonly #texts = new ByteWriter();
  readonly #series = new ByteWriter();
  readonly #known = new Map<string, number>();

  add(labels: Labels): void {
    this.#series.varint(labels.length);
    for (const label of labels) for (const text of label) this.#series.varint(this.#numberOf(text));
  }

  /** All bytes. */
  take(): Uint8Array {
    const out = new ByteWriter();
    out.varint(this.#known.size);
    out.raw(this.#texts.written());
    out.raw(this.#series.written());
    return out.take();
  }

  #numberOf(text: string): number {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    this.#known.set(text, this.#known.size);
    this.#texts.text(text);
    return this.#known.size - 1;
  }
}

/** Reads what `LabelsWriter` wrote. Throws `BytesEndError` where it cannot have written that. */
export function* readLabels(bytes: Uint8Array, count: number): Generator<Labels> {
  const reader = new ByteReader(bytes);
  const texts: string[] = [];
  for (let left = reader.varint(); left > 0; left--) texts.push(reader.text());
  const text = () => {
    const found = texts[reader.varint()];
    if (found === undefined) throw new BytesEndError(reader.at);
    return found;
  };
  for (let done = 0; done < count; done++) {
    const labels: [string, string][] = [];
    for (let left = reader.varint(); left > 0; left--) labels.push([text(), text()]);
    yield labels;
  }
}
