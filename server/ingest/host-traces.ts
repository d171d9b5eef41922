/**
 * Traces of agents on several hosts: which client span, seen on another host, a trace began under, and what it is called.
 *
 * An agent that saw only the server's end of a message makes a root span of it, whose trace id is computed from the
 * message. The client's span of the same message has an id computed from it too, so each trace with a computed id knows
 * the id of the client span it began with. Where addresses are translated between the ends the messages differ; there
 * the TCP sequence numbers of request and answer join them, if no other message has the same.
 *
 * Invariants: the name of a trace never changes once it was asked for by `decide`; each table has two generations of
 * `GENERATION_MAX` entries, of a minute each at most. Pure.
 */

import {
  hashId,
  ID_CLIENT_SPAN,
  ID_SERVER_SPAN,
  ID_TRACE_HIGH,
  ID_TRACE_LOW,
  type Lanes,
  messageOfId,
} from "../model/message-ids.ts";
import { Generations } from "./generations.ts";

/** Entries of a table's generation, at most some 8 MiB. */
const GENERATION_MAX = 65_536;
const GENERATION_MS = 60_000;
/** Hosts in a row; a longer chain is cut. */
const CHAIN_MAX = 64;

/** A trace id in 32 hex digits as a number of 128 bits. */
export type TraceId = bigint;

/** How the two ends of a message were found to be one. */
type JoinRule = "hosts" | "hosts-nat";

/** A client span seen on some host, in the trace its agent gave it. */
export interface ClientHalf {
  readonly spanId: bigint;
  readonly trace: TraceId;
  readonly rule: JoinRule;
}

/** What a trace is known to be: `final`, or still to be told by the client span `awaits`. */
export type Resolution =
  | { readonly kind: "final"; readonly trace: TraceId }
  | { readonly kind: "open"; readonly awaits: bigint };

/** Several messages have these sequence numbers. */
const SHARED = "shared";

/** See the file's head. */
export class HostTraces {
  /** By the id that the client span of a message has as the server's end computes it. */
  readonly #clients = new Generations<bigint, ClientHalf>(GENERATION_MAX, GENERATION_MS);
  readonly #clientsBySequences = new Generations<string, ClientHalf | typeof SHARED>(GENERATION_MAX, GENERATION_MS);
  /** Computed ids of client spans of servers that found none, by sequence numbers. */
  readonly #serversBySequences = new Generations<string, bigint | typeof SHARED>(GENERATION_MAX, GENERATION_MS);
  /** Client spans that servers behind translated addresses know by another id. */
  readonly #computed = new Generations<bigint, readonly bigint[]>(GENERATION_MAX, GENERATION_MS);
  readonly #names = new Generations<TraceId, TraceId>(GENERATION_MAX, GENERATION_MS);

  age(nowMs: number): void {
    this.#clients.age(nowMs);
    this.#clientsBySequences.age(nowMs);
    this.#serversBySequences.age(nowMs);
    this.#computed.age(nowMs);
    this.#names.age(nowMs);
  }

  /**
   * Takes a client span. `sequences` is empty where its agent told none.
   *
   * @returns Ids of client spans, as servers' ends compute them, that are known since.
   */
  addClient(spanId: bigint, trace: TraceId, sequences: string): bigint[] {
    const told = [spanId];
    this.#clients.set(spanId, { spanId, trace, rule: "hosts" });
    if (sequences === "") return told;
    const half: ClientHalf = { spanId, trace, rule: "hosts-nat" };
    const known = this.#clientsBySequences.get(sequences);
    const isAgain = known !== undefined && known !== SHARED && known.spanId === spanId;
    this.#clientsBySequences.set(sequences, known === undefined || isAgain ? half : SHARED);
    const waiting = this.#serversBySequences.get(sequences);
    if ((known === undefined || isAgain) && typeof waiting === "bigint" && this.#adopt(waiting, half)) {
      told.push(waiting);
    }
    return told;
  }

  /** Takes a server span that is a root in a trace of its own. @returns As `addClient`. */
  addServer(spanId: bigint, sequences: string): bigint[] {
    const client = clientOfServer(spanId);
    if (sequences === "" || this.#clients.get(client) !== undefined) return [];
    const known = this.#serversBySequences.get(sequences);
    const isOnly = known === undefined || known === client;
    this.#serversBySequences.set(sequences, isOnly ? client : SHARED);
    const half = this.#clientsBySequences.get(sequences);
    if (!isOnly || half === undefined || half === SHARED) return [];
    return this.#adopt(client, half) ? [client] : [];
  }

  /** The client span that a root server span answers; undefined while none is known. */
  clientOf(serverSpanId: bigint): ClientHalf | undefined {
    return this.#clients.get(clientOfServer(serverSpanId));
  }

  /** Ids that the ends of servers compute for this client span: its own, and that behind translated addresses. */
  computedOf(spanId: bigint): readonly bigint[] {
    return this.#computed.get(spanId) ?? [spanId];
  }

  /** What is known of a trace. */
  resolve(trace: TraceId): Resolution {
    let at = trace;
    for (let steps = 0; steps < CHAIN_MAX; steps++) {
      const name = this.#names.get(at);
      if (name !== undefined) return { kind: "final", trace: name };
      const client = clientOfTrace(at);
      if (client === undefined) return { kind: "final", trace: at };
      const half = this.#clients.get(client);
      if (half === undefined) return { kind: "open", awaits: client };
      if (half.trace === at) return { kind: "final", trace: at };
      at = half.trace;
    }
    return { kind: "final", trace: at };
  }

  /** The name of a trace from now on: what it is known to be, or of a chain that is not known to its end the end known. */
  decide(trace: TraceId): TraceId {
    let at = trace;
    const passed: TraceId[] = [];
    for (let steps = 0; steps < CHAIN_MAX; steps++) {
      const name = this.#names.get(at);
      if (name !== undefined) {
        at = name;
        break;
      }
      passed.push(at);
      const client = clientOfTrace(at);
      const half = client === undefined ? undefined : this.#clients.get(client);
      if (half === undefined || half.trace === at) break;
      at = half.trace;
    }
    for (const each of passed) this.#names.set(each, at);
    return at;
  }

  #adopt(client: bigint, half: ClientHalf): boolean {
    if (this.#clients.get(client) !== undefined) return false;
    this.#clients.set(client, half);
    this.#computed.set(half.spanId, [half.spanId, client]);
    return true;
  }
}

const id: Lanes = { high: 0, low: 0 };
const message: Lanes = { high: 0, low: 0 };

/** Id of the client span of the message that a server span with this id answers. */
export function clientOfServer(spanId: bigint): bigint {
  split(spanId, id);
  messageOfId(id, ID_SERVER_SPAN, message);
  return clientOfMessage();
}

/** The trace that the agent of a server's end gave the message of a client span. */
export function traceOfClient(spanId: bigint): TraceId {
  split(spanId, id);
  messageOfId(id, ID_CLIENT_SPAN, message);
  hashId(message.high, message.low, ID_TRACE_HIGH, id);
  const high = joined(id);
  hashId(message.high, message.low, ID_TRACE_LOW, id);
  return (high << 64n) | joined(id);
}

/** Id of the client span of the message that a trace began with; undefined for ids that are not computed. */
function clientOfTrace(trace: TraceId): bigint | undefined {
  split(trace >> 64n, id);
  messageOfId(id, ID_TRACE_HIGH, message);
  hashId(message.high, message.low, ID_TRACE_LOW, id);
  return joined(id) === BigInt.asUintN(64, trace) ? clientOfMessage() : undefined;
}

function clientOfMessage(): bigint {
  hashId(message.high, message.low, ID_CLIENT_SPAN, id);
  return joined(id);
}

function split(value: bigint, out: Lanes): void {
  out.high = Number(BigInt.asIntN(32, value >> 32n));
  out.low = Number(BigInt.asIntN(32, value));
}

function joined({ high, low }: Lanes): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
