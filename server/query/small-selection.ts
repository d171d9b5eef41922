/** What small queries select, read and kept on the main thread. */

import type { SampleRoom } from "../model/sample-room.ts";
import type { SelectLimits } from "../store/reader.ts";
import { chunkedSeries } from "./promql/chunked-series.ts";
import { type FedSeries, fedSeries } from "./promql/encoded-columns.ts";
import { newestSeries } from "./promql/newest-samples.ts";
import type { Selection } from "./promql/plan.ts";
import { samplesSize } from "./promql/query-budget.ts";
import { type SharedPage, sharedPage } from "./promql/shared-pages.ts";
import { histogramReader, madeSeries } from "./promql/window-histograms.ts";
import { numberSeries, windowReader } from "./promql/window-numbers.ts";
import type { QueryReader } from "./query-feed.ts";

/** Series of one selection. */
export interface SmallSelection {
  readonly series: FedSeries[];
  /** Samples that were looked at. */
  readonly samples: number;
}

/** Within which bounds; `room` holds samples for as long as they are looked at. */
export type SmallLimits = Omit<SelectLimits, "source"> & { readonly room: SampleRoom };

/** Pages live as long as their memory: those of the store, and those that go from one room to the next. */
const pages = new WeakMap<SharedArrayBuffer, SharedPage>();

/**
 * Series of a selection, read in the shortest way that there is.
 *
 * @throws ThalwegError `query_samples_max`, `query_series_max` beyond the limits.
 */
export async function readSelection(
  reader: QueryReader,
  { matchers, minMs, maxMs, isNewest, call }: Omit<Selection, "selector">,
  limits: SmallLimits,
): Promise<SmallSelection> {
  if (isNewest && reader.selectNewest !== undefined) {
    const { room, ...bounds } = limits;
    const found = await reader.selectNewest(matchers, minMs, maxMs, bounds);
    return { series: [...newestSeries(found), ...found.others], samples: sizeOf(found.others) + found.labels.length };
  }
  if (call !== undefined && reader.selectNumbers !== undefined) {
    const { room, ...bounds } = limits;
    const readers = { floats: windowReader(call), histograms: histogramReader(call) };
    const found = await reader.selectNumbers({ matchers, minMs, maxMs, ...readers }, bounds);
    const made = found.made.map(({ labels, histogram }) => madeSeries(labels, histogram));
    return {
      series: [...numberSeries(found), ...made, ...found.others],
      samples: sizeOf(found.others) + found.samples,
    };
  }
  if (reader.selectChunks !== undefined) {
    const found = await reader.selectChunks(matchers, minMs, maxMs, limits);
    const others = found.others.map(fedSeries);
    const series = [...chunkedSeries(found, found.columns.pages.map(pageOf)), ...others];
    return { series, samples: sizeOf(others) + found.samples };
  }
  const series = (await reader.select(matchers, minMs, maxMs, limits)).map(fedSeries);
  return { series, samples: sizeOf(series) };
}

function pageOf(buffer: SharedArrayBuffer): SharedPage {
  let page = pages.get(buffer);
  if (page === undefined) {
    page = sharedPage(buffer);
    pages.set(buffer, page);
  }
  return page;
}

function sizeOf(series: readonly FedSeries[]): number {
  return series.reduce((sum, one) => sum + samplesSize(one), 0);
}
