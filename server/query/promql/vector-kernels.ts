/** Functions of one value at a time. */

import { acosh, asinh, atanh, cosh, exp, pow, sinh, tanh } from "./go-exp.ts";
import { ln, log2, log10 } from "./go-math.ts";
import { acos, asin, atan, atan2, cos, sin, tan } from "./go-trig.ts";

function radians(degrees: number): number {
  return degrees * (Math.PI / 180);
}

function degrees(angle: number): number {
  return angle * (180 / Math.PI);
}

function sign(value: number): number {
  if (value < 0) return -1;
  return value > 0 ? 1 : value;
}

/** Value in, value out; the metric name goes. */
export const MATH_KERNELS: ReadonlyMap<string, (value: number) => number> = new Map<string, (value: number) => number>([
  ["abs", Math.abs],
  ["acos", acos],
  ["acosh", acosh],
  ["asin", asin],
  ["asinh", asinh],
  ["atan", atan],
  ["atanh", atanh],
  ["ceil", Math.ceil],
  ["cos", cos],
  ["cosh", cosh],
  ["deg", degrees],
  ["exp", exp],
  ["floor", Math.floor],
  ["ln", ln],
  ["log10", log10],
  ["log2", log2],
  ["rad", radians],
  ["sgn", sign],
  ["sin", sin],
  ["sinh", sinh],
  ["sqrt", Math.sqrt],
  ["tan", tan],
  ["tanh", tanh],
]);

/** Go's minimum: minus infinity beats NaN, NaN any number, and -0 is less than 0. */
export function minOf(a: number, b: number): number {
  if (a === Number.NEGATIVE_INFINITY || b === Number.NEGATIVE_INFINITY) return Number.NEGATIVE_INFINITY;
  return Math.min(a, b);
}

/** Go's maximum: plus infinity beats NaN, NaN any number. */
export function maxOf(a: number, b: number): number {
  if (a === Number.POSITIVE_INFINITY || b === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  return Math.max(a, b);
}

/** Rounds to the nearest multiple, halves up. */
export function roundTo(value: number, nearest: number): number {
  const inverse = 1 / nearest;
  return Math.floor(value * inverse + 0.5) / inverse;
}

/** Arithmetic of two values. */
export function arithmetic(op: string): (left: number, right: number) => number {
  switch (op) {
    case "+":
      return (left, right) => left + right;
    case "-":
      return (left, right) => left - right;
    case "*":
      return (left, right) => left * right;
    case "/":
      return (left, right) => left / right;
    case "%":
      return (left, right) => left % right;
    case "^":
      return pow;
    case "atan2":
      return atan2;
    default:
      throw new Error(`no arithmetic for ${op}`);
  }
}

/** Comparison of two values; with NaN only `!=` holds. */
export function comparison(op: string): (left: number, right: number) => boolean {
  switch (op) {
    case "==":
      return (left, right) => left === right;
    case "!=":
      return (left, right) => left !== right;
    case "<":
      return (left, right) => left < right;
    case ">":
      return (left, right) => left > right;
    case "<=":
      return (left, right) => left <= right;
    case ">=":
      return (left, right) => left >= right;
    default:
      throw new Error(`no comparison for ${op}`);
  }
}
