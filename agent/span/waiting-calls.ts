/**
 * Calls whose parent an answer is to tell, in the order in which they were made.
 */

import type { MessageMark } from "../protocol/exchange.ts";

/** Calls that wait at one time; beyond, the oldest has no parent. */
const waitingMax = 4096;

/** A call that waits until it is told. */
export interface WaitingCall<Call> {
  readonly call: Call;
  waits: boolean;
}

/** Calls that wait. Each is given out once, told or not. */
export class WaitingCalls<Call extends { readonly request: MessageMark }> {
  #waiting: WaitingCall<Call>[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Puts `waiting` to the others. @returns A call that will not be told any more, to make room. */
  add(waiting: WaitingCall<Call>): Call | undefined {
    const oldest = this.#waiting.length >= waitingMax ? this.#waiting.shift() : undefined;
    this.#waiting.push(waiting);
    if (oldest?.waits !== true) return undefined;
    oldest.waits = false;
    return oldest.call;
  }

  /** Calls that no answer will tell, since they were made before any of the open requests came (boot time). */
  giveUp(oldestOpenNs: number): Call[] {
    const given: Call[] = [];
    let count = 0;
    for (const waiting of this.#waiting) {
      if (waiting.waits && waiting.call.request.startNs >= oldestOpenNs) break;
      count++;
      if (!waiting.waits) continue;
      waiting.waits = false;
      given.push(waiting.call);
    }
    if (count > 0) this.#waiting.splice(0, count);
    return given;
  }
}
