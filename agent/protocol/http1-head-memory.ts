/**
 * Heads read lately, by the sequence number of their first byte: the two ends of a connection on one host show each
 * head twice, and the second time its bytes need only be compared.
 *
 * Invariants: what is kept was read from exactly these bytes, wholly, by the strict rules, so that reading it again
 * would give the same. Where hardly any head is met again (packets, servers of clients elsewhere), few are kept. Heads hold
 * secrets, so nothing is kept for longer than from one `forgetHeads` to the next.
 */

import type { Head } from "./http1-head.ts";

/** Heads kept, a power of two: those of some milliseconds at 20,000 requests a second. */
const HEADS_MAX = 512;
const HEADS_BITS = 9;
/** Longest head kept: with `HEADS_MAX` half a mebibyte. */
const REMEMBERED_BYTES_MAX = 1024;
/** After so many heads it is looked whether keeping them was worth it, … */
const TRIAL_HEADS = 1024;
/** … which it was where so many were met again; … */
const TRIAL_HITS_MIN = 128;
/** … else so many pass before the next trial. */
const PAUSE_HEADS = 16_384;

const bytesKept = new Uint8Array(HEADS_MAX * REMEMBERED_BYTES_MAX);
const seqs = new Uint32Array(HEADS_MAX);
/** Bytes of the head in each place; 0 where there is none. */
const lengths = new Uint16Array(HEADS_MAX);
const heads: (Head | undefined)[] = new Array(HEADS_MAX).fill(undefined);
let kept = 0;
let hits = 0;
let pause = 0;
let isEmpty = true;

/**
 * Length of the head that begins at `at`, where the same bytes were read at this sequence number before; else 0.
 * `recalledHead` gives the head.
 */
export function recalledBytes(bytes: Uint8Array, at: number, seq: number, direction: 0 | 1): number {
  const place = placeOf(seq);
  const length = lengths[place] as number;
  if (length === 0 || seqs[place] !== seq || length > bytes.length - at) return 0;
  if (heads[place]?.isRequest !== (direction === 0)) return 0;
  const from = place * REMEMBERED_BYTES_MAX;
  for (let i = 0; i < length; i++) if (bytesKept[from + i] !== bytes[at + i]) return 0;
  hits++;
  return length;
}

/** The head at a sequence number for which `recalledBytes` gave a length. It must not be changed. */
export function recalledHead(seq: number): Head {
  const head = heads[placeOf(seq)];
  if (head === undefined) throw new Error(`no head is kept for sequence number ${seq}`);
  return head;
}

/** Keeps a head that was read from `bytes[start, end)`. Nobody may change it any more. */
export function rememberHead(bytes: Uint8Array, start: number, end: number, seq: number, head: Head): void {
  if (pause > 0) {
    pause--;
    return;
  }
  const length = end - start;
  if (length > REMEMBERED_BYTES_MAX) return;
  if (++kept >= TRIAL_HEADS) {
    if (hits < TRIAL_HITS_MIN) pause = PAUSE_HEADS;
    kept = 0;
    hits = 0;
  }
  isEmpty = false;
  const place = placeOf(seq);
  const from = place * REMEMBERED_BYTES_MAX;
  for (let i = 0; i < length; i++) bytesKept[from + i] = bytes[start + i] as number;
  seqs[place] = seq;
  lengths[place] = length;
  heads[place] = head;
}

/** Forgets all heads, and what they held. To be called about once a second: the ends of a connection are read closer together. */
export function forgetHeads(): void {
  if (isEmpty) return;
  isEmpty = true;
  bytesKept.fill(0);
  lengths.fill(0);
  heads.fill(undefined);
}

function placeOf(seq: number): number {
  return Math.imul(seq, 0x9e3779b1) >>> (32 - HEADS_BITS);
}
