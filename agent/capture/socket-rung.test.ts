import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { loadNative } from "../../bpf/native.ts";
import type { CaptureSink, ProcessSeen, SocketOpened } from "../../server/model/capture-event.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import type { KernelRung } from "./socket-probes.ts";
import { type SocketRung, type SocketRungOptions, startSocketRung, trySocketRung } from "./socket-rung.ts";

interface Slice {
  readonly direction: 0 | 1;
  readonly seq: number;
  readonly total: number;
  readonly text: string;
  readonly pid: number;
}

interface Seen {
  readonly opened: SocketOpened;
  readonly slices: Slice[];
  closed: { reset: boolean } | undefined;
}

/** Everything that the rung told, by socket. */
interface Recorder extends CaptureSink {
  readonly sockets: Map<number, Seen>;
  readonly processes: ProcessSeen[];
  readonly exited: number[];
}

function recorder(): Recorder {
  const sockets = new Map<number, Seen>();
  const processes: ProcessSeen[] = [];
  const exited: number[] = [];
  const seenOf = (socket: number): Seen => {
    const seen = sockets.get(socket);
    assert.ok(seen !== undefined, `socket ${socket} was never opened`);
    assert.equal(seen.closed, undefined, `socket ${socket} is closed already`);
    return seen;
  };
  return {
    sockets,
    processes,
    exited,
    opened: (opened) => {
      assert.ok(!sockets.has(opened.socket), "socket numbers are never reused");
      sockets.set(opened.socket, { opened, slices: [], closed: undefined });
    },
    slice: ({ socket, direction, seq, total, bytes, pid }) => {
      seenOf(socket).slices.push({ direction, seq, total, text: Buffer.from(bytes).toString("latin1"), pid });
    },
    owner: () => assert.fail("the hooks know the owner from the start"),
    closed: (socket, _timeNs, reset) => {
      seenOf(socket).closed = { reset };
    },
    process: (event) => processes.push(event),
    processExited: (pid) => exited.push(pid),
  };
}

interface Stage {
  readonly rung: SocketRung;
  readonly sink: Recorder;
}

/** Starts the rung, or skips the test. The caller drains. */
function stage(t: TestContext, name: KernelRung, options: Partial<SocketRungOptions> = {}): Stage | undefined {
  const tried = trySocketRung(undefined, name);
  if (!tried.ok && name === "fexit") {
    // Needs a kernel that lets its functions be hooked; the suite of other kernels has one for sure.
    t.skip(tried.why);
    return undefined;
  }
  if (!requireOrSkip(t, "capture", tried.ok ? undefined : `needs CAP_BPF and CAP_PERFMON: ${tried.why}`))
    return undefined;
  const outcome = loadNative();
  assert.ok(outcome.ok);
  const sink = recorder();
  const rung = startSocketRung({
    sink,
    native: outcome.native,
    rung: name,
    excludePids: [],
    excludePorts: [],
    ownTimer: false,
    ...options,
  });
  t.after(() => rung.stop());
  return { rung, sink };
}

/** A test of every rung inside the kernel: they tell the same of the same calls. */
function onEachRung(what: string, run: (t: TestContext, rung: KernelRung) => Promise<void>): void {
  for (const rung of ["socket", "fexit", "syscall"] as const) test(`${rung} rung: ${what}`, (t) => run(t, rung));
}

async function listen(t: TestContext, onSocket: (socket: Socket) => void, host = "127.0.0.1"): Promise<number> {
  const server: Server = createServer({ noDelay: true }, onSocket).listen(0, host);
  t.after(() => server.close());
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

function endsOf(sink: Recorder, port: number): { clients: Seen[]; servers: Seen[] } {
  const all = [...sink.sockets.values()];
  return {
    clients: all.filter((seen) => seen.opened.remote.port === port),
    servers: all.filter((seen) => seen.opened.local.port === port),
  };
}

function only<T>(items: readonly T[]): T {
  assert.equal(items.length, 1);
  const [item] = items;
  assert.ok(item !== undefined);
  return item;
}

/** Bytes of a direction, after checking that each slice begins where the one before ended. */
function bytesOf(seen: Seen, direction: 0 | 1): number {
  let sum = 0;
  let next: number | undefined;
  for (const slice of seen.slices) {
    if (slice.direction !== direction) continue;
    if (next !== undefined) assert.equal(slice.seq, next, "a slice begins where the one before ended");
    next = (slice.seq + slice.total) >>> 0;
    sum += slice.total;
  }
  return sum;
}

function firstSeq(seen: Seen, direction: 0 | 1): number | undefined {
  return seen.slices.find((slice) => slice.direction === direction)?.seq;
}

/** `seen = delivered + lost`, and the kernel's own sums, once nothing is under way. */
function assertExact({ rung }: Stage): void {
  const { seen, delivered, lost } = rung.counters();
  assert.equal(seen, delivered + Object.values(lost).reduce((sum, count) => sum + count, 0));
  const kernel = rung.probeCounters();
  assert.equal(
    kernel.calls_seen,
    kernel.calls_submitted +
      kernel.calls_lost_ring_full +
      kernel.calls_lost_control_full +
      kernel.calls_lost_no_memory +
      kernel.calls_lost_nested,
  );
  assert.equal(kernel.control_seen, kernel.control_submitted + kernel.control_lost);
  assert.equal(seen, kernel.calls_seen);
}

/** A Node process that runs `script` and is gone with the test. */
function runNode(t: TestContext, script: string): ChildProcess {
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

async function firstLine(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout !== null);
  const [chunk] = await once(child.stdout, "data");
  return String(chunk).trim();
}

onEachRung("every byte at both ends, with equal sequence numbers", async (t, name) => {
  const staged = stage(t, name);
  if (staged === undefined) return;
  const { rung, sink } = staged;
  const server = runNode(
    t,
    `const s=require("net").createServer(c=>c.on("error",()=>0).pipe(c)).listen(0,"127.0.0.1",()=>console.log(s.address().port))`,
  );
  const port = Number(await firstLine(server));
  const client = runNode(
    t,
    `const c=require("net").connect(${port},"127.0.0.1");let got=0;const want=401131;
     c.on("data",d=>{got+=d.length;if(got===want)c.end()});
     for(const n of [1,100,1024,1025,99000,299981])c.write(Buffer.alloc(n,"x"));`,
  );
  await once(client, "exit");
  await sleep(50);
  rung.drain();
  const { clients, servers } = endsOf(sink, port);
  const [here, there] = [only(clients), only(servers)];
  for (const end of [here, there]) {
    assert.equal(bytesOf(end, 0), 401_131);
    assert.equal(bytesOf(end, 1), 401_131);
  }
  assert.equal(firstSeq(here, 0), firstSeq(there, 1));
  assert.equal(firstSeq(there, 0), firstSeq(here, 1));
  assert.deepEqual([here.opened.role, there.opened.role], ["client", "server"]);
  assert.equal(here.opened.localOwner?.pid, client.pid);
  assert.equal(there.opened.localOwner?.pid, server.pid);
  assert.ok(here.slices.every((slice) => slice.pid === client.pid));
  assert.equal(here.opened.joinedLate, false);
  assert.equal(here.opened.local.addr, "127.0.0.1");
  assert.ok(here.opened.netns > 0);
  rung.drain();
  assert.deepEqual(here.closed, { reset: false });
  // The client is gone before the first drain: its name and arguments come from the kernel.
  const told = sink.processes.find((seen) => seen.pid === client.pid);
  assert.deepEqual([told?.comm, told?.language, told?.exe], ["node", "node", ""]);
  assert.deepEqual(told?.cmdline.slice(0, 2), [process.execPath, "-e"]);
  assert.ok(client.pid !== undefined && sink.exited.includes(client.pid));
  await rung.stop();
  assertExact(staged);
});

onEachRung("a FIN read together with the data does not move the sequence", async (t, name) => {
  const staged = stage(t, name);
  if (staged === undefined) return;
  const port = await listen(t, (socket) => {
    socket.once("data", () => socket.end("HTTP/1.0 200 OK\r\n\r\nbody"));
  });
  for (let round = 0; round < 60; round++) {
    const client = connect({ port, host: "127.0.0.1" });
    client.pause();
    client.write("GET / HTTP/1.0\r\n\r\n");
    // The answer and its FIN wait in one buffer of the kernel until they are read together.
    await sleep(3);
    client.resume();
    await once(client, "close");
    staged.rung.drain();
  }
  await sleep(20);
  staged.rung.drain();
  const { clients, servers } = endsOf(staged.sink, port);
  assert.equal(clients.length, 60);
  assert.equal(servers.length, 60);
  const byPort = new Map(servers.map((seen) => [seen.opened.remote.port, seen]));
  for (const client of clients) {
    const server = byPort.get(client.opened.local.port);
    assert.ok(server !== undefined);
    assert.equal(firstSeq(client, 1), firstSeq(server, 0), "response");
    assert.equal(firstSeq(server, 1), firstSeq(client, 0), "request");
    assert.equal(bytesOf(client, 1), 23);
  }
  await staged.rung.stop();
  assertExact(staged);
});

onEachRung("both ends of a connection over IPv6", async (t, name) => {
  if (!existsSync("/proc/net/if_inet6")) {
    t.skip("this machine has no IPv6");
    return;
  }
  const staged = stage(t, name);
  if (staged === undefined) return;
  const port = await listen(
    t,
    (socket) => socket.once("data", () => socket.end("HTTP/1.1 204 No Content\r\n\r\n")),
    "::1",
  );
  const client = connect({ port, host: "::1" });
  client.resume();
  client.write("GET /six HTTP/1.1\r\n\r\n");
  await once(client, "close");
  staged.rung.drain();
  const { clients, servers } = endsOf(staged.sink, port);
  const [here, there] = [only(clients), only(servers)];
  assert.deepEqual([here.opened.remote.addr, there.opened.local.addr], ["::1", "::1"]);
  for (const direction of [0, 1] as const) {
    const other = direction === 0 ? 1 : 0;
    assert.equal(bytesOf(here, direction), bytesOf(there, other));
    assert.equal(firstSeq(here, direction), firstSeq(there, other));
  }
  assert.equal(bytesOf(here, 0), 21);
  assert.equal(bytesOf(here, 1), 27);
});

onEachRung("what a process reads after the connection was reset belongs to it", async (t, name) => {
  const staged = stage(t, name);
  if (staged === undefined) return;
  let resetMs = Number.POSITIVE_INFINITY;
  const port = await listen(t, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast");
      socket.resetAndDestroy();
      resetMs = performance.now();
    });
  });
  const client = connect({ port, host: "127.0.0.1" });
  client.on("error", () => undefined);
  client.pause();
  client.write("GET / HTTP/1.1\r\n\r\n");
  for (let look = 0; resetMs === Number.POSITIVE_INFINITY && look < 500; look++) await sleep(20);
  await sleep(20);
  staged.rung.drain();
  staged.rung.drain();
  client.resume();
  await new Promise((resolve) => client.on("close", resolve));
  staged.rung.drain();
  const { clients, servers } = endsOf(staged.sink, port);
  const [here, there] = [only(clients), only(servers)];
  assert.equal(bytesOf(here, 1), 42);
  assert.equal(firstSeq(here, 1), firstSeq(there, 0));
  assert.deepEqual(there.closed, { reset: true });
  // It waits a second for what is read late; an emulated machine may be there later.
  if (performance.now() - resetMs < 900) assert.equal(here.closed, undefined);
  await sleep(1020);
  staged.rung.drain();
  assert.deepEqual(here.closed, { reset: true });
});

onEachRung("a ring that overflows loses data by count and no opening or end", async (t, name) => {
  const staged = stage(t, name, { ringBytes: 16_384 });
  if (staged === undefined) return;
  const port = await listen(t, (socket) => {
    socket.on("data", (chunk) => socket.write(chunk));
  });
  for (let round = 0; round < 20; round++) {
    const client = connect({ port, host: "127.0.0.1" });
    for (let turn = 0; turn < 10; turn++) {
      client.write("x".repeat(500));
      await once(client, "data");
    }
    client.destroy();
    await once(client, "close");
  }
  await sleep(20);
  staged.rung.drain();
  staged.rung.drain();
  const { clients, servers } = endsOf(staged.sink, port);
  assert.deepEqual([clients.length, servers.length], [20, 20]);
  for (const seen of [...clients, ...servers]) assert.ok(seen.closed !== undefined);
  await staged.rung.stop();
  const { lost, delivered } = staged.rung.counters();
  assert.ok((lost["ring_full"] ?? 0) > 500, `lost ${lost["ring_full"]}`);
  assert.ok(delivered > 0);
  assertExact(staged);
});

onEachRung("processes and ports left out are not seen", async (t, name) => {
  let port = 0;
  const ownPid = stage(t, name, { excludePids: [process.pid] });
  if (ownPid === undefined) return;
  port = await listen(t, (socket) => socket.end("bye"));
  const client = runNode(t, `require("net").connect(${port},"127.0.0.1").resume()`);
  await once(client, "exit");
  ownPid.rung.drain();
  const byPid = endsOf(ownPid.sink, port);
  assert.deepEqual([byPid.clients.length, byPid.servers.length], [1, 0]);
  await ownPid.rung.stop();
  assert.ok(ownPid.rung.probeCounters().calls_excluded > 0);
  assertExact(ownPid);

  const ownPort = stage(t, name, { excludePorts: [port] });
  assert.ok(ownPort !== undefined);
  const second = runNode(t, `require("net").connect(${port},"127.0.0.1").resume()`);
  await once(second, "exit");
  ownPort.rung.drain();
  const byPort = endsOf(ownPort.sink, port);
  assert.deepEqual([byPort.clients.length, byPort.servers.length], [0, 0]);
});

onEachRung("how much is copied", async (t, name) => {
  const staged = stage(t, name);
  if (staged === undefined) return;
  const port = await listen(t, (socket) => socket.resume());
  const send = async (...parts: readonly (readonly string[])[]): Promise<string[]> => {
    const client = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(client, "connect");
    for (const buffers of parts) {
      client.cork();
      // Buffers, not strings: those Node would join into one before the call.
      for (const text of buffers) client.write(Buffer.from(text));
      client.uncork();
      await sleep(2);
    }
    client.destroy();
    await once(client, "close");
    staged.rung.drain();
    const seen = endsOf(staged.sink, port).clients.at(-1);
    assert.ok(seen !== undefined);
    return seen.slices.filter((slice) => slice.direction === 0).map((slice) => slice.text);
  };
  const body = "b".repeat(30_000);
  const cookie = `Cookie: ${"c".repeat(3000)}\r\n`;
  const post = "POST /x HTTP/1.1\r\nContent-Length: 30000\r\n\r\n";
  assert.deepEqual(await send(["GET / HTTP/1.1\r\n\r\n"]), ["GET / HTTP/1.1\r\n\r\n"]);
  assert.deepEqual(
    await send(["GET /a HTTP/1.1\r\n", cookie, "traceparent: x\r\n\r\n"]),
    [`GET /a HTTP/1.1\r\n${cookie}traceparent: x\r\n\r\n`],
    "a long head from several buffers",
  );
  assert.deepEqual((await send([post, body]))[0]?.length, 4096, "the head ends within the first look");
  const bodies = await send([post], [body], [body], [post]);
  assert.deepEqual(
    bodies.map((text) => text.length),
    [post.length, 1024, 128, post.length],
    "a body that goes on",
  );
  const again = await send([body], [body], [`${post}${body}`]);
  assert.ok(again[2]?.startsWith(post) && again[2].length === 4096, "a message after a long body");
  const long = `POST /long HTTP/1.1\r\nCookie: ${"c".repeat(9000)}\r\n\r\n`;
  assert.deepEqual((await send([long, body]))[0]?.slice(0, long.length), long, "a head beyond the first look");
  assert.deepEqual((await send(["GET /half HTTP/1.1\r\nA: b"], [`${"c".repeat(3000)}\r\n\r\n`]))[1]?.length, 3004);
  const frames = "x".repeat(8192);
  const bulk = Array.from({ length: 18 }, () => [frames]);
  assert.deepEqual(
    (await send(...bulk, ["y"], [frames])).map(({ length }) => length),
    [...Array(16).fill(8192), 1024, 128, 1, 8192],
    "what is not HTTP/1 may hold messages anywhere, but in the midst of bulk",
  );
  const many = Array.from({ length: 40 }, (_, number) => `${number}:${"z".repeat(100)}`);
  assert.deepEqual(await send(many), [many.join("")], "frames from many buffers");
  assert.deepEqual(await send([`\x17\x03\x03${frames}`]), [`\x17\x03\x03${frames}`.slice(0, 1024)], "TLS");
  const pipelined = "GET /p HTTP/1.1\r\n\r\n".repeat(300);
  assert.deepEqual(await send([pipelined]), [pipelined], "requests without bodies, all in one call");
});

onEachRung("connections older than the rung are marked, with their role", async (t, name) => {
  const server = runNode(
    t,
    `const s=require("net").createServer(c=>c.on("error",()=>0).pipe(c)).listen(0,"127.0.0.1",()=>console.log(s.address().port))`,
  );
  const port = Number(await firstLine(server));
  const client = connect({ port, host: "127.0.0.1" });
  await once(client, "connect");
  const staged = stage(t, name);
  if (staged === undefined) {
    client.destroy();
    return;
  }
  client.write("hello");
  await once(client, "data");
  client.resetAndDestroy();
  await once(client, "close");
  await sleep(20);
  staged.rung.drain();
  staged.rung.drain();
  const { clients, servers } = endsOf(staged.sink, port);
  for (const [seen, role] of [
    [only(clients), "client"],
    [only(servers), "server"],
  ] as const) {
    assert.deepEqual([seen.opened.joinedLate, seen.opened.role], [true, role]);
    assert.equal(bytesOf(seen, 0), 5);
    assert.deepEqual(seen.closed, { reset: true });
  }
});
