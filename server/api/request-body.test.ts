import assert from "node:assert/strict";
import http from "node:http";
import type { AddressInfo } from "node:net";
import test from "node:test";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { ByteBudget } from "./byte-budget.ts";
import type { BodyOutcome } from "./request-body.ts";
import { readBody } from "./request-body.ts";

/** A server that reads every body within small limits and keeps it until told to release. */
async function startReader(context: test.TestContext, bytesMax: number, budget: ByteBudget) {
  const held: Extract<BodyOutcome, { kind: "body" }>[] = [];
  const server = http.createServer((request, response) => {
    void readBody(request, { bytesMax, budget }).then((outcome) => {
      if (outcome.kind === "body") held.push(outcome);
      response.statusCode = outcome.kind === "body" ? 200 : outcome.status;
      response.end(outcome.kind === "body" ? outcome.bytes : outcome.reason);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  // A TCP server's address is an object.
  const { port } = server.address() as AddressInfo;
  const send = async (body: Buffer, encoding = "identity") => {
    const headers = { "content-encoding": encoding };
    const answer = await fetch(`http://127.0.0.1:${port}`, { method: "POST", headers, body: new Uint8Array(body) });
    return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
  };
  return { send, held };
}

test("encodings, and bodies exactly at and one over the limit", async (context) => {
  const budget = new ByteBudget(10_000_000);
  const { send, held } = await startReader(context, 100_000, budget);
  const exact = Buffer.alloc(100_000, "abc");
  const over = Buffer.alloc(100_001, "abc");
  for (const [encoding, encode] of [
    ["identity", (body: Buffer) => body],
    ["gzip", gzipSync],
    ["GZIP", gzipSync],
    ["deflate", deflateSync],
    ["zstd", zstdCompressSync],
  ] as const) {
    const answer = await send(encode(exact), encoding);
    assert.equal(answer.status, 200, encoding);
    assert.ok(answer.body.equals(exact), encoding);
    assert.equal((await send(encode(over), encoding)).status, 413, encoding);
  }
  assert.equal((await send(brotliCompressSync(exact), "br")).status, 400);
  assert.equal((await send(exact, "gzip")).status, 400);
  assert.equal((await send(gzipSync(exact).subarray(0, 100), "gzip")).status, 400);
  assert.equal((await send(zstdCompressSync(exact).subarray(0, 10), "zstd")).status, 400);
  assert.equal(budget.used, 5 * 100_000);
  for (const body of held) {
    body.release();
    body.release();
  }
  assert.equal(budget.used, 0);
});

test("bodies that exceed the common budget give 503 and take nothing", async (context) => {
  const budget = new ByteBudget(150_000);
  const { send, held } = await startReader(context, 100_000, budget);
  assert.equal((await send(Buffer.alloc(100_000))).status, 200);
  assert.equal((await send(Buffer.alloc(100_000))).status, 503);
  assert.equal((await send(gzipSync(Buffer.alloc(100_000)), "gzip")).status, 503);
  assert.equal(budget.used, 100_000);
  held[0]?.release();
  assert.equal((await send(gzipSync(Buffer.alloc(100_000)), "gzip")).status, 200);
});

test("a sender that goes away gives its bytes back", async (context) => {
  const budget = new ByteBudget(1_000_000);
  const outcomes: string[] = [];
  const server = http.createServer((request) => {
    void readBody(request, { bytesMax: 500_000, budget }).then((outcome) => outcomes.push(outcome.kind));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  const { port } = server.address() as AddressInfo; // as above
  const request = http.request({ port, method: "POST", headers: { "content-length": 400_000 } });
  request.on("error", () => {});
  request.write(Buffer.alloc(200_000));
  while (budget.used === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  request.destroy();
  while (outcomes.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(outcomes, ["refused"]);
  assert.equal(budget.used, 0);
});
