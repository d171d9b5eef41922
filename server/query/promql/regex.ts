/** Regular expressions of users: RE2, linear in time, bounded in size, `.` matches newlines, anchored at both ends. */

import { RE2JS } from "re2js";
import { REGEX_SIZE_MAX, regexLiterals, regexShape } from "../../model/regex-shape.ts";

/** Compiled expressions that are kept. */
const COMPILED_MAX = 256;

const compiled = new Map<string, RE2JS>();

/**
 * Compiles an expression, or takes the one compiled before.
 *
 * @throws Error in Prometheus' words where it is no regular expression.
 */
export function compileRegex(pattern: string): RE2JS {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  refuseLarge(pattern);
  let regex: RE2JS;
  try {
    RE2JS.compile(pattern); // alone first: what is wrong is told of the text that the user wrote
    regex = RE2JS.compile(`^(?s:${pattern})$`);
  } catch (cause) {
    throw new Error(cause instanceof Error ? cause.message : String(cause), { cause });
  }
  const [oldest] = compiled.keys();
  if (compiled.size >= COMPILED_MAX && oldest !== undefined) compiled.delete(oldest);
  compiled.set(pattern, regex);
  return regex;
}

/** What RE2 would refuse after much work, and what would take too much to compile, in RE2's words. */
function refuseLarge(pattern: string): void {
  const { size, invalidRepeat } = regexShape(pattern);
  if (size <= REGEX_SIZE_MAX) return;
  if (invalidRepeat !== undefined) {
    throw new Error(`error parsing regexp: invalid repeat count: \`${invalidRepeat}\``);
  }
  throw new Error("error parsing regexp: expression too large");
}

/** Whether an anchored expression matches the empty string; throws as `compileRegex`. A list of texts may be long. */
export function regexMatchesEmpty(pattern: string): boolean {
  return regexLiterals(pattern)?.has("") ?? compileRegex(pattern).testExact("");
}
