/** Why a PromQL text is refused, in Prometheus' own words. */

import type { TextRange } from "./promql-tree.ts";
import { lineColumnAt } from "./text-position.ts";

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
    super(`${at.line}:${at.column}: parse error: ${reason}`);
    this.name = "PromqlSyntaxError";
    this.reason = reason;
    this.position = position;
    this.line = at.line;
    this.column = at.column;
  }
}

/** Quotes as Go's `%q`: printable characters stand, everything else is escaped. */
export function quoteGo(text: string): string {
  let out = '"';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (character === '"' || character === "\\") out += `\\${character}`;
    else if (character === "\n") out += "\\n";
    else if (character === "\t") out += "\\t";
    else if (character === "\r") out += "\\r";
    else if (character === "\x07") out += "\\a";
    else if (character === "\b") out += "\\b";
    else if (character === "\f") out += "\\f";
    else if (character === "\v") out += "\\v";
    else if (code < 0x20 || code === 0x7f) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (code >= 0x80 && !isPrintable(character)) {
      out += code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
    } else out += character;
  }
  return `${out}"`;
}

function isPrintable(character: string): boolean {
  return /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(character);
}
