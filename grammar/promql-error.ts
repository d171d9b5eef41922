/** Why a PromQL text is refused, in Prometheus' own words. */

import type { TextRange } from "./promql-tree.ts";
import { lineColumnAt, offsetOfByte } from "./text-position.ts";

/** A refused PromQL text. `message` is the whole line a user sees: `1:5: parse error: …`. */
export class PromqlSyntaxError extends Error {
  /** The text without place and prefix. */
  readonly reason: string;
  readonly position: TextRange;
  readonly line: number;
  /** Counts from 1, in UTF-8 bytes. */
  readonly column: number;

  constructor(text: string, position: TextRange, reason: string) {
    const at = lineColumnAt(text, position.start);
    const place = text === "" ? "unknown position" : `${at.line}:${at.column}`;
    super(`${place}: parse error: ${reason}`);
    this.name = "PromqlSyntaxError";
    this.reason = reason;
    this.position = position;
    this.line = at.line;
    this.column = at.column;
  }
}

/** Characters of a line that are shown around a mistake. */
const FRAME_COLUMNS = 100;

/**
 * The line that a refusal names (`2:7: parse error: …`) with a caret under the place: two lines, for a fixed-width font.
 *
 * Of a long line only the part around the mistake is shown; control characters are spaces, so that columns agree. Undefined
 * where the message names no place in the text.
 */
export function caretFrame(text: string, message: string): string | undefined {
  const place = /(?:^|[^\d])(\d+):(\d+): parse error: /.exec(message);
  const line = text.split("\n")[Number(place?.[1] ?? "0") - 1];
  if (line === undefined) return undefined;
  const at = offsetOfByte(line, Number(place?.[2]) - 1);
  const from = Math.max(0, at - FRAME_COLUMNS / 2);
  const shown = line.slice(from, from + FRAME_COLUMNS).replaceAll(/\p{Cc}/gu, " ");
  return `${shown}\n${" ".repeat(at - from)}^`;
}

/** Quotes as Go's `%q`: printable characters stand, everything else is escaped. A lone byte (see `promql-string.ts`) is `\x..`. */
export function quoteGo(text: string): string {
  const escaped = (character: string) => (character === '"' ? '\\"' : escapeGo(character));
  return `"${text.replace(/["\\]|[^ \p{L}\p{M}\p{N}\p{P}\p{S}]/gu, escaped)}"`;
}

/** One character in single quotes, as Go's `%q` of a rune; `undefined` is the end of the text. */
export function quoteGoCharacter(character: string | undefined): string {
  if (character === undefined) return "'\ufffd'";
  return `'${character === "'" ? "\\'" : escapeGo(character)}'`;
}

/** `U+0063 'c'`, as Go's `%#U`; without the character where it is not printable. */
export function describeCodePoint(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  return isPrintable(character) ? `${name} '${character}'` : name;
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\n": "\\n",
  "\t": "\\t",
  "\r": "\\r",
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\v": "\\v",
};

function escapeGo(character: string): string {
  const short = SHORT_ESCAPES[character];
  if (short !== undefined) return short;
  if (isPrintable(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

function isPrintable(character: string): boolean {
  return /^[ \p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(character);
}
