/** References of a message of remote write 2.0 to the symbols of its request: a name and a value for each label. */

import { isAscii } from "node:buffer";
import { type ProtobufCursor, readLength, readVarint32 } from "./protobuf-reader.ts";
import { LABELS_MAX } from "./series-labels.ts";

/** References of a series that are kept; one that has more has too many labels. */
export const SYMBOL_REFS_MAX = 2 * LABELS_MAX + 2;
/** The same for the loops below: V8 reads what is exported from memory each time. */
const REFS_MAX = SYMBOL_REFS_MAX;
const VARINT_BYTES_MAX = 10;
/** References that a message about them shows. */
const REFS_SHOWN_MAX = 64;

/** References of one message. Beyond `REFS_MAX` they are counted only. */
export class SymbolRefs {
  readonly #kept = new Uint32Array(REFS_MAX);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get keptCount(): number {
    return Math.min(this.#count, REFS_MAX);
  }

  at(index: number): number {
    return this.#kept[index] ?? 0;
  }

  clear(): void {
    this.#count = 0;
  }

  push(ref: number): void {
    if (this.#count < REFS_MAX) this.#kept[this.#count] = ref;
    this.#count++;
  }

  readPacked(cursor: ProtobufCursor): void {
    const end = readLength(cursor);
    const outer = cursor.end;
    cursor.end = end;
    while (cursor.at < end && this.#count < REFS_MAX) this.push(readVarint32(cursor));
    if (cursor.at < end) this.#countRest(cursor);
    cursor.end = outer;
  }

  /** Counts what is too much to be kept. */
  #countRest(cursor: ProtobufCursor): void {
    const { bytes, end } = cursor;
    let from = cursor.at;
    // Numbers of a byte each, of which the system tells quickly that there is nothing else.
    if (isAscii(bytes.subarray(from, end))) {
      this.#count += end - from;
      cursor.at = end;
      return;
    }
    let count = 0;
    for (let at = from; at < end; at++) {
      const byte = bytes[at] as number; // in range: the loop's bounds
      if (byte < 0x80) {
        count++;
        from = at + 1;
      } else if (at - from >= VARINT_BYTES_MAX - 1) break;
    }
    this.#count += count;
    // What is no number, or is cut short, is left to who says so.
    cursor.at = from;
    while (cursor.at < end) this.push(readVarint32(cursor));
  }

  /** What is wrong with references to labels, in Prometheus' words; empty where nothing is. @param symbols Size of the table. */
  fault(symbols: number): string {
    if (this.count % 2 !== 0) return `invalid labelRefs length ${this.count}`;
    for (let at = 0; at < this.keptCount; at += 2) {
      const name = this.at(at);
      const value = this.at(at + 1);
      if (name >= symbols || value >= symbols) {
        return `labelRefs ${name} (name) = ${value} (value) outside of symbols table (size ${symbols})`;
      }
    }
    return "";
  }

  /** As Go prints a list. */
  shown(): string {
    const shown = Array.from(this.#kept.subarray(0, Math.min(this.#count, REFS_SHOWN_MAX)));
    return `[${shown.join(" ")}${this.#count > REFS_SHOWN_MAX ? " ..." : ""}]`;
  }
}
