/**
 * Decodes header blocks of HTTP/2, also of connections whose beginning, or some blocks, were not seen.
 *
 * Invariants: `#entries` from `#first` on are the dynamic table's entries whose index is certain, newest last; their
 * sizes sum up to `#bytes`, at most `#bytesMax`. What was added before bytes were missing is not among them: indices
 * count from the newest entry, so those beyond what is certain are unknown, never guessed. Of fields that nobody reads
 * (see `isRead`), a name is kept as empty text and a value is not kept at all.
 *
 * All of it is linear to the block: no field copies what another one holds.
 *
 * @see RFC 7541
 */

import { textOf } from "./bytes.ts";
import { decodeHuffman } from "./hpack-huffman.ts";
import { STATIC_FIELDS } from "./hpack-static.ts";

/** Largest dynamic table that is kept, counted as the RFC does. Of a larger one the oldest entries are unknown. */
export const TABLE_BYTES_MAX = 65_536;
/** Table size before any update. */
export const TABLE_BYTES_DEFAULT = 4096;

const ENTRY_BYTES_EXTRA = 32;
const STATIC_COUNT = STATIC_FIELDS.length;
const INTEGER_MAX = 2 ** 28;
/** Bytes after the prefix of an integer: four hold 28 bits, a fifth is zeros in all that is sensible. */
const INTEGER_BYTES_MAX = 5;

const CUT = -1;
const DAMAGED = -2;

/** Receives fields in order. An `undefined` name or value is one that was never seen. */
export type FieldReader = (name: string | undefined, value: string | undefined) => void;

/** `whole`: all fields were read. `cut`: the block ended inside a field. `damaged`: it is no header block. */
export type BlockOutcome = "whole" | "cut" | "damaged";

interface Entry {
  readonly name: string | undefined;
  readonly value: string | undefined;
  readonly nameBytes: number;
  readonly bytes: number;
}

/** Where Huffman-coded text is decoded; grows with the longest. */
let scratch = new Uint8Array(1024);

/** The header compression of one direction of a connection. Blocks are to be decoded in the order of the wire. */
export class HpackDecoder {
  readonly #isRead: ((name: string) => boolean) | undefined;
  #entries: Entry[] = [];
  #first = 0;
  #bytes = 0;
  #bytesMax: number;
  /** Entries older than those held may exist. */
  #isPartial: boolean;
  #at = 0;
  /** Size of the text read last, decoded, in bytes. */
  #textBytes = 0;

  /**
   * @param joinedLate Earlier blocks were not seen.
   * @param isRead Which fields to report; all unless given.
   */
  constructor(joinedLate: boolean, isRead?: (name: string) => boolean) {
    this.#isRead = isRead;
    this.#isPartial = joinedLate;
    this.#bytesMax = joinedLate ? TABLE_BYTES_MAX : TABLE_BYTES_DEFAULT;
  }

  /** Entries whose index is certain. */
  get entries(): number {
    return this.#entries.length - this.#first;
  }

  /** Bytes were missing that may have held header blocks: the dynamic table is not trusted any more. */
  lose(): void {
    this.#isPartial = true;
    this.#clear();
    // An update may have been among what is missing. A table that is too large only holds what is never asked for.
    this.#bytesMax = TABLE_BYTES_MAX;
  }

  /**
   * Sets the size of the table as a size update in a block does.
   *
   * What SETTINGS allow is not checked: an observer may have missed them, and following a size that is too large does
   * no harm.
   */
  resize(bytesMax: number): void {
    if (bytesMax > TABLE_BYTES_MAX) this.#isPartial = true;
    this.#bytesMax = Math.min(bytesMax, TABLE_BYTES_MAX);
    this.#evict(0);
  }

  /** Reads the block `bytes[start, end)`. After anything but `whole` the dynamic table is lost. */
  decode(bytes: Uint8Array, start: number, end: number, read: FieldReader): BlockOutcome {
    this.#at = start;
    while (this.#at < end) {
      const failure = this.#field(bytes, end, read);
      if (failure === 0) continue;
      this.lose();
      return failure === CUT ? "cut" : "damaged";
    }
    return "whole";
  }

  /** @returns 0, `CUT` or `DAMAGED`. */
  #field(bytes: Uint8Array, end: number, read: FieldReader): number {
    const first = bytes[this.#at] as number;
    if (first >= 0x80) return this.#indexed(bytes, end, read);
    if (first >= 0x40) return this.#literal(bytes, end, 0x3f, read);
    if (first < 0x20) return this.#literal(bytes, end, 0x0f, read);
    const size = this.#integer(bytes, end, 0x1f);
    if (size < 0) return size;
    this.resize(size);
    return 0;
  }

  #indexed(bytes: Uint8Array, end: number, read: FieldReader): number {
    const index = this.#integer(bytes, end, 0x7f);
    if (index < 0) return index;
    if (index === 0) return DAMAGED;
    if (index <= STATIC_COUNT) {
      const field = STATIC_FIELDS[index - 1] as readonly [string, string];
      if (this.#isRead === undefined || this.#isRead(field[0])) read(field[0], field[1]);
      return 0;
    }
    const entry = this.#entryAt(index);
    if (entry === undefined) {
      if (!this.#isPartial) return DAMAGED;
      read(undefined, undefined);
    } else if (entry.name !== "" || this.#isRead === undefined) read(entry.name, entry.value);
    return 0;
  }

  #literal(bytes: Uint8Array, end: number, prefix: number, read: FieldReader): number {
    const index = this.#integer(bytes, end, prefix);
    if (index < 0) return index;
    let name: string | undefined;
    let nameBytes = 0;
    if (index === 0) {
      const sent = this.#text(bytes, end, true);
      if (typeof sent === "number") return sent;
      nameBytes = this.#textBytes;
      name = this.#isRead === undefined || this.#isRead(sent) ? sent : "";
    } else if (index <= STATIC_COUNT) {
      const [known] = STATIC_FIELDS[index - 1] as readonly [string, string];
      nameBytes = known.length;
      name = this.#isRead === undefined || this.#isRead(known) ? known : "";
    } else {
      const entry = this.#entryAt(index);
      if (entry === undefined && !this.#isPartial) return DAMAGED;
      name = entry?.name;
      nameBytes = entry === undefined ? 0 : entry.nameBytes;
    }
    // A value whose name is unknown may be anything, a password too: it is not looked at.
    const isWanted = name !== undefined && (this.#isRead === undefined || name !== "");
    const text = this.#text(bytes, end, isWanted);
    if (typeof text === "number") return text;
    const value = name === undefined ? undefined : text;
    if (isWanted || name === undefined) read(name, value);
    if (prefix === 0x3f) {
      this.#add({ name, value, nameBytes, bytes: nameBytes + this.#textBytes + ENTRY_BYTES_EXTRA });
    }
    return 0;
  }

  /** Text, or empty text where it is not wanted; a number where it cannot be read. */
  #text(bytes: Uint8Array, end: number, isWanted: boolean): string | number {
    if (this.#at >= end) return CUT;
    const isHuffman = (bytes[this.#at] as number) >= 0x80;
    const length = this.#integer(bytes, end, 0x7f);
    if (length < 0) return length;
    const start = this.#at;
    if (length > end - start) return CUT;
    this.#at = start + length;
    if (!isHuffman) {
      this.#textBytes = length;
      return isWanted ? textOf(bytes, start, this.#at) : "";
    }
    if (scratch.length < length * 2) scratch = new Uint8Array(length * 2);
    const decoded = decodeHuffman(bytes, start, this.#at, scratch);
    if (decoded < 0) return DAMAGED;
    this.#textBytes = decoded;
    return isWanted ? textOf(scratch, 0, decoded) : "";
  }

  /** @returns The integer at `#at`, or `CUT` or `DAMAGED`. */
  #integer(bytes: Uint8Array, end: number, prefix: number): number {
    let value = (bytes[this.#at++] as number) & prefix;
    if (value < prefix) return value;
    let scale = 1;
    for (let count = 0; count < INTEGER_BYTES_MAX; count++) {
      if (this.#at >= end) return CUT;
      const byte = bytes[this.#at++] as number;
      value += (byte & 0x7f) * scale;
      if (value > INTEGER_MAX) return DAMAGED;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
    return DAMAGED;
  }

  #entryAt(index: number): Entry | undefined {
    const at = this.#entries.length - (index - STATIC_COUNT);
    return at < this.#first ? undefined : this.#entries[at];
  }

  #add(entry: Entry): void {
    this.#evict(entry.bytes);
    if (entry.bytes > this.#bytesMax) return;
    this.#entries.push(entry);
    this.#bytes += entry.bytes;
  }

  /** Makes room for `bytes` more. */
  #evict(bytes: number): void {
    while (this.#bytes + bytes > this.#bytesMax && this.#first < this.#entries.length) {
      this.#bytes -= (this.#entries[this.#first] as Entry).bytes;
      this.#first++;
    }
    if (this.#first === this.#entries.length) this.#clear();
    else if (this.#first >= 64 && this.#first * 2 >= this.#entries.length) {
      this.#entries.splice(0, this.#first);
      this.#first = 0;
    }
  }

  #clear(): void {
    this.#entries = [];
    this.#first = 0;
    this.#bytes = 0;
  }
}
