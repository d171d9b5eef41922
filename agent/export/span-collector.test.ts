import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageChannel } from "node:worker_threads";
import type { Resource, SpanBatch } from "../../server/model/span-batch.ts";
import { EMPTY_SPAN } from "../../server/model/span-batch-builder.ts";
import { batchBuffers } from "./batch-transfer.ts";
import { SpanCollector } from "./span-collector.ts";

const RESOURCE: Resource = { service: "front", instance: "host:1", attributes: [] };

function collect(): { collector: SpanCollector; batches: SpanBatch[]; add: (count: number) => void } {
  const batches: SpanBatch[] = [];
  const collector = new SpanCollector({ spans: (batch) => batches.push(batch) });
  const add = (count: number) => {
    for (let at = 0; at < count; at++) collector.finished(RESOURCE, { ...EMPTY_SPAN, spanId: BigInt(at + 1) });
  };
  return { collector, batches, add };
}

function balanced(collector: SpanCollector): void {
  const { collected, delivered, held, backlog } = collector.ledger();
  assert.equal(collected, delivered + held + backlog);
}

test("spans leave after a tenth of a second, or when a batch is full", () => {
  const { collector, batches, add } = collect();
  collector.tick(1e9);
  add(3);
  collector.tick(1.09e9);
  assert.equal(batches.length, 0);
  collector.tick(1.1e9);
  assert.deepEqual(
    batches.map((batch) => batch.rows),
    [3],
  );
  add(1024);
  assert.deepEqual(
    batches.map((batch) => batch.rows),
    [3, 1024],
  );
  collector.tick(2e9);
  assert.equal(batches.length, 2, "an empty batch does not leave");
  balanced(collector);
});

test("a receiver that takes nothing loses the newest spans, counted", () => {
  const { collector, batches, add } = collect();
  add(16 * 1024 + 8192 + 500);
  assert.equal(batches.length, 16);
  assert.equal(collector.ledger().backlog, 500);
  balanced(collector);
  collector.taken();
  collector.tick(1e9);
  assert.equal(batches.at(-1)?.rows, 8192);
  add(1);
  assert.equal(collector.ledger().backlog, 500, "there is room again");
  balanced(collector);
  collector.flush();
  assert.equal(collector.ledger().held, 0);
  balanced(collector);
});

test("one resource stays one resource in a batch", () => {
  const { collector, batches, add } = collect();
  add(5);
  collector.flush();
  assert.equal(batches[0]?.resources.length, 1);
  assert.equal(batches[0]?.scopes.length, 1);
});

test("a batch crosses a thread boundary whole", async () => {
  const { collector, batches, add } = collect();
  add(300);
  collector.flush();
  const batch = batches[0] as SpanBatch;
  const before = structuredClone(batch);
  const { port1, port2 } = new MessageChannel();
  const arrived = new Promise<SpanBatch>((resolve) => port2.once("message", resolve));
  port1.postMessage(batch, batchBuffers(batch));
  assert.deepEqual(await arrived, before);
  assert.equal(batch.spanId.length, 0, "the columns were moved, not copied");
  port1.close();
});
