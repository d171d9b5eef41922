/**
 * What the faces ask of PromQL texts without evaluating them: selectors of `match[]`, and canonical form.
 */

import { PromqlSyntaxError } from "../../grammar/promql-error.ts";
import { parsePromql } from "../../grammar/promql-parse.ts";
import { printPromql } from "../../grammar/promql-print.ts";
import type { PromqlExpression } from "../../grammar/promql-tree.ts";
import type { Matcher } from "../model/series.ts";
import { regexMatchesEmpty } from "./promql/regex.ts";

/** Matchers of one `match[]` selector, or what is wrong with it in Prometheus' words. */
export type SelectorOutcome =
  | { readonly kind: "matchers"; readonly matchers: readonly Matcher[] }
  | { readonly kind: "refused"; readonly message: string };

/** A PromQL text in canonical form, or what is wrong with it. */
export type FormatOutcome =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "refused"; readonly message: string };

/** Parses a series selector such as `up{job="a"}`, without range, offset or `@`. */
export function parseSelector(text: string): SelectorOutcome {
  const tree = parse(text);
  if (typeof tree === "string") return { kind: "refused", message: tree };
  if (tree.kind !== "selector" || tree.offset !== undefined || tree.at !== undefined || tree.mode !== undefined) {
    return { kind: "refused", message: '1:1: parse error: expected a series selector such as up{job="api"}' };
  }
  return { kind: "matchers", matchers: tree.matchers };
}

/** Prints a text in canonical form. */
export function formatPromql(text: string): FormatOutcome {
  const tree = parse(text);
  return typeof tree === "string" ? { kind: "refused", message: tree } : { kind: "text", text: printPromql(tree) };
}

function parse(text: string): PromqlExpression | string {
  try {
    return parsePromql(text, { regexMatchesEmpty, experimental: false });
  } catch (error) {
    if (error instanceof PromqlSyntaxError) return error.message;
    throw error;
  }
}
