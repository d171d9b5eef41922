/** What a tree of duration arithmetic means, and how its literals print. */

import { printDuration } from "./promql-duration.ts";
import type { PromqlDuration } from "./promql-tree.ts";

/** Seconds that a duration means; `variable` gives `step()` and `range()` in seconds. */
export function evaluateDuration(node: PromqlDuration, variable: (kind: "step" | "range") => number): number {
  switch (node.kind) {
    case "seconds":
      return node.seconds;
    case "step":
    case "range":
      return variable(node.kind);
    case "sign":
      return -evaluateDuration(node.operand, variable);
    case "paren":
      return evaluateDuration(node.operand, variable);
    case "extreme": {
      const left = evaluateDuration(node.left, variable);
      const right = evaluateDuration(node.right, variable);
      return node.name === "min_of" ? Math.min(left, right) : Math.max(left, right);
    }
    case "arithmetic":
      return evaluateArithmetic(node, variable);
  }
}

/** Walks the left spine in a loop: a long sum is a deep tree. */
function evaluateArithmetic(node: PromqlDuration, variable: (kind: "step" | "range") => number): number {
  const spine: (PromqlDuration & { readonly kind: "arithmetic" })[] = [];
  let base = node;
  while (base.kind === "arithmetic") {
    spine.push(base);
    base = base.left;
  }
  let left = evaluateDuration(base, variable);
  for (const { op, right: rightNode } of spine.toReversed()) {
    const right = evaluateDuration(rightNode, variable);
    if (op === "+") left += right;
    else if (op === "-") left -= right;
    else if (op === "*") left *= right;
    else if (op === "/") left /= right;
    else if (op === "%") left %= right;
    else left **= right;
  }
  return left;
}

/** Seconds as a duration where they are whole milliseconds, else as a number. */
export function printSeconds(value: number): string {
  const milliseconds = value * 1000;
  return Number.isInteger(milliseconds) ? printDuration(milliseconds) : String(value);
}
