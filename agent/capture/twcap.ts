/**
 * Recordings of capture events (`.twcap`): written by a wrapper around any rung's sink, read block by block.
 *
 * Layout: `TWCAP`, a zero byte, a u16 of the version, a u32 of the header's bytes, the header as JSON; then blocks,
 * each a u32 of stored bytes, a u32 of plain bytes and the bytes, raw deflate where the header says so. Numbers are
 * little-endian. A block holds whole records, so a file cut anywhere is good up to its last whole block.
 *
 * A recording holds payload: the file is only its owner's to read, whatever the umask.
 */

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { CaptureSink } from "../../server/model/capture-event.ts";
import { isMissing } from "../../server/platform/files.ts";
import { type CaptureEvent, decodeRecords, encodeRecord, type RecordBuffer } from "./capture-record.ts";
import type { RungName } from "./rung.ts";

/** What stands at the beginning of a recording. */
export interface TwcapHeader {
  /** Rung that captured what was recorded. */
  readonly rung: RungName;
  /** RFC 3339, UTC. */
  readonly recordedAt: string;
  readonly host: string;
  /** Such as `linux x64`. */
  readonly os: string;
  /** Decimal nanoseconds: Unix time = event time + this. */
  readonly bootToUnixNano: string;
  readonly compression: "none" | "deflate";
}

/** Settings of a recording. */
export interface TwcapOptions {
  readonly rung: RungName;
  readonly bootToUnixNano: bigint;
  readonly compression: "none" | "deflate";
  /** Events that would make the file larger are counted and left out. */
  readonly fileBytesMax: number;
}

/** A recording under way. */
export interface TwcapWriter {
  /** Never throws: what cannot be written is counted in `lost`. */
  write(event: CaptureEvent): void;
  /** Writes what is gathered. Called every second or so, a crash costs little. */
  flush(): void;
  /** Flushes and closes. May be called again. */
  close(): void;
  readonly state: TwcapWritten;
}

/** What a recording has taken so far. */
export interface TwcapWritten {
  readonly events: number;
  readonly fileBytes: number;
  readonly lost: Readonly<Record<"file_bytes_max" | "write_failed", number>>;
  /** The error that stopped the writing; empty where none did. */
  readonly trouble: string;
}

const MAGIC = Buffer.from("TWCAP\0");
const VERSION = 1;
const FIXED_HEAD_BYTES = 12;
const headerBytesMax = 64 * 1024;
/** Large enough to compress well, small enough to compress in a few milliseconds. */
const blockBytesTarget = 256 * 1024;
const blockBytesMax = 32 << 20;

/** Is this the beginning of a recording? */
export function isTwcap(bytes: Uint8Array): boolean {
  return bytes.length >= MAGIC.length && MAGIC.equals(bytes.subarray(0, MAGIC.length));
}

/**
 * Begins a recording in a file of its own, mode 0600; an earlier regular file of that name is replaced.
 *
 * @throws the system's error where the file cannot be made, or an Error where `path` is no regular file.
 */
export function createTwcap(path: string, options: TwcapOptions): TwcapWriter {
  const fd = createPrivate(path);
  const header: TwcapHeader = {
    rung: options.rung,
    recordedAt: new Date().toISOString(),
    host: hostname(),
    os: `${process.platform} ${process.arch}`,
    bootToUnixNano: String(options.bootToUnixNano),
    compression: options.compression,
  };
  const text = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(FIXED_HEAD_BYTES);
  MAGIC.copy(head);
  head.writeUInt16LE(VERSION, 6);
  head.writeUInt32LE(text.length, 8);
  writeWhole(fd, Buffer.concat([head, text]));
  return twcapWriter(fd, FIXED_HEAD_BYTES + text.length, options);
}

/** A sink that records every event and passes it on. */
export function recordingSink(inner: CaptureSink, writer: Pick<TwcapWriter, "write">): CaptureSink {
  return {
    opened(event) {
      writer.write({ kind: "opened", event });
      inner.opened(event);
    },
    slice(event) {
      writer.write({ kind: "slice", event });
      inner.slice(event);
    },
    owner(socket, end, owner) {
      writer.write({ kind: "owner", socket, end, owner });
      inner.owner(socket, end, owner);
    },
    closed(socket, timeNs, reset) {
      writer.write({ kind: "closed", socket, timeNs, reset });
      inner.closed(socket, timeNs, reset);
    },
    process(event) {
      writer.write({ kind: "process", event });
      inner.process(event);
    },
    processExited(pid, timeNs) {
      writer.write({ kind: "processExited", pid, timeNs });
      inner.processExited(pid, timeNs);
    },
  };
}

/** Gives a recorded event to a sink. */
export function giveEvent(sink: CaptureSink, event: CaptureEvent): void {
  switch (event.kind) {
    case "opened":
      sink.opened(event.event);
      break;
    case "slice":
      sink.slice(event.event);
      break;
    case "owner":
      sink.owner(event.socket, event.end, event.owner);
      break;
    case "closed":
      sink.closed(event.socket, event.timeNs, event.reset);
      break;
    case "process":
      sink.process(event.event);
      break;
    case "processExited":
      sink.processExited(event.pid, event.timeNs);
      break;
  }
}

/** A recording that is read block by block. */
export interface TwcapReader {
  readonly header: TwcapHeader;
  /**
   * Events of the next block, whose slices own their bytes; undefined at the end. What is damaged or cut off is
   * counted in `lost`, and nothing after it is read.
   */
  nextBlock(): readonly CaptureEvent[] | undefined;
  /** `block_cut`, `block_damaged` end the file; `record_malformed` are single records. */
  readonly lost: Readonly<Record<"block_cut" | "block_damaged" | "record_malformed", number>>;
  close(): void;
}

/** @throws Error naming `path` where it is no recording, or one of a later version. */
export function openTwcap(path: string): TwcapReader {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const { header, headBytes } = readHeader(fd, path);
    return twcapReader(fd, headBytes, header);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function createPrivate(path: string): number {
  try {
    if (!lstatSync(path).isFile()) throw new Error(`${path} is no regular file; a recording needs one of its own.`);
    // Not truncated but replaced: a reader of the earlier file must not see what comes.
    unlinkSync(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  const fd = openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW, 0o600);
  fchmodSync(fd, 0o600);
  return fd;
}

function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function twcapWriter(fd: number, headBytes: number, options: TwcapOptions): TwcapWriter {
  const buffer: RecordBuffer = { bytes: Buffer.allocUnsafe(blockBytesTarget * 2), length: 0 };
  const lost = { file_bytes_max: 0, write_failed: 0 };
  const state = { events: 0, fileBytes: headBytes, lost, trouble: "" };
  let gathered = 0;
  let isClosed = false;

  const lose = (reason: keyof typeof lost) => {
    lost[reason] += gathered;
    state.events -= gathered;
  };
  const flush = () => {
    if (gathered === 0) return;
    const plain = buffer.bytes.subarray(0, buffer.length);
    const stored = options.compression === "deflate" ? deflateRawSync(plain) : plain;
    if (state.fileBytes + 8 + stored.length > options.fileBytesMax) lose("file_bytes_max");
    else {
      const head = Buffer.alloc(8);
      head.writeUInt32LE(stored.length, 0);
      head.writeUInt32LE(plain.length, 4);
      try {
        writeWhole(fd, head);
        writeWhole(fd, stored);
        state.fileBytes += 8 + stored.length;
      } catch (error) {
        state.trouble = error instanceof Error ? error.message : String(error);
        lose("write_failed");
      }
    }
    buffer.length = 0;
    gathered = 0;
  };
  return {
    state,
    flush,
    write(event) {
      if (isClosed || state.trouble !== "") lost.write_failed++;
      else if (state.fileBytes >= options.fileBytesMax || lost.file_bytes_max > 0) lost.file_bytes_max++;
      else {
        encodeRecord(buffer, event);
        gathered++;
        state.events++;
        if (buffer.length >= blockBytesTarget) flush();
      }
    },
    close() {
      if (isClosed) return;
      flush();
      isClosed = true;
      closeSync(fd);
    },
  };
}

function readHeader(fd: number, path: string): { header: TwcapHeader; headBytes: number } {
  const head = Buffer.alloc(FIXED_HEAD_BYTES);
  const got = readWhole(fd, head, 0);
  if (got < FIXED_HEAD_BYTES || !isTwcap(head)) throw new Error(`${path} is no twcap recording.`);
  const version = head.readUInt16LE(6);
  if (version !== VERSION) {
    throw new Error(`${path} is a twcap recording of version ${version}; this program reads version ${VERSION}.`);
  }
  const length = head.readUInt32LE(8);
  const text = Buffer.alloc(Math.min(length, headerBytesMax));
  if (length > headerBytesMax || readWhole(fd, text, FIXED_HEAD_BYTES) < length) {
    throw new Error(`${path} is damaged: its header is cut off. Record it again.`);
  }
  return { header: parseHeader(text.toString("utf8"), path), headBytes: FIXED_HEAD_BYTES + length };
}

function parseHeader(text: string, path: string): TwcapHeader {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(`${path} is damaged: its header is no JSON. Record it again.`, { cause });
  }
  // A decoded JSON boundary: the fields that are computed with are checked, the rest is only shown.
  const header = value as TwcapHeader;
  const isUsable =
    typeof value === "object" &&
    value !== null &&
    /^-?\d{1,20}$/.test(String(header.bootToUnixNano)) &&
    (header.compression === "none" || header.compression === "deflate");
  if (!isUsable) throw new Error(`${path} is damaged: its header lacks fields. Record it again.`);
  return header;
}

function twcapReader(fd: number, headBytes: number, header: TwcapHeader): TwcapReader {
  const lost = { block_cut: 0, block_damaged: 0, record_malformed: 0 };
  const fileBytes = fstatSync(fd).size;
  let at = headBytes;
  let isOver = false;

  const end = (reason?: keyof typeof lost): undefined => {
    isOver = true;
    if (reason !== undefined) lost[reason]++;
    return undefined;
  };
  const readBlock = (): Buffer | undefined => {
    if (at >= fileBytes) return end();
    const head = Buffer.alloc(8);
    if (readWhole(fd, head, at) < 8) return end("block_cut");
    const storedBytes = head.readUInt32LE(0);
    const plainBytes = head.readUInt32LE(4);
    if (storedBytes > blockBytesMax || plainBytes > blockBytesMax) return end("block_damaged");
    if (at + 8 + storedBytes > fileBytes) return end("block_cut");
    const stored = Buffer.alloc(storedBytes);
    if (readWhole(fd, stored, at + 8) < storedBytes) return end("block_cut");
    at += 8 + storedBytes;
    return header.compression === "none" ? stored : inflateBlock(stored, plainBytes);
  };
  const inflateBlock = (stored: Buffer, plainBytes: number): Buffer | undefined => {
    try {
      const plain = inflateRawSync(stored, { maxOutputLength: blockBytesMax });
      return plain.length === plainBytes ? plain : end("block_damaged");
    } catch {
      return end("block_damaged"); // Counted: that is all there is to say of a block that does not inflate.
    }
  };
  return {
    header,
    lost,
    nextBlock() {
      const block = isOver ? undefined : readBlock();
      if (block === undefined) return undefined;
      const events: CaptureEvent[] = [];
      const decoded = decodeRecords(block, (event) => events.push(event));
      lost.record_malformed += decoded.malformed;
      if (decoded.end !== "whole") end("block_damaged");
      return events;
    },
    close() {
      closeSync(fd);
    },
  };
}

function readWhole(fd: number, into: Buffer, position: number): number {
  let got = 0;
  while (got < into.length) {
    const read = readSync(fd, into, got, into.length - got, position + got);
    if (read === 0) break;
    got += read;
  }
  return got;
}
