/** Text to tree: the way into the SQL grammar. */

import { SyntaxError as GeneratedSyntaxError, parse } from "./generated/sql-parser.ts";
import type { SqlBuildOptions } from "./sql-build.ts";
import { SqlTextError } from "./sql-error.ts";
import { type SqlToken, tokenizeSql } from "./sql-token.ts";
import type { SqlQuery } from "./sql-tree.ts";

/** Characters of the longest statement. */
export const SQL_TEXT_LENGTH_MAX = 65_536;

/** Names, values, operators and signs of a statement: a list of 10,000 values has so many. */
export const SQL_TOKENS_MAX = 20_000;

/** Brackets, CASEs, signs and NOTs that may stand inside each other. */
const SQL_NESTING_MAX = 200;

/**
 * Operators of arithmetic, `||` and casts in a row: each has the one before as its left side. The engine takes 40 ms of
 * processor time for 128, and for each doubling eight times as much. AND and OR are not among them.
 */
export const SQL_RUN_MAX = 128;

/** Words that begin statements other than SELECT. */
const STATEMENTS =
  /^(?:alter|analyze|attach|begin|call|checkpoint|comment|commit|copy|create|deallocate|delete|describe|detach|drop|execute|explain|export|from|grant|import|insert|install|load|merge|pivot|pragma|prepare|reset|revoke|rollback|set|show|start|summarize|truncate|unpivot|update|use|vacuum|values)$/i;

const SELECT_ONLY = "Only one SELECT statement is run; the data cannot be changed through it.";

/**
 * Parses one SELECT statement; a semicolon may end it.
 *
 * @throws SqlTextError with `syntax`, or `not_allowed` where it is another kind of statement or more than one.
 */
export function parseSql(text: string): SqlQuery {
  if (text.length > SQL_TEXT_LENGTH_MAX) {
    const message = `The statement has ${text.length} characters; the limit is ${SQL_TEXT_LENGTH_MAX}.`;
    throw new SqlTextError(text, 0, "too_large", message, "Send values as parameters.");
  }
  const tokens = withoutSemicolon(text, tokenizeSql(text, SQL_TOKENS_MAX));
  const [first] = tokens;
  if (first === undefined)
    throw new SqlTextError(text, 0, "syntax", "The statement is empty.", "Try SELECT * FROM spans LIMIT 10.");
  if (STATEMENTS.test(first.text)) {
    const message = `${first.text.toUpperCase()} statements are not allowed.`;
    throw new SqlTextError(text, first.start, "not_allowed", message, SELECT_ONLY);
  }
  refuseDeepNesting(text, tokens);
  refuseLongRuns(text, tokens);
  if (tokens.length > SQL_TOKENS_MAX) {
    const message = `The statement has more than ${SQL_TOKENS_MAX} names, values and operators.`;
    throw new SqlTextError(text, tokens[SQL_TOKENS_MAX]?.start ?? 0, "too_large", message, "Send it in parts.");
  }
  const options: SqlBuildOptions = { text, tokens, questionMarks: 0, questionMarkAt: new Map() };
  try {
    return parse(tokens.map((token) => token.kind).join(""), options);
  } catch (cause) {
    if (!(cause instanceof GeneratedSyntaxError)) throw cause;
    const { location } = cause as unknown as { location: { start: { offset: number } } }; // peggy sets it
    throw unexpected(text, tokens, location.start.offset);
  }
}

function withoutSemicolon(text: string, tokens: readonly SqlToken[]): readonly SqlToken[] {
  const at = tokens.findIndex((token) => token.kind === ";");
  if (at === -1) return tokens;
  const next = tokens.slice(at).find((token) => token.kind !== ";");
  if (next === undefined) return tokens.slice(0, at);
  throw new SqlTextError(text, next.start, "not_allowed", "More than one statement is not allowed.", SELECT_ONLY);
}

function unexpected(text: string, tokens: readonly SqlToken[], index: number): SqlTextError {
  const token = tokens[index];
  if (token === undefined) {
    return new SqlTextError(text, text.length, "syntax", "The statement ends too early.", hintAfter(tokens[index - 1]));
  }
  const shown = token.text.length > 40 ? `${token.text.slice(0, 40)}…` : token.text;
  return new SqlTextError(text, token.start, "syntax", `Unexpected ${shown}.`, hintFor(token, tokens[index - 1]));
}

function hintAfter(before: SqlToken | undefined): string {
  return before === undefined ? "" : `Something is missing after ${before.text.slice(0, 40)}.`;
}

const NOT_HERE: ReadonlyMap<string, string> = new Map([
  ["over", "Window functions are not supported here."],
  ["except", "EXCEPT is not supported here; use a LEFT JOIN and IS NULL."],
  ["intersect", "INTERSECT is not supported here; use a JOIN."],
  ["right", "RIGHT JOIN is not supported here; swap the tables and use LEFT JOIN."],
  ["full", "FULL JOIN is not supported here."],
  ["qualify", "QUALIFY is not supported here."],
  ["recursive", "WITH RECURSIVE is not supported here."],
  ["lateral", "LATERAL is not supported here."],
]);

function hintFor(token: SqlToken, before: SqlToken | undefined): string {
  return NOT_HERE.get(token.text.toLowerCase()) ?? NOT_HERE.get(before?.text.toLowerCase() ?? "") ?? "";
}

function refuseDeepNesting(text: string, tokens: readonly SqlToken[]): void {
  let open = 0;
  let chain = 0;
  for (const [index, token] of tokens.entries()) {
    const before = tokens[index - 1]?.kind ?? "(";
    if ("([C".includes(token.kind)) open++;
    else if (")]E".includes(token.kind)) open--;
    if (token.kind === "!" || isSign(token.kind, before)) chain++;
    else if (!"+-!".includes(token.kind)) chain = 0;
    if (open + chain > SQL_NESTING_MAX) {
      const message = `The statement nests deeper than ${SQL_NESTING_MAX} levels.`;
      throw new SqlTextError(text, token.start, "syntax", message);
    }
  }
}

/** Behind an operand it is an operator, elsewhere a sign. */
function isSign(kind: string, before: string): boolean {
  return (kind === "+" || kind === "-") && !"iqsn$)]NTfE".includes(before);
}

const OPENING = "([C";
const CLOSING = ")]E";
const OPERATORS = "+-*/%dct";
/** Behind these an expression begins anew: lists, comparisons, AND, OR, NOT, and the words of a statement. */
const RUN_ENDS = ",;&|!=x<>lgIb~^pjSDFWGBHOLAwheuJXQU";

function refuseLongRuns(text: string, tokens: readonly SqlToken[]): void {
  // Of each open bracket: the run around it, and the longest before that run.
  const around: { readonly run: number; readonly longest: number }[] = [];
  let run = 0;
  let longest = 0;
  for (const [index, token] of tokens.entries()) {
    if (OPENING.includes(token.kind)) {
      around.push({ run, longest });
      run = 0;
      longest = 0;
    } else if (CLOSING.includes(token.kind)) {
      const outer = around.pop();
      // What stands in the bracket is as deep on the left as a run of its length.
      run = Math.max(run, longest, outer?.run ?? 0);
      longest = outer?.longest ?? 0;
    } else if (RUN_ENDS.includes(token.kind)) {
      longest = Math.max(longest, run);
      run = 0;
    } else if (OPERATORS.includes(token.kind) && !isSign(token.kind, tokens[index - 1]?.kind ?? "(")) {
      if (++run <= SQL_RUN_MAX) continue;
      const message = `More than ${SQL_RUN_MAX} operators follow each other.`;
      const hint = "Join texts with concat(a, b, …); compute parts of the rest in a sub-query.";
      throw new SqlTextError(text, token.start, "syntax", message, hint);
    }
  }
}
