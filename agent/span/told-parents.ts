/**
 * Calls of processes that say themselves whom they were made for, matched with what was captured by ports and times.
 *
 * Invariants: what is told is looked at once capture has caught up, `HOLD_NS` after it at the earliest; it names the request and the call of
 * one connection each that began last before it, and none where requests of that connection overlap. A call that nothing else
 * tells of waits until it is told, at most `SILENT_NS` after its end.
 */

import type { ToldCall } from "../../server/model/capture-event.ts";
import type { CallParent } from "./call-parent.ts";
import type { HopSide } from "./hop.ts";

/** Rings are drained every few milliseconds, and lie in order. */
const HOLD_NS = 100e6;
const SILENT_NS = 2e9;
/** A call whose answer does not end is told by its beginning, or never. */
const WAITS_NS = 30e9;
/** A program reads what it is told of within this time; what is older is another message. */
const READ_NS_MAX = 1e9;
/** Connections of a process whose last messages are remembered; the oldest is forgotten. */
const CONNECTIONS_MAX = 1024;
const KEPT_MAX = 64;
/** Requests, and calls, of a process that are remembered on all of its connections: each holds what its span is made of. */
const MESSAGES_MAX = 8192;
const WAITING_MAX = 4096;
const TOLD_MAX = 8192;
/** Calls without a sure parent after which a process is worth asking. */
const UNSURE_CALLS = 20;
const UNSURE_PROCESSES_MAX = 1024;

interface Call {
  readonly side: HopSide;
  readonly sinceNs: number;
  /** What the process said. */
  parent: CallParent<HopSide> | undefined;
  /** Nothing else tells of it, and the process has not yet. */
  waits: boolean;
}

/** The last messages of the last connections, the oldest connection first. */
interface Remembered<Message> {
  readonly by: Map<string, Message[]>;
  count: number;
}

interface Telling {
  /** Last requests by connection. */
  readonly requests: Remembered<HopSide>;
  /** Last calls by connection. */
  readonly calls: Remembered<Call>;
}

/** What is decided of a call. */
export interface ToldParent {
  readonly call: HopSide;
  readonly parent: CallParent<HopSide>;
}

/** Nothing is known yet, and the process is to tell. */
const WAITS: CallParent<HopSide> = { request: undefined, reason: "undecided", waits: "answer" };

/** See the file's head. */
export class ToldParents {
  readonly #telling = new Map<number, Telling>();
  readonly #unsure = new Map<number, number>();
  readonly #calls = new WeakMap<HopSide, Call>();
  #told: ToldCall[] = [];
  #seenNs = 0;
  /** In the order in which they were made; those that were told of leave once they are the oldest. */
  #waiting: Call[] = [];
  readonly #counts = { drawn: 0, unmatched: 0, silent: 0, overflow: 0 };

  /** Calls that were drawn, told of but not found, not told of in time, and beyond a limit. */
  get counts(): Readonly<Record<"drawn" | "unmatched" | "silent" | "overflow", number>> {
    return this.#counts;
  }

  /** Processes whose calls often have no sure parent, and that do not tell. */
  unsure(): number[] {
    return [...this.#unsure].filter(([, calls]) => calls >= UNSURE_CALLS).map(([pid]) => pid);
  }

  /** A process begins, or ends, to tell. */
  setTelling(pid: number, isTelling: boolean): void {
    this.#unsure.delete(pid);
    if (isTelling) this.#telling.set(pid, { requests: nothing(), calls: nothing() });
    else this.#telling.delete(pid);
  }

  exited(pid: number): void {
    this.#unsure.delete(pid);
  }

  requestCame(request: HopSide): void {
    const telling = this.#telling.size === 0 ? undefined : this.#telling.get(request.pid);
    if (telling === undefined) return;
    const { client, server } = request.connection;
    remember(telling.requests, `${client.addr} ${client.port} ${server.port}`, request);
  }

  /** A call was made: to be told of whatever else says whom it was for. @param nowNs Boot time. */
  callMade(side: HopSide, nowNs: number): void {
    const telling = this.#telling.size === 0 ? undefined : this.#telling.get(side.pid);
    if (telling === undefined || side.exchange.protocol !== "http1") return;
    const call = { side, sinceNs: nowNs, parent: undefined, waits: false };
    const { client, server } = side.connection;
    remember(telling.calls, `${client.port} ${server.port}`, call);
    this.#calls.set(side, call);
  }

  /**
   * What the process says of a call that nothing else tells of, or that waits for the proof of a rule.
   *
   * @param parent What is known without it: none.
   * @returns The same where the process does not tell.
   */
  orTold(side: HopSide, parent: CallParent<HopSide>): CallParent<HopSide> {
    const telling = this.#telling.get(side.pid);
    if (telling === undefined) {
      const isUnsure = parent.reason === "self_check" || parent.reason === "cause_unknown";
      if (isUnsure && parent.waits === undefined) this.#noteUnsure(side.pid);
      return parent;
    }
    const call = this.#calls.get(side);
    if (call === undefined) return parent;
    if (call.parent !== undefined) return call.parent;
    if (call.waits) return WAITS;
    if (this.#waiting.length >= WAITING_MAX) {
      this.#counts.overflow++;
      return parent;
    }
    call.waits = true;
    this.#waiting.push(call);
    return WAITS;
  }

  told(call: ToldCall): void {
    if (this.#told.length >= TOLD_MAX) this.#counts.overflow++;
    else this.#told.push(call);
  }

  /** What was captured until `timeNs` is known: slices come in order. */
  sawSlice(timeNs: number): void {
    this.#seenNs = timeNs;
  }

  /** Calls that waited and need not any more. @param nowNs Boot time. */
  tick(nowNs: number): ToldParent[] {
    const decided: ToldParent[] = [];
    let count = 0;
    for (const told of this.#told) {
      const sinceNs = nowNs - told.call.atNs;
      if (sinceNs < HOLD_NS || (this.#seenNs < told.call.atNs && sinceNs < READ_NS_MAX)) break;
      count++;
      this.#match(told, decided);
    }
    if (count > 0) this.#told.splice(0, count);
    this.#giveUp(nowNs, decided);
    return decided;
  }

  #match({ pid, request, call: { ownPort, port, atNs } }: ToldCall, decided: ToldParent[]): void {
    const telling = this.#telling.get(pid);
    const call = telling?.calls.by.get(`${ownPort} ${port}`)?.findLast(({ side }) => side.request.startNs <= atNs);
    const answeredNs = call?.side.exchange.response?.startNs;
    if (telling === undefined || call === undefined || answeredNs === undefined || atNs - answeredNs > READ_NS_MAX) {
      this.#counts.unmatched++;
      return;
    }
    const cause = request === undefined ? undefined : this.#causeOf(telling, request, call.side);
    if (cause !== undefined) this.#counts.drawn++;
    else if (request !== undefined) this.#counts.unmatched++;
    call.parent =
      cause === undefined
        ? none(request === undefined ? "told_none" : "told_nothing")
        : { request: cause, reason: "inspector" };
    if (!call.waits) return;
    call.waits = false;
    decided.push({ call: call.side, parent: call.parent });
  }

  /** The request that is meant; undefined where it is not sure, or cannot be. */
  #causeOf(telling: Telling, told: NonNullable<ToldCall["request"]>, call: HopSide): HopSide | undefined {
    const requests = telling.requests.by.get(`${told.addr} ${told.port} ${told.ownPort}`) ?? [];
    const at = requests.findLastIndex(({ request }) => request.startNs <= told.atNs);
    const cause = requests[at];
    if (cause === undefined || told.atNs - cause.request.endNs > READ_NS_MAX || isOver(cause, told.atNs))
      return undefined;
    const before = requests[at - 1];
    if (before !== undefined && !isOver(before, cause.request.startNs)) return undefined;
    return cause.request.startNs <= call.request.startNs ? cause : undefined;
  }

  #giveUp(nowNs: number, decided: ToldParent[]): void {
    let count = 0;
    for (const call of this.#waiting) {
      const { side, sinceNs } = call;
      const isSilent = side.endNs > 0 ? nowNs - side.endNs > SILENT_NS : nowNs - sinceNs > WAITS_NS;
      if (call.waits && !isSilent && this.#telling.has(side.pid)) break;
      count++;
      if (!call.waits) continue;
      call.waits = false;
      this.#counts.silent++;
      decided.push({ call: side, parent: none("told_nothing") });
    }
    if (count > 0) this.#waiting.splice(0, count);
  }

  #noteUnsure(pid: number): void {
    if (pid === 0) return;
    if (this.#unsure.size >= UNSURE_PROCESSES_MAX) this.#unsure.clear();
    this.#unsure.set(pid, (this.#unsure.get(pid) ?? 0) + 1);
  }
}

function nothing<Message>(): Remembered<Message> {
  return { by: new Map(), count: 0 };
}

/** Keeps the last few messages of the last connections. */
function remember<Message>(remembered: Remembered<Message>, connection: string, message: Message): void {
  const { by } = remembered;
  const known = by.get(connection) ?? [];
  known.push(message);
  if (known.length > KEPT_MAX) known.shift();
  else remembered.count++;
  by.delete(connection);
  by.set(connection, known);
  if (by.size <= CONNECTIONS_MAX && remembered.count <= MESSAGES_MAX) return;
  for (const [oldest, messages] of by) {
    by.delete(oldest);
    remembered.count -= messages.length;
    break;
  }
}

/** The request was answered before `timeNs`: what is told after that is of another one. */
function isOver(request: HopSide, timeNs: number): boolean {
  return request.endNs > 0 && request.endNs <= timeNs;
}

function none(reason: "told_none" | "told_nothing"): CallParent<HopSide> {
  return { request: undefined, reason };
}
