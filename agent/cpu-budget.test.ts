import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProcessCalls } from "./capture/rung.ts";
import { CpuBudget, type DepthChange } from "./cpu-budget.ts";

const WORKER_NS = 5000;
const HOOK_NS = 600;

/** A machine whose capture costs what the depths of its processes make it cost. */
class Machine {
  readonly budget: CpuBudget;
  readonly changes: DepthChange[] = [];
  #nowMs = 0;
  #workerMs = 0;
  #hookMs = 0;

  constructor(coresMax: number) {
    this.budget = new CpuBudget(coresMax);
  }

  /** Some seconds of so many calls a second by process; those of `uncountable` are never held back by counting. */
  run(seconds: number, rates: Readonly<Record<number, number>>, uncountable: readonly number[] = []): void {
    for (let second = 0; second < seconds; second++) {
      this.#nowMs += 1000;
      const calls = new Map<number, ProcessCalls>();
      for (const [key, rate] of Object.entries(rates)) {
        const pid = Number(key);
        const depth = this.budget.depths.get(pid) ?? "full";
        const isHeld = depth === "off" || (depth === "counted" && !uncountable.includes(pid));
        calls.set(pid, { captured: isHeld ? 0 : rate, heldBack: isHeld ? rate : 0 });
        this.#workerMs += isHeld ? 0 : (rate * WORKER_NS) / 1e6;
        this.#hookMs += (rate * HOOK_NS * (depth === "off" ? 0.2 : isHeld ? 0.7 : 1)) / 1e6;
      }
      const { budget } = this;
      const change = budget.look({ nowMs: this.#nowMs, workerMs: this.#workerMs, hookMs: this.#hookMs, calls });
      if (change !== undefined) this.changes.push(change);
    }
  }

  get steps(): string[] {
    return this.changes.map(({ pid, from, to }) => `${pid} ${from}>${to}`);
  }
}

test("within the budget nothing changes", () => {
  const machine = new Machine(0.3);
  machine.run(60, { 1: 20_000, 2: 20_000 });
  assert.deepEqual(machine.steps, []);
  assert.ok(Math.abs(machine.budget.usedCores - 0.224) < 0.001);
});

test("no limit", () => {
  const machine = new Machine(Number.POSITIVE_INFINITY);
  machine.run(30, { 1: 1_000_000 });
  assert.deepEqual(machine.steps, []);
});

test("the dearest goes down step by step until the cost fits, and stays there", () => {
  const machine = new Machine(0.3);
  machine.run(60, { 1: 100_000, 2: 10_000 });
  assert.deepEqual(machine.steps, ["1 full>heads", "1 heads>counted"]);
  assert.ok(machine.budget.usedCores < 0.3);
});

test("the next one follows, and what is not counted goes off", () => {
  const machine = new Machine(0.1);
  machine.run(60, { 1: 100_000, 2: 30_000 }, [2]);
  assert.deepEqual(
    new Set(machine.steps),
    new Set(["1 full>heads", "1 heads>counted", "2 full>heads", "2 heads>counted", "2 counted>off"]),
  );
});

test("a short burst changes nothing", () => {
  const machine = new Machine(0.3);
  machine.run(20, { 1: 1000 });
  machine.run(1, { 1: 100_000 });
  machine.run(20, { 1: 1000 });
  assert.deepEqual(machine.steps, []);
});

test("it is undone when the load falls, also to nothing", () => {
  for (const after of [{ 1: 5000 }, {}] as const) {
    const machine = new Machine(0.3);
    machine.run(30, { 1: 100_000 });
    machine.changes.length = 0;
    machine.run(30, after);
    assert.deepEqual(machine.steps, ["1 counted>heads", "1 heads>full"]);
    assert.equal(machine.budget.depths.size, 0);
  }
});

test("a load that hovers about the budget does not flap", () => {
  const machine = new Machine(0.3);
  for (let turn = 0; turn < 60; turn++) machine.run(10, { 1: turn % 2 === 0 ? 70_000 : 30_000 });
  assert.ok(machine.changes.length < 40, machine.steps.join(" "));
});

test("a process that ended is forgotten", () => {
  const machine = new Machine(0.3);
  machine.run(30, { 1: 100_000 });
  machine.budget.exited(1);
  assert.equal(machine.budget.depths.size, 0);
});
