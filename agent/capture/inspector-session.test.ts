import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { InspectorSession } from "./inspector-session.ts";

const ID = "0f3c1a52-96c0-49df-8671-ae02cba2a263";
/** RFC 6455, 1.3. */
const WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** A program that is no inspector and answers as it likes; each frame that it is sent is answered with the next of `frames`. */
async function startImpostor(t: TestContext, list: (port: number) => string, frames: string[] = []) {
  const seen: string[] = [];
  const server: Server = createServer((request, response) => {
    seen.push(request.url ?? "");
    response.end(list(port));
  });
  server.on("upgrade", (request, socket) => {
    seen.push(`upgrade ${request.url}`);
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}${WEBSOCKET_KEY}`)
      .digest("base64");
    const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
    socket.write(`${[...head, `Sec-WebSocket-Accept: ${accept}`].join("\r\n")}\r\n\r\n`);
    socket.on("error", () => {});
    t.after(() => socket.destroy());
    socket.on("data", () => {
      const text = frames.shift();
      if (text !== undefined) socket.write(Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // Listening on a port gives an address of this form.
  const { port } = server.address() as AddressInfo;
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port, seen };
}

const listOf = (port: number, id = ID) =>
  JSON.stringify([{ id, webSocketDebuggerUrl: `ws://127.0.0.1:${port}/${id}` }]);
const NOBODY = { told: () => {}, closed: () => {} };

test("an address in what a program answers is not connected to", async (t) => {
  const other = await startImpostor(t, listOf);
  const first = await startImpostor(t, () => listOf(other.port));
  const session = await InspectorSession.open(first.port, NOBODY);
  session.close();
  assert.deepEqual(other.seen, []);
  assert.deepEqual(first.seen, ["/json/list", `upgrade /${ID}`]);
});

test("what is no list of an inspector's opens no session", async (t) => {
  const lists = ["", "{", "null", "[]", "[1]", "{}", "x".repeat(100_000), listOf(1, "../secrets"), `[{"id":"${ID}"}]`];
  for (const list of lists) {
    const { port, seen } = await startImpostor(t, () => list);
    await assert.rejects(InspectorSession.open(port, NOBODY), list.slice(0, 40));
    assert.deepEqual(seen, ["/json/list"]);
  }
});

test("frames that are none of the protocol's end the session and throw nowhere", async (t) => {
  for (const frame of [
    "{",
    "null",
    "7",
    '{"id":1,"result":null}',
    '{"id":1,"error":null}',
    '{"method":"Runtime.bindingCalled"}{',
  ]) {
    const { port } = await startImpostor(t, listOf, [frame]);
    const told: string[] = [];
    const session = await InspectorSession.open(port, { ...NOBODY, told: (text) => told.push(text) });
    await Promise.allSettled([session.evaluate("1")]);
    session.close();
    assert.deepEqual(told, []);
  }
});
