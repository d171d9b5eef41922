/** The least part of a query about which two servers disagree. */

import { parsePromql } from "../../grammar/promql-parse.ts";
import type { PromqlExpression } from "../../grammar/promql-tree.ts";
import { regexMatchesEmpty } from "../../server/query/promql/regex.ts";

const PARTS_MAX = 60;

/**
 * Tries the parts of a query, the shortest first.
 *
 * @param differs Whether a text, asked alone at the same times, is answered differently too.
 */
export async function shrink(text: string, differs: (part: string) => Promise<boolean>): Promise<string> {
  for (const part of partsOf(text)) if (await differs(part)) return part;
  return text;
}

const SYNTAX = { experimentalFunctions: true, fillModifiers: true, unquotedUtf8Names: false };

/** Parts of a query that are queries themselves, the shortest first; none where it does not parse. */
export function partsOf(text: string): string[] {
  let tree: PromqlExpression;
  try {
    tree = parsePromql(text, { regexMatchesEmpty, ...SYNTAX });
  } catch {
    // What does not parse has no parts; the whole is then told.
    return [];
  }
  const parts = new Set<string>();
  const visit = (node: PromqlExpression) => {
    const { start, end } = node.position;
    if (node.kind !== "number" && node.kind !== "string" && end - start < text.length)
      parts.add(text.slice(start, end));
    for (const child of childrenOf(node)) visit(child);
  };
  visit(tree);
  return [...parts].sort((a, b) => a.length - b.length).slice(0, PARTS_MAX);
}

function childrenOf(node: PromqlExpression): readonly PromqlExpression[] {
  switch (node.kind) {
    case "number":
    case "string":
    case "selector":
      return [];
    case "range":
      return [node.selector];
    case "subquery":
    case "unary":
    case "paren":
      return [node.operand];
    case "binary":
      return [node.left, node.right];
    case "aggregate":
      return node.parameter === undefined ? [node.operand] : [node.parameter, node.operand];
    case "call":
      return node.args;
  }
}
