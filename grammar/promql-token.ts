/**
 * Cuts a PromQL text into tokens.
 *
 * Every kind of token is one character, so that a whole query becomes a short string of kinds for the generated parser
 * to walk (`promql.peggy` names them). Bad text becomes a last token of kind `error`: a syntax error in front of it is
 * reported first, as in Prometheus.
 */

import { quoteGo, quoteGoCharacter } from "./promql-error.ts";
import { durationValue, numberValue, scanLiteral } from "./promql-number.ts";
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
  /** Of a string: its decoded value. */
  readonly value: string;
  /** Of an `error`: why. Of a number: why it means nothing; the parser may still get past it. */
  readonly reason: string | undefined;
}

/** What a token means beyond its kind. */
type TokenMeaning = Partial<Pick<PromqlToken, "number" | "isDuration" | "value" | "reason">>;

const NO_MEANING: TokenMeaning = {};

/** Words that may be used in a duration expression. */
const DURATION_WORDS: ReadonlyMap<string, string> = new Map([
  ["step", "P"],
  ["range", "Q"],
  ["min_of", TOKEN_KIND.extreme],
  ["max_of", TOKEN_KIND.extreme],
]);

/**
 * Tokens in order, without white space and comments, the first `tokensMax + 1` of them: more are not looked at.
 * `unquotedUtf8Names` lets names hold any letter, and dots inside.
 */
export function tokenizePromql(text: string, unquotedUtf8Names: boolean, tokensMax: number): readonly PromqlToken[] {
  return new PromqlTokenizer(text, unquotedUtf8Names).run(tokensMax);
}

/**
 * Position in the text, and the brackets that are open there: what a character means depends on them.
 *
 * After `[` and until the first literal, only durations, signs and parentheses are known (`#inDuration`); after that
 * most of the language is, and the grammar refuses what does not fit, as Prometheus does.
 */
class PromqlTokenizer {
  readonly #text: string;
  readonly #unquoted: boolean;
  readonly #tokens: PromqlToken[] = [];
  #at = 0;
  #parens = 0;
  #inBraces = false;
  #inBrackets = false;
  #inDuration = false;
  #colonSeen = false;
  #durationSeen = false;
  #failed = false;

  constructor(text: string, unquoted: boolean) {
    this.#text = text;
    this.#unquoted = unquoted;
  }

  run(tokensMax: number): readonly PromqlToken[] {
    while (!this.#failed && this.#tokens.length <= tokensMax) {
      this.#skipBlank();
      const character = this.#text[this.#at];
      if (character === undefined) {
        this.#finish();
        break;
      }
      if (this.#inBraces) this.#inBracesToken(character);
      else if (this.#inDuration) this.#durationToken(character);
      else this.#token(character);
    }
    return this.#tokens;
  }

  #finish(): undefined {
    if (this.#inBraces) return this.#fail("unexpected end of input inside braces");
    if (this.#inDuration) return this.#fail("unexpected end of input in duration expression");
    if (this.#parens > 0) return this.#fail("unclosed left parenthesis");
    if (this.#inBrackets) return this.#fail("unclosed left bracket");
  }

  #skipBlank(): undefined {
    for (;;) {
      const character = this.#text[this.#at];
      if (isBlank(character)) this.#at++;
      else if (character === "#" && !this.#inDuration) {
        while (this.#at < this.#text.length && !"\r\n".includes(this.#text.charAt(this.#at))) this.#at++;
      } else return;
    }
  }

  #push(kind: string, length: number, more: TokenMeaning = NO_MEANING): undefined {
    const start = this.#at;
    const end = start + length;
    this.#at = end;
    const { number = 0, isDuration = false, value = "", reason } = more;
    this.#tokens.push({ kind, text: this.#text.slice(start, end), start, end, number, isDuration, value, reason });
  }

  /** Ends the run with an error that spans the next `length` UTF-16 units. */
  #fail(reason: string, length = 0): undefined {
    this.#failed = true;
    this.#push(TOKEN_KIND.error, Math.min(length, this.#text.length - this.#at), { reason });
  }

  #characterAt(at: number): string | undefined {
    const code = this.#text.codePointAt(at);
    return code === undefined ? undefined : String.fromCodePoint(code);
  }

  /** Fails at the character `ahead` of here, which ends the reason. */
  #failAt(ahead: number, reason: string, more = ""): undefined {
    const character = this.#characterAt(this.#at + ahead);
    this.#fail(`${reason} ${quoteGoCharacter(character)}${more}`, ahead + (character ?? "").length);
  }

  #token(character: string): undefined {
    if (isDigit(character) || (character === "." && isDigit(this.#text[this.#at + 1]))) return this.#literal();
    if (character === ":" || this.#startsName(this.#at))
      return this.#inBrackets ? this.#bracketWord(character) : this.#word();
    if (character === '"' || character === "'" || character === "`") return this.#string(character);
    const two = OPERATOR_KINDS.get(this.#text.slice(this.#at, this.#at + 2));
    if (two === TOKEN_KIND.regexMatch) return this.#failAt(1, "unexpected character after '=':");
    if (two !== undefined) return this.#push(two, 2);
    if (character === "!") return this.#failAt(1, "unexpected character after '!':");
    if ("+-*/%^<>=,@".includes(character)) return this.#push(character, 1);
    this.#bracket(character);
  }

  #bracket(character: string): undefined {
    switch (character) {
      case "(":
        this.#parens++;
        return this.#push(character, 1);
      case ")":
        this.#parens--;
        if (this.#parens >= 0) return this.#push(character, 1);
        this.#at++;
        return this.#fail("unexpected right parenthesis ')'");
      case "{":
        this.#inBraces = true;
        return this.#push(character, 1);
      case "[":
        if (this.#inBrackets) return this.#failAt(0, "unexpected left bracket");
        this.#inBrackets = true;
        this.#inDuration = true;
        this.#colonSeen = false;
        this.#durationSeen = false;
        return this.#push(character, 1);
      case "]":
        if (!this.#inBrackets) return this.#failAt(0, "unexpected right bracket");
        this.#inBrackets = false;
        this.#inDuration = false;
        return this.#push(character, 1);
      default:
        return this.#failAt(0, "unexpected character:");
    }
  }

  /** Inside `[…]`, before the first literal after the bracket. */
  #durationToken(character: string): undefined {
    if (isDigit(character) || (character === "." && isDigit(this.#text[this.#at + 1]))) {
      this.#durationSeen = true;
      this.#inDuration = false;
      return this.#literal();
    }
    if ("()]".includes(character)) return this.#bracket(character);
    if ("+-*/%^,".includes(character)) return this.#push(character, 1);
    if (character === ":") {
      if (this.#durationSeen && !this.#colonSeen) {
        this.#colonSeen = true;
        return this.#push(character, 1);
      }
      this.#at++;
      return this.#fail(
        this.#durationSeen
          ? "unexpected repeated colon in duration expression"
          : "unexpected colon before duration in duration expression",
      );
    }
    const kind = DURATION_WORDS.get(this.#lettersAt().toLowerCase());
    if (kind === undefined) return this.#failAt(0, "unexpected character in duration expression:");
    this.#durationSeen = true;
    this.#push(kind, this.#lettersAt().length);
  }

  /** Inside `[…]`, after a literal. */
  #bracketWord(character: string): undefined {
    if (character === ":") {
      if (this.#colonSeen) return this.#failAt(0, "unexpected colon");
      this.#colonSeen = true;
      return this.#push(character, 1);
    }
    const letters = this.#lettersAt();
    const kind = DURATION_WORDS.get(letters.toLowerCase());
    if (kind === undefined) return this.#failAt(0, "unexpected character:", ", expected ':'");
    this.#push(kind, letters.length);
  }

  #inBracesToken(character: string): undefined {
    if (this.#startsName(this.#at)) return this.#push(TOKEN_KIND.identifier, this.#nameLength(false));
    const next = this.#text[this.#at + 1];
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
        return this.#failAt(1, "unexpected character after '!' inside braces:");
      case "{":
        return this.#failAt(0, "unexpected left brace");
      case "}":
        this.#inBraces = false;
        return this.#push(character, 1);
      default:
        return this.#failAt(0, "unexpected character inside braces:");
    }
  }

  #startsName(at: number): boolean {
    const code = this.#text.charCodeAt(at);
    if (isLetter(code)) return true;
    return this.#unquoted && code >= 0x80 && /^\p{L}$/u.test(this.#characterAt(at) ?? "");
  }

  #nameLength(colons: boolean): number {
    let at = this.#at;
    for (;;) {
      const character = this.#text[at];
      const continues =
        isDigit(character) ||
        (colons && character === ":") ||
        (this.#unquoted && character === ".") ||
        this.#startsName(at);
      if (character === undefined || !continues) return at - this.#at;
      at += (this.#text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
    }
  }

  /** ASCII letters and underscores from here on. */
  #lettersAt(): string {
    let end = this.#at;
    while (isLetter(this.#text.charCodeAt(end))) end++;
    return this.#text.slice(this.#at, end);
  }

  #word(): undefined {
    const length = this.#nameLength(true);
    const word = this.#text.slice(this.#at, this.#at + length);
    const lower = isAscii(word) ? word.toLowerCase() : "";
    if (lower === "inf" || lower === "nan") {
      return this.#push(TOKEN_KIND.number, length, { number: numberValue(lower).value });
    }
    const fill = FILL_KINDS.get(lower);
    if (fill !== undefined) {
      return this.#push(this.#parenFollows(this.#at + length) ? fill : TOKEN_KIND.identifier, length);
    }
    const keyword = DURATION_WORDS.get(lower) ?? KEYWORD_KINDS.get(lower);
    const plain = word.includes(":") ? TOKEN_KIND.metricIdentifier : TOKEN_KIND.identifier;
    this.#push(keyword ?? plain, length);
  }

  #parenFollows(from: number): boolean {
    let at = from;
    while (isBlank(this.#text[at])) at++;
    return this.#text[at] === "(";
  }

  #literal(): undefined {
    const { kind, end } = scanLiteral(this.#text, this.#at);
    const literal = this.#text.slice(this.#at, end);
    if (kind === "bad") return this.#fail(`bad number or duration syntax: ${quoteGo(literal)}`, literal.length);
    const isDuration = kind === "duration";
    const { value, reason } = isDuration ? durationValue(literal) : numberValue(literal);
    this.#push(TOKEN_KIND.number, literal.length, { number: value, isDuration, reason });
  }

  #string(quote: string): undefined {
    const start = this.#at;
    for (let at = start + 1; ; at++) {
      const character = this.#text[at];
      if (character === undefined || (character === "\n" && quote !== "`")) {
        return this.#fail(quote === "`" ? "unterminated raw string" : "unterminated quoted string", at - start);
      }
      if (character === "\ufffd") return this.#fail("invalid UTF-8 rune", at - start);
      if (character === quote) {
        const literal = this.#text.slice(start, at + 1);
        const outcome = decodeStringLiteral(literal);
        if (outcome.kind === "refused") return this.#fail(outcome.reason, literal.length);
        return this.#push(TOKEN_KIND.string, literal.length, { value: outcome.value });
      }
      if (character === "\\" && quote !== "`") {
        const letter = this.#text[at + 1] ?? "";
        if (letter === quote || ("abfnrtv\\".includes(letter) && letter !== "")) at++;
        else {
          const digits = escapeDigits(this.#text, at + 1, letter);
          if (typeof digits === "string") return this.#fail(digits, at + 2 - start);
          at = digits.end - 1;
        }
      }
    }
  }
}

function isBlank(character: string | undefined): boolean {
  return character === " " || character === "\t" || character === "\n" || character === "\r";
}

function isDigit(character: string | undefined): boolean {
  return character !== undefined && character >= "0" && character <= "9";
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return false;
  return true;
}

/** ASCII letters and the underscore. */
function isLetter(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95;
}
