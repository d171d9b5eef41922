import assert from "node:assert/strict";
import test from "node:test";
import { BodyCollector } from "./body-collector.ts";
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
  incoming("second", 3 * MIB);
  const late = new BodyRoom(budget);
  clock.ms = 1_999;
  assert.equal(late.holdRaw(5 * MIB), false, "they may be quick yet");
  clock.ms = 2_001;
  assert.ok(late.holdRaw(5 * MIB));
  assert.deepEqual(gone, ["first"]);
  assert.equal(budget.used, 8 * MIB + 10);
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
  incoming("whole too", MIB).end();
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
  assert.ok(new BodyRoom(budget).holdRaw(8 * MIB));
  assert.deepEqual(gone, ["large"]);
  large.release();
  assert.equal(budget.used, 8 * MIB);
});

test("ten bodies that tell no length take no more together than one that does", () => {
  const largeMax = 64 * MIB;
  const budget = new ByteBudget(192 * MIB, largeMax, 128 * MIB, () => 0);
  let bodies = Array.from({ length: 10 }, () => {
    const room = new BodyRoom(budget);
    room.begin(() => {});
    return { room, collector: new BodyCollector(largeMax, room) };
  });
  const piece = Buffer.alloc(64 * 1024);
  const faults: string[] = [];
  let most = 0;
  while (bodies.length > 0) {
    bodies = bodies.filter(({ room, collector }) => {
      const fault = collector.add(piece);
      most = Math.max(most, budget.used);
      if (fault === undefined) return true;
      faults.push(fault);
      collector.drop();
      room.release();
      return false;
    });
  }
  assert.ok(most <= largeMax, `${most / MIB} MiB`);
  assert.deepEqual(new Set(faults), new Set(["no_room", "too_large"]));
  assert.equal(faults.at(-1), "too_large", "the last one may become as large as any");
  assert.equal(budget.used, 0);
});

test("a body without a length keeps no more room than it needs once it is whole", () => {
  const budget = new ByteBudget(192 * MIB, 64 * MIB, 128 * MIB, () => 0);
  const room = new BodyRoom(budget);
  room.begin(() => {});
  const collector = new BodyCollector(64 * MIB, room);
  for (let piece = 0; piece < 5; piece++) assert.equal(collector.add(Buffer.alloc(MIB, piece)), undefined);
  const body = collector.take();
  assert.equal(body.length, 5 * MIB);
  assert.equal(body[4.5 * MIB], 4);
  assert.equal(budget.used, 5 * MIB);
});
