/** When a group is evaluated: at multiples of its interval, moved by an offset that its name gives. */

import { xxh64OfLabels } from "../query/promql/label-hash.ts";

const NANOSECONDS = 1_000_000n;

/** Slots of one group. */
export interface RuleSlots {
  readonly intervalMs: number;
  /** Below the interval; the same as Prometheus gives the group of that name in that file. */
  readonly offsetNs: bigint;
}

/** The slots of a group. */
export function ruleSlots(file: string, name: string, intervalMs: number): RuleSlots {
  const hash = xxh64OfLabels([
    ["file", file],
    ["name", name],
  ]);
  return { intervalMs, offsetNs: hash % (BigInt(intervalMs) * NANOSECONDS) };
}

/** The last slot at or before a time, in Unix milliseconds, cut. */
export function slotBefore({ intervalMs, offsetNs }: RuleSlots, nowMs: number): number {
  const moved = BigInt(nowMs) * NANOSECONDS - offsetNs;
  const intervalNs = BigInt(intervalMs) * NANOSECONDS;
  const slot = moved - (moved % intervalNs) + offsetNs;
  return Number(slot / NANOSECONDS);
}
