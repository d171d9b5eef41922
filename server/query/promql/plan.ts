/**
 * What an expression asks of the store: which series, from when to when.
 *
 * The same text and times always give the same selections in the same order, so that the main thread selects and the
 * worker knows which answer belongs to which selector.
 */

import type {
  PromqlCall,
  PromqlExpression,
  PromqlMatcher,
  PromqlModifiers,
  PromqlSelector,
} from "../../../grammar/promql-tree.ts";
import { durationMs } from "./durations.ts";
import { infoMatchers } from "./info-matchers.ts";
import { infoReference } from "./info-reference.ts";
import type { PreparedTree } from "./prepare.ts";
import { PromqlExecutionError } from "./query-error.ts";
import type { QueryTimes, StepGrid } from "./step-vector.ts";
import { type WindowCall, windowCall } from "./window-numbers.ts";

/** Who asks for series: a selector, or a call of `info()` for the info series it joins. */
export type Selecting = PromqlSelector | PromqlCall;

/** Samples of one selector: those in `[minMs, maxMs]`. */
export interface Selection {
  readonly selector: Selecting;
  readonly matchers: readonly PromqlMatcher[];
  readonly minMs: number;
  readonly maxMs: number;
  /** Of each series only the newest sample is looked at: an instant selector at one step. */
  readonly isNewest: boolean;
  /** Of each series only what this makes of it is looked at. */
  readonly call?: WindowCall | undefined;
  /** Length of the range that is looked at at each step; undefined where that is one sample. */
  readonly rangeMs?: number | undefined;
}

/** Selections of one query; more are refused. */
const SELECTIONS_MAX = 1000;

/** Steps of a sub-query; more are refused. */
const SUBQUERY_STEPS_MAX = 1_000_000;

/** Steps of the query itself. */
export function queryGrid(times: Pick<QueryTimes, "startMs" | "endMs" | "stepMs">): StepGrid {
  const { startMs, endMs, stepMs } = times;
  if (stepMs === 0) return instantGrid(startMs);
  const steps = Math.floor((endMs - startMs) / stepMs) + 1;
  return { startMs, stepMs, steps, isInstant: startMs === endMs };
}

/** One step. */
export function instantGrid(timeMs: number): StepGrid {
  return { startMs: timeMs, stepMs: 0, steps: 1, isInstant: true };
}

/** Time of `@`, if there is one; the tree is prepared. */
export function pinnedMs(node: PromqlModifiers): number | undefined {
  if (node.at === undefined) return undefined;
  if (node.at.kind !== "time") throw new Error("a tree was not prepared");
  return node.at.timestampMs;
}

/** Milliseconds of the offset. */
function offsetMs(node: PromqlModifiers): number {
  return node.offset === undefined ? 0 : durationMs(node.offset);
}

/** A range or step in milliseconds; less than one is 0. */
export function rangeMsOf(node: PromqlExpression & { readonly kind: "range" | "subquery" }): number {
  return durationMs(node.range);
}

/**
 * Where a selector or sub-query looks at each step: `@` first, then offset.
 *
 * What is pinned by `@` is evaluated at one step, so that its times need not move; the few places where it is not
 * (parameters of aggregations) let them move with the step, as Prometheus does.
 */
export function shiftedGrid(node: PromqlModifiers, grid: StepGrid): StepGrid {
  return { ...grid, startMs: (pinnedMs(node) ?? grid.startMs) - offsetMs(node) };
}

/** Steps of what is inside a sub-query: absolute multiples of its step, so that they do not move with the query. */
export function subqueryGrid(
  node: PromqlExpression & { readonly kind: "subquery" },
  grid: StepGrid,
  times: QueryTimes,
): StepGrid {
  const isPinned = node.at !== undefined;
  const firstMs = shiftedGrid(node, grid).startMs;
  const endMs = isPinned ? firstMs : firstMs + Math.max(0, grid.steps - 1) * grid.stepMs;
  const stepMs = node.step === undefined ? times.defaultStepMs : durationMs(node.step);
  if (stepMs <= 0) throw new PromqlExecutionError("the step of a sub-query is shorter than a millisecond");
  const startMs = (Math.floor((firstMs - rangeMsOf(node)) / stepMs) + 1) * stepMs;
  const steps = grid.steps === 0 ? 0 : Math.max(0, Math.floor((endMs - startMs) / stepMs) + 1);
  if (steps > SUBQUERY_STEPS_MAX) {
    throw new PromqlExecutionError(`sub-query has ${steps} steps; the limit is ${SUBQUERY_STEPS_MAX}`);
  }
  return { startMs, stepMs, steps, isInstant: startMs === endMs };
}

/**
 * Every selector of a prepared tree in the order of the text, and after its arguments each `info()`.
 *
 * @param needsSamples Range functions are not computed where the samples lie.
 */
export function planSelections(prepared: PreparedTree, times: QueryTimes, needsSamples = true): readonly Selection[] {
  const planner = new Planner(prepared, times, needsSamples);
  planner.visit(prepared.tree, queryGrid(times));
  if (planner.selections.length > SELECTIONS_MAX) {
    throw new PromqlExecutionError(`query has ${planner.selections.length} selectors; the limit is ${SELECTIONS_MAX}`);
  }
  return planner.selections;
}

/** One walk over a tree. */
class Planner {
  readonly selections: Selection[] = [];
  readonly #prepared: PreparedTree;
  readonly #times: QueryTimes;
  readonly #needsSamples: boolean;

  constructor(prepared: PreparedTree, times: QueryTimes, needsSamples: boolean) {
    this.#prepared = prepared;
    this.#times = times;
    this.#needsSamples = needsSamples;
  }

  visit(node: PromqlExpression, outer: StepGrid): void {
    const grid = this.#prepared.once.has(node) && outer.steps > 1 ? instantGrid(outer.startMs) : outer;
    switch (node.kind) {
      case "number":
      case "string":
        return;
      case "selector":
        this.#selector(node, grid, undefined);
        return;
      case "range":
        this.#selector(node.selector, grid, rangeMsOf(node));
        return;
      case "subquery":
        this.visit(node.operand, subqueryGrid(node, grid, this.#times));
        return;
      case "paren":
      case "unary":
        this.visit(node.operand, grid);
        return;
      case "binary": {
        const rights: PromqlExpression[] = [];
        let base: PromqlExpression = node;
        for (; base.kind === "binary"; base = base.left) rights.push(base.right);
        this.visit(base, grid);
        for (const right of rights.reverse()) this.visit(right, grid);
        return;
      }
      case "aggregate":
        if (node.parameter !== undefined) this.visit(node.parameter, grid);
        this.visit(node.operand, grid);
        return;
      case "call":
        if (node.name === "info") this.#info(node, grid);
        else for (const argument of node.args) this.#argument(node, argument, grid);
    }
  }

  #argument(call: PromqlCall, node: PromqlExpression, grid: StepGrid): void {
    if (node.kind !== "range" || node.selector.mode !== undefined || grid.steps !== 1 || this.#needsSamples) {
      this.visit(node, grid);
      return;
    }
    const { selector } = node;
    const rangeMs = rangeMsOf(node);
    this.#selector(selector, grid, rangeMs, windowCall(call, { endMs: shiftedGrid(selector, grid).startMs, rangeMs }));
  }

  /** Windows are open on the left, and times are whole milliseconds. */
  #selector(node: PromqlSelector, grid: StepGrid, rangeMs: number | undefined, call?: WindowCall): void {
    const { lookbackMs } = this.#times;
    const shifted = shiftedGrid(node, grid);
    const lastMs =
      node.at === undefined ? shifted.startMs + Math.max(0, grid.steps - 1) * grid.stepMs : shifted.startMs;
    const before = (rangeMs ?? 0) + (rangeMs === undefined || node.mode !== undefined ? lookbackMs : 0);
    const after = node.mode === "smoothed" ? lookbackMs : 0;
    const { matchers } = node;
    const isNewest = rangeMs === undefined && node.mode === undefined && grid.steps === 1;
    this.selections.push({
      selector: node,
      matchers,
      minMs: shifted.startMs - before + 1,
      maxMs: lastMs + after,
      isNewest,
      call,
      rangeMs,
    });
  }

  #info(node: PromqlCall, grid: StepGrid): void {
    const [first, labels] = node.args;
    if (first === undefined) return;
    this.visit(first, grid);
    const { atMs, offsetMs: shiftMs, isUniform } = infoReference(first);
    const pinned = isUniform ? atMs : undefined;
    const shift = isUniform ? shiftMs : 0;
    const firstMs = (pinned ?? grid.startMs) - shift;
    const lastMs = pinned === undefined ? firstMs + Math.max(0, grid.steps - 1) * grid.stepMs : firstMs;
    const matchers = infoMatchers(labels?.kind === "selector" ? labels.matchers : undefined);
    this.selections.push({
      selector: node,
      matchers: [...matchers.data, ...matchers.name],
      minMs: firstMs - this.#times.lookbackMs + 1,
      maxMs: lastMs,
      isNewest: false,
    });
  }
}
