/**
 * Knows the spans that arrived lately, so that what a sender sends again is stored once.
 *
 * A span is the same one again where trace id, span id, kind, start and end agree: two sides of a call may share an id, as
 * Zipkin's do. The id of a span that an agent captured is computed from what it saw: there id and kind are enough, so that
 * what two agents saw is kept once, and what was joined to a trace of another host is known again. Spans are known by 64
 * bits of a hash.
 *
 * Invariants: a span is known from the moment it was taken until two generations of `GENERATION_SPANS_MAX` spans came
 * after it, or until its commit failed; nothing is called a duplicate of a span whose commit is not decided.
 */

import { isKernelSource } from "../derive/batch-rows.ts";
import { SPAN_SOURCES, type SpanBatch } from "../model/span-batch.ts";

/** Spans of a generation; there are two, of 12 bytes for each of twice as many slots. */
const GENERATION_SPANS_MAX = 1 << 19;
const SLOTS_AT_FIRST = 1 << 12;
const ROWS_AT_FIRST = 1 << 10;
/** Slots looked at; spans made to collide beyond it are taken for new ones. */
const PROBES_MAX = 64;
/** Trace id, span id, start and end in words of 32 bits. */
const IDENTITY_WORDS = 10;
/** Words of the span id among them. */
const ID_FROM = 4;
const ID_TO = 6;
const REPLAY = SPAN_SOURCES.indexOf("replay");

/** What makes a span the same one again, in columns as in `SpanBatch`. */
export type SpanIdentities = Pick<SpanBatch, "rows" | "traceId" | "spanId" | "kind" | "startNs" | "endNs" | "source">;

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

/** Both halves of the hash of each row at hand, and the claim that it came with before; 0 where it did not. */
interface HashedRows {
  readonly low: Uint32Array;
  readonly high: Uint32Array;
  readonly claims: Uint32Array;
}

/** Spans of a program. */
export class SeenSpans {
  readonly #generationMax: number;
  #young = emptyGeneration(SLOTS_AT_FIRST);
  #old = emptyGeneration(SLOTS_AT_FIRST);
  #hashed = emptyRows(ROWS_AT_FIRST);
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
    const { rows } = spans;
    if (rows > this.#hashed.low.length) this.#hashed = emptyRows(rows);
    hashRows(spans, this.#hashed);
    const waits = this.#lookUp(rows);
    if (waits !== undefined) return { kind: "undecided", decided: Promise.all(waits) };
    const id = this.#nextClaim;
    this.#nextClaim = id === 0xffff_ffff ? 1 : id + 1;
    const fresh = new Uint32Array(rows);
    let count = 0;
    for (let row = 0; row < rows; row++) {
      if (this.#hashed.claims[row] === 0 && this.#insert(row, id)) fresh[count++] = row;
    }
    let decide: (() => void) | undefined;
    const decided = new Promise<void>((resolve) => {
      decide = resolve;
    });
    this.#undecided.set(id, decided);
    return {
      kind: "claimed",
      fresh: count === rows ? fresh : fresh.slice(0, count),
      settle: (stored) => {
        if (!stored) this.#failed.add(id);
        this.#undecided.delete(id);
        decide?.();
      },
    };
  }

  /** Finds the claims of all rows. @returns What must be decided first, where some are undecided. */
  #lookUp(rows: number): Set<Promise<unknown>> | undefined {
    const { claims } = this.#hashed;
    let waits: Set<Promise<unknown>> | undefined;
    for (let row = 0; row < rows; row++) {
      const claim = this.#find(this.#young, row) || this.#find(this.#old, row);
      claims[row] = claim;
      const wait = claim === 0 ? undefined : this.#undecided.get(claim);
      if (wait === undefined) continue;
      waits ??= new Set();
      waits.add(wait);
    }
    return waits;
  }

  #find({ words, slots }: Generation, row: number): number {
    const low = this.#hashed.low[row] ?? 0;
    const high = this.#hashed.high[row] ?? 0;
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

  /** Remembers a row of `claim`. @returns Whether no row of that claim was the same. */
  #insert(row: number, claim: number): boolean {
    const young = this.#young;
    if (young.count >= this.#generationMax) {
      this.#young = emptied(this.#old, young.slots);
      this.#old = young;
      this.#failedOld = this.#failed;
      this.#failed = new Set();
    } else if (2 * young.count >= young.slots) {
      this.#young = grown(young);
    }
    return place(this.#young, this.#hashed.low[row] ?? 0, this.#hashed.high[row] ?? 0, claim);
  }
}

function emptyRows(rows: number): HashedRows {
  return { low: new Uint32Array(rows), high: new Uint32Array(rows), claims: new Uint32Array(rows) };
}

/** A generation for as many spans as the one before had, in the memory of one that is forgotten where that fits. */
function emptied({ words }: Generation, slots: number): Generation {
  return words.length === 3 * slots ? { slots, count: 0, words: words.fill(0) } : emptyGeneration(slots);
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

/** Puts a span into the first free slot. @returns False where one of the same claim is there already. */
function place(generation: Generation, low: number, high: number, claim: number): boolean {
  const { words, slots } = generation;
  let slot = low & (slots - 1);
  for (let probe = 0; probe < PROBES_MAX; probe++) {
    const there = words[3 * slot + 2];
    if (there === claim && words[3 * slot] === low && words[3 * slot + 1] === high) return false;
    if (there === 0) {
      words[3 * slot] = low;
      words[3 * slot + 1] = high;
      words[3 * slot + 2] = claim;
      generation.count++;
      return true;
    }
    slot = (slot + 1) & (slots - 1);
  }
  return true;
}

/** Two hashes that mix the same words with other factors. */
function hashRows({ rows, traceId, spanId, kind, startNs, endNs, source }: SpanIdentities, hashed: HashedRows): void {
  const trace = halves(traceId);
  const span = halves(spanId);
  const start = halves(startNs);
  const end = halves(endNs);
  for (let row = 0; row < rows; row++) {
    const kindOfRow = kind[row] ?? 0;
    let low = 0x9e37_79b1 ^ kindOfRow;
    let high = 0x85eb_ca6b ^ kindOfRow;
    const isAgents = isKernelSource(source[row] ?? REPLAY) && source[row] !== REPLAY;
    const last = isAgents ? ID_TO : IDENTITY_WORDS;
    for (let part = isAgents ? ID_FROM : 0; part < last; part++) {
      const pair = 2 * row + (part & 1);
      const word = (part < 4 ? trace[4 * row + part] : part < 6 ? span[pair] : part < 8 ? start[pair] : end[pair]) ?? 0;
      low = Math.imul(low ^ word, 0xcc9e_2d51);
      low ^= low >>> 15;
      high = Math.imul(high ^ word, 0x1b87_3593);
      high ^= high >>> 13;
    }
    hashed.low[row] = low;
    hashed.high[row] = high;
  }
}

function halves(column: BigUint64Array | BigInt64Array): Uint32Array {
  return new Uint32Array(column.buffer, column.byteOffset, 2 * column.length);
}
