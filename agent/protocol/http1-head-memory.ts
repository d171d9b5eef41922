/**
 * Heads read lately, by the sequence number of their first byte and by their bytes: the two ends of a connection on one host
 * show each head twice, and many clients ask the same again and again. The next time the bytes need only be compared.
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
/** Bytes of a head by which one like it is found: the first of them, and then one of each few. */
const SAMPLED_FIRST = 24;
const SAMPLED_TO = 96;
const SAMPLED_EVERY = 8;
const NOWHERE = -1;

const bytesKept = new Uint8Array(HEADS_MAX * REMEMBERED_BYTES_MAX);
const seqs = new Uint32Array(HEADS_MAX);
/** Bytes of the head in each place; 0 where there is none. */
const lengths = new Uint16Array(HEADS_MAX);
const heads: (Head | undefined)[] = new Array(HEADS_MAX).fill(undefined);
/** Place of a head by what `sampleOf` says of the bytes it stood in. */
const placesOfSamples = new Int16Array(HEADS_MAX).fill(NOWHERE);
let kept = 0;
let hits = 0;
let pause = 0;
let isEmpty = true;
/** The same for looking by bytes alone. */
let sampled = 0;
let sampleHits = 0;
let samplePause = 0;

/**
 * Where the head that begins at `at` is kept, which was read from the same bytes before; negative where none is.
 * `headAt` and `headBytesAt` say what is kept there, until the next head is remembered.
 */
export function placeOfHead(bytes: Uint8Array, at: number, seq: number, direction: 0 | 1): number {
  const place = placeOf(seq);
  if (seqs[place] === seq && isAt(place, bytes, at, direction)) {
    hits++;
    return place;
  }
  if (samplePause > 0) {
    samplePause--;
    return NOWHERE;
  }
  if (++sampled >= TRIAL_HEADS) {
    if (sampleHits < TRIAL_HITS_MIN) samplePause = PAUSE_HEADS;
    sampled = 0;
    sampleHits = 0;
  }
  const like = placesOfSamples[sampleOf(bytes, at)] as number;
  if (like === NOWHERE || !isAt(like, bytes, at, direction)) return NOWHERE;
  sampleHits++;
  return like;
}

/** The head at a place that `placeOfHead` gave. It must not be changed. */
export function headAt(place: number): Head {
  const head = heads[place];
  if (head === undefined) throw new Error(`no head is kept in place ${place}`);
  return head;
}

/** Bytes of that head, its empty line included. */
export function headBytesAt(place: number): number {
  return lengths[place] as number;
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
  if (samplePause === 0) placesOfSamples[sampleOf(bytes, start)] = place;
}

/** Forgets all heads, and what they held. To be called about once a second: the ends of a connection are read closer together. */
export function forgetHeads(): void {
  if (isEmpty) return;
  isEmpty = true;
  bytesKept.fill(0);
  lengths.fill(0);
  heads.fill(undefined);
  placesOfSamples.fill(NOWHERE);
}

function isAt(place: number, bytes: Uint8Array, at: number, direction: 0 | 1): boolean {
  const length = lengths[place] as number;
  if (length === 0 || length > bytes.length - at || heads[place]?.isRequest !== (direction === 0)) return false;
  const from = place * REMEMBERED_BYTES_MAX;
  for (let i = 0; i < length; i++) if (bytesKept[from + i] !== bytes[at + i]) return false;
  return true;
}

function placeOf(seq: number): number {
  return Math.imul(seq, 0x9e3779b1) >>> (32 - HEADS_BITS);
}

/** Where to look for a head like the one that begins at `at`: what is sent again is mostly sent in as many bytes. */
function sampleOf(bytes: Uint8Array, at: number): number {
  let hash = bytes.length - at;
  const near = Math.min(bytes.length, at + SAMPLED_FIRST);
  for (let i = at; i < near; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  const far = Math.min(bytes.length, at + SAMPLED_TO);
  for (let i = near; i < far; i += SAMPLED_EVERY) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return Math.imul(hash ^ (hash >>> 15), 0x9e3779b1) >>> (32 - HEADS_BITS);
}
