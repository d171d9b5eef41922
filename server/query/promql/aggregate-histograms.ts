/** `sum` and `avg` of native histograms, and groups in which they meet floats. */

import type { TextRange } from "../../../grammar/promql-tree.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { Evaluation } from "./evaluation.ts";
import type { DenseTable } from "./histogram/dense-histograms.ts";
import { DenseSum } from "./histogram/dense-sum.ts";
import { compactHistogram } from "./histogram/float-histogram.ts";
import { HistogramMean, HistogramSum } from "./histogram/histogram-accumulator.ts";
import { boundsReconciled, MIXED_TYPES_IN_AGGREGATION, mixedSchemas, resetCollision } from "./histogram-messages.ts";
import { histogramSize } from "./query-budget.ts";
import { labelValue, METRIC_NAME } from "./series-labels.ts";
import { ABSENT, asDenseSeries, FLOAT, histogramAt, putHistogram, type StepSeries } from "./step-vector.ts";

/** Histograms of one group, added up step by step beside the floats in `out`. */
export class HistogramGroup {
  readonly #mean: boolean;
  readonly #out: StepSeries;
  readonly #evaluation: Evaluation;
  readonly #position: TextRange;
  readonly #totals: (HistogramSum | HistogramMean | undefined)[];
  /** Steps at which the group has both types. */
  readonly #mixed: Uint8Array;
  #held = 0;
  #hasTotals = false;
  /** The sum while all that came were tables of one kind. */
  #table: DenseSum | undefined;

  /** @param position Of the operand: what is said belongs there. */
  constructor(op: "sum" | "avg", out: StepSeries, evaluation: Evaluation, position: TextRange) {
    this.#mean = op === "avg";
    this.#out = out;
    this.#evaluation = evaluation;
    this.#position = position;
    this.#totals = new Array(out.values.length);
    this.#mixed = new Uint8Array(out.values.length);
  }

  /** Takes the histograms of a series, and sees its floats. Its floats must be folded into `out` after this. */
  add(series: StepSeries): void {
    const { present, dense } = series;
    if (dense !== undefined && this.#addTable(dense, present)) return;
    this.#leaveTable();
    for (let k = 0; k < present.length; k++) {
      if (present[k] === FLOAT) this.#seeFloat(k);
      else if (present[k] !== ABSENT) this.#addAt(k, series);
    }
  }

  #addTable(dense: DenseTable, present: Uint8Array): boolean {
    if (this.#mean || this.#hasTotals || !(this.#table ?? this.#startTable(dense))?.takes(dense)) return false;
    const table = this.#table;
    if (table === undefined) return false;
    const before = table.size;
    table.add(dense, present);
    this.#evaluation.budget.hold(table.size - before);
    this.#held += table.size - before;
    return true;
  }

  #startTable(dense: DenseTable): DenseSum | undefined {
    if (this.#out.present.includes(FLOAT)) return undefined;
    this.#table = new DenseSum(dense.shape, dense.columns);
    return this.#table;
  }

  /** Goes on step by step. */
  #leaveTable(): void {
    this.#hasTotals = true;
    const table = this.#table;
    if (table === undefined) return;
    this.#table = undefined;
    for (let k = 0; k < this.#totals.length; k++) {
      if (table.has[k] === 1) this.#totals[k] = HistogramSum.from(table.totalAt(k));
    }
  }

  #seeFloat(step: number): void {
    const total = this.#totals[step];
    if (total !== undefined && !total.findings.incompatible) this.#mixed[step] = 1;
  }

  #addAt(step: number, series: StepSeries): void {
    const histogram = histogramAt(series, step);
    if (histogram === undefined) return;
    const known = this.#totals[step];
    if (known === undefined) {
      if (this.#out.present[step] === FLOAT) this.#mixed[step] = 1;
      else this.#start(step, histogram);
      return;
    }
    const { findings } = known;
    if (findings.incompatible) return;
    known.add(histogram);
    const { annotations } = this.#evaluation;
    if (findings.incompatible) {
      annotations.warn(mixedSchemas(labelValue(series.labels, METRIC_NAME)), this.#position);
    } else if (findings.boundsReconciled) annotations.info(boundsReconciled("aggregation"), this.#position);
  }

  #start(step: number, histogram: NativeHistogram): void {
    const size = histogramSize(histogram);
    this.#evaluation.budget.hold(size);
    this.#held += size;
    const total = this.#mean ? new HistogramMean() : new HistogramSum();
    total.add(histogram);
    this.#totals[step] = total;
  }

  /** The results, written over what the floats left in `out`: that series, or one that takes its place. */
  finish(): StepSeries {
    const { annotations, budget } = this.#evaluation;
    const out = this.#out;
    const table = this.#table;
    if (table !== undefined && !this.#hasTotals) {
      budget.release(this.#held);
      return asDenseSeries(out, table.finished(), table.has, budget);
    }
    for (let k = 0; k < out.present.length; k++) {
      const total = this.#totals[k];
      if (this.#mixed[k] === 1) {
        annotations.warn(MIXED_TYPES_IN_AGGREGATION, this.#position);
        out.present[k] = ABSENT;
      } else if (total !== undefined) {
        out.present[k] = ABSENT;
        const { value } = total;
        if (value === undefined) continue;
        if (total.findings.resetCollision) annotations.warn(resetCollision("aggregation"), this.#position);
        putHistogram(out, k, compactHistogram(value), budget);
      }
    }
    budget.release(this.#held);
    return out;
  }
}
