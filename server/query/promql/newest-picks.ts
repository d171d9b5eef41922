/**
 * Which sample is the newest at each step, found in one walk over the times of a series.
 *
 * Invariant: picks are made for one series after the other, from the first step on, into the same column.
 */

import { isStale, wordsOf } from "./value-words.ts";

/** By step, the index of the sample that is picked; -1 for none. */
let picked = new Int32Array(1_024);

/** Steps at which samples are picked. */
export interface PickedSteps {
  readonly startMs: number;
  readonly stepMs: number;
  readonly steps: number;
}

/** Where picked values go: `present` is 1 where there is one, and is left alone where there is none. */
export interface PickedValues {
  readonly values: Float64Array;
  readonly present: Uint8Array;
}

/** Makes room for picks of so many steps; what it holds is anything. */
export function roomForPicks(steps: number): void {
  if (picked.length < steps) picked = new Int32Array(2 * steps);
}

/** Picks one sample for the steps before a time. @returns The first step that is not before it. */
export function pickOne(index: number, endMs: number, beforeMs: number, grid: PickedSteps, from: number): number {
  const { startMs, stepMs, steps } = grid;
  let k = from;
  for (let timeMs = startMs + k * stepMs; k < steps && timeMs < beforeMs; timeMs = startMs + ++k * stepMs) {
    picked[k] = timeMs < endMs ? index : -1;
  }
  return k;
}

/** Picks samples that are one step apart; the last of them is left to what follows. @returns As `pickOne`. */
export function pickEven(
  firstMs: number,
  evenMs: number,
  samples: number,
  before: { readonly grid: PickedSteps; readonly lookbackMs: number; readonly k: number; readonly at: number },
): number {
  const { grid, lookbackMs, at } = before;
  const { startMs, stepMs, steps } = grid;
  const lastMs = firstMs + (samples - 1) * evenMs;
  let { k } = before;
  let timeMs = startMs + k * stepMs;
  if (k === steps || timeMs >= lastMs) return k;
  const by = stepMs / evenMs;
  if (Number.isInteger(by)) {
    // Each step lies as far behind a sample as the one before.
    let index = Math.floor((timeMs - firstMs) / evenMs);
    const isSeen = timeMs - (firstMs + index * evenMs) < lookbackMs;
    for (index += at; k < steps && timeMs < lastMs; timeMs += stepMs, index += by) picked[k++] = isSeen ? index : -1;
    return k;
  }
  for (; k < steps && timeMs < lastMs; timeMs = startMs + ++k * stepMs) {
    const i = Math.floor((timeMs - firstMs) / evenMs);
    picked[k] = timeMs < firstMs + i * evenMs + lookbackMs ? at + i : -1;
  }
  return k;
}

/** Picks samples whose times are told one by one; the last of them is left to what follows. @returns As `pickOne`. */
export function pickUneven(
  timesMs: Float64Array,
  from: number,
  samples: number,
  before: {
    readonly grid: PickedSteps;
    readonly lookbackMs: number;
    readonly k: number;
    readonly newest: number;
    readonly endMs: number;
    /** Index of the first of them. */
    readonly at: number;
  },
): number {
  const { grid, lookbackMs, at } = before;
  let { k, newest, endMs } = before;
  for (let i = 0; i < samples && k < grid.steps; i++) {
    const sampleMs = timesMs[from + i] as number; // in range: the store wrote as many
    k = pickOne(newest, endMs, sampleMs, grid, k);
    newest = at + i;
    endMs = sampleMs + lookbackMs;
  }
  return k;
}

/** Puts the values of picked samples where they go, but for stale markers. */
export function putPicked(steps: number, values: Float64Array, { values: out, present }: PickedValues): void {
  let words: Uint32Array | undefined;
  for (let k = 0; k < steps; k++) {
    const index = picked[k] as number; // in range, as the value
    if (index < 0) continue;
    const value = values[index] as number;
    if (Number.isNaN(value)) {
      words ??= wordsOf(values);
      if (isStale(words, index)) continue;
    }
    present[k] = 1;
    out[k] = value;
  }
}
