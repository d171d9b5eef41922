/**
 * Turns slices of sockets into ordered streams and hands them to the parser of the protocol they speak.
 *
 * Invariants: a direction's bytes reach the parser once and in order, and what is missing reaches it as a gap; a
 * parser that throws costs its own connection and nothing else; at most `connectionsMax` sockets and `heldBytesMax`
 * bytes are kept, and whatever is left out is counted.
 */

import type {
  CaptureSink,
  Owner,
  ProcessSeen,
  SocketOpened,
  SocketSlice,
  TlsLayer,
} from "../../server/model/capture-event.ts";
import type { Exchange, ExchangeSink, StreamSlice } from "../protocol/exchange.ts";
import { forgetHeads } from "../protocol/http1-head-memory.ts";
import { ServerTemplates } from "../protocol/path-template.ts";
import type { Protocol } from "../protocol/protocol.ts";
import { PROTOCOLS } from "../protocol/protocols.ts";
import { isTlsHello, TLS } from "../protocol/tls.ts";
import type { ConnectionSink } from "./connection-sink.ts";
import {
  makeClear,
  makeSocket,
  protocolDirection,
  type Socket,
  type SocketStage,
  setRole,
} from "./connection-table.ts";
import { type Detected, detect, proxyHeaderBytes } from "./detection.ts";

/** Sockets that are kept; the one that was quiet longest makes room for the next. */
const CONNECTIONS_MAX = 65_536;
/** Bytes held in all connections whose protocol is not known yet. */
const HELD_BYTES_TOTAL_MAX = 8 * 1024 * 1024;
/** A socket without a byte for this long is forgotten: its end was missed. */
export const IDLE_NS_MAX = 6 * 3600e9;
/** Upgrades and tunnels of one connection that are followed. */
const DETECTIONS_MAX = 4;

/** Sockets looked at in one sweep. */
const SWEEP_SOCKETS = 8192;
/** Sockets looked at to find a quiet one to evict. */
const EVICTION_TRIES = 64;
/** A sequence number further back than this is no repetition but another stream. */
const REPEATED_BYTES_MAX = 16 * 1024 * 1024;

/** Settings of the room. */
export interface ConnectionsOptions {
  /** Replace what may be secret in exchanges. */
  readonly redaction: boolean;
  /** Protocols to tell apart; all that have a parser unless given. */
  readonly protocols?: readonly Protocol[];
  readonly connectionsMax?: number;
  readonly heldBytesMax?: number;
}

/** What the room has seen and left out since it was made. `connections` and `heldBytes` are levels, all else counts. */
export interface ConnectionCounters {
  readonly connections: number;
  readonly heldBytes: number;
  readonly opened: number;
  readonly slices: number;
  readonly bytes: number;
  readonly gaps: number;
  readonly gapBytes: number;
  readonly repeatedBytes: number;
  /** Connections by the protocol they were found to speak. */
  readonly detected: Readonly<Record<string, number>>;
  /** Connections whose parser threw. */
  readonly quarantined: number;
  /** What was left out, by reason. */
  readonly left: Readonly<Record<string, number>>;
}

/** The connection room: takes what a capture rung sees, gives what the span room pairs. */
export class Connections implements CaptureSink {
  readonly #sink: ConnectionSink;
  readonly #redaction: boolean;
  readonly #protocols: readonly Protocol[];
  readonly #serverPorts: ReadonlySet<number>;
  readonly #connectionsMax: number;
  readonly #heldBytesMax: number;
  readonly #templates = new ServerTemplates();
  readonly #sockets = new Map<number, Socket>();
  readonly #detected: Record<string, number> = {};
  readonly #left: Record<string, number> = {};
  readonly #slice: StreamSlice = { bytes: new Uint8Array(0), timeNs: 0, seq: 0, tid: 0, pid: 0 };
  #sweeper: Iterator<Socket> | undefined;
  #heldBytes = 0;
  #opened = 0;
  #slices = 0;
  #bytes = 0;
  #gaps = 0;
  #gapBytes = 0;
  #repeatedBytes = 0;
  #quarantined = 0;

  constructor(sink: ConnectionSink, options: ConnectionsOptions) {
    this.#sink = sink;
    this.#redaction = options.redaction;
    this.#protocols = options.protocols ?? PROTOCOLS;
    this.#serverPorts = new Set(this.#protocols.flatMap((protocol) => protocol.ports));
    this.#connectionsMax = options.connectionsMax ?? CONNECTIONS_MAX;
    this.#heldBytesMax = options.heldBytesMax ?? HELD_BYTES_TOTAL_MAX;
  }

  opened(event: SocketOpened): void {
    this.#opened++;
    if (event.joinedLate) this.#count("joined_late");
    if (this.#sockets.size >= this.#connectionsMax) this.#evict(event.timeNs);
    this.#sockets.set(event.socket, makeSocket(event, this.#serverPorts));
  }

  slice(event: SocketSlice): void {
    const outer = this.#sockets.get(event.socket);
    this.#slices++;
    this.#bytes += event.total;
    if (outer === undefined) {
      this.#count("slice_without_socket");
      return;
    }
    outer.lastNs = event.timeNs;
    outer.isFresh = true;
    const { tls } = event;
    if (tls?.kind === "cipher") outer.isTold = true;
    const socket = tls?.kind === "clear" ? this.#clearOf(outer, tls) : outer;
    if (socket.stage === "ignored" && !this.#turnsToTls(socket, event.bytes)) return;
    if (event.isResumed === true) socket.nextSeq[event.direction] = -1;
    const skip = this.#order(socket, event);
    const { bytes, total } = event;
    if (skip >= total) return;
    const whole = this.#slice;
    whole.bytes = skip === 0 ? bytes : bytes.subarray(Math.min(skip, bytes.length));
    whole.timeNs = event.timeNs;
    whole.seq = ((tls?.kind === "clear" ? tls.number : event.seq) + skip) >>> 0;
    whole.tid = event.tid;
    whole.pid = event.pid;
    const missing = total - Math.max(skip, bytes.length);
    if (whole.bytes.length > 0) this.#bytesSeen(socket, event.direction, whole, missing > 0);
    if (missing > 0) this.#missed(socket, event.direction, missing, event.timeNs, event.tid);
  }

  owner(id: number, end: "local" | "remote", owner: Owner): void {
    const outer = this.#sockets.get(id);
    for (const socket of [outer, outer?.clear]) {
      if (socket === undefined) continue;
      if (end === "local") socket.localOwner = owner;
      else socket.remoteOwner = owner;
      const isClient = (end === "local") === socket.isLocalClient;
      if (isClient) socket.connection.clientOwner = owner;
      else socket.connection.serverOwner = owner;
    }
  }

  closed(id: number, timeNs: number, reset: boolean): void {
    const socket = this.#sockets.get(id);
    if (socket === undefined) return;
    this.#sockets.delete(id);
    for (const stream of [socket.clear, socket]) {
      const parser = stream?.parser;
      if (stream === undefined) continue;
      if (parser !== undefined) this.#guard(stream, () => parser.closed(timeNs, reset));
      this.#forget(stream, timeNs);
    }
  }

  /** Capture of the socket ends while it may go on: what is open was not seen to its end. */
  left(id: number, timeNs: number): void {
    const socket = this.#sockets.get(id);
    if (socket !== undefined) this.#drop(socket, timeNs, "");
  }

  /** Processes are the span room's. */
  process(_event: ProcessSeen): void {}

  /** Processes are the span room's. */
  processExited(_pid: number, _timeNs: number): void {}

  /** Gives up what has waited or been quiet too long. To be called about once a second. */
  sweep(nowNs: number): void {
    forgetHeads();
    this.#sweeper ??= this.#sockets.values();
    for (let count = 0; count < SWEEP_SOCKETS; count++) {
      const next = this.#sweeper.next();
      if (next.done === true) {
        this.#sweeper = undefined;
        return;
      }
      const socket = next.value;
      for (const stream of [socket, socket.clear]) {
        const parser = stream?.parser;
        if (stream !== undefined && parser !== undefined) this.#guard(stream, () => parser.expire(nowNs));
      }
      if (nowNs - socket.lastNs > IDLE_NS_MAX) this.#drop(socket, nowNs, "connection_idle");
    }
  }

  /** Capture ends here: finishes what is open as far as it was seen. Nothing may follow. */
  stop(timeNs: number): void {
    for (const socket of this.#sockets.values()) this.#drop(socket, timeNs, "");
  }

  counters(): ConnectionCounters {
    return {
      connections: this.#sockets.size,
      heldBytes: this.#heldBytes,
      opened: this.#opened,
      slices: this.#slices,
      bytes: this.#bytes,
      gaps: this.#gaps,
      gapBytes: this.#gapBytes,
      repeatedBytes: this.#repeatedBytes,
      detected: { ...this.#detected },
      quarantined: this.#quarantined,
      left: { ...this.#left },
    };
  }

  /** The stream of clear bytes of a socket that speaks TLS. */
  #clearOf(outer: Socket, layer: TlsLayer): Socket {
    if (outer.clear !== undefined) return outer.clear;
    outer.clear = makeClear(outer, this.#serverPorts, layer.isLate);
    this.#sink.connectionRead?.(outer.connection);
    return outer.clear;
  }

  /** A stream that was let go may turn to TLS later (STARTTLS), by a hello. */
  #turnsToTls(socket: Socket, bytes: Uint8Array): boolean {
    if (socket.detections >= DETECTIONS_MAX || !isTlsHello(bytes) || !this.#protocols.includes(TLS)) return false;
    socket.stage = "detecting";
    socket.runs = 0;
    socket.lastDirection = -1;
    socket.slicesJudged = 0;
    socket.detections++;
    socket.nextSeq[0] = -1;
    socket.nextSeq[1] = -1;
    return true;
  }

  /** A handshake is over: what is known of it holds for the clear bytes too. */
  #shookHands(socket: Socket, { version }: Exchange): void {
    socket.connection.tlsVersion = version;
    if (socket.clear !== undefined) socket.clear.connection.tlsVersion = version;
  }

  /** Puts a slice in its place in the stream. @returns How many of its bytes were seen before. */
  #order(socket: Socket, event: SocketSlice): number {
    const { direction, seq, total } = event;
    const expected = socket.nextSeq[direction];
    const end = (seq + total) >>> 0;
    if (expected === -1) {
      socket.nextSeq[direction] = end;
      return 0;
    }
    const ahead = (seq - expected) | 0;
    if (ahead === 0) {
      socket.nextSeq[direction] = end;
      return 0;
    }
    if (ahead > 0 || ahead < -REPEATED_BYTES_MAX) {
      socket.nextSeq[direction] = end;
      this.#missed(socket, direction, ahead > 0 ? ahead : -1, event.timeNs, event.tid);
      return 0;
    }
    const repeated = Math.min(-ahead, total);
    this.#repeatedBytes += repeated;
    if (-ahead < total) socket.nextSeq[direction] = end;
    return repeated;
  }

  #bytesSeen(socket: Socket, direction: 0 | 1, slice: StreamSlice, isCut: boolean): void {
    if (socket.stage === "parsing") {
      this.#parse(socket, direction, slice);
      return;
    }
    if (socket.runs === 0 && !socket.isBroken) {
      const header = proxyHeaderBytes(slice.bytes);
      if (header > 0) {
        slice.bytes = slice.bytes.subarray(header);
        slice.seq = (slice.seq + header) >>> 0;
        if (slice.bytes.length === 0) return;
      }
    }
    const detection = detect(socket, this.#protocols, direction, slice.bytes, isCut);
    if (detection === "more") this.#hold(socket, direction, slice);
    else if (detection === "no") this.#release(socket, direction);
    else if (detection === "over") this.#ignore(socket, "protocol_unknown");
    else this.#recognised(socket, detection, direction, slice);
  }

  #missed(socket: Socket, direction: 0 | 1, count: number, timeNs: number, tid: number): void {
    if (socket.stage === "ignored") return;
    this.#gaps++;
    this.#gapBytes += Math.max(0, count);
    const { parser } = socket;
    if (parser !== undefined) {
      try {
        parser.gap(protocolDirection(socket, direction), count, timeNs, tid);
      } catch {
        this.#quarantine(socket);
      }
      return;
    }
    socket.isBroken = true;
    this.#release(socket, direction);
  }

  #recognised(socket: Socket, detected: Detected, direction: 0 | 1, slice: StreamSlice): void {
    const { protocol } = detected;
    socket.isRoleKnown = true;
    setRole(socket, detected.isSentByClient === (direction === 0));
    this.#attach(socket, protocol);
    this.#detected[protocol.name] = (this.#detected[protocol.name] ?? 0) + 1;
    const { held } = socket;
    socket.held = [];
    this.#heldBytes -= socket.heldBytes;
    socket.heldBytes = 0;
    const current: StreamSlice = { ...slice };
    for (const earlier of held)
      if (stageOf(socket) !== "ignored") this.#bytesSeen(socket, earlier.direction, earlier, false);
    if (stageOf(socket) !== "ignored") this.#bytesSeen(socket, direction, current, false);
  }

  #attach(socket: Socket, protocol: Protocol): void {
    const { connection } = socket;
    const sink: ExchangeSink = {
      started: (exchange: Exchange) => this.#sink.exchangeStarted(connection, exchange),
      finished: (exchange: Exchange) => {
        if (protocol === TLS) this.#shookHands(socket, exchange);
        this.#sink.exchangeFinished(connection, exchange);
      },
    };
    socket.parser = protocol.create(sink, {
      redaction: this.#redaction,
      joinedLate: socket.isBroken,
      templates: this.#templates.of(`${connection.server.addr}:${connection.server.port}`),
      count: (reason) => this.#count(reason),
      isTls: connection.isTls,
    });
    socket.stage = "parsing";
    socket.isAnnounced = true;
    // Of what passes on it nothing more is read than the handshake.
    if (protocol === TLS && !socket.isTold && socket.clear === undefined) this.#sink.connectionUnread?.(connection);
  }

  #parse(socket: Socket, direction: 0 | 1, slice: StreamSlice): void {
    const { parser } = socket;
    if (parser === undefined) return;
    let used: number;
    try {
      used = parser.data(protocolDirection(socket, direction), slice);
    } catch {
      this.#quarantine(socket);
      return;
    }
    if (parser.detached === "") return;
    this.#detach(socket, parser.detached, parser.detachedTo);
    const { bytes } = slice;
    if (used >= bytes.length || socket.stage === "ignored") return;
    const rest: StreamSlice = { ...slice, bytes: bytes.subarray(used), seq: (slice.seq + used) >>> 0 };
    this.#bytesSeen(socket, direction, rest, false);
  }

  /** The parser has let go: another protocol follows, which its ends may have named. */
  #detach(socket: Socket, how: "upgrade" | "tunnel" | "invalid", to: string): void {
    socket.parser = undefined;
    socket.stage = "detecting";
    socket.runs = 0;
    socket.lastDirection = -1;
    socket.slicesJudged = 0;
    socket.detections++;
    const isFollowed = how === "tunnel" && socket.detections <= DETECTIONS_MAX;
    const named =
      how === "upgrade" ? this.#protocols.find((protocol) => protocol.upgradeTokens.includes(to)) : undefined;
    if (named !== undefined) this.#attach(socket, named);
    else if (!isFollowed) this.#ignore(socket, how === "invalid" ? "protocol_invalid" : "protocol_without_parser");
  }

  #hold(socket: Socket, direction: 0 | 1, slice: StreamSlice): void {
    if (this.#heldBytes + slice.bytes.length > this.#heldBytesMax) {
      this.#ignore(socket, "held_bytes_max");
      return;
    }
    const bytes = slice.bytes.slice();
    socket.held.push({ direction, bytes, timeNs: slice.timeNs, seq: slice.seq, tid: slice.tid, pid: slice.pid });
    socket.heldBytes += bytes.length;
    this.#heldBytes += bytes.length;
  }

  /** Drops what is held of one direction. */
  #release(socket: Socket, direction: 0 | 1): void {
    if (socket.held.length === 0) return;
    const kept = socket.held.filter((held) => held.direction !== direction);
    let keptBytes = 0;
    for (const held of kept) keptBytes += held.bytes.length;
    this.#heldBytes -= socket.heldBytes - keptBytes;
    socket.held = kept;
    socket.heldBytes = keptBytes;
  }

  #ignore(socket: Socket, reason: string): void {
    this.#release(socket, 0);
    this.#release(socket, 1);
    socket.stage = "ignored";
    socket.parser = undefined;
    socket.isAnnounced = true;
    this.#count(reason);
    if (socket.clear === undefined) this.#sink.connectionUnread?.(socket.connection);
  }

  /** Calls a parser; one that throws is quarantined. */
  #guard(socket: Socket, call: () => void): void {
    try {
      call();
    } catch {
      this.#quarantine(socket);
    }
  }

  /** Takes a parser that threw off its connection, which is ignored from then on. Its open exchanges are finished. */
  #quarantine(socket: Socket): void {
    const { parser } = socket;
    this.#quarantined++;
    if (socket.isAnnounced) this.#sink.connectionLost?.(socket.connection, "parser_failed");
    this.#ignore(socket, "parser_failed");
    try {
      parser?.stopped();
    } catch {
      this.#count("parser_failed_twice");
    }
  }

  /** Takes a socket out although its end was not seen. An empty reason is the end of capture. */
  #drop(socket: Socket, timeNs: number, reason: string): void {
    this.#sockets.delete(socket.opened.socket);
    if (reason === "connections_max" && socket.isAnnounced) this.#sink.connectionLost?.(socket.connection, reason);
    if (reason !== "") this.#count(reason);
    for (const stream of [socket.clear, socket]) {
      const parser = stream?.parser;
      if (stream === undefined) continue;
      if (parser !== undefined) this.#guard(stream, () => parser.stopped());
      this.#forget(stream, timeNs);
    }
  }

  #forget(socket: Socket, timeNs: number): void {
    this.#release(socket, 0);
    this.#release(socket, 1);
    if (socket.isAnnounced) this.#sink.connectionClosed(socket.connection, timeNs);
    socket.parser = undefined;
    socket.stage = "ignored";
  }

  /** Makes room for one: a socket that was quiet since the last look, else the oldest. */
  #evict(timeNs: number): void {
    let tries = 0;
    for (const [id, socket] of this.#sockets) {
      if (!socket.isFresh || tries === EVICTION_TRIES) {
        this.#drop(socket, timeNs, "connections_max");
        return;
      }
      tries++;
      socket.isFresh = false;
      this.#sockets.delete(id);
      this.#sockets.set(id, socket);
    }
  }

  #count(reason: string): void {
    this.#left[reason] = (this.#left[reason] ?? 0) + 1;
  }
}

/** The stage as it is now; a parser may have changed it. */
function stageOf(socket: Socket): SocketStage {
  return socket.stage;
}
