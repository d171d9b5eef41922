/**
 * What an event loop is about at a moment: the request whose bytes it read last, and what was done for it since.
 *
 * libuv, nginx and their like run each event to its end before the next: what is sent or connected after a read, and
 * before anything else happens, is done because of it. The answer to a call goes on with what the call was made for. Where
 * libuv's own signals are at hand, a new turn, a phase other than that of descriptors (timers, immediates), and a read of
 * anything that is no socket (a pool's completion among them) end that: what follows has no known cause.
 *
 * Nothing here is drawn before the process has passed its self-check (see `ProcessRequests`).
 */

import type { WorkUnit } from "../../server/model/capture-event.ts";
import { NumberMap } from "./number-map.ts";

/** Connections that were begun and have made no call yet; beyond, all are forgotten. */
const connectsMax = 16_384;
/** Reads of a connection before its first call that go on with what it was begun for: a handshake, a login. */
const greetingReadsMax = 16;
/** Threads remembered; beyond, all are forgotten. */
const threadsMax = 65_536;

/** Reads of one turn that are remembered for the immediates after them. */
const readsOfTurnMax = 64;

/** What something is done for, and how that is known. */
export interface LoopCause<Request> {
  readonly request: Request;
  /** Immediates were matched with the reads of their turn on the way: a weaker guess, with a self-check of its own. */
  readonly byOrder: boolean;
}

interface BegunConnection<Request> {
  readonly cause: LoopCause<Request> | undefined;
  hasSent: boolean;
  greetingReads: number;
}

interface LoopThread<Request> {
  /** Read last. */
  socket: number;
  turn: number;
  /** Reads that the thread will have made once the one under way is counted. */
  reads: number;
  cause: LoopCause<Request> | undefined;
  /** The cause goes on with the answer to a call. */
  byAnswer: boolean;
  /** Causes of the turn after whose read nothing was sent at once, in order; and how many were matched with immediates. */
  unspent: (LoopCause<Request> | undefined)[];
  matched: number;
  /** Nothing was sent since the last read: it is the last of `unspent`. */
  isLastUnspent: boolean;
}

/** Causes by thread, of all processes. */
export class LoopCauses<Request> {
  readonly #threads = new NumberMap<LoopThread<Request>>(threadsMax);
  readonly #connects = new Map<number, BegunConnection<Request>>();

  /** A thread read bytes; of the answer to a call made for `cause`, or of something else. */
  received(socket: number, tid: number, work: WorkUnit, cause: LoopCause<Request> | undefined): void {
    const thread = this.#thread(tid);
    if (thread.turn !== work.unit) {
      thread.turn = work.unit;
      thread.unspent = [];
      thread.matched = 0;
    } else if (thread.socket === socket && thread.isLastUnspent) thread.unspent.pop(); // one event, read in pieces
    thread.socket = socket;
    // The kernel counts the read after the call was seen.
    thread.reads = (work.origin >> 1) + 1;
    thread.cause = work.kind === "loop" && (work.origin & 1) === 0 ? undefined : cause;
    thread.byAnswer = cause !== undefined;
    thread.isLastUnspent = work.kind === "loop" && thread.unspent.length < readsOfTurnMax;
    if (thread.isLastUnspent) thread.unspent.push(thread.cause);
  }

  /** A thread read that a stream has ended. After bytes of the same stream it is still about those. */
  ended(socket: number, tid: number, work: WorkUnit, cause: LoopCause<Request> | undefined): void {
    if (!this.#goesOn(socket, tid, work)) this.received(socket, tid, work, cause);
  }

  /** A thread read records of TLS. What they hold is read after that, if it is anything: no immediate is theirs. */
  sealed(socket: number, tid: number, work: WorkUnit, cause: LoopCause<Request> | undefined): void {
    if (this.#goesOn(socket, tid, work)) return;
    this.received(socket, tid, work, cause);
    const thread = this.#thread(tid);
    if (thread.isLastUnspent) thread.unspent.pop();
    thread.isLastUnspent = false;
  }

  /** What the thread just read belongs to a request. */
  isAbout(tid: number, request: Request): void {
    const thread = this.#threads.get(tid);
    if (thread === undefined) return;
    thread.cause = { request, byOrder: false };
    thread.byAnswer = false;
    if (thread.isLastUnspent) thread.unspent[thread.unspent.length - 1] = thread.cause;
  }

  /** What the thread is about as it sends or connects; undefined where that is not known. Forgets what has ended. */
  current(tid: number, work: WorkUnit): LoopCause<Request> | undefined {
    const thread = this.#threads.get(tid);
    if (thread === undefined) return undefined;
    if (work.kind !== "loop") return thread.cause;
    // Another turn, or a read of something that is no socket: a completion of the pool, a signal, another thread's message.
    if (thread.turn !== work.unit || work.origin >> 1 > thread.reads) {
      thread.cause = undefined;
      thread.unspent = [];
      return undefined;
    }
    if ((work.origin & 1) === 0) return this.#byOrder(thread);
    if (thread.isLastUnspent) thread.unspent.pop();
    thread.isLastUnspent = false;
    return thread.cause;
  }

  /** Whether what the thread is about goes on with the answer to a call. */
  isByAnswer(tid: number): boolean {
    return this.#threads.get(tid)?.byAnswer ?? false;
  }

  /** A connection is begun: its first write, whenever it comes, is for what the thread is about. */
  connecting(socket: number, tid: number, work: WorkUnit): void {
    if (this.#connects.size >= connectsMax) this.#connects.clear();
    this.#connects.set(socket, { cause: this.current(tid, work), hasSent: false, greetingReads: 0 });
  }

  /** What is read on a connection that has made no call yet goes on with what it was begun for. */
  greeted(socket: number): LoopCause<Request> | undefined {
    const begun = this.#connects.get(socket);
    if (begun?.hasSent !== true) return undefined;
    begun.greetingReads += 1;
    if (begun.greetingReads >= greetingReadsMax) this.#connects.delete(socket);
    return begun.cause;
  }

  /** The connection makes a call: what is read on it from then on answers that. */
  called(socket: number): void {
    this.#connects.delete(socket);
  }

  /** What a write on a client's connection is for. */
  sent(socket: number, tid: number, work: WorkUnit): LoopCause<Request> | undefined {
    const begun = this.#connects.get(socket);
    if (begun === undefined || begun.hasSent) return this.current(tid, work);
    begun.hasSent = true;
    const { cause } = begun;
    // The connection's own event: what the thread did before is over.
    const thread = this.#thread(tid);
    if (thread.turn !== work.unit) {
      thread.unspent = [];
      thread.matched = 0;
    }
    thread.turn = work.unit;
    thread.reads = work.origin >> 1;
    thread.cause = cause;
    thread.byAnswer = false;
    thread.isLastUnspent = false;
    return cause;
  }

  closed(socket: number): void {
    this.#connects.delete(socket);
  }

  /** A read goes on with what the thread read last; it is counted. */
  #goesOn(socket: number, tid: number, work: WorkUnit): boolean {
    const thread = this.#thread(tid);
    if (thread.socket !== socket || (work.kind === "loop" && thread.turn !== work.unit)) return false;
    thread.reads = (work.origin >> 1) + 1;
    return true;
  }

  /**
   * Immediates run in the order in which they were asked for, after all events of their turn. Where one thing alone was read
   * in the turn they are its own; else the first that sends is taken for the first read after which nothing was sent.
   */
  #byOrder(thread: LoopThread<Request>): LoopCause<Request> | undefined {
    const { unspent } = thread;
    const cause = unspent.length === 1 ? unspent[0] : unspent[thread.matched++];
    thread.cause = cause === undefined ? undefined : { request: cause.request, byOrder: true };
    return thread.cause;
  }

  #thread(tid: number): LoopThread<Request> {
    let thread = this.#threads.get(tid);
    if (thread === undefined) {
      thread = {
        socket: 0,
        turn: 0,
        reads: 0,
        cause: undefined,
        byAnswer: false,
        unspent: [],
        matched: 0,
        isLastUnspent: false,
      };
      this.#threads.set(tid, thread);
    }
    return thread;
  }
}
