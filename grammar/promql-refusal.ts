/**
 * What is wrong with a text, in the order in which Prometheus' parser finds it.
 *
 * That parser reads one token ahead only where it must. So a mistake in what ends with token `last` is found before the
 * next token is cut, or, where the next token decides whether the thing ends there, after it (`waits`). A bad token is
 * found when it is cut.
 */

import type { PromqlToken } from "./promql-token.ts";
import type { TextRange } from "./promql-tree.ts";

/** Something wrong, with its place in the text. */
export interface PromqlRefusal {
  readonly position: TextRange;
  readonly reason: string;
}

/** A refusal with the moment at which it is found. */
export interface TimedRefusal extends PromqlRefusal {
  readonly moment: number;
}

/** What the generated parser hands to every function that builds. */
export interface BuildOptions {
  readonly text: string;
  readonly tokens: readonly PromqlToken[];
  readonly refusals: TimedRefusal[];
  readonly experimentalFunctions: boolean;
  readonly fillModifiers: boolean;
  readonly unquotedUtf8Names: boolean;
  /** Throws, worded for the user, where a regular expression is none. */
  readonly checkRegex: (pattern: string) => void;
}

/** The token at `index`, which the grammar has matched. */
export function tokenAt(options: BuildOptions, index: number): PromqlToken {
  const token = options.tokens[index];
  if (token === undefined) throw new Error(`no token ${index}`);
  return token;
}

/** The text of tokens `[from, to)`. */
export function between(options: BuildOptions, from: number, to: number): TextRange {
  return { start: tokenAt(options, from).start, end: tokenAt(options, to - 1).end };
}

/** Notes what is wrong with something whose last token is `last`, and goes on. */
export function refuse(options: BuildOptions, position: TextRange, reason: string, last: number): void {
  options.refusals.push({ position, reason, moment: 2 * last + 1 });
}

/** As `refuse`, where the token after the last one had to be looked at. */
export function refuseWaiting(options: BuildOptions, position: TextRange, reason: string, last: number): void {
  options.refusals.push({ position, reason, moment: 2 * last + 2.5 });
}

/** When token `index` is cut from the text. */
export function momentOfToken(index: number): number {
  return 2 * index;
}

/** When the value of the literal at `index` is read: before what it is the last token of is judged. */
export function momentOfLiteral(index: number): number {
  return 2 * index + 0.9;
}

/** When it is found that token `index` does not fit. */
export function momentOfMisfit(index: number): number {
  return 2 * index + 0.75;
}

/** The one that is found first; of two at the same moment the one noted first. */
export function firstRefusal(refusals: readonly TimedRefusal[]): TimedRefusal | undefined {
  let first: TimedRefusal | undefined;
  for (const refusal of refusals) if (first === undefined || refusal.moment < first.moment) first = refusal;
  return first;
}
