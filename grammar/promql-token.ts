/**
 * Cuts a PromQL text into tokens.
 *
 * Every kind of token is one character, so that a whole query becomes a short string of kinds for the generated parser
 * to walk (`promql.peggy` names them). Bad text becomes a last token of kind `error`: a syntax error in front of it is
 * reported first, as in Prometheus.
 */

import { parseDuration } from "./promql-duration.ts";
import { quoteGo } from "./promql-error.ts";
import { decodeStringLiteral, escapeDigits } from "./promql-string.ts";

/** Kinds that are not simply their own text. */
export const TOKEN_KIND = {
  identifier: "i",
  metricIdentifier: "m",
  number: "n",
  string: "s",
  equal: "e",
  notEqual: "x",
  lessEqual: "l",
  greaterEqual: "g",
  trimUpper: "j",
  trimLower: "k",
  regexMatch: "~",
  regexNotMatch: "!",
  aggregator: "G",
  extreme: "M",
  error: "\u0001",
} as const;

/** Keywords by their lower-case spelling. */
const KEYWORD_KINDS: ReadonlyMap<string, string> = new Map([
  ["and", "a"],
  ["or", "o"],
  ["unless", "u"],
  ["atan2", "t"],
  ["bool", "b"],
  ["by", "B"],
  ["without", "W"],
  ["on", "O"],
  ["ignoring", "I"],
  ["group_left", "L"],
  ["group_right", "R"],
  ["offset", "F"],
  ["start", "S"],
  ["end", "E"],
  ["step", "P"],
  ["range", "Q"],
  ["anchored", "A"],
  ["smoothed", "Z"],
  ...[
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "quantile",
    "count_values",
    "limitk",
    "limit_ratio",
  ].map((name): [string, string] => [name, TOKEN_KIND.aggregator]),
]);

/** Keywords only where a parenthesis follows. */
const FILL_KINDS: ReadonlyMap<string, string> = new Map([
  ["fill", "f"],
  ["fill_left", "y"],
  ["fill_right", "z"],
]);

const OPERATOR_KINDS: ReadonlyMap<string, string> = new Map([
  ["==", TOKEN_KIND.equal],
  ["!=", TOKEN_KIND.notEqual],
  ["<=", TOKEN_KIND.lessEqual],
  [">=", TOKEN_KIND.greaterEqual],
  ["</", TOKEN_KIND.trimUpper],
  [">/", TOKEN_KIND.trimLower],
  ["=~", TOKEN_KIND.regexMatch],
]);

/** A token with its place in the query. */
export interface PromqlToken {
  readonly kind: string;
  /** As it stands in the query. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** Of a number; seconds where it was a duration. */
  readonly number: number;
  readonly isDuration: boolean;
  /** Of a string: its decoded value. Of an `error`: the reason. */
  readonly value: string;
}

/** Tokens in order, without white space and comments. */
export function tokenizePromql(text: string): readonly PromqlToken[] {
  return new PromqlTokenizer(text).run();
}

/** Position in the text, and the brackets that are open there: what a word means depends on them. */
class PromqlTokenizer {
  readonly #text: string;
  readonly #tokens: PromqlToken[] = [];
  #at = 0;
  #parens = 0;
  #inBraces = false;
  #inBrackets = false;
  #colonSeen = false;
  #failed = false;

  constructor(text: string) {
    this.#text = text;
  }

  run(): readonly PromqlToken[] {
    while (!this.#failed) {
      this.#skipBlank();
      if (this.#at >= this.#text.length) {
        this.#finish();
        break;
      }
      if (this.#inBraces) this.#inBracesToken();
      else this.#token();
    }
    return this.#tokens;
  }

  #finish(): undefined {
    const end = this.#text.length;
    if (this.#inBraces) this.#fail(end, end, "unexpected end of input inside braces");
    else if (this.#inBrackets) this.#fail(end, end, "unexpected end of input in duration expression");
    else if (this.#parens > 0) this.#fail(end, end, "unclosed left parenthesis");
  }

  #skipBlank(): undefined {
    for (;;) {
      const character = this.#text[this.#at];
      if (character === " " || character === "\t" || character === "\n" || character === "\r") this.#at++;
      else if (character === "#") {
        const newline = this.#text.indexOf("\n", this.#at);
        this.#at = newline === -1 ? this.#text.length : newline;
      } else return;
    }
  }

  #push(kind: string, length: number): undefined {
    const start = this.#at;
    this.#at += length;
    const text = this.#text.slice(start, this.#at);
    this.#tokens.push({ kind, text, start, end: this.#at, number: 0, isDuration: false, value: "" });
  }

  #fail(start: number, end: number, reason: string): undefined {
    this.#failed = true;
    const text = this.#text.slice(start, end);
    this.#tokens.push({ kind: TOKEN_KIND.error, text, start, end, number: 0, isDuration: false, value: reason });
  }

  #failCharacter(reason: string): undefined {
    this.#fail(this.#at, this.#at + this.#character().length, `${reason}: '${this.#character()}'`);
  }

  #character(): string {
    return String.fromCodePoint(this.#text.codePointAt(this.#at) ?? 0);
  }

  #token(): undefined {
    const character = this.#text[this.#at] ?? "";
    const code = character.charCodeAt(0);
    if (this.#inBrackets && this.#bracketToken(character, code)) return;
    if (isDigit(code) || (character === "." && isDigit(this.#text.charCodeAt(this.#at + 1)))) return this.#number();
    if (isWordStart(code) || character === ":") return this.#word();
    if (character === '"' || character === "'" || character === "`") return this.#string(character);
    const two = OPERATOR_KINDS.get(this.#text.slice(this.#at, this.#at + 2));
    if (two !== undefined && two !== TOKEN_KIND.regexMatch) return this.#push(two, 2);
    if (two === TOKEN_KIND.regexMatch) {
      return this.#fail(this.#at, this.#at + 2, "unexpected character after '=': '~'");
    }
    if (character === "!") {
      const next = this.#text[this.#at + 1] ?? "";
      return this.#fail(this.#at, this.#at + 2, `unexpected character after '!': '${next}'`);
    }
    if ("+-*/%^<>=,@".includes(character)) return this.#push(character, 1);
    this.#bracket(character);
  }

  #bracket(character: string): undefined {
    switch (character) {
      case "(":
        this.#parens++;
        return this.#push(character, 1);
      case ")":
        if (this.#parens === 0) {
          return this.#fail(this.#at + 1, this.#at + 1, "unexpected right parenthesis ')'");
        }
        this.#parens--;
        return this.#push(character, 1);
      case "{":
        this.#inBraces = true;
        return this.#push(character, 1);
      case "[":
        this.#inBrackets = true;
        this.#colonSeen = false;
        return this.#push(character, 1);
      case "]":
        return this.#fail(this.#at, this.#at + 1, "unexpected right bracket ']'");
      default:
        return this.#failCharacter("unexpected character");
    }
  }

  /** Inside `[…]`: arithmetic on durations. */
  #bracketToken(character: string, code: number): boolean {
    if (character === "]") {
      this.#inBrackets = false;
      this.#push(character, 1);
    } else if (character === ":") {
      if (this.#colonSeen) this.#fail(this.#at, this.#at + 1, "unexpected second ':' in duration expression");
      this.#colonSeen = true;
      if (!this.#failed) this.#push(character, 1);
    } else if (isDigit(code) || "+-*/%^(),.".includes(character)) {
      return false;
    } else if (isWordStart(code)) {
      const word = this.#wordAt(this.#at, false).toLowerCase();
      if (word === "step" || word === "range" || isExtreme(word)) return false;
      this.#fail(this.#at, this.#at + 1, `unexpected character: '${character}', expected ':'`);
    } else this.#failCharacter("unexpected character in duration expression");
    return true;
  }

  #inBracesToken(): undefined {
    const character = this.#text[this.#at] ?? "";
    const code = character.charCodeAt(0);
    if (isWordStart(code)) return this.#push(TOKEN_KIND.identifier, this.#wordAt(this.#at, false).length);
    const next = this.#text[this.#at + 1] ?? "";
    switch (character) {
      case ",":
        return this.#push(character, 1);
      case '"':
      case "'":
      case "`":
        return this.#string(character);
      case "=":
        return next === "~" ? this.#push(TOKEN_KIND.regexMatch, 2) : this.#push("=", 1);
      case "!":
        if (next === "~") return this.#push(TOKEN_KIND.regexNotMatch, 2);
        if (next === "=") return this.#push(TOKEN_KIND.notEqual, 2);
        return this.#fail(this.#at, this.#at + 2, `unexpected character after '!' inside braces: '${next}'`);
      case "}":
        this.#inBraces = false;
        return this.#push(character, 1);
      default:
        return this.#failCharacter("unexpected character inside braces");
    }
  }

  #wordAt(start: number, colons: boolean): string {
    let end = start;
    while (end < this.#text.length) {
      const code = this.#text.charCodeAt(end);
      if (!isWordStart(code) && !isDigit(code) && !(colons && code === 58)) break;
      end++;
    }
    return this.#text.slice(start, end);
  }

  #word(): undefined {
    const word = this.#wordAt(this.#at, !this.#inBrackets);
    const lower = word.toLowerCase();
    if (lower === "inf" || lower === "nan") {
      this.#pushNumber(word.length, lower === "inf" ? Number.POSITIVE_INFINITY : Number.NaN, false);
      return;
    }
    const fill = FILL_KINDS.get(lower);
    if (
      fill !== undefined &&
      /^[ \t\r\n]*\(/.test(this.#text.slice(this.#at + word.length, this.#at + word.length + 64))
    ) {
      this.#push(fill, word.length);
      return;
    }
    const keyword = isExtreme(lower) ? TOKEN_KIND.extreme : KEYWORD_KINDS.get(lower);
    const plain = word.includes(":") ? TOKEN_KIND.metricIdentifier : TOKEN_KIND.identifier;
    this.#push(keyword ?? plain, word.length);
  }

  #pushNumber(length: number, number: number, isDuration: boolean): undefined {
    const start = this.#at;
    this.#at += length;
    const text = this.#text.slice(start, this.#at);
    this.#tokens.push({ kind: TOKEN_KIND.number, text, start, end: this.#at, number, isDuration, value: "" });
  }

  /** A number or a duration; on failure the text shown ends with the character that does not fit. */
  #number(): undefined {
    const scan = scanNumber(this.#text, this.#at);
    if (scan.fits) {
      const literal = this.#text.slice(this.#at, scan.end);
      const value = numberValue(literal);
      if (Number.isFinite(value)) return this.#pushNumber(literal.length, value, false);
      const reason = `error parsing number: strconv.ParseFloat: parsing ${quoteGo(literal)}: value out of range`;
      return this.#fail(this.#at, scan.end, reason);
    }
    const duration = scanDuration(this.#text, this.#at);
    if (!duration.fits) {
      const end = Math.min(Math.max(scan.end, duration.end) + 1, this.#text.length);
      const reason = `bad number or duration syntax: ${quoteGo(this.#text.slice(this.#at, end))}`;
      return this.#fail(this.#at, end, reason);
    }
    const literal = this.#text.slice(this.#at, duration.end);
    const outcome = parseDuration(literal);
    if (outcome.kind === "refused") return this.#fail(this.#at, duration.end, outcome.reason);
    this.#pushNumber(literal.length, outcome.milliseconds / 1000, true);
  }

  #string(quote: string): undefined {
    const start = this.#at;
    for (let at = start + 1; ; at++) {
      const character = this.#text[at];
      if (character === undefined || (character === "\n" && quote !== "`")) {
        const end = Math.min(at, this.#text.length);
        return this.#fail(start, end, quote === "`" ? "unterminated raw string" : "unterminated quoted string");
      }
      if (character === quote) {
        const literal = this.#text.slice(start, at + 1);
        const outcome = decodeStringLiteral(literal);
        if (outcome.kind === "refused") return this.#fail(start, at + 1, outcome.reason);
        this.#at = at + 1;
        this.#tokens.push({
          kind: TOKEN_KIND.string,
          text: literal,
          start,
          end: at + 1,
          number: 0,
          isDuration: false,
          value: outcome.value,
        });
        return;
      }
      if (character === "\\" && quote !== "`") {
        const letter = this.#text[at + 1] ?? "";
        if ("abfnrtv\\".includes(letter) && letter !== "") at++;
        else if (letter === quote) at++;
        else {
          const digits = escapeDigits(this.#text, at + 1, letter);
          if (typeof digits === "string") return this.#fail(start, at + 2, digits);
          at = digits.end - 1;
        }
      }
    }
  }
}

interface Scan {
  readonly fits: boolean;
  readonly end: number;
}

/** Decimal, octal or hexadecimal with single `_` between digits; nothing alphanumeric and no dot may follow. */
function scanNumber(text: string, start: number): Scan {
  let at = start;
  const hex = text[at] === "0" && (text[at + 1] === "x" || text[at + 1] === "X");
  if (hex) at += 2;
  const digits = (): void => {
    let last = -1;
    while (at < text.length) {
      const code = text.charCodeAt(at);
      if (code === 95 && last === at - 1 && at > start) {
        at++;
        continue;
      }
      if (!isDigit(code) && !(hex && isHexLetter(code))) return;
      last = at;
      at++;
    }
  };
  digits();
  if (text.charCodeAt(at - 1) === 95) return { fits: false, end: at - 1 };
  if (!hex) {
    if (text[at] === ".") {
      at++;
      if (text[at] === "_") return { fits: false, end: at };
      digits();
    }
    if (text[at] === "e" || text[at] === "E") {
      at++;
      if (text[at] === "+" || text[at] === "-") at++;
      if (!isDigit(text.charCodeAt(at))) return { fits: false, end: at };
      digits();
    }
  } else if (at === start + 2) return { fits: false, end: at };
  const next = text.charCodeAt(at);
  if (text.charCodeAt(at - 1) === 95) return { fits: false, end: at - 1 };
  return { fits: !(isWordStart(next) || isDigit(next) || next === 46), end: at };
}

function scanDuration(text: string, start: number): Scan {
  let at = start;
  while (at < text.length) {
    const digitsAt = at;
    while (isDigit(text.charCodeAt(at))) at++;
    if (at === digitsAt) break;
    if (!"smhdwy".includes(text[at] ?? "?")) return { fits: false, end: Math.max(digitsAt, at - 1) };
    at++;
    if (text[at] === "s") at++; // parseDuration refuses units other than ms
  }
  const next = text.charCodeAt(at);
  return { fits: at > start && !(isWordStart(next) || isDigit(next) || next === 46), end: at };
}

function numberValue(literal: string): number {
  const plain = literal.replaceAll("_", "");
  if (/^0[0-7]+$/.test(plain)) return Number.parseInt(plain, 8);
  return Number(plain);
}

function isExtreme(word: string): boolean {
  return word === "min_of" || word === "max_of";
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isHexLetter(code: number): boolean {
  return (code >= 97 && code <= 102) || (code >= 65 && code <= 70);
}

/** ASCII letters and the underscore. */
function isWordStart(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95;
}
