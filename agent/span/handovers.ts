/**
 * Requests that one thread reads and another answers: a reader with a queue before a pool of workers. The worker's calls
 * since its last answer were made for the request that it answers next, so they are told by that answer.
 *
 * That holds where a worker does one thing at a time. An answer of an overlapping request speaks for it where each call of
 * the thread since its last answer began after the request came, was answered to the same thread, and was over before the
 * next one began, and where the thread read nothing meanwhile. Against it speak whatever is not so; an answer without any
 * call to what usually calls (so it is where a pool takes calls and answers as tasks of their own, in any order); and a
 * call that another thread made while one request alone was open. The caller's guess is used once `Evidence` says so.
 *
 * Invariants: a held call is in the window of its thread until that answers. Calls that wait are decided once each.
 */

import type { MessageMark } from "../protocol/exchange.ts";
import { Evidence } from "./evidence.ts";
import { NumberMap } from "./number-map.ts";
import { type WaitingCall, WaitingCalls } from "./waiting-calls.ts";

/** Threads of a process that make calls; beyond, all are forgotten. */
const threadsMax = 4096;
/** Calls of a thread that are told apart since its last answer; with more it is not known what they were for. */
const windowCallsMax = 256;
/** Kinds of requests of which it is known that they call; beyond, they are learned anew. */
const endpointsMax = 512;

interface HeldRequest {
  readonly request: MessageMark;
  readonly alone: boolean;
  readonly endpoint: string;
}

interface HeldCall<Call> extends WaitingCall<Call> {
  isOver: boolean;
}

/** What a thread did since its last answer. */
interface Window<Call> {
  readonly calls: HeldCall<Call>[];
  /** One thing at a time, as far as was seen. */
  isOrderly: boolean;
  /** Not all was seen: it is no evidence, and nothing is drawn by it. */
  isUnsure: boolean;
  /** How often not all had been seen when it began. */
  readonly gaps: number;
}

interface BegunAnswer<Request, Call> {
  readonly request: Request;
  readonly window: Window<Call>;
}

/** What became of calls that waited. `request` is undefined where none was told. */
export interface ToldCalls<Request, Call> {
  readonly request: Request | undefined;
  readonly calls: readonly Call[];
}

/** The windows of one process' threads. */
export class Handovers<Request extends HeldRequest, Call extends { readonly request: MessageMark }> {
  readonly #windows = new NumberMap<Window<Call>>(threadsMax);
  /** By thread. */
  readonly #answers = new NumberMap<BegunAnswer<Request, Call>>(threadsMax);
  readonly #evidence = new Evidence();
  #endpoints = new Set<string>();
  /** Calls that the answer of their thread is to tell. */
  readonly waiting = new WaitingCalls<Call>();
  #lastCall: MessageMark | undefined;
  #gaps = 0;

  /** Nearly all answers were as they are where this holds. */
  get isProven(): boolean {
    return this.#evidence.isProven;
  }

  /**
   * A thread makes a call.
   *
   * @param waits Its parent is to be told by the answer of its thread.
   * @returns A call that will not be told any more, to make room.
   */
  callStarted(call: Call, waits: boolean): Call | undefined {
    const { tid } = call.request;
    this.#lastCall = call.request;
    const window = this.#windows.get(tid) ?? this.#open(tid);
    const last = window.calls.at(-1);
    if (last?.isOver === false) window.isOrderly = false;
    const held = { call, isOver: false, waits };
    if (window.calls.length < windowCallsMax) window.calls.push(held);
    else window.isUnsure = true;
    return waits ? this.waiting.add(held) : undefined;
  }

  /** @param answer Undefined where none came. */
  callFinished(call: Call, answer: MessageMark | undefined): void {
    const { tid } = call.request;
    const window = this.#windows.get(tid);
    if (window === undefined) return;
    const { calls } = window;
    // Of what is not known the last call alone is looked at again: a client that answers nobody has a window that stays full.
    const oldest = window.isUnsure ? Math.max(0, calls.length - 1) : 0;
    let at = calls.length - 1;
    while (at >= oldest && calls[at]?.call !== call) at--;
    const held = at < oldest ? undefined : calls[at];
    if (held === undefined) return;
    held.isOver = true;
    if (answer !== undefined && (answer.tid !== tid || answer.lastTid !== tid)) window.isOrderly = false;
  }

  /** A thread reads a request. Where it has called since its last answer, it does several things at once. */
  requestRead(tid: number): void {
    const window = this.#windows.get(tid);
    if (window === undefined || window.calls.length === 0) return;
    window.isOrderly = false;
    if (window.calls.at(-1)?.isOver === false) this.#evidence.learn(false);
  }

  /** The first bytes of an answer are written: what the thread does from here on is for something else. */
  answering(request: Request, tid: number): void {
    const window = this.#windows.get(tid) ?? this.#open(tid);
    this.#windows.delete(tid);
    if (window.calls.some(({ isOver }) => !isOver)) window.isOrderly = false;
    this.#answers.set(tid, { request, window });
  }

  /**
   * An answer is written.
   *
   * @param isSure All that the process was asked was seen.
   * @param othersRead Open requests that the thread which answers has read beside this one.
   */
  answered(request: Request, answer: MessageMark, isSure: boolean, othersRead: number): ToldCalls<Request, Call> {
    const { tid } = answer;
    if (this.#answers.get(tid)?.request !== request) this.answering(request, tid);
    const window = this.#answers.get(tid)?.window;
    this.#answers.delete(tid);
    // It went on calling while it wrote.
    const next = this.#windows.get(tid);
    if (next?.calls.some(({ call }) => call.request.startNs <= answer.endNs)) next.isUnsure = true;
    if (window === undefined) return { request: undefined, calls: [] };
    const { startNs } = request.request;
    const isOrderly =
      window.isOrderly &&
      answer.lastTid === tid &&
      othersRead === 0 &&
      window.calls.every(({ call }) => call.request.startNs >= startNs);
    const isKnown = isSure && !window.isUnsure && window.gaps === this.#gaps;
    if (isKnown) this.#learn(request, answer, window, isOrderly);
    const isTold = isKnown && isOrderly && this.#evidence.isProven;
    const calls: Call[] = [];
    for (const held of window.calls) {
      if (!held.waits) continue;
      held.waits = false;
      calls.push(held.call);
    }
    return { request: isTold ? request : undefined, calls };
  }

  /** Not all is seen: what the threads did until now tells nothing. */
  becomeUnsure(): void {
    this.#gaps += 1;
  }

  #learn(request: Request, answer: MessageMark, window: Window<Call>, isOrderly: boolean): void {
    const calls = window.calls.length > 0;
    if (calls) {
      if (this.#endpoints.size >= endpointsMax) this.#endpoints = new Set();
      this.#endpoints.add(request.endpoint);
    }
    const last = this.#lastCall;
    if (!request.alone) {
      if (calls) this.#evidence.learn(isOrderly);
      else if (this.#endpoints.has(request.endpoint)) this.#evidence.learn(false);
    } else if (last !== undefined && last.startNs >= request.request.startNs && last.startNs <= answer.startNs) {
      if (last.tid !== answer.tid) this.#evidence.learn(false);
    }
  }

  #open(tid: number): Window<Call> {
    // Of windows that are forgotten for it, calls that still wait are given up by their age.
    const window = { calls: [], isOrderly: true, isUnsure: false, gaps: this.#gaps };
    this.#windows.set(tid, window);
    return window;
  }
}
