/**
 * What the faces ask of PromQL texts without evaluating them: selectors, canonical form, the tree, order of names.
 */

import { PromqlSyntaxError, quoteGo } from "../../grammar/promql-error.ts";
import { promqlJson } from "../../grammar/promql-json.ts";
import { PROMQL_TOKENS_MAX, parseMetricSelector, parsePromql } from "../../grammar/promql-parse.ts";
import { PrettyTooLongError, prettyPromql } from "../../grammar/promql-pretty.ts";
import type { PromqlExpression, PromqlSelector } from "../../grammar/promql-tree.ts";
import { regexLiterals } from "../model/regex-shape.ts";
import type { Matcher } from "../model/series.ts";
import type { SelectorsOutcome } from "./doors.ts";
import { type PromqlSettings, parseOptions } from "./promql/query.ts";
import { compileRegex } from "./promql/regex.ts";

/** Matchers of one `match[]` selector, or what is wrong with it in Prometheus' words. */
export type SelectorOutcome =
  | { readonly kind: "matchers"; readonly matchers: readonly Matcher[] }
  /** Every matcher is satisfied by an absent label. */
  | { readonly kind: "matches_empty"; readonly matchers: readonly Matcher[] }
  | { readonly kind: "refused"; readonly message: string };

/** A PromQL text in canonical form or its tree as JSON text, or what is wrong with it. */
export type FormatOutcome =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "refused"; readonly message: string };

/** Parses a series selector such as `up{job="a"}`, without range, offset or `@`. */
export function parseSelector(text: string, settings: PromqlSettings): SelectorOutcome {
  const outcome = refusing(() =>
    parseMetricSelector(text, { ...parseOptions(settings), tokensMax: PROMQL_TOKENS_MAX }),
  );
  if (outcome.kind === "refused") return outcome;
  const matchers = outcome.value;
  const isEmpty = matchers.every((matcher) => matcherTest(matcher)(""));
  return { kind: isEmpty ? "matches_empty" : "matchers", matchers };
}

/** Parses a query and lists the matchers of each of its selectors in the order of the text. */
export function parseSelectors(text: string, settings: PromqlSettings): SelectorsOutcome {
  const outcome = refusing(() => parsePromql(text, parseOptions(settings)));
  if (outcome.kind === "refused") return outcome;
  const selectors: PromqlSelector[] = [];
  collectSelectors(outcome.value, selectors);
  return { kind: "selectors", selectors: selectors.map((selector) => selector.matchers) };
}

/** Prints a text in canonical form, over several lines where it is long: `data` of `/api/v1/format_query`. */
export function formatPromql(text: string, settings: PromqlSettings): FormatOutcome {
  const outcome = refusing(() => prettyPromql(parsePromql(text, parseOptions(settings)), settings));
  return outcome.kind === "refused" ? outcome : { kind: "text", text: outcome.value };
}

/** The tree of a text as JSON text: `data` of `/api/v1/parse_query`. */
export function promqlTreeJson(text: string, settings: PromqlSettings): FormatOutcome {
  const outcome = refusing(() => promqlJson(parsePromql(text, parseOptions(settings))));
  return outcome.kind === "refused" ? outcome : { kind: "text", text: outcome.value };
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
  const literals = regexLiterals(pattern);
  if (literals !== undefined) return (text) => literals.has(text);
  const regex = compileRegex(pattern);
  return (text) => regex.testExact(text);
}

/** What `make` gives, or what it says is wrong with the text. */
function refusing<Value>(
  make: () => Value,
): { readonly kind: "value"; readonly value: Value } | { readonly kind: "refused"; readonly message: string } {
  try {
    return { kind: "value", value: make() };
  } catch (error) {
    if (error instanceof PromqlSyntaxError || error instanceof PrettyTooLongError) {
      return { kind: "refused", message: error.message };
    }
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
