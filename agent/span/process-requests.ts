/**
 * Which open server request of a process a client call belongs to, or none: a wrong parent is worse than none.
 *
 * Invariants: `#open` holds the server requests read and not yet answered. A request is `alone`
 * until another one is open beside it, and never again after that. A finished request is nobody's parent. One that
 * ended without an answer counts as open beside those of the next ten seconds: its handler may not know yet.
 *
 * Rules that may draw a parent, first that applies:
 * - *Own thread*: the process was seen to serve each request on one thread, or goroutine, from read to answer, and the
 *   calling one has exactly one request open, which it read itself; or was started by one that has, and calls for the
 *   first time. Where this is proven nothing else draws, so that background threads draw nothing.
 * - *Loop*: what the event loop did last (see `LoopCauses`), where answers were seen to be written for what it says.
 * - *Task*: a task of asyncio made the call; the request that the same task answers is its parent. So it is decided late.
 * - *Proxy order*: counting leaves one call alone whose answer a proxy can be passing on (see `ProxyOrder`).
 * - *Handover*: the thread that calls answers a request which another one read (see `Handovers`). Decided late too.
 * - *Id*: where none of these draws, a call with the `X-Request-ID` of one request, or of one answer (see `RequestIds`).
 * - *Alone*: one server request is open in the whole process, none was open beside it since it started, its answer has
 *   not begun, and calls to the same target are not also made while none is open (timers, workers).
 *
 * Each rule but the last must prove itself (`Evidence`) on requests that overlap: one served alone looks right on any.
 * Calls made meanwhile wait a little for that (`Trials`).
 */

import type { WorkUnit } from "../../server/model/capture-event.ts";
import type { MessageMark } from "../protocol/exchange.ts";
import {
  type CallMoment,
  type CallParent,
  type LinkReason,
  loopReason,
  noParent,
  ON_TRIAL,
  UNDECIDED,
  type UnlinkedReason,
} from "./call-parent.ts";
import { Evidence } from "./evidence.ts";
import { Handovers } from "./handovers.ts";
import type { LoopCause } from "./loop-causes.ts";
import { ProxyOrder } from "./proxy-order.ts";
import { RequestIds } from "./request-ids.ts";
import { type ServedRequest, ServingThreads } from "./serving-threads.ts";
import { TargetCalls } from "./target-calls.ts";
import { TaskCalls } from "./task-calls.ts";
import { type Guess, Trials } from "./trials.ts";

/** How long a request that got no answer, since its client gave up, may still be worked on unseen. */
const ABANDONED_NS = 10e9;

/** A server request while it is open. */
export interface OpenRequest extends ServedRequest {
  /** `X-Request-ID` that it carried, and that its answer did; empty where there is none. */
  readonly carriedId: string;
  readonly answerId: string;
  /** No other server request of the process was open at the same time so far. */
  alone: boolean;
  /** Place among the open requests, which is theirs to set; -1 while it is not among them. */
  openAt: number;
  /** The first byte of its answer was seen. */
  readonly answering: boolean;
  /** Low-cardinality name of what is asked. */
  readonly endpoint: string;
}

/** A client call while it is open. */
export interface OpenCall {
  readonly request: MessageMark;
  /** `X-Request-ID` that it carried; empty where there is none. */
  readonly carriedId: string;
}

/** The server requests and client calls one process has open, and what its past says about its threads. */
export class ProcessRequests<Request extends OpenRequest, Call extends OpenCall = OpenCall> {
  /** In no order; each knows its place. */
  readonly #open: Request[] = [];
  readonly #threads = new ServingThreads<Request>();
  readonly #targets = new TargetCalls();
  #threadEvidence = new Evidence();
  readonly #loopEvidence = new Evidence();
  readonly #orderEvidence = new Evidence();
  readonly #taskEvidence = new Evidence();
  readonly #decided: (call: Call, parent: CallParent<Request>) => void;
  readonly #trials: Trials<Request, Call, LinkReason>;
  readonly #proxyOrder = new ProxyOrder<Request, Call>();
  readonly #handovers = new Handovers<Request, Call>();
  readonly #ids = new RequestIds<Request, { readonly call: Call; readonly reason: UnlinkedReason }>();
  readonly #tasks = new TaskCalls<Call>();
  #threadsMayBeProven = false;
  #hasGoroutines = false;
  #goroutinesSinceNs = 0;
  #loopsAreAllowed = false;
  /** Open connections on which the process is asked things that are not read. */
  #unreadConnections = 0;
  /** Boot time until which a request that got no answer may still be worked on. */
  #abandonedUntilNs = 0;

  /**
   * @param decided Is told of a call that waited when it started; once more where it then waits for something else.
   */
  constructor(decided: (call: Call, parent: CallParent<Request>) => void) {
    this.#decided = decided;
    this.#trials = new Trials((call, proven) =>
      decided(call, proven === undefined ? noParent("self_check") : said(proven)),
    );
  }

  /**
   * @param allowed False for runtimes that move work between threads or share one thread among requests (Go, Node):
   *   there no evidence is enough. It is false until a process is known.
   */
  allowThreadProof(allowed: boolean): void {
    this.#threadsMayBeProven = allowed;
  }

  /** @param allowed True for runtimes whose threads may be event loops that tell nothing of themselves. */
  allowLoops(allowed: boolean): void {
    this.#loopsAreAllowed = allowed;
  }

  /**
   * Calls are known by their goroutine from now on. What was seen of threads until then says nothing of goroutines.
   *
   * @param nowNs Boot time.
   */
  goroutinesSeen(nowNs: number): void {
    if (this.#hasGoroutines) return;
    this.#hasGoroutines = true;
    this.#threads.becomeGoroutines();
    this.#threadEvidence = new Evidence();
    this.#goroutinesSinceNs = nowNs;
  }

  /** Whether a thread of the process may be looked at as an event loop. */
  mayBeLoop(work: WorkUnit): boolean {
    return work.kind === "loop" || (work.kind === "" && this.#loopsAreAllowed);
  }

  /** Server requests open now. */
  get openRequests(): number {
    return this.#open.length;
  }

  requestStarted(request: Request): void {
    if (this.#unreadConnections > 0 || request.request.startNs < this.#abandonedUntilNs) request.alone = false;
    const [first] = this.#open;
    if (first !== undefined) {
      request.alone = false;
      first.alone = false;
    }
    request.openAt = this.#open.push(request) - 1;
    this.#ids.requestCame(request, request.carriedId);
    if (request.readerTid === 0) return;
    this.#handovers.requestRead(request.readerTid);
    if (this.#loopsAreAllowed) this.#proxyOrder.requestRead(request.readerTid, request, request.request.startNs);
    // A thread that waits for a call, or serves a request, and reads another one is an event loop.
    if (this.#threads.requestRead(request)) this.#disproveThreads();
  }

  /**
   * The first bytes of the answer are sent.
   *
   * @param moment What the sender is about.
   * @param byAnswer What the loop is about goes on with the answer to a call: only then is it worth something as a check,
   *   since an answer without any call is written right by any rule.
   * @param sent Thread and boot time.
   */
  answerSent(
    request: Request,
    moment: CallMoment<Request>,
    byAnswer: boolean,
    sent: { readonly tid: number; readonly timeNs: number },
  ): void {
    const { work, cause } = moment;
    if (this.#mayBeHandedOver(work)) this.#handovers.answering(request, sent.tid);
    const passed = this.#loopsAreAllowed ? this.#proxyOrder.answering(sent.tid, request) : undefined;
    if (passed !== undefined) this.#decided(passed, { request, reason: "proxy-order" });
    if (work.kind === "task") this.#answeredByTask(request, work.origin, sent.timeNs);
    else if (!request.alone && cause !== undefined && (byAnswer || cause.request !== request))
      this.#learn(this.#evidenceOf(cause), cause.request === request);
  }

  /** A thread read the first bytes of the answer to a call. */
  answerRead(call: Call, tid: number): void {
    if (this.#loopsAreAllowed) this.#proxyOrder.answerRead(tid, call);
  }

  /** @param answer Mark of the response. */
  requestFinished(request: Request, answer: MessageMark): void {
    if (!this.#take(request)) return;
    const { carriedId, answerId } = request;
    for (const { call } of this.#ids.requestAnswered(request, carriedId, answerId, request.request.startNs)) {
      this.#decided(call, { request, reason: "request-id" });
    }
    const tid = request.readerTid;
    this.#proxyOrder.ended(tid, request);
    this.#answeredByThread(request, answer);
    if (answer.tid === tid && this.#threads.isCalling(tid)) this.#disproveThreads();
    this.#threads.requestEnded(request);
    this.#giveUpUndecided();
    // A request served alone would look the same on an event loop: only overlapping ones are evidence.
    if (request.alone || tid === 0 || request.request.startNs < this.#goroutinesSinceNs) return;
    // Goroutines of net/http watch the connection meanwhile, and may read the first byte of the next request.
    const isReader = this.#hasGoroutines || (request.request.tid === tid && request.request.lastTid === tid);
    this.#learn(this.#threadEvidence, answer.tid === tid && answer.lastTid === tid && isReader);
  }

  /**
   * A request ended without an answer, which proves nothing of threads. What it was asked for may go on: calls made for
   * it would be drawn into the request that comes next.
   *
   * @param nowNs Boot time.
   */
  requestAbandoned(request: Request, nowNs: number): void {
    if (!this.#take(request)) return;
    this.#proxyOrder.ended(request.readerTid, request);
    this.#threads.requestEnded(request);
    this.#giveUpUndecided();
    this.#abandonedUntilNs = nowNs + ABANDONED_NS;
    this.#handovers.becomeUnsure();
    for (const open of this.#open) open.alone = false;
  }

  /**
   * Registers a client call and says which server request it belongs to.
   *
   * @param target Hash of where the call goes and what it asks.
   */
  callStarted(call: Call, target: number, moment: CallMoment<Request>): CallParent<Request> {
    const isBackground = this.#targets.isBackground(target, this.#open.length > 0);
    const parent = this.#orById(call, this.#orByAnswer(call, this.#parentOf(call, moment, isBackground), moment));
    this.#threads.callStarted(call.request.tid);
    return parent;
  }

  /** Requests that were read and are not answered. */
  get unanswered(): readonly Request[] {
    return this.#open;
  }

  /** @param answer Undefined where none came. */
  callFinished(call: Call, answer: MessageMark | undefined): void {
    this.#handovers.callFinished(call, answer);
    this.#threads.callFinished(call.request.tid);
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
    this.#handovers.becomeUnsure();
    this.#proxyOrder.forget();
    for (const request of this.#open) request.alone = false;
  }

  /** Each request was served by the thread that read it, often enough, and nothing spoke against it. */
  get threadsProven(): boolean {
    return (this.#threadsMayBeProven || this.#hasGoroutines) && this.#threadEvidence.isProven;
  }

  /** Whether the work of a thread may go from hand to hand: not where units of work have numbers of their own. */
  #mayBeHandedOver(work: WorkUnit): boolean {
    return work.kind === "" && this.#threadsMayBeProven && !this.#hasGoroutines;
  }

  /** Where nothing else tells, the answer that the calling thread writes next may. */
  #orByAnswer(call: Call, parent: CallParent<Request>, { work }: CallMoment<Request>): CallParent<Request> {
    if (call.request.tid === 0 || !this.#mayBeHandedOver(work)) return parent;
    const isOpen =
      parent.waits === undefined && (parent.reason === "several_open_requests" || parent.reason === "self_check");
    const isPassed = isOpen && this.#loopsAreAllowed && this.#proxyOrder.isProven;
    const waits = isOpen && !isPassed && this.#unreadConnections === 0 && this.#handovers.isProven;
    const oldest = [
      this.#loopsAreAllowed ? this.#proxyOrder.callStarted(call, isPassed) : undefined,
      this.#handovers.callStarted(call, waits),
    ];
    for (const given of oldest) if (given !== undefined) this.#decided(given, noParent("undecided"));
    return isPassed || waits ? UNDECIDED : parent;
  }

  #answeredByThread(request: Request, answer: MessageMark): void {
    if (answer.tid === 0 || !this.#threadsMayBeProven || this.#hasGoroutines) return;
    const isSure = this.#unreadConnections === 0 && request.request.startNs >= this.#abandonedUntilNs;
    const own = this.#threads.openRequests(answer.tid);
    const othersRead = own - (request.readerTid === answer.tid ? 1 : 0);
    const told = this.#handovers.answered(request, answer, isSure, othersRead);
    for (const call of told.calls)
      this.#decided(
        call,
        told.request === undefined ? noParent("self_check") : { request: told.request, reason: "handover" },
      );
  }

  /** What an id says where nothing else does. A call of a task waits already. */
  #orById(call: Call, parent: CallParent<Request>): CallParent<Request> {
    const { carriedId } = call;
    if (parent.request !== undefined || carriedId === "" || parent.waits !== undefined) return parent;
    const request = this.#ids.requestOf(carriedId);
    if (request !== undefined && request.openAt >= 0) return { request, reason: "request-id" };
    const reason = parent.reason as UnlinkedReason; // no request was drawn
    if (this.#open.length === 0 || !this.#ids.wait({ call, reason }, carriedId, call.request.startNs)) return parent;
    return UNDECIDED;
  }

  #parentOf(call: Call, moment: CallMoment<Request>, isBackground: boolean): CallParent<Request> {
    const { work, cause } = moment;
    const tid = call.request.tid;
    if (this.threadsProven) {
      const own = this.#threads.own(tid);
      if (own !== undefined) return { request: own, reason: work.kind === "goroutine" ? "goroutine" : "thread" };
      const starter = work.kind === "goroutine" ? this.#threads.ofStarter(tid, work.origin) : undefined;
      if (starter !== undefined) return { request: starter, reason: "goroutine-start" };
      return noParent(tid === 0 ? "cause_unknown" : "unit_serves_none");
    }
    const isGuess = cause !== undefined && cause.request.openAt >= 0;
    if (isGuess && this.#evidenceOf(cause).isProven) return { request: cause.request, reason: loopReason(work, cause) };
    const alone = isBackground ? undefined : this.#alone();
    if (alone !== undefined) return { request: alone, reason: "thread" };
    if (this.#open.length === 0) return noParent("no_open_request");
    if (work.kind === "task") return work.origin === 0 ? noParent("cause_unknown") : this.#undecide(call, work.origin);
    // What carries an id is told by that.
    const isHeld = call.carriedId === "" && this.#trials.hold(call, this.#guesses(tid, moment), call.request.startNs);
    if (isHeld) return ON_TRIAL;
    if (isGuess) return noParent("self_check");
    if (work.kind === "loop") return noParent("cause_unknown");
    if (this.#open.length > 1) return noParent("several_open_requests");
    return noParent(
      isBackground
        ? "also_called_outside"
        : this.#unreadConnections > 0
          ? "connection_unread"
          : "several_open_requests",
    );
  }

  /** What the rules that are not proved say of a call, in the order in which they go before each other. */
  #guesses(tid: number, { work, cause }: CallMoment<Request>): Guess<Request, LinkReason>[] {
    const guesses: Guess<Request, LinkReason>[] = [];
    const isGoroutine = work.kind === "goroutine";
    if (tid !== 0 && (this.#threadsMayBeProven || this.#hasGoroutines)) {
      const evidence = this.#threadEvidence;
      const own = this.#threads.own(tid);
      const request =
        own ?? (isGoroutine && evidence.isOnTrial ? this.#threads.ofStarter(tid, work.origin) : undefined);
      guesses.push({ evidence, request, reason: !isGoroutine ? "thread" : own ? "goroutine" : "goroutine-start" });
    }
    if (cause !== undefined && cause.request.openAt >= 0) {
      guesses.push({ evidence: this.#evidenceOf(cause), request: cause.request, reason: loopReason(work, cause) });
    }
    return guesses;
  }

  #learn(evidence: Evidence, isGood: boolean): void {
    const wasOnTrial = evidence.isOnTrial;
    evidence.learn(isGood);
    if (wasOnTrial && !evidence.isOnTrial) this.#trials.judge();
  }

  #disproveThreads(): void {
    const wasOnTrial = this.#threadEvidence.isOnTrial;
    this.#threadEvidence.disprove();
    if (wasOnTrial) this.#trials.judge();
  }

  #evidenceOf(cause: LoopCause<Request>): Evidence {
    return cause.byOrder ? this.#orderEvidence : this.#loopEvidence;
  }

  #undecide(call: Call, task: number): CallParent<Request> {
    const oldest = this.#tasks.wait(call, task);
    if (oldest !== undefined) this.#decided(oldest, noParent("undecided"));
    return UNDECIDED;
  }

  /** A task answers a request: its calls since the request came, and since it answered another one, were made for it. */
  #answeredByTask(request: Request, task: number, nowNs: number): void {
    const evidence = this.#taskEvidence;
    const { startNs } = request.request;
    // A task that answers requests which overlap hands out work for others: what it calls for whom is not to be told.
    if (!request.alone) this.#learn(evidence, this.#tasks.isOwn(task, startNs));
    const guess = [{ evidence, request, reason: "task" as const }];
    for (const call of this.#tasks.answered(task, startNs, nowNs)) {
      if (evidence.isProven) this.#decided(call, { request, reason: "task" });
      else this.#decided(call, this.#trials.hold(call, guess, nowNs) ? ON_TRIAL : noParent("self_check"));
    }
  }

  /** Calls that were made before any of the open requests came will not be told by their answers. */
  #giveUpUndecided(): void {
    if (
      this.#tasks.isEmpty &&
      !this.#ids.isWaitedFor &&
      this.#handovers.waiting.isEmpty &&
      this.#proxyOrder.waiting.isEmpty
    )
      return;
    let oldestNs = Number.POSITIVE_INFINITY;
    for (const { request } of this.#open) oldestNs = Math.min(oldestNs, request.startNs);
    for (const call of this.#tasks.giveUp(oldestNs)) this.#decided(call, noParent("task_answers_none"));
    for (const call of this.#proxyOrder.waiting.giveUp(oldestNs)) this.#decided(call, noParent("self_check"));
    for (const call of this.#handovers.waiting.giveUp(oldestNs)) this.#decided(call, noParent("thread_answers_none"));
    for (const { call, reason } of this.#ids.giveUp(oldestNs)) this.#decided(call, noParent(reason));
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

  #alone(): Request | undefined {
    const [only] = this.#open;
    if (only === undefined || this.#open.length > 1 || this.#unreadConnections > 0) return undefined;
    return only.alone && !only.answering ? only : undefined;
  }
}

function said<Request>({ request, reason }: Guess<Request, LinkReason>): CallParent<Request> {
  return request === undefined ? noParent("unit_serves_none") : { request, reason };
}
