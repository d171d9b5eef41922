/**
 * Calls that tasks of asyncio make: the request that a task answers is the one that it was called for, so they wait for that.
 *
 * Invariant: a call waits once, and leaves with the answer of its task or with its age.
 */

import type { MessageMark } from "../protocol/exchange.ts";
import { NumberMap } from "./number-map.ts";

/** Calls of a process that wait for the answer that tells their parent; beyond, the oldest has none. */
const waitingMax = 4096;
/** Tasks remembered; beyond, all are forgotten. */
const tasksMax = 65_536;

interface WaitingCall<Call> {
  readonly call: Call;
  readonly task: number;
}

/** Calls of one process. */
export class TaskCalls<Call extends { readonly request: MessageMark }> {
  /** In order of their start. */
  #waiting: WaitingCall<Call>[] = [];
  /** When a task answered last. */
  readonly #answeredNs = new NumberMap<number>(tasksMax);

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Lets a call wait for the answer of its task. @returns A call that will not be told any more, to make room. */
  wait(call: Call, task: number): Call | undefined {
    const oldest = this.#waiting.length >= waitingMax ? this.#waiting.shift() : undefined;
    this.#waiting.push({ call, task });
    return oldest?.call;
  }

  /** Whether a task that answers a request has answered none since it came; one that has hands out work for others. */
  isOwn(task: number, requestNs: number): boolean {
    return task !== 0 && requestNs >= this.#lastNs(task);
  }

  /** A task answers a request that came at `requestNs`. @returns Its calls since then, and since it answered another one. */
  answered(task: number, requestNs: number, nowNs: number): Call[] {
    const sinceNs = Math.max(requestNs, this.#lastNs(task));
    if (task === 0) return [];
    this.#answeredNs.set(task, nowNs);
    const isIts = (one: WaitingCall<Call>) => one.task === task && one.call.request.startNs >= sinceNs;
    const its = this.#waiting.filter(isIts);
    if (its.length > 0) this.#waiting = this.#waiting.filter((one) => !isIts(one));
    return its.map(({ call }) => call);
  }

  /** Calls that no answer will tell, since they were made before any of the open requests came (boot time). */
  giveUp(oldestOpenNs: number): Call[] {
    let count = 0;
    for (const { call } of this.#waiting) {
      if (call.request.startNs >= oldestOpenNs) break;
      count++;
    }
    return count === 0 ? [] : this.#waiting.splice(0, count).map(({ call }) => call);
  }

  #lastNs(task: number): number {
    return task === 0 ? 0 : (this.#answeredNs.get(task) ?? 0);
  }
}
