import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { HttpGetter } from "./http-get.ts";
import { HttpSender } from "./http-send.ts";

const MIB = 2 ** 20;
const TLS = { ca: undefined, cert: undefined, key: undefined, serverName: "", insecureSkipVerify: false };

/** Asks a server for one answer. */
async function get(
  context: TestContext,
  answer: (response: ServerResponse) => void,
  bodyBytesMax = 64 * MIB,
  onTake?: (bytes: number) => void,
) {
  const server = createServer((_request, response) => {
    response.on("error", () => {});
    answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const getter = new HttpGetter(TLS);
  context.after(() => {
    getter.close();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo; // a TCP server's address is an object
  let held = 0;
  const room = {
    take: (bytes: number) => {
      held += bytes;
      onTake?.(bytes);
      return true;
    },
    give: (bytes: number) => {
      held -= bytes;
    },
  };
  const ask = { url: `http://127.0.0.1:${port}/`, headers: {}, followRedirects: true, bodyBytesMax, room };
  const signal = AbortSignal.timeout(30_000);
  try {
    const { body } = await getter.get({ ...ask, signal });
    const bytes = Buffer.from(body.join());
    body.release();
    return { bytes, fault: "" };
  } catch (error) {
    return { bytes: Buffer.alloc(0), fault: error instanceof Error ? error.message : String(error) };
  } finally {
    assert.equal(held, 0);
  }
}

/** Chunks of two bytes, as one body of so many bytes. */
function sendCrumbs(response: ServerResponse, body: Buffer): void {
  response.flushHeaders();
  const crumbs = Array.from({ length: body.length / 2 }, (_, at) => [
    Buffer.from("2\r\n"),
    body.subarray(2 * at, 2 * at + 2),
    Buffer.from("\r\n"),
  ]);
  response.socket?.end(Buffer.concat([...crumbs.flat(), Buffer.from("0\r\n\r\n")]));
}

test("a large body comes whole, also out of gzip", async (context) => {
  const body = Buffer.from(Array.from({ length: 3 * MIB }, (_, at) => at % 251));
  const plain = await get(context, (response) => response.end(body));
  assert.ok(plain.bytes.equals(body), plain.fault);
  const zipped = await get(context, (response) => {
    response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(body));
  });
  assert.ok(zipped.bytes.equals(body), zipped.fault);
});

test("answers that are too long, cut short or broken", async (context) => {
  const long = await get(context, (response) => response.end(Buffer.alloc(1_001)), 1_000);
  assert.equal(long.fault, "body size limit exceeded");
  const bomb = { "content-encoding": "gzip" };
  const inflated = await get(
    context,
    (response) => response.writeHead(200, bomb).end(gzipSync(Buffer.alloc(MIB))),
    1_000,
  );
  assert.equal(inflated.fault, "body size limit exceeded");
  const cut = await get(context, (response) => {
    response.writeHead(200, { "content-length": 10 }).write("a", () => response.destroy());
  });
  assert.match(cut.fault, /aborted|unexpected EOF/);
  const noise = await get(context, (response) => response.writeHead(200, bomb).end("a".repeat(100)));
  assert.match(noise.fault, /header/);
});

test("chunks of two bytes are refused, however fast they come, also those of gzip", async (context) => {
  const text = Buffer.from("# ".repeat(20_000));
  const crumbs = "the body comes in chunks of a few bytes";
  assert.equal((await get(context, (response) => sendCrumbs(response, text))).fault, crumbs);
  const noise = gzipSync(crypto.getRandomValues(Buffer.alloc(60_000)), { level: 0 });
  const zipped = await get(context, (response) => {
    response.setHeader("content-encoding", "gzip");
    sendCrumbs(response, noise.subarray(0, noise.length & ~1));
  });
  assert.equal(zipped.fault, crumbs);
  const few = await get(context, (response) => sendCrumbs(response, text.subarray(0, 10_000)));
  assert.equal(few.bytes.length, 10_000, few.fault);
});

test("of a body that comes at full speed only so much is taken in a turn of the loop", async (context) => {
  let isRunning = true;
  let taken = 0;
  let most = 0;
  const turn = () => {
    most = Math.max(most, taken);
    taken = 0;
    if (isRunning) setImmediate(turn);
  };
  const note = (bytes: number) => {
    taken += bytes;
  };
  const answer = get(context, (response) => response.end(Buffer.alloc(16 * MIB)), 64 * MIB, note);
  turn();
  const { bytes } = await answer;
  isRunning = false;
  assert.equal(bytes.length, 16 * MIB);
  assert.ok(most <= MIB / 2, `${most} bytes`);
});

test("an answer that nobody wants whole is cut off where it is long, and its connection kept where it is not", async (context) => {
  const sockets = new Set<unknown>();
  const ends: Promise<void>[] = [];
  const server = createServer(({ url, socket }, response) => {
    sockets.add(socket);
    response.on("error", () => {}).writeHead(500);
    const pour = () => {
      while (!response.destroyed && response.write(Buffer.alloc(MIB, "a")));
    };
    if (url === "/short") response.end("a");
    else {
      ends.push(new Promise((resolve) => response.once("close", resolve)));
      response.on("drain", pour);
      pour();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const getter = new HttpGetter(TLS);
  const sender = new HttpSender(TLS, 1);
  context.after(() => {
    getter.close();
    sender.close();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo; // as above
  const { signal } = new AbortController();
  const ask = (path: string) => {
    const url = `http://127.0.0.1:${port}${path}`;
    const asked = getter.get({ url, headers: {}, followRedirects: true, bodyBytesMax: MIB, signal });
    return assert.rejects(asked, /HTTP status 500/);
  };
  for (let round = 0; round < 2; round++) {
    await ask("/short");
    await new Promise((resolve) => setTimeout(resolve, 20)); // until the connection is free
  }
  assert.equal(sockets.size, 1);
  await ask("/endless");
  await ends[0];
  const sent = await sender.post({ url: `http://127.0.0.1:${port}/`, headers: {}, body: Buffer.alloc(1), signal });
  assert.deepEqual([sent.status, sent.text], [500, "a".repeat(1_024)]);
  await ends[1];
});
