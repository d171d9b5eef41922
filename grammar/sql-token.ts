/**
 * Cuts a SQL text into tokens, one character for each kind as `sql.peggy` names them.
 *
 * Only ASCII letters make keywords and bare identifiers, so that no look-alike passes for one.
 */

import { SqlTextError } from "./sql-error.ts";

/** A token with its place in the statement. */
export interface SqlToken {
  readonly kind: string;
  /** As written. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** Of strings and quoted identifiers: without quotes. Of identifiers: as written. Of parameters: the number, or empty. */
  readonly value: string;
}

const KEYWORDS: ReadonlyMap<string, string> = new Map(
  [
    "S SELECT|D DISTINCT|F FROM|W WHERE|G GROUP|B BY|H HAVING|O ORDER|L LIMIT|K OFFSET|A AS|& AND|| OR|! NOT|I IN",
    "b BETWEEN|~ LIKE|^ ILIKE|j IS|N NULL|T TRUE|f FALSE|C CASE|w WHEN|h THEN|e ELSE|E END|Z CAST|z TRY_CAST|J JOIN",
    "r INNER|P LEFT|o OUTER|X CROSS|Q ON|U USING|u UNION|a ALL|y ASC|Y DESC|M NULLS|1 FIRST|2 LAST|k FILTER",
    "V INTERVAL|R EXTRACT|p ESCAPE|@ WITH",
  ].flatMap((line) => line.replace("|| OR", "|\u0000 OR").split("|").map(keyword)),
);

function keyword(entry: string): [string, string] {
  const [kind = "", word = ""] = entry.split(" ");
  return [word, kind === "\u0000" ? "|" : kind];
}

const TWO: ReadonlyMap<string, string> = new Map([
  ["<>", "x"],
  ["!=", "x"],
  ["<=", "l"],
  [">=", "g"],
  ["||", "c"],
  ["::", "t"],
  ["//", "d"],
]);

const ONE = "(),.[]*/%+-=<>;";

const SPACE = " \t\n\r\f\v";

/**
 * Tokens in order, the first `tokensMax + 1` of them: more are not looked at.
 *
 * @throws SqlTextError at the first text that is none.
 */
export function tokenizeSql(text: string, tokensMax: number): readonly SqlToken[] {
  const tokens: SqlToken[] = [];
  let at = 0;
  const push = (kind: string, end: number, value: string) => {
    tokens.push({ kind, text: text.slice(at, end), start: at, end, value });
    at = end;
  };
  while (at < text.length && tokens.length <= tokensMax) {
    const character = text[at] ?? "";
    const code = character.charCodeAt(0);
    if (SPACE.includes(character)) at++;
    else if (text.startsWith("--", at)) at = lineEnd(text, at);
    else if (text.startsWith("/*", at)) at = commentEnd(text, at);
    else if (isWordStart(code)) {
      const end = wordEnd(text, at);
      const word = text.slice(at, end);
      push(KEYWORDS.get(word.toUpperCase()) ?? "i", end, word);
    } else if (isDigit(code) || (character === "." && isDigit(text.charCodeAt(at + 1)))) {
      push("n", numberEnd(text, at), "");
    } else if (character === "'") {
      const { end, value } = quoted(text, at, "'");
      push("s", end, value);
    } else if (character === '"') {
      const { end, value } = quoted(text, at, '"');
      if (value === "") throw new SqlTextError(text, at, "syntax", "An identifier in double quotes is empty.");
      push("q", end, value);
    } else if (character === "?") push("$", at + 1, "");
    else if (character === "$" && isDigit(text.charCodeAt(at + 1))) {
      let end = at + 1;
      while (isDigit(text.charCodeAt(end))) end++;
      push("$", end, text.slice(at + 1, end));
    } else {
      const two = TWO.get(text.slice(at, at + 2));
      if (two !== undefined) push(two, at + 2, "");
      else if (ONE.includes(character)) push(character, at + 1, "");
      else throw unexpected(text, at);
    }
  }
  return tokens;
}

function unexpected(text: string, at: number): SqlTextError {
  const character = String.fromCodePoint(text.codePointAt(at) ?? 0);
  const hint = character === "$" ? "Strings stand in single quotes; parameters are ? or $1, $2, …." : "";
  return new SqlTextError(text, at, "syntax", `Unexpected character ${JSON.stringify(character)}.`, hint);
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end === -1 ? text.length : end;
}

/** Comments do not nest here; one inside another is refused, since engines disagree about it. */
function commentEnd(text: string, at: number): number {
  const end = text.indexOf("*/", at + 2);
  if (end === -1) throw new SqlTextError(text, at, "syntax", "A comment is not closed.", "Close it with */.");
  const inner = text.indexOf("/*", at + 2);
  if (inner !== -1 && inner < end) throw new SqlTextError(text, inner, "syntax", "A comment begins inside a comment.");
  return end + 2;
}

/** Doubled quotes stand for one. Backslashes mean nothing. */
function quoted(text: string, start: number, quote: string): { end: number; value: string } {
  const parts: string[] = [];
  let at = start + 1;
  for (;;) {
    const close = text.indexOf(quote, at);
    if (close === -1) {
      const what = quote === "'" ? "A string" : "An identifier";
      throw new SqlTextError(text, start, "syntax", `${what} is not closed.`, `Close it with ${quote}.`);
    }
    parts.push(text.slice(at, close));
    if (text[close + 1] !== quote) {
      const value = parts.join(quote);
      if (value.includes("\u0000")) throw new SqlTextError(text, start, "syntax", "A text contains a zero character.");
      return { end: close + 1, value };
    }
    at = close + 2;
  }
}

function wordEnd(text: string, start: number): number {
  let end = start;
  while (isWordStart(text.charCodeAt(end)) || isDigit(text.charCodeAt(end))) end++;
  return end;
}

function numberEnd(text: string, start: number): number {
  let at = start;
  while (isDigit(text.charCodeAt(at))) at++;
  if (text[at] === ".") at++;
  while (isDigit(text.charCodeAt(at))) at++;
  if (text[at] === "e" || text[at] === "E") {
    at++;
    if (text[at] === "+" || text[at] === "-") at++;
    if (!isDigit(text.charCodeAt(at)))
      throw new SqlTextError(text, start, "syntax", "A number ends in its exponent sign.");
    while (isDigit(text.charCodeAt(at))) at++;
  }
  if (isWordStart(text.charCodeAt(at))) {
    throw new SqlTextError(
      text,
      start,
      "syntax",
      `A number runs into a word: ${text.slice(start, wordEnd(text, at)).slice(0, 40)}.`,
    );
  }
  return at;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isWordStart(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95;
}
