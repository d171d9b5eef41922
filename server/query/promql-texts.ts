/**
 * What the faces ask of PromQL texts without evaluating them: selectors, canonical form, order of names.
 */

import { PromqlSyntaxError, quoteGo } from "../../grammar/promql-error.ts";
import { parsePromql } from "../../grammar/promql-parse.ts";
import { printPromql } from "../../grammar/promql-print.ts";
import { tokenizePromql } from "../../grammar/promql-token.ts";
import type { PromqlExpression, PromqlSelector } from "../../grammar/promql-tree.ts";
import { describeUnexpected } from "../../grammar/promql-unexpected.ts";
import type { Matcher } from "../model/series.ts";
import type { SelectorsOutcome } from "./doors.ts";
import { type PromqlSettings, parseOptions } from "./promql/query.ts";
import { compileRegex } from "./promql/regex.ts";

/** The grammar's reason for a selector that would select everything. */
const MATCHES_EMPTY = "vector selector must contain at least one non-empty matcher";

/** Matchers of one `match[]` selector, or what is wrong with it in Prometheus' words. */
export type SelectorOutcome =
  | { readonly kind: "matchers"; readonly matchers: readonly Matcher[] }
  /** Every matcher is satisfied by an absent label. */
  | { readonly kind: "matches_empty" }
  | { readonly kind: "refused"; readonly message: string };

/** A PromQL text in canonical form, or what is wrong with it. */
export type FormatOutcome =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "refused"; readonly message: string };

/** Parses a series selector such as `up{job="a"}`, without range, offset or `@`. */
export function parseSelector(text: string, settings: PromqlSettings): SelectorOutcome {
  let tree: PromqlExpression;
  try {
    tree = parsePromql(text, parseOptions(settings));
  } catch (error) {
    if (!(error instanceof PromqlSyntaxError)) throw error;
    if (error.reason === MATCHES_EMPTY) return { kind: "matches_empty" };
    return { kind: "refused", message: selectorRefusal(text, settings) ?? error.message };
  }
  if (tree.kind !== "selector" || tree.offset !== undefined || tree.at !== undefined || tree.mode !== undefined) {
    const message = selectorRefusal(text, settings);
    return { kind: "refused", message: message ?? "1:1: parse error: expected a series selector" };
  }
  return { kind: "matchers", matchers: tree.matchers };
}

/** What follows, or stands in place of, a selector; undefined where the selector itself is wrong. */
function selectorRefusal(text: string, settings: PromqlSettings): string | undefined {
  const tokens = tokenizePromql(text);
  if (tokens.length === 0) return "unknown position: parse error: unexpected end of input";
  const closing = tokens.findIndex((token) => token.kind === "}");
  const end = tokens[1]?.kind === "{" || tokens[0]?.kind === "{" ? closing + 1 : 1;
  if (end === 0) return undefined;
  const head = text.slice(0, tokens[end - 1]?.end);
  let unexpected = end;
  try {
    if (parsePromql(head, parseOptions(settings)).kind !== "selector") unexpected = 0;
  } catch {
    if (end > 1) return undefined;
    unexpected = 0;
  }
  const { position, reason } = describeUnexpected(text, tokens, unexpected);
  return new PromqlSyntaxError(text, position, reason).message;
}

/** Parses a query and lists the matchers of each of its selectors in the order of the text. */
export function parseSelectors(text: string, settings: PromqlSettings): SelectorsOutcome {
  const tree = parse(text, settings);
  if (typeof tree === "string") return { kind: "refused", message: tree };
  const selectors: PromqlSelector[] = [];
  collectSelectors(tree, selectors);
  return { kind: "selectors", selectors: selectors.map((selector) => selector.matchers) };
}

/** Prints a text in canonical form. */
export function formatPromql(text: string, settings: PromqlSettings): FormatOutcome {
  const tree = parse(text, settings);
  return typeof tree === "string" ? { kind: "refused", message: tree } : { kind: "text", text: printPromql(tree) };
}

/** A test of a label's value; the empty text where the label is absent. @throws Error for a regular expression that is none. */
export function matcherTest({ kind, value }: Matcher): (text: string) => boolean {
  switch (kind) {
    case "=":
      return (text) => text === value;
    case "!=":
      return (text) => text !== value;
    case "=~":
      return anchoredTest(value);
    case "!~": {
      const test = anchoredTest(value);
      return (text) => !test(text);
    }
  }
}

/** Quotes as Go's `%q`, in which Prometheus' messages show what they were given. */
export function quoteText(text: string): string {
  return quoteGo(text);
}

/**
 * A test for whole texts, by a regular expression anchored at both ends.
 *
 * @throws Error where it is no regular expression.
 */
export function anchoredTest(pattern: string): (text: string) => boolean {
  const regex = compileRegex(pattern);
  return (text) => regex.testExact(text);
}

function parse(text: string, settings: PromqlSettings): PromqlExpression | string {
  try {
    return parsePromql(text, parseOptions(settings));
  } catch (error) {
    if (error instanceof PromqlSyntaxError) return error.message;
    throw error;
  }
}

/** Walks runs of operators from the left in a loop: they are deep trees. */
function collectSelectors(root: PromqlExpression, into: PromqlSelector[]): void {
  const rights: PromqlExpression[] = [];
  let node = root;
  for (; node.kind === "binary"; node = node.left) rights.push(node.right);
  switch (node.kind) {
    case "selector":
      into.push(node);
      break;
    case "range":
      into.push(node.selector);
      break;
    case "subquery":
    case "paren":
    case "unary":
      collectSelectors(node.operand, into);
      break;
    case "aggregate":
      collectSelectors(node.operand, into);
      if (node.parameter !== undefined) collectSelectors(node.parameter, into);
      break;
    case "call":
      for (const argument of node.args) collectSelectors(argument, into);
      break;
    case "number":
    case "string":
  }
  for (const right of rights.reverse()) collectSelectors(right, into);
}
