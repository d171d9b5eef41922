/**
 * Exchanges out of PostgreSQL's messages: names, attributes, status.
 *
 * @see OpenTelemetry semantic conventions for PostgreSQL spans
 */

import { type Attributes, attributesOf, enterDatabaseError, exchangeOfDatabase } from "./database-exchange.ts";
import type { Exchange, ExchangeStatus, MessageMark } from "./exchange.ts";
import { looksSecretName } from "./secrets.ts";
import { readSql, type SqlReading, type SqlStatement } from "./sql-template.ts";

/** Texts whose reading is remembered, and the longest that is; all are forgotten when there are more. */
const REMEMBERED_MAX = 512;
const REMEMBERED_CHARS_MAX = 4096;
const remembered = new Map<string, SqlStatement>();

/** Summaries that name spans; what comes later is named by its operation alone. */
const SUMMARIES_MAX = 2000;
const summaries = new Set<string>();

/** Classes of SQLSTATE that tell of a fault of the statement, not of the server. */
const CLIENT_CLASSES: ReadonlySet<string> = new Set(
  "02 03 07 0A 0B 0F 0L 0P 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 42 44 P0".split(" "),
);
const SQLSTATE = /^[0-9A-Z]{5}$/;

/** Reads SQL, or remembers how it reads. */
export function statementOf(sql: string, reading: SqlReading): SqlStatement {
  const key = `${reading.redaction ? 1 : 0}${reading.backslashEscapes ? 1 : 0}${sql}`;
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const statement = readSql(sql, reading);
  if (sql.length <= REMEMBERED_CHARS_MAX) {
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    remembered.set(key, statement);
  }
  return statement;
}

/** An exchange of something that is no statement, such as `startup`. */
export function exchangeOfSession(op: string, mark: MessageMark | undefined, database: string): Exchange {
  const attributes: Attributes = { "db.system.name": "postgresql" };
  if (database !== "") attributes["db.namespace"] = database;
  return exchangeOfDatabase("postgresql", op, mark, attributes);
}

/** The exchange of a statement whose SQL is known. */
export function exchangeOfStatement(statement: SqlStatement, mark: MessageMark, database: string): Exchange {
  const { template, text, summary, operation, collection, procedure } = statement;
  const space = operation.indexOf(" ");
  const verb = space < 0 ? operation : operation.slice(0, space);
  const exchange = exchangeOfSession(verb === "" ? "QUERY" : verb, mark, database);
  const attributes = attributesOf(exchange);
  exchange.resource = text;
  exchange.context = statement.context;
  exchange.endpoint = boundedName(summary, operation);
  if (template !== "") attributes["db.query.text"] = template;
  if (summary !== "") attributes["db.query.summary"] = summary;
  if (operation !== "") attributes["db.operation.name"] = operation;
  if (collection !== "") attributes["db.collection.name"] = collection;
  if (procedure !== "") attributes["db.stored_procedure.name"] = procedure;
  return exchange;
}

/** The exchange of a prepared statement whose SQL was not seen. */
export function exchangeOfUnknown(name: string, mark: MessageMark, database: string): Exchange {
  const exchange = exchangeOfSession("EXECUTE", mark, database);
  exchange.resource = name === "" || looksSecretName(name) ? "?" : `?${name.slice(0, 64)}`;
  return exchange;
}

/** Enters what `CommandComplete` says: `INSERT 0 1`. */
export function enterTag(exchange: Exchange, tag: string): void {
  if (exchange.attributes["db.operation.name"] !== undefined) return;
  const verb = /^[A-Z]+( [A-Z]+)*/.exec(tag)?.[0];
  if (verb === undefined || verb.length > 40) return;
  const space = verb.indexOf(" ");
  exchange.op = space < 0 ? verb : verb.slice(0, space);
  exchange.endpoint = verb;
  attributesOf(exchange)["db.operation.name"] = verb;
}

/** Enters how many rows came; of statements that return none it is left out. */
export function enterRows(exchange: Exchange, rows: number): void {
  attributesOf(exchange)["db.response.returned_rows"] = rows;
}

/** Enters an `ErrorResponse`. */
export function enterError(exchange: Exchange, sqlstate: string): void {
  const code = SQLSTATE.test(sqlstate) ? sqlstate : "XX000";
  enterDatabaseError(exchange, code, statusOf(code));
}

function statusOf(code: string): ExchangeStatus {
  const kind = code.slice(0, 2);
  if (kind === "00" || kind === "01") return "ok";
  return CLIENT_CLASSES.has(kind) ? "client_error" : "server_error";
}

function boundedName(summary: string, operation: string): string {
  if (summary === "") return operation === "" ? "postgresql" : operation;
  if (summaries.has(summary)) return summary;
  if (summaries.size >= SUMMARIES_MAX) return operation === "" ? "postgresql" : operation;
  summaries.add(summary);
  return summary;
}
