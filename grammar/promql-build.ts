/**
 * Makes the tree while the generated parser walks: `promql.peggy` calls these with token indexes.
 *
 * What is wrong but does not stop the parser is noted in `refusals`; the first one is what the user reads.
 */

import { quoteGo } from "./promql-error.ts";
import type { PromqlToken } from "./promql-token.ts";
import type {
  PromqlAt,
  PromqlBinary,
  PromqlBinaryOp,
  PromqlDuration,
  PromqlExpression,
  PromqlMatcher,
  PromqlMatcherKind,
  PromqlMatching,
  PromqlNumber,
  PromqlRangeMode,
  PromqlSelector,
  PromqlString,
  TextRange,
} from "./promql-tree.ts";

/** A refusal that waits for the parser to end. */
export interface PromqlRefusal {
  readonly position: TextRange;
  readonly reason: string;
}

/** What the generated parser hands to every function here. */
export interface BuildOptions {
  readonly tokens: readonly PromqlToken[];
  readonly refusals: PromqlRefusal[];
}

interface MatchingParts {
  readonly kind: "O" | "I";
  readonly labels: readonly string[];
  readonly group: { readonly side: "L" | "R"; readonly labels: readonly string[] } | null;
}

interface FillPart {
  readonly kind: "f" | "y" | "z";
  readonly value: number;
}

interface OperatorModifiers {
  readonly bool: boolean;
  readonly matching: PromqlMatching;
  /** Index of the token after the modifiers. */
  readonly to: number;
}

type Postfix = { readonly from: number; readonly to: number } & (
  | {
      readonly kind: "bracket";
      readonly range: PromqlDuration;
      readonly step: { duration: PromqlDuration | null } | null;
    }
  | { readonly kind: "offset"; readonly value: PromqlDuration }
  | { readonly kind: "at"; readonly at: PromqlAt }
  | { readonly kind: "mode"; readonly mode: PromqlRangeMode }
);

/** A condition, or a quoted metric name among the conditions. */
type InBraces = PromqlMatcher | { readonly kind: "metric"; readonly name: string };

type NamedRest =
  | { readonly kind: "selector"; readonly matchers: readonly InBraces[] }
  | { readonly kind: "call"; readonly args: readonly PromqlExpression[] }
  | {
      readonly kind: "aggregate";
      readonly args: readonly PromqlExpression[];
      readonly by: { readonly without: boolean; readonly labels: readonly string[] } | null;
    };

/** Aggregations that take a parameter in front of the vector. */
const PARAMETER_AGGREGATIONS: ReadonlySet<string> = new Set([
  "topk",
  "bottomk",
  "quantile",
  "count_values",
  "limitk",
  "limit_ratio",
]);

/** Seconds of the longest duration: an int64 of nanoseconds. */
const DURATION_SECONDS_MAX = 9_223_372_036;

/** Milliseconds that an `@` may hold: an int64. */
const AT_MS_MAX = 2 ** 63;

function tokenAt(options: BuildOptions, index: number): PromqlToken {
  const token = options.tokens[index];
  if (token === undefined) throw new Error(`no token ${index}`);
  return token;
}

function between(options: BuildOptions, from: number, to: number): TextRange {
  return { start: tokenAt(options, from).start, end: tokenAt(options, to - 1).end };
}

function refuse(options: BuildOptions, position: TextRange, reason: string): void {
  options.refusals.push({ position, reason });
}

/** Folds a flat run of operators of one precedence to the left; `^` runs have at most one entry. */
export function fold(
  options: BuildOptions,
  head: PromqlExpression,
  tail: readonly (readonly [op: number, modifiers: OperatorModifiers, right: PromqlExpression])[],
): PromqlExpression {
  let left = head;
  for (const [op, modifiers, right] of tail) {
    const operator = tokenAt(options, op);
    const node: PromqlBinary = {
      kind: "binary",
      op: operator.text.toLowerCase() as PromqlBinaryOp, // the grammar lets only these pass
      bool: modifiers.bool,
      matching: modifiers.matching,
      left,
      right,
      position: { start: left.position.start, end: right.position.end },
      opPosition: { start: operator.start, end: tokenAt(options, modifiers.to - 1).end },
    };
    left = node;
  }
  return left;
}

/** A sign before a number literal is part of the literal. */
export function unary(options: BuildOptions, signs: readonly number[], operand: PromqlExpression): PromqlExpression {
  let node = operand;
  for (const index of signs.toReversed()) {
    const sign = tokenAt(options, index);
    const position = { start: sign.start, end: operand.position.end };
    const op = sign.text === "-" ? "-" : "+";
    if (node.kind === "number") node = { ...node, value: op === "-" ? -node.value : node.value, position };
    else node = { kind: "unary", op, operand: node, position };
  }
  return node;
}

/** `bool`, `on`, `group_left`, `fill` and the like of a binary operator, as far as they were written. */
export function modifiers(
  to: number,
  bool: boolean,
  matching: MatchingParts | null,
  fills: readonly FillPart[],
): OperatorModifiers {
  let fillLeft: number | undefined;
  let fillRight: number | undefined;
  for (const fill of fills) {
    if (fill.kind !== "z") fillLeft = fill.value;
    if (fill.kind !== "y") fillRight = fill.value;
  }
  const group = matching?.group ?? undefined;
  return {
    bool,
    to,
    matching: {
      on: matching?.kind === "O",
      labels: matching === null ? [] : matching.labels,
      group: group === undefined ? undefined : group.side === "L" ? "left" : "right",
      include: group === undefined ? [] : group.labels,
      fillLeft,
      fillRight,
    },
  };
}

/** Value of a number with signs in front. */
export function signed(options: BuildOptions, signs: readonly number[], index: number): number {
  let value = tokenAt(options, index).number;
  for (const sign of signs) if (tokenAt(options, sign).text === "-") value = -value;
  return value;
}

/** A label in a grouping or matching list: a word or a quoted name. */
export function label(options: BuildOptions, index: number): string {
  const token = tokenAt(options, index);
  if (token.kind === "m")
    refuse(options, token, `unexpected metric identifier ${quoteGo(token.text)} in grouping opts, expected label`);
  return token.kind === "s" ? token.value : token.text;
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

/** `op` is null where a quoted metric name stands alone. */
export function matcher(options: BuildOptions, index: number, op: string | null): InBraces {
  const token = tokenAt(options, index);
  const name = token.kind === "s" ? token.value : token.text;
  if (op === null) return { kind: "metric", name };
  const kind: PromqlMatcherKind = op === "=" ? "=" : op === "x" ? "!=" : op === "~" ? "=~" : "!~";
  return { name, kind, value: tokenAt(options, index + 2).value };
}

/** Makes a selector; `name` is what stands before the braces. */
export function selector(
  options: BuildOptions,
  from: number,
  to: number,
  name: string | undefined,
  inBraces: readonly InBraces[],
): PromqlSelector {
  const position = between(options, from, to);
  let metric = name ?? "";
  const conditions: PromqlMatcher[] = [];
  for (const part of inBraces) {
    if (part.kind !== "metric") {
      conditions.push(part);
      continue;
    }
    if (metric !== "") {
      refuse(options, position, `metric name must not be set twice: ${quoteGo(metric)} or ${quoteGo(part.name)}`);
    }
    metric = part.name;
  }
  if (name !== undefined) {
    const second = conditions.find((condition) => condition.name === "__name__" && condition.kind === "=");
    if (second !== undefined) {
      refuse(options, position, `metric name must not be set twice: ${quoteGo(name)} or ${quoteGo(second.value)}`);
    }
  }
  if (metric !== "") conditions.push({ name: "__name__", kind: "=", value: metric });
  return {
    kind: "selector",
    metric,
    matchers: conditions,
    offset: undefined,
    at: undefined,
    mode: undefined,
    position,
  };
}

/** What a word starts: a selector, a call or an aggregation. */
export function named(options: BuildOptions, from: number, to: number, rest: NamedRest): PromqlExpression {
  const token = tokenAt(options, from);
  if (rest.kind === "selector") return selector(options, from, to, token.text, rest.matchers);
  const position = between(options, from, to);
  if (rest.kind === "call") return { kind: "call", name: token.text, args: rest.args, position };
  const op = token.text.toLowerCase();
  const wanted = PARAMETER_AGGREGATIONS.has(op) ? 2 : 1;
  const [first, second] = rest.args;
  const operand = wanted === 2 ? second : first;
  if (rest.args.length === 0) refuse(options, position, "no arguments for aggregate expression provided");
  else if (rest.args.length !== wanted) {
    const reason = `wrong number of arguments for aggregate expression provided, expected ${wanted}, got ${rest.args.length}`;
    refuse(options, position, reason);
  }
  return {
    kind: "aggregate",
    op,
    parameter: wanted === 2 ? first : undefined,
    operand: operand ?? { kind: "string", value: "", position },
    without: rest.by?.without ?? false,
    grouping: rest.by?.labels ?? [],
    position,
  };
}

/** Refuses a list of arguments that ends with a comma. */
export function refuseTrailingComma(options: BuildOptions, index: number): void {
  refuse(options, tokenAt(options, index), "trailing commas not allowed in function call args");
}

/** `@` with a time in seconds, signs before it. */
export function atTime(options: BuildOptions, signs: readonly number[], index: number): PromqlAt {
  return { kind: "time", timestampMs: Math.round(signed(options, signs, index) * 1000) };
}

/** Applies ranges, sub-queries, offsets, `@` and modes in the order written. */
export function postfix(options: BuildOptions, base: PromqlExpression, tail: readonly Postfix[]): PromqlExpression {
  let node = base;
  for (const part of tail) {
    if (part.kind === "bracket") node = bracket(options, node, part);
    else node = modify(options, node, part);
  }
  return node;
}

function bracket(
  options: BuildOptions,
  base: PromqlExpression,
  part: Postfix & { readonly kind: "bracket" },
): PromqlExpression {
  const position = { start: base.position.start, end: tokenAt(options, part.to - 1).end };
  const here = between(options, part.from, part.to);
  if (part.step !== null) {
    // One wrong level is enough for the check to refuse; more would only make the tree deep.
    if (base.kind === "subquery" && (base.operand.kind === "subquery" || base.operand.kind === "range")) return base;
    const range = literalDuration(options, part.range, true);
    const step = part.step.duration === null ? undefined : literalDuration(options, part.step.duration, true);
    return { kind: "subquery", operand: base, range, step, offset: undefined, at: undefined, position };
  }
  if (base.kind !== "selector") {
    refuse(options, here, "ranges only allowed for vector selectors");
    return base.kind === "range" || base.kind === "subquery" ? base : { ...NOTHING, position };
  }
  if (base.offset !== undefined) refuse(options, here, "no offset modifiers allowed before range");
  if (base.at !== undefined) refuse(options, here, "no @ modifiers allowed before range");
  if (base.mode !== undefined) refuse(options, here, `no ${base.mode} modifiers allowed before range`);
  return { kind: "range", selector: base, range: literalDuration(options, part.range, true), position };
}

/** Checks a bare literal, which means seconds; arithmetic is checked when the step is known. */
function literalDuration(options: BuildOptions, duration: PromqlDuration, positive: boolean): PromqlDuration {
  if (duration.kind !== "seconds") return duration;
  if (positive && duration.seconds <= 0) refuse(options, duration.position, "duration must be greater than 0");
  return { ...duration, isDuration: true };
}

/** Stands for a refused expression, so that the parser can go on. */
const NOTHING = { kind: "string", value: "" } as const;

function modify(
  options: BuildOptions,
  base: PromqlExpression,
  part: Postfix & { readonly kind: "offset" | "at" | "mode" },
): PromqlExpression {
  const position = { start: base.position.start, end: tokenAt(options, part.to - 1).end };
  if (base.kind !== "selector" && base.kind !== "range" && base.kind !== "subquery") {
    const name = part.kind === "offset" ? "offset" : part.kind === "at" ? "@" : part.mode;
    const what =
      part.kind === "mode"
        ? "instant vector selector or range vector selector"
        : "instant vector selector or range vector selector or a subquery";
    refuse(options, between(options, part.from, part.to), `${name} modifier must be preceded by an ${what}`);
    return base;
  }
  const target = base.kind === "range" ? base.selector : base;
  const changed = { ...target, ...change(options, target, part, base.position) };
  if (changed.kind === "subquery") return { ...changed, position };
  return base.kind === "range" ? { ...base, selector: changed, position } : { ...changed, position };
}

function change(
  options: BuildOptions,
  target: PromqlSelector | (PromqlExpression & { readonly kind: "subquery" }),
  part: Postfix & { readonly kind: "offset" | "at" | "mode" },
  position: TextRange,
): { offset: PromqlDuration } | { at: PromqlAt } | { mode: PromqlRangeMode } | Record<string, never> {
  switch (part.kind) {
    case "offset":
      if (target.offset !== undefined) refuse(options, position, "offset may not be set multiple times");
      return { offset: literalDuration(options, part.value, false) };
    case "at":
      if (target.at !== undefined) refuse(options, position, "@ <timestamp> may not be set multiple times");
      if (part.at.kind === "time" && !(Math.abs(part.at.timestampMs) < AT_MS_MAX)) {
        refuse(options, position, `timestamp out of bounds for @ modifier: ${printBounds(part.at.timestampMs / 1000)}`);
      }
      return { at: part.at };
    case "mode":
      if (target.kind === "subquery") {
        refuse(options, position, `${part.mode} modifier is not supported for subqueries`);
        return {};
      }
      if (target.mode !== undefined) {
        refuse(
          options,
          position,
          target.mode === part.mode
            ? `${part.mode} modifier may not be set multiple times`
            : "anchored and smoothed modifiers cannot be used together",
        );
      }
      return { mode: part.mode };
  }
}

/** As Go's `%f`. */
function printBounds(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return `${BigInt(value)}.000000`;
}

/** A duration or a number of seconds, within the bounds of Prometheus. */
export function seconds(options: BuildOptions, index: number): PromqlDuration {
  const token = tokenAt(options, index);
  const position = between(options, index, index + 1);
  if (!(Math.abs(token.number) <= DURATION_SECONDS_MAX)) refuse(options, position, "duration out of range");
  return { kind: "seconds", seconds: token.number, isDuration: token.isDuration, position };
}

/** The step or the range of the query inside a duration. */
export function durationVariable(options: BuildOptions, from: number, to: number, kind: string): PromqlDuration {
  return { kind: kind === "P" ? "step" : "range", position: between(options, from, to) };
}

/** `min_of` or `max_of` two durations. */
export function durationExtreme(
  options: BuildOptions,
  from: number,
  to: number,
  left: PromqlDuration,
  right: PromqlDuration,
): PromqlDuration {
  const name = tokenAt(options, from).text.toLowerCase() === "min_of" ? "min_of" : "max_of";
  return { kind: "extreme", name, left, right, position: between(options, from, to) };
}

/** A duration in parentheses. */
export function parenDuration(
  options: BuildOptions,
  from: number,
  to: number,
  operand: PromqlDuration,
): PromqlDuration {
  return { kind: "paren", operand, position: between(options, from, to) };
}

/** A sign before a literal is part of it; a plus before anything else means nothing. */
export function signDuration(options: BuildOptions, signs: readonly number[], operand: PromqlDuration): PromqlDuration {
  let node = operand;
  for (const index of signs.toReversed()) {
    const sign = tokenAt(options, index);
    if (sign.text === "+") continue;
    const position = { start: sign.start, end: operand.position.end };
    if (node.kind === "seconds") node = { ...node, seconds: -node.seconds, position };
    else node = { kind: "sign", op: "-", operand: node, position };
  }
  return node;
}

/** Arithmetic of durations, folded to the left. */
export function foldDuration(
  options: BuildOptions,
  head: PromqlDuration,
  tail: readonly (readonly [op: number, right: PromqlDuration])[],
): PromqlDuration {
  let left = head;
  for (const [index, right] of tail) {
    const token = tokenAt(options, index);
    const op = token.text as "+" | "-" | "*" | "/" | "%" | "^"; // the grammar lets only these pass
    if ((op === "/" || op === "%") && right.kind === "seconds" && right.seconds === 0) {
      refuse(options, token, op === "/" ? "division by zero" : "modulo by zero");
    }
    const position = { start: left.position.start, end: right.position.end };
    left = { kind: "arithmetic", op, left, right, position };
  }
  return left;
}
