/** What durations mean once step and range of the query are known. */

import type { PromqlDuration, TextRange } from "../../../grammar/promql-tree.ts";
import { utf8Length } from "../../../grammar/text-position.ts";
import { pow } from "./go-exp.ts";
import { PromqlDurationError } from "./query-error.ts";
import { maxOf, minOf } from "./vector-kernels.ts";

/** A range, step or offset of nanoseconds that fit into 64 bits. */
const SECONDS_MAX = 2 ** 63 / 1e9;

/** Seconds that `step()` and `range()` stand for. */
export interface DurationVariables {
  readonly step: number;
  readonly range: number;
}

/**
 * Replaces arithmetic by what it results in: whole milliseconds, in a literal.
 *
 * Literals stay as they are; the parser has looked at them.
 *
 * @param mayBeNegative Offsets may; ranges and steps must be longer than nothing.
 * @throws PromqlDurationError with the place in `text`.
 * @see Prometheus, promql/durations.go
 */
export function resolveDuration(
  text: string,
  node: PromqlDuration,
  variables: DurationVariables,
  mayBeNegative: boolean,
): PromqlDuration {
  const position = placeOf(node);
  const literal = literalOf(node);
  if (literal !== undefined) return { kind: "seconds", seconds: literal, isDuration: true, position };
  const refuse = (reason: string, at: TextRange): never => {
    const start = utf8Length(text, 0, at.start);
    throw new PromqlDurationError(`${start}:${start + utf8Length(text, at.start, at.end)}: ${reason}`);
  };
  const seconds = compute(node, variables, refuse);
  if (!Number.isFinite(seconds)) refuse("duration is NaN or infinite", position);
  if (seconds <= 0 && !mayBeNegative) refuse("duration must be greater than 0", position);
  if (Math.abs(seconds) > SECONDS_MAX) refuse("duration is out of range", position);
  return { kind: "seconds", seconds: Math.trunc(seconds * 1000) / 1000, isDuration: true, position };
}

/** Milliseconds of a resolved duration: nanoseconds are rounded, milliseconds cut. */
export function durationMs(duration: PromqlDuration): number {
  if (duration.kind !== "seconds") throw new Error("a duration was not resolved");
  return Math.trunc(Math.round(duration.seconds * 1e9) / 1e6);
}

/** Seconds of a literal with its sign; undefined where arithmetic or parentheses are written. */
function literalOf(node: PromqlDuration): number | undefined {
  if (node.kind === "seconds") return node.seconds;
  if (node.kind !== "sign") return undefined;
  const inner = literalOf(node.operand);
  return inner === undefined || node.op === "+" ? inner : -inner;
}

/** Where Prometheus places a duration: parentheses do not count, except around a literal. */
function placeOf(node: PromqlDuration): TextRange {
  switch (node.kind) {
    case "seconds":
    case "step":
    case "range":
    case "extreme":
      return node.position;
    case "sign":
      if (node.op === "+" && literalOf(node.operand) === undefined) return placeOf(node.operand);
      return { start: node.position.start, end: placeOf(node.operand).end };
    case "paren":
      if (literalOf(node.operand) === undefined) return placeOf(node.operand);
      return { start: node.position.start, end: placeOf(node.operand).end };
    case "arithmetic": {
      let first: PromqlDuration = node;
      while (first.kind === "arithmetic") first = first.left;
      return { start: placeOf(first).start, end: placeOf(node.right).end };
    }
  }
}

type Refuse = (reason: string, at: TextRange) => never;

function compute(node: PromqlDuration, variables: DurationVariables, refuse: Refuse): number {
  switch (node.kind) {
    case "seconds":
      return node.seconds;
    case "step":
    case "range":
      return variables[node.kind];
    case "sign": {
      const value = compute(node.operand, variables, refuse);
      return node.op === "-" ? -value : value;
    }
    case "paren":
      return compute(node.operand, variables, refuse);
    case "extreme": {
      const left = compute(node.left, variables, refuse);
      const right = compute(node.right, variables, refuse);
      return node.name === "min_of" ? minOf(left, right) : maxOf(left, right);
    }
    case "arithmetic":
      return computeSpine(node, variables, refuse);
  }
}

/** Walks the left spine in a loop: a long sum is a deep tree. */
function computeSpine(
  node: PromqlDuration & { readonly kind: "arithmetic" },
  variables: DurationVariables,
  refuse: Refuse,
): number {
  const spine: (typeof node)[] = [];
  let base: PromqlDuration = node;
  while (base.kind === "arithmetic") {
    spine.push(base);
    base = base.left;
  }
  let left = compute(base, variables, refuse);
  for (const part of spine.reverse()) {
    const right = compute(part.right, variables, refuse);
    if (right === 0 && part.op === "/") refuse("division by zero", placeOf(part));
    if (right === 0 && part.op === "%") refuse("modulo by zero", placeOf(part));
    left = operate(part.op, left, right);
  }
  return left;
}

function operate(op: "+" | "-" | "*" | "/" | "%" | "^", left: number, right: number): number {
  switch (op) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      return left / right;
    case "%":
      return left % right;
    case "^":
      return pow(left, right);
  }
}
