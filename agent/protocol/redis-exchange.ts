/**
 * Exchanges out of Redis' commands and replies: names, attributes, status.
 *
 * @see OpenTelemetry semantic conventions for Redis spans
 */

import { type Attributes, attributesOf, enterDatabaseError, exchangeOfDatabase } from "./database-exchange.ts";
import type { Exchange, ExchangeStatus, MessageMark } from "./exchange.ts";
import { type CommandName, commandText, isVerbKnown, OTHER_COMMAND, storedProcedure } from "./redis-command.ts";
import { isErrorReply, type Reply } from "./redis-reply.ts";
import type { Command } from "./redis-request.ts";
import { hasDigit, looksSecretName } from "./secrets.ts";

/** Errors that are the server's state and not the command's fault. */
const SERVER_FAULTS: ReadonlySet<string> = new Set(
  "OOM LOADING BUSY MASTERDOWN CLUSTERDOWN TRYAGAIN READONLY MISCONF NOREPLICAS NOGOODSLAVE IOERR UNBLOCKED".split(" "),
);
/** The command belongs to another node: the client goes there, and nothing has failed. */
const REDIRECTS: ReadonlySet<string> = new Set(["MOVED", "ASK"]);
/** Code of an error whose first word is none. */
const ERROR_CODE = "ERR";
const CODE = /^[A-Z][A-Z0-9_]{1,31}$/;

/** The exchange that a command begins. `namespace` is the number of the database, empty where it is not known. */
export function exchangeOfCommand(
  command: Command,
  name: CommandName,
  mark: MessageMark,
  setting: { readonly namespace: string; readonly redaction: boolean },
): Exchange {
  const text = commandText(name, command.words, command.count, setting.redaction);
  const attributes: Attributes = { "db.system.name": "redis", "db.operation.name": name.full, "db.query.text": text };
  if (setting.namespace !== "") attributes["db.namespace"] = setting.namespace;
  const stored = storedProcedure(name.verb, command.words);
  if (stored !== "") attributes["db.stored_procedure.name"] = stored;
  const exchange = exchangeOfDatabase("redis", name.verb, mark, attributes);
  exchange.resource = text;
  exchange.endpoint = name.full;
  return exchange;
}

/** The exchange of a reply whose command was not seen. */
export function exchangeOfReply(reply: Reply, mark: MessageMark): Exchange {
  const exchange = exchangeOfDatabase("redis", "", undefined, { "db.system.name": "redis" });
  exchange.endpoint = "redis";
  answerCommand(exchange, reply, mark);
  exchange.type = "response";
  return exchange;
}

/** Enters the reply to a command, or what was seen of it. */
export function answerCommand(exchange: Exchange, reply: Reply, mark: MessageMark): void {
  exchange.type = "exchange";
  exchange.response = mark;
  if (!isErrorReply(reply)) {
    exchange.status = "ok";
    return;
  }
  const code = errorCode(reply.word);
  enterDatabaseError(exchange, code, statusOf(code));
  if (exchange.op !== "" && !isVerbKnown(exchange.op) && hasDigit(exchange.op)) hideName(exchange);
}

/** What the server did not take, and holds digits, may be a password that was typed as a command. */
function hideName(exchange: Exchange): void {
  exchange.op = exchange.endpoint = OTHER_COMMAND;
  exchange.resource = exchange.resource.replace(/^\S+/, OTHER_COMMAND);
  const attributes = attributesOf(exchange);
  attributes["db.operation.name"] = OTHER_COMMAND;
  attributes["db.query.text"] = exchange.resource;
}

function errorCode(line: string): string {
  const space = line.indexOf(" ");
  const word = space < 0 ? line : line.slice(0, space);
  return CODE.test(word) && !looksSecretName(word) ? word : ERROR_CODE;
}

function statusOf(code: string): ExchangeStatus {
  if (REDIRECTS.has(code)) return "ok";
  return SERVER_FAULTS.has(code) ? "server_error" : "client_error";
}
