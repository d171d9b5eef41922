/** The arguments of `samples('metric_or_selector', from, to)`: what can be wrong with them is told at its place. */

import { PromqlSyntaxError } from "../../../grammar/promql-error.ts";
import { parseMetricSelector } from "../../../grammar/promql-parse.ts";
import { SqlTextError } from "../../../grammar/sql-error.ts";
import type { SqlExpression, SqlTableArgument } from "../../../grammar/sql-tree.ts";
import { parseSampleTimeMs } from "../../model/sample-time.ts";
import type { Matcher } from "../../model/series.ts";
import { PROMQL_DEFAULTS, parseOptions } from "../promql/query.ts";
import { matcherTest } from "../promql-texts.ts";

/** How it is called. */
export const SAMPLES_HINT =
  "Samples of series: samples('up{job=\"api\"}', now() - INTERVAL 1 hour, now()); times may be numbers and texts too.";

/** Characters of the longest selector. */
const SELECTOR_LENGTH_MAX = 16_384;

/** What is known of texts at a place of a statement. */
interface Constants {
  /** Of the statement. */
  readonly text: string;
  /** Text of a literal or parameter. */
  readonly textOf: (node: SqlExpression) => string | undefined;
}

/** Matchers of the first argument. @throws SqlTextError where it is no selector, at the mistake where that is in the text. */
export function selectorMatchers(
  { text, textOf }: Constants,
  { expression, at }: SqlTableArgument,
): readonly Matcher[] {
  const selector = textOf(expression);
  if (selector === undefined) {
    throw new SqlTextError(text, at, "not_allowed", "The selector of samples() must be a constant text.", SAMPLES_HINT);
  }
  if (selector.length > SELECTOR_LENGTH_MAX) {
    const message = `The selector of samples() has ${selector.length} characters; the limit is ${SELECTOR_LENGTH_MAX}.`;
    throw new SqlTextError(text, at, "too_large", message);
  }
  try {
    const matchers = parseMetricSelector(selector.trim() === "" ? "{}" : selector, parseOptions(PROMQL_DEFAULTS));
    if (!matchers.every((matcher) => matcherTest(matcher)(""))) return matchers;
  } catch (error) {
    if (!(error instanceof PromqlSyntaxError)) throw error;
    const place = expression.kind === "string" ? placeInLiteral(text, at, error.position.start) : at;
    throw new SqlTextError(text, place, "syntax", `The selector of samples() is none: ${error.message}`, SAMPLES_HINT);
  }
  const hint = "Name the metric, or give one label a value.";
  throw new SqlTextError(text, at, "not_allowed", "The selector of samples() matches every series.", hint);
}

/** Refuses a constant that is no time. @throws SqlTextError */
export function checkSampleTime({ text, textOf }: Constants, { expression, at }: SqlTableArgument): void {
  const constant = expression.kind === "number" ? expression.text : textOf(expression);
  if (constant === undefined || parseSampleTimeMs(constant) !== undefined) return;
  const shown = JSON.stringify(constant.slice(0, 60));
  throw new SqlTextError(text, at, "syntax", `samples() cannot take ${shown} as a time.`, SAMPLES_HINT);
}

/** Offset in a statement of a character of a text literal that starts at `at`, whose quotes are doubled. */
function placeInLiteral(text: string, at: number, offset: number): number {
  let place = at + 1;
  for (let done = 0; done < offset; done++) place += text[place] === "'" ? 2 : 1;
  return place;
}
