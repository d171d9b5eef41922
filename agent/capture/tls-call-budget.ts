/** How many calls of TLS libraries a process may make a second, and for how long it has no probes once it made more. */

import type { Native } from "../../bpf/native.ts";

/** Calls a second that a process may make; a call costs it some microseconds, ten on nested virtual machines. */
const callsPerSecondMax = 5000;
/** Looks above the budget, one after the other, before the probes are taken off. */
const looksOverMax = 2;
/** Until the probes of a process that was over its budget are tried again; doubled each time. */
const pauseFirstMs = 30_000;
const pauseMsMax = 600_000;

/** Budget of one process. */
export interface CallBudget {
  /** Calls until the last look. */
  calls: number;
  looksOver: number;
  /** At the look that took its probes off. */
  callsPerSecond: number;
  /** Milliseconds; undefined while it has probes. */
  pausedUntilMs: number | undefined;
  pauseMs: number;
}

/** Where calls are counted, and what differs from the usual. */
export interface CallBudgetsOptions {
  readonly native: Native;
  /** Descriptor of the map in which the kernel counts calls, by process. */
  readonly rates: number;
  readonly callsPerSecondMax?: number | undefined;
  /** Until a process that was over its budget is tried again, the first time. */
  readonly pauseMs?: number | undefined;
}

/** Budgets by what the kernel counts. */
export class CallBudgets {
  readonly #native: Native;
  readonly #rates: number;
  readonly #pauseMs: number;
  /** Calls of libraries that a process may make in a second. */
  readonly callsPerSecondMax: number;

  constructor(options: CallBudgetsOptions) {
    this.#native = options.native;
    this.#rates = options.rates;
    this.callsPerSecondMax = options.callsPerSecondMax ?? callsPerSecondMax;
    this.#pauseMs = options.pauseMs ?? pauseFirstMs;
  }

  /** The budget of a process that has made no call. */
  begin(): CallBudget {
    return { calls: 0, looksOver: 0, callsPerSecond: 0, pausedUntilMs: undefined, pauseMs: this.#pauseMs };
  }

  /** Looks at the calls of the last `sinceMs`. @returns Whether they were too many, more than once. */
  isOver(pid: number, budget: CallBudget, sinceMs: number): boolean {
    const calls = this.#callsOf(pid);
    const callsPerSecond = Math.round(((calls - budget.calls) * 1000) / sinceMs);
    budget.calls = calls;
    if (callsPerSecond <= this.callsPerSecondMax) {
      budget.looksOver = 0;
      return false;
    }
    budget.looksOver++;
    if (budget.looksOver < looksOverMax) return false;
    budget.looksOver = 0;
    budget.callsPerSecond = callsPerSecond;
    return true;
  }

  /** The probes are taken off for a while, for twice as long the next time. */
  pause(budget: CallBudget, nowMs: number): void {
    budget.pausedUntilMs = nowMs + budget.pauseMs;
    budget.pauseMs = Math.min(budget.pauseMs * 2, pauseMsMax);
  }

  /** The process has probes again. */
  resume(pid: number, budget: CallBudget): void {
    budget.pausedUntilMs = undefined;
    budget.calls = this.#callsOf(pid);
  }

  /** A process is gone. */
  forget(pid: number): void {
    this.#native.mapDelete(this.#rates, new Uint8Array(Uint32Array.of(pid).buffer));
  }

  #callsOf(pid: number): number {
    try {
      const bytes = this.#native.mapLookup(this.#rates, pid);
      return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return 0;
      throw error;
    }
  }
}
