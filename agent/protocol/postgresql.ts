/**
 * PostgreSQL, protocol 3: pairs simple queries, executions of prepared statements and function calls with their results.
 *
 * Invariants: `#queue` holds what the client asked for and the server has not finished (see `PgQueue`). What stands before
 * a `Sync` is a group of messages up to an `Execute`. After an error the server skips to the next `Sync`, and so does the
 * queue. What does not fit is never paired by guess.
 *
 * @see https://www.postgresql.org/docs/current/protocol-flow.html
 */

import type { Exchange, ExchangeSink, MessageMark, ProtocolParser, StreamSlice } from "./exchange.ts";
import { Pairing } from "./pairing.ts";
import { CODE_CANCEL, CODE_GSSENC, CODE_SSL, judgePostgresql, u32 } from "./postgresql-detect.ts";
import {
  enterError,
  enterTag,
  exchangeOfSession,
  exchangeOfStatement,
  exchangeOfUnknown,
} from "./postgresql-exchange.ts";
import { answer, extend, type Item, type ItemKind } from "./postgresql-item.ts";
import { PgOutcomes } from "./postgresql-outcome.ts";
import { PgQueue } from "./postgresql-queue.ts";
import { type PgMessage, type PgOwner, PgReader, TYPE_ANSWER, TYPE_STARTUP } from "./postgresql-reader.ts";
import { type ReplyOutcome, takeReply } from "./postgresql-reply.ts";
import { PgSession } from "./postgresql-session.ts";
import { PgStatements } from "./postgresql-statements.ts";
import { endOfText, sqlstateOf, textOf } from "./postgresql-text.ts";
import type { ParserContext, Protocol } from "./protocol.ts";

/** A statement without a result is given up after this much silence. */
const ANSWER_WAIT_NS_MAX = 6 * 3600e9;
/** Longest SQL that is read. */
const SQL_BYTES_MAX = 32_768;

/** Bytes of a body that are looked at, by direction and type. */
const WANTED: readonly [Readonly<Record<string, number>>, Readonly<Record<string, number>>] = [
  { Q: SQL_BYTES_MAX, P: SQL_BYTES_MAX, B: 512, E: 256, C: 256, D: 1 },
  { R: 4, S: 128, E: 2048, C: 128, Z: 1 },
];
const STARTUP_BYTES_WANTED = 4096;

/** PostgreSQL. */
export const POSTGRESQL: Protocol = {
  name: "postgresql",
  ports: [5432, 6432, 5433],
  upgradeTokens: [],
  detect: judgePostgresql,
  create: (sink, context) => new PgParser(sink, context),
};

class PgParser implements ProtocolParser, PgOwner {
  detached: ProtocolParser["detached"] = "";
  detachedTo = "";
  readonly #sink: ExchangeSink;
  readonly #context: ParserContext;
  readonly #readers: readonly [PgReader, PgReader];
  readonly #statements = new PgStatements();
  readonly #queue = new PgQueue();
  readonly #outcomes: PgOutcomes;
  /** A message of the server was lost while one thing was under way, which `ReadyForQuery` still ends. */
  #isDoubtful = false;
  #hasAsked = false;
  readonly #session: PgSession;
  /** A request for encryption that is not answered yet. */
  #encryption: Exchange | undefined;
  readonly #pairing: Pairing;

  constructor(sink: ExchangeSink, context: ParserContext) {
    this.#sink = sink;
    this.#context = context;
    this.#pairing = new Pairing(context.joinedLate);
    this.#session = new PgSession(context.redaction);
    this.#outcomes = new PgOutcomes(sink, this.#session);
    this.#readers = [new PgReader(this, 0, context.joinedLate), new PgReader(this, 1, context.joinedLate)];
  }

  data(direction: 0 | 1, slice: StreamSlice): number {
    if (this.detached !== "") return 0;
    this.#pairing.slice(direction, slice.timeNs);
    // What was seen from its beginning may have been joined late all the same, and the other way round.
    if (direction === 0 && !this.#hasAsked) this.#readers[0].begin(slice.bytes[0] === 0);
    return this.#readers[direction].feed(slice);
  }

  gap(direction: 0 | 1, count: number, timeNs: number, tid: number): void {
    if (this.detached !== "" || count === 0) return;
    this.#readers[direction].gap(count, timeNs, tid);
    this.#pairing.last = direction;
    this.#pairing.lastNs = timeNs;
  }

  closed(_timeNs: number, reset: boolean): void {
    this.#finishAll(reset ? "reset" : "connection_closed");
  }

  stopped(): void {
    this.#finishAll("");
  }

  expire(nowNs: number): void {
    if (nowNs - this.#pairing.lastNs > ANSWER_WAIT_NS_MAX && this.#queue.length > 0) this.#giveUp("timeout");
  }

  bytesWanted(direction: 0 | 1, type: number): number {
    if (type === TYPE_STARTUP) return STARTUP_BYTES_WANTED;
    return WANTED[direction][String.fromCharCode(type)] ?? 0;
  }

  messageUnderWay(direction: 0 | 1, type: number, mark: MessageMark): void {
    // Copied data may take long: the query that copies goes on as long as it comes.
    const { first } = this.#queue;
    if (direction === 1 && first?.response !== undefined && type !== 0) first.response.endNs = mark.endNs;
  }

  messageRead(direction: 0 | 1, message: PgMessage): void {
    if (message.type === TYPE_STARTUP) this.#startupRead(message);
    else if (message.type === TYPE_ANSWER) this.#answerRead(message);
    else if (direction === 0) this.#clientMessage(message);
    else this.#serverMessage(message);
  }

  foreignRead(_direction: 0 | 1): void {
    this.#letGo(this.#encryption === undefined ? "invalid" : "upgrade", "tls");
  }

  messagesLost(direction: 0 | 1, partial: PgMessage | undefined): void {
    this.#pairing.isSettled = false;
    if (direction === 0) {
      if (partial !== undefined && this.#mayPair(partial.type)) this.#partialRequest(partial);
      this.#closeGroup();
      this.#pairing.isUnsure = true;
      this.#queue.skipsToSync = false;
      this.#statements.forget();
      return;
    }
    if (this.#queue.ends === 1) {
      this.#isDoubtful = true;
      for (const item of this.#queue.items) if (item.rows >= 0) item.rows = -2;
    } else this.#giveUp("gap");
    this.#pairing.isUnsure = true;
  }

  #startupRead(message: PgMessage): void {
    const { bytes, mark } = message;
    const code = u32(bytes, 0);
    this.#hasAsked = true;
    if (code === CODE_SSL || code === CODE_GSSENC) {
      this.#encryption = exchangeOfSession(code === CODE_SSL ? "ssl_request" : "gssenc_request", mark, "");
      this.#readers[1].expectAnswer();
      return;
    }
    this.#readers[0].startupOver();
    if (code === CODE_CANCEL) {
      this.#outcomes.oneWay(exchangeOfSession("cancel", mark, ""));
      return;
    }
    this.#session.begin(bytes);
    this.#pairing.isSettled = true;
    this.#pairing.isUnsure = false;
    const item = this.#add("startup", mark);
    if (item !== undefined) item.exchange = exchangeOfSession("startup", item.request, this.#session.database);
  }

  /** `S`, `G` or `N`, to a request for encryption. */
  #answerRead({ bytes, mark }: PgMessage): void {
    const answer = bytes[0];
    const exchange = this.#encryption;
    this.#encryption = undefined;
    if (exchange !== undefined) {
      exchange.response = mark;
      exchange.status = "ok";
      exchange.code = String.fromCharCode(answer ?? 0);
      this.#outcomes.oneWay(exchange);
    }
    if (answer === 0x53) this.#letGo("upgrade", "tls");
    else if (answer === 0x47) this.#letGo("upgrade", "gssenc");
    else if (answer !== 0x4e) this.#letGo("invalid", "");
  }

  #clientMessage(message: PgMessage): void {
    const { mark } = message;
    switch (String.fromCharCode(message.type)) {
      case "Q":
        if (this.#mayPair(message.type)) this.#query(message);
        break;
      case "F":
        if (this.#mayPair(message.type)) this.#function(mark);
        break;
      case "P":
      case "B":
      case "D":
      case "C":
      case "E":
        if (this.#mayPair(message.type)) this.#extended(message);
        break;
      case "H":
        this.#queue.touchGroup(mark);
        if (this.#queue.group?.replies !== "") this.#closeGroup();
        break;
      case "S":
        this.#sync(mark);
        break;
      case "d":
      case "c":
      case "f":
        this.#copied(mark);
        break;
      case "X":
        this.#outcomes.oneWay(exchangeOfSession("terminate", mark, this.#session.database));
        break;
      default:
        break;
    }
  }

  #query({ bytes, mark }: PgMessage): void {
    this.#closeGroup();
    const item = this.#add("query", mark);
    if (item === undefined) return;
    const statement = this.#session.read(bytes, 0);
    item.exchange = exchangeOfStatement(statement, item.request, this.#session.database);
    this.#sink.started(item.exchange);
  }

  #function(mark: MessageMark): void {
    this.#closeGroup();
    const item = this.#add("function", mark);
    if (item === undefined) return;
    item.exchange = exchangeOfSession("FUNCTION_CALL", item.request, this.#session.database);
    this.#sink.started(item.exchange);
  }

  #extended(message: PgMessage): void {
    if (this.#queue.skipsToSync) return;
    const { bytes, mark } = message;
    const type = String.fromCharCode(message.type);
    const group = this.#openGroup(mark);
    if (group === undefined) return;
    if (type === "P") {
      const nameEnd = endOfText(bytes, 0);
      const name = textOf(bytes, 0, nameEnd);
      const statement = this.#session.read(bytes, nameEnd + 1);
      group.prepared.push({ name, before: this.#statements.prepare(name, statement) });
      group.statement = statement;
      group.replies += "1";
    } else if (type === "B") {
      const portalEnd = endOfText(bytes, 0);
      const name = textOf(bytes, portalEnd + 1, endOfText(bytes, portalEnd + 1));
      this.#statements.bind(textOf(bytes, 0, portalEnd), name);
      group.statement = this.#statements.statement(name);
      group.replies += "2";
    } else if (type === "D") group.replies += "T";
    else if (type === "C") {
      this.#statements.close(bytes[0] ?? 0, textOf(bytes, 1, endOfText(bytes, 1)));
      group.replies += "3";
    } else this.#execute(group, bytes);
  }

  #execute(group: Item, bytes: Uint8Array): void {
    const bound = this.#statements.portal(textOf(bytes, 0, endOfText(bytes, 0)));
    const { request } = group;
    group.exchange =
      bound?.statement === undefined
        ? exchangeOfUnknown(bound?.name ?? "", request, this.#session.database)
        : exchangeOfStatement(bound.statement, request, this.#session.database);
    group.executes = true;
    this.#closeGroup();
    this.#sink.started(group.exchange);
  }

  #sync(mark: MessageMark): void {
    // A Sync may stand alone: some clients ask so whether a connection lives.
    const isOpen = this.#queue.group !== undefined;
    this.#queue.touchGroup(mark);
    this.#closeGroup();
    if (this.#queue.skipsToSync) this.#queue.skipsToSync = false;
    else if (!isOpen && this.#queue.last?.kind !== "group" && !this.#mayPair(0x53)) return;
    this.#add("sync", mark);
    const before = this.#queue.items.at(-2);
    if (!isOpen && before?.executes === true && before.response === undefined) extend(before.request, mark);
  }

  #copied(mark: MessageMark): void {
    const { copying } = this.#queue;
    if (copying !== undefined) extend(copying.request, mark);
  }

  /** What was seen of a message of the client whose end is lost. */
  #partialRequest(partial: PgMessage): void {
    if (partial.bytes.length === 0 || String.fromCharCode(partial.type) !== "Q") return;
    this.#query(partial);
  }

  #serverMessage(message: PgMessage): void {
    const type = String.fromCharCode(message.type);
    const { mark, bytes } = message;
    if (type === "S") this.#session.setParameter(bytes);
    if (type === "S" || type === "A" || type === "N" || type === "K" || type === "v") return;
    if (type === "E" && this.#encryption !== undefined) {
      enterError(this.#encryption, sqlstateOf(bytes));
      this.#outcomes.oneWay(this.#encryption);
      this.#encryption = undefined;
      return;
    }
    const { first } = this.#queue;
    if (first === undefined || (this.#pairing.isUnsure && !this.#isDoubtful && first.request.startNs > mark.startNs)) {
      this.#unasked(type, message);
      return;
    }
    if (type === "Z") {
      this.#ready(mark);
      return;
    }
    const item = this.#queue.answered;
    if (item === undefined) {
      this.#mismatch();
      return;
    }
    answer(item, mark);
    if (type === "E") this.#failed(item, bytes);
    else this.#took(item, takeReply(item, type, bytes));
  }

  #took(item: Item, outcome: ReplyOutcome): void {
    switch (outcome) {
      case "answered":
        this.#resultRead(item);
        break;
      case "copy_in":
        this.#queue.dropSync(item);
        break;
      case "copy_both":
        this.#copyBothBegins(item);
        break;
      case "mismatch":
        this.#mismatch();
        break;
      case "goes_on":
        break;
    }
  }

  #copyBothBegins(item: Item): void {
    item.isAnswered = true;
    if (item.exchange !== undefined) this.#outcomes.finish(item);
    // It stays in the queue for the ReadyForQuery that may come one day.
    item.exchange = undefined;
    item.statement = undefined;
  }

  #resultRead(item: Item): void {
    if (this.#queue.resultRead(item)) this.#outcomes.finish(item);
  }

  #failed(item: Item, bytes: Uint8Array): void {
    const sqlstate = sqlstateOf(bytes);
    if (item.exchange === undefined && item.statement !== undefined) {
      item.exchange = exchangeOfStatement(item.statement, item.request, this.#session.database);
    }
    item.exchange ??= exchangeOfSession("QUERY", item.request, this.#session.database);
    if (!item.hasFailed) enterError(item.exchange, sqlstate);
    item.hasFailed = true;
    if (item.kind === "startup") {
      this.#queue.shift();
      this.#outcomes.finish(item);
      return;
    }
    if (item.kind !== "group") return;
    for (const { name, before } of item.prepared) this.#statements.restore(name, before);
    for (const skipped of this.#queue.fail(item)) {
      for (const { name, before } of skipped.prepared) this.#statements.restore(name, before);
      if (skipped.exchange !== undefined) this.#outcomes.oneWay(skipped.exchange);
    }
  }

  /** `ReadyForQuery`: ends a query, or everything up to a Sync. */
  #ready(mark: MessageMark): void {
    this.#isDoubtful = false;
    const over = this.#queue.ready();
    if (over === undefined) this.#mismatch();
    for (const item of over ?? []) {
      if (item.kind === "sync") continue;
      answer(item, mark);
      this.#outcomes.finish(item);
    }
  }

  /** Answers that do not fit what was asked: nothing in the queue is sure of its own any more. */
  #mismatch(): void {
    this.#context.count("postgresql_mismatch");
    this.#giveUp("gap");
    this.#pairing.lost();
  }

  #unasked(type: string, message: PgMessage): void {
    if (type !== "C" && type !== "E") return;
    if (this.#hasAsked || this.#pairing.isUnsure || this.#pairing.isSettled) {
      this.#context.count("postgresql_result_unpaired");
      return;
    }
    const exchange = exchangeOfSession("", undefined, "");
    exchange.type = "response";
    exchange.endpoint = "postgresql";
    exchange.response = message.mark;
    exchange.status = "ok";
    if (type === "E") enterError(exchange, sqlstateOf(message.bytes));
    else enterTag(exchange, textOf(message.bytes, 0, endOfText(message.bytes, 0)));
    this.#sink.finished(exchange);
  }

  /** May what the client asks be paired with what the server will send? See the same of Redis. */
  #mayPair(type: number): boolean {
    this.#hasAsked = true;
    if (this.#queue.length > 0 && this.#pairing.turned && this.#queue.group === undefined && !this.#goesOn(type)) {
      if (this.#pairing.isUnsure) this.#endDoubtful();
      else {
        this.#pairing.multiplexes = true;
        if (!this.#pairing.isSettled) {
          this.#giveUp("gap");
          this.#pairing.isUnsure = true;
        }
      }
    }
    this.#pairing.turned = false;
    if (this.#queue.length > 0) return !this.#pairing.isUnsure || this.#queue.group !== undefined;
    if (!this.#pairing.begins()) return false;
    this.#isDoubtful = false;
    return true;
  }

  /**
   * The client goes on while one thing is under way, the rest of whose result was lost: its end was among that, since
   * clients wait for it. Whether it was an error, nobody saw.
   */
  #endDoubtful(): void {
    const isOver = this.#isDoubtful && this.#queue.first?.response !== undefined;
    if (isOver) {
      for (const item of this.#queue.clear()) {
        if (item.kind === "sync") continue;
        if (item.response === undefined) this.#outcomes.abandon(item, "gap");
        else this.#outcomes.finish(item);
      }
    }
    this.#giveUp("gap");
  }

  /** Results of a batch may come while the client still sends it, or goes on after a Flush. */
  #goesOn(type: number): boolean {
    return type === 0x53 || this.#queue.items.every(({ kind }) => kind === "group");
  }

  #openGroup(mark: MessageMark): Item | undefined {
    const { group } = this.#queue;
    if (group === undefined) return this.#add("group", mark);
    extend(group.request, mark);
    return group;
  }

  #closeGroup(): void {
    const over = this.#queue.closeGroup();
    if (over !== undefined) this.#resultRead(over);
  }

  #add(kind: ItemKind, mark: MessageMark): Item | undefined {
    const item = this.#queue.add(kind, mark);
    if (item === undefined) {
      this.#context.count("postgresql_waiting_max");
      this.#giveUp("gap");
      this.#pairing.lost();
    }
    return item;
  }

  #letGo(how: "upgrade" | "invalid", to: string): void {
    if (this.#encryption !== undefined) this.#outcomes.oneWay(this.#encryption);
    this.#encryption = undefined;
    this.#giveUp("");
    this.detached = how;
    this.detachedTo = how === "upgrade" ? to : "";
    for (const reader of this.#readers) reader.isOver = true;
  }

  #giveUp(reason: string): void {
    this.#isDoubtful = false;
    for (const item of this.#queue.clear()) this.#outcomes.abandon(item, reason);
  }

  #finishAll(reason: string): void {
    if (this.#encryption !== undefined) this.#outcomes.oneWay(this.#encryption);
    this.#encryption = undefined;
    this.#giveUp(this.#pairing.isUnsure && reason !== "" ? "gap" : reason);
  }
}
