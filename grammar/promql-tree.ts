/**
 * The tree of a PromQL expression: plain data, positions included.
 *
 * Positions are UTF-16 offsets into the text; `promql-error.ts` turns them into line and column.
 */

/** Where a node stands in the text: `[start, end)`. */
export interface TextRange {
  readonly start: number;
  readonly end: number;
}

/** What an expression evaluates to. `matrix` is what Prometheus' documents call a range vector. */
export type PromqlType = "scalar" | "vector" | "matrix" | "string";

/** How a matcher compares. */
export type PromqlMatcherKind = "=" | "!=" | "=~" | "!~";

/** One label condition inside braces; a metric name before the braces is a matcher on `__name__` too. */
export interface PromqlMatcher {
  readonly name: string;
  readonly kind: PromqlMatcherKind;
  readonly value: string;
}

/** `@ 1603774568`, `@ start()`, `@ end()`; `timestampMs` is Unix milliseconds. */
export type PromqlAt = { readonly kind: "time"; readonly timestampMs: number } | { readonly kind: "start" | "end" };

/** Arithmetic where a duration stands; values are seconds. */
export type PromqlDuration =
  | {
      readonly kind: "seconds";
      readonly seconds: number;
      /** Written with a unit, or standing alone, where a bare number means seconds. */
      readonly isDuration: boolean;
      readonly position: TextRange;
    }
  | { readonly kind: "step" | "range"; readonly position: TextRange }
  | {
      readonly kind: "sign";
      readonly op: "+" | "-";
      readonly operand: PromqlDuration;
      readonly position: TextRange;
    }
  | { readonly kind: "paren"; readonly operand: PromqlDuration; readonly position: TextRange }
  | {
      readonly kind: "arithmetic";
      readonly op: "+" | "-" | "*" | "/" | "%" | "^";
      readonly left: PromqlDuration;
      readonly right: PromqlDuration;
      readonly position: TextRange;
    }
  | {
      readonly kind: "extreme";
      readonly name: "min_of" | "max_of";
      readonly left: PromqlDuration;
      readonly right: PromqlDuration;
      readonly position: TextRange;
    };

/** `anchored` and `smoothed` change which samples a range takes. */
export type PromqlRangeMode = "anchored" | "smoothed";

/** Modifiers that follow a selector, a range or a sub-query. */
export interface PromqlModifiers {
  readonly offset: PromqlDuration | undefined;
  readonly at: PromqlAt | undefined;
}

/** A number literal. */
export interface PromqlNumber {
  readonly kind: "number";
  readonly value: number;
  /** Written as a duration, such as `5m`. */
  readonly isDuration: boolean;
  readonly position: TextRange;
}

/** A string literal. */
export interface PromqlString {
  readonly kind: "string";
  readonly value: string;
  readonly position: TextRange;
}

/** A vector selector, with a range a matrix selector. */
export interface PromqlSelector extends PromqlModifiers {
  readonly kind: "selector";
  /** The name before the braces; empty where there is none. */
  readonly metric: string;
  /** All conditions; the one that `metric` means comes last. */
  readonly matchers: readonly PromqlMatcher[];
  readonly mode: PromqlRangeMode | undefined;
  readonly position: TextRange;
}

interface PromqlRange {
  readonly kind: "range";
  /** Carries the modifiers written after the bracket. */
  readonly selector: PromqlSelector;
  readonly range: PromqlDuration;
  readonly position: TextRange;
}

interface PromqlSubquery extends PromqlModifiers {
  readonly kind: "subquery";
  readonly operand: PromqlExpression;
  readonly range: PromqlDuration;
  readonly step: PromqlDuration | undefined;
  readonly position: TextRange;
}

interface PromqlUnary {
  readonly kind: "unary";
  readonly op: "+" | "-";
  readonly operand: PromqlExpression;
  readonly position: TextRange;
}

interface PromqlParen {
  readonly kind: "paren";
  readonly operand: PromqlExpression;
  readonly position: TextRange;
}

/** Operators between two expressions. */
export type PromqlBinaryOp =
  | "+"
  | "-"
  | "*"
  | "/"
  | "%"
  | "^"
  | "atan2"
  | "=="
  | "!="
  | "<"
  | ">"
  | "<="
  | ">="
  | "</"
  | ">/"
  | "and"
  | "or"
  | "unless";

/** How the two sides of a vector operation find each other. */
export interface PromqlMatching {
  /** Whether `labels` are the ones that must agree (`on`) or the ones left out (`ignoring`, also when nothing is written). */
  readonly on: boolean;
  readonly labels: readonly string[];
  readonly group: "left" | "right" | undefined;
  /** Labels that the one side lends to the many side. */
  readonly include: readonly string[];
  /** Values for a missing side. */
  readonly fillLeft: number | undefined;
  readonly fillRight: number | undefined;
}

/** Two expressions with an operator between them. */
export interface PromqlBinary {
  readonly kind: "binary";
  readonly op: PromqlBinaryOp;
  readonly bool: boolean;
  readonly matching: PromqlMatching;
  readonly left: PromqlExpression;
  readonly right: PromqlExpression;
  readonly position: TextRange;
  /** The operator with `bool` and all matching modifiers. */
  readonly opPosition: TextRange;
}

/** `sum by (…) (…)` and the like. */
export interface PromqlAggregate {
  readonly kind: "aggregate";
  /** Lower case. */
  readonly op: string;
  readonly parameter: PromqlExpression | undefined;
  readonly operand: PromqlExpression;
  readonly without: boolean;
  readonly grouping: readonly string[];
  readonly position: TextRange;
}

/** A function call. */
export interface PromqlCall {
  readonly kind: "call";
  readonly name: string;
  readonly args: readonly PromqlExpression[];
  readonly position: TextRange;
}

/** Any node of the tree; told apart by `kind`. */
export type PromqlExpression =
  | PromqlNumber
  | PromqlString
  | PromqlSelector
  | PromqlRange
  | PromqlSubquery
  | PromqlUnary
  | PromqlParen
  | PromqlBinary
  | PromqlAggregate
  | PromqlCall;
