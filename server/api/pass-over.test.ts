import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startFixture } from "./api-fixture.test.ts";

const CRUMB = "1\r\na\r\n";

/** Sends a request in crumbs and reads nothing before all of it is on its way, as clients without threads do. */
async function sendThenRead(url: string, head: readonly string[], crumbs: number): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = net.connect({ host: hostname, port: Number(port) });
  await once(socket, "connect");
  socket.pause();
  socket.write([...head, `host: ${hostname}`, "transfer-encoding: chunked", "", ""].join("\r\n"));
  const piece = Buffer.alloc(CRUMB.length * 100_000, CRUMB);
  for (let left = crumbs; left > 0; left -= 100_000) if (!socket.write(piece)) await once(socket, "drain");
  socket.write("0\r\n\r\n");
  let text = "";
  socket.on("data", (more: Buffer) => {
    text += more.toString("latin1");
  });
  socket.resume();
  await once(socket, "end");
  socket.destroy();
  return text;
}

test("who sends crumbs to their end reads why they are refused, and that the connection ends", async (context) => {
  const { otlpUrl, answers } = await startFixture(context);
  const head = ["POST /v1/traces HTTP/1.1", "content-type: application/json"];
  const answer = await sendThenRead(otlpUrl, head, 2_000_000);
  assert.match(answer, /^HTTP\/1\.1 400 /);
  assert.match(answer, /\r\nconnection: close\r\n/i);
  assert.match(answer, /chunks of a few bytes/);
  assert.deepEqual(answers, ["/v1/traces 400"]);
});

test("crumbs behind a refusal are read as bytes, and its sender reads it", async (context) => {
  const { url, answers } = await startFixture(context);
  const answer = await sendThenRead(url, ["POST /v1/traces HTTP/1.1", "origin: http://elsewhere.example"], 1_000_000);
  assert.match(answer, /^HTTP\/1\.1 403 /);
  assert.deepEqual(answers, ["/v1/traces 403"]);
});

for (const [what, request, status] of [
  ["an encoding", ["POST /api/v1/write HTTP/1.1", "content-encoding: gzip"], 415],
  ["a method", ["PUT /api/v1/write HTTP/1.1"], 405],
  ["a path", ["POST /nowhere HTTP/1.1"], 404],
] as const)
  test(`who closes after ${what} that is refused reads the answer, however late all of the body is sent`, async (context) => {
    const { url } = await startFixture(context);
    const { hostname, port } = new URL(url);
    const socket = net.connect({ host: hostname, port: Number(port) });
    await once(socket, "connect");
    socket.pause();
    const piece = Buffer.alloc(100_000);
    const head = [...request, `host: ${hostname}`, "connection: close", `content-length: ${10 * piece.length}`, "", ""];
    socket.write(head.join("\r\n"));
    for (let at = 0; at < 10; at++) {
      await sleep(20);
      socket.write(piece);
    }
    let text = "";
    socket.on("data", (more: Buffer) => {
      text += more.toString("latin1");
    });
    socket.resume();
    await once(socket, "end");
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `));
  });
