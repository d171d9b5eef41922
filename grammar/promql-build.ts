/**
 * Makes expressions, operators and modifiers while the generated parser walks: `promql.peggy` calls these with token
 * indexes. Durations and names have files of their own (`promql-build-duration.ts`, `promql-build-named.ts`).
 *
 * What is wrong but does not stop the parser is noted in `refusals`; the first one is what the user reads.
 */

import { openRun, pushOperator, pushSign, type Run, reduceRun } from "./promql-precedence.ts";
import { type BuildOptions, between, refuse, refuseWaiting, tokenAt } from "./promql-refusal.ts";
import type {
  PromqlAt,
  PromqlBinaryOp,
  PromqlDuration,
  PromqlExpression,
  PromqlMatching,
  PromqlModifiers,
  PromqlNumber,
  PromqlRangeMode,
  PromqlSelector,
  PromqlString,
  TextRange,
} from "./promql-tree.ts";

interface MatchingParts {
  readonly kind: "O" | "I";
  readonly labels: readonly string[];
  readonly group: { readonly side: "L" | "R"; readonly labels: readonly string[] } | null;
}

interface FillParts {
  readonly left: number | undefined;
  readonly right: number | undefined;
}

interface OperatorModifiers {
  readonly bool: boolean;
  readonly matching: PromqlMatching;
  /** Index of the token after the modifiers. */
  readonly to: number;
}

/** A sign (`modifiers` undefined) or an operator with what was written after it. */
interface Operator {
  readonly index: number;
  readonly modifiers: OperatorModifiers | undefined;
}

type ExpressionRun = Run<PromqlExpression, Operator>;

type Postfix = { readonly from: number; readonly to: number } & (
  | {
      readonly kind: "bracket";
      readonly range: PromqlDuration;
      readonly step: { duration: PromqlDuration | null } | null;
    }
  | { readonly kind: "offset"; readonly value: PromqlDuration; readonly waits: boolean }
  | { readonly kind: "at"; readonly at: PromqlAtParts }
  | { readonly kind: "mode"; readonly mode: PromqlRangeMode }
);

type PromqlAtParts = { readonly kind: "time"; readonly seconds: number } | { readonly kind: "start" | "end" };

/** What offsets, `@` and modes may follow. */
type Modifiable = PromqlSelector | (PromqlExpression & { readonly kind: "subquery" });

/** Seconds that an `@` may hold: an int64. */
const AT_SECONDS_MAX = 2 ** 63;

/** What a bare operator says: every label must agree. */
const NO_MATCHING: PromqlMatching = Object.freeze({
  on: false,
  labels: [],
  group: undefined,
  include: [],
  fillLeft: undefined,
  fillRight: undefined,
});

/** Starts a run of operators with its first operand. */
export function open(signs: readonly number[], head: PromqlExpression): ExpressionRun {
  const run = openRun<PromqlExpression, Operator>(head);
  pushSigns(run, signs);
  return run;
}

/** Makes what ends before the operator at `index`, which it returns. */
export function operator(options: BuildOptions, run: ExpressionRun, index: number): number {
  reduceRun(run, tokenAt(options, index).kind, index - 1, combineWith(options));
  return index;
}

/** Adds an operator with its right side. */
export function operand(
  options: BuildOptions,
  run: ExpressionRun,
  index: number,
  modifiers: OperatorModifiers,
  signs: readonly number[],
  right: PromqlExpression,
): void {
  pushOperator(run, { index, modifiers }, tokenAt(options, index).kind);
  pushSigns(run, signs);
  run.operand = right;
}

/** Ends a run before token `to`. */
export function close(options: BuildOptions, run: ExpressionRun, to: number): PromqlExpression {
  reduceRun(run, undefined, to - 1, combineWith(options));
  return run.operand;
}

function pushSigns(run: ExpressionRun, signs: readonly number[]): void {
  for (const sign of signs) pushSign(run, { index: sign, modifiers: undefined });
}

function combineWith(options: BuildOptions) {
  return (op: Operator, left: PromqlExpression | undefined, right: PromqlExpression, last: number): PromqlExpression =>
    left === undefined || op.modifiers === undefined
      ? signedExpression(options, op.index, right)
      : binary(options, op.index, op.modifiers, left, right, last);
}

/** A sign before a number literal is part of the literal. */
function signedExpression(options: BuildOptions, index: number, operand: PromqlExpression): PromqlExpression {
  const token = tokenAt(options, index);
  const position = { start: token.start, end: operand.position.end };
  const op = token.text === "-" ? "-" : "+";
  if (operand.kind !== "number") return { kind: "unary", op, operand, position };
  return { ...operand, value: op === "-" ? -operand.value : operand.value, position };
}

function binary(
  options: BuildOptions,
  index: number,
  { bool, matching, to }: OperatorModifiers,
  left: PromqlExpression,
  right: PromqlExpression,
  last: number,
): PromqlExpression {
  const position = { start: left.position.start, end: right.position.end };
  if ((matching.fillLeft !== undefined || matching.fillRight !== undefined) && !options.fillModifiers) {
    refuseWaiting(options, position, "binop fill modifiers are experimental and not enabled", last);
  }
  return {
    kind: "binary",
    op: tokenAt(options, index).text.toLowerCase() as PromqlBinaryOp, // the grammar lets only these pass
    bool,
    matching,
    left,
    right,
    position,
    opPosition: { start: afterBlank(options.text, left.position.end), end: tokenAt(options, to - 1).end },
  };
}

/** Prometheus takes what follows the left side for the operator, be it a comment. */
function afterBlank(text: string, from: number): number {
  let at = from;
  while (" \t\n\r".includes(text.charAt(at)) && at < text.length) at++;
  return at;
}

/** `bool`, `on`, `group_left`, `fill` and the like of a binary operator, as far as they were written. */
export function modifiers(
  to: number,
  bool: boolean,
  matching: MatchingParts | null,
  fills: FillParts | null,
): OperatorModifiers {
  if (matching === null && fills === null) return { bool, to, matching: NO_MATCHING };
  const group = matching?.group ?? undefined;
  return {
    bool,
    to,
    matching: {
      on: matching?.kind === "O",
      labels: matching === null ? [] : matching.labels,
      group: group === undefined ? undefined : group.side === "L" ? "left" : "right",
      include: group === undefined ? [] : group.labels,
      fillLeft: fills === null ? undefined : fills.left,
      fillRight: fills === null ? undefined : fills.right,
    },
  };
}

/** Value of a number with a sign in front. */
export function signed(options: BuildOptions, sign: number | null, index: number): number {
  const value = tokenAt(options, index).number;
  return sign !== null && tokenAt(options, sign).text === "-" ? -value : value;
}

/** A number literal. */
export function number(options: BuildOptions, index: number): PromqlNumber {
  const token = tokenAt(options, index);
  return {
    kind: "number",
    value: token.number,
    isDuration: token.isDuration,
    position: between(options, index, index + 1),
  };
}

/** A string literal. */
export function string(options: BuildOptions, index: number): PromqlString {
  return { kind: "string", value: tokenAt(options, index).value, position: between(options, index, index + 1) };
}

/** An expression in parentheses. */
export function paren(options: BuildOptions, from: number, to: number, operand: PromqlExpression): PromqlExpression {
  return { kind: "paren", operand, position: between(options, from, to) };
}

/** Applies a range, sub-query, offset, `@` or mode to what stands before it. */
export function postfix(options: BuildOptions, base: PromqlExpression, part: Postfix): PromqlExpression {
  return part.kind === "bracket" ? bracket(options, base, part) : modify(options, base, part);
}

function bracket(
  options: BuildOptions,
  base: PromqlExpression,
  part: Postfix & { readonly kind: "bracket" },
): PromqlExpression {
  const { range, step } = part;
  const position = { start: base.position.start, end: tokenAt(options, part.to - 1).end };
  if (step !== null) {
    // One wrong level is enough for the check to refuse; more would only make the tree deep.
    if (base.kind === "subquery" && (base.operand.kind === "subquery" || base.operand.kind === "range")) return base;
    return {
      kind: "subquery",
      operand: base,
      range,
      step: step.duration ?? undefined,
      offset: undefined,
      at: undefined,
      position,
    };
  }
  const reason = rangeRefusal(base);
  if (reason !== undefined) refuse(options, between(options, part.from, part.to), reason, part.to - 1);
  if (base.kind !== "selector") return base; // refused
  return { kind: "range", selector: base, range, position };
}

function rangeRefusal(base: PromqlExpression): string | undefined {
  if (base.kind !== "selector") return "ranges only allowed for vector selectors";
  if (base.offset !== undefined) return "no offset modifiers allowed before range";
  return base.at === undefined ? undefined : "no @ modifiers allowed before range";
}

function modify(
  options: BuildOptions,
  base: PromqlExpression,
  part: Postfix & { readonly kind: "offset" | "at" | "mode" },
): PromqlExpression {
  const target = base.kind === "range" ? base.selector : base;
  const modifiable = target.kind === "selector" || target.kind === "subquery" ? target : undefined;
  const reason = modifierRefusal(modifiable, part);
  if (reason !== undefined) {
    const note = part.kind === "offset" && part.waits ? refuseWaiting : refuse;
    note(options, base.position, reason, part.to - 1);
  }
  if (modifiable === undefined) return base;
  const changed: Modifiable = { ...modifiable, ...change(part) };
  // A mode is not part of the place that Prometheus gives a selector.
  const end = part.kind === "mode" ? base.position.end : tokenAt(options, part.to - 1).end;
  const position: TextRange = { start: base.position.start, end };
  if (base.kind === "range" && changed.kind === "selector") return { ...base, selector: changed, position };
  return { ...changed, position };
}

function change(
  part: Postfix & { readonly kind: "offset" | "at" | "mode" },
): Partial<PromqlModifiers> & { readonly mode?: PromqlRangeMode } {
  switch (part.kind) {
    case "offset": {
      const { value } = part;
      if (value.kind !== "seconds") return { offset: value };
      const nothing = Math.abs(value.seconds) * 1e9 < 0.5;
      return { offset: nothing ? undefined : { ...value, isDuration: true } };
    }
    case "at":
      return { at: atModifier(part.at) };
    case "mode":
      return { mode: part.mode };
  }
}

function atModifier(at: PromqlAtParts): PromqlAt {
  if (at.kind !== "time") return at;
  const milliseconds = at.seconds * 1000;
  const rounded = Math.sign(milliseconds) * Math.round(Math.abs(milliseconds));
  return { kind: "time", timestampMs: Math.abs(rounded) < AT_SECONDS_MAX ? rounded + 0 : -AT_SECONDS_MAX };
}

function modifierRefusal(
  target: Modifiable | undefined,
  part: Postfix & { readonly kind: "offset" | "at" | "mode" },
): string | undefined {
  if (part.kind === "at" && part.at.kind === "time" && !(Math.abs(part.at.seconds) < AT_SECONDS_MAX)) {
    return `timestamp out of bounds for @ modifier: ${printBounds(part.at.seconds)}`;
  }
  if (target === undefined) {
    if (part.kind === "mode") return `${part.mode} modifier not implemented`;
    const name = part.kind === "offset" ? "offset" : "@";
    return `${name} modifier must be preceded by an instant vector selector or range vector selector or a subquery`;
  }
  if (part.kind === "mode") {
    if (target.kind === "subquery") return `${part.mode} modifier is not supported for subqueries`;
    const other = target.mode !== undefined && target.mode !== part.mode;
    return other ? "anchored and smoothed modifiers cannot be used together" : undefined;
  }
  if (part.kind === "at") return target.at === undefined ? undefined : "@ <timestamp> may not be set multiple times";
  return target.offset === undefined ? undefined : "offset may not be set multiple times";
}

/** As Go's `%f`. */
function printBounds(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return `${BigInt(value)}.000000`; // beyond 2 ** 63, so whole
}
