/**
 * The index of Prometheus' blocks, version 2: labels and chunks of every series.
 *
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/index.md
 */

import type { Labels } from "../model/series.ts";
import { crc32c } from "./crc32c.ts";

const MAGIC = 0xbaaa_d700;
const VERSION = 2;
const HEADER_BYTES = 5;
const TOC_BYTES = 6 * 8 + 4;
/** Series stand at multiples of this, by which they are named. */
const SERIES_ALIGN = 16;
const CRC_BYTES = 4;

/** Where a chunk stands and which times it covers, both ends included. */
export interface ChunkPlace {
  readonly minMs: number;
  readonly maxMs: number;
  /** Number of the file of chunks, from 0 on. */
  readonly segment: number;
  /** Byte in the file. */
  readonly offset: number;
}

/** A series of a block. */
export interface BlockSeries {
  readonly labels: Labels;
  readonly chunks: readonly ChunkPlace[];
}

/** A series as it stands in an index. */
export interface IndexedSeries extends BlockSeries {
  /** By which tombstones name it. */
  readonly number: number;
}

/** A file that is not of the kind it should be, or is damaged. */
export class TsdbFormatError extends Error {}

/** Reads series one by one, in the order of their labels. @throws TsdbFormatError */
export function* readTsdbIndex(bytes: Uint8Array): Generator<IndexedSeries> {
  const reader = new Reader(bytes);
  if (bytes.length < HEADER_BYTES + TOC_BYTES || reader.uint32(0) !== MAGIC) {
    throw new TsdbFormatError("it is no index of Prometheus");
  }
  if (bytes[4] !== VERSION) throw new TsdbFormatError(`it is of version ${bytes[4]}; version ${VERSION} is read`);
  const tocAt = bytes.length - TOC_BYTES;
  reader.check(tocAt, TOC_BYTES - CRC_BYTES, "the table of contents");
  const symbols = readSymbols(reader, reader.uint64(tocAt));
  const postingsTable = reader.uint64(tocAt + 40);
  for (const number of allPostings(reader, postingsTable)) {
    yield { number, ...readSeries(reader, number * SERIES_ALIGN, symbols) };
  }
}

function readSymbols(reader: Reader, at: number): string[] {
  const length = reader.uint32(at);
  reader.check(at + 4, length, "the symbol table");
  const count = reader.uint32(at + 4);
  reader.at = at + 8;
  const symbols: string[] = [];
  for (let index = 0; index < count; index++) symbols.push(reader.text());
  return symbols;
}

/** Numbers of all series: the list that the empty name and value lead to. */
function allPostings(reader: Reader, tableAt: number): number[] {
  const length = reader.uint32(tableAt);
  reader.check(tableAt + 4, length, "the table of postings");
  const count = reader.uint32(tableAt + 4);
  reader.at = tableAt + 8;
  for (let index = 0; index < count; index++) {
    const keys = reader.varint();
    const names = Array.from({ length: keys }, () => reader.text());
    const at = reader.varint();
    if (names.some((name) => name !== "")) continue;
    const bytes = reader.uint32(at);
    reader.check(at + 4, bytes, "the postings of all series");
    return Array.from({ length: reader.uint32(at + 4) }, (_, entry) => reader.uint32(at + 8 + 4 * entry));
  }
  return [];
}

function readSeries(reader: Reader, at: number, symbols: readonly string[]): BlockSeries {
  reader.at = at;
  const length = reader.varint();
  reader.check(reader.at, length, `the series at byte ${at}`);
  const labels: [string, string][] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const name = symbols[reader.varint()];
    const value = symbols[reader.varint()];
    if (name === undefined || value === undefined) {
      throw new TsdbFormatError(`the series at byte ${at} has a label that is not in the symbol table`);
    }
    labels.push([name, value]);
  }
  const chunks: ChunkPlace[] = [];
  let beforeMs = 0;
  let beforeRef = 0;
  for (let left = reader.varint(), first = true; left > 0; left--, first = false) {
    const minMs = first ? reader.zigzag() : beforeMs + reader.varint();
    const maxMs = minMs + reader.varint();
    const ref = first ? reader.varint() : beforeRef + reader.zigzag();
    chunks.push({ minMs, maxMs, segment: Math.floor(ref / 2 ** 32), offset: ref % 2 ** 32 });
    beforeMs = maxMs;
    beforeRef = ref;
  }
  return { labels, chunks };
}

/** Bytes and a place in them. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  uint32(at: number): number {
    this.#inside(at, 4);
    return this.#view.getUint32(at);
  }

  uint64(at: number): number {
    return this.uint32(at) * 2 ** 32 + this.uint32(at + 4);
  }

  /** Throws where the check sum behind a part is not that of the part. */
  check(at: number, length: number, what: string): void {
    this.#inside(at, length + CRC_BYTES);
    if (crc32c(this.#bytes.subarray(at, at + length)) !== this.#view.getUint32(at + length)) {
      throw new TsdbFormatError(`${what} is damaged`);
    }
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined || scale > 2 ** 63) throw new TsdbFormatError("a number is cut short");
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  zigzag(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  text(): string {
    const length = this.varint();
    this.#inside(this.at, length);
    const text = Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + this.at, length).toString();
    this.at += length;
    return text;
  }

  #inside(at: number, length: number): void {
    if (!(at >= 0 && at + length <= this.#bytes.length)) throw new TsdbFormatError("it is cut short");
  }
}

/**
 * Makes an index.
 *
 * @param series In any order; each with chunks in order of time.
 */
export function encodeTsdbIndex(series: readonly BlockSeries[]): Uint8Array {
  const sorted = [...series].sort((a, b) => compareLabels(a.labels, b.labels));
  const writer = new Writer();
  writer.uint32(MAGIC);
  writer.byte(VERSION);
  const symbolsAt = writer.length;
  const symbols = writeSymbols(writer, sorted);
  writer.pad(SERIES_ALIGN);
  const seriesAt = writer.length;
  const postings = new Map<string, Map<string, number[]>>([["", new Map([["", []]])]]);
  for (const one of sorted) {
    const number = writeSeries(writer, one, symbols);
    for (const [name, value] of [["", ""] as const, ...one.labels]) {
      const byValue = postings.get(name) ?? new Map<string, number[]>();
      postings.set(name, byValue);
      byValue.set(value, pushed(byValue.get(value), number));
    }
  }
  const postingsAt = writer.length;
  const tableAt = writePostings(writer, postings);
  const toc = new Writer();
  // Indexes of labels are no longer read by anyone: both of their sections are empty and stand where postings begin.
  for (const at of [symbolsAt, seriesAt, postingsAt, postingsAt, postingsAt, tableAt]) toc.uint64(at);
  writer.bytes(toc.take());
  writer.uint32(crc32c(toc.take()));
  return writer.take();
}

function pushed(list: number[] | undefined, number: number): number[] {
  if (list === undefined) return [number];
  list.push(number);
  return list;
}

function writeSymbols(writer: Writer, series: readonly BlockSeries[]): ReadonlyMap<string, number> {
  const texts = [...new Set(series.flatMap(({ labels }) => labels.flat()))].sort(compareBytes);
  const body = new Writer();
  body.uint32(texts.length);
  for (const text of texts) body.text(text);
  writer.section(body.take());
  return new Map(texts.map((text, index) => [text, index]));
}

/** Gives the series' number. */
function writeSeries(writer: Writer, { labels, chunks }: BlockSeries, symbols: ReadonlyMap<string, number>): number {
  writer.pad(SERIES_ALIGN);
  const number = writer.length / SERIES_ALIGN;
  const body = new Writer();
  body.varint(labels.length);
  for (const text of labels.flat()) body.varint(symbols.get(text) ?? 0);
  body.varint(chunks.length);
  let before: { readonly maxMs: number; readonly ref: number } | undefined;
  for (const { minMs, maxMs, segment, offset } of chunks) {
    const ref = segment * 2 ** 32 + offset;
    if (before === undefined) body.zigzag(minMs);
    else body.varint(minMs - before.maxMs);
    body.varint(maxMs - minMs);
    if (before === undefined) body.varint(ref);
    else body.zigzag(ref - before.ref);
    before = { maxMs, ref };
  }
  const bytes = body.take();
  writer.varint(bytes.length);
  writer.bytes(bytes);
  writer.uint32(crc32c(bytes));
  return number;
}

/** Gives where the table is. */
function writePostings(writer: Writer, postings: ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>): number {
  const table = new Writer();
  let count = 0;
  const entries = new Writer();
  for (const name of [...postings.keys()].sort(compareBytes)) {
    const byValue = postings.get(name) ?? new Map<string, number[]>();
    for (const value of [...byValue.keys()].sort(compareBytes)) {
      writer.pad(4);
      entries.varint(2);
      entries.text(name);
      entries.text(value);
      entries.varint(writer.length);
      const body = new Writer();
      const numbers = byValue.get(value) ?? [];
      body.uint32(numbers.length);
      for (const number of numbers) body.uint32(number);
      writer.section(body.take());
      count++;
    }
  }
  table.uint32(count);
  table.bytes(entries.take());
  writer.pad(4);
  const at = writer.length;
  writer.section(table.take());
  return at;
}

/** Bytes that grow. */
class Writer {
  #bytes = Buffer.allocUnsafe(1024);
  #at = 0;

  get length(): number {
    return this.#at;
  }

  take(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  uint32(value: number): void {
    this.#reserve(4);
    this.#at = this.#bytes.writeUInt32BE(value, this.#at);
  }

  uint64(value: number): void {
    this.uint32(Math.floor(value / 2 ** 32));
    this.uint32(value % 2 ** 32);
  }

  varint(value: number): void {
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.byte((rest % 128) | 0x80);
    this.byte(rest);
  }

  zigzag(value: number): void {
    this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  text(text: string): void {
    const bytes = Buffer.from(text);
    this.varint(bytes.length);
    this.bytes(bytes);
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** Length, content, check sum. */
  section(body: Uint8Array): void {
    this.uint32(body.length);
    this.bytes(body);
    this.uint32(crc32c(body));
  }

  pad(align: number): void {
    while (this.#at % align !== 0) this.byte(0);
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#at + bytes));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
  }
}

/** By the bytes of UTF-8, as Prometheus sorts; code units order differently beyond the basic plane. */
function compareBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** The order of series in an index. */
export function compareLabels(left: Labels, right: Labels): number {
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const [leftName = "", leftValue = ""] = left[at] ?? [];
    const [rightName = "", rightValue = ""] = right[at] ?? [];
    const order = compareBytes(leftName, rightName) || compareBytes(leftValue, rightValue);
    if (order !== 0) return order;
  }
  return left.length - right.length;
}
