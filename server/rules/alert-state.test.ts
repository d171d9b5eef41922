import assert from "node:assert/strict";
import { test } from "node:test";
import { type AlertFinding, AlertState, needsSending, SAME_LABELSET } from "./alert-state.ts";
import { restoredActiveAtMs } from "./restored-alert.ts";
import { ruleSlots, slotBefore } from "./rule-slots.ts";

const MINUTE = 60_000;
const A: AlertFinding = { labels: [["a", "1"]], annotations: [], value: 1 };
const B: AlertFinding = { labels: [["a", "2"]], annotations: [], value: 1 };

function states(state: AlertState): string[] {
  return state.alerts.map((alert) => `${alert.labels[0]?.[1]} ${alert.state}`);
}

test("an alert is pending as long as `for` says, then fires, and is kept a while after it ended", () => {
  const state = new AlertState();
  const times = { holdMs: 2 * MINUTE, keepFiringMs: 0 };
  const at = (minute: number, ...found: AlertFinding[]) => state.update(found, minute * MINUTE, times, 0);
  assert.equal(at(0, A).length, 1);
  assert.deepEqual(states(state), ["1 pending"]);
  at(1, A);
  assert.deepEqual(states(state), ["1 pending"]);
  at(2, A, B);
  assert.deepEqual(states(state), ["1 firing", "2 pending"]);
  assert.equal(state.alerts[0]?.firedAtMs, 2 * MINUTE);
  assert.equal(at(3, A).length, 1);
  assert.deepEqual(states(state), ["1 firing"], "a pending alert that ends is forgotten");
  assert.equal(at(4).length, 0);
  assert.deepEqual(states(state), ["1 inactive"]);
  at(19);
  assert.deepEqual(states(state), ["1 inactive"]);
  at(20);
  assert.deepEqual(states(state), []);
});

test("an alert that comes again after it ended starts anew", () => {
  const state = new AlertState();
  const times = { holdMs: MINUTE, keepFiringMs: 0 };
  for (const minute of [0, 1]) state.update([A], minute * MINUTE, times, 0);
  state.update([], 2 * MINUTE, times, 0);
  state.update([A], 3 * MINUTE, times, 0);
  assert.deepEqual(states(state), ["1 pending"]);
  assert.equal(state.alerts[0]?.activeAtMs, 3 * MINUTE);
});

test("keep_firing_for bridges gaps", () => {
  const state = new AlertState();
  const times = { holdMs: 0, keepFiringMs: 3 * MINUTE };
  const at = (minute: number, ...found: AlertFinding[]) => {
    state.update(found, minute * MINUTE, times, 0);
    return states(state);
  };
  assert.deepEqual(at(0, A), ["1 firing"]);
  assert.deepEqual(at(1), ["1 firing"]);
  assert.deepEqual(at(3), ["1 firing"]);
  assert.deepEqual(at(3.5, A), ["1 firing"]);
  assert.equal(state.alerts[0]?.keepFiringSinceMs, undefined);
  assert.deepEqual(at(4), ["1 firing"]);
  assert.deepEqual(at(7), ["1 inactive"]);
});

test("a limit forgets all alerts, and two alerts with one labelset are refused", () => {
  const state = new AlertState();
  const times = { holdMs: 0, keepFiringMs: 0 };
  assert.throws(() => state.update([A, B], 0, times, 1), { message: "exceeded limit of 1 with 2 alerts" });
  assert.deepEqual(states(state), []);
  assert.throws(() => state.update([A, A], 0, times, 0), { message: SAME_LABELSET });
});

test("a firing alert is sent at once, again after a while, and when it ended", () => {
  const state = new AlertState();
  const times = { holdMs: 0, keepFiringMs: 0 };
  state.update([A], 0, times, 0);
  const [alert] = state.alerts;
  assert.ok(alert !== undefined);
  assert.equal(needsSending(alert, 0, MINUTE), true);
  alert.lastSentMs = 0;
  assert.equal(needsSending(alert, MINUTE, MINUTE), false);
  assert.equal(needsSending(alert, MINUTE + 1, MINUTE), true);
  alert.lastSentMs = MINUTE;
  state.update([], MINUTE + 1, times, 0);
  assert.equal(needsSending(alert, MINUTE + 1, MINUTE), true);
});

test("an outage counts neither for nor against an alert", () => {
  const grace = 10 * MINUTE;
  const restored = (seen: number, hold: number, now: number) =>
    restoredActiveAtMs({ seenMs: seen * MINUTE, activeAtMs: 0 }, hold * MINUTE, now * MINUTE, grace);
  assert.equal(restored(30, 20, 60), 0, "it was firing");
  assert.equal(restored(5, 60, 25), 20 * MINUTE, "the outage is taken out");
  assert.equal(restored(55, 60, 75), 25 * MINUTE, "ten minutes are left at least");
  assert.equal(restored(2, 5, 20), undefined, "short holds start anew");
});

/** Files, groups and intervals with the slot before the time below, as Prometheus 3.16 gives it. */
const SLOTS: readonly (readonly [string, string, number, number])[] = [
  ["rules.yml", "a", 60_000, 1_699_999_966_543],
  ["/etc/prometheus/rules/x.yml", "node exporter", 30_000, 1_699_999_991_659],
  ["é.yml", "", 15_000, 1_699_999_995_283],
  ["r", "g", 86_400_000, 1_699_949_378_243],
];

test("groups are due when Prometheus' are", () => {
  for (const [file, name, intervalMs, slot] of SLOTS) {
    assert.equal(slotBefore(ruleSlots(file, name, intervalMs), 1_700_000_000_000), slot, `${file} ${name}`);
  }
});
