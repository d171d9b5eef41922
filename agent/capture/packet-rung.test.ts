import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { loadNative } from "../../bpf/native.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { type PacketRungOptions, type RunningPacketRung, startPacketRung, tryPacketRung } from "./packet-rung.ts";
import { type CollectedSocket, Collector } from "./packets.testkit.ts";
import { RungRefused } from "./rung.ts";

/** Why this machine has no packet sockets; undefined where it has. */
function missing(): string | undefined {
  const loaded = loadNative();
  if (!loaded.ok) return loaded.why;
  try {
    tryPacketRung(loaded.native);
    return undefined;
  } catch (error) {
    if (error instanceof RungRefused) return error.why;
    throw error;
  }
}

const MISSING = missing();

const ATTEMPTS_MAX = 3;

async function listening(server: Server, host: string): Promise<number> {
  server.listen(0, host);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (let waitedMs = 0; !isTrue(); waitedMs += 10) {
    assert.ok(waitedMs < 5000, `waited in vain: ${what}`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

/** A rung that sees everything, stopped with its test. */
async function startRung(
  t: TestContext,
  collector: Collector,
  options: PacketRungOptions = { excludePids: [] },
): Promise<RunningPacketRung> {
  const rung = startPacketRung(collector, options);
  t.after(() => rung.stop());
  await rung.ownersReady;
  assert.equal(rung.ownersTrouble, "");
  return rung;
}

function ofPort(collector: Collector, port: number): CollectedSocket[] {
  return collector.list().filter(({ opened }) => opened.remote.port === port || opened.local.port === port);
}

/**
 * A client that said hello and was answered, and what was seen of it. Of some connections on a busy machine the file is not
 * found in time, which is told; of several in a row it must be.
 */
async function ownedClient(
  t: TestContext,
  collector: Collector,
  to: { readonly port: number; readonly host: string },
): Promise<[client: Socket, seen: () => CollectedSocket | undefined]> {
  for (let attempt = 1; ; attempt++) {
    const client = connect(to);
    t.after(() => client.destroy());
    await once(client, "connect");
    const port = client.localPort ?? assert.fail();
    const seen = () => ofPort(collector, port)[0];
    client.write("hello");
    await until(`answer of ${to.host} is seen`, () => seen()?.text[1] === "you said hello");
    try {
      await until(`owner of ${to.host} is known`, () => seen()?.localOwner?.ownerBy === "fd");
      return [client, seen];
    } catch (error) {
      if (attempt === ATTEMPTS_MAX) throw error;
      client.destroy();
    }
  }
}

function assertExact(rung: RunningPacketRung): void {
  const { seen, delivered, lost, packets, own } = rung.counters();
  const lostCount = Object.values(lost).reduce((sum, count) => sum + count, 0);
  assert.equal(seen, delivered + lostCount, "seen = delivered + lost");
  assert.equal(packets, seen + own, "packets = seen + own");
}

test("a dialogue on lo: IPv4, IPv6 and IPv4 to a socket of ::", async (t) => {
  if (!requireOrSkip(t, "capture", MISSING)) return;
  const collector = new Collector();
  const rung = await startRung(t, collector);
  for (const [listen, address] of [
    ["127.0.0.1", "127.0.0.1"],
    ["::1", "::1"],
    ["::", "127.0.0.1"],
  ] as const) {
    const server = createServer((socket) => socket.on("data", (bytes) => socket.write(`you said ${bytes}`)));
    const port = await listening(server, listen);
    t.after(() => server.close());
    const [client, seen] = await ownedClient(t, collector, { port, host: address });
    client.end();
    await once(client.resume(), "close");
    server.close();
    await until(`connection to ${address} is closed`, () => seen()?.closed === "closed");
    const socket = seen();
    assert.deepEqual(socket?.text, ["hello", "you said hello"]);
    const { sight, role, joinedLate, local, remote, remoteOwner } = socket?.opened ?? assert.fail();
    assert.deepEqual({ sight, role, joinedLate }, { sight: "both", role: "client", joinedLate: false });
    assert.deepEqual([local.addr, remote.addr], [address, address]);
    assert.equal(socket?.localOwner?.pid, process.pid);
    assert.deepEqual([remoteOwner?.pid, remoteOwner?.ownerBy], [process.pid, "fd"]);
  }
  assert.ok(collector.processes.some(({ pid }) => pid === process.pid));
  await rung.stop();
  assertExact(rung);
});

test("large bodies: heads are kept, every byte is counted, times are now", async (t) => {
  if (!requireOrSkip(t, "capture", MISSING)) return;
  const collector = new Collector();
  const rung = await startRung(t, collector);
  const body = Buffer.alloc(3_000_000, "x");
  const server = createServer((socket) => socket.once("data", () => socket.end(body)));
  const port = await listening(server, "127.0.0.1");
  const client = connect(port, "127.0.0.1");
  client.write("give");
  let got = 0;
  client.on("data", (bytes) => {
    got += bytes.length;
  });
  await once(client, "close");
  server.close();
  assert.equal(got, body.length);
  await until("closed", () => ofPort(collector, port)[0]?.closed === "closed");
  const [socket] = ofPort(collector, port);
  const text = socket?.text[1] ?? "";
  const cut = [...text.matchAll(/<(?:cut|gap) (\d+)>/g)].reduce((sum, match) => sum + Number(match[1]), 0);
  assert.equal(text.replace(/<[^>]+>/g, "").length + cut, body.length);
  const { bootToUnixNano } = rung.clockOffset();
  const unixMs = Number(BigInt(Math.round(socket?.timesNs[0] ?? 0)) + bootToUnixNano) / 1e6;
  assert.ok(Math.abs(Date.now() - unixMs) < 5000, `first slice ${Date.now() - unixMs} ms ago`);
  await rung.stop();
  assertExact(rung);
});

test("pipelines of Redis and what answers them are kept to the end of a packet, and so are its lines", async (t) => {
  if (!requireOrSkip(t, "capture", MISSING)) return;
  const collector = new Collector();
  const rung = await startRung(t, collector);
  const command = `*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$200\r\n${"v".repeat(200)}\r\n`;
  const value = `$1000\r\n${"v".repeat(1000)}\r\n`;
  for (const [asked, answered] of [
    [command.repeat(100), "+OK\r\n".repeat(5000)],
    [`SET key:1 ${"v".repeat(3000)}\r\nPING\r\n`, ":1\r\n".repeat(5000)],
    [command.repeat(20), value.repeat(25)],
    [command.repeat(20), `-ERR no\r\n${value.repeat(25)}`],
  ] as const) {
    const server = createServer((socket) => socket.once("data", () => socket.end(answered)));
    const port = await listening(server, "127.0.0.1");
    const client = connect(port, "127.0.0.1");
    client.write(asked);
    await once(client.resume(), "close");
    server.close();
    await until("closed", () => ofPort(collector, port)[0]?.closed === "closed");
    const [socket] = ofPort(collector, port);
    assert.equal(
      socket?.text[0] === asked,
      true,
      `asked: ${asked.slice(0, 20)}: ${socket?.text[0].length} of ${asked.length}`,
    );
    assert.equal(
      socket?.text[1] === answered,
      true,
      `answered: ${answered.slice(0, 20)}: ${socket?.text[1].length} of ${answered.length}`,
    );
  }
  await rung.stop();
  assertExact(rung);
});

test("a connection older than the rung is joined late, with its roles and owners", async (t) => {
  if (!requireOrSkip(t, "capture", MISSING)) return;
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket));
  const port = await listening(server, "127.0.0.1");
  const client = connect(port, "127.0.0.1");
  await once(client, "connect");
  await until("accepted", () => accepted.length === 1);
  const collector = new Collector();
  const rung = await startRung(t, collector);
  accepted[0]?.write("from the server first");
  await until("opened", () => ofPort(collector, port).length === 1);
  const { joinedLate, role, remote, localOwner, remoteOwner } = ofPort(collector, port)[0]?.opened ?? assert.fail();
  assert.deepEqual({ joinedLate, role, port: remote.port }, { joinedLate: true, role: "client", port });
  assert.deepEqual([localOwner?.pid, remoteOwner?.pid], [process.pid, process.pid]);
  client.destroy();
  server.close();
  await rung.stop();
  assert.notEqual(ofPort(collector, port)[0]?.closed, "", "stop closes what is open");
  assertExact(rung);
});

test("own traffic is left out by process and by port", async (t) => {
  if (!requireOrSkip(t, "capture", MISSING)) return;
  const server = createServer((socket) => socket.pipe(socket));
  const port = await listening(server, "127.0.0.1");
  for (const options of [{ excludePids: [process.pid] }, { excludePids: [], excludePorts: [port] }]) {
    const collector = new Collector();
    const rung = await startRung(t, collector, options);
    const client = connect(port, "127.0.0.1");
    client.write("hello");
    await once(client, "data");
    client.destroy();
    await until("counted as own", () => rung.counters().own >= 2);
    await rung.stop();
    assert.equal(ofPort(collector, port).length, 0);
    assertExact(rung);
  }
  server.close();
});

test("short-lived clients are found while they live", async (t) => {
  if (!requireOrSkip(t, "capture", MISSING)) return;
  const server = createHttpServer((_request, response) => response.end("hi"));
  t.after(() => server.close());
  const port = await listening(server as unknown as Server, "127.0.0.1");
  const collector = new Collector();
  const rung = await startRung(t, collector);
  const clients = 20;
  const program = `fetch("http://127.0.0.1:${port}/").then((answer) => answer.text())`;
  for (let client = 0; client < clients; client++) {
    const child = spawn(process.execPath, ["-e", program], { stdio: "ignore" });
    await once(child, "exit");
  }
  await until("all told", () => ofPort(collector, port).length === clients);
  await rung.stop();
  const owned = ofPort(collector, port).filter(({ localOwner }) => localOwner?.ownerBy === "fd");
  // A client that ended before a busy machine looked has no descriptor left; most are found all the same.
  assert.ok(owned.length >= clients * 0.6, `${owned.length} of ${clients} by descriptor`);
  for (const { localOwner } of owned) {
    assert.ok(collector.processes.some(({ pid }) => pid === localOwner?.pid));
    assert.notEqual(localOwner?.pid, process.pid);
  }
  assertExact(rung);
});
