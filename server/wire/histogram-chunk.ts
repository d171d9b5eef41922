/**
 * Chunks of native histograms, with whole counts and with floats.
 *
 * A chunk has one layout of buckets, and between its samples no counter was reset; who encodes cuts accordingly
 * (`canFollow`).
 *
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/chunks.md
 */

import type { CounterResetHint, NativeHistogram } from "../model/histogram.ts";
import { BitReader, BitWriter } from "./bit-stream.ts";
import { bucketsOf, type HistogramLayout, hasSameLayout, readLayout, writeLayout } from "./histogram-layout.ts";
import { WireError } from "./wire-error.ts";
import { readXor, STALE_HIGH, STALE_LOW, wordsOf, writeXor, type XorState, xorState } from "./xor-values.ts";

/** Byte 2 of a chunk, by the hint of its first sample. */
const RESET_FLAGS: Readonly<Record<CounterResetHint, number>> = {
  unknown: 0,
  not_reset: 0b0100_0000,
  reset: 0b1000_0000,
  gauge: 0b1100_0000,
};
const RESET_FLAGS_MASK = 0b1100_0000;
/** Place of the sum among the numbers of a chunk of floats. */
const SUM_ROW = 2;

/** Histograms of one series in order of time; undefined stands for a stale marker, which has no more than its time. */
export interface HistogramSamples {
  readonly timestampsMs: Float64Array;
  readonly histograms: readonly (NativeHistogram | undefined)[];
}

/** Whether a histogram can stand after `before` in one chunk: same layout and kind, and nothing fell. */
export function canFollow(before: NativeHistogram, next: NativeHistogram): boolean {
  if (next.resetHint === "reset" || isWhole(before) !== isWhole(next) || !hasSameLayout(before, next)) return false;
  if (before.resetHint === "gauge" || next.resetHint === "gauge") return before.resetHint === next.resetHint;
  return (
    next.count >= before.count &&
    next.zeroCount >= before.zeroCount &&
    rose(before.positiveCounts, next.positiveCounts) &&
    rose(before.negativeCounts, next.negativeCounts)
  );
}

function rose(before: Float64Array, next: Float64Array): boolean {
  for (let at = 0; at < next.length; at++) {
    if (!((next[at] as number) >= (before[at] as number))) return false; // in range: of the same layout
  }
  return true;
}

/** Whether it goes out with whole counts. Those beyond 2^53 are known as doubles only, and go out as such. */
export function isWhole(histogram: NativeHistogram): boolean {
  return histogram.integer && histogram.count <= Number.MAX_SAFE_INTEGER;
}

/** Encodes histograms that can follow each other, all of the kind of the first; after a stale marker come only others. */
export function encodeHistogramChunk({ timestampsMs, histograms }: HistogramSamples): Uint8Array {
  const out = new BitWriter();
  const first = histograms[0];
  out.bits(histograms.length, 16);
  out.bits(RESET_FLAGS[first?.resetHint ?? "unknown"], 8);
  if (first === undefined) return out.take();
  writeLayout(out, first);
  const write = isWhole(first) ? wholeWriter(out, first) : floatWriter(out, first);
  let before = 0;
  let delta = 0;
  for (const [at, histogram] of histograms.entries()) {
    const timestampMs = timestampsMs[at] as number; // in range: as long as the histograms
    const step = at === 0 ? 0 : timestampMs - before;
    out.varbitInt(at === 0 ? timestampMs : step - delta);
    if (histogram === undefined) write.stale();
    else write.histogram(histogram, at === 0);
    before = timestampMs;
    delta = step;
  }
  return out.take();
}

/** Writes what stands after the time of a sample. */
interface CountWriter {
  histogram(histogram: NativeHistogram, isFirst: boolean): void;
  /** Leaves count and zero count as they go, and has no buckets. */
  stale(): void;
}

/** Counts as differences of differences; those of neighbouring buckets are differences once more. */
function wholeWriter(out: BitWriter, first: NativeHistogram): CountWriter {
  const rows = 2 + first.positiveCounts.length + first.negativeCounts.length;
  const before = new Float64Array(rows);
  const deltas = new Float64Array(rows);
  const sum = stateOf(first.sum);
  const write = (row: number, value: number, isFirst: boolean) => {
    if (isFirst && row < 2) out.varbitUint(value);
    else if (isFirst) out.varbitInt(value);
    else {
      const delta = value - (before[row] as number); // in range: a row for each number of the layout
      out.varbitInt(delta - (deltas[row] as number)); // as above
      deltas[row] = delta;
    }
    before[row] = value;
  };
  return {
    histogram: (histogram, isFirst) => {
      write(0, histogram.count, isFirst);
      write(1, histogram.zeroCount, isFirst);
      writeSum(out, sum, histogram.sum, isFirst);
      let row = 2;
      for (const counts of [histogram.positiveCounts, histogram.negativeCounts]) {
        let neighbour = 0;
        for (const count of counts) {
          write(row++, count - neighbour, isFirst);
          neighbour = count;
        }
      }
    },
    stale: () => {
      out.varbitInt(0);
      out.varbitInt(0);
      writeXor(out, sum, STALE_HIGH, STALE_LOW);
    },
  };
}

/** Every count is a row of doubles of its own. */
function floatWriter(out: BitWriter, first: NativeHistogram): CountWriter {
  const states = [...numbersOf(first)].map(stateOf);
  return {
    histogram: (histogram, isFirst) => {
      let row = 0;
      for (const number of numbersOf(histogram)) {
        const state = states[row++];
        if (state === undefined) throw new Error("a histogram has more buckets than the layout of its chunk");
        writeSum(out, state, number, isFirst);
      }
    },
    stale: () => {
      for (const [row, state] of states.slice(0, SUM_ROW + 1).entries()) {
        if (row === SUM_ROW) writeXor(out, state, STALE_HIGH, STALE_LOW);
        else writeXor(out, state, 0, 0);
      }
    },
  };
}

/** Count, zero count, sum and buckets: the order of chunks of floats. */
function* numbersOf(histogram: NativeHistogram): Generator<number> {
  yield histogram.count;
  yield histogram.zeroCount;
  yield histogram.sum;
  yield* histogram.positiveCounts;
  yield* histogram.negativeCounts;
}

const scratch = new Float64Array(1);
const scratchWords = wordsOf(scratch);

function stateOf(value: number): XorState {
  scratch[0] = value;
  return xorState(scratchWords[1] as number, scratchWords[0] as number); // in range: two words a value
}

function writeSum(out: BitWriter, state: XorState, value: number, isFirst: boolean): void {
  scratch[0] = value;
  const low = scratchWords[0] as number; // in range: two words a value
  const high = scratchWords[1] as number; // as above
  if (isFirst) out.words(high, low, 64);
  else writeXor(out, state, high, low);
}

/** Which counts a chunk has. */
export type HistogramChunkKind = "whole" | "float";

/**
 * Decodes a chunk. The hint of its first sample is `unknown`, since what came before may be gone.
 *
 * @throws WireError where the bytes are none.
 */
export function decodeHistogramChunk(bytes: Uint8Array, kind: HistogramChunkKind): HistogramSamples {
  const from = new BitReader(bytes, 0);
  const count = from.bits(16);
  const isGauge = (from.bits(8) & RESET_FLAGS_MASK) === RESET_FLAGS.gauge;
  if (count === 0) return { timestampsMs: new Float64Array(0), histograms: [] };
  const layout = readLayout(from);
  const numbers = 2 + bucketsOf(layout.positiveSpans) + bucketsOf(layout.negativeSpans);
  // Each number takes a bit at least, in the first sample too; after a stale marker come only others without buckets.
  if (numbers + 4 * count > from.left) throw new WireError("a chunk ends early", 0);
  const read = kind === "whole" ? wholeReader(from, layout) : floatReader(from, layout);
  const timestampsMs = new Float64Array(count);
  const histograms: (NativeHistogram | undefined)[] = [];
  let timestampMs = 0;
  let delta = 0;
  for (let at = 0; at < count; at++) {
    const coded = from.varbitInt();
    if (at > 0) delta += coded;
    timestampMs = at === 0 ? coded : timestampMs + delta;
    timestampsMs[at] = timestampMs;
    const resetHint = isGauge ? "gauge" : at === 0 ? "unknown" : "not_reset";
    const counts = read(at === 0);
    histograms.push(counts === undefined ? undefined : { ...layout, ...counts, resetHint, integer: kind === "whole" });
  }
  return { timestampsMs, histograms };
}

type Counts = Pick<NativeHistogram, "count" | "zeroCount" | "sum" | "positiveCounts" | "negativeCounts">;
/** Undefined where the sum says that the sample is a stale marker. */
type ReadCounts = (isFirst: boolean) => Counts | undefined;

function wholeReader(from: BitReader, layout: HistogramLayout): ReadCounts {
  const positives = bucketsOf(layout.positiveSpans);
  const negatives = bucketsOf(layout.negativeSpans);
  const values = new Float64Array(2 + positives + negatives);
  const deltas = new Float64Array(values.length);
  const sum = xorState(0, 0);
  const read = (row: number, isFirst: boolean): number => {
    let value: number;
    if (isFirst) value = row < 2 ? from.varbitUint() : from.varbitInt();
    else {
      const delta = (deltas[row] as number) + from.varbitInt(); // in range: a row for each number of the layout
      deltas[row] = delta;
      value = (values[row] as number) + delta; // as above
    }
    values[row] = value;
    return value;
  };
  const side = (start: number, buckets: number, isFirst: boolean): Float64Array => {
    const counts = new Float64Array(buckets);
    let count = 0;
    for (let at = 0; at < buckets; at++) {
      count += read(start + at, isFirst);
      counts[at] = count;
    }
    return counts;
  };
  return (isFirst) => {
    const count = read(0, isFirst);
    const zeroCount = read(1, isFirst);
    const total = readSum(from, sum, isFirst);
    if (isStale(sum)) return undefined;
    const positiveCounts = side(2, positives, isFirst);
    return { count, zeroCount, sum: total, positiveCounts, negativeCounts: side(2 + positives, negatives, isFirst) };
  };
}

function floatReader(from: BitReader, layout: HistogramLayout): ReadCounts {
  const positives = bucketsOf(layout.positiveSpans);
  const negatives = bucketsOf(layout.negativeSpans);
  const states = Array.from({ length: 3 + positives + negatives }, () => xorState(0, 0));
  return (isFirst) => {
    const numbers = new Float64Array(states.length);
    for (const [row, state] of states.entries()) {
      numbers[row] = readSum(from, state, isFirst);
      if (row === SUM_ROW && isStale(state)) return undefined;
    }
    const [count = 0, zeroCount = 0, sum = 0] = numbers;
    const positiveCounts = numbers.slice(3, 3 + positives);
    return { count, zeroCount, sum, positiveCounts, negativeCounts: numbers.slice(3 + positives) };
  };
}

function isStale({ high, low }: XorState): boolean {
  return low === STALE_LOW && high === STALE_HIGH;
}

function readSum(from: BitReader, state: XorState, isFirst: boolean): number {
  if (isFirst) {
    state.low = from.words(64);
    state.high = from.high;
  } else readXor(from, state);
  scratchWords[0] = state.low;
  scratchWords[1] = state.high;
  return scratch[0] as number; // in range: it has one
}
