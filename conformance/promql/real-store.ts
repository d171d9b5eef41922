/** The product's own store under the tests of the language: in a directory of its own, written and read through its doors. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ChunkSelection } from "../../server/model/chunk-selection.ts";
import type { Matcher, SeriesSamples } from "../../server/model/series.ts";
import { systemClock } from "../../server/platform/system-clock.ts";
import type { NewestSamples, NumbersSelection, SeriesNumbers, StoreReader } from "../../server/store/reader.ts";
import { openStore, type Store } from "../../server/store/store.ts";
import { columnsOf, type TestStore } from "./memory-store.ts";
import type { LoadedSeries } from "./series-notation.ts";

const MEMORY_LIMIT_BYTES = 256 * 2 ** 20;
/** As a server keeps them by default; the samples of the tests are of 1970. */
const RETENTION_MS = 15 * 86_400_000;

const NONE = new Float64Array(0);
const NOTHING = { labels: [], values: NONE, others: [] };

/** Opens when first written to; `clear` throws everything away. */
export class RealStore implements TestStore {
  readonly #isSealed: boolean;
  #open: { readonly store: Store; readonly directory: string } | undefined;

  /** @param isSealed Whether samples are sealed to blocks after each load, so that what is read comes from blocks. */
  constructor(isSealed: boolean) {
    this.#isSealed = isSealed;
  }

  async clear(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    await open.store.close();
    rmSync(open.directory, { recursive: true, force: true });
  }

  async load(series: readonly LoadedSeries[]): Promise<void> {
    this.#open ??= await openFresh();
    const { store } = this.#open;
    const outcome = await store.writer.appendSeries(series.map(columnsOf).filter(({ values }) => values.length > 0));
    if (this.#isSealed) await store.sealMetrics();
    if (outcome.refused.size > 0) throw new Error(`samples were refused: ${outcome.refusals[0]?.text}`);
  }

  async select(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<SeriesSamples[]> {
    return (await this.#open?.store.reader.select(matchers, minMs, maxMs)) ?? [];
  }

  async selectNewest(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<NewestSamples> {
    return (await this.#open?.store.reader.selectNewest(matchers, minMs, maxMs)) ?? { ...NOTHING, timestampsMs: NONE };
  }

  async selectChunks(...asked: Parameters<StoreReader["selectChunks"]>): Promise<ChunkSelection> {
    this.#open ??= await openFresh();
    return this.#open.store.reader.selectChunks(...asked);
  }

  async selectNumbers(selection: NumbersSelection): Promise<SeriesNumbers> {
    return (await this.#open?.store.reader.selectNumbers(selection)) ?? { ...NOTHING, made: [], samples: 0 };
  }
}

async function openFresh(): Promise<{ store: Store; directory: string }> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-promql-"));
  const store = await openStore({
    directory,
    clock: systemClock(),
    retentionMs: RETENTION_MS,
    memoryLimitBytes: MEMORY_LIMIT_BYTES,
    durability: "interval",
  });
  return { store, directory };
}
