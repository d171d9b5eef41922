/**
 * Directories of Prometheus' blocks: `meta.json`, `index`, `chunks/000001`, ….
 *
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/README.md
 */

import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

const CHUNKS_MAGIC = 0x85bd_40dd;
const CHUNKS_VERSION = 1;
const HEADER_BYTES = 8;
const CRC_BYTES = 4;
/** Bytes after which another file of chunks begins; Prometheus' own. */
const SEGMENT_BYTES_MAX = 512 * 2 ** 20;
/** Bytes read from a file of chunks at a time. */
const WINDOW_BYTES = 2 ** 20;
const ULID_MS_MAX = 2 ** 48 - 1;
const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** What `meta.json` says. */
export interface BlockMeta {
  readonly ulid: string;
  readonly minTime: number;
  /** Not included. */
  readonly maxTime: number;
  readonly stats: { readonly numSamples: number; readonly numSeries: number; readonly numChunks: number };
}

/** A check sum over bytes. */
export type CheckSum = (bytes: Uint8Array) => number;

/** Blocks at a path, in order of time: the path itself, or what lies in it. @throws Error that names what is wrong. */
export function findBlocks(path: string): { readonly directory: string; readonly meta: BlockMeta }[] {
  const here = (directory: string) => existsSync(join(directory, "meta.json"));
  const directories = here(path)
    ? [path]
    : readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && here(join(path, entry.name)))
        .map(({ name }) => join(path, name));
  return directories
    .map((directory) => ({ directory, meta: readMeta(join(directory, "meta.json")) }))
    .sort((a, b) => a.meta.minTime - b.meta.minTime);
}

function readMeta(file: string): BlockMeta {
  const meta: Partial<BlockMeta> = JSON.parse(readFileSync(file, "utf8"));
  const { ulid = "", minTime, maxTime, stats } = meta;
  if (typeof minTime !== "number" || typeof maxTime !== "number") throw new Error(`${file}: it has no times`);
  const { numSamples = 0, numSeries = 0, numChunks = 0 } = stats ?? {};
  return { ulid, minTime, maxTime, stats: { numSamples, numSeries, numChunks } };
}

/** The index of a block, whole. */
export function readIndexFile(directory: string): Uint8Array {
  return readFileSync(join(directory, "index"));
}

/** The list of what was deleted from a block without being taken out; undefined where there is none. */
export function readTombstonesFile(directory: string): Uint8Array | undefined {
  const file = join(directory, "tombstones");
  return existsSync(file) ? readFileSync(file) : undefined;
}

/** Chunks of a block by their place. */
export class ChunkFiles {
  readonly #files: number[];
  readonly #checkSum: CheckSum;
  #window = Buffer.alloc(0);
  #windowFile = -1;
  #windowAt = 0;

  /** @throws Error that names a file that is not one of chunks. */
  constructor(directory: string, checkSum: CheckSum) {
    this.#checkSum = checkSum;
    const names = readdirSync(join(directory, "chunks"))
      .filter((name) => /^\d{6}$/.test(name))
      .sort();
    this.#files = names.map((name) => {
      const path = join(directory, "chunks", name);
      const file = openSync(path, "r");
      const head = Buffer.alloc(HEADER_BYTES);
      readSync(file, head, 0, HEADER_BYTES, 0);
      if (head.readUInt32BE(0) !== CHUNKS_MAGIC || head[4] !== CHUNKS_VERSION) {
        throw new Error(`${path}: it is no file of chunks of version ${CHUNKS_VERSION}`);
      }
      return file;
    });
  }

  /** A chunk with the number of its encoding; undefined where it is damaged. */
  read(segment: number, offset: number): { readonly type: number; readonly bytes: Uint8Array } | undefined {
    const head = this.#bytes(segment, offset, 10);
    let length = 0;
    let at = 0;
    for (let scale = 1; at < 5; scale *= 128) {
      const byte = head[at++] ?? 0;
      length += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    const bytes = this.#bytes(segment, offset + at, 1 + length + CRC_BYTES);
    if (bytes.length < 1 + length + CRC_BYTES) return undefined;
    if (this.#checkSum(bytes.subarray(0, 1 + length)) !== bytes.readUInt32BE(1 + length)) return undefined;
    return { type: bytes[0] ?? 0, bytes: Uint8Array.from(bytes.subarray(1, 1 + length)) };
  }

  close(): void {
    for (const file of this.#files) closeSync(file);
  }

  /** Chunks are mostly asked for in their order, so that a window of the file is kept. */
  #bytes(segment: number, offset: number, length: number): Buffer {
    const file = this.#files[segment];
    if (file === undefined) return Buffer.alloc(0);
    const isInside =
      segment === this.#windowFile &&
      offset >= this.#windowAt &&
      offset + length <= this.#windowAt + this.#window.length;
    if (!isInside) {
      const window = Buffer.alloc(Math.max(WINDOW_BYTES, length));
      const read = readSync(file, window, 0, window.length, offset);
      this.#window = window.subarray(0, read);
      this.#windowFile = segment;
      this.#windowAt = offset;
    }
    return this.#window.subarray(offset - this.#windowAt, offset - this.#windowAt + length);
  }
}

/** Writes a block: chunks as they come, then all the rest. Nothing has its name before it is whole and durable. */
export class BlockFiles {
  readonly ulid: string;
  readonly #directory: string;
  readonly #fresh: string;
  readonly #checkSum: CheckSum;
  #file = -1;
  #segment = -1;
  #at = 0;

  constructor(directory: string, nowMs: number, checkSum: CheckSum) {
    this.ulid = ulidOf(nowMs);
    this.#directory = directory;
    this.#fresh = join(directory, `${this.ulid}.tmp-for-creation`);
    this.#checkSum = checkSum;
    mkdirSync(join(this.#fresh, "chunks"), { recursive: true });
  }

  /** Appends a chunk and gives its place. */
  append(type: number, bytes: Uint8Array): { readonly segment: number; readonly offset: number } {
    if (this.#file === -1 || this.#at + bytes.length > SEGMENT_BYTES_MAX) this.#nextSegment();
    const head: number[] = [];
    let rest = bytes.length;
    for (; rest >= 128; rest = Math.floor(rest / 128)) head.push((rest % 128) | 0x80);
    head.push(rest, type);
    const body = Buffer.concat([Buffer.from(head), bytes, Buffer.alloc(CRC_BYTES)]);
    const checked = body.subarray(head.length - 1, body.length - CRC_BYTES);
    body.writeUInt32BE(this.#checkSum(checked), body.length - CRC_BYTES);
    writeSync(this.#file, body);
    const place = { segment: this.#segment, offset: this.#at };
    this.#at += body.length;
    return place;
  }

  /** Writes index and description, and gives the block its name. */
  finish(index: Uint8Array, meta: Omit<BlockMeta, "ulid">): void {
    this.#closeSegment();
    const described = {
      ulid: this.ulid,
      ...meta,
      compaction: { level: 1, sources: [this.ulid] },
      version: 1,
    };
    writeDurably(join(this.#fresh, "index"), index);
    // A list of deletions without entries: magic, version, check sum of nothing.
    writeDurably(join(this.#fresh, "tombstones"), Buffer.from([0x01, 0x30, 0xba, 0x30, 0x01, 0, 0, 0, 0]));
    writeDurably(join(this.#fresh, "meta.json"), Buffer.from(`${JSON.stringify(described, undefined, "\t")}\n`));
    renameSync(this.#fresh, join(this.#directory, this.ulid));
    const directory = openSync(this.#directory, "r");
    fsyncSync(directory);
    closeSync(directory);
  }

  #nextSegment(): void {
    this.#closeSegment();
    this.#segment++;
    this.#file = openSync(join(this.#fresh, "chunks", String(this.#segment + 1).padStart(6, "0")), "wx");
    const head = Buffer.alloc(HEADER_BYTES);
    head.writeUInt32BE(CHUNKS_MAGIC, 0);
    head[4] = CHUNKS_VERSION;
    writeSync(this.#file, head);
    this.#at = HEADER_BYTES;
  }

  #closeSegment(): void {
    if (this.#file === -1) return;
    fsyncSync(this.#file);
    closeSync(this.#file);
    this.#file = -1;
  }
}

function writeDurably(path: string, bytes: Uint8Array): void {
  writeFileSync(path, bytes, { flush: true });
}

/**
 * Time in milliseconds and chance, in Crockford's base 32. There is no time before 1970, and none beyond 48 bits.
 *
 * @see https://github.com/ulid/spec
 */
function ulidOf(nowMs: number): string {
  let text = "";
  for (
    let rest = Math.min(Math.max(nowMs, 0), ULID_MS_MAX), place = 0;
    place < 10;
    place++, rest = Math.floor(rest / 32)
  )
    text = `${CROCKFORD[rest % 32]}${text}`;
  for (const byte of randomBytes(16)) text += CROCKFORD[byte % 32];
  return text;
}
