/** Text to tree: the way into the PromQL grammar. */

import { SyntaxError as GeneratedSyntaxError, parse } from "./generated/promql-parser.ts";
import { type CheckOptions, checkPromql } from "./promql-check.ts";
import { PromqlSyntaxError } from "./promql-error.ts";
import {
  type BuildOptions,
  firstRefusal,
  momentOfLiteral,
  momentOfMisfit,
  momentOfToken,
  type TimedRefusal,
} from "./promql-refusal.ts";
import { type PromqlToken, TOKEN_KIND, tokenizePromql } from "./promql-token.ts";
import type { PromqlExpression, PromqlMatcher } from "./promql-tree.ts";
import { describeUnexpected } from "./promql-unexpected.ts";

/** Bytes of the longest text that is parsed. */
export const PROMQL_TEXT_LENGTH_MAX = 65_536;

/** Names, values, operators and signs of a text to be evaluated: some hundred expressions such as dashboards make have so many. */
export const PROMQL_TOKENS_MAX = 20_000;

/** Brackets, signs and powers that may stand inside each other. */
const PROMQL_NESTING_MAX = 200;

/** What is allowed, and how regular expressions are understood. */
export interface ParseOptions extends CheckOptions {
  /** Allows what Prometheus keeps behind promql-experimental-functions. */
  readonly experimentalFunctions: boolean;
  /** Allows `fill`, `fill_left` and `fill_right`: promql-binop-fill-modifiers. */
  readonly fillModifiers: boolean;
  /** Lets names hold letters of any script, and dots inside, without quotes: promql-unquoted-utf8-names. */
  readonly unquotedUtf8Names: boolean;
  /** Names, values, operators and signs of the text at most; its length alone bounds them unless given. */
  readonly tokensMax?: number | undefined;
}

/**
 * Parses an expression and checks its types.
 *
 * @throws PromqlSyntaxError naming the first thing that is wrong, worded as Prometheus words it.
 */
export function parsePromql(text: string, options: ParseOptions): PromqlExpression {
  const tree = parseWhole(text, options, "start");
  const [wrong] = checkPromql(tree, options);
  if (wrong !== undefined) throw new PromqlSyntaxError(text, wrong.position, wrong.reason);
  return tree;
}

/**
 * Parses a series selector without modifiers, such as `up{job="a"}`; it may match everything.
 *
 * @throws PromqlSyntaxError as `parsePromql`.
 */
export function parseMetricSelector(text: string, options: ParseOptions): readonly PromqlMatcher[] {
  const tree = parseWhole(text, options, "metric_selector");
  return tree.kind === "selector" ? tree.matchers : [];
}

function parseWhole(text: string, options: ParseOptions, startRule: "start" | "metric_selector"): PromqlExpression {
  if (text.length > PROMQL_TEXT_LENGTH_MAX) {
    const reason = `query has ${text.length} characters; the limit is ${PROMQL_TEXT_LENGTH_MAX}`;
    throw new PromqlSyntaxError(text, { start: 0, end: 0 }, reason);
  }
  const { tokensMax = PROMQL_TEXT_LENGTH_MAX } = options;
  const tokens = tokenizePromql(text, options.unquotedUtf8Names, tokensMax);
  if (tokens.length === 0 && startRule === "start") {
    throw new PromqlSyntaxError(text, { start: 0, end: 0 }, "no expression found in input");
  }
  refuseDeepNesting(text, tokens);
  const tooMuch = tokens[tokensMax];
  if (tooMuch !== undefined) {
    const reason = `query has more than ${tokensMax} names, values and operators; ask for parts of it, or record them by rules`;
    throw new PromqlSyntaxError(text, tooMuch, reason);
  }
  const refusals: TimedRefusal[] = [];
  const build: BuildOptions = { ...options, text, tokens, refusals, checkRegex: options.regexMatchesEmpty };
  let tree: PromqlExpression | undefined;
  let stopped = tokens.length;
  try {
    tree = parse(tokens.map((token) => token.kind).join(""), { ...build, startRule });
  } catch (cause) {
    if (!(cause instanceof GeneratedSyntaxError)) throw cause;
    const { location } = cause as unknown as { location: { start: { offset: number } } }; // peggy sets it
    stopped = location.start.offset;
    refusals.push(misfit(text, tokens, stopped));
  }
  for (let index = 0; index < stopped; index++) {
    const token = tokens[index];
    if (token?.reason === undefined) continue;
    refusals.push({ position: token, reason: token.reason, moment: momentOfLiteral(index) });
  }
  const first = firstRefusal(refusals);
  if (first !== undefined) throw new PromqlSyntaxError(text, first.position, first.reason);
  if (tree === undefined) throw new Error("the parser gave neither a tree nor a reason");
  return tree;
}

/** What the token says where the parser stopped: that it is none, or that it does not fit. */
function misfit(text: string, tokens: readonly PromqlToken[], index: number): TimedRefusal {
  const token = tokens[index];
  if (token?.kind === TOKEN_KIND.error) {
    return { position: token, reason: token.reason ?? "", moment: momentOfToken(index) };
  }
  return { ...describeUnexpected(text, tokens, index), moment: momentOfMisfit(index) };
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
