/** The functions `histogram_*`, over native histograms and over classic ones: series that differ in `le`. */

import type { PromqlCall, PromqlExpression, TextRange } from "../../../grammar/promql-tree.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { Labels } from "../../model/series.ts";
import { isQuantile, warnQuantile } from "./aggregate.ts";
import { type Evaluation, mergeResults, withoutName } from "./evaluation.ts";
import { type ClassicBuckets, classicFraction, classicQuantile } from "./histogram/classic-quantile.ts";
import { COUNT_ROW, SUM_ROW } from "./histogram/dense-histograms.ts";
import { histogramMean, histogramVariance } from "./histogram/histogram-moments.ts";
import { histogramFraction, histogramQuantile } from "./histogram/histogram-quantile.ts";
import { TableHistograms } from "./histogram/table-histograms.ts";
import { badBucketLabel, fractionNans, mixedClassicNative, quantileNans } from "./histogram-messages.ts";
import { LiftedTally } from "./lifted-tally.ts";
import { parseGoNumber, printBound } from "./number-text.ts";
import { filterLabels, labelsKey, labelValue, METRIC_NAME, setLabel } from "./series-labels.ts";
import {
  FLOAT,
  HISTOGRAM,
  histogramAt,
  makeSeries,
  releaseSeries,
  type StepGrid,
  type StepSeries,
} from "./step-vector.ts";

/** Evaluated arguments of a call, by their place. */
export interface CallArguments {
  readonly node: (index: number) => PromqlExpression;
  readonly scalar: (index: number) => Float64Array;
  readonly text: (index: number) => string;
  readonly vector: (index: number) => StepSeries[];
}

/** Functions of one native histogram; floats give nothing. */
const SIMPLE: ReadonlyMap<string, (histogram: NativeHistogram) => number> = new Map([
  ["histogram_avg", histogramMean],
  ["histogram_count", ({ count }: NativeHistogram) => count],
  ["histogram_stddev", (histogram: NativeHistogram) => Math.sqrt(histogramVariance(histogram))],
  ["histogram_stdvar", histogramVariance],
  ["histogram_sum", ({ sum }: NativeHistogram) => sum],
]);

/** Which row of a table has what a function gives. */
const ROWS: ReadonlyMap<string, number> = new Map([
  ["histogram_count", COUNT_ROW],
  ["histogram_sum", SUM_ROW],
]);

/** Evaluates a call of a function `histogram_*`; undefined where `node` is another call. */
export function histogramFunction(
  node: PromqlCall,
  args: CallArguments,
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] | undefined {
  const simple = SIMPLE.get(node.name);
  if (simple !== undefined) {
    return overNatives(args.vector(0), { compute: simple, row: ROWS.get(node.name) }, grid, evaluation);
  }
  switch (node.name) {
    case "histogram_quantile": {
      const quantiles = args.scalar(0);
      const series = args.vector(1);
      warnQuantiles(quantiles, args.node(0), evaluation);
      const input = histogramsOf(series, args.node(1), evaluation);
      const lifted = new LiftedTally(grid);
      const method = quantileMethod(quantiles, { position: input.position, lifted, tells: () => true }, evaluation);
      const result = overHistograms(input, method, grid, evaluation);
      lifted.say(evaluation.annotations, input.position);
      input.release();
      return mergeResults(result, grid, evaluation);
    }
    case "histogram_quantiles":
      return mergeResults(severalQuantiles(node, args, grid, evaluation), grid, evaluation);
    case "histogram_fraction": {
      const [lower, upper] = [args.scalar(0), args.scalar(1)];
      const input = histogramsOf(args.vector(2), args.node(2), evaluation);
      const result = overHistograms(input, fractionMethod(lower, upper, input.position, evaluation), grid, evaluation);
      input.release();
      return mergeResults(result, grid, evaluation);
    }
    default:
      return undefined;
  }
}

function overNatives(
  series: StepSeries[],
  { compute, row }: { readonly compute: (histogram: NativeHistogram) => number; readonly row: number | undefined },
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  const out: StepSeries[] = [];
  for (const one of series) {
    const { dense } = one;
    if (dense === undefined && one.histograms === undefined) continue;
    const result = makeSeries(one.labels, one.dropName, grid, evaluation.budget);
    const table = dense === undefined ? undefined : new TableHistograms(dense);
    for (let k = 0; k < grid.steps; k++) {
      if (one.present[k] !== HISTOGRAM) continue;
      if (dense !== undefined && row !== undefined) {
        result.present[k] = FLOAT;
        result.values[k] = dense.numbers[row * dense.columns + k] ?? Number.NaN;
        continue;
      }
      const histogram = table?.at(k) ?? histogramAt(one, k);
      if (histogram === undefined) continue;
      result.present[k] = FLOAT;
      result.values[k] = compute(histogram);
    }
    withoutName(result, evaluation);
    out.push(result);
  }
  releaseSeries(series, evaluation.budget);
  return mergeResults(out, grid, evaluation);
}

/** What a function makes of one histogram at one step. `name` is for what is to be said of it, and may be empty. */
interface HistogramMethod {
  readonly native: (histogram: NativeHistogram, step: number, name: string) => number;
  readonly classic: (buckets: ClassicBuckets, step: number, name: string) => number;
  /** Whether the step takes part. */
  readonly at?: (step: number) => boolean;
}

function warnQuantiles(quantiles: Float64Array, node: PromqlExpression, evaluation: Evaluation): void {
  for (const value of quantiles) warnQuantile(value, node, evaluation);
}

/** What a quantile tells. */
interface QuantileNotes {
  readonly position: TextRange;
  readonly lifted: LiftedTally;
  /** Whether this quantile tells at a step that buckets had to be lifted. */
  readonly tells: (step: number) => boolean;
}

function quantileMethod(
  quantiles: Float64Array,
  { position, lifted: tally, tells }: QuantileNotes,
  { annotations }: Evaluation,
): HistogramMethod {
  return {
    native: (histogram, step, name) => {
      const { value, nans } = histogramQuantile(quantiles[step] ?? Number.NaN, histogram);
      if (nans !== "none") annotations.info(quantileNans(nans, name), position);
      return value;
    },
    classic: (buckets, step, name) => {
      const { value, lifted } = classicQuantile(quantiles[step] ?? Number.NaN, buckets);
      if (lifted !== undefined && tells(step)) tally.note(step, name, lifted);
      return value;
    },
  };
}

function fractionMethod(
  lower: Float64Array,
  upper: Float64Array,
  position: TextRange,
  { annotations }: Evaluation,
): HistogramMethod {
  const bounds = (step: number) => [lower[step] ?? Number.NaN, upper[step] ?? Number.NaN] as const;
  return {
    native: (histogram, step, name) => {
      const { value, hasNans } = histogramFraction(...bounds(step), histogram);
      if (hasNans) annotations.info(fractionNans(name), position);
      return value;
    },
    classic: (buckets, step) => classicFraction(...bounds(step), buckets),
  };
}

/** One series for each quantile, told apart by a label; a quantile that changes over the steps gives several. */
function severalQuantiles(node: PromqlCall, args: CallArguments, grid: StepGrid, evaluation: Evaluation): StepSeries[] {
  const series = args.vector(0);
  const label = args.text(1);
  const all = node.args.slice(2).map((_, index) => args.scalar(index + 2));
  for (const [index, quantiles] of all.entries()) warnQuantiles(quantiles, args.node(index + 2), evaluation);
  const input = histogramsOf(series, args.node(0), evaluation);
  const out: StepSeries[] = [];
  const lifted = new LiftedTally(grid);
  for (const [index, quantiles] of all.entries()) {
    // Buckets that one quantile has lifted are in order for the next ones.
    const tells = (step: number) => all.findIndex((one) => isQuantile(one[step] ?? Number.NaN)) === index;
    const method = quantileMethod(quantiles, { position: input.position, lifted, tells }, evaluation);
    for (const quantile of new Set(quantiles)) {
      const at = (step: number) =>
        quantiles[step] === quantile || (Number.isNaN(quantile) && Number.isNaN(quantiles[step]));
      for (const one of overHistograms(input, { ...method, at }, grid, evaluation)) {
        one.labels = setLabel(one.labels, label, printBound(quantile));
        out.push(one);
      }
    }
  }
  lifted.say(evaluation.annotations, input.position);
  input.release();
  return out;
}

/** Bucket series of one classic histogram, by bound. */
interface ClassicHistogram {
  /** Without `le`. */
  readonly labels: Labels;
  readonly dropName: boolean;
  readonly buckets: { readonly bound: number; readonly series: StepSeries }[];
}

/** The histograms of a vector. */
interface HistogramInput {
  readonly position: TextRange;
  readonly natives: readonly StepSeries[];
  /** By the key of their labels. */
  readonly classics: ReadonlyMap<string, ClassicHistogram>;
  readonly release: () => void;
}

function histogramsOf(series: StepSeries[], { position }: PromqlExpression, evaluation: Evaluation): HistogramInput {
  const classics = new Map<string, ClassicHistogram>();
  for (const one of series) {
    if (!one.present.includes(FLOAT)) continue;
    const text = labelValue(one.labels, "le");
    const bound = parseGoNumber(text);
    if (bound === undefined || Number.isNaN(bound)) {
      evaluation.annotations.warn(badBucketLabel(text, nameFor(one.labels, evaluation)), position);
      continue;
    }
    const labels = filterLabels(one.labels, (name) => name !== "le");
    const key = labelsKey(labels);
    const known = classics.get(key);
    if (known === undefined) classics.set(key, { labels, dropName: one.dropName, buckets: [{ bound, series: one }] });
    else known.buckets.push({ bound, series: one });
  }
  for (const { buckets } of classics.values()) buckets.sort((a, b) => (a.bound === b.bound ? 0 : a.bound - b.bound));
  const natives = series.filter((one) => one.present.includes(HISTOGRAM));
  return { position, natives, classics, release: () => releaseSeries(series, evaluation.budget) };
}

/** Messages name the metric only where names are still known when functions run. */
function nameFor(labels: Labels, { delayedNameRemoval }: Evaluation): string {
  return delayedNameRemoval ? labelValue(labels, METRIC_NAME) : "";
}

/** Calls `method` for every histogram and step; what it returns becomes the value. */
function overHistograms(
  input: HistogramInput,
  method: HistogramMethod,
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  const out: StepSeries[] = [];
  const takenByNative = new Map<ClassicHistogram, Uint8Array>();
  const start = (labels: Labels, dropName: boolean) => {
    const result = makeSeries(labels, dropName, grid, evaluation.budget);
    withoutName(result, evaluation);
    out.push(result);
    return result;
  };
  for (const native of input.natives) {
    const name = nameFor(native.labels, evaluation);
    const twin = input.classics.get(labelsKey(native.labels));
    const conflicts = twin === undefined ? undefined : conflictsOf(native, twin);
    if (twin !== undefined && conflicts !== undefined) {
      takenByNative.set(twin, conflicts);
      if (conflicts.includes(1)) evaluation.annotations.warn(mixedClassicNative(name), input.position);
    }
    const result = start(native.labels, native.dropName);
    const table = native.dense === undefined ? undefined : new TableHistograms(native.dense);
    for (let k = 0; k < grid.steps; k++) {
      if (native.present[k] !== HISTOGRAM || conflicts?.[k] === 1 || method.at?.(k) === false) continue;
      const histogram = table?.at(k) ?? histogramAt(native, k);
      if (histogram === undefined) continue;
      result.present[k] = FLOAT;
      result.values[k] = method.native(histogram, k, name);
    }
  }
  for (const classic of input.classics.values()) {
    const name = nameFor(classic.labels, evaluation);
    const conflicts = takenByNative.get(classic);
    const result = start(classic.labels, classic.dropName);
    const most = classic.buckets.length;
    const buckets = { bounds: new Float64Array(most), counts: new Float64Array(most), length: 0 };
    for (let k = 0; k < grid.steps; k++) {
      if (conflicts?.[k] === 1 || method.at?.(k) === false || !fillBuckets(classic, k, buckets)) continue;
      result.present[k] = FLOAT;
      result.values[k] = method.classic(buckets, k, name);
    }
  }
  return out;
}

/** 1 for each step at which both have something. */
function conflictsOf(native: StepSeries, { buckets }: ClassicHistogram): Uint8Array {
  return native.present.map((kind, k) =>
    kind === HISTOGRAM && buckets.some(({ series }) => series.present[k] === FLOAT) ? 1 : 0,
  );
}

/** Puts the buckets of one step in place; false where there are none. */
function fillBuckets({ buckets }: ClassicHistogram, step: number, into: ClassicBuckets): boolean {
  let length = 0;
  for (const { bound, series } of buckets) {
    if (series.present[step] !== FLOAT) continue;
    into.bounds[length] = bound;
    into.counts[length] = series.values[step] ?? Number.NaN;
    length++;
  }
  into.length = length;
  return length > 0;
}
