/**
 * The connections that packets belong to, found by their two ends, oldest activity first.
 *
 * Invariant: each flow is in the hash table and in exactly one of the three lists, which are in order of activity,
 * so that expiry and eviction look at heads only.
 */

import type { TcpPacket } from "./packet-decode.ts";
import { makeStreamHalf, type StreamHalf } from "./tcp-reassembly.ts";

/** `opening`: no payload yet. `active`: payload seen. `closed`: kept a moment so that stragglers are recognised. */
export type FlowStage = "opening" | "active" | "closed";

/** One TCP connection as packets show it. The first end is the client, or taken for it. */
export interface Flow {
  readonly hash: number;
  readonly first0: number;
  readonly first1: number;
  readonly first2: number;
  readonly first3: number;
  readonly firstPort: number;
  readonly second0: number;
  readonly second1: number;
  readonly second2: number;
  readonly second3: number;
  readonly secondPort: number;
  /** Number given to the sink; 0 until the first payload. */
  socket: number;
  stage: FlowStage;
  /** A SYN, SYN-ACK or listener proved that the first end is the client. */
  clientKnown: boolean;
  joinedLate: boolean;
  /** Packets of this flow are not handed on: it is the agent's own traffic. */
  ignored: boolean;
  /** The first end is the sink's `local`. */
  localIsFirst: boolean;
  readonly createdNs: number;
  lastNs: number;
  readonly halves: readonly [StreamHalf, StreamHalf];
  /** Sequence number after the SYN of each direction; -1 where none was seen. */
  readonly starts: [number, number];
  /** Where each direction was seen first: `ifindex * 8 + packet type`; -1 until then. */
  readonly sights: [number, number];
  readonly sightNs: [number, number];
  chained: Flow | undefined;
  earlier: Flow | undefined;
  later: Flow | undefined;
}

/** One list of flows in order of activity. */
interface FlowList {
  oldest: Flow | undefined;
  newest: Flow | undefined;
  size: number;
}

/** All flows. */
export interface FlowTable {
  readonly byHash: Map<number, Flow>;
  readonly lists: Readonly<Record<FlowStage, FlowList>>;
  size: number;
}

/** An empty table. */
export function makeFlowTable(): FlowTable {
  const list = (): FlowList => ({ oldest: undefined, newest: undefined, size: 0 });
  return { byHash: new Map(), lists: { opening: list(), active: list(), closed: list() }, size: 0 };
}

/** The flow of a packet, whichever end sent it. */
export function findFlow(table: FlowTable, packet: TcpPacket): Flow | undefined {
  let flow = table.byHash.get(packetHash(packet));
  while (flow !== undefined && !sentByFirst(flow, packet) && !sentBySecond(flow, packet)) flow = flow.chained;
  return flow;
}

/** Did the flow's first end send this packet? */
export function sentByFirst(flow: Flow, packet: TcpPacket): boolean {
  return (
    flow.firstPort === packet.sourcePort &&
    flow.secondPort === packet.targetPort &&
    flow.first3 === packet.source3 &&
    flow.second3 === packet.target3 &&
    flow.first2 === packet.source2 &&
    flow.second2 === packet.target2 &&
    flow.first1 === packet.source1 &&
    flow.second1 === packet.target1 &&
    flow.first0 === packet.source0 &&
    flow.second0 === packet.target0
  );
}

function sentBySecond(flow: Flow, packet: TcpPacket): boolean {
  return (
    flow.firstPort === packet.targetPort &&
    flow.secondPort === packet.sourcePort &&
    flow.first3 === packet.target3 &&
    flow.second3 === packet.source3 &&
    flow.first2 === packet.target2 &&
    flow.second2 === packet.source2 &&
    flow.first1 === packet.target1 &&
    flow.second1 === packet.source1 &&
    flow.first0 === packet.target0 &&
    flow.second0 === packet.source0
  );
}

/** Adds a flow for a packet; its sender becomes the first end if `senderIsFirst`. The flow must not exist. */
export function addFlow(table: FlowTable, packet: TcpPacket, senderIsFirst: boolean, timeNs: number): Flow {
  const hash = packetHash(packet);
  const flow: Flow = {
    hash,
    first0: senderIsFirst ? packet.source0 : packet.target0,
    first1: senderIsFirst ? packet.source1 : packet.target1,
    first2: senderIsFirst ? packet.source2 : packet.target2,
    first3: senderIsFirst ? packet.source3 : packet.target3,
    firstPort: senderIsFirst ? packet.sourcePort : packet.targetPort,
    second0: senderIsFirst ? packet.target0 : packet.source0,
    second1: senderIsFirst ? packet.target1 : packet.source1,
    second2: senderIsFirst ? packet.target2 : packet.source2,
    second3: senderIsFirst ? packet.target3 : packet.source3,
    secondPort: senderIsFirst ? packet.targetPort : packet.sourcePort,
    socket: 0,
    stage: "opening",
    clientKnown: false,
    joinedLate: false,
    ignored: false,
    localIsFirst: true,
    createdNs: timeNs,
    lastNs: timeNs,
    halves: [makeStreamHalf(0), makeStreamHalf(1)],
    starts: [-1, -1],
    sights: [-1, -1],
    sightNs: [0, 0],
    chained: table.byHash.get(hash),
    earlier: undefined,
    later: undefined,
  };
  table.byHash.set(hash, flow);
  table.size++;
  append(table.lists.opening, flow);
  return flow;
}

/** Takes a flow out of the table. */
export function removeFlow(table: FlowTable, flow: Flow): void {
  unlink(table.lists[flow.stage], flow);
  table.size--;
  const head = table.byHash.get(flow.hash);
  if (head === flow) {
    if (flow.chained === undefined) table.byHash.delete(flow.hash);
    else table.byHash.set(flow.hash, flow.chained);
    return;
  }
  for (let before = head; before !== undefined; before = before.chained) {
    if (before.chained !== flow) continue;
    before.chained = flow.chained;
    return;
  }
}

/** Notes activity, and moves the flow to another stage if that changes. */
export function touchFlow(table: FlowTable, flow: Flow, stage: FlowStage, timeNs: number): void {
  flow.lastNs = timeNs;
  const list = table.lists[stage];
  if (flow.stage === stage && list.newest === flow) return;
  unlink(table.lists[flow.stage], flow);
  flow.stage = stage;
  append(list, flow);
}

function append(list: FlowList, flow: Flow): void {
  flow.earlier = list.newest;
  flow.later = undefined;
  if (list.newest === undefined) list.oldest = flow;
  else list.newest.later = flow;
  list.newest = flow;
  list.size++;
}

function unlink(list: FlowList, flow: Flow): void {
  if (flow.earlier === undefined) list.oldest = flow.later;
  else flow.earlier.later = flow.later;
  if (flow.later === undefined) list.newest = flow.earlier;
  else flow.later.earlier = flow.earlier;
  flow.earlier = undefined;
  flow.later = undefined;
  list.size--;
}

/** The same for both directions: the sum of the ends' hashes. */
function packetHash(packet: TcpPacket): number {
  const source = endHash(packet.source0, packet.source1, packet.source2, packet.source3, packet.sourcePort);
  const target = endHash(packet.target0, packet.target1, packet.target2, packet.target3, packet.targetPort);
  return (source + target) | 0;
}

/** Multiply and shift (the finaliser of MurmurHash3), so that near-by addresses and ports spread. */
function endHash(word0: number, word1: number, word2: number, word3: number, port: number): number {
  let hash = Math.imul(word0 ^ Math.imul(word1, 0x9e3779b1) ^ Math.imul(word2, 0x85ebca6b), 0xc2b2ae35);
  hash = Math.imul(hash ^ word3, 0x9e3779b1) ^ Math.imul(port, 0x27d4eb2f);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
