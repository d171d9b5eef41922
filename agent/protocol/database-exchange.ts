/**
 * What the exchanges of all databases share: their empty form, errors, and ends that were not seen.
 *
 * @see OpenTelemetry semantic conventions for database client spans
 */

import type { Exchange, ExchangeStatus, MessageMark } from "./exchange.ts";

/** Attributes of an exchange while they are collected. */
export type Attributes = Record<string, string | number | boolean>;

/** An exchange of which only the request, or nothing, is known yet. `attributes` stays the caller's to add to. */
export function exchangeOfDatabase(
  protocol: string,
  op: string,
  mark: MessageMark | undefined,
  attributes: Attributes,
): Exchange {
  return {
    protocol,
    type: "request",
    op,
    resource: "",
    endpoint: op,
    status: "unknown",
    code: "",
    id: "",
    stream: 0,
    version: "",
    request: mark,
    response: undefined,
    context: undefined,
    attributes,
    cutShort: "",
  };
}

/** Enters the code of an error; it is the span's `error.type` where the fault is the server's. */
export function enterDatabaseError(exchange: Exchange, code: string, status: ExchangeStatus): void {
  exchange.code = code;
  exchange.status = status;
  const attributes = attributesOf(exchange);
  attributes["db.response.status_code"] = code;
  if (status === "server_error") attributes["error.type"] = code;
}

/** Enters why an exchange ended before its end. What the agent did not see is no fault. */
export function cutDatabaseShort(exchange: Exchange, reason: string): void {
  exchange.cutShort = reason;
  if (reason === "timeout" && exchange.type === "request") exchange.status = "timeout";
  if (reason !== "gap" && exchange.type === "request") attributesOf(exchange)["error.type"] = reason;
}

/** Attributes of an exchange that `exchangeOfDatabase` made, whose object grows until the exchange is finished. */
export function attributesOf(exchange: Exchange): Attributes {
  return exchange.attributes as Attributes;
}
