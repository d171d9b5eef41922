import assert from "node:assert/strict";
import { test } from "node:test";
import { workerCount } from "./start-promql.ts";

test("workerCount: what is asked for, else by cores, as far as memory goes", () => {
  const gib = 2 ** 30;
  assert.equal(workerCount(1, 64, 64 * gib), 1);
  assert.equal(workerCount(0, 2, 24 * gib), 4);
  assert.equal(workerCount(0, 6, 24 * gib), 6);
  assert.equal(workerCount(0, 64, 64 * gib), 8);
  assert.equal(workerCount(0, 64, 1.5 * gib), 3);
  assert.equal(workerCount(0, 64, gib / 4), 2);
});
