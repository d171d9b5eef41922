/**
 * HTTP/1.0 and 1.1: pairs requests with responses in order.
 *
 * Invariants: `#waiting` holds requests whose answer has not begun, oldest first, at most `WAITING_MAX`; each exchange
 * is started once and finished once. A response is never paired by guess: where bytes are missing that may have held
 * messages, only the newest request of a connection that does not pipeline is still sure of its answer.
 *
 * @see RFC 9112; RFC 9110 sections 9.3.6 (CONNECT), 15.2 (interim responses), 7.8 (Upgrade)
 */

import type { Exchange, ExchangeSink, ProtocolParser, StreamSlice } from "./exchange.ts";
import { BODY_CHUNKED, BODY_FOREIGN, BODY_UNKNOWN, BODY_UNTIL_CLOSE } from "./http1-body.ts";
import {
  answerExchange,
  enterBodySize,
  enterCutShort,
  exchangeOfRequest,
  exchangeOfResponse,
} from "./http1-exchange.ts";
import { type Head, judgeStart } from "./http1-head.ts";
import { Http1Stream, type StreamOwner } from "./http1-stream.ts";
import type { ParserContext, Protocol } from "./protocol.ts";

/** Requests of one connection that may wait for their answers; later ones are counted and left out. */
export const WAITING_MAX = 1024;
/** A request without an answer is given up after this much silence. Long polls last minutes. */
export const ANSWER_WAIT_NS_MAX = 600e9;
/** An answer whose end cannot be told is taken for ended after this much silence. */
export const ADRIFT_QUIET_NS = 2e9;
/** After this much silence, a pipelining connection on which bytes were lost is taken to owe no answers. */
const SETTLED_QUIET_NS = 20e6;

/** A request whose answer has not begun. */
interface Waiting {
  readonly exchange: Exchange;
  /** It was given up: its answer, should it come, is passed over. */
  finished: boolean;
  /** Bytes were missing since that may have been its answer: it had one if the client goes on to the next request. */
  isDoubtful: boolean;
}

/** HTTP/1. */
export const HTTP1: Protocol = {
  name: "http1",
  ports: [80, 8080, 8000, 3000, 5000, 8888, 9090, 9200],
  upgradeTokens: ["http/1.1", "http/1.0"],
  detect: judgeStart,
  create: (sink, context) => new Http1Parser(sink, context),
};

class Http1Parser implements ProtocolParser, StreamOwner {
  detached: ProtocolParser["detached"] = "";
  detachedTo = "";
  readonly #sink: ExchangeSink;
  readonly #context: ParserContext;
  readonly #requests: Http1Stream;
  readonly #responses: Http1Stream;
  #waiting: Waiting[] = [];
  /** Requests after `WAITING_MAX`, whose answers are passed over. */
  #uncounted = 0;
  /** The request whose body is under way, if its exchange is not finished. */
  #asking: Exchange | undefined;
  /** The exchange whose answer is under way. */
  #answering: Exchange | undefined;
  /** Requests were sent before older ones were answered. */
  #pipelines = false;
  /** No byte is missing so far: a response that no request waits for was not asked for. */
  #isWhole: boolean;
  #hasAsked = false;
  /** Bytes of requests are missing, and older requests wait. */
  #requestsLost = false;
  /** Answers that may still come and belong to no request that is known. */
  #owed = 0;
  readonly #lastNs: [number, number] = [0, 0];

  constructor(sink: ExchangeSink, context: ParserContext) {
    this.#sink = sink;
    this.#context = context;
    this.#isWhole = !context.joinedLate;
    this.#requests = new Http1Stream(this, 0, context.joinedLate);
    this.#responses = new Http1Stream(this, 1, context.joinedLate);
  }

  data(direction: 0 | 1, slice: StreamSlice): number {
    if (this.detached !== "") return 0;
    const used = (direction === 0 ? this.#requests : this.#responses).feed(slice);
    this.#lastNs[direction] = slice.timeNs;
    return used;
  }

  gap(direction: 0 | 1, count: number, timeNs: number, tid: number): void {
    if (this.detached !== "" || count === 0) return;
    this.#isWhole = false;
    (direction === 0 ? this.#requests : this.#responses).gap(count, timeNs, tid);
    this.#lastNs[direction] = timeNs;
  }

  closed(_timeNs: number, reset: boolean): void {
    if (this.detached !== "") return;
    this.#takeEarlyRequest();
    const reason = reset ? "reset" : "connection_closed";
    const isWhole = this.#responses.isAdrift || (this.#responses.endsWithConnection && !reset);
    this.#finishAll(isWhole ? "" : reason, reason);
  }

  stopped(): void {
    if (this.detached === "") this.#finishAll("", "");
  }

  expire(nowNs: number): void {
    const quietNs = nowNs - Math.max(this.#lastNs[0], this.#lastNs[1]);
    if (quietNs > ADRIFT_QUIET_NS) this.#responses.endAdrift();
    if (quietNs <= ANSWER_WAIT_NS_MAX) return;
    for (const waiting of this.#waiting) {
      if (waiting.finished) continue;
      waiting.finished = true;
      this.#finish(waiting.exchange, "timeout");
    }
  }

  mayStart(direction: 0 | 1): boolean {
    // An answer whose end is unknown goes on unless another request waits for one: its text may look like an answer.
    return direction === 0 || this.#answering === undefined || this.#waiting.length > 0;
  }

  isAnswerDue(): boolean {
    return this.#waiting.length > 0;
  }

  headRead(direction: 0 | 1, head: Head, isCut: boolean): number {
    return direction === 0 ? this.#requestRead(head, isCut) : this.#responseRead(head, isCut);
  }

  messageEnded(direction: 0 | 1): void {
    const stream = direction === 0 ? this.#requests : this.#responses;
    if (direction === 0) {
      if (this.#asking !== undefined) enterBodySize(this.#asking, 0, stream.bodyBytes);
      this.#asking = undefined;
      return;
    }
    const exchange = this.#answering;
    this.#answering = undefined;
    if (exchange === undefined) return;
    enterBodySize(exchange, 1, stream.bodyBytes);
    this.#finish(exchange, "");
  }

  trackLost(direction: 0 | 1, isInside: boolean): void {
    if (this.#pipelines) this.#forgetWaiting(0);
    else if (direction === 0) this.#requestsLost = this.#waiting.length > 0;
    else {
      // Between messages, what is missing begins with the answer to the oldest; of the others, only the newest may
      // still wait, since a client that does not pipeline sends it when it has the answers to all before.
      this.#forgetWaiting(isInside || this.#waiting.length > 1 ? 1 : 0);
      const [newest] = this.#waiting;
      if (newest !== undefined) newest.isDoubtful = true;
    }
  }

  #requestRead(head: Head, isCut: boolean): number {
    if (!head.reported) this.#beginExchange(head, isCut);
    if (head.method === "CONNECT") return 0;
    if (head.chunked) return BODY_CHUNKED;
    if (head.otherCoding || head.contentLength === -2) return BODY_UNKNOWN;
    return Math.max(0, head.contentLength);
  }

  #beginExchange(head: Head, isCut: boolean): void {
    const mark = this.#requests.mark;
    if (mark === undefined) return;
    this.#hasAsked = true;
    if (!this.#pipelines) this.#responses.endAdrift();
    if (this.#waiting[0]?.isDoubtful === true) this.#forgetWaiting(0);
    const exchange = exchangeOfRequest(head, mark, isCut, this.#context);
    this.#asking = exchange;
    if (this.#uncounted > 0 || this.#waiting.length >= WAITING_MAX) {
      this.#uncounted++;
      this.#asking = undefined;
      this.#context.count("http1_waiting_max");
      return;
    }
    this.#sink.started(exchange);
    if (this.#owed > 0) {
      const quietNs = mark.startNs - Math.max(this.#lastNs[0], this.#lastNs[1]);
      if (quietNs < SETTLED_QUIET_NS) {
        this.#owed++;
        this.#finish(exchange, "gap");
        return;
      }
      this.#owed = 0;
    }
    this.#waiting.push({ exchange, finished: false, isDoubtful: false });
  }

  #responseRead(head: Head, isCut: boolean): number {
    const mark = this.#responses.mark;
    const { status } = head;
    if (mark === undefined || (status < 200 && status !== 101)) return 0;
    this.#takeEarlyRequest();
    const waiting = this.#takeWaiting();
    const method = waiting?.exchange.op ?? "";
    if (waiting === undefined && this.#uncounted > 0) this.#uncounted--;
    else if (waiting === undefined && this.#isWhole && this.#hasAsked) this.#context.count("http1_response_unasked");
    else if (waiting === undefined) this.#answering = exchangeOfResponse(head, mark);
    else if (!waiting.finished) {
      this.#answering = waiting.exchange;
      answerExchange(waiting.exchange, head, mark);
    }
    if (status === 101 || (method === "CONNECT" && status < 300)) {
      this.#letGo(status === 101 ? "upgrade" : "tunnel", head.upgrade);
      return BODY_FOREIGN;
    }
    return this.#responseBody(head, method, isCut);
  }

  #responseBody(head: Head, method: string, isCut: boolean): number {
    if (method === "HEAD" || head.status === 204 || head.status === 304) return 0;
    if (method === "") this.#responses.suspectEmptyBody();
    if (head.chunked) return BODY_CHUNKED;
    if (head.otherCoding) return BODY_UNTIL_CLOSE;
    if (head.contentLength >= 0) return head.contentLength;
    if (head.contentLength === -2 || isCut) return BODY_UNKNOWN;
    return BODY_UNTIL_CLOSE;
  }

  /** The request that the answer which has just begun belongs to. */
  #takeWaiting(): Waiting | undefined {
    const waiting = this.#waiting.length === 1 ? this.#waiting.pop() : this.#waiting.shift();
    if (waiting === undefined) {
      if (this.#owed > 0) this.#owed--;
      return undefined;
    }
    if (this.#waiting.length > 0) {
      this.#pipelines = true;
      // The answer came although later requests were under way: among them may be some that were not seen.
      if (this.#requestsLost) this.#forgetWaiting(0);
    }
    if (this.#waiting.length === 0) this.#requestsLost = false;
    return waiting;
  }

  /** Gives up waiting requests but for the newest `keep`: their answers may have passed unseen. */
  #forgetWaiting(keep: number): void {
    const forgotten = this.#waiting.splice(0, Math.max(0, this.#waiting.length - keep));
    for (const waiting of forgotten) if (!waiting.finished) this.#finish(waiting.exchange, "gap");
    if (this.#pipelines) this.#owed += forgotten.length + this.#uncounted;
    this.#uncounted = 0;
    if (this.#waiting.length === 0) this.#requestsLost = false;
  }

  /** A request whose head is still coming is told of when its answer comes first, or the connection ends. */
  #takeEarlyRequest(): void {
    if (this.#waiting.length > 0) return;
    const head = this.#requests.takeEarly();
    if (head !== undefined) this.#beginExchange(head, true);
  }

  #letGo(how: "upgrade" | "tunnel", to: string): void {
    const exchange = this.#answering;
    this.#answering = undefined;
    if (exchange !== undefined) this.#finish(exchange, "");
    this.#forgetWaiting(0);
    this.detached = how;
    const comma = to.indexOf(",");
    this.detachedTo = how === "upgrade" ? (comma < 0 ? to : to.slice(0, comma)).trim() : "";
  }

  #finishAll(answeringReason: string, waitingReason: string): void {
    const exchange = this.#answering;
    this.#answering = undefined;
    if (exchange !== undefined) {
      enterBodySize(exchange, 1, this.#responses.bodyBytes);
      this.#finish(exchange, answeringReason);
    }
    for (const waiting of this.#waiting) if (!waiting.finished) this.#finish(waiting.exchange, waitingReason);
    this.#waiting = [];
  }

  #finish(exchange: Exchange, reason: string): void {
    if (exchange === this.#asking) {
      enterBodySize(exchange, 0, this.#requests.bodyBytes);
      this.#asking = undefined;
    }
    if (reason !== "") enterCutShort(exchange, reason);
    this.#sink.finished(exchange);
  }
}
