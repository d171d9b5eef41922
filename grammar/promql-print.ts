/** Prints a PromQL tree on one line, in Prometheus' canonical form: parsing it gives the same tree. */

import { joinedType, promqlType } from "./promql-check.ts";
import { printDuration } from "./promql-duration.ts";
import { quoteGo } from "./promql-error.ts";
import { nameNeedsQuotes } from "./promql-name.ts";
import { printPlainNumber, printShortNumber } from "./promql-number.ts";
import type {
  PromqlAggregate,
  PromqlBinary,
  PromqlDuration,
  PromqlExpression,
  PromqlModifiers,
  PromqlSelector,
} from "./promql-tree.ts";

/** How names are printed. */
export interface PrintOptions {
  /** Names with letters of any script, and dots inside, stand without quotes: promql-unquoted-utf8-names. */
  readonly unquotedUtf8Names: boolean;
}

/** One line of text. */
export function printPromql(node: PromqlExpression, options: PrintOptions): string {
  return new PromqlPrinter(options).print(node);
}

/** The printer, for those that print parts: `promql-pretty.ts`. */
export class PromqlPrinter {
  readonly #unquoted: boolean;

  constructor(options: PrintOptions) {
    this.#unquoted = options.unquotedUtf8Names;
  }

  print(node: PromqlExpression): string {
    switch (node.kind) {
      case "number":
        return node.isDuration ? printSeconds(node.value) : printPlainNumber(node.value);
      case "string":
        return quoteGo(node.value);
      case "selector":
        return this.#selector(node) + printAt(node) + printMode(node) + printOffset(node);
      case "range": {
        const { selector } = node;
        const bracket = `[${printDurationTree(node.range)}]`;
        return this.#selector(selector) + bracket + printMode(selector) + printAt(selector) + printOffset(selector);
      }
      case "subquery":
        return this.print(node.operand) + subqueryTail(node);
      case "unary":
        return `${node.op}${this.print(node.operand)}`;
      case "paren":
        return `(${this.print(node.operand)})`;
      case "binary":
        return this.#spine(node);
      case "aggregate": {
        const parameter = node.parameter === undefined ? "" : `${this.print(node.parameter)}, `;
        return `${this.aggregateHead(node)}(${parameter}${this.print(node.operand)})`;
      }
      case "call":
        return `${node.name}(${node.args.map((argument) => this.print(argument)).join(", ")})`;
    }
  }

  #spine(node: PromqlBinary): string {
    const { base, spine } = leftSpine(node);
    const parts = [this.print(base)];
    let type = promqlType(base);
    for (const binary of spine) {
      const right = promqlType(binary.right);
      const matches = type === "vector" && right === "vector";
      parts.push(` ${this.operator(binary, matches)} ${this.print(binary.right)}`);
      type = joinedType(type, right);
    }
    return parts.join("");
  }

  /** An operator with what stands after it; matching means nothing unless both sides are vectors. */
  operator(node: PromqlBinary, matches: boolean): string {
    let out: string = node.op;
    if (node.bool) out += " bool";
    if (!matches) return out;
    const { on, labels, group, include, fillLeft, fillRight } = node.matching;
    if (on || labels.length > 0 || group !== undefined) {
      out += ` ${on ? "on" : "ignoring"} (${this.#labels(labels)})`;
    }
    if (group !== undefined) out += ` group_${group} (${this.#labels(include)})`;
    if (fillLeft !== undefined && fillLeft === fillRight) return `${out} fill (${printShortNumber(fillLeft)})`;
    if (fillLeft !== undefined) out += ` fill_left (${printShortNumber(fillLeft)})`;
    if (fillRight !== undefined) out += ` fill_right (${printShortNumber(fillRight)})`;
    return out;
  }

  /** `sum by (a) `, up to the bracket. */
  aggregateHead(node: PromqlAggregate): string {
    if (node.without) return `${node.op} without (${this.#labels(node.grouping)}) `;
    return node.grouping.length > 0 ? `${node.op} by (${this.#labels(node.grouping)}) ` : node.op;
  }

  #name(name: string): string {
    return nameNeedsQuotes(name, this.#unquoted) ? quoteGo(name) : name;
  }

  #labels(labels: readonly string[]): string {
    return labels.map((label) => this.#name(label)).join(", ");
  }

  /** Conditions sorted by their bytes; the name before the braces is not repeated inside. */
  #selector(node: PromqlSelector): string {
    const conditions = node.matchers
      .filter(({ name, kind, value }) => name !== "__name__" || kind !== "=" || value !== node.metric || value === "")
      .map(({ name, kind, value }) => `${this.#name(name)}${kind}${quoteGo(value)}`);
    return conditions.length === 0 ? node.metric : `${node.metric}{${conditions.sort(compareUtf8).join(",")}}`;
  }
}

/** A run of operators as the leftmost operand and the operations from the inside out. */
export function leftSpine(node: PromqlBinary): {
  readonly base: PromqlExpression;
  readonly spine: readonly PromqlBinary[];
} {
  const spine: PromqlBinary[] = [];
  let base: PromqlExpression = node;
  while (base.kind === "binary") {
    spine.push(base);
    base = base.left;
  }
  return { base, spine: spine.reverse() };
}

/** `[5m:1m] @ 0.000 offset 1m`. */
export function subqueryTail(node: PromqlExpression & { readonly kind: "subquery" }): string {
  const step = node.step === undefined ? "" : printDurationTree(node.step);
  return `[${printDurationTree(node.range)}:${step}]${printAt(node)}${printOffset(node)}`;
}

function printMode(node: PromqlSelector): string {
  return node.mode === undefined ? "" : ` ${node.mode}`;
}

/** Seconds with three decimals. */
function printAt({ at }: PromqlModifiers): string {
  if (at === undefined) return "";
  return at.kind === "time" ? ` @ ${(at.timestampMs / 1000).toFixed(3)}` : ` @ ${at.kind}()`;
}

function printOffset({ offset }: PromqlModifiers): string {
  return offset === undefined ? "" : ` offset ${printDurationTree(offset)}`;
}

/** Prints a duration and its arithmetic. */
function printDurationTree(node: PromqlDuration): string {
  switch (node.kind) {
    case "seconds":
      return node.isDuration ? printSeconds(node.seconds) : printPlainNumber(node.seconds);
    case "step":
    case "range":
      return `${node.kind}()`;
    case "sign":
      return `${node.op === "-" ? "-" : ""}${printDurationTree(node.operand)}`;
    case "paren":
      return `(${printDurationTree(node.operand)})`;
    case "arithmetic": {
      const parts: string[] = [];
      let base: PromqlDuration = node;
      for (; base.kind === "arithmetic"; base = base.left) parts.push(` ${base.op} ${printDurationTree(base.right)}`);
      return printDurationTree(base) + parts.reverse().join("");
    }
    case "extreme":
      return `${node.name}(${printDurationTree(node.left)}, ${printDurationTree(node.right)})`;
  }
}

/**
 * Seconds rounded to nanoseconds, then cut to milliseconds.
 *
 * Prometheus does not round every literal, and prints `1s1ms` as `1s`; a canonical text must not change the meaning.
 */
function printSeconds(seconds: number): string {
  const milliseconds = Math.trunc(Math.round(Math.abs(seconds) * 1e9) / 1e6);
  return `${seconds < 0 ? "-" : ""}${printDuration(milliseconds)}`;
}

/** Order of the UTF-8 bytes, which differs from that of UTF-16 where surrogates meet U+E000 and above. */
function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left === right) continue;
    const leftHigh = left >= 0xd800 && left <= 0xdfff;
    const rightHigh = right >= 0xd800 && right <= 0xdfff;
    return leftHigh === rightHigh ? left - right : leftHigh ? 1 : -1;
  }
  return a.length - b.length;
}
