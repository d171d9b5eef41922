/** Gathers what a query selects and hands it on in parts, so that the main thread turns in between. */

import { setImmediate } from "node:timers/promises";
import { ThalwegError } from "../model/errors.ts";
import type { SampleRoom } from "../model/sample-room.ts";
import type { SeriesSamples } from "../model/series.ts";
import type { StoreReader } from "../store/reader.ts";
import { type PackedChunks, packChunks } from "./promql/chunked-series.ts";
import { type PackedNewest, packNewest } from "./promql/newest-samples.ts";
import type { SentLabels } from "./promql/packed-labels.ts";
import { type PackedSamples, packSamples } from "./promql/packed-samples.ts";
import { samplesSize } from "./promql/query-budget.ts";
import { histogramReader, madeSamples } from "./promql/window-histograms.ts";
import { type PackedNumbers, packNumbers, windowReader } from "./promql/window-numbers.ts";
import type { SelectionWindow } from "./promql-messages.ts";

/** A part ends with the series that reaches one of these. */
const PART_SERIES = 256;
const PART_VALUES = 65_536;
/** How long parts are packed before other work gets a turn. */
const SLICE_MS = 2;

/** Series of one number are packed so many at once. */
const NUMBERS_SERIES = 1_024;

/** Where samples come from; what has no short way to the newest ones, or to numbers, is asked for all. */
export type QueryReader = Pick<StoreReader, "select"> &
  Partial<Pick<StoreReader, "selectNewest" | "selectNumbers" | "selectChunks">>;

/** What to gather, within which bounds, and for whom. */
export interface QueryFeed {
  readonly reader: QueryReader;
  readonly selections: readonly SelectionWindow[];
  readonly samplesMax: number;
  readonly seriesMax: number;
  /** What the worker knows already; of no use any more where gathering fails. */
  readonly sent: SentLabels;
  /** Where samples lie until nobody reads them any longer. */
  readonly room: SampleRoom;
  /** Aborted when nobody waits any longer. */
  readonly signal: AbortSignal;
  /** Takes some series of the selection of that index, and may hand their buffers over. */
  readonly onPart: (selection: number, part: PackedSamples) => void;
  /** As `onPart` for the newest samples of some series. */
  readonly onNewest: (selection: number, part: PackedNewest) => void;
  /** As `onPart` for series whose samples are still encoded; those of the first part tell where all of them lie. */
  readonly onChunks: (selection: number, part: PackedChunks) => void;
  /** As `onPart` for the numbers of some series. */
  readonly onNumbers: (selection: number, part: PackedNumbers) => void;
}

/**
 * Gathers all selections.
 *
 * @returns How many series and samples were read for them.
 * @throws ThalwegError where a bound is reached; the signal's reason once it is aborted.
 */
export async function feedQuery(feed: QueryFeed): Promise<{ readonly series: number; readonly samples: number }> {
  const { reader, selections, sent, signal } = feed;
  const room = { samples: feed.samplesMax, series: feed.seriesMax };
  let sinceMs = performance.now();
  for (const [index, { matchers, minMs, maxMs, source, isNewest, call }] of selections.entries()) {
    const limits = { samplesMax: room.samples, seriesMax: room.series, room: feed.room, source, signal };
    let found: SeriesSamples[];
    if (isNewest && source === undefined && reader.selectNewest !== undefined) {
      const newest = await reader.selectNewest(matchers, minMs, maxMs, limits);
      signal.throwIfAborted();
      room.series -= newest.labels.length;
      room.samples -= newest.labels.length;
      await inParts(newest.labels.length, signal, (from, to) =>
        feed.onNewest(index, packNewest(newest, from, to, sent)),
      );
      found = newest.others;
    } else if (call !== undefined && source === undefined && reader.selectNumbers !== undefined) {
      const floats = windowReader(call);
      const histograms = histogramReader(call);
      const numbers = await reader.selectNumbers({ matchers, minMs, maxMs, floats, histograms }, limits);
      signal.throwIfAborted();
      room.series -= numbers.labels.length + numbers.made.length;
      room.samples -= numbers.samples;
      await inParts(numbers.labels.length, signal, (from, to) =>
        feed.onNumbers(index, packNumbers(numbers, from, to, sent)),
      );
      await inParts(numbers.made.length, signal, (from, to) => {
        feed.onPart(index, packSamples(numbers.made.slice(from, to).map(madeSamples), sent, true));
      });
      found = numbers.others;
    } else if (source === undefined && reader.selectChunks !== undefined) {
      const chunks = await reader.selectChunks(matchers, minMs, maxMs, limits);
      signal.throwIfAborted();
      room.series -= chunks.labels.length;
      room.samples -= chunks.samples;
      await inParts(chunks.labels.length, signal, (from, to) =>
        feed.onChunks(index, packChunks(chunks, from, to, sent)),
      );
      found = chunks.others;
    } else {
      found = await reader.select(matchers, minMs, maxMs, limits);
      signal.throwIfAborted();
    }
    room.series -= found.length;
    if (room.series < 0) throw new ThalwegError("query_series_max", { max: feed.seriesMax });
    sinceMs = performance.now();
    while (found.length > 0) {
      const { part, size } = takePart(found);
      room.samples -= size;
      if (room.samples < 0) {
        const asked = feed.samplesMax - room.samples;
        throw new ThalwegError("query_samples_max", { asked, max: feed.samplesMax });
      }
      feed.onPart(index, packSamples(part, sent));
      if (performance.now() - sinceMs < SLICE_MS) continue;
      await setImmediate();
      sinceMs = performance.now();
      signal.throwIfAborted();
    }
  }
  return { series: feed.seriesMax - room.series, samples: feed.samplesMax - room.samples };
}

/** Packs so many series; their number is within the bounds, since the reader keeps to them. */
async function inParts(length: number, signal: AbortSignal, pack: (from: number, to: number) => void): Promise<void> {
  let sinceMs = performance.now();
  for (let from = 0; from < length; from += NUMBERS_SERIES) {
    if (performance.now() - sinceMs >= SLICE_MS) {
      await setImmediate();
      signal.throwIfAborted();
      sinceMs = performance.now();
    }
    pack(from, Math.min(length, from + NUMBERS_SERIES));
  }
}

/** Takes series from the end, where they leave the list without moving the others; their order means nothing. */
function takePart(found: SeriesSamples[]): { readonly part: SeriesSamples[]; readonly size: number } {
  const part: SeriesSamples[] = [];
  let size = 0;
  while (part.length < PART_SERIES && size < PART_VALUES) {
    const series = found.pop();
    if (series === undefined) break;
    part.push(series);
    size += samplesSize(series);
  }
  return { part, size };
}
