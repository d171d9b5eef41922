/**
 * Which commits hold spans of a trace, for the newest commits: a hash table in memory.
 *
 * It answers with the commits of all traces of one hash, so it may name a commit too many and never one too few.
 */

const SLOTS_AT_FIRST = 1 << 12;
const ENTRIES_AT_FIRST = 1 << 12;
/** A trace of one commit is one entry of 12 bytes; beyond so many the newest commits are searched by reading. */
const ENTRIES_MAX = 1 << 20;

/** Commits are added once each, new ones in order. */
export class RecentTraces {
  /** Index of the first entry plus one, by hash; 0 is none. */
  #slots = new Uint32Array(SLOTS_AT_FIRST);
  #hashes = new Uint32Array(ENTRIES_AT_FIRST);
  #sequences = new Float64Array(ENTRIES_AT_FIRST);
  /** Index of the next entry of the same slot plus one. */
  #next = new Uint32Array(ENTRIES_AT_FIRST);
  #count = 0;
  #last = 0;
  /** From this commit on none is held. */
  #missingFrom = Number.POSITIVE_INFINITY;

  /** Entries held: one for each commit of each trace. */
  get size(): number {
    return this.#count;
  }

  /** The first commit that was left out for lack of room; infinite where none was. */
  get missingFrom(): number {
    return this.#missingFrom;
  }

  /** Takes in a commit: two entries a row, high and low half of its trace id. */
  add(sequence: number, traceIds: BigUint64Array): void {
    this.#last = Math.max(this.#last, sequence);
    if (sequence >= this.#missingFrom) return;
    const words = new Uint32Array(traceIds.buffer, traceIds.byteOffset, traceIds.length * 2);
    let last = 0;
    for (let at = 0; at < words.length; at += 4) {
      const hash = mixed(words, at);
      // Spans of a trace mostly stand together.
      if (at > 0 && hash === last) continue;
      last = hash;
      if (this.#isNewest(hash, sequence)) continue;
      if (this.#count >= ENTRIES_MAX) {
        this.#missingFrom = sequence;
        return;
      }
      this.#push(hash, sequence);
    }
  }

  /** Commits that may hold the trace, newest first; `missingFrom` and later ones must be searched too. */
  find(high: bigint, low: bigint): { readonly sequences: readonly number[]; readonly missingFrom: number } {
    const words = new Uint32Array(BigUint64Array.of(high, low).buffer);
    const hash = mixed(words, 0);
    const sequences: number[] = [];
    for (
      let entry = this.#slots[hash & (this.#slots.length - 1)] ?? 0;
      entry !== 0;
      entry = this.#next[entry - 1] ?? 0
    ) {
      if (this.#hashes[entry - 1] === hash) sequences.push(this.#sequences[entry - 1] ?? 0);
    }
    return { sequences, missingFrom: this.#missingFrom };
  }

  /** Forgets commits up to `sequence`. Those left out for lack of room stay so. */
  forget(sequence: number): void {
    const kept = this.#count;
    const hashes = this.#hashes;
    const sequences = this.#sequences;
    this.#slots = new Uint32Array(SLOTS_AT_FIRST);
    this.#hashes = new Uint32Array(ENTRIES_AT_FIRST);
    this.#sequences = new Float64Array(ENTRIES_AT_FIRST);
    this.#next = new Uint32Array(ENTRIES_AT_FIRST);
    this.#count = 0;
    for (let entry = 0; entry < kept; entry++) {
      const own = sequences[entry] ?? 0;
      if (own > sequence) this.#push(hashes[entry] ?? 0, own);
    }
    if (this.#missingFrom <= sequence) this.#missingFrom = sequence + 1;
    if (this.#missingFrom > this.#last) this.#missingFrom = Number.POSITIVE_INFINITY;
  }

  #isNewest(hash: number, sequence: number): boolean {
    for (
      let entry = this.#slots[hash & (this.#slots.length - 1)] ?? 0;
      entry !== 0;
      entry = this.#next[entry - 1] ?? 0
    ) {
      if (this.#sequences[entry - 1] !== sequence) return false;
      if (this.#hashes[entry - 1] === hash) return true;
    }
    return false;
  }

  #push(hash: number, sequence: number): void {
    if (this.#count === this.#hashes.length) this.#grow();
    const slot = hash & (this.#slots.length - 1);
    this.#hashes[this.#count] = hash;
    this.#sequences[this.#count] = sequence;
    this.#next[this.#count] = this.#slots[slot] ?? 0;
    this.#count++;
    this.#slots[slot] = this.#count;
  }

  #grow(): void {
    const length = 2 * this.#hashes.length;
    const hashes = new Uint32Array(length);
    const sequences = new Float64Array(length);
    hashes.set(this.#hashes);
    sequences.set(this.#sequences);
    this.#hashes = hashes;
    this.#sequences = sequences;
    this.#next = new Uint32Array(length);
    this.#slots = new Uint32Array(length);
    for (let entry = 0; entry < this.#count; entry++) {
      const slot = (hashes[entry] ?? 0) & (length - 1);
      this.#next[entry] = this.#slots[slot] ?? 0;
      this.#slots[slot] = entry + 1;
    }
  }
}

/** Trace ids are random in part only: some senders count in one half. */
function mixed(words: Uint32Array, at: number): number {
  let hash = Math.imul((words[at] ?? 0) ^ 0x9e37_79b1, 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 15) ^ (words[at + 1] ?? 0), 0xc2b2_ae35);
  hash = Math.imul(hash ^ (hash >>> 13) ^ (words[at + 2] ?? 0), 0x27d4_eb2f);
  hash = Math.imul(hash ^ (hash >>> 16) ^ (words[at + 3] ?? 0), 0x1656_67b1);
  return (hash ^ (hash >>> 15)) >>> 0;
}
