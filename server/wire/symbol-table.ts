/**
 * The strings of one remote write 2.0 request, and those of requests before it.
 *
 * A request refers to strings by their place in it. Here they get numbers that stay the same from request to request.
 */

import { isUtf8 } from "node:buffer";
import { ByteInterner, type ByteSource, type InternerLimits } from "./byte-interner.ts";
import { type ProtobufCursor, readLength } from "./protobuf-reader.ts";

const PLACES_AT_FIRST = 1_024;
/** Larger tables of places are not kept for the next request. */
const PLACES_KEPT_MAX = 65_536;

/** Longer strings have no number: looking for one goes through all of it. */
const KNOWN_BYTES_MAX = 65_536;

/** A string, and whether its bytes were valid UTF-8; where not, they are repaired. */
export interface SymbolText {
  readonly text: string;
  readonly isUtf8: boolean;
}

/** Strings by their place in the request (`ref`), with numbers that outlive it (`id`). */
export class SymbolTable {
  readonly #interner: ByteInterner;
  /** By id; decoded when first asked for. */
  readonly #known: (SymbolText | undefined)[] = [];
  #starts = new Uint32Array(PLACES_AT_FIRST);
  #ends = new Uint32Array(PLACES_AT_FIRST);
  #ids = new Int32Array(PLACES_AT_FIRST);
  #count = 0;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(limits: InternerLimits) {
    this.#interner = new ByteInterner(limits);
  }

  /** Strings of the request. */
  get count(): number {
    return this.#count;
  }

  /** Whether a request of so many bytes may find no numbers for its strings. */
  isFull(bytes: number): boolean {
    return this.#interner.isFull(bytes);
  }

  /** Forgets all numbers. */
  clear(): void {
    this.#interner.clear();
    this.#known.length = 0;
  }

  /** Starts a request over the bytes of `cursor`. */
  begin(cursor: ProtobufCursor): void {
    this.#count = 0;
    this.#buffer = cursor.buffer;
  }

  /** Ends it: the bytes are not referred to any more. */
  end(): void {
    this.#count = 0;
    this.#buffer = Buffer.alloc(0);
    if (this.#ids.length > PLACES_KEPT_MAX) this.#resize(PLACES_AT_FIRST);
  }

  /** Numbers of the request's strings by their place; longer than `count`. Valid until the next string is read. */
  get ids(): Int32Array {
    return this.#ids;
  }

  /** Reads the next string at the cursor. */
  read(cursor: ProtobufCursor): void {
    const end = readLength(cursor);
    this.add(cursor, cursor.at, end);
    cursor.at = end;
  }

  /** Adds the string `[start, end)` of the request. */
  add(cursor: ByteSource, start: number, end: number): void {
    if (this.#count === this.#ids.length) this.#resize(2 * this.#count);
    const ref = this.#count++;
    this.#starts[ref] = start;
    this.#ends[ref] = end;
    if (end - start > KNOWN_BYTES_MAX) {
      this.#ids[ref] = -1;
      return;
    }
    const known = this.#interner.find(cursor, start, end);
    this.#ids[ref] = known >= 0 ? known : this.#interner.add(cursor, start, end);
  }

  /** The number of a string, the same for equal strings; -1 where there was no room for it, or it is too long. */
  id(ref: number): number {
    return this.#ids[ref] ?? -1;
  }

  /** The string at `ref`, which must be below `count`. */
  symbol(ref: number): SymbolText {
    const id = this.id(ref);
    const known = id < 0 ? undefined : this.#known[id];
    if (known !== undefined) return known;
    const bytes = this.#buffer.subarray(this.#starts[ref], this.#ends[ref]);
    const made: SymbolText = { text: bytes.toString("utf8"), isUtf8: isUtf8(bytes) };
    if (id >= 0) this.#known[id] = made;
    return made;
  }

  #resize(places: number): void {
    const grown = (from: Uint32Array): Uint32Array<ArrayBuffer> => {
      const to = new Uint32Array(places);
      to.set(from.subarray(0, Math.min(this.#count, places)));
      return to;
    };
    this.#starts = grown(this.#starts);
    this.#ends = grown(this.#ends);
    const ids = new Int32Array(places);
    ids.set(this.#ids.subarray(0, Math.min(this.#count, places)));
    this.#ids = ids;
  }
}
