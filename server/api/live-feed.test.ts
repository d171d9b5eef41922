import assert from "node:assert/strict";
import http from "node:http";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { EMPTY_SPAN, SpanBatchBuilder } from "../model/span-batch-builder.ts";
import { LiveFeed, RING_ROWS_MAX } from "./live-feed.ts";

function batchOf(rows: number, kind: number, name = "n") {
  const builder = new SpanBatchBuilder();
  const resource = builder.addResource({ service: "s", instance: "", attributes: [] });
  const scope = builder.addScope({ name: "", version: "" });
  for (let row = 0; row < rows; row++) {
    builder.append({ ...EMPTY_SPAN, resource, scope, kind, name, spanId: BigInt(row + 1), startNs: 1n, endNs: 3n });
  }
  return builder.seal();
}

test("the ring keeps the newest requests and no internal spans", () => {
  const feed = new LiveFeed();
  feed.publish(batchOf(3, 1));
  assert.deepEqual(feed.newest(10), []);
  feed.publish(batchOf(RING_ROWS_MAX + 50, 2));
  feed.publish(batchOf(2, 3, "last"));
  const newest = feed.newest(RING_ROWS_MAX);
  assert.equal(newest.length, RING_ROWS_MAX);
  assert.deepEqual(
    newest.slice(0, 3).map((row) => [row.name, row.kind, row.span_id]),
    [
      ["last", "client", "0000000000000002"],
      ["last", "client", "0000000000000001"],
      ["n", "server", "0000000000000226"],
    ],
  );
  assert.deepEqual([newest[0]?.duration_ns, newest[0]?.parent_span_id], ["2", null]);
});

test("a client that does not read misses rows and is told how many", { timeout: 30_000 }, async (context) => {
  const feed = new LiveFeed();
  const server = http.createServer((_request, response) => {
    assert.ok(feed.attach(response));
    response.write(": hello\n\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  context.after(() => feed.close());
  // A TCP server's address is an object.
  const { port } = server.address() as AddressInfo;
  const response = await new Promise<http.IncomingMessage>((resolve) => http.get({ port }, resolve));
  response.pause();
  const large = batchOf(100, 2, "x".repeat(50_000));
  for (let round = 0; feed.droppedTotal === 0 && round < 40; round++) {
    feed.publish(large);
    await new Promise((resolve) => setTimeout(resolve, 260));
  }
  assert.equal(feed.droppedTotal, 100);
  let text = "";
  response.setEncoding("latin1").on("data", (chunk: string) => {
    text = (text + chunk).slice(-200_000);
  });
  response.resume();
  while (!text.includes("event: dropped")) {
    feed.publish(batchOf(1, 2));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.match(text, /event: dropped\ndata: \{"rows":\d+\}/);
});
