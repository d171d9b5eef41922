/** Words for the token at which the parser stopped. */

import type { PromqlRefusal } from "./promql-build.ts";
import { quoteGo } from "./promql-error.ts";
import { type PromqlToken, TOKEN_KIND } from "./promql-token.ts";

const OPERATORS = "+-*/%^exlg<>jk~!@aout";
const KEYWORDS = "bBWOILRFSEPQAZfyzM";

/** What is wrong at token `index`, which may be one past the last. */
export function describeUnexpected(text: string, tokens: readonly PromqlToken[], index: number): PromqlRefusal {
  const token = tokens[index];
  if (token?.kind === TOKEN_KIND.error) return { position: token, reason: token.value };
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
      return `<aggr:${token.text.toLowerCase()}>`;
    default:
      if (OPERATORS.includes(token.kind)) return `<op:${token.text}>`;
      if (KEYWORDS.includes(token.kind)) return `<${token.text.toLowerCase()}>`;
      return quoteGo(token.text);
  }
}

/** Ten characters, then dots. */
function quoteShort(text: string): string {
  const characters = Array.from(text);
  return characters.length > 10 ? `${quoteGo(characters.slice(0, 10).join(""))}...` : quoteGo(text);
}

/** Where the parser was, and what it wanted; empty where nothing better than the token can be said. */
function context(tokens: readonly PromqlToken[], index: number): string {
  const before = tokens[index - 1]?.kind ?? "";
  if ("BWOILR".includes(before) && before !== "" && "BWOI".includes(before)) return ' in grouping opts, expected "("';
  if (before === "F") return " in offset, expected number, duration, step(), or range()";
  if (before === "@") return " in @, expected timestamp";
  const open = openBracket(tokens, index);
  if (open === -1) return "";
  const kind = tokens[open]?.kind;
  if (kind === "{") return ` in label matching, expected ${expectedInBraces(tokens, index)}`;
  if (kind === "[") return " in subquery or range selector, expected number, duration, step(), or range()";
  const owner = tokens[open - 1]?.kind ?? "";
  if (owner !== "" && "BWOILR".includes(owner)) {
    const wantsLabel = before === "(" || before === ",";
    return ` in grouping opts, expected ${wantsLabel ? "label" : '"," or ")"'}`;
  }
  return "";
}

function expectedInBraces(tokens: readonly PromqlToken[], index: number): string {
  const before = tokens[index - 1]?.kind ?? "";
  const beforeThat = tokens[index - 2]?.kind ?? "";
  if (before === TOKEN_KIND.identifier) return "label matching operator";
  if (before === "=" || before === TOKEN_KIND.notEqual || before === "~" || before === "!") return "string";
  if (before === TOKEN_KIND.string && beforeThat !== "," && beforeThat !== "{") return '"," or "}"';
  if (before === TOKEN_KIND.string) return "label matching operator";
  return 'identifier or "}"';
}

/** Index of the innermost bracket that is open before token `index`, or -1. */
function openBracket(tokens: readonly PromqlToken[], index: number): number {
  let closed = 0;
  for (let i = Math.min(index, tokens.length) - 1; i >= 0; i--) {
    const kind = tokens[i]?.kind ?? "";
    if (")]}".includes(kind)) closed++;
    else if ("([{".includes(kind)) {
      if (closed === 0) return i;
      closed--;
    }
  }
  return -1;
}
