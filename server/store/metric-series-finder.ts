/** Which series there are, and the labels that they have: answered without a look at samples. */

import type { Labels, Matcher, SeriesExemplars } from "../model/series.ts";
import type { MetricBlocks } from "./metric-blocks.ts";
import type { MetricHead } from "./metric-head.ts";
import type { LabelIndex } from "./metric-label-index.ts";
import type { Level } from "./metric-levels.ts";
import { matchSeries } from "./metric-match.ts";
import { hasSampleIn, type MetricSeries } from "./metric-series.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import type { SeriesWindow } from "./reader.ts";
import { Turns } from "./turns.ts";

/** Sorting so many takes a few milliseconds. */
const SORTED_AT_ONCE_MAX = 5_000;

interface FinderParts {
  readonly table: SeriesTable;
  readonly head: MetricHead;
  readonly blocks: MetricBlocks;
  readonly downsampler: { readonly levels: readonly Level[] };
}

/** Answers from the index and from what blocks say of their series. */
export class SeriesFinder {
  readonly #parts: FinderParts;

  constructor(parts: FinderParts) {
    this.#parts = parts;
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
    for (const series of await matchInOrder(this.#parts.table.index, matchers, turns)) {
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
    const matched = await matchInOrder(this.#parts.table.index, matchers, turns);
    const found = new Set<MetricSeries>();
    for (const series of matched) {
      if (series.head !== undefined && hasSampleIn(series.head, minMs, maxMs)) found.add(series);
      if (turns.isDue) await turns.pass();
    }
    const { blocks, downsampler } = this.#parts;
    for (const each of [blocks, ...downsampler.levels.map((level) => level.blocks)]) {
      await each.using(minMs, maxMs, async (used) => {
        for (const block of used) {
          const missing = matched.filter((series) => !found.has(series) && series.blocks > 0);
          if (missing.length === 0) break;
          const query = { series: missing, minMs, maxMs, signal };
          for (const series of await each.seriesIn(block, query)) found.add(series);
        }
      });
    }
    return matched.filter((series) => found.has(series));
  }

  /** Whether no series is left out: the index alone can answer. */
  #isEverything({ matchers, minMs, maxMs }: SeriesWindow): boolean {
    const { head, blocks, downsampler } = this.#parts;
    return (
      matchers.length === 0 &&
      minMs <= head.oldestMs &&
      maxMs >= head.newestMs &&
      blocks.all.every(({ foot }) => foot.minMs >= minMs) &&
      downsampler.levels.every((level) => level.blocks.all.every(({ foot }) => foot.minMs >= minMs))
    );
  }
}

/** Series that all matchers hold for, in order of reference. */
export async function matchInOrder(
  index: LabelIndex,
  matchers: readonly Matcher[],
  turns: Turns,
): Promise<readonly MetricSeries[]> {
  return byReference(await matchSeries(index, matchers, turns), index, turns);
}

/** The series in order of reference, as blocks have them and the index does: many get it by going through the index. */
export async function byReference(
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
