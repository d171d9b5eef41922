import assert from "node:assert/strict";
import { test } from "node:test";
import type { Resource, SpanBatch } from "../../server/model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder } from "../../server/model/span-batch-builder.ts";
import { encodeExportResponse, encodeRpcStatus } from "../../server/wire/otlp-responses.ts";
import { decodeTraces } from "../../server/wire/otlp-traces-protobuf.ts";
import type { ExportAnswer } from "./send-outcome.ts";
import { SpanSender } from "./span-sender.ts";

const RESOURCE: Resource = {
  service: "front",
  instance: "",
  attributes: [{ key: "service.name", kind: "s", value: "front" }],
};

function batchOf(rows: number): SpanBatch {
  const builder = new SpanBatchBuilder();
  for (let at = 0; at < rows; at++) {
    const own = { resource: builder.addResource(RESOURCE), scope: builder.addScope({ name: "", version: "" }) };
    builder.append({ ...EMPTY_SPAN, ...own, traceIdLow: 1n, spanId: BigInt(at + 1), name: "GET /" });
  }
  return builder.seal();
}

const http = (status: number, body: Uint8Array = new Uint8Array(0), retryAfterSeconds?: number): ExportAnswer => ({
  kind: "http",
  status,
  body,
  retryAfterSeconds,
});

/** A receiver that answers as told, the last answer for ever, and counts the spans it took. */
function receiver(answers: readonly (ExportAnswer | Error)[], queueBytesMax = 2 ** 20) {
  const state = { asked: [] as number[], taken: 0, troubles: [] as string[], atMs: [] as number[] };
  const sender = new SpanSender({
    send: async (body) => {
      const answer = answers[Math.min(state.asked.length, answers.length - 1)];
      const decoded = decodeTraces(body);
      assert.ok(decoded.kind === "decoded");
      state.asked.push(decoded.received);
      state.atMs.push(performance.now());
      if (answer === undefined || answer instanceof Error) throw answer ?? new Error("no answer");
      const isTaken = answer.kind === "grpc" ? answer.code === 0 : answer.status === 200;
      if (isTaken) state.taken += decoded.received;
      return answer;
    },
    queueBytesMax,
    version: "1",
    onTrouble: (why) => state.troubles.push(why),
  });
  return { sender, state };
}

function balanced(sender: SpanSender): void {
  const { made, sent, queued, lost } = sender.ledger();
  assert.equal(made, sent + queued + Object.values(lost).reduce((sum, count) => sum + count, 0));
}

test("batches of one turn leave in one request", async () => {
  const { sender, state } = receiver([http(200)]);
  sender.spans(batchOf(3));
  sender.spans(batchOf(4));
  balanced(sender);
  await sender.stop(1000);
  assert.deepEqual(state.asked, [7]);
  assert.equal(sender.ledger().sent, 7);
  balanced(sender);
});

test("what failed is sent again, with nothing lost, and the receiver's pause is kept", async () => {
  const { sender, state } = receiver([
    new Error("connection refused"),
    http(503, undefined, 0.6),
    http(429),
    http(200),
  ]);
  sender.spans(batchOf(5));
  while (state.taken < 5) {
    balanced(sender);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => setTimeout(resolve, 1));
  const { sent, queued, failures } = sender.ledger();
  assert.deepEqual({ sent, queued, failures }, { sent: 5, queued: 0, failures: 3 });
  assert.equal(sender.trouble, "");
  assert.ok((state.atMs[2] ?? 0) - (state.atMs[1] ?? 0) >= 590);
});

test("gRPC: codes that may be tried again, and those that may not", async () => {
  const busy = receiver([
    { kind: "grpc", code: 8, message: "busy", body: encodeRpcStatus(8, "busy", 0) },
    { kind: "grpc", code: 0, message: "", body: new Uint8Array(0) },
  ]);
  busy.sender.spans(batchOf(2));
  await busy.sender.stop(2000);
  assert.equal(busy.sender.ledger().sent, 2);
  const refusing = receiver([{ kind: "grpc", code: 16, message: "who are you", body: new Uint8Array(0) }]);
  refusing.sender.spans(batchOf(2));
  await refusing.sender.stop(2000);
  assert.equal(refusing.sender.ledger().lost.refused, 2);
  balanced(refusing.sender);
});

test("spans that the receiver rejected are counted", async () => {
  const { sender, state } = receiver([
    http(200, encodeExportResponse({ rejected: 2, message: "2 spans rejected: too_old" })),
  ]);
  sender.spans(batchOf(5));
  await sender.stop(1000);
  const { sent, lost } = sender.ledger();
  assert.deepEqual([sent, lost.rejected], [3, 2]);
  assert.match(state.troubles.join(), /too_old/);
  balanced(sender);
});

test("a full queue loses the newest, and a body that is too large is sent in parts", async () => {
  const full = receiver([new Error("gone")], 30_000);
  for (let at = 0; at < 20; at++) full.sender.spans(batchOf(50));
  assert.ok(full.sender.ledger().lost.queue_full > 0);
  assert.ok(full.sender.ledger().queueBytes <= 30_000);
  balanced(full.sender);
  await full.sender.stop(50);
  assert.ok(full.sender.ledger().lost.stopped > 0);
  assert.equal(full.sender.ledger().queued, 0);
  balanced(full.sender);

  const large = receiver([http(413), http(200), http(413), http(200)]);
  large.sender.spans(batchOf(1024));
  await large.sender.stop(1000);
  assert.deepEqual(large.state.asked, [1024, 512, 512]);
  assert.equal(large.sender.ledger().lost.too_large, 512);
  balanced(large.sender);
});
