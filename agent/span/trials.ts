/**
 * Calls whose guessed parents wait for the rule that guesses them: the first calls of a process are made before any rule
 * has proved itself in it, and are right as often as the later ones.
 *
 * Invariants: in order of arrival, at most `waitingMax`; a call leaves once, with a parent of a proven rule or with none.
 * A call is held only while a rule that has a guess for it may still pass its first checks.
 */

import type { Evidence } from "./evidence.ts";

/** Calls of one process that wait; beyond, the oldest has no parent. */
const waitingMax = 512;

/** How long a call waits for a rule to prove itself, in nanoseconds. */
export const TRIAL_NS = 1e9;

/** What a rule says of a call. Where it says that no request made it, `request` is undefined. */
export interface Guess<Request, Reason> {
  readonly evidence: Evidence;
  readonly request: Request | undefined;
  readonly reason: Reason;
}

/** A call that left: with the guess of a proven rule, or without. */
export type Left<Request, Call, Reason> = (call: Call, proven: Guess<Request, Reason> | undefined) => void;

interface Waiting<Request, Call, Reason> {
  readonly call: Call;
  readonly guesses: readonly Guess<Request, Reason>[];
  readonly sinceNs: number;
}

/** Calls of one process. */
export class Trials<Request, Call, Reason> {
  readonly #left: Left<Request, Call, Reason>;
  #waiting: Waiting<Request, Call, Reason>[] = [];

  constructor(left: Left<Request, Call, Reason>) {
    this.#left = left;
  }

  /**
   * Holds a call where one of the guesses names a request and may still be proved.
   *
   * @param guesses First the rule that goes before the others.
   * @param nowNs Boot time.
   * @returns False where there is nothing to wait for.
   */
  hold(call: Call, guesses: readonly Guess<Request, Reason>[], nowNs: number): boolean {
    if (!guesses.some(({ request, evidence }) => request !== undefined && evidence.isOnTrial)) return false;
    this.#expire(nowNs);
    this.#waiting.push({ call, guesses, sinceNs: nowNs });
    return true;
  }

  /** Lets go of the calls that nothing is to be waited for any more. To be called once a rule is no more on trial. */
  judge(): void {
    const before = this.#waiting;
    this.#waiting = [];
    for (const waiting of before) {
      const { call, guesses } = waiting;
      const proven = guesses.find(({ evidence }) => evidence.isProven);
      if (proven !== undefined) this.#left(call, proven);
      else if (guesses.some(({ evidence }) => evidence.isOnTrial)) this.#waiting.push(waiting);
      else this.#left(call, undefined);
    }
  }

  #expire(nowNs: number): void {
    const isOver = (first: Waiting<Request, Call, Reason>) =>
      nowNs - first.sinceNs > TRIAL_NS || this.#waiting.length >= waitingMax;
    for (let first = this.#waiting[0]; first !== undefined && isOver(first); first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#left(first.call, undefined);
    }
  }
}
