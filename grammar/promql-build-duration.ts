/** Makes durations and their arithmetic while the generated parser walks; `promql.peggy` calls these with token indexes. */

import { openRun, pushOperator, pushSign, type Run, reduceRun } from "./promql-precedence.ts";
import { type BuildOptions, between, refuse, refuseWaiting, tokenAt } from "./promql-refusal.ts";
import type { PromqlDuration } from "./promql-tree.ts";

type Arithmetic = PromqlDuration & { readonly kind: "arithmetic" };

/** Seconds beyond which an int64 of nanoseconds overflows. */
const DURATION_SECONDS_MAX = 2 ** 63 / 1e9;

/** Starts a run of arithmetic. */
export function open(signs: readonly number[], head: PromqlDuration): Run<PromqlDuration, number> {
  const run = openRun<PromqlDuration, number>(head);
  for (const sign of signs) pushSign(run, sign);
  return run;
}

/** Makes what ends before the operator at `index`, which it returns. */
export function operator(options: BuildOptions, run: Run<PromqlDuration, number>, index: number): number {
  reduceRun(run, tokenAt(options, index).kind, index - 1, combineWith(options));
  return index;
}

/** Adds an operator with its right side. */
export function operand(
  options: BuildOptions,
  run: Run<PromqlDuration, number>,
  op: number,
  signs: readonly number[],
  right: PromqlDuration,
): void {
  pushOperator(run, op, tokenAt(options, op).kind);
  for (const sign of signs) pushSign(run, sign);
  run.operand = right;
}

/** Ends a run before token `to`. */
export function close(options: BuildOptions, run: Run<PromqlDuration, number>, to: number): PromqlDuration {
  reduceRun(run, undefined, to - 1, combineWith(options));
  return run.operand;
}

function combineWith(options: BuildOptions) {
  return (index: number, left: PromqlDuration | undefined, right: PromqlDuration, last: number): PromqlDuration => {
    if (left === undefined) return sign(options, index, right);
    const token = tokenAt(options, index);
    const op = token.text as Arithmetic["op"]; // the grammar lets only these pass
    if ((op === "/" || op === "%") && right.kind === "seconds" && right.seconds === 0) {
      refuseWaiting(options, token, op === "/" ? "division by zero" : "modulo by zero", last);
    }
    const position = { start: left.position.start, end: right.position.end };
    return { kind: "arithmetic", op, left, right, position };
  };
}

/** A literal takes its sign in; a plus before anything else says nothing. */
function sign(options: BuildOptions, index: number, operand: PromqlDuration): PromqlDuration {
  const token = tokenAt(options, index);
  if (operand.kind === "seconds") return signSeconds(options, index, operand);
  if (token.text === "+") return operand;
  return { kind: "sign", op: "-", operand, position: { start: token.start, end: operand.position.end } };
}

function signSeconds(
  options: BuildOptions,
  index: number,
  operand: PromqlDuration & { readonly kind: "seconds" },
): PromqlDuration {
  const token = tokenAt(options, index);
  const seconds = token.text === "-" ? -operand.seconds : operand.seconds;
  return { ...operand, seconds, position: { start: token.start, end: operand.position.end } };
}

/**
 * A literal; directly after `offset` the place of one out of range is that of its sign, at token `sign`.
 *
 * Prometheus lets NaN pass and then computes with the smallest number there is; here it is out of range.
 */
export function seconds(options: BuildOptions, index: number, sign = index): PromqlDuration {
  const token = tokenAt(options, index);
  const position = between(options, index, index + 1);
  if (token.reason === undefined && !(Math.abs(token.number) <= DURATION_SECONDS_MAX)) {
    refuse(options, tokenAt(options, sign), "duration out of range", index);
    return { kind: "seconds", seconds: 0, isDuration: false, position };
  }
  return { kind: "seconds", seconds: token.number, isDuration: token.isDuration, position };
}

/** Index of the sign before the literal at `index`, which follows `offset`; `index` itself where there is none. */
export function signBefore(options: BuildOptions, index: number): number {
  return "+-".includes(tokenAt(options, index - 1).kind) ? index - 1 : index;
}

/** `step()` or `range()`. */
export function variable(options: BuildOptions, from: number, to: number, kind: "P" | "Q"): PromqlDuration {
  return { kind: kind === "P" ? "step" : "range", position: between(options, from, to) };
}

/** `min_of(…, …)` or `max_of(…, …)`. */
export function extreme(
  options: BuildOptions,
  from: number,
  to: number,
  left: PromqlDuration,
  right: PromqlDuration,
): PromqlDuration {
  const name = tokenAt(options, from).text.toLowerCase() === "min_of" ? "min_of" : "max_of";
  return { kind: "extreme", name, left, right, position: between(options, from, to) };
}

/** Parentheses; a second pair says nothing more. */
export function paren(options: BuildOptions, from: number, to: number, operand: PromqlDuration): PromqlDuration {
  return operand.kind === "paren" ? operand : { kind: "paren", operand, position: between(options, from, to) };
}

/** A range or step: a lone literal is a duration even without a unit, and longer than nothing. */
export function positive(options: BuildOptions, duration: PromqlDuration, to: number): PromqlDuration {
  if (duration.kind !== "seconds") return duration;
  if (duration.seconds <= 0) {
    refuseWaiting(options, duration.position, "duration must be greater than 0", to - 1);
  }
  return { ...duration, isDuration: true };
}

/** A literal or call after `offset`, with its sign; before a call even a plus is kept. */
export function signOffset(options: BuildOptions, index: number | null, operand: PromqlDuration): PromqlDuration {
  if (index === null) return operand;
  if (operand.kind === "seconds") return signSeconds(options, index, operand);
  const token = tokenAt(options, index);
  const op = token.text === "-" ? "-" : "+";
  return { kind: "sign", op, operand, position: { start: token.start, end: operand.position.end } };
}

/** Signed parentheses after `offset`. */
export function signParen(options: BuildOptions, index: number, to: number, operand: PromqlDuration): PromqlDuration {
  return sign(options, index, paren(options, index + 1, to, operand));
}
