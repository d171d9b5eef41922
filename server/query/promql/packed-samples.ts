/** Selected series on their way to the worker: few objects, five buffers that are handed over. */

import type { Labels, SeriesSamples } from "../../model/series.ts";

/** Series of several selections, one after the other. */
export interface PackedSamples {
  /** How many series each selection has. */
  readonly counts: readonly number[];
  readonly labels: readonly Labels[];
  /** For each series: where its samples begin and how many they are. */
  readonly timesFrom: Uint32Array;
  readonly valuesFrom: Uint32Array;
  readonly lengths: Uint32Array;
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
}

/** Copies samples together; time stamps that several series share are copied once. */
export function packSamples(selected: readonly (readonly SeriesSamples[])[]): PackedSamples {
  const all = selected.flat();
  const shared = new Map<Float64Array, number>();
  let times = 0;
  let values = 0;
  for (const series of all) {
    values += series.values.length;
    if (shared.has(series.timestampsMs)) continue;
    shared.set(series.timestampsMs, times);
    times += series.timestampsMs.length;
  }
  const packed: PackedSamples = {
    counts: selected.map((series) => series.length),
    labels: all.map((series) => series.labels),
    timesFrom: new Uint32Array(all.length),
    valuesFrom: new Uint32Array(all.length),
    lengths: new Uint32Array(all.length),
    timestampsMs: new Float64Array(times),
    values: new Float64Array(values),
  };
  for (const [timestampsMs, from] of shared) packed.timestampsMs.set(timestampsMs, from);
  let from = 0;
  for (const [index, series] of all.entries()) {
    packed.timesFrom[index] = shared.get(series.timestampsMs) ?? 0;
    packed.valuesFrom[index] = from;
    packed.lengths[index] = series.values.length;
    packed.values.set(series.values, from); // bytes are copied, so NaNs keep their bits
    from += series.values.length;
  }
  return packed;
}

/** Buffers to transfer, so that nothing is copied twice. */
export function packedBuffers(packed: PackedSamples): ArrayBuffer[] {
  const { timesFrom, valuesFrom, lengths, timestampsMs, values } = packed;
  return [timesFrom, valuesFrom, lengths, timestampsMs, values].map((array) => array.buffer as ArrayBuffer); // made above
}

/** Series of each selection again, as views on the buffers. */
export function unpackSamples(packed: PackedSamples): SeriesSamples[][] {
  const out: SeriesSamples[][] = [];
  let index = 0;
  for (const count of packed.counts) {
    const series: SeriesSamples[] = [];
    for (let i = 0; i < count; i++, index++) {
      const timesFrom = packed.timesFrom[index] ?? 0;
      const valuesFrom = packed.valuesFrom[index] ?? 0;
      const length = packed.lengths[index] ?? 0;
      series.push({
        labels: packed.labels[index] ?? [],
        timestampsMs: packed.timestampsMs.subarray(timesFrom, timesFrom + length),
        values: packed.values.subarray(valuesFrom, valuesFrom + length),
      });
    }
    out.push(series);
  }
  return out;
}
