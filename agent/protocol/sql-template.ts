/**
 * SQL of PostgreSQL without what may be secret: literals become `?`, comments go, and lists of values become one.
 *
 * One pass, linear in the text. What is not closed (a text that was cut) counts as closed at its end, so nothing of a
 * cut literal or comment is kept. Words and names stand as they were sent, but for those that are values: of settings
 * (`SET a TO b`), behind PASSWORD, and of a statement that begins with a word of no statement.
 *
 * @see https://www.postgresql.org/docs/current/sql-syntax-lexical.html
 */

import type { CarriedContext } from "./exchange.ts";
import { looksSecretName, REDACTED } from "./secrets.ts";
import { beginsStatement, SqlSummary } from "./sql-summary.ts";
import { parseTraceparent } from "./trace-context.ts";

/** Longest template, in UTF-16 code units; what exceeds it is cut off. */
const TEMPLATE_CHARS_MAX = 4096;

/** A statement, or several sent as one text. */
export interface SqlStatement {
  /** Literals are `?`, lists of them one `?`, white space is one space. */
  readonly template: string;
  /** As `template`, with lists as long as they were. */
  readonly text: string;
  /** Operations and their targets, in order: bounded as far as the application's own names are. */
  readonly summary: string;
  /** First operation in capitals, such as `SELECT` or `CREATE TABLE`; empty where none is known. */
  readonly operation: string;
  /** The one table or other target, empty where there are several or none. */
  readonly collection: string;
  readonly procedure: string;
  /** Statements that it consists of. */
  readonly statements: number;
  /** From a comment, as SQLCommenter writes it. */
  readonly context: CarriedContext | undefined;
}

/** How a text is to be read. */
export interface SqlReading {
  readonly redaction: boolean;
  /** `standard_conforming_strings` is off: a backslash escapes in any string. */
  readonly backslashEscapes: boolean;
}

const TRACEPARENT = /traceparent='([0-9a-f-]{55})'/;
const TRACESTATE = /tracestate='([^']{0,600})'/;

/** Words after which a sign belongs to a number. */
const NO_OPERAND: ReadonlySet<string> = new Set(
  "SELECT WHERE AND OR NOT LIMIT OFFSET THEN ELSE WHEN BY BETWEEN IN LIKE ILIKE VALUES SET CASE RETURNING ON HAVING IS FROM AS DEFAULT ALL ANY".split(
    " ",
  ),
);

/** Things whose statements hold passwords. */
const ROLES: ReadonlySet<string> = new Set(["ROLE", "USER", "GROUP"]);

/** Reads a text of one or more statements. */
export function readSql(sql: string, reading: SqlReading): SqlStatement {
  return new SqlReader(sql, reading).read();
}

/** A list of values that may become one. */
interface List {
  /** Where it begins in `#template`, behind its bracket. */
  readonly start: number;
  readonly depth: number;
  onlyValues: boolean;
}

class SqlReader {
  readonly #sql: string;
  readonly #reading: SqlReading;
  readonly #summary = new SqlSummary();
  #at = 0;
  #template = "";
  #text = "";
  /** White space or a comment stands before the next token. */
  #spaced = false;
  /** What was read last can be an operand, so a sign after it is an operator. */
  #afterOperand = false;
  #afterString = false;
  #lastWord = "";
  /** First words of the statement at hand, in capitals; empty before them. */
  #verb = "";
  #object = "";
  /** SET was read of a statement that sets something; behind `=` or TO its words are values. */
  #setting: "none" | "name" | "value" = "none";
  #depth = 0;
  #list: List | undefined;
  /** Rows of VALUES: depth, where the first row begins and ends in the template, and where the one at hand begins. */
  #rows: { depth: number; start: number; end: number; rowStart: number } | undefined;
  #context: CarriedContext | undefined;

  constructor(sql: string, reading: SqlReading) {
    this.#sql = sql;
    this.#reading = reading;
  }

  read(): SqlStatement {
    const sql = this.#sql;
    while (this.#at < sql.length && this.#template.length < TEMPLATE_CHARS_MAX) this.#token();
    const { operation, collection, procedure, statements } = this.#summary.end();
    const isPlain = !this.#reading.redaction;
    const plain = isPlain ? sql.slice(0, TEMPLATE_CHARS_MAX) : "";
    return {
      template: isPlain ? plain : this.#template.slice(0, TEMPLATE_CHARS_MAX),
      text: isPlain ? plain : this.#text.slice(0, TEMPLATE_CHARS_MAX),
      summary: this.#summary.text(),
      operation,
      collection,
      procedure,
      statements,
      context: this.#context,
    };
  }

  #token(): void {
    const sql = this.#sql;
    const at = this.#at;
    const code = sql.charCodeAt(at);
    const next = sql.charCodeAt(at + 1);
    if (isSpace(code)) {
      this.#at++;
      this.#spaced = true;
    } else if (code === 0x2d && next === 0x2d) this.#lineComment();
    else if (code === 0x2f && next === 0x2a) this.#blockComment();
    else if (this.#verb === "" && !this.#mayBegin(code)) this.#literal(sql.length, false);
    else if (code === 0x27) this.#literal(endOfString(sql, at, this.#reading.backslashEscapes), true);
    else if (code === 0x22) this.#quotedName();
    else if (code === 0x24) this.#dollar();
    else if (isDigit(code) || (code === 0x2e && isDigit(next))) this.#literal(endOfNumber(sql, at), false);
    else if ((code === 0x2d || code === 0x2b) && !this.#afterOperand && (isDigit(next) || next === 0x2e)) {
      this.#literal(endOfNumber(sql, at + 1), false);
    } else if (isNameStart(code)) this.#word();
    else this.#sign(code);
  }

  /** May what stands here begin a statement? If not, somebody typed something else, which may be a secret. */
  #mayBegin(code: number): boolean {
    if (!isNameStart(code)) return code === 0x28 || code === 0x3b;
    let end = this.#at + 1;
    while (end < this.#sql.length && isNamePart(this.#sql.charCodeAt(end))) end++;
    return beginsStatement(this.#sql.slice(this.#at, end).toUpperCase());
  }

  #lineComment(): void {
    const end = this.#sql.indexOf("\n", this.#at);
    this.#at = end < 0 ? this.#sql.length : end;
    this.#spaced = true;
  }

  /** Comments may stand in comments. */
  #blockComment(): void {
    const sql = this.#sql;
    const start = this.#at;
    let depth = 0;
    let at = start;
    do {
      if (sql.startsWith("/*", at)) {
        depth++;
        at += 2;
      } else if (sql.startsWith("*/", at)) {
        depth--;
        at += 2;
      } else at++;
    } while (depth > 0 && at < sql.length);
    this.#at = at;
    this.#spaced = true;
    if (this.#context !== undefined || at - start > 2048) return;
    const comment = sql.slice(start, at);
    const parent = TRACEPARENT.exec(comment)?.[1];
    if (parent !== undefined) this.#context = parseTraceparent(parent, decoded(TRACESTATE.exec(comment)?.[1]));
  }

  #literal(end: number, isString: boolean): void {
    this.#at = end;
    // Strings with nothing but line ends between them are one.
    if (!(isString && this.#afterString && this.#spaced)) this.#emit("?");
    this.#spaced = false;
    this.#afterString = isString;
    this.#afterOperand = true;
    this.#lastWord = "";
    this.#summary.literal();
  }

  #quotedName(): void {
    const sql = this.#sql;
    const end = endOfQuoted(sql, this.#at, 0x22);
    const isClosed = end - this.#at > 1 && sql.charCodeAt(end - 1) === 0x22;
    const name = isClosed ? sql.slice(this.#at, end) : `"${REDACTED}"`;
    if (this.#isValue("")) {
      this.#literal(end, false);
      return;
    }
    this.#at = end;
    this.#name(looksSecretName(name) ? `"${REDACTED}"` : name, "");
  }

  #dollar(): void {
    const sql = this.#sql;
    const at = this.#at;
    if (isDigit(sql.charCodeAt(at + 1))) {
      let end = at + 1;
      while (isDigit(sql.charCodeAt(end))) end++;
      this.#at = end;
      this.#emit(sql.slice(at, end));
      this.#afterOperand = true;
      this.#afterString = false;
      this.#summary.literal();
      return;
    }
    let tagEnd = at + 1;
    while (tagEnd < sql.length && isNamePart(sql.charCodeAt(tagEnd)) && sql.charCodeAt(tagEnd) !== 0x24) tagEnd++;
    if (sql.charCodeAt(tagEnd) !== 0x24) {
      // A tag that was cut begins a string whose content is not there any more.
      if (tagEnd >= sql.length) this.#literal(tagEnd, true);
      else this.#sign(0x24);
      return;
    }
    const tag = sql.slice(at, tagEnd + 1);
    const end = sql.indexOf(tag, tagEnd + 1);
    this.#literal(end < 0 ? sql.length : end + tag.length, true);
  }

  #word(): void {
    const sql = this.#sql;
    const start = this.#at;
    let end = start + 1;
    while (end < sql.length && isNamePart(sql.charCodeAt(end))) end++;
    const word = sql.slice(start, end);
    const prefix = end - start === 1 ? "eEbBxXnN".indexOf(word) : -1;
    if (prefix >= 0 && sql.charCodeAt(end) === 0x27) {
      this.#literal(endOfString(sql, end, prefix < 2 || this.#reading.backslashEscapes), true);
      return;
    }
    if ((word === "U" || word === "u") && sql.charCodeAt(end) === 0x26 && sql.charCodeAt(end + 1) === 0x27) {
      this.#literal(endOfString(sql, end + 1, false), true);
      return;
    }
    const upper = word.toUpperCase();
    if (this.#isValue(upper)) {
      this.#literal(end, false);
      return;
    }
    this.#at = end;
    this.#name(word.length >= 16 && looksSecretName(word) ? REDACTED : word, upper);
    if (upper === "VALUES") this.#rows = { depth: this.#depth, start: -1, end: -1, rowStart: -1 };
  }

  /** Is a word, or a quoted name, a value here? */
  #isValue(upper: string): boolean {
    if (this.#setting === "value") return upper !== "DEFAULT";
    return this.#lastWord === "PASSWORD" && upper !== "NULL" && ROLES.has(this.#object);
  }

  /** Follows what kind of statement it is. */
  #follow(upper: string): void {
    if (this.#verb === "") this.#verb = upper;
    else if (this.#object === "") this.#object = upper;
    if (upper === "SET" && (this.#verb === "SET" || this.#verb === "ALTER")) this.#setting = "name";
    else if (upper === "TO" && this.#setting === "name") this.#setting = "value";
  }

  /** A word or, if `upper` is empty, a quoted name. */
  #name(name: string, upper: string): void {
    if (upper !== "") this.#follow(upper);
    if (this.#list !== undefined && upper !== "NULL") this.#list.onlyValues = false;
    this.#emit(name);
    this.#afterOperand = upper === "" || !NO_OPERAND.has(upper);
    this.#afterString = false;
    this.#lastWord = upper;
    this.#summary.word(name, upper);
  }

  #sign(code: number): void {
    const sign = String.fromCharCode(code);
    this.#at++;
    const isOpening = code === 0x28 || code === 0x5b;
    const isClosing = code === 0x29 || code === 0x5d;
    if (isClosing) this.#closeBracket();
    else if (this.#list !== undefined && code !== 0x2c) this.#list.onlyValues = false;
    if (isOpening) this.#depth++;
    this.#emit(sign);
    if (isOpening) this.#openBracket(code);
    if (isClosing) this.#closed();
    if (code === 0x3b) this.#endStatement();
    else if (code === 0x3d && this.#setting === "name") this.#setting = "value";
    this.#afterOperand = isClosing;
    this.#afterString = false;
    this.#lastWord = "";
    this.#summary.sign(sign);
  }

  #endStatement(): void {
    this.#rows = undefined;
    this.#verb = "";
    this.#object = "";
    this.#setting = "none";
  }

  #openBracket(code: number): void {
    const isList = (code === 0x28 && this.#lastWord === "IN") || (code === 0x5b && this.#lastWord === "ARRAY");
    if (isList) this.#list = { start: this.#template.length, depth: this.#depth, onlyValues: true };
    else if (this.#list !== undefined) this.#list.onlyValues = false;
    if (this.#rows !== undefined && this.#depth === this.#rows.depth + 1) {
      this.#rows.rowStart = this.#template.length - 1;
      if (this.#rows.start < 0) this.#rows.start = this.#rows.rowStart;
    }
  }

  /** A list of nothing but values becomes one `?`. */
  #closeBracket(): void {
    const list = this.#list;
    if (list !== undefined && list.depth === this.#depth) {
      if (list.onlyValues && this.#template.length > list.start) {
        this.#template = `${this.#template.slice(0, list.start)}?`;
        this.#spaced = false;
      }
      this.#list = undefined;
    }
    if (this.#depth > 0) this.#depth--;
  }

  /** A row like the first one goes. */
  #closed(): void {
    const rows = this.#rows;
    if (rows === undefined || rows.depth !== this.#depth || rows.rowStart < 0) return;
    if (rows.end < 0) rows.end = this.#template.length;
    else {
      const first = this.#template.slice(rows.start, rows.end);
      if (this.#template.slice(rows.rowStart) === first) this.#template = this.#template.slice(0, rows.end);
      else rows.end = -1;
      if (rows.end < 0) this.#rows = undefined;
    }
  }

  #emit(token: string): void {
    const isFirst = this.#text.length === 0;
    const gap = this.#spaced && !isFirst ? " " : "";
    this.#template += gap + token;
    this.#text += gap + token;
    this.#spaced = false;
  }
}

function decoded(text: string | undefined): string {
  if (text === undefined) return "";
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** Where the string that begins at `at` ends; the end of the text where it is not closed. */
function endOfString(sql: string, at: number, hasEscapes: boolean): number {
  for (let i = at + 1; i < sql.length; i++) {
    const code = sql.charCodeAt(i);
    if (code === 0x5c && hasEscapes) i++;
    else if (code === 0x27) {
      if (sql.charCodeAt(i + 1) !== 0x27) return i + 1;
      i++;
    }
  }
  return sql.length;
}

function endOfQuoted(sql: string, at: number, quote: number): number {
  for (let i = at + 1; i < sql.length; i++) {
    if (sql.charCodeAt(i) !== quote) continue;
    if (sql.charCodeAt(i + 1) !== quote) return i + 1;
    i++;
  }
  return sql.length;
}

/** Numbers with what may be written in them: `1_000`, `0xff`, `1.5e-3`. */
function endOfNumber(sql: string, at: number): number {
  let end = at;
  while (end < sql.length) {
    const code = sql.charCodeAt(end);
    const isExponent = (sql.charCodeAt(end - 1) | 0x20) === 0x65 && end > at && isDigit(sql.charCodeAt(end + 1));
    const isSign = (code === 0x2b || code === 0x2d) && isExponent;
    const isRange = code === 0x2e && sql.charCodeAt(end + 1) === 0x2e;
    if (isRange || !(isNamePart(code) || code === 0x2e || isSign)) break;
    end++;
  }
  return end;
}

function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 0x09 && code <= 0x0d);
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isNameStart(code: number): boolean {
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f || code >= 0x80;
}

function isNamePart(code: number): boolean {
  return isNameStart(code) || isDigit(code) || code === 0x24;
}
