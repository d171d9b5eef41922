import assert from "node:assert/strict";
import test from "node:test";
import { leaseBatch, releaseBatch, retainBatch, shareLease } from "./batch-lease.ts";
import { EMPTY_SPAN, SpanBatchBuilder } from "./span-batch-builder.ts";

function batchIn(buffer: ArrayBuffer) {
  const builder = new SpanBatchBuilder();
  const resource = builder.addResource({ service: "s", instance: "", attributes: [] });
  const scope = builder.addScope({ name: "", version: "" });
  builder.append({ ...EMPTY_SPAN, resource, scope, spanId: 1n });
  return { ...builder.seal(), spanId: new BigUint64Array(buffer) };
}

test("the last holder frees a batch", () => {
  const batch = batchIn(new ArrayBuffer(8));
  leaseBatch(batch, batch.spanId.buffer);
  retainBatch(batch);
  releaseBatch(batch);
  assert.equal(batch.spanId.length, 1);
  releaseBatch(batch);
  assert.equal(batch.spanId.length, 0);
  releaseBatch(batch);
});

test("a batch that is not leased stays", () => {
  const batch = batchIn(new ArrayBuffer(8));
  retainBatch(batch);
  releaseBatch(batch);
  releaseBatch(batch);
  assert.equal(batch.spanId.length, 1);
});

test("a batch that shares memory with another holds it too", () => {
  const batch = batchIn(new ArrayBuffer(8));
  leaseBatch(batch, batch.spanId.buffer);
  const derived = { ...batch };
  shareLease(batch, derived);
  retainBatch(derived);
  releaseBatch(batch);
  assert.equal(derived.spanId.length, 1);
  releaseBatch(derived);
  assert.equal(derived.spanId.length, 0);
  releaseBatch(batch);
});
