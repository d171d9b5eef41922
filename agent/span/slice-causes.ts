/**
 * What the slices of sockets tell of their threads: what a slice was made by and for, and whose answer it begins.
 *
 * Invariant: `work` and `cause` are those of the slice under way, between `seen` and `read`.
 */

import type { SocketMoment, SocketSlice, WorkUnit } from "../../server/model/capture-event.ts";
import type { HopSide } from "./hop.ts";
import { type LoopCause, LoopCauses } from "./loop-causes.ts";
import type { ProcessRequests } from "./process-requests.ts";

const NO_WORK: WorkUnit = { kind: "", unit: 0, origin: 0 };

/** Sides of an open exchange, the client's first. */
export interface OpenSides {
  readonly sides: readonly HopSide[];
}

/** Slices and moments of all sockets, in order. */
export class SliceCauses {
  readonly #requests: (pid: number) => ProcessRequests<HopSide, HopSide> | undefined;
  readonly #open: (socket: number) => readonly OpenSides[];
  readonly #loops = new LoopCauses<HopSide>();
  /** What the slice under way was made by. */
  work: WorkUnit = NO_WORK;
  /** What the slice under way is sent for, where a loop tells. */
  cause: LoopCause<HopSide> | undefined;

  /** @param requests Those of a process. @param open What is open on a socket, in order of start. */
  constructor(
    requests: (pid: number) => ProcessRequests<HopSide, HopSide> | undefined,
    open: (socket: number) => readonly OpenSides[],
  ) {
    this.#requests = requests;
    this.#open = open;
  }

  /** What a thread is about begins or ends. */
  moment({ kind, socket, tid, pid, work }: SocketMoment): void {
    if (!this.#requests(pid)?.mayBeLoop(work)) return;
    if (kind === "connecting") this.#loops.connecting(socket, tid, work);
    else this.#loops.ended(socket, tid, work, this.#causeOfRead(socket));
  }

  /** A slice of a socket is about to be read: what it makes start was made by its thread. `read` follows. */
  seen(slice: SocketSlice): void {
    this.work = slice.work ?? NO_WORK;
    this.cause = undefined;
    const open = this.#open(slice.socket);
    const isLoop = this.#requests(slice.pid)?.mayBeLoop(this.work) === true;
    if (slice.direction === 1) {
      // Of several it may be the answer to any.
      for (const { sides } of isLoop ? open : []) {
        const call = sides[0];
        if (call?.kind !== "client" || call.isAnswerSeen) continue;
        call.isAnswerSeen = true;
        call.requests?.answerRead(call, slice.tid);
      }
      if (isLoop) this.#loops.received(slice.socket, slice.tid, this.work, this.#causeOfRead(slice.socket));
      return;
    }
    const first = open[0]?.sides[0];
    if (first?.kind === "server") {
      // Answers to several streams come in any order: which one this is to is not known before it is read.
      if (first.isAnswerSeen || (first.exchange.stream !== 0 && open.length !== 1)) return;
      first.isAnswerSeen = true;
      const cause = isLoop ? this.#loops.current(slice.tid, this.work) : undefined;
      const byAnswer = isLoop && this.#loops.isByAnswer(slice.tid);
      first.requests?.answerSent(first, { work: this.work, cause }, byAnswer, slice);
    } else if (isLoop) this.cause = this.#loops.sent(slice.socket, slice.tid, this.work);
  }

  /** Records of TLS were sent or read. What is read may be their end alone, with which an answer ends. */
  sealed({ socket, direction, tid, pid, work = NO_WORK }: SocketSlice): void {
    if (direction === 0 || !this.#requests(pid)?.mayBeLoop(work)) return;
    this.#loops.sealed(socket, tid, work, this.#causeOfRead(socket));
  }

  /** What the bytes that come on a socket are for: a call that waits for them, or what the connection was begun for. */
  #causeOfRead(socket: number): LoopCause<HopSide> | undefined {
    const greeted = this.#loops.greeted(socket);
    // A request that is answered has no more done for it.
    return causeOfCalls(this.#open(socket)) ?? (greeted && greeted.request.openAt >= 0 ? greeted : undefined);
  }

  /** The slice was read. */
  read(slice: SocketSlice): void {
    if (slice.direction === 1) {
      const open = this.#open(slice.socket);
      const side = open.length === 1 ? open[0]?.sides[0] : undefined;
      if (side?.kind === "server" && side.requests?.mayBeLoop(this.work)) this.#loops.isAbout(slice.tid, side);
    }
    this.work = NO_WORK;
    this.cause = undefined;
  }

  /** A call was made on the socket. */
  called(socket: number): void {
    this.#loops.called(socket);
  }

  closed(socket: number): void {
    this.#loops.closed(socket);
  }
}

/** What the calls open on a connection were made for, where that is one thing. */
function causeOfCalls(open: readonly OpenSides[]): LoopCause<HopSide> | undefined {
  const first = open[0]?.sides[0];
  if (first?.kind !== "client") return undefined;
  for (const { sides } of open) if (sides[0]?.cause?.request !== first.cause?.request) return undefined;
  return first.cause;
}
