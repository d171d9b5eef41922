/**
 * Which open server request of a process a client call belongs to, or none: a wrong parent is worse than none.
 *
 * Invariants: `#open` holds the server requests read and not yet answered. A request is `alone`
 * until another one is open beside it, and never again after that. A finished request is nobody's parent. One that
 * ended without an answer counts as open beside those of the next ten seconds: its handler may not know yet.
 *
 * Two rules may draw a parent. *Alone*: one server request is open in the whole process, none was open beside it
 * since it started, its answer has not begun, and calls to the same target are not also made while none is open
 * (timers, workers). *Own thread*: the process was seen to serve each request on one thread from read to answer, and
 * the calling thread has exactly one request open, which it read itself. Where the second is proven it is the only
 * one, so that background threads draw nothing.
 */

import type { MessageMark } from "../protocol/exchange.ts";
import { NumberMap } from "./number-map.ts";

/** Overlapping requests looked at before threads are trusted, and how many are needed at least. */
const EVIDENCE_WINDOW = 200;
const EVIDENCE_AT_LEAST = 20;
const EVIDENCE_SHARE = 0.98;
/** Targets a process calls whose calls are told apart; the one seen first is forgotten beyond. */
const targetsMax = 512;
/** Share of calls to a target with no request open above which calls to it are taken for background work. */
const BACKGROUND_SHARE = 0.02;
const TARGET_CALLS_HALVED_AT = 1000;
/** How long a request that got no answer, since its client gave up, may still be worked on unseen. */
const ABANDONED_NS = 10e9;

/** A server request while it is open. */
export interface OpenRequest {
  readonly request: MessageMark;
  /** No other server request of the process was open at the same time so far. */
  alone: boolean;
  /** Place among the open requests, which is theirs to set; -1 while it is not among them. */
  openAt: number;
  /** The first byte of its answer was seen. */
  readonly answering: boolean;
}

/** A client call while it is open. */
export interface OpenCall {
  readonly request: MessageMark;
}

interface ThreadState<Request> {
  openRequests: number;
  openCalls: number;
  /** The one open request the thread read; undefined where several are or were open since the last pause. */
  only: Request | undefined;
}

interface TargetCalls {
  inside: number;
  outside: number;
}

/** The server requests and client calls one process has open, and what its past says about its threads. */
export class ProcessRequests<Request extends OpenRequest> {
  /** In no order; each knows its place. */
  readonly #open: Request[] = [];
  readonly #threads = new NumberMap<ThreadState<Request>>();
  readonly #targets = new Map<number, TargetCalls>();
  readonly #evidence = new Uint8Array(EVIDENCE_WINDOW);
  #threadsMayBeProven = false;
  #evidenceCount = 0;
  #evidenceGood = 0;
  /** Open connections on which the process is asked things that are not read. */
  #unreadConnections = 0;
  /** Boot time until which a request that got no answer may still be worked on. */
  #abandonedUntilNs = 0;
  /** Requests still to pass before a thread seen with two things at once is forgotten. */
  #disproved = 0;

  /**
   * @param allowed False for runtimes that move work between threads or share one thread among requests (Go, Node):
   *   there no evidence is enough. It is false until a process is known.
   */
  allowThreadProof(allowed: boolean): void {
    this.#threadsMayBeProven = allowed;
  }

  /** Server requests open now. */
  get openRequests(): number {
    return this.#open.length;
  }

  requestStarted(request: Request): void {
    const thread = this.#thread(request.request.tid);
    if (this.#unreadConnections > 0 || request.request.startNs < this.#abandonedUntilNs) request.alone = false;
    const [first] = this.#open;
    if (first !== undefined) {
      request.alone = false;
      first.alone = false;
    }
    request.openAt = this.#open.push(request) - 1;
    if (thread === undefined) return;
    // A thread that waits for a call, or serves a request, and reads another one is an event loop.
    if (thread.openRequests > 0 || thread.openCalls > 0) this.#disproved = EVIDENCE_WINDOW;
    thread.only = thread.openRequests === 0 ? request : undefined;
    thread.openRequests += 1;
  }

  /** @param answer Mark of the response. */
  requestFinished(request: Request, answer: MessageMark): void {
    if (!this.#take(request)) return;
    const tid = request.request.tid;
    const thread = this.#threads.get(tid);
    if (thread !== undefined && answer.tid === tid && thread.openCalls > 0) this.#disproved = EVIDENCE_WINDOW;
    this.#leaveThread(request, thread);
    // A request served alone would look the same on an event loop: only overlapping ones are evidence.
    if (request.alone || tid === 0) return;
    this.#learn(answer.tid === tid && answer.lastTid === tid && request.request.lastTid === tid);
  }

  /**
   * A request ended without an answer, which proves nothing of threads. What it was asked for may go on: calls made for
   * it would be drawn into the request that comes next.
   *
   * @param nowNs Boot time.
   */
  requestAbandoned(request: Request, nowNs: number): void {
    if (!this.#take(request)) return;
    this.#leaveThread(request, this.#threads.get(request.request.tid));
    this.#abandonedUntilNs = nowNs + ABANDONED_NS;
    for (const open of this.#open) open.alone = false;
  }

  /**
   * Registers a client call and says which server request it belongs to.
   *
   * @param target Hash of where the call goes and what it asks.
   */
  callStarted(call: OpenCall, target: number): Request | undefined {
    const tid = call.request.tid;
    const thread = this.#thread(tid);
    const background = this.#isBackground(target);
    const parent = this.#ownThread(tid, thread) ?? (background || this.threadsProven ? undefined : this.#alone());
    if (thread !== undefined) thread.openCalls += 1;
    return parent;
  }

  callFinished(call: OpenCall): void {
    const thread = this.#threads.get(call.request.tid);
    if (thread === undefined || thread.openCalls === 0) return;
    thread.openCalls -= 1;
    this.#forgetIdle(call.request.tid, thread);
  }

  /** A connection on which the process serves is not read: what asks for a call may have come there. */
  unreadOpened(): void {
    this.#unreadConnections += 1;
    this.eventsLost();
  }

  unreadClosed(): void {
    this.#unreadConnections -= 1;
  }

  /** Events were lost: none of the open requests is known to be alone any more. */
  eventsLost(): void {
    for (const request of this.#open) request.alone = false;
  }

  /** Each request was served by the thread that read it, often enough, and nothing spoke against it. */
  get threadsProven(): boolean {
    return (
      this.#threadsMayBeProven &&
      this.#disproved === 0 &&
      this.#evidenceCount >= EVIDENCE_AT_LEAST &&
      this.#evidenceGood >= EVIDENCE_SHARE * Math.min(this.#evidenceCount, EVIDENCE_WINDOW)
    );
  }

  /** Takes a request out of the open ones; false where it is not among them. */
  #take(request: Request): boolean {
    const at = request.openAt;
    if (at < 0) return false;
    request.openAt = -1;
    const last = this.#open.pop();
    if (last !== undefined && last !== request) {
      this.#open[at] = last;
      last.openAt = at;
    }
    return true;
  }

  #leaveThread(request: Request, thread: ThreadState<Request> | undefined): void {
    if (thread === undefined) return;
    thread.openRequests -= 1;
    if (thread.only === request) thread.only = undefined;
    this.#forgetIdle(request.request.tid, thread);
  }

  #ownThread(tid: number, thread: ThreadState<Request> | undefined): Request | undefined {
    if (thread === undefined || !this.threadsProven || thread.openRequests !== 1) return undefined;
    return thread.only?.request.lastTid === tid ? thread.only : undefined;
  }

  #alone(): Request | undefined {
    const [only] = this.#open;
    if (only === undefined || this.#open.length > 1 || this.#unreadConnections > 0) return undefined;
    return only.alone && !only.answering ? only : undefined;
  }

  /** Counts a call to `target` as made inside or outside of requests, and says whether it may be background work. */
  #isBackground(target: number): boolean {
    let calls = this.#targets.get(target);
    if (calls === undefined) {
      if (this.#targets.size >= targetsMax)
        for (const first of this.#targets.keys()) {
          this.#targets.delete(first);
          break;
        }
      calls = { inside: 0, outside: 0 };
      this.#targets.set(target, calls);
    }
    if (this.#open.length > 0) calls.inside += 1;
    else calls.outside += 1;
    const total = calls.inside + calls.outside;
    if (total >= TARGET_CALLS_HALVED_AT) {
      calls.inside >>>= 1;
      calls.outside >>>= 1;
    }
    return calls.outside > BACKGROUND_SHARE * total;
  }

  #learn(good: boolean): void {
    const at = this.#evidenceCount % EVIDENCE_WINDOW;
    if (this.#evidenceCount >= EVIDENCE_WINDOW) this.#evidenceGood -= this.#evidence[at] as number;
    this.#evidence[at] = good ? 1 : 0;
    if (good) this.#evidenceGood += 1;
    this.#evidenceCount += 1;
    // The counter stays below twice the window, and its remainder names the oldest entry.
    if (this.#evidenceCount === 2 * EVIDENCE_WINDOW) this.#evidenceCount = EVIDENCE_WINDOW;
    if (this.#disproved > 0) this.#disproved -= 1;
  }

  #thread(tid: number): ThreadState<Request> | undefined {
    if (tid === 0) return undefined;
    let thread = this.#threads.get(tid);
    if (thread === undefined) {
      thread = { openRequests: 0, openCalls: 0, only: undefined };
      this.#threads.set(tid, thread);
    }
    return thread;
  }

  #forgetIdle(tid: number, thread: ThreadState<Request>): void {
    if (thread.openRequests === 0 && thread.openCalls === 0) this.#threads.delete(tid);
  }
}
