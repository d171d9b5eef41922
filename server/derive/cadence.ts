/**
 * When the series of one group (one RED key, one edge) are written as samples.
 *
 * A group's first sample is a 0 just before it was born, so that `increase()` sees the first calls. Then it is
 * written at every flush that finds it changed, and otherwise often enough for Prometheus' look-back of 5 minutes.
 */

import type { SampleToAppend } from "../model/series.ts";

/** A group that did not change is written again after so long. */
const REWRITE_AFTER_MS = 50_000;

/** State of one group. */
export interface Cadence {
  bornMs: number;
  /** The zeros before its first values are stored. */
  zeroed: boolean;
  changed: boolean;
  changedMs: number;
  writtenMs: number;
}

/** Anything that is written as samples. */
export interface Cadenced {
  readonly cadence: Cadence;
}

/** Appends the samples of one group; `zero`: all of them 0. */
export type PushSamples<T> = (group: T, out: SampleToAppend[], timestampMs: number, zero: boolean) => void;

/** The cadence of a series that appears now, Unix milliseconds; its first flush writes it. */
export function bornAt(nowMs: number): Cadence {
  return { bornMs: nowMs, zeroed: false, changed: true, changedMs: nowMs, writtenMs: Number.NEGATIVE_INFINITY };
}

/** Cadence of a group that was restored: known, and due at the next flush. */
export function restoredAt(nowMs: number, bornMs: number, zeroed: boolean): Cadence {
  return { bornMs, zeroed, changed: true, changedMs: nowMs, writtenMs: Number.NEGATIVE_INFINITY };
}

/** Notes that a series changed, so that the next flush writes it. */
export function markChanged(cadence: Cadence, nowMs: number): void {
  cadence.changed = true;
  cadence.changedMs = nowMs;
}

/** Appends the zeros of at most `groupsMax` groups that were never written; mark their cadence `zeroed` once these are stored. */
export function pushZeros<T extends Cadenced>(
  groups: Iterable<T>,
  push: PushSamples<T>,
  nowMs: number,
  out: SampleToAppend[],
  groupsMax: number,
): Cadence[] {
  const fresh: Cadence[] = [];
  for (const group of groups) {
    if (fresh.length >= groupsMax) break;
    if (group.cadence.zeroed) continue;
    fresh.push(group.cadence);
    push(group, out, Math.min(group.cadence.bornMs, nowMs) - 1, true);
  }
  return fresh;
}

/** Appends the values of groups that are due and have their zeros. */
export function pushDue<T extends Cadenced>(
  groups: Iterable<T>,
  push: PushSamples<T>,
  nowMs: number,
  out: SampleToAppend[],
): void {
  for (const group of groups) {
    const { cadence } = group;
    if (!cadence.zeroed || !(cadence.changed || nowMs - cadence.writtenMs >= REWRITE_AFTER_MS)) continue;
    cadence.changed = false;
    cadence.writtenMs = nowMs;
    push(group, out, nowMs, false);
  }
}

/** Makes groups due at the next flush. */
export function markAllUnwritten(groups: Iterable<Cadenced>): void {
  for (const { cadence } of groups) cadence.writtenMs = Number.NEGATIVE_INFINITY;
}
