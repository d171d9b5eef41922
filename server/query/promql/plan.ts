/**
 * What an expression asks of the store: which series, from when to when.
 *
 * The same text and times always give the same selections in the same order, so that the main thread selects and the
 * worker knows which answer belongs to which selector.
 */

import { evaluateDuration } from "../../../grammar/promql-duration-tree.ts";
import { PromqlSyntaxError } from "../../../grammar/promql-error.ts";
import type {
  PromqlDuration,
  PromqlExpression,
  PromqlMatcher,
  PromqlModifiers,
  PromqlSelector,
} from "../../../grammar/promql-tree.ts";
import { PromqlExecutionError } from "./query-error.ts";
import type { StepGrid } from "./step-vector.ts";

/** Samples of one selector: those in `[minMs, maxMs]`. */
export interface Selection {
  readonly selector: PromqlSelector;
  readonly matchers: readonly PromqlMatcher[];
  readonly minMs: number;
  readonly maxMs: number;
}

/** Times of a whole query; an instant query has `startMs` equal to `endMs` and `stepMs` 0. */
export interface QueryTimes {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
  readonly lookbackMs: number;
  /** Step of a sub-query that names none. */
  readonly defaultStepMs: number;
}

/** Selections of one query; more are refused. */
const SELECTIONS_MAX = 1000;

/** Steps of a sub-query; more are refused. */
const SUBQUERY_STEPS_MAX = 1_000_000;

/** Steps of the query itself. */
export function queryGrid(times: QueryTimes): StepGrid {
  if (times.stepMs === 0) return { startMs: times.startMs, stepMs: 0, steps: 1 };
  const steps = Math.floor((times.endMs - times.startMs) / times.stepMs) + 1;
  return { startMs: times.startMs, stepMs: times.stepMs, steps };
}

/** Milliseconds that a duration means in this query, cut to whole ones. */
function durationMs(duration: PromqlDuration, times: QueryTimes): number {
  const seconds = evaluateDuration(duration, (kind) =>
    kind === "step" ? times.stepMs / 1000 : (times.endMs - times.startMs) / 1000,
  );
  if (!(Math.abs(seconds) <= 9_223_372_036)) throw new PromqlExecutionError("duration out of range");
  return Math.trunc(Math.round(seconds * 1e9) / 1e6);
}

/** A range or step, which must be longer than nothing. */
export function positiveDurationMs(duration: PromqlDuration, times: QueryTimes): number {
  const milliseconds = durationMs(duration, times);
  if (milliseconds <= 0) throw new PromqlExecutionError("duration must be greater than 0");
  return milliseconds;
}

/** The grid moved to where a selector or sub-query really looks: `@` first, then offset. */
export function shiftedGrid(node: PromqlModifiers, grid: StepGrid, times: QueryTimes): StepGrid {
  const offsetMs = node.offset === undefined ? 0 : durationMs(node.offset, times);
  if (node.at === undefined) return { ...grid, startMs: grid.startMs - offsetMs };
  const { at } = node;
  const atMs = at.kind === "time" ? at.timestampMs : at.kind === "start" ? times.startMs : times.endMs;
  return { startMs: atMs - offsetMs, stepMs: 0, steps: grid.steps };
}

/** Steps of what is inside a sub-query: absolute multiples of its step, so that they do not move with the query. */
export function subqueryGrid(
  node: PromqlExpression & { readonly kind: "subquery" },
  grid: StepGrid,
  times: QueryTimes,
): StepGrid {
  const shifted = shiftedGrid(node, grid, times);
  const rangeMs = positiveDurationMs(node.range, times);
  const stepMs = node.step === undefined ? times.defaultStepMs : positiveDurationMs(node.step, times);
  const startMs = (Math.floor((shifted.startMs - rangeMs) / stepMs) + 1) * stepMs;
  const endMs = shifted.startMs + (shifted.steps - 1) * shifted.stepMs;
  const steps = Math.max(0, Math.floor((endMs - startMs) / stepMs) + 1);
  if (steps > SUBQUERY_STEPS_MAX) {
    throw new PromqlExecutionError(`sub-query has ${steps} steps; the limit is ${SUBQUERY_STEPS_MAX}`);
  }
  return { startMs, stepMs, steps };
}

/** Every selector of an expression in the order of the text. */
export function planSelections(root: PromqlExpression, times: QueryTimes): readonly Selection[] {
  const selections: Selection[] = [];
  collect(root, queryGrid(times), times, selections);
  if (selections.length > SELECTIONS_MAX) {
    throw new PromqlExecutionError(`query has ${selections.length} selectors; the limit is ${SELECTIONS_MAX}`);
  }
  return selections;
}

function collect(node: PromqlExpression, grid: StepGrid, times: QueryTimes, into: Selection[]): void {
  switch (node.kind) {
    case "number":
    case "string":
      return;
    case "selector":
      into.push(selection(node, grid, times, times.lookbackMs));
      return;
    case "range":
      into.push(selection(node.selector, grid, times, positiveDurationMs(node.range, times)));
      return;
    case "subquery":
      collect(node.operand, subqueryGrid(node, grid, times), times, into);
      return;
    case "paren":
    case "unary":
      collect(node.operand, grid, times, into);
      return;
    case "binary": {
      const rights: PromqlExpression[] = [];
      let base: PromqlExpression = node;
      for (; base.kind === "binary"; base = base.left) rights.push(base.right);
      collect(base, grid, times, into);
      for (const right of rights.reverse()) collect(right, grid, times, into);
      return;
    }
    case "aggregate":
      if (node.parameter !== undefined) collect(node.parameter, grid, times, into);
      collect(node.operand, grid, times, into);
      return;
    case "call":
      for (const argument of node.args) collect(argument, grid, times, into);
  }
}

/** The window is open on the left, and times are whole milliseconds. */
function selection(node: PromqlSelector, grid: StepGrid, times: QueryTimes, windowMs: number): Selection {
  const shifted = shiftedGrid(node, grid, times);
  const endMs = shifted.startMs + Math.max(0, shifted.steps - 1) * shifted.stepMs;
  return { selector: node, matchers: node.matchers, minMs: shifted.startMs - windowMs + 1, maxMs: endMs };
}

const UNSUPPORTED_CALLS: ReadonlySet<string> = new Set(["info", "start_timestamp"]);

/** Refuses what the grammar knows and this engine does not evaluate, naming the place. */
export function refuseUnsupported(text: string, root: PromqlExpression): void {
  const refuse = (node: PromqlExpression, what: string): never => {
    throw new PromqlSyntaxError(text, node.position, `${what} is not supported here`);
  };
  const visit = (node: PromqlExpression): undefined => {
    switch (node.kind) {
      case "number":
      case "string":
        return;
      case "selector":
        if (node.mode !== undefined) refuse(node, `modifier ${node.mode}`);
        return;
      case "range":
        return visit(node.selector);
      case "subquery":
      case "paren":
      case "unary":
        return visit(node.operand);
      case "binary": {
        let base: PromqlExpression = node;
        for (; base.kind === "binary"; base = base.left) {
          const { op, matching } = base;
          if (op === "</" || op === ">/") refuse(base, `operator ${op}`);
          if (matching.fillLeft !== undefined || matching.fillRight !== undefined) refuse(base, "modifier fill");
          visit(base.right);
        }
        return visit(base);
      }
      case "aggregate":
        if (node.parameter !== undefined) visit(node.parameter);
        return visit(node.operand);
      case "call":
        if (UNSUPPORTED_CALLS.has(node.name)) refuse(node, `function ${node.name}`);
        for (const argument of node.args) visit(argument);
    }
  };
  visit(root);
}
