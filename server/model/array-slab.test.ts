import assert from "node:assert/strict";
import { test } from "node:test";
import { ArraySlab } from "./array-slab.ts";

test("what is taken from a slab is zeros that nobody else has", () => {
  const slab = new ArraySlab((length) => new Float64Array(length), 64);
  const taken: Float64Array[] = [];
  for (let i = 0; i < 200; i++) {
    const one = slab.take(i % 12);
    assert.equal(one.length, i % 12);
    assert.ok(one.every((value) => value === 0));
    taken.push(one.fill(i + 1));
  }
  for (const [i, one] of taken.entries()) assert.ok(one.every((value) => value === i + 1));
});

test("small arrays share a page, and longer ones have their own", () => {
  const slab = new ArraySlab((length) => new Uint8Array(length), 64);
  const [first, second, long] = [slab.take(8), slab.take(8), slab.take(9)];
  assert.equal(first.buffer, second.buffer);
  assert.equal(long.buffer.byteLength, 9);
});
