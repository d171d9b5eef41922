/**
 * Finds which socket each session of a TLS library belongs to, and hands the session's clear bytes on as slices of that
 * socket. Stands between a rung and its sink.
 *
 * What ties a session to a socket is the order of calls on a thread:
 * - a socket call inside of a library call is made for it (`nested`: nginx, curl, most programs);
 * - a library that works in memory (Node, asyncio) is called right after a read of its socket and right before the write to
 *   it. Either alone may be chance, so both must name the same socket, or the lengths of clear bytes and record must fit.
 *
 * Invariants: a clear byte is handed on once, in order, and only where its socket is sure; what waits for that is bounded
 * and otherwise dropped and counted. A session's tie ends with `SSL_free`, with its socket and with its process.
 * Clear bytes of a message are numbered by the TLS record that carried them, which both ends see.
 */

import type {
  CaptureSink,
  Owner,
  ProcessSeen,
  SocketMoment,
  SocketOpened,
  SocketSlice,
  TlsLayer,
  WorkUnit,
} from "../../server/model/capture-event.ts";
import { emptySlice } from "./empty-slice.ts";
import type { TlsCall } from "./tls-event.ts";
import { type HeldCall, HeldCalls, heldOf } from "./tls-held-calls.ts";
import { isHello, isRecordStart, TlsRecords } from "./tls-records.ts";
import { type CipherSocket, type TlsSession, TlsSessions } from "./tls-sessions.ts";

/** Threads remembered; beyond, all are forgotten. */
const threadsMax = 65_536;
/** Socket calls of a thread remembered between two calls of the library. */
const recentMax = 64;
/** A read of a socket is what a call of the library follows only this long. */
const neighbourNsMax = 1e9;

/** What became of calls that moved clear bytes: `calls = delivered + waiting + Σ dropped`. */
export interface TlsStreamCounters {
  readonly calls: number;
  readonly delivered: number;
  readonly waiting: number;
  /** By reason: `unbound`, `held_bytes_max`, `held_calls_max`, `closed`. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Sessions tied to a socket now. */
  readonly sessions: number;
  /** Calls whose neighbours named several sockets, or another one than the session's. Nothing was concluded from them. */
  readonly ambiguous: number;
  /** Slices numbered by what is likely, since their record's header was not seen: such a message may not be joined. */
  readonly likelyNumbers: number;
  /** Connections that speak TLS in processes that are not looked into. */
  readonly opaque: number;
}

interface Thread {
  /** Socket calls since the last call of the library, oldest first. */
  recent: { socket: number; timeNs: number; direction: 0 | 1; seq: number }[];
  /** Read last, and the session that was called after that. */
  received: CipherSocket | undefined;
  receivedNs: number;
  receivedUnit: number;
  receivedBy: TlsSession | undefined;
  /** Called last without a socket call inside: what it wrote is sent next. */
  awaiting: TlsSession | undefined;
}

/** What the streams tell of processes. */
export interface TlsStreamsOptions {
  readonly sink: CaptureSink;
  /** Processes of which nothing was said are looked into, too: they may be gone before they can be looked at. */
  readonly all?: boolean;
  /** A process begins to speak TLS on a connection; it may have ended meanwhile. */
  readonly handshake?: (pid: number) => void;
}

const CIPHER: TlsLayer = { kind: "cipher", number: 0, isLate: false };
const OPAQUE: TlsLayer = { kind: "opaque", number: 0, isLate: false };

/** A sink in front of another one, which is told of clear bytes too. */
export class TlsStreams implements CaptureSink {
  readonly #sink: CaptureSink;
  readonly #handshake: (pid: number) => void;
  readonly #sockets = new Map<number, CipherSocket>();
  readonly #sessions = new TlsSessions((forgotten) => this.#end(forgotten));
  #threads = new Map<number, Thread>();
  readonly #all: boolean;
  readonly #looked = new Set<number>();
  /** Looked at, and found to have no library that is known. */
  readonly #passedBy = new Set<number>();
  readonly #held = new HeldCalls<TlsSession>();
  readonly #dropped: Record<string, number> = {};
  readonly #layer = { kind: "clear" as const, number: 0, isLate: false };
  readonly #work: WorkUnit = { kind: "", unit: 0, origin: 0 };
  readonly #slice: SocketSlice = { ...emptySlice(), work: this.#work, tls: this.#layer };
  #bound = 0;
  #calls = 0;
  #delivered = 0;
  #ambiguous = 0;
  #likelyNumbers = 0;
  #opaque = 0;

  constructor({ sink, all = false, handshake = () => {} }: TlsStreamsOptions) {
    this.#sink = sink;
    this.#all = all;
    this.#handshake = handshake;
  }

  /** Calls of the process are told from here on, or are not. */
  lookInto(pid: number, isLooked: boolean): void {
    if (isLooked) {
      this.#looked.add(pid);
      this.#passedBy.delete(pid);
      return;
    }
    this.#looked.delete(pid);
    if (this.#all) this.#passedBy.add(pid);
    for (const session of this.#sessions.takeProcess(pid)) this.#end(session);
  }

  opened(event: SocketOpened): void {
    this.#sockets.set(event.socket, {
      id: event.socket,
      isLate: event.joinedLate,
      isTls: false,
      isOpaqueCounted: false,
      isToldOf: false,
      records: undefined,
      firstDataNs: 0,
      session: undefined,
    });
    this.#sink.opened(event);
  }

  slice(event: SocketSlice): void {
    const socket = this.#sockets.get(event.socket);
    const isLooked = this.#isLooked(event.pid);
    if (socket === undefined || !this.#isTls(socket, event)) {
      if (isLooked) this.#noteOther(event);
      this.#sink.slice(event);
      return;
    }
    socket.records ??= [new TlsRecords(), new TlsRecords()];
    const hasData = socket.records[event.direction].take(event.seq, event.total, event.bytes);
    if (hasData && socket.firstDataNs === 0) socket.firstDataNs = event.timeNs;
    event.tls = isLooked ? CIPHER : OPAQUE;
    this.#sink.slice(event);
    // Not deleted: the rung uses one object for all slices, whose shape must stay.
    event.tls = undefined;
    if (!socket.isToldOf) {
      socket.isToldOf = true;
      this.#handshake(event.pid);
    }
    if (isLooked) this.#noteCipher(socket, event);
    else {
      // Records that nobody will tell the clear bytes of.
      socket.records[event.direction].settle();
      if (!socket.isOpaqueCounted) {
        socket.isOpaqueCounted = true;
        this.#opaque++;
      }
    }
  }

  moment(event: SocketMoment): void {
    this.#sink.moment?.(event);
  }

  owner(socket: number, end: "local" | "remote", owner: Owner): void {
    this.#sink.owner(socket, end, owner);
  }

  closed(id: number, timeNs: number, reset: boolean): void {
    const socket = this.#sockets.get(id);
    this.#sockets.delete(id);
    if (socket?.session !== undefined) {
      this.#flush(socket.session, socket);
      this.#untie(socket.session);
    }
    this.#sink.closed(id, timeNs, reset);
  }

  process(event: ProcessSeen): void {
    this.#sink.process(event);
  }

  lost(fromNs: number, toNs: number): void {
    this.#sink.lost?.(fromNs, toNs);
  }

  processExited(pid: number, timeNs: number): void {
    this.lookInto(pid, false);
    this.#passedBy.delete(pid);
    this.#sink.processExited(pid, timeNs);
  }

  /** A call of the library, in order among the socket calls of its thread. */
  call(call: TlsCall): void {
    const thread = this.#thread(call.tid);
    const nested = this.#nestedIn(thread, call);
    thread.recent.length = 0;
    if (call.kind === "free") {
      const freed = this.#sessions.take(call.pid, call.session);
      if (freed !== undefined) this.#end(freed);
      if (thread.awaiting?.address === call.session && thread.awaiting.pid === call.pid) thread.awaiting = undefined;
      return;
    }
    const session = this.#sessions.of(call);
    if (call.kind === "handshake" && session.socket === undefined) session.isFresh = true;
    if (nested === "several") this.#ambiguous++;
    else if (nested !== undefined) this.#tie(session, nested, "nested");
    else if (call.kind !== "write") this.#suspectBefore(session, thread, call);
    const hasInner = nested !== undefined;
    if (call.total > 0) {
      this.#calls++;
      if (call.kind === "read") this.#read(session, call, hasInner);
      else this.#wrote(session, call, hasInner);
    } else if (call.kind === "read") this.#noteDrained(session, thread);
    thread.awaiting = hasInner ? undefined : session;
  }

  /** Gives up what has waited too long. To be called a few times a second. */
  expire(nowNs: number): void {
    for (const session of this.#held.overdue(nowNs)) {
      if (session.socket === undefined) this.#dropHeld(session, "unbound");
      else this.#flush(session, session.socket);
    }
  }

  counters(): TlsStreamCounters {
    return {
      calls: this.#calls,
      delivered: this.#delivered,
      waiting: this.#held.count,
      dropped: { ...this.#dropped },
      sessions: this.#bound,
      ambiguous: this.#ambiguous,
      likelyNumbers: this.#likelyNumbers,
      opaque: this.#opaque,
    };
  }

  #isLooked(pid: number): boolean {
    return this.#looked.has(pid) || (this.#all && !this.#passedBy.has(pid));
  }

  #isTls(socket: CipherSocket, event: SocketSlice): boolean {
    if (socket.isTls) return true;
    // Any stream may turn to TLS (STARTTLS), by a hello; one that is older than the agent may be in the midst of it.
    socket.isTls = isHello(event.bytes) || (socket.isLate && this.#isLooked(event.pid) && isRecordStart(event.bytes));
    return socket.isTls;
  }

  /** A call on a socket that speaks no TLS: what was read before it is no neighbour of what comes after. */
  #noteOther(event: SocketSlice): void {
    const thread = this.#threads.get(event.tid);
    if (thread === undefined) return;
    if (event.direction === 1) thread.received = undefined;
    thread.awaiting = undefined;
  }

  #noteCipher(socket: CipherSocket, event: SocketSlice): void {
    const thread = this.#thread(event.tid);
    if (thread.recent.length >= recentMax) thread.recent.shift();
    thread.recent.push({ socket: socket.id, timeNs: event.timeNs, direction: event.direction, seq: event.seq });
    if (event.direction === 1) {
      thread.received = socket;
      thread.receivedNs = event.timeNs;
      thread.receivedUnit = event.work?.unit ?? 0;
      thread.receivedBy = undefined;
      thread.awaiting = undefined;
      return;
    }
    const { awaiting } = thread;
    thread.awaiting = undefined;
    if (awaiting !== undefined && awaiting.socket === undefined) this.#suspectAfter(awaiting, socket);
    if (socket.session === undefined || socket.session.held.length === 0) return;
    // What was written in memory is sent from here on: records before it were sealed unseen.
    socket.records?.[0].forgetBefore(event.seq);
    this.#flush(socket.session, socket);
  }

  /** The socket that was called inside of a library call; undefined where none was. */
  #nestedIn(thread: Thread, call: TlsCall): CipherSocket | "several" | undefined {
    let found = 0;
    let readFrom = -1;
    for (const { socket, timeNs, direction, seq } of thread.recent) {
      if (timeNs < call.entryNs) continue;
      if (found !== 0 && socket !== found) return "several";
      found = socket;
      if (direction === 1 && readFrom === -1) readFrom = seq;
    }
    const socket = this.#sockets.get(found);
    // The library reads from the socket only once it has nothing left to open.
    if (readFrom !== -1) socket?.records?.[1].forgetBefore(readFrom);
    return socket;
  }

  /** The library asks for more: what was read before is opened. */
  #noteDrained(session: TlsSession, thread: Thread): void {
    const socket = session.socket ?? (thread.receivedBy === session ? thread.received : undefined);
    socket?.records?.[1].drained();
  }

  #suspectBefore(session: TlsSession, thread: Thread, call: TlsCall): void {
    const { received } = thread;
    if (received === undefined || call.entryNs - thread.receivedNs > neighbourNsMax) return;
    if (thread.receivedBy !== undefined && thread.receivedBy !== session) return;
    // Another turn of the loop is another event.
    if (call.work.kind === "loop" && thread.receivedUnit !== 0 && thread.receivedUnit !== call.work.unit) return;
    thread.receivedBy = session;
    if (session.socket !== undefined) return;
    session.before = received.id;
    const { records } = received;
    const isFit = call.total > 0 && records !== undefined && records[1].holds(call.total, call.room);
    if (isFit || session.after === received.id) this.#tie(session, received, "neighbours");
  }

  #suspectAfter(session: TlsSession, socket: CipherSocket): void {
    session.after = socket.id;
    const [first] = session.held;
    const isFit = first?.direction === 0 && socket.records !== undefined && socket.records[0].holds(first.total, -1);
    if (isFit || session.before === socket.id) this.#tie(session, socket, "neighbours");
  }

  #tie(session: TlsSession, socket: CipherSocket, how: "nested" | "neighbours"): void {
    if (session.socket === socket) return;
    if (session.socket !== undefined) {
      // The address was given to another session and its end was not seen.
      this.#ambiguous++;
      this.#dropHeld(session, "unbound");
      this.#untie(session);
    }
    if (socket.session !== undefined && socket.session !== session) {
      if (how === "neighbours") {
        this.#ambiguous++;
        return;
      }
      this.#untie(socket.session);
    }
    session.socket = socket;
    socket.session = session;
    this.#bound++;
    if (!session.isFresh) {
      session.isFresh = !socket.isLate && (socket.firstDataNs === 0 || socket.firstDataNs >= session.firstNs);
    }
    // Writes that were made in memory may still have to be sent.
    while (session.held[0]?.direction === 1) this.#flushFirst(session, socket);
  }

  #untie(session: TlsSession): void {
    if (session.socket === undefined) return;
    session.socket.session = undefined;
    session.socket = undefined;
    session.isFresh = false;
    session.before = 0;
    session.after = 0;
    this.#bound--;
  }

  #read(session: TlsSession, call: TlsCall, hasInner: boolean): void {
    const { socket } = session;
    if (socket === undefined) {
      this.#hold(session, call, 1, hasInner);
      return;
    }
    this.#flush(session, socket);
    this.#deliver(session, socket, heldOf(call, 1, call.bytes, hasInner));
  }

  #wrote(session: TlsSession, call: TlsCall, hasInner: boolean): void {
    const { socket } = session;
    if (socket !== undefined && hasInner) {
      this.#flush(session, socket);
      this.#deliver(session, socket, heldOf(call, 0, call.bytes, hasInner));
      socket.records?.[0].settle();
    } else this.#hold(session, call, 0, hasInner);
  }

  #hold(session: TlsSession, call: TlsCall, direction: 0 | 1, hasInner: boolean): void {
    if (this.#held.isFull(session)) {
      if (session.socket === undefined) {
        this.#drop("held_calls_max", 1);
        return;
      }
      this.#flush(session, session.socket);
    }
    if (!this.#held.add(session, call, direction, hasInner)) this.#drop("held_bytes_max", 1);
  }

  /** Hands on all that waits. */
  #flush(session: TlsSession, socket: CipherSocket): void {
    while (session.held.length > 0) this.#flushFirst(session, socket);
  }

  #flushFirst(session: TlsSession, socket: CipherSocket): void {
    const first = this.#held.shift(session);
    if (first !== undefined) this.#deliver(session, socket, first);
  }

  #dropHeld(session: TlsSession, reason: string): void {
    const count = this.#held.clear(session);
    if (count > 0) this.#drop(reason, count);
  }

  #drop(reason: string, count: number): void {
    this.#dropped[reason] = (this.#dropped[reason] ?? 0) + count;
  }

  #deliver(session: TlsSession, socket: CipherSocket, held: HeldCall): void {
    const slice = this.#slice;
    const { direction, total } = held;
    const records = socket.records?.[direction];
    const likely = records?.likelySeq ?? -1;
    let number = records === undefined ? -1 : direction === 1 ? records.read(total, held.room) : records.wrote(total);
    if (number === -1) {
      this.#likelyNumbers++;
      number = likely >>> 0;
    }
    this.#layer.number = number;
    this.#layer.isLate = !session.isFresh;
    slice.socket = socket.id;
    slice.direction = direction;
    slice.timeNs = held.timeNs;
    slice.seq = held.seq;
    slice.total = total;
    slice.bytes = held.bytes;
    slice.tid = held.tid;
    slice.pid = held.pid;
    this.#work.kind = held.work.kind;
    this.#work.unit = held.work.unit;
    this.#work.origin = held.work.origin;
    this.#delivered++;
    this.#sink.slice(slice);
  }

  /** What a session that is over holds has nowhere else to go. */
  #end(session: TlsSession): void {
    if (session.socket !== undefined) this.#flush(session, session.socket);
    this.#dropHeld(session, "closed");
    this.#untie(session);
  }

  #thread(tid: number): Thread {
    let thread = this.#threads.get(tid);
    if (thread === undefined) {
      if (this.#threads.size >= threadsMax) this.#threads = new Map();
      thread = {
        recent: [],
        received: undefined,
        receivedNs: 0,
        receivedUnit: 0,
        receivedBy: undefined,
        awaiting: undefined,
      };
      this.#threads.set(tid, thread);
    }
    return thread;
  }
}
