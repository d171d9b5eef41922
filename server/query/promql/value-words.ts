/** Values by their bits, where NaNs are told apart. */

import { STALE_NAN_BITS } from "../../model/series.ts";

const STALE_HIGH = Number(STALE_NAN_BITS >> 32n);
const STALE_LOW = Number(STALE_NAN_BITS & 0xffff_ffffn);

/** The 32-bit halves of an array of doubles, low half first: NaNs keep their bits when read this way. */
export function wordsOf(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}

/** Whether value `index` is a staleness marker. */
export function isStale(words: Uint32Array, index: number): boolean {
  return words[2 * index] === STALE_LOW && words[2 * index + 1] === STALE_HIGH;
}
