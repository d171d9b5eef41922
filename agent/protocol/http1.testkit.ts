/** Plays conversations to a parser, of HTTP/1 unless told, and collects what it reads. */

import type { Exchange, ProtocolParser } from "./exchange.ts";
import { HTTP1 } from "./http1.ts";
import { PathTemplates } from "./path-template.ts";
import type { Protocol } from "./protocol.ts";

/** Bytes of one read or write: `>` client to server, `<` server to client. A number is a gap. */
export type Step = readonly [direction: ">" | "<", bytes: string | Uint8Array | number];

export interface PlayOptions {
  readonly joinedLate?: boolean;
  readonly redaction?: boolean;
  /** How the connection ends: by FIN, by RST, or not at all. */
  readonly end?: "closed" | "reset" | "stopped" | "open";
  readonly templates?: PathTemplates;
  readonly protocol?: Protocol;
}

export interface Played {
  readonly exchanges: Exchange[];
  readonly started: Exchange[];
  readonly counts: string[];
  readonly parser: ProtocolParser;
  /** Bytes that the parser left when it let go. */
  readonly unused: number;
}

const STEP_NS = 1e6;

/** Plays steps one millisecond apart, from 1 ms on. */
export function play(steps: readonly Step[], options: PlayOptions = {}): Played {
  const exchanges: Exchange[] = [];
  const started: Exchange[] = [];
  const counts: string[] = [];
  const parser = (options.protocol ?? HTTP1).create(
    { started: (exchange) => started.push(exchange), finished: (exchange) => exchanges.push(exchange) },
    {
      redaction: options.redaction ?? true,
      joinedLate: options.joinedLate ?? false,
      templates: options.templates ?? new PathTemplates(),
      count: (reason) => counts.push(reason),
    },
  );
  const seq: [number, number] = [0, 0];
  let timeNs = 0;
  let unused = 0;
  for (const [arrow, bytes] of steps) {
    timeNs += STEP_NS;
    const direction = arrow === ">" ? 0 : 1;
    if (typeof bytes === "number") {
      parser.gap(direction, bytes, timeNs, 1);
      seq[direction] += Math.max(0, bytes);
      continue;
    }
    const payload = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    const used = parser.data(direction, { bytes: payload, timeNs, seq: seq[direction], tid: 1, pid: 1 });
    unused += payload.length - used;
    seq[direction] += payload.length;
  }
  const end = options.end ?? "closed";
  if (end === "stopped") parser.stopped();
  else if (end !== "open") parser.closed(timeNs + STEP_NS, end === "reset");
  return { exchanges, started, counts, parser, unused };
}

/** One line per exchange, for tables: `exchange GET /a 200`. */
export function brief(played: Played): string[] {
  return played.exchanges.map((exchange) => {
    const words = [exchange.type, exchange.op, exchange.resource, exchange.code, exchange.cutShort];
    return words.filter((word) => word !== "").join(" ");
  });
}

/** Everything of an exchange that does not depend on when its bytes came. */
export function timeless(exchanges: readonly Exchange[]): unknown {
  return exchanges.map((exchange) => ({
    ...exchange,
    request: exchange.request && [exchange.request.seq, exchange.request.bytes],
    response: exchange.response && [exchange.response.seq, exchange.response.bytes],
  }));
}

/** Pseudo-random numbers from 0 to 1, the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}
