/**
 * What pairing gives: calls of two halves, or of one, as edges; halves that stay without another as unpaired series.
 */

import { KIND_CONSUMER, KIND_PRODUCER, SPAN_KINDS } from "../model/span-batch.ts";
import { type EdgeCall, EdgeSeriesSet } from "./edge-series.ts";
import { FLAG_DATABASE, FLAG_FAILED, type HalfEdge, SIDE_SERVER } from "./half-edges.ts";
import { type Sides, unpairedSides } from "./lone-halves.ts";
import { UnpairedSeriesSet } from "./unpaired-series.ts";

/** How a call of which one side was seen is counted. */
export interface AloneCount {
  /** In the store's minutes only, not in Tempo's series. */
  readonly minutesOnly: boolean;
  /** -1 takes back what was counted before. */
  readonly sign?: 1 | -1;
}

/** Edges, unpaired series, and spans that formed no edge in the series, by kind. */
export class EdgeCounts {
  readonly edges: EdgeSeriesSet;
  readonly unpaired = new UnpairedSeriesSet();
  readonly #expired = new Array<number>(SPAN_KINDS.length).fill(0);
  readonly #dropped = new Array<number>(SPAN_KINDS.length).fill(0);
  #appeared = false;
  readonly #call: EdgeCall = {
    client: "",
    server: "",
    type: "",
    weight: 1,
    failed: false,
    serverNs: undefined,
    clientNs: undefined,
    messagingNs: undefined,
    bucketMs: 0,
    virtualServer: false,
    minutesOnly: false,
  };

  constructor(edgesMax?: number) {
    this.edges = new EdgeSeriesSet(edgesMax);
  }

  /** Spans given up by span kind, since the start: waited in vain, or had no room. */
  get givenUp(): { expired: Record<string, number>; dropped: Record<string, number> } {
    const byKind = (counts: readonly number[]) =>
      Object.fromEntries(SPAN_KINDS.map((kind, at) => [kind, counts[at] ?? 0]));
    return { expired: byKind(this.#expired), dropped: byKind(this.#dropped) };
  }

  /** Whether an edge or another series appeared since the last time. */
  takeAppeared(): boolean {
    const appeared = this.#appeared;
    this.#appeared = false;
    return appeared;
  }

  /** Counts the edge of two halves. */
  countPair(client: HalfEdge, server: HalfEdge, nowMs: number, minutesOnly: boolean): void {
    const isDatabase = (client.flags & FLAG_DATABASE) !== 0;
    const isMessage = client.kind === KIND_PRODUCER || server.kind === KIND_CONSUMER;
    const messagingNs = server.startNs - (client.startNs + client.latencyNs);
    const call = this.#call;
    call.client = client.service;
    call.server = server.service;
    call.type = isDatabase ? "database" : isMessage ? "messaging_system" : "";
    call.weight = server.weight;
    call.failed = ((client.flags | server.flags) & FLAG_FAILED) !== 0;
    call.serverNs = server.latencyNs;
    call.clientNs = client.latencyNs;
    call.messagingNs = isMessage && messagingNs > 0 ? messagingNs : undefined;
    call.bucketMs = server.bucketMs;
    call.virtualServer = false;
    call.minutesOnly = minutesOnly;
    this.#count(nowMs);
  }

  /** Counts an edge of which one side was seen; a database counts the client's latency for both. */
  countAlone(half: HalfEdge, edge: Sides, nowMs: number, { minutesOnly, sign = 1 }: AloneCount): void {
    const isServer = half.side === SIDE_SERVER;
    const call = this.#call;
    call.client = edge.client;
    call.server = edge.server;
    call.type = edge.type;
    call.weight = sign * half.weight;
    call.failed = (half.flags & FLAG_FAILED) !== 0;
    call.serverNs = isServer || edge.type === "database" ? half.latencyNs : undefined;
    call.clientNs = isServer ? undefined : half.latencyNs;
    call.messagingNs = undefined;
    call.bucketMs = half.bucketMs;
    call.virtualServer = !isServer;
    call.minutesOnly = minutesOnly;
    this.#count(nowMs);
  }

  /** Counts a half that found no other. */
  countUnpaired(what: "unpaired" | "dropped", half: HalfEdge, nowMs: number): void {
    const counts = what === "dropped" ? this.#dropped : this.#expired;
    counts[half.kind] = (counts[half.kind] ?? 0) + half.weight;
    if (this.unpaired.count(what, unpairedSides(half), half.weight, nowMs)) this.#appeared = true;
  }

  /** Counts a half of the store that was unpaired and has paired since. */
  countBackfilled(stored: HalfEdge, nowMs: number): void {
    if (this.unpaired.count("backfilled", unpairedSides(stored), stored.weight, nowMs)) this.#appeared = true;
  }

  #count(nowMs: number): void {
    if (this.edges.count(this.#call, nowMs)) this.#appeared = true;
  }
}
