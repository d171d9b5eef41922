/** Types and rules of a PromQL tree, checked in the order of the text. */

import type { PromqlRefusal } from "./promql-build.ts";
import { quoteGo } from "./promql-error.ts";
import { promqlFunction } from "./promql-function.ts";
import type {
  PromqlAggregate,
  PromqlBinary,
  PromqlCall,
  PromqlExpression,
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
  /** Allows what Prometheus keeps behind promql-experimental-functions. */
  readonly experimental: boolean;
}

const COMPARISONS: ReadonlySet<string> = new Set(["==", "!=", "<", ">", "<=", ">="]);
const SET_OPERATORS: ReadonlySet<string> = new Set(["and", "or", "unless"]);
const EXPERIMENTAL_AGGREGATIONS: ReadonlySet<string> = new Set(["limitk", "limit_ratio"]);

/** Whether an operator compares. */
export function isComparison(op: string): boolean {
  return COMPARISONS.has(op);
}

/** Whether an operator joins sets of series. */
export function isSetOperator(op: string): boolean {
  return SET_OPERATORS.has(op);
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
      const twice = matching.include.find((label) => matching.labels.includes(label));
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
    if (left !== "vector" || right !== "vector") {
      if (matching.labels.length > 0) this.#refuse(node, "vector matching only allowed between instant vectors");
      const oneIsScalar = left === "scalar" || right === "scalar";
      if (isSet && oneIsScalar)
        this.#refuse(node, `set operator ${quoteGo(node.op)} not allowed in binary scalar expression`);
    } else if (isSet && matching.group !== undefined) {
      this.#refuse(node, `no grouping allowed for ${quoteGo(node.op)} operation`);
      this.#refuse(node, "set operations must always be many-to-many");
    }
    return result;
  }

  #expect(node: PromqlExpression, want: PromqlType, context: string): void {
    const type = this.check(node);
    if (type === want) return;
    this.#refuse(node, `expected type ${documentedType(want)} in ${context}, got ${documentedType(type)}`);
  }

  #aggregate(node: PromqlAggregate): void {
    if (EXPERIMENTAL_AGGREGATIONS.has(node.op) && !this.#options.experimental) {
      const reason = `${node.op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions`;
      this.#refuse(node, reason);
      return;
    }
    this.#expect(node.operand, "vector", "aggregation expression");
    if (node.parameter === undefined) return;
    this.#expect(node.parameter, node.op === "count_values" ? "string" : "scalar", "aggregation parameter");
  }

  #call(node: PromqlCall): PromqlType {
    const signature = promqlFunction(node.name);
    if (signature === undefined) {
      const position = { start: node.position.start, end: node.position.start + node.name.length };
      this.refusals.push({ position, reason: `unknown function with name ${quoteGo(node.name)}` });
      return "vector";
    }
    if (signature.experimental && !this.#options.experimental) {
      const position = { start: node.position.start, end: node.position.start + node.name.length };
      const reason = `function ${quoteGo(node.name)} is not enabled`;
      this.refusals.push({ position, reason });
      return signature.returns;
    }
    const { args, optional } = signature;
    const got = node.args.length;
    const called = `argument(s) in call to ${quoteGo(node.name)}, got ${got}`;
    const least = args.length - (optional === 0 ? 0 : 1);
    if (optional === 0 && got !== args.length) this.#refuse(node, `expected ${args.length} ${called}`);
    else if (got < least) this.#refuse(node, `expected at least ${least} ${called}`);
    else if (typeof optional === "number" && optional > 0 && got > least + optional) {
      this.#refuse(node, `expected at most ${least + optional} ${called}`);
    }
    node.args.forEach((argument, index) => {
      const want = args[Math.min(index, args.length - 1)];
      if (want === undefined) return;
      if (node.name === "info" && index === 1 && argument.kind === "selector" && argument.metric !== "") {
        this.#refuse(argument, "expected label selectors only, got vector selector instead");
      }
      if (node.name === "info" && index === 1 && argument.kind === "selector") return;
      this.#expect(argument, want, `call to function ${quoteGo(node.name)}`);
    });
    return signature.returns;
  }

  #selector(node: PromqlSelector): void {
    let selects = false;
    for (const { kind, value } of node.matchers) {
      if (kind === "=~" || kind === "!~") {
        try {
          const matchesEmpty = this.#options.regexMatchesEmpty(value);
          selects ||= (kind === "=~") !== matchesEmpty;
        } catch (cause) {
          this.#refuse(node, cause instanceof Error ? cause.message : String(cause));
        }
      } else selects ||= (kind === "=") !== (value === "");
    }
    if (!selects) this.#refuse(node, "vector selector must contain at least one non-empty matcher");
  }
}

/** Prometheus' documents say "range vector" where its code says matrix. */
function documentedType(type: PromqlType): string {
  if (type === "vector") return "instant vector";
  return type === "matrix" ? "range vector" : type;
}
