/**
 * Cuts a Go template into text and the tokens of its actions.
 *
 * `{{-` and `-}}` beside white space take white space of the text next to them away; comments leave nothing.
 */

import { TemplateError } from "./template-error.ts";

/** Kinds of tokens. `keyword` and `identifier` carry the word, `field` and `variable` their sign. */
export type TemplateTokenKind =
  | "text"
  | "open"
  | "close"
  | "identifier"
  | "keyword"
  | "field"
  | "variable"
  | "string"
  | "number"
  | "character"
  | "bool"
  | "nil"
  | "dot"
  | "pipe"
  | "declare"
  | "assign"
  | "comma"
  | "left"
  | "right"
  | "space"
  | "sign";

/** A token with its place: UTF-16 offset into the template. */
export interface TemplateToken {
  readonly kind: TemplateTokenKind;
  readonly text: string;
  readonly at: number;
}

const KEYWORDS: ReadonlySet<string> = new Set([
  "block",
  "break",
  "continue",
  "define",
  "else",
  "end",
  "if",
  "range",
  "template",
  "with",
]);
const SPACE = /[ \t\r\n]/;
const WORD = /[\p{L}\p{Nd}_]*/uy;
const NUMBER = /[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9_]*\.?[0-9_]*(?:[eE][+-]?[0-9_]+)?)i?/y;

/** A line of a template that names the place of an offset. */
export function lineAt(text: string, at: number): number {
  return text.slice(0, at).split("\n").length;
}

/**
 * Cuts a template.
 *
 * @throws TemplateError with the line.
 */
export function tokenizeTemplate(name: string, text: string): TemplateToken[] {
  return new TemplateTokenizer(name, text).run();
}

/** Position in the text. */
class TemplateTokenizer {
  readonly #name: string;
  readonly #text: string;
  readonly #tokens: TemplateToken[] = [];
  #at = 0;
  /** White space at the start of the next text goes. */
  #trimNext = false;

  constructor(name: string, text: string) {
    this.#name = name;
    this.#text = text;
  }

  run(): TemplateToken[] {
    for (;;) {
      const open = this.#text.indexOf("{{", this.#at);
      const end = open === -1 ? this.#text.length : open;
      const trims = open !== -1 && this.#text[open + 2] === "-" && SPACE.test(this.#text[open + 3] ?? "");
      this.#pushText(end, trims);
      if (open === -1) return this.#tokens;
      this.#at = open + (trims ? 3 : 2);
      if (/^\s*\/\*/.test(this.#text.slice(this.#at, this.#at + 4)) && this.#comment()) continue;
      this.#tokens.push({ kind: "open", text: "{{", at: open });
      this.#action();
    }
  }

  #fail(why: string): never {
    throw new TemplateError(`template: ${this.#name}:${lineAt(this.#text, this.#at)}: ${why}`);
  }

  #pushText(end: number, trimEnd: boolean): void {
    let text = this.#text.slice(this.#at, end);
    if (this.#trimNext) text = text.replace(/^[ \t\r\n]+/, "");
    if (trimEnd) text = text.replace(/[ \t\r\n]+$/, "");
    this.#trimNext = false;
    if (text !== "") this.#tokens.push({ kind: "text", text, at: this.#at });
    this.#at = end;
  }

  #comment(): boolean {
    if (!this.#text.startsWith("/*", this.#at) && !/^[ \t\r\n]\/\*/.test(this.#text.slice(this.#at, this.#at + 3))) {
      return false;
    }
    const end = this.#text.indexOf("*/", this.#at);
    if (end === -1) this.#fail("unclosed comment");
    this.#at = end + 2;
    if (!this.#closes()) this.#fail("comment ends before closing delimiter");
    return true;
  }

  /** Goes over `}}` or ` -}}`. */
  #closes(): boolean {
    const trim = SPACE.test(this.#text[this.#at] ?? "") && this.#text.startsWith("-}}", this.#at + 1);
    if (trim) this.#at += 4;
    else if (this.#text.startsWith("}}", this.#at)) this.#at += 2;
    else return false;
    this.#trimNext = trim;
    return true;
  }

  #push(kind: TemplateTokenKind, length: number): undefined {
    this.#tokens.push({ kind, text: this.#text.slice(this.#at, this.#at + length), at: this.#at });
    this.#at += length;
  }

  #action(): void {
    let parens = 0;
    for (;;) {
      const at = this.#at;
      if (this.#closes()) {
        if (parens > 0) this.#fail("unclosed left paren");
        this.#tokens.push({ kind: "close", text: "}}", at });
        return;
      }
      const character = this.#text[this.#at];
      if (character === undefined) this.#fail("unclosed action");
      if (character === "(") parens++;
      if (character === ")" && --parens < 0) this.#fail("unexpected right paren");
      this.#token(character);
    }
  }

  #token(character: string): undefined {
    if (SPACE.test(character)) {
      let length = 1;
      // A space belongs to ` -}}` where that follows.
      const isSpace = (offset: number) => SPACE.test(this.#text[this.#at + offset] ?? "");
      while (isSpace(length) && !this.#text.startsWith("-}}", this.#at + length + 1)) length++;
      return this.#push("space", length);
    }
    if (this.#text.startsWith(":=", this.#at)) return this.#push("declare", 2);
    if (character === ":") this.#fail("expected :=");
    const single = SINGLES.get(character);
    if (single !== undefined) return this.#push(single, 1);
    if (character === '"' || character === "'") return this.#quoted(character);
    if (character === "`") return this.#raw();
    if (character === "$") return this.#push("variable", 1 + this.#wordLength(1));
    if (character === "." && !/\d/.test(this.#text[this.#at + 1] ?? "")) {
      const length = this.#wordLength(1);
      return this.#push(length === 0 ? "dot" : "field", 1 + length);
    }
    if (/[+\-.\d]/.test(character)) return this.#number();
    const length = this.#wordLength(0);
    if (length > 0) return this.#word(length);
    if (/[!-~]/.test(character)) return this.#push("sign", 1);
    this.#fail(`unrecognized character in action: ${describe(this.#text.codePointAt(this.#at) ?? 0)}`);
  }

  #wordLength(from: number): number {
    WORD.lastIndex = this.#at + from;
    return WORD.exec(this.#text)?.[0].length ?? 0;
  }

  #word(length: number): undefined {
    const word = this.#text.slice(this.#at, this.#at + length);
    if (word === "true" || word === "false") this.#push("bool", length);
    else if (word === "nil") this.#push("nil", length);
    else this.#push(KEYWORDS.has(word) ? "keyword" : "identifier", length);
  }

  #quoted(quote: string): undefined {
    for (let at = this.#at + 1; ; at++) {
      const character = this.#text[at];
      if (character === undefined || character === "\n") {
        this.#fail(quote === '"' ? "unterminated quoted string" : "unterminated character constant");
      }
      if (character === "\\") at++;
      else if (character === quote) return this.#push(quote === '"' ? "string" : "character", at + 1 - this.#at);
    }
  }

  #raw(): undefined {
    const end = this.#text.indexOf("`", this.#at + 1);
    if (end === -1) this.#fail("unterminated raw quoted string");
    this.#push("string", end + 1 - this.#at);
  }

  #number(): undefined {
    NUMBER.lastIndex = this.#at;
    const length = NUMBER.exec(this.#text)?.[0].length ?? 1;
    const next = this.#text[this.#at + length] ?? "";
    if (/[\p{L}\p{Nd}_]/u.test(next)) {
      this.#fail(`bad number syntax: ${JSON.stringify(this.#text.slice(this.#at, this.#at + length + 1))}`);
    }
    this.#push("number", length);
  }
}

const SINGLES: ReadonlyMap<string, TemplateTokenKind> = new Map([
  ["=", "assign"],
  ["|", "pipe"],
  [",", "comma"],
  ["(", "left"],
  [")", "right"],
]);

function describe(code: number): string {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")} '${String.fromCodePoint(code)}'`;
}
