/** Reads Go's text/template into a tree; what is refused is told in Go's words. */

import { decodeStringLiteral } from "../../../grammar/promql-string.ts";
import { TemplateError } from "./template-error.ts";
import { lineAt, type TemplateToken, type TemplateTokenKind, tokenizeTemplate } from "./template-token.ts";
import type { Template, TemplateCommand, TemplateNode, TemplateOperand, TemplatePipe } from "./template-tree.ts";

/** Blocks and parentheses that may stand inside each other. */
const NESTING_MAX = 100;

/** Terms that no field may follow. */
const NO_FIELDS: ReadonlySet<TemplateOperand["kind"]> = new Set(["bool", "string", "number", "nil", "dot"]);

/**
 * Reads a template.
 *
 * @param isFunction Whether a name is a function that templates may call.
 * @throws TemplateError `template: NAME:LINE: …`.
 */
export function parseTemplate(name: string, text: string, isFunction: (name: string) => boolean): Template {
  return new TemplateParser(name, text, isFunction).template();
}

interface ListEnd {
  readonly nodes: TemplateNode[];
  /** The keyword that ended the list; undefined at the end of the text. */
  readonly end: "end" | "else" | undefined;
}

/** The next token, and the variables that are known there. */
class TemplateParser {
  readonly #name: string;
  readonly #text: string;
  readonly #isFunction: (name: string) => boolean;
  readonly #tokens: readonly TemplateToken[];
  readonly #defined = new Map<string, readonly TemplateNode[]>();
  #next = 0;
  #variables: string[] = ["$"];
  #rangeDepth = 0;
  #depth = 0;

  constructor(name: string, text: string, isFunction: (name: string) => boolean) {
    this.#name = name;
    this.#text = text;
    this.#isFunction = isFunction;
    this.#tokens = tokenizeTemplate(name, text);
  }

  template(): Template {
    const { nodes, end } = this.#list(true);
    if (end !== undefined) this.#fail(`unexpected {{${end}}}`);
    return { name: this.#name, text: this.#text, root: nodes, defined: this.#defined };
  }

  #fail(why: string): never {
    const token = this.#tokens[Math.max(0, this.#next - 1)];
    throw new TemplateError(`template: ${this.#name}:${lineAt(this.#text, token?.at ?? 0)}: ${why}`);
  }

  #peek(): TemplateToken | undefined {
    return this.#tokens[this.#next];
  }

  #peekWord(): TemplateToken | undefined {
    while (this.#peek()?.kind === "space") this.#next++;
    return this.#peek();
  }

  #take(): TemplateToken {
    const token = this.#peekWord();
    this.#next++;
    if (token === undefined) this.#fail("unexpected EOF");
    return token;
  }

  #expect(kind: TemplateTokenKind, context: string): TemplateToken {
    const token = this.#take();
    if (token.kind !== kind) this.#unexpected(token, context);
    return token;
  }

  #unexpected(token: TemplateToken, context: string): never {
    if (token.kind === "sign" && /[+*/%]/.test(token.text)) this.#fail(`illegal number syntax: ${quote(token.text)}`);
    const shown = token.kind === "keyword" ? `<${token.text}>` : quote(token.text);
    this.#fail(`unexpected ${shown} in ${context}`);
  }

  /** Parts up to the `end` or `else` that closes them. */
  #list(top: boolean): ListEnd {
    const nodes: TemplateNode[] = [];
    for (let token = this.#peek(); token !== undefined; token = this.#peek()) {
      this.#next++;
      if (token.kind === "text") {
        nodes.push({ kind: "text", text: token.text });
        continue;
      }
      const first = this.#peekWord();
      if (first?.kind === "keyword") {
        if (first.text === "end" || first.text === "else") {
          this.#next++;
          if (first.text === "end") this.#expect("close", "end");
          return { nodes, end: first.text };
        }
        const node = this.#control(first, top);
        if (node !== undefined) nodes.push(node);
      } else {
        const known = this.#variables.length;
        const pipe = this.#pipeline("command", "close");
        if (pipe.variables.length === 0) this.#variables.length = known;
        nodes.push({ kind: "action", pipe });
      }
    }
    return { nodes, end: undefined };
  }

  #control({ text }: TemplateToken, top: boolean): TemplateNode | undefined {
    this.#next++;
    switch (text) {
      case "if":
      case "with":
      case "range":
        return this.#branch(text);
      case "break":
      case "continue":
        if (this.#rangeDepth === 0) this.#fail(`{{${text}}} outside {{range}}`);
        this.#expect("close", `{{${text}}}`);
        return { kind: text };
      case "define":
        if (!top) this.#fail("unexpected <define> in command");
        return this.#define();
      case "block":
      case "template":
        return this.#call(text);
      default:
        this.#fail(`unexpected <${text}> in command`);
    }
  }

  #enter(): void {
    this.#depth++;
    if (this.#depth > NESTING_MAX) this.#fail(`nests deeper than ${NESTING_MAX} levels`);
  }

  #branch(kind: "if" | "with" | "range"): TemplateNode {
    this.#enter();
    const known = this.#variables.length;
    const pipe = this.#pipeline(kind, "close");
    if (kind === "range") this.#rangeDepth++;
    const then = this.#list(false);
    if (kind === "range") this.#rangeDepth--;
    let otherwise: TemplateNode[] = [];
    if (then.end === "else") otherwise = this.#otherwise(kind);
    else if (then.end === undefined) this.#fail("unexpected EOF");
    this.#variables.length = known;
    this.#depth--;
    return { kind, pipe, body: then.nodes, otherwise };
  }

  /** What follows `{{else`: a list up to `end`, or another branch that shares this one's `end`. */
  #otherwise(kind: "if" | "with" | "range"): TemplateNode[] {
    const word = this.#peekWord();
    if (word?.kind === "keyword" && word.text === kind && kind !== "range") {
      this.#next++;
      return [this.#branch(kind)];
    }
    this.#expect("close", "else");
    const { nodes, end } = this.#list(false);
    if (end === "else") this.#fail("expected end; found {{else}}");
    if (end === undefined) this.#fail("unexpected EOF");
    return nodes;
  }

  #define(): undefined {
    const name = this.#templateName("define clause");
    this.#expect("close", "define clause");
    this.#body(name, "define clause");
  }

  /** Reads up to `end` with variables of its own. */
  #body(name: string, context: string): void {
    this.#enter();
    const variables = this.#variables;
    this.#variables = ["$"];
    const { nodes, end } = this.#list(false);
    if (end !== "end") this.#fail(`unexpected ${end === undefined ? "EOF" : `{{${end}}}`} in ${context}`);
    this.#variables = variables;
    this.#depth--;
    if (this.#defined.has(name)) this.#fail(`multiple definition of template ${quote(name)}`);
    this.#defined.set(name, nodes);
  }

  #call(kind: "block" | "template"): TemplateNode {
    const at = this.#tokens[this.#next]?.at ?? 0;
    const name = this.#templateName(kind === "block" ? "block clause" : "template clause");
    let pipe: TemplatePipe | undefined;
    if (kind === "block" || this.#peekWord()?.kind !== "close") {
      pipe = this.#pipeline(kind === "block" ? "block clause" : "template clause", "close");
    } else this.#next++;
    if (kind === "block") this.#body(name, "block clause");
    return { kind: "template", name, pipe, at: at + 1 };
  }

  #templateName(context: string): string {
    return this.#unquote(this.#expect("string", context));
  }

  #pipeline(context: string, end: "close" | "right"): TemplatePipe {
    const from = this.#peekWord()?.at ?? 0;
    const { variables, assigns } = this.#declarations(context);
    const commands: TemplateCommand[] = [];
    for (;;) {
      const token = this.#peekWord();
      if (token?.kind === end) break;
      if (token === undefined) this.#fail("unexpected EOF");
      if (token.kind === "close") this.#fail("unclosed left paren");
      commands.push(this.#command(end));
      if (this.#peekWord()?.kind === "pipe") {
        this.#next++;
        const after = this.#peekWord();
        if (after === undefined || after.kind === end || after.kind === "pipe")
          this.#fail(`missing value for ${context}`);
      }
    }
    const to = this.#take().at;
    if (commands.length === 0) this.#fail(`missing value for ${context}`);
    commands.slice(1).forEach(({ operands: [first] }, index) => {
      if (first !== undefined && NO_FIELDS.has(first.kind)) {
        this.#fail(`non executable command in pipeline stage ${index + 2}`);
      }
    });
    if (!assigns) this.#variables.push(...variables);
    return { variables, assigns, commands, at: from, text: this.#text.slice(from, to).trim() };
  }

  /** `$x :=`, `$x =`, in a range also `$i, $x :=`. */
  #declarations(context: string): { readonly variables: readonly string[]; readonly assigns: boolean } {
    const start = this.#next;
    const variables: string[] = [];
    while (this.#peekWord()?.kind === "variable") {
      const variable = this.#take();
      const sign = this.#peekWord();
      variables.push(variable.text);
      if (sign?.kind === "declare" || sign?.kind === "assign") {
        this.#next++;
        const assigns = sign.kind === "assign";
        if (assigns) for (const name of variables) this.#checkVariable(name);
        return { variables, assigns };
      }
      if (sign?.kind !== "comma" || context !== "range" || variables.length > 1) {
        if (sign?.kind === "comma") this.#fail(`too many declarations in ${context}`);
        break;
      }
      this.#next++;
    }
    this.#next = start;
    return { variables: [], assigns: false };
  }

  #command(end: "close" | "right"): TemplateCommand {
    const operands: TemplateOperand[] = [];
    const from = this.#peekWord()?.at ?? 0;
    let to = from;
    for (;;) {
      this.#peekWord();
      const operand = this.#operand();
      if (operand === undefined) break;
      operands.push(operand);
      to = this.#tokens[this.#next - 1]?.at ?? from;
      to += this.#tokens[this.#next - 1]?.text.length ?? 0;
      const after = this.#peek();
      if (after?.kind === "space") continue;
      if (after === undefined || after.kind === "pipe" || after.kind === end || after.kind === "close") break;
      this.#next++;
      this.#unexpected(after, "operand");
    }
    const after = this.#peekWord();
    if (operands.length === 0) {
      if (after === undefined || after.kind === "pipe") this.#fail("empty command");
      this.#next++;
      this.#unexpected(after, "command");
    }
    return { operands, at: from, text: this.#text.slice(from, to) };
  }

  /** A term and the fields that follow it. */
  #operand(): TemplateOperand | undefined {
    const term = this.#term();
    if (term === undefined) return undefined;
    const first = this.#peek();
    if (first?.kind !== "field") return term;
    const fields: string[] = [];
    let end = first.at;
    for (let token = this.#peek(); token?.kind === "field"; token = this.#peek()) {
      fields.push(token.text.slice(1));
      end = token.at + token.text.length;
      this.#next++;
    }
    const text = this.#text.slice(term.at, end);
    if (term.kind === "field") return { kind: "field", fields: [...term.fields, ...fields], at: first.at, text };
    if (term.kind === "variable") return { kind: "variable", name: term.name, fields, at: first.at, text };
    if (NO_FIELDS.has(term.kind)) this.#fail(`unexpected . after term ${quote(term.text)}`);
    return { kind: "chain", base: term, fields, at: first.at, text };
  }

  #term(): TemplateOperand | undefined {
    const token = this.#peek();
    if (token === undefined) return undefined;
    const { at, text } = token;
    this.#next++;
    switch (token.kind) {
      case "identifier":
        if (!this.#isFunction(text)) this.#fail(`function ${quote(text)} not defined`);
        return { kind: "function", name: text, at, text };
      case "dot":
        return { kind: "dot", at, text };
      case "nil":
        return { kind: "nil", at, text };
      case "bool":
        return { kind: "bool", value: text === "true", at, text };
      case "string":
        return { kind: "string", value: this.#unquote(token), at, text };
      case "character":
        return { kind: "number", value: this.#character(token), at, text };
      case "number":
        return { kind: "number", value: this.#number(text), at, text };
      case "field":
        return { kind: "field", fields: [text.slice(1)], at, text };
      case "variable":
        this.#checkVariable(text);
        return { kind: "variable", name: text, fields: [], at, text };
      case "left": {
        this.#enter();
        const pipe = this.#pipeline("parenthesized pipeline", "right");
        this.#depth--;
        const end = (this.#tokens[this.#next - 1]?.at ?? at) + 1;
        return { kind: "pipe", pipe, at, text: this.#text.slice(at, end) };
      }
      default:
        this.#next--;
        return undefined;
    }
  }

  #checkVariable(name: string): void {
    if (!this.#variables.includes(name)) this.#fail(`undefined variable ${quote(name)}`);
  }

  #unquote(token: TemplateToken): string {
    const outcome = decodeStringLiteral(token.text);
    if (outcome.kind === "refused") this.#fail(outcome.reason);
    return outcome.value;
  }

  #character(token: TemplateToken): bigint {
    const outcome = decodeStringLiteral(token.text);
    const [character, more] = outcome.kind === "ok" ? Array.from(outcome.value) : [];
    if (character === undefined || more !== undefined) this.#fail(`malformed character constant: ${token.text}`);
    return BigInt(character.codePointAt(0) ?? 0);
  }

  #number(text: string): number | bigint | undefined {
    const plain = text.replaceAll("_", "");
    const [, sign = "", digits = ""] = /^([+-]?)(.*)$/.exec(plain) ?? [];
    const whole = /^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits;
    if (/^(?:\d+|0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+)$/.test(whole)) {
      const value = sign === "-" ? -BigInt(whole) : BigInt(whole);
      return BigInt.asIntN(64, value) === value ? value : undefined;
    }
    if (/^(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/.test(digits)) return Number(plain);
    this.#fail(`illegal number syntax: ${quote(text)}`);
  }
}

function quote(text: string): string {
  return JSON.stringify(text);
}
