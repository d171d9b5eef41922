/**
 * What a protocol parser reads: requests with their responses. Pure data, shared by all protocols.
 */

/** Where and when a message was seen. Times are boot-time nanoseconds; `seq` is the stream's number of the first byte. */
export interface MessageMark {
  startNs: number;
  endNs: number;
  seq: number;
  bytes: number;
  /** Thread and process whose call carried the first byte; 0 where unknown. */
  tid: number;
  pid: number;
  /** Thread whose call carried the last byte seen. */
  lastTid: number;
}

/** Status of an exchange in protocol-neutral words; `timeout` and `unknown` where no response was seen. */
export type ExchangeStatus = "ok" | "client_error" | "server_error" | "timeout" | "unknown";

/** Trace context found in a request's headers. Ids are lower-case hex and never all zero. */
export interface CarriedContext {
  readonly kind: "traceparent";
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
  readonly traceState: string;
}

/** Attribute values by OpenTelemetry semantic-convention name, redacted already. */
type ExchangeAttributes = Readonly<Record<string, string | number | boolean>>;

/** One request with its response, or what was seen of them. */
export interface Exchange {
  readonly protocol: string;
  /** `exchange` both sides seen; `request` without answer; `response` without request; `message` one-way. */
  type: "exchange" | "request" | "response" | "message";
  /** Command or method, such as `GET`. */
  op: string;
  /** High-cardinality detail, redacted: path, key, question. */
  resource: string;
  /** Low-cardinality name, such as `GET /users/{id}`. */
  endpoint: string;
  status: ExchangeStatus;
  /** The protocol's own code; empty where no response was seen. */
  code: string;
  /** What pairs response and request where the protocol has it; else empty. */
  id: string;
  /** HTTP/2 stream and the like; 0 where the protocol has none. */
  stream: number;
  version: string;
  request: MessageMark | undefined;
  /** Of the final response; interim ones are left out, so `startNs` gives the time to first byte. */
  response: MessageMark | undefined;
  context: CarriedContext | undefined;
  /** `X-Request-ID` of the request and of its answer, where one was sent; evidence that leaves with no span. */
  requestId?: string;
  answerId?: string;
  attributes: ExchangeAttributes;
  /** Why an exchange ended before its end: `connection_closed`, `gap`, `timeout`, `reset`; empty otherwise. */
  cutShort: string;
}

/** Receives what a parser reads. Calls are synchronous. */
export interface ExchangeSink {
  /** The head of a request was read; `exchange` is the object that `finished` gets later. */
  started(exchange: Exchange): void;
  /** The exchange is over: answered, cut short, or one-way. Called once for each exchange. */
  finished(exchange: Exchange): void;
}

/** A stretch of bytes handed to a parser, in stream order. `bytes` is only valid during the call. */
export interface StreamSlice {
  bytes: Uint8Array;
  timeNs: number;
  /** Sequence number of the first byte, modulo 2^32. */
  seq: number;
  tid: number;
  pid: number;
}

/** Parser of one connection. Direction 0 is client to server, 1 is server to client. */
export interface ProtocolParser {
  /**
   * Bytes in order. Throws only on a bug; hostile bytes make it let go (`detached`).
   *
   * @returns How many bytes were used: all of them, or fewer where the call made the parser let go.
   */
  data(direction: 0 | 1, slice: StreamSlice): number;
  /** `count` bytes passed unseen (cut by the capture limit or lost); -1 where their number is unknown. */
  gap(direction: 0 | 1, count: number, timeNs: number, tid: number): void;
  /** The connection ended. */
  closed(timeNs: number, reset: boolean): void;
  /** Capture ends though the connection does not: what is open is finished as far as it was seen, without blame. */
  stopped(): void;
  /** Called about once a second: finishes what has waited too long for its other side. */
  expire(nowNs: number): void;
  /** Set once the parser lets go: what follows is detected afresh (upgrade, CONNECT) or ignored. */
  readonly detached: "" | "upgrade" | "tunnel" | "invalid";
  /** What both ends agreed to speak from here on, lower-case, such as `websocket` or `h2c`; empty where not said. */
  readonly detachedTo: string;
}
