/**
 * Labels as Prometheus prints them in messages.
 */

import type { Labels } from "./series.ts";

const PLAIN_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
/** What Go's `%q` does not leave as it is. */
const ESCAPED = /["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu;
const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ["\x07", "\\a"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\v", "\\v"],
]);

/** `{__name__="up", job="a"}`: names that need it and all values quoted as Go's `%q` does. */
export function labelsText(labels: Labels): string {
  const pairs = labels.map(
    ([name, value]) => `${PLAIN_NAME.test(name) ? name : quotedText(name)}=${quotedText(value)}`,
  );
  return `{${pairs.join(", ")}}`;
}

/** A text in quotes as Go's `%q` puts it. */
export function quotedText(text: string): string {
  return `"${text.replace(ESCAPED, escaped)}"`;
}

function escaped(character: string): string {
  if (character === '"' || character === "\\") return `\\${character}`;
  const short = SHORT_ESCAPES.get(character);
  if (short !== undefined) return short;
  const hex = (character.codePointAt(0) ?? 0).toString(16);
  if (hex.length <= 2 && character < "\x80") return `\\x${hex.padStart(2, "0")}`;
  return hex.length <= 4 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}
