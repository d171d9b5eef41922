/**
 * Ids computed from the identity of a message, and the way back from an id to the others of the same message.
 *
 * Whoever sees one end of a message gives its span and its trace these ids, so that two who see one message agree without
 * talking. The hash is a permutation: from one id all others of its message follow. Values are two 32-bit lanes, since
 * BigInt arithmetic would dominate the path that makes them.
 */

/** A 64-bit value in two signed 32-bit lanes. */
export interface Lanes {
  high: number;
  low: number;
}

/** What an id stands for; part of the hash, so that the ids of one message differ. */
export const ID_CLIENT_SPAN = 1;
export const ID_SERVER_SPAN = 2;
export const ID_TRACE_HIGH = 3;
export const ID_TRACE_LOW = 4;

/**
 * Attribute with the TCP sequence numbers of request and answer, as `REQUEST:ANSWER` in decimal, of a span whose other
 * end its agent did not see. They are equal at both ends, also where addresses and ports are translated between them.
 */
export const SEQUENCES_KEY = "thalweg.tcp_seq";

const HIGH_FACTOR = 0xcc9e2d51 | 0;
const HIGH_FACTOR_AFTER = 0x1b873593;
const HIGH_ADDEND = 0x561ccd1b;
const LOW_FACTOR = 0x239b961b;
const LOW_FACTOR_AFTER = 0xab0e9789 | 0;
const LOW_ADDEND = 0x0bcaa747;
/** Inverse of 5 modulo 2^32. */
const INVERSE_OF_5 = 0xcccccccd | 0;
const SCRAMBLE_1 = 0x85ebca6b | 0;
const SCRAMBLE_2 = 0xc2b2ae35 | 0;
/** Their inverses modulo 2^32. */
const UNSCRAMBLE_1 = 0xa5cb9243 | 0;
const UNSCRAMBLE_2 = 0x7ed1b41d | 0;

/** Takes one more word into a hash. */
export function absorb(lanes: Lanes, word: number): void {
  let high = lanes.high ^ highWord(word);
  high = (rotate(high, 13) + lanes.low) | 0;
  high = (Math.imul(high, 5) + HIGH_ADDEND) | 0;
  let low = lanes.low ^ lowWord(word);
  low = (rotate(low, 17) + high) | 0;
  low = (Math.imul(low, 5) + LOW_ADDEND) | 0;
  lanes.high = high;
  lanes.low = low;
}

/** Ends a hash: every word flips each bit of it with a chance near one half. */
export function finish(lanes: Lanes): void {
  let high = (lanes.high + lanes.low) | 0;
  let low = (lanes.low + high) | 0;
  high = scramble(high);
  low = scramble(low);
  high = (high + low) | 0;
  low = (low + high) | 0;
  lanes.high = high;
  lanes.low = low;
}

/** Final mix of MurmurHash3 (32 bits): every input bit flips each output bit with a chance near one half. */
export function scramble(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, SCRAMBLE_1);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, SCRAMBLE_2);
  return mixed ^ (mixed >>> 16);
}

/** Writes to `out` one id of a message; never zero, since zero means "no id" in every trace format. */
export function hashId(messageHigh: number, messageLow: number, purpose: number, out: Lanes): void {
  out.high = messageHigh;
  out.low = messageLow;
  absorb(out, purpose);
  finish(out);
  if (out.high === 0 && out.low === 0) out.low = purpose;
}

/** Writes to `out` the hash of the message of which `id` is the id for `purpose`: `hashId` back. */
export function messageOfId(id: Readonly<Lanes>, purpose: number, out: Lanes): void {
  const lowMixed = (id.low - id.high) | 0;
  const highMixed = (id.high - lowMixed) | 0;
  const highSum = unscramble(highMixed);
  const lowSum = unscramble(lowMixed);
  const low = (lowSum - highSum) | 0;
  const high = (highSum - low) | 0;
  // `finish` is undone; what follows undoes `absorb`.
  const lowRotated = (Math.imul((low - LOW_ADDEND) | 0, INVERSE_OF_5) - high) | 0;
  out.low = rotate(lowRotated, 15) ^ lowWord(purpose);
  const highRotated = (Math.imul((high - HIGH_ADDEND) | 0, INVERSE_OF_5) - out.low) | 0;
  out.high = rotate(highRotated, 19) ^ highWord(purpose);
}

function unscramble(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, UNSCRAMBLE_2);
  mixed ^= (mixed >>> 13) ^ (mixed >>> 26);
  mixed = Math.imul(mixed, UNSCRAMBLE_1);
  return mixed ^ (mixed >>> 16);
}

function highWord(word: number): number {
  return Math.imul(rotate(Math.imul(word, HIGH_FACTOR), 15), HIGH_FACTOR_AFTER);
}

function lowWord(word: number): number {
  return Math.imul(rotate(Math.imul(word, LOW_FACTOR), 16), LOW_FACTOR_AFTER);
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
