/**
 * From exchanges to spans: joins the two ends of a request, finds its parent, and hands on each side once it is finished.
 *
 * Invariants: `exchanges = spans + dropped + waiting`, where `finished-sides.ts` keeps what waits. A span's trace id never
 * changes after it was sent, and a parent is drawn only to a span of the same trace.
 */

import type {
  CaptureDepth,
  ClockOffset,
  CountedCalls,
  ProcessSeen,
  SocketMoment,
  SocketSlice,
  ToldCall,
} from "../../server/model/capture-event.ts";
import type { Lanes } from "../../server/model/message-ids.ts";
import type { Connection, ConnectionSink } from "../connection/connection-sink.ts";
import type { Exchange, MessageMark } from "../protocol/exchange.ts";
import type { CallParent } from "./call-parent.ts";
import { CountedSpans } from "./counted-spans.ts";
import { FinishedSides, LINGER_NS } from "./finished-sides.ts";
import type { FinishedSpanSink } from "./finished-span.ts";
import { type Hop, HopSide } from "./hop.ts";
import { HopTable } from "./hop-table.ts";
import { LossTimes } from "./loss-times.ts";
import { hashMessage, hashText, hashTuple } from "./message-identity.ts";
import { ObservedProcesses, type ProcessSetting } from "./observed-processes.ts";
import type { ProcessRequests } from "./process-requests.ts";
import { type DropReason, dropReason, isHandshake, translatedKey } from "./side-facts.ts";
import { type OpenSides, SliceCauses } from "./slice-causes.ts";
import type { RowSetting } from "./span-row.ts";
import { ToldParents } from "./told-parents.ts";
import { TRIAL_NS } from "./trials.ts";

/** Exchanges open at one time; beyond, a request is only looked at once it is over. */
const openExchangesMax = 131_072;

const NONE_OPEN: readonly OpenSides[] = [];

/** What became of the exchanges. One exchange that shows both ends counts twice. */
export interface SpanLedger {
  readonly exchanges: number;
  readonly spans: number;
  readonly waiting: number;
  readonly dropped: Readonly<Record<string, number>>;
  readonly openExchanges: number;
  readonly openHops: number;
  readonly processes: number;
  /** Calls counted in the kernel, and the rows that stand for them. An exchange whose two ends were counted counts twice. */
  readonly countedCalls: number;
  readonly countedRows: number;
  /** Calls of processes that say themselves whom these were made for. */
  readonly told: Readonly<Record<string, number>>;
}

interface OpenExchange extends OpenSides {
  readonly exchange: Exchange;
}

interface ConnectionState {
  readonly tuple: Lanes;
  readonly serverSeed: number;
  /** Few, and mostly finished in the order in which they started. */
  readonly open: OpenExchange[];
  /** Sides whose exchange was cut by the end of the connection, until the time of that is told. */
  cut: HopSide[];
  /** Process that serves on the connection although it cannot be read. */
  unreadBy: ProcessRequests<HopSide, HopSide> | undefined;
  /** An exchange was seen on it. */
  isKnown: boolean;
}

/** Makes spans from exchanges. Driven by one thread; `tick` must be called every few milliseconds. */
export class SpanRoom implements ConnectionSink {
  readonly #processes: ObservedProcesses;
  readonly #hops = new HopTable(LINGER_NS);
  readonly #connections = new WeakMap<Connection, ConnectionState>();
  /** The same by number of the sight, of those that live. */
  readonly #bySocket = new Map<number, ConnectionState>();
  /** The connection that was asked for last, which is mostly that of the next question too. */
  #lastConnection: Connection | undefined;
  #lastState: ConnectionState | undefined;
  readonly #slices: SliceCauses;
  #openExchanges = 0;
  #nowNs = 0;
  readonly #losses = new LossTimes();
  readonly #told = new ToldParents();
  #bootToUnixNano = 0n;
  readonly #rowSetting: RowSetting = { offsetHigh: 0, offsetLow: 0, replay: false, peers: false };
  #salt = 0;
  #exchanges = 0;
  readonly #finished: FinishedSides;
  readonly #counted: CountedSpans;
  readonly #unseen = new Set<number>();
  readonly #lanes: Lanes = { high: 0, low: 0 };

  /** @param sink Receives the spans. @param setting Facts about the host, for resources and names. */
  constructor(sink: FinishedSpanSink, setting: ProcessSetting) {
    this.#processes = new ObservedProcesses(setting, (call, parent) => this.#decided(call, this.#orTold(call, parent)));
    this.#slices = new SliceCauses(
      (pid) => this.#processes.requests(pid),
      (socket) => this.#bySocket.get(socket)?.open ?? NONE_OPEN,
    );
    this.#finished = new FinishedSides({
      sink,
      processes: this.#processes,
      losses: this.#losses,
      rowSetting: this.#rowSetting,
    });
    this.#counted = new CountedSpans(sink, this.#processes, setting.hostName);
  }

  setClockOffset(offset: ClockOffset): void {
    const { bootToUnixNano } = offset;
    if (bootToUnixNano === this.#bootToUnixNano) return;
    this.#bootToUnixNano = bootToUnixNano;
    this.#rowSetting.offsetHigh = Number(BigInt.asUintN(32, bootToUnixNano >> 32n));
    this.#rowSetting.offsetLow = Number(BigInt.asUintN(32, bootToUnixNano));
  }

  /**
   * Says what the traffic is from now on.
   *
   * @param replay A recording: spans get the source `replay`.
   * @param salt Number of the repetition, so that the same recording played twice makes other ids; 0 for live traffic.
   */
  setReplay(replay: boolean, salt: number): void {
    this.#rowSetting.replay = replay;
    this.#salt = salt;
  }

  /** Agents on other hosts may see the other ends of messages: spans carry what tells that, from now on. */
  setPeers(): void {
    this.#rowSetting.peers = true;
  }

  process(event: ProcessSeen): void {
    this.#processes.seen(event);
  }

  processExited(pid: number): void {
    this.#processes.exited(pid, this.#nowNs);
    this.#told.exited(pid);
  }

  /** Processes whose calls often have no sure parent. */
  unsure(): readonly number[] {
    return this.#told.unsure();
  }

  /** A process begins, or ends, to say itself whom its calls are made for. */
  telling(pid: number, isTelling: boolean): void {
    this.#told.setTelling(pid, isTelling);
  }

  /** A process says whom it made a call for. */
  told(call: ToldCall): void {
    this.#told.told(call);
  }

  /**
   * Capture lost events since the last look, at most `LINGER_NS` ago: what looked alone in its process may not have
   * been, what ended without its answer may have had one, and traces of then may lack spans.
   *
   * @param fromNs Boot time of the last look.
   * @param nowNs Boot time of this look: requests seen since the last tick are before it too.
   */
  eventsLost(fromNs: number, nowNs: number): void {
    this.#losses.add(fromNs, nowNs);
    this.#processes.eventsLost();
  }

  /** A process is captured more or less deeply: where not all it is asked is seen, its calls may be for what is not. */
  depthChanged(pid: number, depth: CaptureDepth): void {
    const requests = this.#processes.requests(pid);
    const isUnseen = depth === "counted" || depth === "off";
    if (isUnseen === this.#unseen.has(pid)) return;
    if (isUnseen) {
      this.#unseen.add(pid);
      requests?.unreadOpened();
    } else {
      this.#unseen.delete(pid);
      requests?.unreadClosed();
    }
  }

  /**
   * Exchanges that were counted in the kernel since the last look.
   *
   * @param nowNs Boot time of this look.
   * @param isLast No more comes.
   */
  counted(calls: readonly CountedCalls[], nowNs: number, isLast: boolean): void {
    this.#counted.add(calls, BigInt(Math.round(nowNs)) + this.#bootToUnixNano, isLast);
  }

  /** Name of the service that a process is; empty where it is not known. */
  serviceOf(pid: number): string {
    return this.#processes.resource(pid)?.service ?? "";
  }

  /** What a thread is about begins or ends. */
  moment(moment: SocketMoment): void {
    this.#slices.moment(moment);
  }

  /** A slice of a socket is about to be read: what it makes start was made by its thread. `sliceRead` follows. */
  sliceSeen(slice: SocketSlice): void {
    this.#slices.seen(slice);
  }

  /** Records of TLS were sent or read. What is read may be their end alone, with which an answer ends. */
  sealedSeen(slice: SocketSlice): void {
    this.#slices.sealed(slice);
  }

  /** The slice was read. */
  sliceRead(slice: SocketSlice): void {
    this.#told.sawSlice(slice.timeNs);
    this.#slices.read(slice);
  }

  exchangeStarted(connection: Connection, exchange: Exchange): void {
    if (exchange.request === undefined || this.#openExchanges >= openExchangesMax) return;
    const sides = this.#join(connection, exchange, exchange.request);
    if (sides === undefined) return;
    this.#openExchanges += 1;
    const state = this.#connection(connection);
    state.open.push({ exchange, sides });
    if (connection.joinedLate && !state.isKnown) for (const side of sides) side.isIncomplete("joined_late");
    state.isKnown = true;
    this.#slices.called(connection.socket);
    for (const side of sides) this.#register(side);
    this.#settleBySight(sides[0]?.hop);
  }

  exchangeFinished(connection: Connection, exchange: Exchange): void {
    const sides = this.#takeOpen(connection, exchange) ?? this.#lateSides(connection, exchange);
    if (sides === undefined) return;
    for (const side of sides) {
      side.hop.openSides -= 1;
      if (side.kind === "client") side.requests?.callFinished(side, exchange.response);
      else if (exchange.response === undefined) side.requests?.requestAbandoned(side, this.#nowNs);
      else side.requests?.requestFinished(side, exchange.response);
      this.#exchanges += 1;
      this.#losses.excuse(side);
      const reason = dropReason(side);
      if (reason !== undefined) this.#finished.drop(reason, 1);
      else if (exchange.response === undefined && exchange.cutShort !== "timeout") {
        side.cut = true;
        this.#connection(connection).cut.push(side);
        this.#finished.add(side, this.#nowNs, this.#nowNs);
      } else this.#finished.add(side, exchange.response?.endNs ?? this.#nowNs, this.#nowNs);
      this.#forgetIfOver(side.hop);
    }
  }

  connectionClosed(connection: Connection, timeNs: number): void {
    this.#slices.closed(connection.socket);
    this.#bySocket.delete(connection.socket);
    const state = this.#connections.get(connection);
    if (state === undefined) return;
    // A parser that failed may have left some.
    this.#openExchanges -= state.open.length;
    state.open.length = 0;
    for (const side of state.cut) {
      // It leaves the queue after the linger: the loss of its answer is told later than its end.
      side.cut = false;
      side.endNs = timeNs;
    }
    state.cut = [];
    state.unreadBy?.unreadClosed();
    state.unreadBy = undefined;
  }

  connectionLost(connection: Connection, reason: "parser_failed" | "connections_max"): void {
    const open = this.#connections.get(connection)?.open ?? [];
    for (const { sides } of open) {
      for (const { hop } of sides) {
        hop.client?.isIncomplete(reason);
        hop.server?.isIncomplete(reason);
      }
    }
    // Calls that its process makes on it, for whatever it is asked now, are not seen.
    if (connection.side === "server") return;
    const requests = this.#processes.requests(connection.clientOwner?.pid ?? 0);
    for (const request of requests?.unanswered ?? []) request.isIncomplete(reason);
  }

  connectionUnread(connection: Connection): void {
    if (connection.sight !== "end" || connection.side !== "server") return;
    const state = this.#connection(connection);
    if (state.unreadBy !== undefined) return;
    state.unreadBy = this.#processes.requests(connection.serverOwner?.pid ?? 0);
    state.unreadBy?.unreadOpened();
  }

  connectionRead(connection: Connection): void {
    const state = this.#connections.get(connection);
    state?.unreadBy?.unreadClosed();
    if (state !== undefined) state.unreadBy = undefined;
  }

  /** Moves the room's clock: settles hops that lingered, sends what waited long enough. `nowNs` is boot time. */
  tick(nowNs: number): void {
    this.#nowNs = nowNs;
    for (let hop = this.#hops.lingered(nowNs); hop !== undefined; hop = this.#hops.lingered(nowNs)) {
      if (hop.awaitsUntilNs <= nowNs) this.#finished.settle(hop);
      if (hop.openSides === 0) this.#hops.forget(hop);
    }
    for (const { call, parent } of this.#told.tick(nowNs)) this.#decided(call, parent);
    this.#finished.sendOverdue(nowNs);
    this.#processes.tick(nowNs);
  }

  /** Sends everything that waits, as it is. */
  flush(): void {
    this.#finished.flush();
  }

  ledger(): SpanLedger {
    return {
      exchanges: this.#exchanges,
      spans: this.#finished.spans,
      waiting: this.#finished.waiting,
      dropped: this.#finished.dropped,
      openExchanges: this.#openExchanges,
      openHops: this.#hops.size,
      processes: this.#processes.size,
      countedCalls: this.#counted.calls,
      countedRows: this.#counted.rows,
      told: this.#told.counts,
    };
  }

  /** Finds or makes the hop of a request and adds the sides that this sight shows; undefined where there is no room. */
  #join(connection: Connection, exchange: Exchange, request: MessageMark): HopSide[] | undefined {
    const state = this.#connection(connection);
    const { side } = connection;
    hashMessage(state.tuple, request.seq, this.#lanes);
    const { high, low } = this.#lanes;
    let hop = this.#hops.find(high, low);
    if (hop === undefined && side !== "both") {
      const natKey = translatedKey(connection, exchange, request);
      hop = this.#hops.findTranslated(natKey, side);
      if (hop !== undefined) hop.joinedBy = "message-nat";
      else hop = this.#hops.add(high, low, natKey, "message", this.#nowNs);
    } else if (hop === undefined) {
      hop = this.#hops.add(high, low, 0, "one-sight", this.#nowNs);
    } else this.#hops.joined(hop);
    if (hop === undefined) return undefined;
    if (hop.trace === undefined) hop.context ??= exchange.context;
    const sides: HopSide[] = [];
    if (side !== "server") sides.push(new HopSide("client", hop, connection, exchange, request));
    if (side !== "client") sides.push(new HopSide("server", hop, connection, exchange, request));
    return sides;
  }

  /** Sides of an exchange that started. They are kept with its connection: see `NumberMap` for why in no map. */
  #takeOpen(connection: Connection, exchange: Exchange): readonly HopSide[] | undefined {
    const { open } = this.#connection(connection);
    for (let at = 0; at < open.length; at++) {
      const found = open[at];
      if (found?.exchange !== exchange) continue;
      if (at === open.length - 1) open.pop();
      else if (at === 0) open.shift();
      else open.splice(at, 1);
      this.#openExchanges -= 1;
      return found.sides;
    }
    return undefined;
  }

  /** Counts a side among the open requests or calls of its process, and draws the in-process parent where it is sure. */
  #register(side: HopSide): void {
    // A sight on the wire does not know the thread that wrote or read.
    if (side.repeated || side.connection.sight !== "end") return;
    side.requests = this.#processes.requests(side.pid);
    if (side.requests === undefined) return;
    const { work, cause } = this.#slices;
    if (work.kind === "goroutine") side.requests.goroutinesSeen(side.request.startNs);
    if (side.kind === "server") {
      side.readerTid = work.kind === "goroutine" ? side.request.lastTid : side.request.tid;
      side.requests.requestStarted(side);
      this.#told.requestCame(side);
      return;
    }
    const target = hashText(side.exchange.endpoint, this.#connection(side.connection).serverSeed);
    side.cause = cause;
    this.#told.callMade(side, this.#nowNs);
    const parent = this.#orTold(side, side.requests.callStarted(side, target, { work, cause }));
    this.#link(side, parent);
    side.hop.awaitsUntilNs = side.hop.trace === undefined ? this.#awaitsUntilNs(parent) : 0;
  }

  /** Where nothing else tells, the process may. */
  #orTold(side: HopSide, parent: CallParent<HopSide>): CallParent<HopSide> {
    return parent.request === undefined && parent.waits !== "answer" ? this.#told.orTold(side, parent) : parent;
  }

  #link(side: HopSide, parent: CallParent<HopSide>): void {
    const { hop } = side;
    const isOwn = parent.request?.hop === hop;
    side.link = isOwn ? "no_open_request" : parent.reason;
    // A trace that was sent already stays as it is.
    if (hop.trace !== undefined || parent.request === undefined || isOwn) return;
    hop.parent = parent.request;
    parent.request.hop.below ??= hop.context;
  }

  /** It is known whom a call was made for, or that it never will be. */
  #decided(side: HopSide, parent: CallParent<HopSide>): void {
    const { hop } = side;
    // A trace that was sent already stays as it is.
    if (hop.awaitsUntilNs === 0 || hop.trace !== undefined) return;
    hop.awaitsUntilNs = this.#awaitsUntilNs(parent);
    this.#link(side, parent);
    if (hop.awaitsUntilNs === 0) this.#finished.settle(hop);
  }

  /** When nothing is waited for any more that may tell the parent; 0 where nothing is. */
  #awaitsUntilNs({ waits }: CallParent<HopSide>): number {
    if (waits === undefined) return 0;
    return waits === "proof" ? this.#nowNs + TRIAL_NS : Number.POSITIVE_INFINITY;
  }

  /** A hop whose client was seen, or that carried a context, cannot get another parent. */
  #settleBySight(hop: Hop | undefined): void {
    if (
      hop !== undefined &&
      !hop.settled &&
      hop.awaitsUntilNs === 0 &&
      (hop.client !== undefined || hop.context !== undefined)
    )
      this.#finished.settle(hop);
  }

  /** An exchange that ends without having started: a lone response, or one there was no room for. */
  #lateSides(connection: Connection, exchange: Exchange): HopSide[] | undefined {
    const sidesSeen = connection.side === "both" ? 2 : 1;
    const reason: DropReason | undefined = isHandshake(exchange)
      ? "tls_handshake"
      : exchange.type === "response"
        ? "response_only"
        : exchange.type === "message"
          ? "one_way"
          : undefined;
    const request = exchange.request;
    const sides = reason === undefined && request !== undefined ? this.#join(connection, exchange, request) : undefined;
    if (sides !== undefined) {
      this.#settleBySight(sides[0]?.hop);
      return sides;
    }
    this.#exchanges += sidesSeen;
    this.#finished.drop(reason ?? (request === undefined ? "no_request" : "open_hops_max"), sidesSeen);
    return undefined;
  }

  #forgetIfOver(hop: Hop): void {
    const isWhole = hop.client !== undefined && hop.server !== undefined;
    if (hop.openSides === 0 && (isWhole || hop.settleAtNs <= this.#nowNs)) this.#hops.forget(hop);
  }

  #connection(connection: Connection): ConnectionState {
    if (connection === this.#lastConnection && this.#lastState !== undefined) return this.#lastState;
    const state = this.#stateOf(connection);
    this.#lastConnection = connection;
    this.#lastState = state;
    return state;
  }

  #stateOf(connection: Connection): ConnectionState {
    let state = this.#connections.get(connection);
    if (state === undefined) {
      state = {
        tuple: hashTuple(connection.client, connection.server, connection.netns, this.#salt),
        serverSeed: hashText(connection.server.addr, connection.server.port),
        open: [],
        cut: [],
        unreadBy: undefined,
        isKnown: false,
      };
      this.#connections.set(connection, state);
      this.#bySocket.set(connection.socket, state);
    }
    return state;
  }
}
