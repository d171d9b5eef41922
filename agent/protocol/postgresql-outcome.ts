/**
 * What becomes of a PostgreSQL item once it is over: an exchange, a message that makes no span, or nothing.
 */

import { cutDatabaseShort } from "./database-exchange.ts";
import type { Exchange, ExchangeSink } from "./exchange.ts";
import { enterRows, exchangeOfStatement } from "./postgresql-exchange.ts";
import type { Item } from "./postgresql-item.ts";
import type { PgSession } from "./postgresql-session.ts";

/** Hands the items of one connection to its sink. */
export class PgOutcomes {
  readonly #sink: ExchangeSink;
  readonly #session: PgSession;

  constructor(sink: ExchangeSink, session: PgSession) {
    this.#sink = sink;
    this.#session = session;
  }

  /** What is no call: upkeep, and what nobody answers. */
  oneWay(exchange: Exchange): void {
    exchange.type = "message";
    this.#sink.finished(exchange);
  }

  /** Its result was seen. */
  finish(item: Item): void {
    const { exchange } = item;
    if (item.kind === "startup") this.#finishStartup(item);
    else if (exchange === undefined) this.#preparedOnly(item);
    else {
      exchange.type = "exchange";
      exchange.response = item.response;
      if (item.rows >= 0 && !item.hasFailed) enterRows(exchange, item.rows);
      const isSure = item.hasFailed || item.rows !== -2 || item.isAnswered;
      if (!item.hasFailed) exchange.status = isSure ? "ok" : "unknown";
      this.#sink.finished(exchange);
    }
  }

  /** Its result will not be seen. */
  abandon(item: Item, reason: string): void {
    const { exchange } = item;
    if (exchange === undefined) return;
    if (item.kind === "startup") {
      exchange.response = item.response;
      this.oneWay(exchange);
    } else if (item.isAnswered || item.hasFailed) this.finish(item);
    else {
      cutDatabaseShort(exchange, reason);
      this.#sink.finished(exchange);
    }
  }

  /** A startup is a call only where it failed. */
  #finishStartup({ exchange, response, hasFailed }: Item): void {
    if (exchange === undefined) return;
    exchange.response = response;
    if (hasFailed) {
      exchange.type = "exchange";
      this.#sink.finished(exchange);
    } else {
      exchange.status = "ok";
      this.oneWay(exchange);
    }
  }

  /** A round trip that executes nothing. It counts as upkeep, not as a call. */
  #preparedOnly({ statement, request, response }: Item): void {
    if (statement === undefined) return;
    const exchange = exchangeOfStatement(statement, request, this.#session.database);
    exchange.endpoint = "PREPARE";
    exchange.response = response;
    exchange.status = "ok";
    this.oneWay(exchange);
  }
}
