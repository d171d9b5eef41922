/**
 * What all histograms of one chunk share: schema, zero bucket's width, where buckets are.
 *
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/chunks.md
 */

import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA, type NativeHistogram } from "../model/histogram.ts";
import type { BitReader, BitWriter } from "./bit-stream.ts";
import { WireError } from "./wire-error.ts";
import { wordsOf } from "./xor-values.ts";

/** The byte of a zero threshold that is a power of two is its exponent plus this; 0 and 255 have meanings of their own. */
const THRESHOLD_BIAS = 244;
const THRESHOLD_EXPONENT_MIN = -243;
const THRESHOLD_EXPONENT_MAX = 10;
const THRESHOLD_WHOLE = 255;
const EXPONENT_BIAS = 1_023;
/** Largest bound that is told in thousandths. */
const BOUND_THOUSANDTHS_MAX = 33_554_430;
/** A span takes two bits at least; a bound takes five. */
const SPAN_BITS_MIN = 2;
const BOUND_BITS_MIN = 5;

/** The part of a histogram that a chunk tells once. */
export type HistogramLayout = Pick<
  NativeHistogram,
  "schema" | "zeroThreshold" | "positiveSpans" | "negativeSpans" | "customValues"
>;

/** Writes a layout as chunks of histograms begin with it. */
export function writeLayout(out: BitWriter, layout: HistogramLayout): void {
  writeThreshold(out, layout.zeroThreshold);
  out.varbitInt(layout.schema);
  writeSpans(out, layout.positiveSpans);
  writeSpans(out, layout.negativeSpans);
  if (layout.schema !== CUSTOM_BUCKETS_SCHEMA) return;
  out.varbitUint(layout.customValues.length);
  for (const bound of layout.customValues) writeBound(out, bound);
}

/** @throws WireError */
export function readLayout(from: BitReader): HistogramLayout {
  const zeroThreshold = readThreshold(from);
  const schema = from.varbitInt();
  const positiveSpans = readSpans(from);
  const negativeSpans = readSpans(from);
  const customValues = schema === CUSTOM_BUCKETS_SCHEMA ? readBounds(from) : new Float64Array(0);
  return { schema, zeroThreshold, positiveSpans, negativeSpans, customValues };
}

/** Whether two histograms can stand in one chunk as far as their buckets go. */
export function hasSameLayout(left: HistogramLayout, right: HistogramLayout): boolean {
  return (
    left.schema === right.schema &&
    left.zeroThreshold === right.zeroThreshold &&
    haveSameSpans(left.positiveSpans, right.positiveSpans) &&
    haveSameSpans(left.negativeSpans, right.negativeSpans) &&
    left.customValues.length === right.customValues.length &&
    left.customValues.every((bound, at) => bound === right.customValues[at])
  );
}

/** Buckets that spans have. */
export function bucketsOf(spans: readonly BucketSpan[]): number {
  let count = 0;
  for (const { length } of spans) count += length;
  return count;
}

function haveSameSpans(left: readonly BucketSpan[], right: readonly BucketSpan[]): boolean {
  if (left === right) return true;
  if (left.length !== right.length) return false;
  return left.every(({ offset, length }, at) => offset === right[at]?.offset && length === right[at]?.length);
}

function writeSpans(out: BitWriter, spans: readonly BucketSpan[]): void {
  out.varbitUint(spans.length);
  for (const { offset, length } of spans) {
    out.varbitUint(length);
    out.varbitInt(offset);
  }
}

function readSpans(from: BitReader): BucketSpan[] {
  const count = from.varbitUint();
  if (count * SPAN_BITS_MIN > from.left) throw new WireError(`a chunk is too short for ${count} spans`, 0);
  const spans: BucketSpan[] = [];
  for (let at = 0; at < count; at++) {
    const length = from.varbitUint();
    spans.push({ offset: from.varbitInt(), length });
  }
  return spans;
}

function writeThreshold(out: BitWriter, threshold: number): void {
  if (threshold === 0) {
    out.bits(0, 8);
    return;
  }
  const [low = 0, high = 0] = wordsOf(Float64Array.of(threshold));
  const exponent = ((high >>> 20) & 0x7ff) - EXPONENT_BIAS;
  const isPowerOfTwo = low === 0 && (high & 0xf_ffff) === 0 && high >>> 31 === 0;
  if (isPowerOfTwo && exponent >= THRESHOLD_EXPONENT_MIN && exponent <= THRESHOLD_EXPONENT_MAX) {
    out.bits(exponent + THRESHOLD_BIAS, 8);
    return;
  }
  out.bits(THRESHOLD_WHOLE, 8);
  out.words(high, low, 64);
}

function readThreshold(from: BitReader): number {
  const byte = from.bits(8);
  if (byte === 0) return 0;
  return byte === THRESHOLD_WHOLE ? readDouble(from) : 2 ** (byte - THRESHOLD_BIAS);
}

function writeBound(out: BitWriter, bound: number): void {
  const thousandths = bound * 1_000;
  const rounded = Math.round(thousandths);
  if (thousandths >= 0 && thousandths <= BOUND_THOUSANDTHS_MAX && rounded / 1_000 === bound) {
    out.varbitUint(rounded + 1);
    return;
  }
  const [low = 0, high = 0] = wordsOf(Float64Array.of(bound));
  out.bits(0, 1);
  out.words(high, low, 64);
}

function readBounds(from: BitReader): Float64Array {
  const count = from.varbitUint();
  if (count * BOUND_BITS_MIN > from.left) throw new WireError(`a chunk is too short for ${count} bounds`, 0);
  const bounds = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    const thousandths = from.varbitUint();
    bounds[at] = thousandths === 0 ? readDouble(from) : (thousandths - 1) / 1_000;
  }
  return bounds;
}

function readDouble(from: BitReader): number {
  const double = new Float64Array(1);
  const words = wordsOf(double);
  words[0] = from.words(64);
  words[1] = from.high;
  return double[0] as number; // in range: it has one
}
