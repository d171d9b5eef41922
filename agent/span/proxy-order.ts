/**
 * A proxy whose loop reads several streams before it goes on with one (haproxy): its threads take requests, and the answers
 * to its calls, in the order in which they came. So a call is made for the oldest request that its thread has read and has
 * neither called for nor answered, and an answer passes on the oldest that the thread has read and not passed on.
 *
 * These are two guesses about one pair, on queues that the time which each call takes has mixed in between. Only where both
 * agree is the call told, by the answer, and only in a process where nearly all of them agreed (`Evidence`).
 */

import type { MessageMark } from "../protocol/exchange.ts";
import { Evidence } from "./evidence.ts";
import { NumberMap } from "./number-map.ts";
import { type WaitingCall, WaitingCalls } from "./waiting-calls.ts";

/** Of a thread, requests without a call, calls without an answer, and answers not passed on; beyond, the oldest is forgotten. */
const queueMax = 512;
/** What waits in a queue for longer was not taken in order. */
const QUEUED_NS_MAX = 1e9;
/** Threads remembered of a process; beyond, all are forgotten. */
const threadsMax = 4096;

/** A request as it is passed on. */
export interface PassedRequest {
  readonly alone: boolean;
  readonly openAt: number;
  readonly answering: boolean;
}

interface Queued<Value> {
  readonly value: Value;
  readonly timeNs: number;
}

interface GuessedCall<Request, Call> extends WaitingCall<Call> {
  readonly request: Request | undefined;
}

interface ProxyThread<Request, Call> {
  readonly requests: Queued<Request>[];
  /** Calls made and not answered. */
  readonly calls: GuessedCall<Request, Call>[];
  readonly answers: Queued<GuessedCall<Request, Call>>[];
}

/** A call that waited, and whether both orders name the same request for it. */
export interface PassedCall<Call> {
  readonly call: Call;
  readonly isTold: boolean;
}

/** The queues of one process' threads. */
export class ProxyOrder<Request extends PassedRequest, Call extends { readonly request: MessageMark }> {
  #threads = new NumberMap<ProxyThread<Request, Call>>();
  readonly #evidence = new Evidence();
  /** Calls that the answer which passes theirs on is to tell. */
  readonly waiting = new WaitingCalls<Call>();

  /** Both orders nearly always agreed. */
  get isProven(): boolean {
    return this.#evidence.isProven;
  }

  /** A thread read a request. @param timeNs Boot time, as in the others. */
  requestRead(tid: number, request: Request, timeNs: number): void {
    push(this.#thread(tid).requests, { value: request, timeNs });
  }

  /**
   * A call is made, for the request whose turn it is.
   *
   * @param waits Its parent is to be told.
   * @returns A call that will not be told any more, to make room.
   */
  callStarted(call: Call, waits: boolean): Call | undefined {
    const { tid, startNs } = call.request;
    const thread = this.#thread(tid);
    const guessed = { call, waits, request: nextRequest(thread.requests, startNs) };
    push(thread.calls, guessed);
    return waits ? this.waiting.add(guessed) : undefined;
  }

  /** A thread read the first bytes of the answer to a call. */
  answerRead(tid: number, call: Call, timeNs: number): void {
    const { calls, answers } = this.#thread(tid);
    const at = calls.findIndex((guessed) => guessed.call === call);
    const guessed = calls[at];
    if (guessed === undefined) return;
    calls.splice(at, 1);
    push(answers, { value: guessed, timeNs });
  }

  /**
   * The first bytes of an answer are sent.
   *
   * @returns The call whose answer is passed on, if it waits; undefined where the proxy answers by itself, too.
   */
  answering(tid: number, request: Request, timeNs: number): PassedCall<Call> | undefined {
    const { requests, answers } = this.#thread(tid);
    const own = requests.findIndex(({ value }) => value === request);
    if (own >= 0) {
      requests.splice(own, 1);
      return undefined;
    }
    for (let next = answers.shift(); next !== undefined; next = answers.shift()) {
      if (timeNs - next.timeNs > QUEUED_NS_MAX) continue;
      const guessed = next.value;
      const isSame = guessed.request === request;
      // One request alone is passed on right in any order.
      if (!request.alone) this.#evidence.learn(isSame);
      // Something was not taken in order: what stands in the queues would stay one place off.
      if (!isSame) {
        requests.length = 0;
        answers.length = 0;
      }
      if (!guessed.waits) return undefined;
      guessed.waits = false;
      return { call: guessed.call, isTold: isSame && this.#evidence.isProven };
    }
    return undefined;
  }

  #thread(tid: number): ProxyThread<Request, Call> {
    let thread = this.#threads.get(tid);
    if (thread === undefined) {
      if (this.#threads.size >= threadsMax) this.#threads = new NumberMap();
      thread = { requests: [], calls: [], answers: [] };
      this.#threads.set(tid, thread);
    }
    return thread;
  }
}

/** Takes the oldest that is neither answered nor too old. */
function nextRequest<Request extends PassedRequest>(requests: Queued<Request>[], nowNs: number): Request | undefined {
  for (let next = requests.shift(); next !== undefined; next = requests.shift()) {
    const { value, timeNs } = next;
    if (value.openAt >= 0 && !value.answering && nowNs - timeNs <= QUEUED_NS_MAX) return value;
  }
  return undefined;
}

function push<Value>(queue: Value[], value: Value): void {
  if (queue.length >= queueMax) queue.shift();
  queue.push(value);
}
