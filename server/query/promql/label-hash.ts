/** The hash by which Prometheus spreads series: XXH64 of its own encoding of labels. */

import type { Labels } from "../../model/series.ts";
import { compareText } from "./series-labels.ts";

/** Texts of at least so many bytes have a length of four bytes in place of one. */
const LONG_TEXT = 255;

/** Primes of XXH64, as high and low halves. @see https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md */
const P1: Word = [0x9e3779b1, 0x85ebca87];
const P2: Word = [0xc2b2ae3d, 0x27d4eb4f];
const P3: Word = [0x165667b1, 0x9e3779f9];
const P4: Word = [0x85ebca77, 0xc2b2ae63];
const P5: Word = [0x27d4eb2f, 0x165667c5];

/** 64 bits: high and low half, both from 0 to 2^32 - 1. */
type Word = readonly [high: number, low: number];

const encoder = new TextEncoder();

/** A number in [0, 1] that depends on the labels only: their hash over the largest hash. */
export function labelShare(labels: Labels): number {
  const [high, low] = xxh64(encodeLabels(labels));
  return (high * 2 ** 32 + low) / 2 ** 64;
}

/** The hash of labels as a whole number of 64 bits. */
export function xxh64OfLabels(labels: Labels): bigint {
  const [high, low] = xxh64(encodeLabels(labels));
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Names and values in byte order of the names, each with its length before it. */
function encodeLabels(labels: Labels): Uint8Array {
  const parts = labels
    .toSorted(([a], [b]) => compareText(a, b))
    .flatMap((pair) => pair.map((text) => encoder.encode(text)));
  const lengths = parts.map((bytes) => (bytes.length < LONG_TEXT ? 1 : 4) + bytes.length);
  const out = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const bytes of parts) {
    const { length } = bytes;
    if (length < LONG_TEXT) out[at++] = length;
    else {
      out.set([LONG_TEXT, length & 0xff, (length >>> 8) & 0xff, (length >>> 16) & 0xff], at);
      at += 4;
    }
    out.set(bytes, at);
    at += length;
  }
  return out;
}

/** XXH64 with seed 0. */
export function xxh64(bytes: Uint8Array): Word {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (at: number): Word => [view.getUint32(at + 4, true), view.getUint32(at, true)];
  const { length } = bytes;
  let at = 0;
  let hash = P5;
  if (length >= 32) {
    let lanes: readonly Word[] = [add(P1, P2), P2, [0, 0], negate(P1)];
    for (; at + 32 <= length; at += 32) lanes = lanes.map((lane, i) => round(lane, word(at + 8 * i)));
    hash = lanes.map((lane, i) => rotate(lane, [1, 7, 12, 18][i] ?? 0)).reduce(add);
    for (const lane of lanes) hash = add(multiply(xor(hash, round([0, 0], lane)), P1), P4);
  }
  hash = add(hash, [0, length]);
  for (; at + 8 <= length; at += 8) {
    hash = add(multiply(rotate(xor(hash, round([0, 0], word(at))), 27), P1), P4);
  }
  if (at + 4 <= length) {
    hash = xor(hash, multiply([0, view.getUint32(at, true)], P1));
    hash = add(multiply(rotate(hash, 23), P2), P3);
    at += 4;
  }
  for (; at < length; at++) hash = multiply(rotate(xor(hash, multiply([0, bytes[at] ?? 0], P5)), 11), P1);
  hash = multiply(xor(hash, shiftRight(hash, 33)), P2);
  hash = multiply(xor(hash, shiftRight(hash, 29)), P3);
  return xor(hash, shiftRight(hash, 32));
}

function round(lane: Word, input: Word): Word {
  return multiply(rotate(add(lane, multiply(input, P2)), 31), P1);
}

function add(a: Word, b: Word): Word {
  const low = a[1] + b[1];
  return [(a[0] + b[0] + (low >= 2 ** 32 ? 1 : 0)) >>> 0, low >>> 0];
}

function negate([high, low]: Word): Word {
  return add([~high >>> 0, ~low >>> 0], [0, 1]);
}

function xor(a: Word, b: Word): Word {
  return [(a[0] ^ b[0]) >>> 0, (a[1] ^ b[1]) >>> 0];
}

/** @param by From 1 to 31. */
function rotate([high, low]: Word, by: number): Word {
  return [((high << by) | (low >>> (32 - by))) >>> 0, ((low << by) | (high >>> (32 - by))) >>> 0];
}

/** @param by From 1 to 63. */
function shiftRight([high, low]: Word, by: number): Word {
  if (by >= 32) return [0, high >>> (by - 32)];
  return [high >>> by, ((low >>> by) | (high << (32 - by))) >>> 0];
}

/** The lower 64 bits of a product. */
function multiply(a: Word, b: Word): Word {
  const a0 = a[1] & 0xffff;
  const a1 = a[1] >>> 16;
  const b0 = b[1] & 0xffff;
  const b1 = b[1] >>> 16;
  const low = a0 * b0;
  const middle = a1 * b0 + (low >>> 16);
  const other = a0 * b1 + (middle % 0x1_0000);
  const carried = a1 * b1 + Math.floor(middle / 0x1_0000) + Math.floor(other / 0x1_0000);
  const cross = Math.imul(a[0], b[1]) + Math.imul(a[1], b[0]);
  return [(carried + cross) >>> 0, ((other << 16) | (low & 0xffff)) >>> 0];
}
