/**
 * Histograms of which only the count, the sum and the reset hint matter.
 *
 * Below `histogram_count` and its kin nobody looks at buckets, so they are left behind. What they say of counter resets
 * is kept in the hints, which is why such histograms know more of resets than the stored ones.
 *
 * @see Prometheus, promql/engine.go, detectHistogramStatsDecoding, and promql/histogram_stats_iterator.go
 */

import type { PromqlExpression, PromqlSelector } from "../../../grammar/promql-tree.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import { type DenseSamples, hintIn, statisticsOf } from "./dense-samples.ts";
import { type FedSeries, type HistogramSource, withColumns } from "./encoded-columns.ts";
import { COUNT_ROW, SUM_ROW } from "./histogram/dense-histograms.ts";
import { isCounterReset } from "./histogram/histogram-reset.ts";
import { histogramSize } from "./query-budget.ts";

/** Functions that do not look at buckets. */
const STATISTICS_CALLS: ReadonlySet<string> = new Set([
  "absent",
  "histogram_avg",
  "histogram_count",
  "histogram_sum",
  "start_timestamp",
  "timestamp",
]);

/** Functions that do, however far above a selector they stand. */
const BUCKET_CALLS: ReadonlySet<string> = new Set([
  "changes",
  "histogram_fraction",
  "histogram_quantile",
  "histogram_quantiles",
  "histogram_stddev",
  "histogram_stdvar",
]);

/** Operators that look at buckets. */
const BUCKET_OPERATORS: ReadonlySet<string> = new Set(["</", ">/", "==", "!="]);

/** What stands above a node. */
type Reads = "all" | "buckets" | "statistics";

/** Selectors whose buckets no part of the expression looks at. */
export function selectorsOfStatistics(root: PromqlExpression): ReadonlySet<PromqlSelector> {
  const found = new Set<PromqlSelector>();
  visit(root, "all", found);
  return found;
}

function visit(node: PromqlExpression, above: Reads, found: Set<PromqlSelector>): undefined {
  switch (node.kind) {
    case "number":
    case "string":
      return;
    case "selector":
      if (above === "statistics") found.add(node);
      return;
    case "range":
      if (above === "statistics") found.add(node.selector);
      return;
    case "subquery":
      return; // what it picks may miss a reset, which only the buckets show
    case "paren":
    case "unary":
      return visit(node.operand, above, found);
    case "binary": {
      let reads = above;
      let base: PromqlExpression = node;
      for (; base.kind === "binary"; base = base.left) {
        if (BUCKET_OPERATORS.has(base.op)) reads = "buckets";
        visit(base.right, reads, found);
      }
      return visit(base, reads, found);
    }
    case "aggregate":
      if (node.parameter !== undefined) visit(node.parameter, above, found);
      return visit(node.operand, node.op === "count_values" ? "buckets" : above, found);
    case "call": {
      let reads = above;
      if (BUCKET_CALLS.has(node.name)) reads = "buckets";
      else if (above === "all" && STATISTICS_CALLS.has(node.name)) reads = "statistics";
      for (const argument of node.args) visit(argument, reads, found);
    }
  }
}

/** The series with histograms that have no buckets, and hints that say what the buckets said. */
export function histogramStatistics(series: FedSeries): FedSeries {
  const { columns, labels, timestampsMs, values, startsMs } = series;
  const samples = columns?.dense();
  if (samples !== undefined) {
    const statistics = new StatisticsColumns(statisticsOf(samples, values.length));
    return withColumns({ labels, timestampsMs, values, startsMs }, statistics);
  }
  if (series.histograms === undefined) return series;
  const histograms = new Array<NativeHistogram | undefined>(series.histograms.length);
  let before: NativeHistogram | undefined;
  for (const [index, histogram] of series.histograms.entries()) {
    if (histogram === undefined) continue;
    let { resetHint } = histogram;
    if (resetHint === "unknown" && before !== undefined) {
      resetHint = isCounterReset(histogram, before) ? "reset" : "not_reset";
    }
    histograms[index] = { ...NOTHING, schema: histogram.schema, count: histogram.count, sum: histogram.sum, resetHint };
    before = histogram;
  }
  return { ...series, columns: undefined, histograms };
}

/** Counts and sums in columns. */
class StatisticsColumns implements HistogramSource {
  readonly size: number;
  readonly isWhole = true;
  readonly #samples: DenseSamples;

  constructor(samples: DenseSamples) {
    this.#samples = samples;
    this.size = samples.columns * (histogramSize(NOTHING) - 1);
  }

  dense(): DenseSamples {
    return this.#samples;
  }

  get histograms(): readonly NativeHistogram[] {
    const { shape, columns, numbers } = this.#samples;
    return Array.from({ length: columns }, (_, i) => ({
      ...NOTHING,
      schema: shape.schema,
      count: numbers[COUNT_ROW * columns + i] ?? 0,
      sum: numbers[SUM_ROW * columns + i] ?? 0,
      resetHint: hintIn(this.#samples, i),
    }));
  }
}

const NOTHING: NativeHistogram = {
  schema: 0,
  zeroThreshold: 0,
  zeroCount: 0,
  count: 0,
  sum: 0,
  positiveSpans: [],
  positiveCounts: new Float64Array(),
  negativeSpans: [],
  negativeCounts: new Float64Array(),
  customValues: new Float64Array(),
  resetHint: "unknown",
  integer: false,
};
