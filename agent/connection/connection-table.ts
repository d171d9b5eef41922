/**
 * What is kept of a socket while it lives.
 */

import type { Endpoint, Owner, SocketOpened } from "../../server/model/capture-event.ts";
import type { ProtocolParser } from "../protocol/exchange.ts";
import type { Connection } from "./connection-sink.ts";

/** Bytes copied until the protocol is known. */
export interface HeldSlice {
  readonly direction: 0 | 1;
  readonly bytes: Uint8Array;
  readonly timeNs: number;
  readonly seq: number;
  readonly tid: number;
  readonly pid: number;
}

/** `detecting`: protocol not known yet. `parsing`: it has a parser. `ignored`: bytes are counted and dropped. */
export type SocketStage = "detecting" | "parsing" | "ignored";

/** One socket. Directions here are the capture's: 0 is sent by the local end. */
export interface Socket {
  readonly opened: SocketOpened;
  readonly connection: Connection;
  localOwner: Owner | undefined;
  remoteOwner: Owner | undefined;
  /** Told by the capture or by what the ends have sent; a guess by ports until then. */
  isRoleKnown: boolean;
  isLocalClient: boolean;
  stage: SocketStage;
  parser: ProtocolParser | undefined;
  /** Sequence number that the next slice of each direction should have; -1 until one was seen. */
  readonly nextSeq: [number, number];
  lastNs: number;
  held: HeldSlice[];
  heldBytes: number;
  /** Turns of direction since detection began. */
  runs: number;
  lastDirection: 0 | 1 | -1;
  /** Slices and bytes looked at in vain since detection began. */
  slicesJudged: number;
  /** Bytes are missing since detection began, or were before: a slice may begin anywhere. */
  isBroken: boolean;
  /** How often detection began. */
  detections: number;
  /** It had a parser, or was let go: the sink knows its connection and is told of its end. */
  isAnnounced: boolean;
  /** Seen since the sweeper or evictor came by. */
  isFresh: boolean;
  /** The clear bytes of its records are told: what it holds is not unread. */
  isTold: boolean;
  /** The stream of clear bytes inside of this one, where it speaks TLS and they are told. */
  clear: Socket | undefined;
}

/** Ports whose listener is the server where nothing else tells. */
const LISTENER_PORT_MAX = 1024;

/** The clear bytes inside of a socket that speaks TLS. @param isLate They were not seen from the first on. */
export function makeClear(outer: Socket, serverPorts: ReadonlySet<number>, isLate: boolean): Socket {
  const clear = makeSocket(outer.opened, serverPorts, true);
  clear.localOwner = outer.localOwner;
  clear.remoteOwner = outer.remoteOwner;
  clear.isBroken = isLate;
  clear.connection.tlsVersion = outer.connection.tlsVersion;
  clear.isRoleKnown = outer.isRoleKnown;
  setRole(clear, outer.isLocalClient);
  return clear;
}

/** A socket that has just appeared. */
export function makeSocket(opened: SocketOpened, serverPorts: ReadonlySet<number>, isTls = false): Socket {
  const isLocalClient = opened.role === "unknown" ? guessLocalIsClient(opened, serverPorts) : opened.role === "client";
  const connection: Connection = {
    socket: opened.socket,
    sight: opened.sight,
    side: "both",
    client: opened.local,
    server: opened.remote,
    netns: opened.netns,
    joinedLate: opened.joinedLate,
    isTls,
    tlsVersion: "",
    clientOwner: undefined,
    serverOwner: undefined,
  };
  const socket: Socket = {
    opened,
    connection,
    localOwner: opened.localOwner,
    remoteOwner: opened.remoteOwner,
    // Of a connection that was joined late the capture may have guessed, too: what its ends send tells better.
    isRoleKnown: opened.role !== "unknown" && !opened.joinedLate,
    isLocalClient,
    stage: "detecting",
    parser: undefined,
    nextSeq: [-1, -1],
    lastNs: opened.timeNs,
    held: [],
    heldBytes: 0,
    runs: 0,
    lastDirection: -1,
    slicesJudged: 0,
    isBroken: opened.joinedLate,
    detections: 1,
    isAnnounced: false,
    isFresh: true,
    isTold: false,
    clear: undefined,
  };
  setRole(socket, isLocalClient);
  return socket;
}

/** Says which end is the client, and turns the connection's ends accordingly. */
export function setRole(socket: Socket, isLocalClient: boolean): void {
  const { connection, opened } = socket;
  socket.isLocalClient = isLocalClient;
  connection.client = isLocalClient ? opened.local : opened.remote;
  connection.server = isLocalClient ? opened.remote : opened.local;
  connection.clientOwner = isLocalClient ? socket.localOwner : socket.remoteOwner;
  connection.serverOwner = isLocalClient ? socket.remoteOwner : socket.localOwner;
  if (opened.sight !== "both") connection.side = isLocalClient ? "client" : "server";
}

/** The protocol's direction of a slice: 0 is client to server. */
export function protocolDirection(socket: Socket, direction: 0 | 1): 0 | 1 {
  return socket.isLocalClient ? direction : direction === 0 ? 1 : 0;
}

function guessLocalIsClient(opened: SocketOpened, serverPorts: ReadonlySet<number>): boolean {
  const local = serverLikeness(opened.local, serverPorts);
  const remote = serverLikeness(opened.remote, serverPorts);
  return local === remote ? opened.remote.port <= opened.local.port : remote > local;
}

function serverLikeness(end: Endpoint, serverPorts: ReadonlySet<number>): number {
  if (serverPorts.has(end.port)) return 2;
  return end.port < LISTENER_PORT_MAX ? 1 : 0;
}
