import assert from "node:assert/strict";
import { test } from "node:test";
import { NumberMap } from "./number-map.ts";

/** The same numbers in each run. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
}

test("a number map says what a Map says, whatever comes and goes", () => {
  const random = randomNumbers(7);
  for (const spread of [50, 2000, 2 ** 32]) {
    const map = new NumberMap<number>();
    const plain = new Map<number, number>();
    for (let step = 0; step < 20_000; step++) {
      // The upper half of a key counts, too.
      const key = (random() % spread) * 0x1f_ffff + (random() & 1);
      if (random() % 3 === 0) assert.equal(map.delete(key), plain.delete(key));
      else {
        map.set(key, step);
        plain.set(key, step);
      }
      assert.equal(map.size, plain.size);
      assert.equal(map.get(key), plain.get(key));
    }
    for (const [key, value] of plain) assert.equal(map.get(key), value);
  }
});

test("the ends of the range are keys", () => {
  const map = new NumberMap<string>();
  map.set(0, "least");
  map.set(2 ** 53, "most");
  assert.equal(map.get(0), "least");
  assert.equal(map.get(2 ** 53), "most");
  assert.equal(map.delete(0), true);
  assert.equal(map.delete(0), false);
  assert.equal(map.get(2 ** 53), "most");
});

test("a map with a maximum forgets all for one more, and goes on", () => {
  const map = new NumberMap<number>(100);
  for (let key = 0; key < 100; key++) map.set(key, key);
  map.set(7, 70);
  assert.deepEqual([map.size, map.get(7), map.get(99)], [100, 70, 99]);
  map.set(100, 1);
  assert.deepEqual([map.size, map.get(7), map.get(100)], [1, undefined, 1]);
});
