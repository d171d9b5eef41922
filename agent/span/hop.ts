/**
 * One request as its two ends see it, and the trace it belongs to.
 *
 * A hop is *settled* when its parent can no longer change: a context was carried, its client side was seen, or the
 * linger is over. The trace id of a hop is that of the root of its chain of parents and is written down once the
 * whole chain is settled; it never changes after that, so that every span leaves with its final trace id.
 */

import { hashId, ID_TRACE_HIGH, ID_TRACE_LOW, type Lanes } from "../../server/model/message-ids.ts";
import type { Connection } from "../connection/connection-sink.ts";
import type { CarriedContext, Exchange, MessageMark } from "../protocol/exchange.ts";
import type { LinkReason, UnlinkedReason } from "./call-parent.ts";
import type { LoopCause } from "./loop-causes.ts";
import type { OpenCall, OpenRequest, ProcessRequests } from "./process-requests.ts";

/** Longest chain of in-process parents followed to its root; a longer one is cut there. */
const chainHopsMax = 64;

/** Why the client span of a hop is the parent of its server span. */
export type JoinReason = "message" | "message-nat" | "one-sight";

/**
 * Why parts of a trace may be missing around a span: events were lost while it was open; the parser of a connection of its
 * process failed, or its state had to make room, while it was open; it is the first on a connection older than the agent.
 */
export type IncompleteReason = "events_lost" | "parser_failed" | "connections_max" | "joined_late";

const NOTHING_MISSING: readonly IncompleteReason[] = [];

/** A trace id in four lanes of 32 bits, highest first. */
export interface TraceLanes {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

/** One request between two processes. */
export interface Hop {
  /** Hash of the identity of its request. */
  readonly high: number;
  readonly low: number;
  readonly key: number;
  /** Key of the second index, for ends that see different addresses. */
  readonly natKey: number;
  client: HopSide | undefined;
  server: HopSide | undefined;
  context: CarriedContext | undefined;
  /** The server request inside which the client of this hop made its call. */
  parent: HopSide | undefined;
  /** What the first call made inside this request carried that carried a context of the program's own. */
  below: CarriedContext | undefined;
  joinedBy: JoinReason;
  /** After this time on the room's clock a missing client side is not waited for. */
  readonly settleAtNs: number;
  settled: boolean;
  /** The parent will be told by an answer or a proof that is still to come, at the latest then on the room's clock; 0: no. */
  awaitsUntilNs: number;
  /** Undefined until it is final. */
  trace: TraceLanes | undefined;
  /** Sides not finished yet. */
  openSides: number;
  /** Finished sides that wait for this hop to settle. */
  waiting: HopSide[] | undefined;
  /** Neighbours by arrival while the hop lingers; the table's own. */
  earlier: Hop | undefined;
  later: Hop | undefined;
}

/** One end's sight of a hop. It becomes one span. */
export class HopSide implements OpenRequest, OpenCall {
  readonly kind: "client" | "server";
  readonly hop: Hop;
  readonly connection: Connection;
  readonly exchange: Exchange;
  readonly request: MessageMark;
  alone = true;
  openAt = -1;
  /** Where this side is counted among the open requests and calls of its process; undefined where threads are unknown. */
  requests: ProcessRequests<HopSide, HopSide> | undefined = undefined;
  /** Client: what the event loop was about at the call; a guess. */
  cause: LoopCause<HopSide> | undefined = undefined;
  /** Client: why the parent was drawn, or why none was. */
  link: LinkReason | UnlinkedReason | "" = "";
  /** The first bytes of the answer were seen; client: by a loop. */
  isAnswerSeen = false;
  /** Server: see `OpenRequest`. */
  readerTid = 0;
  /** Another sight of the same end came first; this one makes no span. */
  readonly repeated: boolean;
  /** Boot-time nanoseconds; known once finished. */
  endNs = 0;
  /** On the room's clock: when it is sent at the latest. */
  sendAtNs = 0;
  /** On the room's clock: until when it waits for a parent that is told by an answer. */
  decideAtNs = 0;
  /** In the room's queue of sides that wait. */
  queued = false;
  /** Why parts of its trace may be missing; see `IncompleteReason`. */
  incomplete: readonly IncompleteReason[] = NOTHING_MISSING;
  /** Cut by the end of its connection, the time of which is not told yet. */
  cut = false;
  sent = false;

  constructor(kind: "client" | "server", hop: Hop, connection: Connection, exchange: Exchange, request: MessageMark) {
    this.kind = kind;
    this.hop = hop;
    this.connection = connection;
    this.exchange = exchange;
    this.request = request;
    this.repeated = hop[kind] !== undefined;
    if (!this.repeated) hop[kind] = this;
    hop.openSides += 1;
  }

  /** Parts of the trace around this side may be missing. */
  isIncomplete(reason: IncompleteReason): void {
    if (!this.incomplete.includes(reason)) this.incomplete = [...this.incomplete, reason];
  }

  /** @see OpenRequest */
  get answering(): boolean {
    return this.exchange.response !== undefined;
  }

  /** @see OpenRequest */
  get endpoint(): string {
    return this.exchange.endpoint;
  }

  /** @see OpenRequest */
  get carriedId(): string {
    return this.exchange.requestId ?? "";
  }

  /** @see OpenRequest */
  get answerId(): string {
    return this.exchange.answerId ?? "";
  }

  /** Process of this end; 0 where unknown. On hooks it is the one that made the call, which may not be the socket's first owner. */
  get pid(): number {
    if (this.connection.sight === "end" && this.request.pid !== 0) return this.request.pid;
    const owner = this.kind === "client" ? this.connection.clientOwner : this.connection.serverOwner;
    return owner === undefined ? 0 : owner.pid;
  }
}

/** The hop nearest to `hop` on the way to its root that is not settled; undefined where all are. */
export function firstUnsettled(hop: Hop): Hop | undefined {
  let at: Hop | undefined = hop;
  for (let steps = 0; at !== undefined && steps < chainHopsMax; steps++) {
    if (at.trace !== undefined) return undefined;
    if (!at.settled) return at;
    at = above(at);
  }
  return undefined;
}

/** Trace id of a hop in four lanes. Settles whatever of its chain was not, so that the id stays true. */
export function finalTrace(hop: Hop): TraceLanes {
  let root = hop;
  for (let steps = 0; steps < chainHopsMax; steps++) {
    root.settled = true;
    const next = above(root);
    if (root.trace !== undefined || next === undefined) break;
    root = next;
  }
  root.trace ??= rootTrace(root);
  for (let at: Hop | undefined = hop; at !== undefined && at !== root; at = above(at)) at.trace = root.trace;
  return root.trace;
}

/**
 * The context that a call made inside this request carried, where the trace of the request was computed: the program
 * began a trace of its own for the same work. Undefined where there is none.
 */
export function contextBelow(hop: Hop): CarriedContext | undefined {
  if (hop.below === undefined) return undefined;
  let root = hop;
  for (let steps = 0; steps < chainHopsMax; steps++) {
    const next = above(root);
    if (next === undefined) break;
    root = next;
  }
  return root.context === undefined ? hop.below : undefined;
}

function above(hop: Hop): Hop | undefined {
  return hop.context === undefined ? hop.parent?.hop : undefined;
}

const lanes: Lanes = { high: 0, low: 0 };

function rootTrace(hop: Hop): TraceLanes {
  const carried = hop.context?.traceId;
  if (carried !== undefined) {
    const lane = (at: number) => Number.parseInt(carried.slice(8 * at, 8 * at + 8), 16) | 0;
    return { a: lane(0), b: lane(1), c: lane(2), d: lane(3) };
  }
  hashId(hop.high, hop.low, ID_TRACE_HIGH, lanes);
  const { high: a, low: b } = lanes;
  hashId(hop.high, hop.low, ID_TRACE_LOW, lanes);
  return { a, b, c: lanes.high, d: lanes.low };
}
