/**
 * A proxy whose loop reads several streams before it goes on with one (haproxy): which request a call is for cannot be told
 * by what was read last, but by counting. A thread's requests and calls are cut into groups, each from the first request
 * that it reads until there are as many calls as requests: so those calls are for these requests, in whatever order. An
 * answer is passed on after it was read. So where one answer alone of the request's group was read and not passed on, it
 * is the one that is passed on, and its call was made for this request.
 *
 * Where several were, order may tell: the first call of a group is for its first request, and of its answers the one read
 * first is passed on first. Both may be wrong in the same way and then agree. So they draw only where what counting alone told
 * has shown the order of calls to hold, lately too, and in groups that were read and called for in one go.
 *
 * Counting is off where a request makes a second call or none, or where calls come from elsewhere (checks of health,
 * retries). That shows: a call comes where none is due, a group does not fill, an answer is sent that was not read. Whatever
 * the thread has open then is not told. A process is told of only where nearly all was as it should be (`Evidence`).
 */

import type { MessageMark } from "../protocol/exchange.ts";
import { Evidence } from "./evidence.ts";
import { NumberMap } from "./number-map.ts";
import { type WaitingCall, WaitingCalls } from "./waiting-calls.ts";

/** Of a thread, requests without an answer, calls without one, and answers not passed on; beyond, all are forgotten. */
const queueMax = 512;
/** A group that takes longer to fill holds a request that makes no call, or one that had to wait. */
const GROUP_NS_MAX = 100e6;
/** Calls told by order since counting alone showed that it holds; beyond, none until it does again. */
const BY_ORDER_MAX = 64;
/** Threads remembered of a process; beyond, all are forgotten. */
const threadsMax = 4096;

/** A request as it is passed on. */
export interface PassedRequest {
  readonly alone: boolean;
}

/** Requests that were read, and the calls made since, until there are as many. */
interface Group {
  readonly startNs: number;
  /** Requests that make a call, and calls made, in order. */
  readonly requests: unknown[];
  readonly calls: unknown[];
  /** Requests not answered. */
  open: number;
  isFull: boolean;
  /** Nothing was read between its calls: no connection was made for one of them, while others went on. */
  isOneGo: boolean;
  /** Nothing speaks against its order. */
  isOrdered: boolean;
  /** Its calls were made for its requests, as far as is known. */
  isSound: boolean;
}

interface GroupedRequest<Request> {
  readonly request: Request;
  readonly group: Group;
}

interface GroupedCall<Call> extends WaitingCall<Call> {
  readonly group: Group | undefined;
  /** By order its answer was passed on, though that is not certain. */
  isPassed: boolean;
}

interface ProxyThread<Request, Call> {
  /** Read and not answered, in order. */
  readonly requests: GroupedRequest<Request>[];
  /** Calls made and not answered. */
  readonly calls: GroupedCall<Call>[];
  /** Calls whose answer was read and not passed on. */
  answers: GroupedCall<Call>[];
  /** That is filling. */
  group: Group | undefined;
}

/** The groups of one process' threads. */
export class ProxyOrder<Request extends PassedRequest, Call extends { readonly request: MessageMark }> {
  readonly #threads = new NumberMap<ProxyThread<Request, Call>>(threadsMax);
  readonly #evidence = new Evidence();
  readonly #order = new Evidence();
  #toldByOrder = 0;
  /** Calls that the answer which passes theirs on is to tell. */
  readonly waiting = new WaitingCalls<Call>();

  /** Nearly all was as counting says. */
  get isProven(): boolean {
    return this.#evidence.isProven;
  }

  /** A thread read a request. @param timeNs Boot time, as in the others. */
  requestRead(tid: number, request: Request, timeNs: number): void {
    const thread = this.#thread(tid);
    let group = filling(thread, timeNs);
    if (group === undefined) {
      group = {
        startNs: timeNs,
        requests: [],
        calls: [],
        open: 0,
        isFull: false,
        isOneGo: true,
        isOrdered: true,
        isSound: true,
      };
      thread.group = group;
    }
    if (group.calls.length > 0) group.isOneGo = false;
    group.requests.push(request);
    group.open += 1;
    thread.requests.push({ request, group });
    if (thread.requests.length > queueMax) this.#threads.delete(tid);
  }

  /**
   * A call is made, for a request of the group that is filling.
   *
   * @param waits Its parent is to be told.
   * @returns A call that will not be told any more, to make room.
   */
  callStarted(call: Call, waits: boolean): Call | undefined {
    const { tid, startNs } = call.request;
    const thread = this.#thread(tid);
    const group = filling(thread, startNs);
    if (group === undefined) this.#becomeUnsure(thread);
    else {
      group.calls.push(call);
      fillIfEven(thread, group);
    }
    const grouped = { call, waits, group, isPassed: false };
    thread.calls.push(grouped);
    if (thread.calls.length > queueMax) this.#threads.delete(tid);
    return waits ? this.waiting.add(grouped) : undefined;
  }

  /** A thread read the first bytes of the answer to a call. */
  answerRead(tid: number, call: Call): void {
    const thread = this.#thread(tid);
    if (thread.group !== undefined && thread.group.calls.length > 0) thread.group.isOneGo = false;
    const at = thread.calls.findIndex((grouped) => grouped.call === call);
    const grouped = thread.calls[at];
    if (grouped === undefined) {
      // Another thread made the call, or it is forgotten: any of those open may be what it was for.
      this.#becomeUnsure(thread);
      return;
    }
    thread.calls.splice(at, 1);
    if (grouped.group?.isSound && grouped.group.open > 0) thread.answers.push(grouped);
    if (thread.answers.length > queueMax) this.#threads.delete(tid);
  }

  /**
   * The first bytes of an answer are sent.
   *
   * @returns The call whose answer is passed on, where it is known and waits.
   */
  answering(tid: number, request: Request): Call | undefined {
    const thread = this.#thread(tid);
    const group = leave(thread, request);
    if (group === undefined || !group.isSound) return undefined;
    const before = thread.answers;
    const passed = before.filter((answer) => answer.group === group);
    if (group.open === 0 && passed.length > 0) thread.answers = before.filter((answer) => answer.group !== group);
    if (!group.isFull) {
      if (passed.length === 0) answeredByItself(thread, group, request);
      else giveUp(thread, group);
      return undefined;
    }
    const isCounted = passed.length === 1;
    const taken = isCounted ? passed[0] : passed.find(({ isPassed }) => !isPassed);
    if (taken === undefined) {
      this.#becomeUnsure(thread);
      return undefined;
    }
    const isInOrder = !taken.isPassed && group.calls[group.requests.indexOf(request)] === taken.call;
    if (!isInOrder) group.isOrdered = false;
    // One request alone is passed on right in any order.
    if (isCounted && !request.alone) {
      this.#evidence.learn(true);
      if (group.requests.length > 1 && group.isOneGo) {
        this.#order.learn(isInOrder);
        if (isInOrder) this.#toldByOrder = 0;
      }
    }
    taken.isPassed = true;
    // What order alone tells stays among those that may be passed on.
    if (isCounted) thread.answers = thread.answers.filter((answer) => answer !== taken);
    else if (!this.#isByOrder(group)) return undefined;
    if (!taken.waits || !this.#evidence.isProven) return undefined;
    taken.waits = false;
    return taken.call;
  }

  /** A request ended. Where no answer to it was sent, it is not known whether a call was made for it. */
  ended(tid: number, request: Request): void {
    const thread = this.#threads.get(tid);
    if (thread === undefined) return;
    const group = leave(thread, request);
    if (group !== undefined && !group.isFull) giveUp(thread, group);
  }

  /** Not all is seen: what the threads have open is not told. */
  forget(): void {
    this.#threads.clear();
  }

  #isByOrder(group: Group): boolean {
    if (!group.isOneGo || !group.isOrdered || !this.#order.isProven) return false;
    this.#toldByOrder += 1;
    return this.#toldByOrder <= BY_ORDER_MAX;
  }

  /** Something came where counting says that it cannot: what the thread has open may be one place off. */
  #becomeUnsure(thread: ProxyThread<Request, Call>): void {
    this.#evidence.learn(false);
    for (const { group } of thread.requests) group.isSound = false;
    thread.answers = [];
    thread.group = undefined;
  }

  #thread(tid: number): ProxyThread<Request, Call> {
    let thread = this.#threads.get(tid);
    if (thread === undefined) {
      thread = { requests: [], calls: [], answers: [], group: undefined };
      this.#threads.set(tid, thread);
    }
    return thread;
  }
}

type AnyThread = ProxyThread<unknown, unknown>;

/** The group that is filling; undefined where none is. */
function filling(thread: AnyThread, nowNs: number): Group | undefined {
  const { group } = thread;
  if (group !== undefined && nowNs - group.startNs > GROUP_NS_MAX) giveUp(thread, group);
  return thread.group;
}

function giveUp(thread: AnyThread, group: Group): void {
  group.isSound = false;
  if (thread.group === group) thread.group = undefined;
}

function fillIfEven(thread: AnyThread, group: Group): void {
  if (group.calls.length < group.requests.length) return;
  group.isFull = true;
  if (thread.group === group) thread.group = undefined;
}

/** No answer was read that could be passed on. */
function answeredByItself(thread: AnyThread, group: Group, request: unknown): void {
  group.requests.splice(group.requests.indexOf(request), 1);
  fillIfEven(thread, group);
}

/** Takes a request out of those open. @returns Its group; undefined where it is not among them. */
function leave<Request>(thread: ProxyThread<Request, unknown>, request: Request): Group | undefined {
  const at = thread.requests.findIndex((open) => open.request === request);
  const found = thread.requests[at];
  if (found === undefined) return undefined;
  thread.requests.splice(at, 1);
  found.group.open -= 1;
  return found.group;
}
