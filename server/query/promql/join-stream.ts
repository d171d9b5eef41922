/**
 * `many * on (…) group_left (…) one` for an aggregation that folds: results are made one after the other in the same
 * columns, where `VectorMatcher` holds all series of the many side and all results at once.
 *
 * Invariant: only what gives each series of the many side a result with labels of its own is done here, so that nothing
 * has to be known of the results before.
 */

import { isSetOperator, unwrapParens } from "../../../grammar/promql-check.ts";
import type { PromqlBinary, PromqlExpression } from "../../../grammar/promql-tree.ts";
import type { Labels } from "../../model/series.ts";
import { type Operation, operationOf } from "./binary.ts";
import type { Evaluation } from "./evaluation.ts";
import { isTrim } from "./histogram-operators.ts";
import { keptGroupKey } from "./kept-labels.ts";
import { mayMeet } from "./range-call.ts";
import { NAME_KEEPING_KERNELS } from "./range-kernels.ts";
import { partialKey } from "./series-labels.ts";
import {
  ABSENT,
  FLOAT,
  hasValues,
  makeSeries,
  releaseOne,
  releaseSeries,
  type StepGrid,
  type StepSeries,
} from "./step-vector.ts";
import { joinOf, type LabelJoin } from "./vector-join.ts";
import { bySignature, matchedBy } from "./vector-signature.ts";

/** What the operands give. */
interface JoinOperands {
  /** All series of the one side. */
  readonly ones: (node: PromqlExpression) => StepSeries[];
  /** The series of the many side, each good until the next one is asked for. */
  readonly many: (node: PromqlExpression) => Iterable<StepSeries>;
}

/**
 * The results of an operator, each good until the next one is asked for.
 *
 * @returns Undefined where it is for `vectorVector`.
 */
export function joinStream(
  node: PromqlBinary,
  grid: StepGrid,
  evaluation: Evaluation,
  operands: JoinOperands,
): Iterable<StepSeries> | undefined {
  const { group } = node.matching;
  if (group === undefined || !isPlainJoin(node, evaluation)) return undefined;
  const [many, one] = group === "left" ? [node.left, node.right] : [node.right, node.left];
  if (!givesFloats(one, evaluation) || !isCallWithOwnLabels(many, node, evaluation)) return undefined;
  const ones = operands.ones(one);
  const bySigns = bySignature(ones, matchedBy(node));
  if (bySigns.size < ones.length) {
    // Two of one group may be an error, which `vectorVector` tells.
    releaseSeries(ones, evaluation.budget);
    return undefined;
  }
  const partners = new Map<string, StepSeries>();
  for (const [key, [partner]] of bySigns) if (partner !== undefined) partners.set(key, partner);
  return joined({ node, grid, evaluation, partners, ones }, operands.many(many));
}

/** Whether an operator is one whose results depend on the two series of a pair alone. */
function isPlainJoin({ op, matching }: PromqlBinary, evaluation: Evaluation): boolean {
  if (isSetOperator(op) || isTrim(op)) return false;
  if (matching.fillLeft !== undefined || matching.fillRight !== undefined) return false;
  // Who measures and counts does so operand by operand.
  return !evaluation.delayedNameRemoval && evaluation.profile === undefined && evaluation.statistics === undefined;
}

/** Whether a node is an instant selector of floats: it neither fails nor says anything, so it may be evaluated first. */
function givesFloats(node: PromqlExpression, evaluation: Evaluation): boolean {
  const inner = unwrapParens(node);
  return inner.kind === "selector" && inner.mode === undefined && areFloats(inner, evaluation);
}

/** Whether a node is a range function over floats whose results have labels of their own, also once they are joined. */
function isCallWithOwnLabels(node: PromqlExpression, { matching }: PromqlBinary, evaluation: Evaluation): boolean {
  const inner = unwrapParens(node);
  if (inner.kind !== "call" || NAME_KEEPING_KERNELS.has(inner.name)) return false;
  const range = inner.args.find(({ kind }) => kind === "range");
  if (range?.kind !== "range" || range.selector.mode !== undefined || !areFloats(range.selector, evaluation))
    return false;
  if (mayMeet(inner, evaluation)) return false;
  for (const { labels } of evaluation.samples.get(range.selector) ?? []) {
    for (const [name] of labels) if (matching.include.includes(name)) return false;
  }
  return true;
}

function areFloats(selector: Parameters<Evaluation["samples"]["get"]>[0], { samples }: Evaluation): boolean {
  return (samples.get(selector) ?? []).every(({ read }) => read !== undefined);
}

interface Join {
  readonly node: PromqlBinary;
  readonly grid: StepGrid;
  readonly evaluation: Evaluation;
  /** Series of the one side by the labels that take part. */
  readonly partners: ReadonlyMap<string, StepSeries>;
  readonly ones: StepSeries[];
}

function* joined({ node, grid, evaluation, partners, ones }: Join, many: Iterable<StepSeries>): Generator<StepSeries> {
  const { budget } = evaluation;
  const join: LabelJoin = joinOf(node, evaluation);
  const pair = pairOf(node);
  const keyOf = (labels: Labels) => keptGroupKey(labels, join.matching, () => partialKey(labels, join.matched));
  let out: StepSeries | undefined;
  let lastKey = "";
  let partner: StepSeries | undefined;
  for (const one of many) {
    const key = keyOf(one.labels);
    // Neighbours mostly have the same partner.
    if (key !== lastKey || partner === undefined) {
      partner = partners.get(key);
      lastKey = key;
    }
    if (partner !== undefined) {
      if (out === undefined) out = makeSeries(one.labels, false, grid, budget);
      else {
        budget.hold(grid.steps);
        out.present.fill(ABSENT);
      }
      pair(one, partner, out);
      if (hasValues(out)) {
        out.labels = join.labelsOf(one.labels, partner.labels);
        out.dropName = false;
        yield out;
      } else releaseOne(out, budget);
    }
    releaseOne(one, budget);
  }
  releaseSeries(ones, budget);
}

/** Writes what comes of a pair to `out`, which is empty. */
type Pairing = (many: StepSeries, one: StepSeries, out: StepSeries) => void;

function pairOf(node: PromqlBinary): Pairing {
  if (node.op === "*") return multiply;
  const operate = operationOf(node);
  const oneIsLeft = node.matching.group === "right";
  return (many, one, out) => (oneIsLeft ? pairBy(operate, one, many, out) : pairBy(operate, many, one, out));
}

// All indexes are in range: steps of the grid.

/** Without a call for each step. Which side is which does not matter. */
function multiply(
  { values: left, present: hasLeft }: StepSeries,
  { values: right, present: hasRight }: StepSeries,
  { values, present }: StepSeries,
): void {
  for (let k = 0; k < present.length; k++) {
    if (hasLeft[k] !== FLOAT || hasRight[k] !== FLOAT) continue;
    values[k] = (left[k] as number) * (right[k] as number);
    present[k] = FLOAT;
  }
}

function pairBy(
  operate: Operation,
  { values: left, present: hasLeft }: StepSeries,
  { values: right, present: hasRight }: StepSeries,
  { values, present }: StepSeries,
): void {
  for (let k = 0; k < present.length; k++) {
    if (hasLeft[k] !== FLOAT || hasRight[k] !== FLOAT) continue;
    const result = operate(left[k] as number, right[k] as number);
    if (result === undefined) continue;
    values[k] = result;
    present[k] = FLOAT;
  }
}
