/**
 * `rate` and `increase` over native histograms in columns: every bucket of a series is gone through once for all steps.
 *
 * Only what is by far the most frequent is done here: counters of one schema and zero bucket, nothing but histograms, no
 * start timestamps. All numbers are those of `histogram-rate.ts`, computed in the same order.
 */

import { type DenseSamples, isResetIn } from "./dense-samples.ts";
import { COUNT_ROW, type DenseTable, rowsOf, ZERO_ROW } from "./histogram/dense-histograms.ts";
import { usesCustomBuckets } from "./histogram/float-histogram.ts";
import { extrapolation, type RangeWindows, rangeWindows } from "./range-windows.ts";
import type { RangeGrid } from "./select-steps.ts";

/** A window in which a counter began anew. */
interface AnewWindow {
  readonly step: number;
  /** It did so at the second sample, so that the first is not taken away. */
  readonly atFirst: boolean;
  /** Columns before the other resets: what the counter had reached there is added. */
  readonly reached: readonly number[];
}

/** What a rate is of. */
interface DenseRateKind {
  readonly isRate: boolean;
  /** The result is looked at before the next one is made, and not afterwards: all lie in the same place. */
  readonly isTransient: boolean;
}

/** Results over the steps: a table with a column for each, and which steps have one. */
export interface DenseRates extends DenseTable {
  /** 1 where there is a result; until the next ones are made. */
  readonly present: Uint8Array;
}

/**
 * The rates of a series.
 *
 * @returns undefined where it is not for columns; then `histogram-rate.ts` has it.
 */
export function denseRates(
  samples: DenseSamples | undefined,
  timestampsMs: Float64Array,
  ranges: RangeGrid,
  kind: DenseRateKind,
): DenseRates | undefined {
  if (samples === undefined) return undefined;
  const windows = new Windows(samples, timestampsMs, ranges, kind);
  const { steps } = ranges.grid;
  const rows = rowsOf(samples.shape);
  const numbers = kind.isTransient ? transientRoom(rows * steps) : new Float64Array(rows * steps);
  for (let row = 0; row < rows; row++) {
    if (row === ZERO_ROW && usesCustomBuckets(samples.shape)) {
      numbers.fill(0, row * steps, (row + 1) * steps);
      continue;
    }
    windows.run(samples.numbers, row * samples.columns, numbers, row * steps);
  }
  return { shape: samples.shape, columns: steps, numbers, present: windows.present };
}

/** Samples at which a counter began anew, apart from the first, in order. */
function resetsOf(samples: DenseSamples, length: number): number[] {
  const resets: number[] = [];
  for (let i = 1; i < length; i++) if (isResetIn(samples, samples.offset + i)) resets.push(i);
  return resets;
}

let transient = new Float64Array(0);

function transientRoom(length: number): Float64Array {
  if (transient.length < length) transient = new Float64Array(length);
  return transient.subarray(0, length);
}

/** Room for the steps of one series after the other; it grows with the longest query. */
let room = roomFor(0);

function roomFor(steps: number) {
  return {
    present: new Uint8Array(steps),
    first: new Int32Array(steps),
    last: new Int32Array(steps),
    factor: new Float64Array(steps),
  };
}

const NO_WINDOWS: readonly AnewWindow[] = [];

/** For each step which samples its rate is made of, and the factor of the extrapolation; good until the next are made. */
class Windows {
  readonly present: Uint8Array;
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  readonly #factor: Float64Array;
  readonly #anew: readonly AnewWindow[];

  constructor(samples: DenseSamples, timestampsMs: Float64Array, ranges: RangeGrid, { isRate }: DenseRateKind) {
    const { steps } = ranges.grid;
    if (room.present.length !== steps) room = roomFor(steps);
    const { present, first, last, factor } = room;
    this.present = present;
    this.#first = first;
    this.#last = last;
    this.#factor = factor;
    const windows = rangeWindows(timestampsMs, ranges);
    const { offset } = samples;
    for (let k = 0; k < steps; k++) {
      // In range: a step each, here and below.
      const low = windows.first[k] as number;
      present[k] = low < 0 ? 0 : 1;
      first[k] = low < 0 ? offset : offset + low;
      last[k] = low < 0 ? offset : offset + (windows.last[k] as number);
    }
    const resets = resetsOf(samples, timestampsMs.length);
    this.#anew = resets.length === 0 ? NO_WINDOWS : this.#windowsWith(resets, offset);
    this.#extrapolate(samples, windows, isRate ? ranges.rangeMs / 1000 : 1);
  }

  /** @param resets Samples at which the counter began anew, in order. */
  #windowsWith(resets: readonly number[], offset: number): AnewWindow[] {
    const anew: AnewWindow[] = [];
    let reset = 0;
    for (let k = 0; k < this.present.length; k++) {
      if (this.present[k] === 0) continue;
      const low = (this.#first[k] as number) - offset; // in range, as above and below
      const high = (this.#last[k] as number) - offset + 1;
      while (reset < resets.length && (resets[reset] as number) <= low) reset++;
      if (reset === resets.length) break;
      if ((resets[reset] as number) >= high) continue;
      const atFirst = resets[reset] === low + 1;
      const reached: number[] = [];
      for (let r = atFirst ? reset + 1 : reset; r < resets.length && (resets[r] as number) < high; r++) {
        reached.push(offset + (resets[r] as number) - 1);
      }
      anew.push({ step: k, atFirst, reached });
    }
    return anew;
  }

  /** Computes one row for all steps. */
  run(numbers: Float64Array, from: number, out: Float64Array, to: number): void {
    const first = this.#first;
    const last = this.#last;
    const factor = this.#factor;
    const steps = first.length;
    // Where it begins anew this is written over, and where there is nothing nobody looks.
    for (let k = 0; k < steps; k++) {
      // In range: a step each, and samples of the series, here and below.
      const change = (numbers[from + (last[k] as number)] as number) - (numbers[from + (first[k] as number)] as number);
      out[to + k] = change * (factor[k] as number);
    }
    const anew = this.#anew;
    for (let i = 0; i < anew.length; i++) {
      const window = anew[i] as AnewWindow;
      out[to + window.step] = this.#changeAnew(numbers, from, window) * (factor[window.step] as number);
    }
  }

  /** By how much a row grew in a window in which the counter began anew. */
  #changeAnew(numbers: Float64Array, from: number, { step, atFirst, reached }: AnewWindow): number {
    const end = numbers[from + (this.#last[step] as number)] as number; // in range, as above
    let change = atFirst ? end : end - (numbers[from + (this.#first[step] as number)] as number);
    for (const sample of reached) change += numbers[from + sample] as number;
    return change;
  }

  /** @see extrapolatedHistogram */
  #extrapolate({ numbers, columns }: DenseSamples, windows: RangeWindows, seconds: number): void {
    const counts = COUNT_ROW * columns;
    const first = this.#first;
    const last = this.#last;
    const factor = this.#factor;
    const { sampledSeconds, beforeSeconds, afterSeconds } = windows;
    const anew = this.#anew;
    let next = 0;
    for (let k = 0; k < first.length; k++) {
      if (this.present[k] === 0) continue;
      const firstCount = numbers[counts + (first[k] as number)] as number; // in range, as above
      const window = anew[next];
      let growth: number;
      if (window?.step === k) {
        next++;
        growth = this.#changeAnew(numbers, counts, window);
      } else growth = (numbers[counts + (last[k] as number)] as number) - firstCount;
      const sampled = sampledSeconds[k] as number; // in range: there is a window
      let before = beforeSeconds[k] as number;
      if (growth > 0 && firstCount >= 0) {
        const toZero = sampled * (firstCount / growth);
        if (toZero < before) before = toZero;
      }
      factor[k] = extrapolation(sampled, before, afterSeconds[k] as number) / seconds;
    }
  }
}
