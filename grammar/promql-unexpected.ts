/**
 * Words for the token at which the parser stopped.
 *
 * Prometheus' parser names the innermost thing it was in: a grouping, an aggregation, an offset, an `@`, a range, a
 * selector. What that was is found by walking the tokens before, which all fit the grammar.
 */

import { quoteGo } from "./promql-error.ts";
import type { PromqlRefusal } from "./promql-refusal.ts";
import { type PromqlToken, TOKEN_KIND } from "./promql-token.ts";

const OPERATORS = "+-*/%^exlg<>jk~!@aout";
const KEYWORDS = "bBWOILRFAZfyz";
const WORDS_DURATION = "number, duration, step(), or range()";
/** Bytes of a literal that are shown whole, and characters of a longer one. */
const SHOWN_MAX = 10;

/** What is wrong at token `index`, which may be one past the last. */
export function describeUnexpected(text: string, tokens: readonly PromqlToken[], index: number): PromqlRefusal {
  const token = tokens[index];
  const position = token ?? { start: text.length, end: text.length };
  return {
    position,
    reason: `unexpected ${token === undefined ? "end of input" : describe(token)}${context(tokens, index)}`,
  };
}

function describe(token: PromqlToken): string {
  switch (token.kind) {
    case TOKEN_KIND.identifier:
      return `identifier ${quoteGo(token.text)}`;
    case TOKEN_KIND.metricIdentifier:
      return `metric identifier ${quoteGo(token.text)}`;
    case TOKEN_KIND.number:
      return `${token.isDuration ? "duration" : "number"} ${quoteShort(token.text)}`;
    case TOKEN_KIND.string:
      return `string ${quoteShort(token.text)}`;
    case TOKEN_KIND.aggregator:
      return `<aggr:${token.text}>`;
    default:
      if (OPERATORS.includes(token.kind)) return `<op:${token.text}>`;
      if (KEYWORDS.includes(token.kind)) return `<${token.text}>`;
      return quoteGo(token.text);
  }
}

function quoteShort(text: string): string {
  if (new TextEncoder().encode(text).length <= SHOWN_MAX) return quoteGo(text);
  return `${quoteGo(Array.from(text).slice(0, SHOWN_MAX).join(""))}...`;
}

/** Where the parser was, and what it wanted; empty where nothing better than the token can be said. */
function context(tokens: readonly PromqlToken[], index: number): string {
  const walk = new ContextWalk();
  for (let i = 0; i < index; i++) walk.step(tokens[i]?.kind ?? "");
  return walk.describe();
}

/** A bracket that is open. */
interface Frame {
  readonly kind: "aggregate" | "paren" | "grouping" | "braces" | "range" | "inRange" | "inOffset";
  /** Where the walk goes on after the bracket closes. */
  readonly back: Place;
}

/** What the tokens so far lead to; each is a method of the walk that takes the next token. */
type Place =
  | "operand" // an expression has to start: words are names
  | "modifiers" // after an operator: `bool`, `on`, `fill` and the like, or an operand
  | "after" // an expression may end
  | "word" // after a word: arguments may follow
  | "aggregator"
  | "aggregateBody" // after `sum by (…)`
  | "aggregateEnd" // after `sum (…)`: `by` may follow
  | "aggregateBy" // after `by`, then the body
  | "aggregateEndBy" // after `by` behind the body
  | "matching" // after `on`, `ignoring`
  | "group" // after `group_left`, `group_right`: labels may follow
  | "fill"
  | "offset"
  | "offsetSign"
  | "offsetCall"
  | "offsetRun" // arithmetic that goes on behind a part in parentheses or after two signs
  | "offsetRunCall"
  | "offsetRunEnd"
  | "at"
  | "range" // inside `[…]`, where a duration has to start
  | "rangeCall"
  | "rangeEnd"; // where one may end

const ARITHMETIC = "+-*/%^";

/** Follows tokens that fit the grammar. */
class ContextWalk {
  readonly #frames: Frame[] = [];
  #place: Place = "operand";
  #colonSeen = false;
  #last = "";

  step(kind: string): void {
    this.#consume(kind);
    this.#last = kind;
  }

  /** ` in …, expected …`. */
  describe(): string {
    const top = this.#frames.at(-1)?.kind;
    if (top === "braces") return ` in label matching, expected ${this.#expectedInBraces()}`;
    if (top === "grouping") return ` in grouping opts, expected ${"(,".includes(this.#last) ? "label" : '"," or ")"'}`;
    if (top === "range" || top === "inRange") return ` in ${this.#expectedInRange(top)}`;
    const place = this.#place;
    if (place === "aggregateBy" || place === "aggregateEndBy" || place === "matching" || place === "group") {
      return ' in grouping opts, expected "("';
    }
    if (top === "inOffset" || (place.startsWith("offset") && place !== "offsetRunEnd")) {
      return ` in offset, expected ${WORDS_DURATION}`;
    }
    if (place === "at") return " in @, expected timestamp";
    if (place === "aggregateBody" || this.#frames.some((frame) => frame.kind === "aggregate")) return " in aggregation";
    return "";
  }

  #expectedInBraces(): string {
    if ("{,".includes(this.#last)) return 'identifier or "}"';
    if ("=x~!".includes(this.#last)) return "string";
    return this.#last === TOKEN_KIND.identifier ? "label matching operator" : '"," or "}"';
  }

  #expectedInRange(top: "range" | "inRange"): string {
    if (top === "range" && this.#place === "rangeEnd") {
      return this.#colonSeen ? 'subquery selector, expected "]"' : 'subquery or range, expected ":" or "]"';
    }
    return this.#colonSeen
      ? 'subquery selector, expected number, duration, step(), range(), or "]"'
      : `subquery or range selector, expected ${WORDS_DURATION}`;
  }

  #open(kind: Frame["kind"], back: Place, place: Place): void {
    this.#frames.push({ kind, back });
    this.#place = place;
  }

  #close(): void {
    this.#place = this.#frames.pop()?.back ?? "after";
  }

  #consume(kind: string): void {
    switch (this.#frames.at(-1)?.kind) {
      case "braces":
        if (kind === "}") this.#close();
        return;
      case "grouping":
        if (kind === ")") this.#close();
        return;
      case "inRange":
      case "inOffset":
        if (kind === "(") this.#open(this.#frames.at(-1)?.kind ?? "inRange", this.#place, this.#place);
        else if (kind === ")") this.#close();
        return;
      case "range":
        this.#inRange(kind);
        return;
      default:
        this.#inExpression(kind);
    }
  }

  #inRange(kind: string): void {
    if (kind === "]") this.#close();
    else if (kind === "(") this.#open("inRange", "rangeEnd", "range");
    else if (kind === "n") this.#place = "rangeEnd";
    else if ("PQM".includes(kind)) this.#place = "rangeCall";
    else {
      this.#colonSeen ||= kind === ":";
      this.#place = "range";
    }
  }

  #inExpression(kind: string): void {
    const place = this.#place;
    if (place === "modifiers" && this.#modifier(kind)) return;
    switch (place) {
      case "operand":
      case "modifiers":
        this.#operandToken(kind);
        return;
      case "word":
        if (kind === "(") this.#open("paren", "after", "operand");
        else this.#afterToken(kind);
        return;
      case "aggregator":
        this.#aggregatorToken(kind);
        return;
      case "aggregateBody":
        this.#open("aggregate", "after", "operand");
        return;
      case "aggregateEnd":
        if (kind === "B" || kind === "W") this.#place = "aggregateEndBy";
        else this.#afterToken(kind);
        return;
      case "aggregateBy":
        this.#open("grouping", "aggregateBody", "operand");
        return;
      case "aggregateEndBy":
        this.#open("grouping", "after", "operand");
        return;
      case "matching":
        this.#open("grouping", "modifiers", "operand");
        return;
      case "group":
        if (kind === "(") this.#open("grouping", "modifiers", "operand");
        else if (!this.#modifier(kind)) this.#operandToken(kind);
        return;
      case "fill":
        if (kind === ")") this.#place = "modifiers";
        return;
      case "at":
        if (kind === "n" || kind === ")") this.#place = "after";
        return;
      case "after":
        this.#afterToken(kind);
        return;
      default:
        this.#offsetToken(kind);
    }
  }

  #modifier(kind: string): boolean {
    if (kind === "b") return true;
    if ("OI".includes(kind)) this.#place = "matching";
    else if ("LR".includes(kind)) this.#place = "group";
    else if ("fyz".includes(kind)) this.#place = "fill";
    else return false;
    return true;
  }

  #operandToken(kind: string): void {
    if (kind === "(") this.#open("paren", "after", "operand");
    else if (kind === "{") this.#open("braces", "after", "operand");
    else if (kind === "G") this.#place = "aggregator";
    else if ("iSEPQM".includes(kind)) this.#place = "word";
    else if (kind === ")")
      this.#close(); // an empty list of arguments
    else if (kind !== "+" && kind !== "-") this.#place = "after";
    else this.#place = "operand";
  }

  #aggregatorToken(kind: string): void {
    if (kind === "(") this.#open("aggregate", "aggregateEnd", "operand");
    else if (kind === "B" || kind === "W") this.#place = "aggregateBy";
    else this.#afterToken(kind);
  }

  #afterToken(kind: string): void {
    if (kind === ")") this.#close();
    else if (kind === "{") this.#open("braces", "after", "operand");
    else if (kind === "[") {
      this.#colonSeen = false;
      this.#open("range", "after", "range");
    } else if (kind === "F") this.#place = "offset";
    else if (kind === "@") this.#place = "at";
    else if (kind === ",") this.#place = "operand";
    else this.#place = kind === "A" || kind === "Z" ? "after" : "modifiers";
  }

  #offsetToken(kind: string): void {
    const run = this.#place.startsWith("offsetRun");
    if (this.#place === "offsetRunEnd") {
      if (ARITHMETIC.includes(kind)) this.#place = "offsetRun";
      else this.#afterToken(kind);
    } else if (kind === "(") {
      const back = run || this.#place === "offset" ? "offsetRunEnd" : "after";
      this.#open("inOffset", back, this.#place);
    } else if (kind === "n") this.#place = run ? "offsetRunEnd" : "after";
    else if ("PQM".includes(kind)) this.#place = run ? "offsetRunCall" : "offsetCall";
    else this.#place = this.#place === "offset" ? "offsetSign" : "offsetRun";
  }
}
