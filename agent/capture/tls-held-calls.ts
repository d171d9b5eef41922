/**
 * Calls of a TLS library whose clear bytes wait for their socket or number.
 *
 * Invariants: what waits is bounded, for each session by calls, for all by bytes; the bytes are copies.
 */

import type { WorkUnit } from "../../server/model/capture-event.ts";
import type { TlsCall } from "./tls-event.ts";

/** Calls of one session that wait. */
const heldCallsMax = 64;
/** Bytes that wait, of all sessions. */
const heldBytesMax = 4 << 20;
/** How long they wait. */
const heldNsMax = 2e9;

/** A call to be handed on. */
export interface HeldCall {
  /** Sent, received. */
  readonly direction: 0 | 1;
  readonly bytes: Uint8Array;
  readonly seq: number;
  readonly total: number;
  readonly room: number;
  readonly timeNs: number;
  readonly pid: number;
  readonly tid: number;
  readonly work: WorkUnit;
}

/** Who has calls that wait, oldest first. */
export interface CallHolder {
  readonly held: HeldCall[];
}

/** The calls that wait, of all holders. */
export class HeldCalls<T extends CallHolder> {
  readonly #holders = new Set<T>();
  #bytes = 0;
  #count = 0;

  /** How many wait. */
  get count(): number {
    return this.#count;
  }

  /** Whether a holder has as many as it may. */
  isFull({ held }: T): boolean {
    return held.length >= heldCallsMax;
  }

  /** Keeps a call with a copy of its bytes. @returns False where there is no room for them. */
  add(holder: T, call: TlsCall, direction: 0 | 1, hasInner: boolean): boolean {
    if (this.#bytes + call.bytes.length > heldBytesMax) return false;
    this.#bytes += call.bytes.length;
    this.#count++;
    holder.held.push(heldOf(call, direction, call.bytes.slice(), hasInner));
    this.#holders.add(holder);
    return true;
  }

  /** Takes a holder's oldest call. */
  shift(holder: T): HeldCall | undefined {
    const first = holder.held.shift();
    if (first === undefined) return undefined;
    this.#count--;
    this.#bytes -= first.bytes.length;
    if (holder.held.length === 0) this.#holders.delete(holder);
    return first;
  }

  /** Gives up all that a holder has. @returns How many calls. */
  clear(holder: T): number {
    const { held } = holder;
    const count = held.length;
    for (const { bytes } of held) this.#bytes -= bytes.length;
    this.#count -= count;
    held.length = 0;
    this.#holders.delete(holder);
    return count;
  }

  /** Holders whose oldest call has waited too long. They may be emptied meanwhile. */
  *overdue(nowNs: number): Generator<T> {
    for (const holder of this.#holders) {
      const oldest = holder.held[0];
      if (oldest !== undefined && nowNs - oldest.timeNs > heldNsMax) yield holder;
    }
  }
}

/**
 * A call as it is handed on. A write counts from its beginning, a read at its end.
 *
 * The kernel counts a socket's read once it is over: at a read made in memory after it, it is counted already, where a slice
 * of the socket itself would be told before.
 *
 * @param bytes Those of the call, or a copy of them.
 * @param hasInner A socket was called inside of it.
 */
export function heldOf(call: TlsCall, direction: 0 | 1, bytes: Uint8Array, hasInner: boolean): HeldCall {
  const { kind, unit, origin } = call.work;
  const isCounted = direction === 1 && kind === "loop" && !hasInner;
  return {
    direction,
    bytes,
    seq: call.seq,
    total: call.total,
    room: call.room,
    timeNs: direction === 0 ? call.entryNs : call.timeNs,
    pid: call.pid,
    tid: call.tid,
    work: { kind, unit, origin: isCounted && origin >= 2 ? origin - 2 : origin },
  };
}
