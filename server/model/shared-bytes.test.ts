import assert from "node:assert/strict";
import { test } from "node:test";
import { isSharedBytes, releaseSharedBytes, takeSharedBytes } from "./shared-bytes.ts";

test("bytes come back once they are released, and not before", () => {
  const first = takeSharedBytes(300_000);
  assert.equal(first.length, 300_000);
  assert.equal(isSharedBytes(first), true);
  const second = takeSharedBytes(300_000);
  assert.notEqual(second.buffer, first.buffer);
  releaseSharedBytes(first);
  const third = takeSharedBytes(100);
  assert.equal(third.buffer, first.buffer);
  releaseSharedBytes(second);
  releaseSharedBytes(third);
});

test("of free buffers the smallest that is long enough is taken", () => {
  const [large, small] = [takeSharedBytes(5_000_000), takeSharedBytes(400_000)];
  releaseSharedBytes(large);
  releaseSharedBytes(small);
  assert.equal(takeSharedBytes(400_000).buffer, small.buffer);
});

test("more than is kept is the caller's own, and nothing is kept beyond the limit", () => {
  const own = takeSharedBytes(40 * 2 ** 20);
  assert.equal(isSharedBytes(own), false);
  releaseSharedBytes(own);
  const many = Array.from({ length: 5 }, () => takeSharedBytes(10 * 2 ** 20));
  for (const one of many) releaseSharedBytes(one);
  const known = new Set(many.map(({ buffer }) => buffer));
  const again = Array.from({ length: 5 }, () => takeSharedBytes(10 * 2 ** 20));
  assert.equal(again.filter(({ buffer }) => known.has(buffer)).length, 2);
});
