/** Joins runs of samples of one series that were kept apart: chunks, late samples, blocks. */

import { ByteReader } from "../model/byte-reader.ts";
import { histogramsOf, readStretches } from "../model/histogram-columns.ts";
import type { EncodedHistograms } from "../model/series.ts";
import type { SampleRun } from "./metric-chunk.ts";
import { emptyColumns, type RunColumns } from "./metric-chunk.ts";
import { withReadHint } from "./metric-hints.ts";

/**
 * One run of all samples, in order of time.
 *
 * Where two runs have a sample of the same time, the one of the run that stands first in `runs` is taken. As Prometheus
 * does it, a histogram that follows one of another run says nothing about a reset of its counter.
 *
 * @param runs Each in order of time, none empty. Must not be changed afterwards: a single one is given back as it is.
 */
export function joinRuns(runs: readonly SampleRun[]): SampleRun | undefined {
  const [only] = runs;
  if (runs.length <= 1) return only;
  const byTime = runs
    .map((run, rank) => ({ run: decodedRun(run), rank }))
    .sort((a, b) => firstMs(a.run) - firstMs(b.run));
  const stretches: SampleRun[] = [];
  let overlapping: { run: SampleRun; rank: number }[] = [];
  let endMs = Number.NEGATIVE_INFINITY;
  for (const entry of byTime) {
    if (firstMs(entry.run) > endMs && overlapping.length > 0) {
      stretches.push(mergeOverlapping(overlapping));
      overlapping = [];
    }
    overlapping.push(entry);
    endMs = Math.max(endMs, lastMs(entry.run));
  }
  stretches.push(mergeOverlapping(overlapping));
  return concatenate(stretches);
}

/** The samples of `run` in `[minMs, maxMs]`, as views on its columns; undefined where there are none. */
export function cutRun(run: SampleRun, minMs: number, maxMs: number): SampleRun | undefined {
  const { timestampsMs } = run;
  const { length } = timestampsMs;
  const from = lowerBound(timestampsMs, length, minMs);
  const to = upperBound(timestampsMs, length, maxMs);
  if (from >= to) return undefined;
  return cutBetween(run, from, to, to - from === length ? timestampsMs : timestampsMs.subarray(from, to));
}

/** The samples `[from, to)` of `run`, whose times are given. */
export function cutBetween(run: SampleRun, from: number, to: number, timestampsMs: Float64Array): SampleRun {
  const { values, histograms, startsMs, encoded } = run;
  if (from === 0 && to === values.length) return run;
  return {
    timestampsMs,
    values: values.subarray(from, to),
    histograms: histograms?.slice(from, to),
    startsMs: startsMs?.subarray(from, to),
    encoded: encoded === undefined || encoded.length === 0 ? encoded : cutEncoded(encoded, from, to),
  };
}

function cutEncoded(encoded: readonly EncodedHistograms[], from: number, to: number): EncodedHistograms[] {
  return encoded
    .filter(({ first, count }) => first < to && first + count > from)
    .map((one) => ({ ...one, first: one.first - from }));
}

/** The same run with all of its histograms decoded. @throws BytesEndError where they cannot be. */
function decodedRun(run: SampleRun): SampleRun {
  const { encoded = [], timestampsMs } = run;
  if (encoded.length === 0) return run;
  const histograms = run.histograms?.slice() ?? [];
  for (const { first, count, bytes, numbers } of encoded) {
    const decoded = readStretches(new ByteReader(bytes), bytes, count, numbers).flatMap(histogramsOf);
    for (const [i, histogram] of decoded.entries()) {
      if (first + i >= 0 && first + i < timestampsMs.length) histograms[first + i] = histogram;
    }
  }
  return { ...run, histograms, encoded: undefined };
}

/** First index of `times[0..count)` whose time is at least `ms`. */
export function lowerBound(times: Float64Array, count: number, ms: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] ?? ms) < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** First index of `times[0..count)` whose time is later than `ms`. */
export function upperBound(times: Float64Array, count: number, ms: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] ?? ms) <= ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

function firstMs(run: SampleRun): number {
  return run.timestampsMs[0] ?? 0;
}

function lastMs(run: SampleRun): number {
  return run.timestampsMs[run.timestampsMs.length - 1] ?? 0;
}

function mergeOverlapping(entries: readonly { readonly run: SampleRun; readonly rank: number }[]): SampleRun {
  const ranked = [...entries].sort((a, b) => a.rank - b.rank).map(({ run }) => run);
  let [merged] = ranked;
  if (merged === undefined) throw new Error("nothing to merge");
  for (const run of ranked.slice(1)) merged = mergeTwo(merged, run);
  return merged;
}

/** `first` wins where both have a sample of one time. */
function mergeTwo(first: SampleRun, second: SampleRun): SampleRun {
  const columns = emptyColumns(first.timestampsMs.length + second.timestampsMs.length);
  let count = 0;
  let i = 0;
  let k = 0;
  let previous: SampleRun | undefined;
  while (i < first.timestampsMs.length || k < second.timestampsMs.length) {
    const a = first.timestampsMs[i] ?? Number.POSITIVE_INFINITY;
    const b = second.timestampsMs[k] ?? Number.POSITIVE_INFINITY;
    const source = a <= b ? first : second;
    copySample(source, a <= b ? i : k, columns, count, previous === source);
    previous = source;
    if (a <= b) i++;
    if (b <= a) k++;
    count++;
  }
  return trim(columns, count);
}

function copySample(source: SampleRun, from: number, to: RunColumns, at: number, continues: boolean): void {
  to.timestampsMs[at] = source.timestampsMs[from] ?? 0;
  to.values[at] = source.values[from] ?? 0;
  const histogram = source.histograms?.[from];
  if (histogram !== undefined) {
    to.histograms ??= [];
    to.histograms[at] = continues ? histogram : withReadHint(histogram, false);
  }
  const startMs = source.startsMs?.[from] ?? 0;
  if (startMs !== 0) {
    to.startsMs ??= new Float64Array(to.timestampsMs.length);
    to.startsMs[at] = startMs;
  }
}

function trim(columns: RunColumns, count: number): SampleRun {
  if (count === columns.timestampsMs.length) return columns;
  return {
    timestampsMs: columns.timestampsMs.slice(0, count),
    values: columns.values.slice(0, count),
    histograms: columns.histograms,
    startsMs: columns.startsMs?.slice(0, count),
  };
}

function concatenate(runs: readonly SampleRun[]): SampleRun {
  const [only] = runs;
  if (only !== undefined && runs.length === 1) return only;
  const columns = emptyColumns(runs.reduce((sum, { timestampsMs }) => sum + timestampsMs.length, 0));
  let at = 0;
  for (const run of runs) {
    copyRun(run, columns, at);
    at += run.timestampsMs.length;
  }
  return columns;
}

/** Copies all samples of a run to `columns` from `at` on. */
export function copyRun(
  { timestampsMs, values, histograms, startsMs, encoded = [] }: SampleRun,
  columns: RunColumns,
  at: number,
): void {
  for (const one of encoded) columns.encoded?.push({ ...one, first: one.first + at });
  columns.timestampsMs.set(timestampsMs, at);
  columns.values.set(values, at);
  if (startsMs !== undefined) {
    columns.startsMs ??= new Float64Array(columns.timestampsMs.length);
    columns.startsMs.set(startsMs, at);
  }
  if (histograms === undefined) return;
  columns.histograms ??= [];
  for (const [i, histogram] of histograms.entries())
    if (histogram !== undefined) columns.histograms[at + i] = histogram;
}
