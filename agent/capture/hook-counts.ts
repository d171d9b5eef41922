/** What the hooks of a rung inside the kernel counted, and what a rung tells of it: `seen = delivered + lost`. */

import type { Attached, Native } from "../../bpf/native.ts";
import { type ProbeCounters, readCounters } from "./probe-event.ts";
import type { RungCounters } from "./rung.ts";
import { fdOf, HOOKS, type KernelRung } from "./socket-probes.ts";

/** By name of the program: its runs at calls, and their time where the kernel measures it. */
export type HookStats = Readonly<Record<string, { readonly runs: number; readonly ns: number }>>;

/** What the kernel says at one moment. */
export interface HookCounts {
  readonly counters: ProbeCounters;
  /** Calls for which a hook did not run, since it was running already. */
  readonly misses: number;
  readonly hooks: HookStats;
}

/** Asks the kernel, which has to have the programs still. */
export function readHookCounts(native: Native, { maps, programs }: Attached, rung: KernelRung): HookCounts {
  const counters = readCounters(native.mapLookup(fdOf(maps, "counters"), 0));
  const hooks: Record<string, { runs: number; ns: number }> = {};
  let misses = 0;
  for (const name of HOOKS[rung]) {
    const program = programs[name];
    if (program === undefined) continue;
    const stats = native.programStats(program);
    misses += Number(stats.recursionMisses);
    hooks[name] = { runs: Number(stats.runs), ns: Number(stats.runNs) };
  }
  return { counters, misses, hooks };
}

/** What came out of the rings. */
export interface TakenCalls {
  /** Calls taken from the data ring. */
  readonly drained: number;
  /** Those among them of sockets whose opening was lost. */
  readonly unknown: number;
  /** Calls inside of TLS: taken, and lost since their ring was full; undefined where they are not read. */
  readonly tls: { readonly taken: number; readonly lostRingFull: number } | undefined;
}

/** Every call seen so far, as delivered or as lost by reason. What lies in the ring, or is under way, is not seen yet. */
export function callsOf({ counters, misses }: HookCounts, taken: TakenCalls): Omit<RungCounters, "connections"> {
  const { drained, unknown, tls } = taken;
  const lost = {
    ring_full: counters.calls_lost_ring_full,
    control_full: counters.calls_lost_control_full,
    no_memory: counters.calls_lost_no_memory,
    nested: counters.calls_lost_nested + misses,
    unknown_socket: unknown,
    budget: counters.calls_lost_budget,
    ...(tls === undefined ? {} : { tls_ring_full: tls.lostRingFull }),
  };
  const inRing = counters.calls_submitted - drained;
  const kernelLost = lost.ring_full + lost.control_full + lost.no_memory + counters.calls_lost_nested + lost.budget;
  const underWay = counters.calls_seen - counters.calls_submitted - counters.calls_counted - kernelLost;
  const tlsSeen = tls === undefined ? 0 : tls.taken + tls.lostRingFull;
  return {
    seen: counters.calls_seen + misses - inRing - Math.max(0, underWay) + tlsSeen,
    delivered: drained - unknown + counters.calls_counted + (tls?.taken ?? 0),
    lost,
  };
}
