/**
 * Keeps what capture costs within a budget: takes the dearest process one depth down while it is above, and one up again
 * where there is room for what that will cost. Pure: looks at measures, once a second, and says what to change.
 *
 * Invariants: one change a look. Nothing goes down before the mean of `overLooks` looks is above the budget, nor up before
 * the cost that is to be expected fits into `raiseShare` of it. A process that had to go down soon after it went up makes
 * the next time up wait longer.
 */

import { CAPTURE_DEPTHS, type CaptureDepth } from "../server/model/capture-event.ts";
import type { ProcessCalls } from "./capture/rung.ts";

/** Totals since the start, and the calls since the last look. */
export interface BudgetMeasure {
  readonly nowMs: number;
  /** CPU time of the agent's thread. */
  readonly workerMs: number;
  /** CPU time of the hooks, in whatever process they ran. */
  readonly hookMs: number;
  readonly calls: ReadonlyMap<number, ProcessCalls>;
}

/** One process goes to another depth. */
export interface DepthChange {
  readonly pid: number;
  readonly from: CaptureDepth;
  readonly to: CaptureDepth;
  /** What capture costs now, in cores. */
  readonly usedCores: number;
}

/** Looks before the first change: code is being compiled in them. */
const warmUpLooks = 5;
const overLooks = 3;
const raiseLooksMin = 5;
const raiseLooksMax = 80;
/** Going down so soon after going up was a mistake. */
const regretLooks = 30;
const raiseShare = 0.8;
/** A process that costs less than this share of the budget is not what makes capture dear. */
const worthShare = 0.05;
/** Calls a second from which the cost of one is learned. */
const learnCallsMin = 500;
const learnShare = 0.3;
/** Of the agent's work for a call, what is left where only heads are copied. */
const headsShare = 0.9;
/** Of a hook's work, what is left where a call is counted, or left out. */
const countedShare = 0.7;
const offShare = 0.2;

/** Decides on depths. */
export class CpuBudget {
  readonly coresMax: number;
  readonly #depths = new Map<number, CaptureDepth>();
  /** Of processes that were counted: the share of their calls that counting did not hold back. */
  readonly #uncounted = new Map<number, number>();
  /** Cores of the last looks. */
  #looks: number[] = [];
  #last: BudgetMeasure | undefined;
  #count = 0;
  #changedAt = 0;
  #raisedAt = Number.NEGATIVE_INFINITY;
  #raiseLooks = raiseLooksMin;
  /** Nanoseconds of the agent's thread and of a hook for one call. */
  #workerNs = 4000;
  #hookNs = 700;

  /** @param coresMax What capture may cost, in cores; Infinity for no limit. */
  constructor(coresMax: number) {
    this.coresMax = coresMax;
  }

  /** Processes that are not captured in full. */
  get depths(): ReadonlyMap<number, CaptureDepth> {
    return this.#depths;
  }

  /** Cores that capture cost on average of the last looks; 0 before the first. */
  get usedCores(): number {
    const sum = this.#looks.reduce((total, cores) => total + cores, 0);
    return this.#looks.length === 0 ? 0 : sum / this.#looks.length;
  }

  /** A process has ended. */
  exited(pid: number): void {
    this.#depths.delete(pid);
    this.#uncounted.delete(pid);
  }

  /** Takes a measure. @returns The change to be made now. */
  look(measure: BudgetMeasure): DepthChange | undefined {
    const last = this.#last;
    this.#last = measure;
    if (last === undefined || measure.nowMs <= last.nowMs) return undefined;
    const ms = measure.nowMs - last.nowMs;
    const workerMs = measure.workerMs - last.workerMs;
    const hookMs = measure.hookMs - last.hookMs;
    this.#looks.push((workerMs + hookMs) / ms);
    if (this.#looks.length > overLooks) this.#looks.shift();
    this.#count += 1;
    this.#learn(measure.calls, workerMs, hookMs, ms);
    if (this.#count < warmUpLooks) return undefined;
    const usedCores = this.usedCores;
    const sinceChange = this.#count - this.#changedAt;
    if (usedCores > this.coresMax)
      return sinceChange >= overLooks ? this.#lower(measure.calls, ms, usedCores) : undefined;
    if (sinceChange < this.#raiseLooks) return undefined;
    if (sinceChange > raiseLooksMax) this.#raiseLooks = raiseLooksMin;
    return this.#raise(measure.calls, ms, usedCores);
  }

  #learn(calls: ReadonlyMap<number, ProcessCalls>, workerMs: number, hookMs: number, ms: number): void {
    let captured = 0;
    let all = 0;
    for (const [pid, each] of calls) {
      const sum = each.captured + each.heldBack;
      captured += each.captured;
      all += sum;
      if (sum > 0 && this.#depths.get(pid) === "counted") this.#uncounted.set(pid, each.captured / sum);
    }
    const enough = (learnCallsMin * ms) / 1000;
    if (captured >= enough) this.#workerNs += learnShare * ((workerMs * 1e6) / captured - this.#workerNs);
    if (captured >= enough && all < captured * 1.1) this.#hookNs += learnShare * ((hookMs * 1e6) / all - this.#hookNs);
  }

  #lower(calls: ReadonlyMap<number, ProcessCalls>, ms: number, usedCores: number): DepthChange | undefined {
    let dearest: number | undefined;
    let most = this.coresMax * worthShare;
    for (const [pid, each] of calls) {
      const depth = this.#depths.get(pid) ?? "full";
      if (depth === "off") continue;
      const ns = each.captured * (this.#workerNs + this.#hookNs) + each.heldBack * this.#hookNs * countedShare;
      const cores = ns / 1e6 / ms;
      if (cores <= most) continue;
      most = cores;
      dearest = pid;
    }
    if (dearest === undefined) return undefined;
    if (this.#count - this.#raisedAt <= regretLooks) this.#raiseLooks = Math.min(2 * this.#raiseLooks, raiseLooksMax);
    return this.#change(dearest, 1, usedCores);
  }

  #raise(calls: ReadonlyMap<number, ProcessCalls>, ms: number, usedCores: number): DepthChange | undefined {
    let cheapest: number | undefined;
    let least = raiseShare * this.coresMax - usedCores;
    for (const [pid, depth] of this.#depths) {
      const each = calls.get(pid);
      const rate = each === undefined ? 0 : (each.captured + each.heldBack) / ms;
      const above = CAPTURE_DEPTHS[CAPTURE_DEPTHS.indexOf(depth) - 1] ?? "full";
      const cores = (rate * (this.#callNs(pid, above) - this.#callNs(pid, depth))) / 1e6;
      if (cores > least) continue;
      least = cores;
      cheapest = pid;
    }
    if (cheapest === undefined) return undefined;
    this.#raisedAt = this.#count;
    return this.#change(cheapest, -1, usedCores);
  }

  /** What a call costs at a depth, as far as it can be told beforehand. */
  #callNs(pid: number, depth: CaptureDepth): number {
    const fullNs = this.#workerNs + this.#hookNs;
    const uncounted = this.#uncounted.get(pid) ?? 0;
    switch (depth) {
      case "full":
        return fullNs;
      case "heads":
        return headsShare * fullNs;
      case "counted":
        return uncounted * fullNs + (1 - uncounted) * countedShare * this.#hookNs;
      case "off":
        return offShare * this.#hookNs;
    }
  }

  #change(pid: number, step: 1 | -1, usedCores: number): DepthChange {
    const from = this.#depths.get(pid) ?? "full";
    const to = CAPTURE_DEPTHS[CAPTURE_DEPTHS.indexOf(from) + step] ?? from;
    if (to === "full") this.exited(pid);
    else this.#depths.set(pid, to);
    this.#changedAt = this.#count;
    return { pid, from, to, usedCores };
  }
}
