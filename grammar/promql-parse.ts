/** Text to tree: the way into the PromQL grammar. */

import { SyntaxError as GeneratedSyntaxError, parse } from "./generated/promql-parser.ts";
import type { BuildOptions, PromqlRefusal } from "./promql-build.ts";
import { type CheckOptions, checkPromql } from "./promql-check.ts";
import { PromqlSyntaxError } from "./promql-error.ts";
import { type PromqlToken, TOKEN_KIND, tokenizePromql } from "./promql-token.ts";
import type { PromqlExpression } from "./promql-tree.ts";
import { describeUnexpected } from "./promql-unexpected.ts";

/** Bytes of the longest text that is parsed. */
export const PROMQL_TEXT_LENGTH_MAX = 65_536;

/** Brackets, signs and powers that may stand inside each other. */
const PROMQL_NESTING_MAX = 200;

/**
 * Parses an expression and checks its types.
 *
 * @throws PromqlSyntaxError naming the first thing that is wrong, worded as Prometheus words it.
 */
export function parsePromql(text: string, options: CheckOptions): PromqlExpression {
  if (text.length > PROMQL_TEXT_LENGTH_MAX) {
    const reason = `query has ${text.length} characters; the limit is ${PROMQL_TEXT_LENGTH_MAX}`;
    throw new PromqlSyntaxError(text, { start: 0, end: 0 }, reason);
  }
  const tokens = tokenizePromql(text);
  if (tokens.length === 0) throw new PromqlSyntaxError(text, { start: 0, end: 0 }, "no expression found in input");
  refuseDeepNesting(text, tokens);
  const refusals: PromqlRefusal[] = [];
  const tree = walk(text, tokens, refusals);
  const [first] = refusals;
  if (first !== undefined) throw new PromqlSyntaxError(text, first.position, first.reason);
  const [wrong] = checkPromql(tree, options);
  if (wrong !== undefined) throw new PromqlSyntaxError(text, wrong.position, wrong.reason);
  return tree;
}

function walk(text: string, tokens: readonly PromqlToken[], refusals: PromqlRefusal[]): PromqlExpression {
  const options: BuildOptions = { tokens, refusals };
  try {
    return parse(tokens.map((token) => token.kind).join(""), options);
  } catch (cause) {
    if (!(cause instanceof GeneratedSyntaxError)) throw cause;
    const [first] = refusals;
    const { location } = cause as unknown as { location: { start: { offset: number } } }; // peggy sets it
    const index = location.start.offset;
    const unexpected = describeUnexpected(text, tokens, index);
    if (first !== undefined && first.position.start <= unexpected.position.start) {
      throw new PromqlSyntaxError(text, first.position, first.reason);
    }
    throw new PromqlSyntaxError(text, unexpected.position, unexpected.reason);
  }
}

/** Counts what makes the parser or a walker over the tree go deeper; runs of left-folding operators do not. */
function refuseDeepNesting(text: string, tokens: readonly PromqlToken[]): void {
  let open = 0;
  let chain = 0;
  for (const [index, token] of tokens.entries()) {
    const previous = tokens[index - 1]?.kind ?? "(";
    if ("([{".includes(token.kind)) open++;
    else if (")]}".includes(token.kind)) open--;
    if (token.kind === "^") chain++;
    else if ((token.kind === "+" || token.kind === "-") && "+-*/%^(,[:@Ft".includes(previous)) chain++;
    else if (token.kind === "," || "+-*/%aouexlg<>".includes(token.kind)) chain = 0;
    if (token.kind === TOKEN_KIND.error) return;
    if (open + chain > PROMQL_NESTING_MAX) {
      throw new PromqlSyntaxError(text, token, `expression nests deeper than ${PROMQL_NESTING_MAX} levels`);
    }
  }
}
