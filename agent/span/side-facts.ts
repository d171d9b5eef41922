/**
 * What a side of a hop tells by itself, with nothing around it. Pure.
 */

import type { Connection } from "../connection/connection-sink.ts";
import type { Exchange, MessageMark } from "../protocol/exchange.ts";
import type { HopSide } from "./hop.ts";
import { hashText, isUnixPath, lanesKey } from "./message-identity.ts";

/** Why a side of an exchange made no span. */
export type DropReason =
  | "response_only"
  | "one_way"
  | "gap"
  | "no_request"
  | "repeated_sight"
  | "capture_ended"
  | "tls_handshake"
  | "open_hops_max";

/** A handshake of TLS that did not fail is no call of its own. */
export function isHandshake({ protocol, code }: Exchange): boolean {
  return protocol === "tls" && code === "";
}

/** Why a finished side makes no span; undefined where it makes one. */
export function dropReason(side: HopSide): DropReason | undefined {
  if (side.repeated) return "repeated_sight";
  if (side.exchange.response !== undefined) return undefined;
  if (side.exchange.type === "message") return "one_way";
  // Whether the request would have been answered was not seen: a span would blame or excuse by guess.
  if (side.exchange.cutShort === "gap") return "gap";
  return side.exchange.cutShort === "" ? "capture_ended" : undefined;
}

/** What stays of a message's identity behind translated addresses: sequence, the client's port, and what is asked. */
export function translatedKey(connection: Connection, exchange: Exchange, request: MessageMark): number {
  // Both ends of a path see the same names.
  if (isUnixPath(connection.server.addr)) return 0;
  const asked = hashText(exchange.resource, hashText(exchange.op, connection.client.port));
  return lanesKey(request.seq, asked) + 1;
}

/** Owner of the socket of a side's end. */
export function ownerOf(side: HopSide) {
  return side.kind === "client" ? side.connection.clientOwner : side.connection.serverOwner;
}

/** What a side's process is called where it is not known. */
export function fallbackName(side: HopSide): string {
  const owner = ownerOf(side);
  if (owner !== undefined && owner.fallbackName !== "") return owner.fallbackName;
  if (side.pid !== 0) return `pid-${side.pid}`;
  return side.kind === "server" ? `unknown:${side.connection.server.port}` : "unknown";
}
