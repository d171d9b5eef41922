/**
 * What the queries of a remote read select, in the order that remote read answers in.
 */

import type { Labels, Matcher, SeriesSamples } from "../model/series.ts";
import { compareLabels, compareText } from "../query/promql/series-labels.ts";
import { anchoredTest } from "../query/promql-texts.ts";
import type { StoreReader } from "../store/reader.ts";
import type { ReadQuery } from "../wire/remote-read.ts";

/** The hint of one who wants to know which series there are. */
const SERIES_FUNCTION = "series";
const NO_SAMPLES = new Float64Array(0);
/** Series of the first batch; later ones are as large as to bring so many samples. */
const BATCH_SERIES_AT_FIRST = 32;
const BATCH_SERIES_MAX = 4_096;
const BATCH_SAMPLES = 100_000;

/** A selection that can be made. */
export interface PlannedRead {
  readonly matchers: readonly Matcher[];
  readonly minMs: number;
  readonly maxMs: number;
  /** Samples are not asked for. */
  readonly labelsOnly: boolean;
}

/** Selections in the order of their queries, or why they cannot be made. */
export type ReadPlan =
  | { readonly kind: "planned"; readonly reads: readonly PlannedRead[] }
  | { readonly kind: "refused"; readonly reason: string };

/**
 * Plans all queries of a request.
 *
 * A matcher that asks for an external label asks for series without it, since no stored series has it. Hints of a range
 * narrow the query's own.
 */
export function planReads(queries: readonly ReadQuery[], externalLabels: Labels): ReadPlan {
  const external = new Map(externalLabels);
  const reads: PlannedRead[] = [];
  for (const { startMs, endMs, matchers, hints } of queries) {
    for (const matcher of matchers) {
      const reason = faultOf(matcher);
      if (reason !== "") return { kind: "refused", reason };
    }
    const isHinted = hints !== undefined && hints.endMs >= hints.startMs && hints.endMs !== 0;
    reads.push({
      matchers: matchers.map((matcher) => withoutExternal(matcher, external)),
      minMs: isHinted ? Math.max(startMs, hints.startMs) : startMs,
      maxMs: isHinted ? Math.min(endMs, hints.endMs) : endMs,
      labelsOnly: hints?.function === SERIES_FUNCTION,
    });
  }
  return { kind: "planned", reads };
}

function faultOf({ kind, value }: Matcher): string {
  if (kind === "=" || kind === "!=") return "";
  try {
    anchoredTest(value);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function withoutExternal(matcher: Matcher, external: ReadonlyMap<string, string>): Matcher {
  const isExternal = matcher.kind === "=" && external.get(matcher.name) === matcher.value;
  return isExternal ? { ...matcher, value: "" } : matcher;
}

/**
 * Series of a selection in order of labels, with their samples unless only labels are asked for.
 *
 * Samples are read a batch of series at a time, when they are asked for, so a large selection never lies in memory.
 */
export async function* selectSeries(
  reader: StoreReader,
  read: PlannedRead,
  samplesMax: number,
): AsyncGenerator<SeriesSamples> {
  const { matchers, minMs, maxMs, labelsOnly } = read;
  // As in Prometheus, no matcher at all selects nothing.
  if (matchers.length === 0 || minMs > maxMs) return;
  const found = (await reader.series(matchers, minMs, maxMs)).toSorted(compareLabels);
  if (labelsOnly) {
    for (const labels of found) yield { labels, timestampsMs: NO_SAMPLES, values: NO_SAMPLES };
    return;
  }
  for (let at = 0, room = BATCH_SERIES_AT_FIRST; at < found.length; ) {
    const batch = await reader.selectSeries(found.slice(at, at + room), minMs, maxMs, { samplesMax, seriesMax: room });
    at += room;
    let samples = 0;
    for (const { timestampsMs } of batch) samples += timestampsMs.length;
    const perSeries = samples / Math.max(1, batch.length);
    room = Math.min(BATCH_SERIES_MAX, Math.max(1, Math.floor(BATCH_SAMPLES / Math.max(1, perSeries))));
    yield* batch;
  }
}

/** Labels of both in order of name; where both have one, that of the series. */
export function mergeLabels(series: Labels, external: Labels): Labels {
  if (external.length === 0) return series;
  const names = new Set(series.map(([name]) => name));
  const added = external.filter(([name]) => !names.has(name));
  return [...series, ...added].sort(([left], [right]) => compareText(left, right));
}
