/**
 * Knows the spans that arrived lately, so that what a sender sends again is stored once.
 *
 * A span is the same one again where trace id, span id, kind, start and end agree: two sides of a call may share an id, as
 * Zipkin's do. Spans are known by 64 bits of a hash.
 *
 * Invariants: a span is known from the moment it was taken until two generations of `GENERATION_SPANS_MAX` spans came
 * after it, or until its commit failed; nothing is called a duplicate of a span whose commit is not decided.
 */

import type { SpanBatch } from "../model/span-batch.ts";

/** Spans of a generation; there are two, of 12 bytes for each of twice as many slots. */
const GENERATION_SPANS_MAX = 1 << 19;
const SLOTS_AT_FIRST = 1 << 12;
/** Slots looked at; spans made to collide beyond it are taken for new ones. */
const PROBES_MAX = 64;

/** What makes a span the same one again, in columns as in `SpanBatch`. */
export type SpanIdentities = Pick<SpanBatch, "rows" | "traceId" | "spanId" | "kind" | "startNs" | "endNs">;

/** Rows that are taken: `settle` says whether they were stored. */
export interface Claim {
  readonly kind: "claimed";
  /** Rows that were not known, in order. */
  readonly fresh: Uint32Array;
  settle(stored: boolean): void;
}

/** Rows repeat spans whose commit is under way: claim again once it is decided. */
export interface Undecided {
  readonly kind: "undecided";
  readonly decided: Promise<unknown>;
}

interface Generation {
  slots: number;
  count: number;
  /** Three words a slot: both halves of the hash, and the claim it came with; a claim of 0 is a free slot. */
  words: Uint32Array;
}

/** Hashes of the row at hand. */
const hash = new Uint32Array(2);

/** Spans of a program. */
export class SeenSpans {
  readonly #generationMax: number;
  #young = emptyGeneration(SLOTS_AT_FIRST);
  #old = emptyGeneration(SLOTS_AT_FIRST);
  #nextClaim = 1;
  readonly #undecided = new Map<number, Promise<unknown>>();
  /** Claims whose rows were not stored; forgotten with the generations that may hold them. */
  #failed = new Set<number>();
  #failedOld = new Set<number>();

  /** @param generationMax Small in tests. */
  constructor(generationMax = GENERATION_SPANS_MAX) {
    this.#generationMax = generationMax;
  }

  /** Remembers spans that are stored, such as those from before the start. */
  remember(spans: SpanIdentities): void {
    const claim = this.claim(spans);
    if (claim.kind === "claimed") claim.settle(true);
  }

  /** Takes the rows of a batch that are not known. */
  claim(spans: SpanIdentities): Claim | Undecided {
    const waits = this.#undecidedOf(spans);
    if (waits.length > 0) return { kind: "undecided", decided: Promise.all(waits) };
    const id = this.#nextClaim;
    this.#nextClaim = id === 0xffff_ffff ? 1 : id + 1;
    const fresh = new Uint32Array(spans.rows);
    let count = 0;
    const words = wordsOf(spans);
    for (let row = 0; row < spans.rows; row++) {
      hashRow(words, spans.kind[row] ?? 0, row);
      if (this.#claimOf() !== 0) continue;
      this.#insert(id);
      fresh[count++] = row;
    }
    let decide: (() => void) | undefined;
    const decided = new Promise<void>((resolve) => {
      decide = resolve;
    });
    this.#undecided.set(id, decided);
    return {
      kind: "claimed",
      fresh: fresh.subarray(0, count),
      settle: (stored) => {
        if (!stored) this.#failed.add(id);
        this.#undecided.delete(id);
        decide?.();
      },
    };
  }

  #undecidedOf(spans: SpanIdentities): Promise<unknown>[] {
    if (this.#undecided.size === 0) return [];
    const waits = new Set<Promise<unknown>>();
    const words = wordsOf(spans);
    for (let row = 0; row < spans.rows; row++) {
      hashRow(words, spans.kind[row] ?? 0, row);
      const wait = this.#undecided.get(this.#claimOf());
      if (wait !== undefined) waits.add(wait);
    }
    return [...waits];
  }

  /** The claim that took the span of `hash`; 0 where there is none. */
  #claimOf(): number {
    return this.#find(this.#young) || this.#find(this.#old);
  }

  #find(generation: Generation): number {
    const { words, slots } = generation;
    const [low = 0, high = 0] = hash;
    let slot = low & (slots - 1);
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const claim = words[3 * slot + 2] ?? 0;
      if (claim === 0) return 0;
      if (words[3 * slot] === low && words[3 * slot + 1] === high && !this.#isFailed(claim)) return claim;
      slot = (slot + 1) & (slots - 1);
    }
    return 0;
  }

  #isFailed(claim: number): boolean {
    return (
      (this.#failed.size > 0 && this.#failed.has(claim)) || (this.#failedOld.size > 0 && this.#failedOld.has(claim))
    );
  }

  #insert(claim: number): void {
    if (this.#young.count >= this.#generationMax) {
      this.#old = this.#young;
      this.#young = emptyGeneration(SLOTS_AT_FIRST);
      this.#failedOld = this.#failed;
      this.#failed = new Set();
    } else if (2 * this.#young.count >= this.#young.slots) {
      this.#young = grown(this.#young);
    }
    place(this.#young, hash[0] ?? 0, hash[1] ?? 0, claim);
  }
}

function emptyGeneration(slots: number): Generation {
  return { slots, count: 0, words: new Uint32Array(3 * slots) };
}

function grown({ words, slots }: Generation): Generation {
  const larger = emptyGeneration(2 * slots);
  for (let at = 0; at < words.length; at += 3) {
    const claim = words[at + 2] ?? 0;
    if (claim !== 0) place(larger, words[at] ?? 0, words[at + 1] ?? 0, claim);
  }
  return larger;
}

function place(generation: Generation, low: number, high: number, claim: number): void {
  const { words, slots } = generation;
  let slot = low & (slots - 1);
  for (let probe = 0; probe < PROBES_MAX; probe++) {
    if (words[3 * slot + 2] === 0) {
      words[3 * slot] = low;
      words[3 * slot + 1] = high;
      words[3 * slot + 2] = claim;
      generation.count++;
      return;
    }
    slot = (slot + 1) & (slots - 1);
  }
}

interface IdentityWords {
  readonly traceId: Uint32Array;
  readonly spanId: Uint32Array;
  readonly startNs: Uint32Array;
  readonly endNs: Uint32Array;
}

function wordsOf({ traceId, spanId, startNs, endNs }: SpanIdentities): IdentityWords {
  return { traceId: halves(traceId), spanId: halves(spanId), startNs: halves(startNs), endNs: halves(endNs) };
}

function halves(column: BigUint64Array | BigInt64Array): Uint32Array {
  return new Uint32Array(column.buffer, column.byteOffset, 2 * column.length);
}

/** Two hashes that mix the same words with other factors. */
function hashRow({ traceId, spanId, startNs, endNs }: IdentityWords, kind: number, row: number): void {
  let low = 0x9e37_79b1 ^ kind;
  let high = 0x85eb_ca6b ^ kind;
  const mix = (word: number) => {
    low = Math.imul(low ^ word, 0xcc9e_2d51);
    low ^= low >>> 15;
    high = Math.imul(high ^ word, 0x1b87_3593);
    high ^= high >>> 13;
  };
  for (let at = 4 * row; at < 4 * row + 4; at++) mix(traceId[at] ?? 0);
  for (let at = 2 * row; at < 2 * row + 2; at++) {
    mix(spanId[at] ?? 0);
    mix(startNs[at] ?? 0);
    mix(endNs[at] ?? 0);
  }
  hash[0] = low;
  hash[1] = high;
}
