/**
 * Range functions at one step, computed where the samples lie: of each series only the result goes to the worker.
 *
 * They are the kernels of `range-kernels.ts`; what they cannot have seen (start timestamps that count, statistics, parts
 * of the query that are measured) is left to samples.
 */

import type { PromqlCall } from "../../../grammar/promql-tree.ts";
import type { Labels, SeriesSamples } from "../../model/series.ts";
import type { FloatReader, SeriesNumbers } from "../../store/reader.ts";
import {
  type KnownLabels,
  type PackedLabels,
  packedLabelBuffers,
  packLabels,
  type SentLabels,
} from "./packed-labels.ts";
import { fallsIn, RANGE_KERNELS, type RangeKernel, type RangeWindow } from "./range-kernels.ts";
import { isStale, wordsOf } from "./value-words.ts";

/** A range function at one step. */
export interface WindowCall {
  readonly name: string;
  /** Edges of the window: left one open. */
  readonly startMs: number;
  readonly endMs: number;
  /** Its first scalar argument; 0 where it has none. */
  readonly first: number;
}

/** Samples of a series that are read at once, by function: what sorts them takes more than one look at each. */
const LINEAR_MAX = 2_048;
const SORTED_MAX = 128;
const SAMPLES_MAX: ReadonlyMap<string, number> = new Map([
  ...[
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "first_over_time",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
  ].map((name) => [name, LINEAR_MAX] as const),
  ["quantile_over_time", SORTED_MAX],
]);

/** What a call is where its samples lie; undefined where it is none of those that are computed there. */
export function windowCall(
  { name, args }: PromqlCall,
  { endMs, rangeMs }: { readonly endMs: number; readonly rangeMs: number },
): WindowCall | undefined {
  if (!SAMPLES_MAX.has(name)) return undefined;
  let first = 0;
  for (const argument of args) {
    if (argument.kind === "number") first = argument.value;
    else if (argument.kind !== "range") return undefined;
  }
  return { name, startMs: endMs - rangeMs, endMs, first };
}

/** What computes a call from the samples of each series. */
export function windowReader({ name, startMs, endMs, first }: WindowCall): FloatReader {
  const kernel = RANGE_KERNELS.get(name);
  const samplesMax = SAMPLES_MAX.get(name);
  if (kernel === undefined || samplesMax === undefined) throw new Error(`${name} is not computed where samples lie`);
  return new KernelReader(kernel, samplesMax, { startMs, endMs, first });
}

class KernelReader implements FloatReader {
  readonly samplesMax: number;
  readonly #kernel: RangeKernel;
  readonly #window: RangeWindow;

  constructor(
    kernel: RangeKernel,
    samplesMax: number,
    { startMs, endMs, first }: Pick<WindowCall, "startMs" | "endMs" | "first">,
  ) {
    this.samplesMax = samplesMax;
    this.#kernel = kernel;
    const none = new Float64Array(0);
    const edges = { startMs, endMs, earliestMs: startMs, stepMs: endMs };
    const columns = { timestampsMs: none, values: none, startsMs: undefined, low: 0, high: 0 };
    this.#window = { ...columns, ...edges, first, second: 0, hasResets: false, overlaps: false, result: 0 };
  }

  get result(): number {
    return this.#window.result;
  }

  read(timestampsMs: Float64Array, values: Float64Array, low: number, high: number): boolean {
    const end = withoutMarkers(timestampsMs, values, low, high);
    if (end === low) return false;
    const window = this.#window;
    window.timestampsMs = timestampsMs;
    window.values = values;
    window.low = low;
    window.high = end;
    window.hasResets = fallsIn(values, low, end);
    return this.#kernel(window);
  }
}

/** Moves what is no stale marker together. @returns Where it ends. */
function withoutMarkers(timestampsMs: Float64Array, values: Float64Array, low: number, high: number): number {
  let words: Uint32Array | undefined;
  let end = low;
  for (let i = low; i < high; i++) {
    const value = values[i] as number; // in range: the loop's bounds
    if (Number.isNaN(value)) {
      words ??= wordsOf(values);
      if (isStale(words, i)) continue;
    }
    if (end !== i) {
      timestampsMs[end] = timestampsMs[i] as number;
      values[end] = value;
    }
    end++;
  }
  return end;
}

/** Numbers of some series on their way to the worker. */
export interface PackedNumbers extends PackedLabels {
  readonly values: Float64Array;
}

/** Packs the series `[from, to)`. */
export function packNumbers(found: SeriesNumbers, from: number, to: number, sent: SentLabels): PackedNumbers {
  return { ...packLabels(found.labels.slice(from, to), sent), values: found.values.slice(from, to) };
}

/** Buffers to transfer. */
export function numberBuffers(packed: PackedNumbers): ArrayBuffer[] {
  // It was made above and owns its buffer.
  return [...packedLabelBuffers(packed), packed.values.buffer as ArrayBuffer];
}

/** The series again. @param known Labels that came before; those of this part were added to them. */
export function unpackNumbers({ setNumbers, values }: PackedNumbers, known: Pick<KnownLabels, "set">): NumberSeries[] {
  return numberSeries({ labels: Array.from(setNumbers, (number) => known.set(number)), values });
}

/** The series one by one. */
export function numberSeries({ labels, values }: Pick<SeriesNumbers, "labels" | "values">): NumberSeries[] {
  return labels.map((each, at) => new OneNumber(each, values, at));
}

/** A series of which only what a range function makes of it is known. */
export interface NumberSeries extends SeriesSamples {
  readonly number: number;
}

const NO_SAMPLES = new Float64Array(0);

class OneNumber implements NumberSeries {
  readonly labels: Labels;
  readonly #values: Float64Array;
  readonly #at: number;

  constructor(labels: Labels, values: Float64Array, at: number) {
    this.labels = labels;
    this.#values = values;
    this.#at = at;
  }

  get number(): number {
    return this.#values[this.#at] as number; // in range: a number each
  }

  get timestampsMs(): Float64Array {
    return NO_SAMPLES;
  }

  get values(): Float64Array {
    return NO_SAMPLES;
  }
}
