/** Quantiles and fractions of classic histograms: series that differ in `le`. */

import { quoteGo } from "../../../grammar/promql-error.ts";
import type { TextRange } from "../../../grammar/promql-tree.ts";
import type { Evaluation } from "./evaluation.ts";
import { mergeResults, withoutName } from "./evaluation.ts";
import { filterLabels, labelValue, METRIC_NAME, partialKey } from "./series-labels.ts";
import { FLOAT, makeSeries, type StepGrid, type StepSeries } from "./step-vector.ts";

/** Cumulative count of observations up to `bound`. */
interface Bucket {
  readonly bound: number;
  count: number;
}

/** Relative differences this small are rounding, not missing observations. */
const SMALL_DELTA = 1e-12;

/** A bucket series of one histogram. */
interface BucketSeries {
  readonly bound: number;
  readonly series: StepSeries;
}

interface BucketGroup {
  readonly first: StepSeries;
  readonly buckets: BucketSeries[];
}

/** Reads `le`; undefined where it is no number. */
function boundOf(text: string): number | undefined {
  if (/^[+]?Inf$/i.test(text)) return Number.POSITIVE_INFINITY;
  if (/^-Inf$/i.test(text)) return Number.NEGATIVE_INFINITY;
  if (text.trim() !== text || text === "") return undefined;
  const value = Number(text);
  return Number.isNaN(value) ? undefined : value;
}

function groupBuckets(series: readonly StepSeries[], position: TextRange, evaluation: Evaluation): BucketGroup[] {
  const groups = new Map<string, BucketGroup>();
  for (const one of series) {
    const text = labelValue(one.labels, "le");
    const bound = boundOf(text);
    if (bound === undefined) {
      const name = labelValue(one.labels, METRIC_NAME);
      const message = `bucket label "le" is missing or has a malformed value of ${quoteGo(text)}`;
      evaluation.annotations.warn(name === "" ? message : `${message} for metric name ${quoteGo(name)}`, position);
      continue;
    }
    const key = partialKey(one.labels, (name) => name !== "le");
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { first: one, buckets: [{ bound, series: one }] });
    else group.buckets.push({ bound, series: one });
  }
  for (const group of groups.values()) group.buckets.sort((a, b) => a.bound - b.bound);
  return [...groups.values()];
}

/** Calls `compute` with the buckets of every histogram and step; what it returns becomes the value. */
function overHistograms(
  series: readonly StepSeries[],
  grid: StepGrid,
  evaluation: Evaluation,
  position: TextRange,
  compute: (buckets: Bucket[], step: number, name: string) => number,
): StepSeries[] {
  const out: StepSeries[] = [];
  for (const group of groupBuckets(series, position, evaluation)) {
    const labels = filterLabels(group.first.labels, (name) => name !== "le");
    const name = labelValue(labels, METRIC_NAME);
    const result = makeSeries(labels, group.first.dropName, grid, evaluation.budget);
    for (let k = 0; k < grid.steps; k++) {
      const buckets: Bucket[] = [];
      for (const { bound, series: one } of group.buckets) {
        if (one.present[k] === FLOAT) buckets.push({ bound, count: one.values[k] ?? Number.NaN });
      }
      if (buckets.length === 0) continue;
      result.present[k] = FLOAT;
      result.values[k] = compute(buckets, k, name);
    }
    withoutName(result, evaluation);
    out.push(result);
  }
  return mergeResults(out, grid, evaluation);
}

/** `histogram_quantile(φ, v)`. */
export function histogramQuantile(
  series: readonly StepSeries[],
  quantiles: Float64Array,
  grid: StepGrid,
  evaluation: Evaluation,
  position: TextRange,
): StepSeries[] {
  return overHistograms(series, grid, evaluation, position, (buckets, step, name) => {
    const { value, forced } = bucketQuantile(quantiles[step] ?? Number.NaN, buckets);
    if (forced) {
      const where = name === "" ? "" : ` for metric name ${quoteGo(name)}`;
      const text = `input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)${where}`;
      evaluation.annotations.info(text, position);
    }
    return value;
  });
}

/** `histogram_fraction(lower, upper, v)`. */
export function histogramFraction(
  series: readonly StepSeries[],
  lower: Float64Array,
  upper: Float64Array,
  grid: StepGrid,
  evaluation: Evaluation,
  position: TextRange,
): StepSeries[] {
  return overHistograms(series, grid, evaluation, position, (buckets, step) =>
    bucketFraction(lower[step] ?? Number.NaN, upper[step] ?? Number.NaN, buckets),
  );
}

/** Adds up buckets with equal bounds; they are sorted. */
function coalesce(buckets: readonly Bucket[]): Bucket[] {
  const out: Bucket[] = [];
  for (const bucket of buckets) {
    const last = out[out.length - 1];
    if (last !== undefined && last.bound === bucket.bound) last.count += bucket.count;
    else out.push(bucket);
  }
  return out;
}

/** Lifts buckets that hold less than the ones below; true where that was more than rounding. */
function makeMonotonic(buckets: readonly Bucket[]): boolean {
  let forced = false;
  let before = buckets[0]?.count ?? 0;
  for (const bucket of buckets.slice(1)) {
    if (almostEqual(bucket.count, before)) bucket.count = before;
    else if (bucket.count < before) {
      bucket.count = before;
      forced = true;
    }
    before = bucket.count;
  }
  return forced;
}

function almostEqual(a: number, b: number): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  const sum = Math.abs(a) + Math.abs(b);
  const difference = Math.abs(a - b);
  return difference / Math.min(sum, Number.MAX_VALUE) < SMALL_DELTA;
}

function bucketQuantile(quantile: number, sorted: readonly Bucket[]): { value: number; forced: boolean } {
  const none = { value: Number.NaN, forced: false };
  if (Number.isNaN(quantile)) return none;
  if (quantile < 0) return { value: Number.NEGATIVE_INFINITY, forced: false };
  if (quantile > 1) return { value: Number.POSITIVE_INFINITY, forced: false };
  if (sorted[sorted.length - 1]?.bound !== Number.POSITIVE_INFINITY) return none;
  const buckets = coalesce(sorted);
  const forced = makeMonotonic(buckets);
  const total = buckets[buckets.length - 1]?.count ?? 0;
  if (buckets.length < 2 || total === 0 || Number.isNaN(total)) return { value: Number.NaN, forced };
  const rank = quantile * total;
  let index = 0;
  while (index < buckets.length - 1 && !((buckets[index]?.count ?? 0) >= rank)) index++;
  const bucket = buckets[index];
  const below = buckets[index - 1];
  if (bucket === undefined) return { value: Number.NaN, forced };
  if (index === buckets.length - 1) return { value: below?.bound ?? Number.NaN, forced };
  if (index === 0 && bucket.bound <= 0) return { value: bucket.bound, forced };
  const from = below?.bound ?? 0;
  const countBelow = below?.count ?? 0;
  const inside = bucket.count - countBelow;
  return { value: from + (bucket.bound - from) * ((rank - countBelow) / inside), forced };
}

function bucketFraction(lower: number, upper: number, sorted: readonly Bucket[]): number {
  if (sorted[sorted.length - 1]?.bound !== Number.POSITIVE_INFINITY) return Number.NaN;
  const buckets = coalesce(sorted);
  makeMonotonic(buckets);
  const total = buckets[buckets.length - 1]?.count ?? 0;
  if (total === 0 || Number.isNaN(total) || Number.isNaN(lower) || Number.isNaN(upper)) return Number.NaN;
  if (lower >= upper) return 0;
  return Math.max(0, rankOf(upper, buckets, total, false) - rankOf(lower, buckets, total, true)) / total;
}

/** Observations up to `value`, linear inside a bucket; a part of a bucket without end on one side counts as nothing. */
function rankOf(value: number, buckets: readonly Bucket[], total: number, isLower: boolean): number {
  let below = 0;
  let from = (buckets[0]?.bound ?? 0) > 0 ? 0 : Number.NEGATIVE_INFINITY;
  for (const { bound, count } of buckets) {
    if (value <= from) return below;
    if (value < bound) {
      if (bound === Number.POSITIVE_INFINITY || from === Number.NEGATIVE_INFINITY) return isLower ? count : below;
      return below + ((count - below) * (value - from)) / (bound - from);
    }
    below = count;
    from = bound;
  }
  return total;
}
