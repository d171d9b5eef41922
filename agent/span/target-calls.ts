/** Which of a process' calls it makes while it is asked nothing too: those of its timers and workers. */

/** Targets whose calls are told apart; the one seen first is forgotten beyond. */
const targetsMax = 512;
/** Share of calls to a target with no request open above which calls to it are taken for background work. */
const BACKGROUND_SHARE = 0.02;
/** So that a process that changes its ways is known by the later ones. */
const CALLS_HALVED_AT = 1000;

interface Calls {
  inside: number;
  outside: number;
}

/** Calls of one process by their target, as made inside or outside of requests. */
export class TargetCalls {
  readonly #targets = new Map<number, Calls>();

  /**
   * Counts a call, and says whether it may be background work.
   *
   * @param target Hash of where the call goes and what it asks.
   * @param isInside A request is open in the process.
   */
  isBackground(target: number, isInside: boolean): boolean {
    const calls = this.#callsTo(target);
    if (isInside) calls.inside += 1;
    else calls.outside += 1;
    const total = calls.inside + calls.outside;
    if (total >= CALLS_HALVED_AT) {
      calls.inside >>>= 1;
      calls.outside >>>= 1;
    }
    return calls.outside > BACKGROUND_SHARE * total;
  }

  #callsTo(target: number): Calls {
    const known = this.#targets.get(target);
    if (known !== undefined) return known;
    if (this.#targets.size >= targetsMax)
      for (const first of this.#targets.keys()) {
        this.#targets.delete(first);
        break;
      }
    const calls = { inside: 0, outside: 0 };
    this.#targets.set(target, calls);
    return calls;
  }
}
