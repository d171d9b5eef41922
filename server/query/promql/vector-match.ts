/** Operators between two vectors: one-to-one, many-to-one, one-to-many, with values for a missing side. */

import type { PromqlBinary } from "../../../grammar/promql-tree.ts";
import { ArraySlab } from "../../model/array-slab.ts";
import type { NativeHistogram } from "../../model/histogram.ts";
import type { Labels } from "../../model/series.ts";
import { type Operation, operationOf } from "./binary.ts";
import type { Evaluation } from "./evaluation.ts";
import { isTrim, OperatorNotes, operateHistograms, sampleAt } from "./histogram-operators.ts";
import { keptGroupKey, keptKey } from "./kept-labels.ts";
import { PromqlExecutionError, sameLabelsetError } from "./query-error.ts";
import { compareText, filterLabels, labelsKey, partialKey, printLabels } from "./series-labels.ts";
import { ABSENT, FLOAT, makeSeries, putHistogram, type StepGrid, type StepSeries } from "./step-vector.ts";
import { joinOf, type LabelJoin } from "./vector-join.ts";
import { bySignature, presence } from "./vector-signature.ts";

/** Two vectors and where their operator stands. */
interface Operands {
  readonly node: PromqlBinary;
  readonly left: readonly StepSeries[];
  readonly right: readonly StepSeries[];
  readonly grid: StepGrid;
}

/**
 * Evaluates an operator, but a set operator, between two vectors.
 *
 * @throws PromqlExecutionError where the matching is ambiguous.
 */
export function vectorVector(operands: Operands, evaluation: Evaluation): StepSeries[] {
  return new VectorMatcher(operands, evaluation).run();
}

/** Series that agree in the labels that take part. */
interface MatchGroup {
  /** Series of the one side. */
  readonly ones: readonly StepSeries[];
  /** Steps at which there was a match, filtered or not. */
  readonly matched: Uint8Array;
  /** For a grouping, by labels of the result: the steps at which they were matched. */
  readonly written: Map<string, Uint8Array>;
}

/** One operation; the "one" side is the right one unless `group_right` says otherwise. */
class VectorMatcher {
  readonly #node: PromqlBinary;
  readonly #grid: StepGrid;
  readonly #evaluation: Evaluation;
  readonly #oneIsLeft: boolean;
  readonly #many: readonly StepSeries[];
  readonly #one: readonly StepSeries[];
  /** Values for a missing side. */
  readonly #fillMany: number | undefined;
  readonly #fillOne: number | undefined;
  readonly #join: LabelJoin;
  readonly #groups = new Map<string, MatchGroup>();
  readonly #operate: Operation;
  readonly #notes = new OperatorNotes();
  readonly #out: StepSeries[] = [];
  readonly #outByKey = new Map<string, StepSeries>();

  constructor({ node, left, right, grid }: Operands, evaluation: Evaluation) {
    const { matching } = node;
    this.#node = node;
    this.#grid = grid;
    this.#evaluation = evaluation;
    this.#oneIsLeft = matching.group === "right";
    this.#many = this.#oneIsLeft ? right : left;
    this.#one = this.#oneIsLeft ? left : right;
    this.#fillMany = this.#oneIsLeft ? matching.fillRight : matching.fillLeft;
    this.#fillOne = this.#oneIsLeft ? matching.fillLeft : matching.fillRight;
    this.#join = joinOf(node, evaluation);
    this.#operate = operationOf(node);
  }

  run(): StepSeries[] {
    for (const [key, ones] of bySignature(this.#one, this.#join.matched)) this.#groups.set(key, this.#group(ones));
    this.#refuseDuplicates();
    for (const many of this.#many) this.#matchMany(many);
    if (this.#fillMany !== undefined) for (const one of this.#one) this.#matchAlone(one, this.#fillMany);
    this.#notes.say(this.#evaluation.annotations, this.#node.position);
    return this.#out;
  }

  #group(ones: readonly StepSeries[]): MatchGroup {
    return { ones, matched: flags.take(this.#grid.steps), written: new Map() };
  }

  #groupOf(series: StepSeries): MatchGroup {
    const { labels } = series;
    const { matching, matched } = this.#join;
    const key = keptGroupKey(labels, matching, () => partialKey(labels, matched));
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const made = this.#group([]);
    this.#groups.set(key, made);
    return made;
  }

  /**
   * Two series of the one side in a match group are an error even where nothing of the many side matches them. Of
   * several such pairs the one at the first step is told, and of those the first in order.
   */
  #refuseDuplicates(): void {
    if (this.#groups.size === this.#one.length) return;
    const { steps } = this.#grid;
    const hasFill = this.#fillMany !== undefined || this.#fillOne !== undefined;
    const counts = hasFill ? new Uint8Array(steps).fill(1) : presence(this.#many, steps);
    const firsts = new Map<MatchGroup, (StepSeries | undefined)[]>();
    let pair: readonly [StepSeries, StepSeries] | undefined;
    let before = steps;
    for (const one of this.#one) {
      const group = this.#groupOf(one);
      if (group.ones.length < 2) continue;
      let first = firsts.get(group);
      if (first === undefined) {
        first = new Array<StepSeries | undefined>(steps);
        firsts.set(group, first);
      }
      for (let k = 0; k < before; k++) {
        if (one.present[k] === ABSENT || counts[k] === 0) continue;
        const other = first[k];
        if (other === undefined) first[k] = one;
        else {
          pair = [other, one];
          before = k;
        }
      }
    }
    if (pair !== undefined) this.#duplicateError(...pair);
  }

  #duplicateError(first: StepSeries, second: StepSeries): never {
    const group = printLabels(this.#matchLabels(first.labels));
    const side = this.#oneIsLeft ? "left" : "right";
    const both = [first, second].map(({ labels }) => printLabels(labels)).sort(compareText);
    throw new PromqlExecutionError(
      `found duplicate series for the match group ${group} on the ${side} hand-side of the operation: [${both.join(", ")}]` +
        ";many-to-many matching not allowed: matching labels must be unique on one side",
    );
  }

  #matchLabels(labels: Labels): Labels {
    return filterLabels(labels, this.#join.matched);
  }

  #matchMany(many: StepSeries): void {
    const group = this.#groupOf(many);
    for (const one of group.ones) this.#pair(group, many, one);
    if (this.#fillOne === undefined) return;
    const taken = presence(group.ones, this.#grid.steps);
    const filled = this.#filled(many, this.#fillOne, (step) => taken[step] === 1);
    if (filled !== undefined) this.#pair(group, many, filled);
  }

  /** A series of the one side at the steps at which its group has had no match. */
  #matchAlone(one: StepSeries, fill: number): void {
    const group = this.#groupOf(one);
    const filled = this.#filled(one, fill, (step) => group.matched[step] === 1);
    if (filled !== undefined) this.#pair(group, filled, one);
  }

  /** The partner that `series` lacks at the steps at which it has a value and no match. */
  #filled(series: StepSeries, fill: number, isMatched: (step: number) => boolean): StepSeries | undefined {
    const present = new Uint8Array(this.#grid.steps);
    for (let k = 0; k < present.length; k++) if (series.present[k] !== ABSENT && !isMatched(k)) present[k] = FLOAT;
    if (!present.includes(FLOAT)) return undefined;
    const values = new Float64Array(this.#grid.steps).fill(fill);
    return { labels: this.#matchLabels(series.labels), dropName: false, values, present, histograms: undefined };
  }

  #pair(group: MatchGroup, many: StepSeries, one: StepSeries): void {
    if (isPlain(many) && isPlain(one) && !isTrim(this.#node.op)) {
      this.#pairFloats(group, many, one);
      return;
    }
    const isGrouping = this.#node.matching.group !== undefined;
    let labels: Labels | undefined;
    let key = "";
    let written = group.matched;
    let target: StepSeries | undefined;
    for (let k = 0; k < this.#grid.steps; k++) {
      if (many.present[k] === ABSENT || one.present[k] === ABSENT) continue;
      const result = this.#resultAt(k, many, one);
      if (result === "no_match") continue;
      if (labels === undefined) {
        labels = this.#join.labelsOf(many.labels, one.labels);
        key = keptKey(labels, labelsKey);
        if (isGrouping) written = this.#writtenOf(group, key);
      }
      if (written[k] === 1) throw ambiguous(isGrouping);
      written[k] = 1;
      group.matched[k] = 1;
      if (result === undefined) continue;
      target ??= this.#target(labels, key);
      this.#put(target, k, result);
    }
  }

  /** As `#pair` for series without histograms. */
  #pairFloats(group: MatchGroup, many: StepSeries, one: StepSeries): void {
    const { steps } = this.#grid;
    let k = 0;
    while (k < steps && (many.present[k] === ABSENT || one.present[k] === ABSENT)) k++;
    if (k === steps) return;
    const isGrouping = this.#node.matching.group !== undefined;
    const labels = this.#join.labelsOf(many.labels, one.labels);
    const key = keptKey(labels, labelsKey);
    const { matched } = group;
    const written = isGrouping ? this.#writtenOf(group, key) : matched;
    const [left, right] = this.#oneIsLeft ? [one.values, many.values] : [many.values, one.values];
    const operate = this.#operate;
    let target: StepSeries | undefined;
    for (; k < steps; k++) {
      if (many.present[k] === ABSENT || one.present[k] === ABSENT) continue;
      if (written[k] === 1) throw ambiguous(isGrouping);
      written[k] = 1;
      matched[k] = 1;
      const result = operate(left[k] as number, right[k] as number); // in range: steps of the grid
      if (result === undefined) continue;
      target ??= this.#target(labels, key);
      if (target.present[k] !== ABSENT) throw sameLabelsetError();
      target.present[k] = FLOAT;
      target.values[k] = result;
    }
  }

  #writtenOf({ written }: MatchGroup, key: string): Uint8Array {
    const known = written.get(key);
    if (known !== undefined) return known;
    const made = flags.take(this.#grid.steps);
    written.set(key, made);
    return made;
  }

  /** Results of several groups may have the same labels: one series, if only they never meet. */
  #target(labels: Labels, key: string): StepSeries {
    const { delayedNameRemoval, budget } = this.#evaluation;
    const known = this.#grid.isInstant && delayedNameRemoval ? undefined : this.#outByKey.get(key);
    if (known !== undefined) return known;
    const made = makeSeries(labels, this.#node.bool && delayedNameRemoval, this.#grid, budget);
    this.#outByKey.set(key, made);
    this.#out.push(made);
    return made;
  }

  #put(target: StepSeries, step: number, result: number | NativeHistogram): void {
    if (target.present[step] !== ABSENT) throw sameLabelsetError();
    if (typeof result === "number") {
      target.present[step] = FLOAT;
      target.values[step] = result;
    } else putHistogram(target, step, result, this.#evaluation.budget);
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
}

/** Whether all values of a series are floats. */
function isPlain(series: StepSeries): boolean {
  // To look at the histograms of a table makes them.
  return series.dense === undefined && series.histograms === undefined;
}

const flags = new ArraySlab((length) => new Uint8Array(length), 65_536);

function ambiguous(isGrouping: boolean): PromqlExecutionError {
  const why = isGrouping
    ? "grouping labels must ensure unique matches"
    : "many-to-one matching must be explicit (group_left/group_right)";
  return new PromqlExecutionError(`multiple matches for labels: ${why}`);
}
