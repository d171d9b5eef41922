import assert from "node:assert/strict";
import http2 from "node:http2";
import test from "node:test";
import { deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { encodeSnappy } from "../wire/snappy.ts";
import { ByteBudget } from "./byte-budget.ts";
import { type GrpcAnswer, type GrpcMethod, startGrpcServer } from "./grpc-server.ts";

const PATH = "/test.Service/Echo";
const MIB = 2 ** 20;

interface Answer {
  readonly headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
  /** `grpc-status`, wherever it stands. */
  readonly code: number;
  readonly message: string;
}

/** A server with one method, and a way to call it with bytes as they are. */
async function startEcho(
  context: test.TestContext,
  method: GrpcMethod = async (bytes) => ({ kind: "message", bytes }),
) {
  const budget = new ByteBudget(256 * MIB, 64 * MIB);
  const answers: string[] = [];
  const refused: string[] = [];
  const { server, port } = await startGrpcServer(
    {
      methods: new Map([[PATH, method]]),
      limits: { bytesMax: 64 * MIB, budget, onRefused: (reason) => refused.push(reason) },
      retryDetails: (message) => Buffer.from(message),
      onAnswer: (path, code) => answers.push(`${path} ${code}`),
      onError: () => undefined,
      onBrokenConnection: () => undefined,
    },
    { host: "127.0.0.1", port: 0 },
  );
  // A client of Node refuses itself what it has not sent yet beyond 10 MB.
  const session = http2.connect(`http://127.0.0.1:${port}`, { maxSessionMemory: 4_000 });
  context.after(async () => {
    session.destroy();
    await server.close();
  });
  const call = (body: Uint8Array, headers: http2.OutgoingHttpHeaders = {}) => callOf(session, body, headers);
  return { call, budget, answers, refused, server, session };
}

function callOf(
  session: http2.ClientHttp2Session,
  body: Uint8Array,
  headers: http2.OutgoingHttpHeaders,
): Promise<Answer> {
  const stream = session.request({
    ":method": "POST",
    ":path": PATH,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  return new Promise((resolve, reject) => {
    let answer: Answer["headers"] = {};
    let trailers: Answer["trailers"] = {};
    const chunks: Buffer[] = [];
    stream.on("response", (headers) => {
      answer = headers;
    });
    stream.on("trailers", (headers) => {
      trailers = headers;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () => {
      const all = { ...answer, ...trailers };
      resolve({
        headers: answer,
        trailers,
        body: Buffer.concat(chunks),
        code: Number(all["grpc-status"] ?? -1),
        message: decodeURIComponent(String(all["grpc-message"] ?? "")),
      });
    });
    stream.end(body);
  });
}

function framed(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}

test("a message comes back, in every compression, and in pieces", async (context) => {
  const { call, budget, answers, session } = await startEcho(context);
  for (const message of [Buffer.alloc(0), Buffer.from("hello"), Buffer.alloc(3 * MIB, "abc")]) {
    const answer = await call(framed(message));
    assert.equal(answer.code, 0);
    assert.equal(answer.headers[":status"], 200);
    assert.equal(answer.headers["content-type"], "application/grpc");
    assert.equal(answer.trailers["grpc-status"], "0", "the status of a message stands in the trailers");
    assert.ok(answer.body.equals(framed(message)));
    for (const [encoding, compressed] of [
      ["gzip", gzipSync(message)],
      ["deflate", deflateSync(message)],
      ["zstd", zstdCompressSync(message)],
      ["snappy", encodeSnappy(message)],
    ] as const) {
      const again = await call(framed(compressed, 1), { "grpc-encoding": encoding });
      assert.equal(again.code, 0, encoding);
      assert.ok(again.body.equals(framed(message)), encoding);
    }
  }
  assert.equal((await call(framed(Buffer.from("plain"), 0), { "grpc-encoding": "gzip" })).code, 0);
  const stream = session.request({ ":method": "POST", ":path": PATH, "content-type": "application/grpc+proto" });
  for (const byte of framed(Buffer.from("byte by byte"))) stream.write(Buffer.of(byte));
  stream.end();
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer); // a stream without an encoding gives buffers
  assert.ok(Buffer.concat(chunks).equals(framed(Buffer.from("byte by byte"))));
  assert.equal(budget.used, 0);
  assert.ok(answers.every((answer) => answer === `${PATH} 0`));
});

test("what is no call of this service is answered by its own code, and counted where its bytes are at fault", async (context) => {
  const { call, budget, refused } = await startEcho(context);
  const hello = framed(Buffer.from("hello"));
  const unknown = await call(hello, { "grpc-encoding": "br" });
  assert.equal(unknown.code, 12);
  assert.equal(unknown.headers["grpc-accept-encoding"], "identity,gzip,deflate,zstd,snappy");
  assert.equal((await call(hello, { ":path": "/test.Service/Nothing" })).code, 12);
  assert.equal((await call(hello, { ":path": "/other.Service/Echo" })).code, 12);
  assert.equal((await call(hello, { "content-type": "application/json" })).headers[":status"], 415);
  assert.equal((await call(Buffer.alloc(0), { ":method": "PUT" })).headers[":status"], 405);
  assert.equal((await call(framed(Buffer.from("x"), 1))).code, 13, "compressed, and nobody says how");
  assert.equal((await call(framed(Buffer.from("x"), 7))).code, 13, "unknown flag");
  assert.equal((await call(framed(Buffer.from("no gzip"), 1), { "grpc-encoding": "gzip" })).code, 3);
  assert.equal((await call(hello.subarray(0, 7))).code, 3, "cut short");
  assert.equal((await call(hello.subarray(0, 3))).code, 3, "cut in its prefix");
  assert.equal((await call(Buffer.alloc(0))).code, 3, "no message");
  assert.equal((await call(Buffer.concat([hello, hello]))).code, 3, "two messages");
  assert.equal(budget.used, 0);
  const cut = ["cut_short", "cut_short", "cut_short"];
  assert.deepEqual(refused, ["encoding", "broken", "broken", "broken", ...cut, "broken"]);
});

test("a message that is too large is refused by its prefix, bombs before memory is used", async (context) => {
  const { call, budget } = await startEcho(context);
  const lying = await call(framed(Buffer.from("x"), 0, 0xffff_ffff));
  assert.equal(lying.code, 8);
  assert.match(lying.message, /the message has more than 67108864 bytes/);
  assert.equal(lying.headers["grpc-status-details-bin"], undefined, "not to be sent again");
  const zeros = Buffer.alloc(70 * MIB);
  for (const [encoding, bomb] of [
    ["gzip", gzipSync(zeros)],
    ["zstd", zstdCompressSync(zeros)],
    ["deflate", deflateSync(zeros)],
    ["snappy", Buffer.of(0xff, 0xff, 0xff, 0xff, 0x07)],
  ] as const) {
    const before = process.memoryUsage.rss();
    const started = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => call(framed(bomb, 1), { "grpc-encoding": encoding })),
    );
    assert.ok(
      answers.every(({ code }) => code === 8 || code === 14),
      encoding,
    );
    assert.ok(performance.now() - started < 5_000);
    assert.ok(process.memoryUsage.rss() - before < 64 * MIB, encoding);
  }
  assert.equal(budget.used, 0);
});

test("ten of the largest messages at once: one is taken, the others shall come again, and wait nowhere", async (context) => {
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { call, budget } = await startEcho(context, async () => {
    await held;
    return { kind: "message", bytes: Buffer.alloc(0) };
  });
  const message = framed(Buffer.alloc(64 * MIB));
  const calls = Array.from({ length: 10 }, () => call(message));
  const refused = await Promise.race(calls);
  assert.equal(refused.code, 14);
  assert.notEqual(refused.headers["grpc-status-details-bin"], undefined, "to be sent again");
  assert.ok(budget.used <= 64 * MIB + 10 * MIB);
  release();
  const codes = (await Promise.all(calls)).map(({ code }) => code).sort();
  assert.deepEqual(codes, [0, ...Array(9).fill(14)]);
  assert.equal(budget.used, 0);
});

function afterMs(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ms));
}

test("many calls on one connection are answered in the order they are ready", async (context) => {
  const { call, session } = await startEcho(context, async (bytes) => {
    await afterMs(bytes.readUInt8(0));
    return { kind: "message", bytes };
  });
  const order: number[] = [];
  await Promise.all(
    [120, 80, 40, 1].map(async (ms) => {
      const { body } = await call(framed(Buffer.of(ms)));
      order.push(body.readUInt8(5));
    }),
  );
  assert.deepEqual(order, [1, 40, 80, 120]);
  assert.equal(session.remoteSettings.maxConcurrentStreams, 256);
  const pinged = new Promise<void>((resolve, reject) => {
    session.ping((error) => (error === null ? resolve() : reject(error)));
  });
  await pinged;
});

test("a deadline, a failing method, and words that are not ASCII", async (context) => {
  const { call, budget } = await startEcho(context, async (bytes): Promise<GrpcAnswer> => {
    if (bytes.length === 0) throw new Error("secret");
    if (bytes[0] === 1) await afterMs(400);
    return { kind: "status", code: 9, message: "100 % of Grüße\n", details: Buffer.from("d") };
  });
  const started = performance.now();
  assert.equal((await call(framed(Buffer.of(1)), { "grpc-timeout": "50m" })).code, 4);
  assert.ok(performance.now() - started < 390);
  const failed = await call(framed(Buffer.alloc(0)));
  assert.equal(failed.code, 13);
  assert.doesNotMatch(failed.message, /secret/);
  const told = await call(framed(Buffer.of(2)));
  assert.equal(told.message, "100 % of Grüße\n");
  assert.equal(told.headers["grpc-status-details-bin"], Buffer.from("d").toString("base64"));
  await afterMs(400);
  assert.equal(budget.used, 0, "also what a call held whose client did not wait");
});

test("stopping finishes the calls that run", async (context) => {
  const { call, server } = await startEcho(context, async (bytes) => {
    await afterMs(200);
    return { kind: "message", bytes };
  });
  const running = call(framed(Buffer.from("late")));
  await afterMs(50);
  const stopped = server.close();
  assert.equal((await running).code, 0);
  await stopped;
});
