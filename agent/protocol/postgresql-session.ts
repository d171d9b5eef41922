/**
 * What holds for a whole PostgreSQL connection: its database, and how its strings are read.
 */

import { statementOf } from "./postgresql-exchange.ts";
import { databaseOf, endOfText, textOf } from "./postgresql-text.ts";
import type { SqlStatement } from "./sql-template.ts";

/** The settings of one connection. */
export class PgSession {
  readonly #redaction: boolean;
  #backslashEscapes = false;
  /** Empty where the startup was not seen. */
  database = "";

  constructor(redaction: boolean) {
    this.#redaction = redaction;
  }

  /** A startup message. */
  begin(bytes: Uint8Array): void {
    this.database = databaseOf(bytes);
  }

  /** `ParameterStatus`. */
  setParameter(bytes: Uint8Array): void {
    const nameEnd = endOfText(bytes, 0);
    if (textOf(bytes, 0, nameEnd) !== "standard_conforming_strings") return;
    this.#backslashEscapes = textOf(bytes, nameEnd + 1, endOfText(bytes, nameEnd + 1)) === "off";
  }

  /** Reads the SQL that begins at `start`. */
  read(bytes: Uint8Array, start: number): SqlStatement {
    const sql = textOf(bytes, start, endOfText(bytes, start));
    return statementOf(sql, { redaction: this.#redaction, backslashEscapes: this.#backslashEscapes });
  }
}
