/** When `info()` looks at info series: at the times at which its first argument looks at its own. */

import { promqlType } from "../../../grammar/promql-check.ts";
import type { PromqlExpression } from "../../../grammar/promql-tree.ts";
import { durationMs } from "./durations.ts";

/** Where the selectors of an expression look. */
export interface InfoReference {
  /** Time of `@`, where there is one. */
  readonly atMs: number | undefined;
  readonly offsetMs: number;
  /** Whether everything that makes up the vector looks at this time; else info series are taken at each step. */
  readonly isUniform: boolean;
}

const AT_STEP: InfoReference = { atMs: undefined, offsetMs: 0, isUniform: false };

/**
 * Finds the common time of all selectors in a prepared expression.
 *
 * @see Prometheus, promql/info.go, infoSelectTimestampAndOffset
 */
export function infoReference(node: PromqlExpression | undefined): InfoReference {
  if (node === undefined) return AT_STEP;
  const finder = new ReferenceFinder();
  finder.visit(node, { atMs: undefined, offsetMs: 0 });
  return finder.result();
}

/** What the sub-queries around a node add; an `@` makes all that is further out irrelevant. */
interface Around {
  readonly atMs: number | undefined;
  readonly offsetMs: number;
}

/** One walk over an argument of `info()`. */
class ReferenceFinder {
  #first: Around | undefined;
  #differs = false;
  /** A vector made without any selector follows the time of the step. */
  #hasFree = false;

  result(): InfoReference {
    if (this.#first === undefined) return AT_STEP;
    return { ...this.#first, isUniform: !this.#differs && !this.#hasFree };
  }

  /** Whether there is a selector in what makes up the vector. */
  visit(node: PromqlExpression, around: Around): boolean {
    const type = promqlType(node);
    if (type !== "vector" && type !== "matrix") return false;
    if (node.kind === "selector") {
      this.#found(within(around, node));
      return true;
    }
    const inner = node.kind === "subquery" ? within(around, node) : around;
    const children = node.kind === "binary" ? spineOf(node) : childrenOf(node);
    let found = false;
    for (const child of children) if (this.visit(child, inner)) found = true;
    if (!found) this.#hasFree = true;
    return found;
  }

  #found(reference: Around): void {
    if (this.#first === undefined) this.#first = reference;
    else if (!sameTime(this.#first, reference)) this.#differs = true;
  }
}

function sameTime(a: Around, b: Around): boolean {
  if (a.atMs === undefined || b.atMs === undefined) return a.atMs === b.atMs && a.offsetMs === b.offsetMs;
  return a.atMs - a.offsetMs === b.atMs - b.offsetMs;
}

function within(around: Around, node: PromqlExpression & { readonly kind: "selector" | "subquery" }): Around {
  const offsetMs = node.offset === undefined ? 0 : durationMs(node.offset);
  if (node.at?.kind === "time") return { atMs: node.at.timestampMs, offsetMs };
  return { atMs: around.atMs, offsetMs: around.offsetMs + offsetMs };
}

/** Operands of a run of operators, without recursion into its left side. */
function spineOf(node: PromqlExpression & { readonly kind: "binary" }): readonly PromqlExpression[] {
  const rights: PromqlExpression[] = [];
  let base: PromqlExpression = node;
  while (base.kind === "binary") {
    rights.push(base.right);
    base = base.left;
  }
  return [base, ...rights.reverse()];
}

function childrenOf(node: PromqlExpression): readonly PromqlExpression[] {
  switch (node.kind) {
    case "range":
      return [node.selector];
    case "subquery":
    case "paren":
    case "unary":
      return [node.operand];
    case "aggregate":
      return node.parameter === undefined ? [node.operand] : [node.operand, node.parameter];
    case "call":
      return node.name === "info" ? node.args.slice(0, 1) : node.args;
    default:
      return [];
  }
}
