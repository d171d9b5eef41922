/** Random PromQL trees for tests: well typed, with parentheses where the text needs them, as parsing would give them. */

import type {
  PromqlAt,
  PromqlBinaryOp,
  PromqlDuration,
  PromqlExpression,
  PromqlMatcher,
  PromqlMatching,
  PromqlSelector,
} from "./promql-tree.ts";

/** A source of whole numbers below `below`. */
export type RandomBelow = (below: number) => number;

/** Numbers that are the same for the same seed. */
export function randomFrom(seed: number): RandomBelow {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const POSITION = { start: 0, end: 0 };
const NAMES = ["a", "up", "sum", "by", "without", "offset", "start", "step", "anchored", "x:rate", "fill", "min_of"];
const LABELS = ["job", "le", "on", "a.b", "é", "with space", "__name__x", "sum"];
const VALUES = ["", "a", 'quote"', "back\\slash", "new\nline", "é台", "\u200d", "\udcff", "a.+"];
const OPERATORS: readonly (readonly PromqlBinaryOp[])[] = [
  ["or"],
  ["and", "unless"],
  ["==", "!=", "<", ">", "<=", ">=", "</", ">/"],
  ["+", "-"],
  ["*", "/", "%", "atan2"],
];
const NUMBERS = [0, 1, 0.1, 1e-7, 1e21, 123_456.789, 5e-324, Number.MAX_VALUE, Number.POSITIVE_INFINITY, Number.NaN];
const NO_MATCHING: PromqlMatching = {
  on: false,
  labels: [],
  group: undefined,
  include: [],
  fillLeft: undefined,
  fillRight: undefined,
};

/** Makes trees of at most some depth. */
export class RandomTree {
  readonly #below: RandomBelow;
  /** Whether names may hold any letter without quotes. */
  readonly #unquoted: boolean;

  constructor(below: RandomBelow, unquoted: boolean) {
    this.#below = below;
    this.#unquoted = unquoted;
  }

  /** An expression of any type that a query may have. */
  expression(depth: number): PromqlExpression {
    switch (this.#below(8)) {
      case 0:
        return this.#scalar(depth);
      case 1:
        return { kind: "string", value: this.#pick(VALUES), position: POSITION };
      case 2:
        return this.#matrix(depth);
      default:
        return this.#vector(depth, 0);
    }
  }

  #pick<Item>(items: readonly Item[]): Item {
    const item = items[this.#below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  #chance(of: number): boolean {
    return this.#below(of) === 0;
  }

  /** A vector that may stand beside an operator that binds as tight as `level`. */
  #vector(depth: number, level: number): PromqlExpression {
    if (depth <= 0) return this.#selector();
    switch (this.#below(7)) {
      case 0:
        return { kind: "paren", operand: this.#vector(depth - 1, 0), position: POSITION };
      case 1:
        return this.#aggregate(depth);
      case 2:
        return this.#call(depth);
      case 3:
        if (level > 5) return this.#selector();
        return { kind: "unary", op: this.#pick(["+", "-"]), operand: this.#vector(depth - 1, 6), position: POSITION };
      case 4:
      case 5:
        return level < OPERATORS.length ? this.#binary(depth, level) : this.#selector();
      default:
        return this.#selector();
    }
  }

  #binary(depth: number, from: number): PromqlExpression {
    const level = from + this.#below(OPERATORS.length - from);
    const op = this.#pick(OPERATORS[level] ?? []);
    const compares = level === 2 && !op.includes("/");
    return {
      kind: "binary",
      op,
      bool: compares && this.#chance(3),
      matching: this.#chance(2) ? this.#matching(level < 2) : NO_MATCHING,
      left: this.#vector(depth - 1, level),
      right: this.#vector(depth - 1, level + 1),
      position: POSITION,
      opPosition: POSITION,
    };
  }

  #matching(isSet: boolean): PromqlMatching {
    const on = this.#chance(2);
    const labels = on || isSet ? this.#labels(0) : this.#labels(1);
    const group = isSet || this.#chance(2) ? undefined : this.#pick(["left", "right"] as const);
    const include = group === undefined ? [] : this.#labels(0).filter((label) => !labels.includes(label));
    const fill = () => (isSet || this.#chance(2) ? undefined : this.#pick([0, -1.5, 1e-5, 1e6, 123_456, -3]));
    return { on, labels, group, include, fillLeft: fill(), fillRight: fill() };
  }

  #labels(least: number): string[] {
    return LABELS.filter(() => this.#chance(4)).concat(least > 0 ? ["zone"] : []);
  }

  #aggregate(depth: number): PromqlExpression {
    const op = this.#pick(["sum", "avg", "count_values", "topk", "quantile", "limitk", "group"]);
    const without = this.#chance(3);
    const position = POSITION;
    const parameter =
      op === "count_values"
        ? ({ kind: "string", value: this.#pick(VALUES), position } as const)
        : ["topk", "quantile", "limitk"].includes(op)
          ? this.#scalar(depth - 1)
          : undefined;
    return {
      kind: "aggregate",
      op,
      parameter,
      operand: this.#vector(depth - 1, 0),
      without,
      grouping: this.#labels(0),
      position,
    };
  }

  #call(depth: number): PromqlExpression {
    const position = POSITION;
    switch (this.#below(4)) {
      case 0:
        return { kind: "call", name: "rate", args: [this.#matrix(depth - 1)], position };
      case 1:
        return {
          kind: "call",
          name: "clamp_max",
          args: [this.#vector(depth - 1, 0), this.#scalar(depth - 1)],
          position,
        };
      case 2:
        return { kind: "call", name: "vector", args: [this.#scalar(depth - 1)], position };
      default:
        return { kind: "call", name: "abs", args: [this.#vector(depth - 1, 0)], position };
    }
  }

  #scalar(depth: number): PromqlExpression {
    const position = POSITION;
    if (depth > 0 && this.#chance(3)) {
      const sides = { left: this.#scalar(0), right: this.#scalar(0), matching: NO_MATCHING, bool: false };
      return { kind: "binary", op: this.#pick(["+", "*", "%"] as const), ...sides, position, opPosition: position };
    }
    if (this.#chance(4)) return { kind: "call", name: this.#pick(["time", "pi", "start", "step"]), args: [], position };
    if (this.#chance(3)) return { kind: "number", value: this.#seconds(), isDuration: true, position };
    const value = this.#pick(NUMBERS);
    return {
      kind: "number",
      value: this.#chance(3) && !Number.isNaN(value) ? -value : value,
      isDuration: false,
      position,
    };
  }

  #selector(): PromqlSelector {
    const named = this.#below(4) > 0;
    const metric = named ? this.#pick(this.#unquoted ? [...NAMES, "é.台", "on.a"] : NAMES) : "";
    const matchers: PromqlMatcher[] = LABELS.filter((label) => !label.startsWith("__") && this.#chance(5)).map(
      (name) => ({
        name,
        kind: this.#pick(["=", "!="] as const),
        value: this.#pick(VALUES),
      }),
    );
    if (!named) matchers.push({ name: "zone", kind: "=~", value: "a.+" });
    return {
      kind: "selector",
      metric,
      matchers: named ? [...matchers, { name: "__name__", kind: "=", value: metric }] : matchers,
      offset: this.#chance(4) ? this.#offset() : undefined,
      at: this.#chance(5) ? this.#at() : undefined,
      mode: this.#chance(8) ? this.#pick(["anchored", "smoothed"] as const) : undefined,
      position: POSITION,
    };
  }

  #matrix(depth: number): PromqlExpression {
    const range = this.#range();
    if (depth <= 0 || this.#chance(2)) return { kind: "range", selector: this.#selector(), range, position: POSITION };
    return {
      kind: "subquery",
      operand: this.#vector(depth - 1, 6),
      range,
      step: this.#chance(2) ? undefined : this.#range(),
      offset: this.#chance(3) ? this.#offset() : undefined,
      at: this.#chance(3) ? this.#at() : undefined,
      position: POSITION,
    };
  }

  #at(): PromqlAt {
    const kind = this.#pick(["time", "start", "end"] as const);
    return kind === "time" ? { kind, timestampMs: this.#below(2 ** 31) * 1000 - 2 ** 40 } : { kind };
  }

  /** Whole milliseconds, as a literal would give them. */
  #seconds(): number {
    const milliseconds = 1 + this.#below(this.#pick([1000, 86_400_000, 2 ** 31]));
    return Math.trunc(milliseconds / 1000) + ((milliseconds % 1000) * 1e6) / 1e9;
  }

  #literal(isDuration: boolean, sign: number): PromqlDuration {
    return { kind: "seconds", seconds: sign * this.#seconds(), isDuration, position: POSITION };
  }

  #range(): PromqlDuration {
    const range = this.#arithmetic(3);
    return range.kind === "seconds" ? this.#literal(true, 1) : range;
  }

  /** What an operator may follow: bare parentheses would take it for arithmetic of their own. */
  #offset(): PromqlDuration {
    const position = POSITION;
    switch (this.#below(4)) {
      case 0:
        return { kind: "extreme", name: "max_of", left: this.#arithmetic(1), right: this.#arithmetic(1), position };
      case 1:
        return { kind: "sign", op: "-", operand: { kind: "paren", operand: this.#unwrapped(2), position }, position };
      case 2:
        return { kind: this.#pick(["step", "range"] as const), position };
      default:
        return this.#literal(true, this.#chance(2) ? 1 : -1);
    }
  }

  #arithmetic(depth: number): PromqlDuration {
    const position = POSITION;
    switch (depth <= 0 ? 3 : this.#below(6)) {
      case 0:
        return { kind: "arithmetic", op: "+", left: this.#arithmetic(0), right: this.#arithmetic(0), position };
      case 1:
        return { kind: "paren", operand: this.#unwrapped(depth - 1), position };
      case 2: {
        const sides = { left: this.#arithmetic(depth - 1), right: this.#arithmetic(depth - 1) };
        return { kind: "extreme", name: this.#pick(["min_of", "max_of"] as const), ...sides, position };
      }
      case 4: {
        const left: PromqlDuration = { kind: "paren", operand: this.#unwrapped(depth - 1), position };
        return {
          kind: "arithmetic",
          op: this.#pick(["*", "/", "%", "^"] as const),
          left,
          right: this.#literal(true, 1),
          position,
        };
      }
      default:
        return this.#pick([
          this.#literal(false, 1),
          { kind: "step", position } as const,
          { kind: "range", position } as const,
        ]);
    }
  }

  #unwrapped(depth: number): PromqlDuration {
    const inner = this.#arithmetic(depth);
    return inner.kind === "paren" ? inner.operand : inner;
  }
}
