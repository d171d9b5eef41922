import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { requireOrSkip } from "../server/platform/test-ability.ts";
import {
  loadNative,
  type Native,
  nativeDirectory,
  PACKET_RECORD,
  type PacketHandle,
  type PacketOptions,
  type PacketStats,
} from "./native.ts";

/** The addon, or a skipped test where it is not built for this machine. */
function load(t: TestContext): Native | undefined {
  const outcome = loadNative();
  requireOrSkip(t, "capture", outcome.ok ? undefined : outcome.why);
  return outcome.ok ? outcome.native : undefined;
}

const RING: PacketOptions = { filter: "data", snapBytes: 1200, blockBytes: 1 << 17, blockCount: 8, retireMs: 5 };

function openPackets(t: TestContext, native: Native, options: PacketOptions): PacketHandle | undefined {
  try {
    return native.packetOpen(options);
  } catch (error) {
    // The addon throws nothing else for a refused system call.
    const { message } = error as Error;
    requireOrSkip(t, "capture", `needs CAP_NET_RAW: ${message}`);
    return undefined;
  }
}

interface Packet {
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly flags: number;
  readonly captured: number;
  readonly original: number;
  readonly unixNs: bigint;
  readonly packetType: number;
  readonly payload: string;
}

/** IPv4 packets in a drained buffer; enough of a decoder to check the addon by. */
function packetsIn(buffer: ArrayBuffer, length: number): Packet[] {
  const packets: Packet[] = [];
  const view = new DataView(buffer);
  for (let at = 0; at < length; at += view.getUint32(at + PACKET_RECORD.recordBytes, true)) {
    assert.equal(view.getUint32(at + PACKET_RECORD.recordBytes, true) % 8, 0);
    if (view.getUint16(at + PACKET_RECORD.protocol, true) !== 0x0800) continue;
    const captured = view.getUint32(at + PACKET_RECORD.capturedBytes, true);
    const ip = at + PACKET_RECORD.bytes;
    const tcp = ip + (view.getUint8(ip) & 15) * 4;
    const payload = tcp + (view.getUint8(tcp + 12) >> 4) * 4;
    packets.push({
      sourcePort: view.getUint16(tcp),
      targetPort: view.getUint16(tcp + 2),
      flags: view.getUint8(tcp + 13),
      captured,
      original: view.getUint32(at + PACKET_RECORD.originalBytes, true),
      unixNs:
        BigInt(view.getUint32(at + PACKET_RECORD.seconds, true)) * 1_000_000_000n +
        BigInt(view.getUint32(at + PACKET_RECORD.nanoseconds, true)),
      packetType: view.getUint8(at + PACKET_RECORD.packetType),
      payload: Buffer.from(buffer, payload, ip + captured - payload).toString("latin1"),
    });
  }
  return packets;
}

function drainAll(native: Native, handle: PacketHandle): { packets: Packet[]; records: number } {
  const buffer = new ArrayBuffer(1 << 18);
  const view = new DataView(buffer);
  const packets: Packet[] = [];
  let records = 0;
  for (;;) {
    const length = native.packetDrain(handle, buffer);
    if (length === 0) return { packets, records };
    for (let at = 0; at < length; at += view.getUint32(at, true)) records++;
    packets.push(...packetsIn(buffer, length));
  }
}

/**
 * `seen = drained + dropped`. Other programs' packets come at any moment, so it is held between the counts before and
 * after a drain, which are one where nothing came.
 */
async function assertCounted(native: Native, handle: PacketHandle, drainedBefore: number): Promise<PacketStats> {
  const before = native.packetStats(handle);
  await sleep(30);
  const drained = drainedBefore + drainAll(native, handle).records;
  const after = native.packetStats(handle);
  assert.ok(before.seen - before.dropped <= drained, `${JSON.stringify(before)} before, ${drained} drained`);
  assert.ok(drained <= after.seen - after.dropped, `${drained} drained, ${JSON.stringify(after)} after`);
  return after;
}

/** Port of an echo server of this process. */
async function echoServer(t: TestContext): Promise<number> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => open.delete(socket));
    socket.pipe(socket);
  }).listen(0, "127.0.0.1");
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

test("packet ring: one sight of each packet on lo, cut to the snap length", async (t) => {
  const native = load(t);
  const handle = native && openPackets(t, native, RING);
  if (!native || !handle) return;
  const port = await echoServer(t);
  const beforeNs = native.clockRealtimeNs();
  const client = connect({ port, host: "127.0.0.1" });
  client.write(`ping${"x".repeat(20_000)}`);
  let got = 0;
  for await (const chunk of client) {
    got += (chunk as Buffer).length;
    if (got === 20_004) client.end();
  }
  await sleep(30);
  const { packets, records } = drainAll(native, handle);
  const mine = packets.filter((packet) => packet.sourcePort === port || packet.targetPort === port);
  const sent = mine.filter((packet) => packet.targetPort === port);
  assert.equal(sent.filter((packet) => packet.flags === 0x02).length, 1, "the SYN, once");
  assert.equal(mine.filter((packet) => packet.flags === 0x10 && packet.payload === "").length, 0, "no bare ACK");
  const first = sent.find((packet) => packet.payload.startsWith("ping"));
  assert.ok(first !== undefined);
  assert.ok(first.captured <= RING.snapBytes && first.original > first.captured);
  assert.notEqual(first.packetType, 4, "what lo sends is seen as received");
  assert.ok(first.unixNs >= beforeNs && first.unixNs <= native.clockRealtimeNs());
  const bytes = sent.reduce((sum, packet) => sum + packet.original, 0);
  assert.ok(bytes > 20_004 && bytes < 22_000, `${bytes} bytes of packets for 20004 of payload`);
  await assertCounted(native, handle, records);
  native.packetClose(handle);
  assert.throws(() => native.packetStats(handle), /closed/);
});

test("packet ring: what does not fit is counted exactly", async (t) => {
  const native = load(t);
  const handle = native && openPackets(t, native, { ...RING, blockBytes: 4096, blockCount: 2 });
  if (!native || !handle) return;
  const port = await echoServer(t);
  const client = connect({ port, host: "127.0.0.1", noDelay: true });
  for (let turn = 0; turn < 100; turn++) {
    client.write("x".repeat(300));
    await once(client, "data");
  }
  client.destroy();
  await sleep(30);
  const { dropped } = await assertCounted(native, handle, 0);
  assert.ok(dropped > 100, `${dropped} dropped`);
  native.packetClose(handle);
});

test("packet ring: the SYN filter passes a client's first segment alone, at once", async (t) => {
  const native = load(t);
  const handle = native && openPackets(t, native, { ...RING, filter: "syn", snapBytes: 128, retireMs: 1 });
  if (!native || !handle) return;
  const port = await echoServer(t);
  const client = connect({ port, host: "127.0.0.1" });
  await once(client, "connect");
  client.write("hello");
  await once(client, "data");
  assert.equal(native.packetWait(handle, 1000), true);
  const mine = drainAll(native, handle).packets.filter((packet) =>
    [packet.sourcePort, packet.targetPort].includes(port),
  );
  assert.deepEqual(
    mine.map((packet) => [packet.targetPort, packet.flags]),
    [[port, 0x02]],
  );
  client.destroy();
  native.packetClose(handle);
});

test("diag: a socket by its tuple, listeners, established", async (t) => {
  const native = load(t);
  if (!native) return;
  const port = await echoServer(t);
  const client = connect({ port, host: "127.0.0.1" });
  await once(client, "connect");
  client.write("x");
  await once(client, "data");
  const localPort = client.localPort ?? 0;
  const here = native.diagLookup(4, "127.0.0.1", localPort, "127.0.0.1", port);
  assert.ok(here !== null);
  assert.deepEqual(
    [here.localAddr, here.localPort, here.remoteAddr, here.remotePort, here.state, here.uid],
    ["127.0.0.1", localPort, "127.0.0.1", port, 1, process.getuid?.()],
  );
  assert.ok(here.inode > 0 && here.cookie > 0n);
  const there = native.diagLookup(4, "127.0.0.1", port, "127.0.0.1", localPort);
  assert.ok(there !== null && there.inode !== here.inode);
  const listener = native.diagListeners(4).find((socket) => socket.localPort === port);
  assert.deepEqual([listener?.state, listener?.localAddr], [10, "127.0.0.1"]);
  assert.ok(native.diagEstablished(4).some((socket) => socket.cookie === here.cookie));
  assert.equal(native.diagLookup(4, "127.0.0.1", 1, "127.0.0.1", 2), null);
  assert.throws(() => native.diagLookup(4, "::1", 1, "::1", 2), TypeError);
  client.destroy();
});

test("diag: an IPv4 client of an IPv6 listener is found in both forms, and written as IPv4", async (t) => {
  const native = load(t);
  if (!native) return;
  const server = createServer((socket) => socket.pipe(socket));
  t.after(() => server.close());
  try {
    server.listen(0, "::");
    await once(server, "listening");
  } catch {
    t.skip("this machine has no IPv6");
    return;
  }
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const client = connect({ port: address.port, host: "127.0.0.1" });
  await once(client, "connect");
  const { localPort = 0 } = client;
  for (const family of [4, 6] as const) {
    const found = native.diagLookup(family, "127.0.0.1", address.port, "127.0.0.1", localPort);
    assert.deepEqual([found?.localAddr, found?.remoteAddr], ["127.0.0.1", "127.0.0.1"]);
  }
  client.destroy();
});

test("clocks are the kernel's", (t) => {
  const native = load(t);
  if (!native) return;
  const beforeMs = Date.now();
  const realtimeNs = native.clockRealtimeNs();
  const afterMs = Date.now();
  assert.ok(realtimeNs >= BigInt(beforeMs) * 1_000_000n && realtimeNs < BigInt(afterMs + 1) * 1_000_000n);
  assert.ok(native.clockBootNs() >= process.hrtime.bigint() - 50_000_000n);
});

test("errors carry code, call and the loader's words", (t) => {
  const native = load(t);
  if (!native) return;
  const failure = (act: () => unknown): unknown => {
    try {
      act();
    } catch (error) {
      return error;
    }
    return assert.fail("nothing was thrown");
  };
  const noObject = failure(() => native.attach(Buffer.from("no object"), {}, {}));
  assert.match(String((noObject as { log: string }).log), /ELF/);
  const object = readFileSync(join(nativeDirectory(), "socket.bpf.o"));
  const noConstant = failure(() => native.attach(object, { no_such_constant: 1 }, {}));
  assert.deepEqual(
    [(noConstant as { code: string }).code, (noConstant as { syscall: string }).syscall],
    ["ENOENT", "set constant no_such_constant"],
  );
  assert.equal((failure(() => native.ringOpen(9999)) as { code: string }).code, "EBADFD");
  assert.throws(() => native.ringDrain({} as never, new ArrayBuffer(8), 0), /not an open handle/);
  assert.throws(() => native.packetOpen({ ...RING, filter: "all" as never }), /'data' or 'syn'/);
  assert.throws(() => native.diagListeners(5 as never), /4 or 6/);
});

test("the addon loads in workers, and a worker's end frees what it opened", async (t) => {
  if (!load(t)) return;
  for (let round = 0; round < 3; round++) {
    const worker = new Worker(
      `const { parentPort } = require("node:worker_threads");
       import(${JSON.stringify(join(import.meta.dirname, "native.ts"))}).then(({ loadNative }) => {
         const { native } = loadNative();
         let packet;
         try { packet = native.packetOpen(${JSON.stringify(RING)}); } catch { /* no CAP_NET_RAW */ }
         parentPort.postMessage([typeof native.clockBootNs(), native.diagListeners(4).length >= 0, packet === undefined]);
       });`,
      { eval: true },
    );
    const [answer] = await once(worker, "message");
    assert.deepEqual(answer.slice(0, 2), ["bigint", true]);
    await worker.terminate();
  }
});

test("a directory without an addon gives a reason", () => {
  const outcome = loadNative("/nonexistent");
  assert.ok(!outcome.ok);
  assert.match(outcome.why, /no capture addon for linux-.*\/nonexistent/);
});
