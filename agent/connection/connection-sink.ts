/**
 * What the connection room tells the span room: exchanges, with the connection they passed on.
 */

import type { Endpoint, Owner } from "../../server/model/capture-event.ts";
import type { Exchange } from "../protocol/exchange.ts";

/** A connection as one sight of it shows it. The object lives as long as the connection; owners may become known later. */
export interface Connection {
  /** Number of the sight, as in `SocketOpened`. */
  readonly socket: number;
  readonly sight: "end" | "both" | "wire";
  /** Which end the sight belongs to; `both` sights see client and server. Decided at the latest when an exchange starts. */
  side: "client" | "server" | "both";
  client: Endpoint;
  server: Endpoint;
  readonly netns: number;
  readonly joinedLate: boolean;
  /** What is read of it are the clear bytes of TLS. */
  readonly isTls: boolean;
  /** Such as `1.3`; empty where it was not seen. */
  tlsVersion: string;
  clientOwner: Owner | undefined;
  serverOwner: Owner | undefined;
}

/** Receives exchanges in the order in which they start and finish on a connection. Calls are synchronous. */
export interface ConnectionSink {
  exchangeStarted(connection: Connection, exchange: Exchange): void;
  /** Called once for each exchange; for a `response` or `message` without `exchangeStarted` before it. */
  exchangeFinished(connection: Connection, exchange: Exchange): void;
  connectionClosed(connection: Connection, timeNs: number): void;
  /**
   * What passes on the connection from here on is not read: an unknown protocol, an upgrade, a parser that failed.
   * `connectionClosed` follows at its end.
   */
  connectionUnread?(connection: Connection): void;
  /** What passed on the connection until now, and what will, is lost; `reason` is the one it is counted under. */
  connectionLost?(connection: Connection, reason: "parser_failed" | "connections_max"): void;
  /** What passes on a connection that was `connectionUnread` is read after all, under another `Connection` of the same sight. */
  connectionRead?(connection: Connection): void;
}
