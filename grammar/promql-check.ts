/** Types and rules of a PromQL tree, checked in the order of the text. */

import { quoteGo } from "./promql-error.ts";
import { promqlFunction } from "./promql-function.ts";
import type { PromqlRefusal } from "./promql-refusal.ts";
import type {
  PromqlAggregate,
  PromqlBinary,
  PromqlCall,
  PromqlExpression,
  PromqlMatcher,
  PromqlSelector,
  PromqlType,
} from "./promql-tree.ts";

/**
 * Compiles an anchored RE2 expression and says whether it matches the empty string.
 *
 * @throws Error with the engine's reason where it is no regular expression.
 */
type RegexMatchesEmpty = (pattern: string) => boolean;

/** What the checks need to know. */
export interface CheckOptions {
  readonly regexMatchesEmpty: RegexMatchesEmpty;
}

const COMPARISONS: ReadonlySet<string> = new Set(["==", "!=", "<", ">", "<=", ">="]);
const SET_OPERATORS: ReadonlySet<string> = new Set(["and", "or", "unless"]);

/** Whether an operator compares. */
export function isComparison(op: string): boolean {
  return COMPARISONS.has(op);
}

/** Whether an operator joins sets of series. */
export function isSetOperator(op: string): boolean {
  return SET_OPERATORS.has(op);
}

/** The node inside parentheses. */
export function unwrapParens(node: PromqlExpression): PromqlExpression {
  let inner = node;
  while (inner.kind === "paren") inner = inner.operand;
  return inner;
}

/** What an expression that passed the check evaluates to. */
export function promqlType(node: PromqlExpression): PromqlType {
  let at = node;
  while (at.kind === "paren" || at.kind === "unary") at = at.operand;
  switch (at.kind) {
    case "number":
      return "scalar";
    case "string":
      return "string";
    case "range":
    case "subquery":
      return "matrix";
    case "binary":
      return isScalarTree(at) ? "scalar" : "vector";
    case "call":
      return promqlFunction(at.name)?.returns ?? "vector";
    case "selector":
    case "aggregate":
      return "vector";
  }
}

/** Result type of an operation on these. */
export function joinedType(left: PromqlType, right: PromqlType): PromqlType {
  return left === "scalar" && right === "scalar" ? "scalar" : "vector";
}

/** Walks the left spine in a loop: a long run of operators is a deep tree. */
function isScalarTree(node: PromqlBinary): boolean {
  let at: PromqlExpression = node;
  while (at.kind === "binary") {
    if (promqlType(at.right) !== "scalar") return false;
    at = at.left;
  }
  return promqlType(at) === "scalar";
}

/** Says what is wrong with a tree, in the order of the text. */
export function checkPromql(root: PromqlExpression, options: CheckOptions): readonly PromqlRefusal[] {
  const checker = new PromqlChecker(options);
  checker.check(root);
  return checker.refusals;
}

/** Refusals so far. */
class PromqlChecker {
  readonly refusals: PromqlRefusal[] = [];
  readonly #options: CheckOptions;

  constructor(options: CheckOptions) {
    this.#options = options;
  }

  #refuse(node: PromqlExpression, reason: string): void {
    this.refusals.push({ position: node.position, reason });
  }

  check(node: PromqlExpression): PromqlType {
    switch (node.kind) {
      case "number":
        return "scalar";
      case "string":
        return "string";
      case "selector":
        this.#selector(node);
        return "vector";
      case "range":
        this.#selector(node.selector);
        return "matrix";
      case "subquery": {
        const type = this.check(node.operand);
        if (type !== "vector") this.#refuse(node, `subquery is only allowed on instant vector, got ${type} instead`);
        return "matrix";
      }
      case "paren":
        return this.check(node.operand);
      case "unary": {
        const type = this.check(node.operand);
        if (type !== "scalar" && type !== "vector") {
          const reason = "unary expression only allowed on expressions of type scalar or instant vector, got";
          this.#refuse(node, `${reason} ${quoteGo(documentedType(type))}`);
        }
        return type;
      }
      case "binary":
        return this.#spine(node);
      case "aggregate":
        this.#aggregate(node);
        return "vector";
      case "call":
        return this.#call(node);
    }
  }

  #spine(node: PromqlBinary): PromqlType {
    const spine: PromqlBinary[] = [];
    let base: PromqlExpression = node;
    while (base.kind === "binary") {
      spine.push(base);
      base = base.left;
    }
    let type = this.check(base);
    for (const binary of spine.toReversed()) type = this.#binary(binary, type, this.check(binary.right));
    return type;
  }

  #binary(node: PromqlBinary, left: PromqlType, right: PromqlType): PromqlType {
    const { matching } = node;
    const compares = isComparison(node.op);
    const isSet = isSetOperator(node.op);
    const scalars = left === "scalar" && right === "scalar";
    const result: PromqlType = scalars ? "scalar" : "vector";
    const refuseOp = (reason: string) => this.refusals.push({ position: node.opPosition, reason });
    if (node.bool && !compares) refuseOp("bool modifier can only be used on comparison operators");
    if (compares && !node.bool && scalars) refuseOp("comparisons between scalars must use BOOL modifier");
    if (matching.on) {
      const twice = matching.labels.find((label) => matching.include.includes(label));
      if (twice !== undefined) refuseOp(`label ${quoteGo(twice)} must not occur in ON and GROUP clause at once`);
    }
    for (const [side, type] of [
      [node.left, left],
      [node.right, right],
    ] as const) {
      if (type !== "scalar" && type !== "vector") {
        this.#refuse(side, "binary expression must contain only scalar and instant vector types");
      }
    }
    const fills = matching.fillLeft !== undefined || matching.fillRight !== undefined;
    if (left !== "vector" || right !== "vector") {
      if (matching.labels.length > 0) this.#refuse(node, "vector matching only allowed between instant vectors");
      if (fills) this.#refuse(node, "filling in missing series only allowed between instant vectors");
    } else if (isSet) {
      if (matching.group !== undefined) {
        this.#refuse(node, `no grouping allowed for ${quoteGo(node.op)} operation`);
        this.#refuse(node, "set operations must always be many-to-many");
      }
      if (fills) this.#refuse(node, "filling in missing series not allowed for set operators");
    }
    if (isSet && (left === "scalar" || right === "scalar")) {
      this.#refuse(node, `set operator ${quoteGo(node.op)} not allowed in binary scalar expression`);
    }
    return result;
  }

  #expect(node: PromqlExpression, want: PromqlType, context: string): void {
    const type = this.check(node);
    if (type === want) return;
    this.#refuse(node, `expected type ${documentedType(want)} in ${context}, got ${documentedType(type)}`);
  }

  #aggregate(node: PromqlAggregate): void {
    this.#expect(node.operand, "vector", "aggregation expression");
    if (node.parameter === undefined) return;
    this.#expect(node.parameter, node.op === "count_values" ? "string" : "scalar", "aggregation parameter");
  }

  #call(node: PromqlCall): PromqlType {
    const signature = promqlFunction(node.name);
    if (signature === undefined) throw new Error(`function ${node.name} was not refused`);
    const { args, optional } = signature;
    const got = node.args.length;
    const called = `argument(s) in call to ${quoteGo(node.name)}, got ${got}`;
    const least = args.length - (optional === 0 ? 0 : 1);
    if (optional === 0 && got !== args.length) this.#refuse(node, `expected ${args.length} ${called}`);
    else if (got < least) this.#refuse(node, `expected at least ${least} ${called}`);
    else if (typeof optional === "number" && optional > 0 && got > least + optional) {
      this.#refuse(node, `expected at most ${least + optional} ${called}`);
    }
    if (node.name === "info") this.#infoSelector(node);
    node.args.forEach((argument, index) => {
      if (optional === 0 && index >= args.length) return;
      const want = args[Math.min(index, args.length - 1)];
      if (want === undefined) return;
      if (node.name === "info" && index === 1 && argument.kind === "selector") this.#selector(argument, true);
      else this.#expect(argument, want, `call to function ${quoteGo(node.name)}`);
    });
    return signature.returns;
  }

  /** The second argument of `info` names labels only, and may match everything. */
  #infoSelector(node: PromqlCall): void {
    const [, argument] = node.args;
    if (argument === undefined) return;
    const type = promqlType(argument);
    if (type !== "vector") {
      this.#refuse(node, `expected type instant vector in call to function "info", got ${documentedType(type)}`);
    }
    if (argument.kind !== "selector") this.#refuse(argument, "expected label selectors only");
    else if (argument.metric !== "") {
      this.#refuse(argument, "expected label selectors only, got vector selector instead");
    }
  }

  #selector(node: PromqlSelector, mayMatchAll = false): void {
    if (node.metric !== "") {
      for (const { name, value } of node.matchers.slice(0, -1)) {
        if (name !== "__name__") continue;
        this.#refuse(node, `metric name must not be set twice: ${quoteGo(node.metric)} or ${quoteGo(value)}`);
      }
      return;
    }
    if (mayMatchAll || node.matchers.some((matcher) => !this.#matchesEmpty(matcher))) return;
    this.#refuse(node, "vector selector must contain at least one non-empty matcher");
  }

  #matchesEmpty({ kind, value }: PromqlMatcher): boolean {
    switch (kind) {
      case "=":
        return value === "";
      case "!=":
        return value !== "";
      case "=~":
        return this.#options.regexMatchesEmpty(value);
      case "!~":
        return !this.#options.regexMatchesEmpty(value);
    }
  }
}

/** Prometheus' documents say "range vector" where its code says matrix. */
function documentedType(type: PromqlType): string {
  if (type === "vector") return "instant vector";
  return type === "matrix" ? "range vector" : type;
}
