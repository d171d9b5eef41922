/** What a query of an `anchored` or `smoothed` range itself answers. */

import type { PromqlRangeMode } from "../../../grammar/promql-tree.ts";
import { extendedSamples } from "./extended-window.ts";
import { PromqlExecutionError } from "./query-error.ts";
import type { RangeSeries } from "./step-vector.ts";

/** Edges of the range, and how far samples may lie beyond them. */
interface RangeEdges {
  readonly startMs: number;
  readonly endMs: number;
  readonly lookbackMs: number;
}

type PlainSamples = Pick<RangeSeries, "labels" | "timestampsMs" | "values" | "histograms">;

/**
 * The samples inside the range, with one at each edge.
 *
 * @throws PromqlExecutionError for histograms, of which Prometheus makes no such range.
 */
export function extendedRange(series: PlainSamples, mode: PromqlRangeMode, edges: RangeEdges): PlainSamples {
  if (series.histograms?.some((histogram) => histogram !== undefined) === true) {
    throw new PromqlExecutionError(`${mode} modifier is not supported with histograms`);
  }
  const { labels, timestampsMs, values } = series;
  const { startMs, endMs, lookbackMs } = edges;
  const samples = { timestampsMs, values, startsMs: undefined, low: 0, high: values.length };
  const window = { ...samples, startMs, endMs, earliestMs: startMs - lookbackMs };
  const points = extendedSamples(window, mode === "smoothed");
  return {
    labels,
    timestampsMs: Float64Array.from(points, ({ timeMs }) => timeMs),
    values: Float64Array.from(points, ({ value }) => value),
    histograms: undefined,
  };
}
