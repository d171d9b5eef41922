import assert from "node:assert/strict";
import { test } from "node:test";
import { QueryCells } from "./query-cells.ts";

test("cells: each worker writes its own, all are added up, the largest is told that it is", () => {
  const cells = new QueryCells(3);
  const other = new QueryCells(cells.buffer); // as another thread has it
  assert.deepEqual(cells.holdValues(0, 10), { total: 10, isLargest: true });
  assert.deepEqual(other.holdValues(2, 5), { total: 15, isLargest: false });
  assert.deepEqual(other.holdValues(2, 11), { total: 21, isLargest: true });
  assert.equal(cells.values, 21);
  assert.deepEqual(cells.holdHeap(1, 5000), { total: 4096, isLargest: true });
  cells.stop(1, 42);
  assert.ok(other.isStopped(1, 42) && !other.isStopped(1, 41) && !other.isStopped(0, 42));
  cells.clear(2);
  assert.deepEqual([cells.values, cells.holdHeap(0, 1024).total], [10, 5120]);
});
