/**
 * Chunks of floats: how Prometheus keeps and sends them.
 *
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/chunks.md
 */

import { BitReader, BitWriter, fitsBits } from "./bit-stream.ts";
import { WireError } from "./wire-error.ts";
import { readXor, wordsOf, writeXor, xorState } from "./xor-values.ts";

const HEADER_BYTES = 2;
/** The least a sample takes after the second: one bit of time, one of value. */
const SAMPLE_BITS_MIN = 2;
/** Widths of the classes of differences of differences, by the number of ones before them. */
const DIFFERENCE_WIDTHS = [0, 14, 17, 20, 64] as const;

/** Floats of one series in order of time, at most 65,535. */
export interface FloatSamples {
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** Encodes samples; times are whole and grow. */
export function encodeXorChunk({ timestampsMs, values }: FloatSamples): Uint8Array {
  const words = wordsOf(values);
  const out = new BitWriter();
  out.bits(values.length, 16);
  const state = xorState(words[1] ?? 0, words[0] ?? 0);
  let before = 0;
  let delta = 0;
  for (let at = 0; at < values.length; at++) {
    const timestampMs = timestampsMs[at] as number; // in range: as long as the values
    const high = words[2 * at + 1] as number; // in range: two words a value
    const low = words[2 * at] as number; // as above
    if (at === 0) {
      out.varint(timestampMs);
      out.words(high, low, 64);
    } else {
      const step = timestampMs - before;
      if (at === 1) out.uvarint(step);
      else writeDifference(out, step - delta);
      delta = step;
      writeXor(out, state, high, low);
    }
    before = timestampMs;
  }
  return out.take();
}

function writeDifference(out: BitWriter, difference: number): void {
  if (difference === 0) out.bits(0, 1);
  else if (fitsBits(difference, 14)) {
    out.bits(0b10, 2);
    out.bits(difference, 14);
  } else if (fitsBits(difference, 17)) {
    out.bits(0b110, 3);
    out.bits(difference, 17);
  } else if (fitsBits(difference, 20)) {
    out.bits(0b1110, 4);
    out.bits(difference, 20);
  } else {
    out.bits(0b1111, 4);
    out.int64(difference);
  }
}

/** Decodes a chunk. @throws WireError where the bytes are none. */
export function decodeXorChunk(bytes: Uint8Array): FloatSamples {
  const from = new BitReader(bytes, 0);
  const count = from.bits(16);
  if (count > 0 && (count - 1) * SAMPLE_BITS_MIN > from.left) throw new WireError("a chunk ends early", HEADER_BYTES);
  const timestampsMs = new Float64Array(count);
  const values = new Float64Array(count);
  const words = wordsOf(values);
  const state = xorState(0, 0);
  let timestampMs = 0;
  let delta = 0;
  for (let at = 0; at < count; at++) {
    if (at === 0) {
      timestampMs = from.varint();
      state.low = from.words(64);
      state.high = from.high;
    } else {
      delta = at === 1 ? from.uvarint() : delta + readDifference(from);
      timestampMs += delta;
      readXor(from, state);
    }
    timestampsMs[at] = timestampMs;
    words[2 * at] = state.low;
    words[2 * at + 1] = state.high;
  }
  return { timestampsMs, values };
}

function readDifference(from: BitReader): number {
  let ones = 0;
  while (ones < 4 && from.bits(1) === 1) ones++;
  if (ones === 0) return 0;
  if (ones === 4) return from.int64();
  const width = DIFFERENCE_WIDTHS[ones] ?? 0;
  const value = from.bits(width);
  return value > 2 ** (width - 1) ? value - 2 ** width : value;
}
