import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import test from "node:test";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { crc32c } from "../wire/crc32c.ts";
import { encodeSnappy } from "../wire/snappy.ts";
import { BodyRoom, ByteBudget } from "./byte-budget.ts";
import { decompress } from "./decompress.ts";
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
  return { send, held, port };
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

test("snappy, framed and not; a frame with a wrong check sum is refused", async (context) => {
  const budget = new ByteBudget(10_000_000);
  const { send } = await startReader(context, 100_000, budget);
  const body = Buffer.alloc(100_000, "abcdefg");
  const block = Buffer.from(encodeSnappy(body));
  assert.ok((await send(block, "snappy")).body.equals(body));
  const framed = framesOf(body);
  for (const encoding of ["snappy", "x-snappy-framed"]) {
    assert.ok((await send(framed, encoding)).body.equals(body), encoding);
  }
  framed[20] = (framed[20] ?? 0) ^ 1;
  assert.equal((await send(framed, "snappy")).status, 400);
  assert.equal((await send(Buffer.from(encodeSnappy(Buffer.alloc(100_001))), "snappy")).status, 413);
  assert.equal((await send(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x07]), "snappy")).status, 413);
});

/** A stream of frames as a writer of the format makes it, the last one plain. */
function framesOf(body: Buffer): Buffer {
  const parts: Uint8Array[] = [Buffer.from("ff060000734e61507059", "hex")];
  for (let from = 0; from < body.length; from += 65_536) {
    const piece = body.subarray(from, from + 65_536);
    const plain = from + 65_536 >= body.length;
    const content = plain ? piece : Buffer.from(encodeSnappy(piece));
    const sum = crc32c(piece);
    const head = Buffer.alloc(8);
    head.writeUInt32LE((plain ? 1 : 0) + (content.length + 4) * 256);
    head.writeUInt32LE(((((sum >>> 15) | (sum << 17)) >>> 0) + 0xa282ead8) % 2 ** 32, 4);
    parts.push(head, content);
  }
  return Buffer.concat(parts);
}

test("large bodies of unknown size come whole, in several members and without a length", async (context) => {
  const budget = new ByteBudget(64 * 2 ** 20);
  const { send } = await startReader(context, 8 * 2 ** 20, budget);
  const body = Buffer.alloc(5 * 2 ** 20);
  for (let at = 0; at < body.length; at++) body[at] = (at * 2_654_435_761) >>> 24;
  const half = body.length / 2;
  const members = Buffer.concat([gzipSync(body.subarray(0, half)), gzipSync(body.subarray(half))]);
  assert.ok((await send(members, "gzip")).body.equals(body), "two members");
  assert.ok((await send(deflateSync(body), "deflate")).body.equals(body), "no size told");
  const two = Buffer.concat([gzipSync(body), gzipSync(body)]);
  assert.equal((await send(two, "gzip")).status, 413, "each member fits, both together do not");
});

test("bombs are refused before memory is used", async (context) => {
  const budget = new ByteBudget(256 * 2 ** 20, 64 * 2 ** 20);
  const { send } = await startReader(context, 64 * 2 ** 20, budget);
  const zeros = Buffer.alloc(80 * 2 ** 20);
  const lying = Buffer.concat([gzipSync(zeros), gzipSync("")]);
  const bombs = [
    ["gzip", gzipSync(zeros)],
    ["gzip", lying],
    ["zstd", zstdCompressSync(zeros)],
    ["zstd", Buffer.concat([zstdCompressSync("a"), zstdCompressSync(zeros)])],
    ["deflate", deflateSync(zeros)],
  ] as const;
  await send(gzipSync(""), "gzip");
  for (const [encoding, bomb] of bombs) {
    const before = process.memoryUsage.rss();
    const answers = await Promise.all(Array.from({ length: 10 }, () => send(bomb, encoding)));
    for (const answer of answers) assert.ok(answer.status === 413 || answer.status === 503, encoding);
    const grown = (process.memoryUsage.rss() - before) / 2 ** 20;
    assert.ok(grown < 64, `${encoding}: ${grown} MiB more`);
  }
  assert.equal(budget.used, 0);
});

test("a body of which more than one is too many is refused at once, and the sender reads why", async (context) => {
  const budget = new ByteBudget(256 * 2 ** 20, 64 * 2 ** 20);
  const { send } = await startReader(context, 64 * 2 ** 20, budget);
  const answer = await send(Buffer.alloc(65 * 2 ** 20));
  assert.equal(answer.status, 413);
  assert.match(String(answer.body), /more than 67108864 bytes/);
});

test("a body in crumbs is refused before it is read to its end", async (context) => {
  const budget = new ByteBudget(10_000_000);
  const { port } = await startReader(context, 1_000_000, budget);
  const socket = net.connect(port, "127.0.0.1");
  context.after(() => socket.destroy());
  const answer = new Promise<string>((resolve) => socket.once("data", (chunk: Buffer) => resolve(String(chunk))));
  socket.on("error", () => {});
  socket.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
  socket.write("1\r\na\r\n".repeat(20_000)); // its end never comes
  assert.match(await answer, /^HTTP\/1\.1 400 [\s\S]*chunks of a few bytes/);
  assert.equal(budget.used, 0);
});

test("small bodies and large ones have room of their own", async (context) => {
  const large = 64 * 2 ** 20;
  // Its clock stands still: on a busy machine, too, nobody's room is given to others.
  const budget = new ByteBudget(large + 2_000_000, large, 2_000_000, () => 0);
  const { send, held, port } = await startReader(context, large, budget);
  assert.equal((await send(Buffer.alloc(900_000))).status, 200);
  assert.equal((await send(Buffer.alloc(900_000))).status, 200);
  assert.match(await answerToHead(port, 900_000), /^HTTP\/1\.1 503 /, "told its length, it is not waited for");
  held[0]?.release();
  assert.equal((await send(Buffer.alloc(large))).status, 200);
  assert.match(await answerToHead(port, 10_000_000), /^HTTP\/1\.1 503 /);
});

/** What a request is answered that tells its length and sends nothing of its body. */
async function answerToHead(port: number, bytes: number): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  try {
    const answer = once(socket, "data");
    socket.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${bytes}\r\n\r\n`);
    return String((await answer)[0]);
  } finally {
    socket.destroy();
  }
}

test("a sender that comes to a halt is refused once others need its room, and can try again", async (context) => {
  let nowMs = 0;
  const large = 4 * 2 ** 20;
  const budget = new ByteBudget(large + 2 * 2 ** 20, large, 2 * 2 ** 20, () => nowMs);
  const { send, held, port } = await startReader(context, large, budget);
  const socket = net.connect(port, "127.0.0.1");
  context.after(() => socket.destroy());
  const answer = new Promise<string>((resolve) => socket.once("data", (chunk: Buffer) => resolve(String(chunk))));
  socket.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${large}\r\n\r\n`);
  while (budget.used === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  nowMs = 1_999;
  assert.equal((await send(Buffer.alloc(large))).status, 503, "it may be quick yet");
  nowMs = 2_001;
  assert.equal((await send(Buffer.alloc(100_000))).status, 200, "there is room for a small one");
  held[0]?.release();
  assert.equal((await send(Buffer.alloc(large))).status, 200);
  assert.match(await answer, /^HTTP\/1\.1 503 [\s\S]*its room was given to others/);
});

test("frames of zstd that tell of too much together are refused before any is decompressed", async () => {
  const room = new BodyRoom(new ByteBudget(1_000));
  const frame = zstdCompressSync(Buffer.alloc(100_000));
  const refused = await decompress(Buffer.concat(Array.from({ length: 11 }, () => frame)), "zstd", 1_000_000, room);
  assert.deepEqual(refused, { kind: "fault", fault: "too_large", bytesMax: 1_000_000 });
  const larger = new BodyRoom(new ByteBudget(2_000_000));
  const taken = await decompress(Buffer.concat(Array.from({ length: 10 }, () => frame)), "zstd", 1_000_000, larger);
  assert.ok(taken.kind === "bytes" && taken.bytes.equals(Buffer.alloc(1_000_000)));
});

test("a compressed body on its way to more than there is room for is refused after its first MiB", async () => {
  const mib = 2 ** 20;
  const members = Buffer.concat(Array.from({ length: 20 }, () => gzipSync(Buffer.alloc(mib))));
  for (const [compression, raw] of [
    ["gzip", members],
    ["deflate", deflateSync(Buffer.alloc(20 * mib))],
    ["zstd", zstdWithoutSize(160)],
  ] as const) {
    const held: number[] = [];
    const room = new BodyRoom(new ByteBudget(16 * mib));
    const take = room.holdDecoded.bind(room);
    room.holdDecoded = (bytes) => {
      const isTaken = take(bytes);
      if (isTaken) held.push(bytes);
      return isTaken;
    };
    const refused = await decompress(raw, compression, 64 * mib, room);
    assert.deepEqual(refused, { kind: "fault", fault: "no_room", bytesMax: 64 * mib }, compression);
    assert.ok(Math.max(...held) <= mib, `${compression}: ${Math.max(...held)} bytes`);
    const taken = await decompress(raw, compression, 64 * mib, new BodyRoom(new ByteBudget(21 * mib)));
    assert.equal(taken.kind === "bytes" ? taken.bytes.length : taken.fault, 20 * mib, compression);
  }
});

/** A frame that tells no size, of so many blocks of 128 KiB, 4 bytes each. @see RFC 8878 */
function zstdWithoutSize(blocks: number): Buffer {
  const parts = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x40])];
  for (let block = 1; block <= blocks; block++) {
    const header = (131_072 << 3) | 2 | (block === blocks ? 1 : 0);
    parts.push(Buffer.from([header & 255, (header >> 8) & 255, (header >> 16) & 255, 0]));
  }
  return Buffer.concat(parts);
}
