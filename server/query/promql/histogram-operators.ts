/** Binary operators on native histograms. */

import type { PromqlBinary, TextRange } from "../../../grammar/promql-tree.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { Annotations } from "./annotations.ts";
import {
  compactHistogram,
  divideHistogram,
  equalHistograms,
  scaleHistogram,
  withResetHint,
} from "./histogram/float-histogram.ts";
import { addHistograms, subtractHistograms } from "./histogram/histogram-sum.ts";
import { trimHistogram } from "./histogram/histogram-trim.ts";
import { boundsReconciled, incompatibleLayout, incompatibleTypes, resetCollision } from "./histogram-messages.ts";
import type { QueryBudget } from "./query-budget.ts";
import { ABSENT, FLOAT, histogramAt, putHistogram, type StepSeries } from "./step-vector.ts";

/** What an operation has to say; the message belongs to the whole operation. */
export interface OperatorNote {
  readonly severity: "warning" | "info";
  readonly message: string;
}

/** What becomes of two samples of which at least one is a histogram. */
export type HistogramOutcome =
  /** There is no result, and the two samples do not count as matched. */
  | { readonly kind: "none"; readonly note: OperatorNote }
  /** `holds` is false where a comparison fails. */
  | {
      readonly kind: "histogram";
      readonly histogram: NativeHistogram;
      readonly holds: boolean;
      readonly note?: OperatorNote | undefined;
    };

/** Operands in the order of the text; at least one is a histogram. */
export function operateHistograms(
  op: string,
  left: number | NativeHistogram,
  right: number | NativeHistogram,
): HistogramOutcome {
  if (typeof left !== "number" && typeof right !== "number") return betweenHistograms(op, left, right);
  if (typeof left !== "number" && typeof right === "number") {
    if (op === "*") return result(compactHistogram(scaleHistogram(left, right)));
    if (op === "/") return result(compactHistogram(divideHistogram(left, right)));
    if (op === "</" || op === ">/") return result(trimHistogram(left, right, op === "</" ? "below" : "above"));
  }
  if (typeof left === "number" && typeof right !== "number" && op === "*") {
    return result(compactHistogram(scaleHistogram(right, left)));
  }
  return refused(op, left, right);
}

function result(histogram: NativeHistogram): HistogramOutcome {
  return { kind: "histogram", histogram, holds: true };
}

/** The note on two samples that an operator does not take. */
function refused(op: string, left: number | NativeHistogram, right: number | NativeHistogram): HistogramOutcome {
  const message = incompatibleTypes(op, typeName(left), typeName(right));
  return { kind: "none", note: { severity: "info", message } };
}

function typeName(sample: number | NativeHistogram): "float" | "histogram" {
  return typeof sample === "number" ? "float" : "histogram";
}

function betweenHistograms(op: string, left: NativeHistogram, right: NativeHistogram): HistogramOutcome {
  if (op === "==" || op === "!=") {
    return { kind: "histogram", histogram: left, holds: equalHistograms(left, right) === (op === "==") };
  }
  if (op !== "+" && op !== "-") return refused(op, left, right);
  const combined = op === "+" ? addHistograms(left, right) : subtractHistograms(left, right);
  const operation = op === "+" ? "addition" : "subtraction";
  const warning = (message: string): HistogramOutcome => ({ kind: "none", note: { severity: "warning", message } });
  if (combined === undefined) return warning(incompatibleLayout(op));
  if (combined.resetCollision) return warning(resetCollision(operation));
  const { histogram } = combined;
  return {
    kind: "histogram",
    histogram: compactHistogram(op === "+" ? histogram : withResetHint(histogram, "gauge")),
    holds: true,
    note: combined.boundsReconciled ? { severity: "info", message: boundsReconciled(operation) } : undefined,
  };
}

/** Whether an operator cuts buckets off. */
export function isTrim(op: string): boolean {
  return op === "</" || op === ">/";
}

/** What a series has at a step where it has something. */
export function sampleAt(series: StepSeries, step: number): number | NativeHistogram {
  return histogramAt(series, step) ?? series.values[step] ?? Number.NaN;
}

/**
 * Does what an operator between a vector and a scalar does to the histograms of a series, in place. Operators that
 * cut buckets take away the floats, too.
 */
export function histogramsWithScalar(
  node: PromqlBinary,
  series: StepSeries,
  scalar: { readonly values: Float64Array; readonly isLeft: boolean },
  notes: OperatorNotes,
  budget: QueryBudget,
): void {
  const { present } = series;
  for (let k = 0; k < present.length; k++) {
    if (present[k] === ABSENT || (present[k] === FLOAT && !isTrim(node.op))) continue;
    const sample = sampleAt(series, k);
    const other = scalar.values[k] ?? Number.NaN;
    const outcome = scalar.isLeft
      ? operateHistograms(node.op, other, sample)
      : operateHistograms(node.op, sample, other);
    notes.note(k, outcome.note);
    present[k] = ABSENT;
    if (outcome.kind === "histogram") putHistogram(series, k, outcome.histogram, budget);
  }
}

/** What is said at each step: of several notes only the last, as in Prometheus. */
export class OperatorNotes {
  readonly #byStep: (OperatorNote | undefined)[] = [];

  note(step: number, note: OperatorNote | undefined): void {
    if (note !== undefined) this.#byStep[step] = note;
  }

  /** Tells all of them; they belong to the whole operation. */
  say(annotations: Annotations, position: TextRange): void {
    for (const note of this.#byStep) {
      if (note?.severity === "warning") annotations.warn(note.message, position);
      else if (note !== undefined) annotations.info(note.message, position);
    }
  }
}
