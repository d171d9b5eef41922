/**
 * Prints a PromQL tree over several lines, as Prometheus' `/format_query` does: what is longer than a line is broken, two
 * spaces a level.
 *
 * A run of operators is indented by its length, so a long one would take space by its square: there is a limit.
 */

import { joinedType, promqlType } from "./promql-check.ts";
import { leftSpine, type PrintOptions, PromqlPrinter, subqueryTail } from "./promql-print.ts";
import type { PromqlBinary, PromqlExpression } from "./promql-tree.ts";
import { utf8Length } from "./text-position.ts";

/** Characters of the longest text that is made. */
const PRETTY_LENGTH_MAX = 16 * 2 ** 20;

/** UTF-8 bytes of a line, as Prometheus has it. */
const LINE_BYTES = 100;

const INDENT = "  ";

/** How a tree is laid out. */
export interface PrettyOptions extends PrintOptions {
  /** UTF-8 bytes after which a line is broken; 100 where undefined. */
  readonly lineBytes?: number;
}

/**
 * Several lines of text, or one where it fits.
 *
 * @throws PrettyTooLongError beyond `PRETTY_LENGTH_MAX`.
 */
export function prettyPromql(node: PromqlExpression, options: PrettyOptions): string {
  return new PrettyPrinter(options).print(node);
}

/** The text would be longer than `PRETTY_LENGTH_MAX`. */
export class PrettyTooLongError extends Error {
  constructor() {
    super(`the formatted text would have more than ${PRETTY_LENGTH_MAX} characters: split the expression`);
    this.name = "PrettyTooLongError";
  }
}

/** Lines so far, and the lengths of one-line forms. */
class PrettyPrinter {
  readonly #printer: PromqlPrinter;
  readonly #lineBytes: number;
  readonly #bytes = new Map<PromqlExpression, number>();
  readonly #out: string[] = [];
  #length = 0;

  constructor(options: PrettyOptions) {
    this.#printer = new PromqlPrinter(options);
    this.#lineBytes = options.lineBytes ?? LINE_BYTES;
  }

  print(node: PromqlExpression): string {
    this.#pretty(node, 0);
    return this.#out.join("");
  }

  #write(text: string): undefined {
    this.#length += text.length;
    if (this.#length > PRETTY_LENGTH_MAX) throw new PrettyTooLongError();
    this.#out.push(text);
  }

  #indent(level: number): undefined {
    if (level > 0) this.#write(INDENT.repeat(level));
  }

  /** Writes the indent of `level` and the node. */
  #pretty(node: PromqlExpression, level: number): undefined {
    switch (node.kind) {
      case "binary":
        if (this.#bytesOf(node) > this.#lineBytes) return this.#spine(node, level);
        break;
      case "unary":
        this.#indent(level);
        this.#write(node.op);
        return this.#unindented(node.operand, level);
      case "subquery":
        // A sub-query that fits is written where the line stands: Prometheus forgets its indent.
        if (this.#bytesOf(node) <= this.#lineBytes) return this.#write(this.#printer.print(node));
        this.#pretty(node.operand, level);
        return this.#write(subqueryTail(node));
      default:
        break;
    }
    this.#indent(level);
    this.#afterIndent(node, level);
  }

  /** As `#pretty` for an operand behind its sign, whose own indent is taken away. */
  #unindented(node: PromqlExpression, level: number): undefined {
    const from = this.#out.length;
    this.#pretty(node, level);
    const text = this.#out.splice(from).join("").trim();
    this.#out.push(text);
  }

  #afterIndent(node: PromqlExpression, level: number): undefined {
    const fits = this.#bytesOf(node) <= this.#lineBytes;
    if (!fits && node.kind === "aggregate") {
      this.#write(`${this.#printer.aggregateHead(node)}(\n`);
      if (node.parameter !== undefined) {
        this.#pretty(node.parameter, level + 1);
        this.#write(",\n");
      }
      this.#inBrackets([node.operand], level);
    } else if (!fits && node.kind === "call") {
      this.#write(`${node.name}(\n`);
      this.#inBrackets(node.args, level);
    } else if (!fits && node.kind === "paren") {
      this.#write("(\n");
      this.#inBrackets([node.operand], level);
    } else this.#write(this.#printer.print(node));
  }

  #inBrackets(nodes: readonly PromqlExpression[], level: number): void {
    nodes.forEach((node, index) => {
      if (index > 0) this.#write(",\n");
      this.#pretty(node, level + 1);
    });
    this.#write("\n");
    this.#indent(level);
    this.#write(")");
  }

  /** A run of operators that fits no line: the outermost operation is the least indented. */
  #spine(node: PromqlBinary, level: number): undefined {
    const { base, spine } = leftSpine(node);
    const operators: string[] = [];
    let type = promqlType(base);
    for (const binary of spine) {
      const right = promqlType(binary.right);
      operators.push(this.#printer.operator(binary, type === "vector" && right === "vector"));
      type = joinedType(type, right);
    }
    const broken = spine.findIndex((binary) => this.#bytesOf(binary) > this.#lineBytes);
    this.#pretty(spine[broken]?.left ?? base, level + spine.length - broken);
    for (let at = broken; at < spine.length; at++) {
      const outer = level + spine.length - 1 - at;
      this.#write("\n");
      this.#indent(outer);
      this.#write(`${operators[at] ?? ""}\n`);
      const right = spine[at]?.right;
      if (right !== undefined) this.#pretty(right, outer + 1);
    }
  }

  /** UTF-8 bytes of the one-line form. */
  #bytesOf(node: PromqlExpression): number {
    const known = this.#bytes.get(node);
    if (known !== undefined) return known;
    const bytes = this.#measure(node);
    this.#bytes.set(node, bytes);
    return bytes;
  }

  #measure(node: PromqlExpression): number {
    switch (node.kind) {
      case "binary":
        return this.#measureSpine(node);
      case "paren":
        return this.#bytesOf(node.operand) + 2;
      case "unary":
        return this.#bytesOf(node.operand) + 1;
      case "subquery":
        return this.#bytesOf(node.operand) + subqueryTail(node).length;
      case "call":
        return (
          node.args.reduce((sum, argument) => sum + this.#bytesOf(argument) + 2, node.name.length + 2) -
          (node.args.length > 0 ? 2 : 0)
        );
      case "aggregate": {
        const parameter = node.parameter === undefined ? 0 : this.#bytesOf(node.parameter) + 2;
        return byteLength(this.#printer.aggregateHead(node)) + parameter + this.#bytesOf(node.operand) + 2;
      }
      default:
        return byteLength(this.#printer.print(node));
    }
  }

  /** Fills in every operation of a run from the inside out. */
  #measureSpine(node: PromqlBinary): number {
    const { base, spine } = leftSpine(node);
    let bytes = this.#bytesOf(base);
    let type = promqlType(base);
    for (const binary of spine) {
      const right = promqlType(binary.right);
      const operator = this.#printer.operator(binary, type === "vector" && right === "vector");
      bytes += byteLength(operator) + 2 + this.#bytesOf(binary.right);
      this.#bytes.set(binary, bytes);
      type = joinedType(type, right);
    }
    return bytes;
  }
}

function byteLength(text: string): number {
  return utf8Length(text, 0, text.length);
}
