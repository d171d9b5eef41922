/**
 * Samples of a series told by window: how many there were, their sum, least, greatest and last, and by how much a counter
 * grew. A window holds the samples in `(k * resolution, (k + 1) * resolution]`, as ranges of PromQL do, and has the time of
 * its last sample.
 *
 * In a block the windows of a series are chunks: the counts; sums, least, greatest, last and growth where there are floats; the
 * last histograms where there are any.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import {
  emptyColumns,
  isStale,
  type RunColumns,
  readChunk,
  type SampleRun,
  type SealedChunk,
  sealChunk,
} from "./metric-chunk.ts";
import { joinRuns } from "./metric-runs.ts";
import type { WindowAggregate } from "./reader.ts";

/** Columns of floats, in the order of their chunks. */
const FLOAT_CHUNKS = ["sum", "min", "max", "last", "increase"] as const;
type FloatColumn = (typeof FLOAT_CHUNKS)[number];

/** One value a window. */
type Column = number[];

/** Windows of one series, oldest first. */
export interface Windows {
  /** Of all windows. */
  readonly countTimes: Column;
  readonly counts: Column;
  /** Of windows with floats. */
  readonly floatTimes: Column;
  readonly floats: Readonly<Record<FloatColumn, Column>>;
  /** Of windows with histograms. */
  readonly histogramTimes: Column;
  readonly histograms: NativeHistogram[];
}

/** No windows. */
function noWindows(): Windows {
  return {
    countTimes: [],
    counts: [],
    floatTimes: [],
    floats: { sum: [], min: [], max: [], last: [], increase: [] },
    histogramTimes: [],
    histograms: [],
  };
}

/**
 * Windows of the samples after `fromMs`; those before tell only what a counter grew from.
 *
 * @param fromMs A multiple of the resolution.
 */
export function windowsOf(run: SampleRun, resolutionMs: number, fromMs: number): Windows {
  const out = noWindows();
  const { timestampsMs, values, histograms } = run;
  let previous: number | undefined;
  let window = Number.NEGATIVE_INFINITY;
  let floatWindow = Number.NEGATIVE_INFINITY;
  let histogramWindow = Number.NEGATIVE_INFINITY;
  let lost = 0;
  for (let at = 0; at < timestampsMs.length; at++) {
    const ms = timestampsMs[at] as number; // in range: the loop's bounds, here and below
    const value = values[at] as number;
    const histogram = histograms?.[at];
    if (histogram === undefined && isStale(value)) continue;
    const here = Math.ceil(ms / resolutionMs);
    if (ms > fromMs) {
      add(out.countTimes, out.counts, here !== window, ms, 1, (before) => before + 1);
      window = here;
      if (histogram !== undefined) {
        const told = withoutHint(histogram);
        add(out.histogramTimes, out.histograms, here !== histogramWindow, ms, told, () => told);
        histogramWindow = here;
      } else {
        lost = addFloat(out, here !== floatWindow, { ms, value, grown: grownBy(previous, value), lost });
        floatWindow = here;
      }
    }
    if (histogram === undefined && !Number.isNaN(value)) previous = value;
  }
  return out;
}

/** What a hint says of the sample before does not hold for the window before. */
function withoutHint(histogram: NativeHistogram): NativeHistogram {
  return histogram.resetHint === "gauge" ? histogram : { ...histogram, resetHint: "unknown" };
}

function add<T>(times: Column, values: T[], isFirst: boolean, ms: number, value: T, more: (before: T) => T): void {
  const last = values.length - 1;
  if (isFirst) {
    times.push(ms);
    values.push(value);
  } else {
    times[last] = ms;
    values[last] = more(values[last] as T); // there is one: it is not the first
  }
}

/** @returns What rounding took from the sum so far. */
function addFloat(
  { floatTimes, floats }: Windows,
  isFirst: boolean,
  {
    ms,
    value,
    grown,
    lost,
  }: { readonly ms: number; readonly value: number; readonly grown: number; readonly lost: number },
): number {
  const { sum, min, max, last, increase } = floats;
  if (isFirst) {
    floatTimes.push(ms);
    for (const column of [sum, min, max, last]) column.push(value);
    increase.push(grown);
    return 0;
  }
  const at = floatTimes.length - 1;
  const before = sum[at] as number; // in range: it is not the first, here and below
  const least = min[at] as number;
  const greatest = max[at] as number;
  floatTimes[at] = ms;
  // What rounding takes is carried along, as PromQL's own sums do.
  const total = before + (value - lost);
  sum[at] = total;
  if (value < least || Number.isNaN(least)) min[at] = value;
  if (value > greatest || Number.isNaN(greatest)) max[at] = value;
  last[at] = value;
  increase[at] = (increase[at] as number) + grown;
  const took = total - before - (value - lost);
  return Number.isFinite(took) ? took : 0;
}

/** By how much a counter grew; one that is smaller than before began anew. */
function grownBy(previous: number | undefined, value: number): number {
  if (previous === undefined || Number.isNaN(value)) return 0;
  return value >= previous ? value - previous : value;
}

/** Windows without those in an interval. */
export function windowsOutside(windows: Windows, minMs: number, maxMs: number): Windows {
  const isOutside = (ms: number) => ms < minMs || ms > maxMs;
  const kept = <T>(times: Column, values: readonly T[]) => values.filter((_, at) => isOutside(times[at] ?? 0));
  const { countTimes, counts, floatTimes, floats, histogramTimes, histograms } = windows;
  return {
    countTimes: countTimes.filter(isOutside),
    counts: kept(countTimes, counts),
    floatTimes: floatTimes.filter(isOutside),
    floats: {
      sum: kept(floatTimes, floats.sum),
      min: kept(floatTimes, floats.min),
      max: kept(floatTimes, floats.max),
      last: kept(floatTimes, floats.last),
      increase: kept(floatTimes, floats.increase),
    },
    histogramTimes: histogramTimes.filter(isOutside),
    histograms: kept(histogramTimes, histograms),
  };
}

/** Windows as chunks of a block. */
export function chunksOfWindows(windows: Windows): SealedChunk[] {
  const { countTimes, counts, floatTimes, floats, histogramTimes, histograms } = windows;
  if (counts.length === 0) return [];
  const chunk = (times: Column, values: Column, of?: readonly NativeHistogram[]) =>
    sealChunk(
      { timestampsMs: Float64Array.from(times), values: Float64Array.from(values), histograms: of },
      0,
      times.length,
    );
  const chunks = [chunk(countTimes, counts)];
  if (floatTimes.length > 0) for (const name of FLOAT_CHUNKS) chunks.push(chunk(floatTimes, floats[name]));
  const nothing = histograms.map(() => Number.NaN);
  if (histograms.length > 0) chunks.push(chunk(histogramTimes, nothing, histograms));
  return chunks;
}

/** What `chunksOfWindows` made chunks of. */
export function windowsOfChunks(chunks: readonly SealedChunk[]): Windows {
  const windows = noWindows();
  const place = placesOf(chunks);
  const counted = columnsOf(place.counts);
  if (counted === undefined) return windows;
  const float = (name: FloatColumn) => [...(columnsOf(place.floats[name])?.values ?? [])];
  const histograms = columnsOf(place.histograms);
  return {
    countTimes: [...counted.timestampsMs],
    counts: [...counted.values],
    floatTimes: [...(columnsOf(place.floats.last)?.timestampsMs ?? [])],
    floats: {
      sum: float("sum"),
      min: float("min"),
      max: float("max"),
      last: float("last"),
      increase: float("increase"),
    },
    histogramTimes: [...(histograms?.timestampsMs ?? [])],
    histograms: (histograms?.histograms ?? []).filter((one) => one !== undefined),
  };
}

function placesOf(chunks: readonly SealedChunk[]): {
  readonly counts: SealedChunk | undefined;
  readonly floats: Readonly<Record<FloatColumn, SealedChunk | undefined>>;
  readonly histograms: SealedChunk | undefined;
} {
  const hasFloats = chunks.length > FLOAT_CHUNKS.length;
  const float = (name: FloatColumn) => (hasFloats ? chunks[1 + FLOAT_CHUNKS.indexOf(name)] : undefined);
  return {
    counts: chunks[0],
    floats: {
      sum: float("sum"),
      min: float("min"),
      max: float("max"),
      last: float("last"),
      increase: float("increase"),
    },
    histograms: chunks[hasFloats ? 1 + FLOAT_CHUNKS.length : 1],
  };
}

function columnsOf(chunk: SealedChunk | undefined): RunColumns | undefined {
  if (chunk === undefined) return undefined;
  const columns = emptyColumns(chunk.count);
  readChunk(chunk, columns, 0);
  return columns;
}

/** Gathers what one series is by windows, oldest block first, and then by samples that are in no window yet. */
export class WindowRun {
  readonly #aggregate: WindowAggregate;
  readonly #times: number[] = [];
  readonly #values: number[] = [];
  readonly #histogramRuns: SampleRun[] = [];
  /** Of a counter: what it counted so far, and its last value. */
  #total: number | undefined;
  #last: number | undefined;

  constructor(aggregate: WindowAggregate) {
    this.#aggregate = aggregate;
  }

  /** Windows of which the last sample lies outside of `[minMs, maxMs]` are left out. Nothing is made before `askedFromMs`. */
  addWindows(
    chunks: readonly SealedChunk[],
    window: {
      readonly minMs: number;
      readonly maxMs: number;
      readonly resolutionMs: number;
      readonly askedFromMs: number;
    },
  ): void {
    const { minMs, maxMs, resolutionMs, askedFromMs } = window;
    const place = placesOf(chunks);
    const aggregate = this.#aggregate;
    const column = columnsOf(
      aggregate === "count" ? place.counts : place.floats[aggregate === "counter" ? "increase" : aggregate],
    );
    const last = aggregate === "counter" ? columnsOf(place.floats.last) : undefined;
    for (let at = 0; at < (column?.timestampsMs.length ?? 0); at++) {
      const ms = column?.timestampsMs[at] as number; // in range: the loop's bounds, here and below
      if (ms < minMs || ms > maxMs) continue;
      const value = column?.values[at] as number;
      if (last === undefined) this.#add(ms, value);
      else {
        const startMs = windowStart(ms, resolutionMs);
        this.#addGrowth({ ms, startMs, askedFromMs }, value, last.values[at] as number);
      }
    }
    const histograms = this.#takesHistograms ? columnsOf(place.histograms) : undefined;
    if (histograms !== undefined) this.#histogramRuns.push(cutTo(histograms, minMs, maxMs));
  }

  /** Samples after all that was added. */
  addSamples(run: SampleRun): void {
    const { timestampsMs, values, histograms } = run;
    for (let at = 0; at < timestampsMs.length; at++) {
      const value = values[at] as number; // in range: the loop's bounds
      const ms = timestampsMs[at] as number;
      if (this.#aggregate === "count") {
        if (histograms?.[at] !== undefined || !isStale(value)) this.#add(ms, 1);
      } else if (histograms?.[at] === undefined) {
        const isCounter = this.#aggregate === "counter" && !Number.isNaN(value);
        this.#add(ms, isCounter ? this.#count(grownBy(this.#last, value), value) : value);
      }
    }
    if (histograms === undefined || !this.#takesHistograms) return;
    const only = timestampsMs.filter((_, at) => histograms[at] !== undefined);
    if (only.length > 0) {
      this.#histogramRuns.push({
        timestampsMs: only,
        values: only.map(() => Number.NaN),
        histograms: [...histograms].filter((one) => one !== undefined),
      });
    }
  }

  /** All of it in order of time; undefined where there is nothing. */
  finish(): SampleRun | undefined {
    const floats = { timestampsMs: Float64Array.from(this.#times), values: Float64Array.from(this.#values) };
    const runs: SampleRun[] = this.#times.length > 0 ? [floats] : [];
    const filled = this.#histogramRuns.filter(({ timestampsMs }) => timestampsMs.length > 0);
    return joinRuns([...runs, ...filled]);
  }

  /** The last of a window is no sum of them, and histograms have no least. */
  get #takesHistograms(): boolean {
    return this.#aggregate === "last" || this.#aggregate === "counter";
  }

  #add(ms: number, value: number): void {
    this.#times.push(ms);
    this.#values.push(value);
  }

  /** A counter stands at the start of a window where it stood before, so that its growth inside is in every range that holds it. */
  #addGrowth(
    { ms, startMs, askedFromMs }: { readonly ms: number; readonly startMs: number; readonly askedFromMs: number },
    grown: number,
    last: number,
  ): void {
    const before = this.#total ?? Math.max(0, last - grown);
    // What came at the very start stands there already.
    const isFree = startMs > (this.#times.at(-1) ?? Number.NEGATIVE_INFINITY);
    if (startMs >= askedFromMs && startMs < ms && isFree) this.#add(startMs, before);
    this.#total = before;
    this.#add(ms, this.#count(grown, last));
  }

  /** A counter without resets: it starts at its first value, and grows by what was counted. */
  #count(grown: number, last: number): number {
    const total = this.#total === undefined ? last : this.#total + grown;
    this.#total = total;
    this.#last = last;
    return total;
  }
}

/** The first millisecond of the window that a time lies in. */
function windowStart(ms: number, resolutionMs: number): number {
  return (Math.ceil(ms / resolutionMs) - 1) * resolutionMs + 1;
}

function cutTo(run: RunColumns, minMs: number, maxMs: number): SampleRun {
  const places = [...run.timestampsMs.keys()].filter((at) => {
    const ms = run.timestampsMs[at] ?? 0;
    return ms >= minMs && ms <= maxMs;
  });
  return {
    timestampsMs: Float64Array.from(places, (at) => run.timestampsMs[at] ?? 0),
    values: Float64Array.from(places, () => Number.NaN),
    histograms: places.map((at) => run.histograms?.[at]),
  };
}
