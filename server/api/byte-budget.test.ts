import assert from "node:assert/strict";
import test from "node:test";
import { BodyRoom, ByteBudget } from "./byte-budget.ts";

const MIB = 2 ** 20;

/** A budget for 8 MiB of large bodies and 4 MiB of small ones, with a clock to be set. */
function budgetOf() {
  const clock = { ms: 0 };
  const budget = new ByteBudget(12 * MIB, 8 * MIB, 4 * MIB, () => clock.ms);
  const gone: string[] = [];
  const incoming = (name: string, bytes: number) => {
    const room = new BodyRoom(budget);
    room.begin(() => gone.push(name));
    assert.ok(room.holdRaw(bytes), name);
    return room;
  };
  return { budget, clock, gone, incoming };
}

test("who came to a halt gives way, the slowest first, and no more than are needed", () => {
  const { budget, clock, gone, incoming } = budgetOf();
  incoming("small", 10);
  incoming("first", 5 * MIB);
  incoming("second", 4 * MIB);
  const late = new BodyRoom(budget);
  clock.ms = 1_999;
  assert.equal(late.holdRaw(6 * MIB), false, "they may be quick yet");
  clock.ms = 2_001;
  assert.ok(late.holdRaw(6 * MIB));
  assert.deepEqual(gone, ["first"]);
  assert.equal(budget.used, 10 * MIB + 10);
});

test("none gives way where all of them were not enough", () => {
  const { budget, clock, gone, incoming } = budgetOf();
  const whole = incoming("whole", 5 * MIB);
  whole.end();
  incoming("halted", 2 * MIB);
  clock.ms = 60_000;
  assert.equal(new BodyRoom(budget).holdRaw(6 * MIB), false);
  assert.deepEqual(gone, []);
});

test("who sends a 32nd of what it holds every two seconds stays", () => {
  const { budget, clock, gone, incoming } = budgetOf();
  const steady = incoming("steady", 8 * MIB);
  const slow = incoming("slow", MIB);
  incoming("whole", MIB).end();
  for (clock.ms = 1_000; clock.ms <= 30_000; clock.ms += 1_000) {
    steady.comes(MIB / 8);
    slow.comes(MIB / 128);
  }
  assert.equal(new BodyRoom(budget).holdRaw(3 * MIB), false, "all large ones are steady");
  assert.deepEqual(gone, []);
  assert.ok(new BodyRoom(budget).holdRaw(MIB), "small ones have room of their own");
  assert.ok(new BodyRoom(budget).holdRaw(10), "the slow one gave way");
  assert.deepEqual(gone, ["slow"]);
});

test("a body never gives way to itself, and gives everything back once", () => {
  const { budget, clock, gone, incoming } = budgetOf();
  const large = incoming("large", 8 * MIB);
  clock.ms = 5_000;
  assert.equal(large.holdRaw(13 * MIB), false);
  assert.deepEqual(gone, []);
  assert.ok(new BodyRoom(budget).holdRaw(9 * MIB));
  assert.deepEqual(gone, ["large"]);
  large.release();
  assert.equal(budget.used, 9 * MIB);
});
