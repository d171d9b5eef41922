/** Operators between two vectors, or a vector and a scalar. */

import { isComparison } from "../../../grammar/promql-check.ts";
import type { PromqlBinary } from "../../../grammar/promql-tree.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { Labels } from "../../model/series.ts";
import type { Evaluation } from "./evaluation.ts";
import { mergeResults, withoutName } from "./evaluation.ts";
import { histogramsWithScalar, isTrim, OperatorNotes, operateHistograms, sampleAt } from "./histogram-operators.ts";
import { PromqlExecutionError } from "./query-error.ts";
import {
  compareLabels,
  dropMetricName,
  filterLabels,
  labelsKey,
  labelValue,
  METRIC_NAME,
  partialKey,
  printLabels,
  setLabel,
} from "./series-labels.ts";
import { ABSENT, FLOAT, makeSeries, putHistogram, type StepGrid, type StepSeries } from "./step-vector.ts";
import { arithmetic, comparison } from "./vector-kernels.ts";

/** The value of an operation, or undefined where a comparison filters it out. */
type Operation = (left: number, right: number) => number | undefined;

/** What an operator does with two values; a filtering comparison keeps the left one. */
export function operationOf(node: PromqlBinary): Operation {
  if (isTrim(node.op)) return () => undefined; // floats have no buckets
  if (!isComparison(node.op)) return arithmetic(node.op);
  const compare = comparison(node.op);
  if (node.bool) return (left, right) => (compare(left, right) ? 1 : 0);
  return (left, right) => (compare(left, right) ? left : undefined);
}

/** Vector with scalar, in either order. A filter keeps the value of the vector. */
export function vectorScalar(
  node: PromqlBinary,
  vector: readonly StepSeries[],
  scalar: { readonly values: Float64Array; readonly isLeft: boolean },
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  const filters = isComparison(node.op) && !node.bool;
  const operate = operationOf(node);
  const notes = new OperatorNotes();
  for (const series of vector) {
    if (series.histograms !== undefined || isTrim(node.op)) {
      histogramsWithScalar(node, series, scalar, notes, evaluation.budget);
    }
    const { values, present } = series;
    for (let k = 0; k < present.length; k++) {
      if (present[k] !== FLOAT) continue;
      const value = values[k] ?? Number.NaN;
      const other = scalar.values[k] ?? Number.NaN;
      const result = scalar.isLeft ? operate(other, value) : operate(value, other);
      if (result === undefined) present[k] = ABSENT;
      else values[k] = filters ? value : result;
    }
    if (!filters && !isTrim(node.op)) withoutName(series, evaluation);
  }
  notes.say(evaluation.annotations, node.position);
  return mergeResults(vector, grid, evaluation);
}

/** Whether a label takes part in matching. */
function matchedBy(node: PromqlBinary): (name: string) => boolean {
  const names = new Set(node.matching.labels);
  return node.matching.on ? (name) => names.has(name) : (name) => !names.has(name) && name !== METRIC_NAME;
}

function bySignature(series: readonly StepSeries[], matched: (name: string) => boolean): Map<string, StepSeries[]> {
  const groups = new Map<string, StepSeries[]>();
  for (const one of series) {
    const key = partialKey(one.labels, matched);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}

/** Steps at which any of the series has a value. */
function presence(series: readonly StepSeries[], steps: number): Uint8Array {
  const any = new Uint8Array(steps);
  for (const { present } of series) for (let k = 0; k < steps; k++) if (present[k] !== ABSENT) any[k] = 1;
  return any;
}

/** `and`, `or`, `unless`. */
export function setOperation(
  node: PromqlBinary,
  left: readonly StepSeries[],
  right: readonly StepSeries[],
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  const matched = matchedBy(node);
  const others = bySignature(node.op === "or" ? left : right, matched);
  const filtered = node.op === "or" ? right : left;
  const keepWhere = node.op === "and" ? 1 : 0;
  const presences = new Map<string, Uint8Array>();
  for (const one of filtered) {
    const key = partialKey(one.labels, matched);
    let other = presences.get(key);
    if (other === undefined) {
      other = presence(others.get(key) ?? [], grid.steps);
      presences.set(key, other);
    }
    for (let k = 0; k < grid.steps; k++) if (other[k] !== keepWhere) one.present[k] = ABSENT;
  }
  return mergeResults(node.op === "or" ? [...left, ...right] : left, grid, evaluation);
}

/** One-to-one, many-to-one and one-to-many. */
export function vectorVector(
  node: PromqlBinary,
  left: readonly StepSeries[],
  right: readonly StepSeries[],
  grid: StepGrid,
  evaluation: Evaluation,
): StepSeries[] {
  return new VectorMatcher(node, left, right, grid, evaluation).run();
}

/** One operation between two vectors; the "one" side is the right one unless `group_right` says otherwise. */
class VectorMatcher {
  readonly #node: PromqlBinary;
  readonly #grid: StepGrid;
  readonly #evaluation: Evaluation;
  readonly #oneIsLeft: boolean;
  readonly #many: readonly StepSeries[];
  readonly #one: Map<string, StepSeries[]>;
  readonly #oneAll: readonly StepSeries[];
  readonly #matched: (name: string) => boolean;
  readonly #operate: Operation;
  readonly #notes = new OperatorNotes();
  readonly #out = new Map<string, StepSeries>();
  /** Steps at which a one-to-one match group already has its match. */
  readonly #taken = new Map<string, Uint8Array>();

  constructor(
    node: PromqlBinary,
    left: readonly StepSeries[],
    right: readonly StepSeries[],
    grid: StepGrid,
    evaluation: Evaluation,
  ) {
    this.#node = node;
    this.#grid = grid;
    this.#evaluation = evaluation;
    this.#oneIsLeft = node.matching.group === "right";
    this.#many = this.#oneIsLeft ? right : left;
    this.#oneAll = this.#oneIsLeft ? left : right;
    this.#matched = matchedBy(node);
    this.#one = bySignature(this.#oneAll, this.#matched);
    this.#operate = operationOf(node);
  }

  run(): StepSeries[] {
    this.#refuseDuplicates();
    for (const many of this.#many) {
      const key = partialKey(many.labels, this.#matched);
      for (const one of this.#one.get(key) ?? []) this.#pair(key, many, one);
    }
    this.#notes.say(this.#evaluation.annotations, this.#node.position);
    return [...this.#out.values()];
  }

  /** Two series of the one side in a match group are an error even where nothing of the many side matches them. */
  #refuseDuplicates(): void {
    for (const group of this.#one.values()) {
      if (group.length < 2) continue;
      const seen = new Int32Array(this.#grid.steps).fill(-1);
      const manyAt = presence(this.#many, this.#grid.steps);
      for (const [index, one] of group.entries()) {
        for (let k = 0; k < this.#grid.steps; k++) {
          if (one.present[k] === ABSENT || manyAt[k] === 0) continue;
          const before = group[seen[k] ?? -1];
          if (before !== undefined) this.#duplicateError(before, one);
          seen[k] = index;
        }
      }
    }
  }

  #duplicateError(first: StepSeries, second: StepSeries): never {
    const group = printLabels(filterLabels(first.labels, this.#matched));
    const side = this.#oneIsLeft ? "left" : "right";
    const both = [first.labels, second.labels].sort(compareLabels).map(printLabels).join(", ");
    throw new PromqlExecutionError(
      `found duplicate series for the match group ${group} on the ${side} hand-side of the operation: [${both}]` +
        ";many-to-many matching not allowed: matching labels must be unique on one side",
    );
  }

  #pair(key: string, many: StepSeries, one: StepSeries): void {
    const { steps } = this.#grid;
    const grouping = this.#node.matching.group !== undefined;
    let taken = this.#taken.get(key);
    if (taken === undefined && !grouping) {
      taken = new Uint8Array(steps);
      this.#taken.set(key, taken);
    }
    let target: StepSeries | undefined;
    let written: Uint8Array | undefined;
    for (let k = 0; k < steps; k++) {
      if (many.present[k] === ABSENT || one.present[k] === ABSENT) continue;
      const result = this.#resultAt(k, many, one);
      if (result === "no_match") continue;
      if (taken !== undefined) {
        if (taken[k] === 1) {
          throw new PromqlExecutionError(
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
          );
        }
        taken[k] = 1;
      }
      if (target === undefined) {
        const labels = this.#resultLabels(many.labels, one.labels);
        const resultKey = labelsKey(labels);
        target = this.#out.get(resultKey) ?? makeSeries(labels, false, this.#grid, this.#evaluation.budget);
        this.#out.set(resultKey, target);
        if (many.dropName || (this.#node.bool && this.#evaluation.delayedNameRemoval)) target.dropName = true;
        written = this.#writtenSteps(resultKey);
      }
      if (written !== undefined) {
        if (written[k] === 1) {
          throw new PromqlExecutionError("multiple matches for labels: grouping labels must ensure unique matches");
        }
        written[k] = 1;
      }
      if (result === undefined) continue;
      if (typeof result === "number") {
        target.present[k] = FLOAT;
        target.values[k] = result;
      } else putHistogram(target, k, result, this.#evaluation.budget);
    }
  }

  /** Undefined where a comparison filters the two out, `no_match` where the operator does not take them. */
  #resultAt(step: number, many: StepSeries, one: StepSeries): number | NativeHistogram | undefined | "no_match" {
    const left = this.#oneIsLeft ? one : many;
    const right = this.#oneIsLeft ? many : one;
    if (many.present[step] === FLOAT && one.present[step] === FLOAT && !isTrim(this.#node.op)) {
      return this.#operate(left.values[step] ?? Number.NaN, right.values[step] ?? Number.NaN);
    }
    const outcome = operateHistograms(this.#node.op, sampleAt(left, step), sampleAt(right, step));
    this.#notes.note(step, outcome.note);
    if (outcome.kind === "none") return "no_match";
    if (this.#node.bool) return outcome.holds ? 1 : 0;
    return outcome.holds ? outcome.histogram : undefined;
  }

  readonly #written = new Map<string, Uint8Array>();

  /** Matches count before a comparison filters them, so presence in the result does not tell. */
  #writtenSteps(resultKey: string): Uint8Array {
    const known = this.#written.get(resultKey);
    if (known !== undefined) return known;
    const made = new Uint8Array(this.#grid.steps);
    this.#written.set(resultKey, made);
    return made;
  }

  #resultLabels(many: Labels, one: Labels): Labels {
    const { matching, op, bool } = this.#node;
    let labels = many;
    const dropsName = (!isComparison(op) && !isTrim(op)) || (bool && !this.#evaluation.delayedNameRemoval);
    if (dropsName) labels = dropMetricName(labels);
    if (matching.group === undefined) {
      const names = new Set(matching.labels);
      labels = filterLabels(labels, (name) => names.has(name) === matching.on);
    }
    for (const name of matching.include) labels = setLabel(labels, name, labelValue(one, name));
    return labels;
  }
}
