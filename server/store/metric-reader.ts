/**
 * Answers selectors from memory and blocks.
 *
 * Memory is looked at first and the list of blocks after it, so a sample that is sealed meanwhile is found in one of the
 * two at least; where it is found in both it counts once.
 */

import type { ChunkSelection } from "../model/chunk-selection.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import type { SampleRoom } from "../model/sample-room.ts";
import type { Labels, Matcher, SeriesSamples } from "../model/series.ts";
import type { BlockQuery, MetricBlocks } from "./metric-blocks.ts";
import { type RunColumns, readChunks, type SampleRun, type SealedChunk } from "./metric-chunk.ts";
import { ChunkGatherer } from "./metric-chunk-columns.ts";
import type { MetricHead } from "./metric-head.ts";
import { type Level, piecesOf } from "./metric-levels.ts";
import { matchSeries } from "./metric-match.ts";
import { copyRun, cutRun, joinRuns } from "./metric-runs.ts";
import { readRun } from "./metric-scrape-times.ts";
import { SelectBudget } from "./metric-select-budget.ts";
import {
  copyFloatsOf,
  copyNewestFloat,
  encodedIn,
  findHistogramsOf,
  type MetricSeries,
  runsIn,
} from "./metric-series.ts";
import { byReference, matchInOrder, SeriesFinder } from "./metric-series-finder.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import { type FloatScratch, floatScratch } from "./metric-track.ts";
import { WindowScratch } from "./metric-window-histograms.ts";
import { WindowRun } from "./metric-windows.ts";
import type {
  HistogramReader,
  NewestSamples,
  NumbersSelection,
  SelectLimits,
  SeriesNumbers,
  WindowSource,
} from "./reader.ts";
import { Turns } from "./turns.ts";

/** The clock is looked at once for so many series of which little is read. */
const LOOK_EVERY = 64;
const NO_RUNS: readonly SampleRun[] = [];

const NOTHING_ENCODED = { chunks: [], runs: NO_RUNS };

/** What `MetricReader.encoded` reads. */
export interface EncodedWindow {
  readonly minMs: number;
  readonly maxMs: number;
  /** Told of samples and of bytes that are kept for them; throws where they are too many. */
  readonly budget: { add(samples: number, bytes: number): void };
  readonly signal?: AbortSignal | undefined;
}

/** A series whose samples are encoded. */
export interface EncodedSeries {
  readonly labels: Labels;
  /** Its samples in the range; undefined where none lies there. */
  decode(): SampleRun | undefined;
}

interface ReaderParts {
  readonly table: SeriesTable;
  readonly head: MetricHead;
  readonly blocks: MetricBlocks;
  readonly downsampler: { readonly levels: readonly Level[]; levelsFor(resolutionMs: number): readonly Level[] };
}

/** What to gather, within which bounds. */
interface Gathering {
  readonly minMs: number;
  readonly maxMs: number;
  readonly limits: SelectLimits | undefined;
  readonly turns: Turns;
}

/** The reading half of the metric store. */
export class MetricReader {
  /** Which series and labels there are. */
  readonly finder: SeriesFinder;
  readonly #parts: ReaderParts;

  constructor(parts: ReaderParts) {
    this.finder = new SeriesFinder(parts);
    this.#parts = parts;
  }

  /** @see StoreReader */
  async select(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    limits?: SelectLimits,
  ): Promise<SeriesSamples[]> {
    const turns = new Turns(limits?.signal);
    const matched = await matchInOrder(this.#parts.table.index, matchers, turns);
    return this.#gatherFrom(matched, { minMs, maxMs, limits, turns });
  }

  /** @see StoreReader */
  async selectNewest(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    limits?: Omit<SelectLimits, "source">,
  ): Promise<NewestSamples> {
    const turns = new Turns(limits?.signal);
    const matched = await matchSeries(this.#parts.table.index, matchers, turns);
    const labels: Labels[] = [];
    const columns = { timestampsMs: new Float64Array(matched.length), values: new Float64Array(matched.length) };
    const rest: MetricSeries[] = [];
    const budget = new SelectBudget(limits);
    let looked = 0;
    for (const series of matched) {
      const found = copyNewestFloat(series, { minMs, maxMs }, columns, labels.length);
      if (found === "copied") {
        labels.push(series.labels);
        budget.spendFloats(1);
      } else if (found === "unknown") rest.push(series);
      if (++looked % LOOK_EVERY === 0 && turns.isDue) await turns.pass();
    }
    const others = await this.#gatherRest(rest, { minMs, maxMs, limits, turns }, labels.length, labels.length);
    const { timestampsMs, values } = columns;
    const { length } = labels;
    return { labels, timestampsMs: timestampsMs.subarray(0, length), values: values.subarray(0, length), others };
  }

  /** @see StoreReader */
  async selectNumbers(
    { matchers, minMs, maxMs, floats, histograms }: NumbersSelection,
    limits?: Omit<SelectLimits, "source">,
  ): Promise<SeriesNumbers> {
    const turns = new Turns(limits?.signal);
    const matched = await matchSeries(this.#parts.table.index, matchers, turns);
    const labels: Labels[] = [];
    const made: { readonly labels: Labels; readonly histogram: NativeHistogram }[] = [];
    const values = new Float64Array(matched.length);
    const rest: MetricSeries[] = [];
    const budget = new SelectBudget(limits);
    const scratch = scratchOf(floats.samplesMax);
    const { timestampsMs, values: samples } = scratch.columns;
    // What a block holds is in memory no more; one that is written meanwhile is seen after the turn it took.
    let isInMemory = !this.#hasBlocks(minMs, maxMs);
    let looked = 0;
    let count = 0;
    for (const series of matched) {
      const found = isInMemory ? copyFloatsOf(series, { minMs, maxMs }, scratch) : "unknown";
      if (found === "copied") {
        const { low, high } = scratch;
        budget.spendFloats(high - low);
        count += high - low;
        if (floats.read(timestampsMs, samples, low, high)) {
          values[labels.length] = floats.result;
          labels.push(series.labels);
        }
      } else if (found === "unknown") {
        const histogram = isInMemory ? madeOf(series, { minMs, maxMs }, histograms) : "unknown";
        if (histogram === "unknown") rest.push(series);
        else {
          const { cost } = windowScratch;
          budget.spendFloats(cost);
          count += cost;
          if (histogram !== "nothing") made.push({ labels: series.labels, histogram });
        }
      }
      if (++looked % LOOK_EVERY === 0 && turns.isDue) {
        await turns.pass();
        isInMemory &&= !this.#hasBlocks(minMs, maxMs);
      }
    }
    const series = labels.length + made.length;
    const others = await this.#gatherRest(rest, { minMs, maxMs, limits, turns }, count, series);
    return { labels, values: values.subarray(0, labels.length), made, samples: count, others };
  }

  /** @see StoreReader */
  async selectChunks(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    limits: Omit<SelectLimits, "source"> & { readonly room: SampleRoom },
  ): Promise<ChunkSelection> {
    const turns = new Turns(limits.signal);
    const matched = await matchSeries(this.#parts.table.index, matchers, turns);
    const gatherer = new ChunkGatherer(matched.length, { minMs, maxMs }, limits.room);
    const budget = new SelectBudget(limits);
    for (let row = 0; row < matched.length; row++) {
      const series = matched[row];
      if (series !== undefined) budget.expect(gatherer.addMemory(row, series));
      if (row % LOOK_EVERY === 0 && turns.isDue) await turns.pass();
    }
    await this.#addBlocks(matched, gatherer, { minMs, maxMs, limits, turns }, budget);
    const labels: Labels[] = [];
    const rows = new Uint32Array(matched.length);
    const rest: MetricSeries[] = [];
    let samples = 0;
    for (let row = 0; row < matched.length; row++) {
      const series = matched[row];
      if (series === undefined) continue;
      if (gatherer.isLeftOut(row)) rest.push(series);
      else if (gatherer.isFound(row)) {
        const size = gatherer.sizeOf(row);
        budget.spendFloats(size);
        samples += size;
        rows[labels.length] = row;
        labels.push(series.labels);
      }
    }
    const others = await this.#gatherRest(rest, { minMs, maxMs, limits, turns }, samples, labels.length);
    return { labels, rows: rows.subarray(0, labels.length), columns: gatherer.finish(), samples, others };
  }

  async #addBlocks(
    matched: readonly MetricSeries[],
    gatherer: ChunkGatherer,
    { minMs, maxMs, limits, turns }: Gathering,
    budget: SelectBudget,
  ): Promise<void> {
    const { blocks } = this.#parts;
    await blocks.using(minMs, maxMs, async (used) => {
      if (used.length === 0) return;
      const rowOf = new Map<MetricSeries, number>();
      for (const [row, series] of matched.entries()) rowOf.set(series, row);
      const inOrder = await byReference(matched, this.#parts.table.index, turns);
      const query: BlockQuery = { series: inOrder, minMs, maxMs, signal: limits?.signal, room: limits?.room };
      for (const block of used) {
        gatherer.beginBlock();
        await blocks.read(block, query, (series, chunks) => {
          const row = rowOf.get(series);
          if (row !== undefined) budget.expect(gatherer.addBlock(row, chunks));
        });
        if (turns.isDue) await turns.pass();
      }
    });
  }

  #hasBlocks(minMs: number, maxMs: number): boolean {
    return this.#parts.blocks.all.some(({ foot }) => foot.maxMs >= minMs && foot.minMs <= maxMs);
  }

  /** Gathers series beside others that took some of what is allowed. */
  async #gatherRest(
    rest: readonly MetricSeries[],
    { limits, ...gathering }: Gathering,
    samples: number,
    series: number,
  ): Promise<SeriesSamples[]> {
    if (rest.length === 0) return [];
    const left =
      limits === undefined
        ? undefined
        : { ...limits, samplesMax: limits.samplesMax - samples, seriesMax: limits.seriesMax - series };
    return this.#gather(await byReference(rest, this.#parts.table.index, gathering.turns), {
      ...gathering,
      limits: left,
    });
  }

  /** @see StoreReader */
  async selectSeries(
    labels: readonly Labels[],
    minMs: number,
    maxMs: number,
    limits?: SelectLimits,
  ): Promise<SeriesSamples[]> {
    const asked = labels.map((each) => this.#parts.table.find(each)).filter((series) => series !== undefined);
    return this.#gatherFrom(asked, { minMs, maxMs, limits, turns: new Turns(limits?.signal) });
  }

  #gatherFrom(wanted: readonly MetricSeries[], gathering: Gathering): Promise<SeriesSamples[]> {
    const source = gathering.limits?.source;
    return source === undefined ? this.#gather(wanted, gathering) : this.#gatherWindows(wanted, gathering, source);
  }

  /** Windows as far as they are written and kept, samples where they are not. */
  async #gatherWindows(
    wanted: readonly MetricSeries[],
    gathering: Gathering,
    { resolutionMs, aggregate }: WindowSource,
  ): Promise<SeriesSamples[]> {
    const { minMs, maxMs, limits, turns } = gathering;
    const budget = new SelectBudget(limits);
    const runs = new Map<Labels, { readonly series: MetricSeries; readonly run: WindowRun }>();
    for (const series of wanted) runs.set(series.labels, { series, run: new WindowRun(aggregate) });
    const inOrder = await byReference(wanted, this.#parts.table.index, turns);
    for (const piece of piecesOf(this.#parts.downsampler.levelsFor(resolutionMs), minMs, maxMs)) {
      const { level } = piece;
      if (level === undefined) {
        const bounds = limits === undefined ? undefined : { ...limits, room: undefined, source: undefined };
        for (const samples of await this.#gather(wanted, { ...piece, limits: bounds, turns })) {
          runs.get(samples.labels)?.run.addSamples(samples);
        }
        continue;
      }
      const { blocks } = level;
      const query = {
        series: inOrder,
        minMs: piece.minMs,
        maxMs: piece.maxMs,
        askedFromMs: minMs,
        resolutionMs: level.resolutionMs,
        signal: limits?.signal,
      };
      await blocks.using(query.minMs, query.maxMs, async (used) => {
        for (const block of used.toSorted((a, b) => a.foot.minMs - b.foot.minMs)) {
          await blocks.read(block, query, ({ labels }, chunks) => {
            budget.expect(chunks[0]?.count ?? 0);
            runs.get(labels)?.run.addWindows(chunks, query);
          });
          if (turns.isDue) await turns.pass();
        }
      });
    }
    const found: SeriesSamples[] = [];
    for (const { series, run } of runs.values()) {
      const whole = run.finish();
      if (whole === undefined) continue;
      budget.spend(whole);
      found.push(samplesOf(series, whole));
      if (turns.isDue) await turns.pass();
    }
    return found;
  }

  /**
   * The samples that `select` would give, still encoded: a byte or two each, decoded series by series.
   *
   * @throws ThalwegError `sql_samples_max` beyond the limits.
   */
  async encoded(matchers: readonly Matcher[], window: EncodedWindow): Promise<EncodedSeries[]> {
    const { minMs, maxMs, budget, signal } = window;
    const turns = new Turns(signal);
    const matched = await matchInOrder(this.#parts.table.index, matchers, turns);
    const found = new Map<MetricSeries, { sealed: (readonly SealedChunk[])[]; runs: readonly SampleRun[] }>();
    const memory = new Map<MetricSeries, readonly SealedChunk[]>();
    for (const series of matched) {
      const { chunks, runs } = series.head === undefined ? NOTHING_ENCODED : encodedIn(series.head, minMs, maxMs);
      for (const { timestampsMs } of runs) budget.add(timestampsMs.length, 16 * timestampsMs.length);
      for (const { count } of chunks) budget.add(count, 0);
      if (chunks.length > 0) memory.set(series, chunks);
      found.set(series, { sealed: [], runs });
      if (turns.isDue) await turns.pass();
    }
    const { blocks } = this.#parts;
    await blocks.using(minMs, maxMs, async (used) => {
      for (const block of used) {
        await blocks.read(block, { series: matched, minMs, maxMs, signal }, (series, chunks) => {
          const overlapping = chunks.filter((chunk) => chunk.maxMs >= minMs && chunk.minMs <= maxMs);
          for (const { count, bytes } of overlapping) budget.add(count, bytes.length);
          if (overlapping.length > 0) found.get(series)?.sealed.push(overlapping);
        });
        if (turns.isDue) await turns.pass();
      }
    });
    const gathering: Gathering = { minMs, maxMs, limits: undefined, turns };
    const encoded: EncodedSeries[] = [];
    for (const [series, { sealed, runs }] of found) {
      const chunks = memory.get(series);
      if (chunks !== undefined) sealed.push(chunks);
      if (sealed.length === 0 && runs.length === 0) continue;
      encoded.push({ labels: series.labels, decode: () => runOf(sealed, runs, gathering) });
    }
    return encoded;
  }

  /** Samples of series in their order; those without any are left out. */
  async #gather(wanted: readonly MetricSeries[], gathering: Gathering): Promise<SeriesSamples[]> {
    const { minMs, maxMs, limits, turns } = gathering;
    const budget = new SelectBudget(limits);
    const head: (readonly SampleRun[])[] = [];
    const sealed: ((readonly SealedChunk[])[] | undefined)[] = [];
    for (const series of wanted) {
      const runs = series.head === undefined ? NO_RUNS : runsIn(series.head, minMs, maxMs, limits?.room);
      for (const run of runs) budget.expect(run.timestampsMs.length);
      head.push(runs);
      if (turns.isDue) await turns.pass();
    }
    const { blocks } = this.#parts;
    await blocks.using(minMs, maxMs, async (used) => {
      if (used.length === 0) return;
      const placeOf = new Map<MetricSeries, number>();
      for (const [at, series] of wanted.entries()) {
        placeOf.set(series, at);
        if (turns.isDue) await turns.pass();
      }
      const inOrder = await byReference(wanted, this.#parts.table.index, turns);
      const query: BlockQuery = { series: inOrder, minMs, maxMs, signal: limits?.signal };
      for (const block of used) {
        await blocks.read(block, query, (series, chunks) => {
          const at = placeOf.get(series);
          if (at === undefined) return;
          const overlapping = chunks.filter((chunk) => chunk.maxMs >= minMs && chunk.minMs <= maxMs);
          for (const chunk of overlapping) {
            if (chunk.minMs >= minMs && chunk.maxMs <= maxMs) budget.expect(chunk.count);
          }
          const known = sealed[at];
          if (known === undefined) sealed[at] = [overlapping];
          else known.push(overlapping);
        });
        if (turns.isDue) await turns.pass();
      }
    });
    const found: SeriesSamples[] = [];
    for (const [at, series] of wanted.entries()) {
      const run = runOf(sealed[at] ?? [], head[at] ?? NO_RUNS, gathering);
      sealed[at] = undefined;
      head[at] = NO_RUNS;
      if (run !== undefined) {
        budget.spend(run);
        found.push(samplesOf(series, run));
      }
      if (turns.isDue) await turns.pass();
    }
    return found;
  }
}

/**
 * Samples in `[minMs, maxMs]` of chunks, a list for each block, and of runs of memory.
 *
 * Mostly each begins after the one before, and all are decoded where they stay.
 */
function runOf(
  sealed: readonly (readonly SealedChunk[])[],
  head: readonly SampleRun[],
  { minMs, maxMs, limits }: Gathering,
): SampleRun | undefined {
  if (sealed.length === 0) return joinRuns(head);
  const [last, ...others] = head;
  const count = others.length > 0 ? undefined : countInOrder(sealed, last);
  if (count === undefined) {
    const runs = sealed.flatMap(readChunks).map((run) => cutRun(run, minMs, maxMs));
    return joinRuns([...head, ...runs.filter((run) => run !== undefined)]);
  }
  const tail = {
    times: last?.timestampsMs,
    count: last?.timestampsMs.length ?? 0,
    copyTo: (columns: RunColumns, at: number) => {
      if (last !== undefined) copyRun(last, columns, at);
    },
  };
  const [only] = sealed;
  return readRun(sealed.length === 1 && only !== undefined ? only : sealed.flat(), tail, {
    minMs,
    maxMs,
    room: limits?.room,
  });
}

/** How many samples there are where all chunks and then `last` stand in order of time; undefined where they do not. */
function countInOrder(sealed: readonly (readonly SealedChunk[])[], last: SampleRun | undefined): number | undefined {
  let count = 0;
  let endMs = Number.NEGATIVE_INFINITY;
  for (const chunks of sealed) {
    for (const chunk of chunks) {
      if (chunk.minMs <= endMs) return undefined;
      endMs = chunk.maxMs;
      count += chunk.count;
    }
  }
  if (last === undefined) return count;
  return (last.timestampsMs[0] ?? 0) > endMs ? count + last.timestampsMs.length : undefined;
}

/** Filled and read in one turn, as the next one. */
const windowScratch = new WindowScratch();

function madeOf(
  series: MetricSeries,
  window: { readonly minMs: number; readonly maxMs: number },
  histograms: HistogramReader | undefined,
): NativeHistogram | "nothing" | "unknown" {
  if (histograms === undefined) return "unknown";
  const found = findHistogramsOf(series, window, windowScratch);
  return found === "found" ? histograms.read(windowScratch) : found;
}

let sharedScratch = floatScratch(0);

/** Columns that are filled and read in one turn, so that all selections have the same. */
function scratchOf(samplesMax: number): FloatScratch {
  if (sharedScratch.columns.values.length < samplesMax) sharedScratch = floatScratch(samplesMax);
  return { ...sharedScratch, samplesMax };
}

function samplesOf(
  { labels }: MetricSeries,
  { timestampsMs, values, histograms, startsMs, encoded }: SampleRun,
): SeriesSamples {
  return { labels, timestampsMs, values, histograms, startsMs, encoded };
}
