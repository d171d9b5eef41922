/** Why a SQL text is refused before it reaches the engine. */

import { lineColumnAt } from "./text-position.ts";

/** `syntax`: the text; `not_allowed`: what it asks for; both are final. */
export type SqlRefusalCode =
  | "syntax"
  | "not_allowed"
  | "unknown_column"
  | "ambiguous_column"
  | "parameter"
  | "too_large";

/** A refused statement. `line` and `column` count from 1; the column counts UTF-8 bytes. */
export class SqlTextError extends Error {
  readonly code: SqlRefusalCode;
  readonly line: number;
  readonly column: number;
  /** The way out; empty where there is none to give. */
  readonly hint: string;

  constructor(text: string, at: number, code: SqlRefusalCode, message: string, hint = "") {
    super(message);
    const place = lineColumnAt(text, at);
    this.name = "SqlTextError";
    this.code = code;
    this.line = place.line;
    this.column = place.column;
    this.hint = hint;
  }
}
