/**
 * The service graph: pairs the two sides of calls as spans arrive.
 *
 * Tempo's rules, with five additions: a root span the agent saw is an edge from `user` at once, and one whose parent
 * never shows is one too (the agent computes parent ids, so an unseen parent is an unknown caller); consumers pair
 * with every producer they name by parent or link, and a producer with every consumer; a duplicate may tell who
 * called, and is not counted itself; what the agent saw of a call that carried a parent id of the program's own pairs by
 * connection, and counts once with the program's span; a server span left over in the end is an edge from `unknown` in the store's
 * minutes, and stays unpaired in the series.
 *
 * Invariant: every server span with `duplicateOf` 0 is in exactly one edge of the minutes, at expiry at the latest.
 */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import type { SampleToAppend } from "../model/series.ts";
import { KIND_CLIENT, KIND_CONSUMER, KIND_PRODUCER, KIND_SERVER, type SpanBatch } from "../model/span-batch.ts";
import { readLinks, type SpanLink } from "../model/span-links.ts";
import { type BatchInHand, fillHalf, peerOf, takeInHand } from "./batch-in-hand.ts";
import { type BatchHalves, isZero } from "./batch-rows.ts";
import type { Cadence } from "./cadence.ts";
import { EdgeCounts } from "./edge-counts.ts";
import type { MinuteRow } from "./edge-series.ts";
import { readHalves, writeHalves } from "./half-edge-bytes.ts";
import {
  copySpan,
  FLAG_CARRIED,
  FLAG_DATABASE,
  FLAG_GHOST,
  FLAG_KERNEL,
  FLAG_LOOKED_FOR,
  FLAG_QUIET,
  FLAG_ROOT,
  type HalfEdge,
  HalfEdges,
  SIDE_CLAIM,
  SIDE_CLIENT,
  SIDE_SERVER,
  SIDE_SETTLED,
} from "./half-edges.ts";
import { type LateCall, LateHalves } from "./late-halves.ts";
import { type StoredRows, storedSides } from "./late-pairing.ts";
import { aloneEdge, canBeLate, isKeyed, UNSEEN_PARENT } from "./lone-halves.ts";
import { boundedValue } from "./series-labels.ts";

/** How long a span waits for its other side; Tempo's default. */
export const EDGE_WAIT_MS = 10_000;
/** Spans that wait at one time. */
const WAITING_MAX = 65_536;
const SETTLED_MAX = 4_096;
const CLAIMS_MAX = 4_096;
/** Sizes that tests make small. */
export interface GraphLimits {
  readonly waitMs?: number;
  readonly waitingMax?: number;
  readonly edgesMax?: number;
}

/** What happened to spans that formed no edge in the series, by span kind, since the start. */
export interface GraphCounts {
  readonly waiting: number;
  readonly expired: Readonly<Record<string, number>>;
  readonly dropped: Readonly<Record<string, number>>;
  readonly overflowCalls: number;
  /** Calls whose sides met through the store, and halves that were not looked for, since too many were. */
  readonly backfilled: number;
  readonly notLookedFor: number;
}

/** A call whose sides met through the store: `late` and `stored` are `client` and `server` in either order. */
interface LatePair {
  readonly client: HalfEdge;
  readonly server: HalfEdge;
  readonly late: HalfEdge;
  readonly stored: HalfEdge;
  readonly isTaken: boolean;
}

/** Pairs spans; see the file's head. */
export class ServiceGraph {
  readonly #waitMs: number;
  readonly #halves: HalfEdges;
  readonly #counts: EdgeCounts;
  readonly #late = new LateHalves();
  /** Halves of calls that began before this, Unix milliseconds, may have been given up before the start. */
  #startedMs = Number.NEGATIVE_INFINITY;
  #backfilled = 0;

  constructor(limits: GraphLimits = {}) {
    this.#waitMs = limits.waitMs ?? EDGE_WAIT_MS;
    const waitingMax = limits.waitingMax ?? WAITING_MAX;
    this.#halves = new HalfEdges({ waitingMax, settledMax: SETTLED_MAX, claimsMax: CLAIMS_MAX });
    this.#counts = new EdgeCounts(limits.edgesMax);
  }

  /**
   * Takes the spans of a batch.
   *
   * Servers come first whatever their place, so that both sides of one call in one batch meet.
   *
   * @returns Whether an edge or another series appeared.
   */
  observe(batch: SpanBatch, rows: BatchHalves, nowMs: number): boolean {
    const hand = takeInHand(batch, rows, nowMs);
    for (let row = 0; row < batch.rows; row++) {
      const kind = batch.kind[row];
      if (kind === KIND_SERVER || kind === KIND_CONSUMER) this.#takeServer(hand, row, kind);
    }
    for (let row = 0; row < batch.rows; row++) {
      const kind = batch.kind[row];
      if (kind === KIND_CLIENT || kind === KIND_PRODUCER) this.#takeClient(hand, row);
    }
    return this.#counts.takeAppeared();
  }

  /** Gives up on spans that waited long enough. Returns whether a series appeared. */
  expire(nowMs: number): boolean {
    const untilMs = nowMs - this.#waitMs;
    for (
      let half = this.#halves.oldestWaiting(untilMs);
      half !== undefined;
      half = this.#halves.oldestWaiting(untilMs)
    ) {
      if (this.#mayBeStored(half) && this.#late.ask(half, true)) {
        half.flags |= FLAG_LOOKED_FOR;
        this.#halves.renew(half, nowMs);
      } else {
        this.#giveUp(half, nowMs, "unpaired");
        this.#halves.remove(half);
      }
    }
    this.#halves.forgetSettled(untilMs);
    return this.#counts.takeAppeared();
  }

  /** Calls of which one side waits and the other may be stored; answer each once with `settleLate`. */
  takeLate(callsMax: number): LateCall[] {
    return this.#late.take(callsMax);
  }

  /**
   * Pairs halves that still wait with the other side that the store has, and takes back what that side was counted as.
   *
   * @param stored Spans of the calls' traces; what came after `lastSequence` is passed over.
   * @returns Whether a series appeared.
   */
  settleLate(calls: readonly LateCall[], stored: StoredRows, lastSequence: number): boolean {
    for (const call of calls) this.#settleCall(call, stored, lastSequence);
    return this.#counts.takeAppeared();
  }

  takeMinutes(): MinuteRow[] {
    return this.#counts.edges.takeMinutes();
  }

  giveBack(rows: readonly MinuteRow[], nowMs: number): void {
    this.#counts.edges.giveBack(rows, nowMs);
  }

  pushZeros(nowMs: number, out: SampleToAppend[], groupsMax: number): Cadence[] {
    const ofEdges = this.#counts.edges.pushZeros(nowMs, out, groupsMax);
    return [...ofEdges, ...this.#counts.unpaired.pushZeros(nowMs, out, groupsMax - ofEdges.length)];
  }

  pushDue(nowMs: number, out: SampleToAppend[]): void {
    this.#counts.edges.pushDue(nowMs, out);
    this.#counts.unpaired.pushDue(nowMs, out);
  }

  markUnwritten(): void {
    this.#counts.edges.markUnwritten();
    this.#counts.unpaired.markUnwritten();
  }

  /** Nodes that have more edges than are kept apart, with the calls of the rest. */
  overflow(): { name: string; calls: number }[] {
    return this.#counts.edges.overflow();
  }

  counts(): GraphCounts {
    return {
      waiting: this.#halves.waiting,
      ...this.#counts.givenUp,
      overflowCalls: this.#counts.edges.overflowCalls,
      backfilled: this.#backfilled,
      notLookedFor: this.#late.refused,
    };
  }

  /** Writes edges and waiting spans. Minutes not taken yet are not part of it. */
  write(out: ByteWriter): void {
    this.#counts.edges.write(out);
    this.#counts.unpaired.write(out);
    writeHalves(out, this.#halves.all(), this.#halves.count);
  }

  read(reader: ByteReader, nowMs: number): void {
    this.#counts.edges.read(reader, nowMs);
    this.#counts.unpaired.read(reader, nowMs);
    readHalves(
      reader,
      () => this.#halves.acquire(),
      (half) => {
        half.flags &= ~FLAG_LOOKED_FOR;
        this.#halves.add(half, isKeyed(half));
      },
    );
    this.#startedMs = nowMs;
  }

  #takeServer(hand: BatchInHand, row: number, kind: number): void {
    const { batch, rows, nowMs } = hand;
    const half = this.#halves.acquire();
    fillHalf(half, hand, row, SIDE_SERVER);
    half.key0 = rows.parentSpanId[2 * row] ?? 0;
    half.key1 = rows.parentSpanId[2 * row + 1] ?? 0;
    if (isZero(rows.parentSpanId, row)) {
      half.flags |= FLAG_ROOT;
      half.peer = boundedValue(hand.peers.read(row).peer);
    }
    let kept = false;
    if (!hand.named[batch.resource[row] ?? 0]) {
      if ((half.flags & FLAG_GHOST) === 0) this.#countUnseen(half, nowMs);
    } else if (!this.#isClaimed(half)) {
      const linksFrom = row === 0 ? 0 : (batch.linksEnd[row - 1] ?? 0);
      const mayLink = kind === KIND_CONSUMER && (half.flags & FLAG_GHOST) === 0;
      const links = mayLink ? readLinks(batch.linksBlob, linksFrom, batch.linksEnd[row] ?? 0) : [];
      if (links.length > 0) this.#placeLinked(half, links, nowMs);
      else kept = this.#placeServer(half, nowMs);
    }
    if (!kept) this.#halves.release(half);
  }

  /** A consumer that links to producers: a copy of its half for each of them, and one for its parent. */
  #placeLinked(half: HalfEdge, links: readonly SpanLink[], nowMs: number): void {
    const seen = new Set<string>();
    const place = ({ trace, span }: SpanLink, flags: number) => {
      const key = `${trace.join()},${span.join()}`;
      if ((span[0] === 0 && span[1] === 0) || seen.has(key)) return;
      seen.add(key);
      const copy = this.#halves.acquire();
      copySpan(half, copy);
      [copy.trace0, copy.trace1, copy.trace2, copy.trace3] = trace;
      [copy.key0, copy.key1] = span;
      copy.flags = (copy.flags & ~FLAG_ROOT) | flags;
      if (!this.#placeServer(copy, nowMs)) this.#halves.release(copy);
    };
    for (const link of links) place(link, 0);
    const { trace0, trace1, trace2, trace3, key0, key1 } = half;
    place({ trace: [trace0, trace1, trace2, trace3], span: [key0, key1] }, FLAG_QUIET);
  }

  /** Pairs a server half, or lets it wait. Returns whether the table keeps it. */
  #placeServer(half: HalfEdge, nowMs: number): boolean {
    const halves = this.#halves;
    const ghost = (half.flags & FLAG_GHOST) !== 0;
    if ((half.flags & FLAG_ROOT) !== 0) {
      if (!ghost && (half.flags & FLAG_KERNEL) === 0) return this.#wait(half, nowMs);
      this.#giveUp(half, nowMs, "unpaired");
      return false;
    }
    const client =
      halves.find(SIDE_CLIENT, half, half.key0, half.key1, true) ??
      (ghost || !halves.hasGhosts ? undefined : halves.find(SIDE_CLIENT, half, half.key0, half.key1, false)) ??
      halves.find(SIDE_SETTLED, half, half.key0, half.key1, true);
    if (client === undefined) return this.#wait(half, nowMs);
    // Both stand for a call that another pair counts.
    if (ghost && client.side === SIDE_CLIENT && this.#isCountedElsewhere(client)) return false;
    if (client.side === SIDE_CLIENT) {
      this.#pair(client, half, nowMs);
      if ((client.flags & FLAG_GHOST) !== 0) halves.remove(client);
      else halves.settle(client, true, nowMs);
    } else if (client.kind === KIND_PRODUCER) {
      this.#pair(client, half, nowMs);
    } else if (!ghost) this.#countSecondServer(client, half, nowMs);
    return false;
  }

  /** Counts another server of a client span that has one: by Tempo's rules it could only expire. */
  #countSecondServer(client: HalfEdge, server: HalfEdge, nowMs: number): void {
    const edge = { client: client.service, server: server.service, type: "" } as const;
    this.#counts.countAlone(server, edge, nowMs, { minutesOnly: true });
    this.#counts.countUnpaired("unpaired", server, nowMs);
  }

  #takeClient(hand: BatchInHand, row: number): void {
    if (!hand.named[hand.batch.resource[row] ?? 0]) return;
    const half = this.#halves.acquire();
    fillHalf(half, hand, row, SIDE_CLIENT);
    const { parentSpanId } = hand.rows;
    const carried = half.connection !== 0 && !isZero(parentSpanId, row);
    if (carried) half.flags |= FLAG_CARRIED;
    half.key0 = carried ? (parentSpanId[2 * row] ?? 0) : half.own0;
    half.key1 = carried ? (parentSpanId[2 * row + 1] ?? 0) : half.own1;
    const peers = hand.peers.read(row);
    half.peer = boundedValue(peerOf(hand, row, peers));
    const kept = !this.#isClaimed(half) && this.#placeClient(half, boundedValue(peers.database), hand.nowMs);
    if (!kept) this.#halves.release(half);
  }

  /** Pairs a client half, or lets it wait. Returns whether the table keeps it. */
  #placeClient(half: HalfEdge, database: string, nowMs: number): boolean {
    const halves = this.#halves;
    const ghost = (half.flags & FLAG_GHOST) !== 0;
    const isDatabase = half.kind === KIND_CLIENT && database !== "" && !ghost;
    let server = this.#serverOf(half);
    if (isDatabase && (half.flags & FLAG_KERNEL) !== 0) {
      half.flags |= FLAG_DATABASE;
      half.peer = database;
    } else if (isDatabase) {
      this.#counts.countAlone(half, { client: half.service, server: database, type: "database" }, nowMs, {
        minutesOnly: false,
      });
      halves.settle(half, false, nowMs);
      return true;
    }
    if (this.#isCountedElsewhere(half)) half.flags |= FLAG_QUIET;
    const isQuiet = (half.flags & FLAG_QUIET) !== 0;
    if (server === undefined && !ghost && !isQuiet && halves.hasGhosts)
      server = halves.find(SIDE_SERVER, half, half.key0, half.key1, false);
    if (server === undefined) return this.#wait(half, nowMs);
    while (server !== undefined) {
      this.#pair(half, server, nowMs);
      halves.remove(server);
      server = half.kind === KIND_PRODUCER ? this.#serverOf(half) : undefined;
    }
    if (ghost) return false;
    for (let second = this.#serverOf(half); second !== undefined; second = this.#serverOf(half)) {
      if ((second.flags & FLAG_QUIET) === 0 && !this.#isClaimed(second)) this.#countSecondServer(half, second, nowMs);
      halves.remove(second);
    }
    halves.settle(half, false, nowMs);
    return true;
  }

  #serverOf(client: HalfEdge): HalfEdge | undefined {
    return this.#halves.find(SIDE_SERVER, client, client.key0, client.key1, true);
  }

  /**
   * Lets a half wait. Returns true: the table keeps it.
   *
   * Where there is no room, the half that waited longest is given up: refusing the newest would keep the two sides of
   * every call in a batch apart, for as long as roots and calls to unseen peers fill the table.
   */
  #wait(half: HalfEdge, nowMs: number): true {
    const halves = this.#halves;
    const oldest = halves.isFull ? halves.oldestWaiting(Number.POSITIVE_INFINITY) : undefined;
    if (oldest !== undefined) {
      this.#giveUp(oldest, nowMs, "dropped");
      halves.remove(oldest);
    }
    halves.add(half, isKeyed(half));
    if (half.side === SIDE_SERVER) this.#markSeenByAgent(half);
    const otherSide = half.side === SIDE_SERVER ? SIDE_CLIENT : SIDE_SERVER;
    if (canBeLate(half) && this.#late.wasGivenUp(half, otherSide) && this.#late.ask(half, false))
      half.flags |= FLAG_LOOKED_FOR;
    return true;
  }

  /** A server span whose call the agent saw too is one the agent saw, should its parent never come. */
  #markSeenByAgent(half: HalfEdge): void {
    const isGhost = (half.flags & FLAG_GHOST) !== 0;
    if (!isKeyed(half) || (half.flags & FLAG_KERNEL) !== (isGhost ? FLAG_KERNEL : 0)) return;
    const twin = this.#halves.findTwin(half);
    if (twin === undefined) return;
    const [ghost, counted] = isGhost ? [half, twin] : [twin, half];
    if ((ghost.flags & FLAG_KERNEL) !== 0) counted.flags |= FLAG_KERNEL;
  }

  /** A call that began before the start: its other side may have been given up by then, which nobody remembers. */
  #mayBeStored(half: HalfEdge): boolean {
    return canBeLate(half) && half.startNs / 1e6 < this.#startedMs && (half.flags & FLAG_LOOKED_FOR) === 0;
  }

  #settleCall(call: LateCall, stored: StoredRows, lastSequence: number): void {
    const halves = this.#halves;
    const side = call.missing === "client" ? SIDE_SERVER : SIDE_CLIENT;
    const [trace0, trace1, trace2, trace3] = call.trace;
    const [own0, own1] = call.own;
    const half = halves.findOwn(side, { trace0, trace1, trace2, trace3, own0, own1 }, call.key);
    if (half === undefined) return;
    const { nowMs } = stored;
    const sides = storedSides(call, stored, {
      lastSequence,
      acquire: () => halves.acquire(),
      waits: (ids) => halves.findOwn(side, ids, call.key) !== undefined,
    });
    let paired = false;
    for (const { half: other, isTaken } of sides) {
      const [client, server] = side === SIDE_CLIENT ? [half, other] : [other, half];
      // One that waits met the late half by itself.
      const waits = halves.findOwn(other.side, other, call.key) !== undefined;
      if (!waits) this.#pairLate({ client, server, late: half, stored: other, isTaken }, nowMs);
      paired ||= !waits;
      halves.release(other);
    }
    if (!paired) {
      if (!call.isExpired) return;
      this.#giveUp(half, nowMs, "unpaired");
      halves.remove(half);
      return;
    }
    this.#backfilled += half.weight;
    if (half.side === SIDE_CLIENT) halves.settle(half, true, nowMs);
    else halves.remove(half);
  }

  #pairLate({ client, server, late, stored, isTaken }: LatePair, nowMs: number): void {
    const edge = { client: client.service, server: server.service, type: "" } as const;
    if (isTaken && stored.side === SIDE_CLIENT) {
      this.#counts.countAlone(server, edge, nowMs, { minutesOnly: true });
      this.#counts.countUnpaired("unpaired", late, nowMs);
      return;
    }
    // Of a producer it is not known whether another consumer took that back already.
    const alone = stored.kind === KIND_PRODUCER ? undefined : aloneEdge(stored);
    if (alone !== undefined) this.#counts.countAlone(stored, alone, nowMs, { minutesOnly: true, sign: -1 });
    if (isTaken) {
      this.#counts.countAlone(server, edge, nowMs, { minutesOnly: true });
      return;
    }
    // A call that the series hold as one into this server is not counted in them again: they never go back.
    const isInSeries = alone !== undefined && alone.client !== UNSEEN_PARENT && alone.server === server.service;
    this.#pair(client, server, nowMs, isInSeries);
    if (stored.kind !== KIND_PRODUCER && (alone === undefined || alone.client === UNSEEN_PARENT)) {
      this.#counts.countBackfilled(stored, nowMs);
    }
  }

  /** Counts a half that stays alone: as an edge to or from a virtual node, or as unpaired. */
  #giveUp(half: HalfEdge, nowMs: number, what: "unpaired" | "dropped"): void {
    if ((half.flags & (FLAG_GHOST | FLAG_QUIET)) !== 0 || this.#isClaimed(half)) return;
    if (half.side === SIDE_CLIENT && this.#isCountedElsewhere(half)) return;
    if (canBeLate(half)) this.#late.remember(half);
    const alone = aloneEdge(half);
    const isUnseen = alone?.client === UNSEEN_PARENT;
    if (alone !== undefined) this.#counts.countAlone(half, alone, nowMs, { minutesOnly: isUnseen });
    if (alone === undefined || isUnseen) this.#counts.countUnpaired(what, half, nowMs);
  }

  #countUnseen(half: HalfEdge, nowMs: number): void {
    if (half.kind !== KIND_SERVER) return;
    this.#counts.countAlone(half, { client: UNSEEN_PARENT, server: half.service, type: "virtual_node" }, nowMs, {
      minutesOnly: true,
    });
  }

  /** Counts the edge of two halves, one of which may be a duplicate: then the span it stands for is claimed. */
  #pair(client: HalfEdge, server: HalfEdge, nowMs: number, minutesOnly = false): void {
    this.#counts.countPair(client, server, nowMs, minutesOnly);
    if ((client.flags & FLAG_GHOST) !== 0) this.#claim(client, nowMs);
    if ((server.flags & FLAG_GHOST) !== 0) this.#claim(server, nowMs);
  }

  /** Remembers that the span a duplicate stands for is in an edge, and takes it out where it waits as a client. */
  #claim(ghost: HalfEdge, nowMs: number): void {
    const { trace0, trace1, trace2, trace3, duplicateOf0: key0, duplicateOf1: key1 } = ghost;
    const claim = this.#halves.acquire();
    Object.assign(claim, { side: SIDE_CLAIM, trace0, trace1, trace2, trace3, key0, key1, arrivedMs: nowMs });
    this.#halves.add(claim);
    const counted = this.#halves.find(SIDE_CLIENT, ghost, key0, key1, true);
    if (counted !== undefined) this.#halves.remove(counted);
  }

  /**
   * Whether a client span's call is counted through another one: the program's own span and what the agent saw of the
   * same call stand under one key where the call carried the former's id.
   */
  #isCountedElsewhere(half: HalfEdge): boolean {
    const settled = this.#halves.find(SIDE_SETTLED, half, half.key0, half.key1, true);
    return settled !== undefined && ((half.flags | settled.flags) & FLAG_CARRIED) !== 0;
  }

  #isClaimed(half: HalfEdge): boolean {
    return this.#halves.claims > 0 && this.#halves.find(SIDE_CLAIM, half, half.own0, half.own1, false) !== undefined;
  }
}
