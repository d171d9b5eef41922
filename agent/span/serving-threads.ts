/**
 * What the threads of a process have open, and the one request that a thread, or a goroutine, serves.
 *
 * Invariant: a thread is remembered while it has a request or a call open.
 */

import type { MessageMark } from "../protocol/exchange.ts";
import { NumberMap } from "./number-map.ts";

/** Goroutines remembered; beyond, all are forgotten. */
const unitsMax = 65_536;

/** A server request as a thread reads it. */
export interface ServedRequest {
  readonly request: MessageMark;
  /** Thread or goroutine that read it; 0 where it is not known. */
  readonly readerTid: number;
  /** -1 while it is not open. */
  readonly openAt: number;
}

interface ThreadState<Request> {
  openRequests: number;
  openCalls: number;
  /** The one open request the thread read; undefined where several are or were open since the last pause. */
  only: Request | undefined;
}

/** Threads of one process. Thread 0 stands for none: nothing is known of it. */
export class ServingThreads<Request extends ServedRequest> {
  readonly #threads = new NumberMap<ThreadState<Request>>();
  /** The request a goroutine was started for, known by its first call; null where it was none. */
  readonly #startedFor = new NumberMap<Request | null>(unitsMax);
  #areGoroutines = false;

  /** Threads are goroutines from here on. */
  becomeGoroutines(): void {
    this.#areGoroutines = true;
  }

  /** @returns Whether the thread had something open already. */
  requestRead(request: Request): boolean {
    const thread = this.#thread(request.readerTid);
    if (thread === undefined) return false;
    const wasBusy = thread.openRequests > 0 || thread.openCalls > 0;
    thread.only = thread.openRequests === 0 ? request : undefined;
    thread.openRequests += 1;
    return wasBusy;
  }

  /** A request that `requestRead` was told of is over. */
  requestEnded(request: Request): void {
    const thread = this.#threads.get(request.readerTid);
    if (thread === undefined) return;
    thread.openRequests -= 1;
    if (thread.only === request) thread.only = undefined;
    this.#forgetIdle(request.readerTid, thread);
  }

  callStarted(tid: number): void {
    const thread = this.#thread(tid);
    if (thread !== undefined) thread.openCalls += 1;
  }

  callFinished(tid: number): void {
    const thread = this.#threads.get(tid);
    if (thread === undefined || thread.openCalls === 0) return;
    thread.openCalls -= 1;
    this.#forgetIdle(tid, thread);
  }

  /** Requests that a thread read and that are open. */
  openRequests(tid: number): number {
    return this.#threads.get(tid)?.openRequests ?? 0;
  }

  /** Whether a thread waits for a call. */
  isCalling(tid: number): boolean {
    return (this.#threads.get(tid)?.openCalls ?? 0) > 0;
  }

  /** The one open request that a thread read, and read to its end where it is no goroutine. */
  own(tid: number): Request | undefined {
    const thread = this.#threads.get(tid);
    if (thread === undefined || thread.openRequests !== 1) return undefined;
    return thread.only?.readerTid === tid && (this.#areGoroutines || thread.only.request.lastTid === tid)
      ? thread.only
      : undefined;
  }

  /** The request that the goroutine's starter had open when the goroutine first called: later it may have another. */
  ofStarter(goroutine: number, starter: number): Request | undefined {
    let request = this.#startedFor.get(goroutine);
    if (request === undefined) {
      request = this.own(starter) ?? null;
      this.#startedFor.set(goroutine, request);
    }
    return request !== null && request.openAt >= 0 ? request : undefined;
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
