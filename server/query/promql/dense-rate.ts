/**
 * `rate` and `increase` over native histograms in columns: every bucket of a series is gone through once for all steps.
 *
 * Only what is by far the most frequent is done here: counters of one schema and zero bucket, nothing but histograms, no
 * start timestamps. All numbers are those of `histogram-rate.ts`, computed in the same order.
 */

import { type DenseSamples, isResetIn } from "./dense-samples.ts";
import { COUNT_ROW, type DenseTable, rowsOf, ZERO_ROW } from "./histogram/dense-histograms.ts";
import { usesCustomBuckets } from "./histogram/float-histogram.ts";
import type { RangeGrid } from "./select-steps.ts";
import { stepTimeMs } from "./step-vector.ts";

/** A window in which a counter began anew. */
interface AnewWindow {
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
  /** 1 where there is a result. */
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

/** For each step which samples its rate is made of, and the factor of the extrapolation. */
class Windows {
  readonly present: Uint8Array;
  readonly #first: Int32Array;
  readonly #last: Int32Array;
  readonly #factor: Float64Array;
  /** By step. */
  readonly #anew = new Map<number, AnewWindow>();
  readonly #samples: DenseSamples;

  constructor(samples: DenseSamples, timestampsMs: Float64Array, ranges: RangeGrid, { isRate }: DenseRateKind) {
    const { steps } = ranges.grid;
    this.#samples = samples;
    this.present = new Uint8Array(steps);
    this.#first = new Int32Array(steps);
    this.#last = new Int32Array(steps);
    this.#factor = new Float64Array(steps);
    const { length } = timestampsMs;
    const resets = resetsOf(samples, length);
    let low = 0;
    let reset = 0;
    let high = 0;
    for (let k = 0; k < steps; k++) {
      const endMs = stepTimeMs(ranges.shifted, k);
      const startMs = endMs - ranges.rangeMs;
      while (high < length && (timestampsMs[high] as number) <= endMs) high++; // in range: the loop's bounds
      while (low < high && (timestampsMs[low] as number) <= startMs) low++;
      if (high - low < 2) continue;
      this.present[k] = 1;
      const { offset } = samples;
      this.#last[k] = offset + high - 1;
      this.#first[k] = offset + low;
      while (reset < resets.length && (resets[reset] as number) <= low) reset++; // in range, here and below
      if (reset < resets.length && (resets[reset] as number) < high) {
        const atFirst = resets[reset] === low + 1;
        const reached: number[] = [];
        for (let r = atFirst ? reset + 1 : reset; r < resets.length && (resets[r] as number) < high; r++) {
          reached.push(offset + (resets[r] as number) - 1);
        }
        this.#anew.set(k, { atFirst, reached });
      }
      const factor = this.#extrapolation(k, offset + low, {
        firstMs: timestampsMs[low] as number,
        lastMs: timestampsMs[high - 1] as number,
        startMs,
        endMs,
      });
      this.#factor[k] = isRate ? factor / ((endMs - startMs) / 1000) : factor;
    }
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
    for (const [k, { atFirst, reached }] of this.#anew) {
      const end = numbers[from + (last[k] as number)] as number;
      let change = atFirst ? end : end - (numbers[from + (first[k] as number)] as number);
      for (const sample of reached) change += numbers[from + sample] as number;
      out[to + k] = change * (factor[k] as number);
    }
  }

  /** @see extrapolatedHistogram */
  #extrapolation(
    step: number,
    low: number,
    times: { readonly firstMs: number; readonly lastMs: number; readonly startMs: number; readonly endMs: number },
  ): number {
    const { firstMs, lastMs, startMs, endMs } = times;
    const counts = COUNT_ROW * this.#samples.columns;
    const { numbers } = this.#samples;
    const last = this.#last[step] as number;
    const anew = this.#anew.get(step);
    const firstCount = numbers[counts + low] as number;
    let growth = numbers[counts + last] as number;
    if (anew?.atFirst !== true) growth -= firstCount;
    for (const sample of anew?.reached ?? []) growth += numbers[counts + sample] as number;
    const meanSeconds = (lastMs - firstMs) / 1000 / (last - low);
    const threshold = meanSeconds * 1.1;
    const sampledSeconds = (lastMs - firstMs) / 1000;
    let toStart = (firstMs - startMs) / 1000;
    let toEnd = (endMs - lastMs) / 1000;
    if (toStart >= threshold) toStart = meanSeconds / 2;
    if (growth > 0 && firstCount >= 0) {
      const toZero = sampledSeconds * (firstCount / growth);
      if (toZero < toStart) toStart = toZero;
    }
    if (toEnd >= threshold) toEnd = meanSeconds / 2;
    return sampledSeconds === 0 ? 1 : (sampledSeconds + toStart + toEnd) / sampledSeconds;
  }
}
