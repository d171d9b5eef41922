/**
 * Text and bytes as DuckDB's 16-byte strings, without one native call per value.
 *
 * All bytes of a batch are copied once into native memory, by assigning them as one BLOB to a vector of a pad. A string
 * of up to 12 bytes stands in its 16 bytes; a longer one is its length, its first 4 bytes and the address in that copy.
 * Invariant: the pad must not be given back until DuckDB has copied the strings.
 */

import type { TextTable } from "../model/text-table.ts";
import type { StagePad } from "./stage-pad.ts";

/** 32-bit words of one string. */
export const STRING_WORDS = 4;
const INLINE_BYTES_MAX = 12;
const HIGH_WORD = 0x1_0000_0000;

/** Strings ready to be copied into vectors: `STRING_WORDS` words each. */
export interface PlacedText {
  readonly words: Uint32Array;
}

/** Bytes back to back with the address of their native copy. */
export interface PlacedBytes {
  readonly bytes: Uint8Array;
  readonly address: number;
}

let encodeBuffer = new Uint8Array(1 << 16);
const encoder = new TextEncoder();

/** Places texts as UTF-8; lone surrogates become U+FFFD. */
export function placeText(texts: readonly string[], pad: StagePad): PlacedText {
  const ends = new Uint32Array(texts.length);
  let used = 0;
  for (let index = 0; index < texts.length; index++) {
    const text = texts[index] ?? "";
    const room = used + text.length * 3;
    if (room > encodeBuffer.length) encodeBuffer = regrown(encodeBuffer, used, room);
    used += encoder.encodeInto(text, encodeBuffer.subarray(used)).written;
    ends[index] = used;
  }
  const placed = placeBytes(encodeBuffer.subarray(0, used), pad);
  const words = pad.unsetUint32(texts.length * STRING_WORDS);
  const wordBytes = bytesOf(words);
  let start = 0;
  for (let index = 0; index < texts.length; index++) {
    const end = ends[index] ?? start;
    writeString(words, wordBytes, index, placed, start, end);
    start = end;
  }
  return { words };
}

/** Places the texts of a table: a dozen a span, so four bytes are read at a time, and only near the end one by one. */
export function placeTable({ bytes, starts, lengths }: TextTable, pad: StagePad): PlacedText {
  const placed = placeBytes(bytes, pad);
  const words = pad.unsetUint32(lengths.length * STRING_WORDS);
  const wordBytes = bytesOf(words);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const addressHigh = Math.floor(placed.address / HIGH_WORD);
  const addressLow = placed.address - addressHigh * HIGH_WORD;
  const lastWhole = bytes.length - INLINE_BYTES_MAX;
  for (let index = 0; index < lengths.length; index++) {
    const start = starts[index] ?? 0;
    const length = lengths[index] ?? 0;
    if (start > lastWhole) {
      writeString(words, wordBytes, index, placed, start, start + length);
      continue;
    }
    const word = index * STRING_WORDS;
    words[word] = length;
    if (length > INLINE_BYTES_MAX) {
      const low = addressLow + start;
      const carry = low >= HIGH_WORD ? 1 : 0;
      words[word + 1] = view.getUint32(start, true);
      words[word + 2] = low - carry * HIGH_WORD;
      words[word + 3] = addressHigh + carry;
    } else {
      words[word + 1] = firstBytes(view.getUint32(start, true), length);
      words[word + 2] = firstBytes(view.getUint32(start + 4, true), length - 4);
      words[word + 3] = firstBytes(view.getUint32(start + 8, true), length - 8);
    }
  }
  return { words };
}

/** The first `count` bytes of a word, the lowest first; the others are 0. */
function firstBytes(word: number, count: number): number {
  if (count >= 4) return word;
  return count <= 0 ? 0 : word & ((1 << (8 * count)) - 1);
}

/** Copies bytes to native memory. `bytes` itself is needed only while strings of it are written. */
export function placeBytes(bytes: Uint8Array, pad: StagePad): PlacedBytes {
  return { bytes, address: bytes.length <= INLINE_BYTES_MAX ? 0 : pad.copy(bytes) };
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

/** Writes string `index` of `words`: bytes `start` to `end` of `placed`. `wordBytes` views the same memory as `words`. */
export function writeString(
  words: Uint32Array,
  wordBytes: Uint8Array,
  index: number,
  placed: PlacedBytes,
  start: number,
  end: number,
): void {
  const length = end - start;
  const word = index * STRING_WORDS;
  const at = word * 4;
  words[word] = length;
  words[word + 1] = 0;
  words[word + 2] = 0;
  words[word + 3] = 0;
  const { bytes } = placed;
  const copied = length <= INLINE_BYTES_MAX ? length : 4;
  for (let offset = 0; offset < copied; offset++) wordBytes[at + 4 + offset] = bytes[start + offset] ?? 0;
  if (length <= INLINE_BYTES_MAX) return;
  const address = placed.address + start;
  words[word + 2] = address % HIGH_WORD;
  words[word + 3] = Math.floor(address / HIGH_WORD);
}

function regrown(bytes: Uint8Array<ArrayBuffer>, used: number, atLeast: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(atLeast, bytes.length * 2));
  larger.set(bytes.subarray(0, used));
  return larger;
}
