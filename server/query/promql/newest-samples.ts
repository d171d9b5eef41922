/**
 * The newest sample of each selected series on its way to the worker: all that an instant selector looks at where there
 * is one step.
 */

import type { Labels, SeriesSamples } from "../../model/series.ts";
import type { NewestSamples } from "../../store/reader.ts";
import {
  type KnownLabels,
  type PackedLabels,
  packedLabelBuffers,
  packLabels,
  type SentLabels,
} from "./packed-labels.ts";
import { wordsOf } from "./value-words.ts";

/** Newest samples of some series. */
export interface PackedNewest extends PackedLabels {
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** Samples of many series, one each. */
interface NewestColumns {
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
  /** The values as 32-bit words. */
  readonly words: Uint32Array;
}

/** A series of one sample; its columns are made where somebody looks at them. */
export interface NewestSeries extends SeriesSamples {
  readonly newest: NewestColumns;
  /** Which of the samples is its own. */
  readonly at: number;
}

/** Packs the series `[from, to)`. */
export function packNewest(found: NewestSamples, from: number, to: number, sent: SentLabels): PackedNewest {
  return {
    ...packLabels(found.labels.slice(from, to), sent),
    timestampsMs: found.timestampsMs.slice(from, to),
    values: found.values.slice(from, to), // bytes are copied, so NaNs keep their bits
  };
}

/** Buffers to transfer. */
export function newestBuffers(packed: PackedNewest): ArrayBuffer[] {
  // Both were made above and own their buffers.
  return [
    ...packedLabelBuffers(packed),
    packed.timestampsMs.buffer as ArrayBuffer,
    packed.values.buffer as ArrayBuffer,
  ];
}

/** The series again. @param known Labels that came before; those of this part were added to them. */
export function unpackNewest(packed: PackedNewest, known: Pick<KnownLabels, "set">): NewestSeries[] {
  const labels = Array.from(packed.setNumbers, (number) => known.set(number));
  return newestSeries({ labels, timestampsMs: packed.timestampsMs, values: packed.values });
}

/** The series one by one. */
export function newestSeries({
  labels,
  timestampsMs,
  values,
}: Pick<NewestSamples, "labels" | "timestampsMs" | "values">): NewestSeries[] {
  const newest: NewestColumns = { timestampsMs, values, words: wordsOf(values) };
  return labels.map((each, at) => new OneSample(each, newest, at));
}

class OneSample implements NewestSeries {
  readonly labels: Labels;
  readonly newest: NewestColumns;
  readonly at: number;

  constructor(labels: Labels, newest: NewestColumns, at: number) {
    this.labels = labels;
    this.newest = newest;
    this.at = at;
  }

  get timestampsMs(): Float64Array {
    return this.newest.timestampsMs.subarray(this.at, this.at + 1);
  }

  get values(): Float64Array {
    return this.newest.values.subarray(this.at, this.at + 1);
  }
}
