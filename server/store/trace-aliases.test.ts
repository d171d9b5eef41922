import assert from "node:assert/strict";
import { test } from "node:test";
import { TraceAliases } from "./trace-aliases.ts";

test("ids that are one are told under each of them, the last that was joined to first", () => {
  const aliases = new TraceAliases();
  assert.deepEqual(aliases.membersOf("a"), ["a"]);
  aliases.join("a", "b");
  aliases.join("c", "d");
  aliases.join("a", "c");
  aliases.join("b", "a");
  for (const id of ["a", "b", "c", "d"]) assert.deepEqual([...aliases.membersOf(id)].sort(), ["a", "b", "c", "d"], id);
  assert.equal(aliases.membersOf("a")[0], "d");
  assert.deepEqual(aliases.membersOf("e"), ["e"]);
});

test("whatever the order and number of pairs, sets are those of their connections, up to a size", () => {
  let state = 5;
  const pick = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const aliases = new TraceAliases();
  const setOf = new Map<number, Set<number>>();
  for (let id = 0; id < 400; id++) setOf.set(id, new Set([id]));
  for (let pair = 0; pair < 260; pair++) {
    const [one, other] = [pick(400), pick(400)];
    const [left = new Set<number>(), right = new Set<number>()] = [setOf.get(one), setOf.get(other)];
    aliases.join(String(one), String(other));
    if (left === right || left.size + right.size > 64) continue;
    for (const id of left) right.add(id);
    for (const id of left) setOf.set(id, right);
  }
  for (const [id, members] of setOf) {
    assert.deepEqual([...aliases.membersOf(String(id))].sort(), [...members].map(String).sort());
  }
});
