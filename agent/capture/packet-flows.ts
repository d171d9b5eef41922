/**
 * Turns decoded TCP packets into the capture events of connections: the same code for live packets and capture files.
 *
 * Invariants: a flow is told to the sink with its first payload, never before; every packet is counted once,
 * `seen = delivered + lost{reason}` at any moment; a packet that repeats what was handed on counts as delivered.
 */

import type { CaptureSink, Endpoint, Owner, SocketSlice } from "../../server/model/capture-event.ts";
import { emptySlice } from "./empty-slice.ts";
import { addFlow, type Flow, findFlow, makeFlowTable, removeFlow, sentByFirst, touchFlow } from "./flow-table.ts";
import { addressText, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, type TcpPacket } from "./packet-decode.ts";
import {
  acceptAck,
  acceptFin,
  acceptSegment,
  oldestHeldNs,
  type ReassemblyLimits,
  releaseHeld,
  type SegmentVerdict,
  type StreamHalf,
  type StreamOutput,
  seqAhead,
} from "./tcp-reassembly.ts";

/** The part of a sink that hears of connections. */
export type FlowSink = Pick<CaptureSink, "opened" | "slice" | "closed">;

/** What the flows ask about the host they run on. */
export interface FlowHost {
  isLocal(word0: number, word1: number, word2: number, word3: number): boolean;
  /** Does a local socket listen on this end? Decides who is the server of a connection joined late. */
  isListening(word0: number, word1: number, word2: number, word3: number, port: number): boolean;
  /**
   * Who owns the ends, asked once when the connection is told. `ignore`: the agent's own traffic.
   * Owners found later go to the sink directly, by `socket`.
   */
  ownersOf(socket: number, client: Endpoint, server: Endpoint, createdNs: number): FlowOwners | "ignore";
  /** Network namespace inode; 0 where unknown. */
  readonly netns: number;
}

/** Owners of both ends as far as they are known. */
export interface FlowOwners {
  readonly client: Owner | undefined;
  readonly server: Owner | undefined;
}

/** Settings of the flows. */
export interface FlowOptions {
  readonly limits: ReassemblyLimits;
  /** Connections tracked at once; past it the longest idle one is closed and counted. */
  readonly connectionsMax: number;
  /** Follow each direction where it was seen first and drop its other sights (bridges); needs interface numbers. */
  readonly oneSight: boolean;
}

/** Why packets were not handed on. */
export type FlowLoss = "after_close" | "late_segment";

/** Counts of the flows. Packets unless said otherwise. */
export interface FlowCounters {
  seen: number;
  delivered: number;
  /** Of `delivered`: brought nothing that was not known (retransmissions, other sights of a bridged packet). */
  repeated: number;
  /** The agent's own traffic; not in `seen`. */
  own: number;
  readonly lost: Record<FlowLoss, number>;
  /** Connections told to the sink, closed for `connectionsMax`, and expired before their handshake ended. */
  connectionsOpened: number;
  connectionsEvicted: number;
  halfOpenExpired: number;
  /** Ranges of streams that never came, and their bytes. */
  gaps: number;
  gapBytes: number;
}

const halfOpenMaxNs = 10e9;
const closedKeptNs = 2e9;
/** A hole that stays longer is stepped over: retransmissions come within a second, whatever the path. */
const heldMaxNs = 1e9;
/** A direction silent for longer where it was first seen may go on elsewhere (route change). */
const sightKeptNs = 1e9;

/**
 * Ports that are a server's by custom, for connections whose beginning was not seen. Below 1024 and below the
 * ephemeral range are weaker hints that are tried after these.
 */
const SERVER_PORTS = new Set([
  1433, 1521, 1883, 2181, 2379, 3306, 4222, 5432, 5672, 6379, 6380, 6650, 7000, 8000, 8080, 8443, 8888, 9042, 9090,
  9092, 9200, 9876, 10911, 11211, 20880, 27017, 50051, 61613, 61616,
]);
const privilegedPortMax = 1023;
/** Linux gives clients ports from here on unless told otherwise. */
const ephemeralPortMin = 32768;

/** The connections of one capture. */
export class PacketFlows implements StreamOutput {
  readonly counters: FlowCounters;
  readonly #table = makeFlowTable();
  readonly #sink: FlowSink;
  readonly #host: FlowHost;
  readonly #options: FlowOptions;
  /** Flows that hold segments behind a hole. */
  readonly #holding = new Set<Flow>();
  readonly #slice: SocketSlice = emptySlice();
  #socketsGiven = 0;
  /** The flow whose stream is being handed on. */
  #current: Flow | undefined;

  constructor(sink: FlowSink, host: FlowHost, options: FlowOptions) {
    this.#sink = sink;
    this.#host = host;
    this.#options = options;
    this.counters = {
      seen: 0,
      delivered: 0,
      repeated: 0,
      own: 0,
      lost: { after_close: 0, late_segment: 0 },
      connectionsOpened: 0,
      connectionsEvicted: 0,
      halfOpenExpired: 0,
      gaps: 0,
      gapBytes: 0,
    };
  }

  /** Connections tracked now, half-open and just closed ones included. */
  get size(): number {
    return this.#table.size;
  }

  /**
   * Takes one packet.
   *
   * @param bytes The buffer `packet`'s offsets point into; not kept.
   * @param sight Interface and packet type as `ifindex * 8 + type`; 0 where there is only one.
   */
  accept(packet: TcpPacket, bytes: Uint8Array, timeNs: number, sight: number): void {
    const flow = this.#flowOf(packet, timeNs);
    if (flow === undefined) {
      // A FIN, RST or bare ACK of a connection that never said anything here.
      this.#count("delivered");
      return;
    }
    if (flow.ignored) {
      this.counters.own++;
      touchFlow(this.#table, flow, flow.stage, timeNs);
      if ((packet.flags & TCP_RST) !== 0) removeFlow(this.#table, flow);
      return;
    }
    const direction = sentByFirst(flow, packet) ? 0 : 1;
    if (this.#options.oneSight && this.#isOtherSight(flow, direction, sight, packet, timeNs)) {
      this.#count("repeated");
      return;
    }
    this.#current = flow;
    if (flow.stage === "closed") this.#acceptStraggler(flow, direction, packet);
    else this.#acceptInOrder(flow, direction, packet, bytes, timeNs);
  }

  /** Steps over old holes and forgets dead connections. Call it every 100 ms or so; cheap where nothing is due. */
  expire(nowNs: number): void {
    for (const flow of this.#holding) {
      this.#current = flow;
      let isHolding = false;
      for (const half of flow.halves) {
        const oldest = oldestHeldNs(half);
        if (oldest !== undefined && nowNs - oldest > heldMaxNs) releaseHeld(half, this);
        isHolding ||= half.held.length > 0;
      }
      if (!isHolding) this.#holding.delete(flow);
      if (flow.halves[0].finished && flow.halves[1].finished) this.#close(flow, nowNs, false);
    }
    const { opening, closed } = this.#table.lists;
    for (let flow = opening.oldest; flow !== undefined && nowNs - flow.lastNs > halfOpenMaxNs; flow = opening.oldest) {
      // An accepted connection that is still silent is a pool's; only the unanswered ones are dead.
      if (flow.starts[0] >= 0 && flow.starts[1] >= 0) touchFlow(this.#table, flow, "active", nowNs);
      else {
        this.counters.halfOpenExpired++;
        removeFlow(this.#table, flow);
      }
    }
    for (let flow = closed.oldest; flow !== undefined && nowNs - flow.lastNs > closedKeptNs; flow = closed.oldest) {
      removeFlow(this.#table, flow);
    }
  }

  /** Ends the capture: hands on what is held and closes every connection, the longest idle first. */
  finish(timeNs: number): void {
    for (const stage of ["active", "opening", "closed"] as const) {
      const list = this.#table.lists[stage];
      for (let flow = list.oldest; flow !== undefined; flow = list.oldest) {
        this.#close(flow, timeNs, false);
        removeFlow(this.#table, flow);
      }
    }
    this.#holding.clear();
  }

  /** Called by the reassembly with bytes in order. */
  streamBytes(half: StreamHalf, timeNs: number, seq: number, total: number, bytes: Uint8Array): void {
    const flow = this.#current;
    if (flow === undefined || flow.ignored) return;
    const slice = this.#slice;
    slice.socket = flow.socket;
    slice.direction = (half.direction === 0) === flow.localIsFirst ? 0 : 1;
    slice.timeNs = timeNs;
    slice.seq = seq;
    slice.total = total;
    slice.bytes = bytes;
    this.#sink.slice(slice);
  }

  /** Finds the packet's flow; makes one for a SYN or for payload that comes out of nowhere. */
  #flowOf(packet: TcpPacket, timeNs: number): Flow | undefined {
    const flow = findFlow(this.#table, packet);
    if ((packet.flags & TCP_SYN) !== 0) return this.#flowOfSyn(flow, packet, timeNs);
    if (flow !== undefined || packet.payloadTotal === 0) return flow;
    const roles = this.#guessRoles(packet);
    const made = this.#add(packet, roles.senderIsClient, timeNs);
    made.clientKnown = roles.known;
    made.joinedLate = true;
    return made;
  }

  #flowOfSyn(flow: Flow | undefined, packet: TcpPacket, timeNs: number): Flow {
    const isAnswer = (packet.flags & TCP_ACK) !== 0;
    if (flow !== undefined) {
      const direction = sentByFirst(flow, packet) ? 0 : 1;
      if (this.#noteRepeatedSyn(flow, direction, packet, isAnswer)) return flow;
      // The ports were used again: the end of the earlier connection was lost or is just past.
      this.#close(flow, timeNs, false);
      removeFlow(this.#table, flow);
    }
    const made = this.#add(packet, !isAnswer, timeNs);
    made.clientKnown = true;
    const direction = isAnswer ? 1 : 0;
    made.starts[direction] = packet.seq;
    made.halves[direction].next = packet.seq;
    return made;
  }

  /** @returns whether the SYN belongs to the connection that is known, rather than to another on the same ports. */
  #noteRepeatedSyn(flow: Flow, direction: 0 | 1, packet: TcpPacket, isAnswer: boolean): boolean {
    const half = flow.halves[direction];
    const start = flow.starts[direction];
    if (start === packet.seq) return true;
    if (flow.stage === "closed") return false;
    const isSilent = half.next < 0 || (half.next === start && half.held.length === 0);
    if (isAnswer) {
      // A second server behind a balancer, or a SYN cookie, may answer with another number until one is chosen.
      const asked = flow.starts[direction === 0 ? 1 : 0];
      const asksNext = flow.halves[direction === 0 ? 1 : 0].next;
      const isSameAsked = asked >= 0 && seqAhead(packet.ack, asked) >= 0 && seqAhead(packet.ack, asksNext) <= 0;
      if (asked >= 0 && !isSameAsked) return false;
      if (isSilent) half.next = packet.seq;
      else if (!isSameAsked && half.next !== packet.seq) return false;
      flow.starts[direction] = packet.seq;
      return true;
    }
    if (half.next >= 0 && half.next !== packet.seq) return false;
    half.next = packet.seq;
    flow.starts[direction] = packet.seq;
    return true;
  }

  #add(packet: TcpPacket, senderIsFirst: boolean, timeNs: number): Flow {
    if (this.#table.size >= this.#options.connectionsMax) this.#evict(timeNs);
    return addFlow(this.#table, packet, senderIsFirst, timeNs);
  }

  #evict(timeNs: number): void {
    const { closed, opening, active } = this.#table.lists;
    const flow = closed.oldest ?? opening.oldest ?? active.oldest;
    if (flow === undefined) return;
    if (flow.stage !== "closed") this.counters.connectionsEvicted++;
    this.#close(flow, timeNs, false);
    removeFlow(this.#table, flow);
  }

  /** Who is the client of a connection joined late: a listener proves it, ports only hint at it. */
  #guessRoles(packet: TcpPacket): { senderIsClient: boolean; known: boolean } {
    const host = this.#host;
    const { source0, source1, source2, source3, sourcePort, target0, target1, target2, target3, targetPort } = packet;
    const sourceListens = host.isListening(source0, source1, source2, source3, sourcePort);
    const targetListens = host.isListening(target0, target1, target2, target3, targetPort);
    if (sourceListens !== targetListens) return { senderIsClient: targetListens, known: true };
    const rules = [
      (port: number) => SERVER_PORTS.has(port) || port === 80 || port === 443,
      (port: number) => port <= privilegedPortMax,
      (port: number) => port < ephemeralPortMin,
    ];
    for (const isServerPort of rules) {
      const source = isServerPort(sourcePort);
      if (source !== isServerPort(targetPort)) return { senderIsClient: !source, known: false };
    }
    return { senderIsClient: true, known: false };
  }

  /** Bridges show a packet once per port they pass: only the place of the first sight counts. */
  #isOtherSight(flow: Flow, direction: 0 | 1, sight: number, packet: TcpPacket, timeNs: number): boolean {
    const kept = flow.sights[direction];
    if (kept !== sight && kept >= 0) {
      const isAhead = packet.payloadTotal > 0 && seqAhead(packet.seq, flow.halves[direction].next) >= 0;
      if (!isAhead || timeNs - flow.sightNs[direction] < sightKeptNs) return true;
    }
    flow.sights[direction] = sight;
    flow.sightNs[direction] = timeNs;
    return false;
  }

  /** A packet of a connection that is over. */
  #acceptStraggler(flow: Flow, direction: 0 | 1, packet: TcpPacket): void {
    const end = (packet.seq + packet.payloadTotal) >>> 0;
    const brings = packet.payloadTotal > 0 && seqAhead(end, flow.halves[direction].next) > 0;
    this.#count(brings ? "after_close" : "repeated");
  }

  #acceptInOrder(flow: Flow, direction: 0 | 1, packet: TcpPacket, bytes: Uint8Array, timeNs: number): void {
    const { flags, payloadTotal } = packet;
    const half = flow.halves[direction];
    const other = flow.halves[direction === 0 ? 1 : 0];
    // First the acknowledgement: what it sets free of the other direction came before this packet.
    if ((flags & TCP_ACK) !== 0) acceptAck(other, this, packet.ack);
    if (payloadTotal > 0) {
      if (flow.socket === 0 && !this.#open(flow)) {
        this.counters.own++;
        return;
      }
      const payload = bytes.subarray(packet.payloadStart, packet.payloadEnd);
      const verdict = acceptSegment(half, this.#options.limits, this, timeNs, packet.seq, payloadTotal, payload);
      if (half.held.length > 0) this.#holding.add(flow);
      this.#count(verdict);
      touchFlow(this.#table, flow, "active", timeNs);
    } else {
      this.#count("delivered");
      touchFlow(this.#table, flow, flow.stage, timeNs);
    }
    if ((flags & TCP_FIN) !== 0) acceptFin(half, (packet.seq + payloadTotal) >>> 0);
    if ((flags & TCP_RST) !== 0) this.#close(flow, timeNs, true);
    else if (half.finished && other.finished) this.#close(flow, timeNs, false);
  }

  /** Tells the sink of a connection. @returns false where its traffic is the agent's own. */
  #open(flow: Flow): boolean {
    const client = endpoint(flow.first0, flow.first1, flow.first2, flow.first3, flow.firstPort);
    const server = endpoint(flow.second0, flow.second1, flow.second2, flow.second3, flow.secondPort);
    const socket = this.#socketsGiven + 1;
    const owners = this.#host.ownersOf(socket, client, server, flow.createdNs);
    if (owners === "ignore") {
      flow.ignored = true;
      return false;
    }
    this.#socketsGiven = socket;
    flow.socket = socket;
    this.counters.connectionsOpened++;
    const firstIsLocal = this.#host.isLocal(flow.first0, flow.first1, flow.first2, flow.first3);
    const secondIsLocal = this.#host.isLocal(flow.second0, flow.second1, flow.second2, flow.second3);
    // Traffic between two addresses that are not ours is forwarded, mostly between containers: one sight of both ends.
    const isBoth = firstIsLocal === secondIsLocal;
    flow.localIsFirst = isBoth || firstIsLocal;
    this.#sink.opened({
      socket,
      sight: isBoth ? "both" : "wire",
      role: flow.clientKnown ? (flow.localIsFirst ? "client" : "server") : "unknown",
      local: flow.localIsFirst ? client : server,
      remote: flow.localIsFirst ? server : client,
      netns: this.#host.netns,
      joinedLate: flow.joinedLate,
      timeNs: flow.createdNs,
      localOwner: flow.localIsFirst ? owners.client : owners.server,
      remoteOwner: flow.localIsFirst ? owners.server : owners.client,
    });
    return true;
  }

  /** Hands on what is held, tells the sink, and keeps the flow a moment for stragglers. */
  #close(flow: Flow, timeNs: number, reset: boolean): void {
    if (flow.stage === "closed") return;
    this.#current = flow;
    for (const half of flow.halves) {
      releaseHeld(half, this);
      this.counters.gaps += half.gaps;
      this.counters.gapBytes += half.gapBytes;
    }
    this.#holding.delete(flow);
    touchFlow(this.#table, flow, "closed", timeNs);
    if (flow.socket !== 0) this.#sink.closed(flow.socket, timeNs, reset);
  }

  #count(verdict: SegmentVerdict | FlowLoss): void {
    const { counters } = this;
    counters.seen++;
    if (verdict === "late") counters.lost.late_segment++;
    else if (verdict === "after_close") counters.lost.after_close++;
    else {
      counters.delivered++;
      if (verdict === "repeated") counters.repeated++;
    }
  }
}

function endpoint(word0: number, word1: number, word2: number, word3: number, port: number): Endpoint {
  return { addr: addressText(word0, word1, word2, word3), port };
}
