/** Patterns that match in linear time: LIKE as regular expressions, and limits of what is searched for. */

import type { SqlExpression } from "../../../grammar/sql-tree.ts";

/** Characters of a LIKE pattern or regular expression. */
export const PATTERN_LENGTH_MAX = 1000;

/** Bytes of a text that is searched for. */
export const NEEDLE_BYTES_MAX = 4096;

/** Functions whose second argument is a regular expression. */
export const PATTERN_FUNCTIONS: ReadonlySet<string> = new Set([
  "regexp_matches",
  "regexp_full_match",
  "regexp_extract",
  "regexp_extract_all",
  "regexp_replace",
  "regexp_split_to_array",
]);

/** Functions that search for their second argument in the first. */
export const SEARCH_FUNCTIONS: ReadonlySet<string> = new Set(
  "strpos instr position contains replace string_split str_split split string_to_array split_part".split(" "),
);

/**
 * A LIKE that takes linear time.
 *
 * The engine matches `_`, ESCAPE and ILIKE by trying, in time that explodes: these become regular expressions. Other
 * patterns stay, since the engine is fast with them.
 *
 * @param escapeCharacter One character, or empty where none is set.
 * @returns undefined where the pattern ends in its escape character.
 */
export function linearLike(
  node: SqlExpression & { readonly kind: "like" },
  pattern: string,
  escapeCharacter: string,
): SqlExpression | undefined {
  if (node.op === "LIKE" && escapeCharacter === "" && !pattern.includes("_")) {
    return { ...node, pattern: { kind: "string", value: pattern }, escape: undefined };
  }
  const regex = likeRegex(pattern, escapeCharacter);
  if (regex === undefined) return undefined;
  const flags = node.op === "LIKE" ? "s" : "is";
  const call: SqlExpression = {
    kind: "call",
    name: "regexp_full_match",
    distinct: false,
    args: [node.operand, { kind: "string", value: regex }, { kind: "string", value: flags }],
    orderBy: [],
    filter: undefined,
    at: 0,
  };
  return node.not ? { kind: "not", operand: call } : call;
}

/**
 * The RE2 expression that matches what a LIKE pattern matches, for a match of the whole text with `.` taking newlines.
 *
 * @param escapeCharacter One character, or empty where none is set.
 * @returns undefined where the pattern ends in its escape character.
 */
function likeRegex(pattern: string, escapeCharacter: string): string | undefined {
  let regex = "";
  let escaped = false;
  for (const character of pattern) {
    if (!escaped && character === escapeCharacter) {
      escaped = true;
      continue;
    }
    if (!escaped && character === "%") regex += regex.endsWith(".*") ? "" : ".*";
    else if (!escaped && character === "_") regex += ".";
    else regex += /[\\.+*?()|[\]{}^$]/.test(character) ? `\\${character}` : character;
    escaped = false;
  }
  return escaped ? undefined : regex;
}
