/**
 * What a protocol registers so that connections can be recognised as its own and handed to its parser.
 */

import type { ExchangeSink, ProtocolParser } from "./exchange.ts";
import type { PathTemplates } from "./path-template.ts";

/** `yes` claims the connection, `no` rules the protocol out, `more` wants to see more bytes first. */
export type Verdict = "yes" | "no" | "more";

/** What a parser is given when its connection was recognised. */
export interface ParserContext {
  /** Replace whatever may be secret before it enters an exchange. */
  readonly redaction: boolean;
  /** The first bytes of each direction may lie inside a message. */
  readonly joinedLate: boolean;
  /** Bounded names of the server's resources, shared by all of its connections. */
  readonly templates: PathTemplates;
  /** The bytes are the clear ones of TLS. */
  readonly isTls?: boolean;
  /** Counts something left out under its reason, such as `http1_pending_max`. */
  count(reason: string): void;
}

/** One application protocol. */
export interface Protocol {
  /** As in `Exchange.protocol`. */
  readonly name: string;
  /** Ports of its servers, most usual first. They break ties and nothing else. */
  readonly ports: readonly number[];
  /** Tokens of HTTP's `Upgrade` after which a connection speaks it. */
  readonly upgradeTokens: readonly string[];
  /**
   * Judges the first bytes of a message. Must be cheap, pure and linear, and never throw.
   *
   * @param bytes From the first byte of the message, or what may be one, on.
   * @param direction 0 asks whether a client may have sent them, 1 whether a server may.
   * @param isCut What follows of the message will not be seen, so `more` is as good as `no`.
   */
  detect(bytes: Uint8Array, direction: 0 | 1, isCut?: boolean): Verdict;
  /** A parser for one connection; what it reads goes to `sink`. */
  create(sink: ExchangeSink, context: ParserContext): ProtocolParser;
}
