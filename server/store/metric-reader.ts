/**
 * Answers selectors from memory and blocks.
 *
 * Memory is looked at first and the list of blocks after it, so a sample that is sealed meanwhile is found in one of the
 * two at least; where it is found in both it counts once.
 */

import { ThalwegError } from "../model/errors.ts";
import type { Labels, Matcher, SeriesExemplars, SeriesSamples } from "../model/series.ts";
import type { BlockQuery, MetricBlocks } from "./metric-blocks.ts";
import { readChunks, type SampleRun, type SealedChunk } from "./metric-chunk.ts";
import type { MetricHead } from "./metric-head.ts";
import type { LabelIndex } from "./metric-label-index.ts";
import { matchSeries } from "./metric-match.ts";
import { cutRun, joinRuns } from "./metric-runs.ts";
import { hasSampleIn, type MetricSeries, runsIn } from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import type { SelectLimits, SeriesWindow } from "./reader.ts";
import { Turns } from "./turns.ts";

/** Sorting so many takes a few milliseconds. */
const SORTED_AT_ONCE_MAX = 5_000;
const NO_RUNS: readonly SampleRun[] = [];

interface ReaderParts {
  readonly table: SeriesTable;
  readonly head: MetricHead;
  readonly blocks: MetricBlocks;
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
  readonly #parts: ReaderParts;

  constructor(parts: ReaderParts) {
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
    const matched = await this.#match(matchers, turns);
    return this.#gather(matched, { minMs, maxMs, limits, turns });
  }

  /** @see StoreReader */
  async selectSeries(
    labels: readonly Labels[],
    minMs: number,
    maxMs: number,
    limits?: SelectLimits,
  ): Promise<SeriesSamples[]> {
    const asked = labels.map((each) => this.#parts.table.find(each)).filter((series) => series !== undefined);
    return this.#gather(asked, { minMs, maxMs, limits, turns: new Turns(limits?.signal) });
  }

  /** Samples of series in their order; those without any are left out. */
  async #gather(wanted: readonly MetricSeries[], { minMs, maxMs, limits, turns }: Gathering): Promise<SeriesSamples[]> {
    const budget = new SelectBudget(limits);
    const runs: (readonly SampleRun[])[] = [];
    const add = (at: number, found: readonly SampleRun[]) => {
      const known = runs[at] ?? NO_RUNS;
      runs[at] = known.length === 0 ? found : [...known, ...found];
      budget.spend(found, known.length === 0);
    };
    for (const [at, series] of wanted.entries()) {
      add(at, series.head === undefined ? NO_RUNS : runsIn(series.head, minMs, maxMs));
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
          if (at !== undefined) add(at, runsOf(chunks, minMs, maxMs));
        });
        if (turns.isDue) await turns.pass();
      }
    });
    const found: SeriesSamples[] = [];
    for (const [at, series] of wanted.entries()) {
      const run = joinRuns(runs[at] ?? NO_RUNS);
      if (run !== undefined) found.push(samplesOf(series, run));
      if (turns.isDue) await turns.pass();
    }
    return found;
  }

  /** @see StoreReader */
  async series(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    signal?: AbortSignal | undefined,
  ): Promise<Labels[]> {
    return (await this.#seriesIn({ matchers, minMs, maxMs, signal })).map(({ labels }) => labels);
  }

  /** @see StoreReader */
  async exemplars(
    matchers: readonly Matcher[],
    minMs: number,
    maxMs: number,
    signal?: AbortSignal | undefined,
  ): Promise<SeriesExemplars[]> {
    const turns = new Turns(signal);
    const found: SeriesExemplars[] = [];
    for (const series of await this.#match(matchers, turns)) {
      const exemplars = this.#parts.head.exemplars.of(series, minMs, maxMs);
      if (exemplars.length > 0) found.push({ labels: series.labels, exemplars });
      if (turns.isDue) await turns.pass();
    }
    return found;
  }

  /** @see StoreReader */
  async labelNames(window: SeriesWindow): Promise<string[]> {
    if (this.#isEverything(window)) return this.#parts.table.index.names().sort();
    const names = new Set<string>();
    const turns = new Turns(window.signal);
    for (const { labels } of await this.#seriesIn(window)) {
      for (const [name] of labels) names.add(name);
      if (turns.isDue) await turns.pass();
    }
    return [...names].sort();
  }

  /** @see StoreReader */
  async labelValues(name: string, window: SeriesWindow): Promise<string[]> {
    if (this.#isEverything(window)) return this.#parts.table.index.values(name).sort();
    const values = new Set<string>();
    const turns = new Turns(window.signal);
    for (const { labels } of await this.#seriesIn(window)) {
      for (const [one, value] of labels) if (one === name) values.add(value);
      if (turns.isDue) await turns.pass();
    }
    return [...values].sort();
  }

  async #seriesIn({ matchers, minMs, maxMs, signal }: SeriesWindow): Promise<MetricSeries[]> {
    const turns = new Turns(signal);
    const matched = await this.#match(matchers, turns);
    const found = new Set<MetricSeries>();
    for (const series of matched) {
      if (series.head !== undefined && hasSampleIn(series.head, minMs, maxMs)) found.add(series);
      if (turns.isDue) await turns.pass();
    }
    const { blocks } = this.#parts;
    await blocks.using(minMs, maxMs, async (used) => {
      for (const block of used) {
        const missing = matched.filter((series) => !found.has(series) && series.blocks > 0);
        if (missing.length === 0) break;
        const query = { series: missing, minMs, maxMs, signal };
        for (const series of await blocks.seriesIn(block, query)) found.add(series);
      }
    });
    return matched.filter((series) => found.has(series));
  }

  /** In order of reference. */
  async #match(matchers: readonly Matcher[], turns: Turns): Promise<readonly MetricSeries[]> {
    const { index } = this.#parts.table;
    return byReference(await matchSeries(index, matchers, turns), index, turns);
  }

  /** Whether no series is left out: the index alone can answer. */
  #isEverything({ matchers, minMs, maxMs }: SeriesWindow): boolean {
    const { head, blocks } = this.#parts;
    return (
      matchers.length === 0 &&
      minMs <= head.oldestMs &&
      maxMs >= head.newestMs &&
      blocks.all.every(({ foot }) => foot.minMs >= minMs)
    );
  }
}

function runsOf(chunks: readonly SealedChunk[], minMs: number, maxMs: number): SampleRun[] {
  const overlapping = chunks.filter((chunk) => chunk.maxMs >= minMs && chunk.minMs <= maxMs);
  return readChunks(overlapping)
    .map((run) => cutRun(run, minMs, maxMs))
    .filter((run) => run !== undefined);
}

/** The series in order of reference, as blocks have them and the index does: many get it by going through the index. */
async function byReference(
  series: readonly MetricSeries[],
  index: LabelIndex,
  turns: Turns,
): Promise<readonly MetricSeries[]> {
  if (series.length <= SORTED_AT_ONCE_MAX) return [...series].sort((a, b) => a.ref - b.ref);
  let refMax = 0;
  let isOrdered = true;
  for (const { ref } of series) {
    if (ref < refMax) isOrdered = false;
    else refMax = ref;
  }
  if (isOrdered) return series;
  const wanted = new Uint8Array(refMax + 1);
  for (const { ref } of series) wanted[ref] = 1;
  const ordered: MetricSeries[] = [];
  for (const one of index.all) {
    if (wanted[one.ref] === 1) ordered.push(one);
    if (turns.isDue) await turns.pass();
  }
  return ordered;
}

function samplesOf({ labels }: MetricSeries, { timestampsMs, values, histograms, startsMs }: SampleRun): SeriesSamples {
  return { labels, timestampsMs, values, histograms, startsMs };
}

/** Counts what a selection gathers. */
class SelectBudget {
  readonly #limits: SelectLimits | undefined;
  #samples = 0;
  #series = 0;

  constructor(limits: SelectLimits | undefined) {
    this.#limits = limits;
  }

  /** @param isFirst These are the first samples of their series. */
  spend(runs: readonly SampleRun[], isFirst: boolean): void {
    const limits = this.#limits;
    if (limits === undefined || runs.length === 0) return;
    for (const run of runs) this.#samples += costOf(run);
    if (isFirst) this.#series++;
    if (this.#samples > limits.samplesMax) {
      throw new ThalwegError("query_samples_max", { asked: this.#samples, max: limits.samplesMax });
    }
    if (this.#series > limits.seriesMax) {
      throw new ThalwegError("query_series_max", { max: limits.seriesMax });
    }
  }
}

/** A float counts one, a histogram one for each bucket and one more. */
function costOf({ timestampsMs, histograms }: SampleRun): number {
  let cost = timestampsMs.length;
  if (histograms === undefined) return cost;
  for (const histogram of histograms) {
    if (histogram !== undefined) cost += histogram.positiveCounts.length + histogram.negativeCounts.length;
  }
  return cost;
}
