/**
 * Small numbers for short runs of bytes that come again and again, such as attribute keys and span names.
 *
 * Invariants: equal bytes have one number until `clear`; a lookup takes a bounded number of steps whatever the bytes
 * are, since a crowded place hands over to a map whose hash no sender can know.
 */

import { grownTo } from "./growing-bytes.ts";

const SLOTS_AT_FIRST = 1024;
const PROBES_MAX = 16;
const HEAP_BYTES_AT_FIRST = 16 * 1024;

/** Numbers count from 0 in the order of first sight. */
export class ByteNumbers {
  /** Number plus one; 0 is free. A power of two. */
  #slots = new Int32Array(SLOTS_AT_FIRST);
  #hashes = new Int32Array(SLOTS_AT_FIRST / 2);
  #starts = new Uint32Array(SLOTS_AT_FIRST / 2);
  #lengths = new Uint32Array(SLOTS_AT_FIRST / 2);
  #heap = Buffer.alloc(HEAP_BYTES_AT_FIRST);
  #heapView = viewOf(this.#heap);
  #heapUsed = 0;
  #crowded = new Map<string, number>();
  #count = 0;

  /** How many runs are known. */
  get count(): number {
    return this.#count;
  }

  /** Bytes held for them. */
  get heapBytes(): number {
    return this.#heapUsed;
  }

  /** Forgets all; numbers start over. */
  clear(): void {
    this.#slots.fill(0);
    this.#crowded.clear();
    this.#count = 0;
    this.#heapUsed = 0;
  }

  /** Whether number `id` stands for exactly these bytes; four are looked at at a time. */
  isAt(id: number, view: DataView, start: number, end: number): boolean {
    const length = end - start;
    if (id >= this.#count || this.#lengths[id] !== length) return false;
    const known = this.#starts[id] ?? 0;
    const heap = this.#heapView;
    let at = 0;
    for (; at + 4 <= length; at += 4) if (view.getInt32(start + at) !== heap.getInt32(known + at)) return false;
    for (; at < length; at++) if (view.getInt8(start + at) !== heap.getInt8(known + at)) return false;
    return true;
  }

  /** The bytes of a number as a string. */
  read(id: number): string {
    const start = this.#starts[id] ?? 0;
    return this.#heap.toString("utf8", start, start + (this.#lengths[id] ?? 0));
  }

  /** The number of these bytes, which `view` is of too; they are copied where they are met first. */
  find(bytes: Uint8Array, view: DataView, start: number, end: number): number {
    let hash = end - start;
    let at = start;
    for (; at + 4 <= end; at += 4) {
      hash = Math.imul(hash ^ view.getInt32(at, true), 0x9e37_79b1);
      hash ^= hash >>> 15;
    }
    for (; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x0100_0193); // in range
    // Names that differ in their last characters alone, as numbered ones do, differ in the upper bits so far.
    hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
    hash ^= hash >>> 13;
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (let probes = 0; probes < PROBES_MAX; probes++) {
      const id = (this.#slots[slot] as number) - 1; // in range: masked
      if (id < 0) return this.#add(bytes, start, end, hash, slot);
      if (this.#hashes[id] === hash && this.isAt(id, view, start, end)) return id;
      slot = (slot + 1) & mask;
    }
    const key = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
    const known = this.#crowded.get(key);
    if (known !== undefined) return known;
    const id = this.#keep(bytes, start, end, hash);
    this.#crowded.set(key, id);
    return id;
  }

  #add(bytes: Uint8Array, start: number, end: number, hash: number, slot: number): number {
    const id = this.#keep(bytes, start, end, hash);
    if (2 * this.#count > this.#slots.length) this.#grow();
    else this.#slots[slot] = id + 1;
    return id;
  }

  #keep(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const length = end - start;
    if (this.#count === this.#hashes.length) {
      this.#hashes = grownTo(this.#hashes, new Int32Array(this.#count * 2));
      this.#starts = grownTo(this.#starts, new Uint32Array(this.#count * 2));
      this.#lengths = grownTo(this.#lengths, new Uint32Array(this.#count * 2));
    }
    if (this.#heapUsed + length > this.#heap.length) {
      this.#heap = grownTo(this.#heap, Buffer.alloc(Math.max(this.#heap.length * 2, this.#heapUsed + length)));
      this.#heapView = viewOf(this.#heap);
    }
    this.#heap.set(bytes.subarray(start, end), this.#heapUsed);
    const id = this.#count++;
    this.#hashes[id] = hash;
    this.#starts[id] = this.#heapUsed;
    this.#lengths[id] = length;
    this.#heapUsed += length;
    return id;
  }

  /** Places every number again in twice as many slots; one that finds no place near its own goes to the map. */
  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let id = 0; id < this.#count; id++) {
      let slot = (this.#hashes[id] ?? 0) & mask;
      let probes = 0;
      while (slots[slot] !== 0 && probes < PROBES_MAX) {
        slot = (slot + 1) & mask;
        probes++;
      }
      if (probes < PROBES_MAX) slots[slot] = id + 1;
      else {
        const start = this.#starts[id] ?? 0;
        this.#crowded.set(this.#heap.toString("latin1", start, start + (this.#lengths[id] ?? 0)), id);
      }
    }
    this.#slots = slots;
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
