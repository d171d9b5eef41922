/**
 * Finished sides of exchanges on their way out: each is sent as one span once its trace is final, or dropped under a reason.
 *
 * Invariants: a side is sent, dropped or waiting. Nothing waits longer than `LINGER_NS` after it finished, `DECIDE_NS` where
 * an answer is to tell its parent. Those that wait are at most `waitingMax`, in the order in which they are looked at again.
 */

import type { Resource } from "../../server/model/span-batch.ts";
import type { FinishedSpanSink } from "./finished-span.ts";
import { firstUnsettled, type Hop, type HopSide } from "./hop.ts";
import type { LossTimes } from "./loss-times.ts";
import type { ObservedProcesses } from "./observed-processes.ts";
import { type DropReason, dropReason, fallbackName, ownerOf } from "./side-facts.ts";
import { emptyRow, type RowSetting, writeSpanRow } from "./span-row.ts";

/** How long a span waits for the other end of its request: rings are drained every few milliseconds. */
export const LINGER_NS = 250e6;
/** How long a call waits for the answer that tells whom it was made for. */
const DECIDE_NS = 30e9;
/** Sides that may wait at one time; beyond, the one that waited longest is sent as it is. */
const waitingMax = 65_536;

/** What sides are judged and named by. */
interface FinishedSidesDeps {
  readonly sink: FinishedSpanSink;
  readonly processes: ObservedProcesses;
  readonly losses: LossTimes;
  /** Read at each row: the owner changes it. */
  readonly rowSetting: RowSetting;
}

/** The sides that wait, and counts of those that left. Times are those of the room's clock. */
export class FinishedSides {
  readonly #deps: FinishedSidesDeps;
  readonly #row = emptyRow();
  #queue: HopSide[] = [];
  #head = 0;
  #waiting = 0;
  #spans = 0;
  readonly #dropped = new Map<DropReason, number>();

  constructor(deps: FinishedSidesDeps) {
    this.#deps = deps;
  }

  /** Sides that wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Spans sent so far. */
  get spans(): number {
    return this.#spans;
  }

  /** Sides and exchanges that became no span, by reason. */
  get dropped(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#dropped);
  }

  /** Counts sides that become no span. */
  drop(reason: DropReason, count: number): void {
    this.#dropped.set(reason, (this.#dropped.get(reason) ?? 0) + count);
  }

  /** Takes a side whose exchange is over: it is sent now, or waits. */
  add(side: HopSide, endNs: number, nowNs: number): void {
    side.endNs = endNs;
    side.sendAtNs = nowNs + LINGER_NS;
    side.decideAtNs = nowNs + DECIDE_NS;
    if (this.#sendIfSettled(side)) return;
    side.queued = true;
    this.#queue.push(side);
    this.#waiting += 1;
    while (this.#waiting > waitingMax) this.#sendOldest();
  }

  /** A hop's parent cannot change any more: sends what waited for that. */
  settle(hop: Hop): void {
    hop.settled = true;
    const waiting = hop.waiting;
    hop.waiting = undefined;
    if (waiting !== undefined) for (const side of waiting) this.#sendIfSettled(side);
  }

  /** Sends what waited long enough. */
  sendOverdue(nowNs: number): void {
    for (let side = this.#queue[this.#head]; side !== undefined; side = this.#queue[this.#head]) {
      if (!side.sent && side.sendAtNs > nowNs) break;
      const untilNs = side.sent ? 0 : (firstUnsettled(side.hop)?.awaitsUntilNs ?? 0);
      if (Math.min(untilNs, side.decideAtNs) > nowNs) this.#waitOn(side, nowNs);
      else this.#sendOldest();
    }
  }

  /** Sends all that waits, as it is. */
  flush(): void {
    while (this.#queue[this.#head] !== undefined) this.#sendOldest();
  }

  /** Sends a side, or leaves it with the hop that its trace still depends on. */
  #sendIfSettled(side: HopSide): boolean {
    if (side.sent) return true;
    if (side.cut) return false;
    const unsettled = firstUnsettled(side.hop);
    if (unsettled !== undefined) {
      unsettled.waiting ??= [];
      unsettled.waiting.push(side);
      return false;
    }
    const resource = this.#resource(side);
    if (resource === undefined) return false;
    this.#send(side, resource);
    return true;
  }

  #send(side: HopSide, resource: Resource): void {
    const { losses, rowSetting, sink } = this.#deps;
    side.sent = true;
    if (side.queued) this.#waiting -= 1;
    losses.mark(side);
    writeSpanRow(side, rowSetting, this.#row);
    this.#spans += 1;
    sink.finished(resource, this.#row);
    // The trace is final and the parent's id is written: an endless chain of calls must not be kept alive.
    if (side.kind === "client") side.hop.parent = undefined;
  }

  /** Puts the oldest side to the end of the queue: the answer that tells its parent is still to come. */
  #waitOn(side: HopSide, nowNs: number): void {
    this.#leaveQueue();
    side.sendAtNs = nowNs + LINGER_NS;
    this.#queue.push(side);
  }

  #sendOldest(): void {
    const side = this.#queue[this.#head];
    if (side === undefined) return;
    this.#leaveQueue();
    if (side.sent) return;
    this.#deps.losses.excuse(side);
    const reason = dropReason(side);
    if (reason === undefined) this.#send(side, this.#resource(side) ?? this.#resourceOfOwner(side));
    else {
      side.sent = true;
      this.#waiting -= 1;
      this.drop(reason, 1);
    }
  }

  #leaveQueue(): void {
    this.#head += 1;
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Resource of a side's process; undefined while better may still become known. */
  #resource(side: HopSide): Resource | undefined {
    const { processes } = this.#deps;
    const { pid } = side;
    if (pid !== 0) return processes.resource(pid);
    const owner = ownerOf(side);
    // A user or a port is what is left when the process was not found: its look-up may still be under way.
    if (owner === undefined || owner.ownerBy === "port" || owner.ownerBy === "uid") return undefined;
    return processes.fallbackResource(fallbackName(side));
  }

  /** The next best: the process that owns the socket, or the name that its owner is known by. */
  #resourceOfOwner(side: HopSide): Resource {
    const { processes } = this.#deps;
    const owner = ownerOf(side);
    const resource = owner === undefined ? undefined : processes.resource(owner.pid);
    return resource ?? processes.fallbackResource(fallbackName(side));
  }
}
