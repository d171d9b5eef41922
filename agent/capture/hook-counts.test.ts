import assert from "node:assert/strict";
import { test } from "node:test";
import { callsOf, type HookCounts, type TakenCalls } from "./hook-counts.ts";
import { readCounters } from "./probe-event.ts";

/** Counts of a kernel that saw nothing but what is told. */
function counts(told: Readonly<Record<string, number>>, misses = 0): HookCounts {
  return { counters: { ...readCounters(new Uint8Array(0)), ...told }, misses, hooks: {} };
}

const NOTHING: TakenCalls = { drained: 0, unknown: 0, tls: undefined };

function sumOf(lost: Readonly<Record<string, number>>): number {
  return Object.values(lost).reduce((sum, count) => sum + count, 0);
}

test("what lies in the ring or is being worked on is not seen yet", () => {
  const kernel = counts({ calls_seen: 10, calls_submitted: 7, calls_counted: 1 });
  assert.deepEqual(
    [callsOf(kernel, { ...NOTHING, drained: 4 }).seen, callsOf(kernel, { ...NOTHING, drained: 7 }).seen],
    [5, 8],
  );
});

test("each call seen is delivered, or lost for a reason", () => {
  const lostInKernel = {
    calls_lost_ring_full: 1,
    calls_lost_control_full: 2,
    calls_lost_no_memory: 3,
    calls_lost_nested: 4,
    calls_lost_budget: 5,
  };
  const kernel = counts({ ...lostInKernel, calls_seen: 40, calls_submitted: 20, calls_counted: 5 }, 6);
  const { seen, delivered, lost } = callsOf(kernel, { drained: 20, unknown: 7, tls: { taken: 3, lostRingFull: 2 } });
  assert.equal(delivered, 20 - 7 + 5 + 3);
  assert.deepEqual(lost, {
    ring_full: 1,
    control_full: 2,
    no_memory: 3,
    nested: 10,
    unknown_socket: 7,
    budget: 5,
    tls_ring_full: 2,
  });
  assert.equal(seen, delivered + sumOf(lost));
});
