/**
 * Answers selectors from memory and blocks.
 *
 * Memory is looked at first and the list of blocks after it, so a sample that is sealed meanwhile is found in one of the
 * two at least; where it is found in both it counts once.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { ThalwegError } from "../model/errors.ts";
import type { Labels, Matcher, SeriesExemplars, SeriesSamples } from "../model/series.ts";
import type { BlockQuery, MetricBlocks } from "./metric-blocks.ts";
import { readChunks, type SampleRun } from "./metric-chunk.ts";
import type { MetricHead } from "./metric-head.ts";
import { cutRun, joinRuns } from "./metric-runs.ts";
import { hasSampleIn, type MetricSeries, runsIn } from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import type { SelectLimits } from "./reader.ts";

/** The event loop gets a turn after so much work. */
const SLICE_MS = 8;

interface ReaderParts {
  readonly table: SeriesTable;
  readonly head: MetricHead;
  readonly blocks: MetricBlocks;
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
    const matched = this.#match(matchers);
    const runs = await this.#gather(matched, minMs, maxMs, limits);
    return this.#joined(matched, runs, limits);
  }

  /** @see StoreReader */
  async selectSeries(
    labels: readonly Labels[],
    minMs: number,
    maxMs: number,
    limits?: SelectLimits,
  ): Promise<SeriesSamples[]> {
    const asked = labels.map((each) => this.#parts.table.find(each)).filter((series) => series !== undefined);
    const runs = await this.#gather(byReference(asked), minMs, maxMs, limits);
    return this.#joined(asked, runs, limits);
  }

  /** @param matched In order of reference. */
  async #gather(
    matched: readonly MetricSeries[],
    minMs: number,
    maxMs: number,
    limits: SelectLimits | undefined,
  ): Promise<ReadonlyMap<MetricSeries, readonly SampleRun[]>> {
    const budget = new SelectBudget(limits);
    const runs = new Map<MetricSeries, SampleRun[]>();
    const add = (series: MetricSeries, found: readonly SampleRun[]) => {
      if (found.length === 0) return;
      const known = runs.get(series);
      if (known === undefined) runs.set(series, [...found]);
      else known.push(...found);
      budget.spend(found, runs.size);
    };
    for (const series of matched) {
      if (series.head !== undefined) add(series, runsIn(series.head, minMs, maxMs));
      if (budget.isDue) await budget.pause();
    }
    for (const block of this.#blocksIn(minMs, maxMs)) {
      const query: BlockQuery = { series: matched, minMs, maxMs, signal: limits?.signal };
      await this.#parts.blocks.read(block, query, (series, chunks) => {
        const overlapping = chunks.filter((chunk) => chunk.maxMs >= minMs && chunk.minMs <= maxMs);
        const cut = readChunks(overlapping).map((run) => cutRun(run, minMs, maxMs));
        add(
          series,
          cut.filter((run) => run !== undefined),
        );
      });
      if (budget.isDue) await budget.pause();
    }
    return runs;
  }

  async #joined(
    wanted: readonly MetricSeries[],
    runs: ReadonlyMap<MetricSeries, readonly SampleRun[]>,
    limits: SelectLimits | undefined,
  ): Promise<SeriesSamples[]> {
    const budget = new SelectBudget(limits);
    const found: SeriesSamples[] = [];
    for (const series of wanted) {
      const run = joinRuns(runs.get(series) ?? []);
      if (run !== undefined) found.push({ labels: series.labels, ...run });
      if (budget.isDue) await budget.pause();
    }
    return found;
  }

  /** @see StoreReader */
  async series(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<Labels[]> {
    return (await this.#seriesIn(matchers, minMs, maxMs)).map(({ labels }) => labels);
  }

  /** @see StoreReader */
  exemplars(matchers: readonly Matcher[], minMs: number, maxMs: number): SeriesExemplars[] {
    const found: SeriesExemplars[] = [];
    for (const series of this.#match(matchers)) {
      const exemplars = this.#parts.head.exemplars.of(series, minMs, maxMs);
      if (exemplars.length > 0) found.push({ labels: series.labels, exemplars });
    }
    return found;
  }

  /** @see StoreReader */
  async labelNames(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<string[]> {
    if (matchers.length === 0 && this.#coversAll(minMs, maxMs)) return this.#parts.table.index.names().sort();
    const names = new Set<string>();
    for (const { labels } of await this.#seriesIn(matchers, minMs, maxMs)) {
      for (const [name] of labels) names.add(name);
    }
    return [...names].sort();
  }

  /** @see StoreReader */
  async labelValues(name: string, matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<string[]> {
    const { index } = this.#parts.table;
    if (matchers.length === 0 && this.#coversAll(minMs, maxMs)) return index.values(name).sort();
    const values = new Set<string>();
    for (const { labels } of await this.#seriesIn(matchers, minMs, maxMs)) {
      for (const [one, value] of labels) if (one === name) values.add(value);
    }
    return [...values].sort();
  }

  async #seriesIn(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<MetricSeries[]> {
    const matched = this.#match(matchers);
    const pause = new SelectBudget(undefined);
    const found = new Set<MetricSeries>();
    for (const series of matched) {
      if (series.head !== undefined && hasSampleIn(series.head, minMs, maxMs)) found.add(series);
      if (pause.isDue) await pause.pause();
    }
    for (const block of this.#blocksIn(minMs, maxMs)) {
      const missing = matched.filter((series) => !found.has(series) && series.blocks > 0);
      if (missing.length === 0) break;
      for (const series of await this.#parts.blocks.seriesIn(block, { series: missing, minMs, maxMs }))
        found.add(series);
    }
    return matched.filter((series) => found.has(series));
  }

  /** Ordered by reference, as blocks are; a copy, since the index goes on. */
  #match(matchers: readonly Matcher[]): MetricSeries[] {
    return byReference(this.#parts.table.match(matchers));
  }

  #blocksIn(minMs: number, maxMs: number) {
    return this.#parts.blocks.all.filter(({ foot }) => foot.maxMs >= minMs && foot.minMs <= maxMs);
  }

  #coversAll(minMs: number, maxMs: number): boolean {
    const { head, blocks } = this.#parts;
    return minMs <= head.oldestMs && maxMs >= head.newestMs && blocks.all.every(({ foot }) => foot.minMs >= minMs);
  }
}

function byReference(series: readonly MetricSeries[]): MetricSeries[] {
  return [...series].sort((a, b) => a.ref - b.ref);
}

/** Counts what a selection gathers, and lets others have their turn. */
class SelectBudget {
  readonly #limits: SelectLimits | undefined;
  #samples = 0;
  #sliceEndsMs = performance.now() + SLICE_MS;

  constructor(limits: SelectLimits | undefined) {
    this.#limits = limits;
  }

  spend(runs: readonly SampleRun[], series: number): void {
    const limits = this.#limits;
    if (limits === undefined) return;
    for (const run of runs) this.#samples += costOf(run);
    if (this.#samples > limits.samplesMax) {
      throw new ThalwegError("query_samples_max", { asked: this.#samples, max: limits.samplesMax });
    }
    if (series > limits.seriesMax) {
      throw new ThalwegError("query_series_max", { max: limits.seriesMax });
    }
  }

  /** A slice is over: `pause` should be called. */
  get isDue(): boolean {
    return performance.now() >= this.#sliceEndsMs;
  }

  async pause(): Promise<void> {
    await nextTurn();
    this.#limits?.signal?.throwIfAborted();
    this.#sliceEndsMs = performance.now() + SLICE_MS;
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
