/**
 * Redis, RESP2 and RESP3, and whatever speaks the same (Valkey, KeyDB, Dragonfly): pairs commands with replies in order.
 *
 * Invariants: `#waiting` holds commands whose reply is not complete, oldest first, at most `WAITING_MAX`; each exchange
 * is started once and finished once. A reply is never paired by guess. While `#isUnsure`, replies may come that belong to
 * no command that is known; that ends with a command sent while nothing waits, by a client that does not keep
 * several commands under way, or after silence.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */

import { cutDatabaseShort } from "./database-exchange.ts";
import type { Exchange, ExchangeSink, MessageMark, ProtocolParser, StreamSlice } from "./exchange.ts";
import { Pairing } from "./pairing.ts";
import type { ParserContext, Protocol } from "./protocol.ts";
import { type CommandName, isBlocking, isSubscribing, nameOfCommand } from "./redis-command.ts";
import { judgeRedis } from "./redis-detect.ts";
import { answerCommand, exchangeOfCommand, exchangeOfReply } from "./redis-exchange.ts";
import { isErrorReply, type Reply, type ReplyOwner, ReplyReader } from "./redis-reply.ts";
import { type Command, type RequestOwner, RequestReader } from "./redis-request.ts";

/** Commands of one connection that may wait for their replies; later ones are counted and left out. */
export const WAITING_MAX = 8192;
/** A command without a reply is given up after this much silence, unless it is one that may wait longer. */
const ANSWER_WAIT_NS_MAX = 600e9;
/** After this much silence no reply is owed. */

const PUSH = 0x3e;
const ARRAY = 0x2a;
const SIMPLE = 0x2b;

/** A command whose reply is not complete. */
interface Waiting {
  readonly exchange: Exchange;
  readonly name: CommandName;
  /** Replies that it gets: subscriptions are confirmed one by one. */
  replies: number;
  /** Number of the database if it is answered well; -1 for other commands. */
  readonly selects: number;
  readonly setsProtocol: 0 | 2 | 3;
  /** It was given up: its reply, should it come, is passed over. */
  finished: boolean;
}

/** Redis. */
export const REDIS: Protocol = {
  name: "redis",
  ports: [6379, 6380, 26379],
  upgradeTokens: [],
  detect: judgeRedis,
  create: (sink, context) => new RedisParser(sink, context),
};

class RedisParser implements ProtocolParser, RequestOwner, ReplyOwner {
  detached: ProtocolParser["detached"] = "";
  detachedTo = "";
  readonly #sink: ExchangeSink;
  readonly #context: ParserContext;
  readonly #requests: RequestReader;
  readonly #replies: ReplyReader;
  #waiting: Waiting[] = [];
  /** Where the oldest stands in `#waiting`; what is before it is over. */
  #head = 0;
  /** Commands after `WAITING_MAX`, whose replies are passed over. */
  #uncounted = 0;
  /** Several commands were under way at a time. */
  #hasSeveral = false;
  #hasAsked = false;
  /** Replies are switched off, or for one command. */
  #repliesOff = false;
  #skipsNext = false;
  #inMulti = false;
  /** Messages of subscriptions come as plain arrays, as RESP2 has it. */
  #isSubscribed = false;
  #isMonitoring = false;
  #isReplica = false;
  #protocol: 2 | 3 = 2;
  /** Number of the database, where it is known. */
  #namespace: string;
  readonly #pairing: Pairing;

  constructor(sink: ExchangeSink, context: ParserContext) {
    this.#sink = sink;
    this.#context = context;
    this.#pairing = new Pairing(context.joinedLate);
    this.#namespace = context.joinedLate ? "" : "0";
    this.#requests = new RequestReader(this, context.joinedLate);
    this.#replies = new ReplyReader(this, context.joinedLate);
  }

  data(direction: 0 | 1, slice: StreamSlice): number {
    if (this.detached !== "") return 0;
    this.#pairing.slice(direction, slice.timeNs);
    if (direction === 0) this.#requests.feed(slice);
    else this.#replies.feed(slice);
    if (this.#isReplica) {
      this.#finishAll("");
      this.detached = "upgrade";
      this.detachedTo = "redis-replication";
    }
    return slice.bytes.length;
  }

  gap(direction: 0 | 1, count: number, timeNs: number, tid: number): void {
    if (this.detached !== "" || count === 0) return;
    if (direction === 0) this.#requests.gap(count, timeNs, tid);
    else this.#replies.gap(count, timeNs, tid);
    this.#pairing.lastNs = timeNs;
  }

  closed(_timeNs: number, reset: boolean): void {
    this.#finishAll(reset ? "reset" : "connection_closed");
  }

  stopped(): void {
    this.#finishAll("");
  }

  expire(nowNs: number): void {
    if (nowNs - this.#pairing.lastNs <= ANSWER_WAIT_NS_MAX) return;
    for (let at = this.#head; at < this.#waiting.length; at++) {
      const waiting = this.#waiting[at] as Waiting;
      if (waiting.finished || isBlocking(waiting.name.verb)) continue;
      waiting.finished = true;
      this.#finish(waiting.exchange, "timeout");
    }
  }

  mayReply(): boolean {
    return !this.#pairing.isUnsure;
  }

  commandRead(command: Command, mark: MessageMark): void {
    if (this.detached !== "") return;
    const name = nameOfCommand(command.words);
    const exchange = exchangeOfCommand(command, name, mark, {
      namespace: this.#namespace,
      redaction: this.#context.redaction,
    });
    this.#hasAsked = true;
    if (!this.#mayPair()) {
      this.#sink.started(exchange);
      this.#finish(exchange, "gap");
      return;
    }
    if (this.#isUnanswered(name, command)) {
      this.#oneWay(exchange);
      return;
    }
    if (this.#uncounted > 0 || this.#waiting.length - this.#head >= WAITING_MAX) {
      this.#uncounted++;
      this.#context.count("redis_waiting_max");
      return;
    }
    this.#waiting.push(this.#waitingOf(exchange, name, command));
    this.#sink.started(exchange);
  }

  replyRead(reply: Reply, mark: MessageMark): void {
    const waiting = this.#waiting[this.#head];
    if (this.#isPush(reply)) {
      if (waiting !== undefined && reply.word === waiting.name.verb.toLowerCase())
        this.#confirmed(waiting, reply, mark);
      return;
    }
    if (this.#isMonitoring && reply.type === SIMPLE && /^\d{6,}\.\d/.test(reply.word)) return;
    if (waiting === undefined) {
      this.#unasked(reply, mark);
      return;
    }
    this.#takeOldest();
    if (!isErrorReply(reply)) this.#apply(waiting);
    if (waiting.finished) return;
    answerCommand(waiting.exchange, reply, waiting.exchange.response ?? mark);
    this.#finish(waiting.exchange, "");
  }

  requestsLost(): void {
    this.#pairing.lost();
    this.#inMulti = false;
    this.#skipsNext = false;
    // Commands that were lost may have selected another.
    this.#namespace = "";
  }

  repliesLost(partial: Reply | undefined, mark: MessageMark | undefined): void {
    const waiting = this.#waiting[this.#head];
    const isAnswer = partial !== undefined && mark !== undefined && !this.#isPush(partial);
    if (waiting !== undefined && isAnswer && !waiting.finished) {
      this.#takeOldest();
      answerCommand(waiting.exchange, partial, mark);
      this.#finish(waiting.exchange, "");
    }
    const isOwed = this.#waiting.length > this.#head || this.#uncounted > 0;
    this.#giveUp();
    this.#pairing.lost();
    if (isOwed && this.#pairing.last === 1) this.#pairing.multiplexes ||= this.#hasSeveral;
  }

  /**
   * May the command that was just read be paired with a reply to come?
   *
   * What waits from an earlier write, with a reply seen in between, shows a client that does not wait for its answers.
   * On a connection where it is not certain that none was owed before, all of them would then be off by as many.
   */
  #mayPair(): boolean {
    const count = this.#waiting.length - this.#head + this.#uncounted;
    if (count > 0) this.#hasSeveral = true;
    if (count > 0 && this.#pairing.turned && !this.#replies.isInside && !this.#isPushing) {
      if (this.#replies.isLost) this.#giveUp();
      else {
        this.#pairing.multiplexes = true;
        if (!this.#pairing.isSettled) {
          this.#giveUp();
          this.#pairing.isUnsure = true;
        }
      }
    }
    this.#pairing.turned = false;
    if (this.#waiting.length > this.#head || this.#uncounted > 0) return !this.#pairing.isUnsure;
    return this.#pairing.begins();
  }

  /** Messages come whenever they like, so that a turn of direction says nothing. */
  get #isPushing(): boolean {
    return this.#isSubscribed || this.#isMonitoring || this.#protocol === 3;
  }

  #waitingOf(exchange: Exchange, name: CommandName, command: Command): Waiting {
    const { verb } = name;
    const { words } = command;
    let replies = 1;
    if (isSubscribing(verb) && !this.#inMulti) replies = Math.max(1, command.count - 1);
    if (verb === "MULTI") this.#inMulti = true;
    else if (verb === "EXEC" || verb === "DISCARD" || verb === "RESET") this.#inMulti = false;
    const selects = verb === "SELECT" && /^\d{1,6}$/.test(words[1] ?? "") && !command.isCut ? Number(words[1]) : -1;
    const version = verb === "HELLO" ? words[1] : undefined;
    const setsProtocol = version === "3" ? 3 : version === "2" || verb === "RESET" ? 2 : 0;
    return { exchange, name, replies, selects, setsProtocol, finished: false };
  }

  /** Will the command get no reply? Follows `CLIENT REPLY`. */
  #isUnanswered(name: CommandName, command: Command): boolean {
    const wasSkipped = this.#skipsNext;
    this.#skipsNext = false;
    if (name.full === "CLIENT REPLY" && !this.#inMulti) {
      const mode = (command.words[2] ?? "").toUpperCase();
      if (mode === "ON") this.#repliesOff = false;
      else if (mode === "OFF") this.#repliesOff = true;
      else if (mode === "SKIP") this.#skipsNext = !this.#repliesOff;
      if (mode === "OFF" || mode === "SKIP") return true;
    }
    // A replica acknowledges without being answered.
    if (name.verb === "REPLCONF" && (command.words[1] ?? "").toUpperCase() === "ACK") return true;
    return this.#repliesOff || wasSkipped;
  }

  #oneWay(exchange: Exchange): void {
    exchange.type = "message";
    this.#sink.finished(exchange);
  }

  /** Is it a message of a subscription, or one of those that confirm it? */
  #isPush(reply: Reply): boolean {
    if (reply.type === PUSH) return true;
    if (reply.type !== ARRAY) return false;
    const { word } = reply;
    if (word.endsWith("subscribe") && isSubscribing(word.toUpperCase())) {
      const waiting = this.#waiting[this.#head];
      return this.#isSubscribed || (waiting !== undefined && isSubscribing(waiting.name.verb));
    }
    return this.#isSubscribed && (word === "message" || word === "pmessage" || word === "smessage");
  }

  /** A subscription is confirmed. */
  #confirmed(waiting: Waiting, reply: Reply, mark: MessageMark): void {
    if (reply.type === ARRAY) this.#isSubscribed = true;
    const { exchange } = waiting;
    if (exchange.response === undefined) answerCommand(exchange, reply, mark);
    else {
      exchange.response.endNs = mark.endNs;
      exchange.response.bytes += mark.bytes;
      exchange.response.lastTid = mark.lastTid;
    }
    waiting.replies--;
    if (waiting.replies > 0) return;
    this.#takeOldest();
    if (!waiting.finished) this.#finish(exchange, "");
  }

  #unasked(reply: Reply, mark: MessageMark): void {
    if (this.#uncounted > 0) this.#uncounted--;
    else if (this.#pairing.isUnsure || this.#isSubscribed || this.#isMonitoring)
      this.#context.count("redis_reply_unpaired");
    else if (this.#pairing.isSettled) this.#context.count("redis_reply_unasked");
    else if (this.#hasAsked) this.#context.count("redis_reply_unpaired");
    else this.#sink.finished(exchangeOfReply(reply, mark));
  }

  /** What a command does to its connection, once it is answered well. */
  #apply(waiting: Waiting): void {
    const { verb } = waiting.name;
    if (waiting.selects >= 0) this.#namespace = String(waiting.selects);
    if (waiting.setsProtocol !== 0) this.#protocol = waiting.setsProtocol;
    if (verb === "MONITOR") this.#isMonitoring = true;
    else if (verb === "RESET") {
      this.#isMonitoring = false;
      this.#isSubscribed = false;
      this.#namespace = "0";
    } else if (verb === "SYNC" || verb === "PSYNC") {
      // A dump of the data set follows, then commands from the server.
      this.#isReplica = true;
    }
  }

  #takeOldest(): void {
    this.#head++;
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    } else if (this.#head >= 256 && this.#head * 2 >= this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Nobody can tell any more which reply belongs to what waits. */
  #giveUp(): void {
    const forgotten = this.#waiting.slice(this.#head);
    this.#waiting = [];
    this.#head = 0;
    this.#uncounted = 0;
    for (const waiting of forgotten) if (!waiting.finished) this.#finish(waiting.exchange, "gap");
  }

  #finishAll(reason: string): void {
    const open = this.#waiting.slice(this.#head);
    const partial = this.#replies.partial();
    const [oldest] = open;
    const isAnswer = partial !== undefined && oldest !== undefined && !oldest.finished && !this.#isPush(partial.reply);
    if (isAnswer) answerCommand(oldest.exchange, partial.reply, oldest.exchange.response ?? partial.mark);
    this.#waiting = [];
    this.#head = 0;
    for (const { exchange, name, finished } of open) {
      if (finished) continue;
      const isAnswered = exchange.response !== undefined;
      // A server that shuts down does not say so.
      const isOneWay = name.verb === "SHUTDOWN" || name.verb === "QUIT";
      if (isOneWay && !isAnswered && reason !== "") this.#oneWay(exchange);
      else this.#finish(exchange, isAnswered ? "" : this.#pairing.isUnsure && reason !== "" ? "gap" : reason);
    }
  }

  #finish(exchange: Exchange, reason: string): void {
    if (reason !== "") cutDatabaseShort(exchange, reason);
    this.#sink.finished(exchange);
  }
}
