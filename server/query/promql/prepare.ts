/**
 * From the parsed tree to the one that is evaluated: times and durations become numbers, and the parts that have the
 * same value at every step are found.
 *
 * @see Prometheus, promql/engine.go, PreprocessExpr
 */

import { unwrapParens } from "../../../grammar/promql-check.ts";
import type {
  PromqlAggregate,
  PromqlBinary,
  PromqlCall,
  PromqlDuration,
  PromqlExpression,
  PromqlModifiers,
  PromqlSelector,
} from "../../../grammar/promql-tree.ts";
import { DATE_KERNELS } from "./date-kernels.ts";
import { resolveDuration } from "./durations.ts";
import { infoReference } from "./info-reference.ts";
import type { QueryTimes } from "./step-vector.ts";

/** A tree without variables. Every `@` is a time, every duration a literal, `start()` and its kin are numbers. */
export interface PreparedTree {
  readonly tree: PromqlExpression;
  /** Nodes with the same value at every step: they are evaluated at the first one only. */
  readonly once: ReadonlySet<PromqlExpression>;
}

/** Functions whose value depends on the time of the step even where their arguments do not. */
const STEP_FUNCTIONS: ReadonlySet<string> = new Set([...DATE_KERNELS.keys(), "predict_linear", "time", "timestamp"]);

/** Prepares a checked tree; `text` is what it was parsed from. @throws PromqlDurationError */
export function prepareTree(text: string, root: PromqlExpression, times: QueryTimes): PreparedTree {
  const preparer = new Preparer(text, times);
  const prepared = preparer.visit(root);
  preparer.keep(prepared);
  return { tree: prepared.node, once: preparer.once };
}

interface Prepared {
  readonly node: PromqlExpression;
  /** The value is the same at every step. */
  readonly constant: boolean;
  /** It is worth, and allowed, to evaluate the node once: not for numbers, ranges and strings. */
  readonly once: boolean;
}

/** One walk over a tree. */
class Preparer {
  readonly once = new Set<PromqlExpression>();
  readonly #text: string;
  readonly #times: QueryTimes;
  /** Inside the parameter of an aggregation, where `@ start()` counts for nothing and nothing is evaluated once. */
  #inParameter = false;

  constructor(text: string, times: QueryTimes) {
    this.#text = text;
    this.#times = times;
  }

  keep({ node, once }: Prepared): void {
    if (once && !this.#inParameter) this.once.add(node);
  }

  visit(node: PromqlExpression): Prepared {
    switch (node.kind) {
      case "number":
      case "string":
        return { node, constant: true, once: false };
      case "selector": {
        const selector = this.#selector(node);
        const constant = selector.at !== undefined;
        return { node: selector, constant, once: constant };
      }
      case "range": {
        const range = this.#duration(node.range, false);
        const selector = this.#selector(node.selector);
        return { node: { ...node, range, selector }, constant: selector.at !== undefined, once: false };
      }
      case "subquery":
        return this.#subquery(node);
      case "paren":
      case "unary": {
        const inner = this.visit(node.operand);
        return { ...inner, node: { ...node, operand: inner.node } };
      }
      case "binary":
        return this.#spine(node);
      case "aggregate":
        return this.#aggregate(node);
      case "call":
        return this.#call(node);
    }
  }

  #duration(duration: PromqlDuration, mayBeNegative: boolean): PromqlDuration {
    const { startMs, endMs, stepMs } = this.#times;
    const variables = { step: stepMs / 1000, range: (endMs - startMs) / 1000 };
    return resolveDuration(this.#text, duration, variables, mayBeNegative);
  }

  #modifiers({ at, offset }: PromqlModifiers): PromqlModifiers {
    const resolved = offset === undefined ? undefined : this.#duration(offset, true);
    if (at === undefined || at.kind === "time") return { at, offset: resolved };
    if (this.#inParameter) return { at: undefined, offset: resolved };
    const timestampMs = at.kind === "start" ? this.#times.startMs : this.#times.endMs;
    return { at: { kind: "time", timestampMs }, offset: resolved };
  }

  #selector(node: PromqlSelector): PromqlSelector {
    return { ...node, ...this.#modifiers(node) };
  }

  #subquery(node: PromqlExpression & { readonly kind: "subquery" }): Prepared {
    const modifiers = this.#modifiers(node);
    const step = node.step === undefined ? undefined : this.#duration(node.step, false);
    const range = this.#duration(node.range, false);
    const inner = this.visit(node.operand);
    if (inner.constant) this.keep({ ...inner, once: true });
    return {
      node: { ...node, ...modifiers, step, range, operand: inner.node },
      constant: modifiers.at !== undefined,
      once: false,
    };
  }

  /** Walks the left spine in a loop: a long run of operators is a deep tree. */
  #spine(node: PromqlBinary): Prepared {
    const spine: PromqlBinary[] = [];
    let base: PromqlExpression = node;
    while (base.kind === "binary") {
      spine.push(base);
      base = base.left;
    }
    let left = this.visit(base);
    for (const binary of spine.reverse()) {
      const right = this.visit(binary.right);
      const constant = left.constant && right.constant;
      if (!constant) {
        this.keep(left);
        this.keep(right);
      }
      left = { node: { ...binary, left: left.node, right: right.node }, constant, once: constant };
    }
    return left;
  }

  /** Whether an aggregation is constant depends on its operand only; a parameter that changes is read once then. */
  #aggregate(node: PromqlAggregate): Prepared {
    const operand = this.visit(unwrapParens(node.operand));
    let parameter: PromqlExpression | undefined;
    if (node.parameter !== undefined) {
      const outer = this.#inParameter;
      this.#inParameter = true;
      parameter = this.visit(unwrapParens(node.parameter)).node;
      this.#inParameter = outer;
    }
    return { ...operand, node: { ...node, operand: operand.node, parameter } };
  }

  #call(node: PromqlCall): Prepared {
    const number = this.#contextNumber(node);
    if (number !== undefined) {
      const literal: PromqlExpression = { kind: "number", value: number, isDuration: false, position: node.position };
      return { node: literal, constant: true, once: false };
    }
    const args = node.args.map((argument) => this.visit(unwrapParens(argument)));
    const call: PromqlCall = { ...node, args: args.map((argument) => argument.node) };
    // The second argument of info() is a list of matchers, no expression.
    const evaluated = node.name === "info" ? args.slice(0, 1) : args;
    const allConstant = evaluated.every((argument) => argument.constant);
    let constant = allConstant && !STEP_FUNCTIONS.has(node.name);
    if (node.name === "info") constant &&= infoReference(call.args[0]).isUniform;
    if (node.name === "timestamp") constant = allConstant && call.args[0]?.kind === "selector";
    if (!constant) for (const argument of evaluated) this.keep(argument);
    return { node: call, constant, once: constant };
  }

  /** Seconds that `start()`, `end()`, `range()` and `step()` stand for. */
  #contextNumber(node: PromqlCall): number | undefined {
    const { startMs, endMs, stepMs } = this.#times;
    switch (node.name) {
      case "start":
        return startMs / 1000;
      case "end":
        return endMs / 1000;
      case "range":
        return (endMs - startMs) / 1000;
      case "step":
        return startMs === endMs ? 0 : stepMs / 1000;
      default:
        return undefined;
    }
  }
}
